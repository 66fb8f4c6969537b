//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// What happens when one side does not read.
@Suite(.timeLimit(.minutes(5))) struct BackpressureTests {
    private static let messageBytes = 16 << 10

    /// A numbered message of which every byte is known.
    private static func message(_ number: Int) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
            + [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: messageBytes - 8)
    }

    /// The peer's frame with it; a mask of zeros costs no time.
    private static func frame(_ number: Int, _ side: Side) -> [UInt8] {
        WebSocketWireFrame(WebSocketWireFrame.binary, message(number), maskKey: side == .server ? [0, 0, 0, 0] : nil)
            .bytes
    }

    /// How many turns of the loop without any progress count as standing still. Loopback sockets make theirs at once.
    private static let quietTurns = 50

    // MARK: The peer does not read

    @Test(arguments: Side.allCases, [true, false])
    func sendingSuspendsUntilThePeerReads(side: Side, isOnLoop: Bool) async throws {
        try await withPair(side, receiveBuffer: 8 << 10) { pair in
            let (ours, loop) = (pair.ours, pair.loop)
            // More than any socket buffer takes.
            let total = 700
            try await withThrowingTaskGroup(of: Void.self) { group in
                let sent = Progress()
                group.addTask(executorPreference: isOnLoop ? loop.taskExecutor : nil) {
                    for number in 0..<total {
                        try await ours.send(.binary(Self.message(number)))
                        sent.add()
                    }
                }
                await expectStandstill(loop, sent) { loop.diagnostics.pendingContinuations == 1 }
                #expect(sent.count < total)
                // Control frames do not wait for room.
                async let roundTrip = ours.ping()
                await loop.turn { loop.diagnostics.pendingContinuations == 2 }
                var next = 0
                var pings = 0
                while next < total || pings < 1 {
                    let frame = try await pair.peer.readFrame()
                    if frame.opcode == WebSocketWireFrame.ping {
                        pings += 1
                        try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, frame.payload))
                        continue
                    }
                    guard frame.payload == Self.message(next) else {
                        Issue.record("message \(next) is not what was sent")
                        break
                    }
                    next += 1
                }
                #expect(next == total && pings == 1)
                _ = try await roundTrip
                try await group.waitForAll()
            }
        }
    }

    private final class Progress: Sendable {
        private let value = Atomic<Int>(0)
        var count: Int { value.load(ordering: .relaxed) }
        func add() { value.wrappingAdd(1, ordering: .relaxed) }
    }

    /// Waits until a condition holds and progress has stopped.
    private func expectStandstill(
        _ loop: WebSocketEventLoop, _ progress: Progress, sourceLocation: SourceLocation = #_sourceLocation,
        _ condition: @escaping @Sendable () -> Bool
    ) async {
        let quiet = Mutex((count: -1, turns: 0))
        await loop.turn(
            until: {
                quiet.withLock { quiet in
                    let count = progress.count
                    quiet.turns = condition() && count == quiet.count ? quiet.turns + 1 : 0
                    quiet.count = count
                    return quiet.turns >= Self.quietTurns
                }
            }, sourceLocation: sourceLocation)
    }

    @Test(arguments: Side.allCases)
    func aSuspendedSendMayBeCancelledOrClosed(side: Side) async throws {
        let options = WebSocketOptions.with { $0.flushTimeout = .milliseconds(100) }
        try await withPair(side, options: options, receiveBuffer: 8 << 10) { pair in
            let (ours, loop) = (pair.ours, pair.loop)
            let sent = Progress()
            let filling = Task {
                do {
                    while true {
                        try await ours.send(.binary(Self.message(sent.count)))
                        sent.add()
                    }
                } catch let error as WebSocketError {
                    return error
                }
            }
            await expectStandstill(loop, sent) { loop.diagnostics.pendingContinuations == 1 }
            let cancelled = Task { try await ours.send("never") }
            await loop.turn { loop.diagnostics.pendingContinuations == 2 }
            cancelled.cancel()
            #expect(try await error { try await cancelled.value }.code == .cancelled)
            // The close frame waits behind what was accepted; the one that is suspended is told at once.
            let info = try await ours.close(WebSocketCloseFrame(code: .normalClosure))
            #expect(try await filling.value.code == .connectionClosed)
            #expect(info.cause == .flushTimeout && info.sent == nil)
            #expect(info.unsentMessages > 0 && info.unsentMessages <= sent.count)
        }
    }

    /// A peer that reads again after our close gets everything that was accepted, and then the close frame.
    @Test(arguments: Side.allCases)
    func whatWasAcceptedGoesOutBeforeTheClose(side: Side) async throws {
        try await withPair(side, receiveBuffer: 8 << 10) { pair in
            let (ours, loop) = (pair.ours, pair.loop)
            let sent = Progress()
            let filling = Task {
                while true {
                    guard (try? await ours.send(.binary(Self.message(sent.count)))) != nil else { return }
                    sent.add()
                }
            }
            await expectStandstill(loop, sent) { loop.diagnostics.pendingContinuations == 1 }
            async let closing = ours.close(WebSocketCloseFrame(code: .normalClosure))
            await filling.value
            for number in 0..<sent.count {
                let payload = try await pair.peer.readFrame().payload
                guard payload == Self.message(number) else {
                    Issue.record("message \(number) is not what was sent")
                    break
                }
            }
            #expect(try await pair.peer.readFrame().closeCode == 1000)
            try await pair.peer.send(.close(1000))
            let info = try await closing
            #expect(info.isNormal && info.unsentMessages == 0)
        }
    }

    // MARK: Our side does not receive

    /// Writes a stream until the other side takes no more of it.
    private func writeUntilStandstill(_ pair: Pair, _ stream: [UInt8], from start: Int = 0) async throws -> Int {
        var written = start
        var quiet = 0
        while written < stream.count, quiet < Self.quietTurns {
            let count = pair.peer.writeWithoutWaiting(Array(stream[written..<min(written + (256 << 10), stream.count)]))
            written += count
            quiet = count > 0 ? 0 : quiet + 1
            if count == 0 { await pair.loop.pause() }
        }
        return written
    }

    @Test(arguments: Side.allCases, Compression.allCases)
    func readingStopsUntilOurSideReceives(side: Side, compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            // More than any socket buffer takes.
            let total = 700
            var stream: [UInt8] = []
            for number in 0..<total {
                stream += Self.frame(number, side)
            }
            let written = try await writeUntilStandstill(pair, stream)
            #expect(written < stream.count, "everything was read though nobody received")
            let (peer, ours) = (pair.peer, pair.ours)
            let rest = Array(stream[written...])
            async let writing: Void = peer.write(rest)
            for number in 0..<total {
                guard try await ours.receive() == .binary(Self.message(number)) else {
                    Issue.record("message \(number) is not what was sent")
                    break
                }
            }
            try await writing
            try await pair.fence()
        }
    }

    /// Few large messages meet the byte mark long before the message mark.
    @Test(arguments: Side.allCases)
    func theByteMarkStopsReadingToo(side: Side) async throws {
        let options = WebSocketOptions.with {
            $0.inboundBuffer = .init(highMessages: 1_000_000, lowMessages: 4, highBytes: 100_000)
        }
        try await withPair(side, options: options) { pair in
            let total = 700
            var stream: [UInt8] = []
            for number in 0..<total {
                stream += Self.frame(number, side)
            }
            let written = try await writeUntilStandstill(pair, stream)
            #expect(written < stream.count)
            let (peer, ours) = (pair.peer, pair.ours)
            let rest = Array(stream[written...])
            async let writing: Void = peer.write(rest)
            for number in 0..<total {
                guard try await ours.receive() == .binary(Self.message(number)) else {
                    Issue.record("message \(number) is not what was sent")
                    break
                }
            }
            try await writing
        }
    }

    /// While reading is paused the peer's frames wait; our close makes it read on, and every message is either
    /// received or counted as dropped.
    @Test(arguments: Side.allCases)
    func ourCloseReadsThePeersAnswerThroughAFullBuffer(side: Side) async throws {
        try await withPair(side) { pair in
            let total = 100
            var stream: [UInt8] = []
            for number in 0..<total {
                stream += Self.frame(number, side)
            }
            let (peer, ours) = (pair.peer, pair.ours)
            let written = try await writeUntilStandstill(pair, stream)
            async let closing = ours.close(WebSocketCloseFrame(code: .normalClosure))
            #expect(try await peer.readFrame().closeCode == 1000)
            try await peer.write(Array(stream[written...]) + peer.bytes(of: .close(1000)))
            let info = try await closing
            #expect(info.isNormal && info.receivedFirst == false)
            var received = 0
            while let message = try? await ours.receive() {
                #expect(message == .binary(Self.message(received)))
                received += 1
            }
            #expect(received >= 16)
            #expect(received + info.droppedMessages == total)
        }
    }

    @Test(arguments: Side.allCases)
    func aCancelledReceiveTakesNoMessage(side: Side) async throws {
        try await withPair(side) { pair in
            let (ours, loop) = (pair.ours, pair.loop)
            for number in 0..<200 {
                let receiving = Task { try await ours.receive() }
                if number % 2 == 0 { await loop.turn { loop.diagnostics.pendingContinuations == 1 } }
                let text = "\(number)"
                async let sending: Void = pair.peer.send(.text(text))
                receiving.cancel()
                try await sending
                do {
                    #expect(try await receiving.value == .text(text))
                } catch let error as WebSocketError {
                    #expect(error.code == .cancelled)
                    #expect(try await ours.receive() == .text(text))
                }
            }
        }
    }
}
