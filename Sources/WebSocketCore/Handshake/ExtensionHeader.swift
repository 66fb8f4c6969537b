//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// One extension of a `Sec-WebSocket-Extensions` header (RFC 6455 §9.1).
package struct ExtensionOffer: Equatable, Sendable {
    package struct Parameter: Equatable, Sendable {
        package var name: String
        package var value: String?
    }
    package var name: String
    package var parameters: [Parameter]

    /// Reads a header's value in linear time; `nil` if it breaks the grammar.
    package static func parse(_ text: String) -> [ExtensionOffer]? {
        var scanner = HeaderScanner(text)
        var offers: [ExtensionOffer] = []
        repeat {
            scanner.skipSpace()
            // RFC 9110 §5.6.1: empty list elements are to be ignored.
            if scanner.peek == UInt8(ascii: ",") || scanner.isAtEnd { continue }
            guard let name = scanner.token() else { return nil }
            var offer = ExtensionOffer(name: name, parameters: [])
            scanner.skipSpace()
            while scanner.take(UInt8(ascii: ";")) {
                scanner.skipSpace()
                guard let parameter = scanner.token() else { return nil }
                scanner.skipSpace()
                var value: String?
                if scanner.take(UInt8(ascii: "=")) {
                    scanner.skipSpace()
                    guard let text = scanner.tokenOrQuoted() else { return nil }
                    value = text
                    scanner.skipSpace()
                }
                offer.parameters.append(.init(name: parameter, value: value))
            }
            offers.append(offer)
        } while scanner.take(UInt8(ascii: ","))
        return scanner.isAtEnd ? offers : nil
    }
}

/// Walks over the pieces of a header's value (RFC 9110 §5.6).
package struct HeaderScanner {
    private let bytes: [UInt8]
    private var index = 0

    package init(_ text: String) { bytes = Array(text.utf8) }

    package var isAtEnd: Bool { index == bytes.count }
    package var peek: UInt8? { index < bytes.count ? bytes[index] : nil }

    package mutating func skipSpace() {
        while let byte = peek, byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") { index += 1 }
    }

    package mutating func take(_ byte: UInt8) -> Bool {
        guard peek == byte else { return false }
        index += 1
        return true
    }

    package mutating func token() -> String? {
        let start = index
        while let byte = peek, byte.isTokenCharacter { index += 1 }
        return index > start ? String(decoding: bytes[start..<index], as: UTF8.self) : nil
    }

    /// A token, or a quoted string whose content is a token, as RFC 6455 §9.1 wants.
    package mutating func tokenOrQuoted() -> String? {
        guard take(UInt8(ascii: "\"")) else { return token() }
        var content: [UInt8] = []
        while let byte = peek {
            index += 1
            if byte == UInt8(ascii: "\"") {
                return !content.isEmpty && content.allSatisfy(\.isTokenCharacter)
                    ? String(decoding: content, as: UTF8.self) : nil
            }
            if byte == UInt8(ascii: "\\") {
                guard let escaped = peek else { return nil }
                index += 1
                content.append(escaped)
            } else {
                content.append(byte)
            }
        }
        return nil
    }

    /// A comma-separated list of tokens; `nil` if it breaks the grammar.
    package static func tokenList(_ text: String) -> [String]? {
        var scanner = HeaderScanner(text)
        var tokens: [String] = []
        repeat {
            scanner.skipSpace()
            if scanner.peek == UInt8(ascii: ",") || scanner.isAtEnd { continue }
            guard let token = scanner.token() else { return nil }
            tokens.append(token)
            scanner.skipSpace()
        } while scanner.take(UInt8(ascii: ","))
        return scanner.isAtEnd ? tokens : nil
    }
}

extension UInt8 {
    /// `tchar` of RFC 9110 §5.6.2.
    package var isTokenCharacter: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: "&"),
            UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."),
            UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
            true
        default: false
        }
    }
}

extension String {
    /// Whether the string is a non-empty `token` of RFC 9110 §5.6.2.
    package var isToken: Bool { !isEmpty && utf8.allSatisfy(\.isTokenCharacter) }
}
