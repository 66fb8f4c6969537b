//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// An IP address as bytes: 4 or 16. IPv4 addresses mapped into IPv6 count as IPv4. A zone, which only addresses of one link
/// have (RFC 4007 §11), is no part of it.
package struct AddressBytes: Sendable, Hashable {
    package let bytes: [UInt8]

    package init?(_ text: some StringProtocol) {
        if IPAddress.isIPv4(text) {
            bytes = text.split(separator: ".").map { UInt8($0) ?? 0 }
            return
        }
        let zone = text.firstIndex(of: "%").map { text[$0...].dropFirst() }
        var text = String(text.prefix { $0 != "%" })
        guard IPAddress.isIPv6(text) else { return nil }
        if let colon = text.lastIndex(of: ":"), text[colon...].contains(".") {
            let tail = text[text.index(after: colon)...].split(separator: ".").map { UInt16($0) ?? 0 }
            func group(_ high: UInt16, _ low: UInt16) -> String { String(high << 8 | low, radix: 16) }
            text = "\(text[...colon])\(group(tail[0], tail[1])):\(group(tail[2], tail[3]))"
        }
        func groups(_ half: Substring) -> [UInt8] {
            half.split(separator: ":").flatMap { group in
                let value = UInt16(group, radix: 16) ?? 0
                return [UInt8(value >> 8), UInt8(value & 0xFF)]
            }
        }
        var all: [UInt8]
        if let gap = text.firstRange(of: "::") {
            let front = groups(text[..<gap.lowerBound])
            let back = groups(text[gap.upperBound...])
            all = front + [UInt8](repeating: 0, count: 16 - front.count - back.count) + back
        } else {
            all = groups(text[...])
        }
        if all[..<10].allSatisfy({ $0 == 0 }), all[10] == 0xFF, all[11] == 0xFF { all.removeFirst(12) }
        bytes = all
        if let zone, zone.isEmpty || !isLinkLocalIPv6 { return nil }
    }

    /// The first bits of an IPv6 address, which a site has to itself; all of an IPv4 one.
    package func prefix(ofIPv6 bits: Int) -> [UInt8] {
        guard bytes.count == 16 else { return bytes }
        return bytes.indices.map { index in
            let left = bits - index * 8
            return left >= 8 ? bytes[index] : left <= 0 ? 0 : bytes[index] & ~(0xFF >> UInt8(left))
        }
    }

    /// Whether this is an address of one link, which every machine chooses for itself (RFC 4291 §2.5.6).
    package var isLinkLocalIPv6: Bool { bytes.count == 16 && bytes[0] == 0xFE && bytes[1] & 0xC0 == 0x80 }
}

/// Addresses that share their first bits, such as `10.0.0.0/8`, `2001:db8::/32` or a single one.
package struct AddressRange: Sendable, Hashable {
    private let network: [UInt8]
    private let bits: Int

    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        // With a zone it would mean one link, and count on all.
        guard parts.count <= 2, !parts[0].contains("%"), let address = AddressBytes(parts[0]) else { return nil }
        let all = address.bytes.count * 8
        if parts.count == 2 {
            // Of an IPv4 address that is mapped into IPv6 the first 96 bits say that it is one.
            let prefix = all == 32 && parts[0].utf8.contains(UInt8(ascii: ":")) ? 96 : 0
            guard let bits = Int(parts[1]), (prefix...(prefix + all)).contains(bits),
                parts[1].utf8.allSatisfy({ $0 >= 0x30 })
            else { return nil }
            self.bits = bits - prefix
        } else {
            bits = all
        }
        network = address.bytes
    }

    package func contains(_ address: AddressBytes) -> Bool {
        guard address.bytes.count == network.count else { return false }
        for index in 0..<(bits + 7) / 8 {
            let mask: UInt8 = bits - index * 8 >= 8 ? 0xFF : ~(0xFF >> UInt8(bits - index * 8))
            if (address.bytes[index] ^ network[index]) & mask != 0 { return false }
        }
        return true
    }
}
