//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketConcurrency

/// What the shell does after an event, in the order of the fields and after it has let go of the lock.
package struct PoolAction<Handle, Waiter> {
    /// Something that takes time. Its end comes back as an event with the same key.
    package enum Operation {
        case connect(ConnectionKey, endpoint: Int)
        case validate(ConnectionKey, Handle)
        case drain(ConnectionKey, Handle)
        case close(ConnectionKey, Handle)
        /// Its slot has been given away: ends the connection without a goodbye. Nothing comes back.
        case abort(ConnectionKey, Handle)
    }

    package struct Resumption {
        package var waiter: Waiter
        /// A warm-up that succeeded has no grant: its connection is in the pool.
        package var result: Result<Grant<Handle>?, WebSocketPoolError>
    }

    /// Acquires that end now. Each waiter appears in exactly one action, once.
    package var resumptions = SmallList<Resumption>()
    package var operations = SmallList<Operation>()
    /// Empty without an observer.
    package var events: [PoolEvent] = []
    /// Tick at this instant. Earlier requests stay in force.
    package var timer: Ticks?
    /// Cancel attempts, validations and drainings under way. Their ends are still awaited.
    package var cancelsOperations = false
    /// The last connection is gone and the pool is closed; no event has an effect any more.
    package var isTerminal = false

    package init() {}
}

extension PoolAction: Sendable where Handle: Sendable, Waiter: Sendable {}
extension PoolAction.Operation: Sendable where Handle: Sendable, Waiter: Sendable {}
extension PoolAction.Resumption: Sendable where Handle: Sendable, Waiter: Sendable {}

/// Names a connection. The serial never repeats, so that a late report about a slot's former tenant is recognised.
package struct ConnectionKey: Sendable, Hashable {
    package var slot: Int
    package var serial: UInt64

    package init(slot: Int, serial: UInt64) {
        self.slot = slot
        self.serial = serial
    }
}

/// Names a lease. The id never repeats.
package struct LeaseToken: Sendable, Hashable {
    package var slot: Int
    package var id: UInt64

    package init(slot: Int, id: UInt64) {
        self.slot = slot
        self.id = id
    }
}

/// A lease and the connection it is for.
package struct Grant<Handle> {
    package var token: LeaseToken
    package var handle: Handle

    package init(token: LeaseToken, handle: Handle) {
        self.token = token
        self.handle = handle
    }
}

extension Grant: Sendable where Handle: Sendable {}
