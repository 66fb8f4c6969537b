//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What a session's coordinator passes on without looking at it.
package protocol SessionWorld {
    associatedtype Connection: Sendable
    /// Waits for an event.
    associatedtype EventWaiter: Sendable
    /// Waits for what becomes of a message.
    associatedtype SendWaiter: Sendable
    /// Waits for a message: a request, or the application's hook on a new connection.
    associatedtype MessageWaiter: Sendable
    /// Waits for the session to be in some state.
    associatedtype StateWaiter: Sendable
    /// Waits for something to happen.
    associatedtype Signal: Sendable
    /// An attempt, a preparation or a slow send, which can be cancelled.
    associatedtype Work: Sendable
    static func makeWork() -> Work
}

/// What has to be done, in order.
package enum SessionEffect<World: SessionWorld>: Sendable {
    typealias Machine = SessionStateMachine<World.Connection>

    /// Open a connection; `attemptSucceeded` or `attemptFailed` follows.
    case connect(Int, SessionAttempt, World.Work)
    case cancel(World.Work)
    /// Prepare the connection and read from it; `preparationEnded` follows.
    case prepare(Int, World.Connection, SessionPreparationFacts, World.Work)
    case close(World.Connection, WebSocketCloseFrame)
    case abort(World.Connection)
    /// Ask the application; `answered` follows.
    case ask(SessionStateMachine<World.Connection>.Question, Int, WebSocketSessionSnapshot)
    /// Ask the policy's closures; `decided` follows. Always the last effect.
    case decide(WebSocketReconnectPolicy.Cause, attempt: Int, Int)
    /// Make the message that subscribes these channels, and hand it to `sendControl`.
    case subscribe(Int, [String])
    case unsubscribe(Int, [String])
    /// One writer is to empty the queue.
    case write(World.Connection)
    case give(World.EventWaiter, Result<WebSocketSessionEvent?, WebSocketError>)
    case settle(World.SendWaiter, Result<WebSocketSendOutcome, WebSocketError>)
    case reply(World.MessageWaiter, Result<WebSocketMessage, WebSocketError>)
    case known(World.StateWaiter, Bool?)
    case signal(World.Signal)
    case tell(SessionNotice)
    /// Call `tick` at this time.
    case arm(Duration?)
    /// No more work comes.
    case finishWork
    case finishTimer
}

/// What observers and the log are told.
package enum SessionNotice: Sendable {
    case stateChanged(from: WebSocketSessionState, to: WebSocketSessionState)
    case connected(isReconnect: Bool, after: Duration?)
    case renewed
    case attemptFailed(WebSocketError)
    case disconnected(WebSocketSessionDisconnect)
    case gapped(WebSocketSessionGap)
    case alerted(WebSocketSessionAlert)
    case messagesLost(Int)
    case messageDropped
}

/// What the application's hooks learn of a new connection.
package struct SessionPreparationFacts: Sendable {
    package let isReconnect: Bool
    package let isRenewal: Bool
    package let subscriptions: [String]
    package let lastDisconnect: WebSocketSessionDisconnect?
}

/// The session as its waiters see it.
package struct SessionView: Sendable {
    package let state: WebSocketSessionState
    package let rest: SessionRest?
    /// Whether `run` has begun.
    package let isRunning: Bool
    package let subscriptions: SubscriptionList
}

/// How a connection ended, and how far its messages came.
package struct SessionTransportEnd: Sendable {
    package let info: WebSocketCloseInfo?
    /// Messages that the operating system took whole.
    package let written: Int
    /// The next of them that may have been sent or not.
    package let inDoubt: Int

    package init(info: WebSocketCloseInfo?, written: Int, inDoubt: Int) {
        self.info = info
        self.written = written
        self.inDoubt = inDoubt
    }
}

/// A message, and what the application's closures say of it. They are called without a lock, and only when the coordinator
/// wants to know.
package struct SessionArrival: Sendable {
    package let message: WebSocketMessage
    package private(set) var identity: WebSocketMessage?
    package private(set) var isIdentified = false
    package var reply: WebSocketSubscriptionReply?
    /// The oldest request that it answers.
    package var request: UInt64?
    package var isExamined = false

    package init(_ message: WebSocketMessage) { self.message = message }

    package mutating func identify(_ closure: (WebSocketMessage) -> WebSocketMessage?) {
        identity = closure(message)
        isIdentified = true
    }
}

/// What the coordinator wants to know of a message.
package struct SessionInterest: Sendable {
    package var channels: [String] = []
    package var requests: [(id: UInt64, matches: @Sendable (WebSocketMessage) -> Bool)] = []
    package var wantsIdentity = false
}
