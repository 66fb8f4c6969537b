//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketCore

@Suite struct ConnectionStateMachineTests {
    typealias Machine = ConnectionStateMachine

    static let ours = WebSocketCloseFrame(code: .normalClosure, reason: "ours")
    static let theirs = WebSocketCloseFrame(code: .goingAway, reason: "theirs")
    static let broken = WebSocketCloseFrame(code: .protocolError, reason: "broken")

    enum Event: Int, CaseIterable {
        case close, peerClosed, violation, abort, pingTimeout, closeTimedOut, transportEnded, answer
    }

    /// What the machine answered, in one type for all events.
    enum Answer: Equatable {
        case send, join, answerSoon, reply, end, endWithFrame, ignore, outcome, nothing
    }

    enum Phase: Int, CaseIterable { case open, answering, closing, ending, closed }

    /// RFC 6455 §7 as a table: a row for each phase, a column for each event in the order of their cases.
    static let table: [[(Answer, Phase)]] = [
        // close, peerClosed, violation, abort, pingTimeout, closeTimedOut, transportEnded, answer
        [
            (.send, .closing), (.answerSoon, .answering), (.endWithFrame, .ending), (.end, .ending),
            (.endWithFrame, .ending), (.ignore, .open), (.outcome, .closed), (.nothing, .open),
        ],
        [
            (.join, .answering), (.ignore, .answering), (.endWithFrame, .ending), (.end, .ending),
            (.endWithFrame, .ending), (.ignore, .answering), (.outcome, .closed), (.reply, .ending),
        ],
        [
            (.join, .closing), (.end, .ending), (.end, .ending), (.end, .ending), (.end, .ending), (.end, .ending),
            (.outcome, .closed), (.nothing, .closing),
        ],
        [
            (.join, .ending), (.ignore, .ending), (.ignore, .ending), (.ignore, .ending), (.ignore, .ending),
            (.end, .ending), (.outcome, .closed), (.nothing, .ending),
        ],
        [
            (.join, .closed), (.ignore, .closed), (.ignore, .closed), (.ignore, .closed), (.ignore, .closed),
            (.ignore, .closed), (.nothing, .closed), (.nothing, .closed),
        ],
    ]

    /// A machine, what was seen of it from outside, and what the table says.
    struct Run: ~Copyable {
        var machine = Machine()
        var phase = Phase.open
        var sent: WebSocketCloseFrame?
        var received: WebSocketCloseFrame?
        var receivedFirst: Bool?
        var cause: WebSocketCloseInfo.Cause?
        var outcomes = 0

        private mutating func sending(_ frame: WebSocketCloseFrame) throws(Mismatch) {
            try check(sent == nil, "a second close frame")
            sent = frame
        }

        private mutating func answer(to event: Event) throws(Mismatch) -> Answer {
            switch event {
            case .close:
                switch machine.close(ConnectionStateMachineTests.ours) {
                case .send(let frame):
                    try check(frame == ConnectionStateMachineTests.ours, "another frame")
                    try sending(frame)
                    return .send
                case .join: return .join
                }
            case .peerClosed:
                switch machine.peerClosed(ConnectionStateMachineTests.theirs) {
                case .answerSoon:
                    received = ConnectionStateMachineTests.theirs
                    return .answerSoon
                case .end:
                    received = ConnectionStateMachineTests.theirs
                    receivedFirst = false
                    return .end
                case .ignore: return .ignore
                }
            case .violation: return try answer(machine.fail(ConnectionStateMachineTests.broken, cause: .peerViolation))
            case .abort: return try answer(machine.fail(nil, cause: .aborted))
            case .pingTimeout: return try answer(machine.fail(ConnectionStateMachineTests.broken, cause: .pingTimeout))
            case .closeTimedOut: return try answer(machine.closeTimedOut(isWritten: true))
            case .answer:
                guard let frame = machine.answer() else { return .nothing }
                try check(frame == WebSocketCloseFrame(code: ConnectionStateMachineTests.theirs.code), "reply")
                receivedFirst = true
                try sending(frame)
                return .reply
            case .transportEnded:
                guard let info = machine.transportEnded(isCloseWritten: true, unsentMessages: 3, droppedMessages: 2)
                else { return .nothing }
                outcomes += 1
                let expected = WebSocketCloseInfo(
                    received: received, sent: sent, receivedFirst: receivedFirst, cause: cause ?? .connectionLost,
                    unsentMessages: 3, droppedMessages: 2)
                try check(info == expected, "\(info) instead of \(expected)")
                return .outcome
            }
        }

        private mutating func answer(_ action: Machine.FailAction) throws(Mismatch) -> Answer {
            switch action {
            case .end(let frame?):
                try check(frame == ConnectionStateMachineTests.broken, "another frame")
                if received != nil { receivedFirst = true }
                try sending(frame)
                return .endWithFrame
            case .end(nil): return .end
            case .ignore: return .ignore
            }
        }

        mutating func perform(_ event: Event) throws(Mismatch) {
            let (expected, next) = ConnectionStateMachineTests.table[phase.rawValue][event.rawValue]
            let answer = try answer(to: event)
            try check(answer == expected, "\(phase) \(event): \(answer) instead of \(expected)")
            // The first event that ends the connection is its cause.
            if next == .ending && phase != .ending {
                cause =
                    switch event {
                    case .peerClosed, .answer: .closingHandshake
                    case .violation: .peerViolation
                    case .abort: .aborted
                    case .pingTimeout: .pingTimeout
                    default: .closeTimeout
                    }
            }
            phase = next
            try check(machine.canSend == (phase == .open || phase == .answering), "canSend in \(phase)")
            try check(machine.canReceive == (phase == .open || phase == .closing), "canReceive in \(phase)")
            try check(machine.isClosed == (phase == .closed), "isClosed in \(phase)")
            try check(outcomes == (phase == .closed ? 1 : 0), "\(outcomes) outcomes")
        }
    }

    static let prefixes: [[Event]] = [
        [], [.close], [.peerClosed], [.peerClosed, .answer], [.violation], [.abort], [.transportEnded],
    ]

    /// Every sequence of six events from `open`, and of five from every other way to a phase.
    @Test(arguments: prefixes) func allSequences(after prefix: [Event]) throws {
        let length = (prefix.isEmpty ? 6 : 5) - TestDepth.choose(0, reduced: 2)
        try forEachSequence(of: Event.allCases.count, length: length) { numbers in
            var run = Run()
            do throws(Mismatch) {
                for event in prefix { try run.perform(event) }
                for number in numbers { try run.perform(Event.allCases[number]) }
                // However it went: the transport's end gives the outcome, if it was not given before.
                try run.perform(.transportEnded)
                try check(run.phase == .closed && run.outcomes == 1, "no outcome")
            } catch {
                throw Mismatch(description: "\(prefix + numbers.map { Event.allCases[$0] }): \(error)")
            }
        }
    }

    @Test func aFreshConnectionIsOpen() {
        let machine = Machine()
        #expect(machine.canSend && machine.canReceive && !machine.isClosed)
    }

    /// An empty close frame is answered with an empty one, and is a normal end.
    @Test func theReplyToAnEmptyCloseIsEmpty() {
        var machine = Machine()
        let frame = WebSocketCloseFrame(code: .noStatusReceived)
        #expect(machine.peerClosed(frame) == .answerSoon)
        #expect(machine.answer()?.payload.isEmpty == true)
        let info = machine.transportEnded(isCloseWritten: true, unsentMessages: 0, droppedMessages: 0)
        #expect(info?.isNormal == true && info?.receivedFirst == true)
    }

    /// The reply repeats the code and not the reason (RFC 6455 §5.5.1).
    @Test(arguments: [1000, 1001, 1002, 1011, 3000, 4999] as [UInt16])
    func theReplyRepeatsTheCode(_ code: UInt16) {
        var machine = Machine()
        let frame = WebSocketCloseFrame(code: .init(rawValue: code), reason: "why")
        #expect(machine.peerClosed(frame) == .answerSoon)
        #expect(machine.answer() == .init(code: .init(rawValue: code)))
    }

    @Test func bothSidesCloseAtOnce() {
        var machine = Machine()
        #expect(machine.close(Self.ours) == .send(Self.ours))
        #expect(machine.canReceive && !machine.canSend)
        #expect(machine.peerClosed(Self.theirs) == .end)
        let info = machine.transportEnded(isCloseWritten: true, unsentMessages: 2, droppedMessages: 0)
        #expect(
            info
                == WebSocketCloseInfo(
                    received: Self.theirs, sent: Self.ours, receivedFirst: false, cause: .closingHandshake,
                    unsentMessages: 2))
        #expect(machine.transportEnded(isCloseWritten: true, unsentMessages: 0, droppedMessages: 0) == nil)
    }

    /// `close` is bounded twice: what was sent before may not go out, or the peer may not answer.
    @Test(arguments: [true, false])
    func theBoundThatEndedTheCloseIsNamed(isWritten: Bool) throws {
        var machine = Machine()
        _ = machine.close(Self.ours)
        #expect(machine.closeTimedOut(isWritten: isWritten) == .end(nil))
        let ended = machine.transportEnded(isCloseWritten: isWritten, unsentMessages: 0, droppedMessages: 0)
        let info = try #require(ended)
        #expect(info.cause == (isWritten ? .closeTimeout : .flushTimeout))
        #expect(info.sent == (isWritten ? Self.ours : nil), "told is what was sent")
    }

    @Test(arguments: [true, false])
    func anAnswerThatWasNotWrittenIsNotTold(isWritten: Bool) throws {
        var machine = Machine()
        _ = machine.peerClosed(Self.theirs)
        let answer = machine.answer()
        #expect(machine.closeTimedOut(isWritten: isWritten) == .end(nil))
        let ended = machine.transportEnded(isCloseWritten: isWritten, unsentMessages: 0, droppedMessages: 0)
        let info = try #require(ended)
        #expect(info.received == Self.theirs && info.sent == (isWritten ? answer : nil))
        #expect(info.receivedFirst == (isWritten ? true : nil))
        #expect(info.cause == (isWritten ? .closingHandshake : .flushTimeout))
    }
}
