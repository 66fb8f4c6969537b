//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import WebSocketCore

/// One call of `connect`, up to a redirect: resolves the name, races its addresses (RFC 8305), and ends in exactly one
/// outcome. Loop-confined.
final class ClientConnector: @unchecked Sendable {
    // Created, used and released on one loop; Sendable only to get there.

    /// What has been opened.
    enum Opened: Sendable {
        case connection(Connection)
        case stream(LoopByteStream)
    }

    let loop: WebSocketEventLoop
    let request: ClientRequest
    /// When the whole of it must be done, redirects before it included.
    private let deadlineTime: UInt64
    private var waiter: LoopWaiter<Opened>?
    private var resolver: NameResolver?
    private var candidates: ArraySlice<Candidate> = []
    private var attempts: [ClientAttempt] = []
    private var deadline: WebSocketEventLoop.TimerToken?
    private var nextAttempt: WebSocketEventLoop.TimerToken?
    private var failures: [(candidate: String, error: WebSocketError)] = []
    private var isResolved = false
    private var steps: ClientSteps

    /// What can be tried.
    private enum Candidate {
        case address(String, port: Int)
        case unix(path: String)
        case proxy(ProxyEndpoint, address: String, target: String)

        var description: String {
            switch self {
            case .address(let address, let port): WebSocketAddress.ip(address: address, port: port).description
            case .unix(let path): WebSocketAddress.unix(path: path).description
            case .proxy(let proxy, let address, _): WebSocketAddress.ip(address: address, port: proxy.port).description
            }
        }
    }

    /// RFC 8305 §5: how long an address has the network for itself.
    private static let attemptDelay: UInt64 = 250_000_000

    init(loop: WebSocketEventLoop, request: ClientRequest, deadline: UInt64) {
        self.loop = loop
        self.request = request
        deadlineTime = deadline
        steps = ClientSteps(on: loop)
    }

    func start(_ waiter: LoopWaiter<Opened>) {
        self.waiter = waiter
        guard !loop.isStopping else {
            return finish(.failure(loop.stopError))
        }
        loop.onStop[ObjectIdentifier(self)] = { [self] in
            finish(.failure(loop.stopError))
        }
        deadline = loop.schedule(at: deadlineTime) { [self] in
            deadline = nil
            finish(.failure(timeoutError()))
        }
        switch request.route {
        case .unix(let path): race([.unix(path: path)])
        case .host(let host, let port):
            let known = request.address.map { [$0] } ?? request.addresses
            if !known.isEmpty {
                race(known.map { .address($0, port: port) })
            } else {
                resolve(host) { [self] addresses in race(addresses.map { .address($0, port: port) }) }
            }
        case .proxy(let proxy):
            if proxy.resolvesHere {
                resolve(request.url.host) { [self] targets in
                    guard let target = targets.first(where: { proxy.carriesIPv6 || IPAddress.isIPv4($0) }) else {
                        finish(
                            .failure(
                                WebSocketError(
                                    .nameNotFound,
                                    "the name “\(request.url.host)” has no IPv4 address, and SOCKS 4 carries no other; use a socks5h:// proxy",
                                    phase: .nameResolution)))
                        return
                    }
                    reach(proxy, target: target)
                }
            } else {
                reach(proxy, target: request.url.host)
            }
        }
    }

    /// The task was cancelled; the waiter goes back, if it is still here.
    func cancel() -> LoopWaiter<Opened>? {
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
            case .proxy: "the proxy's part"
            case .tls: "the TLS handshake"
            default: "the opening handshake"
            }
        return WebSocketError(
            .timedOut,
            "\(step) did not finish within openTimeout (\(request.openTimeout)); check that the server answers, or allow more time",
            phase: phase)
    }

    // MARK: Names

    private func resolve(_ host: String, _ then: @escaping ([String]) -> Void) {
        if IPAddress.isAddress(host) { return then([host]) }
        resolver = NameResolver.resolve(host, on: loop) { [self] result in
            resolver = nil
            switch result {
            case .failure(let error): finish(.failure(error))
            case .success(let addresses) where addresses.isEmpty:
                finish(
                    .failure(
                        WebSocketError(
                            .nameNotFound, "the name “\(host)” has no address; check it, and the DNS",
                            phase: .nameResolution)))
            case .success(let addresses):
                steps.passed(.nameResolution, request, on: loop)
                then(addresses)
            }
        }
    }

    private func reach(_ proxy: ProxyEndpoint, target: String) {
        resolve(proxy.host) { [self] addresses in
            race(addresses.map { .proxy(proxy, address: $0, target: target) })
        }
    }

    // MARK: Race

    private func race(_ candidates: [Candidate]) {
        isResolved = true
        self.candidates = candidates[...]
        startNextAttempt()
    }

    private func startNextAttempt() {
        loop.cancel(nextAttempt)
        nextAttempt = nil
        guard waiter != nil, let candidate = candidates.popFirst() else { return }
        let attempt =
            switch candidate {
            case .address(let address, let port):
                ClientAttempt(connector: self, destination: .ip(address, port: port), tunnel: nil)
            case .unix(let path): ClientAttempt(connector: self, destination: .unix(path: path), tunnel: nil)
            case .proxy(let proxy, let address, let target):
                ClientAttempt(
                    connector: self, destination: .ip(address, port: proxy.port),
                    tunnel: .init(
                        ProxyTunnel(
                            proxy, target: .init(host: target, port: request.url.port),
                            userAgent: request.fields[.userAgent])))
            }
        names[ObjectIdentifier(attempt)] = candidate.description
        attempts.append(attempt)
        if !candidates.isEmpty {
            nextAttempt = loop.schedule(after: Self.attemptDelay) { [self] in
                nextAttempt = nil
                startNextAttempt()
            }
        }
        attempt.start()
    }

    private var names: [ObjectIdentifier: String] = [:]

    /// An attempt's socket is connected: it has won, whatever becomes of its handshake.
    func progressed(_ winner: ClientAttempt) {
        loop.cancel(nextAttempt)
        nextAttempt = nil
        candidates = []
        let losers = attempts.filter { $0 !== winner }
        attempts = [winner]
        for loser in losers { loser.abandon() }
    }

    func failed(_ attempt: ClientAttempt, _ error: WebSocketError) {
        guard let index = attempts.firstIndex(where: { $0 === attempt }) else { return }
        attempts.remove(at: index)
        failures.append((names[ObjectIdentifier(attempt)] ?? "", error))
        // The next address need not wait for its turn.
        if !candidates.isEmpty {
            startNextAttempt()
        } else if attempts.isEmpty {
            finish(.failure(failure(error)))
        }
    }

    /// What is said when no address is left: one error, or all of them.
    private func failure(_ last: WebSocketError) -> WebSocketError {
        guard failures.count > 1, failures.allSatisfy({ $0.error.phase == .connect }) else { return last }
        let each = failures.map { candidate, error in
            let why = error.systemError.map { SystemError($0).text }
            return "\(candidate) (\(why ?? "no answer"))"
        }
        var error = WebSocketError(
            last.code,
            "none of the \(failures.count) addresses of “\(request.url.host)” could be connected to: \(each.joined(separator: ", ")); check that the server runs and is reachable",
            phase: last.phase)
        error.systemError = last.systemError
        return error
    }

    func succeeded(_ attempt: ClientAttempt, _ opened: Opened) {
        attempts.removeAll { $0 === attempt }
        finish(.success(opened))
    }

    private func finish(_ result: Result<Opened, WebSocketError>) {
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
        candidates = []
        let left = attempts
        attempts = []
        for attempt in left { attempt.abandon() }
    }
}
