//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
public import WebSocketCore
public import WebSocketLoop

/// How a client connects.
public struct WebSocketClientConfiguration: Sendable {
    /// Limits, buffers, keepalive and compression of the open connection. Compression is off by default
    /// (see ``WebSocketCompression``).
    public var options = WebSocketOptions()
    /// How the server is verified.
    public var tls = TLSClientConfiguration()
    /// Additional headers of the handshake, such as `Authorization`, `Cookie` or `Origin`. Headers that belong to the
    /// handshake are refused.
    public var headers: HTTPFields = [:]
    /// Subprotocols to offer, in order of preference.
    public var subprotocols: [String] = []
    /// From the call to the open connection: name resolution, TCP, TLS and the HTTP handshake together. Default 10 s.
    public var openTimeout: Duration = .seconds(10)
    /// Who is told of attempts to connect, and of what happens to the connection. Default: nobody.
    public var observers: [any WebSocketObserver] = []
    /// The loop for the connection. Default: the next one of ``EventLoopGroup/shared``.
    public var eventLoop: EventLoop?

    /// The defaults.
    public init() {}
}

/// Opens WebSocket connections.
public enum WebSocketClient {
    /// Opens a connection.
    ///
    /// The caller closes it. Prefer ``withConnection(to:configuration:executor:_:)``, which does.
    ///
    /// - Parameters:
    ///   - url: A `ws://` or `wss://` URL (RFC 6455 §3); `http` and `https` mean the same.
    ///   - configuration: How to connect.
    /// - Throws: `invalidURL` and `invalidConfiguration` before anything is sent; `nameNotFound`, `connectFailed`,
    ///   `timedOut` with its phase, `tlsFailed` with its cause, `handshakeRejected` with status and headers,
    ///   `handshakeInvalid`, `resourceExhausted`, `cancelled`.
    public static func connect(
        to url: String, configuration: WebSocketClientConfiguration = .init()
    ) async throws(WebSocketError) -> WebSocketConnection {
        let request = try ClientRequest(
            url: try WebSocketURL(url), fields: configuration.headers, subprotocols: configuration.subprotocols,
            options: configuration.options, openTimeout: configuration.openTimeout, tls: configuration.tls)
        let loop = configuration.eventLoop ?? EventLoopGroup.shared.next()
        let observation = Observation(observers: configuration.observers)
        return WebSocketConnection(
            try await PoolSpan.connect.traced(request.url) { () throws(WebSocketError) in
                try await observation.connect(to: request.url) { () throws(WebSocketError) in
                    try await loop.connect(request)
                }
            })
    }

    /// Opens a connection, runs `body` with it, and closes it: with 1000 when the body returns, with 1011 when it
    /// throws. The close finishes also when the task is cancelled, within `closeTimeout`.
    ///
    /// - Parameters:
    ///   - executor: Where the body runs. Default ``WebSocketBodyExecutor/loop``: as fast as C, but the body must not
    ///     block.
    ///   - body: Uses the connection. It must not let it escape.
    /// - Throws: What ``connect(to:configuration:)`` throws, and what the body throws.
    public static func withConnection<Result: Sendable>(
        to url: String, configuration: WebSocketClientConfiguration = .init(),
        executor: WebSocketBodyExecutor = .loop,
        _ body: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        let connection = try await connect(to: url, configuration: configuration)
        return try await connection.run(on: executor, closeCodes: { _ in (.normalClosure, .internalError) }, body)
    }
}

extension WebSocketConnection {
    /// Runs a scope and closes the connection at its end, whatever happened.
    func run<Result: Sendable>(
        on executor: WebSocketBodyExecutor,
        closeCodes: @Sendable (WebSocketConnection) -> (returned: WebSocketCloseCode, threw: WebSocketCloseCode),
        _ body: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Result
    ) async throws -> Result {
        do {
            let result: Result
            switch executor {
            case .loop:
                result = try await withTaskExecutorPreference(wire.loop.taskExecutor) { try await body(self) }
            // Said out loud, because the caller may prefer a loop.
            case .global:
                result = try await withTaskExecutorPreference(globalConcurrentExecutor) { try await body(self) }
            }
            await wire.closeRegardless(WebSocketCloseFrame(code: closeCodes(self).returned))
            return result
        } catch {
            await wire.closeRegardless(WebSocketCloseFrame(code: closeCodes(self).threw))
            throw error
        }
    }
}
