//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

/// Counts the sockets of one server, over all its loops: all together, and those of each client. A client is an IPv4
/// address, or the part of an IPv6 one that a site has to itself: within it a machine can have as many addresses as it
/// likes.
package final class ConnectionLimiter: Sendable {
    private struct Counts {
        var total = 0
        var handshakes = 0
        var perAddress: [ClientKey: Int] = [:]
        var refused = 0
        /// Sockets that are there only to be told so.
        var refusing = 0
    }

    private let counts = Mutex(Counts())
    private let maximum: Int?
    private let maximumHandshakes: Int?
    private let maximumPerAddress: Int?
    private let ipv6PrefixLength: Int
    /// Sockets beyond the maximum that may be there to be told 503; more are closed at once.
    private static let refusalSlots = 64

    package init(
        maximum: Int?, maximumPerAddress: Int?, maximumHandshakes: Int? = nil, ipv6PrefixLength: Int = 64
    ) {
        self.maximum = maximum
        self.maximumHandshakes = maximumHandshakes
        self.maximumPerAddress = maximumPerAddress
        self.ipv6PrefixLength = ipv6PrefixLength
    }

    package enum Admission {
        case admitted(ConnectionTicket)
        /// It is to be refused politely; the ticket counts it until then.
        case refused(UpgradeRefusal, ConnectionTicket)
        /// Not even that.
        case dropped
    }

    /// A socket has been accepted. `address` counts only where there is a limit for each.
    ///
    /// - Parameters:
    ///   - hasMemory: Whether connections may hold more together than they do.
    ///   - makeRoom: Ends one of the handshakes that are under way, and returns whether there was one to end.
    package func enter(
        _ address: WebSocketAddress?, hasMemory: Bool = true, makeRoom: () -> Bool = { false }
    ) -> Admission {
        guard hasMemory else { return counts.withLock { Self.refuse(&$0, self, .outOfMemory) } }
        let key = key(address)
        if let admission = admit(key) { return admission }
        // Not under the lock: it gives a ticket back.
        return (makeRoom() ? admit(key) : nil) ?? refuse()
    }

    /// `nil` when there is no room for a handshake.
    private func admit(_ key: ClientKey?) -> Admission? {
        counts.withLock { counts -> Admission? in
            if let maximum, counts.total >= maximum { return Self.refuse(&counts, self) }
            if let maximumHandshakes, counts.handshakes >= maximumHandshakes { return nil }
            counts.total += 1
            counts.handshakes += 1
            guard let key, let maximumPerAddress else { return .admitted(ConnectionTicket(self, key: nil)) }
            guard counts.perAddress[key, default: 0] < maximumPerAddress else {
                counts.refused += 1
                return .refused(.tooMany, ConnectionTicket(self, key: nil))
            }
            counts.perAddress[key, default: 0] += 1
            return .admitted(ConnectionTicket(self, key: key))
        }
    }

    private func refuse() -> Admission { counts.withLock { Self.refuse(&$0, self) } }

    private static func refuse(
        _ counts: inout Counts, _ limiter: ConnectionLimiter, _ reason: UpgradeRefusal = .unavailable
    ) -> Admission {
        counts.refused += 1
        guard counts.refusing < refusalSlots else { return .dropped }
        counts.total += 1
        counts.refusing += 1
        return .refused(reason, ConnectionTicket(limiter, key: nil, .refused))
    }

    /// Counts a ticket for another address, which a trusted proxy has told, or for the proxy's own, where it has told none.
    /// Proxies on Unix sockets have none either; their unnamed clients count as one. `false` when that one has too many.
    func move(_ ticket: ConnectionTicket, to address: WebSocketAddress?) -> Bool {
        guard let maximumPerAddress else { return true }
        let key = key(address) ?? .unnamed
        return counts.withLock { counts in
            if let old = ticket.key { Self.leave(old, &counts) }
            ticket.key = nil
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

    private func key(_ address: WebSocketAddress?) -> ClientKey? {
        guard maximumPerAddress != nil, case .ip(let address, _) = address else { return nil }
        return ClientKey(address, ipv6PrefixLength: ipv6PrefixLength)
    }

    fileprivate func established() { counts.withLock { $0.handshakes -= 1 } }

    fileprivate func leave(_ key: ClientKey?, _ kind: ConnectionTicket.Kind) {
        counts.withLock { counts in
            counts.total -= 1
            switch kind {
            case .handshake: counts.handshakes -= 1
            case .refused: counts.refusing -= 1
            case .connection: break
            }
            if let key { Self.leave(key, &counts) }
        }
    }

    private static func leave(_ key: ClientKey, _ counts: inout Counts) {
        counts.perAddress[key, default: 1] -= 1
        if counts.perAddress[key] == 0 { counts.perAddress[key] = nil }
    }
}

/// One socket's place among the server's; given back with the last reference. Loop-confined.
package final class ConnectionTicket: @unchecked Sendable {
    // `key` is touched only under the limiter's lock, and by the last reference.
    private let limiter: ConnectionLimiter
    fileprivate var key: ClientKey?
    private var kind: Kind

    fileprivate enum Kind { case handshake, refused, connection }

    fileprivate init(_ limiter: ConnectionLimiter, key: ClientKey?, _ kind: Kind = .handshake) {
        self.limiter = limiter
        self.key = key
        self.kind = kind
    }

    /// The handshake is done.
    func isEstablished() {
        guard kind == .handshake else { return }
        kind = .connection
        limiter.established()
    }

    func move(to address: WebSocketAddress?) -> Bool { limiter.move(self, to: address) }

    deinit { limiter.leave(key, kind) }
}

/// Whom a connection is counted for.
package struct ClientKey: Hashable, Sendable {
    private let prefix: [UInt8]
    /// Addresses of one link are the same on each link.
    private let zone: Substring?

    /// Behind proxies without an address, who do not say who they speak for.
    static let unnamed = ClientKey()

    private init() { (prefix, zone) = ([], nil) }

    /// - Parameter address: As the system writes it, perhaps with a zone.
    package init?(_ address: String, ipv6PrefixLength: Int) {
        let parts = address.split(separator: "%", maxSplits: 1)
        guard let first = parts.first, let bytes = AddressBytes(first) else { return nil }
        // All machines of a link share their first 64 bits.
        prefix = bytes.prefix(ofIPv6: bytes.isLinkLocalIPv6 ? 128 : ipv6PrefixLength)
        zone = parts.count > 1 ? parts[1] : nil
    }
}
