//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import WebSocketPool

/// What the other end does, and what it has seen.
final class MockServer: Sendable {
    struct Refused: Error {}

    struct Behaviour: Sendable {
        var connectDelay = Duration.zero
        var closeDelay = Duration.zero
        var validationDelay = Duration.zero
        var drainDelay = Duration.zero
        /// Endpoints that refuse.
        var refusing: Set<Int> = []
        /// Endpoints that have gone without a word: nothing answers there, and goodbyes wait for ever.
        var silent: Set<Int> = []
        var answersPings = true
        var drainOutcome = WebSocketPoolDrainOutcome.clean
        var hangsOnClose = false
        var executor: (any TaskExecutor)?
    }

    struct Record: Sendable {
        var connections: [MockConnection] = []
        var attempts: [Duration] = []
        var connecting = 0
        var mostConnecting = 0
        var closeCalls = 0
        var validations = 0
        var drains = 0
    }

    let behaviour: Mutex<Behaviour>
    let record = Mutex(Record())
    let sleep: @Sendable (Duration) async throws -> Void
    let elapsed: @Sendable () -> Duration

    init(_ behaviour: Behaviour = .init(), on simulation: Simulation) {
        self.behaviour = Mutex(behaviour)
        self.sleep = { try await simulation.sleep(until: simulation.now.advanced(by: $0)) }
        self.elapsed = { simulation.elapsed }
    }

    /// A server that answers at once, for tests on real threads.
    init() {
        self.behaviour = Mutex(Behaviour())
        self.sleep = { _ in await Task.yield() }
        self.elapsed = { .zero }
    }

    func set(_ change: (inout sending Behaviour) -> Void) { self.behaviour.withLock { change(&$0) } }
    var now: Behaviour { self.behaviour.withLock { $0 } }
    var seen: Record { self.record.withLock { $0 } }
    var openConnections: [MockConnection] { self.seen.connections.filter(\.isOpen) }

    func connect(_ endpoint: Int) async throws -> MockConnection {
        let time = self.elapsed()
        self.record.withLock {
            $0.attempts.append(time)
            $0.connecting += 1
            $0.mostConnecting = max($0.mostConnecting, $0.connecting)
        }
        defer { self.record.withLock { $0.connecting -= 1 } }
        let delay = self.now.connectDelay
        if delay > .zero { try await self.sleep(delay) }
        while self.now.silent.contains(endpoint) { try await self.sleep(.seconds(3600)) }
        if self.now.refusing.contains(endpoint) { throw Refused() }
        return self.record.withLock { record in
            let connection = MockConnection(id: record.connections.count, endpoint: endpoint, server: self)
            record.connections.append(connection)
            return connection
        }
    }
}

final class MockConnection: WebSocketPooledConnection {
    private struct State {
        var isOpen = true
        var holders = 0
        var closings = 0
        var onClose: (@Sendable () -> Void)?
    }

    let id: Int
    let endpoint: Int
    /// Which has a record of all its connections and outlives them.
    private unowned let server: MockServer
    private let state = Mutex(State())

    init(id: Int, endpoint: Int, server: MockServer) {
        self.id = id
        self.endpoint = endpoint
        self.server = server
    }

    // Read without the lock, as the protocol asks.
    private let open = Atomic(true)
    private let unread = Atomic(0)

    var preferredExecutor: (any TaskExecutor)? { self.server.now.executor }
    var isOpen: Bool { self.open.load(ordering: .acquiring) }
    var hasUnreadInput: Bool { self.unread.load(ordering: .acquiring) > 0 }
    var closings: Int { self.state.withLock { $0.closings } }

    /// A message from the server that nobody asked for.
    func receive() { self.unread.add(1, ordering: .releasing) }
    func read() -> Int { self.unread.exchange(0, ordering: .acquiringAndReleasing) }

    /// The peer closes. With `silently`, nobody is told.
    func die(silently: Bool = false) {
        let handler = self.state.withLock { state -> (@Sendable () -> Void)? in
            guard state.isOpen else { return nil }
            state.isOpen = false
            self.open.store(false, ordering: .releasing)
            let handler = state.onClose.take()
            return silently ? nil : handler
        }
        handler?()
    }

    /// - Returns: Whether nobody else was using the connection.
    func enter() -> Bool {
        self.state.withLock { state in
            state.holders += 1
            return state.holders == 1
        }
    }

    func leave() { self.state.withLock { $0.holders -= 1 } }

    private var isSilent: Bool { self.server.now.silent.contains(self.endpoint) }

    func abort() { self.die() }

    func close() async {
        self.server.record.withLock { $0.closeCalls += 1 }
        self.state.withLock { $0.closings += 1 }
        if self.server.now.hangsOnClose || self.isSilent {
            while !Task.isCancelled, self.isOpen { try? await self.server.sleep(.seconds(3600)) }
        }
        let delay = self.server.now.closeDelay
        if delay > .zero { try? await self.server.sleep(delay) }
        self.die()
    }

    func validate(timeout: Duration) async -> Bool {
        self.server.record.withLock { $0.validations += 1 }
        if !self.server.now.answersPings || self.isSilent {
            try? await self.server.sleep(.seconds(3600))
            return false
        }
        let delay = self.server.now.validationDelay
        if delay > .zero { try? await self.server.sleep(delay) }
        return self.isOpen
    }

    func drain(_ options: WebSocketPoolDrainOptions) async -> WebSocketPoolDrainOutcome {
        self.server.record.withLock { $0.drains += 1 }
        let delay = self.server.now.drainDelay
        if delay > .zero { try? await self.server.sleep(delay) }
        if self.server.now.drainOutcome == .clean { _ = self.read() }
        return self.server.now.drainOutcome
    }

    func onClose(_ handler: @escaping @Sendable () -> Void) {
        let isOpen = self.state.withLock { state in
            if state.isOpen { state.onClose = handler }
            return state.isOpen
        }
        if !isOpen { handler() }
    }
}

typealias SimulatedPool = TypedPool<MockConnection>

/// Runs a pool against a mock server in simulated time, shuts it down, and checks that nothing is left.
func withSimulatedPool(
    _ configuration: WebSocketPoolConfiguration = .init(), server behaviour: MockServer.Behaviour = .init(),
    endpoints: Int = 1,
    observer: (any WebSocketPoolObserver)? = nil, seed: UInt64 = 0,
    _ body: @escaping @Sendable (SimulatedPool, MockServer, Simulation) async throws -> Void
) throws {
    try Simulation.run(seed: seed) { simulation in
        let server = MockServer(behaviour, on: simulation)
        var configuration = configuration
        configuration.shutdownGrace = .zero
        try await SimulatedPool.withPool(
            configuration: configuration, clock: simulation, endpointCount: endpoints, observer: observer,
            connect: { try await server.connect($0) }
        ) { pool in
            try await body(pool, server, simulation)
        }
        let left = server.openConnections.count
        if left > 0, !server.now.hangsOnClose { throw LeftOpen(count: left) }
    }
}

struct LeftOpen: Error { var count: Int }
