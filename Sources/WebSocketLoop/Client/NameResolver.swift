//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import Glibc
package import WebSocketCore

/// Looks names up on libuv's thread pool, never on the loop's thread.
@safe final class NameResolver {
    private let request: UnsafeMutablePointer<uv_getaddrinfo_t>
    private var completion: ((Result<[String], WebSocketError>) -> Void)?
    private let host: String

    /// Begins a look-up. `completion` runs on the loop; after `forget` it does not.
    static func resolve(
        _ host: String, on loop: EventLoop, completion: @escaping (Result<[String], WebSocketError>) -> Void
    ) -> NameResolver {
        let resolver = NameResolver(host: host, completion: completion)
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_ADDRCONFIG
        // libuv holds the resolver until it calls back: a look-up that has begun cannot be taken back.
        unsafe resolver.request.pointee.data = unsafe Unmanaged.passRetained(resolver).toOpaque()
        let status = unsafe uv_getaddrinfo(
            loop.uv, resolver.request,
            { request, status, results in
                let resolver = unsafe Unmanaged<NameResolver>.fromOpaque(request!.pointee.data).takeRetainedValue()
                defer { unsafe uv_freeaddrinfo(results) }
                unsafe resolver.finish(status, results)
            }, host, nil, &hints)
        if status != 0 {
            unsafe Unmanaged.passUnretained(resolver).release()
            unsafe resolver.finish(status, nil)
        }
        return resolver
    }

    private init(host: String, completion: @escaping (Result<[String], WebSocketError>) -> Void) {
        self.host = host
        self.completion = completion
        unsafe request = .allocate(capacity: 1)
        unsafe request.initialize(to: uv_getaddrinfo_t())
    }

    /// Nobody wants the result any more.
    func forget() { completion = nil }

    private func finish(_ status: CInt, _ results: UnsafeMutablePointer<addrinfo>?) {
        guard let completion else { return }
        self.completion = nil
        guard status == 0 else {
            let why = unsafe String(cString: uv_strerror(status))
            completion(
                .failure(
                    WebSocketError(
                        .nameNotFound,
                        "the name “\(host.escapedForLog)” could not be resolved: \(why); check the host and the network's DNS",
                        phase: .nameResolution)))
            return
        }
        var addresses: [String] = []
        var next = unsafe results
        while let entry = unsafe next {
            if case .ip(let address, _)? = unsafe SocketAddress(storage: entry.pointee.ai_addr),
                !addresses.contains(address)
            {
                addresses.append(address)
            }
            unsafe next = unsafe entry.pointee.ai_next
        }
        completion(.success(Self.interleaved(addresses)))
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

    deinit { unsafe request.deallocate() }
}

/// A look-up that a task waits for. Loop-confined.
private final class NameQuery: @unchecked Sendable {
    // Created, used and released on one loop; Sendable only to get there.

    private var waiter: LoopWaiter<[String]>?
    private var resolver: NameResolver?

    func start(_ host: String, on loop: EventLoop, _ waiter: LoopWaiter<[String]>) {
        self.waiter = waiter
        guard !loop.isStopping else {
            cancel(on: loop)?.resume(.failure(WebSocketError(.shutDown, "the event loop \(loop.name) was shut down")))
            return
        }
        loop.onStop[ObjectIdentifier(self)] = { [self, unowned loop] in
            cancel(on: loop)?.resume(.failure(WebSocketError(.shutDown, "the event loop \(loop.name) was shut down")))
        }
        resolver = NameResolver.resolve(host, on: loop) { [self] in cancel(on: loop)?.resume($0) }
    }

    func cancel(on loop: EventLoop) -> LoopWaiter<[String]>? {
        loop.onStop[ObjectIdentifier(self)] = nil
        resolver?.forget()
        resolver = nil
        return waiter.take()
    }
}

extension EventLoop {
    /// The addresses of a name, in the order in which they should be tried.
    ///
    /// - Throws: `nameNotFound`, `cancelled`, `shutDown`.
    package func resolve(_ host: String) async throws(WebSocketError) -> [String] {
        if IPAddress.isIPv4(host) || IPAddress.isIPv6(host) { return [host] }
        let query = NameQuery()
        return try await wait(
            for: "name resolution", register: { query.start(host, on: self, $0) },
            cancel: { _ in query.cancel(on: self) })
    }
}
