//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What a textual address is, without asking the system.
package enum IPAddress {
    package static func isIPv4(_ text: some StringProtocol) -> Bool {
        var dots = 0
        var digits = 0
        var value = 0
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "."):
                guard digits > 0 else { return false }
                dots += 1
                (digits, value) = (0, 0)
            case 0x30...0x39:
                // "01" would be octal to some.
                guard digits == 0 || value > 0 else { return false }
                digits += 1
                value = value * 10 + Int(byte - 0x30)
                guard value <= 255 else { return false }
            default: return false
            }
        }
        return dots == 3 && digits > 0
    }

    /// RFC 4291 §2.2, without a zone.
    package static func isIPv6(_ text: some StringProtocol) -> Bool {
        guard text.utf8.contains(UInt8(ascii: ":")) else { return false }
        var text = String(text)
        guard text.utf8.count >= 2, text.utf8.count <= 45 else { return false }
        // An embedded IPv4 tail counts as two groups.
        if let colon = text.lastIndex(of: ":"), text[colon...].contains(".") {
            guard isIPv4(text[text.index(after: colon)...]) else { return false }
            text = String(text[...colon]) + "0:0"
        }
        let halves = text.components(separatedBy: "::")
        guard halves.count <= 2 else { return false }
        var groups = 0
        for half in halves where !half.isEmpty {
            for group in half.split(separator: ":", omittingEmptySubsequences: false) {
                guard (1...4).contains(group.utf8.count), group.utf8.allSatisfy({ $0.hexValue != nil }) else {
                    return false
                }
                groups += 1
            }
        }
        return halves.count == 2 ? groups <= 7 : groups == 8
    }

    /// An address of either family. One that is link-local, or of a group, may have a zone (RFC 4007 §11), such as
    /// `fe80::1%eth0`; it means nothing with others.
    package static func isAddress(_ text: some StringProtocol) -> Bool {
        guard let percent = text.utf8.firstIndex(of: UInt8(ascii: "%")) else { return isIPv4(text) || isIPv6(text) }
        guard isIPv6(text[..<percent]), let bytes = bytes(String(text[..<percent])) else { return false }
        let isScoped = bytes[0] == 0xFF || bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80
        return isScoped && isZone(text[text.utf8.index(after: percent)...])
    }

    /// The zone of an address that has one: an interface's name, or its number.
    package static func zone(_ text: some StringProtocol) -> String? {
        guard isAddress(text), let percent = text.utf8.firstIndex(of: UInt8(ascii: "%")) else { return nil }
        return String(text[text.utf8.index(after: percent)...])
    }

    /// What is left of an address when its zone, which only this machine knows, is taken off. Other text stays.
    package static func withoutZone(_ text: String) -> String {
        guard zone(text) != nil, let percent = text.utf8.firstIndex(of: UInt8(ascii: "%")) else { return text }
        return String(text[..<percent])
    }

    /// Linux lets an interface's name have up to 15 bytes.
    private static func isZone(_ text: some StringProtocol) -> Bool {
        (1...15).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                byte > 0x20 && byte < 0x7F && !"%/:[]\\\"<>^`{|}?#@".utf8.contains(byte)
            }
    }

    /// The 4 or 16 bytes of an address, without its zone; `nil` for anything else.
    package static func bytes(_ text: some StringProtocol) -> [UInt8]? {
        if isIPv4(text) { return text.split(separator: ".").compactMap { UInt8($0) } }
        if zone(text) != nil { return bytes(withoutZone(String(text))) }
        guard isIPv6(text) else { return nil }
        let halves = String(text).components(separatedBy: "::").map { half in
            half.split(separator: ":").flatMap { group -> [UInt8] in
                if group.contains(".") { return group.split(separator: ".").compactMap { UInt8($0) } }
                let value = UInt16(group, radix: 16) ?? 0
                return [UInt8(value >> 8), UInt8(value & 0xFF)]
            }
        }
        guard halves.count == 2 else { return halves[0] }
        return halves[0] + [UInt8](repeating: 0, count: 16 - halves[0].count - halves[1].count) + halves[1]
    }
}

extension String {
    fileprivate func components(separatedBy separator: String) -> [Substring] {
        var result: [Substring] = []
        var rest = self[...]
        while let range = rest.firstRange(of: separator) {
            result.append(rest[..<range.lowerBound])
            rest = rest[range.upperBound...]
        }
        result.append(rest)
        return result
    }

    package func firstRange(of other: String) -> Range<String.Index>? { self[...].firstRange(of: other) }
}

extension Substring {
    /// The first place where `other` stands, compared by UTF-8.
    fileprivate func firstRange(of other: String) -> Range<String.Index>? {
        let needle = Array(other.utf8)
        var start = utf8.startIndex
        while start != utf8.endIndex {
            if utf8[start...].starts(with: needle) {
                return start..<utf8.index(start, offsetBy: needle.count)
            }
            start = utf8.index(after: start)
        }
        return nil
    }
}
