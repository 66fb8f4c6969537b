//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Synchronization
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ListeningTests {
    @Test func bothFamiliesAndSeveralPortsAtOnce() async throws {
        try await withLoopback(
            server: {
                $0.addresses = [
                    .tcp(host: "127.0.0.1", port: 0), .tcp(host: "::1", port: 0), .tcp(host: "127.0.0.2", port: 0),
                ]
            },
            handler: { socket in try await socket.send(socket.remoteAddress?.description ?? "") }
        ) { loopback in
            #expect(loopback.server.addresses.count == 3)
            for (address, prefix) in zip(loopback.server.addresses, ["127.0.0.1:", "[::1]:", "127.0.0."]) {
                let socket = try await WebSocketClient.connect(to: "ws://\(address)", configuration: loopback.client)
                guard case .text(let remote) = try await socket.receive() else { return }
                #expect(remote.hasPrefix(prefix), "\(remote)")
                _ = try await socket.closed()
            }
        }
    }

    /// A socket that listens on a port that the system chooses, and the port.
    private static func listeningSocket() throws -> (descriptor: CInt, port: UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        try #require(descriptor >= 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        try withUnsafeMutablePointer(to: &address) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                try #require(bind(descriptor, $0, length) == 0)
                try #require(listen(descriptor, 8) == 0)
                try #require(getsockname(descriptor, $0, &length) == 0)
            }
        }
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    @Test func aSocketThatListensAlreadyIsServedAndLeftAlone() async throws {
        let (descriptor, port) = try Self.listeningSocket()
        defer { close(descriptor) }
        // One server after the other, as over a restart.
        for _ in 0..<2 {
            try await withLoopback(server: { $0.addresses = [.descriptor(descriptor)] }, handler: echo) { loopback in
                #expect(loopback.server.port == Int(port))
                let socket = try await loopback.connect()
                try await socket.send("given")
                #expect(try await socket.receive() == "given")
                try await socket.close()
            }
            #expect(fcntl(descriptor, F_GETFD) >= 0)
        }
    }

    @Test func whatDoesNotListenIsNoSocketToServeOn() async throws {
        let unbound = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        let datagrams = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        let file = open("/dev/null", O_RDONLY)
        defer { for descriptor in [unbound, datagrams, file] { close(descriptor) } }
        for descriptor in [unbound, datagrams, file, -1] {
            let error = try await failure {
                var configuration = WebSocketServerConfiguration()
                configuration.addresses = [.descriptor(descriptor)]
                _ = try WebSocketServer(configuration: configuration)
            }
            #expect(error.code == .badDescriptor && error.message.contains("listen"), "\(error)")
        }
    }

    @Test func allAddressesOfTheMachine() async throws {
        try await withLoopback(server: { $0.addresses = [.tcp(host: "::", port: 0)] }, handler: echo) { loopback in
            for host in ["127.0.0.1", "[::1]"] {
                let socket = try await WebSocketClient.connect(
                    to: "ws://\(host):\(loopback.server.port)", configuration: loopback.client)
                try await socket.close()
            }
        }
    }

    @Test(arguments: [Transport.plain, .secure])
    func severalLoopsShareOnePort(_ transport: Transport) async throws {
        let loopsUsed = Mutex<Set<String>>([])
        try await withLoopback(
            transport, serverLoops: 3, server: { $0.sharesPort = true },
            handler: { socket in
                let name = socket.eventLoop.name
                loopsUsed.withLock { _ = $0.insert(name) }
                try await echo(socket)
            }
        ) { loopback in
            #expect(loopback.server.addresses.count == 1)
            // The kernel chooses by the client's port: with so many it is all but certain that each loop gets some.
            for _ in 0..<60 {
                let socket = try await loopback.connect()
                try await socket.send("x")
                #expect(try await socket.receive() == "x")
                try await socket.close()
                if loopsUsed.withLock({ $0.count }) == 3 { break }
            }
            #expect(loopsUsed.withLock { $0.count } == 3)
        }
    }

    @Test func aPortThatIsNotSharedIsTaken() async throws {
        try await withLoopback(handler: echo) { loopback in
            let error = try await failure {
                var configuration = WebSocketServerConfiguration(port: loopback.server.port)
                configuration.eventLoopGroup = loopback.serverLoops
                configuration.sharesPort = true
                _ = try WebSocketServer(configuration: configuration)
            }
            #expect(error.systemError == EADDRINUSE)
        }
    }

    @Test func badLimitsAreRefused() async throws {
        let changes: [@Sendable (inout WebSocketServerConfiguration) -> Void] = [
            { $0.maximumConnections = 0 }, { $0.maximumHandshakes = 0 }, { $0.maximumConnectionsPerAddress = -1 },
            { $0.idleTimeout = .zero },
            { $0.maximumLifetime = .seconds(-1) }, { $0.broadcastLimits.maximumBufferedBytes = 0 },
            { $0.handshakeTimeout = .zero }, { $0.backlog = 0 }, { $0.trustedProxies.addresses = ["10.0.0.0/33"] },
            { $0.trustedProxies.addresses = ["proxy.example.com"] }, { $0.subprotocols = ["a b"] },
        ]
        try await withLoops { loops in
            for (index, change) in changes.enumerated() {
                let error = try await failure("\(index)") {
                    var configuration = WebSocketServerConfiguration()
                    configuration.eventLoopGroup = loops
                    change(&configuration)
                    _ = try WebSocketServer(configuration: configuration)
                }
                #expect(error.code == .invalidConfiguration)
                #expect(error.isSentence)
            }
        }
    }

    // MARK: Limits

    @Test(arguments: [Transport.plain, .secure])
    func clientsBeyondTheLimitGet503(_ transport: Transport) async throws {
        let limit = 3
        try await withLoopback(
            transport, server: { $0.maximumConnections = limit },
            handler: { socket in
                try await socket.send("welcome")
                await drain(socket)
            }
        ) { loopback in
            var sockets: [WebSocketConnection] = []
            for _ in 0..<limit {
                sockets.append(try await loopback.connect())
                #expect(try await sockets.last?.receive() == "welcome")
            }
            let error = try await failure { try await loopback.connect() }
            #expect(error.response?.status == 503, "\(error)")
            #expect(loopback.server.statistics.refusedForLimits == 1)
            #expect(loopback.server.statistics.accepted == limit)
            // A place that is given up can be had again.
            try await sockets.removeLast().close()
            let server = loopback.server
            try await until("there is room", on: loopback.serverLoops.loops[0]) { server.statistics.sockets < limit }
            sockets.append(try await loopback.connect())
            for socket in sockets { try await socket.close() }
            try await until("all places are free", on: loopback.serverLoops.loops[0]) { server.statistics.sockets == 0 }
        }
    }

    /// A flood of silent clients does not keep others out, though as many are there as may be.
    @Test(arguments: [Transport.plain, .secure])
    func theSlowestHandshakeGivesWayToANewClient(_ transport: Transport) async throws {
        let limit = 4
        try await withLoopback(transport, server: { $0.maximumHandshakes = limit }, handler: echo) { loopback in
            var silent: [RawClient] = []
            for _ in 0..<limit { silent.append(try RawClient(port: loopback.server.port)) }
            let server = loopback.server
            try await until("all are there", on: loopback.serverLoops.loops[0]) { server.statistics.sockets == limit }
            var sockets: [WebSocketConnection] = []
            for _ in 0..<3 {
                sockets.append(try await loopback.connect())
                try await sockets.last?.send("x")
                #expect(try await sockets.last?.receive() == "x")
            }
            // The first of the silent ones has gone. Connections that are open count no more.
            #expect(loopback.server.statistics.sockets == limit - 1 + 3)
            for socket in sockets { try await socket.close() }
            silent = []
        }
    }

    /// They have said what they want: whoever comes later is told that there is no room.
    @Test func clientsThatWaitForADecisionDoNotGiveWay() async throws {
        let asked = Events<Void>()
        let (gate, open) = AsyncStream.makeStream(of: Void.self)
        let decided = Task { for await _ in gate {} }
        try await withLoopback(
            server: {
                $0.maximumHandshakes = 2
                $0.onRequest = { _ in
                    asked.send(())
                    await decided.value
                    return .accept()
                }
            }, handler: echo
        ) { loopback in
            async let first = loopback.connect()
            async let second = loopback.connect()
            try await asked.next()
            try await asked.next()
            let error = try await failure { try await loopback.connect() }
            #expect(error.response?.status == 503, "\(error)")
            open.finish()
            for socket in try await [first, second] {
                try await socket.send("x")
                #expect(try await socket.receive() == "x")
                try await socket.close()
            }
        }
    }

    @Test func eachAddressHasALimitOfItsOwn() async throws {
        try await withLoopback(
            server: {
                $0.addresses = [.tcp(host: "127.0.0.1", port: 0), .tcp(host: "::1", port: 0)]
                $0.maximumConnectionsPerAddress = 2
            }, handler: echo
        ) { loopback in
            let (four, six) = (loopback.server.addresses[0], loopback.server.addresses[1])
            var sockets: [WebSocketConnection] = []
            for address in [four, four, six] {
                sockets.append(
                    try await WebSocketClient.connect(to: "ws://\(address)", configuration: loopback.client))
            }
            let error = try await failure {
                try await WebSocketClient.connect(to: "ws://\(four)", configuration: loopback.client)
            }
            #expect(error.response?.status == 429, "\(error)")
            sockets.append(try await WebSocketClient.connect(to: "ws://\(six)", configuration: loopback.client))
            for socket in sockets { try await socket.close() }
        }
    }

    /// A site has a whole /64 to itself; IPv4 addresses are the same however they are written.
    @Test(arguments: [
        (64, ["2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6"], "2001:db8:1:2:ffff::1", "2001:db8:1:3::1"),
        (48, ["2001:db8:1:2::1", "2001:db8:1:3::1"], "2001:db8:1:ffff::1", "2001:db8:2::1"),
        (128, ["2001:db8::1", "2001:db8:0::1"], "2001:db8:0:0:0:0:0:1", "2001:db8::2"),
        (64, ["192.0.2.1", "::ffff:192.0.2.1"], "::ffff:c000:201", "192.0.2.2"),
        (64, ["fe80::1", "fe80::1"], "fe80:0::1", "fe80::2"),
    ])
    func sitesHaveALimitOfTheirOwn(_ bits: Int, _ first: [String], _ refused: String, _ other: String) async throws {
        try await withLoopback(
            server: {
                $0.maximumConnectionsPerAddress = 2
                $0.ipv6ClientPrefixLength = bits
                $0.trustedProxies = .init(addresses: ["::ffff:127.0.0.1"])
            }, handler: echo
        ) { loopback in
            func open(_ address: String) async throws -> WebSocketConnection {
                try await loopback.connect { $0.headers[.init("X-Forwarded-For")!] = address }
            }
            var sockets: [WebSocketConnection] = []
            for address in first { sockets.append(try await open(address)) }
            let error = try await failure { try await open(refused) }
            #expect(error.response?.status == 429, "\(error)")
            sockets.append(try await open(other))
            for socket in sockets { try await socket.close() }
        }
    }

    /// A proxy's header has IPv4 addresses in IPv6 too.
    @Test func mappedAddressesAreIPv4Everywhere() async throws {
        try await withLoopback(
            server: {
                $0.trustedProxies = .init(addresses: ["127.0.0.1"])
                $0.trustedProxies.sendsProxyProtocol = true
                $0.onRequest = { .respond(status: 200, text: $0.remoteAddress?.description ?? "") }
            }, handler: echo
        ) { loopback in
            for address in ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201", "0:0:0:0:0:FFFF:192.0.2.1"] {
                let header = address.contains(":") ? "TCP6 \(address) ::1" : "TCP4 \(address) 127.0.0.1"
                let answer = try await loopback.answer("PROXY \(header) 4711 80\r\n" + RawRequest.plain())
                #expect(answer.body == "192.0.2.1:4711\n", "\(address)")
            }
        }
    }

    /// More than the refusals that are told why: the rest is cut off, and nothing of them is left.
    @Test func aFloodBeyondTheLimitIsCutOff() async throws {
        try await withLoopback(server: { $0.maximumConnections = 1 }, handler: echo) { loopback in
            let socket = try await loopback.connect()
            var clients: [RawClient] = []
            for _ in 0..<100 { clients.append(try RawClient(port: loopback.server.port)) }
            let server = loopback.server
            // One is open, 64 may wait to be told, 35 are cut off.
            try await until("the flood has come", on: loopback.serverLoops.loops[0]) {
                server.statistics.refusedForLimits == 100
            }
            #expect(server.statistics.sockets == 65)
            clients = []
            try await until("the flood is over", on: loopback.serverLoops.loops[0]) { server.statistics.sockets == 1 }
            try await socket.send("still here")
            #expect(try await socket.receive() == "still here")
            try await socket.close()
        }
    }

    // MARK: Handshakes that never end

    /// A deadline is for the whole handshake, however busy the client looks.
    @Test(arguments: [Transport.plain, .secure])
    func slowHandshakesAreCutAtTheDeadline(_ transport: Transport) async throws {
        try await withLoopback(
            transport, server: { $0.handshakeTimeout = .milliseconds(300) }, handler: echo
        ) { loopback in
            let clients = try (0..<50).map { _ in try RawClient(port: loopback.server.port) }
            let dripping = Task {
                // For as long as the test lasts; what it writes into a closed socket goes nowhere.
                let bytes = Array(RawRequest.upgrade("/", ["X: \(String(repeating: "x", count: 5_000))"]).utf8)
                for byte in bytes.dropLast(4) {
                    for client in clients { client.write([byte]) }
                    await Task.yield()
                    if Task.isCancelled { return }
                }
            }
            for client in clients { _ = await client.readToEnd() }
            dripping.cancel()
            await dripping.value
            let loop = loopback.serverLoops.loops[0]
            try await loop.reaches("only the listener is left") { $0.descriptors == 1 && $0.timers == 0 }
        }
    }
}
