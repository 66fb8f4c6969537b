//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule

/// The messages that were given to a session and have not reached their outcome: queued, on their way to a connection,
/// or in a connection's buffer. Keeps the ledger, whose sums always agree.
package struct SessionOutbox<Waiter: Sendable>: Sendable {
    package struct Entry: Sendable {
        package let id: UInt64
        package let message: WebSocketMessage
        /// When it is no longer worth sending.
        package let deadline: Duration?
        /// May be sent again when it is not known whether it was.
        package let isIdempotent: Bool
        /// The session's own, such as a subscription: belongs to one connection and is not in the ledger.
        package let isControl: Bool
        /// An answer is awaited: which connection takes it is of interest.
        package let isRequest: Bool
        /// Told when the message is taken, or its outcome if it `wantsOutcome`.
        package var waiter: Waiter?
        package let wantsOutcome: Bool

        package init(
            id: UInt64, message: WebSocketMessage, deadline: Duration? = nil, isIdempotent: Bool = false,
            isControl: Bool = false, isRequest: Bool = false, waiter: Waiter? = nil, wantsOutcome: Bool = false
        ) {
            self.isRequest = isRequest
            self.id = id
            self.message = message
            self.deadline = deadline
            self.isIdempotent = isIdempotent
            self.isControl = isControl
            self.waiter = waiter
            self.wantsOutcome = wantsOutcome
        }
    }

    /// What became of messages. `submitted` is the sum of the others at any time.
    package struct Ledger: Sendable, Equatable {
        package var submitted = 0
        package var written = 0
        package var notSent = 0
        package var unknown = 0
        package var cancelled = 0
        package var dropped = 0
        package var pending = 0

        package var isBalanced: Bool { submitted == written + notSent + unknown + cancelled + dropped + pending }
    }

    /// A caller to be told.
    package enum Notice: Sendable {
        case taken(Waiter)
        case ended(Waiter, WebSocketSendOutcome)
    }

    /// A connection that messages were handed to.
    private struct Lane: Sendable {
        /// Messages that the connection has taken, of any kind.
        var accepted: Int
        /// Of these, those that the operating system has taken.
        var written = 0
        var inFlight: Deque<(number: Int, entry: Entry)> = []
    }

    private let capacity: Int
    private var queue: Deque<Entry> = []
    private var sending: (entry: Entry, epoch: Int)?
    private var lanes: [Int: Lane] = [:]
    private var active: Int?
    package private(set) var ledger = Ledger()
    /// Requests that a connection has taken since `takeRequests`.
    private var taken: [(id: UInt64, epoch: Int)] = []
    /// Messages whose outcome is `unknown` or `notSent` since `takeLost`.
    package private(set) var lost = 0

    /// - Parameter capacity: Messages that wait while there is no connection; 0 for none.
    package init(capacity: Int) { self.capacity = capacity }

    package var queuedCount: Int { queue.count }
    package var isFull: Bool { queue.count >= capacity }
    package var isConnected: Bool { active != nil }
    /// Whether the message waits, or is in the writer's hands.
    package func holds(id: UInt64) -> Bool { sending?.entry.id == id || queue.contains { $0.id == id } }
    package var canSendDirectly: Bool { active != nil && queue.isEmpty && sending == nil }
    package var nextDeadline: Duration? { queue.lazy.compactMap(\.deadline).min() }

    // MARK: Taking

    /// A message was given directly to the active connection, which took it.
    package mutating func sentDirectly(_ entry: Entry) {
        submit(entry)
        if let active { _ = accept(entry, on: active) }
    }

    package enum OfferAction: Sendable, Equatable {
        /// Waits for the writer.
        case queued
        /// Refused: there is no connection, and the queue is off.
        case notConnected
        /// Refused: the queue is full.
        case full
    }

    /// A message for later.
    package mutating func offer(_ entry: Entry) -> OfferAction {
        // The next connection subscribes everything anyway.
        if entry.isControl, active == nil { return .notConnected }
        submit(entry)
        if active == nil {
            guard capacity > 0 else {
                settle(entry, .notSent, keepsCount: true)
                return .notConnected
            }
            guard queue.count < capacity else {
                settle(entry, .dropped)
                return .full
            }
        }
        queue.append(entry)
        return .queued
    }

    /// A message that comes too late for anything.
    package mutating func refuse() {
        ledger.submitted += 1
        ledger.notSent += 1
    }

    /// The session's own message was given to a connection, the active one or one that is being replaced.
    package mutating func sentControl(_ message: WebSocketMessage, on epoch: Int) {
        _ = accept(Entry(id: 0, message: message, isControl: true), on: epoch)
    }

    private mutating func submit(_ entry: Entry) {
        guard !entry.isControl else { return }
        ledger.submitted += 1
        ledger.pending += 1
    }

    /// Takes the waiter of a queued entry that need not wait any more because the queue keeps the message.
    private mutating func takeWaiter(at index: Int) -> Notice? {
        guard !queue[index].wantsOutcome, let waiter = queue[index].waiter.take() else { return nil }
        return .taken(waiter)
    }

    // MARK: Writing

    /// The next message for the active connection, which the writer now has in its hands.
    package mutating func next() -> (entry: Entry, epoch: Int)? {
        guard let active, sending == nil, let entry = queue.popFirst() else { return nil }
        sending = (entry, active)
        return sending
    }

    /// The connection took the message, or did not because it is at its end or the writer was cancelled.
    package mutating func finishedSending(accepted: Bool, cancelled: Bool = false) -> [Notice] {
        guard let (entry, epoch) = sending.take() else { return [] }
        if !accepted { return cancelled ? finish(entry, .cancelled) : putBack(entry) }
        if lanes[epoch] == nil {
            // Taken, and then the connection was gone before this was noted.
            if entry.isIdempotent, capacity > 0 { return putBack(entry) }
            return finish(entry, .unknown)
        }
        return accept(entry, on: epoch)
    }

    private mutating func accept(_ entry: Entry, on epoch: Int) -> [Notice] {
        guard var lane = lanes[epoch] else { return [] }
        var entry = entry
        var notices: [Notice] = []
        if !entry.wantsOutcome, let waiter = entry.waiter.take() { notices = [.taken(waiter)] }
        lane.accepted += 1
        if entry.isRequest { taken.append((entry.id, epoch)) }
        if lane.accepted <= lane.written {
            notices += finish(entry, .written)
        } else {
            lane.inFlight.append((lane.accepted, entry))
        }
        lanes[epoch] = lane
        return notices
    }

    /// In the place that its age gives it.
    private mutating func putBack(_ entry: Entry) -> [Notice] {
        if entry.isControl { return [] }
        guard capacity > 0 else { return finish(entry, .notSent) }
        let index = queue.firstIndex { $0.id > entry.id } ?? queue.endIndex
        queue.insert(entry, at: index)
        return takeWaiter(at: index).map { [$0] } ?? []
    }

    // MARK: Connections

    /// Messages go to this connection from now on. It has taken `accepted` messages before.
    package mutating func open(_ epoch: Int, accepted: Int) {
        active = epoch
        lanes[epoch] = Lane(accepted: accepted)
    }

    /// No more messages go to the active connection. Those who wait for room need not, if the queue keeps theirs.
    package mutating func closeActive() -> [Notice] {
        active = nil
        queue.removeAll { $0.isControl }
        guard capacity > 0 else {
            defer { queue = [] }
            return queue.reduce(into: []) { notices, entry in notices += finish(entry, .notSent) }
        }
        return queue.indices.compactMap { takeWaiter(at: $0) }
    }

    /// The connection has handed this many messages to the operating system.
    package mutating func written(_ epoch: Int, total: Int) -> [Notice] {
        guard var lane = lanes[epoch] else { return [] }
        lane.written = max(lane.written, total)
        var notices: [Notice] = []
        while let first = lane.inFlight.first, first.number <= total {
            lane.inFlight.removeFirst()
            notices += finish(first.entry, .written)
        }
        lanes[epoch] = lane
        return notices
    }

    /// The connection ended after `total` messages; the fate of the next `inDoubt` ones is not known.
    package mutating func ended(_ epoch: Int, total: Int, inDoubt: Int, keeps: Bool) -> [Notice] {
        var notices = written(epoch, total: total)
        if active == epoch { notices += closeActive() }
        for (number, entry) in lanes.removeValue(forKey: epoch)?.inFlight ?? [] {
            let isInDoubt = number <= total + inDoubt
            if entry.isControl { continue }
            if keeps, capacity > 0, !isInDoubt || entry.isIdempotent {
                notices += putBack(entry)
            } else {
                notices += finish(entry, isInDoubt ? .unknown : .notSent)
            }
        }
        return notices
    }

    // MARK: Ending

    /// Messages that are no longer worth sending.
    package mutating func expire(at now: Duration) -> [Notice] {
        var notices: [Notice] = []
        let expired = queue.filter { $0.deadline.map { $0 <= now } ?? false }
        guard !expired.isEmpty else { return [] }
        queue.removeAll { $0.deadline.map { $0 <= now } ?? false }
        for entry in expired { notices += finish(entry, .notSent) }
        return notices
    }

    package enum CancelAction: Sendable {
        case removed(Waiter)
        /// The writer has it: cancel the writer.
        case sending
        /// Too late, or never there.
        case gone
    }

    /// The task that gave the message was cancelled.
    package mutating func cancel(id: UInt64) -> CancelAction {
        if sending?.entry.id == id { return .sending }
        guard let index = queue.firstIndex(where: { $0.id == id }) else { return .gone }
        let entry = queue.remove(at: index)
        settle(entry, .cancelled)
        return entry.waiter.map { .removed($0) } ?? .gone
    }

    /// The session ended: nothing that is queued will be sent.
    package mutating func finishAll() -> [Notice] {
        defer { queue = [] }
        active = nil
        return queue.reduce(into: []) { notices, entry in notices += finish(entry, .notSent) }
    }

    private mutating func finish(_ entry: Entry, _ outcome: WebSocketSendOutcome) -> [Notice] {
        settle(entry, outcome)
        return entry.waiter.map { [.ended($0, outcome)] } ?? []
    }

    private mutating func settle(_ entry: Entry, _ outcome: WebSocketSendOutcome, keepsCount: Bool = false) {
        guard !entry.isControl else { return }
        ledger.pending -= 1
        switch outcome {
        case .written: ledger.written += 1
        case .notSent: ledger.notSent += 1
        case .unknown: ledger.unknown += 1
        case .cancelled: ledger.cancelled += 1
        case .dropped: ledger.dropped += 1
        }
        if outcome == .unknown || outcome == .notSent, !keepsCount { lost += 1 }
    }

    /// Counts from zero; what is pending stays.
    package mutating func resetLedger() {
        let pending = ledger.pending
        ledger = Ledger()
        ledger.pending = pending
        ledger.submitted = pending
    }

    /// The requests that a connection has taken since the last call.
    package mutating func takeRequests() -> [(id: UInt64, epoch: Int)] {
        guard !taken.isEmpty else { return [] }
        defer { taken = [] }
        return taken
    }

    /// How many messages were lost since the last call.
    package mutating func takeLost() -> Int {
        defer { lost = 0 }
        return lost
    }
}
