//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing

@testable import WebSocketCore

@Suite struct AlertThrottleTests {
    @Test func theFirstAlertPassesAlsoAtTimeZero() {
        var throttle = AlertThrottle(interval: .seconds(300))
        let alert = throttle.raise(.disconnected, "one", at: .zero)
        #expect(alert == WebSocketSessionAlert(kind: .disconnected, message: "one", suppressed: 0))
        #expect(throttle.nextDeadline == nil)
    }

    @Test func repetitionsAreCountedAndTheCountIsTold() {
        var throttle = AlertThrottle(interval: .seconds(300))
        _ = throttle.raise(.disconnected, "one", at: .zero)
        #expect(throttle.raise(.disconnected, "two", at: .seconds(1)) == nil)
        #expect(throttle.raise(.disconnected, "three", at: .seconds(299)) == nil)
        #expect(throttle.nextDeadline == .seconds(300))
        #expect(throttle.flush(at: .seconds(299)).isEmpty)
        #expect(
            throttle.flush(at: .seconds(300)) == [
                WebSocketSessionAlert(kind: .disconnected, message: "three", suppressed: 2)
            ])
        #expect(throttle.suppressedCount == 2)
        // The count was an alert too.
        #expect(throttle.raise(.disconnected, "four", at: .seconds(301)) == nil)
        #expect(throttle.flush(at: .seconds(600)).map(\.suppressed) == [1])
    }

    @Test func kindsDoNotDisturbEachOther() {
        var throttle = AlertThrottle(interval: .seconds(300))
        for kind in WebSocketSessionAlert.Kind.allCases { #expect(throttle.raise(kind, "", at: .zero) != nil) }
        for kind in WebSocketSessionAlert.Kind.allCases { #expect(throttle.raise(kind, "", at: .zero) == nil) }
    }

    @Test func aKindMayHaveAnIntervalOfItsOwn() {
        var throttle = AlertThrottle(interval: .seconds(300), intervals: [.disconnected: .seconds(10), .gaveUp: .zero])
        for kind in [WebSocketSessionAlert.Kind.disconnected, .gaveUp, .renewalFailed] {
            #expect(throttle.raise(kind, "a", at: .zero) != nil)
        }
        #expect(throttle.raise(.disconnected, "b", at: .seconds(9)) == nil)
        #expect(throttle.nextDeadline == .seconds(10))
        #expect(throttle.flush(at: .seconds(10)).map(\.kind) == [.disconnected])
        #expect(throttle.raise(.disconnected, "c", at: .seconds(21)) != nil)
        #expect(throttle.raise(.gaveUp, "b", at: .zero) != nil, "none is held back")
        #expect(throttle.raise(.renewalFailed, "b", at: .seconds(299)) == nil)
        #expect(throttle.flush(at: .seconds(300)).map(\.kind) == [.renewalFailed])
    }

    @Test func nothingIsHeldBackForLonger() {
        var throttle = AlertThrottle(interval: .seconds(30))
        _ = throttle.raise(.callbackFailed, "a", at: .zero)
        #expect(throttle.raise(.callbackFailed, "b", at: .seconds(30)) != nil)
        _ = throttle.raise(.callbackFailed, "c", at: .seconds(31))
        #expect(throttle.flush(at: .seconds(32), all: true).map(\.message) == ["c"])
        #expect(throttle.flush(at: .seconds(1_000), all: true).isEmpty)
    }
}

@Suite struct SubscriptionListTests {
    private func list(acknowledgement: Duration? = .seconds(10), attempts: Int = 2) -> SubscriptionList {
        SubscriptionList(
            timing: .init(acknowledgement: acknowledgement, retryDelay: .seconds(1), attempts: attempts, batch: 10))
    }

    @Test func channelsKeepTheirOrder() {
        var list = list(acknowledgement: nil)
        for channel in ["c", "a", "b", "a"] { _ = list.add(channel) }
        #expect(list.channels == ["c", "a", "b"])
        #expect(list.takeUnsent(at: .zero) == ["c", "a", "b"])
        #expect(list.isActive("a"), "without answers, sent is subscribed")
        #expect(list.takeUnsent(at: .zero) == [])
        #expect([list.remove("a"), list.remove("a")] == [true, nil])
        list.reset()
        #expect(list.takeUnsent(at: .zero) == ["c", "b"])
    }

    @Test func answersAreAwaited() {
        var list = list()
        for channel in ["a", "b"] { _ = list.add(channel) }
        _ = list.takeUnsent(at: .zero)
        #expect(list.awaited == ["a", "b"])
        #expect(list.answered(.accepted("a"), at: .seconds(1)) == nil)
        #expect(list.isActive("a") && !list.isActive("b"))
        #expect(list.awaited == ["b"])
        #expect(list.answered(.rejected("x", reason: "who?"), at: .zero) == nil)
        #expect(list.nextDeadline == .seconds(10))
    }

    /// S4: a subscription that fails is tried again, and its failure is told.
    @Test func aSubscriptionThatFailsIsTriedAgainAndItsFailureIsTold() {
        var list = list()
        _ = list.add("a")
        _ = list.takeUnsent(at: .zero)
        #expect(list.expire(at: .seconds(9)) == [])
        #expect(
            list.expire(at: .seconds(10)) == [
                .init(channel: "a", reason: "no acknowledgement came in time", willRetry: true)
            ])
        #expect(list.nextDeadline == .seconds(11))
        #expect(list.takeUnsent(at: .milliseconds(10_500)) == [])
        #expect(list.takeUnsent(at: .seconds(11)) == ["a"])
        #expect(
            list.answered(.rejected("a", reason: "no"), at: .seconds(12))
                == .init(channel: "a", reason: "no", willRetry: false))
        #expect(list.nextDeadline == nil)
        #expect(list.channels == ["a"], "it is wanted all the same")
        list.reset()
        #expect(list.takeUnsent(at: .seconds(20)) == ["a"])
    }
}

@Suite struct HandoverFilterTests {
    @Test func eachMessageOfTheOldConnectionAnswersForOne() {
        var filter = HandoverFilter<String>()
        for text in ["a", "b", "b"] { _ = filter.admitsOld(text) }
        _ = filter.admitsOld(nil)
        for text in ["b", "c"] { filter.hold(.text(text), text) }
        filter.hold(.text("heartbeat"), nil)
        filter.hold(.text("b"), "b")
        filter.hold(.text("b"), "b")
        #expect(filter.release() == [.text("c"), .text("heartbeat"), .text("b")])
        #expect(!filter.isEmpty)
        #expect([filter.admits("a"), filter.admits("a")] == [false, true])
        #expect(filter.isEmpty)
        #expect(filter.release() == [])
    }
}

@Suite struct SessionInboxTests {
    private typealias Inbox = SessionInbox<Int>

    private func inbox(_ policy: WebSocketOverflowPolicy, messages: Int = 3, bytes: Int = 1_000) -> Inbox {
        Inbox(limits: .init(messages: messages, bytes: bytes, policy: policy))
    }

    private func take(_ inbox: inout Inbox, messagesOnly: Bool = false) -> WebSocketSessionEvent? {
        if case .event(let event, _) = inbox.take(messagesOnly: messagesOnly) { event } else { nil }
    }

    private func drain(_ inbox: inout Inbox) -> [WebSocketSessionEvent] {
        var events: [WebSocketSessionEvent] = []
        while let event = take(&inbox) { events.append(event) }
        return events
    }

    @Test func eventsKeepTheirOrder() {
        var inbox = inbox(.suspendReading)
        _ = inbox.push(.connected(isReconnect: false))
        _ = inbox.push(.text("a"))
        _ = inbox.push(.renewed)
        _ = inbox.push(.text("b"))
        #expect(
            drain(&inbox) == [.connected(isReconnect: false), .message("a"), .renewed, .message("b")])
    }

    @Test func thoseWhoWantMessagesLeaveTheRest() {
        var inbox = inbox(.suspendReading)
        _ = inbox.push(.connected(isReconnect: false))
        _ = inbox.push(.text("a"))
        #expect(take(&inbox, messagesOnly: true) == .message("a"))
        #expect(take(&inbox, messagesOnly: true) == nil)
        #expect(take(&inbox) == .connected(isReconnect: false))
        inbox.wait(id: 1, messagesOnly: true, 1)
        inbox.wait(id: 2, messagesOnly: false, 2)
        #expect(inbox.push(.renewed)?.waiter == 2)
        guard case .deliver(let delivery) = inbox.push(.text("b")), delivery.waiter == 1 else {
            Issue.record("the message did not reach its taker")
            return
        }
    }

    @Test func readingPausesAtTheMarkAndGoesOnAtAQuarter() {
        var inbox = inbox(.suspendReading, messages: 4)
        for text in ["a", "b", "c"] { _ = inbox.push(.text(text)) }
        #expect(!inbox.isSourcePaused)
        guard case .bufferedPause = inbox.push(.text("d")) else {
            Issue.record("reading did not pause")
            return
        }
        var resumes: [Bool] = []
        while case .event(_, let resume) = inbox.take(messagesOnly: false) { resumes.append(resume) }
        #expect(resumes == [false, false, true, false])
        #expect(inbox.droppedMessages == 0)
    }

    @Test func bytesCountToo() {
        var inbox = inbox(.suspendReading, messages: 100, bytes: 10)
        guard case .buffered = inbox.push(.binary([1, 2, 3])), case .bufferedPause = inbox.push(.text("1234567")) else {
            Issue.record("10 bytes are the mark")
            return
        }
    }

    @Test func anEndedSourceIsNotPaused() {
        var inbox = inbox(.suspendReading, messages: 1)
        for text in ["a", "b", "c"] {
            guard case .buffered = inbox.push(.text(text), canPause: false) else {
                Issue.record("paused")
                return
            }
        }
        #expect(drain(&inbox).count == 3)
    }

    @Test func droppingTheOldestLeavesAGapInItsPlace() {
        var inbox = inbox(.dropOldest)
        _ = inbox.push(.connected(isReconnect: false))
        for text in ["a", "b", "c", "d", "e"] { _ = inbox.push(.text(text)) }
        let events = drain(&inbox)
        #expect(events.filter { $0 == .gap(.init(.overflow(dropped: 2))) }.count == 1)
        #expect(events.suffix(3) == [.message("c"), .message("d"), .message("e")])
        #expect(inbox.droppedMessages == 2)
    }

    @Test func droppingTheNewestLeavesAGapInItsPlace() {
        var inbox = inbox(.dropNewest)
        for text in ["a", "b", "c", "d", "e"] { _ = inbox.push(.text(text)) }
        #expect(take(&inbox) == .message("a"))
        _ = inbox.push(.text("f"))
        #expect(
            drain(&inbox) == [
                .message("b"), .message("c"), .gap(.init(.overflow(dropped: 2))), .message("f"),
            ])
    }

    @Test func disconnectingKeepsWhatThereIs() {
        var inbox = inbox(.disconnect)
        for text in ["a", "b", "c"] { _ = inbox.push(.text(text)) }
        guard case .disconnect = inbox.push(.text("d")) else {
            Issue.record("not disconnected")
            return
        }
        #expect(drain(&inbox).count == 4)
    }

    @Test func eventsThatNobodyTakesAreBounded() {
        var inbox = inbox(.suspendReading)
        for _ in 0..<2_000 { _ = inbox.push(.renewed) }
        #expect(inbox.droppedEvents == 976)
        #expect(drain(&inbox).count == 1_024)
    }

    @Test func theEnd() {
        var inbox = inbox(.suspendReading)
        inbox.wait(id: 1, messagesOnly: true, 1)
        inbox.wait(id: 2, messagesOnly: false, 2)
        inbox.wait(id: 3, messagesOnly: true, 3)
        #expect([inbox.cancel(id: 3), inbox.cancel(id: 3)] == [3, nil])
        #expect(inbox.removeMessageTakers() == [1])
        #expect(inbox.finish(WebSocketError(.reconnectFailed, "gave up")) == [2])
        guard case .ended(let error) = inbox.take(messagesOnly: true) else {
            Issue.record("not ended")
            return
        }
        #expect(error?.code == .reconnectFailed)
    }

    @Test(arguments: 0..<100 as Range<UInt64>)
    func nothingIsLostOrReorderedWhateverComes(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let policy = WebSocketOverflowPolicy.allCases[random.below(4)]
        var inbox = Inbox(limits: .init(messages: 1 + random.below(5), bytes: 1_000, policy: policy))
        var pushed = 0
        var seen: [Int] = []
        var gaps = 0
        func note(_ event: WebSocketSessionEvent) {
            switch event {
            case .message(.text(let text)): seen.append(Int(text)!)
            case .gap(let gap): if case .overflow(let dropped) = gap.cause { gaps += dropped }
            default: break
            }
        }
        for _ in 0..<300 {
            if random.below(3) > 0 {
                pushed += 1
                if case .deliver(let delivery) = inbox.push(.text("\(pushed)")) { note(delivery.event) }
            } else if case .event(let event, _) = inbox.take(messagesOnly: false) {
                note(event)
            } else if random.below(2) == 0, inbox.waiterCount == 0 {
                inbox.wait(id: UInt64(pushed), messagesOnly: false, pushed)
            }
        }
        while case .event(let event, _) = inbox.take(messagesOnly: false) { note(event) }
        try check(seen == seen.sorted(), "\(policy): \(seen)")
        try check(seen.count + inbox.droppedMessages == pushed, "\(policy): \(seen.count) of \(pushed)")
        try check(gaps == inbox.droppedMessages, "\(policy): gaps say \(gaps), dropped \(inbox.droppedMessages)")
    }
}
