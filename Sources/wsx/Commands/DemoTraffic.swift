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
    var tls: TLSInfo?
    var deflate: NegotiatedDeflate?
    /// Round trips in nanoseconds.
    var latency = Histogram<UInt64>(highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .three)

    mutating func add(_ other: DemoTally) {
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
        latency.add(other.latency)
    }
}

/// One connection's traffic, on the connection's loop.
struct DemoWorker: Sendable {
    let socket: WebSocketConnection
    let corpus: DemoCorpus
    let seed: UInt64

    func run(until end: ContinuousClock.Instant, progress: DemoProgress) async throws -> DemoTally {
        let clock = ContinuousClock()
        var tally = DemoTally()
        tally.tls = socket.tls
        tally.deflate = socket.deflate
        var generator = SplitMix64(state: seed)
        var now = clock.now
        var next = 0
        // The edges come first, also when the time is short.
        while next < corpus.edges.count || now < end {
            let message =
                next < corpus.edges.count ? corpus.edges[next] : corpus.mixed.randomElement(using: &generator)!
            next += 1
            let before = clock.now
            try await socket.send(message)
            tally.sent += 1
            let reply = try await socket.receive()
            now = clock.now
            tally.received += 1
            if !reply.hasSameBytes(as: message) { tally.wrong += 1 }
            if message.kind == .text { tally.text += 1 }
            tally.largest = max(tally.largest, message.byteCount)
            tally.payloadBytes += message.byteCount
            tally.latency.record(UInt64(clamping: (now - before).wholeNanoseconds))
            progress.advance()
        }
        _ = try await socket.ping()
        tally.compressible = socket.wire.sentCompressed
        return tally
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
