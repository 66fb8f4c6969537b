//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore
import WebSocketsTestKit

@testable import WebSocketLoop

/// A peer is judged by what it can be blamed for: `Liveness` beside real sockets.
@Suite(.timeLimit(.minutes(5))) struct LivenessOnTheWireTests {
    /// A peer that has to answer in time has seconds, whatever else this machine does.
    private static func keepAlive(_ interval: Int, _ timeout: Int) -> WebSocketOptions {
        .with { $0.keepAlive = .init(interval: .milliseconds(interval), timeout: .milliseconds(timeout)) }
    }

    /// The peer's next ping frame; data frames before it are skipped.
    private static func ping(at peer: WebSocketBytePeer) async throws -> [UInt8] {
        while true {
            let frame = try await peer.readFrame()
            if frame.opcode == WebSocketWireFrame.ping { return frame.payload }
        }
    }

    /// Rule 29: a handler held the loop past the deadline: the pong, and the message beside it, lie in the socket.
    @Test(arguments: Side.allCases, EventLoopJobTests.backends)
    func aHeldLoopReadsBeforeItJudges(side: Side, backend: WebSocketEventLoop.Backend) async throws {
        try await withPair(side, options: Self.keepAlive(20, 5_000), backend: backend) { pair in
            for round in 0..<2 {
                let ping = try await Self.ping(at: pair.peer)
                let (isHeld, gate) = (LoopSemaphore(), LoopSemaphore())
                pair.loop.execute {
                    isHeld.signal()
                    gate.wait()
                }
                isHeld.wait()
                try await pair.peer.send(.init(WebSocketWireFrame.pong, ping))
                try await pair.peer.send(.text("beside \(round)"))
                // Past the deadline, on the kernel's clock.
                try await Task.sleep(for: .milliseconds(5_500))
                gate.signal()
                #expect(try await pair.ours.receive() == .text("beside \(round)"))
            }
            #expect(pair.ours.finalCloseInfo == nil)
        }
    }

    /// The same for a wait of the caller's: what lies in the socket has come in time.
    @Test(arguments: Side.allCases)
    func aHeldLoopReadsBeforeAReceiveTimesOut(side: Side) async throws {
        try await withPair(side) { pair in
            let ours = pair.ours
            // Long enough for a busy machine to hold the loop within it.
            let receiving = Task { try await ours.receive(timeout: .seconds(5)) }
            await pair.loop.turn { pair.loop.diagnostics.pendingContinuations == 1 }
            let (isHeld, gate) = (LoopSemaphore(), LoopSemaphore())
            pair.loop.execute {
                isHeld.signal()
                gate.wait()
            }
            isHeld.wait()
            try await pair.peer.send(.text("in time"))
            try await Task.sleep(for: .milliseconds(5_200))
            gate.signal()
            #expect(try await receiving.value == .text("in time"))
        }
    }

    /// `wire.md` 2: the peer cannot put a pong inside a frame (RFC 6455 §5.4).
    @Test(arguments: Side.allCases, Compression.allCases)
    func aLongFrameThatArrivesSlowlyIsLife(side: Side, compression: Compression) async throws {
        try await withPair(side, compression, options: Self.keepAlive(50, 5_000)) { pair in
            // Little enough that a server's library hands it over only when it is whole.
            let frame = pair.peer.bytes(of: .init(WebSocketWireFrame.binary, [UInt8](repeating: 5, count: 2_000)))
            for piece in 0..<16 {
                try await pair.peer.write(Array(frame[(piece * frame.count / 16)..<((piece + 1) * frame.count / 16)]))
                try await Task.sleep(for: .milliseconds(400))
            }
            #expect(try await pair.ours.receive().byteCount == 2_000)
            #expect(pair.ours.finalCloseInfo == nil)
        }
    }

    /// `wire.md` 22: pongs that answer nothing cause no pings, with a keepalive and without.
    @Test(arguments: Side.allCases, [[], [7], Array("heartbeat".utf8)] as [[UInt8]])
    func foreignPongsCauseNoPings(side: Side, payload: [UInt8]) async throws {
        try await withPair(side) { pair in
            let ours = pair.ours
            let pinging = Task { try await ours.ping() }
            let ping = try await Self.ping(at: pair.peer)
            for _ in 0..<50 { try await pair.peer.send(.init(WebSocketWireFrame.pong, payload)) }
            try await Task.sleep(for: .milliseconds(20))
            try await pair.peer.send(.init(WebSocketWireFrame.ping, [1]))
            let answer = try await pair.peer.readFrame()
            #expect(answer.opcode == WebSocketWireFrame.pong, "and no ping before it")
            try await pair.peer.send(.init(WebSocketWireFrame.pong, ping))
            #expect(try await pinging.value > 0)
        }
        try await withPair(side, options: Self.keepAlive(50, 4_000)) { pair in
            let started = ContinuousClock.now
            for _ in 0..<3 {
                _ = try await Self.ping(at: pair.peer)
                try await pair.peer.send(.init(WebSocketWireFrame.pong, payload))
            }
            // One ping goes out for each timeout that the peer's other pongs have put off.
            #expect(ContinuousClock.now - started > .milliseconds(7_500))
            #expect(pair.ours.finalCloseInfo == nil)
        }
    }

    /// `wire.md` 3: the ping stands behind the data, in this side's buffer and in the kernel's.
    @Test(arguments: Side.allCases)
    func aPeerThatTakesDataSlowlyIsNotLate(side: Side) async throws {
        // Room for several segments of the loopback's, or TCP itself stands still between its probes of the window.
        try await withPair(side, options: Self.keepAlive(50, 5_000), receiveBuffer: 512 << 10) { pair in
            let size = 12 << 20
            try await pair.ours.send(.binary([UInt8](repeating: 1, count: size)))
            let step = size / 20
            var left = size + (side == .client ? 14 : 10)
            // Pings that were queued before the message come first.
            while true {
                let head = try await pair.peer.read(2)
                if head[0] == 0x82 { break }
                #expect(head[0] == 0x89)
                let mask = try await pair.peer.read(head[1] & 0x80 == 0 ? 0 : 4)
                let payload = try await pair.peer.read(8)
                let ping = mask.isEmpty ? payload : payload.indices.map { payload[$0] ^ mask[$0 % 4] }
                try await pair.peer.send(.init(WebSocketWireFrame.pong, ping))
            }
            left -= 2
            while left > 0 {
                left -= try await pair.peer.read(min(left, step)).count
                try await Task.sleep(for: .milliseconds(400))
            }
            let ping = try await Self.ping(at: pair.peer)
            try await pair.peer.send(.init(WebSocketWireFrame.pong, ping))
            #expect(pair.ours.finalCloseInfo == nil)
        }
    }

    /// `wire.md` 4: while this side does not read, a missing pong says nothing.
    @Test(arguments: Side.allCases)
    func aPausedReaderDoesNotCondemnThePeer(side: Side) async throws {
        let options = WebSocketOptions.with {
            $0.keepAlive = .init(interval: .milliseconds(20), timeout: .milliseconds(300))
            $0.inboundBuffer = .init(highMessages: 4, lowMessages: 1)
        }
        try await withPair(side, options: options) { pair in
            // Several reads' worth, so that some of it stays in the socket.
            for number in 0..<200 {
                try await pair.peer.send(.text("\(number) " + String(repeating: "x", count: 2_000)))
            }
            // Longer than any peer that had to answer would live.
            try await Task.sleep(for: .milliseconds(1_500))
            #expect(pair.ours.finalCloseInfo == nil)
            for number in 0..<200 { #expect(try await pair.ours.receive().text?.hasPrefix("\(number) ") == true) }
            // From here on it is read, and the peer still answers nothing.
            #expect(try await pair.ours.closed().cause == .pingTimeout)
        }
    }

    /// A moment for the close frame would be one in which whoever connects again does nothing. A peer that is there after
    /// all finds it in front of the end.
    @Test(arguments: Side.allCases) func aDeadPeerIsNotWaitedForAtTheEnd(side: Side) async throws {
        try await withPair(side, options: Self.keepAlive(10, 100)) { pair in
            let ours = pair.ours
            _ = try await error { _ = try await ours.receive() }
            // Not by a timer.
            for _ in 0..<10 { await pair.loop.run {} }
            #expect(ours.finalCloseInfo?.cause == .pingTimeout)
            var frame = try await pair.peer.readFrame()
            while frame.opcode == WebSocketWireFrame.ping { frame = try await pair.peer.readFrame() }
            #expect(frame.closeCode == 1011)
            #expect(try await pair.peer.readToEnd().isEmpty)
        }
    }
}

/// What `close` promises about time, and what is told about the end.
@Suite(.timeLimit(.minutes(5))) struct CloseBoundsTests {
    private static let size = 16 << 20

    /// The peer's time to answer begins when the close frame is written, behind what was sent before.
    @Test(arguments: Side.allCases)
    func closeTimeoutBeginsWhenTheFrameIsWritten(side: Side) async throws {
        let options = WebSocketOptions.with { $0.closeTimeout = .seconds(5) }
        try await withPair(side, options: options, receiveBuffer: 32 << 10) { pair in
            let ours = pair.ours
            try await ours.send(.binary([UInt8](repeating: 1, count: Self.size)))
            async let closing = ours.close(WebSocketCloseFrame(code: .goingAway))
            try await Task.sleep(for: .milliseconds(5_500))
            let whole = try await pair.peer.readFrame().payload.count == Self.size
            #expect(whole)
            #expect(try await pair.peer.readFrame().closeCode == 1001)
            try await pair.peer.send(.close(1001))
            let info = try await closing
            #expect(info.cause == .closingHandshake && info.sent?.code == .goingAway && info.unsentMessages == 0)
        }
    }

    /// A peer that takes nothing is left when `flushTimeout` is over, and the outcome says so.
    @Test(arguments: Side.allCases)
    func aPeerThatTakesNothingIsCutByTheFlushTimeout(side: Side) async throws {
        let options = WebSocketOptions.with {
            $0.closeTimeout = .seconds(600)
            $0.flushTimeout = .milliseconds(100)
        }
        try await withPair(side, options: options, receiveBuffer: 8 << 10) { pair in
            try await pair.ours.send(.binary([UInt8](repeating: 1, count: Self.size)))
            let info = try await pair.ours.close(WebSocketCloseFrame(code: .goingAway))
            #expect(info.cause == .flushTimeout)
            #expect(info.sent == nil, "the frame was never written")
            #expect(info.unsentMessages == 1)
        }
    }

    /// `wire.md` 3: what the operating system has whole is not among the unsent.
    @Test func aClientsUnsentMessagesAreCountedExactly() async throws {
        try await withPair(.client, receiveBuffer: 8 << 10) { pair in
            let ours = pair.ours
            await pair.loop.run {
                for number in 0..<3 { #expect(ours.sendNow("\(number)")) }
                _ = ours.sendNow([UInt8](repeating: 1, count: Self.size))
            }
            for number in 0..<3 { #expect(try await pair.peer.readFrame().payload == Array("\(number)".utf8)) }
            await pair.loop.run { ours.abort() }
            let info = try await ours.closed()
            #expect(info.cause == .aborted && info.sent == nil)
            #expect(info.unsentMessages == 1, "one of the four")
            #expect(await pair.loop.run { ours.outbound.messagesInDoubt } == 1)
        }
    }

    /// The peer's close comes while the socket takes nothing: the data goes first, then the answer. (On a server it is
    /// libwebsockets' answer, which gives the data five seconds.)
    @Test func theAnswerComesBehindWhatWasSent() async throws {
        try await withPair(.client, receiveBuffer: 32 << 10) { pair in
            let ours = pair.ours
            try await ours.send(.binary([UInt8](repeating: 1, count: Self.size)))
            try await pair.peer.send(.close(4_000))
            await pair.loop.turn { !ours.isUsable }
            let whole = try await pair.peer.readFrame().payload.count == Self.size
            #expect(whole)
            let answer = try await pair.peer.readFrame()
            #expect(answer.closeCode == 4_000)
            pair.peer.close()
            let info = try await ours.closed()
            #expect(info.received?.code.rawValue == 4_000 && info.sent?.code.rawValue == 4_000)
            #expect(info.receivedFirst == true && info.cause == .closingHandshake && info.unsentMessages == 0)
        }
    }

    /// `connection.md` D15: told is what the peer gets, also when the fault came with the handshake.
    @Test(arguments: [[0xC1, 0x00], [0x83, 0x00], [0x80, 0x00], [0x09, 0x00], [0x88, 0x01, 0x03]] as [[UInt8]])
    func theCloseFrameThatIsToldIsSent(fault: [UInt8]) async throws {
        for behind in [fault, []] {
            try await withPair(.client, behind: behind) { pair in
                if behind.isEmpty { try await pair.peer.write(fault) }
                let frame = try await pair.peer.readFrame()
                #expect(frame.closeCode == 1002)
                let info = try await pair.ours.closed()
                #expect(info.sent?.code == .protocolError && info.cause == .peerViolation)
            }
        }
    }
}
