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
    private let input = LineInput()
    /// Messages that were printed, as a sign of life while replies are awaited.
    private let received = Atomic<Int>(0)
    /// Whether a message is on its way to whoever reads the output, which may take its time.
    private let isPrinting = Atomic<Bool>(false)
    private let isOutputGone = Atomic<Bool>(false)
    private let inputFailure = Mutex<CommandFailure?>(nil)

    /// How long replies may pause at the end of input before they are given up.
    private static let replyPatience = Duration.seconds(2)

    struct Behaviour: Sendable {
        /// What a line of input is.
        enum Form: Sendable { case text, binary, base64 }

        /// After so many messages the connection is closed; `nil` for never.
        var maximumMessages: Int?
        var form = Form.text
        var printsRoundTrips = false
        /// With what it is closed from this side.
        var close = WebSocketCloseFrame(code: .normalClosure)
    }

    init(socket: WebSocketConnection, behaviour: Behaviour, display: DisplayOptions) {
        self.socket = socket
        self.behaviour = behaviour
        self.display = display
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
        if behaviour.printsRoundTrips { printRoundTrips() }
        try await withTaskExecutorPreference(socket.eventLoop.taskExecutor) {
            let sending = Task(executorPreference: socket.eventLoop.taskExecutor) { await self.sendLines() }
            let failure = await printMessages()
            sending.cancel()
            let hasUnsentInput = await sending.value
            let info = try await socket.closed()
            try await conclude(info, failure: failure, hasUnsentInput: hasUnsentInput)
        }
    }

    // MARK: Sending

    /// Whether a line could not be sent any more.
    private func sendLines() async -> Bool {
        var number = 0
        while let lines = await input.next() {
            for line in lines {
                number += 1
                do throws(WebSocketError) {
                    guard let message = behaviour.form.message(line) else {
                        inputFailure.withLock { $0 = behaviour.form.complaint(aboutLine: number) }
                        await finish()
                        return true
                    }
                    try await socket.send(message)
                } catch {
                    return true
                }
            }
        }
        guard !Task.isCancelled, behaviour.maximumMessages == nil else { return false }
        await finish()
        return false
    }

    private func finish() async {
        await awaitReplies()
        await close()
    }

    private func close() async {
        _ = try? await socket.close(code: behaviour.close.code, reason: behaviour.close.reason)
    }

    private func printRoundTrips() {
        let isJSON = display.json
        socket.onPong { _, roundTrip in
            guard let roundTrip else { return }
            let nanoseconds = roundTrip.nanoseconds
            if isJSON {
                Task {
                    await Output.standard.write(json: [
                        "event": "pong", "roundTripNanoseconds": .integer(Int(clamping: nanoseconds)),
                    ])
                }
            } else {
                Terminal.status("round trip \(duration(nanoseconds: nanoseconds))")
            }
        }
    }

    /// A peer that reads our close frame may stop sending at once, with replies half done. Two pings in a row give it
    /// the chance to finish: it has read everything before it answers the first, and has had a turn before the second.
    private func awaitReplies() async {
        for _ in 0..<2 {
            await withTaskGroup { group in
                group.addTask { _ = try? await self.socket.ping() }
                group.addTask {
                    // Gives up when nothing arrived for a while; a peer that is still talking gets more time, and
                    // so does a slow reader of ours.
                    var before = -1
                    while !Task.isCancelled {
                        let now = self.received.load(ordering: .relaxed)
                        if now == before, !self.isPrinting.load(ordering: .relaxed) { return }
                        before = now
                        try? await Task.sleep(for: Self.replyPatience)
                    }
                }
                await group.next()
                group.cancelAll()
            }
        }
    }

    // MARK: Receiving

    /// Prints until the end; returns what went wrong, if anything did.
    private func printMessages() async -> WebSocketError? {
        do throws(WebSocketError) {
            for try await message in socket.messages {
                isPrinting.store(true, ordering: .relaxed)
                let isRead = await behaviour.form.show(message, json: display.json)
                isPrinting.store(false, ordering: .relaxed)
                received.wrappingAdd(1, ordering: .relaxed)
                if !isRead {
                    isOutputGone.store(true, ordering: .relaxed)
                    _ = try? await socket.close(code: .goingAway)
                    return nil
                }
                if let limit = behaviour.maximumMessages, received.load(ordering: .relaxed) >= limit {
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
        // As with any filter, a reader that has seen enough is no failure.
        if isOutputGone.load(ordering: .relaxed) { return }
        if let failure = inputFailure.withLock({ $0 }) { throw failure }
        if let failure, failure.code != .connectionClosed {
            throw CommandFailure(code: Exit.code(for: failure), message: failure.message)
        }
        // Whoever chose another code than 1000 got what he asked for.
        let isAsAsked = info.cause == .closingHandshake && info.receivedFirst == false && info.sent == behaviour.close
        guard info.isNormal || isAsAsked else {
            let code = info.cause == .closeTimeout || info.cause == .pingTimeout ? Exit.timeout : Exit.protocolError
            throw CommandFailure(code: code, message: "the connection ended abnormally: \(info)")
        }
        // Whoever typed the line sees that the connection is gone; a script has to be told.
        if info.unsentMessages > 0 || (hasUnsentInput && !Terminal.isInputTerminal) {
            throw CommandFailure(
                code: Exit.protocolError,
                message: "the connection was closed before all of the input was sent: \(info)")
        }
        if display.showsStatus { Terminal.status("closed: \(info)") }
    }
}
