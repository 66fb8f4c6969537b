//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct BroadcastTests {
    /// Stays in the server's list until its client leaves.
    private static let member: Handler = { socket in
        try await socket.send("ready")
        await drain(socket)
    }

    private func members(_ loopback: Loopback, _ count: Int) async throws -> [WebSocketConnection] {
        var sockets: [WebSocketConnection] = []
        for _ in 0..<count {
            sockets.append(try await loopback.connect())
            #expect(try await sockets.last?.receive() == "ready")
        }
        return sockets
    }

    @Test(arguments: Transport.all)
    func everybodyGetsABroadcastInOrder(_ transport: Transport) async throws {
        try await withLoopback(transport, serverLoops: 2, handler: Self.member) { loopback in
            let sockets = try await members(loopback, 6)
            let messages: [WebSocketMessage] = Payload.sizes.filter { $0 < 100_000 }.flatMap {
                [.text(Payload.text($0)), .binary(Payload.noise($0))]
            }
            for message in messages { loopback.server.broadcast(message) }
            for socket in sockets {
                for message in messages { #expect(try await socket.receive().isIdentical(to: message)) }
            }
            #expect(loopback.server.statistics.broadcasts.sent == sockets.count * messages.count)
            for socket in sockets { #expect(try await socket.close().isNormal) }
            loopback.server.broadcast("to nobody")
        }
    }

    /// A broadcast is compressed apart from the connection's own messages: neither may refer to the other.
    @Test(arguments: [false, true])
    func broadcastsAndOwnMessagesShareACompressedConnection(_ noTakeover: Bool) async throws {
        var deflate = WebSocketCompression.Deflate()
        deflate.minimumSize = 0
        deflate.serverNoContextTakeover = noTakeover
        let options = WebSocketCompression.deflate(deflate)
        try await withLoopback(
            Transport(compression: options),
            handler: { socket in
                for try await message in socket.messages { try await socket.send(message) }
            }
        ) { loopback in
            let socket = try await loopback.connect()
            #expect(socket.deflate != nil)
            let text = String(repeating: "the same words again ", count: 50)
            for round in 0..<10 {
                try await socket.send("\(text)\(round)")
                #expect(try await socket.receive() == .text("\(text)\(round)"))
                loopback.server.broadcast(.text("\(text) broadcast \(round)"))
                #expect(try await socket.receive() == .text("\(text) broadcast \(round)"))
            }
            try await socket.close()
        }
    }

    /// Between a message's frames no other message may go (RFC 6455 §5.4).
    @Test func aBroadcastWaitsForTheEndOfAMessageInParts() async throws {
        let (parts, more) = AsyncStream.makeStream(of: String.self)
        try await withLoopback(
            handler: { socket in
                try await socket.send(fragments: parts)
                await drain(socket)
            }
        ) { loopback in
            let client = try RawClient(port: loopback.server.port)
            try await client.upgrade()
            more.yield("one ")
            more.yield("two ")
            // A text frame that is not the last one.
            let begun = await client.read { $0.count >= 6 }
            #expect(begun.first == 0x01)
            loopback.server.broadcast("all")
            loopback.server.broadcast("again")
            more.yield("three")
            more.finish()
            let broadcasts = [0x81, 3] + Array("all".utf8) + [0x81, 5] + Array("again".utf8)
            let bytes = await client.read { $0.suffix(broadcasts.count) == broadcasts[...] }
            #expect(bytes.suffix(broadcasts.count) == broadcasts[...])
            #expect(bytes.dropLast(broadcasts.count).contains(0x80))
            #expect(loopback.server.statistics.broadcasts.sent == 2)
        }
    }

    @Test func theSenderCanBeLeftOut() async throws {
        let sockets = Events<WebSocketConnection>()
        try await withLoopback(
            handler: { socket in
                sockets.send(socket)
                await drain(socket)
            }
        ) { loopback in
            let first = try await loopback.connect()
            let serverSide = try await sockets.next()
            let second = try await loopback.connect()
            _ = try await sockets.next()
            #expect(loopback.server.connections.count == 2)
            #expect(loopback.server.connections.contains { $0 === serverSide })
            loopback.server.broadcast("others", except: serverSide)
            loopback.server.broadcast("all")
            #expect(try await second.receive() == "others")
            #expect(try await second.receive() == "all")
            #expect(try await first.receive() == "all")
            try await first.close()
            try await second.close()
            let server = loopback.server
            try await until("nobody is left", on: loopback.serverLoops.loops[0]) { server.connections.isEmpty }
        }
    }

    // MARK: Slow peers

    /// A client that reads nothing, and one that does.
    private func withSlowPeer(
        _ policy: WebSocketBroadcastLimits.SlowPeer,
        _ body: (Loopback, _ slow: RawClient, _ fast: WebSocketConnection) async throws -> Void
    ) async throws {
        try await withLoopback(
            server: {
                $0.broadcastLimits = .init(maximumBufferedBytes: 200_000, slowPeer: policy)
                $0.options.closeTimeout = .milliseconds(100)
            }, handler: Self.member
        ) { loopback in
            let slow = try RawClient(port: loopback.server.port)
            try await slow.upgrade()
            let fast = try await members(loopback, 1)[0]
            try await body(loopback, slow, fast)
        }
    }

    private static let chunk = Payload.noise(50_000)

    /// Broadcasts until `isEnough`; the fast peer gets every one of them at once.
    private func flood(
        _ server: WebSocketServer, _ fast: WebSocketConnection,
        until isEnough: (WebSocketBroadcastStatistics) -> Bool
    ) async throws -> Int {
        for count in 1...2_000 {
            server.broadcast(.binary(Self.chunk))
            // The slow one holds up nobody.
            #expect(try await fast.receive() == .binary(Self.chunk))
            if isEnough(server.statistics.broadcasts) { return count }
        }
        try #require(Bool(false), "no limit was reached")
        return 0
    }

    @Test func aSlowPeerMissesWhatItDoesNotRead() async throws {
        try await withSlowPeer(.drop) { loopback, slow, fast in
            let count = try await flood(loopback.server, fast) { $0.dropped >= 3 }
            let statistics = loopback.server.statistics.broadcasts
            #expect(statistics.sent + statistics.dropped == count * 2)
            #expect(statistics.disconnected == 0)
            // What was taken arrives whole: its "ready", then frames of one size.
            let taken = statistics.sent - count
            let bytes = await slow.read { $0.count >= 7 + taken * (Self.chunk.count + 4) }
            #expect(bytes.count == 7 + taken * (Self.chunk.count + 4))
            loopback.server.broadcast("again")
            #expect(await slow.read { $0.count >= 7 } == [0x81, 5] + Array("again".utf8))
            try await fast.close()
        }
    }

    @Test func aSlowPeerGetsTheLatestOfEachKind() async throws {
        try await withSlowPeer(.keepLatest) { loopback, slow, fast in
            _ = try await flood(loopback.server, fast) { $0.replaced >= 3 }
            loopback.server.broadcast("the latest")
            #expect(try await fast.receive() == "the latest")
            let last = [0x81, 10] + Array("the latest".utf8)
            let bytes = await slow.read { $0.suffix(last.count) == last[...] }
            #expect(bytes.suffix(last.count) == last[...])
            // Only whole messages, and fewer than were broadcast.
            let statistics = loopback.server.statistics.broadcasts
            #expect(statistics.dropped == 0 && statistics.replaced >= 4)
            try await fast.close()
        }
    }

    @Test func aSlowPeerIsSentAway() async throws {
        try await withSlowPeer(.disconnect) { loopback, slow, fast in
            _ = try await flood(loopback.server, fast) { $0.disconnected == 1 }
            let server = loopback.server
            // It reads nothing, so its close ends at the timeout.
            try await until("only the fast one is left", on: loopback.serverLoops.loops[0]) {
                server.connections.count == 1
            }
            await slow.readToEnd()
            #expect(loopback.server.statistics.broadcasts.disconnected == 1)
            #expect(loopback.server.statistics.broadcasts.dropped == 0)
            try await fast.close()
        }
    }

    // MARK: Topics

    /// A client that reads nothing, subscribed to many topics.
    private func withSlowSubscriber(
        of count: Int, _ limit: Int,
        _ body: (WebSocketTopics, Loopback, _ slow: RawClient) async throws -> Void
    ) async throws {
        let topics = WebSocketTopics(limits: .init(maximumBufferedBytes: limit, slowPeer: .keepLatest))
        try await withLoopback(
            server: { $0.options.closeTimeout = .milliseconds(100) },
            handler: { socket in
                topics.subscribe(socket, to: "filler")
                for number in 0..<count { topics.subscribe(socket, to: "\(number)") }
                await drain(socket)
            }
        ) { loopback in
            let slow = try RawClient(port: loopback.server.port)
            try await slow.upgrade()
            let loop = loopback.serverLoops.loops[0]
            try await until("subscribed", on: loop) { topics.subscriberCount(of: "\(count - 1)") == 1 }
            // What the system buffers goes first, then what goes out in any case.
            var published = 0
            while topics.statistics.replaced == 0 {
                published += 1
                try #require(published < 2_000, "the peer is never slow")
                topics.publish(.binary(Self.chunk), to: "filler")
                let last = published
                try await until("published", on: loop) {
                    topics.statistics.sent + topics.statistics.replaced == last
                }
            }
            try await body(topics, loopback, slow)
        }
    }

    /// Rule 32: what waits for a slow peer costs the same with any number of topics. `LatestByKeyTests` counts the steps.
    @Test func aSlowPeerGetsTheLatestOfEachOfManyTopics() async throws {
        let count = 20_000
        try await withSlowSubscriber(of: count, 16 << 20) { topics, loopback, slow in
            let before = topics.statistics.sent + topics.statistics.replaced
            for round in 0..<3 {
                for number in 0..<count { topics.publish(.text("\(round) \(number)"), to: "\(number)") }
            }
            try await until("published", on: loopback.serverLoops.loops[0]) {
                topics.statistics.sent + topics.statistics.replaced == before + 3 * count
            }
            #expect(topics.statistics.dropped == 0 && topics.statistics.disconnected == 0)
            // Whatever was not replaced arrives, and of each topic the newest last.
            var newest: [Int: Int] = [:]
            var unread: [UInt8] = []
            var messages = 0
            while messages < topics.statistics.sent {
                unread += await slow.read { !$0.isEmpty }
                var offset = 0
                while let (payload, end) = Self.frame(unread, at: offset) {
                    messages += 1
                    offset = end
                    let words = String(decoding: unread[payload].prefix(20), as: UTF8.self).split(separator: " ")
                    guard words.count == 2, let round = Int(words[0]), let number = Int(words[1]) else { continue }
                    newest[number] = round
                }
                unread.removeFirst(offset)
            }
            #expect(newest.count == count && newest.values.allSatisfy { $0 == 2 })
        }
    }

    /// Where the payload of a server's frame lies, and where the frame ends; nil when it is not whole.
    private static func frame(_ bytes: [UInt8], at start: Int) -> (payload: Range<Int>, end: Int)? {
        guard bytes.count >= start + 2 else { return nil }
        var (head, size) = (2, Int(bytes[start + 1]))
        if size == 126 {
            guard bytes.count >= start + 4 else { return nil }
            (head, size) = (4, Int(bytes[start + 2]) << 8 | Int(bytes[start + 3]))
        }
        let end = start + head + size
        return bytes.count >= end ? (start + head..<end, end) : nil
    }

    /// Rule 32: the newest messages of a slow peer's topics count against its limit.
    @Test func aSlowPeerWithTooManyTopicsIsSentAway() async throws {
        let (count, limit) = (20_000, 200_000)
        try await withSlowSubscriber(of: count, limit) { topics, loopback, slow in
            let message = WebSocketMessage.binary(Payload.noise(1_000))
            for number in 0..<count { topics.publish(message, to: "\(number)") }
            try await until("sent away", on: loopback.serverLoops.loops[0]) {
                topics.statistics.disconnected == 1
            }
            await slow.readToEnd()
            #expect(topics.statistics.dropped == 0)
        }
    }

    @Test(arguments: [Transport.plain, Transport(isSecure: true, compression: .deflate())])
    func subscribersGetWhatIsPublished(_ transport: Transport) async throws {
        let topics = WebSocketTopics()
        try await withLoopback(
            transport, serverLoops: 2,
            handler: { socket in
                for try await message in socket.messages {
                    guard case .text(let text) = message else { continue }
                    let words = text.split(separator: " ", maxSplits: 2).map(String.init)
                    switch words[0] {
                    case "subscribe": topics.subscribe(socket, to: words[1])
                    case "unsubscribe": topics.unsubscribe(socket, from: words[1])
                    default: topics.publish(.text(words[2]), to: words[1], except: socket)
                    }
                    try await socket.send("done")
                }
            }
        ) { loopback in
            var sockets: [WebSocketConnection] = []
            func tell(_ index: Int, _ command: String) async throws {
                try await sockets[index].send(command)
                #expect(try await sockets[index].receive() == "done")
            }
            for _ in 0..<3 { sockets.append(try await loopback.connect()) }
            try await tell(0, "subscribe a")
            try await tell(1, "subscribe a")
            try await tell(1, "subscribe a")
            try await tell(1, "subscribe b")
            #expect(topics.subscriberCount(of: "a") == 2)
            #expect(topics.subscriberCount(of: "b") == 1)
            #expect(topics.subscriberCount(of: "c") == 0)
            try await tell(2, "publish a hello to a")
            try await tell(2, "publish b hello to b")
            try await tell(2, "publish c to nobody")
            #expect(try await sockets[0].receive() == "hello to a")
            #expect(try await sockets[1].receive() == "hello to a")
            #expect(try await sockets[1].receive() == "hello to b")
            // One's own is not for oneself.
            try await tell(0, "publish a from the first")
            #expect(try await sockets[1].receive() == "from the first")
            try await tell(1, "unsubscribe a")
            try await tell(1, "unsubscribe a")
            try await tell(2, "publish a only for the first")
            #expect(try await sockets[0].receive() == "only for the first")
            #expect(topics.subscriberCount(of: "a") == 1)
            #expect(topics.statistics.sent == 5)
            // Who leaves is subscribed no more.
            for socket in sockets { try await socket.close() }
            try await until("nobody is subscribed", on: loopback.serverLoops.loops[0]) {
                topics.subscriberCount(of: "a") == 0 && topics.subscriberCount(of: "b") == 0
            }
            topics.publish("too late", to: "a")
        }
    }

    /// Subscribers need not be a server's connections.
    @Test func clientsCanSubscribeToo() async throws {
        let topics = WebSocketTopics()
        try await withLoopback(handler: echo) { loopback in
            let socket = try await loopback.connect()
            topics.subscribe(socket, to: "a")
            topics.publish("through the server and back", to: "a")
            #expect(try await socket.receive() == "through the server and back")
            try await socket.close()
            topics.subscribe(socket, to: "a")
            try await until("it is not subscribed", on: loopback.loop) { topics.subscriberCount(of: "a") == 0 }
        }
    }
}
