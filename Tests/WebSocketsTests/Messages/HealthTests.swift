//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import TestSupport
import Testing
import WebSockets

/// “ping(data)”, “latency”, “pong(data)”, “state, close_code, close_reason” of websockets, and `onPong`.
@Suite(.timeLimit(.minutes(5)))
struct HealthTests {
    @Test func aPingCarriesItsPayloadAndItsPongAnswersEarlierOnes() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            #expect(socket.latency == nil)
            let pings = [[], [1], [UInt8](repeating: 7, count: 125)].map { payload in
                Task { try await socket.ping(payload) }
            }
            var payloads: [[UInt8]] = []
            for _ in pings { payloads.append(try await scripted.peer.readFrame().payload) }
            #expect(Set(payloads) == [[], [1], [UInt8](repeating: 7, count: 125)])
            try await scripted.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, try #require(payloads.last)))
            for ping in pings { #expect(try await ping.value > .zero) }
            #expect(try #require(socket.latency) > .zero)
        }
    }

    @Test func pingsThatCannotBeToldApartAreRefused() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let ping = Task { try await socket.ping([1, 2]) }
            _ = try await scripted.peer.readFrame()
            let twice = try await failure { try await socket.ping([1, 2]) }
            let long = try await failure { try await socket.ping([UInt8](repeating: 0, count: 126)) }
            let longPong = try await failure { try await socket.pong([UInt8](repeating: 0, count: 126)) }
            for error in [twice, long, longPong] {
                #expect(error.code == .invalidPing)
                #expect(error.isSentence)
            }
            try await scripted.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, [1, 2]))
            _ = try await ping.value
            let again = Task { try await socket.ping([1, 2]) }
            #expect(try await scripted.peer.readFrame().payload == [1, 2], "answered, so it may be used again")
            scripted.peer.close()
            let error = try await failure { try await again.value }
            #expect(error.code == .connectionClosed)
            let late = try await failure { try await socket.ping([3]) }
            #expect(late.code == .connectionClosed)
            let latePong = try await failure { try await socket.pong() }
            #expect(latePong.code == .connectionClosed)
        }
    }

    @Test(arguments: [[], [1]] as [[UInt8]])
    func aServersPingIsAnsweredWhateverItsPayload(payload: [UInt8]) async throws {
        let trips = Events<Duration>()
        try await withLoopback(handler: { socket in trips.send(try await socket.ping(payload)) }) { loopback in
            let socket = try await loopback.connect()
            #expect(try await trips.next() > .zero)
            _ = try await socket.closed()
        }
    }

    @Test func pongsGoOutUnasked() async throws {
        try await withScripted { scripted in
            try await scripted.socket.pong()
            try await scripted.socket.pong([1, 2, 3])
            for payload in [[], [1, 2, 3]] as [[UInt8]] {
                let frame = try await scripted.peer.readFrame()
                #expect(frame.opcode == WebSocketWireFrame.pong && frame.payload == payload)
            }
        }
    }

    /// The handler may do what it likes with the connection.
    @Test func everyPongIsReported() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let pongs = Events<([UInt8], Duration?)>()
            socket.onPong { payload, roundTrip in pongs.send((payload, roundTrip)) }
            socket.onPong { [weak socket] payload, _ in if payload == [9] { socket?.abort() } }
            // The loop knows them before anything else is read.
            try await scripted.fence()
            try await scripted.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, [5]))
            let unasked = try await pongs.next()
            #expect(unasked.0 == [5] && unasked.1 == nil)
            let ping = Task { try await socket.ping([6]) }
            _ = try await scripted.peer.readFrame()
            try await scripted.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, [6]))
            let answer = try await pongs.next()
            #expect(answer.0 == [6])
            #expect(try #require(answer.1) > .zero)
            _ = try await ping.value
            try await scripted.peer.send(WebSocketWireFrame(WebSocketWireFrame.pong, [9]))
            #expect(try await socket.closed().cause == .aborted)
        }
    }

    @Test func theKeepaliveMeasuresLatency() async throws {
        try await withLoopback(handler: echo) { loopback in
            let socket = try await loopback.connect {
                $0.options.keepAlive = .init(interval: .milliseconds(1), timeout: .seconds(60))
            }
            let pongs = Events<Duration?>()
            socket.onPong { _, roundTrip in pongs.send(roundTrip) }
            let measured = try #require(try await pongs.next())
            #expect(measured > .zero)
            #expect(socket.latency != nil)
            try await socket.close()
        }
    }

    @Test func stateFollowsTheConnection() async throws {
        try await withScripted(options: { $0.closeTimeout = .seconds(60) }) { scripted in
            let socket = scripted.socket
            #expect(socket.state == .open)
            #expect(socket.closeInfo == nil)
            let closing = Task { try await socket.close(code: .init(rawValue: 4000), reason: "done") }
            #expect(try await scripted.peer.readFrame().closeCode == 4000)
            #expect(socket.state == .closing)
            try await scripted.peer.send(.close(4000))
            let info = try await closing.value
            #expect(socket.state == .closed)
            #expect(socket.closeInfo == info)
            #expect(try await socket.closed() == info)
        }
    }

    /// A client reads close frames itself, whole or in parts.
    @Test(arguments: [1012, 1013, 1014, 1002] as [UInt16], [false, true])
    func closeCodesAreReportedTruthfully(_ code: UInt16, inTwoReads: Bool) async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let bytes = scripted.peer.bytes(of: .text("first")) + scripted.peer.bytes(of: .close(code, "because"))
            let cut = inTwoReads ? bytes.count - 8 : bytes.count
            try await scripted.peer.write(Array(bytes[..<cut]))
            // So the first read is over.
            #expect(try await socket.receive() == "first")
            try await scripted.peer.write(Array(bytes[cut...]))
            let info = try await socket.closed()
            #expect(info.reason == "because")
            #expect(info.code.rawValue == code)
            #expect(info.received?.isCodeUncertain == false)
        }
    }
}
