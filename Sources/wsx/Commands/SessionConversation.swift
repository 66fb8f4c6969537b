//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore
import WebSockets

/// Lines to messages and messages to lines, over as many connections as it takes (`--reconnect`).
final class SessionConversation: Sendable {
    private let session: WebSocketSession
    private let behaviour: Conversation.Behaviour
    private let display: DisplayOptions
    private let input = LineInput()
    private let received = Atomic<Int>(0)
    private let inputFailure = Mutex<CommandFailure?>(nil)

    /// How long replies may pause at the end of input before they are given up.
    private static let replyPatience = Duration.seconds(2)

    private init(_ session: WebSocketSession, behaviour: Conversation.Behaviour, display: DisplayOptions) {
        self.session = session
        self.behaviour = behaviour
        self.display = display
    }

    /// Runs until the end of input, an interruption, or an error that trying again would not heal.
    static func run(
        to url: String, _ client: WebSocketClientConfiguration, behaviour: Conversation.Behaviour,
        display: DisplayOptions, interruption: Interruption
    ) async throws {
        var configuration = WebSocketSessionConfiguration()
        let keepAlive = configuration.client.options.keepAlive
        configuration.client = client
        if client.options.keepAlive != nil { configuration.client.options.keepAlive = keepAlive }
        configuration.reconnect.maximumAttempts = nil
        configuration.outboundQueue = 10_000
        configuration.outboundDeadline = nil
        try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
            interruption.onFirst {
                Task {
                    try? await session.close(code: .goingAway)
                    await session.shutdown()
                }
            }
            try await SessionConversation(session, behaviour: behaviour, display: display).run()
        }
        if let code = interruption.exitCode { throw CommandFailure(code: code) }
    }

    private func run() async throws {
        try await withThrowingTaskGroup { group in
            group.addTask { await self.sendLines() }
            defer { group.cancelAll() }
            for try await event in session.events {
                guard await show(event) else { break }
                guard case .message = event else { continue }
                let count = received.wrappingAdd(1, ordering: .relaxed).newValue
                if count == behaviour.maximumMessages { break }
            }
            await finish()
        }
        if let failure = inputFailure.withLock({ $0 }) { throw failure }
        let statistics = session.statistics
        let lost = statistics.messagesNotSent + statistics.messagesUnknown
        if lost > 0 {
            throw CommandFailure(
                code: Exit.protocolError, message: "lines that were not sent, or perhaps not: \(lost)")
        }
    }

    // MARK: Sending

    private func sendLines() async {
        var number = 0
        while let lines = await input.next() {
            for line in lines {
                number += 1
                guard let message = behaviour.form.message(line) else {
                    inputFailure.withLock { $0 = behaviour.form.complaint(aboutLine: number) }
                    return await finish()
                }
                guard await send(message) else { return }
            }
        }
        guard !Task.isCancelled, behaviour.maximumMessages == nil else { return }
        // Without a connection nothing has been said yet: the first one is awaited, or why there will be none.
        guard await session.waitConnected() else { return }
        await awaitReplies()
        await finish()
    }

    private func finish() async {
        try? await session.close(code: behaviour.close.code, reason: behaviour.close.reason)
        await session.shutdown()
    }

    /// Whether the session goes on.
    private func send(_ message: WebSocketMessage) async -> Bool {
        while true {
            do throws(WebSocketError) {
                try await session.send(message)
                return true
            } catch {
                // The queue is full: whoever writes the lines has to wait for the server.
                guard error.code == .sendQueueFull, await session.waitConnected() else { return false }
            }
        }
    }

    /// Until everything is sent, then two pings: a server that reads our close frame may stop sending at once.
    private func awaitReplies() async {
        while session.statistics.messagesPending > 0, await session.waitConnected() {
            _ = try? await session.ping()
            await Task.yield()
        }
        for _ in 0..<2 {
            await withTaskGroup { group in
                group.addTask { _ = try? await self.session.ping() }
                group.addTask {
                    var before = -1
                    while !Task.isCancelled {
                        let now = self.received.load(ordering: .relaxed)
                        if now == before { return }
                        before = now
                        try? await Task.sleep(for: Self.replyPatience)
                    }
                }
                await group.next()
                group.cancelAll()
            }
        }
    }

    // MARK: Showing

    /// Whether somebody still reads.
    private func show(_ event: WebSocketSessionEvent) async -> Bool {
        if case .message(let message) = event {
            return await behaviour.form.show(message, json: display.json)
        }
        if display.json { return await Output.standard.write(json: Self.json(event)) }
        if display.showsStatus { Terminal.status(Self.text(event, session.url)) }
        return true
    }

    private static func text(_ event: WebSocketSessionEvent, _ url: String) -> String {
        switch event {
        case .message: ""
        case .connected(let isReconnect): "\(isReconnect ? "connected again" : "connected") to \(url)"
        case .disconnected(let end):
            "disconnected (\(end.reason)): \(end.error?.message ?? end.closeInfo?.description ?? "no more is known")"
        case .gap(let gap):
            switch gap.cause {
            case .reconnected(let time): "messages of \(decimal(time.inSeconds, 1)) s may be missing"
            case .overflow(let dropped): "messages dropped: \(dropped)"
            }
        case .renewed: "the connection was replaced"
        case .alert(let alert):
            alert.message + (alert.suppressed > 0 ? " (and \(alert.suppressed) more like it)" : "")
        }
    }

    private static func json(_ event: WebSocketSessionEvent) -> JSON {
        switch event {
        case .message: .null
        case .connected(let isReconnect): ["event": "open", "isReconnect": .boolean(isReconnect)]
        case .disconnected(let end):
            [
                "event": "disconnect", "reason": .string(end.reason.rawValue),
                "code": end.closeInfo.map { .integer(Int($0.code.rawValue)) } ?? .null,
                "text": .optional(end.closeInfo?.reason), "seconds": .number(end.connectedFor.inSeconds),
            ]
        case .gap(let gap):
            switch gap.cause {
            case .reconnected(let time): ["event": "gap", "seconds": .number(time.inSeconds)]
            case .overflow(let dropped): ["event": "gap", "dropped": .integer(dropped)]
            }
        case .renewed: ["event": "renewed"]
        case .alert(let alert):
            [
                "event": "alert", "kind": .string(alert.kind.rawValue), "message": .string(alert.message),
                "suppressed": .integer(alert.suppressed),
            ]
        }
    }
}
