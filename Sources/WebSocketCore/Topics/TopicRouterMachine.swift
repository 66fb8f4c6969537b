//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

/// What a process does with topics that are shared through a broker: which ones it asks for, what goes out, what is
/// handed on, what is missing. Has no clock, no lock and no connection; each event returns what is to be done, in order.
///
/// A topic is *wanted* from its first subscriber on and asked for anew on each connection; *confirmed* when the broker
/// says so; and given up some time after its last subscriber. Answers are those of the present connection, because the
/// broker tells of no other after `disconnected`.
package struct TopicRouterMachine {
    package struct Settings: Sendable {
        /// This process.
        package var publisher: UInt64
        /// The rules of topics by the beginning of their names; the longest that fits counts.
        package var rules: [String: WebSocketTopicRules] = [:]
        /// What becomes of messages without history while the broker is away for longer than `patience`.
        package var whenAway = WhenAway.localOnly
        /// How long the broker may be away before that.
        package var patience: UInt64 = 1_000_000_000
        /// How long a message for a history waits for the broker.
        package var historyPatience: UInt64 = 30_000_000_000
        package var waitingMessages = 65_536
        package var waitingBytes = 16 << 20
        package var messageBytes = 1 << 20
        package var historyMessageBytes = 64 << 10
        /// Live messages of one topic that are held while its history is read.
        package var heldMessages = 1_000
        /// Topics whose history is read at the same time.
        package var catchUps = 64
        /// How long a topic stays subscribed after its last subscriber, ± 25 %.
        package var linger: UInt64 = 2_000_000_000
        /// How often a topic's end is compared with the history's, ± 25 %.
        package var checkInterval: UInt64 = 40_000_000_000
        /// Whether other processes are told how many subscribers there are here.
        package var sharesCounts = false
        /// How often they are at most.
        package var countPause: UInt64 = 1_000_000_000
        /// How often all counts are told again, because an engine may forget them.
        package var recountInterval: UInt64 = 3_600_000_000_000
        package var seed: UInt64 = 0

        package init(publisher: UInt64) { self.publisher = publisher }
    }

    package enum WhenAway: Sendable, Hashable {
        case localOnly
        /// Waits for this many nanoseconds.
        case buffer(UInt64)
        case fail
    }

    package enum Action: Sendable, Equatable {
        case subscribe([WebSocketTopicInterest])
        case unsubscribe([String])
        case publish(WebSocketTopicPublication)
        /// To the subscribers of this process, but for one connection.
        case deliver(WebSocketTopicDelivery, except: UInt64?)
        /// The publication of a caller that waits has come to its end.
        case settle(waiter: UInt64, WebSocketTopicOutcome)
        /// Read a topic's history; answered with `caughtUp`.
        case fetch(topic: String, after: WebSocketTopicPosition, limit: Int, token: UInt64)
        /// A topic that is waited for is subscribed, or cannot be.
        case ready(waiter: UInt64, WebSocketError?)
        case tell(WebSocketTopicEvent)
        /// How many subscribers topics have in this process.
        case count([String: Int])
    }

    enum Link: Sendable, Equatable {
        /// The broker is away.
        case absent
        case wanted
        case confirmed
        /// Not again on this connection.
        case refused
    }

    struct Topic {
        let rules: WebSocketTopicRules
        /// Connections of this process, those on their way included.
        var subscribers = 0
        var link = Link.absent
        /// Requests on this connection that have no answer yet. Only the last one's counts.
        var unanswered = 0
        /// It was confirmed, and the connection was lost since.
        var isInterrupted = false
        /// Where it stands, with history.
        var last: WebSocketTopicPosition?
        /// The history was read on this connection.
        var isAhead = false
        /// The last number of each publisher.
        var numbers: [UInt64: UInt64] = [:]
        /// The history is being read, or waits for its turn.
        var catchUp: UInt64?
        /// What came meanwhile.
        var held: [WebSocketTopicDelivery] = []
        /// More came than is held.
        var isOverflown = false
        var waiters: [UInt64] = []
        var lingering: TimerHeap<Timer>.Token?
        var check: TimerHeap<Timer>.Token?

        var hasHistory: Bool { rules.history != nil }
        var isWanted: Bool { subscribers > 0 || lingering != nil }
    }

    enum Timer: Sendable {
        case linger(String)
        case check(String)
        case expiry
        case gaps
        case counts
        case recount
    }

    /// A publication without an answer.
    struct Waiting: Sendable {
        let publication: WebSocketTopicPublication
        let order: WebSocketTopicRules.Order
        let except: UInt64?
        /// Who waits for the outcome.
        let waiter: UInt64?
        /// When it was published.
        let time: UInt64
        /// Its own subscribers have it from the broker.
        var isEchoed = false
        var bytes: Int { publication.message.byteCount + publication.topic.utf8.count + 64 }
    }

    /// A publication that waits for room.
    struct Crowded: Sendable {
        let topic: String
        let message: WebSocketMessage
        let rules: WebSocketTopicRules
        let except: UInt64?
        let waiter: UInt64
    }

    let settings: Settings
    var random: SessionRandom
    var topics: [String: Topic] = [:]
    var timers = TimerHeap<Timer>()
    package internal(set) var isConnected = false
    private var generation = 0
    /// Since when the broker is away.
    var awaySince: UInt64
    /// Whom a message of a topic's order does not go to when it comes back.
    var exceptions: [UInt64: UInt64] = [:]
    /// Handed to the broker, by number; and in which order.
    var inFlight: [UInt64: Waiting] = [:]
    /// Not handed to the broker, in their order.
    var queue: Deque<Waiting> = []
    var crowd: Deque<Crowded> = []
    var expiry: (deadline: UInt64, token: TimerHeap<Timer>.Token)?
    var lastNumber: UInt64 = 0
    var lastToken: UInt64 = 0
    /// Topics whose history is being read, by token; and those whose turn has not come.
    var catchUps: Set<UInt64> = []
    var catchUpQueue: Deque<String> = []
    /// So many topics were cut off that one event speaks for all.
    var isGapForAll = false
    /// Gaps of single topics that were told since then.
    var toldGaps = (since: UInt64(0), count: 0)
    /// Why there are more of them than are told singly.
    var mergedGap: WebSocketTopicGap.Cause?
    /// Topics whose number of subscribers has changed since it was told.
    var recounted: Set<String> = []
    var isCountDue = false
    var isRecountDue = false
    var lastAlert: UInt64?
    package internal(set) var statistics = WebSocketTopicBrokerStatistics()

    package init(_ settings: Settings, now: UInt64) {
        self.settings = settings
        random = SessionRandom(seed: settings.seed)
        awaySince = now
    }

    /// The rules of a topic.
    package func rules(of topic: String) -> WebSocketTopicRules {
        if let known = topics[topic] { return known.rules }
        guard !settings.rules.isEmpty else { return WebSocketTopicRules() }
        var found: (length: Int, rules: WebSocketTopicRules)?
        for (prefix, rules) in settings.rules where topic.utf8.starts(with: prefix.utf8) {
            if found.map({ $0.length < prefix.utf8.count }) ?? true { found = (prefix.utf8.count, rules) }
        }
        return found?.rules ?? WebSocketTopicRules()
    }

    /// When `tick` has something to do next.
    package var nextDeadline: UInt64? { timers.nextDeadline }

    /// Topics that the broker should have at rest; for tests.
    package var wantedTopics: Set<String> { Set(topics.filter { $0.value.isWanted && $0.value.rules.isShared }.keys) }
    package var confirmedTopics: Set<String> { Set(topics.filter { $0.value.link == .confirmed }.keys) }

    mutating func spread(_ time: UInt64) -> UInt64 {
        UInt64(Double(time) * Double.random(in: 0.75...1.25, using: &random))
    }

    // MARK: Subscribers

    /// A connection of this process subscribes.
    package mutating func retain(_ name: String, now: UInt64, _ actions: inout [Action]) {
        if topics[name] == nil { topics[name] = Topic(rules: rules(of: name)) }
        topics[name]!.subscribers += 1
        noteCount(name, now: now)
        if let token = topics[name]!.lingering {
            timers.cancel(token)
            topics[name]!.lingering = nil
        }
        guard topics[name]!.subscribers == 1, topics[name]!.rules.isShared else { return }
        // What others have heard the first one has not.
        topics[name]!.numbers = [:]
        if isConnected, topics[name]!.link == .absent { ask(name, &actions) }
    }

    /// One no longer does.
    package mutating func release(_ name: String, now: UInt64, _ actions: inout [Action]) {
        guard let topic = topics[name], topic.subscribers > 0 else { return }
        topics[name]!.subscribers -= 1
        noteCount(name, now: now)
        guard topic.subscribers == 1 else { return }
        guard topic.rules.isShared, isConnected, topic.link != .refused else { return forget(name) }
        let due = now &+ spread(settings.linger)
        topics[name]!.lingering = timers.schedule(at: due, .linger(name))
    }

    /// Asks the broker for a topic.
    mutating func ask(_ name: String, _ actions: inout [Action]) {
        guard let topic = topics[name] else { return }
        topics[name]!.link = .wanted
        topics[name]!.unanswered += 1
        let interest = WebSocketTopicInterest(topic: name, wantsPosition: topic.hasHistory)
        if case .subscribe(var interests)? = actions.last {
            // Taken out first, so that it grows where it is: after a reconnect there may be 100,000.
            actions.removeLast()
            interests.append(interest)
            actions.append(.subscribe(interests))
        } else {
            actions.append(.subscribe([interest]))
        }
    }

    mutating func forget(_ name: String) {
        guard let topic = topics.removeValue(forKey: name) else { return }
        if let token = topic.lingering { timers.cancel(token) }
        if let token = topic.check { timers.cancel(token) }
    }

    /// Waits until a topic is subscribed: `ready` says when.
    package mutating func awaitReady(_ name: String, waiter: UInt64, _ actions: inout [Action]) {
        guard let topic = topics[name] else {
            return actions.append(.ready(waiter: waiter, .notShared(name)))
        }
        switch topic.link {
        case .confirmed where topic.unanswered == 0: actions.append(.ready(waiter: waiter, nil))
        case .refused: actions.append(.ready(waiter: waiter, .refusedTopic(name)))
        case .confirmed, .wanted, .absent: topics[name]!.waiters.append(waiter)
        }
    }

    /// The waiter has lost its patience. Whether it was still there.
    package mutating func stopWaiting(_ name: String, waiter: UInt64) -> Bool {
        guard let index = topics[name]?.waiters.firstIndex(of: waiter) else { return false }
        topics[name]!.waiters.remove(at: index)
        return true
    }

    // MARK: The connection

    /// The broker can be reached, for the first time or again.
    package mutating func connected(generation: Int, now: UInt64, _ actions: inout [Action]) {
        guard !isConnected, generation > self.generation else { return }
        self.generation = generation
        isConnected = true
        statistics.isConnected = true
        statistics.connects += 1
        actions.append(.tell(.connected))
        for (name, topic) in topics where topic.rules.isShared {
            if topic.subscribers > 0 { ask(name, &actions) } else { forget(name) }
        }
        while let waiting = queue.popFirst() { hand(waiting, &actions) }
        recount(now: now, &actions)
    }

    /// It cannot.
    package mutating func disconnected(_ error: WebSocketError, now: UInt64, _ actions: inout [Action]) {
        guard isConnected else { return }
        isConnected = false
        statistics.isConnected = false
        awaySince = now
        actions.append(.tell(.disconnected(error)))
        catchUps = []
        catchUpQueue = []
        recounted = []
        var interrupted = 0
        for (name, topic) in topics where topic.rules.isShared {
            guard topic.subscribers > 0 else {
                forget(name)
                continue
            }
            if topic.link == .confirmed { topics[name]!.isInterrupted = true }
            if topics[name]!.isInterrupted, !topic.hasHistory { interrupted += 1 }
            topics[name]!.link = .absent
            topics[name]!.unanswered = 0
            topics[name]!.catchUp = nil
            topics[name]!.isAhead = false
            topics[name]!.held = []
            topics[name]!.isOverflown = false
            if let token = topic.check { timers.cancel(token) }
            topics[name]!.check = nil
        }
        if interrupted > Self.manyGaps { isGapForAll = true }
        takeBack(error, now: now, &actions)
    }

    static let manyGaps = 1_000

    /// Time has passed.
    package mutating func tick(now: UInt64, _ actions: inout [Action]) {
        while let timer = timers.popDue(now: now) {
            switch timer {
            case .linger(let name):
                guard let topic = topics[name], topic.subscribers == 0 else { continue }
                topics[name]!.lingering = nil
                if isConnected { actions.append(.unsubscribe([name])) }
                // Without an answer to an earlier request a later one's would be taken for it.
                forget(name)
                if topic.unanswered > 0 {
                    topics[name] = Topic(rules: topic.rules)
                    topics[name]!.unanswered = topic.unanswered
                }
            case .check(let name):
                guard topics[name] != nil else { continue }
                topics[name]!.check = nil
                if isConnected, topics[name]!.link == .confirmed, topics[name]!.subscribers > 0 {
                    ask(name, &actions)
                    topics[name]!.link = .confirmed
                }
            case .expiry:
                expiry = nil
                expire(now: now, &actions)
            case .counts:
                isCountDue = false
                tellCounts(&actions)
            case .recount:
                isRecountDue = false
                recount(now: now, &actions)
            case .gaps:
                guard let cause = mergedGap else { continue }
                mergedGap = nil
                gap(nil, cause, now: now, &actions)
            }
        }
    }

    // MARK: Counts

    private mutating func noteCount(_ name: String, now: UInt64) {
        guard settings.sharesCounts, isConnected, topics[name]?.rules.isShared == true else { return }
        recounted.insert(name)
        guard !isCountDue else { return }
        isCountDue = true
        _ = timers.schedule(at: now &+ settings.countPause, .counts)
    }

    private mutating func tellCounts(_ actions: inout [Action]) {
        guard isConnected, !recounted.isEmpty else { return }
        var counts: [String: Int] = [:]
        for name in recounted { counts[name] = topics[name]?.subscribers ?? 0 }
        recounted = []
        actions.append(.count(counts))
    }

    /// Tells all counts: on a new connection, and now and then.
    private mutating func recount(now: UInt64, _ actions: inout [Action]) {
        guard settings.sharesCounts, isConnected else { return }
        for (name, topic) in topics where topic.subscribers > 0 && topic.rules.isShared { recounted.insert(name) }
        tellCounts(&actions)
        guard !isRecountDue else { return }
        isRecountDue = true
        _ = timers.schedule(at: now &+ settings.recountInterval, .recount)
    }

    // MARK: Alerts

    /// At most one a second, because what is wrong for one message is wrong for all.
    mutating func alert(_ error: WebSocketError, now: UInt64, _ actions: inout [Action]) {
        if let lastAlert, now &- lastAlert < 1_000_000_000 { return }
        lastAlert = now
        actions.append(.tell(.alert(error)))
    }

    /// At most 1,000 a second for one topic each, and one for all behind them: a listener keeps 4,096, and when a broker
    /// has lost the histories of all topics none of these may be lost in turn.
    mutating func gap(
        _ topic: String?, _ cause: WebSocketTopicGap.Cause, now: UInt64, _ actions: inout [Action]
    ) {
        if topic != nil {
            if now &- toldGaps.since >= Self.gapWindow { toldGaps = (now, 0) }
            toldGaps.count += 1
            guard toldGaps.count <= Self.manyGaps else {
                if mergedGap == nil { _ = timers.schedule(at: toldGaps.since &+ Self.gapWindow, .gaps) }
                mergedGap = mergedGap ?? cause
                return
            }
        }
        statistics.gaps += 1
        actions.append(.tell(.gap(WebSocketTopicGap(topic: topic, cause: cause))))
    }

    private static let gapWindow: UInt64 = 1_000_000_000
}

extension WebSocketError {
    static func notShared(_ topic: String) -> Self {
        Self(.cancelled, "topic “\(topic.escapedForLog)” has no subscriber in this process any more; subscribe first")
    }

    static func refusedTopic(_ topic: String) -> Self {
        Self(
            .brokerRefused,
            "the broker refused topic “\(topic.escapedForLog)”; an alert said why. Check its access rules")
    }
}
