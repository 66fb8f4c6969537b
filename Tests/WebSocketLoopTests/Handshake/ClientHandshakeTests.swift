//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import HTTPTypes
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// What our client makes of a server's answer.
@Suite(.timeLimit(.minutes(5))) struct ClientHandshakeTests {
    private static let compressing = WebSocketOptions.with { $0.compression = .deflate() }

    /// Connects to a peer that follows a script. The attempt must fail, and nothing be left.
    private func failure(
        options: WebSocketOptions = .quiet, subprotocols: [String] = [], openTimeout: Duration = .seconds(60),
        patience: Duration = .seconds(60), sourceLocation: SourceLocation = #_sourceLocation,
        _ script: @escaping @Sendable (WebSocketBytePeer) async throws -> Void
    ) async throws -> WebSocketError {
        try await withLoops(sourceLocation: sourceLocation) { group in
            let listener = try WebSocketBytePeerListener(patience: patience)
            let request = try ClientRequest(
                port: listener.port, subprotocols: subprotocols, options: options, openTimeout: openTimeout)
            async let playing: WebSocketBytePeer = {
                let peer = try await Self.client(of: listener)
                try await script(peer)
                return peer
            }()
            let error = try await error(sourceLocation: sourceLocation) {
                await (try group.loops[0].connect(request)).end()
            }
            // The peer's end of the connection outlives the attempt.
            try await playing.close()
            return error
        }
    }

    /// The next client, however long it takes: a peer's patience is for its script.
    private static func client(of listener: WebSocketBytePeerListener) async throws -> WebSocketBytePeer {
        while true {
            do { return try await listener.accept() } catch WebSocketBytePeerError.timedOut {}
        }
    }

    /// The right answer with lines replaced; an empty replacement removes the line.
    private static func answer(
        _ request: WebSocketWireHead, replacing prefix: String = "\n", with line: String = "",
        adding lines: [String] = []
    ) -> [UInt8] {
        let head = String(decoding: WebSocketBytePeer.answer(to: request), as: UTF8.self)
        var result: [String] = []
        for old in head.split(separator: "\r\n") {
            if !old.hasPrefix(prefix) { result.append(String(old)) } else if !line.isEmpty { result.append(line) }
        }
        return Array(((result + lines).joined(separator: "\r\n") + "\r\n\r\n").utf8)
    }

    @Test(
        arguments: [
            ("HTTP/1.1", "HTTP/1.1 101", nil), ("Sec-WebSocket-Accept", "", "Sec-WebSocket-Accept is missing"),
            ("Sec-WebSocket-Accept", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "does not match"),
            ("Sec-WebSocket-Accept", "Sec-WebSocket-Accept: short", "does not match"),
            ("Upgrade", "", "Upgrade"), ("Upgrade", "Upgrade: h2c", "Upgrade"),
            ("Connection", "", "Connection"), ("Connection", "Connection: close", "Connection"),
        ] as [(String, String, String?)])
    func eachPartOfTheAnswerIsChecked(line: String, replacement: String, part: String?) async throws {
        // A status line without a phrase is right: it shows that the table's other rows fail for their own reason.
        guard let part else {
            try await withLoops { group in
                let listener = try WebSocketBytePeerListener()
                let request = try ClientRequest(port: listener.port)
                async let connecting = group.loops[0].connect(request)
                let peer = try await listener.accept()
                let head = try await peer.readHead()
                try await peer.write(Self.answer(head, replacing: line, with: replacement + " "))
                let client = try await connecting
                peer.close()
                #expect(client.details.response?.status == 101)
                await client.end()
            }
            return
        }
        let error = try await failure { peer in
            try await peer.write(Self.answer(peer.readHead(), replacing: line, with: replacement))
        }
        #expect(error.code == .handshakeInvalid)
        #expect(error.phase == .upgrade)
        #expect(error.message.contains(part), "\(error.message)")
    }

    @Test(arguments: [
        "x-webkit-deflate-frame", "permessage-deflate, permessage-deflate", "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1", "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7", "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010", "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=16", "permessage-deflate;", "permessage-deflate; =",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover", "permessage-deflate, foo",
    ])
    func extensionsThatWereNotOfferedAreRefused(answer: String) async throws {
        let error = try await failure(options: Self.compressing) { try await $0.acceptHandshake(extensions: answer) }
        #expect(error.code == .handshakeInvalid, "\(error)")
        #expect(error.phase == .upgrade)
    }

    @Test func anAgreementOnCompressionThatNobodyOfferedIsRefused() async throws {
        let error = try await failure { try await $0.acceptHandshake(extensions: "permessage-deflate") }
        #expect(error.code == .handshakeInvalid)
        #expect(error.message.contains("extension"))
    }

    @Test func aServerMustMeetOurConditions() async throws {
        var deflate = WebSocketCompression.Deflate()
        deflate.serverMaxWindowBits = 10
        deflate.serverNoContextTakeover = true
        let options = WebSocketOptions.with { [deflate] in $0.compression = .deflate(deflate) }
        for answer in [
            "permessage-deflate", "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10",
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=11",
        ] {
            let error = try await failure(options: options) { try await $0.acceptHandshake(extensions: answer) }
            #expect(error.code == .handshakeInvalid, "\(answer)")
        }
    }

    @Test(arguments: [[], ["chat"], ["chat", "superchat"]])
    func aSubprotocolThatWasNotOfferedIsRefused(offered: [String]) async throws {
        for chosen in ["other", "Chat", "chat, superchat"] {
            let error = try await failure(subprotocols: offered) {
                try await $0.acceptHandshake(subprotocol: chosen)
            }
            #expect(error.code == .handshakeInvalid, "\(chosen)")
            #expect(error.message.contains("subprotocol"), "\(error.message)")
        }
    }

    @Test(arguments: [200, 204, 301, 302, 307, 400, 401, 403, 404, 407, 426, 429, 500, 503])
    func aStatusIsKeptWithAllItsHeaders(status: Int) async throws {
        let error = try await failure { peer in
            _ = try await peer.readHead()
            try await peer.write(
                Array(
                    """
                    HTTP/1.1 \(status) Whatever\r
                    Location: ws://127.0.0.1:1/elsewhere\r
                    WWW-Authenticate: Basic realm="x"\r
                    Retry-After: 7\r
                    X-Only-Here:  spaced value \r
                    Set-Cookie: a=1\r
                    Set-Cookie: b=2\r
                    Content-Length: \(status == 204 ? 0 : 4)\r
                    \r
                    \(status == 204 ? "" : "body")
                    """.utf8))
        }
        #expect(error.code == .handshakeRejected)
        #expect(error.phase == .upgrade)
        #expect(error.message.contains("\(status)"))
        let response = try #require(error.response)
        #expect(response.status == status)
        #expect(response.headers[.location] == "ws://127.0.0.1:1/elsewhere")
        #expect(response.headers[.wwwAuthenticate] == "Basic realm=\"x\"")
        #expect(response.headers[.retryAfter] == "7")
        #expect(response.headers[HTTPField.Name("X-Only-Here")!] == "spaced value")
        #expect(response.headers[values: .setCookie] == ["a=1", "b=2"])
    }

    @Test func aRefusalInSingleBytesKeepsAllHeaders() async throws {
        let error = try await failure { peer in
            _ = try await peer.readHead()
            let answer = "HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nX-Only-Here: 1\r\nContent-Length: 0\r\n\r\n"
            for byte in answer.utf8 { try await peer.write([byte]) }
        }
        #expect(error.code == .handshakeRejected)
        #expect(error.response?.status == 503)
        #expect(error.response?.headers[.retryAfter] == "9")
        #expect(error.response?.headers[HTTPField.Name("X-Only-Here")!] == "1")
    }

    @Test func anAnswerMayComeInSingleBytes() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            let listener = try WebSocketBytePeerListener()
            let request = try ClientRequest(
                port: listener.port, subprotocols: ["chat"], options: Self.compressing)
            async let connecting = loop.connect(request)
            let peer = try await listener.accept()
            let head = try await peer.readHead()
            let answer = WebSocketBytePeer.answer(
                to: head, extensions: "permessage-deflate; client_max_window_bits=12", subprotocol: "chat")
            for byte in answer {
                try await peer.write([byte])
                await loop.run {}
            }
            let client = try await connecting
            #expect(client.details.subprotocol == "chat")
            #expect(client.details.deflate == WebSocketNegotiatedDeflate(clientMaxWindowBits: 12))
            try await peer.send(.text("hello"))
            #expect(try await client.receive() == .text("hello"))
            peer.close()
            await client.end()
        }
    }

    @Test func framesInTheAnswersSegmentArrive() async throws {
        let frames =
            WebSocketWireFrame.text("early").bytes + WebSocketWireFrame.text("bird").bytes
            + WebSocketWireFrame.close(4000).bytes
        try await withPair(.client, behind: frames) { (pair) async throws in
            #expect(try await pair.ours.receive() == .text("early"))
            #expect(try await pair.ours.receive() == .text("bird"))
            #expect(try await pair.ours.closed().received?.code.rawValue == 4000)
            #expect(try await pair.peer.readFrame().closeCode == 4000)
        }
    }

    @Test(arguments: [
        "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "220 mail.example.com ESMTP\r\n", "\u{0}\u{1}\u{2}\u{3}", "\r\n\r\n\r\n",
        "<html>not HTTP/1.1</html>", "HTTP/0.9 101\r\n\r\n", "HTTP/2.0 101 Switching\r\n\r\n",
        "HTTP/1.1 abc Def\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n: no name\r\n\r\n", "GET / HTTP/1.1\r\nHost: you\r\n\r\n",
    ])
    func garbageEndsTheAttempt(garbage: String) async throws {
        let error = try await failure { peer in
            _ = try await peer.readHead()
            try await peer.write(Array(garbage.utf8))
            peer.halfClose()
        }
        #expect(error.code == .handshakeInvalid, "\(error)")
    }

    /// Heads beyond the limits, with and without an end.
    @Test func endlessHeadsAreRefused() async throws {
        let one = try await failure { peer in
            _ = try await peer.readHead()
            let long = "HTTP/1.1 101 Switching Protocols\r\nX-Long: " + String(repeating: "x", count: 200_000)
            // The client gives up before it has read it all.
            try? await peer.write(Array(long.utf8))
        }
        #expect(one.code == .handshakeInvalid)
        let many = try await failure { peer in
            _ = try await peer.readHead()
            let lines = (0..<20_000).map { "Set-Cookie: cookie\($0)=value\r\n" }.joined()
            try? await peer.write(Array(("HTTP/1.1 101 Switching Protocols\r\n" + lines).utf8))
        }
        #expect(many.code == .handshakeInvalid)
    }

    enum Step: String, CaseIterable, Sendable { case atOnce, afterTheRequest, inTheStatusLine, inTheHeaders }

    @Test(arguments: Step.allCases, [false, true])
    func anEndAtAnyStepIsTold(step: Step, isReset: Bool) async throws {
        let error = try await failure { peer in
            switch step {
            case .atOnce: break
            case .afterTheRequest: _ = try await peer.readHead()
            case .inTheStatusLine:
                _ = try await peer.readHead()
                try await peer.write(Array("HTTP/1.1 10".utf8))
            case .inTheHeaders:
                let answer = WebSocketBytePeer.answer(to: try await peer.readHead())
                try await peer.write(answer.dropLast(2))
            }
            if isReset { peer.reset() } else { peer.close() }
        }
        // A reset that comes before the request is written looks like a connection that never stood.
        #expect(error.code == .handshakeInvalid || (step == .atOnce && error.code == .connectFailed), "\(error)")
    }

    @Test func aSilentServerTimesOut() async throws {
        let error = try await failure(openTimeout: .seconds(2)) { peer in
            _ = try await peer.readHead()
            // The client hangs up, on a loop where nothing else happens.
            #expect(try await peer.readToEnd().isEmpty)
        }
        #expect(error.code == .timedOut)
        #expect(error.phase == .upgrade)
    }

    /// The deadline is that of the whole attempt, however busily the server drips.
    @Test func aDrippingServerTimesOut() async throws {
        let error = try await failure(openTimeout: .seconds(2), patience: .milliseconds(10)) { peer in
            var head: WebSocketWireHead?
            while head == nil {
                do { head = try await peer.readHead() } catch WebSocketBytePeerError.timedOut {}
            }
            var line = "HTTP/1.1 101 Switching Protocols\r\n"
            // A line whenever the client has not hung up within the peer's patience.
            while true {
                do {
                    try await peer.write(Array(line.utf8))
                    line = "X: y\r\n"
                    if try await peer.readSome().isEmpty { return }
                } catch WebSocketBytePeerError.timedOut {
                } catch WebSocketBytePeerError.system(errno: ECONNRESET), WebSocketBytePeerError.system(errno: EPIPE) {
                    // It hung up with a line unread.
                    return
                }
            }
        }
        #expect(error.code == .timedOut)
        #expect(error.phase == .upgrade)
    }

    @Test func aCancelledAttemptLeavesNothing() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            let listener = try WebSocketBytePeerListener()
            let request = try ClientRequest(port: listener.port)
            let attempt = Task { try await loop.connect(request) }
            let peer = try await listener.accept()
            _ = try await peer.readHead()
            attempt.cancel()
            let error = try await error { _ = try await attempt.value }
            #expect(error.code == .cancelled)
            // The client hangs up.
            #expect(try await peer.readToEnd().isEmpty)
        }
    }

    @Test func aClosedPortIsRefused() async throws {
        let port = try WebSocketBytePeerListener().port
        let error = try await error {
            try await withLoops { group in
                await (try group.loops[0].connect(ClientRequest(port: port))).end()
            }
        }
        #expect(error.code == .connectFailed)
        #expect(error.systemError == 111)
    }
}
