//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

extension WebSocketURL {
    /// The URL that a reference, such as a `Location` header, means as seen from this one (RFC 3986 §5.2). A fragment
    /// is left out: it is never sent.
    ///
    /// - Throws: `invalidURL`, for what `init` refuses too.
    package func resolving(
        _ reference: String, toASCII: HostConverter? = nil
    ) throws(WebSocketError) -> WebSocketURL {
        let text = reference.prefix { $0 != "#" }
        if Self.hasScheme(text) { return try WebSocketURL(String(text), toASCII: toASCII) }
        let scheme = isSecure ? "wss:" : "ws:"
        if text.hasPrefix("//") { return try WebSocketURL(scheme + text, toASCII: toASCII) }
        let base = target.prefix { $0 != "?" }
        let path = text.prefix { $0 != "?" }
        let query = text[path.endIndex...]
        let resolved: String
        if path.first == "/" {
            resolved = Self.withoutDotSegments(String(path)) + query
        } else if !path.isEmpty {
            let directory = base[...(base.lastIndex(of: "/") ?? base.startIndex)]
            resolved = Self.withoutDotSegments(String(directory) + path) + query
        } else {
            resolved = query.isEmpty ? target : String(base) + query
        }
        let authority = isIPv6 ? "[\(host)]:\(port)" : hostHeader
        return try WebSocketURL("\(scheme)//\(authority)\(resolved)")
    }

    /// Whether both are the same for what belongs to one of them only (RFC 6454 §4).
    package func hasSameOrigin(as other: WebSocketURL) -> Bool {
        isSecure == other.isSecure && host == other.host && port == other.port
    }

    private static func hasScheme(_ text: Substring) -> Bool {
        guard let end = text.firstIndex(where: { !($0.isASCII && ($0.isLetter || $0.isNumber || "+-.".contains($0))) }),
            text[end] == ":", let first = text.first
        else { return false }
        return first.isASCII && first.isLetter
    }

    /// RFC 3986 §5.2.4.
    private static func withoutDotSegments(_ path: String) -> String {
        var result: [Substring] = []
        let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        for (index, segment) in segments.enumerated() {
            let isLast = index == segments.count - 1
            switch segment {
            case ".": if isLast { result.append("") }
            case "..":
                _ = result.popLast()
                if isLast { result.append("") }
            default: result.append(segment)
            }
        }
        return "/" + result.joined(separator: "/")
    }
}
