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
        self.hardMaximum = max(1, configuration.hardMaximum)
        self.softMaximum = min(max(0, configuration.softMaximum), self.hardMaximum)
        self.minimumIdle = min(max(0, configuration.minimumIdle), self.softMaximum)
        self.maximumWaiters = max(0, configuration.maximumWaiters)
        self.connectLimit = max(1, configuration.maximumConcurrentConnects)
        self.reuseOrder = configuration.reuseOrder
        self.connectTimeout = configuration.connectTimeout.ticks
        self.connectStagger = configuration.connectStagger.ticks
        self.patience =
            configuration.patience?.ticks ?? (self.connectStagger > 0 ? self.connectStagger : 250_000_000)
        self.backoffBase = configuration.backoff.base.ticks
        self.backoffMaximum = configuration.backoff.maximum.ticks
        self.failureThreshold = max(1, configuration.circuitBreaker.failureThreshold)
        self.openDuration = configuration.circuitBreaker.openDuration.ticks
        self.maximumOpenDuration = max(
            self.openDuration, configuration.circuitBreaker.maximumOpenDuration.ticks)
        self.idleTimeout = configuration.idleTimeout.ticksUnlessOff
        self.maximumLifetime = configuration.maximumLifetime.ticksUnlessOff
        self.lifetimeJitter = min(max(0, configuration.lifetimeJitter), 1)
        self.keepaliveInterval = configuration.keepaliveInterval.ticksUnlessOff
        self.validationBypass = configuration.validationBypass?.ticks ?? .never
        self.validationTimeout = configuration.validationTimeout.ticks
        self.closeTimeout = configuration.closeTimeout.ticks
        self.leakThreshold = configuration.leakThreshold.ticksUnlessOff
        if case .drain(let options) = configuration.hygiene {
            self.drainTimeout = options.timeout.ticks
        } else {
            self.drainTimeout = 0
        }
    }

    // What is out of range has been refused by then, see `WebSocketPoolConfiguration.problem`; here it does no harm.

    mutating func resize(soft: Int, hard: Int, minimumIdle: Int) {
        self.hardMaximum = max(1, hard)
        self.softMaximum = min(max(0, soft), self.hardMaximum)
        self.minimumIdle = min(max(0, minimumIdle), self.softMaximum)
    }
}

extension Duration? {
    /// `never` for `nil` and for zero, which both say that there is no such limit.
    fileprivate var ticksUnlessOff: Ticks {
        guard let self, self > .zero else { return .never }
        return self.ticks
    }
}
