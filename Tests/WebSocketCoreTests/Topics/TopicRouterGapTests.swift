//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

/// One event for each topic that was cut off, one for all beyond a thousand; none without a cut.
@Suite struct TopicRouterGapTests {
    private struct Router {
        var machine: TopicRouterMachine
        var now: UInt64 = 5_000_000_000
        var generation = 0
        var gaps: [WebSocketTopicGap] = []
        /// Topics that were asked for, in their order, on this connection.
        var asked: [String] = []

        init(history: Bool = false) {
            var settings = TopicRouterMachine.Settings(publisher: 1)
            if history { settings.rules[""] = .init(history: .init(messages: 10, age: .seconds(60))) }
            machine = TopicRouterMachine(settings, now: now)
        }

        mutating func event(
            _ body: (inout TopicRouterMachine, UInt64, inout [TopicRouterMachine.Action]) -> Void
        ) {
            var actions: [TopicRouterMachine.Action] = []
            body(&machine, now, &actions)
            for action in actions {
                switch action {
                case .tell(.gap(let gap)): gaps.append(gap)
                case .subscribe(let interests): asked += interests.map(\.topic)
                case .tell, .unsubscribe, .publish, .deliver, .settle, .fetch, .ready, .count: break
                }
            }
        }

        mutating func subscribe(_ count: Int) {
            for number in 0..<count { event { $0.retain("t\(number)", now: $1, &$2) } }
        }

        mutating func connect() {
            generation += 1
            asked = []
            event { [generation] in $0.connected(generation: generation, now: $1, &$2) }
        }

        mutating func cut() {
            event { $0.disconnected(WebSocketError(.brokerUnavailable, "cut"), now: $1, &$2) }
        }

        /// The next topics are subscribed at the broker. Returns which.
        @discardableResult
        mutating func confirm(_ count: Int, epoch: String? = nil) -> [String] {
            let topics = Array(asked.prefix(count))
            asked.removeFirst(topics.count)
            let top = epoch.flatMap { WebSocketTopicPosition(epoch: $0, offset: 0) }
            event { $0.subscribed(topics.map { WebSocketTopicConfirmation(topic: $0, top: top) }, now: $1, &$2) }
            return topics
        }
    }

    @Test(arguments: [1, 999, 1_000]) func upToAThousandAreToldSingly(count: Int) {
        var router = Router()
        router.subscribe(count)
        router.connect()
        router.confirm(count)
        #expect(router.gaps.isEmpty)
        router.cut()
        #expect(router.gaps.isEmpty, "they are told when they are heard again")
        router.connect()
        let topics = router.confirm(count)
        #expect(router.gaps == topics.map { WebSocketTopicGap(topic: $0, cause: .disconnected) })
        #expect(router.machine.statistics.gaps == count)
    }

    @Test func moreThanAThousandAreOneEventWhenAllAreHeardAgain() {
        var router = Router()
        router.subscribe(1_001)
        router.connect()
        router.confirm(1_001)
        router.cut()
        router.connect()
        router.confirm(1_000)
        #expect(router.gaps.isEmpty)
        router.confirm(1)
        #expect(router.gaps == [WebSocketTopicGap(topic: nil, cause: .disconnected)])
    }

    @Test func cutsInTheMiddleOfSubscribingAgainAddNone() {
        var router = Router()
        router.subscribe(10_000)
        router.connect()
        router.confirm(10_000)
        for confirmed in [0, 1, 512, 1_024, 5_120, 9_999] {
            router.cut()
            router.connect()
            router.confirm(confirmed)
            #expect(router.gaps.isEmpty)
        }
        router.cut()
        router.connect()
        router.confirm(10_000)
        #expect(router.gaps == [WebSocketTopicGap(topic: nil, cause: .disconnected)])
    }

    /// Only those that were heard before the cut can have missed something.
    @Test func aCutInTheMiddleOfTheFirstSubscribingIsToldForThoseThatStood() {
        var router = Router()
        router.subscribe(10_000)
        router.connect()
        let stood = Set(router.confirm(512))
        router.cut()
        router.connect()
        router.confirm(10_000)
        #expect(router.gaps.count == 512)
        #expect(Set(router.gaps) == Set(stood.map { WebSocketTopicGap(topic: $0, cause: .disconnected) }))
    }

    @Test func lostHistoriesOfVeryManyTopicsAreAThousandEventsAndOne() {
        var router = Router(history: true)
        router.subscribe(1_500)
        router.connect()
        router.confirm(1_500, epoch: "a")
        router.cut()
        router.connect()
        let topics = router.confirm(1_500, epoch: "b")
        #expect(router.gaps == topics.prefix(1_000).map { WebSocketTopicGap(topic: $0, cause: .epochChanged) })
        router.now += 1_000_000_000
        router.event { $0.tick(now: $1, &$2) }
        #expect(router.gaps.count == 1_001)
        #expect(router.gaps.last == WebSocketTopicGap(topic: nil, cause: .epochChanged))
        router.now += 10_000_000_000
        router.event { $0.tick(now: $1, &$2) }
        #expect(router.gaps.count == 1_001)
    }

    /// The broker subscribes, and cannot say where the history ends.
    @Test func whatCameBeforeAConfirmationWithoutAPositionIsToldAsMissed() {
        var router = Router(history: true)
        router.subscribe(1)
        router.connect()
        let position = WebSocketTopicPosition(epoch: "a", offset: 7)
        router.event {
            $0.received([WebSocketTopicDelivery(topic: "t0", message: "early", position: position)], now: $1, &$2)
        }
        router.confirm(1)
        #expect(router.gaps == [WebSocketTopicGap(topic: "t0", cause: .recoveryFailed)])
    }
}
