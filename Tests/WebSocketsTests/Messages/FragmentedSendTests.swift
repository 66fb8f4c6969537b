//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import LoopbackSupport
import TestSupport
import Testing
import WebSockets

/// “send” with an iterable, as websockets calls it: every part a frame, nobody's message in between.
@Suite(.timeLimit(.minutes(5)))
struct FragmentedSendTests {
    private struct Unlucky: Error {}

    private static func stream<Part: Sendable>(_ parts: [Part]) -> AsyncStream<Part> {
        AsyncStream { continuation in
            for part in parts { continuation.yield(part) }
            continuation.finish()
        }
    }

    @Test(arguments: [false, true], [["Hel", "lo ", "", "wörld"], ["one"], ["", "x"], ["🙂", "🙂"]])
    func partsOfAnAsyncSequenceBecomeFrames(deflate: Bool, parts: [String]) async throws {
        try await withScripted(deflate: deflate) { scripted in
            for _ in 0..<2 {
                try await scripted.socket.send(fragments: Self.stream(parts))
                try await scripted.socket.send(fragments: Self.stream(parts.map { Array($0.utf8) }))
                for kind in [WebSocketWireFrame.text, WebSocketWireFrame.binary] {
                    let (frames, payload) = try await scripted.readMessage(compressed: deflate)
                    #expect(frames.count == parts.count + 1, "the last one is empty: the end was not known before")
                    #expect(frames[0].opcode == kind)
                    #expect(frames.dropFirst().allSatisfy { $0.opcode == WebSocketWireFrame.continuation })
                    #expect(frames[0].reserved == (deflate ? .rsv1 : []))
                    #expect(frames.dropFirst().allSatisfy { $0.reserved == [] })
                    #expect(String(decoding: payload, as: UTF8.self) == parts.joined())
                    if !deflate { #expect(frames.dropLast().map(\.payload) == parts.map { Array($0.utf8) }) }
                }
            }
            // The compressor's context is as the peer thinks it is.
            let text = String(repeating: "and whole ones too ", count: 10)
            try await scripted.socket.send(text)
            let (_, payload) = try await scripted.readMessage(compressed: deflate)
            #expect(payload == Array(text.utf8))
        }
    }

    @Test func aSequenceWithoutElementsSendsNothing() async throws {
        try await withScripted { scripted in
            try await scripted.socket.send(fragments: Self.stream([String]()))
            try await scripted.socket.withMessageWriter(as: .binary) { _ in }
            try await scripted.socket.send("next")
            #expect(try await scripted.readMessage(compressed: false).payload == Array("next".utf8))
        }
    }

    /// Other messages wait, from the loop and from other threads; pings do not.
    @Test(arguments: [false, true])
    func othersWaitUntilTheMessageIsComplete(onLoop: Bool) async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let (parts, continuation) = AsyncStream.makeStream(of: String.self)
            let sending = Task { try await socket.send(fragments: parts) }
            continuation.yield("first")
            #expect(try await scripted.peer.readFrame().payload == Array("first".utf8))
            let executor: (any TaskExecutor)? = onLoop ? socket.eventLoop.taskExecutor : nil
            let others = (0..<3).map { number in
                Task(executorPreference: executor) {
                    if number == 2 {
                        try await socket.send(fragments: Self.stream(["other", "wise"]))
                    } else {
                        try await socket.send("other")
                    }
                }
            }
            try await socket.eventLoop.reaches("the others wait") { $0.pendingContinuations == 3 }
            let isSent = await withTaskExecutorPreference(socket.eventLoop.taskExecutor) { @concurrent @Sendable in
                (try? socket.trySend([1].span.bytes)) ?? true
            }
            #expect(!isSent, "trySend does not wait and does not get in between")
            let ping = Task { try await socket.ping([7]) }
            let frame = try await scripted.peer.readFrame()
            #expect(frame.opcode == WebSocketWireFrame.ping)
            try await scripted.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, frame.payload))
            _ = try await ping.value
            continuation.yield("last")
            continuation.finish()
            try await sending.value
            let rest = try await scripted.readMessage(compressed: false)
            #expect(rest.frames.allSatisfy { $0.opcode == WebSocketWireFrame.continuation })
            #expect(rest.payload == Array("last".utf8))
            var payloads: [String] = []
            for _ in others {
                payloads.append(
                    String(decoding: try await scripted.readMessage(compressed: false).payload, as: UTF8.self))
            }
            #expect(payloads.sorted() == ["other", "other", "otherwise"])
            for other in others { try await other.value }
        }
    }

    /// A message that another thread has handed over, and that the loop has not seen when the first part goes out.
    @Test func aMessageAcceptedBeforeTheFirstPartIsNotLostAndNotInBetween() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            try await withTaskExecutorPreference(socket.eventLoop.taskExecutor) { @concurrent @Sendable in
                try await socket.withMessageWriter(as: .text) { writer in
                    let handedOver = DispatchSemaphore(value: 0)
                    Task(executorPreference: globalConcurrentExecutor) {
                        try await socket.send("from elsewhere")
                        try await socket.send("and another")
                        handedOver.signal()
                    }
                    Self.block(handedOver)
                    try await writer.write("a")
                    // The loop takes them over now.
                    await Task.yield()
                    try await writer.write("b")
                }
                try await socket.send("after")
            }
            var payloads: [String] = []
            for _ in 0..<4 {
                payloads.append(
                    String(decoding: try await scripted.readMessage(compressed: false).payload, as: UTF8.self))
            }
            #expect(payloads == ["ab", "from elsewhere", "and another", "after"])
        }
    }

    /// Holds the loop on purpose.
    private static func block(_ semaphore: DispatchSemaphore) { semaphore.wait() }

    @Test func aSequenceThatFailsFailsTheConnection() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            await #expect(throws: Unlucky.self) {
                try await socket.withMessageWriter(as: .text) { _ in throw Unlucky() }
            }
            try await socket.send("nothing has happened")
            #expect(try await scripted.readMessage(compressed: false).frames.count == 1)
            await #expect(throws: Unlucky.self) {
                try await socket.withMessageWriter(as: .text) { writer in
                    try await writer.write("begun")
                    throw Unlucky()
                }
            }
            #expect(try await scripted.peer.readFrame().isFinal == false)
            #expect(try await scripted.peer.readFrame().closeCode == 1011)
            let error = try await failure { try await socket.send("late") }
            #expect(error.code == .connectionClosed)
            #expect(error.isSentence)
            #expect(try await socket.closed().sent?.code == .internalError)
        }
    }

    @Test func aCancelledSendFailsTheConnection() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let (parts, continuation) = AsyncThrowingStream.makeStream(of: [UInt8].self)
            let sending = Task { try await socket.send(fragments: parts) }
            continuation.yield([1])
            #expect(try await scripted.peer.readFrame().payload == [1])
            let waiting = Task { try await socket.send("waits") }
            try await socket.eventLoop.reaches("it waits") { $0.pendingContinuations == 1 }
            sending.cancel()
            continuation.finish(throwing: CancellationError())
            await #expect(throws: (any Error).self) { try await sending.value }
            #expect(try await scripted.peer.readFrame().closeCode == 1011)
            let error = try await failure { try await waiting.value }
            #expect(error.code == .connectionClosed)
        }
    }

    /// Parts wait for the socket as messages do, and a part that waits is cancelled.
    @Test func partsFeelBackpressure() async throws {
        let part = Payload.noise(1 << 20)
        try await withScripted(receiveBuffer: 16 << 10) { scripted in
            let socket = scripted.socket
            let sending = Task {
                try await socket.withMessageWriter(as: .binary) { writer in
                    for _ in 0..<8 { try await writer.write(part) }
                }
            }
            try await socket.eventLoop.reaches("a part waits") { $0.pendingContinuations == 1 }
            for number in 0..<8 {
                let frame = try await scripted.peer.readFrame()
                #expect(frame.payload == part && frame.opcode == (number == 0 ? 2 : 0))
            }
            #expect(try await scripted.peer.readFrame().isFinal)
            try await sending.value

            let second = Task {
                try await socket.withMessageWriter(as: .binary) { writer in
                    for _ in 0..<8 { try await writer.write(part) }
                }
            }
            try await socket.eventLoop.reaches("a part waits again") { $0.pendingContinuations == 1 }
            second.cancel()
            let error = try await failure { try await second.value }
            #expect(error.code == .cancelled)
        }
    }

    @Test func charactersMaySpreadOverPartsButMustBeWhole() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let bytes = Array("é漢🙂".utf8)
            try await socket.withMessageWriter(as: .text) { writer in
                for byte in bytes { try await writer.write([byte]) }
            }
            #expect(try await scripted.readMessage(compressed: false).payload == bytes)
            let error = try await failure {
                try await socket.withMessageWriter(as: .text) { writer in try await writer.write([0xC3]) }
            }
            #expect(error.code == .invalidUTF8)
            #expect(try await scripted.peer.readFrame().payload == [0xC3])
            #expect(try await scripted.peer.readFrame().closeCode == 1011)
        }
    }

    @Test func aCloseMayComeInBetween() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let error = try await failure {
                try await socket.withMessageWriter(as: .text) { writer in
                    try await writer.write("begun")
                    let closing = Task { try await socket.close() }
                    #expect(try await scripted.peer.readFrame().payload == Array("begun".utf8))
                    let frame = try await scripted.peer.readFrame()
                    #expect(frame.closeCode == 1000)
                    try await scripted.peer.send(.close(1000))
                    _ = try await closing.value
                    try await writer.write("too late")
                }
            }
            #expect(error.code == .connectionClosed)
        }
    }

    /// permessage-deflate: the choice for one message.
    @Test func eachMessageChoosesItsCompression() async throws {
        let long = String(repeating: "again ", count: 100)
        try await withScripted(deflate: true) { scripted in
            let cases: [(WebSocketMessage, WebSocketMessageCompression, Bool)] = [
                ("short", .automatic, false), ("short", .always, true), ("short", .never, false),
                (.text(long), .automatic, true), (.text(long), .always, true), (.text(long), .never, false),
                ("", .always, true), (.binary([]), .never, false),
            ]
            for (message, choice, isCompressed) in cases {
                try await scripted.socket.send(message, compression: choice)
                let (frames, payload) = try await scripted.readMessage(compressed: true)
                #expect((frames[0].reserved == .rsv1) == isCompressed, "\(message) \(choice)")
                #expect(payload == message.bytes)
            }
            try await scripted.socket.send(fragments: Self.stream([long, long]), compression: .never)
            let (frames, payload) = try await scripted.readMessage(compressed: true)
            #expect(frames.allSatisfy { $0.reserved == [] } && payload == Array((long + long).utf8))
        }
    }

    /// “send” of websockets: bytes-like values, and `text=` both ways.
    @Test func bytesGoOutAsEitherKind() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let bytes = Array("grüße".utf8)
            try await socket.send(bytes, as: .text)
            try await socket.send(bytes[2...], as: .binary)
            try await socket.send("grüße".utf8, as: .text)
            try await socket.send(bytes.span.bytes, as: .text)
            try await socket.send(bytes.span.bytes, as: .binary)
            try await withTaskExecutorPreference(socket.eventLoop.taskExecutor) { @concurrent @Sendable in
                try await socket.send(bytes.span.bytes, as: .binary)
            }
            let expected: [(UInt8, [UInt8])] = [
                (1, bytes), (2, Array(bytes[2...])), (1, bytes), (1, bytes), (2, bytes), (2, bytes),
            ]
            for (opcode, payload) in expected {
                let frame = try await scripted.peer.readFrame()
                #expect(frame.opcode == opcode && frame.payload == payload)
            }
            for bad: [UInt8] in [[0xFF], [0xC3], [0xED, 0xA0, 0x80]] {
                let first = try await failure { try await socket.send(bad, as: .text) }
                let second = try await failure { try await socket.send(bad.span.bytes, as: .text) }
                #expect(first.code == .invalidUTF8 && second.code == .invalidUTF8)
            }
            try await socket.send("still open")
            #expect(try await scripted.peer.readFrame().payload == Array("still open".utf8))
        }
    }
}
