//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Messages in parts and pieces, pings and replies against Python's websockets.
@Suite(.timeLimit(.minutes(5)))
struct PythonMessageTests {
    /// Both directions in fragments, with pings of both sides in between.
    @Test(arguments: [false, true])
    func fragmentsAreUnderstoodBothWays(deflate: Bool) async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(
                Transport(compression: deflate ? .deflate() : .disabled), on: loops)
            configuration.options.keepAlive = .init(interval: .milliseconds(2), timeout: .seconds(60))
            try await Peer.echoServer(["--behaviour", "by-path"]) { [configuration] peer in
                try await WebSocketClient.withConnection(
                    to: "ws://127.0.0.1:\(peer.port)/fragment/4", configuration: configuration
                ) { socket in
                    for size in [1, 125, 1_000, 65_536, 200_000] {
                        let text = Payload.text(size)
                        try await socket.withMessageWriter(as: .text) { writer in
                            for part in stride(from: 0, to: text.utf8.count, by: 50_000) {
                                try await writer.write(Array(text.utf8.dropFirst(part).prefix(50_000)))
                            }
                        }
                        let message = try await socket.receiveStream()
                        #expect(try await message.collect().isIdentical(to: .text(text)))

                        let bytes = Payload.noise(size)
                        let parts = AsyncStream<[UInt8]> { continuation in
                            for part in stride(from: 0, to: size, by: 30_000) {
                                continuation.yield(Array(bytes.dropFirst(part).prefix(30_000)))
                            }
                            continuation.finish()
                        }
                        try await socket.send(fragments: parts)
                        #expect(try await socket.receive(timeout: .seconds(60)) == .binary(bytes))
                    }
                    _ = try await socket.ping([1, 2, 3])
                    #expect(socket.latency != nil)
                }
                let closed = try await peer.next("closed")
                let close = try #require(closed["close"] as? [String: Any])
                #expect((close["received"] as? [String: Any])?["code"] as? Int == 1000)
            }
        }
    }

    @Test func anAbandonedMessageLeavesTheConnectionUsable() async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(on: loops)
            configuration.options.maximumMessageSize = 64 << 20
            try await Peer.echoServer(["--behaviour", "by-path"]) { [configuration] peer in
                try await WebSocketClient.withConnection(
                    to: "ws://127.0.0.1:\(peer.port)/big/20000000", configuration: configuration
                ) { socket in
                    do {
                        let message = try await socket.receiveStream()
                        var iterator = message.makeAsyncIterator()
                        #expect(try await iterator.next()?.isEmpty == false)
                    }
                    try await socket.send("next")
                    #expect(try await socket.receive() == "next")
                }
            }
        }
    }

    @Test func anUnfinishedMessageIsSeenAs1011() async throws {
        struct Oops: Error {}
        try await withLoops { loops in
            let configuration = try clientConfiguration(on: loops)
            try await Peer.echoServer { peer in
                let socket = try await WebSocketClient.connect(
                    to: "ws://127.0.0.1:\(peer.port)/", configuration: configuration)
                await #expect(throws: Oops.self) {
                    try await socket.withMessageWriter(as: .binary) { writer in
                        try await writer.write([1])
                        throw Oops()
                    }
                }
                let closed = try await peer.next("closed")
                let close = try #require(closed["close"] as? [String: Any])
                #expect((close["received"] as? [String: Any])?["code"] as? Int == 1011)
            }
        }
    }
}
