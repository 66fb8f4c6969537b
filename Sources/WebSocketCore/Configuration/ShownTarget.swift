//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A request's target as logs, errors, metrics and spans show it.
///
/// Venues and hooks put keys into queries and into paths, and a log is read by more people than a key is meant for. Of a
/// query only the names are shown. Of a path each segment is, unless it looks like a key: 16 or more characters with a digit,
/// or with capitals and small letters. Behind `=` and `:` in a path stands a value, which is hidden too.
package enum ShownTarget {
    /// Path and query.
    package static func text(_ target: String) -> String {
        guard let question = target.firstIndex(of: "?") else { return path(target[...]) }
        let query = target[target.index(after: question)...].split(separator: "&", omittingEmptySubsequences: false)
        let names = query.map { item in
            item.firstIndex(of: "=").map { item[...$0] + "…" } ?? (item.isEmpty ? "" : "…")
        }
        return path(target[..<question]) + "?" + names.joined(separator: "&")
    }

    /// The path alone.
    package static func path(_ target: String) -> String { path(target.prefix { $0 != "?" }) }

    private static func path(_ path: Substring) -> String {
        path.split(separator: "/", omittingEmptySubsequences: false).map(segment).joined(separator: "/")
    }

    private static func segment(_ segment: Substring) -> String {
        if let sign = segment.firstIndex(where: { $0 == "=" || $0 == ":" }) {
            let name = segment[..<sign]
            // The name of a bot's token is a part of it.
            return (looksSecret(name) ? "" : String(name)) + "\(segment[sign])…"
        }
        return looksSecret(segment) ? "…" : String(segment)
    }

    /// The least length of a key: 16 characters of base 64 are 96 bits.
    private static let leastLength = 16

    private static func looksSecret(_ segment: Substring) -> Bool {
        var (length, hasDigit, hasCapital, hasSmall) = (0, false, false, false)
        var bytes = segment.utf8.makeIterator()
        while let byte = bytes.next() {
            length += 1
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): hasDigit = true
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): hasCapital = true
            case UInt8(ascii: "a")...UInt8(ascii: "z"): hasSmall = true
            // A percent-encoded byte is one character, of any script.
            case UInt8(ascii: "%"): _ = (bytes.next(), bytes.next())
            default: break
            }
        }
        return length >= leastLength && (hasDigit || (hasCapital && hasSmall))
    }
}
