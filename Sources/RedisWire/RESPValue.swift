//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// One value of RESP3. What RESP2 says in its own way (`$-1`, `*-1`) reads as RESP3's null.
package enum RESPValue: Sendable, Hashable {
    case null
    /// `+`: a line.
    case simple(String)
    /// `-` and `!`.
    case error(RESPError)
    case integer(Int64)
    case double(Double)
    case boolean(Bool)
    /// `(`: an integer of any size, in decimal digits.
    case bigNumber(String)
    /// `$`: bytes.
    case bulk([UInt8])
    /// `=`: text with a format of three characters, such as `txt`.
    case verbatim(format: String, [UInt8])
    case array([RESPValue])
    /// `%`: the pairs in the order in which they came.
    case map([Pair])
    /// `~`: in the order in which they came, whether or not they differ.
    case set([RESPValue])
    /// `>`: belongs to no command.
    case push([RESPValue])

    package struct Pair: Sendable, Hashable {
        package let key: RESPValue
        package let value: RESPValue

        package init(key: RESPValue, value: RESPValue) {
            self.key = key
            self.value = value
        }
    }
}

/// What a server says instead of a result: a word in capitals, which programs decide by, and a sentence.
package struct RESPError: Error, Sendable, Hashable {
    package let text: String
    package init(_ text: String) { self.text = text }

    /// The first word, such as `NOAUTH`, `OOM` or `MOVED`.
    package var code: Substring { text.prefix { $0 != " " } }
}

extension RESPValue {
    /// The bytes of a string of any kind.
    package var bytes: [UInt8]? {
        switch self {
        case .bulk(let bytes), .verbatim(_, let bytes): bytes
        case .simple(let text), .bigNumber(let text): Array(text.utf8)
        case .null, .error, .integer, .double, .boolean, .array, .map, .set, .push: nil
        }
    }

    /// A string of any kind that is UTF-8.
    package var text: String? { bytes.flatMap { String(validating: $0, as: UTF8.self) } }

    /// A number, also one that came as a string.
    package var number: Int64? {
        if case .integer(let number) = self { return number }
        return text.flatMap { Int64($0) }
    }

    /// What an array, a set or a push consists of.
    package var elements: [RESPValue]? {
        switch self {
        case .array(let elements), .set(let elements), .push(let elements): elements
        case .null, .simple, .error, .integer, .double, .boolean, .bigNumber, .bulk, .verbatim, .map: nil
        }
    }

    /// What a map has for a name; RESP2's arrays of names and values are maps too.
    package subscript(name: String) -> RESPValue? {
        let name = Array(name.utf8)
        switch self {
        case .map(let pairs): return pairs.first { $0.key.bytes == name }?.value
        case .array(let elements):
            for index in stride(from: 0, to: elements.count - 1, by: 2) where elements[index].bytes == name {
                return elements[index + 1]
            }
            return nil
        case .null, .simple, .error, .integer, .double, .boolean, .bigNumber, .bulk, .verbatim, .set, .push: return nil
        }
    }
}
