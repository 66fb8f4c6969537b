//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSockets

/// Where the messages to send come from.
protocol MessageInput: Sendable {
    /// The next pieces, each one message; `nil` at the end or when cancelled.
    func next() async -> [[UInt8]]?
    /// Why it ended early, if it did.
    var failure: CommandFailure? { get }
    /// What a piece asks for, when it is no message.
    func command(in piece: [UInt8]) -> KeyboardCommand
}

/// The keyboard where there is one, else standard input.
func messageInput(for behaviour: Conversation.Behaviour, _ display: DisplayOptions) -> any MessageInput {
    if let keyboard = Keyboard.shared(for: behaviour, display) { return keyboard }
    return Input(behaviour.framing)
}

extension Input: MessageInput {
    func command(in piece: [UInt8]) -> KeyboardCommand { .message(piece) }
}

// What lines and messages are to one another.
extension Conversation.Behaviour.Form {
    /// The message that a piece of input means, if it does.
    func message(_ line: [UInt8]) -> WebSocketMessage? {
        switch self {
        case .text: String(validating: line, as: UTF8.self).map(WebSocketMessage.text)
        case .binary, .raw: .binary(line)
        case .base64: decodedBase64(line).map(WebSocketMessage.binary)
        }
    }

    /// Why a piece means none.
    func complaint(aboutLine number: Int, framing: Input.Framing) -> CommandFailure {
        let place = framing == .lines ? "line \(number) of the input" : "the input"
        return CommandFailure(
            code: Exit.usage,
            message: self == .base64
                ? "\(place) is not Base64 (RFC 4648 §4)" : "\(place) is not UTF-8; send it with --binary")
    }

    /// Prints a message; `false` when that cannot be done any more.
    func show(_ message: WebSocketMessage, json: Bool) async -> Bool {
        let mark = Keyboard.isActive ? "< " : ""
        switch message {
        case .text(let text) where json:
            return await Output.standard.write(json: ["event": "message", "kind": "text", "text": .string(text)])
        case .binary(let bytes) where json:
            return await Output.standard.write(json: [
                "event": "message", "kind": "binary", "base64": .string(HandshakeText.base64(bytes)),
            ])
        case .text(let text) where self == .raw: return await Output.standard.write(Array(text.utf8))
        case .binary(let bytes) where self == .raw: return await Output.standard.write(bytes)
        case .text(let text):
            return await Output.standard.write(line: Terminal.isOutputTerminal ? mark + text.escapedForTerminal : text)
        case .binary(let bytes) where self == .base64:
            return await Output.standard.write(line: mark + HandshakeText.base64(bytes))
        case .binary(let bytes):
            guard Terminal.isOutputTerminal else {
                return await Output.standard.write(bytes + [UInt8(ascii: "\n")])
            }
            return await Output.standard.write(line: mark + hexPreview(bytes))
        }
    }
}

/// The beginning of a binary message, readable.
private func hexPreview(_ bytes: [UInt8]) -> String {
    let shown = bytes.prefix(32).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    return "(binary, \(size(bytes: bytes.count))) \(shown)\(bytes.count > 32 ? " …" : "")"
}
