//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
package import Logging
public import WebSocketCore
public import WebSocketLoop

/// How a client connects.
public struct WebSocketClientConfiguration: Sendable {
    /// Limits, buffers, keepalive and compression of the open connection. Compression is off by default
    /// (see ``WebSocketCompression``).
    public var options = WebSocketOptions()
    /// How the server is verified.
    public var tls = WebSocketTLSClientConfiguration()
    /// Additional headers of the handshake, such as `Authorization`, `Cookie` or `Origin`. Headers that belong to the
    /// handshake are refused.
    public var headers: HTTPFields = [:]
    /// The `User-Agent` header, unless `headers` has one; nil for none. Default ``defaultUserAgent``.
    public var userAgent: String? = Self.defaultUserAgent
    /// Subprotocols to offer, in order of preference.
    public var subprotocols: [String] = []
    /// From the call to the open connection: name resolution, TCP, proxy, TLS, the HTTP handshake and all redirects
    /// together. Default 10 s.
    public var openTimeout: Duration = .seconds(10)
    /// Where to connect to, if it is not where the URL says: the `Host` header, SNI and the name that is verified stay
    /// the URL's. Default nil: to the URL's host and port. Excludes a `proxy`; the environment's is not asked then.
    public var connectTo: WebSocketEndpoint?
    /// Through which proxy to connect. Default ``WebSocketProxy/none``.
    public var proxy: WebSocketProxy = .none
    /// How a proxy is verified that is spoken to in TLS (`https://`), and how this side proves who it is to it. Not used
    /// otherwise. Default: the system's authorities, no certificate.
    public var proxyTLS = WebSocketTLSClientConfiguration()
    /// How many redirects are followed before ``WebSocketError/Code/redirectRefused``, 0 to 100. Default 0: a redirect
    /// is a refusal, `handshakeRejected`, with its `Location` in the error's response.
    ///
    /// Followed are the statuses 300, 301, 302, 303, 307 and 308 with a `Location`, within one `openTimeout`. None
    /// leads from TLS to no TLS. To another origin (scheme, host or port) the headers `Authorization`, `Cookie` and
    /// `Proxy-Authorization` and the client certificate are left behind, for good; other secrets in `headers` are not.
    /// With ``connectTo`` redirects within the origin only.
    public var maximumRedirects = 0
    /// How much of the server's answer to the handshake is read.
    public var responseLimits = WebSocketResponseLimits()
    /// Asked before each attempt, what this one is to use: for tokens, signatures and addresses that expire. Default nil: the
    /// configured URL, headers, subprotocols and TLS each time.
    ///
    /// Every way to connect asks: ``WebSocketClient``, its iterator, sessions at each reconnect and renewal, managed
    /// connections, pools. What it returns is checked as the configuration is. When the server answers with 401 or 403 it
    /// is asked once more at once, with ``WebSocketConnectAttempt/refusal``; a second refusal counts. `openTimeout` begins
    /// before it; it is cancelled, and not waited for, when that has passed or the caller was cancelled.
    ///
    /// It runs on no event loop and may suspend. What it throws is `beforeConnectFailed`, with
    /// ``WebSocketError/beforeConnectError``: an attempt that failed, which sessions, iterators and pools try
    /// again as their policies say.
    public var beforeConnect: (@Sendable (WebSocketConnectAttempt) async throws -> WebSocketConnectAttempt)?
    /// Observers of attempts to connect and of every connection. Default: none.
    public var observers: [any WebSocketObserver] = []
    /// The loop for the connection. Default: the next one of ``WebSocketEventLoopGroup/shared``.
    public var eventLoop: WebSocketEventLoop?

    /// Told of the handshake's steps.
    package var trace: ClientRequest.Trace?
    /// Where what is odd about the environment is told; `nil` for a logger of the package's label.
    package var logger: Logger?

    /// What `userAgent` is by default: `swift-libwebsockets`.
    public static let defaultUserAgent = "swift-libwebsockets"

    /// The defaults, or others. What is not here is set as a property.
    public init(
        headers: HTTPFields = [:], subprotocols: [String] = [], options: WebSocketOptions = .init(),
        tls: WebSocketTLSClientConfiguration = .init(), openTimeout: Duration = .seconds(10),
        eventLoop: WebSocketEventLoop? = nil
    ) {
        self.headers = headers
        self.subprotocols = subprotocols
        self.options = options
        self.tls = tls
        self.openTimeout = openTimeout
        self.eventLoop = eventLoop
    }

    /// Checks everything, before anything is sent; may read certificate files.
    package func request(
        for url: String, openTimeout: Duration? = nil
    ) throws(WebSocketError) -> ClientRequest {
        var fields = headers
        if let userAgent, fields[.userAgent] == nil {
            guard HTTPField.isValidValue(userAgent) else {
                throw WebSocketError(
                    .invalidConfiguration, "userAgent has a control character or space at one of its ends; remove it")
            }
            fields[.userAgent] = userAgent
        }
        var way = ClientRequest.Way()
        way.connectTo = connectTo
        way.proxy = proxy
        way.proxyTLS = proxyTLS
        way.maximumRedirects = maximumRedirects
        way.responseLimits = responseLimits
        let url = try WebSocketURL(international: url)
        if connectTo == nil { ProxyWarnings.warn(proxy, url, logger: logger) }
        var request = try ClientRequest(
            url: url, fields: fields, subprotocols: subprotocols, options: options,
            openTimeout: openTimeout ?? self.openTimeout, tls: tls, way: way)
        request.trace = trace
        return request
    }
}

/// Opens WebSocket connections.
public enum WebSocketClient {
    /// Opens a connection.
    ///
    /// The caller closes it. Prefer ``withConnection(to:configuration:_:)``, which does.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL (RFC 6455 §3); `http` and `https` mean the same. `user:password@` becomes
    ///     Basic authorization (RFC 7617), unless the headers have an `Authorization`. An internationalised host is
    ///     looked up in its `xn--` form, and what is outside ASCII in path and query is percent-encoded.
    ///   - configuration: How to connect. See <doc:Connecting>.
    /// - Throws: `invalidURL` and `invalidConfiguration` before anything is sent; `nameNotFound`, `connectFailed`,
    ///   `proxyFailed`, `timedOut` with its phase, `tlsFailed` with its cause, `handshakeRejected` with status, headers
    ///   and the beginning of the body, `redirectRefused`, `handshakeInvalid`, `beforeConnectFailed`,
    ///   `resourceExhausted`, `cancelled`.
    public static func connect(
        to url: String, configuration: WebSocketClientConfiguration = .init()
    ) async throws(WebSocketError) -> WebSocketConnection {
        WebSocketConnection(
            try await configuration.open(url, on: configuration.eventLoop ?? WebSocketEventLoopGroup.shared.next()))
    }

    /// Opens a connection over a Unix socket. The same as ``connect(to:configuration:)`` with
    /// ``WebSocketClientConfiguration/connectTo``.
    ///
    /// - Parameters:
    ///   - path: The socket's path, or an abstract name with `@` in front.
    ///   - url: What is asked for. Default `ws://localhost/`.
    ///   - configuration: How to connect.
    public static func connect(
        unixSocket path: String, to url: String = "ws://localhost/",
        configuration: WebSocketClientConfiguration = .init()
    ) async throws(WebSocketError) -> WebSocketConnection {
        var configuration = configuration
        configuration.connectTo = .unix(path: path)
        return try await connect(to: url, configuration: configuration)
    }
}
