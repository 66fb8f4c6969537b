//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore
import WebSocketsTestKit

@testable import WebSocketLoop

/// All four parameters of permessage-deflate (RFC 7692 §7.1) in both roles: our stream goes through a decompressor that
/// has exactly the window and context that were agreed on, and a compressor's that uses all of its own comes back.
@Suite(.timeLimit(.minutes(5))) struct DeflateParameterTests {
    /// What was agreed on, seen from our side.
    struct Agreement: Sendable, CustomTestStringConvertible {
        var ourWindow = 15
        var theirWindow = 15
        var weForget = false
        var theyForget = false

        var testDescription: String {
            "ours \(ourWindow)\(weForget ? " forgetful" : ""), theirs \(theirWindow)\(theyForget ? " forgetful" : "")"
        }

        static let all =
            (8...15).map { Agreement(ourWindow: $0) } + (8...15).map { Agreement(theirWindow: $0) }
            + (8...15).map { Agreement(ourWindow: $0, weForget: true) }
            + [
                Agreement(theyForget: true), Agreement(weForget: true, theyForget: true),
                Agreement(ourWindow: 9, theirWindow: 9, weForget: true, theyForget: true),
                Agreement(ourWindow: 10, theirWindow: 12),
            ]
    }

    /// Text whose repeats are further apart than the small windows, and messages that repeat each other.
    private static let messages: [[UInt8]] = {
        var state: UInt32 = 7
        let words = (0..<900).map { _ -> [UInt8] in
            state = state &* 1_664_525 &+ 1_013_904_223
            return Array("\(state) ".utf8)
        }
        let block = Array(words.joined())
        return [block, block + block + block, Array(block.prefix(200)), block]
    }()

    @Test(arguments: Side.allCases, Agreement.all)
    func parametersAreHonoured(side: Side, agreement: Agreement) async throws {
        let (us, them) = side == .client ? ("client", "server") : ("server", "client")
        var header = "permessage-deflate"
        if agreement.ourWindow < 15 { header += "; \(us)_max_window_bits=\(agreement.ourWindow)" }
        if agreement.theirWindow < 15 { header += "; \(them)_max_window_bits=\(agreement.theirWindow)" }
        if agreement.weForget { header += "; \(us)_no_context_takeover" }
        if agreement.theyForget { header += "; \(them)_no_context_takeover" }
        try await withPair(side, .deflate, agreement: header) { pair in
            let agreed = try #require(pair.ours.details.deflate)
            let expected = WebSocketNegotiatedDeflate(
                serverNoContextTakeover: side == .server ? agreement.weForget : agreement.theyForget,
                clientNoContextTakeover: side == .client ? agreement.weForget : agreement.theyForget,
                serverMaxWindowBits: side == .server ? agreement.ourWindow : agreement.theirWindow,
                clientMaxWindowBits: side == .client ? agreement.ourWindow : agreement.theirWindow)
            #expect(agreed == expected)

            let decompressor = WebSocketRawDeflate.decompressor(
                windowBits: agreement.ourWindow, keepsContext: !agreement.weForget)
            var sizes: [Int] = []
            for message in Self.messages {
                try await pair.ours.send(.binary(message))
                let frame = try await pair.peer.readFrame(compression: true)
                // zlib cannot make a window of 8 bits: then we send as it is.
                #expect(frame.reserved.contains(.rsv1) == (agreement.ourWindow > 8))
                let plain = frame.reserved.isEmpty ? frame.payload : try decompressor.decompress(frame.payload)
                #expect(plain == message)
                sizes.append(frame.payload.count)
            }
            // The last repeats the first: with a context that reaches back that far it costs next to nothing.
            if agreement.ourWindow == 15 {
                #expect(agreement.weForget ? sizes[3] * 2 > sizes[0] : sizes[3] * 4 < sizes[0], "\(sizes)")
            }

            let compressor = WebSocketRawDeflate.compressor(
                windowBits: max(9, agreement.theirWindow), keepsContext: !agreement.theyForget)
            for message in Self.messages {
                // A peer with a window of 8 bits has no zlib to make it with.
                let frame =
                    agreement.theirWindow > 8
                    ? WebSocketWireFrame(WebSocketWireFrame.binary, compressor.compress(message), reserved: .rsv1)
                    : WebSocketWireFrame(WebSocketWireFrame.binary, message)
                let (peer, ours) = (pair.peer, pair.ours)
                async let sending: Void = peer.send(frame)
                #expect(try await ours.receive() == .binary(message))
                try await sending
            }
        }
    }

    /// Connections that keep no context have no streams of their own between two messages.
    @Test func connectionsWithoutContextShareTheirStreams() async throws {
        var deflate = WebSocketCompression.Deflate()
        (deflate.serverNoContextTakeover, deflate.clientNoContextTakeover) = (true, true)
        let options = WebSocketOptions.with { $0.compression = .deflate(deflate) }
        try await withLoops(2) { group in
            let (serverLoop, clientLoop) = (group.loops[0], group.loops[1])
            try await withServer(on: serverLoop, options: options) { server in
                var pairs: [(client: Connection, ours: Connection)] = []
                for _ in 0..<10 {
                    let client = try await clientLoop.connect(ClientRequest(port: server.port, options: options))
                    pairs.append((client, try await server.next()))
                }
                for message in Self.messages {
                    for pair in pairs {
                        try await pair.client.send(.binary(message))
                        #expect(try await pair.ours.receive() == .binary(message))
                        try await pair.ours.send(.binary(message))
                        #expect(try await pair.client.receive() == .binary(message))
                    }
                }
                for loop in [serverLoop, clientLoop] {
                    // One for each direction, because one message went at a time.
                    #expect(await loop.run { loop.resources.spareStreams.count } == 2)
                }
                for pair in pairs { _ = try await pair.client.close(WebSocketCloseFrame(code: .normalClosure)) }
            }
        }
    }

    /// What our own configuration asks for stands in the header that we write.
    @Test func aClientsWishesAreOffered() async throws {
        var deflate = WebSocketCompression.Deflate()
        deflate.serverNoContextTakeover = true
        deflate.clientNoContextTakeover = true
        deflate.serverMaxWindowBits = 11
        deflate.clientMaxWindowBits = 12
        let options = WebSocketOptions.with { $0.compression = .deflate(deflate) }
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try ClientRequest(port: listener.port, options: options)
            async let connecting = group.loops[0].connect(request)
            let peer = try await listener.accept()
            let head = try await peer.acceptHandshake(
                extensions: "permessage-deflate; server_no_context_takeover; server_max_window_bits=10")
            #expect(
                head["Sec-WebSocket-Extensions"]
                    == "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                    + "server_max_window_bits=11; client_max_window_bits=12")
            let client = try await connecting
            #expect(
                client.details.deflate
                    == WebSocketNegotiatedDeflate(
                        serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: 10,
                        clientMaxWindowBits: 12))
            peer.close()
            await client.end()
        }
    }

    @Test(
        arguments: [
            // What a client may offer, what a default server answers, and what it agrees on.
            ("permessage-deflate", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
            ("permessage-deflate; client_max_window_bits=10", "permessage-deflate; client_max_window_bits=10"),
            ("permessage-deflate; server_max_window_bits=15", "permessage-deflate; server_max_window_bits=15"),
            ("permessage-deflate; server_max_window_bits=\"9\"", "permessage-deflate; server_max_window_bits=9"),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
            ),
            // Offers that cannot be met are passed over.
            ("permessage-deflate; server_max_window_bits=16, permessage-deflate", "permessage-deflate"),
            (
                "x-webkit-deflate-frame, permessage-deflate; foo, permessage-deflate;client_max_window_bits",
                "permessage-deflate"
            ),
            ("permessage-deflate; server_max_window_bits=7", nil),
            ("permessage-deflate; unknown", nil),
            ("permessage-deflate; client_no_context_takeover=1", nil),
            ("x-webkit-deflate-frame", nil),
        ] as [(String, String?)])
    func aServerAnswersOffers(offer: String, answer: String?) async throws {
        try await withLoops { group in
            let options = WebSocketOptions.with { $0.compression = .deflate() }
            try await withServer(on: group.loops[0], options: options) { server in
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                let head = try await peer.openHandshake(extensions: offer)
                #expect(head["Sec-WebSocket-Extensions"] == answer)
                let connection = try await server.next()
                #expect((connection.details.deflate != nil) == (answer != nil))
                peer.close()
            }
        }
    }

    @Test func aServerWithoutCompressionDeclines() async throws {
        try await withLoops { group in
            try await withServer(on: group.loops[0]) { server in
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                let head = try await peer.openHandshake(extensions: "permessage-deflate")
                #expect(head.fields.allSatisfy { $0.name != "Sec-WebSocket-Extensions" })
                #expect(try await server.next().details.deflate == nil)
                peer.close()
            }
        }
    }
}
