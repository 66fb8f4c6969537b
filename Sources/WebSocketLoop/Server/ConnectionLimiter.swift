//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

/// Counts the sockets of one server, over all its loops.
package final class ConnectionLimiter: Sendable {
    private struct Counts {
        var total = 0
        var perAddress: [String: Int] = [:]
        var refused = 0
    }

    private let counts = Mutex(Counts())
    private let maximum: Int?
    private let maximumPerAddress: Int?
    /// Sockets beyond the maximum that may be there to be told 503; more are closed at once.
    private static let refusalSlots = 64

    package init(maximum: Int?, maximumPerAddress: Int?) {
        self.maximum = maximum
        self.maximumPerAddress = maximumPerAddress
    }

    package enum Admission {
        case admitted(ConnectionTicket)
        /// It is to be refused politely; the ticket counts it until then.
        case refused(UpgradeRefusal, ConnectionTicket)
        /// Not even that.
        case dropped
    }

    /// A socket has been accepted. `address` counts only where there is a limit for each.
    package func enter(_ address: SocketAddress?) -> Admission {
        let key = key(address)
        return counts.withLock { counts in
            if let maximum, counts.total >= maximum {
                guard counts.total < maximum + Self.refusalSlots else {
                    counts.refused += 1
                    return .dropped
                }
                counts.total += 1
                counts.refused += 1
                return .refused(.unavailable, ConnectionTicket(self, key: nil))
            }
            counts.total += 1
            guard let key, let maximumPerAddress else { return .admitted(ConnectionTicket(self, key: nil)) }
            guard counts.perAddress[key, default: 0] < maximumPerAddress else {
                counts.refused += 1
                return .refused(.tooMany, ConnectionTicket(self, key: nil))
            }
            counts.perAddress[key, default: 0] += 1
            return .admitted(ConnectionTicket(self, key: key))
        }
    }

    /// Counts a ticket for another address, which a trusted proxy has told. `false` when that one has too many.
    func move(_ ticket: ConnectionTicket, to address: SocketAddress?) -> Bool {
        guard let maximumPerAddress else { return true }
        let key = key(address)
        return counts.withLock { counts in
            if let old = ticket.key { Self.leave(old, &counts) }
            ticket.key = nil
            guard let key else { return true }
            guard counts.perAddress[key, default: 0] < maximumPerAddress else {
                counts.refused += 1
                return false
            }
            counts.perAddress[key, default: 0] += 1
            ticket.key = key
            return true
        }
    }

    /// Sockets of the server, handshakes included.
    package var count: Int { counts.withLock(\.total) }
    /// Sockets that were refused or closed because of a limit.
    package var refusedCount: Int { counts.withLock(\.refused) }

    private func key(_ address: SocketAddress?) -> String? {
        guard maximumPerAddress != nil, case .ip(let address, _) = address else { return nil }
        return address
    }

    fileprivate func leave(_ key: String?) {
        counts.withLock { counts in
            counts.total -= 1
            if let key { Self.leave(key, &counts) }
        }
    }

    private static func leave(_ key: String, _ counts: inout Counts) {
        counts.perAddress[key, default: 1] -= 1
        if counts.perAddress[key] == 0 { counts.perAddress[key] = nil }
    }
}

/// One socket's place among the server's; given back with the last reference. Loop-confined.
package final class ConnectionTicket: @unchecked Sendable {
    // `key` is touched only under the limiter's lock, and by the last reference.
    private let limiter: ConnectionLimiter
    fileprivate var key: String?

    fileprivate init(_ limiter: ConnectionLimiter, key: String?) {
        self.limiter = limiter
        self.key = key
    }

    func move(to address: SocketAddress?) -> Bool { limiter.move(self, to: address) }

    deinit { limiter.leave(key) }
}
