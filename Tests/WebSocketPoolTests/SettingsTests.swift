//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketPool

/// What a pool refuses to be made with, and what zero means.
@Suite
struct SettingsTests {
    private static func change<Value>(
        _ member: WritableKeyPath<WebSocketPoolConfiguration, Value>, _ value: Value, _ problem: String
    ) -> (WebSocketPoolConfiguration, String) {
        var configuration = WebSocketPoolConfiguration()
        configuration[keyPath: member] = value
        return (configuration, problem)
    }

    private static func sized(_ soft: Int, _ hard: Int, _ problem: String) -> (WebSocketPoolConfiguration, String) {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = soft
        configuration.hardMaximum = hard
        return (configuration, problem)
    }

    /// Each setting out of range is refused by its name, with its value and its range.
    @Test
    func eachSettingOutOfRangeIsRefusedByItsName() {
        let wrong: [(WebSocketPoolConfiguration, String)] = [
            Self.sized(0, 0, "maximumConnections is 0; it must be at least 1"),
            Self.sized(-5, -5, "maximumConnections is -5; it must be at least 1"),
            Self.sized(0, -1, "hardMaximum is -1; it must be at least 1"),
            Self.sized(17, 16, "softMaximum is 17; it must be in 0...16, up to hardMaximum"),
            Self.change(\.minimumIdle, -1, "minimumIdle is -1; it must be in 0...16, up to maximumConnections"),
            Self.change(\.minimumIdle, 17, "minimumIdle is 17; it must be in 0...16, up to maximumConnections"),
            Self.change(\.warmUpCount, 17, "warmUpCount is 17; it must be in 0...16, up to softMaximum"),
            Self.change(\.maximumWaiters, -1, "maximumWaiters is -1; it must be at least 0"),
            Self.change(\.maximumConcurrentConnects, 0, "maximumConcurrentConnects is 0; it must be at least 1"),
            Self.change(
                \.circuitBreaker.failureThreshold, 0, "circuitBreaker.failureThreshold is 0; it must be at least 1"),
            Self.change(\.acquireTimeout, .seconds(-1), "acquireTimeout is -1.0 seconds; it must be zero or more"),
            Self.change(\.connectTimeout, .zero, "connectTimeout is 0.0 seconds; it must be more than zero"),
            Self.change(\.connectStagger, .seconds(-1), "connectStagger is -1.0 seconds; it must be zero or more"),
            Self.change(
                \.backoff, WebSocketPoolBackoff(base: .seconds(20)),
                "backoff.maximum is 10.0 seconds; it must be at least backoff.base, which is 20.0 seconds"),
            Self.change(
                \.circuitBreaker.openDuration, .zero,
                "circuitBreaker.openDuration is 0.0 seconds; it must be more than zero"),
            Self.change(\.idleTimeout, .seconds(-1), "idleTimeout is -1.0 seconds; it must be zero or more"),
            Self.change(\.maximumLifetime, .seconds(-1), "maximumLifetime is -1.0 seconds; it must be zero or more"),
            Self.change(\.validationTimeout, .zero, "validationTimeout is 0.0 seconds; it must be more than zero"),
            Self.change(\.lifetimeJitter, 1.5, "lifetimeJitter is 1.5; it must be in 0...1"),
            Self.change(\.lifetimeJitter, .nan, "lifetimeJitter is nan; it must be in 0...1"),
            Self.change(
                \.hygiene, .drain(.init(timeout: .seconds(1), quietPeriod: .seconds(2))),
                "hygiene.drain.timeout is 1.0 seconds; it must be at least its quietPeriod, which is 2.0 seconds"),
        ]
        for (configuration, problem) in wrong { #expect(configuration.problem == problem) }
        #expect(WebSocketPoolConfiguration().problem == nil)
    }

    /// Zero switches idle timeout, lifetime, keepalive and leak detection off, as in HikariCP.
    @Test
    func zeroSwitchesIdleTimeoutLifetimeKeepaliveAndLeakDetectionOff() throws {
        var configuration = WebSocketPoolConfiguration()
        configuration.softMaximum = 2
        configuration.hardMaximum = 2
        configuration.minimumIdle = 2
        configuration.idleTimeout = .zero
        configuration.maximumLifetime = .zero
        configuration.keepaliveInterval = .zero
        configuration.leakThreshold = .zero
        #expect(configuration.problem == nil)
        try withSimulatedPool(configuration) { pool, server, simulation in
            let lease = try await pool.acquire()
            await simulation.pass(.seconds(3600))
            lease.release()
            await simulation.pass(.seconds(3600))
            #expect(server.seen.connections.count == 2 && server.seen.validations == 0)
            #expect(pool.statistics.totals.leaksSuspected == 0)
            #expect(pool.statistics.counts.idle == 2)
        }
    }
}
