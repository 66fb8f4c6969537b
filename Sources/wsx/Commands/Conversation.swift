//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore
import WebSocketLoop
import WebSockets

/// Lines to messages and messages to lines, until the connection ends.
final class Conversation: Sendable {
    private let socket: WebSocketConnection
    private let behaviour: Behaviour
    private let display: DisplayOptions
    private let transcript: Transcript?
    private let interruption: Interruption
    private let input: any MessageInput
    private let arrivals = Arrivals()
    private let isOutputGone = Atomic<Bool>(false)
    private let isSilent = Atomic<Bool>(false)
    private let ownFailure = Mutex<CommandFailure?>(nil)
    /// With what `/close` closed it.
    private let typedClose = Mutex<WebSocketCloseFrame?>(nil)

    /// How long replies may pause at the end of input before they are given up.
    static let replyPatience = Duration.seconds(2)

    struct Behaviour: Sendable {
        /// What a piece of input is.
        enum Form: Sendable { case text, binary, base64, raw }
        /// What happens at the end of input.
        enum EndOfInput: Sendable {
            /// Close when the replies under way are here.
            case replies
            /// Close when nothing has arrived for so long.
            case quiet(Duration)
            case stay
        }

        /// After this many messages the connection is closed; `nil` for never.
        var maximumMessages: Int?
        /// To end without one message is a failure.
        var needsMessage = false
        var form = Form.text
        var framing = Input.Framing.lines
        var endOfInput = EndOfInput.replies
        /// For how long no message may arrive; `nil` for ever.
        var silence: Duration?
        var recording: Recording?
        var printsRoundTrips = false
        /// With what it is closed from this side.
        var close = WebSocketCloseFrame(code: .normalClosure)

        /// What to say when no message came in time.
        var silenceFailure: CommandFailure {
            CommandFailure(
                code: Exit.timeout, message: "no message arrived for \(decimal(silence?.inSeconds ?? 0, 1)) s")
        }

        /// The code for an end by a signal before everything had come that was asked for.
        func exitCode(_ interruption: Interruption, received: Int) -> CInt? {
            guard let maximumMessages, received < maximumMessages else { return nil }
            return interruption.exitCode
        }
    }

    init(
        socket: WebSocketConnection, behaviour: Behaviour, display: DisplayOptions, transcript: Transcript?,
        interruption: Interruption
    ) {
        self.socket = socket
        self.behaviour = behaviour
        self.display = display
        self.transcript = transcript
        self.interruption = interruption
        input = messageInput(for: behaviour, display)
    }

    func announce(url: WebSocketURL) async {
        if display.json {
            await Output.standard.write(json: [
                "event": "open", "url": .string(url.description),
                "remote": .optional(socket.remoteAddress?.description), "subprotocol": .optional(socket.subprotocol),
                "tlsVersion": .optional(socket.tls?.version),
                "tlsCipher": .optional(socket.tls?.cipher), "extensions": .optional(socket.deflate?.description),
            ])
        } else if display.showsStatus {
            var parts = ["connected to \(url)"]
            if let name = socket.subprotocol { parts.append("subprotocol \(name)") }
            if let tls = socket.tls { parts.append("\(tls.version), \(tls.cipher)") }
            if let deflate = socket.deflate { parts.append("\(deflate)") }
            Terminal.status(parts.joined(separator: " · "))
        }
    }

    /// Runs on the connection's loop: nothing here blocks, and sending costs no thread crossing.
    func run() async throws {
        if behaviour.printsRoundTrips || transcript != nil { printPongs() }
        try await withTaskExecutorPreference(socket.eventLoop.taskExecutor) {
            let sending = Task(executorPreference: socket.eventLoop.taskExecutor) { await self.sendInput() }
            let watching = behaviour.silence.map { limit in
                Task { if await arrivals.quiet(for: limit) { await giveUp() } }
            }
            let failure = await printMessages()
            watching?.cancel()
            sending.cancel()
            let hasUnsentInput = await sending.value
            let info = try await socket.closed()
            transcript?.closed(info)
            try await conclude(info, failure: failure, hasUnsentInput: hasUnsentInput)
        }
    }

    /// No message came in time. A peer that is gone does not answer the close either.
    private func giveUp() async {
        isSilent.store(true, ordering: .relaxed)
        let closing = Task { _ = try? await socket.close(code: .goingAway) }
        try? await Task.sleep(for: .seconds(1))
        socket.abort()
        await closing.value
    }

    // MARK: Sending

    /// Whether a piece could not be sent any more.
    private func sendInput() async -> Bool {
        var number = 0
        while let pieces = await input.next() {
            for piece in pieces {
                number += 1
                do throws(WebSocketError) {
                    guard let piece = try await perform(piece) else { continue }
                    guard let message = behaviour.form.message(piece) else {
                        ownFailure.withLock {
                            $0 = behaviour.form.complaint(aboutLine: number, framing: behaviour.framing)
                        }
                        await finish()
                        return true
                    }
                    try await socket.send(message)
                    transcript?.sent(message)
                    guard await record(.sent, message) else { return true }
                } catch {
                    return true
                }
            }
        }
        if let failure = input.failure { ownFailure.withLock { $0 = failure } }
        guard !Task.isCancelled, behaviour.maximumMessages == nil else { return false }
        switch behaviour.endOfInput {
        case .stay: return false
        case .quiet(let limit):
            guard await arrivals.quiet(for: limit) else { return false }
            await close()
        case .replies:
            if number == 0, !display.quiet, !Terminal.isInputTerminal {
                Terminal.note("the input was empty, so the connection is closed; --no-close keeps it open")
            }
            await finish()
        }
        return false
    }

    /// Does what a command of the keyboard says; returns what is a message.
    private func perform(_ piece: [UInt8]) async throws(WebSocketError) -> [UInt8]? {
        switch input.command(in: piece) {
        case .message(let piece): return piece
        case .ping(let payload):
            // Its answer is awaited beside what else is typed.
            Task { [socket] in
                guard let time = try? await socket.ping(Array(payload.utf8)) else { return }
                Terminal.status("< pong \(payload) (\(duration(nanoseconds: time.nanoseconds)))")
            }
        case .close(let frame):
            typedClose.withLock { $0 = frame }
            _ = try await socket.close(code: frame.code, reason: frame.reason)
        case .complaint(let text): Terminal.status(text)
        }
        return nil
    }

    /// Writes a message into the recording; `false` when that fails, which ends the connection.
    private func record(_ direction: Recording.Direction, _ message: WebSocketMessage) async -> Bool {
        do throws(CommandFailure) {
            try await behaviour.recording?.write(direction, message)
            return true
        } catch {
            ownFailure.withLock { $0 = $0 ?? error }
            _ = try? await socket.close(code: .goingAway)
            return false
        }
    }

    private func finish() async {
        await awaitReplies()
        await close()
    }

    private func close() async {
        _ = try? await socket.close(code: behaviour.close.code, reason: behaviour.close.reason)
    }

    private func printPongs() {
        let (isJSON, printsRoundTrips) = (display.json, behaviour.printsRoundTrips)
        socket.onPong { [transcript] payload, roundTrip in
            transcript?.pong(payload, roundTrip)
            guard printsRoundTrips, let roundTrip else { return }
            let nanoseconds = roundTrip.nanoseconds
            if isJSON {
                Task {
                    await Output.standard.write(json: [
                        "event": "pong", "roundTripNanoseconds": .integer(Int(clamping: nanoseconds)),
                    ])
                }
            } else if transcript == nil {
                Terminal.status("round trip \(duration(nanoseconds: nanoseconds))")
            }
        }
    }

    /// A peer that reads our close frame may stop sending at once, with replies half done. Two pings in a row give it
    /// the chance to finish: it has read everything before it answers the first, and has had a turn before the second.
    private func awaitReplies() async {
        for _ in 0..<2 {
            // Gives up when nothing arrived for a while; a peer that is still talking gets more time, and so does a
            // slow reader of ours.
            await arrivals.whileTalking(Self.replyPatience) { _ = try? await self.socket.ping() }
        }
    }

    // MARK: Receiving

    /// Prints until the end; returns what went wrong, if anything did.
    private func printMessages() async -> WebSocketError? {
        do throws(WebSocketError) {
            for try await message in socket.messages {
                transcript?.received(message)
                guard await record(.received, message) else { return nil }
                arrivals.begin()
                let isRead = await behaviour.form.show(message, json: display.json)
                arrivals.end()
                if !isRead {
                    isOutputGone.store(true, ordering: .relaxed)
                    _ = try? await socket.close(code: .goingAway)
                    return nil
                }
                if let limit = behaviour.maximumMessages, arrivals.count >= limit {
                    await close()
                    return nil
                }
            }
            return nil
        } catch {
            return error
        }
    }

    // MARK: The end

    private func conclude(_ info: WebSocketCloseInfo, failure: WebSocketError?, hasUnsentInput: Bool) async throws {
        if display.json {
            await Output.standard.write(json: [
                "event": "close", "code": .integer(Int(info.code.rawValue)), "reason": .string(info.reason),
                "sent": info.sent.map { .integer(Int($0.code.rawValue)) } ?? .null,
                "closedByPeer": .boolean(info.receivedFirst == true), "cause": .string("\(info.cause)"),
                "unsentMessages": .integer(info.unsentMessages),
            ])
        }
        // `Output.check` tells whether that is a failure.
        if isOutputGone.load(ordering: .relaxed) { return }
        if isSilent.load(ordering: .relaxed) { throw behaviour.silenceFailure }
        if let failure = ownFailure.withLock({ $0 }) { throw failure }
        if let failure, failure.code != .connectionClosed {
            throw CommandFailure(code: Exit.code(for: failure), message: CommandText.message(of: failure))
        }
        if let code = behaviour.exitCode(interruption, received: arrivals.count) { throw CommandFailure(code: code) }
        // Another code than 1000 that was asked for is no failure.
        let isAsAsked =
            info.cause == .closingHandshake && info.receivedFirst == false
            && info.sent == typedClose.withLock { $0 ?? behaviour.close }
        guard info.isNormal || isAsAsked else {
            let code = info.cause.isTimeout ? Exit.timeout : Exit.protocolError
            throw CommandFailure(code: code, message: "the connection ended abnormally: \(info)")
        }
        guard !behaviour.needsMessage || arrivals.count > 0 else {
            throw CommandFailure(
                code: Exit.protocolError, message: "the connection was closed before a message arrived: \(info)")
        }
        // A person at the keyboard sees that the connection is gone; a script has to be told.
        if info.unsentMessages > 0 || (hasUnsentInput && !Terminal.isInputTerminal) {
            throw CommandFailure(
                code: Exit.protocolError,
                message: "the connection was closed before all of the input was sent: \(info)")
        }
        if display.showsStatus { Terminal.status("closed: \(info)") }
    }
}
