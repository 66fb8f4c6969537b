//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What is wrong with a URL, as the end of a sentence that begins with “the URL”.
package struct URLProblem: Error {
    package let text: String

    package init(text: String) { self.text = text }
}

/// The part of a URL between `//` and the path: `user:password@host:port` (RFC 3986 §3.2).
struct URLAuthority {
    /// `user:password`, percent-decoded.
    let userInfo: [UInt8]?
    /// Without brackets, in lower case.
    let host: String
    let port: Int?

    /// - Parameter toASCII: Writes an internationalised host in ASCII. Without it such a host is refused.
    init(_ text: Substring, toASCII: WebSocketURL.HostConverter? = nil) throws(URLProblem) {
        func problem(_ text: String) -> URLProblem { URLProblem(text: text) }
        // Delimiters are looked for as bytes: a combining character behind one makes another Character of it.
        var authority = text
        if let at = authority.utf8.firstIndex(of: UInt8(ascii: "@")) {
            let credentials = authority[..<at]
            authority = authority[authority.utf8.index(after: at)...]
            guard !authority.utf8.contains(UInt8(ascii: "@")) else {
                throw problem("has more than one @; percent-encode those in the password")
            }
            userInfo = try Self.userInfo(credentials)
        } else {
            userInfo = nil
        }

        let hostText: Substring
        let portText: Substring?
        if authority.utf8.first == UInt8(ascii: "[") {
            guard let close = authority.utf8.firstIndex(of: UInt8(ascii: "]")) else {
                throw problem("has a [ without ]; put both around an IPv6 address")
            }
            hostText = authority[authority.utf8.index(after: authority.startIndex)..<close]
            guard let address = Self.address(hostText) else {
                throw problem("has an invalid IPv6 address in brackets; write it as [2001:db8::1]")
            }
            let after = authority[authority.utf8.index(after: close)...]
            guard after.isEmpty || after.utf8.first == UInt8(ascii: ":") else {
                throw problem("has text behind the ] of its host; only a port may follow, as in [::1]:8080")
            }
            portText = after.isEmpty ? nil : after[after.utf8.index(after: after.startIndex)...]
            host = address
        } else {
            let colon = authority.utf8.firstIndex(of: UInt8(ascii: ":"))
            hostText = authority[..<(colon ?? authority.endIndex)]
            portText = colon.map { authority[authority.utf8.index(after: $0)...] }
            guard !hostText.isEmpty else { throw problem("has no host; write it behind the ://") }
            var name = String(hostText)
            if !name.utf8.allSatisfy({ $0 < 0x80 }) {
                guard let toASCII else {
                    throw problem("has a host with a character outside ASCII; write it in its xn-- form")
                }
                guard name.utf8.count <= 1_024 else {
                    throw problem("has a host that is too long; a name has at most 253 bytes")
                }
                name = try toASCII(name)
            }
            guard !name.isEmpty, name.utf8.count <= 253, name.utf8.allSatisfy(\.isHostCharacter) else {
                throw problem("has a host that is not a name or an address; IPv6 addresses go into brackets")
            }
            guard !name.hasEmptyLabel else {
                throw problem("has a host with an empty label: two dots, or one in front; remove one")
            }
            host = name.lowercased()
        }
        if let portText, !portText.isEmpty {
            guard portText.utf8.count <= 5, portText.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
                let number = Int(portText), (1...65_535).contains(number)
            else { throw problem("has an invalid port; it must be in 1...65535") }
            port = number
        } else {
            port = nil
        }
    }

    /// Whether a text is one host and at most one port, without user information.
    static func isHostAndPort(_ text: Substring) -> Bool {
        guard let authority = try? URLAuthority(text) else { return false }
        return authority.userInfo == nil
    }

    /// An IPv6 address as it stands in brackets, its zone behind `%25` (RFC 6874) or, as people write it, `%`.
    private static func address(_ text: Substring) -> String? {
        guard let percent = text.utf8.firstIndex(of: UInt8(ascii: "%")) else {
            return IPAddress.isIPv6(text) ? text.lowercased() : nil
        }
        var zone = text[text.utf8.index(after: percent)...]
        if zone.utf8.starts(with: "25".utf8), zone.utf8.count > 2 { zone = zone.dropFirst(2) }
        // An interface's name has upper and lower case.
        let address = text[..<percent].lowercased() + "%" + zone
        return IPAddress.isAddress(address) ? address : nil
    }

    /// Credentials for Basic authorization (RFC 7617 §2).
    private static func userInfo(_ credentials: Substring) throws(URLProblem) -> [UInt8] {
        guard let colon = credentials.utf8.firstIndex(of: UInt8(ascii: ":")) else {
            throw URLProblem(text: "has a user without a password; write user:password@")
        }
        guard let decoded = String(credentials).percentDecoded else {
            throw URLProblem(text: "has an invalid percent-encoding in its user or password; write a bare % as %25")
        }
        guard decoded.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw URLProblem(text: "has a control character in its user or password; RFC 7617 §2 forbids it")
        }
        guard String(credentials[..<colon]).percentDecoded?.contains(UInt8(ascii: ":")) == false else {
            throw URLProblem(text: "has a colon in its user; RFC 7617 §2 forbids it, only the password may have one")
        }
        return decoded
    }
}

extension UInt8 {
    var isHostCharacter: Bool {
        switch self {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
            true
        default: false
        }
    }

    /// Of a value below 16.
    fileprivate var hexDigit: UInt8 { self < 10 ? self + UInt8(ascii: "0") : self - 10 + UInt8(ascii: "A") }

    package var hexValue: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

extension String {
    /// Whether something is missing between two dots, or in front of the first (RFC 1035 §2.3.1). One dot may end a name.
    var hasEmptyLabel: Bool {
        split(separator: ".", omittingEmptySubsequences: false).dropLast().contains { $0.isEmpty } || self == "."
    }

    var isValidPercentEncoding: Bool { percentDecoded != nil }

    /// The text with spaces and what is outside ASCII percent-encoded, as UTF-8 (RFC 3987 §3.1); escapes stay.
    var percentEncodedOutsideASCII: String {
        guard utf8.contains(where: { $0 >= 0x7F || $0 == 0x20 }) else { return self }
        var result: [UInt8] = []
        for byte in utf8 {
            if byte < 0x7F && byte != 0x20 {
                result.append(byte)
            } else {
                result += [UInt8(ascii: "%"), (byte >> 4).hexDigit, (byte & 0x0F).hexDigit]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// The bytes behind a percent-encoded text; `nil` if an escape is broken.
    package var percentDecoded: [UInt8]? {
        var result: [UInt8] = []
        var iterator = utf8.makeIterator()
        while let byte = iterator.next() {
            guard byte == UInt8(ascii: "%") else {
                result.append(byte)
                continue
            }
            guard let high = iterator.next()?.hexValue, let low = iterator.next()?.hexValue else { return nil }
            result.append(high << 4 | low)
        }
        return result
    }
}
