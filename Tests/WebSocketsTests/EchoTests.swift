//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct EchoTests {
    @Test(arguments: Transport.all)
    func everyKindAndSizeComesBackUnchanged(_ transport: Transport) async throws {
        try await withLoopback(transport, handler: echo) { loopback in
            try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                #expect((socket.tls != nil) == transport.isSecure)
                #expect((socket.deflate != nil) == (transport.compression != .disabled))
                for message in Payload.mixed {
                    try await socket.send(message)
                    let received = try await socket.receive()
                    #expect(received.isIdentical(to: message), "\(message) became \(received)")
                }
            }
        }
    }

    @Test(arguments: Transport.all, [WebSocketBodyExecutor.loop, .global])
    func aPipelineKeepsTheOrder(_ transport: Transport, _ executor: WebSocketBodyExecutor) async throws {
        let count = 400
        try await withLoopback(
            transport, serverLoops: 2, server: { $0.executor = executor }, handler: echo
        ) { loopback in
            try await WebSocketClient.withConnection(
                to: loopback.url, configuration: loopback.client, on: executor
            ) { socket in
                func message(_ number: Int) -> WebSocketMessage {
                    number.isMultiple(of: 2)
                        ? .text("\(number) " + String(repeating: "x", count: number))
                        : .binary(Payload.noise(number * 7 % 9_000, seed: UInt64(number)))
                }
                async let sending: Void = {
                    for number in 0..<count { try await socket.send(message(number)) }
                }()
                var number = 0
                for try await received in socket.messages {
                    #expect(received.isIdentical(to: message(number)), "message \(number)")
                    number += 1
                    if number == count { break }
                }
                try await sending
                #expect(number == count)
            }
        }
    }

    @Test(arguments: ["127.0.0.1", "::1", "localhost"])
    func everyLoopbackNameWorks(_ host: String) async throws {
        try await withLoopback(.secure, server: { $0.host = host }, handler: echo) { loopback in
            try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                try await socket.send("hello")
                #expect(try await socket.receive() == "hello")
                #expect(socket.remoteAddress?.port == loopback.server.port)
                #expect(socket.localAddress?.port != nil)
            }
        }
    }

    @Test(arguments: Transport.all)
    func theFallbackBackendDoesTheSame(_ transport: Transport) async throws {
        try await withLoopback(transport, backend: .poll, handler: echo) { loopback in
            #expect(loopback.loop.backend == .poll)
            try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                for message in Payload.mixed {
                    try await socket.send(message)
                    let received = try await socket.receive()
                    #expect(received.isIdentical(to: message), "\(message) became \(received)")
                }
                #expect(try await socket.ping() > .zero)
            }
        }
    }

    /// Both sides' names for one and the same agreement (RFC 7692 §7.1).
    static let agreements:
        [(client: WebSocketCompression, server: WebSocketCompression, agreed: WebSocketNegotiatedDeflate?)] =
            [
                (.disabled, .deflate(), nil),
                (.deflate(), .disabled, nil),
                (deflate(), deflate(), agreed()),
                (
                    deflate { $0.serverNoContextTakeover = true }, deflate(),
                    agreed { $0.serverNoContextTakeover = true }
                ),
                (
                    deflate { $0.clientNoContextTakeover = true }, deflate(),
                    agreed { $0.clientNoContextTakeover = true }
                ),
                (deflate { $0.serverMaxWindowBits = 9 }, deflate(), agreed { $0.serverMaxWindowBits = 9 }),
                (deflate { $0.clientMaxWindowBits = 10 }, deflate(), agreed { $0.clientMaxWindowBits = 10 }),
                (
                    deflate(), deflate { $0.serverNoContextTakeover = true },
                    agreed { $0.serverNoContextTakeover = true }
                ),
                (
                    deflate(), deflate { $0.clientNoContextTakeover = true },
                    agreed { $0.clientNoContextTakeover = true }
                ),
                (deflate(), deflate { $0.serverMaxWindowBits = 11 }, agreed { $0.serverMaxWindowBits = 11 }),
                (deflate(), deflate { $0.clientMaxWindowBits = 12 }, agreed { $0.clientMaxWindowBits = 12 }),
                (
                    deflate { $0.serverMaxWindowBits = 12 }, deflate { $0.serverMaxWindowBits = 9 },
                    agreed { $0.serverMaxWindowBits = 9 }
                ),
                (
                    deflate {
                        $0.clientNoContextTakeover = true
                        $0.clientMaxWindowBits = 8
                    },
                    deflate {
                        $0.serverNoContextTakeover = true
                        $0.serverMaxWindowBits = 8
                    },
                    agreed {
                        $0.clientNoContextTakeover = true
                        $0.serverNoContextTakeover = true
                        $0.clientMaxWindowBits = 8
                        $0.serverMaxWindowBits = 8
                    }
                ),
            ]

    private static func deflate(
        _ change: (inout WebSocketCompression.Deflate) -> Void = { _ in }
    ) -> WebSocketCompression {
        var deflate = WebSocketCompression.Deflate()
        change(&deflate)
        return .deflate(deflate)
    }

    private static func agreed(_ change: (inout WebSocketNegotiatedDeflate) -> Void = { _ in })
        -> WebSocketNegotiatedDeflate
    {
        var agreed = WebSocketNegotiatedDeflate()
        change(&agreed)
        return agreed
    }

    @Test(arguments: agreements.indices, [false, true])
    func bothSidesAgreeOnDeflate(_ row: Int, isSecure: Bool) async throws {
        let row = Self.agreements[row]
        let agreedOnServer = Events<WebSocketNegotiatedDeflate?>()
        try await withLoopback(
            Transport(isSecure: isSecure), server: { $0.options.compression = row.server },
            handler: { socket in
                agreedOnServer.send(socket.deflate)
                try await echo(socket)
            }
        ) { loopback in
            let socket = try await loopback.connect { $0.options.compression = row.client }
            #expect(socket.deflate == row.agreed)
            #expect(try await agreedOnServer.next() == row.agreed)
            // More than any window, with what repeats near and far, so that a wrong window or takeover shows.
            let far = Payload.noise(40_000)
            for message: WebSocketMessage in [
                .binary(far + far), .text(Payload.text(70_000)), .binary(far), .text(Payload.text(70_000)), "short",
                .binary(Payload.zeros(100_000)), .text(""), .binary(far),
            ] {
                try await socket.send(message)
                #expect(try await socket.receive().isIdentical(to: message), "\(message)")
            }
            try await socket.close()
        }
    }
}
