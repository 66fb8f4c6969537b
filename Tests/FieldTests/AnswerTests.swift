//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// Answers to a client's handshake that servers in the field give, from public bug reports of several libraries: each
/// whole in one segment and byte by byte, with a message right behind.
@Suite(.timeLimit(.minutes(5)))
struct AnswerTests {
    enum Split: CaseIterable, Sendable { case none, singleBytes }

    private static let right = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: {A}"]

    /// What a server answers, `{A}` standing for the right accept value, and the message behind it.
    private func answer(
        _ lines: [String], status: String = "HTTP/1.1 101 Switching Protocols", split: Split,
        subprotocols: [String] = [], compression: WebSocketCompression = .disabled,
        _ body: (_ connecting: Task<WebSocketConnection, any Error>) async throws -> Void
    ) async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            var configuration = try clientConfiguration(on: loops)
            configuration.subprotocols = subprotocols
            configuration.options.compression = compression
            let url = "ws://127.0.0.1:\(listener.port)/"
            let connecting = Task { [configuration] in
                try await WebSocketClient.connect(to: url, configuration: configuration)
            }
            let peer = try await listener.accept()
            let accept = WebSocketHandshakeKey.accept(for: try await peer.readHead()["Sec-WebSocket-Key"] ?? "")
            let head = ([status] + lines).joined(separator: "\r\n").replacing("{A}", with: accept) + "\r\n\r\n"
            // A message that looks like a header field and an empty line.
            let bytes = Array(head.utf8) + WebSocketWireFrame.text("first:1\n\n").bytes
            do {
                switch split {
                case .none: try await peer.write(bytes)
                case .singleBytes: for byte in bytes { try await peer.write([byte]) }
                }
            } catch is WebSocketBytePeerError {
                // A client that has read enough to refuse the answer hangs up. What it says is for the body to judge.
            }
            try await body(connecting)
            peer.close()
        }
    }

    /// The connection opens, and the message is there.
    private func opens(
        _ lines: [String], status: String = "HTTP/1.1 101 Switching Protocols", subprotocols: [String] = [],
        compression: WebSocketCompression = .disabled, check: (WebSocketConnection) -> Void = { _ in }
    ) async throws {
        for split in Split.allCases {
            try await answer(
                lines, status: status, split: split, subprotocols: subprotocols, compression: compression
            ) { connecting in
                let socket = try await connecting.value
                #expect(try await socket.receive() == .text("first:1\n\n"), "\(lines)")
                check(socket)
                socket.abort()
            }
        }
    }

    private func isInvalid(
        _ lines: [String], status: String = "HTTP/1.1 101 Switching Protocols", _ text: String = ""
    ) async throws {
        for split in Split.allCases {
            let error = await #expect(throws: WebSocketError.self, "\(status) \(lines)") {
                try await answer(lines, status: status, split: split) { connecting in
                    _ = try await connecting.value
                }
            }
            #expect(error?.code == .handshakeInvalid, "\(String(describing: error))")
            #expect(text.isEmpty || error?.message.contains(text) == true, "\(String(describing: error))")
        }
    }

    // RFC 9110 §15.2: a client reads any number of interim answers in front of the final one.
    @Test(arguments: [
        ["HTTP/1.1 103 Early Hints", "Link: </style.css>; rel=preload"], ["HTTP/1.1 100 Continue"],
        ["HTTP/1.1 102 Processing"], ["HTTP/1.1 199"],
    ])
    func interimAnswersArePassedOver(_ interim: [String]) async throws {
        for count in 1...3 {
            let before = (0..<count).flatMap { _ in interim + [""] }
            try await opens(before.dropFirst() + ["HTTP/1.1 101 Switching Protocols"] + Self.right, status: interim[0])
        }
    }

    // warmcat/libwebsockets#244 (IIS), warmcat/libwebsockets#1435 (Jetty), oven-sh/bun#33727 and
    // websocket-client/websocket-client#626 (lists), jordansissel/ruby-ftw#16 (case).
    @Test(arguments: [
        [
            "Cache-Control: private", "Upgrade: Websocket", "Server: Microsoft-IIS/8.0", "X-AspNet-Version: 4.0.30319",
            "Sec-WebSocket-Accept: {A}", "Connection: Upgrade", "X-Powered-By: ASP.NET",
            "Date: Fri, 20 Feb 2015 13:41:49 GMT",
        ],
        ["Connection: close", "Connection: Upgrade", "Sec-WebSocket-Accept: {A}", "Upgrade: WebSocket"],
        ["Connection: keep-alive, Upgrade", "Sec-WebSocket-Accept: {A}", "Upgrade: websocket"],
        ["Connection: Upgrade,Keep-Alive", "Sec-WebSocket-Accept: {A}", "Upgrade: WEBSOCKET", "Via: 1.1 proxy"],
        ["upgrade: websocket", "connection: upgrade", "sec-websocket-accept: {A}", "alt-svc: h3=\":443\"", "nel:"],
    ])
    func answersOfServersInTheFieldOpen(_ lines: [String]) async throws { try await opens(lines) }

    /// The status is the final one's: a session must not take a refusal for something curable.
    @Test func aRefusalBehindAnInterimAnswerIsTheRefusal() async throws {
        for split in Split.allCases {
            try await answer(
                ["Link: </a>", "", "HTTP/1.1 401 Unauthorized", "WWW-Authenticate: Bearer", "Content-Length: 0"],
                status: "HTTP/1.1 103 Early Hints", split: split
            ) { connecting in
                let error = await #expect(throws: WebSocketError.self) { try await connecting.value }
                #expect(error?.code == .handshakeRejected && error?.response?.status == 401)
                #expect(error?.response?.headers[.wwwAuthenticate] == "Bearer")
            }
        }
    }

    // RFC 9110 §5.5, RFC 6455 §4.1 item 4: white space around a value is not part of it.
    @Test(arguments: [" ", "\t", "  \t "])
    func whiteSpaceAroundValuesIsNoPartOfThem(_ space: String) async throws {
        try await opens(
            [
                "Upgrade:\(space)websocket\(space)", "Connection:\(space)Upgrade\(space)",
                "Sec-WebSocket-Accept:\(space){A}\(space)", "Sec-WebSocket-Protocol:\(space)chat\(space)",
            ], subprotocols: ["chat"]
        ) { #expect($0.subprotocol == "chat") }
    }

    // RFC 9110 §5.6.1, §7.6.1: Connection is a list, whose empty elements and others are passed over.
    @Test(arguments: [
        "Connection: , Upgrade", "Connection: keep-alive,, Upgrade", "Connection: keep-alive, UPGRADE",
        "Connection: keep-alive\r\nconnection: upgrade",
        "Connection: " + String(repeating: "x, ", count: 40) + "Upgrade",
    ])
    func connectionIsAList(_ field: String) async throws {
        try await opens(["Upgrade: WebSocket", field, "Sec-WebSocket-Accept: {A}"])
    }

    @Test(arguments: ["Connection: u", "Connection: up", "Connection: keep-alive", "Connection: Upgrade2", "X: y"])
    func connectionNamesUpgradeOrTheAnswerIsNone(_ field: String) async throws {
        try await isInvalid(["Upgrade: websocket", field, "Sec-WebSocket-Accept: {A}"], "Connection")
    }

    // RFC 9110 §5.1: fields of unknown names are ignored, whatever other name they begin like.
    @Test(arguments: [
        "X-Auth", "X-Real", "X-Forwarded", "Content", "Expire", "Access-Control-Allow", "X", "A", "Set-Cookie", "host",
    ])
    func unknownFieldsSwallowNothing(_ name: String) async throws {
        for place in 0...3 {
            var lines = Self.right
            lines.insert("\(name): 1", at: place)
            try await opens(lines) { socket in
                #expect(socket.responseFields.contains { $0.name.rawName.lowercased() == name.lowercased() })
            }
        }
    }

    @Test func twoFieldsOfOneNameStayTwo() async throws {
        try await opens(Self.right + ["Set-Cookie: a=1", "Set-Cookie: b=2"]) { socket in
            #expect(socket.responseFields[values: .setCookie] == ["a=1", "b=2"])
        }
    }

    // RFC 9112 §5.2: a folded line goes on where it was, with a space.
    @Test func foldedLinesAreOne() async throws {
        try await opens(Self.right + ["X-Why: because", "\t of it"]) { socket in
            #expect(socket.responseFields.first { $0.name.rawName == "X-Why" }?.value == "because of it")
        }
    }

    @Test func manyFieldsAreTaken() async throws {
        try await opens(Self.right + (0..<200).map { "X-\($0): \(String(repeating: "v", count: 100))" })
    }

    // RFC 6455 §4.1: a second value that says something else.
    @Test(arguments: [
        ["Upgrade: websocket", "Upgrade: h2c", "Connection: Upgrade", "Sec-WebSocket-Accept: {A}"],
        right + ["Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
    ])
    func whatContradictsItselfIsRefused(_ lines: [String]) async throws { try await isInvalid(lines) }

    // RFC 9112 §5: malformed lines are refused when they come, not when the time is over.
    @Test(arguments: ["no colon", ": no name", "X Y: 1", "X : 1", "X: a\u{0}b"])
    func malformedLinesAreRefusedAtOnce(_ line: String) async throws {
        for place in 0...3 {
            var lines = Self.right
            lines.insert(line, at: place)
            try await isInvalid(lines)
        }
    }

    @Test(arguments: ["HTTP/1.1\t101 Switching", "HTTP/2 101", "HTTP/1.1 1O1 X", "ICY 200 OK", "HTTP/1.0 101 X"])
    func otherStatusLinesAreRefused(_ status: String) async throws { try await isInvalid(Self.right, status: status) }

    // RFC 6455 §9.1: white space and empty elements in the agreement on extensions.
    @Test(arguments: [
        "permessage-deflate; server_max_window_bits= 15", "permessage-deflate ;\tserver_max_window_bits\t=\t15",
        "permessage-deflate,", ", permessage-deflate", "permessage-deflate; server_max_window_bits=\"15\"",
    ])
    func extensionsMayHaveWhiteSpace(_ agreement: String) async throws {
        try await opens(Self.right + ["Sec-WebSocket-Extensions: \(agreement)"], compression: .deflate()) { socket in
            #expect(socket.deflate != nil, "\(agreement)")
        }
    }
}

extension WebSocketConnection {
    fileprivate var responseFields: HTTPFields { response?.headers ?? [:] }
}
