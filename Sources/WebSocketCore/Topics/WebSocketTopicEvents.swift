//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What happens between a process's topics and the broker.
public enum WebSocketTopicEvent: Sendable, Hashable {
    /// The broker can be reached.
    case connected
    /// It cannot. It is tried again for as long as `run` runs.
    case disconnected(WebSocketError)
    /// Subscribers of this process may have missed messages.
    case gap(WebSocketTopicGap)
    /// Something is wrong that will not mend itself.
    case alert(WebSocketError)
}

/// Messages that may be missed, told when the topic is heard again.
public struct WebSocketTopicGap: Sendable, Hashable {
    /// Which topic; nil for all that this process has subscribers of, when more than 1,000 are concerned.
    public let topic: String?
    /// Why.
    public let cause: Cause

    /// Why messages may be missed.
    public enum Cause: String, Sendable, Hashable, CaseIterable {
        /// The connection to the broker was lost, and the topic has no history.
        case disconnected
        /// More came than a loop took, or than were held while history was read.
        case overflow
        /// The history no longer has all of it.
        case tooOld
        /// The history was lost, or another server's took its place.
        case epochChanged
        /// The history could not be read.
        case recoveryFailed
    }

    /// A gap.
    public init(topic: String?, cause: Cause) {
        self.topic = topic
        self.cause = cause
    }
}

/// What a connection got that came back with a position.
public enum WebSocketTopicRecovery: Sendable, Hashable {
    /// It asked for nothing older than this.
    case new(WebSocketTopicPosition)
    /// It got these, which are all that were published since, and gets what follows them.
    case complete([WebSocketTopicDelivery], WebSocketTopicPosition)
    /// It got none of what it missed, and gets what follows the position; nil when that is not known.
    case incomplete(Reason, WebSocketTopicPosition?)

    /// Why messages cannot be had.
    public enum Reason: Sendable, Hashable {
        /// The position is of another epoch.
        case epochChanged
        /// The history no longer reaches back so far.
        case tooOld
        /// More messages or bytes were missed than are recovered.
        case tooMany
        /// More came meanwhile than are held.
        case overflow
        /// The broker did not answer.
        case unavailable(WebSocketError)
    }
}

/// How a process's topics are doing. Counts since the beginning.
public struct WebSocketTopicBrokerStatistics: Sendable, Hashable {
    /// Whether the broker can be reached.
    public package(set) var isConnected = false
    /// Connections to the broker so far.
    public package(set) var connects = 0
    /// Topics that this process wants to hear.
    public package(set) var topics = 0
    /// Calls of `publish` for shared topics.
    public package(set) var published = 0
    /// Of those: the broker has it.
    public package(set) var accepted = 0
    /// Of those: the broker will not get it.
    public package(set) var dropped = 0
    /// Of those: lost with the connection before the broker's answer.
    public package(set) var unknown = 0
    /// Of those: sent or kept, and not answered yet.
    public package(set) var waiting = 0
    /// The bytes of those.
    public package(set) var waitingBytes = 0
    /// Messages that came from the broker.
    public package(set) var received = 0
    /// Of those: this process's own, which its subscribers have already.
    public package(set) var own = 0
    /// Of those: another program's, which say nothing of their origin.
    public package(set) var foreign = 0
    /// Of those: could not be read, and were left out.
    public package(set) var invalid = 0
    /// Of those: came twice, and were left out.
    public package(set) var duplicates = 0
    /// Of those: of a topic without subscribers here.
    public package(set) var unwanted = 0
    /// Of those: not delivered, because a loop did not keep up.
    public package(set) var overflowed = 0
    /// Gap events.
    public package(set) var gaps = 0
    /// Times that a hole was closed from history.
    public package(set) var recoveries = 0
    /// Messages that came from history.
    public package(set) var recovered = 0

    package init() {}

    /// Those of another broker, too.
    package mutating func add(_ other: WebSocketTopicBrokerStatistics) {
        isConnected = isConnected && other.isConnected
        connects += other.connects
        topics += other.topics
        published += other.published
        accepted += other.accepted
        dropped += other.dropped
        unknown += other.unknown
        waiting += other.waiting
        waitingBytes += other.waitingBytes
        received += other.received
        own += other.own
        foreign += other.foreign
        invalid += other.invalid
        duplicates += other.duplicates
        unwanted += other.unwanted
        overflowed += other.overflowed
        gaps += other.gaps
        recoveries += other.recoveries
        recovered += other.recovered
    }
}
