//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes

/// Comparisons that take the same time wherever the difference is, so that no peer can guess a secret byte by byte.
package enum ConstantTime {
    /// The time depends on the length of `offered` only, which the one who offers it knows.
    package static func isEqual(_ offered: [UInt8], _ secret: [UInt8]) -> Bool {
        var difference = offered.count ^ secret.count
        let count = secret.count
        for index in offered.indices {
            // Behind the secret's end it is compared with itself: as much work, and the lengths differ already.
            let other = count == 0 ? 0 : secret[index % count]
            difference |= Int(offered[index] ^ other)
        }
        return difference == 0
    }
}

/// What an `Authorization` header offers.
package enum Credentials: Equatable, Sendable {
    /// RFC 7617.
    case basic(user: String, password: [UInt8])
    /// RFC 6750.
    case bearer(String)

    /// `nil` when there is no such header, more than one, or a malformed one.
    package static func parse(_ fields: HTTPFields) -> Credentials? {
        let values = fields[values: .authorization]
        guard values.count == 1, let space = values[0].firstIndex(of: " ") else { return nil }
        let rest = values[0][space...].drop { $0 == " " }
        switch values[0][..<space].lowercased() {
        case "basic":
            guard let bytes = Base64.decode(rest), let colon = bytes.firstIndex(of: UInt8(ascii: ":")),
                let user = String(validating: bytes[..<colon], as: UTF8.self)
            else { return nil }
            return .basic(user: user, password: Array(bytes[(colon + 1)...]))
        case "bearer":
            // b64token of RFC 6750 §2.1.
            guard !rest.isEmpty, rest.utf8.allSatisfy({ $0.isTokenCharacter || "/=".utf8.contains($0) }) else {
                return nil
            }
            return .bearer(String(rest))
        default: return nil
        }
    }
}

/// RFC 4648 §4, strictly: with padding, without anything else.
package enum Base64 {
    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var bytes = Array(text.utf8)
        guard bytes.count % 4 == 0 else { return nil }
        var padding = 0
        while padding < 2, bytes.last == UInt8(ascii: "=") {
            bytes.removeLast()
            padding += 1
        }
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count * 3 / 4)
        var word: UInt32 = 0
        var bits = 0
        for byte in bytes {
            let value: UInt8
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - 65
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - 71
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte + 4
            case UInt8(ascii: "+"): value = 62
            case UInt8(ascii: "/"): value = 63
            default: return nil
            }
            word = word << 6 | UInt32(value)
            bits += 6
            if bits >= 8 {
                bits -= 8
                result.append(UInt8(truncatingIfNeeded: word >> UInt32(bits)))
            }
        }
        // The bits that padding leaves over are zero, or two texts would mean the same bytes.
        guard word & ((1 << UInt32(bits)) - 1) == 0 else { return nil }
        return result
    }
}
