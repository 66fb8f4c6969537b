//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
public import WebSocketPool

/// What a pool adds to an error.
final class PoolErrorDetails: Sendable {
    let statistics: WebSocketPoolStatistics
    let cause: WebSocketError?

    init(statistics: WebSocketPoolStatistics, cause: WebSocketError?) {
        self.statistics = statistics
        self.cause = cause
    }
}

extension WebSocketError {
    /// On an error of a pool: the pool as it was then.
    public var poolStatistics: WebSocketPoolStatistics? { poolDetails?.statistics }

    /// On an error of a pool: the failure behind it, for example why the last attempt to connect failed.
    public var poolCause: WebSocketError? { poolDetails?.cause }

    private var poolDetails: PoolErrorDetails? { attachment?.object as? PoolErrorDetails }

    init(_ error: WebSocketPoolError) {
        let cause = error.underlyingError.map(Self.cause)
        let counts = error.statistics.counts
        let place = error.failedEndpoint.map { ", to \($0)," } ?? ""
        let because = cause.map { "; the last attempt to connect\(place) failed: \($0.message)" } ?? ""
        if let reason = error.reason, let code = Self.code(error.code) {
            self.init(code, "\(reason) (\(counts))\(because)")
            attachment = Attachment(PoolErrorDetails(statistics: error.statistics, cause: cause))
            return
        }
        switch error.code {
        case .acquireTimedOut:
            self.init(
                .acquireTimedOut,
                "no connection became available in time (\(counts)); release leases sooner, raise maximumConnections or wait longer\(because)"
            )
        case .cancelled: self = .cancelled("acquire")
        case .poolUnavailable:
            let advice = cause?.wouldComeAgain == true ? "mend what is named here" : "try again later"
            self.init(
                .poolUnavailable,
                "every endpoint is ejected after failures to connect, and no connection is left (\(counts)); \(advice)\(because)"
            )
        case .connectFailed where cause != nil: self = cause!
        case .leaseEnded:
            self.init(.leaseEnded, "the lease has ended or its connection was taken back; acquire a new one")
        case .poolExhausted:
            self.init(
                .poolExhausted,
                "as many acquires as maximumWaiters allows are waiting (\(counts)); shed load or raise maximumConnections"
            )
        default: self.init(.poolClosed, "the pool is shutting down or closed (\(counts)); create a new one")
        }
        attachment = Attachment(PoolErrorDetails(statistics: error.statistics, cause: cause))
    }

    /// The codes that have a reason of their own.
    private static func code(_ code: WebSocketPoolError.Code) -> Code? {
        switch code {
        case .acquireTimedOut: .acquireTimedOut
        case .poolUnavailable: .poolUnavailable
        case .poolClosed: .poolClosed
        default: nil
        }
    }

    private static func cause(_ error: any Error) -> WebSocketError {
        if let error = error as? WebSocketError { return error }
        if error is WebSocketPoolOperationTimedOut {
            return WebSocketError(
                .timedOut, "the connection was not open within connectTimeout; check that the server answers",
                phase: .connect)
        }
        return WebSocketError(.connectFailed, "\(error)")
    }
}
