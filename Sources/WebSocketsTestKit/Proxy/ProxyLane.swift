//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc

/// One direction of one connection through the proxy.
struct ProxyLane {
    typealias Instant = ContinuousClock.Instant

    /// What has to happen to the connection.
    enum Verdict { case goOn, close, reset }

    private struct Chunk {
        let due: Instant
        var bytes: ArraySlice<UInt8>
    }

    private var chunks: [Chunk] = []
    private var queued = 0
    private var passed = 0
    private var firstByteAt: Instant?
    private var blockedAt: Instant?
    private var nextSend: Instant?
    private var endDue: Instant?
    /// The end of the stream has been passed on.
    private(set) var isFinished = false
    /// What is waited for: whether bytes may be read, whether they may be written, and when to look again.
    private(set) var wantsRead = false
    private(set) var wantsWrite = false
    private(set) var wakeAt: Instant?

    private func limitVerdict(_ limit: WebSocketToxics.Limit) -> Verdict {
        switch limit.then {
        case .close: .close
        case .reset: .reset
        case .silence: .goOn
        }
    }

    /// Reads once.
    mutating func read(
        from source: CInt, now: Instant, toxics: WebSocketToxics, random: inout ProxyRandom, chunk: inout [UInt8]
    ) -> Verdict {
        if case .closing = toxics.timeout {
            // Something came that will not pass: the time runs. It stays where it is.
            if blockedAt == nil { blockedAt = now }
            return .goOn
        }
        let count = Glibc.read(source, &chunk, chunk.count)
        guard count >= 0 else { return errno == EAGAIN || errno == EINTR ? .goOn : .reset }
        var delay = toxics.latency
        if toxics.jitter > .zero {
            delay += toxics.jitter * (Double(random.next(2_000_001)) / 1_000_000 - 1)
        }
        let due = max(now + max(.zero, delay), chunks.last?.due ?? now)
        guard count > 0 else {
            endDue = due + toxics.slowClose
            return .goOn
        }
        if firstByteAt == nil { firstByteAt = now }
        var bytes = Array(chunk[..<count])
        if let rarity = toxics.corrupt {
            for index in bytes.indices where random.next(max(1, rarity)) == 0 { bytes[index] ^= 1 << random.next(8) }
        }
        chunks.append(Chunk(due: due, bytes: bytes[...]))
        queued += count
        return .goOn
    }

    /// Writes what is due, and finds out what to wait for.
    mutating func advance(
        to destination: CInt, now: Instant, toxics: WebSocketToxics, random: inout ProxyRandom
    ) -> Verdict {
        wantsRead = false
        wantsWrite = false
        wakeAt = nil
        if let delay = toxics.resetPeer, let firstByteAt {
            if firstByteAt + delay <= now { return .reset }
            wake(at: firstByteAt + delay)
        }
        switch toxics.timeout {
        case .silent: return .goOn
        case .closing(let delay):
            if let blockedAt {
                if blockedAt + delay <= now { return .close }
                wake(at: blockedAt + delay)
            } else {
                wantsRead = endDue == nil
            }
            return .goOn
        case nil: blockedAt = nil
        }
        let verdict = write(to: destination, now: now, toxics: toxics, random: &random)
        guard case .goOn = verdict else { return verdict }
        if let limit = toxics.limitData, passed >= limit.bytes { return limitVerdict(limit) }
        if let endDue, chunks.isEmpty, !isFinished {
            if endDue <= now {
                shutdown(destination, CInt(SHUT_WR))
                isFinished = true
            } else {
                wake(at: endDue)
            }
        }
        // A path with latency holds what is under way; another one must press back soon.
        wantsRead = endDue == nil && queued < (toxics.latency > .zero ? 1 << 20 : 64 << 10)
        return .goOn
    }

    private mutating func wake(at instant: Instant) { wakeAt = min(wakeAt ?? instant, instant) }

    private mutating func write(
        to destination: CInt, now: Instant, toxics: WebSocketToxics, random: inout ProxyRandom
    ) -> Verdict {
        while let first = chunks.first {
            if let limit = toxics.limitData, passed >= limit.bytes { return .goOn }
            let time = max(first.due, nextSend ?? first.due)
            guard time <= now else {
                wake(at: time)
                return .goOn
            }
            var size = first.bytes.count
            if let slicer = toxics.slicer {
                let variation = max(0, slicer.variation)
                size = min(size, max(1, slicer.size - variation + random.next(2 * variation + 1)))
            }
            if let bandwidth = toxics.bandwidth { size = min(size, max(1, bandwidth / 50)) }
            if let limit = toxics.limitData { size = min(size, limit.bytes - passed) }
            let count = first.bytes.withUnsafeBytes {
                Glibc.send(destination, $0.baseAddress, size, CInt(MSG_NOSIGNAL))
            }
            guard count >= 0 else {
                if errno == EINTR { continue }
                guard errno == EAGAIN else { return .reset }
                wantsWrite = true
                return .goOn
            }
            passed += count
            queued -= count
            chunks[0].bytes.removeFirst(count)
            if chunks[0].bytes.isEmpty { chunks.removeFirst() }
            var pause = toxics.slicer?.delay ?? .zero
            if let bandwidth = toxics.bandwidth {
                pause = max(pause, .nanoseconds(Int64(count) * 1_000_000_000 / Int64(max(1, bandwidth))))
            }
            if pause > .zero { nextSend = now + pause }
        }
        return .goOn
    }
}

/// SplitMix64: the same faults for the same seed.
struct ProxyRandom {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    /// 0 to `bound` - 1.
    mutating func next(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        return Int((word ^ word >> 31) % UInt64(bound))
    }
}
