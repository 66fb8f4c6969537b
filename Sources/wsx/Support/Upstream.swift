//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Glibc

/// A service behind `wsx listen --to`.
enum Upstream: Sendable {
    case tcp(host: String, port: String)
    case unix(path: String)

    /// `tcp:host:port`, with an IPv6 host in brackets, or `unix:path`.
    init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard !path.isEmpty, path.utf8.count < 108 else { return nil }
            self = .unix(path: path)
            return
        }
        guard text.hasPrefix("tcp:"), let colon = text.lastIndex(of: ":") else { return nil }
        var host = text[text.index(text.startIndex, offsetBy: 4)...]
        guard host.startIndex <= colon else { return nil }
        host = host[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        let port = text[text.index(after: colon)...]
        guard !host.isEmpty, let number = Int(port), (1...65_535).contains(number) else { return nil }
        self = .tcp(host: String(host), port: String(port))
    }

    private struct Address: Sendable {
        let family: CInt
        let bytes: [UInt8]
    }

    /// Only looking up the name takes a thread, and one for all.
    private static let names = DispatchQueue(label: "wsx.upstream.names")
    /// A service that does not answer is given up after the SYNs of 0, 1, 3 and 7 s, at 15 s.
    private static let repeatedSYNs: CInt = 3

    /// A stream to the first address that accepts one.
    func connect() async -> ByteStream? {
        for address in await addresses() {
            if let descriptor = await Self.connect(to: address) { return ByteStream(descriptor) }
        }
        return nil
    }

    private func addresses() async -> [Address] {
        switch self {
        case .unix(let path):
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            return [Address(family: AF_UNIX, bytes: withUnsafeBytes(of: &address) { Array($0) })]
        case .tcp(let host, let port):
            return await withCheckedContinuation { continuation in
                Self.names.async { continuation.resume(returning: Self.lookUp(host, port)) }
            }
        }
    }

    private static func lookUp(_ host: String, _ port: String) -> [Address] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var results: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, port, &hints, &results) == 0 else { return [] }
        defer { freeaddrinfo(results) }
        return sequence(first: results) { $0?.pointee.ai_next }.prefix { $0 != nil }.compactMap { entry in
            entry.map { entry in
                let bytes = UnsafeRawBufferPointer(start: entry.pointee.ai_addr, count: Int(entry.pointee.ai_addrlen))
                return Address(family: entry.pointee.ai_family, bytes: Array(bytes))
            }
        }
    }

    private static func connect(to address: Address) async -> CInt? {
        let flags = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(address.family, flags, 0)
        guard descriptor >= 0 else { return nil }
        var value = repeatedSYNs
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_SYNCNT, &value, socklen_t(MemoryLayout<CInt>.size))
        let status = address.bytes.withUnsafeBytes { bytes in
            Glibc.connect(
                descriptor, bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
        }
        if status == 0 { return descriptor }
        if errno == EINPROGRESS {
            await Readiness.wait(for: .writable, descriptor)
            var failure: CInt = 0
            var size = socklen_t(MemoryLayout<CInt>.size)
            if getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &failure, &size) == 0, failure == 0 { return descriptor }
        }
        close(descriptor)
        return nil
    }
}
