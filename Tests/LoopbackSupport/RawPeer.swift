//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import Dispatch
import Glibc
import Testing
import WebSocketCore

/// A TCP server on the loopback interface that does only what the test tells it. Each call blocks a thread of its own.
package final class RawPeer: Sendable {
    package let port: Int
    private let listener: CInt
    private let queue = DispatchQueue(label: "raw-peer", attributes: .concurrent)

    package init(backlog: CInt = 64) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, backlog) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        try #require(isBound, "errno \(errno)")
        listener = descriptor
        port = Int(UInt16(bigEndian: address.sin_port))
    }

    /// Fills the backlog, so that the next connection gets no answer to its SYN. The descriptors keep it full.
    package func fillBacklog() throws -> [CInt] {
        var descriptors: [CInt] = []
        while descriptors.count < 16 {
            let descriptor = socket(
                AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            descriptors.append(descriptor)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
            address.sin_port = in_port_t(port).bigEndian
            _ = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            if Glibc.poll(&poll, 1, 100) == 0 { return descriptors }
        }
        return try #require(nil, "the backlog does not fill")
    }

    /// The next connection's descriptor.
    package func accept() async -> CInt {
        await onThread { Glibc.accept(self.listener, nil, nil) }
    }

    /// The next connection, after the opening handshake of RFC 6455 §4.2.2.
    package func acceptWebSocket(headers: String = "") async throws -> CInt {
        let descriptor = await accept()
        let head = await read(descriptor) { $0.suffix(4) == Array("\r\n\r\n".utf8)[...] }
        let text = String(decoding: head, as: UTF8.self)
        let key = try #require(text.firstMatch(of: /(?i)sec-websocket-key: (\S+)/)?.output.1)
        var digest = [UInt8](repeating: 0, count: 20)
        let challenge = Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)
        SHA1(challenge, challenge.count, &digest)
        write(
            descriptor,
            Array(
                ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Accept: \(HandshakeText.base64(digest))\r\n\(headers)\r\n").utf8))
        return descriptor
    }

    /// Reads until the bytes satisfy `isEnough` or the peer ends; returns them all.
    package func read(_ descriptor: CInt, until isEnough: @escaping @Sendable ([UInt8]) -> Bool) async -> [UInt8] {
        await onThread {
            var bytes: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 65_536)
            while !isEnough(bytes) {
                let count = Glibc.read(descriptor, &chunk, chunk.count)
                guard count > 0 else { break }
                bytes += chunk[..<count]
            }
            return bytes
        }
    }

    /// Reads to the peer's end.
    @discardableResult
    package func readToEnd(_ descriptor: CInt) async -> [UInt8] { await read(descriptor) { _ in false } }

    package func write(_ descriptor: CInt, _ bytes: [UInt8]) {
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    package func close(_ descriptor: CInt) { _ = Glibc.close(descriptor) }

    /// Ends the connection with a reset instead of an end of file.
    package func reset(_ descriptor: CInt) {
        var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
        close(descriptor)
    }

    private func onThread<Result: Sendable>(_ work: @escaping @Sendable () -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: work()) }
        }
    }

    deinit { _ = Glibc.close(listener) }
}
