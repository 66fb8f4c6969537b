//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The PROXY protocol's header (haproxy's proxy-protocol.txt, versions 1 and 2), in front of everything a client says.
package enum ProxyHeader: Equatable, Sendable {
    /// The connection is the proxy's own, such as a health check: the socket's addresses count.
    case local
    /// Whom the proxy speaks for.
    case client(address: String, port: Int)
    /// Whom it speaks for has no IP address, or the proxy does not know it.
    case unknown

    package enum Outcome: Equatable, Sendable {
        case incomplete
        /// The header, and how many bytes it took.
        case header(ProxyHeader, byteCount: Int)
        case malformed
    }

    /// No header of either version that is worth reading is longer.
    package static let maximumBytes = 16 + 536
    private static let signature: [UInt8] = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A,
    ]

    package static func parse(_ bytes: [UInt8]) -> Outcome {
        guard let first = bytes.first else { return .incomplete }
        return first == signature[0] ? parseBinary(bytes) : parseText(bytes)
    }

    /// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443`, in at most 107 bytes.
    private static func parseText(_ bytes: [UInt8]) -> Outcome {
        let prefix = Array("PROXY ".utf8)
        guard bytes.starts(with: prefix.prefix(bytes.count)) else { return .malformed }
        guard let end = bytes.firstIndex(of: 0x0D) else { return bytes.count >= 107 ? .malformed : .incomplete }
        guard end <= 105 else { return .malformed }
        guard end + 1 < bytes.count else { return .incomplete }
        guard bytes[end + 1] == 0x0A else { return .malformed }
        let words = String(decoding: bytes[..<end], as: UTF8.self).split(
            separator: " ", omittingEmptySubsequences: false)
        if words.count >= 2, words[1] == "UNKNOWN" { return .header(.unknown, byteCount: end + 2) }
        guard words.count == 6, words[1] == "TCP4" || words[1] == "TCP6", let port = Self.port(words[4]),
            Self.port(words[5]) != nil
        else { return .malformed }
        let isAddress = words[1] == "TCP4" ? IPAddress.isIPv4 as (Substring) -> Bool : IPAddress.isIPv6
        guard isAddress(words[2]), isAddress(words[3]) else { return .malformed }
        return .header(.client(address: String(words[2]), port: port), byteCount: end + 2)
    }

    private static func port(_ text: Substring) -> Int? {
        guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int(text), number <= 65_535
        else { return nil }
        return number
    }

    private static func parseBinary(_ bytes: [UInt8]) -> Outcome {
        guard bytes.starts(with: signature.prefix(bytes.count)) else { return .malformed }
        guard bytes.count >= 16 else { return .incomplete }
        let length = Int(bytes[14]) << 8 | Int(bytes[15])
        guard bytes[12] >> 4 == 2, length <= maximumBytes - 16 else { return .malformed }
        guard bytes.count >= 16 + length else { return .incomplete }
        let body = bytes[16..<(16 + length)]
        let header: ProxyHeader
        switch (bytes[12] & 0x0F, bytes[13]) {
        case (0, _): header = .local
        // TCP over IPv4 and over IPv6: source, destination, two ports.
        case (1, 0x11):
            guard length >= 12 else { return .malformed }
            header = .client(
                address: body.prefix(4).map { String($0) }.joined(separator: "."),
                port: Int(body[16 + 8]) << 8 | Int(body[16 + 9]))
        case (1, 0x21):
            guard length >= 36 else { return .malformed }
            let groups = stride(from: 16, to: 32, by: 2).map {
                String(Int(body[$0]) << 8 | Int(body[$0 + 1]), radix: 16)
            }
            header = .client(
                address: groups.joined(separator: ":"), port: Int(body[16 + 32]) << 8 | Int(body[16 + 33]))
        case (1, _): header = .unknown
        default: return .malformed
        }
        return .header(header, byteCount: 16 + length)
    }
}
