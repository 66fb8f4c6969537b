//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore
import WebSockets

/// Lines to messages and messages to lines, until the connection ends.
final class Conversation: Sendable {
    private let socket: WebSocketConnection
    private let oneMessage: Bool
    private let binary: Bool
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

    init(socket: WebSocketConnection, oneMessage: Bool, binary: Bool, display: DisplayOptions) {
        self.socket = socket
        self.oneMessage = oneMessage
        self.binary = binary
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
                    if binary {
                        try await socket.send(line)
                    } else if let text = String(validating: line, as: UTF8.self) {
                        try await socket.send(text)
                    } else {
                        inputFailure.withLock {
                            $0 = CommandFailure(
                                code: Exit.usage,
                                message: "line \(number) of the input is not UTF-8; send it with --binary")
                        }
                        await finish()
                        return true
                    }
                } catch {
                    return true
                }
            }
        }
        guard !Task.isCancelled, !oneMessage else { return false }
        await finish()
        return false
    }

    private func finish() async {
        await awaitReplies()
        _ = try? await socket.close(code: .normalClosure)
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
                let isRead = await print(message)
                isPrinting.store(false, ordering: .relaxed)
                received.wrappingAdd(1, ordering: .relaxed)
                if !isRead {
                    isOutputGone.store(true, ordering: .relaxed)
                    _ = try? await socket.close(code: .goingAway)
                    return nil
                }
                if oneMessage {
                    _ = try? await socket.close(code: .normalClosure)
                    return nil
                }
            }
            return nil
        } catch {
            return error
        }
    }

    private func print(_ message: WebSocketMessage) async -> Bool {
        switch message {
        case .text(let text) where display.json:
            return await Output.standard.write(json: ["event": "message", "kind": "text", "text": .string(text)])
        case .binary(let bytes) where display.json:
            return await Output.standard.write(json: [
                "event": "message", "kind": "binary", "base64": .string(HandshakeText.base64(bytes)),
            ])
        case .text(let text):
            return await Output.standard.write(line: Terminal.isOutputTerminal ? text.escapedForTerminal : text)
        case .binary(let bytes):
            guard Terminal.isOutputTerminal else {
                return await Output.standard.write(bytes + [UInt8(ascii: "\n")])
            }
            return await Output.standard.write(line: hexPreview(bytes))
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
        guard info.isNormal else {
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

/// The beginning of a binary message, readable.
func hexPreview(_ bytes: [UInt8]) -> String {
    let shown = bytes.prefix(32).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    return "(binary, \(size(bytes: bytes.count))) \(shown)\(bytes.count > 32 ? " …" : "")"
}
