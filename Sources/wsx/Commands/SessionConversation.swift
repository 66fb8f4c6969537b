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
    private let interruption: Interruption
    private let input: any MessageInput
    private let arrivals = Arrivals()
    private let isSilent = Atomic<Bool>(false)
    private let ownFailure = Mutex<CommandFailure?>(nil)
    /// What was missed, as far as it is known.
    private let losses = Mutex(Losses())

    private struct Losses {
        var gaps = 0
        var dropped = 0
        var isAny: Bool { gaps > 0 || dropped > 0 }
    }

    private init(
        _ session: WebSocketSession, behaviour: Conversation.Behaviour, display: DisplayOptions,
        interruption: Interruption
    ) {
        self.session = session
        self.behaviour = behaviour
        self.display = display
        self.interruption = interruption
        input = messageInput(for: behaviour, display)
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
        try await WebSocketSession.withSession(to: url, configuration: configuration, on: .loop) { session in
            interruption.onFirst {
                Task {
                    try? await session.close(code: .goingAway)
                    await session.shutDown()
                }
            }
            try await SessionConversation(
                session, behaviour: behaviour, display: display, interruption: interruption
            ).run()
        }
        if let code = interruption.exitCode { throw CommandFailure(code: code) }
    }

    private func run() async throws {
        do {
            try await talk()
        } catch {
            // How a session ends that was given up says nothing.
            guard isSilent.load(ordering: .relaxed) else { throw error }
        }
        try conclude()
    }

    private func talk() async throws {
        try await withThrowingTaskGroup { group in
            group.addTask { await self.sendInput() }
            if let limit = behaviour.silence {
                group.addTask {
                    guard await self.arrivals.quiet(for: limit) else { return }
                    self.isSilent.store(true, ordering: .relaxed)
                    await self.session.abort()
                    await self.session.shutDown()
                }
            }
            defer { group.cancelAll() }
            for try await event in session.events {
                guard await show(event) else { break }
                guard case .message = event else { continue }
                if arrivals.count == behaviour.maximumMessages { break }
            }
            group.cancelAll()
            await finish()
        }
    }

    private func conclude() throws {
        if isSilent.load(ordering: .relaxed) { throw behaviour.silenceFailure }
        if let failure = ownFailure.withLock({ $0 }) { throw failure }
        if let code = behaviour.exitCode(interruption, received: arrivals.count) { throw CommandFailure(code: code) }
        let statistics = session.statistics
        var complaints: [String] = []
        if statistics.messagesNotSent > 0 { complaints.append("lines not sent: \(statistics.messagesNotSent)") }
        if statistics.messagesUnknown > 0 {
            complaints.append("lines sent or not, which is not known: \(statistics.messagesUnknown)")
        }
        losses.withLock { losses in
            if losses.dropped > 0 { complaints.append("messages dropped: \(losses.dropped)") }
            if losses.gaps > 0 { complaints.append("messages may be missing, gaps: \(losses.gaps)") }
        }
        guard complaints.isEmpty else {
            throw CommandFailure(code: Exit.messagesLost, message: complaints.joined(separator: "; "))
        }
        guard !behaviour.needsMessage || arrivals.count > 0 else {
            throw CommandFailure(code: Exit.protocolError, message: "the session ended before a message arrived")
        }
    }

    // MARK: Sending

    private func sendInput() async {
        var number = 0
        while let pieces = await input.next() {
            for piece in pieces {
                number += 1
                let text: [UInt8]
                switch input.command(in: piece) {
                case .message(let piece): text = piece
                case .ping(let payload):
                    guard let time = try? await session.ping() else { continue }
                    Terminal.status("< pong \(payload) (\(duration(nanoseconds: time.nanoseconds)))")
                    continue
                case .close(let frame):
                    try? await session.close(code: frame.code, reason: frame.reason)
                    return await session.shutDown()
                case .complaint(let complaint):
                    Terminal.status(complaint)
                    continue
                }
                guard let message = behaviour.form.message(text) else {
                    ownFailure.withLock {
                        $0 = behaviour.form.complaint(aboutLine: number, framing: behaviour.framing)
                    }
                    return await finish()
                }
                guard await send(message), await record(.sent, message) else { return }
            }
        }
        if let failure = input.failure { ownFailure.withLock { $0 = failure } }
        guard !Task.isCancelled, behaviour.maximumMessages == nil else { return }
        switch behaviour.endOfInput {
        case .stay: return
        case .quiet(let limit):
            guard await session.waitConnected() else { return }
            await awaitSending()
            guard await arrivals.quiet(for: limit) else { return }
        case .replies:
            // Without a connection nothing has been said yet: the first one is awaited, or why there will be none.
            guard await session.waitConnected() else { return }
            if number == 0, !display.quiet, !Terminal.isInputTerminal {
                Terminal.note("the input was empty, so the session is closed; --no-close keeps it open")
            }
            await awaitReplies()
        }
        await finish()
    }

    /// Writes a message into the recording; `false` when that fails, which ends the session.
    private func record(_ direction: Recording.Direction, _ message: WebSocketMessage) async -> Bool {
        do throws(CommandFailure) {
            try await behaviour.recording?.write(direction, message)
            return true
        } catch {
            ownFailure.withLock { $0 = $0 ?? error }
            await finish()
            return false
        }
    }

    private func finish() async {
        try? await session.close(code: behaviour.close.code, reason: behaviour.close.reason)
        await session.shutDown()
    }

    /// Whether the session goes on.
    private func send(_ message: WebSocketMessage) async -> Bool {
        while true {
            do throws(WebSocketError) {
                try await session.send(message)
                return true
            } catch {
                // The queue is full: the writer of the lines has to wait for the server.
                guard error.code == .sendQueueFull, await session.waitConnected() else { return false }
            }
        }
    }

    /// Until everything is sent, then two pings: a server that reads our close frame may stop sending at once.
    private func awaitReplies() async {
        await awaitSending()
        for _ in 0..<2 {
            await arrivals.whileTalking(Conversation.replyPatience) { _ = try? await self.session.ping() }
        }
    }

    private func awaitSending() async {
        while session.statistics.messagesPending > 0, await session.waitConnected() {
            _ = try? await session.ping()
            await Task.yield()
        }
    }

    // MARK: Showing

    /// Whether the output is still taken.
    private func show(_ event: WebSocketSessionEvent) async -> Bool {
        if case .message(let message) = event {
            guard await record(.received, message) else { return false }
            arrivals.begin()
            defer { arrivals.end() }
            return await behaviour.form.show(message, json: display.json)
        }
        if case .gap(let gap) = event {
            losses.withLock { losses in
                switch gap.cause {
                case .reconnected: losses.gaps += 1
                case .overflow(let dropped): losses.dropped += dropped
                }
            }
        }
        if display.json { return await Output.standard.write(json: Self.json(event)) }
        if display.showsStatus {
            Terminal.status(Self.text(event, session.url))
        } else if !display.quiet, Self.isWorthTelling(event) {
            // In a pipe and in a log too: what is lost must not be lost in silence.
            Terminal.note(Self.text(event, session.url))
        }
        return true
    }

    private static func isWorthTelling(_ event: WebSocketSessionEvent) -> Bool {
        switch event {
        case .gap, .alert: true
        case .disconnected(let end): end.reason != .userRequested
        case .message, .connected, .renewed, .subscription: false
        }
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
        case .subscription(.accepted(let channel)): "subscribed to \(channel)"
        case .subscription(.rejected(let channel, let reason)): "not subscribed to \(channel): \(reason)"
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
        case .subscription(.accepted(let channel)): ["event": "subscribed", "channel": .string(channel)]
        case .subscription(.rejected(let channel, let reason)):
            ["event": "refused", "channel": .string(channel), "text": .string(reason)]
        case .alert(let alert):
            [
                "event": "alert", "kind": .string(alert.kind.rawValue), "message": .string(alert.message),
                "suppressed": .integer(alert.suppressed),
            ]
        }
    }
}
