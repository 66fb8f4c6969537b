//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
public import WebSocketCore

/// What an engine can do beside publishing and subscribing.
public struct WebSocketTopicBrokerFeatures: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: Int

    /// A set of features.
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// All subscribers of a topic get its messages in one order.
    public static let topicOrder = Self(rawValue: 1)
    /// It keeps messages, numbers them without holes, and confirms a subscription with the topic's end.
    public static let history = Self(rawValue: 2)
    /// It adds up the numbers of subscribers of all processes.
    public static let counts = Self(rawValue: 4)
}

/// An engine that joins topics of several processes, as `WebSocketTopics` needs it. It has no policy: what is subscribed,
/// when something is sent again, what is missing and how much waits is decided by `WebSocketTopics`. `WebSocketsRedis` has
/// one; `WebSocketsTestKit` has one in memory and the checks that every adapter should pass.
///
/// None of the synchronous calls may suspend, block or call `events` before it returns. They come one at a time, and take
/// effect at the engine in their order: what is published after a subscription reaches it.
public protocol WebSocketTopicBroker: Sendable {
    /// What the engine can do. Does not change.
    var features: WebSocketTopicBrokerFeatures { get }

    /// What to call it in logs and status pages; without secrets.
    var name: String { get }

    /// Connects, and connects again whenever the connection is lost, until the task is cancelled. Tells everything to
    /// `events`, one after the other, from any thread.
    func run(_ events: WebSocketTopicBrokerEvents) async

    /// Subscribes; each topic is answered by `subscribed` or `refused`, also one that was subscribed before. Without a
    /// connection nothing happens: after `connected` everything is asked for again.
    func subscribe(_ topics: [WebSocketTopicInterest])

    /// Unsubscribes. Not answered.
    func unsubscribe(_ topics: [String])

    /// Publishes, in this order. Each is answered by `settled`, at the latest before `disconnected`, unless the connection
    /// ends first. With history, a publication whose publisher and number are known is not published again.
    func publish(_ publications: [WebSocketTopicPublication])

    /// What the engine has kept behind a position, the oldest first and at most `limit`; nothing for `nil`, and for a
    /// position of another epoch.
    ///
    /// - Throws: Why there is no answer.
    func history(
        of topic: String, after: WebSocketTopicPosition?, limit: Int
    ) async throws(WebSocketError) -> WebSocketTopicHistory

    /// Tells how many subscribers topics have in this process now; 0 when the last one has gone. After `connected` all are
    /// told again. Not answered, and called only with `counts`.
    func tell(counts: [String: Int])

    /// The sum of what processes have told that still live, this one's included.
    ///
    /// - Throws: Why there is no answer.
    func subscriberCount(of topic: String) async throws(WebSocketError) -> Int
}

// For engines that have no counts.
extension WebSocketTopicBroker {
    /// Does nothing.
    public func tell(counts: [String: Int]) {}

    /// Throws `invalidConfiguration`.
    public func subscriberCount(of topic: String) async throws(WebSocketError) -> Int {
        throw WebSocketError(.invalidConfiguration, "\(name) does not count subscribers; use another broker")
    }
}

/// Where a broker tells what happens. From any thread; one call at a time.
public final class WebSocketTopicBrokerEvents: Sendable {
    enum Event: Sendable {
        case connected(generation: Int)
        case disconnected(WebSocketError)
        case subscribed([WebSocketTopicConfirmation])
        case refused(topic: String, WebSocketError)
        case received([WebSocketTopicDelivery])
        case unreadable(topic: String)
        case settled([(id: UInt64, outcome: WebSocketTopicOutcome)])
        case alert(WebSocketError)
    }

    private let sink: @Sendable (Event) -> Void

    init(_ sink: @escaping @Sendable (Event) -> Void) { self.sink = sink }

    /// There is a connection, whose generation is greater than those before.
    public func connected(generation: Int) { sink(.connected(generation: generation)) }
    /// There is none any more. Nothing of it is told later.
    public func disconnected(_ error: WebSocketError) { sink(.disconnected(error)) }
    /// Subscriptions stand.
    public func subscribed(_ topics: [WebSocketTopicConfirmation]) { sink(.subscribed(topics)) }
    /// A subscription is refused, and not worth asking again on this connection.
    public func refused(_ topic: String, _ error: WebSocketError) { sink(.refused(topic: topic, error)) }
    /// Messages have come, in their order.
    public func received(_ deliveries: [WebSocketTopicDelivery]) { sink(.received(deliveries)) }
    /// A message has come that cannot be read. It is counted, and the application is told.
    public func unreadable(_ topic: String) { sink(.unreadable(topic: topic)) }
    /// What has become of publications, by WebSocketTopicPublication/id.
    public func settled(_ outcomes: [(id: UInt64, outcome: WebSocketTopicOutcome)]) { sink(.settled(outcomes)) }
    /// Something is wrong that the application should know.
    public func alert(_ error: WebSocketError) { sink(.alert(error)) }
}

extension WebSocketTopicBrokerEvents {
    /// Events for a test of an adapter: each is handed to `observer`.
    package static func observing(_ observer: @escaping @Sendable (Observed) -> Void) -> WebSocketTopicBrokerEvents {
        WebSocketTopicBrokerEvents { event in
            switch event {
            case .connected(let generation): observer(.connected(generation))
            case .disconnected(let error): observer(.disconnected(error))
            case .subscribed(let topics): topics.forEach { observer(.subscribed($0)) }
            case .refused(let topic, let error): observer(.refused(topic, error))
            case .received(let deliveries): deliveries.forEach { observer(.received($0)) }
            case .unreadable(let topic): observer(.unreadable(topic))
            case .settled(let outcomes): outcomes.forEach { observer(.settled($0.id, $0.outcome)) }
            case .alert(let error): observer(.alert(error))
            }
        }
    }

    /// One event.
    package enum Observed: Sendable, Hashable {
        case connected(Int)
        case disconnected(WebSocketError)
        case subscribed(WebSocketTopicConfirmation)
        case refused(String, WebSocketError)
        case received(WebSocketTopicDelivery)
        case unreadable(String)
        case settled(UInt64, WebSocketTopicOutcome)
        case alert(WebSocketError)
    }
}
