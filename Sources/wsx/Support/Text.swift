//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// Just enough JSON to print: Foundation's encoder would be the command's only use of Foundation.
enum JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByDictionaryLiteral
{
    case string(String)
    case integer(Int)
    case number(Double)
    case boolean(Bool)
    case null
    case array([JSON])
    case object([(String, JSON)])

    init(stringLiteral value: String) { self = .string(value) }
    init(integerLiteral value: Int) { self = .integer(value) }
    init(booleanLiteral value: Bool) { self = .boolean(value) }
    init(dictionaryLiteral elements: (String, JSON)...) { self = .object(elements) }

    static func optional(_ text: String?) -> JSON { text.map(JSON.string) ?? .null }

    /// One line (RFC 8259).
    var text: String {
        switch self {
        case .string(let string): Self.quoted(string)
        case .integer(let integer): "\(integer)"
        // JSON has neither infinity nor NaN.
        case .number(let number): number.isFinite ? "\(number)" : "null"
        case .boolean(let boolean): "\(boolean)"
        case .null: "null"
        case .array(let elements): "[" + elements.map(\.text).joined(separator: ",") + "]"
        case .object(let members):
            "{" + members.map { Self.quoted($0.0) + ":" + $0.1.text }.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ string: String) -> String {
        var result = "\""
        result.reserveCapacity(string.utf8.count + 2)
        for scalar in string.unicodeScalars {
            switch scalar.value {
            case 0x22, 0x5C:
                result.unicodeScalars.append("\\")
                result.unicodeScalars.append(scalar)
            case 0x0A: result += "\\n"
            case 0x0D: result += "\\r"
            case 0x09: result += "\\t"
            // Beyond what JSON asks for: C1 and bidirectional controls, because the line may end up on a terminal.
            case 0x00..<0x20, 0x7F..<0xA0, 0x200E, 0x200F, 0x2028...0x202E, 0x2066...0x2069, 0xFEFF:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        result.unicodeScalars.append("\"")
        return result
    }
}

extension String {
    /// Safe to show on a terminal. Line breaks and tabs of a message stay; nothing else that could steer it does.
    var escapedForTerminal: String {
        split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.split(separator: "\t", omittingEmptySubsequences: false).map { String($0).escapedForLog }
                .joined(separator: "\t")
        }.joined(separator: "\n")
    }
}

/// The bytes that Base64 text means (RFC 4648 §4), with its padding; `nil` for anything else. A carriage return at the
/// end is the line's.
func decodedBase64(_ line: [UInt8]) -> [UInt8]? {
    let text = line.last == UInt8(ascii: "\r") ? line.dropLast() : line[...]
    guard text.count.isMultiple(of: 4) else { return nil }
    let padding = text.reversed().prefix { $0 == UInt8(ascii: "=") }.count
    guard padding <= 2 else { return nil }
    var bytes: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for byte in text.dropLast(padding) {
        let value: UInt8
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): value = 62
        case UInt8(ascii: "/"): value = 63
        default: return nil
        }
        bits = bits << 6 | UInt32(value)
        count += 6
        if count >= 8 {
            count -= 8
            bytes.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
        }
    }
    return bytes
}

/// A number with a fixed count of decimals and commas between thousands.
func decimal(_ value: Double, _ decimals: Int = 0) -> String {
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = (value * scale).rounded()
    guard scaled.magnitude < 9e15 else { return "\(value)" }
    let whole = Int(scaled) / Int(scale)
    let fraction = Int(scaled.magnitude) % Int(scale)
    var digits = ""
    for (index, digit) in String(whole.magnitude).reversed().enumerated() {
        if index > 0, index % 3 == 0 { digits.append(",") }
        digits.append(digit)
    }
    let text = (value < 0 ? "-" : "") + String(digits.reversed())
    guard decimals > 0 else { return text }
    let padding = String(repeating: "0", count: decimals - String(fraction).count)
    return "\(text).\(padding)\(fraction)"
}

func decimal(_ value: Int) -> String { decimal(Double(value)) }

/// A time in the unit that suits it.
func duration(nanoseconds: UInt64) -> String {
    switch nanoseconds {
    case ..<1_000_000: "\(decimal(Double(nanoseconds) / 1_000, 1)) µs"
    case ..<1_000_000_000: "\(decimal(Double(nanoseconds) / 1_000_000, 2)) ms"
    default: "\(decimal(Double(nanoseconds) / 1_000_000_000, 2)) s"
    }
}

/// A size in the unit that suits it.
func size(bytes: Int) -> String {
    switch bytes {
    case ..<1_000: "\(bytes) bytes"
    case ..<1_000_000: "\(decimal(Double(bytes) / 1_000, 1)) kB"
    case ..<1_000_000_000: "\(decimal(Double(bytes) / 1_000_000, 1)) MB"
    default: "\(decimal(Double(bytes) / 1_000_000_000, 2)) GB"
    }
}
