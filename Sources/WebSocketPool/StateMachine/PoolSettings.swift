//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketConcurrency

/// The configuration as the machine uses it: in ticks, and with `never` for what is off.
package struct PoolSettings: Sendable {
    package var softMaximum: Int
    package var hardMaximum: Int
    package var minimumIdle: Int
    package var maximumWaiters: Int
    package var connectLimit: Int
    package var reuseOrder: WebSocketPoolReuseOrder

    package var connectTimeout: Ticks
    package var connectStagger: Ticks
    package var backoffBase: Ticks
    package var backoffMaximum: Ticks
    package var failureThreshold: Int
    package var openDuration: Ticks
    package var maximumOpenDuration: Ticks
    package var maximumRetryAfter: Ticks

    package var idleTimeout: Ticks
    package var maximumLifetime: Ticks
    package var lifetimeJitter: Double
    package var keepaliveInterval: Ticks
    package var validationBypass: Ticks
    package var validationTimeout: Ticks
    package var drainTimeout: Ticks
    package var closeTimeout: Ticks
    package var leakThreshold: Ticks

    /// How long a waiter trusts validations and attempts under way before the pool opens a connection for it as well.
    var patience: Ticks

    package init(_ configuration: WebSocketPoolConfiguration) {
        hardMaximum = max(1, configuration.hardMaximum)
        softMaximum = min(max(0, configuration.softMaximum), hardMaximum)
        minimumIdle = min(max(0, configuration.minimumIdle), softMaximum)
        maximumWaiters = max(0, configuration.maximumWaiters)
        connectLimit = max(1, configuration.maximumConcurrentConnects)
        reuseOrder = configuration.reuseOrder
        connectTimeout = configuration.connectTimeout.ticks
        connectStagger = configuration.connectStagger.ticks
        patience =
            configuration.patience?.ticks ?? (connectStagger > 0 ? connectStagger : 250_000_000)
        backoffBase = configuration.backoff.base.ticks
        backoffMaximum = configuration.backoff.maximum.ticks
        failureThreshold = max(1, configuration.circuitBreaker.failureThreshold)
        openDuration = configuration.circuitBreaker.openDuration.ticks
        maximumOpenDuration = max(
            openDuration, configuration.circuitBreaker.maximumOpenDuration.ticks)
        maximumRetryAfter = configuration.circuitBreaker.maximumRetryAfter.ticks
        idleTimeout = configuration.idleTimeout.ticksUnlessOff
        maximumLifetime = configuration.maximumLifetime.ticksUnlessOff
        lifetimeJitter = min(max(0, configuration.lifetimeJitter), 1)
        keepaliveInterval = configuration.keepaliveInterval.ticksUnlessOff
        validationBypass = configuration.validationBypass?.ticks ?? .never
        validationTimeout = configuration.validationTimeout.ticks
        closeTimeout = configuration.closeTimeout.ticks
        leakThreshold = configuration.leakThreshold.ticksUnlessOff
        if case .drain(let options) = configuration.hygiene {
            drainTimeout = options.timeout.ticks
        } else {
            drainTimeout = 0
        }
    }

    // What is out of range has been refused by then, see `WebSocketPoolConfiguration.problem`; here it does no harm.

    mutating func resize(soft: Int, hard: Int, minimumIdle: Int) {
        hardMaximum = max(1, hard)
        softMaximum = min(max(0, soft), hardMaximum)
        self.minimumIdle = min(max(0, minimumIdle), softMaximum)
    }
}

extension Duration? {
    /// `never` for `nil` and for zero, which both say that there is no such limit.
    fileprivate var ticksUnlessOff: Ticks {
        guard let self, self > .zero else { return .never }
        return self.ticks
    }
}
