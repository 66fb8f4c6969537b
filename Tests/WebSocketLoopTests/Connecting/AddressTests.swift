//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import HTTPTypes
import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop

/// Where a client connects to: one of several addresses, another host than the URL's, a Unix socket.
@Suite(.timeLimit(.minutes(5))) struct AddressTests {
    private static func request(
        _ url: String, connectTo: WebSocketEndpoint? = nil, openTimeout: Duration = .seconds(60)
    ) throws -> ClientRequest {
        var way = ClientRequest.Way()
        way.connectTo = connectTo
        return try ClientRequest(
            url: WebSocketURL(url), fields: [:], subprotocols: [], options: .quiet, openTimeout: openTimeout,
            tls: WebSocketTLSClientConfiguration(), way: way)
    }

    // MARK: Several addresses

    /// RFC 8305: one that refuses and one that does not answer cost no more than their turn.
    @Test(arguments: [
        ["refused", "hole", "alive"], ["hole", "refused", "alive"], ["hole", "alive"], ["alive", "hole"],
    ])
    func deadAddressesAreNotWaitedFor(_ kinds: [String]) async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            try await withBlackHole(last: 3, port: listener.port) {
                let addresses = ["refused": "127.0.0.2", "hole": "127.0.0.3", "alive": "127.0.0.1"]
                var request = try Self.request("ws://example.test:\(listener.port)/")
                request.addresses = kinds.map { addresses[$0]! }
                async let connecting = group.loops[0].connect(request)
                let peer = try await listener.accept()
                let head = try await peer.acceptHandshake()
                let client = try await connecting
                #expect(head["Host"] == "example.test:\(listener.port)")
                #expect(client.details.remoteAddress == .ip(address: "127.0.0.1", port: listener.port))
                peer.close()
                await client.end()
            }
        }
    }

    @Test func whenAllAreDeadEachIsNamed() async throws {
        let port = try WebSocketBytePeerListener().port
        let error = try await error {
            try await withLoops { group in
                var request = try Self.request("ws://example.test:\(port)/")
                request.addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
                await (try group.loops[0].connect(request)).end()
            }
        }
        #expect(error.code == .connectFailed && error.phase == .connect)
        #expect(error.systemError == ECONNREFUSED)
        for last in 2...4 {
            #expect(error.message.contains("127.0.0.\(last):\(port) (Connection refused)"), "\(error)")
        }
    }

    @Test func whenNoneAnswersTheDeadlineCounts() async throws {
        let port = try WebSocketBytePeerListener().port
        try await withBlackHole(last: 3, port: port) {
            let error = try await error {
                try await withLoops { group in
                    var request = try Self.request("ws://example.test:\(port)/", openTimeout: .milliseconds(600))
                    request.addresses = ["127.0.0.3", "127.0.0.3", "127.0.0.3"]
                    await (try group.loops[0].connect(request)).end()
                }
            }
            #expect(error.code == .timedOut && error.phase == .connect)
        }
    }

    // MARK: Another host

    @Test(arguments: ["127.0.0.1", "localhost"])
    func anotherHostIsConnectedTo(_ host: String) async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try Self.request(
                "ws://example.test:81/path", connectTo: .host(host, port: listener.port))
            async let connecting = group.loops[0].connect(request)
            let peer = try await listener.accept()
            let head = try await peer.acceptHandshake()
            let client = try await connecting
            #expect(head["Host"] == "example.test:81")
            #expect(client.details.remoteAddress?.port == listener.port)
            #expect(client.details.url?.host == "example.test")
            peer.close()
            await client.end()
        }
    }

    // MARK: Unix sockets

    private func unix(_ path: String, backend: WebSocketEventLoop.Backend? = nil) async throws {
        try await withLoops(backend: backend) { group in
            let listener = WebSocketBytePeerListener(descriptor: try listen(unix: path))
            let request = try Self.request("ws://localhost/path", connectTo: .unix(path: path))
            async let connecting = group.loops[0].connect(request)
            let peer = try await listener.accept()
            let head = try await peer.acceptHandshake(behind: [0x81, 2, 0x68, 0x69])
            let client = try await connecting
            #expect(head.startLine == "GET /path HTTP/1.1")
            #expect(head["Host"] == "localhost")
            #expect(client.details.remoteAddress == .unix(path: path))
            #expect(try await client.receive() == "hi")
            try await client.send("there")
            #expect(try await peer.read(11).first == 0x81)
            peer.close()
            #expect(try await client.closed().cause == .connectionLost)
        }
    }

    @Test(arguments: [WebSocketEventLoop.Backend.libuv, .poll])
    func aUnixSocketIsConnectedTo(_ backend: WebSocketEventLoop.Backend) async throws {
        try await withTemporaryPath { try await unix($0, backend: backend) }
    }

    @Test func anAbstractSocketIsConnectedTo() async throws {
        try await unix("@wsx-test-\(UInt64.random(in: 0 ... .max))")
    }

    @Test func aUnixSocketThatCannotBeConnectedToIsNamed() async throws {
        try await withTemporaryPath { path in
            func failure() async throws -> WebSocketError {
                try await error {
                    try await withLoops { group in
                        let request = try Self.request("ws://localhost/", connectTo: .unix(path: path))
                        await (try group.loops[0].connect(request)).end()
                    }
                }
            }
            let missing = try await failure()
            #expect(missing.code == .connectFailed && missing.systemError == ENOENT)
            #expect(missing.message.contains(path))
            // There, but nobody listens.
            close(try listen(unix: path))
            let dead = try await failure()
            #expect(dead.code == .connectFailed && dead.systemError == ECONNREFUSED)
        }
    }

    @Test func aFullUnixSocketIsTriedAgain() async throws {
        try await withTemporaryPath { path in
            try await withLoops { group in
                let listener = WebSocketBytePeerListener(descriptor: try listen(unix: path, backlog: 0))
                var waiting: [CInt] = []
                while waiting.count < 16 {
                    let (descriptor, code) = connect(unix: path)
                    waiting.append(descriptor)
                    if code == EAGAIN { break }
                    try #require(code == 0)
                }
                let loop = group.loops[0]
                let request = try Self.request("ws://localhost/", connectTo: .unix(path: path))
                async let connecting = loop.connect(request)
                // Its deadline and its next try.
                await loop.turn(until: { loop.diagnostics.timers == 2 })
                for descriptor in waiting { close(descriptor) }
                // Those who only waited come first.
                while true {
                    let peer = try await listener.accept()
                    do {
                        try await peer.acceptHandshake()
                    } catch {
                        continue
                    }
                    let client = try await connecting
                    peer.close()
                    await client.end()
                    return
                }
            }
        }
    }
}
