//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// All that is under way on one loop between an accepted socket and its response, and how much of the loop's time TLS
/// handshakes may have: a key is used for each, which takes longer than anything else here. On the loop.
final class ServerHandshakes {
    let readiness: ReadinessSet
    private unowned let loop: WebSocketEventLoop
    /// Held until they are over.
    private var upgrades: [ObjectIdentifier: ServerUpgrade] = [:]
    /// Clients whose first TLS message is there, in the order in which it was seen. One that ends meanwhile stays until
    /// its turn.
    private var waiting: [ServerUpgrade] = []
    private var firstWaiting = 0
    /// Those that libwebsockets has made a TLS session for, and since when.
    private var places: [ObjectIdentifier: (upgrade: ServerUpgrade, since: UInt64)] = [:]
    private var next: WebSocketEventLoop.TimerToken?

    /// How much of a turn beginning handshakes may take, in nanoseconds.
    private static let share: UInt64 = 4_000_000
    /// TLS sessions that wait for their clients at the same time: libwebsockets walks a list of them in each turn.
    private static let maximumPlaces = 512
    /// How long a client that says no more may keep its place while others wait for one, and how often it is looked for.
    private static let patience: UInt64 = 1_000_000_000
    private static let sweepInterval: UInt64 = 100_000_000

    init?(loop: WebSocketEventLoop) {
        guard let readiness = ReadinessSet(loop: loop) else { return nil }
        self.readiness = readiness
        self.loop = loop
    }

    func insert(_ upgrade: ServerUpgrade) { upgrades[ObjectIdentifier(upgrade)] = upgrade }

    func remove(_ upgrade: ServerUpgrade) {
        upgrades[ObjectIdentifier(upgrade)] = nil
        guard places.removeValue(forKey: ObjectIdentifier(upgrade)) != nil else { return }
        if firstWaiting < waiting.count { schedule(after: 0) }
    }

    /// Begins the TLS handshake when its turn has come, never at once.
    func await(_ upgrade: ServerUpgrade) {
        waiting.append(upgrade)
        schedule(after: 0)
    }

    /// The loop ends.
    func stop() {
        for upgrade in upgrades.values { upgrade.drop(ServerUpgradeMachine.stopping) }
        loop.cancel(next)
        next = nil
        waiting = []
        readiness.close()
    }

    private func schedule(after delay: UInt64) {
        guard next == nil else { return }
        next = loop.schedule(after: delay) { [unowned self] in
            next = nil
            takeTurn()
        }
    }

    private func takeTurn() {
        let now = loop.now
        if places.count >= Self.maximumPlaces { sweep(now) }
        while firstWaiting < waiting.count, places.count < Self.maximumPlaces {
            let upgrade = waiting[firstWaiting]
            firstWaiting += 1
            guard !upgrade.isOver else { continue }
            places[ObjectIdentifier(upgrade)] = (upgrade, now)
            upgrade.secure()
            guard loop.now &- now < Self.share else { break }
        }
        if firstWaiting >= waiting.count {
            waiting.removeAll(keepingCapacity: waiting.capacity <= 1_024)
            firstWaiting = 0
        } else {
            if firstWaiting >= 1_024 {
                waiting.removeFirst(firstWaiting)
                firstWaiting = 0
            }
            schedule(after: places.count < Self.maximumPlaces ? 0 : Self.sweepInterval)
        }
    }

    /// Who waits for a place gets that of a client that has kept its own for long.
    private func sweep(_ now: UInt64) {
        var wanted = waiting.count - firstWaiting
        for (upgrade, since) in Array(places.values) where wanted > 0 && now &- since >= Self.patience {
            guard upgrade.isHandshaking else { continue }
            wanted -= 1
            upgrade.drop(ServerUpgradeMachine.slow)
        }
    }
}

extension WebSocketEventLoop {
    /// Made with the first; `nil` when there is no descriptor left for it.
    func serverHandshakes() -> ServerHandshakes? {
        if let handshakes { return handshakes }
        guard !isStopping, let made = ServerHandshakes(loop: self) else { return nil }
        handshakes = made
        onStop[ObjectIdentifier(made)] = { [unowned self] in
            handshakes.take()?.stop()
        }
        return made
    }
}
