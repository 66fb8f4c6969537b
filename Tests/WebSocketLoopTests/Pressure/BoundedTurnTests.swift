//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSocketCore
import WebSocketsTestKit

@testable import WebSocketLoop

/// Large messages are compressed and decompressed over several turns of the loop. Nothing of them is lost or changes its
/// place, and what a turn does is counted in bytes.
@Suite(.timeLimit(.minutes(5))) struct BoundedTurnTests {
    private static let mebibyte = 1 << 20
    /// What a starved machine takes for it is not the subject.
    private static let patient = WebSocketOptions.with {
        ($0.flushTimeout, $0.closeTimeout) = (.seconds(120), .seconds(120))
        $0.compression = .deflate()
    }

    private static func noise(_ count: Int, seed: UInt32) -> [UInt8] {
        var state = seed
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            for index in 0..<count {
                state = state &* 1_664_525 &+ 1_013_904_223
                buffer[index] = UInt8(truncatingIfNeeded: state >> 24)
            }
            filled = count
        }
    }

    /// Sixteen letters, so that it is compressed to half its size.
    private static func letters(_ count: Int, seed: UInt32) -> [UInt8] {
        noise(count, seed: seed).map { UInt8(ascii: "a") + $0 % 16 }
    }

    private func largestTurn(_ loop: WebSocketEventLoop) async -> Int {
        await loop.run { loop.turnWork.budget.largestTurn }
    }

    /// One connection spends at most its share, in each direction.
    private func expectBoundedTurns(
        _ pair: Pair, sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        let most = await largestTurn(pair.loop)
        #expect(most > 0 && most <= 2 * TurnBudget.share, sourceLocation: sourceLocation)
    }

    // MARK: In

    /// Rule 33: what inflates to a mebibyte from a kilobyte, dozens of it in one write, with other things in between.
    @Test(arguments: Side.allCases)
    func bombsAreReceivedInOrder(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            let count = 40
            var wire: [UInt8] = []
            for number in 0..<count {
                let bomb = [UInt8](repeating: UInt8(number), count: Self.mebibyte)
                wire += pair.peer.bytes(of: pair.compressed(WebSocketWireFrame.binary, bomb))
                wire += pair.peer.bytes(of: .text("behind \(number)"))
            }
            wire += pair.peer.bytes(of: .close(1000))
            let peer = pair.peer
            async let written: Void = peer.write(wire)
            for number in 0..<count {
                guard case .binary(let bytes) = try await pair.ours.receive() else {
                    Issue.record("bomb \(number) is a text")
                    return
                }
                let isRight = bytes.count == Self.mebibyte && bytes.allSatisfy { $0 == UInt8(number) }
                #expect(isRight, "bomb \(number)")
                #expect(try await pair.ours.receive() == .text("behind \(number)"))
            }
            try await written
            #expect(try await pair.ours.closed().received?.code == .normalClosure)
            await expectBoundedTurns(pair)
        }
    }

    @Test(arguments: Side.allCases)
    func fragmentsOfALargeMessageAreReceived(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            for seed in 1...3 as ClosedRange<UInt32> {
                let message = [UInt8](repeating: UInt8(seed), count: 900_000) + Self.letters(100_000, seed: seed)
                let payload = pair.compressor.compress(message)
                let size = max(1, payload.count / 50)
                var frames: [WebSocketWireFrame] = []
                for start in stride(from: 0, to: payload.count, by: size) {
                    let end = min(start + size, payload.count)
                    frames.append(
                        WebSocketWireFrame(
                            start == 0 ? WebSocketWireFrame.binary : WebSocketWireFrame.continuation,
                            Array(payload[start..<end]), final: end == payload.count,
                            reserved: start == 0 ? .rsv1 : []))
                }
                try await pair.peer.write(pair.bytes(of: frames + [.text("after")]))
                #expect(try await pair.ours.receive() == .binary(message))
                #expect(try await pair.ours.receive() == .text("after"))
            }
            await expectBoundedTurns(pair)
        }
    }

    @Test(arguments: Side.allCases)
    func aReaderOfPiecesGetsAllOfThem(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            for kind in [WebSocketWireFrame.binary, WebSocketWireFrame.text] {
                let message = [UInt8](repeating: UInt8(ascii: "x"), count: Self.mebibyte)
                try await pair.peer.send(pair.compressed(kind, message), .text("next"))
                let pieces = try await pair.ours.receivePieces()
                var count = 0
                while let piece = try await pieces.next() {
                    #expect(piece.allSatisfy { $0 == UInt8(ascii: "x") })
                    count += piece.count
                }
                #expect(count == message.count)
                #expect(try await pair.ours.receive() == .text("next"))
            }
            await expectBoundedTurns(pair)
        }
    }

    /// The limits count what comes out, however many turns that takes.
    @Test(arguments: Side.allCases)
    func aBombBeyondTheLimitIsRefused(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            let bomb = pair.compressed(WebSocketWireFrame.binary, [UInt8](repeating: 0, count: 64 * Self.mebibyte))
            let peer = pair.peer
            async let written: Void = peer.send(.text("before"), bomb)
            #expect(try await pair.ours.receive() == .text("before"))
            let error = try await error { _ = try await pair.ours.receive() }
            #expect(error.code == .messageTooBig)
            #expect(try await pair.peer.readFrame().closeCode == 1009)
            _ = try? await written
            await expectBoundedTurns(pair)
        }
    }

    /// Nothing is decompressed that no task takes, and what is lost with the connection is counted.
    @Test(arguments: Side.allCases)
    func whatNoTaskTakesWaits(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            let ours = pair.ours
            let bomb = [UInt8](repeating: 1, count: Self.mebibyte)
            try await pair.peer.write(
                (0..<30).flatMap { _ in pair.peer.bytes(of: pair.compressed(WebSocketWireFrame.binary, bomb)) })
            await pair.loop.turn { ours.arrivals.isPaused && ours.inbound.inflater?.backlog != nil }
            for _ in 0..<20 { await pair.loop.pause() }
            let waiting = ours.arrivals.messageCount
            #expect(waiting <= 4 + 1, "4 MiB is the mark")
            #expect(ours.hasInboundResidue)
            // It goes on where it stopped.
            for _ in 0..<15 { #expect(try await ours.receive() == .binary(bomb)) }
            await pair.loop.turn { ours.arrivals.isPaused && ours.inbound.inflater?.backlog != nil }
            await ours.end()
            let info = try await ours.closed()
            // Of a server's, libwebsockets has the rest of the read, and a message that has not come whole is none.
            if side == .client { #expect(info.droppedMessages >= 1) }
        }
    }

    // MARK: Out

    /// Reads a whole message in one frame.
    private func readMessage(_ pair: Pair) async throws -> [UInt8] {
        let frame = try await pair.peer.readFrame(compression: true)
        #expect(frame.isFinal)
        return frame.reserved == .rsv1 ? try pair.decompressor.decompress(frame.payload) : frame.payload
    }

    @Test(arguments: Side.allCases, [true, false])
    func largeMessagesKeepTheirPlace(side: Side, isOnLoop: Bool) async throws {
        try await withPair(side, .deflate, options: Self.patient) { pair in
            let ours = pair.ours
            let messages: [[UInt8]] = (1...4).flatMap { seed -> [[UInt8]] in
                [
                    Self.letters(Self.mebibyte, seed: UInt32(seed)), Self.letters(50, seed: UInt32(seed)),
                    Self.noise(300_000, seed: UInt32(seed)), Self.noise(9, seed: UInt32(seed)),
                ]
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask(executorPreference: isOnLoop ? pair.loop.taskExecutor : nil) {
                    for message in messages { try await ours.send(.binary(message)) }
                    // The close frame is behind all of them, whatever is still to be compressed.
                    _ = try await ours.close(WebSocketCloseFrame(code: .normalClosure))
                }
                for (number, message) in messages.enumerated() {
                    let isRight = try await readMessage(pair) == message
                    #expect(isRight, "message \(number)")
                }
                #expect(try await pair.peer.readFrame().closeCode == 1000)
                try await pair.peer.send(.close(1000))
                try await group.waitForAll()
            }
            let info = try await ours.closed()
            #expect(info.isNormal && info.unsentMessages == 0)
            await expectBoundedTurns(pair)
        }
    }

    @Test(arguments: Side.allCases)
    func largePartsStayOneFrameEach(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            let ours = pair.ours
            let parts = (1...3).map { Self.letters(500_000, seed: $0) } + [Self.letters(10, seed: 9)]
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    let message = OutgoingParts(.binary, compression: .always)
                    for (number, part) in parts.enumerated() {
                        try await ours.send(part: part, isLast: number == parts.count - 1, of: message)
                    }
                    try await ours.send(.text("and a short one"))
                }
                var payload: [UInt8] = []
                for number in parts.indices {
                    let frame = try await pair.peer.readFrame(compression: true)
                    #expect(frame.isFinal == (number == parts.count - 1))
                    #expect(frame.reserved == (number == 0 ? .rsv1 : []))
                    payload += frame.payload
                }
                let isRight = try pair.decompressor.decompress(payload) == parts.flatMap { $0 }
                #expect(isRight)
                #expect(try await pair.peer.readFrame().payload == Array("and a short one".utf8))
                try await group.waitForAll()
            }
            await expectBoundedTurns(pair)
        }
    }

    /// Pings and their answers pass a message that is still being compressed, and the peer's close waits for it.
    @Test(arguments: Side.allCases)
    func thePeersCloseWaitsForWhatWasSent(side: Side) async throws {
        try await withPair(side, .deflate, options: Self.patient) { pair in
            let message = Self.letters(Self.mebibyte, seed: 5)
            let ours = pair.ours
            let reader = Task(executorPreference: pair.loop.taskExecutor) {
                // The answer to the request, at once.
                _ = try await ours.receive()
                #expect(ours.sendNow(message))
            }
            try await pair.peer.write(
                pair.peer.bytes(of: .text("give me all")) + pair.peer.bytes(of: .close(1000)))
            try await reader.value
            let isRight = try await readMessage(pair) == message
            #expect(isRight)
            #expect(try await pair.peer.readFrame().closeCode == 1000)
            #expect(try await ours.closed().unsentMessages == 0)
        }
    }

    /// An end while a message is being compressed is told, and the message counted.
    @Test(arguments: Side.allCases)
    func whatWasNotCompressedIsCountedAsUnsent(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            let ours = pair.ours
            let message = Self.letters(Self.mebibyte, seed: 6)
            await pair.loop.run {
                #expect(ours.sendNow(message))
                #expect(ours.outbound.deflater?.underWay != nil)
                ours.abort()
            }
            let info = try await ours.closed()
            #expect(info.unsentMessages == 1)
            #expect(ours.outbound.deflater?.underWay == nil)
        }
    }

    // MARK: Many

    /// Each of many connections of one loop sends and gets back what takes the whole of several turns.
    @Test func manyLargeMessagesAtOnceLeaveTurnsShort() async throws {
        let count = 24
        try await withLoops(2) { group in
            let (serverLoop, clientLoop) = (group.loops[0], group.loops[1])
            let options = Self.patient
            try await withServer(on: serverLoop, options: options) { server in
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    for _ in 0..<count {
                        let client = try await clientLoop.connect(ClientRequest(port: server.port, options: options))
                        let ours = try await server.next()
                        tasks.addTask(executorPreference: serverLoop.taskExecutor) {
                            while let message = try await ours.receiveUntilEnd() { try await ours.send(message) }
                        }
                        tasks.addTask {
                            for seed in 1...2 as ClosedRange<UInt32> {
                                let message = Self.letters(Self.mebibyte, seed: seed)
                                try await client.send(.binary(message))
                                try await client.send(.text("\(seed)"))
                                let isRight = try await client.receive() == .binary(message)
                                #expect(isRight)
                                #expect(try await client.receive() == .text("\(seed)"))
                            }
                            let info = try await client.close(WebSocketCloseFrame(code: .normalClosure))
                            #expect(info.isNormal && info.unsentMessages == 0 && info.droppedMessages == 0)
                        }
                    }
                    try await tasks.waitForAll()
                }
            }
            for loop in group.loops {
                let most = await largestTurn(loop)
                #expect(most > 0 && most <= TurnBudget.total + 2 * count * TurnBudget.always)
            }
        }
    }
}
