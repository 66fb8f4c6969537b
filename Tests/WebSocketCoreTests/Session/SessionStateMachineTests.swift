//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing

@testable import WebSocketCore

private typealias Machine = SessionStateMachine<Int>

/// Plays everything around the machine and checks what must always hold.
private struct World: ~Copyable {
    var machine: Machine
    var now = Duration.zero
    /// Attempts that were asked for and have no answer.
    var attempts: [Int] = []
    /// Connections that have not ended.
    var live: [Int] = []
    var preparing: [Int] = []
    /// Of these, those that the machine let go.
    var dismissed: Set<Int> = []
    var questions: [(Machine.Question, Int)] = []
    /// What the policy was asked and has not answered.
    var decisions: [(cause: WebSocketReconnectPolicy.Cause, attempt: Int, decision: Int)] = []
    var lastEpoch = 0
    /// Where the attempts went.
    var endpoints: [Int] = []
    var ends = 0
    var activations = 0
    var disconnects = 0

    init(_ settings: Machine.Settings = .init()) { machine = Machine(settings: settings, seed: 7) }

    mutating func take(_ commands: [Machine.Command]) throws {
        for command in commands {
            switch command {
            case .connect(let epoch, let attempt):
                try check(epoch > lastEpoch, "epoch \(epoch) after \(lastEpoch)")
                try check(
                    (0..<machine.settings.endpointCount).contains(attempt.endpoint), "endpoint \(attempt.endpoint)")
                endpoints.append(attempt.endpoint)
                lastEpoch = epoch
                attempts.append(epoch)
                try check(attempts.count <= 1, "two attempts at a time: \(attempts)")
            case .cancelWork(let epoch):
                attempts.removeAll { $0 == epoch }
                preparing.removeAll { $0 == epoch }
            case .prepare(let epoch, let connection, _, _):
                try check(epoch == connection && live.contains(epoch), "prepares \(epoch), which is not there")
                preparing.append(epoch)
            case .activate(let epoch, let isReconnect, let gap):
                try check(isReconnect == (activations > 0), "isReconnect is \(isReconnect)")
                try check(gap == nil || isReconnect, "a gap before the first connection")
                try check(machine.openConnection?.0 == epoch, "activates \(epoch), which is not open")
                activations += 1
            case .handOver(let new, let old):
                try check(live.contains(new) && live.contains(old), "hands over between \(old) and \(new)")
            case .close(let connection, _), .abort(let connection): dismissed.insert(connection)
            case .ask(let question, let epoch): questions.append((question, epoch))
            case .decide(let cause, let attempt, let decision): decisions.append((cause, attempt, decision))
            case .disconnected: disconnects += 1
            case .alert, .rested: break
            case .ended: ends += 1
            }
        }
        try check(ends <= 1, "ended twice")
        try check((ends == 1) == (machine.publicState == .closed), "state \(machine.publicState)")
        if machine.publicState == .connected {
            try check(machine.openConnection.map { live.contains($0.0) } == true, "connected to nothing")
        }
        let isWaiting = machine.publicState == .reconnecting || machine.publicState == .connecting
        if isWaiting, attempts.isEmpty, preparing.isEmpty {
            try check(
                machine.nextDeadline != nil || !questions.isEmpty || !decisions.isEmpty,
                "waits for nothing in \(machine.publicState)")
        }
    }

    static let events: [(name: String, apply: @Sendable (inout World) throws -> Void)] = [
        ("start", { try $0.take($0.machine.start(at: $0.now)) }),
        (
            "connected",
            { world in
                guard let epoch = world.attempts.popLast() else { return }
                world.live.append(epoch)
                try world.take(world.machine.connected(epoch, epoch))
            }
        ),
        (
            "refused",
            { world in
                guard let epoch = world.attempts.popLast() else { return }
                let error = WebSocketError(.connectFailed, "refused")
                try world.take(world.machine.connectFailed(epoch, error, at: world.now))
            }
        ),
        (
            "prepared",
            { world in
                guard let epoch = world.preparing.popLast() else { return }
                try world.take(world.machine.prepared(epoch, isContinuous: false, at: world.now))
            }
        ),
        (
            "preparation failed",
            { world in
                guard let epoch = world.preparing.popLast() else { return }
                let error = WebSocketError(.timedOut, "slow")
                try world.take(world.machine.preparationFailed(epoch, error, at: world.now))
            }
        ),
        ("oldest ended", { world in if let epoch = world.live.first { try world.end(epoch) } }),
        ("newest ended", { world in if let epoch = world.live.last { try world.end(epoch) } }),
        (
            "time",
            { world in
                guard let next = world.machine.nextDeadline else { return }
                world.now = max(world.now, next)
                try world.take(world.machine.tick(at: world.now))
            }
        ),
        ("decide", { try $0.decide() }),
        ("yes", { try $0.answer(true) }),
        ("no", { try $0.answer(false) }),
        ("connect", { try $0.take($0.machine.connect(at: $0.now)) }),
        (
            "disconnect",
            { try $0.take($0.machine.disconnect(.userRequested, reconnectAfter: .seconds(5), at: $0.now) ?? []) }
        ),
        ("renew", { try $0.take($0.machine.renew(at: $0.now) ?? []) }),
        ("close", { try $0.take($0.machine.close(WebSocketCloseFrame(code: .normalClosure))) }),
        ("kill", { try $0.take($0.machine.kill()) }),
        ("silence", { try $0.take($0.machine.fellSilent()) }),
        ("shut down", { try $0.take($0.machine.shutDown(WebSocketCloseFrame(code: .normalClosure))) }),
        ("force close", { try $0.take($0.machine.abort()) }),
        (
            "schedule",
            { world in
                _ = world.machine.scheduleReconnect(at: world.now + .seconds(3))
                _ = world.machine.scheduleDisconnect(at: world.now + .seconds(3), reconnectAfter: nil)
            }
        ),
    ]

    mutating func end(_ epoch: Int) throws {
        live.removeAll { $0 == epoch }
        let info = WebSocketCloseInfo(received: nil, sent: nil, receivedFirst: nil, cause: .connectionLost)
        try take(machine.connectionEnded(epoch, info, at: now))
        preparing.removeAll { $0 == epoch }
    }

    mutating func decide() throws {
        guard !decisions.isEmpty else { return }
        let (cause, attempt, decision) = decisions.removeFirst()
        let answer = machine.settings.policy.answer(cause, attempt: attempt)
        try take(machine.decided(answer, decision, at: now))
    }

    mutating func answer(_ yes: Bool) throws {
        guard !questions.isEmpty else { return }
        let (question, epoch) = questions.removeFirst()
        switch question {
        case .disconnect: try take(machine.answeredDisconnect(yes, epoch, at: now))
        case .renew: try take(machine.answeredRenew(yes, epoch, at: now))
        case .reconnect: try take(machine.answeredReconnect(yes ? .now : .notYet, epoch, at: now))
        }
    }

    /// Whatever happened, a shutdown ends the session, and no connection is forgotten.
    mutating func finish() throws {
        try take(machine.shutDown(WebSocketCloseFrame(code: .normalClosure)))
        for epoch in live { try check(dismissed.contains(epoch), "connection \(epoch) was forgotten") }
        for epoch in live { try end(epoch) }
        try check(machine.publicState == .closed, "\(machine.publicState) after the end")
        try check(machine.nextDeadline == nil, "a deadline after the end")
        if let epoch = attempts.popLast() {
            live.append(epoch)
            try take(machine.connected(epoch, epoch))
            try check(dismissed.contains(epoch), "a late connection was kept")
        }
    }

    static func run(_ events: [Int], _ settings: Machine.Settings) throws {
        var world = World(settings)
        do {
            for event in events { try Self.events[event].apply(&world) }
            try world.finish()
        } catch {
            throw Mismatch(description: "\(error) in \(events.map { Self.events[$0].name })")
        }
    }
}

@Suite struct SessionStateMachineTests {
    private static func settings(_ variant: Int) -> Machine.Settings {
        var settings = Machine.Settings()
        settings.policy.maximumAttempts = 3
        switch variant {
        case 1:
            settings.asksToDisconnect = true
            settings.asksToReconnect = true
            settings.policy.strategy = .callbackControlled
        case 2:
            settings.maximumConnectionAge = .seconds(600)
            settings.makesBeforeBreaking = true
            settings.endpointCount = 2
        case 3:
            settings.maximumConnectionAge = .seconds(600)
            settings.asksToRenew = true
            settings.reconnectsAutomatically = false
        default: break
        }
        return settings
    }

    /// S5: every sequence of events in every state.
    @Test(arguments: 0..<4) func everySequenceOfEventsInEveryState(variant: Int) throws {
        let settings = Self.settings(variant)
        let names = World.events.map(\.name)
        // So that short sequences meet every state.
        let prefixes = [
            ["start"], ["start", "connected"], ["start", "connected", "prepared"],
            ["start", "connected", "prepared", "renew", "connected"],
            ["start", "connected", "prepared", "renew", "connected", "prepared"],
            ["start", "connected", "prepared", "oldest ended"],
            ["start", "connected", "prepared", "oldest ended", "decide"],
            ["start", "connected", "prepared", "disconnect"],
        ].map { $0.map { name in names.firstIndex(of: name)! } }
        let length = TestDepth.choose(3, reduced: 2)
        for prefix in prefixes {
            try forEachSequence(of: World.events.count, length: length) { try World.run(prefix + $0, settings) }
        }
    }

    /// S5: long random sequences.
    @Test(arguments: 0..<4) func longRandomSequences(variant: Int) throws {
        let settings = Self.settings(variant)
        // The last events end everything, so they are rare.
        let rare = Set(["shut down", "force close"].map { name in World.events.firstIndex { $0.name == name }! })
        for seed in 0..<TestDepth.choose(300, reduced: 30) as Range<UInt64> {
            var random = SplitMix64(seed: seed)
            let events = (0..<150).map { _ in
                var event = random.below(World.events.count)
                if rare.contains(event), random.below(20) > 0 { event = 1 }
                return event
            }
            try World.run(events, settings)
        }
    }

    /// A machine with an open connection.
    private func open(_ settings: Machine.Settings = .init()) throws -> World {
        var world = World(settings)
        for name in ["start", "connected", "prepared"] { try world.apply(name) }
        return world
    }

    @Test func theStatesThatUsersSee() throws {
        var world = World()
        #expect(world.machine.publicState == .disconnected)
        try world.apply("start")
        #expect(world.machine.publicState == .connecting)
        try world.apply("connected")
        #expect(world.machine.publicState == .connecting)
        try world.apply("prepared")
        #expect(world.machine.publicState == .connected)
        try world.apply("oldest ended")
        #expect(world.machine.publicState == .reconnecting)
        try world.apply("decide")
        #expect(world.machine.publicState == .reconnecting)
        try world.apply("time")
        try world.apply("connected")
        #expect(world.machine.publicState == .reconnecting)
        try world.apply("prepared")
        try world.apply("close")
        #expect(world.machine.publicState == .closing)
        try world.apply("oldest ended")
        #expect(world.machine.publicState == .disconnected)
        try world.apply("connect")
        #expect(world.machine.publicState == .connecting)
        try world.apply("force close")
        #expect(world.machine.publicState == .closed)
    }

    @Test func eachEndOfAConnectionHasItsReason() {
        func reason(_ cause: WebSocketCloseInfo.Cause) -> WebSocketDisconnectReason {
            Machine.reason(WebSocketCloseInfo(received: nil, sent: nil, receivedFirst: nil, cause: cause))
        }
        #expect(reason(.closingHandshake) == .serverClosed)
        #expect(reason(.connectionLost) == .networkError)
        #expect(reason(.pingTimeout) == .pingTimeout)
        #expect(reason(.peerViolation) == .protocolError)
        #expect(Machine.reason(nil) == .networkError)
    }

    @Test func theLimitIsTheAgeMinusTheMarginAndAtLeastHalf() throws {
        var settings = Machine.Settings()
        settings.maximumConnectionAge = .seconds(1_000)
        settings.disconnectMargin = .seconds(300)
        #expect(try open(settings).machine.nextDeadline == .seconds(700))
        settings.disconnectMargin = .seconds(900)
        #expect(try open(settings).machine.nextDeadline == .seconds(500))
    }

    @Test func aFailedRenewalIsTriedAgainWhileTheOldConnectionLasts() throws {
        var settings = Machine.Settings()
        settings.maximumConnectionAge = .seconds(1_000)
        settings.disconnectMargin = .seconds(300)
        settings.makesBeforeBreaking = true
        settings.policy.strategy = .fixed(.seconds(10))
        var world = try open(settings)
        try world.apply("time")
        #expect(world.attempts == [2])
        try world.apply("refused")
        try world.apply("decide")
        #expect(world.machine.publicState == .connected)
        #expect(world.machine.nextDeadline == .seconds(710))
        try world.apply("time")
        #expect(world.attempts == [3])
        // The old connection dies first: its successor takes its place.
        try world.apply("oldest ended")
        #expect(world.machine.publicState == .reconnecting)
        #expect(world.attempts == [3])
        try world.apply("connected")
        try world.apply("prepared")
        #expect(world.machine.openConnection?.0 == 3)
    }

    /// With the connection lost meanwhile, the renewal is the attempt to reconnect, and goes on from where it is.
    @Test func aRenewalThatIsLeftAloneGoesOnWithItsEndpoint() throws {
        var settings = Machine.Settings()
        settings.endpointCount = 3
        var world = try open(settings)
        try world.apply("renew")
        try world.apply("refused")
        try world.apply("oldest ended")
        #expect(world.machine.publicState == .reconnecting)
        try world.apply("refused")
        #expect(world.endpoints == [0, 0, 1, 2])
        try world.apply("connected")
        try world.apply("prepared")
        #expect(world.machine.publicState == .connected)
    }

    @Test func anAnswerForAConnectionThatIsGoneCountsForNothing() throws {
        var settings = Machine.Settings()
        settings.asksToDisconnect = true
        var world = try open(settings)
        try world.apply("time")
        #expect(world.questions.count == 1)
        try world.apply("oldest ended")
        for name in ["decide", "time", "connected", "prepared", "yes"] { try world.apply(name) }
        #expect(world.machine.publicState == .connected)
    }

    @Test func aDecisionThatComesTooLateCountsForNothing() throws {
        var world = try open()
        try world.apply("oldest ended")
        #expect(world.decisions.count == 1)
        try world.apply("close")
        try world.apply("decide")
        #expect(world.machine.publicState == .disconnected)
        #expect(world.attempts.isEmpty && world.machine.nextDeadline == nil)
        // Somebody wants a connection at once: the answer to the older question does not delay it.
        var hurried = try open()
        for name in ["oldest ended", "connect", "decide"] { try hurried.apply(name) }
        #expect(hurried.attempts == [2])
    }

    @Test func proactiveReasons() {
        let proactive = WebSocketDisconnectReason.allCases.filter(\.isProactive)
        #expect(proactive == [.userRequested, .scheduled, .callbackTriggered, .connectionLimit])
    }

    @Test func whatStatesAllow() {
        #expect(WebSocketSessionState.allCases.filter(\.canConnect) == [.disconnected, .reconnecting])
        #expect(WebSocketSessionState.allCases.filter(\.canSend) == [.connected])
        #expect(WebSocketSessionState.allCases.filter(\.isTerminal) == [.closed])
    }
}

extension World {
    fileprivate mutating func apply(_ name: String) throws {
        try Self.events.first { $0.name == name }!.apply(&self)
    }
}
