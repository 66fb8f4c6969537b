//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import WebSocketCore
import WebSockets

/// What `connect` makes of its input, and when it ends.
struct ConversationOptions: ParsableArguments {
    @Flag(name: [.customShort("1"), .long], help: "Close after the first message that arrives.")
    var oneMessage = false

    @Option(name: .long, help: ArgumentHelp("Close after this many messages have arrived.", valueName: "count"))
    var maxMessages: Int?

    @Flag(
        name: [.customShort("n"), .long],
        help: "Stay connected at the end of input, until the server closes. So it is without input, as in cron.")
    var noClose = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "At the end of input, close once nothing has arrived for so long. (default: once the server has answered two pings)",
            valueName: "seconds"))
    var wait: Double?

    @Option(
        name: .long,
        help: ArgumentHelp("End with exit code 124 when no message arrives for so long.", valueName: "seconds"))
    var timeout: Double?

    @Flag(name: [.customShort("b"), .long], help: "Send lines as binary messages; they need not be UTF-8.")
    var binary = false

    @Flag(
        name: .long,
        help: "Lines are binary messages in Base64, in both directions. Text messages are printed as they are.")
    var base64 = false

    @Flag(name: .long, help: "No lines: send bytes as they come, in binary messages, and write messages as they come.")
    var raw = false

    @Flag(name: .long, help: "The whole input is one message, text or with --binary a binary one.")
    var whole = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Write each message with its time and direction into this new file; see listen --replay.",
            valueName: "file"), completion: .file())
    var record: String?

    @Option(name: .long, help: ArgumentHelp("The code to close with at the end of input.", valueName: "code"))
    var closeCode: UInt16 = 1000

    @Option(name: .long, help: ArgumentHelp("The reason to close with, at most 123 bytes.", valueName: "text"))
    var closeReason = ""

    func validate() throws {
        if let maxMessages, maxMessages < 1 {
            throw ValidationError("--max-messages is \(maxMessages); it must be at least 1")
        }
        guard maxMessages == nil || !oneMessage else {
            throw ValidationError("--one-message is --max-messages 1; leave one out")
        }
        guard !base64 || !binary else {
            throw ValidationError("--base64 has binary messages already; leave --binary out")
        }
        guard !noClose || wait == nil else {
            throw ValidationError("--no-close waits for ever; leave --wait out")
        }
        for (name, value) in [("--wait", wait), ("--timeout", timeout)] {
            guard let value, !(value > 0 && value <= 31_536_000) else { continue }
            throw ValidationError("\(name) is \(value); it must be positive and at most 31536000")
        }
        let forms = [("--raw", raw), ("--whole", whole), ("--base64", base64)].filter(\.1).map(\.0)
        guard forms.count < 2 else {
            throw ValidationError("\(forms.joined(separator: " and ")) contradict each other; choose one")
        }
        do throws(WebSocketError) {
            try closeFrame.validate()
        } catch {
            throw ValidationError(
                "\(error.code == .invalidCloseCode ? "--close-code" : "--close-reason"): \(error.message)")
        }
        guard closeCode != 1005 else { throw ValidationError("--close-code: 1005 may not be sent; leave it out") }
    }

    private var closeFrame: WebSocketCloseFrame {
        WebSocketCloseFrame(code: .init(rawValue: closeCode), reason: closeReason)
    }

    func behaviour() throws -> Conversation.Behaviour {
        let endOfInput: Conversation.Behaviour.EndOfInput =
            if let wait {
                .quiet(.seconds(wait))
            } else {
                noClose || Terminal.isInputNull ? .stay : .replies
            }
        return .init(
            maximumMessages: oneMessage ? 1 : maxMessages, needsMessage: oneMessage,
            form: base64 ? .base64 : raw ? .raw : binary ? .binary : .text,
            framing: raw ? .chunks : whole ? .whole : .lines,
            endOfInput: endOfInput, silence: timeout.map { Duration.seconds($0) },
            recording: try record.map(Recording.init), close: closeFrame)
    }
}
