//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Logging
import Synchronization
import WebSocketConcurrency
public import WebSocketCore
public import WebSocketLoop

/// Accepts WebSocket connections and runs a handler for each.
///
/// ```swift
/// let server = try WebSocketServer(configuration: .init(port: 8080))
/// try await server.run { socket in
///     for try await message in socket.messages { try await socket.send(message) }
/// }
/// ```
public final class WebSocketServer: Sendable {
    /// The first address that the server listens on, with the real port.
    ///
    /// Of a server that listens nowhere it is a unix address with an empty path.
    public var address: WebSocketAddress { addresses.first ?? .unix(path: "") }
    /// The addresses that the server listens on, with the real ports.
    public let addresses: [WebSocketAddress]
    let configuration: WebSocketServerConfiguration
    private let listeners: [Listener]
    let state: ServerState
    let policy: UpgradePolicy
    private let limiter: ConnectionLimiter

    /// Binds and listens; connections wait in the backlog until ``run(_:)``.
    ///
    /// - Throws: `invalidConfiguration` for a bad value, certificate or key; `listenFailed`.
    public init(configuration: WebSocketServerConfiguration = .init()) throws(WebSocketError) {
        try configuration.validate()
        self.configuration = configuration
        let group = configuration.eventLoopGroup ?? .shared
        let state = ServerState(
            loops: group.loops,
            lifetimes: .init(idleTimeout: configuration.idleTimeout, maximumLifetime: configuration.maximumLifetime))
        self.state = state
        let decider = try ServerDecider(configuration, state: state)
        let limiter = ConnectionLimiter(
            maximum: configuration.maximumConnections, maximumPerAddress: configuration.maximumConnectionsPerAddress,
            maximumHandshakes: configuration.maximumHandshakes, ipv6PrefixLength: configuration.ipv6ClientPrefixLength)
        self.limiter = limiter
        var policy = UpgradePolicy(
            options: configuration.options, handshakeTimeout: configuration.handshakeTimeout,
            tls: try configuration.tls.map { configured throws(WebSocketError) in try ServerTLSContext(configured) },
            deciding: { decider.decide($0, $1) }, established: { state.established($0) })
        policy.trust = try configuration.trustedProxies.trust()
        policy.expectsProxyHeader = configuration.trustedProxies.sendsProxyProtocol
        policy.limiter = limiter
        policy.limits = configuration.requestLimits.parser
        policy.logger = configuration.logger
        policy.refused = Observation(observers: configuration.observers).refusals
        self.policy = policy
        listeners = try Self.listen(configuration, group, state, policy)
        var addresses: [WebSocketAddress] = []
        for listener in listeners where !addresses.contains(listener.address) { addresses.append(listener.address) }
        self.addresses = addresses
    }

    private static func listen(
        _ configuration: WebSocketServerConfiguration, _ group: WebSocketEventLoopGroup, _ state: ServerState,
        _ policy: UpgradePolicy
    ) throws(WebSocketError) -> [Listener] {
        @Sendable func begin(_ descriptor: CInt, _ queue: ConnectionQueue) {
            let begun = queue.loop.execute {
                ServerUpgrade.begin(descriptor, on: queue.loop, policy: policy, register: queue.open)
            }
            // After a loop's end nothing else would close it.
            if !begun { state.closeOrphan(descriptor) }
        }
        var listeners: [Listener] = []
        for address in configuration.listenAddresses {
            guard configuration.sharesPort, case .tcp(let host, let port) = address else {
                listeners.append(
                    try Listener(loop: group.next(), address: address, backlog: configuration.backlog) {
                        begin($0, state.nextQueue())
                    })
                continue
            }
            var actual = port
            for queue in state.queues {
                let listener = try Listener(
                    loop: queue.loop, address: .tcp(host: host, port: actual), backlog: configuration.backlog,
                    sharesPort: true
                ) { begin($0, queue) }
                listeners.append(listener)
                // The first one has found out which port it is.
                actual = listener.address.port ?? actual
            }
        }
        return listeners
    }

    /// The port that the server listens on.
    public var port: Int { address.port ?? 0 }

    /// Accepts connections and runs `handler` for each, until ``shutDown(code:reason:timeout:spread:)`` or cancellation.
    ///
    /// When a handler returns its connection is closed with 1000, when it throws with 1011 (and the error is logged);
    /// other connections are not touched. On shutdown connections are closed with 1001.
    ///
    /// - Parameter handler: Runs on the connection's loop, unless the configuration says otherwise; then it must not
    ///   block. Called concurrently.
    /// - Throws: `shutDown` when the server has already run. One that was shut down before returns at once.
    public func run(
        _ handler: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Void
    ) async throws(WebSocketError) {
        try await run(routes: nil, handler)
    }

    /// Accepts connections and runs the handler of each one's route. See ``run(_:)``.
    public func run(routes: WebSocketRoutes) async throws(WebSocketError) {
        try await run(routes: routes) { socket in try await routes.handler(of: socket)?(socket) }
    }

    private func run(
        routes: WebSocketRoutes?, _ handler: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Void
    ) async throws(WebSocketError) {
        switch state.beginRunning(routes) {
        case .runs: break
        // A signal may be faster than the task that runs the server; there is nothing to complain about.
        case .isStopped: return
        case .hasRun: throw WebSocketError(.shutDown, "the server has already run; create a new one")
        }
        for listener in listeners { listener.loop.execute { listener.start() } }
        let state = state
        let serving = Serving(state, configuration, handler)
        let executor = configuration.executor
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                for queue in state.queues {
                    // Each loop's connections are taken up on that loop.
                    group.addTask(executorPreference: queue.loop.taskExecutor) {
                        await withDiscardingTaskGroup { handlers in
                            while let connection = await queue.next() {
                                handlers.addTask(executorPreference: executor.taskExecutor(on: queue.loop)) {
                                    // Everything else has a function of its own: what is alive here and in the handler
                                    // is what an idle connection costs, a kilobyte at a time.
                                    let socket = serving.begin(connection, in: queue)
                                    do {
                                        try await serving.handler(socket)
                                        await serving.end(socket, in: queue, nil)
                                    } catch {
                                        await serving.end(socket, in: queue, error)
                                    }
                                }
                            }
                        }
                    }
                }
            }
        } onCancel: {
            let configuration = serving.configuration
            state.stop(
                Self.goingAway, timeout: configuration.shutdownTimeout, spread: configuration.shutdownSpread)
            stopListening()
        }
        await stoppedListening()
        state.finished()
    }

    private static let goingAway = WebSocketCloseFrame(code: .goingAway)

    private func stopListening() {
        for listener in listeners { listener.loop.execute { listener.stop() } }
    }

    /// Ports are free and files of unix sockets gone: a program may end as soon as `run` or `shutDown` has returned.
    private func stoppedListening() async {
        for listener in listeners {
            await suspend { (done: Waiter<Void>) in
                let isAccepted = listener.loop.execute {
                    listener.stop()
                    done.resume()
                }
                // A loop that has ended has no listener any more.
                if !isAccepted { done.resume() }
            }
        }
    }

    /// Stops accepting, closes every connection and waits for the handlers, and for connections that were taken over; when
    /// the time is over what is open is aborted. Requests that wait for a decision get 503. ``run(_:)`` returns then.
    ///
    /// - Parameters:
    ///   - code: For the close frames. Default 1001 (RFC 6455 §7.4.1).
    ///   - reason: For the close frames, at most 123 bytes. One that is too long, or a code that may not be sent, is
    ///     replaced by a plain 1001.
    ///   - timeout: Counted from the last close frame on. Default: the configuration's `shutdownTimeout`.
    ///   - spread: The time over which the close frames go out, evenly, so that not all clients come back at once; at most
    ///     a day. Default: the configuration's `shutdownSpread`. A restart closes with ``WebSocketCloseCode/serviceRestart``.
    public func shutDown(
        code: WebSocketCloseCode = .goingAway, reason: String = "", timeout: Duration? = nil, spread: Duration? = nil
    ) async {
        let frame = WebSocketCloseFrame(code: code, reason: reason)
        stopListening()
        state.stop(
            (try? frame.validate()) == nil ? Self.goingAway : frame, timeout: timeout ?? configuration.shutdownTimeout,
            spread: spread ?? configuration.shutdownSpread)
        await state.waitUntilFinished()
        await stoppedListening()
    }

    // MARK: While it runs

    /// The connections whose handlers run, and those that were taken over and are open, in no order.
    public var connections: [WebSocketConnection] { state.queues.flatMap(\.connections) }

    /// Exchanges certificates, keys and authorities. Handshakes that begin from now on get the new ones; connections that
    /// stand are not touched.
    ///
    /// - Throws: `invalidConfiguration` for PEM that cannot be used, for a server without TLS, and for a change of
    ///   `minimumVersion` or of whether clients are asked for certificates. Then nothing has changed.
    public func reloadTLS(_ configuration: WebSocketTLSServerConfiguration) throws(WebSocketError) {
        guard let tls = policy.tls else {
            throw WebSocketError(.invalidConfiguration, "the server was started without TLS; start a new one")
        }
        try tls.reload(configuration)
    }

    /// Sends a message to every open connection, those of ``accept(_:request:bytesBehind:)`` included.
    ///
    /// The frame is built once, and compressed once for all that agreed on the same window. Never suspends: for a
    /// peer that reads slowly ``WebSocketServerConfiguration/broadcastLimits`` decides, and ``statistics`` count. From one
    /// task, messages go out in order.
    ///
    /// - Parameters:
    ///   - message: What every connection gets.
    ///   - sender: A connection that does not get it.
    public func broadcast(_ message: WebSocketMessage, except sender: WebSocketConnection? = nil) {
        let encoded = EncodedMessage(message)
        let limits = configuration.broadcastLimits.wire
        let totals = state.broadcasts
        let except = sender?.wire
        for queue in state.queues {
            queue.loop.execute { totals.note(queue.open.broadcast(encoded, limits, except: except)) }
        }
    }

    /// What the server has done so far.
    public var statistics: WebSocketServerStatistics {
        WebSocketServerStatistics(
            sockets: limiter.count, accepted: state.accepted.load(ordering: .relaxed),
            refusedForLimits: limiter.refusedCount, broadcasts: state.broadcasts.snapshot)
    }

    deinit { stopListening() }
}

/// What a server has done so far. Each figure is exact, all of them together only at rest.
public struct WebSocketServerStatistics: Sendable, Hashable {
    /// Sockets that are there now, handshakes included.
    public let sockets: Int
    /// Connections that were accepted.
    public let accepted: Int
    /// Sockets that were refused, or closed at once, because of a limit.
    public let refusedForLimits: Int
    /// What has become of broadcasts.
    public let broadcasts: WebSocketBroadcastStatistics
}

/// What the handlers of a running server share. One object, because the task of each connection would otherwise hold
/// copies of the whole configuration.
private final class Serving: Sendable {
    let configuration: WebSocketServerConfiguration
    private let state: ServerState
    let handler: @Sendable @concurrent (WebSocketConnection) async throws -> Void

    init(
        _ state: ServerState, _ configuration: WebSocketServerConfiguration,
        _ handler: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Void
    ) {
        self.state = state
        self.configuration = configuration
        self.handler = ServerSpan.traced(handler)
    }

    /// A cancelled `run` cancels its handlers first and hears of it afterwards.
    private var isStopping: Bool { state.isStopping || Task.isCancelled }

    @inline(never)
    func begin(_ connection: Connection, in queue: ConnectionQueue) -> WebSocketConnection {
        let socket = WebSocketConnection(connection)
        queue.served.withLock { $0[ObjectIdentifier(socket)] = socket }
        let observation = Observation(observers: configuration.observers)
        observation.watch(connection, openedAfter: .zero)
        observation.watchTraffic(of: connection)
        connection.nameCurrentTask()
        return socket
    }

    @inline(never) @concurrent
    func end(_ socket: WebSocketConnection, in queue: ConnectionQueue, _ error: (any Error)?) async {
        socket.wire.forgetCurrentTask()
        let code: WebSocketCloseCode = isStopping ? .goingAway : error == nil ? .normalClosure : .internalError
        await socket.wire.closeRegardless(WebSocketCloseFrame(code: code))
        if let error { report(error) }
        queue.served.withLock { $0[ObjectIdentifier(socket)] = nil }
    }

    private func report(_ error: any Error) {
        if let error = error as? WebSocketError, error.code == .connectionClosed || isStopping {
            configuration.logger.debug("a connection ended", metadata: ["reason": "\(error)"])
        } else {
            configuration.logger.info(
                "a handler failed; its connection is closed with 1011",
                metadata: ["error": "\("\(error)".escapedForLog)"])
        }
    }
}
