//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// How a pool behaves. Every default is finite and safe.
///
/// Durations have no unit of their own (`.seconds(30)`). `nil` switches a feature off, and so does `.zero` where it
/// would otherwise mean "at once, all the time": idle timeout, lifetime, keepalive and leak threshold, as in HikariCP.
/// Values out of range, and values that contradict each other, are refused by name when the pool is made.
public struct WebSocketPoolConfiguration: Sendable {
    // MARK: Size

    /// Connections the pool keeps, `0...hardMaximum`. Above it they are overflow: closed as soon as no task wants them.
    /// Default 16.
    public var softMaximum = 16

    /// Connections the pool ever has at a time, whatever they are doing, at least 1. Default 16
    /// (HikariCP: `maximumPoolSize`).
    public var hardMaximum = 16

    /// Idle connections that the pool keeps ready, refilled in the background, `0...softMaximum`.
    /// Default 0 (HikariCP: `minimumIdle`). `idleTimeout` spares them, `maximumLifetime` does not.
    public var minimumIdle = 0

    /// Connections opened when the pool starts, `0...softMaximum`. Default 0. They then obey `idleTimeout`.
    public var warmUpCount = 0

    /// Whether a failed warm-up ends the pool. Default `.bestEffort` (HikariCP: `initializationFailTimeout`). With
    /// `.failFast` at least one connection is opened, whatever `warmUpCount` says.
    public var warmUpPolicy = WebSocketPoolWarmUpPolicy.bestEffort

    /// Whether `withPool` begins its body when the warm-up has ended, rather than at once. Default `false`: an acquire
    /// that comes early gets the first connection that is open, so waiting only delays what needs none. With `failFast`
    /// it always waits, because the body of a pool that cannot start must not begin.
    public var waitsForWarmUp = false

    /// Which idle connection is lent first. Default `.lastUsedFirst`, which lets the others reach `idleTimeout`.
    public var reuseOrder = WebSocketPoolReuseOrder.lastUsedFirst

    // MARK: Waiting

    /// How long an acquire waits in all, connecting included, unless it says otherwise. Default 30 s. `.zero` fails at
    /// once when nothing is idle (HikariCP's `connectionTimeout` of zero waits for ever).
    public var acquireTimeout = Duration.seconds(30)

    /// How many acquires may wait at a time; the next one fails with `poolExhausted`. At least 0.
    /// Default 10,000.
    public var maximumWaiters = 10_000

    // MARK: Connecting

    /// How long one attempt may take, more than zero. Default 10 s.
    public var connectTimeout = Duration.seconds(10)

    /// How many attempts may be under way at a time, at least 1. Default 20.
    public var maximumConcurrentConnects = 20

    /// How patiently the pool grows while it has connections in circulation: it opens one, doubles with each success,
    /// and doubles as well when a waiter has waited this long. Default 250 ms.
    ///
    /// A burst of short leases is then served by the connections there are, instead of by dozens of new ones that
    /// come too late. `.zero` opens one connection for each waiter at once, up to `maximumConcurrentConnects`.
    public var connectStagger = Duration.milliseconds(250)
    /// How long a waiter trusts validations and attempts under way; `nil` for `connectStagger`, or 250 ms without one. For
    /// tests that count connections on a busy machine.
    package var patience: Duration?

    /// Delays after failed attempts.
    public var backoff = WebSocketPoolBackoff()

    /// When an endpoint is given up for a while.
    public var circuitBreaker = WebSocketPoolCircuitBreaker()

    /// Whether an error of the factory makes further attempts pointless, for example a refused credential. The
    /// endpoint's circuit then opens at once. Default: no error does. Called outside of the pool's lock.
    public var isFatalConnectError: @Sendable (any Error) -> Bool = { _ in false }

    /// For how long an error of the factory says that its endpoint wants to be left alone, for example the
    /// `Retry-After` of a refusal. The endpoint is ejected for that time, at most
    /// ``WebSocketPoolCircuitBreaker/maximumRetryAfter``; others go on. Default: no error does. Called outside of the
    /// pool's lock.
    public var retryAfter: @Sendable (any Error) -> Duration? = { _ in nil }

    // MARK: Health

    /// Idle time after which a connection is closed, unless `minimumIdle` needs it. `nil` and `.zero`: never.
    /// Default 60 s (HikariCP: `idleTimeout`).
    public var idleTimeout: Duration? = .seconds(60)

    /// Age after which a connection is replaced. A lease is never interrupted: the connection is closed when it comes
    /// back. `nil` and `.zero`: it may live for ever. Default 30 min (HikariCP: `maxLifetime`).
    public var maximumLifetime: Duration? = .seconds(1800)

    /// By how much of `maximumLifetime` a connection may end earlier, `0...1`, drawn for each, so that connections
    /// opened together do not end together. Default 0.1: with 30 min the pool is renewed over 3 minutes.
    public var lifetimeJitter = 0.1

    /// How often an idle connection is validated. `nil` and `.zero`: never. Default 30 s, up to a tenth earlier
    /// (HikariCP: `keepaliveTime`).
    public var keepaliveInterval: Duration? = .seconds(30)

    /// A connection that proved itself more recently than this is lent without validation; `nil` lends every open
    /// connection unvalidated, `.zero` validates each. Default 500 ms (HikariCP: `aliveBypassWindowMs`).
    ///
    /// Past the window an acquire suspends for one round trip, so set it to `nil` where `keepaliveInterval` is enough.
    public var validationBypass: Duration? = .milliseconds(500)

    /// How long a validation may take, more than zero. After it the connection is aborted and its slot is free.
    /// Default 5 s (HikariCP: `validationTimeout`).
    public var validationTimeout = Duration.seconds(5)

    // MARK: Returning and closing

    /// What happens to unread messages. Default `.discardConnection`.
    public var hygiene = WebSocketPoolReleaseHygiene.discardConnection

    /// Whether a lease that sent more messages than arrived has left something open: an answer is on its way, and the
    /// next borrower would take it for its own. The connection is then closed or drained, as `hygiene` says. Default
    /// `true`. For protocols in which messages are not answered, `false`: or no connection would be used twice.
    public var expectsReplies = true

    /// Whether a connection may be reused although the body of `withConnection` threw this error. Default: never,
    /// because it is not known how far the exchange got.
    public var isReusableAfter: @Sendable (any Error) -> Bool = { _ in false }

    /// How long closing one connection may take before its slot is given away. Default 10 s.
    public var closeTimeout = Duration.seconds(10)

    /// How long `withPool` waits for leases when its body returns. Default 10 s.
    public var shutdownGrace = Duration.seconds(10)

    // MARK: Watching

    /// How long a lease may last before it is reported as a suspected leak, with the place where it was taken.
    /// `nil` and `.zero`: off. Default `nil` (HikariCP: `leakDetectionThreshold`). The lease goes on.
    public var leakThreshold: Duration?

    /// The defaults.
    public init() {}

    /// Whether some milliseconds matter.
    var needsExactTime: Bool {
        // A bypass of zero validates each time; the others are off at zero.
        if let bypass = validationBypass, bypass < .milliseconds(100) { return true }
        return [idleTimeout, maximumLifetime, keepaliveInterval, leakThreshold]
            .contains { $0.map { $0 > .zero && $0 < .milliseconds(100) } ?? false }
    }
}

/// Full-jitter exponential backoff: the `n`th delay is drawn uniformly from `0 ..< min(maximum, base × 2ⁿ)`.
///
/// Counted for each endpoint; one success resets it.
public struct WebSocketPoolBackoff: Sendable, Hashable {
    /// Bound of the first delay. Default 100 ms.
    public var base: Duration
    /// Bound of every delay. Default 10 s.
    public var maximum: Duration

    /// Delays from `base`, doubled with each failure up to `maximum`, with full jitter.
    public init(base: Duration = .milliseconds(100), maximum: Duration = .seconds(10)) {
        self.base = base
        self.maximum = maximum
    }
}

/// When an endpoint that refuses connections is ejected, and how it returns.
///
/// An ejected endpoint gets no attempt until its time is over, then a single probe. After the probe the number of
/// concurrent attempts doubles with each success until `maximumConcurrentConnects` is reached. When every endpoint is
/// ejected and no connection is left, acquires fail at once with `poolUnavailable`.
public struct WebSocketPoolCircuitBreaker: Sendable, Hashable {
    /// Consecutive failures that eject an endpoint. Default 5.
    public var failureThreshold: Int
    /// How long the first ejection lasts at most; each further one without a success in between lasts twice as long, up to
    /// `maximumOpenDuration`. By chance, between half of that and all of it. Default 1 s.
    public var openDuration: Duration
    /// Default 60 s.
    public var maximumOpenDuration: Duration
    /// How long an endpoint is left alone at most because it asks for that, with the `Retry-After` of a refusal.
    /// `.zero`: what it asks for is ignored. Default 5 min.
    public var maximumRetryAfter: Duration

    /// A circuit breaker.
    public init(
        failureThreshold: Int = 5, openDuration: Duration = .seconds(1), maximumOpenDuration: Duration = .seconds(60),
        maximumRetryAfter: Duration = .seconds(300)
    ) {
        self.failureThreshold = failureThreshold
        self.openDuration = openDuration
        self.maximumOpenDuration = maximumOpenDuration
        self.maximumRetryAfter = maximumRetryAfter
    }
}

/// Whether a pool whose warm-up failed goes on.
public enum WebSocketPoolWarmUpPolicy: Sendable, Hashable {
    /// Failures are observed, not thrown.
    case bestEffort
    /// The first failed attempt ends the warm-up and the pool.
    case failFast
}

/// Which idle connection is lent first.
public enum WebSocketPoolReuseOrder: Sendable, Hashable {
    /// Like a stack: busy connections stay busy and the others can be closed.
    case lastUsedFirst
    /// Like a queue: the load is spread and every connection stays warm.
    case firstReturnedFirst
}
