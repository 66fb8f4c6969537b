//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import SimulationSupport
import Subprocess
import TestSupport
import Testing
import WebSockets

/// Our client against Python's websockets.
@Suite(.timeLimit(.minutes(5)))
struct PythonServerTests {
    /// What the server wants of permessage-deflate, and what comes of it with our default offer.
    struct Deflate: Sendable, CustomStringConvertible {
        var compression = WebSocketCompression.deflate()
        let arguments: [String]
        var agreed: WebSocketNegotiatedDeflate?
        var description: String { arguments.isEmpty ? "deflate" : arguments.joined(separator: " ") }
    }

    static let deflates = [
        Deflate(arguments: ["--no-deflate"], agreed: nil),
        Deflate(compression: .disabled, arguments: [], agreed: nil),
        Deflate(arguments: [], agreed: agreed(false, false, 15, 15)),
        Deflate(arguments: ["--server-no-context-takeover"], agreed: agreed(true, false, 15, 15)),
        Deflate(arguments: ["--client-no-context-takeover"], agreed: agreed(false, true, 15, 15)),
        Deflate(arguments: ["--server-max-window-bits", "9"], agreed: agreed(false, false, 9, 15)),
        Deflate(arguments: ["--client-max-window-bits", "10"], agreed: agreed(false, false, 15, 10)),
        Deflate(
            arguments: [
                "--server-no-context-takeover", "--client-no-context-takeover", "--server-max-window-bits", "12",
                "--client-max-window-bits", "9",
            ], agreed: agreed(true, true, 12, 9)),
    ]

    private static func agreed(
        _ server: Bool, _ client: Bool, _ serverBits: Int, _ clientBits: Int
    ) -> WebSocketNegotiatedDeflate {
        WebSocketNegotiatedDeflate(
            serverNoContextTakeover: server, clientNoContextTakeover: client, serverMaxWindowBits: serverBits,
            clientMaxWindowBits: clientBits)
    }

    private static func tls(_ isSecure: Bool, _ name: String = "valid") throws -> [String] {
        guard isSecure else { return [] }
        return ["--tls-cert", try TestEnvironment.certificate(name), "--tls-key", try TestEnvironment.key(name)]
    }

    /// Sizes small enough for the slow peer, and both sides of the limits.
    private static let messages = Payload.mixed.filter { $0.byteCount <= TestDepth.choose(200_000, reduced: 70_000) }

    /// Each byte is worked on several times here, which is what sanitizers slow down most.
    private static let deflatesToTry = TestDepth.choose(deflates, reduced: [deflates[0], deflates[2], deflates[7]])

    @Test(arguments: deflatesToTry, [false, true])
    func everythingComesBackInEveryWayItCanBeSent(_ deflate: Deflate, isSecure: Bool) async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(
                Transport(isSecure: isSecure, compression: deflate.compression), on: loops)
            configuration.options.maximumMessageSize = 4 << 20
            let arguments = try ["--behaviour", "by-path"] + deflate.arguments + Self.tls(isSecure)
            try await Peer.echoServer(arguments) { [configuration] peer in
                let url = "\(isSecure ? "wss" : "ws")://127.0.0.1:\(peer.port)"
                for path in ["/", "/fragment/5", "/uncompressed-on-deflate", "/mixed-on-deflate"] {
                    try await WebSocketClient.withConnection(to: url + path, configuration: configuration) { socket in
                        #expect(socket.deflate == deflate.agreed)
                        #expect((socket.tls != nil) == isSecure)
                        async let sending: Void = {
                            for message in Self.messages { try await socket.send(message) }
                        }()
                        for message in Self.messages {
                            let received = try await socket.receive()
                            #expect(received.isIdentical(to: message), "\(path): \(message) became \(received)")
                        }
                        try await sending
                        #expect(try await socket.ping() > .zero)
                    }
                    let closed = try await peer.next("closed")
                    let close = try #require(closed["close"] as? [String: Any])
                    #expect((close["received"] as? [String: Any])?["code"] as? Int == 1000)
                }
                try await WebSocketClient.withConnection(
                    to: url + "/big/3000000", configuration: configuration
                ) { socket in
                    let expected = [UInt8](count: 3_000_000) { UInt8($0 % 251) }
                    let received = try await socket.receive()
                    #expect(received == .binary(expected))
                }
                try await WebSocketClient.withConnection(
                    to: url + "/flood/1000/5000", configuration: configuration
                ) { socket in
                    let expected = WebSocketMessage.binary([UInt8](count: 5_000) { UInt8($0 % 251) })
                    for number in 0..<1_000 {
                        let received = try await socket.receive()
                        #expect(received == expected, "message \(number)")
                    }
                }
            }
        }
    }

    /// libwebsockets 4.1.6 answers the first of several pings that arrive together (Documentation/Limits.md), so one at a time
    /// is what can be asked of it; Python waits for the last pong, which answers all.
    @Test func aPingIsAnsweredInTheMiddleOfTraffic() async throws {
        try await withLoops { loops in
            let configuration = try clientConfiguration(on: loops)
            try await Peer.echoServer(["--behaviour", "ping-storm", "1"]) { peer in
                try await WebSocketClient.withConnection(
                    to: "ws://127.0.0.1:\(peer.port)", configuration: configuration
                ) { socket in
                    let received = try await socket.receive()
                    #expect(received == "pongs 1")
                }
            }
        }
    }

    @Test func theServersCloseIsReported() async throws {
        try await withLoops { loops in
            let configuration = try clientConfiguration(on: loops)
            try await Peer.echoServer(["--behaviour", "by-path", "--reason", "why not"]) { peer in
                let codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]
                for code in codes.map(String.init) + ["none"] {
                    let socket = try await WebSocketClient.connect(
                        to: "ws://127.0.0.1:\(peer.port)/close-\(code)", configuration: configuration)
                    let info = try await socket.closed()
                    #expect(info.received?.code.rawValue == UInt16(code) ?? 1005)
                    #expect(info.reason == (code == "none" ? "" : "why not"))
                    #expect(info.receivedFirst == true)
                    #expect(info.cause == .closingHandshake)
                    let closed = try await peer.next("closed")
                    let close = try #require(closed["close"] as? [String: Any])
                    let answer = try #require(close["received"] as? [String: Any])
                    #expect(answer["code"] as? Int == Int(code) ?? 1005, "the answer repeats the code")
                }
                for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000] {
                    let socket = try await WebSocketClient.connect(
                        to: "ws://127.0.0.1:\(peer.port)/close-\(code)", configuration: configuration)
                    let error = try await failure("\(code)") { try await socket.receive() }
                    #expect(error.code == .protocolViolation, "\(code): \(error)")
                    #expect(try await socket.closed().sent?.code == .protocolError, "\(code)")
                    _ = try await peer.next("closed")
                }
            }
        }
    }

    /// G2: the peer's system still takes what we send, and nobody reads it.
    @Test func aStoppedServerIsNoticed() async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(on: loops)
            configuration.options.closeTimeout = .milliseconds(100)
            configuration.options.keepAlive = .init(interval: .milliseconds(50), timeout: .seconds(5))
            try await Peer.echoServer { [configuration] peer in
                let socket = try await WebSocketClient.connect(
                    to: "ws://127.0.0.1:\(peer.port)/", configuration: configuration)
                try await socket.send("before")
                #expect(try await socket.receive() == "before")
                try peer.signal(.suspend)
                let error = try await failure { try await socket.receive() }
                #expect(error.code == .timedOut && error.phase == .ping)
                #expect(try await socket.closed().cause == .pingTimeout)
                try peer.signal(.resume)
            }
        }
    }

    @Test(arguments: [false, true])
    func whatAServerDoesWrongHasItsOwnError(isSecure: Bool) async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(Transport(isSecure: isSecure), on: loops)
            // What is answered has seconds, on a busy machine too.
            configuration.options.closeTimeout = .seconds(5)
            configuration.options.keepAlive = .init(interval: .milliseconds(50), timeout: .seconds(5))
            let arguments = try ["--behaviour", "by-path", "--header", "X-Why: because"] + Self.tls(isSecure)
            try await Peer.echoServer(arguments) { [configuration] peer in
                let url = "\(isSecure ? "wss" : "ws")://127.0.0.1:\(peer.port)"
                do {
                    let socket = try await WebSocketClient.connect(to: url + "/eof", configuration: configuration)
                    let info = try await socket.closed()
                    #expect(info.cause == .connectionLost)
                    #expect(info.code == .abnormalClosure)
                }
                for status in [301, 401, 403, 404, 426, 429, 500, 503] {
                    let error = try await failure("\(status)") {
                        try await WebSocketClient.connect(to: url + "/reject-\(status)", configuration: configuration)
                    }
                    #expect(error.code == .handshakeRejected)
                    #expect(error.response?.status == status)
                    #expect(error.response?.headers[.init("X-Why")!] == "because")
                }
                do {
                    var impatient = configuration
                    impatient.openTimeout = .seconds(3)
                    let error = try await failure {
                        try await WebSocketClient.connect(to: url + "/handshake-silent", configuration: impatient)
                    }
                    #expect(error.code == .timedOut)
                    #expect(error.phase == .upgrade)
                }
                for path in ["/no-pong", "/deaf"] {
                    let socket = try await WebSocketClient.connect(to: url + path, configuration: configuration)
                    let error = try await failure(path) { try await socket.receive() }
                    #expect(error.code == .timedOut, "\(path)")
                    #expect(error.phase == .ping, "\(path)")
                    #expect(try await socket.closed().cause == .pingTimeout, "\(path)")
                }
                do {
                    let socket = try await WebSocketClient.connect(
                        to: url + "/ignore-close", configuration: configuration)
                    #expect(try await socket.close().cause == .closeTimeout)
                }
                do {
                    let socket = try await WebSocketClient.connect(to: url + "/silent", configuration: configuration)
                    try await socket.send("nobody answers")
                    #expect(try await socket.ping() > .zero)
                    #expect(try await socket.close().isNormal)
                }
            }
        }
    }

    @Test(arguments: ["abort", "eof"], [false, true])
    func aConnectionThatBreaksOffIsLost(_ behaviour: String, isSecure: Bool) async throws {
        try await withLoops { loops in
            let configuration = try clientConfiguration(Transport(isSecure: isSecure), on: loops)
            let arguments = try ["--behaviour", behaviour, "--after", "1"] + Self.tls(isSecure)
            try await Peer.echoServer(arguments) { peer in
                let socket = try await WebSocketClient.connect(
                    to: "\(isSecure ? "wss" : "ws")://127.0.0.1:\(peer.port)", configuration: configuration)
                try await socket.send("once")
                // The reset may overtake it.
                if let message = try? await socket.receive() { #expect(message == "once") }
                let error = try await failure { for try await _ in socket.messages {} }
                #expect(error.code == .connectionClosed)
                let info = try await socket.closed()
                #expect(error.closeInfo == info)
                #expect(info.cause == .connectionLost)
                #expect(info.code == .abnormalClosure)
                #expect(info.sent == nil)
            }
        }
    }

    @Test func theServerSeesTheNameAndTheHandshake() async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(.secure, on: loops)
            configuration.subprotocols = ["chat.v2", "chat.v1"]
            configuration.headers[.authorization] = "Bearer token"
            let arguments = try ["--behaviour", "describe", "--subprotocol", "chat.v1"] + Self.tls(true)
            try await Peer.echoServer(arguments) { [configuration] peer in
                let port = peer.port
                // SNI carries names, never addresses (RFC 6066 §3).
                for (host, name) in [("localhost", "localhost"), ("127.0.0.1", nil)] {
                    try await WebSocketClient.withConnection(
                        to: "wss://\(host):\(port)/a?b=%20", configuration: configuration
                    ) { socket in
                        guard case .text(let text) = try await socket.receive() else { return }
                        let seen = try object(text)
                        #expect(seen["path"] as? String == "/a?b=%20")
                        #expect(seen["subprotocol"] as? String == "chat.v1")
                        #expect(socket.subprotocol == "chat.v1")
                        let tls = try #require(seen["tls"] as? [String: Any])
                        #expect(tls["sni"] as? String == name)
                        #expect(tls["version"] as? String == socket.tls?.version)
                        let headers = try #require(seen["headers"] as? [[String]])
                        #expect(headers.contains(["Authorization", "Bearer token"]))
                        #expect(headers.contains(["Host", "\(host):\(port)"]))
                        #expect(!headers.contains { $0.first?.lowercased() == "origin" })
                    }
                }
            }
        }
    }
}
