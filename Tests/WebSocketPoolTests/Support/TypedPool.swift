//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketPool

/// A ``PoolCore`` with its connections' type, as a layer above lends them.
final class TypedPool<Connection: WebSocketPooledConnection>: Sendable {
    let core: PoolCore
    private let grace: Duration

    init(
        configuration: WebSocketPoolConfiguration = .init(), clock: any Clock<Duration> = ContinuousClock(),
        endpointCount: Int = 1, observer: (any WebSocketPoolObserver)? = nil,
        connect: @escaping @Sendable (_ endpoint: Int) async throws -> Connection
    ) {
        grace = configuration.shutdownGrace
        core = PoolCore(
            configuration: configuration, clock: clock, endpointNames: (0..<endpointCount).map { "endpoint \($0)" },
            observer: observer, connect: connect)
    }

    static func withPool<Value>(
        configuration: WebSocketPoolConfiguration = .init(), clock: any Clock<Duration> = ContinuousClock(),
        endpointCount: Int = 1, observer: (any WebSocketPoolObserver)? = nil,
        connect: @escaping @Sendable (_ endpoint: Int) async throws -> Connection,
        _ body: (TypedPool<Connection>) async throws -> Value
    ) async throws -> Value {
        let pool = TypedPool(
            configuration: configuration, clock: clock, endpointCount: endpointCount, observer: observer,
            connect: connect)
        return try await pool.core.running({ try await pool.run() }) { try await body(pool) }
    }

    func run() async throws(WebSocketPoolError) { try await core.run() }

    @discardableResult
    func warmUp(_ count: Int, policy: WebSocketPoolWarmUpPolicy = .bestEffort) async throws(WebSocketPoolError) -> Int {
        try await core.warmUp(count, policy: policy)
    }

    func shutDown(grace: Duration = .zero) async { await core.shutDown(grace: grace) }
    func resize(softMaximum: Int, hardMaximum: Int, minimumIdle: Int) {
        core.resize(softMaximum: softMaximum, hardMaximum: hardMaximum, minimumIdle: minimumIdle)
    }
    func suspend() { core.suspend() }
    func resume() { core.resume() }
    @discardableResult func releaseUnused() -> Int { core.releaseUnused() }
    func reset() { core.reset() }
    func listEndpoints(_ isListed: [Bool]) { core.listEndpoints(isListed) }
    func beginShutdown(grace: Duration) { core.beginShutdown(grace: grace) }
    var isRunning: Bool { core.isRunning }
    var isClosed: Bool { core.isClosed }
    var isSuspended: Bool { core.isSuspended }
    var statistics: WebSocketPoolStatistics { core.statistics }

    // MARK: Leases

    func withConnection<Value>(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line,
        _ body: (Connection) async throws -> Value
    ) async throws -> Value {
        try await with(acquire(timeout: timeout, file: file, line: line), body)
    }

    func withNewConnection<Value>(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line,
        _ body: (Connection) async throws -> Value
    ) async throws -> Value {
        try await with(acquireNew(timeout: timeout, file: file, line: line), body)
    }

    private func with<Value>(
        _ lease: TypedLease<Connection>, _ body: (Connection) async throws -> Value
    ) async throws -> Value {
        let connection = lease.leased
        let value: Value
        do {
            if let executor = connection.preferredExecutor {
                value = try await withTaskExecutorPreference(executor) { try await body(connection) }
            } else {
                value = try await body(connection)
            }
        } catch {
            lease.release(discard: Task.isCancelled || !core.configuration.isReusableAfter(error))
            throw error
        }
        lease.release(discard: Task.isCancelled)
        return value
    }

    func acquire(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line
    ) async throws(WebSocketPoolError) -> TypedLease<Connection> {
        let site = WebSocketPoolSourceSite(file: file, line: line)
        if let grant = core.acquireIdle(site: site) { return TypedLease(core, grant) }
        return TypedLease(core, try await core.acquire(.any, timeout: timeout, site: site))
    }

    func acquireNew(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line
    ) async throws(WebSocketPoolError) -> TypedLease<Connection> {
        let site = WebSocketPoolSourceSite(file: file, line: line)
        return TypedLease(core, try await core.acquire(.new, timeout: timeout, site: site))
    }

    func tryAcquire(file: StaticString = #fileID, line: UInt = #line) -> TypedLease<Connection>? {
        core.tryAcquire(site: WebSocketPoolSourceSite(file: file, line: line)).map { TypedLease(core, $0) }
    }

    func release(_ lease: TypedLease<Connection>, discard: Bool = false) { lease.release(discard: discard) }

    func detach(_ lease: TypedLease<Connection>) throws(WebSocketPoolError) -> Connection { try lease.detach() }
}

/// The right to use one connection, until it is released once.
struct TypedLease<Connection: WebSocketPooledConnection>: Sendable {
    let core: PoolCore
    let token: LeaseToken
    let leased: Connection

    init(_ core: PoolCore, _ grant: Grant<any WebSocketPooledConnection>) {
        self.core = core
        token = grant.token
        leased = grant.handle as! Connection
    }

    var id: UInt64 { token.id }
    var isValid: Bool { core.isValid(token) }

    var connection: Connection {
        get throws(WebSocketPoolError) {
            guard isValid else { throw core.error(.leaseEnded) }
            return leased
        }
    }

    func release(discard: Bool = false) { core.release(token, of: leased, discard: discard) }

    func detach() throws(WebSocketPoolError) -> Connection {
        try core.detach(token)
        return leased
    }
}
