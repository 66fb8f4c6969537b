//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// When to try again. Sessions and ``WebSocketError``-classifying iterators share it.
public struct WebSocketReconnectPolicy: Sendable {
    /// How long to wait before an attempt.
    public enum Strategy: Sendable {
        /// The first attempt at once. While connections do not become stable, the next ones after 100 ms, 200 ms and so
        /// on up to 10 s: a server that accepts and closes is not stormed.
        case immediate
        /// Always the same time.
        case fixed(Duration)
        /// `base`, twice as long each time, up to `maximum`. Without jitter: for one client, not for a fleet.
        case exponential(base: Duration, maximum: Duration)
        /// A random time between zero and what `exponential` would wait: clients that lost one server come back spread.
        case fullJitter(base: Duration, maximum: Duration)
        /// What the closure says, for attempts counted from 1; nil gives up. It must be quick. No lock is held: it may
        /// look at its session, but not change it.
        case custom(@Sendable (_ attempt: Int) -> Duration?)
        /// `shouldReconnect` decides, also after ends that this side did not want. Without that closure, and for
        /// failed attempts, like `fixed` with one second.
        case callbackControlled
    }

    /// What ended, when the question is whether to try again.
    public enum Cause: Sendable, Hashable {
        /// An attempt to connect failed.
        case connectFailed(WebSocketError)
        /// A connection ended.
        case disconnected(WebSocketSessionDisconnect)
    }

    /// Whether to try again.
    public enum Decision: Sendable, Hashable {
        /// As the strategy says.
        case retry
        /// Not before this time, and then as the strategy says.
        case retryAfter(Duration)
        /// Never: the error is passed on.
        case fatal
        /// Never before the first connection: then the settings are wrong. Afterwards what was right once may become so
        /// again: a certificate is renewed, a file is written, a gateway is back. It is tried again as the strategy says
        /// and 250 ms later than that, 500 ms the next time and so on up to 60 s, until there is a connection; a session
        /// tells an alert each time.
        case fatalUntilConnected
    }

    /// How long to wait. Default `fullJitter` from 1 s to 60 s. Times must be in 0...86,400 s.
    public var strategy: Strategy = .fullJitter(base: .seconds(1), maximum: .seconds(60))
    /// Attempts after the first one until a connection was stable; then giving up is an error. `nil` never gives up, 0
    /// never tries again. With several endpoints each counts as tried when all have been. Default 10; 0 or more.
    public var maximumAttempts: Int? = 10
    /// How long a connection must last before attempts are counted from the beginning. Default 60 s;
    /// 0...86,400 s.
    public var stableTime: Duration = .seconds(60)
    /// The least wait after the server closed with 1013, try again later. Default 30 s; 0...86,400 s.
    public var serverUnavailableDelay: Duration = .seconds(30)
    /// The longest `Retry-After` (RFC 9110 §10.2.3) that is obeyed; a longer one counts as this. Default 1 h.
    public var maximumRetryAfter: Duration = .seconds(3_600)
    /// Whether trying again helps. It must be quick. No lock is held: it may look at its session, but not change it.
    /// Default ``classify(_:)``.
    public var decision: @Sendable (Cause) -> Decision = { classify($0) }

    /// The defaults.
    public init() {}

    /// The default classification: a URL that cannot be used is fatal. Settings and files that cannot be used,
    /// certificates that cannot be trusted, redirects that are not followed, and refusals with a status of 400 to 499
    /// except 408, 425 and 429 are fatal until there has been a connection. Everything else is tried again: also an answer
    /// that is no handshake, which may be one that was cut; a connection that ended always.
    public static func classify(_ cause: Cause) -> Decision {
        guard case .connectFailed(let error) = cause, error.wouldComeAgain else { return .retry }
        // A server that says when to come again does not mean never.
        if let response = error.response, RetryAfter.isAsked(response.headers) { return .retry }
        return switch error.code {
        case .handshakeInvalid: .retry
        case .invalidURL, .shutDown: .fatal
        default: .fatalUntilConnected
        }
    }

    /// What follows a failure, as far as the policy's closures say it.
    package enum Answer: Sendable, Equatable {
        case giveUp
        /// Not before `least`, and then after `custom`; nil for what the strategy says by itself.
        case retry(least: Duration, custom: Duration?)
        /// The same, if there has been a connection, and later each time; else it is given up.
        case retrySlowly(least: Duration, custom: Duration?)
    }

    /// Asks the application's closures, so the caller must not hold a lock.
    ///
    /// - Parameter clock: Seconds since 1970, for a server that says until when and not what time it has.
    package func answer(_ cause: Cause, attempt: Int, clock: Int64? = nil) -> Answer {
        let least: Duration
        var isSlow = false
        switch decision(cause) {
        case .fatal: return .giveUp
        case .retryAfter(let delay): least = max(delay, .zero)
        case .retry: least = serverWish(cause, clock)
        case .fatalUntilConnected:
            least = serverWish(cause, clock)
            isSlow = true
        }
        if let maximumAttempts, attempt > maximumAttempts { return .giveUp }
        var custom: Duration?
        if case .custom(let delay) = strategy {
            guard let delay = delay(attempt) else { return .giveUp }
            custom = max(delay, .zero)
        }
        return isSlow ? .retrySlowly(least: least, custom: custom) : .retry(least: least, custom: custom)
    }

    /// What the server asked for, within `maximumRetryAfter`.
    package func serverWish(_ cause: Cause, _ clock: Int64?) -> Duration {
        switch cause {
        case .connectFailed(let error):
            guard let delay = error.response.flatMap({ RetryAfter.delay($0.headers, now: clock) }) else { return .zero }
            return min(delay, maximumRetryAfter)
        case .disconnected(let end):
            return end.closeInfo?.received?.code == .tryAgainLater ? serverUnavailableDelay : .zero
        }
    }

    /// Looks at every value.
    ///
    /// - Throws: `invalidConfiguration`, with the first option that is out of its range, its value and the range.
    public func validate() throws(WebSocketError) {
        var check = SettingCheck()
        switch strategy {
        case .fixed(let delay): check.time("reconnect.strategy's delay", delay, 0...86_400)
        case .exponential(let base, let maximum), .fullJitter(let base, let maximum):
            check.time("reconnect.strategy's base", base, 0...86_400)
            check.time("reconnect.strategy's maximum", maximum, 0...86_400)
        case .immediate, .custom, .callbackControlled: break
        }
        if let maximumAttempts { check.number("reconnect.maximumAttempts", maximumAttempts, 0...1_000_000) }
        check.time("reconnect.stableTime", stableTime, 0...86_400)
        check.time("reconnect.serverUnavailableDelay", serverUnavailableDelay, 0...86_400)
        check.time("reconnect.maximumRetryAfter", maximumRetryAfter, 0...1e9)
        try check.result.get()
    }
}

extension WebSocketError {
    /// Whether the same attempt would fail again, unless something is changed somewhere. Then a pool asks its endpoint
    /// less often from the start, and sessions that have not been connected give up.
    package var wouldComeAgain: Bool {
        switch code {
        case .invalidURL, .invalidConfiguration, .handshakeInvalid, .redirectRefused, .shutDown: true
        // Credentials are missing or wrong.
        case .proxyFailed: response?.status == 407 || response?.status == 401 || tlsFailure?.wouldComeAgain == true
        case .handshakeRejected:
            // Of the client's errors those that time can heal: timeout, too early, too many requests.
            response.map { (400..<500).contains($0.status) && ![408, 425, 429].contains($0.status) } ?? false
        case .tlsFailed: tlsFailure?.wouldComeAgain == true
        default: false
        }
    }
}

extension WebSocketError.TLSFailure {
    fileprivate var wouldComeAgain: Bool {
        switch self {
        case .expired, .notYetValid, .hostMismatch, .selfSigned, .untrusted, .badChain, .wrongUsage, .pinMismatch,
            .clientCertificate:
            true
        case .notTLS, .version, .peerAlert, .other: false
        }
    }
}
