//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import WebSocketCore
import WebSocketLoop
import WebSocketPool
import WebSockets

/// What a pool's handle stands for.
final class PoolBox: Sendable {
    let pool: WebSocketConnectionPool
    let queue: CallbackQueue?
    /// The program's own, where all connections live.
    let loop: WebSocketEventLoop?
    /// Of connections that are lent.
    private let callbacks: Callbacks

    init(
        _ pool: WebSocketConnectionPool, queue: CallbackQueue?, loop: WebSocketEventLoop?, _ callbacks: wsx_callbacks?
    ) {
        self.pool = pool
        self.queue = queue
        self.loop = loop
        self.callbacks = Callbacks(callbacks, queue: queue)
    }

    /// Where what is told without a connection is told.
    private var teller: WebSocketEventLoop { loop ?? Loops.next() }

    /// Makes a connection that is lent the program's. `lent` of it is to be called when the program knows it.
    func take(_ lease: WebSocketLease) throws(WebSocketError) -> ConnectionBox {
        callbacks.beginUse()
        do throws(WebSocketError) {
            return try ConnectionBox.make(lease, callbacks.forOneConnection()) { [callbacks] _ in callbacks.endUse() }
        } catch {
            callbacks.endUse()
            lease.release(discard: true)
            throw error
        }
    }

    func shutDown(grace: Duration) async {
        await pool.shutDown(grace: grace)
        callbacks.release(on: teller)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_pool_create(
    _ urls: UnsafePointer<UnsafePointer<CChar>?>?, _ config: UnsafePointer<wsx_pool_config>?,
    _ pool: UnsafeMutablePointer<wsx_pool>?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(pool, "pool")
        result.pointee = wsx_pool()
        let urls = try texts(urls, "urls")
        var configuration = WebSocketConnectionPoolConfiguration()
        configuration.logger = Log.logger
        configuration.eventLoopGroup = Loops.shared
        var queue: CallbackQueue?
        var callbacks: wsx_callbacks?
        if let config = try copied(config, "wsx_pool_config") {
            if let client = try copied(config.client, "wsx_client_config") { try configuration.client.apply(client) }
            queue = try CallbackQueue.named(config.queue)
            callbacks = try copied(config.lease_callbacks, "wsx_callbacks")
            try configuration.apply(config)
        }
        let made: WebSocketConnectionPool
        do throws(WebSocketError) {
            made = try WebSocketConnectionPool(to: urls, configuration: configuration)
        } catch {
            throw Failure(error)
        }
        // Ends with `shutDown`, which every way to free the handle leads to. It throws only when a warm-up fails that has
        // to succeed, which C cannot ask for.
        made.promiseRun()
        Task { try? await made.run() }
        result.pointee = wsx_pool(
            id: Handles.pools.insert(PoolBox(made, queue: queue, loop: configuration.client.eventLoop, callbacks)))
    }
}

extension WebSocketConnectionPoolConfiguration {
    fileprivate mutating func apply(_ config: wsx_pool_config) throws(Failure) {
        guard config.maximum_connections >= 0, config.minimum_idle >= 0 else {
            throw .argument("a number of connections is too large")
        }
        if config.maximum_connections > 0 { maximumConnections = config.maximum_connections }
        pool.minimumIdle = config.minimum_idle
        guard pool.minimumIdle <= maximumConnections else {
            throw .argument("minimum_idle is more than maximum_connections")
        }
        if config.acquire_timeout_ms == -1 {
            pool.acquireTimeout = .limit(-1)
        } else if let time = try Duration.setting(config.acquire_timeout_ms, "acquire_timeout_ms") {
            pool.acquireTimeout = time
        }
        if config.idle_timeout_ms == -1 {
            pool.idleTimeout = nil
        } else if let time = try Duration.setting(config.idle_timeout_ms, "idle_timeout_ms") {
            pool.idleTimeout = time
        }
        if config.maximum_lifetime_ms == -1 {
            pool.maximumLifetime = nil
        } else if let time = try Duration.setting(config.maximum_lifetime_ms, "maximum_lifetime_ms") {
            pool.maximumLifetime = time
        }
    }
}

private func timeout(_ milliseconds: Int64) -> Duration? {
    milliseconds < 0 ? nil : .milliseconds(milliseconds)
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_pool_acquire(
    _ pool: wsx_pool, _ timeout_ms: Int64, _ connection: UnsafeMutablePointer<wsx_connection>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        let result = try required(connection, "connection")
        result.pointee = wsx_connection()
        let box = try Handles.pools.find(pool.id, "pool")
        let pool = box.pool
        do throws(WebSocketError) {
            if let lease = pool.tryAcquire() {
                let lent = try box.take(lease)
                result.pointee = wsx_connection(id: lent.id)
                lent.lent()
                return
            }
        } catch {
            throw Failure(error)
        }
        guard timeout_ms != 0 else {
            throw Failure(WSX_ACQUIRE_TIMED_OUT, "the pool has no idle connection; allow some time to get one")
        }
        try checkMayWait(for: box.loop)
        let lease = try wait(-1, on: nil) { () async throws(WebSocketError) in
            try await pool.acquire(timeout: timeout(timeout_ms))
        }
        do throws(WebSocketError) {
            let lent = try box.take(lease)
            result.pointee = wsx_connection(id: lent.id)
            lent.lent()
        } catch {
            throw Failure(error)
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_pool_acquire_start(
    _ pool: wsx_pool, _ timeout_ms: Int64,
    _ done: (@convention(c) (UnsafeMutableRawPointer?, wsx_connection, UnsafePointer<wsx_error>?) -> Void)?,
    _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: timeout_ms)
        let box = try Handles.pools.find(pool.id, "pool")
        guard let done else { throw .argument("done is NULL") }
        let user = Unchecked(user)
        let loop = box.loop ?? Loops.next()
        Task(executorPreference: loop.taskExecutor) {
            let tell: @Sendable () -> Void
            var drop: (@Sendable () -> Void)?
            do throws(WebSocketError) {
                let lease = try await box.pool.acquire(timeout: timeout(timeout_ms))
                let lent = try box.take(lease)
                let id = lent.id
                tell = {
                    done(user.value, wsx_connection(id: id), nil)
                    lent.lent()
                }
                // It would never be given back.
                drop = { Handles.connections.remove(id)?.release() }
            } catch {
                let reason = Unchecked(wsx_error(Failure(error)))
                tell = { withUnsafePointer(to: reason.value) { done(user.value, wsx_connection(), $0) } }
            }
            if let queue = box.queue {
                queue.push(CallbackQueue.Entry(run: tell, dropped: drop))
            } else {
                asCallback(tell)
            }
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_pool_release(
    _ connection: wsx_connection, _ discard: Int32, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let box = try Handles.connections.find(connection.id, "connection")
        guard box.isBorrowed || box.isReleased else {
            throw .argument("the connection is not a pool's; free it with wsx_connection_free")
        }
        // Of several threads that give it back, one does.
        guard let mine = Handles.connections.remove(connection.id) else { throw .freed("connection") }
        mine.release(discard: discard != 0)
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_pool_get_statistics(
    _ pool: wsx_pool, _ statistics: UnsafeMutablePointer<wsx_pool_statistics>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let pool = try Handles.pools.find(pool.id, "pool").pool
        try fill(statistics, "wsx_pool_statistics") { () throws(Failure) in
            let now = pool.statistics
            var value = wsx_pool_statistics()
            value.idle = UInt64(now.counts.idle)
            value.leased = UInt64(now.counts.leased)
            value.connecting = UInt64(now.counts.connecting)
            value.waiting = UInt64(now.counts.waiting)
            value.total = UInt64(now.counts.total)
            value.acquired = UInt64(now.totals.acquired)
            value.acquire_timeouts = UInt64(now.totals.acquireTimeouts)
            value.acquire_failures = UInt64(now.totals.acquireFailures)
            value.connects_started = UInt64(now.totals.connectsStarted)
            value.connects_succeeded = UInt64(now.totals.connectsSucceeded)
            value.connects_failed = UInt64(now.totals.connectsFailed)
            value.connections_closed = UInt64(now.totals.connectionsClosed)
            return value
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_pool_shut_down(
    _ pool: wsx_pool, _ grace_ms: Int64, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: grace_ms, "grace_ms")
        try checkMayWait(for: Handles.pools.object(pool.id)?.loop)
        guard let box = Handles.pools.remove(pool.id) else {
            _ = try Handles.pools.find(pool.id, "pool")
            return
        }
        let grace = Duration.limit(grace_ms)
        try wait(-1, on: nil) { () async throws(WebSocketError) in await box.shutDown(grace: grace) }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_pool_shut_down_start(
    _ pool: wsx_pool, _ grace_ms: Int64, _ done: (@convention(c) (UnsafeMutableRawPointer?) -> Void)?,
    _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        try check(time: grace_ms, "grace_ms")
        guard let box = Handles.pools.remove(pool.id) else {
            _ = try Handles.pools.find(pool.id, "pool")
            return
        }
        let grace = Duration.limit(grace_ms)
        let user = Unchecked(user)
        Task {
            await box.shutDown(grace: grace)
            guard let done else { return }
            tell(box.queue) { done(user.value) }
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_pool_free(_ pool: wsx_pool) -> wsx_status {
    guard wsxc_may_be_used() else { return wsx_status(WSX_FORKED) }
    guard let box = Handles.pools.remove(pool.id) else { return wsx_status(WSX_INVALID_HANDLE) }
    Task { await box.shutDown(grace: .zero) }
    return wsx_status(WSX_OK)
}
