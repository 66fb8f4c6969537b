//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes

/// A request head as it came over the wire.
package struct HTTPRequestHead: Sendable, Hashable {
    package var method: String
    /// The target of the request line, byte for byte.
    package var target: String
    package var fields: HTTPFields
    /// Whether the client speaks HTTP/1.0. What is above 1.1 counts as 1.1 (RFC 9110 §2.5).
    package var isHTTP10: Bool

    package init(method: String, target: String, fields: HTTPFields, isHTTP10: Bool = false) {
        self.method = method
        self.target = target
        self.fields = fields
        self.isHTTP10 = isHTTP10
    }
}

/// Reads a request head strictly (RFC 9112): CRLF only, no folding, no space around names, no control
/// characters, finite sizes. It is pure: bytes in, an outcome out.
package struct HTTPRequestHeadParser: Sendable {
    package struct Limits: Sendable, Hashable {
        package var requestLineBytes = 8_192
        package var fieldBytes = 8_192
        package var fields = 128
        /// Of the whole head, with its empty line.
        package var totalBytes = 64 << 10

        package init() {}
        /// No head within the limits is longer.
        package var headBytes: Int { min(requestLineBytes + 4 + fields * (fieldBytes + 2), totalBytes) }
    }

    /// Empty lines in front of a request that are ignored: RFC 9112 §2.2 asks for at least one.
    package static let maximumEmptyLines = 4

    package enum Outcome: Equatable {
        case incomplete
        /// The head, and how many bytes it took. Bytes behind it belong to the connection.
        case head(HTTPRequestHead, byteCount: Int)
        case refused(UpgradeRefusal)
    }

    package static func parse(_ bytes: UnsafeRawBufferPointer, limits: Limits = Limits()) -> Outcome {
        var reader = LineReader(bytes: bytes)
        var next = reader.line()
        var start = 0
        for _ in 0..<maximumEmptyLines {
            guard let line = next, line.isEmpty else { break }
            start = reader.position
            next = reader.line()
        }
        guard let requestLine = next else {
            if reader.isMalformed { return .refused(.badRequest("a line does not end in CRLF")) }
            if reader.pendingCount > limits.requestLineBytes { return .refused(.uriTooLong(limits)) }
            return start < bytes.count && !bytes[start].isTokenCharacter && bytes[start] != 0x0D
                ? .refused(.badRequest("this is not an HTTP request")) : .incomplete
        }
        guard requestLine.count <= limits.requestLineBytes else { return .refused(.uriTooLong(limits)) }
        let parts = requestLine.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[0].isEmpty, parts[0].allSatisfy(\.isTokenCharacter) else {
            return .refused(.badRequest("the request line is malformed"))
        }
        guard !parts[1].isEmpty, parts[1].allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            return .refused(.badRequest("the request target is malformed"))
        }
        guard let version = version(parts[2]) else { return .refused(.badRequest("the request line is malformed")) }
        // Only the major number says whether this side understands (RFC 9110 §2.5, §15.6.6).
        guard version.major == 1 else { return .refused(.versionNotSupported) }

        var fields = HTTPFields()
        var count = 0
        while let line = reader.line() {
            if line.isEmpty {
                guard reader.position - start <= limits.headBytes else { return .refused(.headTooLarge(limits)) }
                let head = HTTPRequestHead(
                    method: String(decoding: parts[0], as: UTF8.self),
                    target: String(decoding: parts[1], as: UTF8.self),
                    fields: fields, isHTTP10: version.minor == 0)
                return .head(head, byteCount: reader.position)
            }
            count += 1
            guard count <= limits.fields else { return .refused(.tooManyFields(limits)) }
            guard line.count <= limits.fieldBytes else { return .refused(.fieldTooLarge(limits)) }
            guard let field = HTTPFieldLine.parse(line) else {
                return .refused(.badRequest("a header line is malformed"))
            }
            fields.append(field)
        }
        if reader.isMalformed { return .refused(.badRequest("a line does not end in CRLF")) }
        if reader.pendingCount > limits.fieldBytes { return .refused(.fieldTooLarge(limits)) }
        return bytes.count - start >= limits.headBytes ? .refused(.headTooLarge(limits)) : .incomplete
    }

    /// `HTTP/1.1`: one digit each (RFC 9112 §2.3).
    private static func version(_ text: Slice<UnsafeRawBufferPointer>) -> (major: UInt8, minor: UInt8)? {
        let bytes = Array(text)
        guard bytes.count == 8, bytes.starts(with: "HTTP/".utf8), bytes[6] == UInt8(ascii: "."),
            (0x30...0x39).contains(bytes[5]), (0x30...0x39).contains(bytes[7])
        else { return nil }
        return (bytes[5] - 0x30, bytes[7] - 0x30)
    }
}

package enum HTTPFieldLine {
    /// `name: value` (RFC 9112 §5). The value's bytes are read as ISO Latin 1 and may hold no controls but tab.
    package static func parse(_ line: Slice<UnsafeRawBufferPointer>) -> HTTPField? {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex,
            line[..<colon].allSatisfy(\.isTokenCharacter),
            let name = HTTPField.Name(String(decoding: line[..<colon], as: UTF8.self))
        else { return nil }
        var value = line[(colon + 1)...]
        while let first = value.first, first == 0x20 || first == 0x09 { value = value.dropFirst() }
        while let last = value.last, last == 0x20 || last == 0x09 { value = value.dropLast() }
        guard value.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else { return nil }
        return HTTPField(name: name, lenientValue: value)
    }
}

/// Cuts bytes at CRLF. A bare LF or CR is an error: it is how requests are smuggled.
struct LineReader {
    let bytes: UnsafeRawBufferPointer
    private(set) var position = 0
    private(set) var isMalformed = false

    init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// Bytes of the line that is not complete, without the CR that may end it.
    var pendingCount: Int {
        let count = bytes.count - position
        return count > 0 && bytes[bytes.count - 1] == 0x0D ? count - 1 : count
    }

    /// The next line without its CRLF, or `nil` when it is not complete.
    mutating func line() -> Slice<UnsafeRawBufferPointer>? {
        guard !isMalformed else { return nil }
        var index = position
        while index < bytes.count {
            switch bytes[index] {
            case 0x0A:
                isMalformed = true
                return nil
            case 0x0D:
                guard index + 1 < bytes.count else { return nil }
                guard bytes[index + 1] == 0x0A else {
                    isMalformed = true
                    return nil
                }
                defer { position = index + 2 }
                return bytes[position..<index]
            default: index += 1
            }
        }
        return nil
    }
}
