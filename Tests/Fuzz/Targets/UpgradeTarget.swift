//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// The first byte says what the server is like. Then come events: a letter each, and behind `p`, `h` and `r` a number of
/// bytes and the bytes that the client has sent.
func fuzzUpgrade(_ bytes: UnsafeRawBufferPointer) -> String? {
    var rest = bytes[...]
    let kind = rest.popFirst() ?? 0
    var rules = ServerUpgradeMachine.Rules()
    rules.limits.requestLineBytes = 128
    rules.limits.fieldBytes = 128
    rules.limits.fields = 16
    rules.limits.totalBytes = 1_024
    rules.expectsProxyHeader = kind & 1 != 0
    rules.usesTLS = kind & 2 != 0
    rules.isFromTrustedProxy = kind & 4 != 0
    rules.trust.header = kind & 8 != 0 ? .forwarded : .xForwardedFor
    (rules.trust.tellsHost, rules.trust.tellsScheme) = (kind & 16 != 0, kind & 16 != 0)
    rules.trust.ranges = AddressRange("10.0.0.0/8").map { [$0] } ?? []
    var run = UpgradeRun(machine: ServerUpgradeMachine(rules))

    while run.problem == nil, let order = rest.popFirst() {
        switch order {
        case UInt8(ascii: "p"), UInt8(ascii: "h"), UInt8(ascii: "r"):
            let size = Int(rest.popFirst() ?? 0)
            let sent = UnsafeRawBufferPointer(rebasing: rest.prefix(size))
            rest = rest.dropFirst(size)
            run.sends(sent, order)
        default: run.happens(order)
        }
    }
    return run.problem
}

/// A machine, and what it has done.
private struct UpgradeRun {
    var machine: ServerUpgradeMachine
    var problem: String?
    private var responses = 0
    private var decisions = 0
    private var ends = 0

    init(machine: ServerUpgradeMachine) { self.machine = machine }

    mutating func sends(_ sent: UnsafeRawBufferPointer, _ order: UInt8) {
        let before = machine.head.count
        let result: (taken: Int, action: ServerUpgradeMachine.Action) =
            switch order {
            case UInt8(ascii: "p"): machine.peeked(proxyHeader: sent)
            case UInt8(ascii: "h"): (0, machine.peeked(clientHello: sent))
            default: machine.received(sent)
            }
        if !(0...sent.count).contains(result.taken) { problem = "\(result.taken) of \(sent.count) are taken" }
        if machine.head.count > before + sent.count { problem = "\(machine.head.count) bytes are kept" }
        note(result.action)
    }

    mutating func happens(_ order: UInt8) {
        let isOver = machine.isOver
        switch order {
        case UInt8(ascii: "b"): note(machine.begin())
        case UInt8(ascii: "f"): note(machine.begin(refusal: .unavailable))
        case UInt8(ascii: "s"): note(machine.secured())
        case UInt8(ascii: "c"): note(machine.counted(isAdmitted: true))
        case UInt8(ascii: "m"): note(machine.counted(isAdmitted: false))
        case UInt8(ascii: "a"): note(machine.decided(nil))
        case UInt8(ascii: "d"): note(machine.decided(PlainResponse(.notFound)))
        case UInt8(ascii: "w"): note(machine.wrote())
        case UInt8(ascii: "e"):
            if machine.established(), isOver || responses != 1 { problem = "a connection without a response" }
        case UInt8(ascii: "l"): note(machine.peerEnded())
        case UInt8(ascii: "t"): note(machine.timedOut())
        case UInt8(ascii: "q"): note(machine.stopped())
        case UInt8(ascii: "x"): note(machine.cancelled())
        default: note(machine.abandoned(ServerUpgradeMachine.slow))
        }
        // What is over stays as it is.
        if isOver, !machine.isOver { problem = "it came back" }
    }

    private mutating func note(_ action: ServerUpgradeMachine.Action) {
        switch action {
        case .wait, .secure, .count: break
        case .decide(let request):
            decisions += 1
            if request.head.target.utf8.first != UInt8(ascii: "/") { problem = "the target is no path" }
        case .respond(let response, let bytes):
            responses += 1
            if !(200...599).contains(response.status) || bytes.isEmpty { problem = "a response of \(response.status)" }
        case .upgrade(let upgrade):
            responses += 1
            if upgrade.key.utf8.count != 24 { problem = "the key is \(upgrade.key)" }
        case .end: ends += 1
        }
        if responses > 1 || decisions > 1 || ends > 1 {
            problem = "\(responses) responses, \(decisions) decisions, \(ends) ends"
        }
        if (machine.deadline == nil) != machine.isOver { problem = "no deadline in \(machine.state)" }
        var late = machine
        for _ in 0..<3 where !late.isOver { if case .respond = late.timedOut() { _ = late.wrote() } }
        if !late.isOver { problem = "it does not end in \(machine.state)" }
    }
}
