//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore

extension WebSocketSession {
    /// See ``WebSocketSession/events``.
    public struct Events: AsyncSequence, Sendable {
        /// One thing that happened.
        public typealias Element = WebSocketSessionEvent
        /// Why the session gave up.
        public typealias Failure = WebSocketError
        let core: SessionCore

        /// An iterator; several share the events, each event goes to one of them.
        public func makeAsyncIterator() -> Iterator { Iterator(core: core) }

        /// Takes one event after the other.
        public struct Iterator: AsyncIteratorProtocol {
            let core: SessionCore

            /// The next event; nil once the session has been shut down.
            public mutating func next() async throws(WebSocketError) -> WebSocketSessionEvent? {
                try await core.take(messagesOnly: false)
            }

            /// The next event; nil once the session has been shut down.
            public mutating func next(
                isolation actor: isolated (any Actor)?
            ) async throws(WebSocketError) -> WebSocketSessionEvent? {
                try await core.take(messagesOnly: false)
            }
        }
    }

    /// See ``WebSocketSession/messages``.
    public struct Messages: AsyncSequence, Sendable {
        /// One whole message.
        public typealias Element = WebSocketMessage
        /// Why the session gave up.
        public typealias Failure = WebSocketError
        let core: SessionCore

        /// An iterator; several share the messages, each message goes to one of them.
        public func makeAsyncIterator() -> Iterator { Iterator(core: core) }

        /// Takes one message after the other.
        public struct Iterator: AsyncIteratorProtocol {
            let core: SessionCore

            /// The next message; nil once none will come by itself.
            public mutating func next() async throws(WebSocketError) -> WebSocketMessage? {
                guard case .message(let message)? = try await core.take(messagesOnly: true) else { return nil }
                return message
            }

            /// The next message; nil once none will come by itself.
            public mutating func next(
                isolation actor: isolated (any Actor)?
            ) async throws(WebSocketError) -> WebSocketMessage? {
                guard case .message(let message)? = try await core.take(messagesOnly: true) else { return nil }
                return message
            }
        }
    }
}
