//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import Logging
import Synchronization
public import WebSocketCore
public import WebSocketLoop

/// How a server listens and what it accepts.
public struct WebSocketServerConfiguration: Sendable {
    /// The address to listen on. Default `127.0.0.1`; `0.0.0.0` or `::` for all.
    public var host = "127.0.0.1"
    /// The port; 0 lets the system choose, and ``WebSocketServer/address`` tells which. Default 0.
    public var port = 0
    /// A certificate and its key; `nil` for plain TCP. Default `nil`.
    public var tls: TLSServerConfiguration?
    /// Limits, buffers, keepalive and compression of each connection. Compression is accepted by default.
    public var options: WebSocketOptions
    /// From the accepted socket to the answered request. Default 10 s; a slower client is dropped.
    public var handshakeTimeout: Duration = .seconds(10)
    /// Connections that wait to be accepted. Default 1,024.
    public var backlog = 1_024
    /// Which browsers may connect. Default ``OriginPolicy/sameHost``.
    public var origins = OriginPolicy.sameHost
    /// Subprotocols that the server speaks; the first one that the client offers is chosen. Default none.
    public var subprotocols: [String] = []
    /// How long ``WebSocketServer/shutDown()`` waits for handlers before their connections are aborted. Default 10 s.
    public var shutdownTimeout: Duration = .seconds(10)
    /// The loops that connections are spread over. Default ``EventLoopGroup/shared``.
    public var eventLoopGroup: EventLoopGroup?
    /// Where handlers run. Default ``WebSocketBodyExecutor/loop``.
    public var executor = WebSocketBodyExecutor.loop
    /// Who is told what happens to the connections. Default: nobody.
    public var observers: [any WebSocketObserver] = []
    /// Where the server tells what happens to it. Default: a logger with the label `swift-libwebsockets`.
    public var logger = Logger(label: "swift-libwebsockets")

    /// Which `Origin`s are let in (RFC 6455 §10.2). Requests without one are not from browsers and always pass.
    public enum OriginPolicy: Sendable, Hashable {
        /// Only pages that the same host serves.
        case sameHost
        /// Exactly these, such as `https://example.com`.
        case only(Set<String>)
        /// Any page of any site. Then cookies must not be what authenticates a client.
        case any
    }

    /// A configuration; port 0 lets the system choose one.
    public init(port: Int = 0, tls: TLSServerConfiguration? = nil) {
        self.port = port
        self.tls = tls
        var options = WebSocketOptions()
        options.compression = .deflate()
        self.options = options
    }
}

/// Accepts WebSocket connections and runs a handler for each.
///
/// ```swift
/// let server = try WebSocketServer(configuration: .init(port: 8080))
/// try await server.run { socket in
///     for try await message in socket.messages { try await socket.send(message) }
/// }
/// ```
public final class WebSocketServer: Sendable {
    /// The address that the server listens on, with the real port.
    public let address: SocketAddress
    private let configuration: WebSocketServerConfiguration
    private let listener: Listener
    private let state: ServerState

    /// Binds and listens; connections wait in the backlog until ``run(_:)``.
    ///
    /// - Throws: `invalidConfiguration` for a bad value, certificate or key; `listenFailed`.
    public init(configuration: WebSocketServerConfiguration = .init()) throws(WebSocketError) {
        try configuration.validate()
        self.configuration = configuration
        let group = configuration.eventLoopGroup ?? .shared
        let tls: ServerTLSContext?
        if let configured = configuration.tls { tls = try ServerTLSContext(configured) } else { tls = nil }
        let state = ServerState(loops: group.loops)
        self.state = state
        let policy = UpgradePolicy(
            options: configuration.options, handshakeTimeout: configuration.handshakeTimeout, tls: tls,
            decide: { [origins = configuration.origins, subprotocols = configuration.subprotocols] request, isSecure in
                guard !state.isStopping else { return .failure(.unavailable) }
                guard origins.allows(request.origin, host: request.host, isSecure: isSecure) else {
                    return .failure(.forbiddenOrigin)
                }
                return .success(
                    UpgradeAcceptance(subprotocol: request.subprotocols.first { subprotocols.contains($0) }))
            },
            established: { state.established($0) })
        listener = try Listener(
            loop: group.next(), host: configuration.host, port: configuration.port, backlog: configuration.backlog
        ) { descriptor in
            let queue = state.nextQueue()
            let begun = queue.loop.execute {
                ServerUpgrade.begin(descriptor, on: queue.loop, policy: policy, register: queue.open)
            }
            // After a loop's end nobody else would close it.
            if !begun { state.closeOrphan(descriptor) }
        }
        address = listener.address
    }

    /// The port that the server listens on.
    public var port: Int { address.port ?? 0 }

    /// Accepts connections and runs `handler` for each, until ``shutDown()`` or cancellation.
    ///
    /// When a handler returns its connection is closed with 1000, when it throws with 1011 (and the error is logged);
    /// other connections are not touched. On shutdown connections are closed with 1001.
    ///
    /// - Parameter handler: Runs on the connection's loop, unless the configuration says otherwise; then it must not
    ///   block. Called concurrently.
    /// - Throws: `shutDown` when the server has already run.
    public func run(
        _ handler: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Void
    ) async throws(WebSocketError) {
        guard state.beginRunning() else {
            throw WebSocketError(.shutDown, "the server has already run; create a new one")
        }
        let listener = listener
        listener.loop.execute { listener.start() }
        let state = state
        let configuration = configuration
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                for queue in state.queues {
                    // Each loop's connections are taken up on that loop.
                    group.addTask(executorPreference: queue.loop.taskExecutor) {
                        await withDiscardingTaskGroup { handlers in
                            while let connection = await queue.next() {
                                handlers.addTask(executorPreference: queue.loop.taskExecutor) {
                                    await Self.handle(
                                        WebSocketConnection(connection), state: state, configuration: configuration,
                                        handler)
                                }
                            }
                        }
                    }
                }
            }
        } onCancel: {
            state.stop(timeout: configuration.shutdownTimeout)
            listener.loop.execute { listener.stop() }
        }
        listener.loop.execute { listener.stop() }
        state.finished()
    }

    @concurrent
    private static func handle(
        _ socket: WebSocketConnection, state: ServerState, configuration: WebSocketServerConfiguration,
        _ handler: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Void
    ) async {
        // A cancelled `run` cancels its handlers first and hears of it afterwards.
        var isStopping: Bool { state.isStopping || Task.isCancelled }
        Observation(observers: configuration.observers).watch(socket.wire, openedAfter: .zero)
        do {
            try await socket.run(
                on: configuration.executor,
                closeCodes: { _ in isStopping ? (.goingAway, .goingAway) : (.normalClosure, .internalError) },
                handler)
        } catch let error as WebSocketError where error.code == .connectionClosed || isStopping {
            configuration.logger.debug("a connection ended", metadata: ["reason": "\(error)"])
        } catch {
            configuration.logger.info(
                "a handler failed; its connection is closed with 1011",
                metadata: ["error": "\("\(error)".escapedForLog)"])
        }
    }

    /// Stops accepting, closes every connection with 1001 (RFC 6455 §7.4.1) and waits for the handlers; after
    /// `shutdownTimeout` their connections are aborted. ``run(_:)`` returns then.
    public func shutDown() async {
        let listener = listener
        listener.loop.execute { listener.stop() }
        state.stop(timeout: configuration.shutdownTimeout)
        await state.waitUntilFinished()
    }

    deinit {
        let listener = listener
        listener.loop.execute { listener.stop() }
    }
}

extension WebSocketServerConfiguration {
    fileprivate func validate() throws(WebSocketError) {
        try options.validate()
        try HandshakeText.validate(subprotocols: subprotocols)
        guard handshakeTimeout > .zero else {
            throw WebSocketError(
                .invalidConfiguration, "handshakeTimeout is \(handshakeTimeout); it must be positive")
        }
        guard (1...65_535).contains(backlog) else {
            throw WebSocketError(.invalidConfiguration, "backlog is \(backlog); it must be in 1...65535")
        }
    }
}

extension WebSocketServerConfiguration.OriginPolicy {
    fileprivate func allows(_ origin: String?, host: String, isSecure: Bool) -> Bool {
        switch self {
        case .any: true
        case .sameHost: OriginCheck.isSameHost(origin: origin, host: host, isSecure: isSecure)
        case .only(let allowed): origin.map { allowed.contains($0) } ?? true
        }
    }
}
