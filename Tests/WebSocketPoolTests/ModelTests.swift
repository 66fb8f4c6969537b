//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketPool

/// The machine against the reference model: see `Harness` for what is checked after every step.
@Suite
struct ModelTests {
    static func setting(_ name: String, default value: Int) -> Int {
        environment(name).flatMap { Int($0) } ?? value
    }

    @Test
    func failuresOfThePastStayFixed() throws {
        let lines = recordedFailures.split(separator: "\n").filter { !$0.hasPrefix("#") }
        for line in lines {
            let scenario = try #require(Scenario(line), "unreadable: \(line)")
            let failure = scenario.run()
            #expect(failure == nil, "\(failure?.violation ?? "") in \(scenario)")
        }
    }

    @Test
    func randomSequences() {
        let count = Self.setting("POOL_SEQUENCES", default: TestDepth.choose(8_000, reduced: 800))
        let length = Self.setting("POOL_SEQUENCE_LENGTH", default: 60)
        let first = UInt64(Self.setting("POOL_SEED", default: Int.random(in: 0..<1_000_000_000)))
        for seed in first..<first + UInt64(count) {
            let scenario = Scenario(seed: seed, length: length)
            guard let failure = scenario.run() else { continue }
            let shrunk = scenario.shrunk()
            Issue.record(
                """
                \(failure.violation)
                POOL_SEED=\(seed) POOL_SEQUENCES=1 POOL_SEQUENCE_LENGTH=\(length), shrunk to
                \(shrunk): \(shrunk.run()?.violation ?? "")
                """)
            return
        }
        print("\(count) random sequences of \(length) steps passed, seeds from \(first)")
    }

    @Test(arguments: [0, 1, 2, 5, 8])
    func smallScopesExhaustively(variant: Int) {
        let depth = Self.setting("POOL_DEPTH", default: TestDepth.choose(5, reduced: 4))
        let steps: [Step] = [
            Step(.acquire, 5), Step(.acquireNew, 5), Step(.cancel, 0), Step(.release, 0), Step(.discard, 0),
            Step(.releaseStale, 1), Step(.connectOK, 0), Step(.connectFail, 0), Step(.peerClose, 0),
            Step(.validatedOK, 0), Step(.validatedBad, 0), Step(.closeDone, 0), Step(.passLong, 0), Step(.shutDown, 10),
        ]
        var harness = Harness(Scenario.configuration(variant), endpoints: Scenario.endpoints(variant))
        harness.start()
        var explorer = Explorer(steps: steps)
        explorer.explore(harness, depth: depth)
        #expect(explorer.failure == nil)
        print("variant \(variant): \(explorer.visits) steps to depth \(depth), \(explorer.seen.count) distinct states")
    }

    struct Explorer {
        let steps: [Step]
        var seen: [Int: Int] = [:]
        var trace: [Step] = []
        var visits = 0
        var failure: String?

        mutating func explore(_ harness: Harness, depth: Int) {
            guard depth > 0, self.failure == nil else { return }
            for step in self.steps {
                if step.verb == .acquire, harness.waiting.count + harness.leases.count >= 3 { continue }
                var next = harness
                next.apply(step)
                self.visits += 1
                self.trace.append(step)
                if depth == 1 || next.violation != nil { next.finish() }
                if let violation = next.violation {
                    self.failure = "\(violation) after \(self.trace)"
                    return
                }
                let fingerprint = next.fingerprint
                if self.seen[fingerprint] ?? 0 < depth {
                    self.seen[fingerprint] = depth
                    self.explore(next, depth: depth - 1)
                }
                self.trace.removeLast()
            }
        }
    }
}
