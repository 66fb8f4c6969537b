//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketPool

/// One thing that happens to a pool. Arguments are indexes into whatever is there (modulo), or spans of time.
struct Step: Hashable, CustomStringConvertible {
    enum Verb: String, CaseIterable {
        case acquire, acquireNew, warmUp, tryAcquire, cancel, release, discard, drain, takeBackCancelled, takeBackDead
        case releaseStale, detach, connectOK, connectFail, connectFatal, lateConnect, peerClose
        case validatedOK, validatedBad, drainedClean, drainedDirty, closeDone, pass, passLong
        case resize, suspend, resume, releaseUnused, reset, shutDown, listEndpoints
    }

    var verb: Verb
    var argument = 0

    var description: String { "\(self.verb.rawValue) \(self.argument)" }

    init(_ verb: Verb, _ argument: Int = 0) {
        self.verb = verb
        self.argument = argument
    }

    init?(_ text: some StringProtocol) {
        let words = text.split(separator: " ")
        guard words.count == 2, let verb = Verb(rawValue: String(words[0])), let argument = Int(words[1]) else {
            return nil
        }
        self.init(verb, argument)
    }

    /// Likelier the more usual: a uniform choice would spend its time on pools that are shut down.
    private static let weighted: [Verb] = {
        let weights: [Verb: Int] = [
            .acquire: 20, .acquireNew: 3, .warmUp: 1, .tryAcquire: 6, .cancel: 5, .release: 18, .discard: 4, .drain: 4,
            .takeBackCancelled: 2, .takeBackDead: 2, .releaseStale: 3, .detach: 1, .connectOK: 18, .connectFail: 5,
            .lateConnect: 2, .peerClose: 4, .validatedOK: 8, .validatedBad: 2, .drainedClean: 5, .drainedDirty: 1,
            .closeDone: 8, .pass: 14, .passLong: 3, .resize: 1, .suspend: 1, .resume: 2, .releaseUnused: 1, .reset: 1,
            .listEndpoints: 1,
        ]
        return Verb.allCases.flatMap { Array(repeating: $0, count: weights[$0] ?? 0) }
    }()

    static func random(using random: inout PoolRandom) -> Step {
        // Rare enough not to end most sequences early.
        let rare = random.next() % 400
        if rare == 0 { return Step(.shutDown, Int(random.next() % 100)) }
        if rare == 1 { return Step(.connectFatal, 0) }
        let verb = self.weighted[Int(random.next() % UInt64(self.weighted.count))]
        return Step(verb, Int(random.next() % 64))
    }
}

/// A configuration and what happens to it: enough to repeat a failure.
struct Scenario: CustomStringConvertible {
    var variant: Int
    var steps: [Step]

    var description: String {
        "variant \(self.variant): " + self.steps.map(\.description).joined(separator: "; ")
    }

    init(variant: Int, steps: [Step]) {
        self.variant = variant
        self.steps = steps
    }

    init?(_ line: some StringProtocol) {
        let halves = line.split(separator: ":")
        guard halves.count == 2, let variant = halves[0].split(separator: " ").last.flatMap({ Int($0) }) else {
            return nil
        }
        self.variant = variant
        self.steps = halves[1].split(separator: ";").compactMap { Step($0) }
    }

    init(seed: UInt64, length: Int) {
        var random = PoolRandom(seed: seed)
        self.variant = Int(seed % UInt64(Self.variantCount))
        self.steps = (0..<length).map { _ in Step.random(using: &random) }
    }

    /// - Returns: What went wrong, and after how many steps.
    func run() -> (violation: String, step: Int)? {
        var harness = Harness(Self.configuration(self.variant), endpoints: Self.endpoints(self.variant))
        harness.start()
        for (index, step) in self.steps.enumerated() {
            harness.apply(step)
            if let violation = harness.violation { return (violation, index) }
        }
        harness.finish()
        return harness.violation.map { ($0, self.steps.count) }
    }

    /// Leaves out steps as long as the scenario still fails.
    func shrunk() -> Scenario {
        var best = self
        if let failure = self.run() { best.steps = Array(best.steps.prefix(failure.step + 1)) }
        var chunk = max(1, best.steps.count / 2)
        while true {
            var start = 0
            while start < best.steps.count {
                var candidate = best
                candidate.steps.removeSubrange(start..<min(start + chunk, best.steps.count))
                if candidate.run() != nil { best = candidate } else { start += chunk }
            }
            if chunk == 1 { return best }
            chunk /= 2
        }
    }

    static let variantCount = 9

    /// Small pools with short times, each with another feature at its limit.
    static func configuration(_ variant: Int) -> WebSocketPoolConfiguration {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 2
        configuration.hardMaximum = 2
        configuration.connectStagger = .zero
        configuration.validationBypass = nil
        configuration.keepaliveInterval = nil
        configuration.idleTimeout = nil
        configuration.maximumLifetime = nil
        configuration.lifetimeJitter = 0
        configuration.connectTimeout = .nanoseconds(60)
        configuration.closeTimeout = .nanoseconds(50)
        configuration.validationTimeout = .nanoseconds(40)
        configuration.hygiene = .drain(.init(timeout: .nanoseconds(45), quietPeriod: .nanoseconds(5)))
        configuration.backoff = .init(base: .nanoseconds(8), maximum: .nanoseconds(64))
        configuration.circuitBreaker = .init(
            failureThreshold: 4, openDuration: .nanoseconds(50), maximumOpenDuration: .nanoseconds(200))
        switch variant {
        case 1:
            configuration.hardMaximum = 4
            configuration.validationBypass = .nanoseconds(10)
        case 2:
            configuration.minimumIdle = 1
            configuration.idleTimeout = .nanoseconds(100)
            configuration.keepaliveInterval = .nanoseconds(50)
        case 3:
            configuration.maximumLifetime = .nanoseconds(150)
            configuration.idleTimeout = .nanoseconds(90)
        case 4:
            configuration.softMaximum = 6
            configuration.hardMaximum = 6
            configuration.reuseOrder = .firstReturnedFirst
            configuration.connectStagger = .nanoseconds(30)
            configuration.maximumConcurrentConnects = 3
        case 5:
            configuration.softMaximum = 4
            configuration.hardMaximum = 4
            configuration.circuitBreaker.failureThreshold = 2
        case 6:
            configuration.maximumWaiters = 3
            configuration.leakThreshold = .nanoseconds(40)
            configuration.maximumConcurrentConnects = 1
        case 7:
            configuration.softMaximum = 3
            configuration.hardMaximum = 5
            configuration.minimumIdle = 2
            configuration.validationBypass = .nanoseconds(20)
            configuration.keepaliveInterval = .nanoseconds(60)
            configuration.idleTimeout = .nanoseconds(120)
            configuration.maximumLifetime = .nanoseconds(400)
            configuration.connectStagger = .nanoseconds(30)
        case 8:
            configuration.softMaximum = 4
            configuration.hardMaximum = 4
            configuration.validationBypass = .nanoseconds(10)
            configuration.keepaliveInterval = .nanoseconds(60)
            configuration.idleTimeout = .nanoseconds(300)
            configuration.connectStagger = .nanoseconds(15)
            configuration.circuitBreaker.failureThreshold = 2
        default: break
        }
        return configuration
    }

    static func endpoints(_ variant: Int) -> Int { variant == 5 || variant == 8 ? 2 : 1 }
}
