//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Histogram
import Synchronization
import WebSockets

/// The messages of the demo, made once: sizes around every boundary of the frame format, and many in between; text and
/// binary; what shrinks and what does not.
struct DemoCorpus: Sendable {
    /// Each is exchanged once by every connection, then any of `mixed`.
    let edges: [WebSocketMessage]
    let mixed: [WebSocketMessage]

    private static let largest = 256 << 10

    init() {
        var generator = SplitMix64(state: 0x5753_5844)
        var edges: [WebSocketMessage] = []
        for size in [0, 1, 125, 126, 65_535, 65_536, Self.largest] {
            for kind in 0..<4 { edges.append(Self.message(size: size, kind: kind, using: &generator)) }
        }
        var mixed: [WebSocketMessage] = []
        for index in 0..<400 {
            // Real traffic is mostly small. Nine in ten stay below 1 KiB, one in a hundred may be as large as they get;
            // the offset keeps the kinds from going in step with the sizes.
            let bound = index % 100 == 99 ? Self.largest : index % 10 == 9 ? 16 << 10 : 1 << 10
            let size = Int.random(in: 0..<bound, using: &generator)
            mixed.append(Self.message(size: size, kind: (index + index / 10 + index / 100) % 4, using: &generator))
        }
        self.edges = edges
        self.mixed = mixed
    }

    private static func message(size: Int, kind: Int, using generator: inout SplitMix64) -> WebSocketMessage {
        switch kind {
        case 0: .text(compressibleText(size: size, using: &generator))
        case 1: .text(String(decoding: randomBytes(size, in: 0x21...0x7E, using: &generator), as: UTF8.self))
        case 2: .binary((0..<size).map { UInt8(truncatingIfNeeded: $0 >> 4) })
        default: .binary(randomBytes(size, in: 0...255, using: &generator))
        }
    }

    private static func randomBytes(
        _ count: Int, in range: ClosedRange<UInt8>, using generator: inout SplitMix64
    ) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: range, using: &generator) }
    }

    /// Like the feed of an exchange, with text beyond ASCII; exactly `size` bytes of UTF-8.
    private static func compressibleText(size: Int, using generator: inout SplitMix64) -> String {
        var text = ""
        while text.utf8.count < size {
            let price = Int.random(in: 10_000..<99_999, using: &generator)
            let line = "{\"event\":\"trade\",\"pair\":\"ΑΒ/日本\",\"price\":\(price),\"volume\":\(price % 97)}\n"
            if text.utf8.count + line.utf8.count <= size {
                text += line
            } else {
                text += String(repeating: " ", count: size - text.utf8.count)
            }
        }
        return text
    }
}

/// Reproducible, and good enough for test data (Steele, Lea, Flood 2014).
struct SplitMix64: RandomNumberGenerator, Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// What one connection, or all of them, did.
struct DemoTally: Sendable {
    var sent = 0
    var received = 0
    var wrong = 0
    var text = 0
    var largest = 0
    var payloadBytes = 0
    /// Of the messages that went out compressed: before and after.
    var compressible = (plain: 0, compressed: 0)
    var tls: WebSocketTLSInfo?
    var deflate: WebSocketNegotiatedDeflate?
    /// Round trips in nanoseconds.
    var latency: Histogram<UInt64>

    init(hasLatency: Bool = true) {
        latency = Histogram(
            highestTrackableValue: hasLatency ? 60_000_000_000 : 2,
            numberOfSignificantValueDigits: hasLatency ? .three : .zero)
    }

    mutating func add(_ turn: DemoWorker.Turn) {
        for latency in turn.latencies { self.latency.record(latency) }
        addCounts(turn.tally)
    }

    mutating func add(_ other: DemoTally) {
        latency.add(other.latency)
        addCounts(other)
    }

    private mutating func addCounts(_ other: DemoTally) {
        sent += other.sent
        received += other.received
        wrong += other.wrong
        text += other.text
        largest = max(largest, other.largest)
        payloadBytes += other.payloadBytes
        compressible.plain += other.compressible.plain
        compressible.compressed += other.compressible.compressed
        tls = tls ?? other.tls
        deflate = deflate ?? other.deflate
    }
}

/// Traffic in turns: each borrows a connection for some messages, on the connection's loop.
struct DemoWorker: Sendable {
    let corpus: DemoCorpus
    private var generator: SplitMix64
    private var next = 0

    /// How many messages are exchanged before the connection goes back to the pool.
    private static let turnLength = 16

    init(corpus: DemoCorpus, seed: UInt64) {
        self.corpus = corpus
        generator = SplitMix64(state: seed)
    }

    /// The edges come first, also when the time is short.
    var hasEdgesLeft: Bool { next < corpus.edges.count }

    struct Turn: Sendable {
        var worker: DemoWorker
        /// Without latencies, whose histogram is too large to be passed on every turn.
        var tally: DemoTally
        var latencies: [UInt64] = []
    }

    func turn(on socket: WebSocketConnection, progress: DemoProgress) async throws -> Turn {
        let clock = ContinuousClock()
        var turn = Turn(worker: self, tally: DemoTally(hasLatency: false))
        turn.tally.tls = socket.tls
        turn.tally.deflate = socket.deflate
        let compressed = socket.wire.sentCompressed
        if next == 0 { _ = try await socket.ping() }
        for _ in 0..<Self.turnLength {
            let message = turn.worker.nextMessage()
            let before = clock.now
            try await socket.send(message)
            turn.tally.sent += 1
            let reply = try await socket.receive()
            turn.latencies.append(UInt64(clamping: (clock.now - before).wholeNanoseconds))
            turn.tally.received += 1
            if !reply.hasSameBytes(as: message) { turn.tally.wrong += 1 }
            if message.kind == .text { turn.tally.text += 1 }
            turn.tally.largest = max(turn.tally.largest, message.byteCount)
            turn.tally.payloadBytes += message.byteCount
            progress.advance()
        }
        let (plain, small) = socket.wire.sentCompressed
        turn.tally.compressible = (plain - compressed.plain, small - compressed.compressed)
        return turn
    }

    private mutating func nextMessage() -> WebSocketMessage {
        defer { next += 1 }
        return hasEdgesLeft ? corpus.edges[next] : corpus.mixed.randomElement(using: &generator)!
    }
}

extension WebSocketMessage {
    /// Byte for byte: `==` on strings would accept what Unicode calls equivalent.
    fileprivate func hasSameBytes(as other: WebSocketMessage) -> Bool {
        switch (self, other) {
        case (.text(var mine), .text(var theirs)):
            mine.withUTF8 { mine in
                theirs.withUTF8 { theirs in
                    mine.count == theirs.count
                        && (mine.isEmpty || memcmp(mine.baseAddress!, theirs.baseAddress!, mine.count) == 0)
                }
            }
        case (.binary(let mine), .binary(let theirs)): mine == theirs
        default: false
        }
    }
}

extension Duration {
    var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }

    var inSeconds: Double { Double(wholeNanoseconds) / 1_000_000_000 }
}

/// Round trips as they happen, for a line on the terminal.
final class DemoProgress: Sendable {
    private let count = Atomic<Int>(0)

    func advance() { count.wrappingAdd(1, ordering: .relaxed) }

    /// Until the task is cancelled.
    func show() async {
        let clock = ContinuousClock()
        let begin = clock.now
        while !Task.isCancelled {
            let seconds = decimal((clock.now - begin).inSeconds, 1)
            Terminal.progress("\(seconds) s · \(decimal(count.load(ordering: .relaxed))) round trips")
            try? await clock.sleep(for: .milliseconds(100))
        }
        Terminal.progress("")
    }
}
