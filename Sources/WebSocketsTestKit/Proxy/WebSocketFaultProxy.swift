//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization

/// A TCP proxy in front of a server: the network, which can be slow, silent, lossy or gone.
///
/// What passes is not understood, so that it works for `wss` as for `ws`. It runs on one thread of its own and accepts on
/// a port of the loopback interface that the system chose. ``stop()`` ends it.
///
/// ```swift
/// try await withWebSocketFaultProxy(to: server.port) { proxy in
///     let socket = try await WebSocketClient.connect(to: proxy.url)
///     proxy.change { $0.toClient.latency = .milliseconds(200) }
///     …
///     proxy.change { $0.isSilent = true }
/// }
/// ```
public final class WebSocketFaultProxy: Sendable {
    /// What the network is like.
    public struct Conditions: Sendable, Hashable {
        /// What a new connection waits before it reaches the server. Default zero.
        public var connectDelay: Duration = .zero
        /// What happens to the bytes that the client sends.
        public var toServer = WebSocketToxics()
        /// What happens to the bytes that the server sends.
        public var toClient = WebSocketToxics()

        /// A network without faults.
        public init() {}

        /// Whether nothing passes in either direction while TCP stays up; `WebSocketToxics/timeout` of both.
        public var isSilent: Bool {
            get { toServer.timeout == .silent && toClient.timeout == .silent }
            set {
                toServer.timeout = newValue ? .silent : nil
                toClient.timeout = newValue ? .silent : nil
            }
        }
    }

    /// The proxy could not listen.
    public struct Failure: Error, Hashable, Sendable {
        /// The `errno` of the call that failed.
        public let errno: Int32
    }

    enum Command: Sendable {
        case apply(Conditions)
        case kill
        case refuse
        case listen
        case stop
    }

    private struct Shared {
        var conditions: Conditions
        var commands: [(command: Command, done: Signal)] = []
        var accepted = 0
        var isStopped = false
    }

    /// Where it listens.
    public let port: Int
    let host: String
    let upstream: (host: String, port: Int)
    let wakeRead: CInt
    private let wakeWrite: CInt
    private let shared: Mutex<Shared>

    /// Starts a proxy.
    ///
    /// - Parameters:
    ///   - upstream: The server's port.
    ///   - upstreamHost: The server's IPv4 address. Default `127.0.0.1`.
    ///   - host: The IPv4 address to listen on. Default `127.0.0.1`.
    ///   - port: The port to listen on. Default 0: the system chooses.
    ///   - seed: What jitter, slicer and corruption are drawn from.
    ///   - conditions: How the network is at first.
    public init(
        to upstream: Int, at upstreamHost: String = "127.0.0.1", host: String = "127.0.0.1", port: Int = 0,
        seed: UInt64 = 1, conditions: Conditions = Conditions()
    ) throws {
        self.upstream = (upstreamHost, upstream)
        self.host = host
        shared = Mutex(Shared(conditions: conditions))
        let (listener, port) = try ProxySocket.listen(host: host, port: port)
        self.port = port
        var ends: [CInt] = [0, 0]
        guard pipe(&ends) == 0 else {
            let code = Glibc.errno
            close(listener)
            throw Failure(errno: code)
        }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        (wakeRead, wakeWrite) = (ends[0], ends[1])
        let start = Unmanaged.passRetained(Start(proxy: self, listener: listener, seed: seed, conditions: conditions))
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { argument in
                let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
                var worker = ProxyWorker(
                    proxy: start.proxy, listener: start.listener, seed: start.seed, conditions: start.conditions)
                worker.run()
                return nil
            }, start.toOpaque())
        precondition(status == 0, "no thread: \(status)")
        pthread_detach(thread)
    }

    private final class Start {
        let proxy: WebSocketFaultProxy
        let listener: CInt
        let seed: UInt64
        let conditions: Conditions
        init(proxy: WebSocketFaultProxy, listener: CInt, seed: UInt64, conditions: Conditions) {
            (self.proxy, self.listener, self.seed, self.conditions) = (proxy, listener, seed, conditions)
        }
    }

    deinit {
        close(wakeRead)
        close(wakeWrite)
    }

    /// Its address as a `ws` URL.
    public var url: String { "ws://\(host):\(port)/" }
    /// How many connections have come.
    public var accepted: Int { shared.withLock { $0.accepted } }
    /// How the network is.
    public var conditions: Conditions { shared.withLock { $0.conditions } }

    /// Changes the network. Returns once the new conditions hold, which takes microseconds.
    public func change(_ body: @Sendable (inout Conditions) -> Void) {
        let conditions = shared.withLock { shared in
            body(&shared.conditions)
            return shared.conditions
        }
        perform(.apply(conditions))
    }

    /// Resets every connection (RST).
    public func kill() { perform(.kill) }
    /// Refuses connections from now on, and resets those there are.
    public func refuse() { perform(.refuse) }
    /// Accepts connections again, on the same port.
    public func listen() { perform(.listen) }
    /// Ends the proxy and resets every connection. It cannot be started again.
    public func stop() { perform(.stop) }

    /// A caller that goes on after a call must meet the new conditions, so the proxy's thread is waited for.
    private func perform(_ command: Command) {
        let done = Signal()
        let isRunning = shared.withLock { shared in
            if shared.isStopped { return false }
            if case .stop = command { shared.isStopped = true }
            shared.commands.append((command, done))
            return true
        }
        guard isRunning else { return }
        var byte: UInt8 = 1
        // A full pipe wakes just as well.
        _ = write(wakeWrite, &byte, 1)
        done.wait()
    }

    func takeCommands() -> [(command: Command, done: Signal)] {
        shared.withLock { shared in
            defer { shared.commands = [] }
            return shared.commands
        }
    }

    func countAccepted() { shared.withLock { $0.accepted += 1 } }
}

/// Runs the body with a proxy in front of a server, and stops it.
///
/// - Parameters:
///   - upstream: The server's port on `127.0.0.1`.
///   - seed: What jitter, slicer and corruption are drawn from.
///   - conditions: How the network is at first.
///   - body: Uses the proxy, where the caller runs.
public func withWebSocketFaultProxy<Result: Sendable>(
    to upstream: Int, seed: UInt64 = 1, conditions: WebSocketFaultProxy.Conditions = .init(),
    _ body: (WebSocketFaultProxy) async throws -> Result
) async throws -> Result {
    let proxy = try WebSocketFaultProxy(to: upstream, seed: seed, conditions: conditions)
    defer { proxy.stop() }
    return try await body(proxy)
}

/// Lets a thread wait for another one.
final class Signal: @unchecked Sendable {
    // The semaphore is its own synchronisation.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    init() { sem_init(semaphore, 0, 0) }
    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
    func signal() { sem_post(semaphore) }
    func wait() { while sem_wait(semaphore) != 0 {} }
}
