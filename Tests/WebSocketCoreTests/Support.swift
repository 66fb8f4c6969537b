//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

/// SplitMix64: small, and the same sequence on every machine.
struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// 0 ..< bound.
    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// What a loop over many cases throws at the first case that is wrong: `#expect` is too slow for those.
struct Mismatch: Error, CustomStringConvertible {
    let description: String
}

func check(
    _ condition: Bool, _ text: @autoclosure () -> String, line: Int = #line
) throws(Mismatch) {
    if !condition { throw Mismatch(description: "line \(line): \(text())") }
}

/// Hands over the bytes in memory of exactly their size, so that the address sanitizer sees every read beyond.
func withExactBytes<Result, Failure: Error>(
    _ bytes: some Collection<UInt8>, _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
) throws(Failure) -> Result {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { memory.deallocate() }
    memory.copyBytes(from: bytes)
    return try body(UnsafeRawBufferPointer(memory))
}

/// Expects a `WebSocketError` of this kind whose sentence contains all the parts.
func expectError(
    _ code: WebSocketError.Code, _ parts: String..., sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws(WebSocketError) -> Void
) {
    do {
        try body()
        Issue.record("no error was thrown", sourceLocation: sourceLocation)
    } catch {
        #expect(error.code == code, sourceLocation: sourceLocation)
        for part in parts {
            #expect(error.message.contains(part), "\(error.message)", sourceLocation: sourceLocation)
        }
    }
}

/// Calls the body with every sequence of `length` numbers below `alphabet`.
func forEachSequence(
    of alphabet: Int, length: Int, _ body: ([Int]) throws -> Void
) rethrows {
    var sequence = [Int](repeating: 0, count: length)
    while true {
        try body(sequence)
        var position = length - 1
        while position >= 0 {
            sequence[position] += 1
            if sequence[position] < alphabet { break }
            sequence[position] = 0
            position -= 1
        }
        if position < 0 { return }
    }
}

@Suite struct SupportTests {
    @Test func theGeneratorIsSplitMix64() {
        var random = SplitMix64(seed: 1_234_567)
        #expect(random.next() == 6_457_827_717_110_365_317)
        #expect(random.next() == 3_203_168_211_198_807_973)
        #expect(random.next() == 9_817_491_932_198_370_423)
    }

    @Test func allSequencesAreVisitedOnce() {
        var seen: Set<[Int]> = []
        var visits = 0
        forEachSequence(of: 3, length: 4) {
            seen.insert($0)
            visits += 1
        }
        #expect(visits == 81 && seen.count == 81)
    }
}
