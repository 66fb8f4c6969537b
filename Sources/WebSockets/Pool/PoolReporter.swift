//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import WebSocketPool

/// Tells the log what happens, and passes it on to the user's observers.
struct PoolReporter: WebSocketPoolObserver {
    let logger: Logger
    private let others: [any WebSocketPoolObserver]
    let observesLeases: Bool

    init(logger: Logger, name: String?, others: [any WebSocketPoolObserver]) {
        var logger = logger
        if let name { logger[metadataKey: "pool"] = "\(name)" }
        self.logger = logger
        self.others = others
        observesLeases = others.contains { $0.observesLeases }
    }

    func connectionOpened(endpoint: WebSocketPoolEndpoint, after duration: Duration) {
        logger.debug("pool: a connection was opened", metadata: ["endpoint": "\(endpoint)", "after": "\(duration)"])
        for other in others { other.connectionOpened(endpoint: endpoint, after: duration) }
    }

    func connectFailed(endpoint: WebSocketPoolEndpoint, error: any Error) {
        logger.debug(
            "pool: a connection could not be opened", metadata: ["endpoint": "\(endpoint)", "error": "\(error)"])
        for other in others { other.connectFailed(endpoint: endpoint, error: error) }
    }

    func connectionClosed(endpoint: WebSocketPoolEndpoint, reason: WebSocketPoolEndReason) {
        logger.debug(
            "pool: a connection left", metadata: ["endpoint": "\(endpoint)", "reason": "\(reason.rawValue)"])
        for other in others { other.connectionClosed(endpoint: endpoint, reason: reason) }
    }

    func acquiredBeforeRun() {
        logger.warning("pool: an acquire waits for a pool that does not run; call run() in a task, or use withPool")
        for other in others { other.acquiredBeforeRun() }
    }

    func validationFailed(endpoint: WebSocketPoolEndpoint) {
        for other in others { other.validationFailed(endpoint: endpoint) }
    }
    func drainFinished(endpoint: WebSocketPoolEndpoint, outcome: WebSocketPoolDrainOutcome) {
        for other in others { other.drainFinished(endpoint: endpoint, outcome: outcome) }
    }
    func acquireQueued(depth: Int) {
        for other in others where other.observesLeases { other.acquireQueued(depth: depth) }
    }
    func acquireLeftQueue(depth: Int) {
        for other in others where other.observesLeases { other.acquireLeftQueue(depth: depth) }
    }
    func leaseGranted(waited: Duration) {
        for other in others where other.observesLeases { other.leaseGranted(waited: waited) }
    }
    func leaseEnded(after usage: Duration) {
        for other in others where other.observesLeases { other.leaseEnded(after: usage) }
    }
    func acquireFailed(_ error: WebSocketPoolError) { for other in others { other.acquireFailed(error) } }

    func leakSuspected(takenAt site: WebSocketPoolSourceSite, after duration: Duration) {
        logger.warning(
            "pool: a lease has not come back; it may have leaked",
            metadata: ["takenAt": "\(site)", "after": "\(duration)"])
        for other in others { other.leakSuspected(takenAt: site, after: duration) }
    }

    func suspectedLeakReturned(takenAt site: WebSocketPoolSourceSite, after duration: Duration) {
        logger.info(
            "pool: a lease came back that had been reported as a leak",
            metadata: ["takenAt": "\(site)", "after": "\(duration)"])
        for other in others { other.suspectedLeakReturned(takenAt: site, after: duration) }
    }

    func releaseIgnored() {
        logger.debug("pool: a lease was released that had ended already")
        for other in others { other.releaseIgnored() }
    }

    func circuitOpened(endpoint: WebSocketPoolEndpoint, for duration: Duration) {
        logger.debug("pool: an endpoint was ejected", metadata: ["endpoint": "\(endpoint)", "for": "\(duration)"])
        for other in others { other.circuitOpened(endpoint: endpoint, for: duration) }
    }

    func circuitClosed(endpoint: WebSocketPoolEndpoint) {
        logger.debug("pool: an endpoint has returned", metadata: ["endpoint": "\(endpoint)"])
        for other in others { other.circuitClosed(endpoint: endpoint) }
    }
}
