//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

extension ConnectionPool {
    /// Lends a connection to `body`.
    ///
    /// When `body` throws or the task is cancelled meanwhile, the connection is closed instead of reused, because an
    /// exchange may be incomplete; see ``WebSocketPoolConfiguration/isReusableAfter``. The body runs on the connection's
    /// ``WebSocketPooledConnection/preferredExecutor``.
    ///
    /// - Parameter timeout: How long to wait for a connection; `nil` for the pool's `acquireTimeout`.
    /// - Throws: What `body` throws, or ``WebSocketPoolError``.
    public func withConnection<Value>(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line,
        _ body: (Connection) async throws -> Value
    ) async throws -> Value {
        try await self.with(self.acquire(timeout: timeout, file: file, line: line), body)
    }

    /// Like ``withConnection(timeout:file:line:_:)`` with a connection that nobody has used before.
    public func withNewConnection<Value>(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line,
        _ body: (Connection) async throws -> Value
    ) async throws -> Value {
        try await self.with(self.acquireNew(timeout: timeout, file: file, line: line), body)
    }

    private func with<Value>(
        _ lease: WebSocketPoolLease<Connection>, _ body: (Connection) async throws -> Value
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
            lease.release(discard: Task.isCancelled || !self.core.configuration.isReusableAfter(error))
            throw error
        }
        lease.release(discard: Task.isCancelled)
        return value
    }

    /// Borrows a connection. It has to be released, whatever happens.
    ///
    /// Waits in the order of arrival. From a pool with an idle connection that needs no validation it neither suspends
    /// nor allocates. A cancelled acquire holds nothing, and the attempt to connect that it caused serves another.
    ///
    /// - Parameters:
    ///   - timeout: How long to wait; `nil` for the pool's `acquireTimeout`. `.zero` takes only what is idle, and waits
    ///     no longer than `connectStagger` (250 ms) for a connection that has to prove itself first.
    ///   - file: With `line`, the place that leak detection reports.
    /// - Throws: `acquireTimedOut`, `cancelled`, `poolUnavailable`, `poolExhausted` or `poolClosed`.
    public func acquire(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line
    ) async throws(WebSocketPoolError) -> WebSocketPoolLease<Connection> {
        let site = WebSocketPoolSourceSite(file: file, line: line)
        if let grant = self.core.acquireIdle(site: site) { return WebSocketPoolLease(self.core, grant) }
        return WebSocketPoolLease(self.core, try await self.core.acquire(.any, timeout: timeout, site: site))
    }

    /// Borrows a connection that nobody has used before. A full pool closes an idle one to make room.
    ///
    /// - Throws: As ``acquire(timeout:file:line:)``.
    public func acquireNew(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line
    ) async throws(WebSocketPoolError) -> WebSocketPoolLease<Connection> {
        let site = WebSocketPoolSourceSite(file: file, line: line)
        return WebSocketPoolLease(self.core, try await self.core.acquire(.new, timeout: timeout, site: site))
    }

    /// Borrows an idle connection if one can be lent without validation and nobody waits, else `nil`. Never suspends,
    /// so it cannot wait for a connection to prove itself: one that has to does so in the background, for the next
    /// call. Opens nothing for the caller; the minimum of idle connections is refilled in the background as after any
    /// acquire.
    public func tryAcquire(file: StaticString = #fileID, line: UInt = #line) -> WebSocketPoolLease<Connection>? {
        self.core.tryAcquire(site: WebSocketPoolSourceSite(file: file, line: line)).map {
            WebSocketPoolLease(self.core, $0)
        }
    }

    /// Gives a connection back; see ``WebSocketPoolLease/release(discard:)``. A lease of another pool is given back to that one.
    public func release(_ lease: WebSocketPoolLease<Connection>, discard: Bool = false) {
        lease.release(discard: discard)
    }

    /// Takes a connection out of the pool; see ``WebSocketPoolLease/detach()``.
    public func detach(_ lease: WebSocketPoolLease<Connection>) throws(WebSocketPoolError) -> Connection {
        try lease.detach()
    }
}
