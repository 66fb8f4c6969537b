//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Decides what an established connection does about its end (RFC 6455 §7). Holds no clock, no handle, no task.
@usableFromInline package struct ConnectionStateMachine: ~Copyable, Sendable {
    @usableFromInline enum State: ~Copyable, Sendable {
        /// Messages flow both ways.
        /// → `closing` when we send a close frame first; `answering` when the peer's arrives first; `ending` when it
        ///   breaks the protocol, when a ping times out or on `abort`; `closed` when the transport is gone.
        case open
        /// The peer's close frame is here, and ours waits until what came before it has been answered (§5.5.1 allows
        /// that). Nothing more arrives; messages may still be sent.
        /// → `ending` when the answer goes out, when a ping times out or on `abort`; `closed` when the transport is
        ///   gone.
        case answering(received: WebSocketCloseFrame)
        /// Our close frame is out and the peer's is awaited; data may still arrive and is delivered.
        /// → `ending` when the peer's frame arrives, on the close timeout, on a violation or on `abort`;
        ///   `closed` when the transport is gone.
        case closing(sent: WebSocketCloseFrame)
        /// The outcome is known and the transport is being torn down.
        /// → `closed` when it is gone.
        case ending(Ending)
        /// Final. Every later event is ignored.
        case closed
    }

    @usableFromInline struct Ending: Sendable {
        var received: WebSocketCloseFrame?
        var sent: WebSocketCloseFrame?
        var receivedFirst: Bool?
        var cause: WebSocketCloseInfo.Cause
    }

    @usableFromInline var state: State

    package init() { state = .open }
    private init(_ state: consuming State) { self.state = state }

    /// Whether messages may be sent.
    @inlinable package var canSend: Bool {
        switch state {
        case .open: true
        case .answering: true
        default: false
        }
    }

    /// Whether what arrives is still delivered.
    @inlinable package var canReceive: Bool {
        switch state {
        case .open: true
        case .closing: true
        default: false
        }
    }

    package var isClosed: Bool {
        switch state {
        case .closed: true
        default: false
        }
    }

    package enum CloseAction: Equatable {
        /// Send the frame behind what is already queued, and start the close timer.
        case send(WebSocketCloseFrame)
        /// Already on its way: wait for the end.
        case join
    }

    /// The user closes.
    package mutating func close(_ frame: WebSocketCloseFrame) -> CloseAction {
        switch consume self.state {
        case .open:
            self = Self(.closing(sent: frame))
            return .send(frame)
        case .answering(let received):
            self = Self(.answering(received: received))
            return .join
        case .closing(let sent):
            self = Self(.closing(sent: sent))
            return .join
        case .ending(let ending):
            self = Self(.ending(ending))
            return .join
        case .closed:
            self = Self(.closed)
            return .join
        }
    }

    package enum PeerCloseAction: Equatable {
        /// Call `answer()`, soon: at once, or when what came before has been dealt with.
        case answerSoon
        /// Both frames are exchanged: end the transport.
        case end
        case ignore
    }

    /// The peer's close frame arrived.
    package mutating func peerClosed(_ frame: WebSocketCloseFrame) -> PeerCloseAction {
        switch consume self.state {
        case .open:
            self = Self(.answering(received: frame))
            return .answerSoon
        case .answering(let received):
            self = Self(.answering(received: received))
            return .ignore
        case .closing(let sent):
            self = Self(.ending(.init(received: frame, sent: sent, receivedFirst: false, cause: .closingHandshake)))
            return .end
        case .ending(let ending):
            self = Self(.ending(ending))
            return .ignore
        case .closed:
            self = Self(.closed)
            return .ignore
        }
    }

    /// It is time to answer the peer's close frame. Returns the frame to send, after which the transport ends.
    package mutating func answer() -> WebSocketCloseFrame? {
        switch consume self.state {
        case .answering(let received):
            // The answer repeats the code (§5.5.1) and needs no reason.
            let reply = WebSocketCloseFrame(code: received.code)
            self = Self(.ending(.init(received: received, sent: reply, receivedFirst: true, cause: .closingHandshake)))
            return reply
        case .open:
            self = Self(.open)
            return nil
        case .closing(let sent):
            self = Self(.closing(sent: sent))
            return nil
        case .ending(let ending):
            self = Self(.ending(ending))
            return nil
        case .closed:
            self = Self(.closed)
            return nil
        }
    }

    package enum FailAction: Equatable {
        /// Send the frame, if there is one, then end the transport without waiting for an answer (§7.1.7).
        case end(WebSocketCloseFrame?)
        case ignore
    }

    /// The connection fails for a reason of our own: a violation, a ping timeout, an abort. After our close
    /// frame no second one is sent.
    package mutating func fail(_ frame: WebSocketCloseFrame?, cause: WebSocketCloseInfo.Cause) -> FailAction {
        switch consume self.state {
        case .open:
            self = Self(.ending(.init(received: nil, sent: frame, receivedFirst: nil, cause: cause)))
            return .end(frame)
        case .answering(let received):
            self = Self(
                .ending(.init(received: received, sent: frame, receivedFirst: frame.map { _ in true }, cause: cause)))
            return .end(frame)
        case .closing(let sent):
            self = Self(.ending(.init(received: nil, sent: sent, receivedFirst: nil, cause: cause)))
            return .end(nil)
        case .ending(let ending):
            self = Self(.ending(ending))
            return .ignore
        case .closed:
            self = Self(.closed)
            return .ignore
        }
    }

    /// The close timer fired. Only an unanswered close or a torn transport that lingers is left then.
    ///
    /// - Parameter isWritten: Whether the operating system has this side's close frame. Otherwise the peer did not even
    ///   take what was sent before it.
    package mutating func closeTimedOut(isWritten: Bool) -> FailAction {
        switch consume self.state {
        case .open:
            self = Self(.open)
            return .ignore
        case .answering(let received):
            self = Self(.answering(received: received))
            return .ignore
        case .closing(let sent):
            let cause: WebSocketCloseInfo.Cause = isWritten ? .closeTimeout : .flushTimeout
            self = Self(.ending(.init(received: nil, sent: sent, receivedFirst: nil, cause: cause)))
            return .end(nil)
        case .ending(var ending):
            if !isWritten, ending.cause == .closingHandshake { ending.cause = .flushTimeout }
            self = Self(.ending(ending))
            return .end(nil)
        case .closed:
            self = Self(.closed)
            return .ignore
        }
    }

    /// The transport is gone, for whatever reason: the only event that always comes, and comes once.
    /// Returns how the connection ended, and `nil` when that was already reported.
    ///
    /// - Parameter isCloseWritten: Whether the operating system took this side's close frame, if there was one.
    package mutating func transportEnded(
        isCloseWritten: Bool, unsentMessages: Int, droppedMessages: Int
    ) -> WebSocketCloseInfo? {
        var ending: Ending
        switch consume self.state {
        case .open:
            ending = Ending(received: nil, sent: nil, receivedFirst: nil, cause: .connectionLost)
        case .answering(let received):
            ending = Ending(received: received, sent: nil, receivedFirst: nil, cause: .connectionLost)
        case .closing(let sent):
            ending = Ending(received: nil, sent: sent, receivedFirst: nil, cause: .connectionLost)
        case .ending(let known):
            ending = known
        case .closed:
            self = Self(.closed)
            return nil
        }
        self = Self(.closed)
        if !isCloseWritten { (ending.sent, ending.receivedFirst) = (nil, nil) }
        return WebSocketCloseInfo(
            received: ending.received, sent: ending.sent, receivedFirst: ending.receivedFirst, cause: ending.cause,
            unsentMessages: unsentMessages, droppedMessages: droppedMessages)
    }
}
