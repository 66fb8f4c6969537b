//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What a pool needs to know about the connections it lends.
///
/// The pool knows nothing of protocols or sockets: everything that touches the wire is behind these requirements.
///
/// - Important: ``isOpen`` and ``hasUnreadInput`` are read on every acquire and release, from the thread of the
///   borrower. They must be cheap (an atomic load) and must neither block nor call back into the pool.
public protocol WebSocketPooledConnection: AnyObject, Sendable, Identifiable where ID: Sendable {
    /// Whether the connection can still carry messages. Once `false` it must stay `false`.
    var isOpen: Bool { get }

    /// Whether something has arrived during or behind a lease and is not read yet. What arrives before the first lease
    /// does not count: many servers speak first.
    ///
    /// A connection with unread input is never lent, unless the pool's ``WebSocketPoolReleaseHygiene`` is `none`.
    /// The default is `false`.
    var hasUnreadInput: Bool { get }

    /// Whether its borrower has asked for something that has not been answered: it sent more than it received.
    ///
    /// Such a connection is closed at the end of its lease, or drained until the answer has come, unless the pool's
    /// ``WebSocketPoolConfiguration/expectsReplies`` is off or its ``WebSocketPoolReleaseHygiene`` is `none`. Read at every release, as
    /// cheaply as ``hasUnreadInput``. The default is `false`.
    var isOwedInput: Bool { get }

    /// Where code that uses the connection is nearest to it, or `nil` for nowhere in particular. The default is `nil`.
    var preferredExecutor: (any TaskExecutor)? { get }

    /// Closes the connection and returns when it is closed, or has been aborted. Called at most once by the pool.
    ///
    /// The pool waits ``WebSocketPoolConfiguration/closeTimeout`` at most, then cancels the task and gives the slot away.
    /// In a cancelled task the connection should be aborted rather than closed politely.
    func close() async

    /// Ends the connection at once, without a goodbye. ``close()`` is called afterwards, to wait for the end.
    func abort()

    /// Proves that the peer is alive, for example by a ping that waits for its pong.
    ///
    /// - Parameter timeout: What the pool is willing to wait; after it the task is cancelled.
    /// - Returns: Whether the peer answered in time.
    func validate(timeout: Duration) async -> Bool

    /// Reads what the previous borrower left behind, until nothing has come for `options.quietPeriod`.
    ///
    /// Which messages may be discarded is the connection's decision: it answers `unexpectedInput` for the others.
    /// The default answers `clean` when there is no unread input and `unexpectedInput` when there is.
    func drain(_ options: WebSocketPoolDrainOptions) async -> WebSocketPoolDrainOutcome

    /// Registers the function to call when the connection has closed, from either side.
    ///
    /// Called once by the pool, after the connection was opened. If it has closed already the handler must be called
    /// at once. The handler does not block and may be called from any thread. It keeps the pool alive, so the
    /// connection drops it after the call.
    func onClose(_ handler: @escaping @Sendable () -> Void)
}

extension WebSocketPooledConnection {
    /// False: the default, for connections that never hold anything back.
    public var hasUnreadInput: Bool { false }
    /// False: the default, for protocols without requests.
    public var isOwedInput: Bool { false }
    /// None: the default; leases run where their caller runs.
    public var preferredExecutor: (any TaskExecutor)? { nil }

    /// Reads nothing; a connection with unread input is unfit for the next borrower: the default.
    public func drain(_ options: WebSocketPoolDrainOptions) async -> WebSocketPoolDrainOutcome {
        hasUnreadInput ? .unexpectedInput : .clean
    }
}

/// How a connection is emptied when it is released.
public struct WebSocketPoolDrainOptions: Sendable, Hashable {
    /// How long draining may take in all; a connection that is not clean by then is closed. Default 10 s.
    public var timeout: Duration

    /// How long nothing must have arrived for a connection to be called clean. Default 2 s.
    ///
    /// The connection cannot be lent meanwhile, so a pool that drains needs about `leases/s × quietPeriod` more
    /// connections. With `.zero` only what has already arrived is read.
    public var quietPeriod: Duration

    /// At most `timeout`, and done once nothing came for `quietPeriod`.
    public init(timeout: Duration = .seconds(10), quietPeriod: Duration = .seconds(2)) {
        self.timeout = timeout
        self.quietPeriod = quietPeriod
    }
}

/// How draining ended.
public enum WebSocketPoolDrainOutcome: Sendable, Hashable {
    /// Nothing is left; the connection goes back to the pool.
    case clean
    /// Something arrived that must not be thrown away silently; the connection is closed.
    case unexpectedInput
    /// The connection kept receiving until the timeout; it is closed.
    case timedOut
    /// Reading failed; the connection is closed.
    case failed
}

/// What happens to messages that a borrower leaves unread.
public enum WebSocketPoolReleaseHygiene: Sendable, Hashable {
    /// A connection with unread messages, or that an answer is still on its way to, is closed instead of being reused.
    case discardConnection
    /// Unread messages are read and thrown away before the connection is reused. It is not clean before the answers
    /// that its borrower did not wait for have come; with a quiet period of `.zero` it is closed then.
    case drain(WebSocketPoolDrainOptions)
    /// The next borrower receives them. Only for protocols whose messages belong to no borrower in particular.
    case none
}
