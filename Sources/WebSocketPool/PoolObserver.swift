//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketConcurrency

/// Receives what happens in a pool: the seam for logs, metrics and traces.
///
/// Every method has a default that does nothing. They are called after the pool's lock was released, from the thread
/// on which the event occurred, so they may ask the pool for its statistics but must not block. Events of different
/// threads may arrive in another order than they occurred.
public protocol WebSocketPoolObserver: Sendable {
    /// Whether `leaseGranted`, `leaseEnded`, `acquireQueued` and `acquireLeftQueue` are wanted. They make every lease a
    /// little slower; an observer that answers `false` costs nothing. The default is `true`.
    var observesLeases: Bool { get }
    /// An attempt to connect succeeded after `duration`.
    func connectionOpened(endpoint: WebSocketPoolEndpoint, after duration: Duration)
    /// An attempt to connect failed. Not told of attempts that a shutdown cancelled.
    func connectFailed(endpoint: WebSocketPoolEndpoint, error: any Error)
    /// A connection left the pool.
    func connectionClosed(endpoint: WebSocketPoolEndpoint, reason: WebSocketPoolEndReason)
    /// A connection did not prove alive; `connectionClosed` follows.
    func validationFailed(endpoint: WebSocketPoolEndpoint)
    /// A connection was drained.
    func drainFinished(endpoint: WebSocketPoolEndpoint, outcome: WebSocketPoolDrainOutcome)
    /// An acquire waits for a pool that nothing has run yet. It fails soon, unless `run()` is called.
    func acquiredBeforeRun()
    /// An acquire starts to wait; `depth` counts it.
    func acquireQueued(depth: Int)
    /// An acquire that waited does so no longer, whether it got a connection or not; `depth` still wait. Follows each
    /// `acquireQueued` once.
    func acquireLeftQueue(depth: Int)
    /// An acquire got a connection.
    func leaseGranted(waited: Duration)
    /// A lease ended.
    func leaseEnded(after usage: Duration)
    /// An acquire ended without a connection.
    func acquireFailed(_ error: WebSocketPoolError)
    /// A lease has lasted longer than `leakThreshold`. Reported once for each lease.
    func leakSuspected(takenAt site: WebSocketPoolSourceSite, after duration: Duration)
    /// A lease that had been reported as a suspected leak came back.
    func suspectedLeakReturned(takenAt site: WebSocketPoolSourceSite, after duration: Duration)
    /// A lease was released that had ended already. Harmless, but the caller has lost track.
    func releaseIgnored()
    /// An endpoint was ejected for `duration`.
    func circuitOpened(endpoint: WebSocketPoolEndpoint, for duration: Duration)
    /// An ejected endpoint accepted a connection again.
    func circuitClosed(endpoint: WebSocketPoolEndpoint)
}

extension WebSocketPoolObserver {
    /// True: the default.
    public var observesLeases: Bool { true }
    /// Does nothing: the default.
    public func connectionOpened(endpoint: WebSocketPoolEndpoint, after duration: Duration) {}
    /// Does nothing: the default.
    public func connectFailed(endpoint: WebSocketPoolEndpoint, error: any Error) {}
    /// Does nothing: the default.
    public func connectionClosed(endpoint: WebSocketPoolEndpoint, reason: WebSocketPoolEndReason) {}
    /// Does nothing: the default.
    public func validationFailed(endpoint: WebSocketPoolEndpoint) {}
    /// Does nothing: the default.
    public func drainFinished(endpoint: WebSocketPoolEndpoint, outcome: WebSocketPoolDrainOutcome) {}
    /// Does nothing: the default.
    public func acquiredBeforeRun() {}
    /// Does nothing: the default.
    public func acquireQueued(depth: Int) {}
    /// Does nothing: the default.
    public func acquireLeftQueue(depth: Int) {}
    /// Does nothing: the default.
    public func leaseGranted(waited: Duration) {}
    /// Does nothing: the default.
    public func leaseEnded(after usage: Duration) {}
    /// Does nothing: the default.
    public func acquireFailed(_ error: WebSocketPoolError) {}
    /// Does nothing: the default.
    public func leakSuspected(takenAt site: WebSocketPoolSourceSite, after duration: Duration) {}
    /// Does nothing: the default.
    public func suspectedLeakReturned(takenAt site: WebSocketPoolSourceSite, after duration: Duration) {}
    /// Does nothing: the default.
    public func releaseIgnored() {}
    /// Does nothing: the default.
    public func circuitOpened(endpoint: WebSocketPoolEndpoint, for duration: Duration) {}
    /// Does nothing: the default.
    public func circuitClosed(endpoint: WebSocketPoolEndpoint) {}
}

/// One of the places that a pool connects to.
public struct WebSocketPoolEndpoint: Sendable, Hashable, CustomStringConvertible {
    /// Its place in ``WebSocketPoolStatistics/endpoints``.
    public var index: Int
    /// What it is called: its URL, without credentials and query, and its address where each address is an endpoint.
    public var name: String

    /// An endpoint.
    public init(index: Int, name: String) {
        self.index = index
        self.name = name
    }

    /// The name.
    public var description: String { name }
}

/// Why a connection left the pool.
public enum WebSocketPoolEndReason: String, Sendable, Hashable {
    /// It closed by itself, or its peer closed it.
    case closedByPeer
    /// The borrower discarded it, or its body threw or was cancelled.
    case discarded
    /// It was released with unread input, or received some while idle.
    case unreadInput
    /// It was released before it had received as much as it had sent.
    case unanswered
    /// It did not prove alive.
    case validationFailed
    /// It could not be drained.
    case drainFailed
    /// It was idle for `idleTimeout`, or `releaseUnused` found it idle.
    case idle
    /// It reached its maximum lifetime.
    case lifetime
    /// The pool was above its soft or hard maximum.
    case overflow
    /// It made room for a connection that had to be new.
    case evicted
    /// It made room for a connection to an endpoint that has come back.
    case rebalanced
    /// `reset` retired it.
    case reset
    /// The pool shut down.
    case shutdown
    /// The borrower took it out of the pool.
    case detached
}

/// A place in the source: where a lease was taken.
public struct WebSocketPoolSourceSite: Sendable, CustomStringConvertible {
    /// The file, as `#fileID` gives it.
    public var file: StaticString
    /// The line, counted from 1.
    public var line: UInt

    /// A place in the source.
    public init(file: StaticString, line: UInt) {
        self.file = file
        self.line = line
    }

    /// `file:line`.
    public var description: String { "\(file):\(line)" }
}

/// An observer's call, as a value that the state machine can return.
package enum PoolEvent: Sendable {
    case connectionOpened(endpoint: WebSocketPoolEndpoint, after: Ticks)
    case connectFailed(endpoint: WebSocketPoolEndpoint, error: any Error)
    case connectionClosed(endpoint: WebSocketPoolEndpoint, reason: WebSocketPoolEndReason)
    case validationFailed(endpoint: WebSocketPoolEndpoint)
    case drainFinished(endpoint: WebSocketPoolEndpoint, outcome: WebSocketPoolDrainOutcome)
    case acquiredBeforeRun
    case acquireQueued(depth: Int)
    case acquireLeftQueue(depth: Int)
    case leaseGranted(waited: Ticks)
    case leaseEnded(after: Ticks)
    case acquireFailed(WebSocketPoolError)
    case leakSuspected(WebSocketPoolSourceSite, after: Ticks)
    case suspectedLeakReturned(WebSocketPoolSourceSite, after: Ticks)
    case releaseIgnored
    case circuitOpened(endpoint: WebSocketPoolEndpoint, duration: Ticks)
    case circuitClosed(endpoint: WebSocketPoolEndpoint)

    /// See ``WebSocketPoolObserver/observesLeases``.
    var isOfLease: Bool {
        switch self {
        case .acquireQueued, .acquireLeftQueue, .leaseGranted, .leaseEnded: true
        case .connectionOpened, .connectFailed, .connectionClosed, .validationFailed, .drainFinished,
            .acquiredBeforeRun,
            .acquireFailed, .leakSuspected, .suspectedLeakReturned, .releaseIgnored, .circuitOpened, .circuitClosed:
            false
        }
    }

    func report(to observer: any WebSocketPoolObserver) {
        switch self {
        case .connectionOpened(let endpoint, let time):
            observer.connectionOpened(endpoint: endpoint, after: .nanoseconds(time))
        case .connectFailed(let endpoint, let error): observer.connectFailed(endpoint: endpoint, error: error)
        case .connectionClosed(let endpoint, let reason):
            observer.connectionClosed(endpoint: endpoint, reason: reason)
        case .validationFailed(let endpoint): observer.validationFailed(endpoint: endpoint)
        case .drainFinished(let endpoint, let outcome): observer.drainFinished(endpoint: endpoint, outcome: outcome)
        case .acquiredBeforeRun: observer.acquiredBeforeRun()
        case .acquireQueued(let depth): observer.acquireQueued(depth: depth)
        case .acquireLeftQueue(let depth): observer.acquireLeftQueue(depth: depth)
        case .leaseGranted(let time): observer.leaseGranted(waited: .nanoseconds(time))
        case .leaseEnded(let time): observer.leaseEnded(after: .nanoseconds(time))
        case .acquireFailed(let error): observer.acquireFailed(error)
        case .leakSuspected(let site, let time): observer.leakSuspected(takenAt: site, after: .nanoseconds(time))
        case .suspectedLeakReturned(let site, let time):
            observer.suspectedLeakReturned(takenAt: site, after: .nanoseconds(time))
        case .releaseIgnored: observer.releaseIgnored()
        case .circuitOpened(let endpoint, let time):
            observer.circuitOpened(endpoint: endpoint, for: .nanoseconds(time))
        case .circuitClosed(let endpoint): observer.circuitClosed(endpoint: endpoint)
        }
    }
}
