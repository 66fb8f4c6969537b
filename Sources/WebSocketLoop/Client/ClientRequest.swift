//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes
package import WebSocketCore

/// Everything a client's connection attempt needs, checked.
package struct ClientRequest: Sendable {
    /// To what the socket is connected.
    package enum Route: Sendable {
        /// A host, whose name is looked up, and a port.
        case host(String, port: Int)
        case unix(path: String)
        case proxy(ProxyEndpoint)
    }

    /// How the way to the server is chosen.
    package struct Way: Sendable {
        package var connectTo: WebSocketEndpoint?
        package var proxy = WebSocketProxy.none
        /// TLS to the proxy, if its URL says so.
        package var proxyTLS = WebSocketTLSClientConfiguration()
        /// Redirects that are followed before it is given up.
        package var maximumRedirects = 0
        /// How much of an answer is read, of each on the way.
        package var responseLimits = WebSocketResponseLimits()

        package init() {}
    }

    /// Who wants to see each step of the way. Called on the loop, and on the caller's executor.
    package struct Trace: Sendable {
        /// A request is about to be made: the first one, or where a redirect leads.
        package var begins: @Sendable (ClientRequest) -> Void
        /// The request as it goes out, up to the empty line.
        package var sent: @Sendable (String) -> Void
        /// The answer is a redirect that is followed.
        package var redirected: @Sendable (WebSocketError.Response) -> Void

        package init(
            begins: @escaping @Sendable (ClientRequest) -> Void, sent: @escaping @Sendable (String) -> Void,
            redirected: @escaping @Sendable (WebSocketError.Response) -> Void
        ) {
            self.begins = begins
            self.sent = sent
            self.redirected = redirected
        }
    }

    package let url: WebSocketURL
    /// What is added after the checks has to be checked by who adds it.
    package var fields: HTTPFields
    package let subprotocols: [String]
    package let options: WebSocketOptions
    package let openTimeout: Duration
    package let tls: ClientTLSContext?
    let proxyTLS: ClientTLSContext?
    package let way: Way
    package let route: Route
    /// An IP address to connect to instead of those that the host resolves to; `Host`, SNI and the verified name stay
    /// the URL's. Direct connections only.
    package var address: String?
    /// The same with several, which are raced.
    package var addresses: [String] = []
    /// Told how long each step took that succeeded, on the loop.
    package var timing: (@Sendable (WebSocketError.Phase, Duration) -> Void)?
    /// Told of the handshake's steps, redirects included.
    package var trace: Trace?
    /// Nothing is asked for: the connection becomes a stream of bytes, which this gets on the loop.
    var streamStart: (@Sendable (LoopByteStream) -> Void)?
    private let tlsConfiguration: WebSocketTLSClientConfiguration
    /// Whether there is a client certificate.
    var isIdentified: Bool { tlsConfiguration.identity != nil }

    /// Checks every string and value before a byte is sent; may read certificate files.
    package init(
        url: WebSocketURL, fields: HTTPFields, subprotocols: [String], options: WebSocketOptions,
        openTimeout: Duration, tls: WebSocketTLSClientConfiguration, way: Way = Way()
    ) throws(WebSocketError) {
        self.url = url
        try HandshakeText.validate(fields: fields)
        try HandshakeText.validate(subprotocols: subprotocols)
        try options.validate()
        guard openTimeout > .zero else {
            throw WebSocketError(.invalidConfiguration, "openTimeout is \(openTimeout); it must be positive")
        }
        guard (0...100).contains(way.maximumRedirects) else {
            throw WebSocketError(
                .invalidConfiguration, "maximumRedirects is \(way.maximumRedirects); it must be in 0...100")
        }
        try way.responseLimits.validate()
        var fields = fields
        if let userInfo = url.userInfo, fields[.authorization] == nil {
            fields[.authorization] = HandshakeText.basicAuthorization(userInfo)
        }
        self.fields = fields
        self.subprotocols = subprotocols
        self.options = options
        self.openTimeout = openTimeout
        self.way = way
        route = try Self.route(to: url, way)
        if case .proxy(let proxy) = route, proxy.kind == .https {
            proxyTLS = try ClientTLSContext.make(way.proxyTLS, host: proxy.host)
        } else {
            proxyTLS = nil
        }
        tlsConfiguration = tls
        self.tls = url.isSecure ? try ClientTLSContext.make(tls, host: url.host) : nil
        let size = requestText(key: String(repeating: "k", count: 24)).utf8.count
        guard size <= Self.maximumBytes else {
            throw WebSocketError(
                .invalidConfiguration,
                "the request with its target and headers has \(size) bytes; the limit is \(Self.maximumBytes)")
        }
    }

    /// More than any server takes.
    private static let maximumBytes = 65_279

    private static func route(to url: WebSocketURL, _ way: Way) throws(WebSocketError) -> Route {
        if let endpoint = way.connectTo {
            try endpoint.validate()
            if case .fixed = way.proxy.choice {
                throw WebSocketError(
                    .invalidConfiguration,
                    "connectTo and proxy are both set, and each says where to connect; leave one out")
            }
            switch endpoint {
            case .host(let host, let port): return .host(host, port: port)
            case .unix(let path): return .unix(path: path)
            }
        }
        let proxy = try way.proxy.endpoint(for: url) { name in Host.environment(name) }
        if let proxy, !proxy.carriesIPv6, url.isIPv6 {
            throw WebSocketError(
                .invalidConfiguration,
                "proxy: SOCKS 4 carries no IPv6 address; use a socks5h:// proxy, or a name in the URL")
        }
        return proxy.map { .proxy($0) } ?? .host(url.host, port: url.port)
    }

    /// The request up to its empty line.
    package func requestText(key: String) -> String {
        var extensions: String?
        if case .deflate(let deflate) = options.compression { extensions = DeflateNegotiation.offer(deflate) }
        return HandshakeText.request(
            url: url, key: key, fields: fields, subprotocols: subprotocols, extensions: extensions)
    }
}

// MARK: - Redirects

extension ClientRequest {
    private static let redirects: Set<Int> = [300, 301, 302, 303, 307, 308]

    /// What belongs to the first origin only.
    private static let credentials: Set<HTTPField.Name> = [.authorization, .cookie, .proxyAuthorization]

    /// What to ask for after an answer; `nil` if it is none that leads on.
    ///
    /// - Parameter hops: Redirects that were followed already.
    /// - Throws: `redirectRefused`.
    package func following(
        _ response: WebSocketError.Response, hops: Int
    ) throws(WebSocketError) -> ClientRequest? {
        guard way.maximumRedirects > 0, Self.redirects.contains(response.status),
            let location = response.headers[.location]
        else { return nil }
        func refused(_ why: String) -> WebSocketError {
            WebSocketError(
                .redirectRefused,
                "the server's redirect (status \(response.status)) is not followed: \(why); connect to where it should lead",
                phase: .upgrade, response: response)
        }
        guard hops < way.maximumRedirects else {
            throw refused("there were \(hops) before it, and maximumRedirects allows no more")
        }
        let next: WebSocketURL
        do throws(WebSocketError) {
            next = try url.resolving(location) { (name) throws(URLProblem) in try InternationalName.ascii(name) }
        } catch {
            throw refused("its Location cannot be used: \(error.message)")
        }
        guard next.isSecure || !url.isSecure else {
            throw refused("it leads from TLS to \(next), which has none")
        }
        if url.hasSameOrigin(as: next) { return try continued(next, fields: fields, tls: tlsConfiguration) }
        guard way.connectTo == nil else {
            throw refused("it leads to \(next), and where that is, connectTo does not say")
        }
        var fields = fields
        for name in Self.credentials { fields[name] = nil }
        var tls = tlsConfiguration
        tls.identity = nil
        tls.serverName = nil
        return try continued(next, fields: fields, tls: tls)
    }

    private func continued(
        _ url: WebSocketURL, fields: HTTPFields, tls: WebSocketTLSClientConfiguration
    ) throws(WebSocketError) -> ClientRequest {
        var next = try ClientRequest(
            url: url, fields: fields, subprotocols: subprotocols, options: options, openTimeout: openTimeout, tls: tls,
            way: way)
        next.trace = trace
        next.timing = timing
        if url.hasSameOrigin(as: self.url) {
            next.address = address
            next.addresses = addresses
        }
        return next
    }
}
