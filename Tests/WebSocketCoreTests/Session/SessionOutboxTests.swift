//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing

@testable import WebSocketCore

@Suite struct SessionOutboxTests {
    private typealias Outbox = SessionOutbox<Int>

    private func entry(
        _ id: UInt64, deadline: Duration? = nil, idempotent: Bool = false, waiter: Int? = nil, outcome: Bool = false
    ) -> Outbox.Entry {
        .init(
            id: id, message: .text("\(id)"), deadline: deadline, isIdempotent: idempotent, waiter: waiter,
            wantsOutcome: outcome)
    }

    private func describe(_ notices: [Outbox.Notice]) -> [String] {
        notices.map { notice in
            switch notice {
            case .taken(let waiter): "\(waiter) taken"
            case .ended(let waiter, let outcome): "\(waiter) \(outcome)"
            }
        }
    }

    @Test func withoutAQueueMessagesAreRefused() {
        var outbox = Outbox(capacity: 0)
        #expect(outbox.offer(entry(1)) == .notConnected)
        #expect(outbox.ledger == .init(submitted: 1, notSent: 1))
        // The caller was told; this is no loss that somebody has to be alerted to.
        #expect(outbox.takeLost() == 0)
    }

    @Test func theQueueIsBounded() {
        var outbox = Outbox(capacity: 2)
        #expect(outbox.offer(entry(1)) == .queued)
        #expect(outbox.offer(entry(2)) == .queued)
        #expect(outbox.offer(entry(3)) == .full)
        #expect(outbox.ledger == .init(submitted: 3, dropped: 1, pending: 2))
    }

    @Test func messagesExpireInTheQueue() {
        var outbox = Outbox(capacity: 5)
        _ = outbox.offer(entry(1, deadline: .seconds(2), waiter: 1, outcome: true))
        _ = outbox.offer(entry(2, deadline: .seconds(1), waiter: 2, outcome: true))
        _ = outbox.offer(entry(3))
        #expect(outbox.nextDeadline == .seconds(1))
        #expect(describe(outbox.expire(at: .milliseconds(999))) == [])
        #expect(describe(outbox.expire(at: .seconds(1))) == ["2 notSent"])
        #expect(outbox.nextDeadline == .seconds(2))
        #expect(describe(outbox.expire(at: .seconds(3))) == ["1 notSent"])
        #expect(outbox.nextDeadline == nil)
        #expect(outbox.takeLost() == 2)
        #expect(outbox.ledger == .init(submitted: 3, notSent: 2, pending: 1))
    }

    /// S3: each message in a broken connection is written, unknown or not sent.
    @Test func eachMessageInABrokenConnectionIsWrittenUnknownOrNotSent() {
        var outbox = Outbox(capacity: 10)
        outbox.open(1, accepted: 3)
        for id in 1...6 as ClosedRange<UInt64> { outbox.sentDirectly(entry(id, waiter: Int(id), outcome: true)) }
        // Three messages went before these, so five of them all are the first two of ours.
        #expect(describe(outbox.written(1, total: 5)) == ["1 written", "2 written"])
        let notices = outbox.ended(1, total: 6, inDoubt: 2, keeps: true)
        #expect(describe(notices) == ["3 written", "4 unknown", "5 unknown"])
        #expect(outbox.queuedCount == 1)
        #expect(outbox.ledger == .init(submitted: 6, written: 3, unknown: 2, pending: 1))
        outbox.open(2, accepted: 0)
        #expect(outbox.next()?.entry.id == 6)
    }

    @Test func idempotentMessagesOfUnknownFateAreSentAgainInOrder() {
        var outbox = Outbox(capacity: 10)
        outbox.open(1, accepted: 0)
        for id in 1...4 as ClosedRange<UInt64> { outbox.sentDirectly(entry(id, idempotent: id != 2)) }
        _ = outbox.ended(1, total: 0, inDoubt: 3, keeps: true)
        _ = outbox.offer(entry(5))
        #expect(outbox.ledger == .init(submitted: 5, unknown: 1, pending: 4))
        outbox.open(2, accepted: 0)
        var order: [UInt64] = []
        while let (entry, _) = outbox.next() {
            order.append(entry.id)
            _ = outbox.finishedSending(accepted: true)
        }
        #expect(order == [1, 3, 4, 5])
    }

    @Test func withoutAQueueWhatWasNotSentIsLostOutLoud() {
        var outbox = Outbox(capacity: 0)
        outbox.open(1, accepted: 0)
        for id in 1...3 as ClosedRange<UInt64> { outbox.sentDirectly(entry(id)) }
        _ = outbox.ended(1, total: 1, inDoubt: 1, keeps: true)
        #expect(outbox.ledger == .init(submitted: 3, written: 1, notSent: 1, unknown: 1))
        #expect(outbox.takeLost() == 2)
        #expect(outbox.takeLost() == 0)
    }

    @Test func theWriterPutsBackWhatAConnectionDidNotTake() {
        var outbox = Outbox(capacity: 10)
        outbox.open(1, accepted: 0)
        _ = outbox.offer(entry(1, waiter: 1))
        _ = outbox.offer(entry(2, waiter: 2))
        #expect(outbox.next()?.entry.id == 1)
        #expect(outbox.next() == nil, "one writer at a time")
        #expect(!outbox.canSendDirectly)
        // Kept by the queue: nobody has to wait for the next connection.
        #expect(describe(outbox.finishedSending(accepted: false)) == ["1 taken"])
        #expect(describe(outbox.closeActive()) == ["2 taken"])
        outbox.open(2, accepted: 0)
        #expect(outbox.next()?.entry.id == 1)
    }

    @Test func theEndMayOvertakeTheWriter() {
        var outbox = Outbox(capacity: 10)
        outbox.open(1, accepted: 0)
        _ = outbox.offer(entry(1, waiter: 1, outcome: true))
        _ = outbox.next()
        _ = outbox.ended(1, total: 0, inDoubt: 0, keeps: true)
        #expect(describe(outbox.finishedSending(accepted: true)) == ["1 unknown"])
        #expect(outbox.ledger.isBalanced)
    }

    @Test func theOperatingSystemMayBeFasterThanTheWriter() {
        var outbox = Outbox(capacity: 10)
        outbox.open(1, accepted: 0)
        _ = outbox.offer(entry(1, waiter: 1, outcome: true))
        _ = outbox.next()
        #expect(describe(outbox.written(1, total: 1)) == [])
        #expect(describe(outbox.finishedSending(accepted: true)) == ["1 written"])
    }

    @Test func cancellation() {
        var outbox = Outbox(capacity: 10)
        outbox.open(1, accepted: 0)
        for id in 1...2 as ClosedRange<UInt64> { _ = outbox.offer(entry(id, waiter: Int(id))) }
        _ = outbox.next()
        guard case .sending = outbox.cancel(id: 1), case .removed(2) = outbox.cancel(id: 2),
            case .gone = outbox.cancel(id: 3)
        else {
            Issue.record("cancel found something else")
            return
        }
        #expect(describe(outbox.finishedSending(accepted: false, cancelled: true)) == ["1 cancelled"])
        #expect(outbox.ledger == .init(submitted: 2, cancelled: 2))
    }

    @Test func theSessionsOwnMessagesAreNotInTheLedger() {
        var outbox = Outbox(capacity: 10)
        let control = Outbox.Entry(id: 1, message: .text("subscribe"), isControl: true)
        #expect(outbox.offer(control) == .notConnected)
        outbox.open(1, accepted: 0)
        #expect(outbox.offer(control) == .queued)
        _ = outbox.next()
        _ = outbox.finishedSending(accepted: true)
        #expect(outbox.offer(control) == .queued)
        _ = outbox.ended(1, total: 0, inDoubt: 0, keeps: true)
        #expect(outbox.queuedCount == 0)
        #expect(outbox.ledger == .init())
    }

    @Test func aMessageThatComesTooLateCountsAsNotSent() {
        var outbox = Outbox(capacity: 1)
        outbox.refuse()
        #expect(outbox.ledger == .init(submitted: 1, notSent: 1))
        #expect(outbox.ledger.isBalanced)
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func theLedgersSumsAgreeAfterAnyEvents(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var outbox = Outbox(capacity: random.below(4))
        var epoch = 0
        var accepted = 0
        var written = 0
        var ended: [Int: Int] = [:]
        for id in 1...300 as ClosedRange<UInt64> {
            let waiter = random.below(2) == 0 ? Int(id) : nil
            let message = entry(
                id, deadline: .seconds(Int(id) + random.below(20)), idempotent: random.below(2) == 0,
                waiter: waiter, outcome: random.below(2) == 0)
            var notices: [Outbox.Notice] = []
            switch random.below(10) {
            case 0 where !outbox.isConnected:
                epoch += 1
                (accepted, written) = (0, 0)
                outbox.open(epoch, accepted: 0)
            case 1 where outbox.isConnected:
                let doubt = random.below(accepted - written + 1)
                notices = outbox.ended(epoch, total: written, inDoubt: doubt, keeps: random.below(3) > 0)
            case 2, 3:
                if outbox.canSendDirectly {
                    outbox.sentDirectly(message)
                    accepted += 1
                }
            case 4, 5:
                if case .notConnected = outbox.offer(message), let waiter { ended[waiter, default: 0] += 1 }
            case 6:
                if outbox.next() != nil {
                    let takes = random.below(3) > 0
                    if takes { accepted += 1 }
                    notices = outbox.finishedSending(accepted: takes, cancelled: random.below(4) == 0)
                }
            case 7 where outbox.isConnected:
                written += random.below(accepted - written + 1)
                notices = outbox.written(epoch, total: written)
            case 8: notices = outbox.expire(at: .seconds(Int(id)))
            default: _ = outbox.cancel(id: id - UInt64(random.below(Int(id))))
            }
            for notice in notices {
                if case .ended(let waiter, _) = notice { ended[waiter, default: 0] += 1 }
                if case .taken(let waiter) = notice { ended[waiter, default: 0] += 1 }
            }
            try check(outbox.ledger.isBalanced, "\(outbox.ledger) at \(id)")
        }
        _ = outbox.finishAll()
        _ = outbox.ended(epoch, total: written, inDoubt: 0, keeps: false)
        try check(outbox.ledger.isBalanced && outbox.ledger.pending == 0, "\(outbox.ledger)")
        try check(ended.values.allSatisfy { $0 == 1 }, "somebody was told twice")
    }
}
