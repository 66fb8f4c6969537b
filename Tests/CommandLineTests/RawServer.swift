//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import Dispatch
import Glibc
import Testing
import WebSocketCore

/// A TCP server on the loopback interface whose every byte the test decides. One connection at a time; each call blocks
/// a thread of its own.
final class RawServer: Sendable {
    let port: Int
    /// For `wsx listen --to`.
    let upstream: String
    private let listener: CInt
    private let queue = DispatchQueue(label: "raw-server", attributes: .concurrent)

    init() throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 8) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        try #require(isBound)
        listener = descriptor
        port = Int(UInt16(bigEndian: address.sin_port))
        upstream = "tcp:127.0.0.1:\(port)"
    }

    /// On a Unix socket instead.
    init(unixSocketAt path: String) throws {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let isBound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0 && listen(descriptor, 8) == 0
            }
        }
        try #require(isBound)
        listener = descriptor
        port = 0
        upstream = "unix:\(path)"
    }

    /// The next connection's descriptor.
    func accept() async -> CInt {
        await onThread { Glibc.accept(self.listener, nil, nil) }
    }

    /// The next connection, after the opening handshake of RFC 6455 §4.2.2.
    func acceptWebSocket() async throws -> CInt {
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
                """
                HTTP/1.1 101 Switching Protocols\r
                Upgrade: websocket\r
                Connection: Upgrade\r
                Sec-WebSocket-Accept: \(HandshakeText.base64(digest))\r
                \r

                """.utf8))
        return descriptor
    }

    /// Reads until the bytes satisfy `isEnough` or the peer ends; returns them all.
    func read(_ descriptor: CInt, until isEnough: @escaping @Sendable ([UInt8]) -> Bool) async -> [UInt8] {
        await onThread {
            var bytes: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 4_096)
            while !isEnough(bytes) {
                let count = Glibc.read(descriptor, &chunk, chunk.count)
                guard count > 0 else { break }
                bytes += chunk[..<count]
            }
            return bytes
        }
    }

    /// The next frame of a client, whose payload is short: opcode and payload. `nil` at the end.
    func frame(_ descriptor: CInt) async -> (opcode: UInt8, payload: [UInt8])? {
        let head = await read(descriptor, count: 6)
        guard head.count == 6 else { return nil }
        let payload = await read(descriptor, count: Int(head[1] & 0x7F))
        return (head[0] & 0x0F, payload.enumerated().map { $1 ^ head[2 + $0 % 4] })
    }

    private func read(_ descriptor: CInt, count: Int) async -> [UInt8] {
        await onThread {
            var bytes: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 128)
            while bytes.count < count {
                let got = Glibc.read(descriptor, &chunk, count - bytes.count)
                guard got > 0 else { break }
                bytes += chunk[..<got]
            }
            return bytes
        }
    }

    /// Writes a frame with a short payload.
    func writeFrame(_ descriptor: CInt, _ opcode: UInt8, _ payload: [UInt8]) {
        write(descriptor, [0x80 | opcode, UInt8(payload.count)] + payload)
    }

    func write(_ descriptor: CInt, _ bytes: [UInt8]) { _ = Glibc.write(descriptor, bytes, bytes.count) }

    func writeAll(_ descriptor: CInt, _ bytes: [UInt8]) async {
        await onThread {
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
                guard count > 0 else { break }
                rest = rest.dropFirst(count)
            }
        }
    }

    func close(_ descriptor: CInt) { _ = Glibc.close(descriptor) }

    private func onThread<Result: Sendable>(_ work: @escaping @Sendable () -> Result) async -> Result {
        await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: work()) }
        }
    }

    deinit {
        _ = Glibc.close(listener)
        if upstream.hasPrefix("unix:") { unlink(String(upstream.dropFirst(5))) }
    }
}
