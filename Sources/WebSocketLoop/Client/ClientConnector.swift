//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
package import WebSocketCore

/// One call of `connect`: resolves the name, races its addresses (RFC 8305), and ends in exactly one outcome.
/// Loop-confined.
final class ClientConnector: @unchecked Sendable {
    // Created, used and released on one loop; Sendable only to get there.

    let loop: EventLoop
    let request: ClientRequest
    private var waiter: LoopWaiter<Connection>?
    private var resolver: NameResolver?
    private var addresses: ArraySlice<String> = []
    private var attempts: [ClientHandshake] = []
    private var deadline: EventLoop.TimerToken?
    private var nextAttempt: EventLoop.TimerToken?
    private var failures: [WebSocketError] = []
    private var isResolved = false

    /// RFC 8305 §5: how long an address has the network for itself.
    private static let attemptDelay: UInt64 = 250_000_000

    init(loop: EventLoop, request: ClientRequest) {
        self.loop = loop
        self.request = request
    }

    func start(_ waiter: LoopWaiter<Connection>) {
        self.waiter = waiter
        loop.onStop[ObjectIdentifier(self)] = { [unowned self] in
            finish(.failure(WebSocketError(.shutDown, "the event loop \(loop.name) was shut down")))
        }
        deadline = loop.schedule(after: request.openTimeout.nanoseconds) { [self] in
            deadline = nil
            finish(.failure(timeoutError()))
        }
        let host = request.address ?? request.url.host
        if IPAddress.isIPv4(host) || IPAddress.isIPv6(host) {
            resolved(.success([host]))
        } else {
            resolver = NameResolver.resolve(host, on: loop) { [self] in resolved($0) }
        }
    }

    /// The task was cancelled; the waiter goes back, if it is still here.
    func cancel() -> LoopWaiter<Connection>? {
        let waiter = self.waiter
        self.waiter = nil
        cleanUp()
        return waiter
    }

    private func timeoutError() -> WebSocketError {
        let phase: WebSocketError.Phase =
            isResolved ? attempts.map(\.stage).max().map(\.phase) ?? .connect : .nameResolution
        let step =
            switch phase {
            case .nameResolution: "resolving the name"
            case .connect: "connecting over TCP"
            case .tls: "the TLS handshake"
            default: "the opening handshake"
            }
        return WebSocketError(
            .timedOut,
            "\(step) did not finish within openTimeout (\(request.openTimeout)); check that the server answers, or allow more time",
            phase: phase)
    }

    private func resolved(_ result: Result<[String], WebSocketError>) {
        resolver = nil
        isResolved = true
        switch result {
        case .failure(let error): finish(.failure(error))
        case .success(let addresses):
            self.addresses = addresses[...]
            startNextAttempt()
        }
    }

    private func startNextAttempt() {
        loop.cancel(nextAttempt)
        nextAttempt = nil
        guard waiter != nil else { return }
        guard let address = addresses.popFirst() else {
            if attempts.isEmpty { finish(.failure(failures.last ?? noAddress())) }
            return
        }
        let attempt = ClientHandshake(connector: self, address: address)
        attempts.append(attempt)
        if !addresses.isEmpty {
            nextAttempt = loop.schedule(after: Self.attemptDelay) { [self] in
                nextAttempt = nil
                startNextAttempt()
            }
        }
        attempt.start()
    }

    private func noAddress() -> WebSocketError {
        WebSocketError(.nameNotFound, "the name “\(request.url.host)” has no address", phase: .nameResolution)
    }

    /// An attempt's TCP connection stands: it has won, whatever becomes of its handshake.
    func progressed(_ winner: ClientHandshake) {
        loop.cancel(nextAttempt)
        nextAttempt = nil
        addresses = []
        let losers = attempts.filter { $0 !== winner }
        attempts = [winner]
        for loser in losers { loser.abandon() }
    }

    func failed(_ attempt: ClientHandshake, _ error: WebSocketError) {
        guard let index = attempts.firstIndex(where: { $0 === attempt }) else { return }
        attempts.remove(at: index)
        failures.append(error)
        // The next address need not wait for its turn.
        if !addresses.isEmpty {
            startNextAttempt()
        } else if attempts.isEmpty {
            finish(.failure(error))
        }
    }

    func succeeded(_ attempt: ClientHandshake, _ connection: Connection) {
        attempts.removeAll { $0 === attempt }
        finish(.success(connection))
    }

    private func finish(_ result: Result<Connection, WebSocketError>) {
        guard let waiter else { return }
        self.waiter = nil
        cleanUp()
        waiter.resume(result)
    }

    private func cleanUp() {
        loop.onStop[ObjectIdentifier(self)] = nil
        loop.cancel(deadline)
        deadline = nil
        loop.cancel(nextAttempt)
        nextAttempt = nil
        resolver?.forget()
        resolver = nil
        addresses = []
        let left = attempts
        attempts = []
        for attempt in left { attempt.abandon() }
    }
}

extension EventLoop {
    /// Opens a connection on this loop.
    package func connect(_ request: ClientRequest) async throws(WebSocketError) -> Connection {
        let connector = ClientConnector(loop: self, request: request)
        let connection = try await wait(
            for: "connect", register: { connector.start($0) }, cancel: { _ in connector.cancel() })
        return connection
    }
}
