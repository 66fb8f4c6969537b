//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import Logging
public import WebSocketCore
public import WebSocketLoop

/// How a server listens and what it accepts.
public struct WebSocketServerConfiguration: Sendable {
    // MARK: Listening

    /// The address to listen on. Default `127.0.0.1`; `0.0.0.0` or `::` for all (`::` takes IPv4 too).
    public var host = "127.0.0.1"
    /// The port; 0 lets the system choose, and ``WebSocketServer/address`` tells which. Default 0.
    public var port = 0
    /// Where to listen, several places if need be. Default `nil`: ``host`` and ``port``. Empty: nowhere, for a server that
    /// only takes over sockets that others accepted (``WebSocketServer/accept(_:request:bytesBehind:)``).
    public var addresses: [WebSocketListenAddress]?
    /// Whether every loop has a listening socket of its own on the same port (`SO_REUSEPORT`). A new connection then stays
    /// where it was accepted, without a hop, but the kernel spreads few connections unevenly; and another process of the
    /// same user can take a share of the port. Default false: one socket, connections go to the loops in turn.
    public var sharesPort = false
    /// Connections that wait to be accepted. Default 1,024; the kernel's `net.core.somaxconn` caps it.
    public var backlog = 1_024
    /// A certificate and its key; `nil` for plain TCP. Default `nil`.
    public var tls: WebSocketTLSServerConfiguration?
    /// From the accepted socket to the answered request, whatever the client sends meanwhile. Default 10 s; a slower
    /// client is dropped.
    public var handshakeTimeout: Duration = .seconds(10)
    /// Sockets that may be there at once, handshakes included. Clients beyond get 503. Default 16,000: libwebsockets 4.1.6
    /// cannot have more than 16,384 descriptors. `nil` for no limit of ours.
    public var maximumConnections: Int? = 16_000
    /// Of these, how many may be there without a response to their request: still to send it, TLS included, or waiting for a
    /// hook. Beyond, the client that has kept its own waiting for the longest time is cut off, and where every one of them
    /// waits for the server a new client gets 503. Default 8,192; `nil` for no limit but that of ``maximumConnections``.
    ///
    /// A flood of silent clients, 600 a second for example, so holds 8,192 sockets at most, each for some thirteen seconds instead
    /// of the ``handshakeTimeout``, while others come through.
    public var maximumHandshakes: Int? = 8_192
    /// Of all sockets, how many from one IP address. Clients beyond get 429. Default `nil`, no limit: behind a proxy that is not
    /// in ``trustedProxies`` all clients share one address. Clients that a trusted proxy does not name count under its address,
    /// and behind trusted Unix sockets as one.
    public var maximumConnectionsPerAddress: Int?
    /// How many bits of an IPv6 address say who the client is, for ``maximumConnectionsPerAddress``: a site has 64 bits of
    /// addresses to itself and more, a single machine as many of them as it likes. Default 64, in 1...128. Link-local
    /// addresses count whole, IPv4 addresses always; one that is mapped into IPv6 counts as IPv4.
    public var ipv6ClientPrefixLength = 64
    /// How large a request's head may be.
    public var requestLimits = WebSocketRequestLimits()
    /// Proxies in front that may say for whom they speak. Default: none.
    public var trustedProxies = WebSocketTrustedProxies()

    // MARK: Deciding

    /// Hosts that the server answers for, as `Host` or a trusted proxy has them: `example.com`, `*.example.com` for every
    /// subdomain but not `example.com` itself, addresses and networks such as `127.0.0.1` or `10.0.0.0/8`; with a port or
    /// for any. Others get 421. Default `nil`: all.
    ///
    /// Set it, for example to ``addressesAndLocalhost``, where only the network protects a server, as on a loopback address:
    /// a page whose name its owner points to that address (DNS rebinding) has that name as its host *and* its origin, so
    /// that ``origins`` lets it in. A request without `Host`, which HTTP/1.0 allows and no browser sends, is answered.
    public var hosts: Set<String>?
    /// Which browsers may connect. Default ``OriginPolicy/sameHost``.
    public var origins = OriginPolicy.sameHost
    /// Whether clients that send no `Origin`, which browsers always do, may connect. Default true.
    public var allowsMissingOrigin = true
    /// Who may connect. Clients without valid credentials get 401. Default `nil`: all. Applies to WebSocket
    /// handshakes, not to plain HTTP requests that a hook or a route answers.
    public var authentication: WebSocketAuthentication?
    /// Subprotocols that the server speaks; the first one that the client offers is chosen. Default none.
    public var subprotocols: [String] = []
    /// Decides about every request that is not refused for one of the reasons above, plain HTTP requests included.
    /// Default `nil`: WebSocket handshakes are accepted, other requests get 426 or 405.
    public var onRequest: WebSocketUpgradeHook?
    /// Instead of ``onRequest``, for one that leaves something for the connection.
    package var onRequestAttaching: WebSocketAttachingHook?

    /// For ``hosts``: `localhost`, its subdomains, and every IP address. None of them can be pointed somewhere else.
    public static let addressesAndLocalhost: Set<String> = ["localhost", "*.localhost", "0.0.0.0/0", "::/0"]

    // MARK: Serving

    /// Limits, buffers, keepalive and compression of each connection. Compression is accepted by default.
    public var options: WebSocketOptions
    /// A connection on which no message came or went for so long is closed with 1001; it may take a quarter longer. Pings
    /// do not count. Default `nil`: idle connections stay, as long as keepalive finds the peer there.
    public var idleTimeout: Duration?
    /// A connection that is so old is closed with 1001; up to a tenth earlier, so that those that came together do not
    /// leave together. Default `nil`: no limit.
    public var maximumLifetime: Duration?
    /// What ``WebSocketServer/broadcast(_:except:)`` may leave waiting for a peer that reads slowly.
    public var broadcastLimits = WebSocketBroadcastLimits()
    /// How long ``WebSocketServer/shutDown(code:reason:timeout:spread:)`` waits for handlers before their connections are
    /// aborted. Default 10 s.
    public var shutdownTimeout: Duration = .seconds(10)
    /// The time over which a shutdown sends its close frames, before that timeout begins: so that many clients do not come
    /// back all at once. Default zero: at once; at most a day.
    public var shutdownSpread: Duration = .zero
    /// The loops that connections are spread over. Default ``WebSocketEventLoopGroup/shared``.
    public var eventLoopGroup: WebSocketEventLoopGroup?
    /// Where handlers and hooks run. Default ``WebSocketBodyExecutor/loop``.
    public var executor = WebSocketBodyExecutor.loop
    /// Observers of every connection. Default: none.
    public var observers: [any WebSocketObserver] = []
    /// Where the server tells what happens to it. Default: a logger with the label `swift-libwebsockets`.
    public var logger = Logger(label: "swift-libwebsockets")

    /// Which `Origin`s are let in (RFC 6455 §10.2).
    public enum OriginPolicy: Sendable, Hashable {
        /// Only pages that the same host serves.
        case sameHost
        /// Only these: `https://example.com`; `https://*.example.com` for every subdomain, but not `example.com` itself;
        /// `http://localhost:*` for every port; `null` for sandboxed pages and files.
        case only(Set<String>)
        /// Any page of any site. Then cookies must not be what authenticates a client.
        case any
    }

    /// A configuration; port 0 lets the system choose one. What is not here is set as a property.
    public init(host: String = "127.0.0.1", port: Int = 0, tls: WebSocketTLSServerConfiguration? = nil) {
        self.host = host
        self.port = port
        self.tls = tls
        var options = WebSocketOptions()
        options.compression = .deflate()
        self.options = options
    }
}

/// How large the head of a request may be: its request line and its header lines. What is larger is refused with 414 or
/// 431, in an answer that names the limit. An open connection keeps its head.
public struct WebSocketRequestLimits: Sendable, Hashable {
    /// Bytes of the request line, and so of the target. Default 8,192; 64...1,048,576.
    public var requestLineBytes = 8_192
    /// Bytes of each header line, its name included. Default 8,192; 64...1,048,576.
    public var headerLineBytes = 8_192
    /// Header lines. Default 128; 8...10,000.
    public var headerLines = 128
    /// Bytes of the whole head. Default 65,536; 512...1,048,576.
    public var headBytes = 65_536

    /// The defaults.
    public init() {}

    func validate() throws(WebSocketError) {
        func check(_ value: Int, _ range: ClosedRange<Int>, _ name: String) throws(WebSocketError) {
            guard !range.contains(value) else { return }
            throw WebSocketError(
                .invalidConfiguration,
                "requestLimits.\(name) is \(value); it must be in \(range.lowerBound)...\(range.upperBound)")
        }
        try check(requestLineBytes, 64...1_048_576, "requestLineBytes")
        try check(headerLineBytes, 64...1_048_576, "headerLineBytes")
        try check(headerLines, 8...10_000, "headerLines")
        try check(headBytes, 512...1_048_576, "headBytes")
    }

    var parser: HTTPRequestHeadParser.Limits {
        var limits = HTTPRequestHeadParser.Limits()
        limits.requestLineBytes = requestLineBytes
        limits.fieldBytes = headerLineBytes
        limits.fields = headerLines
        limits.totalBytes = headBytes
        return limits
    }
}

/// Proxies in front of a server that may say who the client is. The default trusts none, because any client can send
/// their headers.
public struct WebSocketTrustedProxies: Sendable, Hashable {
    /// A header in which proxies say who the client is.
    public enum Header: Sendable, Hashable {
        /// `X-Forwarded-For`, with `X-Forwarded-Host` and `X-Forwarded-Proto`: what haproxy, nginx and most others write.
        case xForwardedFor
        /// `Forwarded` (RFC 7239).
        case forwarded
    }

    /// Their addresses, such as `10.0.0.0/8` or `::1`. Default none.
    public var addresses: Set<String> = []
    /// Whether each peer that can open one of the server's unix sockets is such a proxy. Default false.
    public var trustsUnixSockets = false
    /// Whether every connection begins with a PROXY header, version 1 or 2. One without, or from an address that is not
    /// trusted, is dropped. Default false.
    public var sendsProxyProtocol = false
    /// The one header that they write. The other one counts for nothing: proxies pass on what a client sends in it.
    /// Malformed, it is answered with 400. Default ``Header/xForwardedFor``.
    public var header = Header.xForwardedFor
    /// Whether they say for which host the request was (`X-Forwarded-Host`, or `host` of `Forwarded`), and set or remove
    /// that in every request. Default false: the `Host` that arrives counts.
    public var tellsHost = false
    /// Whether they say over which scheme the request came (`X-Forwarded-Proto`, or `proto` of `Forwarded`), and set or
    /// remove that in every request. Default false: only the server's own TLS counts.
    public var tellsScheme = false

    /// No proxy is trusted.
    public init() {}

    /// These addresses and networks are trusted to say who the client is, in ``header``.
    public init(addresses: Set<String>) { self.addresses = addresses }

    func trust() throws(WebSocketError) -> ForwardingTrust {
        var trust = ForwardingTrust()
        trust.trustsUnixSockets = trustsUnixSockets
        trust.header =
            switch header {
            case .xForwardedFor: .xForwardedFor
            case .forwarded: .forwarded
            }
        (trust.tellsHost, trust.tellsScheme) = (tellsHost, tellsScheme)
        for text in addresses.sorted() {
            guard let range = AddressRange(text) else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "trustedProxies.addresses has “\(text.escapedForLog)”, which is no address and no network; write 10.0.0.1 or 10.0.0.0/8"
                )
            }
            trust.ranges.append(range)
        }
        return trust
    }
}

extension WebSocketServerConfiguration {
    /// Where the server listens.
    var listenAddresses: [WebSocketListenAddress] { addresses ?? [.tcp(host: host, port: port)] }

    /// What ``hosts`` names; `nil` for all hosts.
    func hostPatterns() throws(WebSocketError) -> [HostPattern]? {
        guard let hosts else { return nil }
        var patterns: [HostPattern] = []
        for text in hosts.sorted() {
            guard let pattern = HostPattern(text) else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "hosts has “\(text.escapedForLog)”, which is no host; write it as example.com or *.example.com")
            }
            patterns.append(pattern)
        }
        return patterns
    }

    func validate() throws(WebSocketError) {
        try options.validate()
        try requestLimits.validate()
        try HandshakeText.validate(subprotocols: subprotocols)
        func check(_ isGood: Bool, _ text: @autoclosure () -> String) throws(WebSocketError) {
            if !isGood { throw WebSocketError(.invalidConfiguration, text()) }
        }
        try check(handshakeTimeout > .zero, "handshakeTimeout is \(handshakeTimeout); it must be positive")
        try check((1...65_535).contains(backlog), "backlog is \(backlog); it must be in 1...65535")
        try check((maximumConnections ?? 1) > 0, "maximumConnections must be positive, or nil for no limit")
        try check((maximumHandshakes ?? 1) > 0, "maximumHandshakes must be positive, or nil for no limit of its own")
        try check(
            (maximumConnectionsPerAddress ?? 1) > 0,
            "maximumConnectionsPerAddress must be positive, or nil for no limit")
        try check(
            (1...128).contains(ipv6ClientPrefixLength),
            "ipv6ClientPrefixLength is \(ipv6ClientPrefixLength); it must be in 1...128")
        try check((idleTimeout ?? .seconds(1)) > .zero, "idleTimeout must be positive, or nil for no limit")
        try check((maximumLifetime ?? .seconds(1)) > .zero, "maximumLifetime must be positive, or nil for no limit")
        try check(
            broadcastLimits.maximumBufferedBytes > 0,
            "broadcastLimits.maximumBufferedBytes is \(broadcastLimits.maximumBufferedBytes); it must be positive")
        _ = try trustedProxies.trust()
    }
}
