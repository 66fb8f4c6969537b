//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The part of a URL between `//` and the path: `user:password@host:port` (RFC 3986 §3.2).
struct URLAuthority {
    /// `user:password`, percent-decoded.
    let userInfo: [UInt8]?
    /// Without brackets, in lower case.
    let host: String
    let port: Int?

    /// What is wrong, as the end of a sentence that begins with “the URL”.
    struct Problem: Error { let text: String }

    init(_ text: Substring) throws(Problem) {
        func problem(_ text: String) -> Problem { Problem(text: text) }
        var authority = text
        if let at = authority.firstIndex(of: "@") {
            let credentials = authority[..<at]
            authority = authority[authority.index(after: at)...]
            guard !authority.contains("@") else {
                throw problem("has more than one @; percent-encode those in the password")
            }
            userInfo = try Self.userInfo(credentials)
        } else {
            userInfo = nil
        }

        let hostText: Substring
        let portText: Substring?
        if authority.first == "[" {
            guard let close = authority.firstIndex(of: "]") else { throw problem("has a [ without ]") }
            hostText = authority[authority.index(after: authority.startIndex)..<close]
            guard IPAddress.isIPv6(hostText) else { throw problem("has an invalid IPv6 address in brackets") }
            let after = authority[authority.index(after: close)...]
            guard after.isEmpty || after.first == ":" else { throw problem("has text behind the ] of its host") }
            portText = after.isEmpty ? nil : after.dropFirst()
        } else {
            let colon = authority.firstIndex(of: ":")
            hostText = authority[..<(colon ?? authority.endIndex)]
            portText = colon.map { authority[authority.index(after: $0)...] }
            guard !hostText.isEmpty else { throw problem("has no host") }
            guard hostText.utf8.count <= 253, hostText.utf8.allSatisfy(\.isHostCharacter) else {
                throw problem("has a host that is not a name or an address; IPv6 addresses go into brackets")
            }
        }
        host = hostText.lowercased()
        if let portText, !portText.isEmpty {
            guard portText.utf8.count <= 5, portText.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }),
                let number = Int(portText), (1...65_535).contains(number)
            else { throw problem("has an invalid port; it must be in 1...65535") }
            port = number
        } else {
            port = nil
        }
    }

    /// Credentials for Basic authorization (RFC 7617 §2).
    private static func userInfo(_ credentials: Substring) throws(Problem) -> [UInt8] {
        guard credentials.contains(":") else {
            throw Problem(text: "has a user without a password; write user:password@")
        }
        guard let decoded = String(credentials).percentDecoded else {
            throw Problem(text: "has an invalid percent-encoding in its user or password")
        }
        guard decoded.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
            throw Problem(text: "has a control character in its user or password; RFC 7617 §2 forbids it")
        }
        guard String(credentials.prefix { $0 != ":" }).percentDecoded?.contains(UInt8(ascii: ":")) == false else {
            throw Problem(text: "has a colon in its user; RFC 7617 §2 forbids it, only the password may have one")
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
    var isValidPercentEncoding: Bool { percentDecoded != nil }

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
