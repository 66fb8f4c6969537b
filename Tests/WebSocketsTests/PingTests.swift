//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import TestSupport
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct PingTests {
    @Test(arguments: Transport.all)
    func roundTripsAreMeasuredOneByOneAndTogether(_ transport: Transport) async throws {
        try await withLoopback(transport, handler: echo) { loopback in
            let socket = try await loopback.connect()
            let started = ContinuousClock.now
            #expect(try await socket.ping() > .zero)
            let trips = try await withThrowingTaskGroup(of: Duration.self) { group in
                for _ in 0..<50 { group.addTask { try await socket.ping() } }
                // Among other traffic.
                for number in 0..<50 { try await socket.send("\(number)") }
                // Received before the pongs are awaited: a full inbound buffer would hold them up.
                for number in 0..<50 { #expect(try await socket.receive() == .text("\(number)")) }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(trips.count == 50)
            #expect(trips.allSatisfy { $0 > .zero && $0 <= ContinuousClock.now - started })
            try await socket.close()
        }
    }

    @Test func aPingEndsWithItsConnection() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: clientConfiguration(on: loops))
            let descriptor = try await accepted
            let pings = (0..<3).map { _ in Task { try await socket.ping() } }
            // Three masked pings of eight bytes.
            #expect(await peer.read(descriptor) { $0.count >= 42 }.count == 42)
            peer.close(descriptor)
            for ping in pings {
                let error = await #expect(throws: WebSocketError.self) { try await ping.value }
                #expect(error?.code == .connectionClosed)
                #expect(error?.closeInfo?.cause == .connectionLost)
            }
        }
    }

    /// Of pings that arrive in one read libwebsockets 4.1.6 answers the first only, and the ping that asks again for
    /// the others may be one of those it drops.
    @Test func aPingThatThePeerDroppedTwiceIsAnswered() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            var configuration = try clientConfiguration(on: loops)
            configuration.options.keepAlive = nil
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: configuration)
            let descriptor = try await accepted
            let first = Task { try await socket.ping([1]) }
            #expect(await Self.pings(at: peer, descriptor) { $0.contains([1]) } == [[1]])
            let second = Task { try await socket.ping([2]) }
            #expect(await Self.pings(at: peer, descriptor) { $0.contains([2]) } == [[2]])
            peer.write(descriptor, [0x8A, 1, 1])
            #expect(try await first.value > .zero)
            let third = Task { try await socket.ping([3]) }
            // Whatever else came before the third is not answered, as if it had come together with the second.
            _ = await Self.pings(at: peer, descriptor) { $0.contains([3]) }
            peer.write(descriptor, [0x8A, 1, 2])
            #expect(try await second.value > .zero)
            let again = try #require(await Self.pings(at: peer, descriptor) { !$0.isEmpty }.first)
            peer.write(descriptor, [0x8A, UInt8(again.count)] + again)
            #expect(try await third.value > .zero)
            peer.close(descriptor)
        }
    }

    /// The payload of a masked frame with a short length.
    private static func unmasked(_ frame: [UInt8]) -> [UInt8] {
        frame.dropFirst(6).enumerated().map { $0.element ^ frame[2 + $0.offset % 4] }
    }

    /// Reads until the payloads of the pings that came satisfy `areEnough`.
    private static func pings(
        at peer: RawPeer, _ descriptor: CInt, until areEnough: @escaping @Sendable ([[UInt8]]) -> Bool
    ) async -> [[UInt8]] {
        @Sendable func payloads(_ bytes: [UInt8]) -> [[UInt8]] {
            var payloads: [[UInt8]] = []
            var rest = bytes[...]
            while let length = rest.dropFirst().first.map({ 6 + Int($0 & 0x7F) }), rest.count >= length {
                payloads.append(unmasked(Array(rest.prefix(length))))
                rest = rest.dropFirst(length)
            }
            return payloads
        }
        return payloads(await peer.read(descriptor) { areEnough(payloads($0)) })
    }

    /// Answers some of the keepalive's pings, and then neither answers nor reads.
    @Test(arguments: [0, 3])
    func aPeerThatFallsSilentFailsEveryCall(_ answers: Int) async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            var configuration = try clientConfiguration(on: loops)
            configuration.options.keepAlive = .init(interval: .milliseconds(20), timeout: .seconds(3))
            configuration.options.closeTimeout = .milliseconds(50)
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: configuration)
            let descriptor = try await accepted
            for _ in 0..<answers {
                let frame = await peer.read(descriptor) { $0.count >= 14 }
                #expect(frame.prefix(2) == [0x89, 0x88])
                peer.write(descriptor, [0x8A, 0x08] + Self.unmasked(frame))
            }
            // More than any socket's buffer, so that the second one waits.
            try await socket.send(Payload.zeros(16 << 20))
            let waiting: [(String, Task<Void, any Error>)] = [
                ("send", Task { try await socket.send("waits") }),
                ("receive", Task { _ = try await socket.receive() }),
                ("messages", Task { for try await _ in socket.messages {} }),
                ("ping", Task { _ = try await socket.ping() }),
            ]
            let closed = Task { try await socket.closed() }
            try await socket.eventLoop.reaches("all wait") { $0.pendingContinuations == 5 }
            let info = try await closed.value
            #expect(info.cause == .pingTimeout)
            // The frame stood behind what the peer did not take, so it was not sent.
            #expect(info.sent == nil)
            #expect(info.received == nil)
            #expect(info.unsentMessages == 1, "half a message is no message")
            #expect(try await socket.close() == info)
            let later: [(String, Task<Void, any Error>)] = [
                ("send later", Task { try await socket.send("late") }),
                ("receive later", Task { _ = try await socket.receive() }),
                ("ping later", Task { _ = try await socket.ping() }),
                (
                    "send later on the loop",
                    Task(executorPreference: socket.eventLoop.taskExecutor) { try await socket.send("late") }
                ),
            ]
            for (name, call) in waiting + later {
                let error = await #expect(throws: WebSocketError.self, "\(name)") { try await call.value }
                #expect(error?.code == .timedOut, "\(name)")
                #expect(error?.phase == .ping, "\(name)")
                #expect(error?.closeInfo?.cause == .pingTimeout, "\(name)")
                #expect(error?.isSentence == true, "\(name)")
            }
            peer.close(descriptor)
        }
    }

    /// A server notices too, and its handler is told.
    @Test func aServersKeepaliveEndsASilentClient() async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            server: {
                $0.options.keepAlive = .init(interval: .milliseconds(20), timeout: .milliseconds(300))
                $0.options.closeTimeout = .milliseconds(50)
            },
            handler: { socket in
                let error = await #expect(throws: WebSocketError.self) { try await socket.receive() }
                #expect(error?.code == .timedOut)
                #expect(error?.phase == .ping)
                closes.send(try await socket.closed())
            }
        ) { loopback in
            let client = try RawClient(port: loopback.server.port)
            try await client.upgrade()
            // A ping, and the close frame that ends the wait for its answer.
            let bytes = await client.readToEnd()
            #expect(bytes.prefix(2) == [0x89, 0x08])
            #expect(bytes.dropFirst(10).prefix(4) == [0x88, 0x18, 0x03, 0xF3])
            #expect(try await closes.next().cause == .pingTimeout)
        }
    }

    /// A pong that is late is an error, and nothing else: the connection and its other pings go on, and the pong that
    /// comes after all is nobody else's.
    @Test func aPongThatIsLateLeavesTheConnection() async throws {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            async let connecting = WebSocketClient.connect(
                to: "ws://127.0.0.1:\(listener.port)", configuration: try clientConfiguration(on: loops))
            let peer = try await listener.accept()
            try await peer.acceptHandshake()
            let socket = try await connecting
            for payload: [UInt8]? in [nil, [7]] {
                let late = try await failure { try await socket.ping(payload, timeout: .milliseconds(20)) }
                #expect(late.code == .timedOut && late.phase == .ping && late.message.contains("goes on"), "\(late)")
                async let patient = socket.ping([9], timeout: .seconds(600))
                // A connection may ask again, so that these are two or more.
                var pings = [try await peer.readFrame().payload]
                while pings.last != [9] { pings.append(try await peer.readFrame().payload) }
                try await peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, pings[pings.count - 2]))
                try await peer.send(WebSocketWireFrame(WebSocketWireFrame.text, Array("behind".utf8)))
                #expect(try await socket.receive() == .text("behind"))
                try await peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, [9]))
                #expect(try await patient > .zero)
            }
            #expect(socket.state == .open)
            for timeout in [Duration.zero, .seconds(-1)] {
                #expect(try await failure { try await socket.ping(timeout: timeout) }.code == .invalidConfiguration)
            }
            socket.abort()
        }
    }
}
