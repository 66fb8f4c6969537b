//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore
import WebSocketLoop
import WebSocketPool

extension WebSocketConnectionPool {
    /// Lends a connection to `body`.
    ///
    /// When the body throws or its task is cancelled the connection is closed instead of reused, because an exchange
    /// may be incomplete; `isReusableAfter` can say otherwise for some errors. Messages that the body leaves unread are
    /// never delivered to the next borrower, nor is an answer that it did not wait for: a body that sent more messages
    /// than arrived has left early, and its connection is closed or drained. See `WebSocketPoolReleaseHygiene` and `expectsReplies`.
    ///
    /// - Parameters:
    ///   - timeout: How long to wait for a connection, connecting included; `nil` for `acquireTimeout`, 30 s by
    ///     default.
    ///   - file: With `line`, the place that leak detection reports.
    ///   - line: See `file`.
    ///   - body: Uses the connection, where the caller runs: it may touch whatever the caller may. A connection that it
    ///     lets escape throws `leaseEnded` once the body has ended.
    /// - Throws: What the body throws, and what ``acquire(timeout:file:line:)`` throws.
    public func withConnection<Result>(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line,
        _ body: (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        let lease = try await acquire(timeout: timeout, file: file, line: line)
        return try await lease.run(body)
    }

    /// Like ``withConnection(timeout:file:line:_:)``, with a body that runs where `executor` says. On the connection's
    /// loop it is as fast as C, with no thread crossing between the socket and the code, and must not block. See
    /// <doc:Loops>.
    public func withConnection<Result: Sendable>(
        timeout: Duration? = nil, on executor: WebSocketBodyExecutor, file: StaticString = #fileID,
        line: UInt = #line, _ body: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        let lease = try await acquire(timeout: timeout, file: file, line: line)
        return try await lease.run(on: executor, body)
    }

    /// Like ``withConnection(timeout:file:line:_:)``, with a connection that was not used before.
    public func withNewConnection<Result>(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line,
        _ body: (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        let lease = try await acquireNew(timeout: timeout, file: file, line: line)
        return try await lease.run(body)
    }

    /// Like ``withConnection(timeout:on:file:line:_:)``, with a connection that was not used before.
    public func withNewConnection<Result: Sendable>(
        timeout: Duration? = nil, on executor: WebSocketBodyExecutor, file: StaticString = #fileID,
        line: UInt = #line, _ body: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        let lease = try await acquireNew(timeout: timeout, file: file, line: line)
        return try await lease.run(on: executor, body)
    }

    /// Borrows a connection. It has to be released, whatever happens; ``withConnection(timeout:file:line:_:)`` cannot
    /// forget to.
    ///
    /// Waits in the order of arrival. From a pool with an idle connection that needs no validation it neither suspends
    /// nor allocates. A cancelled acquire holds nothing, and the attempt to connect that it caused serves another.
    ///
    /// - Parameters:
    ///   - timeout: How long to wait; `nil` for `acquireTimeout`. `.zero` takes only what is idle, and waits no longer
    ///     than `connectStagger` (250 ms) for a connection that has to answer a ping first, after a rest of
    ///     `validationBypass`.
    ///   - file: With `line`, the place that leak detection reports.
    ///   - line: See `file`.
    /// - Throws: `acquireTimedOut`, `poolUnavailable`, `poolExhausted`, `poolClosed` and `cancelled`, with the pool's
    ///   statistics.
    public func acquire(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line
    ) async throws(WebSocketError) -> WebSocketLease {
        if let grant = core.acquireIdle(site: WebSocketPoolSourceSite(file: file, line: line)) {
            return WebSocketLease(grant)
        }
        guard isTraced else {
            do throws(WebSocketPoolError) {
                return WebSocketLease(
                    try await core.acquire(
                        .any, timeout: timeout, site: WebSocketPoolSourceSite(file: file, line: line)))
            } catch {
                throw WebSocketError(error)
            }
        }
        return try await acquireTraced(.any, timeout: timeout, site: WebSocketPoolSourceSite(file: file, line: line))
    }

    private func acquireTraced(
        _ kind: AcquireKind, timeout: Duration?, site: WebSocketPoolSourceSite
    ) async throws(WebSocketError) -> WebSocketLease {
        try await WebSocketSpan.acquire.around { () throws(WebSocketError) in
            do throws(WebSocketPoolError) {
                return WebSocketLease(try await core.acquire(kind, timeout: timeout, site: site))
            } catch {
                throw WebSocketError(error)
            }
        }
    }

    /// Borrows a new connection. A full pool closes an idle one to make room.
    ///
    /// - Throws: As ``acquire(timeout:file:line:)``.
    public func acquireNew(
        timeout: Duration? = nil, file: StaticString = #fileID, line: UInt = #line
    ) async throws(WebSocketError) -> WebSocketLease {
        try await acquireTraced(.new, timeout: timeout, site: WebSocketPoolSourceSite(file: file, line: line))
    }

    /// Borrows an idle connection if one can be lent without validation and no task waits, else `nil`.
    ///
    /// Never suspends, so it cannot wait for the pong of a connection that has rested longer than `validationBypass`:
    /// that one is pinged in the background, for the next call; `acquire(timeout: .zero)` waits for the pong. Opens
    /// nothing for the caller; the minimum of idle connections is refilled in the background as after any acquire.
    public func tryAcquire(file: StaticString = #fileID, line: UInt = #line) -> WebSocketLease? {
        core.tryAcquire(site: WebSocketPoolSourceSite(file: file, line: line)).map { WebSocketLease($0) }
    }

    /// Gives a connection back; see ``WebSocketLease/release(discard:)``.
    public func release(_ lease: WebSocketLease, discard: Bool = false) { lease.release(discard: discard) }

    /// Takes a connection out of the pool; see ``WebSocketLease/detach()``.
    public func detach(_ lease: WebSocketLease) throws(WebSocketError) -> WebSocketConnection { try lease.detach() }
}

/// The right to use one connection of a pool, until it is released once.
///
/// A lease may be copied; all copies are the same lease.
public struct WebSocketLease: Sendable {
    private let token: LeaseToken
    private let leased: PooledWebSocket

    private var core: PoolCore { leased.core }

    init(_ grant: Grant<any WebSocketPooledConnection>) {
        token = grant.token
        // Every connection of a pool of ours is one: the cast costs nothing, a checked one more than the lease.
        leased = unsafeDowncast(grant.handle, to: PooledWebSocket.self)
        leased.beginLease(token.id)
    }

    /// Distinguishes this lease from every other of its pool.
    public var id: UInt64 { token.id }

    /// Whether no lease has had its connection before, so that for example a log-in is still to be done. What each new
    /// connection needs may also be done by ``WebSocketConnectionPoolConfiguration/afterConnect``.
    public var isNew: Bool { leased.isFirst(token.id) }

    /// Whether the lease still holds its connection: it was not released or detached, its connection has not died, and
    /// no shutdown took it back.
    public var isValid: Bool { core.isValid(token) }

    /// The connection, for as long as the lease lasts. A socket that is kept and used after the release throws
    /// `leaseEnded`, and nothing of it reaches the peer; an iterator over its messages must not be kept.
    ///
    /// - Throws: `leaseEnded`.
    public var socket: WebSocketConnection {
        get throws(WebSocketError) {
            guard isValid, let socket = leased.socket(of: token.id) else {
                throw WebSocketError(core.error(.leaseEnded))
            }
            return socket
        }
    }

    /// Gives the connection back. Releasing again does nothing but tell the pool's observer.
    ///
    /// - Parameter discard: Close the connection instead of reusing it; say so whenever an exchange may be incomplete.
    public func release(discard: Bool = false) {
        leased.endLease(token.id)
        core.release(token, of: leased, discard: discard)
    }

    /// Takes the connection out of the pool, which may open another in its place. Closing it is the caller's business.
    ///
    /// - Throws: `leaseEnded`.
    public func detach() throws(WebSocketError) -> WebSocketConnection {
        let socket = try socket
        do throws(WebSocketPoolError) { try core.detach(token) } catch { throw WebSocketError(error) }
        leased.detach()
        return socket
    }

    /// Runs a scope where the caller runs, and gives the connection back at its end, whatever happened.
    func run<Result>(_ body: (WebSocketConnection) async throws -> Result) async throws -> Result {
        let socket = try running
        return try await finish { try await body(socket) }
    }

    /// Runs a scope and gives the connection back at its end; still on the loop, so that those who wait for the
    /// connection need not wait for a change of threads.
    func run<Result: Sendable>(
        on executor: WebSocketBodyExecutor,
        _ body: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        let socket = try running
        return try await withTaskExecutorPreference(executor.taskExecutor(on: socket.eventLoop)) {
            try await finish { try await body(socket) }
        }
    }

    /// Without a look at the lease: a connection that has died meanwhile says so by itself, and is given back.
    private var running: WebSocketConnection {
        get throws(WebSocketError) {
            guard let socket = leased.socket(of: token.id) else { throw WebSocketError(core.error(.leaseEnded)) }
            return socket
        }
    }

    private func finish<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            let result = try await body()
            release(discard: Task.isCancelled)
            return result
        } catch {
            release(discard: Task.isCancelled || !core.configuration.isReusableAfter(error))
            throw error
        }
    }
}
