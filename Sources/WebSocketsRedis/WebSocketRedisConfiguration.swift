//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore
public import WebSocketLoop

/// How a Redis or Valkey is reached.
public struct WebSocketRedisConfiguration: Sendable {
    /// A user and a password.
    public struct Credentials: Sendable {
        /// Redis' own `default` for none.
        public var user: String?
        /// Never logged.
        public var password: String

        /// Credentials.
        public init(user: String? = nil, password: String) {
            self.user = user
            self.password = password
        }
    }

    /// In front of every key and channel. The same for all processes that belong together, and different for those that
    /// only share a Redis. 1 to 64 letters, digits, dots, underscores and hyphens. Default `wsx`.
    public var prefix = "wsx"
    /// Asked for each connection; instead of a URL's.
    public var credentials: (@Sendable () async throws -> Credentials)?
    /// For `rediss`: full verification by default, and a client certificate if there is one.
    public var tls = WebSocketTLSClientConfiguration()
    /// When to try again. Default: a random time up to 0.25 s, doubled each time up to 10 s, for ever. A policy that gives
    /// up is refused.
    public var reconnectPolicy: WebSocketReconnectPolicy
    /// How long a connection may take, with everything that is asked before it is used. Default 10 s; 100 ms to 60 s.
    public var connectTimeout = Duration.seconds(10)
    /// Silence after which the server is probed. Default 10 s; 50 ms to 300 s.
    public var probeInterval = Duration.seconds(10)
    /// How long the answer may take. Default 5 s; 50 ms to 60 s.
    public var probeTimeout = Duration.seconds(5)
    /// How often it is asked whether it is still the primary, and whether this process hears itself, ± 10 %. Default 30 s;
    /// 100 ms to 300 s.
    public var checkInterval = Duration.seconds(30)
    /// How often each process says that it is there, ± 10 %. After three times as long without a word it no longer counts,
    /// and is told as an alert if it does live. The same in all processes. Default 10 s; 100 ms to 60 s.
    public var heartbeatInterval = Duration.seconds(10)
    /// Whether only a primary will do. False for what does not know the command `ROLE`. Default true.
    public var requiresPrimary = true
    /// Where the connection lives. Default: a loop of the shared group.
    public var eventLoop: WebSocketEventLoop?

    /// The defaults.
    public init() {
        reconnectPolicy = WebSocketReconnectPolicy()
        reconnectPolicy.strategy = .fullJitter(base: .milliseconds(250), maximum: .seconds(10))
        reconnectPolicy.maximumAttempts = nil
        reconnectPolicy.decision = { _ in .retry }
        reconnectPolicy.stableTime = .seconds(10)
    }

    func validate() throws(WebSocketError) {
        func check(_ name: String, _ value: Duration, _ range: ClosedRange<Duration>) throws(WebSocketError) {
            guard range.contains(value) else {
                throw WebSocketError(.invalidConfiguration, "\(name) is \(value); it must be in \(range)")
            }
        }
        try check("connectTimeout", connectTimeout, .milliseconds(100) ... .seconds(60))
        try check("probeInterval", probeInterval, .milliseconds(50) ... .seconds(300))
        try check("probeTimeout", probeTimeout, .milliseconds(50) ... .seconds(60))
        try check("checkInterval", checkInterval, .milliseconds(100) ... .seconds(300))
        try check("heartbeatInterval", heartbeatInterval, .milliseconds(100) ... .seconds(60))
        guard reconnectPolicy.maximumAttempts == nil else {
            throw WebSocketError(
                .invalidConfiguration,
                "reconnectPolicy.maximumAttempts is set; a process that gave up would be deaf without a sign, so leave it nil"
            )
        }
    }
}

/// Where a Redis is.
struct RedisLocation: Sendable {
    let url: WebSocketURL
    var connectTo: WebSocketEndpoint?
    var credentials: WebSocketRedisConfiguration.Credentials?
    /// Without secrets.
    let name: String

    /// `redis://[user:password@]host[:port]`, `rediss://…` with TLS, `unix:/path`.
    init(_ text: String) throws(WebSocketError) {
        func invalid(_ why: String) -> WebSocketError {
            WebSocketError(
                .invalidURL, "the Redis URL \(why); write redis://host:6379, rediss://host:6379 or unix:/path/to/socket"
            )
        }
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(text.hasPrefix("unix://") ? 7 : 5))
            guard path.hasPrefix("/") || path.hasPrefix("@") else { throw invalid("has no absolute path") }
            url = try WebSocketURL("ws://localhost/")
            connectTo = .unix(path: path)
            name = "unix:\(path.escapedForLog)"
            return
        }
        guard let colon = text.firstRange(of: "://") else { throw invalid("has no scheme") }
        let scheme = text[..<colon.lowerBound].lowercased()
        guard scheme == "redis" || scheme == "rediss" else { throw invalid("has an unknown scheme") }
        var rest = text[colon.upperBound...]
        if rest.hasSuffix("/0") { rest = rest.dropLast(2) }
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        guard !rest.contains("/"), !rest.contains("?") else {
            throw invalid("has a path; publications know no databases, so leave it out")
        }
        var host = rest
        if let at = rest.lastIndex(of: "@") {
            host = rest[rest.index(after: at)...]
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let user = Self.decoded(parts[0]), let password = Self.decoded(parts[1]) else {
                throw invalid("has a user without a password, or bad percent encoding in them")
            }
            credentials = .init(user: user.isEmpty ? nil : user, password: password)
        }
        let hasPort = host.last == "]" ? false : (host.split(separator: "]").last ?? "").contains(":")
        url = try WebSocketURL("\(scheme == "rediss" ? "wss" : "ws")://\(host)\(hasPort ? "" : ":6379")/")
        name = "\(scheme)://\(url.isIPv6 ? "[\(url.host)]" : url.host):\(url.port)"
    }

    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// Whether no other machine can listen on the way.
    var isPrivate: Bool {
        url.isSecure || connectTo != nil || url.host == "localhost" || url.host.hasPrefix("127.") || url.host == "::1"
    }
}
