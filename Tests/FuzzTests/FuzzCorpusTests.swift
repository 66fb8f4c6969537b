//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import FuzzTargets
import TestSupport
import Testing

/// The committed corpus of `scripts/fuzz`, run once. What a fuzzer finds becomes a file there and so a test here.
@Suite(.timeLimit(.minutes(3))) struct FuzzCorpusTests {
    private static let corpus = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fuzz/Corpus")

    /// By hand, because Foundation's reading leaks its buffer for some files.
    private static func bytes(of path: String) throws -> [UInt8] {
        let file = try #require(fopen(path, "r"))
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4_096)
        while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
        return bytes
    }

    /// The server that all inputs share ends with the process.
    private static let cleanUp: Void = LeakGate.atEnd { FuzzTarget.tearDown() }

    init() { Self.cleanUp }

    @Test(arguments: FuzzTarget.allCases)
    func everyFileOfTheCorpusIsFine(target: FuzzTarget) async throws {
        let directory = Self.corpus.appending(path: target.rawValue)
        let files = try FileManager.default.contentsOfDirectory(at: directory, includingPropertiesForKeys: nil)
        #expect(!files.isEmpty)
        for file in files {
            let bytes = try Self.bytes(of: file.path)
            let found = await problem(target, bytes)
            #expect(found == nil, "\(file.lastPathComponent)")
        }
    }

    /// Bytes of no meaning, as fuzzers begin with.
    @Test(arguments: FuzzTarget.allCases)
    func everyTargetTakesNothingAndNoise(target: FuzzTarget) async {
        let found = await problem(target, [])
        #expect(found == nil)
        for seed in 1...5 as ClosedRange<UInt64> {
            var state = seed
            let noise = (0..<200).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return UInt8(truncatingIfNeeded: state >> 33)
            }
            let found = await problem(target, noise)
            #expect(found == nil, "seed \(seed)")
        }
    }

    /// On a thread of its own: targets with sockets block.
    private func problem(_ target: FuzzTarget, _ bytes: [UInt8]) async -> String? {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(returning: bytes.withUnsafeBytes { target.run($0) })
            }
        }
    }
}
