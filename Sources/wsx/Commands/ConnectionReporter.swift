//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSockets

/// Tells of connections that come and go: JSON on standard output, or status on a terminal.
final class ConnectionReporter: Sendable {
    private let display: DisplayOptions
    private let count = Atomic<Int>(0)

    private let showsStatus: Bool

    init(display: DisplayOptions, isVerbose: Bool) {
        self.display = display
        showsStatus = display.showsStatus || (isVerbose && !display.json)
    }

    func opened(_ socket: WebSocketConnection) async -> Int {
        let number = count.wrappingAdd(1, ordering: .relaxed).newValue
        if display.json {
            await Output.standard.write(json: [
                "event": "open", "connection": .integer(number), "remote": .optional(socket.remoteAddress?.description),
                "target": .optional(socket.requestTarget), "subprotocol": .optional(socket.subprotocol),
                "tlsVersion": .optional(socket.tls?.version), "extensions": .optional(socket.deflate?.description),
            ])
        } else if showsStatus {
            let remote = socket.remoteAddress.map { "\($0)" } ?? "unknown"
            Terminal.status("#\(number) open: \(remote) \(socket.requestTarget ?? "")")
        }
        return number
    }

    func commandEnded(_ number: Int, _ ending: ChildCommand.Ending) async {
        if display.json {
            let (status, signal): (JSON, JSON) =
                switch ending {
                case .exited(let status): (.integer(Int(status)), .null)
                case .signalled(let signal): (.null, .integer(Int(signal)))
                case .unknown: (.null, .null)
                }
            await Output.standard.write(json: [
                "event": "exit", "connection": .integer(number), "status": status, "signal": signal,
            ])
        } else if showsStatus {
            Terminal.status("#\(number) \(ending)")
        }
    }

    func closed(_ number: Int, _ socket: WebSocketConnection, error: WebSocketError?) async {
        guard display.json || showsStatus else { return }
        // On a normal end the outcome is already there or a close frame away.
        let info: WebSocketCloseInfo? = if let known = error?.closeInfo { known } else { try? await socket.closed() }
        if display.json {
            await Output.standard.write(json: [
                "event": "close", "connection": .integer(number),
                "code": info.map { .integer(Int($0.code.rawValue)) } ?? .null, "reason": .optional(info?.reason),
                "error": .optional(info?.isNormal == true ? nil : error?.message),
            ])
        } else {
            Terminal.status("#\(number) closed: \(info.map { "\($0)" } ?? error?.message ?? "")")
        }
    }

    /// What happens between this server and the broker that joins it with others.
    func broker(_ event: WebSocketTopicEvent) async {
        let (state, detail): (String, String?) =
            switch event {
            case .connected: ("connected", nil)
            case .disconnected(let error): ("disconnected", error.message)
            case .gap(let gap): ("gap", "\(gap.topic ?? "all topics"): \(gap.cause.rawValue)")
            case .alert(let error): ("alert", error.message)
            }
        if display.json {
            await Output.standard.write(json: [
                "event": "broker", "state": .string(state), "detail": .optional(detail),
            ])
        } else if showsStatus {
            Terminal.status("broker \(state)\(detail.map { ": \($0)" } ?? "")")
        }
    }
}
