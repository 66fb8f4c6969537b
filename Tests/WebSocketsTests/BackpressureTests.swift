//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct BackpressureTests {
    /// More than what all buffers between two loops hold together.
    private static let tooMuch = 100 << 20
    private static let noise = Payload.noise(1 << 20)

    /// More than one direction of a connection takes up while nobody reads.
    private static let filling: [UInt8] = {
        var bytes: [UInt8] = []
        for _ in 0..<16 { bytes += noise }
        return bytes
    }()

    /// Numbered, and nothing that deflate could make smaller: what repeats is farther away than any window.
    private static func message(_ number: Int, _ size: Int) -> [UInt8] {
        let start = number * size % (noise.count - size)
        return withUnsafeBytes(of: UInt32(number)) { Array($0) } + noise[start..<(start + size)]
    }

    /// Nobody receives: the sender must stop, and then nothing may be missing.
    @Test(arguments: Transport.all, [5_000, 100_000])
    func aReceiverThatWaitsStopsTheSender(_ transport: Transport, _ size: Int) async throws {
        let sent = Atomic<Int>(0)
        let mustStop = Atomic<Bool>(false)
        try await withLoopback(
            transport,
            handler: { socket in
                var number = 0
                while !mustStop.load(ordering: .relaxed) {
                    try await socket.send(Self.message(number, size))
                    number += 1
                    sent.store(number, ordering: .relaxed)
                    try #require(number * size < Self.tooMuch, "the sender is never stopped")
                }
                try await socket.send("end")
                await drain(socket)
            }
        ) { loopback in
            let socket = try await loopback.connect {
                $0.options.inboundBuffer = .init(highMessages: 4, lowMessages: 1, highBytes: 300_000)
            }
            let loop = loopback.serverLoops.loops[0]
            let seen = Atomic<Int>(-1)
            let turns = Atomic<Int>(0)
            try await until("the sender is stuck", on: loop) {
                let count = sent.load(ordering: .relaxed)
                if seen.exchange(count, ordering: .relaxed) != count { turns.store(0, ordering: .relaxed) }
                return loop.diagnostics.pendingContinuations == 1
                    && turns.wrappingAdd(1, ordering: .relaxed).newValue > 300
            }
            mustStop.store(true, ordering: .relaxed)
            var number = 0
            while case .binary(let bytes) = try await socket.receive() {
                try #require(bytes == Self.message(number, size), "message \(number)")
                number += 1
            }
            #expect(number == sent.load(ordering: .relaxed))
            #expect(try await socket.close().droppedMessages == 0)
        }
    }

    /// The peer does not read: a cancelled send sends nothing; all others arrive, whole and in order.
    @Test(arguments: Transport.all)
    func aSendThatIsCancelledWhileItWaitsSendsNothing(_ transport: Transport) async throws {
        let go = Events<Void>()
        let received = Events<WebSocketMessage?>()
        try await withLoopback(
            transport,
            server: {
                // One message, and reading pauses.
                $0.options.inboundBuffer = .init(highMessages: 1, lowMessages: 0, highBytes: 1)
                $0.options.maximumMessageSize = 32 << 20
            },
            handler: { socket in
                try await go.next()
                while let message = try? await socket.receive() { received.send(message) }
                received.send(nil)
            }
        ) { loopback in
            let socket = try await loopback.connect()
            try await socket.send("first")
            try await socket.send(Self.filling)
            var waiting: [Task<Void, any Error>] = []
            for number in 0..<6 {
                let executor: (any TaskExecutor)? = number.isMultiple(of: 2) ? loopback.loop.taskExecutor : nil
                waiting.append(
                    Task(executorPreference: executor) {
                        try await number < 3 ? socket.send("waiting \(number)") : socket.send([UInt8(number)])
                    })
                try await loopback.loop.reaches("\(number) waits") { $0.pendingContinuations == number + 1 }
            }
            let isSent = try await withTaskExecutorPreference(loopback.loop.taskExecutor) { @Sendable in
                try await Self.trySend([1], through: socket)
            }
            #expect(!isSent, "none may overtake those that wait")
            for number in [1, 3, 4] {
                waiting[number].cancel()
                let error = await #expect(throws: WebSocketError.self) { try await waiting[number].value }
                #expect(error?.code == .cancelled)
                #expect(error?.isSentence == true)
            }
            #expect(loopback.loop.diagnostics.pendingContinuations == 3)
            go.send()
            for number in [0, 2, 5] { try await waiting[number].value }
            let info = try await socket.close()
            #expect(info.unsentMessages == 0)
            #expect(try await received.next() == "first")
            #expect(try await received.next() == .binary(Self.filling))
            #expect(try await received.next() == "waiting 0")
            #expect(try await received.next() == "waiting 2")
            #expect(try await received.next() == .binary([5]))
            #expect(try await received.next() == nil)
        }
    }

    @concurrent
    private static func trySend(
        _ bytes: [UInt8], through socket: WebSocketConnection
    ) async throws -> Bool { try socket.trySend(bytes.span.bytes) }

    /// Messages that `send` accepted end as handed to the system or as counted.
    @Test(arguments: [false, true])
    func whatWasNotSentIsCounted(isAborted: Bool) async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            var configuration = try clientConfiguration(on: loops)
            configuration.options.flushTimeout = .milliseconds(50)
            configuration.options.outboundBuffer = .init(highBytes: 20 << 20, lowBytes: 0)
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: configuration)
            let descriptor = try await accepted
            defer { peer.close(descriptor) }
            // The first never gets out whole, so those behind it do not get out at all.
            try await socket.send(Self.filling)
            for number in 0..<10 { try await socket.send("\(number)") }
            let info: WebSocketCloseInfo
            if isAborted {
                socket.abort()
                info = try await socket.closed()
                #expect(info.cause == .aborted)
            } else {
                info = try await socket.close()
                #expect(info.cause == .flushTimeout && info.sent == nil)
            }
            #expect(info.unsentMessages == 11)
            #expect(info.description.contains("messages not sent: 11"))
        }
    }
}
