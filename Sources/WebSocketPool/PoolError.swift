//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Why the pool could not do what it was asked.
///
/// A struct around a hidden enum, so that new codes never break a caller. Compare ``code``.
public struct WebSocketPoolError: Error, Sendable {
    /// What went wrong.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String {
            case acquireTimedOut, cancelled, poolUnavailable, connectFailed, leaseEnded, poolClosed, poolExhausted
        }

        private let kind: Kind
        private init(_ kind: Kind) { self.kind = kind }

        /// No connection became available in time. The underlying error is the last failed attempt's, if any.
        public static let acquireTimedOut = Self(.acquireTimedOut)
        /// The task was cancelled before it got a connection. Nothing is lent.
        public static let cancelled = Self(.cancelled)
        /// Every endpoint is ejected and no connection is left, or the pool does not run: waiting would not help.
        public static let poolUnavailable = Self(.poolUnavailable)
        /// An attempt to connect failed or exceeded `connectTimeout`.
        public static let connectFailed = Self(.connectFailed)
        /// The lease was released or detached, or the pool took its connection back.
        public static let leaseEnded = Self(.leaseEnded)
        /// The pool is shutting down or closed, or is to be run a second time.
        public static let poolClosed = Self(.poolClosed)
        /// `maximumWaiters` acquires are waiting already.
        public static let poolExhausted = Self(.poolExhausted)

        /// The name of the code, as in the source.
        public var description: String { kind.rawValue }
    }

    // One word instead of thirty, because errors travel through continuations and typed throws.
    private final class Storage: Sendable {
        let code: Code
        let statistics: WebSocketPoolStatistics
        let underlyingError: (any Error)?
        let reason: String?
        let failedEndpoint: WebSocketPoolEndpoint?

        init(
            code: Code, statistics: WebSocketPoolStatistics, underlyingError: (any Error)?, reason: String?,
            failedEndpoint: WebSocketPoolEndpoint?
        ) {
            self.code = code
            self.statistics = statistics
            self.underlyingError = underlyingError
            self.reason = reason
            self.failedEndpoint = failedEndpoint
        }
    }

    private let storage: Storage

    package init(
        _ code: Code, statistics: WebSocketPoolStatistics, underlyingError: (any Error)? = nil, reason: String? = nil,
        failedEndpoint: WebSocketPoolEndpoint? = nil
    ) {
        storage = Storage(
            code: code, statistics: statistics, underlyingError: underlyingError, reason: reason,
            failedEndpoint: failedEndpoint)
    }

    /// What went wrong: what a program decides by.
    public var code: Code { storage.code }

    /// The pool as it was when the error was made.
    public var statistics: WebSocketPoolStatistics { storage.statistics }

    /// What to do about it, where the code alone would lead astray: for a pool that is suspended or does not run.
    package var reason: String? { storage.reason }

    /// Where the underlying error comes from, if it is a failure to connect.
    public var failedEndpoint: WebSocketPoolEndpoint? { storage.failedEndpoint }

    /// What caused it, for example the factory's error.
    public var underlyingError: (any Error)? { storage.underlyingError }
}

extension WebSocketPoolError: CustomStringConvertible {
    /// The code, the message and the pool's statistics at that moment.
    public var description: String {
        let advice = reason ?? self.advice
        let cause = underlyingError.map { "; cause: \($0)" } ?? ""
        return "\(code): \(advice) (\(statistics.counts))\(cause)"
    }

    private var advice: String {
        switch code {
        case .acquireTimedOut: "no connection became available in time"
        case .cancelled: "the task was cancelled while it waited for a connection"
        case .poolUnavailable: "every endpoint is ejected after repeated connect failures"
        case .connectFailed: "a connection could not be opened"
        case .leaseEnded: "the lease has ended; acquire a new one"
        case .poolExhausted: "too many acquires are waiting"
        default: "the pool is closed"
        }
    }
}

/// An attempt to connect, or another operation on a connection, took longer than the pool allows.
public struct WebSocketPoolOperationTimedOut: Error, Sendable, Hashable {
    /// The error; what was being done is said where it is thrown on.
    public init() {}
}
