//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketCore

/// One look-up of a loop, made by its `NameService`. Loop-confined.
@safe final class NameResolver: @unchecked Sendable {
    // Created, used and released on one loop; Sendable only for the answer to find its way back.

    private var completion: ((Result<[String], WebSocketError>) -> Void)?
    private let host: String
    private let names: NameService
    private var ticket: UInt64?

    /// Begins a look-up. `completion` runs on the loop; after `forget` it does not.
    static func resolve(
        _ host: String, on loop: WebSocketEventLoop, completion: @escaping (Result<[String], WebSocketError>) -> Void
    ) -> NameResolver {
        let resolver = NameResolver(host: host, names: loop.names, completion: completion)
        resolver.ticket = loop.names.begin(host) { answer in
            // A loop that has stopped meanwhile refuses this; it has let the look-up be forgotten.
            loop.execute { resolver.finish(answer) }
        }
        return resolver
    }

    private init(
        host: String, names: NameService, completion: @escaping (Result<[String], WebSocketError>) -> Void
    ) {
        self.host = host
        self.names = names
        self.completion = completion
    }

    /// The result is not wanted any more.
    func forget() {
        completion = nil
        if let ticket { names.cancel(ticket) }
        ticket = nil
    }

    private func finish(_ answer: NameService.Answer) {
        ticket = nil
        guard let completion else { return }
        self.completion = nil
        switch answer {
        case .addresses(let addresses): completion(.success(Self.interleaved(addresses)))
        case .failure(let status, let code): completion(.failure(error(status, SystemError(code))))
        }
    }

    private func error(_ status: CInt, _ system: SystemError) -> WebSocketError {
        let why = SystemNames.text(status, system)
        let name = host.escapedForLog
        guard let shortage = SystemNames.shortage(status, system) else {
            return WebSocketError(
                .nameNotFound,
                "the name “\(name)” could not be resolved: \(why); check the host and the network's DNS",
                phase: .nameResolution)
        }
        return WebSocketError(
            .resourceExhausted,
            "the name “\(name)” could not be resolved: \(why); check the limits of descriptors and threads",
            phase: .nameResolution, systemError: shortage.code)
    }

    /// Alternates the families, keeping the resolver's order within each (RFC 8305 §4).
    static func interleaved(_ addresses: [String]) -> [String] {
        guard let first = addresses.first else { return [] }
        let firstIsIPv6 = first.contains(":")
        var same = addresses.filter { $0.contains(":") == firstIsIPv6 }[...]
        var other = addresses.filter { $0.contains(":") != firstIsIPv6 }[...]
        var result: [String] = []
        while !same.isEmpty || !other.isEmpty {
            if let address = same.popFirst() { result.append(address) }
            if let address = other.popFirst() { result.append(address) }
        }
        return result
    }
}

/// A look-up that a task waits for. Loop-confined.
private final class NameQuery: @unchecked Sendable {
    // Created, used and released on one loop; Sendable only to get there.

    private var waiter: LoopWaiter<[String]>?
    private var resolver: NameResolver?

    func start(_ host: String, on loop: WebSocketEventLoop, _ waiter: LoopWaiter<[String]>) {
        self.waiter = waiter
        guard !loop.isStopping else {
            cancel(on: loop)?.resume(.failure(loop.stopError))
            return
        }
        loop.onStop[ObjectIdentifier(self)] = { [self, unowned loop] in
            cancel(on: loop)?.resume(.failure(loop.stopError))
        }
        resolver = NameResolver.resolve(host, on: loop) { [self] in cancel(on: loop)?.resume($0) }
    }

    func cancel(on loop: WebSocketEventLoop) -> LoopWaiter<[String]>? {
        loop.onStop[ObjectIdentifier(self)] = nil
        resolver?.forget()
        resolver = nil
        return waiter.take()
    }
}

extension WebSocketEventLoop {
    /// The addresses of a name, in the order in which they should be tried.
    ///
    /// - Throws: `nameNotFound`, `cancelled`, `shutDown`.
    package func resolve(_ host: String) async throws(WebSocketError) -> [String] {
        if IPAddress.isAddress(host) { return [host] }
        let query = NameQuery()
        return try await wait(
            for: "name resolution", register: { query.start(host, on: self, $0) },
            cancel: { _ in query.cancel(on: self) })
    }
}
