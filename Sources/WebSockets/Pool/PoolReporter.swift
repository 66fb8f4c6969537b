//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import WebSocketPool

/// Tells the log what happens, and passes it on to the user's observer.
struct PoolReporter: PoolObserver {
    let logger: Logger
    let other: (any PoolObserver)?

    var observesLeases: Bool { other?.observesLeases ?? false }

    func connectionOpened(endpoint: Int, after duration: Duration) {
        logger.debug("pool: a connection was opened", metadata: ["endpoint": "\(endpoint)", "after": "\(duration)"])
        other?.connectionOpened(endpoint: endpoint, after: duration)
    }

    func connectFailed(endpoint: Int, error: any Error) {
        logger.debug(
            "pool: a connection could not be opened", metadata: ["endpoint": "\(endpoint)", "error": "\(error)"])
        other?.connectFailed(endpoint: endpoint, error: error)
    }

    func connectionClosed(endpoint: Int, reason: ConnectionEndReason) {
        logger.debug(
            "pool: a connection left", metadata: ["endpoint": "\(endpoint)", "reason": "\(reason.rawValue)"])
        other?.connectionClosed(endpoint: endpoint, reason: reason)
    }

    func validationFailed(endpoint: Int) { other?.validationFailed(endpoint: endpoint) }
    func drainFinished(endpoint: Int, outcome: DrainOutcome) {
        other?.drainFinished(endpoint: endpoint, outcome: outcome)
    }
    func acquireQueued(depth: Int) { other?.acquireQueued(depth: depth) }
    func leaseGranted(waited: Duration) { other?.leaseGranted(waited: waited) }
    func leaseEnded(after usage: Duration) { other?.leaseEnded(after: usage) }
    func acquireFailed(_ error: PoolError) { other?.acquireFailed(error) }

    func leakSuspected(takenAt site: SourceSite, after duration: Duration) {
        logger.warning(
            "pool: a lease has not come back; it may have leaked",
            metadata: ["takenAt": "\(site)", "after": "\(duration)"])
        other?.leakSuspected(takenAt: site, after: duration)
    }

    func suspectedLeakReturned(takenAt site: SourceSite, after duration: Duration) {
        logger.info(
            "pool: a lease came back that had been reported as a leak",
            metadata: ["takenAt": "\(site)", "after": "\(duration)"])
        other?.suspectedLeakReturned(takenAt: site, after: duration)
    }

    func releaseIgnored() {
        logger.debug("pool: a lease was released that had ended already")
        other?.releaseIgnored()
    }

    func circuitOpened(endpoint: Int, for duration: Duration) {
        logger.debug("pool: an endpoint was ejected", metadata: ["endpoint": "\(endpoint)", "for": "\(duration)"])
        other?.circuitOpened(endpoint: endpoint, for: duration)
    }

    func circuitClosed(endpoint: Int) {
        logger.debug("pool: an endpoint has returned", metadata: ["endpoint": "\(endpoint)"])
        other?.circuitClosed(endpoint: endpoint)
    }
}
