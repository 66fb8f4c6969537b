//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes

/// Why a server does not upgrade a request: a status, headers and one sentence that says nothing of the request itself.
package struct UpgradeRefusal: Error, Sendable, Equatable {
    package let status: Int
    package let phrase: String
    package let explanation: String
    package let fields: HTTPFields

    package init(_ status: Int, _ phrase: String, _ explanation: String, _ fields: HTTPFields = [:]) {
        self.status = status
        self.phrase = phrase
        self.explanation = explanation
        self.fields = fields
    }

    package static func badRequest(_ explanation: String) -> Self { Self(400, "Bad Request", explanation) }
    package static let methodNotAllowed = Self(
        405, "Method Not Allowed", "a WebSocket handshake is a GET request", [.allow: "GET"])
    package static func uriTooLong(_ limits: HTTPRequestHeadParser.Limits) -> Self {
        Self(414, "URI Too Long", "the request line has more than \(limits.requestLineBytes) bytes, the server's limit")
    }
    package static func fieldTooLarge(_ limits: HTTPRequestHeadParser.Limits) -> Self {
        tooLarge("a header line has more than \(limits.fieldBytes) bytes, the server's limit")
    }
    package static func tooManyFields(_ limits: HTTPRequestHeadParser.Limits) -> Self {
        tooLarge("there are more than \(limits.fields) header lines, the server's limit")
    }
    package static func headTooLarge(_ limits: HTTPRequestHeadParser.Limits) -> Self {
        tooLarge("the request's head has more than \(limits.headBytes) bytes, the server's limit")
    }
    private static func tooLarge(_ explanation: String) -> Self {
        Self(431, "Request Header Fields Too Large", explanation)
    }
    package static let versionNotSupported = Self(505, "HTTP Version Not Supported", "use HTTP/1.1")
    package static let upgradeRequired = Self(
        426, "Upgrade Required", "this is a WebSocket server; send Upgrade: websocket and Sec-WebSocket-Version: 13",
        [.upgrade: "websocket", .connection: "Upgrade", .secWebSocketVersion: "13"])
    /// A handshake in HTTP/1.0, whose `Upgrade` means nothing (RFC 9110 §7.8). Proxies speak it unless told otherwise.
    package static let upgradeNeedsHTTP11 = Self(
        426, "Upgrade Required",
        "a WebSocket handshake needs HTTP/1.1; a proxy in front may have to be told so (nginx: proxy_http_version 1.1)",
        upgradeRequired.fields)
    package static let misdirected = Self(421, "Misdirected Request", "this server does not answer for this host")
    package static let forbiddenOrigin = Self(403, "Forbidden", "the origin is not allowed")
    package static let unavailable = Self(503, "Service Unavailable", "the server is shutting down or full")
    /// The time is what connections take that are told to go, with some to spare.
    package static let outOfMemory = Self(
        503, "Service Unavailable", "the server's connections hold as much memory as they may; try again later",
        [.retryAfter: "5"])
    package static let tooMany = Self(429, "Too Many Requests", "this address has too many connections")
    package static let notFound = Self(404, "Not Found", "there is nothing at this path")
    package static let internalError = Self(500, "Internal Server Error", "the server failed to decide")

    /// The whole answer, after which the connection ends.
    package var responseBytes: [UInt8] { PlainResponse(self).bytes() }
}

/// A request that passed every rule of RFC 6455 §4.2.1.
package struct ValidatedUpgrade: Sendable, Hashable {
    package let head: HTTPRequestHead
    /// The 24 characters of `Sec-WebSocket-Key`.
    package let key: String
    package let host: String
    package let origin: String?
    package let subprotocols: [String]
    /// All `Sec-WebSocket-Extensions` joined, or `nil`.
    package let extensions: String?

    package init(_ head: HTTPRequestHead) throws(UpgradeRefusal) {
        guard head.method == "GET" else { throw .methodNotAllowed }
        try self.init(resolved: try head.resolved())
    }

    /// - Parameter head: With a path as its target, and the host that is asked for in `Host`.
    package init(resolved head: HTTPRequestHead) throws(UpgradeRefusal) {
        self.head = head
        guard head.method == "GET" else { throw .methodNotAllowed }
        func single(_ name: HTTPField.Name) throws(UpgradeRefusal) -> String? {
            let values = head.fields[values: name]
            guard values.count <= 1 else { throw .badRequest("\(name.rawName) stands more than once") }
            return values.first
        }
        host = head.fields[.hostField] ?? ""
        guard head.fields[.transferEncoding] == nil, (try single(.contentLength) ?? "0") == "0" else {
            throw .badRequest("a WebSocket handshake has no body")
        }
        // Upgrade and Connection are lists (RFC 6455 §4.2.1, 3 and 4).
        func list(_ name: HTTPField.Name) throws(UpgradeRefusal) -> [String] {
            var tokens: [String] = []
            for value in head.fields[values: name] {
                guard let more = HeaderScanner.tokenList(value.replacingSlash) else {
                    throw .badRequest("the \(name.rawName) header is malformed")
                }
                for token in more { tokens.append(token.lowercased()) }
            }
            return tokens
        }
        guard try list(.upgrade).contains("websocket"), try list(.connection).contains("upgrade") else {
            throw .upgradeRequired
        }
        guard !head.isHTTP10 else { throw .upgradeNeedsHTTP11 }
        guard try single(.secWebSocketVersion) == "13" else { throw .upgradeRequired }
        guard let key = try single(.secWebSocketKey), Self.isValidKey(key) else {
            throw .badRequest("Sec-WebSocket-Key must be 16 bytes in base64")
        }
        self.key = key
        origin = try single(.origin)
        if let text = head.fields[.secWebSocketProtocol] {
            guard let tokens = HeaderScanner.tokenList(text), Set(tokens).count == tokens.count else {
                throw .badRequest("the Sec-WebSocket-Protocol header is malformed")
            }
            subprotocols = tokens
        } else {
            subprotocols = []
        }
        extensions = head.fields[.secWebSocketExtensions]
        if let extensions, ExtensionOffer.parse(extensions) == nil {
            throw .badRequest("the Sec-WebSocket-Extensions header is malformed")
        }
    }

    /// 22 base64 characters and `==`: what decodes to 16 bytes (RFC 6455 §4.2.1). Of the last character four bits carry
    /// nothing, and RFC 4648 §3.5 lets a decoder ignore them.
    static func isValidKey(_ key: String) -> Bool {
        let bytes = Array(key.utf8)
        guard bytes.count == 24, bytes[22] == UInt8(ascii: "="), bytes[23] == UInt8(ascii: "=") else { return false }
        return bytes[..<22].allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
                true
            default: false
            }
        }
    }
}

extension String {
    /// `Upgrade` may name versions (`foo/1`); only the names matter here.
    fileprivate var replacingSlash: String {
        utf8.contains(UInt8(ascii: "/")) ? String(map { $0 == "/" ? "-" : $0 }) : self
    }
}

extension HTTPField.Name {
    package static let hostField = HTTPField.Name("Host")!
}

/// Who may open a connection from a browser (RFC 6455 §10.2).
package enum OriginCheck {
    /// Whether an `Origin` names the host that the request was sent to. A request without `Origin` is no
    /// browser's and passes. A port that is missing is the default one of the origin's scheme (RFC 6454 §4): the
    /// connection's own scheme says nothing behind a proxy that ends TLS.
    package static func isSameHost(origin: String?, host: String) -> Bool {
        guard let origin else { return true }
        // Strings are equal by canonical equivalence, which takes U+212A for a K.
        guard origin.utf8.allSatisfy({ $0 < 0x80 }), host.utf8.allSatisfy({ $0 < 0x80 }) else { return false }
        guard let separator = origin.firstRange(of: "://") else { return false }
        let scheme = origin[..<separator.lowerBound].lowercased()
        let port: String
        switch scheme {
        case "http": port = ":80"
        case "https": port = ":443"
        default: return false
        }
        let authority = origin[separator.upperBound...]
        // Of `host:80:80` a default port would leave `host:80`, which may be the server's.
        guard URLAuthority.isHostAndPort(authority), URLAuthority.isHostAndPort(host[...]) else { return false }
        func normalised(_ authority: Substring) -> Substring {
            let lower = authority.lowercased()[...]
            return lower.hasSuffix(port) ? lower.dropLast(port.count) : lower
        }
        return normalised(authority) == normalised(host[...])
    }
}
