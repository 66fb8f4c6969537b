//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSockets

// What lines and messages are to one another.
extension Conversation.Behaviour.Form {
    /// The message that a line of input means, if it does.
    func message(_ line: [UInt8]) -> WebSocketMessage? {
        switch self {
        case .text: String(validating: line, as: UTF8.self).map(WebSocketMessage.text)
        case .binary: .binary(line)
        case .base64: decodedBase64(line).map(WebSocketMessage.binary)
        }
    }

    /// Why a line means none.
    func complaint(aboutLine number: Int) -> CommandFailure {
        CommandFailure(
            code: Exit.usage,
            message: self == .base64
                ? "line \(number) of the input is not Base64 (RFC 4648 §4)"
                : "line \(number) of the input is not UTF-8; send it with --binary")
    }

    /// Prints a message; false when nobody reads any more.
    func show(_ message: WebSocketMessage, json: Bool) async -> Bool {
        switch message {
        case .text(let text) where json:
            return await Output.standard.write(json: ["event": "message", "kind": "text", "text": .string(text)])
        case .binary(let bytes) where json:
            return await Output.standard.write(json: [
                "event": "message", "kind": "binary", "base64": .string(HandshakeText.base64(bytes)),
            ])
        case .text(let text):
            return await Output.standard.write(line: Terminal.isOutputTerminal ? text.escapedForTerminal : text)
        case .binary(let bytes) where self == .base64:
            return await Output.standard.write(line: HandshakeText.base64(bytes))
        case .binary(let bytes):
            guard Terminal.isOutputTerminal else {
                return await Output.standard.write(bytes + [UInt8(ascii: "\n")])
            }
            return await Output.standard.write(line: hexPreview(bytes))
        }
    }
}

/// The beginning of a binary message, readable.
private func hexPreview(_ bytes: [UInt8]) -> String {
    let shown = bytes.prefix(32).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    return "(binary, \(size(bytes: bytes.count))) \(shown)\(bytes.count > 32 ? " …" : "")"
}
