//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The right to use one connection, until it is released once.
///
/// A lease may be copied; all copies are the same lease. Prefer ``ConnectionPool/withConnection(timeout:file:line:_:)``,
/// which cannot forget to release.
public struct WebSocketPoolLease<Connection: WebSocketPooledConnection>: Sendable {
    let core: PoolCore
    let token: LeaseToken
    /// The connection, whether the lease still holds it or not.
    let leased: Connection

    init(_ core: PoolCore, _ grant: Grant<any WebSocketPooledConnection>) {
        self.core = core
        self.token = grant.token
        // The core's factory made it from a `Connection`; the cast costs nothing, a checked one more than the lease.
        self.leased = unsafeDowncast(grant.handle, to: Connection.self)
    }

    /// Distinguishes this lease from every other of its pool.
    public var id: UInt64 { self.token.id }

    /// Whether the lease still holds its connection: it was not released or detached, its connection has not died,
    /// and no shutdown took it back.
    public var isValid: Bool { self.core.isValid(self.token) }

    /// The connection. Ask for it each time it is used rather than keeping it: that is what makes a use after release
    /// an error instead of a message in somebody else's conversation.
    ///
    /// - Throws: ``WebSocketPoolError`` with `leaseEnded`.
    public var connection: Connection {
        get throws(WebSocketPoolError) {
            guard self.isValid else { throw self.core.error(.leaseEnded) }
            return self.leased
        }
    }

    /// Gives the connection back. Releasing again does nothing but tell the observer.
    ///
    /// - Parameter discard: Close the connection instead of reusing it; say so whenever an exchange may be incomplete.
    public func release(discard: Bool = false) {
        self.core.release(self.token, of: self.leased, discard: discard)
    }

    /// Takes the connection out of the pool, which may open another in its place. Closing it is the caller's business.
    ///
    /// - Throws: ``WebSocketPoolError`` with `leaseEnded`.
    public func detach() throws(WebSocketPoolError) -> Connection {
        try self.core.detach(self.token)
        return self.leased
    }
}
