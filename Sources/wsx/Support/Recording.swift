//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Glibc
import WebSocketCore
import WebSockets

/// What `connect --record` writes: each message as a line of JSON, with its time and direction.
final class Recording: Sendable {
    enum Direction: String, Sendable { case sent, received }

    struct Record: Sendable {
        let at: Duration
        let direction: Direction
        let message: WebSocketMessage
    }

    private let descriptor: CInt
    private let path: String
    private let start = ContinuousClock.now
    private let queue = DispatchQueue(label: "wsx.recording")

    /// Begins a new file; one that is there is not overwritten.
    init(_ path: String) throws {
        self.path = path
        descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw CommandFailure(
                code: Exit.usage, message: "--record: \(path) cannot be created: \(String(cString: strerror(errno)))")
        }
    }

    /// Writes a message; throws when the file cannot take it.
    func write(_ direction: Direction, _ message: WebSocketMessage) async throws(CommandFailure) {
        let record = Record(at: ContinuousClock.now - start, direction: direction, message: message)
        let line = Array((record.json.text + "\n").utf8)
        let error = await withCheckedContinuation { continuation in
            queue.async { [descriptor] in
                continuation.resume(returning: line.withUnsafeBytes { writeAll(descriptor, $0) })
            }
        }
        guard error != 0 else { return }
        throw CommandFailure(
            code: Exit.outputFailed, message: "--record: \(path) cannot be written: \(String(cString: strerror(error)))"
        )
    }

    deinit { close(descriptor) }
}

extension Recording.Record {
    var json: JSON {
        let content: (String, JSON) =
            switch message {
            case .text(let text): ("text", .string(text))
            case .binary(let bytes): ("base64", .string(HandshakeText.base64(bytes)))
            }
        return .object([
            ("at", .number(at.inSeconds)), ("direction", .string(direction.rawValue)), content,
        ])
    }

    init?(line: ArraySlice<UInt8>) {
        guard let members = JSON.members(of: line), case .number(let seconds) = members["at"], seconds >= 0,
            seconds < 1e9, case .string(let word) = members["direction"],
            let direction = Recording.Direction(rawValue: word)
        else { return nil }
        self.at = .seconds(seconds)
        self.direction = direction
        if case .string(let text) = members["text"] {
            message = .text(text)
        } else if case .string(let text) = members["base64"], let bytes = decodedBase64(Array(text.utf8)) {
            message = .binary(bytes)
        } else {
            return nil
        }
    }
}

extension JSON {
    /// The members of an object whose values are strings and numbers; `nil` for anything else.
    static func members(of line: ArraySlice<UInt8>) -> [String: JSON]? {
        guard let text = String(validating: line, as: UTF8.self) else { return nil }
        var reader = JSONReader(rest: text.unicodeScalars[...])
        return reader.object()
    }
}

/// Reads one flat object (RFC 8259).
private struct JSONReader {
    var rest: Substring.UnicodeScalarView

    mutating func object() -> [String: JSON]? {
        var members: [String: JSON] = [:]
        guard skip("{") else { return nil }
        if skip("}") { return isAtEnd ? members : nil }
        repeat {
            guard let name = string(), skip(":"), let value = value() else { return nil }
            members[name] = value
        } while skip(",")
        return skip("}") && isAtEnd ? members : nil
    }

    private var isAtEnd: Bool { rest.allSatisfy(Self.isSpace) }

    private static func isSpace(_ scalar: Unicode.Scalar) -> Bool { " \t\r\n".unicodeScalars.contains(scalar) }

    private mutating func skip(_ scalar: Unicode.Scalar) -> Bool {
        rest = rest.drop(while: Self.isSpace)
        guard rest.first == scalar else { return false }
        rest.removeFirst()
        return true
    }

    private mutating func value() -> JSON? {
        rest = rest.drop(while: Self.isSpace)
        if rest.first == "\"" { return string().map(JSON.string) }
        let number = rest.prefix { "+-0123456789.eE".unicodeScalars.contains($0) }
        rest = rest.dropFirst(number.count)
        return Double(String(String.UnicodeScalarView(number))).map(JSON.number)
    }

    private mutating func string() -> String? {
        guard skip("\"") else { return nil }
        var result = String.UnicodeScalarView()
        while let scalar = rest.popFirst() {
            switch scalar {
            case "\"": return String(result)
            case "\\":
                guard let scalar = escaped() else { return nil }
                result.append(scalar)
            default: result.append(scalar)
            }
        }
        return nil
    }

    private mutating func escaped() -> Unicode.Scalar? {
        switch rest.popFirst() {
        case "n": return "\n"
        case "r": return "\r"
        case "t": return "\t"
        case "b": return "\u{8}"
        case "f": return "\u{C}"
        case "\"": return "\""
        case "\\": return "\\"
        case "/": return "/"
        case "u":
            guard let unit = hex() else { return nil }
            guard (0xD800..<0xDC00).contains(unit) else { return Unicode.Scalar(unit) }
            guard rest.popFirst() == "\\", rest.popFirst() == "u", let low = hex(), (0xDC00..<0xE000).contains(low)
            else { return nil }
            return Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))
        default: return nil
        }
    }

    private mutating func hex() -> UInt32? {
        let digits = String(String.UnicodeScalarView(rest.prefix(4)))
        guard digits.utf8.count == 4, !digits.hasPrefix("+"), !digits.hasPrefix("-") else { return nil }
        rest = rest.dropFirst(4)
        return UInt32(digits, radix: 16)
    }
}
