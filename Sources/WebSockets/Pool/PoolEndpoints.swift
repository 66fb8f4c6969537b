//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop
import WebSocketPool

/// Where a pool connects to: one endpoint for each URL, or one for each address of each URL's host.
final class PoolEndpoints: Sendable {
    private struct Entry {
        let url: Int
        /// `nil` for whatever the host resolves to.
        var address: String?
        var isListed = true
    }

    private struct State {
        var entries: [Entry]
        /// When each URL's host was looked up.
        var resolvedAt: [Duration?]
        /// Tells the pool which endpoints are listed.
        var list: (@Sendable ([Bool], [String]) -> Void)?
        /// Connections to an endpoint.
        var total: (@Sendable (Int) -> Int)?
    }

    private let urls: [String]
    private let targets: [WebSocketURL]
    private let client: WebSocketClientConfiguration
    private let timeout: Duration
    private let state: Mutex<State>
    private let usesAllAddresses: Bool
    private let resolutionLifetime: Duration
    private let clock: AnyClock
    private let loop: @Sendable () -> WebSocketEventLoop
    private let resolve: Resolve

    /// Looks a host up on a loop.
    typealias Resolve = @Sendable (String, WebSocketEventLoop) async throws(WebSocketError) -> [String]

    /// Checks every URL and setting; may read certificate files.
    init(
        _ urls: [String], configuration: WebSocketConnectionPoolConfiguration, clock: any Clock<Duration>,
        resolve: @escaping Resolve = { (host, loop) throws(WebSocketError) in try await loop.resolve(host) }
    ) throws(WebSocketError) {
        guard !urls.isEmpty else {
            throw WebSocketError(.invalidConfiguration, "the list of URLs is empty; a pool needs at least one")
        }
        if let problem = configuration.problem { throw WebSocketError(.invalidConfiguration, problem) }
        let client = configuration.client
        let timeout = configuration.attemptTimeout
        self.client = client
        self.timeout = timeout
        // What cannot be used at all is the caller's to know.
        var targets: [WebSocketURL] = []
        for (index, url) in urls.enumerated() {
            do throws(WebSocketError) {
                targets.append(try client.request(for: url, openTimeout: timeout).url)
            } catch {
                guard urls.count > 1, error.code == .invalidURL else { throw error }
                throw WebSocketError(error.code, "URL \(index + 1) of \(urls.count): \(error.message)")
            }
        }
        self.targets = targets
        self.urls = urls
        state = Mutex(
            State(
                entries: urls.indices.map { Entry(url: $0) },
                resolvedAt: Array(repeating: nil, count: urls.count)))
        self.resolve = resolve
        usesAllAddresses = configuration.usesAllAddresses
        resolutionLifetime = configuration.resolutionLifetime
        self.clock = AnyClock(clock)
        let group = configuration.eventLoopGroup
        if let eventLoop = client.eventLoop {
            loop = { eventLoop }
        } else {
            loop = { (group ?? .shared).next() }
        }
    }

    /// One for each URL; addresses are found when the pool connects.
    var initialNames: [String] { state.withLock { $0.entries.map(name) } }

    /// The URL without what may be secret.
    private func name(_ entry: Entry) -> String {
        let url = targets[entry.url]
        let path = ShownTarget.path(url.target)
        let host = url.host.contains(":") ? "[\(url.host)]" : url.host
        let name = "\(url.isSecure ? "wss" : "ws")://\(host):\(url.port)\(path)"
        return entry.address.map { "\(name) (\($0))" } ?? name
    }

    /// Must precede the first attempt.
    func attach(list: @escaping @Sendable ([Bool], [String]) -> Void, total: @escaping @Sendable (Int) -> Int) {
        state.withLock { state in
            state.list = list
            state.total = total
        }
    }

    func connect(to endpoint: Int) async throws(WebSocketError) -> Connection {
        let url = state.withLock { $0.entries[endpoint].url }
        let loop = loop()
        return try await client.open(urls[url], openTimeout: timeout, on: loop) {
            (request) async throws(WebSocketError) in
            // Behind a proxy or another endpoint the URL's host is not what is connected to.
            guard usesAllAddresses, case .host(let host, _) = request.route, host == targets[url].host else { return }
            try await refresh(url, on: loop)
            request.address = state.withLock { $0.entries[endpoint].address }
        }
    }

    /// Looks the host up again when the last time is too long ago. Addresses that are known outlive a failure.
    private func refresh(_ url: Int, on loop: WebSocketEventLoop) async throws(WebSocketError) {
        let now = clock.elapsed
        let isKnown: Bool? = state.withLock { state in
            guard let last = state.resolvedAt[url] else { return false }
            guard now - last >= resolutionLifetime else { return nil }
            // One asks again, the others go on with what there is.
            state.resolvedAt[url] = now
            return true
        }
        guard let isKnown else { return }
        let addresses: [String]
        do throws(WebSocketError) {
            addresses = try await resolve(targets[url].host, loop)
        } catch {
            if isKnown { return }
            throw error
        }
        if !addresses.isEmpty { apply(addresses, to: url, at: now) }
    }

    private func apply(_ addresses: [String], to url: Int, at now: Duration) {
        state.withLock { state in
            state.resolvedAt[url] = now
            for index in state.entries.indices where state.entries[index].url == url {
                state.entries[index].isListed = state.entries[index].address.map { addresses.contains($0) } ?? false
            }
            for address in addresses
            where !state.entries.contains(where: { $0.url == url && $0.address == address }) {
                let total = state.total
                // A place that is not in use: the first one of the URL, or that of an address that has gone.
                let free = state.entries.indices.first { index in
                    let entry = state.entries[index]
                    return entry.url == url && !entry.isListed && (entry.address == nil || total?(index) == 0)
                }
                if let free {
                    state.entries[free].address = address
                    state.entries[free].isListed = true
                } else {
                    state.entries.append(Entry(url: url, address: address))
                }
            }
            // Within the lock, so that the pool sees the lists in their order.
            state.list?(state.entries.map(\.isListed), state.entries.map(name))
        }
    }
}

extension WebSocketConnectionPoolConfiguration {
    /// How long the client may take.
    var attemptTimeout: Duration { min(client.openTimeout, pool.connectTimeout) }
}
