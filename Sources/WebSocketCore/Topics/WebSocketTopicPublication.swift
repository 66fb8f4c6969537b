//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A message on its way to the broker.
public struct WebSocketTopicPublication: Sendable, Hashable {
    /// Settles it. Greater than those before it, of the same process.
    public let id: UInt64
    /// The process, as a random number.
    public let publisher: UInt64
    /// Where it goes.
    public let topic: String
    /// What goes.
    public let message: WebSocketMessage
    /// What the broker keeps; nil for a topic without history.
    public let history: WebSocketTopicRules.History?

    /// A publication.
    public init(
        id: UInt64, publisher: UInt64, topic: String, message: WebSocketMessage,
        history: WebSocketTopicRules.History? = nil
    ) {
        self.id = id
        self.publisher = publisher
        self.topic = topic
        self.message = message
        self.history = history
    }
}

/// A message that came from the broker, or that subscribers of this process get at once.
public struct WebSocketTopicDelivery: Sendable, Hashable {
    /// Where it was published.
    public let topic: String
    /// What was published.
    public let message: WebSocketMessage
    /// Where it stands in the topic's history; nil without one.
    public let position: WebSocketTopicPosition?
    /// Who published it, and its number there; nil when that is no `WebSocketTopics`.
    public let origin: Origin?

    /// A publisher, and which of its publications.
    public struct Origin: Sendable, Hashable {
        /// WebSocketTopicPublication/publisher
        public let publisher: UInt64
        /// WebSocketTopicPublication/id
        public let number: UInt64

        /// An origin.
        public init(publisher: UInt64, number: UInt64) {
            self.publisher = publisher
            self.number = number
        }
    }

    /// A delivery.
    public init(
        topic: String, message: WebSocketMessage, position: WebSocketTopicPosition? = nil, origin: Origin? = nil
    ) {
        self.topic = topic
        self.message = message
        self.position = position
        self.origin = origin
    }
}

/// What has become of a publication.
public enum WebSocketTopicOutcome: Sendable, Hashable {
    /// The broker has it. With history, where it stands; nil without, or when it is a repeat whose answer is forgotten.
    case accepted(WebSocketTopicPosition?)
    /// The broker does not have it, and will not.
    case dropped(WebSocketError)
    /// It was sent, and the connection ended before the answer.
    case unknown(WebSocketError)
}

/// A topic that this process wants to hear.
public struct WebSocketTopicInterest: Sendable, Hashable {
    /// Its name.
    public let topic: String
    /// The confirmation must say where the topic's history ends.
    public let wantsPosition: Bool

    /// An interest.
    public init(topic: String, wantsPosition: Bool = false) {
        self.topic = topic
        self.wantsPosition = wantsPosition
    }
}

/// A subscription that stands at the broker.
public struct WebSocketTopicConfirmation: Sendable, Hashable {
    /// Its name.
    public let topic: String
    /// Where the topic's history ends, if it was wanted. Whatever is published behind it is delivered after this
    /// confirmation, whatever was delivered before it stands at it or in front of it.
    public let top: WebSocketTopicPosition?

    /// A confirmation.
    public init(topic: String, top: WebSocketTopicPosition? = nil) {
        self.topic = topic
        self.top = top
    }
}

/// What a broker has kept behind a position.
public struct WebSocketTopicHistory: Sendable, Hashable {
    /// In their order, each with its position; at most as many as were asked for, the oldest ones.
    public let messages: [WebSocketTopicDelivery]
    /// Where the history ends.
    public let top: WebSocketTopicPosition

    /// A history.
    public init(messages: [WebSocketTopicDelivery], top: WebSocketTopicPosition) {
        self.messages = messages
        self.top = top
    }
}
