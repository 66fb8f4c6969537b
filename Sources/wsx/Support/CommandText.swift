//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import HTTPTypes
import WebSocketCore
import WebSockets

/// The library's messages as the command's user can act on them.
enum CommandText {
    /// What the library calls its settings, and which option sets each. Longer names come first.
    private static let options = [
        ("tls.identity.certificateChain", "--cert"), ("tls.identity.privateKey", "--key"), ("tls.identity", "--cert"),
        ("proxyTLS.trust", "--ca"), ("tls.trust", "--ca"), ("tls.clientCertificates", "--client-ca"),
        ("tls.certificateChain", "--tls-cert"),
        ("tls.privateKey", "--tls-key"), ("tls.serverName", "--connect-to"), ("maximumRedirects", "--location"),
        ("maximumMessageSize", "--max-message-size"), ("maximumConnections", "--max-connections"),
        ("openTimeout", "--open-timeout"), ("origins", "--origin"),
    ]

    static func namingOptions(_ message: String) -> String {
        var rest = message[...]
        var result = ""
        while let first = rest.first {
            let isWordStart = result.last.map { !$0.isLetter && !$0.isNumber && $0 != "." } ?? true
            let match = options.first { name, _ in
                isWordStart && rest.hasPrefix(name) && rest.dropFirst(name.count).first?.isLetter != true
            }
            if let (name, option) = match {
                result += option
                rest = rest.dropFirst(name.count)
            } else {
                result.append(first)
                rest = rest.dropFirst()
            }
        }
        return result
    }

    /// The message, and of a refusal what the server says about it.
    static func message(of error: WebSocketError) -> String {
        let message = namingOptions(error.message)
        guard let response = error.response else { return message }
        var parts: [String] = []
        if let retry = response.headers[.retryAfter] { parts.append("Retry-After: \(retry)") }
        let body = String(decoding: response.body, as: UTF8.self)
        let isMarkup = response.headers[.contentType]?.contains("html") == true
        let line = body.split(whereSeparator: \.isNewline).first { line in line.contains { !$0.isWhitespace } }
        if let line, !isMarkup { parts.append("the server says “\(String(line.prefix(200)))”") }
        return ([message] + parts).joined(separator: "; ")
    }

    /// What is wrong with a first argument that is neither a command nor an option.
    static func commandComplaint(_ argument: String?) -> String? {
        let commands = Wsx.configuration.subcommands.filter { $0.configuration.shouldDisplay }
        let names = commands.map { $0._commandName } + ["help"]
        let hidden = Wsx.configuration.subcommands.map { $0._commandName }
        guard let argument, !argument.hasPrefix("-"), !names.contains(argument), !hidden.contains(argument) else {
            return nil
        }
        let near = names.min { distance($0, argument) < distance($1, argument) }
        let hint =
            near.flatMap { distance($0, argument) <= 2 ? "did you mean '\($0)'?" : nil }
            ?? "the commands are \(names.joined(separator: ", "))"
        return "Unexpected argument '\(argument)': \(hint)"
    }

    /// How many characters have to be put in, left out or exchanged to make one text of the other.
    static func distance(_ one: String, _ other: String) -> Int {
        let other = Array(other)
        var row = Array(0...other.count)
        for (index, character) in one.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in other.indices {
                let above = row[column + 1]
                row[column + 1] = min(
                    above + 1, row[column] + 1, diagonal + (character == other[column] ? 0 : 1))
                diagonal = above
            }
        }
        return row[other.count]
    }
}
