//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// What all connections hold together (security rule 35).
@Suite(.timeLimit(.minutes(5))) struct MemoryBudgetTests {
    private static let piece = 64 << 10
    private static let noise = Payload.noise(4 << 20)

    /// Numbered, and of the size of a piece.
    private static func message(_ number: Int) -> [UInt8] {
        withUnsafeBytes(of: UInt32(number)) { Array($0) } + noise[..<(piece - 4)]
    }

    /// A server on loops with a budget of their own. Afterwards nothing may be charged any more.
    private func withBudget(
        _ limit: Int?, loops: Int = 1, transport: Transport = .plain,
        server change: @escaping @Sendable (inout WebSocketServerConfiguration) -> Void = { _ in },
        handler: @escaping Handler, _ body: (Loopback, WebSocketMemoryBudget) async throws -> Void
    ) async throws {
        let budget = try WebSocketMemoryBudget(limit: limit)
        try await withLoops(loops, memoryBudget: budget) { group in
            try await withLoopback(
                transport,
                server: {
                    $0.eventLoopGroup = group
                    // Not what this is about.
                    $0.options.inboundBuffer = .init(highMessages: 10_000, highBytes: 64 << 20)
                    $0.options.maximumMessageSize = 64 << 20
                    change(&$0)
                }, handler: handler
            ) { try await body($0, budget) }
        }
        let statistics = budget.statistics
        #expect(statistics.bytes == 0 && statistics.holders == 0 && !statistics.isTight, "\(statistics)")
    }

    private func reaches(
        _ what: String, _ budget: WebSocketMemoryBudget, _ loopback: Loopback,
        sourceLocation: SourceLocation = #_sourceLocation,
        _ condition: @escaping @Sendable (WebSocketMemoryStatistics) -> Bool
    ) async throws {
        try await until("\(what); \(budget.statistics)", on: loopback.loop, sourceLocation: sourceLocation) {
            condition(budget.statistics)
        }
    }

    /// A connection whose peer sends a part of one large message and no more.
    private struct Hog: Sendable {
        private let client: RawClient

        init(_ loopback: Loopback, announced: Int) async throws {
            client = try RawClient(port: loopback.server.port)
            try await client.upgrade()
            let length = (0..<8).map { UInt8(truncatingIfNeeded: announced >> (56 - 8 * $0)) }
            client.write([0x82, 0xFF] + length + [0, 0, 0, 0])
        }

        func send(_ count: Int) { client.write([UInt8](repeating: 7, count: count)) }

        /// The code of the close frame, which is all that it gets.
        func closeCode() async -> Int? {
            let bytes = await client.readToEnd()
            guard bytes.count >= 4, bytes[0] == 0x88 else { return nil }
            return Int(bytes[2]) << 8 | Int(bytes[3])
        }

        /// The first message that it gets.
        func answer(_ count: Int) async -> [UInt8] { await client.read { $0.count >= count } }
    }

    // MARK: First they are slowed down

    /// One that wants more than there is stops below the limit, and stays there.
    @Test func whatIsNotReadIsNotHeld() async throws {
        let count = 512
        let gate = Events<Void>()
        let received = Events<Int>()
        try await withBudget(
            10 << 20,
            handler: { socket in
                if socket.requestTarget == "/echo" {
                    for try await message in socket.messages { try await socket.send(message) }
                    return
                }
                var number = 0
                // Also when the connection is taken away, so that the test fails and does not wait.
                defer { received.send(number) }
                try await gate.next()
                for try await message in socket.messages {
                    guard message == .binary(Self.message(number)) else { break }
                    number += 1
                }
            }
        ) { loopback, budget in
            let socket = try await loopback.connect()
            let sending = Task {
                for number in 0..<count { try await socket.send(Self.message(number)) }
                try await socket.close()
            }
            try await reaches("it is slowed down", budget, loopback) { $0.slowedDown > 0 && $0.isTight }
            // Each round trip is some turns of the loop, which reads what is there, if it reads at all: 2.5 MiB more would be
            // the end.
            let neighbour = try await loopback.connect("/echo")
            for number in 0..<200 {
                try await neighbour.send(.text("\(number)"))
                #expect(try await neighbour.receive() == .text("\(number)"))
            }
            try await neighbour.close()
            #expect(budget.statistics.closed == 0 && budget.statistics.bytes < 10 << 20, "\(budget.statistics)")
            gate.send()
            #expect(try await received.next() == count)
            try await sending.value
        }
    }

    /// Peers that send more than may be held stop, and when their messages are received nothing is missing.
    @Test(arguments: [1, 2], [true, false]) func backpressureComesFirst(loops: Int, isOnLoop: Bool) async throws {
        let (peers, count) = (4, 32)
        let gates = (0..<peers).map { _ in Events<Void>() }
        let received = Events<Int>()
        try await withBudget(
            10 << 20, loops: loops, server: { if !isOnLoop { $0.executor = .global } },
            handler: { socket in
                if let gate = socket.requestTarget.flatMap({ Int($0.dropFirst()) }) { try await gates[gate].next() }
                var number = 0
                for try await message in socket.messages {
                    guard message == .binary(Self.message(number)) else { break }
                    number += 1
                }
                received.send(number)
            }
        ) { loopback, budget in
            // All of them want 8 MiB, of which none gets more than its share once 7.5 MiB are there.
            try await withThrowingTaskGroup(of: Void.self) { group in
                for peer in 0..<peers {
                    let socket = try await loopback.connect("/\(peer)")
                    group.addTask {
                        for number in 0..<count { try await socket.send(Self.message(number)) }
                        try await socket.close()
                    }
                }
                try await reaches("one is slowed down", budget, loopback) { $0.slowedDown > 0 && $0.isTight }
                #expect(budget.statistics.bytes <= 10 << 20)
                // A neighbour that is received at once does not notice.
                let neighbour = try await loopback.connect("/neighbour")
                for number in 0..<count { try await neighbour.send(Self.message(number)) }
                try await neighbour.close()
                #expect(try await received.next() == count)
                for gate in gates { gate.send() }
                for _ in gates { #expect(try await received.next() == count) }
                try await group.waitForAll()
            }
            let statistics = budget.statistics
            #expect(statistics.closed == 0 && statistics.refused == 0, "\(statistics)")
            #expect(statistics.peakBytes >= 15 << 19)
        }
    }

    // MARK: Then new ones are refused, and those that hold most go

    /// Parts of large messages, which no receiver can take: the largest pays, wherever it lives, and only for itself.
    @Test(arguments: [1, 2, 3]) func atTheLimitTheLargestGoes(loops: Int) async throws {
        let announced = 1 << 20
        let ends = Events<WebSocketError?>()
        try await withBudget(
            2 << 20, loops: loops,
            handler: { socket in
                do throws(WebSocketError) {
                    while true { try await socket.send(try await socket.receive()) }
                } catch {
                    ends.send(error)
                }
            }
        ) { loopback, budget in
            let hogs = [
                try await Hog(loopback, announced: announced), try await Hog(loopback, announced: 2 << 20),
                try await Hog(loopback, announced: announced),
            ]
            let neighbour = try await loopback.connect()
            func checkNeighbour() async throws {
                for size in [0, 100, 20_000] {
                    try await neighbour.send(Payload.zeros(size))
                    #expect(try await neighbour.receive() == .binary(Payload.zeros(size)))
                }
            }
            let step = 32 << 10
            // The share of three is 16 steps, and the limit 64.
            hogs[0].send(10 * step)
            hogs[1].send(47 * step)
            try await reaches("both are charged", budget, loopback) { $0.bytes >= 57 * step }
            try await checkNeighbour()
            let answer = try await loopback.answer(RawRequest.upgrade())
            #expect(answer.status == 503 && answer["Retry-After"] == "5")
            #expect(budget.statistics.refused == 1 && loopback.server.statistics.refusedForLimits == 1)
            #expect(budget.statistics.closed == 0 && budget.statistics.isTight)
            // It gets its share, and the one above its own makes room.
            hogs[2].send(8 * step)
            #expect(await hogs[1].closeCode() == 1013)
            let error = try #require(try await ends.next())
            #expect(error.code == .resourceExhausted && error.isSentence, "\(error)")
            #expect(error.closeInfo?.sent?.code == .tryAgainLater && error.closeInfo?.cause == .peerViolation)
            try await reaches("there is room", budget, loopback) { $0.bytes == 18 * step }
            #expect(budget.statistics.closed == 1)
            try await checkNeighbour()
            #expect(try await loopback.status(RawRequest.upgrade()) == 101)
            // Nothing of the others is lost.
            for hog in [(hogs[0], 10), (hogs[2], 8)] {
                hog.0.send(announced - hog.1 * step)
                let message = await hog.0.answer(announced + 10)
                #expect(message.count == announced + 10 && message.last == 7)
            }
            try await neighbour.close()
            #expect(budget.statistics.closed == 1)
        }
    }

    /// Peers that do not read what all are sent: they are cut off, and the one that reads gets everything.
    @Test func peersThatDoNotReadAreCutOffAtTheLimit() async throws {
        let (slow, size) = (3, 256 << 10)
        let ends = Events<WebSocketError?>()
        try await withBudget(
            4 << 20, server: { $0.broadcastLimits = .init(maximumBufferedBytes: 64 << 20, slowPeer: .drop) },
            handler: { socket in
                do throws(WebSocketError) {
                    _ = try await socket.receive()
                } catch {
                    if socket.requestTarget == "/" { ends.send(error) }
                }
            }
        ) { loopback, budget in
            var peers: [RawClient] = []
            for _ in 0..<slow {
                let peer = try RawClient(port: loopback.server.port)
                try await peer.upgrade()
                peers.append(peer)
            }
            let neighbour = try await loopback.connect("/neighbour")
            var sent = 0
            // The share grows as they go: the last one holds three quarters before it is slowed down.
            while budget.statistics.closed < slow {
                try #require(sent < 1_000, "\(budget.statistics)")
                loopback.server.broadcast(.binary(Array(Self.noise[sent..<(sent + size)])))
                #expect(try await neighbour.receive() == .binary(Array(Self.noise[sent..<(sent + size)])))
                sent += 1
            }
            #expect(budget.statistics.slowedDown > 0)
            for _ in 0..<slow {
                let error = try #require(try await ends.next())
                #expect(error.code == .resourceExhausted, "\(error)")
            }
            try await reaches("all is given back", budget, loopback) { $0.bytes == 0 }
            try await neighbour.close()
            #expect(budget.statistics.closed == slow)
            #expect(try await loopback.status(RawRequest.upgrade()) == 101)
            withExtendedLifetime(peers) {}
        }
    }

    /// A limit that is lowered holds at once.
    @Test func aLowerLimitHoldsForWhatIsThere() async throws {
        try await withBudget(nil, handler: echo) { loopback, budget in
            let hogs = [
                try await Hog(loopback, announced: 4 << 20), try await Hog(loopback, announced: 4 << 20),
            ]
            hogs[0].send(1 << 20)
            hogs[1].send(3 << 20)
            try await reaches("both are charged", budget, loopback) { $0.bytes == 4 << 20 }
            #expect(budget.limit == nil && !budget.statistics.isTight)
            try budget.setLimit(3 << 20)
            #expect(await hogs[1].closeCode() == 1013)
            try await reaches("there is room", budget, loopback) { $0.bytes == 1 << 20 }
            #expect(budget.limit == 3 << 20 && budget.statistics.closed == 1)
        }
    }

    // MARK: What is charged

    /// What a peer left behind is charged until a task has received it, or no task can any more.
    @Test(arguments: [true, false]) func messagesOfAPeerThatHasGoneAreCharged(areReceived: Bool) async throws {
        let count = 8
        let go = Events<Void>()
        let isGone = Events<Void>()
        let received = Events<Int>()
        try await withBudget(
            nil,
            handler: { socket in
                _ = try await socket.closed()
                isGone.send()
                try await go.next()
                var number = 0
                while areReceived, (try? await socket.receive()) != nil { number += 1 }
                received.send(number)
            }
        ) { loopback, budget in
            let socket = try await loopback.connect()
            for number in 0..<count { try await socket.send(Self.message(number)) }
            try await reaches("all are there", budget, loopback) { $0.bytes >= count * Self.piece }
            socket.abort()
            try await isGone.next()
            try await reaches("they still are", budget, loopback) { $0.bytes >= count * Self.piece }
            go.send()
            #expect(try await received.next() == (areReceived ? count : 0))
            try await reaches("all is given back", budget, loopback) { $0.bytes == 0 }
        }
    }

    /// zlib's streams, from the first message on; none where no context is kept.
    @Test(arguments: [true, false]) func streamsOfCompressionAreCharged(keepsContext: Bool) async throws {
        var knobs = WebSocketCompression.Deflate()
        (knobs.serverNoContextTakeover, knobs.clientNoContextTakeover) = (!keepsContext, !keepsContext)
        let compression = WebSocketCompression.deflate(knobs)
        try await withBudget(nil, transport: Transport(compression: compression), handler: echo) { loopback, budget in
            let socket = try await loopback.connect()
            #expect(budget.statistics.bytes == 0)
            for _ in 0..<3 {
                try await socket.send(Payload.zeros(1_000))
                #expect(try await socket.receive() == .binary(Payload.zeros(1_000)))
            }
            let low = keepsContext ? 150 << 10 : 0
            try await reaches("it is charged", budget, loopback) { low...(low * 3) ~= $0.bytes }
            #expect(budget.statistics.holders == 0)
            try await socket.close()
        }
    }

    // MARK: Settings

    @Test(arguments: [Int.min, -1, 0, 1, (1 << 20) - 1, (1 << 50) + 1, .max])
    func aLimitOutOfRangeIsRefused(limit: Int) throws {
        let budget = try WebSocketMemoryBudget(limit: 1 << 20)
        let attempts: [() throws -> Void] = [
            { _ = try WebSocketMemoryBudget(limit: limit) }, { try budget.setLimit(limit) },
        ]
        for attempt in attempts {
            let error = try #require(throws: WebSocketError.self) { try attempt() }
            #expect(error.code == .invalidConfiguration && error.isSentence)
            #expect(error.message.contains("\(limit)") && error.message.contains("1048576...1125899906842624"))
        }
        #expect(budget.limit == 1 << 20)
    }

    @Test func everyLoopHasTheProcessesBudgetByDefault() async throws {
        #expect(WebSocketMemoryBudget.defaultLimit >= 1 << 20)
        #expect(WebSocketMemoryBudget.shared.limit == WebSocketMemoryBudget.defaultLimit)
        try await withLoops { group in
            #expect(group.loops.allSatisfy { $0.memoryBudget === WebSocketMemoryBudget.shared })
        }
    }
}
