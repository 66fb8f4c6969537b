//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization
import WebSockets
import WebSocketsTestKit

/// Thousands at once.
enum Crowd {
    /// B17: so many TLS clients connect at the same moment. Each is connected, or is told that it took too long.
    static func connecting(_ count: Int, certificate: String, key: String, authority: String) async throws {
        try await withEchoServer { server in
            server.tls = .files(certificate: certificate, key: key)
        } _: { server, loops in
            var configuration = clientConfiguration(on: loops)
            configuration.tls.trust = .certificates(.file(authority))
            let url = "wss://localhost:\(server.port)/"
            let began = ContinuousClock.now
            var opened: [WebSocketConnection] = []
            var late = 0
            let healthy = try await withHealthyConnection(to: url, configuration) {
                await withTaskGroup(of: Result<WebSocketConnection, WebSocketError>.self) { group in
                    for _ in 0..<count {
                        group.addTask { [configuration] in
                            do throws(WebSocketError) {
                                return .success(
                                    try await WebSocketClient.connect(to: url, configuration: configuration))
                            } catch {
                                return .failure(error)
                            }
                        }
                    }
                    for await result in group {
                        switch result {
                        case .success(let socket): opened.append(socket)
                        case .failure(let error) where error.code == .timedOut: late += 1
                        case .failure(let error): print("failed: \(error)")
                        }
                    }
                }
                try require(opened.count + late == count, "\(opened.count) opened and \(late) timed out, of \(count)")
            }
            print(
                "\(opened.count) of \(count) TLS connections opened, \(late) timed out, in \(ContinuousClock.now - began);",
                "beside them \(healthy.count) echoes, the longest in \(healthy.longest)")
            try require(opened.count > count / 2, "most of them timed out")
            for socket in [opened.first, opened.last] {
                try await socket?.send("here")
                let answer = try await socket?.receive()
                try require(answer == .text("here"), "one of them got \(answer as Any)")
            }
            for socket in opened { socket.abort() }
            for socket in opened { _ = try await socket.closed() }
        }
    }

    /// F8: so many peers leave at the same moment, half of them with a close frame, half with a reset.
    static func closing(_ count: Int) async throws {
        let ended = Atomic<Int>(0)
        try await withEchoServer { _ in
        } onEnd: {
            ended.wrappingAdd(1, ordering: .relaxed)
        } _: { server, loops in
            let url = "ws://127.0.0.1:\(server.port)/"
            let configuration = clientConfiguration(on: loops)
            var peers: [CInt] = []
            for _ in 0..<count { peers.append(try peer(port: server.port)) }
            try await wait(.seconds(60), for: "all are connected") { server.connections.count == count }
            var took = Duration.zero
            let healthy = try await withHealthyConnection(to: url, configuration) {
                let began = ContinuousClock.now
                var frame = WebSocketWireFrame.close(1000)
                frame.maskKey = WebSocketBytePeer.someMaskKey
                let close = frame.bytes
                for (index, descriptor) in peers.enumerated() {
                    if index.isMultiple(of: 2) {
                        _ = send(descriptor, close, close.count, CInt(MSG_NOSIGNAL))
                    } else {
                        reset(descriptor)
                    }
                }
                try await wait(.seconds(30), for: "all handlers have ended") {
                    ended.load(ordering: .relaxed) >= count
                }
                took = ContinuousClock.now - began
            }
            for (index, descriptor) in peers.enumerated() where index.isMultiple(of: 2) { Glibc.close(descriptor) }
            print(
                "\(count) peers left at once, the last handler ended after \(took);",
                "beside them \(healthy.count) echoes, the longest in \(healthy.longest)")
            let next = try await WebSocketClient.connect(to: url, configuration: configuration)
            try await next.send("next")
            let answer = try await next.receive()
            try require(answer == .text("next"), "the next client got \(answer)")
            try await next.close()
        }
    }

    /// A client by hand, after its handshake.
    private static func peer(port: Int) throws -> CInt {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
        address.sin_port = in_port_t(port).bigEndian
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try require(status == 0, "a peer could not connect: errno \(errno)")
        let request = WebSocketBytePeer.request(target: "/")
        _ = send(descriptor, request, request.count, CInt(MSG_NOSIGNAL))
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1_024)
        while !answer.suffix(4).elementsEqual("\r\n\r\n".utf8) {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            try require(count > 0, "a peer's handshake ended: errno \(errno)")
            answer += chunk[..<count]
        }
        try require(answer.starts(with: "HTTP/1.1 101 ".utf8), String(decoding: answer, as: UTF8.self))
        return descriptor
    }

    private static func reset(_ descriptor: CInt) {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
        Glibc.close(descriptor)
    }
}
