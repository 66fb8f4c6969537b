//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore

@Suite struct ServerUpgradeMachineTests {
    typealias Machine = ServerUpgradeMachine

    enum Event: Int, CaseIterable {
        case begin, proxyHeader, clientHello, secured, handshake, plainRequest, malformed, counted, overcounted, accept,
            refuse, wrote, established, left, timedOut, stopped, cancelled, abandoned
    }

    /// The machine's states; `deciding` twice, because only a WebSocket client is waited for to leave.
    enum Stage: Int, CaseIterable {
        case accepted, proxyHeader, clientHello, tls, request, judgingProxy, judgingRequest, decidingUpgrade,
            decidingPlain, writing, lingering, upgrading, adopted, refused
    }

    enum Kind: Equatable {
        case wait, secure, count, decide, upgrade
        case respond(Int)
        case end(WebSocketError.Code)
        case established
    }

    static let own = WebSocketError(.resourceExhausted, "the test's own")

    /// What each event does in each state. What is not named does nothing.
    static let table: [Stage: [Event: (Kind, Stage)]] = {
        var table: [Stage: [Event: (Kind, Stage)]] = [
            .accepted: [.begin: (.wait, .proxyHeader)],
            .proxyHeader: [.proxyHeader: (.count, .judgingProxy)],
            .clientHello: [.clientHello: (.secure, .tls)],
            .tls: [.secured: (.wait, .request)],
            .request: [
                .handshake: (.count, .judgingRequest), .plainRequest: (.count, .judgingRequest),
                .malformed: (.respond(400), .writing),
            ],
            .judgingProxy: [.counted: (.wait, .clientHello), .overcounted: (.wait, .clientHello)],
            .judgingRequest: [.counted: (.decide, .decidingUpgrade), .overcounted: (.respond(429), .writing)],
            .decidingUpgrade: [
                .accept: (.upgrade, .upgrading), .refuse: (.respond(404), .writing),
                .timedOut: (.respond(503), .writing), .stopped: (.respond(503), .writing),
                .cancelled: (.respond(503), .writing),
            ],
            .decidingPlain: [
                .accept: (.respond(426), .writing), .refuse: (.respond(404), .writing),
                .timedOut: (.respond(503), .writing), .stopped: (.respond(503), .writing),
                .cancelled: (.respond(503), .writing),
            ],
            .writing: [.wrote: (.wait, .lingering), .timedOut: (.end(.connectionClosed), .refused)],
            .lingering: [.timedOut: (.end(.connectionClosed), .refused)],
            .upgrading: [
                .established: (.established, .adopted), .timedOut: (.end(.timedOut), .refused),
                .cancelled: (.end(.cancelled), .refused),
            ],
            .adopted: [:],
            .refused: [:],
        ]
        for stage in [Stage.accepted, .proxyHeader, .clientHello, .tls, .request, .judgingProxy, .judgingRequest] {
            table[stage]?[.timedOut] = (.end(.timedOut), .refused)
            table[stage]?[.stopped] = (.end(.shutDown), .refused)
            table[stage]?[.cancelled] = (.end(.cancelled), .refused)
        }
        for stage in Stage.allCases where stage != .adopted && stage != .refused {
            table[stage]?[.left] = (.end(.connectionClosed), .refused)
            table[stage]?[.abandoned] = (.end(.resourceExhausted), .refused)
        }
        return table
    }()

    /// A machine, what was seen of it, and what the table says of it.
    struct Run {
        var machine: Machine
        var stage = Stage.accepted
        var isOvercounted = false
        var isPlain = false
        var responses = 0
        var decisions = 0
        var ends = 0

        init() {
            var rules = Machine.Rules()
            rules.expectsProxyHeader = true
            rules.usesTLS = true
            rules.isFromTrustedProxy = true
            rules.trust.ranges = [AddressRange("10.0.0.0/8")!]
            machine = Machine(rules)
        }

        init(at stage: Stage) throws {
            self.init()
            let way: [Event] = [
                .begin, .proxyHeader, .counted, .clientHello, .secured,
                stage == .decidingPlain ? .plainRequest : .handshake, .counted,
            ]
            let end: [Event] =
                switch stage {
                case .writing: [.refuse]
                case .lingering: [.refuse, .wrote]
                case .upgrading: [.accept]
                case .adopted: [.accept, .established]
                case .refused: [.left]
                case .accepted, .proxyHeader, .clientHello, .tls, .request, .judgingProxy, .judgingRequest,
                    .decidingUpgrade, .decidingPlain:
                    []
                }
            for event in way + end where self.stage != stage { try step(event) }
            try check(self.stage == stage, "there is no way to \(stage)")
        }

        private mutating func feed(_ event: Event) throws -> Kind {
            switch event {
            case .begin: return try kind(machine.begin())
            case .proxyHeader:
                let bytes = Array("PROXY TCP4 10.0.0.9 10.0.0.1 4000 443\r\nbehind".utf8)
                let result = withExactBytes(bytes) { machine.peeked(proxyHeader: $0) }
                try check(result.taken == (stage == .proxyHeader ? bytes.count - 6 : 0), "\(result.taken) are taken")
                return try kind(result.action)
            case .clientHello: return try kind(withExactBytes(Self.hello) { machine.peeked(clientHello: $0) })
            case .secured: return try kind(machine.secured())
            case .handshake: return try read(Self.handshake)
            case .plainRequest: return try read(Self.plain)
            case .malformed: return try read(Array("GET\r\n\r\n".utf8))
            case .counted: return try kind(machine.counted(isAdmitted: true))
            case .overcounted: return try kind(machine.counted(isAdmitted: false))
            case .accept: return try kind(machine.decided(nil))
            case .refuse: return try kind(machine.decided(PlainResponse(.notFound)))
            case .wrote: return try kind(machine.wrote())
            case .established: return machine.established() ? .established : .wait
            case .left: return try kind(machine.peerEnded())
            case .timedOut: return try kind(machine.timedOut())
            case .stopped: return try kind(machine.stopped())
            case .cancelled: return try kind(machine.cancelled())
            case .abandoned: return try kind(machine.abandoned(ServerUpgradeMachineTests.own))
            }
        }

        private mutating func read(_ bytes: [UInt8]) throws -> Kind {
            let result = withExactBytes(bytes + Array("behind".utf8)) { machine.received($0) }
            let isTaken = stage == .request
            // What is refused is taken whole: there is no telling where it ends.
            let all = result.action != .wait && bytes.count < 10 ? bytes.count + 6 : bytes.count
            try check(result.taken == (isTaken ? all : 0), "\(result.taken) of \(bytes.count) are taken")
            return try kind(result.action)
        }

        private func kind(_ action: Machine.Action) throws -> Kind {
            switch action {
            case .wait: return .wait
            case .secure: return .secure
            case .count(let address, let port):
                try check(
                    [address, "\(port)"] == (stage == .proxyHeader ? ["10.0.0.9", "4000"] : ["7.7.7.7", "0"]), "")
                return .count
            case .decide: return .decide
            case .respond(let response, let bytes):
                try check(
                    String(decoding: bytes, as: UTF8.self).hasPrefix("HTTP/1.1 \(response.status) "), "other bytes")
                return .respond(response.status)
            case .upgrade(let upgrade):
                try check(upgrade.key == "dGhlIHNhbXBsZSBub25jZQ==", "another key")
                return .upgrade
            case .end(let error): return .end(error.code)
            }
        }

        mutating func step(_ event: Event) throws {
            var (wanted, next) = ServerUpgradeMachineTests.table[stage]?[event] ?? (.wait, stage)
            if stage == .request, event == .plainRequest || event == .handshake { isPlain = event == .plainRequest }
            if stage == .judgingProxy, event == .overcounted { isOvercounted = true }
            if stage == .judgingRequest, event == .counted, isPlain { next = .decidingPlain }
            if stage == .judgingRequest, event == .counted, isOvercounted {
                (wanted, next) = (.respond(429), .writing)
            }
            let seen = try feed(event)
            try check(seen == wanted, "\(event) in \(stage): \(seen) instead of \(wanted)")
            stage = next
            try check(machine.state == state, "\(machine.state) behind \(event), not \(next)")
            switch seen {
            case .respond, .upgrade: responses += 1
            case .decide: decisions += 1
            case .end: ends += 1
            case .wait, .secure, .count, .established: break
            }
            try keepsItsPromises()
        }

        private func keepsItsPromises() throws {
            try check(responses <= 1, "answered \(responses) times")
            try check(decisions <= 1, "decided \(decisions) times")
            try check(ends == (stage == .refused ? 1 : 0), "ended \(ends) times in \(stage)")
            let isOver = stage == .adopted || stage == .refused
            try check(machine.isOver == isOver, "over: \(machine.isOver)")
            try check((machine.deadline == nil) == isOver, "the deadline in \(stage) is \(machine.deadline as Any)")
            // Where a peer is awaited there is a deadline, and where neither it nor the server is, there is an end.
            if machine.awaits != .nothing { try check(machine.deadline != nil, "it waits without a deadline") }
            let waitsForUs: [Stage] = [.accepted, .judgingProxy, .judgingRequest, .decidingPlain, .upgrading]
            try check((machine.awaits == .nothing) == (isOver || waitsForUs.contains(stage)), "\(machine.awaits)")
            // Time ends it whatever else does not come.
            var late = machine
            var turns = 0
            while !late.isOver {
                turns += 1
                try check(turns <= 3, "it does not end with time")
                if case .respond = late.timedOut() { _ = late.wrote() }
            }
        }

        private var state: Machine.State {
            switch stage {
            case .accepted: .accepted
            case .proxyHeader: .reading(.proxyHeader)
            case .clientHello: .reading(.clientHello)
            case .tls: .reading(.handshake)
            case .request: .reading(.request)
            case .judgingProxy: .judging(.proxyHeader)
            case .judgingRequest: .judging(.request)
            case .decidingUpgrade, .decidingPlain: .deciding
            case .writing: .answering(.writing)
            case .lingering: .answering(.lingering)
            case .upgrading: .upgrading
            case .adopted: .adopted
            case .refused: .refused
            }
        }

        static let hello: [UInt8] = [22, 3, 1, 0, 5, 1, 0, 0, 1, 0]
        static let plain = Array("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 7.7.7.7\r\n\r\n".utf8)
        static let handshake = Array(
            ("GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 7.7.7.7\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").utf8)
    }

    @Test(arguments: Stage.allCases) func everyEventInEveryState(stage: Stage) throws {
        for event in Event.allCases {
            var run = try Run(at: stage)
            try run.step(event)
        }
    }

    @Test(arguments: Stage.allCases) func everySequenceOfThreeFromEveryState(stage: Stage) throws {
        let start = try Run(at: stage)
        for first in Event.allCases {
            var one = start
            try one.step(first)
            for second in Event.allCases {
                var two = one
                try two.step(second)
                for third in Event.allCases {
                    var three = two
                    try three.step(third)
                }
            }
        }
    }

    /// Those that lead on are drawn more often, or few would come far.
    @Test(arguments: 1...8 as ClosedRange<UInt64>) func longSequencesOfAnyEvents(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var reached: Set<Stage> = []
        for _ in 0..<400 {
            var run = Run()
            for _ in 0..<60 {
                let onwards = Self.table[run.stage]?.keys.filter { $0.rawValue < Event.left.rawValue } ?? []
                let event =
                    random.below(4) > 0 && !onwards.isEmpty
                    ? onwards.sorted { $0.rawValue < $1.rawValue }[random.below(onwards.count)]
                    : Event.allCases[random.below(random.below(10) == 0 ? 18 : Event.left.rawValue)]
                try run.step(event)
                reached.insert(run.stage)
            }
        }
        #expect(reached.count >= 13)
    }

    /// However it is cut, by a caller that reads and by one that only looks.
    @Test func theRequestEndsAtTheSameByteHoweverItIsCut() throws {
        let bytes = Run.handshake
        for size in 1...bytes.count {
            var run = try Run(at: .request)
            var action = Machine.Action.wait
            for start in stride(from: 0, to: bytes.count, by: size) {
                let piece = bytes[start..<min(start + size, bytes.count)]
                try check(action == .wait, "\(action) before the end")
                let result = withExactBytes(piece) { run.machine.received($0) }
                try check(result.taken == piece.count, "\(result.taken) of \(piece.count)")
                action = result.action
            }
            try check(action == .count(address: "7.7.7.7", port: 0), "\(action) with \(size)")
            try check(run.machine.head == bytes, "other bytes are kept")
        }
    }

    @Test func bytesThatArePeekedStayUntilTheyAreWhole() throws {
        let header = Array("PROXY TCP4 10.0.0.9 10.0.0.1 4000 443\r\n".utf8)
        var run = try Run(at: .proxyHeader)
        for count in 1..<header.count {
            let result = withExactBytes(header[..<count]) { run.machine.peeked(proxyHeader: $0) }
            try check(result.taken == 0 && result.action == .wait, "\(result) at \(count)")
        }
        run = try Run(at: .clientHello)
        for count in 1..<Run.hello.count {
            let action = withExactBytes(Run.hello[..<count]) { run.machine.peeked(clientHello: $0) }
            try check(action == .wait, "\(action) at \(count)")
        }
        #expect(withExactBytes(Run.hello) { run.machine.peeked(clientHello: $0) } == .secure)
    }

    @Test func whatIsNoProxyHeaderOrComesFromOthersEndsIt() throws {
        for (text, isTrusted) in [("GET / HTTP/1.1\r\n", true), ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", false)] {
            var rules = Machine.Rules()
            rules.expectsProxyHeader = true
            rules.isFromTrustedProxy = isTrusted
            var machine = Machine(rules)
            _ = machine.begin()
            let result = withExactBytes(Array(text.utf8)) { machine.peeked(proxyHeader: $0) }
            #expect(result.taken == 0 && result.action == .end(Machine.badProxyHeader))
        }
    }

    /// A client that a proxy speaks for is no proxy itself, unless its own address is trusted.
    @Test func aProxiedClientIsBelievedOnlyIfItsAddressIsTrusted() throws {
        var run = try Run(at: .proxyHeader)
        let header = Array("PROXY TCP4 6.6.6.6 10.0.0.1 4000 443\r\n".utf8)
        _ = withExactBytes(header) { run.machine.peeked(proxyHeader: $0) }
        _ = run.machine.counted(isAdmitted: true)
        _ = withExactBytes(Run.hello) { run.machine.peeked(clientHello: $0) }
        _ = run.machine.secured()
        guard case .decide(let request) = withExactBytes(Run.handshake, { run.machine.received($0) }).action else {
            throw Mismatch(description: "there is nothing to decide")
        }
        #expect(request.isSecure == false && request.host == "a" && request.head.target == "/a")
    }

    @Test func aRefusalFromTheBeginningIsTheResponseToWhateverIsAsked() throws {
        for text in [Run.handshake, Run.plain] {
            var machine = Machine(Machine.Rules())
            #expect(machine.begin(refusal: .unavailable) == .wait)
            guard case .respond(let response, _) = withExactBytes(text, { machine.received($0) }).action else {
                throw Mismatch(description: "no response")
            }
            #expect(response.status == 503)
        }
    }

    @Test func aRequestThatWasReadElsewhereIsJudgedAtOnce() throws {
        var machine = Machine(Machine.Rules())
        let head = HTTPRequestHead(method: "GET", target: "http://b/c", fields: [.hostField: "a"])
        guard case .decide(let request) = machine.begin(with: head) else {
            throw Mismatch(description: "there is nothing to decide")
        }
        #expect(request.host == "b" && request.head.target == "/c" && machine.isTargetRewritten)
        #expect(machine.begin(with: head) == .wait)
        // A plain request's client may have said all it has to say, and is not waited for.
        #expect(machine.awaits == .nothing)
    }

    @Test func aHEADRequestGetsNoBody() throws {
        var machine = Machine(Machine.Rules())
        _ = machine.begin()
        _ = withExactBytes(Array("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)) { machine.received($0) }
        guard case .respond(_, let bytes) = machine.decided(PlainResponse(status: 200, body: [1, 2, 3])) else {
            throw Mismatch(description: "no response")
        }
        #expect(String(decoding: bytes, as: UTF8.self).hasSuffix("Content-Length: 3\r\n\r\n"))
    }
}

@Suite struct ClientHelloTests {
    private func look(_ bytes: [UInt8]) -> ClientHello.Progress { withExactBytes(bytes) { ClientHello.look($0) } }

    private func hello(_ size: Int, record: Int = 16_384) -> [UInt8] {
        let message =
            [1, UInt8(size >> 16), UInt8(size >> 8 & 0xFF), UInt8(size & 0xFF)] + [UInt8](repeating: 7, count: size)
        return stride(from: 0, to: message.count, by: record).flatMap { start in
            let part = message[start..<min(start + record, message.count)]
            return [22, 3, 1, UInt8(part.count >> 8), UInt8(part.count & 0xFF)] + part
        }
    }

    @Test(arguments: [0, 1, 517, 2_000, 12_000], [1, 3, 4, 5, 1_000, 16_384])
    func itIsCompleteWithItsLastByteAndNotBefore(size: Int, record: Int) throws {
        let bytes = hello(size, record: record)
        guard bytes.count <= ClientHello.maximumBytes else {
            #expect(look(bytes) == .tooLarge)
            return
        }
        for count in stride(from: 0, to: bytes.count, by: max(1, bytes.count / 300)) + [bytes.count - 1] {
            try check(look(Array(bytes[..<count])) == .incomplete, "at \(count) of \(bytes.count)")
        }
        #expect(look(bytes) == .complete)
        #expect(look(bytes + [23, 3, 3]) == .complete)
    }

    @Test func otherProtocolsAreKnownByTheirFirstByte() {
        for text in ["GET / HTTP/1.1\r\n", "SSH-2.0", "PROXY TCP4", "\u{80}\u{2e}\u{1}"] {
            #expect(look(Array(text.utf8)) == .notTLS)
        }
    }

    /// They get an alert, which is OpenSSL's to write.
    @Test func whatTLSWouldRefuseIsNotWaitedFor() {
        #expect(look([22, 3, 1, 0, 0]) == .complete)
        #expect(look([22, 3, 1, 0, 1, 1, 23, 3, 3, 0, 1, 0]) == .complete)
    }

    @Test func itMayNotBeEndless() {
        #expect(look([22, 3, 1, 0x40, 0, 1, 0xFF, 0xFF, 0xFF]) == .tooLarge)
        #expect(look(Array(hello(16_000, record: 5).prefix(ClientHello.maximumBytes - 1))) == .incomplete)
        #expect(look(hello(16_000, record: 5)) == .tooLarge)
    }
}
