//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing

@testable import WebSocketCore

@Suite struct ReconnectEngineTests {
    private let lost = WebSocketReconnectPolicy.Cause.disconnected(
        WebSocketSessionDisconnect(reason: .networkError, closeInfo: nil, connectedFor: .zero))

    private func engine(
        _ strategy: WebSocketReconnectPolicy.Strategy, maximumAttempts: Int? = nil, seed: UInt64 = 1
    ) -> ReconnectEngine {
        var policy = WebSocketReconnectPolicy()
        policy.strategy = strategy
        policy.maximumAttempts = maximumAttempts
        return ReconnectEngine(policy: policy, seed: seed)
    }

    private func delays(_ engine: inout ReconnectEngine, _ count: Int) -> [Duration] {
        (0..<count).compactMap { _ in
            if case .retry(let delay) = engine.next(after: lost, at: .zero) { delay } else { nil }
        }
    }

    @Test func fixedIsAlwaysTheSame() {
        var engine = engine(.fixed(.seconds(3)))
        #expect(delays(&engine, 4) == Array(repeating: .seconds(3), count: 4))
    }

    @Test func exponentialDoublesUpToItsMaximum() {
        var engine = engine(.exponential(base: .seconds(1), maximum: .seconds(10)))
        #expect(delays(&engine, 6) == [1, 2, 4, 8, 10, 10].map { .seconds($0) })
        #expect(delays(&engine, 100).allSatisfy { $0 == .seconds(10) })
    }

    @Test func immediateStormsNobody() {
        var engine = engine(.immediate)
        #expect(delays(&engine, 4) == [0, 100, 200, 400].map { .milliseconds($0) })
        #expect(delays(&engine, 20).last == .seconds(10))
    }

    @Test func fullJitterStaysBelowTheExponentialDelay() {
        for seed in 0..<50 as Range<UInt64> {
            var engine = engine(.fullJitter(base: .seconds(1), maximum: .seconds(60)), seed: seed)
            for (delay, bound) in zip(delays(&engine, 8), [1, 2, 4, 8, 16, 32, 60, 60]) {
                #expect(delay >= .zero && delay < .seconds(bound))
            }
        }
    }

    /// S2: a thousand sessions that lose one server come back spread.
    @Test func aThousandSessionsThatLoseOneServerComeBackSpread() {
        var counts = [Int](repeating: 0, count: 10)
        for seed in 0..<1_000 as Range<UInt64> {
            var engine = engine(.fullJitter(base: .seconds(10), maximum: .seconds(60)), seed: seed)
            let delay = delays(&engine, 1)[0]
            counts[Int(delay / .seconds(1))] += 1
        }
        // The peak is at most twice the mean.
        #expect(counts.max()! <= 200)
        #expect(counts.min()! > 0)
    }

    @Test func customDecidesAndMayGiveUp() {
        var engine = engine(.custom { $0 <= 2 ? .seconds($0 * 7) : nil })
        #expect(engine.next(after: lost, at: .zero) == .retry(after: .seconds(7)))
        #expect(engine.next(after: lost, at: .zero) == .retry(after: .seconds(14)))
        #expect(engine.next(after: lost, at: .zero) == .giveUp)
    }

    @Test func attemptsAreLimited() {
        var three = engine(.fixed(.zero), maximumAttempts: 3)
        #expect(delays(&three, 3).count == 3)
        #expect(three.next(after: lost, at: .zero) == .giveUp)
        var none = engine(.fixed(.zero), maximumAttempts: 0)
        #expect(none.next(after: lost, at: .zero) == .giveUp)
    }

    @Test func theCountStartsAgainOnlyAfterAStableTime() {
        var engine = engine(.exponential(base: .seconds(1), maximum: .seconds(64)))
        #expect(engine.stableAt == nil)
        _ = delays(&engine, 3)
        engine.connected(at: .seconds(100))
        #expect(engine.stableAt == .seconds(160))
        #expect(engine.next(after: lost, at: .seconds(159)) == .retry(after: .seconds(8)))
        engine.connected(at: .seconds(200))
        engine.lasted(until: .seconds(259))
        #expect(engine.attempts == 4)
        engine.lasted(until: .seconds(260))
        #expect(engine.attempts == 0)
        #expect(engine.next(after: lost, at: .seconds(261)) == .retry(after: .seconds(1)))
        engine.connected(at: .seconds(300))
        // Nobody looked in between; the end finds out by itself.
        #expect(engine.next(after: lost, at: .seconds(360)) == .retry(after: .seconds(1)))
    }

    /// S1: a server that accepts and closes a thousand times meets at most one attempt per step.
    @Test
    func aServerThatAcceptsAndClosesAThousandTimesMeetsAtMostOneAttemptPerStep() {
        var engine = engine(.exponential(base: .seconds(1), maximum: .seconds(60)))
        var now = Duration.zero
        var last = Duration.zero
        for attempt in 1...1_000 {
            engine.connected(at: now)
            guard case .retry(let delay) = engine.next(after: lost, at: now) else {
                Issue.record("gave up at \(attempt)")
                return
            }
            #expect(delay >= min(last, .seconds(60)))
            last = delay
            now += delay
        }
        #expect(now > .seconds(990 * 60))
    }

    @Test func tryAgainLaterIsObeyedAndJittered() {
        let frame = WebSocketCloseFrame(code: .tryAgainLater)
        let busy = WebSocketReconnectPolicy.Cause.disconnected(
            WebSocketSessionDisconnect(
                reason: .serverClosed,
                closeInfo: WebSocketCloseInfo(
                    received: frame, sent: frame, receivedFirst: true, cause: .closingHandshake),
                connectedFor: .zero))
        var fixed = engine(.fixed(.seconds(2)))
        #expect(fixed.next(after: busy, at: .zero) == .retry(after: .seconds(32)))
        var delays: Set<Duration> = []
        for seed in 0..<20 as Range<UInt64> {
            var engine = engine(.fullJitter(base: .seconds(1), maximum: .seconds(60)), seed: seed)
            if case .retry(let delay) = engine.next(after: busy, at: .zero) { delays.insert(delay) }
        }
        #expect(delays.count == 20)
        #expect(delays.allSatisfy { $0 >= .seconds(30) && $0 < .seconds(31) })
    }

    private func refusal(_ status: Int, _ headers: HTTPFields = [:]) -> WebSocketReconnectPolicy.Cause {
        .connectFailed(
            WebSocketError(
                .handshakeRejected, "the server refused", response: .init(status: status, headers: headers)))
    }

    @Test func retryAfterIsObeyedUpToALimit() {
        var engine = engine(.fixed(.seconds(1)))
        #expect(engine.next(after: refusal(503, [.retryAfter: "120"]), at: .zero) == .retry(after: .seconds(121)))
        #expect(engine.next(after: refusal(429, [.retryAfter: "7"]), at: .zero) == .retry(after: .seconds(8)))
        #expect(engine.next(after: refusal(503, [.retryAfter: "999999"]), at: .zero) == .retry(after: .seconds(3_601)))
        #expect(engine.next(after: refusal(503, [.retryAfter: "soon"]), at: .zero) == .retry(after: .seconds(1)))
        #expect(engine.next(after: refusal(503), at: .zero) == .retry(after: .seconds(1)))
    }

    @Test(arguments: [400, 401, 403, 404, 410, 426]) func refusalsThatComeAgainAreFatal(status: Int) {
        var engine = engine(.fixed(.zero))
        #expect(engine.next(after: refusal(status), at: .zero) == .giveUp)
    }

    @Test(arguments: [408, 425, 429, 500, 502, 503, 504]) func refusalsThatTimeHealsAreNot(status: Int) {
        var engine = engine(.fixed(.zero))
        #expect(engine.next(after: refusal(status), at: .zero) == .retry(after: .zero))
    }

    /// Nothing that time could change.
    @Test(arguments: [
        WebSocketError(.invalidURL, "a"), WebSocketError(.invalidConfiguration, "a"), WebSocketError(.shutDown, "a"),
        WebSocketError(.redirectRefused, "a", response: .init(status: 302, headers: [.location: "http://other/"])),
        WebSocketError(.proxyFailed, "a", phase: .proxy, response: .init(status: 407, headers: [:])),
        WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .pinMismatch),
        WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .clientCertificate),
        WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .expired),
        WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .hostMismatch),
        WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .selfSigned),
        WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .untrusted),
    ]) func whatWouldComeAgainIsFatal(error: WebSocketError) {
        #expect(error.wouldComeAgain)
        var engine = engine(.fixed(.zero))
        #expect(engine.next(after: .connectFailed(error), at: .zero) == .giveUp)
    }

    /// What was right once may become so again.
    @Test func onceConnectedAFaultIsTriedAgainSlowly() {
        let faults = [
            refusal(404), refusal(401), refusal(403), .connectFailed(WebSocketError(.invalidConfiguration, "a")),
            .connectFailed(WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .expired)),
            .connectFailed(WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .untrusted)),
            .connectFailed(WebSocketError(.redirectRefused, "a", response: .init(status: 302, headers: [:]))),
            .connectFailed(
                WebSocketError(.proxyFailed, "a", phase: .proxy, response: .init(status: 407, headers: [:]))),
        ]
        for fault in faults {
            var engine = engine(.fixed(.seconds(1)))
            engine.connected(at: .zero)
            let delays = (0..<10).map { _ in engine.next(after: fault, at: .seconds(1)) }
            let extra = [0.25, 0.5, 1, 2, 4, 8, 16, 32, 60, 60]
            #expect(delays == extra.map { .retry(after: .seconds(1) + .seconds($0)) }, "\(fault)")
            #expect(engine.attempts == 10)
            // The next connection begins anew; a fault that time heals by itself does not.
            #expect(engine.next(after: refusal(503), at: .seconds(1)) == .retry(after: .seconds(1)))
            #expect(engine.next(after: fault, at: .seconds(1)) == .retry(after: .seconds(61)))
            engine.connected(at: .seconds(2))
            #expect(engine.next(after: fault, at: .seconds(3)) == .retry(after: .milliseconds(1_250)))
        }
    }

    @Test func onceConnectedAttemptsAreLimitedAllTheSame() {
        var engine = engine(.fixed(.zero), maximumAttempts: 2)
        engine.connected(at: .zero)
        #expect(engine.next(after: refusal(404), at: .zero) != .giveUp)
        #expect(engine.next(after: refusal(404), at: .zero) != .giveUp)
        #expect(engine.next(after: refusal(404), at: .zero) == .giveUp)
    }

    @Test func whatIsFatalStaysFatal() {
        for error in [WebSocketError(.invalidURL, "a"), WebSocketError(.shutDown, "a")] {
            var engine = engine(.fixed(.zero))
            engine.connected(at: .zero)
            #expect(engine.next(after: .connectFailed(error), at: .zero) == .giveUp)
        }
        var policy = WebSocketReconnectPolicy()
        policy.decision = { cause in
            let decision = WebSocketReconnectPolicy.classify(cause)
            return decision == .fatalUntilConnected ? .fatal : decision
        }
        var engine = ReconnectEngine(policy: policy, seed: 0)
        engine.connected(at: .zero)
        #expect(engine.next(after: refusal(404), at: .zero) == .giveUp)
        #expect(engine.next(after: refusal(503), at: .zero) != .giveUp)
    }

    /// The server's own wish and the application's own delays count too.
    @Test func slowlyIsAdded() {
        var engine = engine(.custom { attempt in attempt < 2 ? .seconds(3) : nil })
        engine.connected(at: .zero)
        #expect(
            engine.next(after: refusal(404, [.retryAfter: "7"]), at: .zero) == .retry(after: .seconds(10)))
        #expect(engine.next(after: refusal(404), at: .zero) == .giveUp)
    }

    @Test(arguments: [
        WebSocketError(.nameNotFound, "a"), WebSocketError(.connectFailed, "a"), WebSocketError(.timedOut, "a"),
        WebSocketError(.resourceExhausted, "a"), WebSocketError(.handshakeInvalid, "a"),
        WebSocketError(.proxyFailed, "a", phase: .proxy),
        WebSocketError(.proxyFailed, "a", phase: .proxy, response: .init(status: 502, headers: [:])),
        WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .peerAlert),
        WebSocketError(.tlsFailed, "a", phase: .tls, tlsFailure: .other),
    ]) func whatTimeMayHealIsTriedAgain(error: WebSocketError) {
        var engine = engine(.fixed(.zero))
        #expect(engine.next(after: .connectFailed(error), at: .zero) == .retry(after: .zero))
    }

    @Test func noClosureIsAskedMoreThanItMustBe() {
        var policy = WebSocketReconnectPolicy()
        policy.maximumAttempts = 2
        policy.strategy = .custom { attempt in attempt > 2 ? .seconds(99) : .seconds(attempt) }
        #expect(policy.answer(lost, attempt: 1) == .retry(least: .zero, custom: .seconds(1)))
        #expect(policy.answer(lost, attempt: 3) == .giveUp)
        policy.strategy = .fixed(.seconds(5))
        #expect(policy.answer(lost, attempt: 2) == .retry(least: .zero, custom: nil))
    }

    @Test func theClassificationCanBeReplaced() {
        var policy = WebSocketReconnectPolicy()
        policy.strategy = .fixed(.seconds(1))
        policy.decision = { cause in
            switch cause {
            case .connectFailed: .retryAfter(.seconds(9))
            case .disconnected: .fatal
            }
        }
        var engine = ReconnectEngine(policy: policy, seed: 0)
        #expect(engine.next(after: refusal(404), at: .zero) == .retry(after: .seconds(10)))
        #expect(engine.next(after: lost, at: .zero) == .giveUp)
    }

    @Test func whatIsOutOfRangeIsRefused() throws {
        var policy = WebSocketReconnectPolicy()
        try policy.validate()
        policy.strategy = .exponential(base: .seconds(-1), maximum: .seconds(1_000))
        var error = try #require(throws: WebSocketError.self) { try policy.validate() }
        #expect(error.code == .invalidConfiguration && error.message.contains("0...86400 s"), "\(error)")
        policy.strategy = .immediate
        policy.maximumAttempts = -1
        error = try #require(throws: WebSocketError.self) { try policy.validate() }
        #expect(error.message.hasPrefix("reconnect.maximumAttempts is -1"), "\(error)")
        policy.maximumAttempts = nil
        try policy.validate()
    }

    /// A server that says when to come again does not mean never, whatever its status is.
    @Test func retryAfterOnAnyStatusIsObeyed() {
        var engine = engine(.fixed(.zero))
        #expect(engine.next(after: refusal(418, [.retryAfter: "7"]), at: .zero) == .retry(after: .seconds(7)))
        #expect(engine.next(after: refusal(418), at: .zero) == .giveUp)
    }

    /// Also when it says so by a date and does not say what time it has.
    @Test(arguments: ["Sat, 21 Nov 2026 08:05:57 GMT", "Saturday, 21-Nov-26 08:05:57 GMT", "Sat Nov 21 08:05:57 2026"])
    func aDateOnAnyStatusIsObeyed(date: String) {
        let (now, cause) = (Int64(1_795_248_350), refusal(418, [.retryAfter: date]))
        var engine = engine(.fixed(.zero))
        #expect(engine.next(after: cause, at: .zero, clock: now) == .retry(after: .seconds(7)))
        #expect(engine.next(after: refusal(418, [.retryAfter: "soon"]), at: .zero, clock: now) == .giveUp)
    }

    @Test(arguments: [
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
        ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600), ("Sat, 21 Nov 2026 08:05:57 GMT", 1_795_248_357),
        ("Fri, 31 Dec 1999 23:59:60 GMT", 946_684_800),
        // RFC 850, whose year has two digits, and asctime, whose day may have a space in front.
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777), ("Tuesday, 29-Feb-00 12:00:00 GMT", 951_825_600),
        ("Saturday, 21-Nov-26 08:05:57 GMT", 1_795_248_357),
        ("Sun Nov  6 08:49:37 1994", 784_111_777), ("Sun Nov 06 08:49:37 1994", 784_111_777),
        ("Tue Feb 29 12:00:00 2000", 951_825_600), ("Fri Dec 31 23:59:60 1999", 946_684_800),
    ]) func everyDateFormOfRFC9110Section5_6_7IsRead(text: String, seconds: Int64) {
        #expect(RetryAfter.seconds(text, now: 1_795_248_357) == seconds)
    }

    /// RFC 9110 §5.6.7: a year that would be more than 50 years ahead is one of the past.
    @Test(arguments: [
        ("Sunday, 06-Nov-94 08:49:37 GMT", 1_795_248_357, 784_111_777),
        // Seen from 1999, 04 is 2004; seen from 2099, 01 is 2101.
        ("Thursday, 01-Jan-04 00:00:00 GMT", 946_684_800, 1_072_915_200),
        ("Saturday, 01-Jan-01 00:00:00 GMT", 4_070_908_800, 4_133_980_800),
        // Fifty years ahead, and a year more.
        ("Wednesday, 01-Jan-76 00:00:00 GMT", 1_767_225_600, 3_345_062_400),
        ("Saturday, 01-Jan-77 00:00:00 GMT", 1_767_225_600, 220_924_800),
    ]) func aYearOfTwoDigitsIsTheNearest(text: String, now: Int64, seconds: Int64) {
        #expect(RetryAfter.seconds(text, now: now) == seconds)
    }

    @Test(arguments: [
        "", "tomorrow", "Sun, 06 Nov 1994 08:49:37", "Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37:00 GMT", "Sun, 06 Nov 1994 08:-9:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT", "Sunday, 06-Nov 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37",
        "Sunday, 06-Nov-94 08:49:37 CET", "Sun Nov  6 08:49:37 94", "Sun Nov  6 08:49:37 1994 GMT",
        "Nov  6 08:49:37 1994", "Sun Nov 32 08:49:37 1994", "1994-11-06T08:49:37Z",
    ]) func otherTextIsNoDate(text: String) {
        #expect(RetryAfter.seconds(text, now: 1_795_248_357) == nil)
    }

    @Test func aDateIsComparedWithTheServersOwnClock() {
        let until = "Sun, 06 Nov 1994 08:49:37 GMT"
        #expect(
            RetryAfter.delay([.retryAfter: until, .date: "Sun, 06 Nov 1994 08:49:07 GMT"]) == .seconds(30))
        #expect(RetryAfter.delay([.retryAfter: until, .date: "Sun, 06 Nov 1994 09:00:00 GMT"]) == .zero)
        #expect(RetryAfter.delay([.retryAfter: "99999999999999999999"]) == .seconds(Int64(Int32.max)))
        #expect(RetryAfter.delay([.retryAfter: " 7\t"]) == .seconds(7))
        #expect(RetryAfter.delay([:]) == nil)
        for form in ["Sunday, 06-Nov-94 08:49:07 GMT", "Sun Nov  6 08:49:07 1994"] {
            #expect(RetryAfter.delay([.retryAfter: until, .date: form], now: 784_000_000) == .seconds(30))
            #expect(RetryAfter.delay([.retryAfter: form, .date: "Sun, 06 Nov 1994 08:49:00 GMT"]) == .seconds(7))
        }
    }

    /// RFC 9110 §6.6.1: a server without a clock sends no `Date`; then the time at which its answer came counts.
    @Test func withoutADateOurClockCounts() {
        let until = "Sun, 06 Nov 1994 08:49:37 GMT"
        #expect(RetryAfter.delay([.retryAfter: until], now: 784_111_777 - 12) == .seconds(12))
        #expect(RetryAfter.delay([.retryAfter: until], now: 784_111_777 + 12) == .zero)
        #expect(RetryAfter.delay([.retryAfter: until, .date: "noon"], now: 784_111_777 - 12) == .seconds(12))
        #expect(RetryAfter.delay([.retryAfter: "soon"], now: 0) == nil)
        #expect(RetryAfter.delay([.retryAfter: until]) == nil)
    }

    @Test func aRefusalWithADateIsObeyed() {
        let until = "Sun Nov  6 08:49:37 1994"
        var policy = WebSocketReconnectPolicy()
        policy.strategy = .fixed(.seconds(1))
        var engine = ReconnectEngine(policy: policy, seed: 1)
        #expect(
            engine.next(after: refusal(503, [.retryAfter: until]), at: .zero, clock: 784_111_777 - 5)
                == .retry(after: .seconds(6)))
        #expect(
            engine.next(after: refusal(503, [.retryAfter: until]), at: .zero, clock: 0)
                == .retry(after: .seconds(3_601)))
    }
}
