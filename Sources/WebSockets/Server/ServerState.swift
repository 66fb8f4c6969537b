//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop

/// What a server's loops, its `run` and its `shutDown` share.
final class ServerState: Sendable {
    private enum Phase {
        case idle, running, stopping, finished
        /// Shut down before it ran.
        case stopped
    }

    /// What a call of `run` has to do.
    enum Beginning { case runs, isStopped, hasRun }

    private struct Shared {
        var phase = Phase.idle
        var waiters: [Waiter<Void>] = []
    }

    let queues: [ConnectionQueue]
    private let shared = Mutex(Shared())
    private let currentRoutes = Mutex<WebSocketRoutes?>(nil)
    private let stopping = Atomic<Bool>(false)
    private let turn = Atomic<UInt>(0)
    let accepted = Atomic<Int>(0)
    let broadcasts = BroadcastTotals()

    init(loops: [WebSocketEventLoop], lifetimes: OpenConnections.Lifetimes) {
        queues = loops.map { ConnectionQueue(loop: $0, lifetimes: lifetimes) }
    }

    var isStopping: Bool { stopping.load(ordering: .acquiring) }

    /// Set before anything is accepted, and not changed afterwards.
    var routes: WebSocketRoutes? { currentRoutes.withLock { $0 } }

    func nextQueue() -> ConnectionQueue {
        queues[Int(turn.wrappingAdd(1, ordering: .relaxed).oldValue % UInt(queues.count))]
    }

    func queue(of loop: WebSocketEventLoop) -> ConnectionQueue? { queues.first { $0.loop === loop } }

    /// On the connection's loop.
    func established(_ connection: Connection) {
        noteAccepted()
        queue(of: connection.loop)?.add(connection)
    }

    func noteAccepted() { accepted.wrappingAdd(1, ordering: .relaxed) }

    func closeOrphan(_ descriptor: CInt) { Sockets.close(descriptor) }

    func beginRunning(_ routes: WebSocketRoutes?) -> Beginning {
        shared.withLock { shared in
            switch shared.phase {
            case .idle: break
            case .stopped: return .isStopped
            case .running, .stopping, .finished: return .hasRun
            }
            shared.phase = .running
            if let routes { currentRoutes.withLock { $0 = routes } }
            return .runs
        }
    }

    /// Closes what is open over this time, and aborts what is still open when the timeout after it has passed.
    func stop(_ frame: WebSocketCloseFrame, timeout: Duration, spread: Duration) {
        let first = shared.withLock { shared in
            defer { if shared.phase == .running { shared.phase = .stopping } }
            if shared.phase == .idle { shared.phase = .stopped }
            return shared.phase == .running
        }
        guard !stopping.exchange(true, ordering: .acquiringAndReleasing) || first else { return }
        for queue in queues { queue.stop(frame, timeout: timeout, spread: spread) }
    }

    func finished() {
        let waiters = shared.withLock { shared in
            shared.phase = .finished
            defer { shared.waiters = [] }
            return shared.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    func waitUntilFinished() async {
        await suspend { continuation in
            let isFinished = shared.withLock { shared in
                switch shared.phase {
                case .idle, .stopped, .finished: return true
                case .running, .stopping: break
                }
                shared.waiters.append(continuation)
                return false
            }
            if isFinished { continuation.resume() }
        }
        // Connections that were taken over have no handlers to be waited for.
        for queue in queues { await queue.open.waitUntilEmpty() }
    }
}

/// New connections of one loop on their way to their handlers, and those that are open.
final class ConnectionQueue: Sendable {
    private struct Shared {
        var waiting: [Connection] = []
        var consumer: Waiter<Connection?>?
        var isStopped = false
    }

    let loop: WebSocketEventLoop
    private let shared = Mutex(Shared())
    let open: OpenConnections
    /// Connections whose handlers run.
    let served = Mutex<[ObjectIdentifier: WebSocketConnection]>([:])
    /// Connections that were taken over. They are their owners', whose last reference ends them.
    private let adopted = Mutex<[UInt64: WeakConnection]>([:])

    init(loop: WebSocketEventLoop, lifetimes: OpenConnections.Lifetimes) {
        self.loop = loop
        open = OpenConnections(loop: loop, lifetimes: lifetimes)
    }

    /// On the loop.
    func add(_ connection: Connection) {
        open.insert(connection)
        let consumer = shared.withLock { shared -> Waiter<Connection?>? in
            if let consumer = shared.consumer.take() { return consumer }
            shared.waiting.append(connection)
            return nil
        }
        consumer?.resume(returning: connection)
    }

    /// The next connection, or `nil` when the server stops and none is left.
    func next() async -> Connection? {
        await suspend { continuation in
            let immediate: Connection?? = shared.withLock { shared in
                if !shared.waiting.isEmpty { return shared.waiting.removeFirst() }
                if shared.isStopped { return .some(nil) }
                shared.consumer = continuation
                return nil
            }
            if let immediate { continuation.resume(returning: immediate) }
        }
    }

    /// Lists a connection that was taken over until it ends.
    func list(_ socket: WebSocketConnection) {
        let id = socket.id
        adopted.withLock { $0[id] = WeakConnection(socket) }
        let wire = socket.wire
        let begun = loop.execute { [self] in
            wire.addEndHandler { [self] in adopted.withLock { $0[id] = nil } }
        }
        if !begun { adopted.withLock { $0[id] = nil } }
    }

    /// Connections whose handlers run, and those that were taken over.
    var connections: [WebSocketConnection] {
        served.withLock { Array($0.values) }
            + adopted.withLock { $0.values.compactMap(\.socket).filter { $0.closeInfo == nil } }
    }

    func stop(_ frame: WebSocketCloseFrame, timeout: Duration, spread: Duration) {
        let consumer = shared.withLock { shared in
            shared.isStopped = true
            return shared.consumer.take()
        }
        consumer?.resume(returning: nil)
        open.closeAll(frame, timeout: timeout, spread: spread)
    }
}

private struct WeakConnection {
    weak var socket: WebSocketConnection?

    init(_ socket: WebSocketConnection) { self.socket = socket }
}

/// What has become of a server's or a topic's broadcasts.
final class BroadcastTotals: Sendable {
    private let sent = Atomic<Int>(0)
    private let dropped = Atomic<Int>(0)
    private let replaced = Atomic<Int>(0)
    private let disconnected = Atomic<Int>(0)

    func note(_ counts: BroadcastCounts) {
        sent.wrappingAdd(counts.sent, ordering: .relaxed)
        dropped.wrappingAdd(counts.dropped, ordering: .relaxed)
        replaced.wrappingAdd(counts.replaced, ordering: .relaxed)
        disconnected.wrappingAdd(counts.disconnected, ordering: .relaxed)
    }

    var snapshot: WebSocketBroadcastStatistics {
        WebSocketBroadcastStatistics(
            sent: sent.load(ordering: .relaxed), dropped: dropped.load(ordering: .relaxed),
            replaced: replaced.load(ordering: .relaxed), disconnected: disconnected.load(ordering: .relaxed))
    }
}
