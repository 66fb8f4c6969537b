//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import TestSupport
import Testing
import WebSocketCore
import WebSocketsTestKit

@testable import WebSocketLoop

/// Peers that finish the DEFLATE stream with a message (BFINAL, RFC 7692 §7.2.3.4), with and without the octet of 0
/// that they owe, and what they send next.
@Suite(.timeLimit(.minutes(5))) struct FinishedDeflateTests {
    /// A message and how a peer compresses it.
    struct Sent {
        let payload: [UInt8]
        let message: [UInt8]
    }

    /// What a peer may do with a message.
    enum Form: CaseIterable {
        case flushed, finished, finishedWithOctet, finishedStored, finishedByTheTail, finishedTwice
        case finishedThenFlushed, flushedThenFinished, octetOnly, nothing, uncompressible

        func send(_ message: [UInt8], with compressor: WebSocketRawDeflate) -> Sent {
            let half = message.count / 2
            let (front, back) = (Array(message[..<half]), Array(message[half...]))
            switch self {
            case .flushed: return Sent(payload: flush(message, with: compressor), message: message)
            case .finished: return Sent(payload: compressor.finish(message), message: message)
            case .finishedWithOctet: return Sent(payload: compressor.finish(message) + [0], message: message)
            case .finishedStored:
                _ = compressor.finish([])
                return Sent(payload: stored(message, isFinal: true), message: message)
            case .finishedByTheTail:
                // The last block is empty and final; its lengths are the four octets that are taken off (§7.2.1).
                _ = compressor.finish([])
                return Sent(payload: stored(message, isFinal: false) + [1], message: message)
            case .finishedTwice:
                return Sent(payload: compressor.finish(front) + compressor.finish(back), message: message)
            case .finishedThenFlushed:
                return Sent(payload: compressor.finish(front) + flush(back, with: compressor), message: message)
            case .flushedThenFinished:
                // The message's second half refers to its first.
                return Sent(
                    payload: flush(front, with: compressor) + [0, 0, 0xFF, 0xFF] + compressor.finish(back),
                    message: message)
            case .octetOnly:
                return Sent(payload: [0], message: [])
            case .nothing: return Sent(payload: [], message: [])
            case .uncompressible:
                let noise = FinishedDeflateTests.noise(300, seed: UInt32(message.count))
                return Sent(payload: compressor.finish(noise), message: noise)
            }
        }

        /// zlib has nothing to flush when there is nothing new (§7.2.3.6).
        private func flush(_ message: [UInt8], with compressor: WebSocketRawDeflate) -> [UInt8] {
            message.isEmpty ? [0] : compressor.compress(message)
        }

        /// One stored block.
        private func stored(_ message: [UInt8], isFinal: Bool) -> [UInt8] {
            let low = UInt8(message.count & 0xFF)
            let high = UInt8(message.count >> 8)
            return [isFinal ? 1 : 0, low, high, ~low, ~high] + message
        }
    }

    private static func noise(_ count: Int, seed: UInt32) -> [UInt8] {
        var state = seed
        return [UInt8](count: count) { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(truncatingIfNeeded: state >> 24)
        }
    }

    /// Text of some words, so that messages repeat themselves and each other.
    private static func text(_ count: Int, seed: UInt32) -> [UInt8] {
        let words = noise(count / 4 + 1, seed: seed).flatMap { Array("w\($0 & 15) ".utf8) }
        return Array(words.prefix(count))
    }

    /// Our side of one direction.
    private final class Receiver {
        private let inflater: Inflater
        private let scratch = ScratchBuffer()
        private var assembler = MessageAssembler(maximumSize: 1 << 20, maximumFragments: 1)

        init(keepsContext: Bool) { inflater = Inflater(windowBits: 15, resets: !keepsContext) }

        /// - Parameter room: How much may come out at a time.
        func receive(_ payload: [UInt8], cuts: [Int] = [], room: Int = .max) throws -> [UInt8] {
            assembler.begin(.binary)
            let ends = cuts + [payload.count]
            var start = 0
            for (index, end) in ends.enumerated() {
                repeat {
                    start += try payload[start..<end].withUnsafeBytes { piece in
                        try inflater.inflate(
                            piece, isLast: index == ends.count - 1, room: room, scratch: scratch, into: &assembler)
                    }
                    #expect(inflater.produced <= max(room, 258 * 32))
                } while inflater.isStopped
                #expect(start == end)
            }
            return try assembler.finish().bytes
        }
    }

    private static let texts = [0, 1, 5, 300, 40_000].map { size in (0..<5).map { text(size, seed: $0) } }

    @Test(arguments: [true, false], Form.allCases)
    func everyFormIsUnderstoodBehindEveryOther(keepsContext: Bool, first: Form) throws {
        for second in Form.allCases {
            for texts in Self.texts {
                let receiver = Receiver(keepsContext: keepsContext)
                let compressor = WebSocketRawDeflate.compressor(keepsContext: keepsContext)
                for (index, form) in [Form.flushed, first, second, first, .flushed].enumerated() {
                    let sent = form.send(texts[index], with: compressor)
                    let isRight = try receiver.receive(sent.payload) == sent.message
                    #expect(isRight, "\(form) at \(index) with \(texts[index].count) bytes")
                }
            }
        }
    }

    /// Pieces come as they like; the stream may end with any of them.
    @Test(arguments: [true, false], Form.allCases)
    func everyFormIsUnderstoodInPieces(keepsContext: Bool, form: Form) throws {
        let receiver = Receiver(keepsContext: keepsContext)
        let compressor = WebSocketRawDeflate.compressor(keepsContext: keepsContext)
        func expect(_ form: Form, _ seed: Int, cuts: ([UInt8]) -> [Int]) throws {
            let sent = form.send(Self.text(60, seed: UInt32(seed)), with: compressor)
            let cuts = cuts(sent.payload)
            #expect(try receiver.receive(sent.payload, cuts: cuts) == sent.message, "\(form) cut at \(cuts)")
        }
        for place in 0...70 {
            try expect(form, place) { [min(place, $0.count)] }
            try expect(.flushed, place) { _ in [] }
            try expect(form, place) { [min(place, $0.count), min(place, $0.count)] }
        }
        try expect(form, 1) { Array($0.indices) }
        try expect(form, 2) { Array($0.indices) }
        try expect(.flushed, 3) { Array($0.indices) }
    }

    @Test(arguments: [true, false], 1...20 as ClosedRange<UInt32>)
    func anyOrderOfFormsIsUnderstood(keepsContext: Bool, seed: UInt32) throws {
        let receiver = Receiver(keepsContext: keepsContext)
        let compressor = WebSocketRawDeflate.compressor(keepsContext: keepsContext, level: Int32(seed % 10))
        let choices = Self.noise(400, seed: seed)
        for round in 0..<100 {
            let choice = choices[(4 * round)...].prefix(4).map(Int.init)
            let form = Form.allCases[choice[0] % Form.allCases.count]
            let sent = form.send(Self.text(choice[1] * 4, seed: UInt32(choice[2])), with: compressor)
            let cut = choice[3] % (sent.payload.count + 1)
            #expect(try receiver.receive(sent.payload, cuts: [cut]) == sent.message, "\(form) in round \(round)")
        }
    }

    /// However little may come out at a time, it is the same.
    @Test(arguments: [true, false], Form.allCases)
    func everyFormIsUnderstoodInSteps(keepsContext: Bool, form: Form) throws {
        for room in [1, 2, 7, 300, 1 << 16] {
            let receiver = Receiver(keepsContext: keepsContext)
            let compressor = WebSocketRawDeflate.compressor(keepsContext: keepsContext)
            for (index, form) in [Form.flushed, form, form, .flushed].enumerated() {
                for size in [0, 60, 300, 2_000] {
                    let sent = form.send(Self.text(size, seed: UInt32(index)), with: compressor)
                    let cuts = index == 2 ? [sent.payload.count / 3, sent.payload.count] : []
                    let isRight = try receiver.receive(sent.payload, cuts: cuts, room: room) == sent.message
                    #expect(isRight, "\(form) at \(index) with \(size) bytes, \(room) at a time")
                }
            }
        }
    }

    /// What would be taken for the beginning of the next message, which is then wrong, is refused at once.
    @Test func aMessageThatDoesNotEndIsRefused() throws {
        let hello: [UInt8] = [0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]
        let receiver = Receiver(keepsContext: true)
        #expect(try receiver.receive(hello) == Array("Hello".utf8))
        // With the four octets that the sender should have taken off; cut short; in the middle of a stored block.
        let stored: [UInt8] = [0, 9, 0, 0xF6, 0xFF, 1, 2, 3]
        for payload in [hello + [0, 0, 0xFF, 0xFF], Array(hello.prefix(4)), stored] {
            let receiver = Receiver(keepsContext: true)
            #expect(throws: Inflater.Failure.self) { _ = try receiver.receive(payload) }
        }
        // Without context nothing of it reaches the next message.
        let forgetful = Receiver(keepsContext: false)
        for _ in 0..<2 { #expect(try forgetful.receive(hello + [0, 0, 0xFF, 0xFF]) == Array("Hello".utf8)) }
    }

    /// RFC 1951 §3.2.3: no distance refers past the beginning of the stream.
    @Test func aReferenceToAFinishedStreamIsRefused() throws {
        let text = Self.text(300, seed: 9)
        for finish in [[3, 0], [3, 0, 0]] as [[UInt8]] {
            let receiver = Receiver(keepsContext: true)
            let compressor = WebSocketRawDeflate.compressor()
            #expect(try receiver.receive(compressor.compress(text)) == text)
            let reference = compressor.compress(text)
            #expect(try receiver.receive(finish).isEmpty)
            #expect(throws: Inflater.Failure.self) { _ = try receiver.receive(reference) }
        }
    }

    // MARK: Over sockets

    private static let hello: [UInt8] = [0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]
    private static let world: [UInt8] = [0x0A, 0xCF, 0x2F, 0xCA, 0x49, 0x01, 0x00]

    @Test(arguments: Side.allCases, [true, false])
    func theNextMessagesAreRight(side: Side, keepsContext: Bool) async throws {
        try await withDeflatePair(side, keepsContext: keepsContext) { pair in
            for (payload, message) in [
                (Self.hello, "Hello"), (Self.world, "World"), (Self.hello, "Hello"), ([0], ""), (Self.world, "World"),
                ([3, 0], ""), ([0], ""), (Self.hello + [0], "Hello"), ([], ""), (Self.world, "World"),
            ] as [([UInt8], String)] {
                try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.binary, payload, reserved: .rsv1))
                #expect(try await pair.ours.receive() == .binary(Array(message.utf8)))
            }
            try await pair.peer.send(.close(1000))
            #expect(try await pair.ours.closed().received?.code == .normalClosure)
        }
    }

    @Test(arguments: Side.allCases, [true, false])
    func everyFormArrives(side: Side, keepsContext: Bool) async throws {
        try await withDeflatePair(side, keepsContext: keepsContext) { pair in
            let compressor = WebSocketRawDeflate.compressor(keepsContext: keepsContext)
            for first in Form.allCases {
                for form in [first, .flushed, first, .uncompressible, .octetOnly] {
                    let sent = form.send(Self.text(500, seed: 5), with: compressor)
                    try await pair.peer.send(
                        WebSocketWireFrame(WebSocketWireFrame.binary, sent.payload, reserved: .rsv1))
                    #expect(try await pair.ours.receive() == .binary(sent.message), "\(form) after \(first)")
                }
            }
        }
    }

    /// Split into frames at every octet, and then with an octet in each.
    @Test(arguments: Side.allCases, [true, false])
    func finishedStreamsInFrames(side: Side, keepsContext: Bool) async throws {
        try await withDeflatePair(side, keepsContext: keepsContext) { pair in
            for tail in [[], [0], Self.hello, Self.world] as [[UInt8]] {
                let payload = Self.hello + tail
                let message = "Hello" + (tail.count > 1 ? tail == Self.hello ? "Hello" : "World" : "")
                for cuts in (0...payload.count).map({ [$0] }) + [Array(1..<payload.count)] {
                    let starts = [0] + cuts
                    let frames = zip(starts, cuts + [payload.count]).enumerated().map { index, range in
                        WebSocketWireFrame(
                            index == 0 ? WebSocketWireFrame.text : WebSocketWireFrame.continuation,
                            Array(payload[range.0..<range.1]),
                            final: index == cuts.count, reserved: index == 0 ? .rsv1 : [])
                    }
                    try await pair.peer.write(pair.bytes(of: frames))
                    try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.text, Self.world, reserved: .rsv1))
                    #expect(try await pair.ours.receive() == .text(message), "cut at \(cuts)")
                    #expect(try await pair.ours.receive() == .text("World"), "cut at \(cuts)")
                }
            }
        }
    }

    @Test(arguments: Side.allCases)
    func aMessageThatDoesNotEndIs1007(side: Side) async throws {
        try await withPair(side, .deflate) { pair in
            try await pair.peer.send(
                WebSocketWireFrame(WebSocketWireFrame.binary, Self.hello + [0, 0, 0, 0xFF, 0xFF], reserved: .rsv1))
            let error = try await error { _ = try await pair.ours.receive() }
            #expect(error.code == .protocolViolation && error.closeInfo?.sent?.code == .invalidPayloadData)
            #expect(try await pair.peer.readFrame().closeCode == 1007)
        }
    }

    private func withDeflatePair(_ side: Side, keepsContext: Bool, _ body: (Pair) async throws -> Void) async throws {
        let forgets = side == .client ? "; server_no_context_takeover" : "; client_no_context_takeover"
        try await withPair(
            side, .deflate, agreement: Compression.agreement + (keepsContext ? "" : forgets), body)
    }
}
