//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import Foundation
package import Glibc
import Testing
import WebSocketCore

/// A TCP server on the loopback interface that does only what the test tells it. Each call blocks a thread of its own.
package final class RawPeer: Sendable {
    package let port: Int
    private let listener: CInt

    package init(backlog: CInt = 64) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = loopbackAddress(port: 0)
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
            _ = connectToLoopback(descriptor, port: port)
            var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            if Glibc.poll(&poll, 1, 100) == 0 { return descriptors }
        }
        return try #require(nil, "the backlog does not fill")
    }

    /// Whether a connection waits to be accepted.
    package var hasConnection: Bool {
        var poll = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        return Glibc.poll(&poll, 1, 0) == 1
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
            readBytes(descriptor, until: isEnough)
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

    deinit { _ = Glibc.close(listener) }
}

/// A TCP client on the loopback interface that does only what the test tells it.
package final class RawClient: Sendable {
    private let descriptor: CInt

    package init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try #require(connectToLoopback(descriptor, port: port) == 0, "errno \(errno)")
    }

    /// Connects to a unix socket; a name that begins with `@` is abstract.
    package init(unixPath path: String) throws {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        self.descriptor = descriptor
        try #require(onUnixAddress(path) { connect(descriptor, $0, $1) } == 0, "errno \(errno)")
    }

    /// The client's part of the opening handshake; returns the server's answer.
    @discardableResult
    package func upgrade(headers: String = "") async throws -> String {
        write(
            Array(
                ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\(headers)\r\n").utf8
            ))
        // Byte by byte, so that frames that follow stay in the socket.
        let descriptor = descriptor
        let head = await onThread {
            var head: [UInt8] = []
            var byte: UInt8 = 0
            while head.suffix(4) != Array("\r\n\r\n".utf8)[...], Glibc.read(descriptor, &byte, 1) == 1 {
                head.append(byte)
            }
            return head
        }
        let text = String(decoding: head, as: UTF8.self)
        try #require(text.hasPrefix("HTTP/1.1 101 "), "\(text)")
        return text
    }

    package func write(_ bytes: [UInt8]) { _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }

    package func read(until isEnough: @escaping @Sendable ([UInt8]) -> Bool) async -> [UInt8] {
        let descriptor = descriptor
        return await onThread { readBytes(descriptor, until: isEnough) }
    }

    @discardableResult
    package func readToEnd() async -> [UInt8] { await read { _ in false } }

    deinit { _ = Glibc.close(descriptor) }
}

/// On a thread of its own: Dispatch hands out few threads and is slow to notice that they block.
func onThread<Result: Sendable>(_ work: @escaping @Sendable () -> Result) async -> Result {
    await withCheckedContinuation { continuation in
        Thread.detachNewThread { continuation.resume(returning: work()) }
    }
}

private func readBytes(_ descriptor: CInt, until isEnough: ([UInt8]) -> Bool) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while !isEnough(bytes) {
        let count = Glibc.read(descriptor, &chunk, chunk.count)
        guard count > 0 else { break }
        bytes += chunk[..<count]
    }
    return bytes
}

/// Calls a function of the socket API with the address of a unix socket.
package func onUnixAddress(_ path: String, _ call: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    withUnsafeMutableBytes(of: &address.sun_path) { memory in
        memory.copyBytes(from: bytes)
        if bytes.first == UInt8(ascii: "@") { memory[0] = 0 }
    }
    let end = path.hasPrefix("@") ? bytes.count : bytes.count + 1
    let length = socklen_t(MemoryLayout.offset(of: \sockaddr_un.sun_path)! + end)
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { call($0, length) }
    }
}

private func loopbackAddress(port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
    address.sin_port = in_port_t(port).bigEndian
    return address
}

func connectToLoopback(_ descriptor: CInt, port: Int) -> CInt {
    var address = loopbackAddress(port: port)
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
}
