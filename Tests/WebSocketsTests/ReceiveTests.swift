//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct ReceiveTests {
    /// Sends `count` numbers as soon as it hears something.
    private static func numbers(_ count: Int, then end: @escaping Handler = { _ = try await $0.closed() }) -> Handler {
        { socket in
            _ = try await socket.receive()
            for number in 0..<count { try await socket.send("\(number)") }
            try await end(socket)
        }
    }

    @Test(arguments: Transport.all)
    func waitersAreServedInTheOrderTheyCalled(_ transport: Transport) async throws {
        let count = 8
        try await withLoopback(transport, handler: Self.numbers(count)) { loopback in
            let socket = try await loopback.connect()
            var waiters: [Task<WebSocketMessage, any Error>] = []
            for number in 0..<count {
                // Some from the loop, some from elsewhere.
                let executor: (any TaskExecutor)? = number.isMultiple(of: 2) ? loopback.loop.taskExecutor : nil
                waiters.append(Task(executorPreference: executor) { try await socket.receive() })
                try await loopback.loop.reaches("\(number) waits") { $0.pendingContinuations == number + 1 }
            }
            try await socket.send("go")
            for (number, waiter) in waiters.enumerated() {
                #expect(try await waiter.value == .text("\(number)"))
            }
            try await socket.close()
        }
    }

    struct End: Sendable, CustomStringConvertible {
        let description: String
        let isNormal: Bool
        let cause: WebSocketCloseInfo.Cause
        let handler: Handler

        static func close(_ code: UInt16) -> End {
            let code = WebSocketCloseCode(rawValue: code)
            return End(description: "\(code)", isNormal: code.isNormal, cause: .closingHandshake) {
                _ = try await $0.close(code: code)
            }
        }
    }

    static let ends: [End] =
        [1000, 1001, 1005, 1002, 1003, 1008, 1011, 1012, 3000, 4999].map(End.close) + [
            End(description: "handler returns", isNormal: true, cause: .closingHandshake) { _ in },
            End(description: "handler throws", isNormal: false, cause: .closingHandshake) { _ in
                throw CancellationError()
            },
        ]

    /// More than the inbound mark, so that the end waits behind what nobody has received yet.
    @Test(arguments: ends, [Transport.plain, Transport(isSecure: true, compression: .deflate())])
    func messagesEndOrThrowAsTheConnectionEnded(_ end: End, _ transport: Transport) async throws {
        let count = 50
        try await withLoopback(transport, handler: Self.numbers(count, then: end.handler)) { loopback in
            let socket = try await loopback.connect()
            try await socket.send("go")
            var next = 0
            var thrown: WebSocketError?
            do throws(WebSocketError) {
                for try await message in socket.messages {
                    #expect(message == .text("\(next)"))
                    next += 1
                }
            } catch {
                thrown = error
            }
            #expect(next == count, "messages that arrived before the end come first")
            let info = try await socket.closed()
            #expect(info.cause == end.cause)
            #expect((thrown == nil) == end.isNormal)
            if let thrown {
                #expect(thrown.code == .connectionClosed)
                #expect(thrown.closeInfo == info)
            }
            // And again: an end stays an end.
            let again = await #expect(throws: WebSocketError.self) { try await socket.receive() }
            #expect(again?.code == .connectionClosed)
            #expect(again?.closeInfo == info)
        }
    }

    @Test func whatArrivedBeforeTheEndIsStillThereAfterIt() async throws {
        let count = 10
        try await withLoopback(handler: Self.numbers(count, then: { _ in })) { loopback in
            let socket = try await loopback.connect()
            try await socket.send("go")
            #expect(try await socket.closed().isNormal)
            for number in 0..<count { #expect(try await socket.receive() == .text("\(number)")) }
            let error = await #expect(throws: WebSocketError.self) { try await socket.receive() }
            #expect(error?.closeInfo?.isNormal == true)
        }
    }

    @Test func severalIteratorsShareTheMessages() async throws {
        let count = 300
        try await withLoopback(handler: Self.numbers(count, then: { _ in })) { loopback in
            let socket = try await loopback.connect()
            try await socket.send("go")
            let all = try await withThrowingTaskGroup(of: [Int].self) { group in
                for _ in 0..<3 {
                    group.addTask {
                        var mine: [Int] = []
                        for try await case .text(let text) in socket.messages { mine.append(try #require(Int(text))) }
                        return mine
                    }
                }
                var all: [Int] = []
                for try await mine in group {
                    #expect(mine == mine.sorted(), "each iterator sees them in order")
                    all += mine
                }
                return all
            }
            #expect(all.sorted() == Array(0..<count))
        }
    }

    @Test(arguments: Transport.all)
    func aHandlerGetsWhatWasWaitingFirst(_ transport: Transport) async throws {
        let count = 40
        try await withLoopback(
            transport,
            handler: { socket in
                for number in 0..<10 { try await socket.send("\(number)") }
                for number in 1..<10 { #expect(try await socket.receive() == .binary([UInt8(number)])) }
                #expect(try await socket.receive() == "go")
                for number in 10..<count { try await socket.send("\(number)") }
                for number in 10..<count { #expect(try await socket.receive() == .binary([UInt8(number)])) }
            }
        ) { loopback in
            let socket = try await loopback.connect()
            // At least the first ones wait by now.
            #expect(try await socket.receive() == "0")
            let received = Events<String>()
            let weak = Weak(socket)
            socket.onMessage { bytes, kind in
                #expect(kind == .text)
                let text = bytes.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
                if let number = UInt8(text), let socket = weak.value {
                    let isSent = try? Self.trySend([number], through: socket)
                    #expect(isSent == true)
                }
                received.send(text)
            }
            try await socket.send("go")
            for number in 1..<count { #expect(try await received.next() == "\(number)") }
            #expect(try await socket.closed().isNormal)
            let error = await #expect(throws: WebSocketError.self) { try await socket.receive() }
            #expect(error?.code == .connectionClosed)
        }
    }

    /// A handler that kept its connection would keep it for ever.
    private final class Weak: Sendable {
        private let reference: Mutex<Reference>
        private struct Reference { weak var value: WebSocketConnection? }
        init(_ value: WebSocketConnection) { reference = Mutex(Reference(value: value)) }
        var value: WebSocketConnection? { reference.withLock { $0.value } }
    }

    private static func trySend(
        _ bytes: [UInt8], as kind: WebSocketMessage.Kind = .binary, through socket: WebSocketConnection
    ) throws(WebSocketError) -> Bool {
        try socket.trySend(bytes.span.bytes, as: kind)
    }

    @Test func trySendTakesBothKindsAndRefusesTextThatIsNot() async throws {
        try await withLoopback(handler: echo) { loopback in
            try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client, on: .loop) {
                socket in
                #expect(try Self.trySend(Array("é".utf8), as: .text, through: socket))
                #expect(try Self.trySend([0xFF, 0], through: socket))
                #expect(try Self.trySend([], as: .text, through: socket))
                for bytes: [UInt8] in [[0xFF], [0xC3], [0xED, 0xA0, 0x80], [0x41, 0xF0, 0x9F]] {
                    let error = #expect(throws: WebSocketError.self) {
                        try Self.trySend(bytes, as: .text, through: socket)
                    }
                    #expect(error?.code == .invalidUTF8)
                    #expect(error?.isSentence == true)
                }
                #expect(try await socket.receive() == "é")
                #expect(try await socket.receive() == .binary([0xFF, 0]))
                #expect(try await socket.receive() == "")
                _ = try await socket.close()
                let error = #expect(throws: WebSocketError.self) { try Self.trySend([1], through: socket) }
                #expect(error?.code == .connectionClosed)
            }
        }
    }

    @Test(arguments: Transport.all, [false, true])
    func aMessageThatIsTooBigFailsTheConnection(_ transport: Transport, isByServer: Bool) async throws {
        let limit = 1_000
        let closes = Events<WebSocketCloseInfo>()
        let failures = Events<WebSocketError?>()
        /// The side that has the limit: what just fits is received, one byte more fails.
        @Sendable func limited(_ socket: WebSocketConnection) async throws {
            for _ in 0..<3 { #expect(try await socket.receive().byteCount == limit) }
            let error = await #expect(throws: WebSocketError.self) { try await socket.receive() }
            failures.send(error)
            let info = try await socket.closed()
            #expect(info.cause == .peerViolation)
            #expect(info.sent?.code == .messageTooBig)
        }
        @Sendable func sender(_ socket: WebSocketConnection) async throws {
            try await socket.send(Payload.noise(limit))
            try await socket.send(Payload.zeros(limit))
            try await socket.send(String(repeating: "x", count: limit))
            try await socket.send(Payload.zeros(limit + 1))
            closes.send(try await socket.closed())
        }
        try await withLoopback(
            transport, server: { if isByServer { $0.options.maximumMessageSize = limit } },
            handler: { isByServer ? try await limited($0) : try await sender($0) }
        ) { loopback in
            let socket = try await loopback.connect { if !isByServer { $0.options.maximumMessageSize = limit } }
            if isByServer { try await sender(socket) } else { try await limited(socket) }
            let error = try await failures.next()
            #expect(error?.code == .messageTooBig)
            #expect(error?.isSentence == true)
            #expect(error?.closeInfo?.sent?.code == .messageTooBig)
            #expect(try await closes.next().received?.code == .messageTooBig)
        }
    }

    @Test func textThatIsNotUTF8FailsTheConnection() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            async let accepted = peer.acceptWebSocket()
            let socket = try await WebSocketClient.connect(
                to: "ws://127.0.0.1:\(peer.port)", configuration: clientConfiguration(on: loops))
            let descriptor = try await accepted
            peer.write(descriptor, [0x81, 0x02, 0x68, 0x69] + [0x81, 0x02, 0xC3, 0x28])
            #expect(try await socket.receive() == "hi")
            let error = await #expect(throws: WebSocketError.self) { try await socket.receive() }
            #expect(error?.code == .invalidUTF8)
            #expect(error?.isSentence == true)
            let frame = await peer.read(descriptor) { $0.count >= 8 }
            #expect(frame.first == 0x88)
            #expect(frame.count >= 8 && UInt16(frame[6] ^ frame[2]) << 8 | UInt16(frame[7] ^ frame[3]) == 1007)
            peer.close(descriptor)
            let info = try await socket.closed()
            #expect(info.cause == .peerViolation)
            #expect(info.sent?.code == .invalidPayloadData)
        }
    }
}
