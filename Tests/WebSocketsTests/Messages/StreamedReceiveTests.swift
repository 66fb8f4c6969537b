//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import TestSupport
import Testing
import WebSockets

/// “recv_streaming” of websockets.
@Suite(.timeLimit(.minutes(5)))
struct StreamedReceiveTests {
    private static func frame(_ opcode: UInt8, _ payload: [UInt8], final: Bool = false) -> WebSocketWireFrame {
        WebSocketWireFrame(opcode, payload, final: final)
    }

    @Test func piecesComeAsTheyArrive() async throws {
        try await withScripted { scripted in
            async let streaming = scripted.socket.receiveStream()
            try await scripted.socket.eventLoop.reaches("it waits") { $0.pendingContinuations == 1 }
            try await scripted.peer.send(Self.frame(WebSocketWireFrame.binary, [1, 2]))
            let message = try await streaming
            #expect(message.kind == .binary)
            var iterator = message.makeAsyncIterator()
            #expect(try await iterator.next() == [1, 2])
            try await scripted.peer.send(Self.frame(0, [3]))
            #expect(try await iterator.next() == [3])
            // Of a long frame what fills a read.
            let long = Payload.noise(100_000)
            let rest = scripted.peer.bytes(of: Self.frame(0, long, final: true))
            try await scripted.peer.write(Array(rest[..<60_000]))
            var received = try #require(try await iterator.next())
            #expect(received.count < 60_000)
            try await scripted.peer.write(Array(rest[60_000...]))
            while let piece = try await iterator.next() { received += piece }
            #expect(received == long)
            #expect(try await iterator.next() == nil)
            #expect(try await iterator.next() == nil)
        }
    }

    @Test(arguments: [false, true], [1, 3])
    func wholeAndFragmentedMessagesAreTheSame(deflate: Bool, frames count: Int) async throws {
        try await withScripted(deflate: deflate) { scripted in
            for text in ["", "x", Payload.text(100_000)] {
                let payload = deflate ? scripted.deflater.compress(Array(text.utf8)) : Array(text.utf8)
                let step = max(1, payload.count / count)
                var bytes: [UInt8] = []
                for number in 0..<count {
                    let part =
                        number == count - 1
                        ? payload.dropFirst(step * number) : payload.dropFirst(step * number).prefix(step)
                    bytes += scripted.peer.bytes(
                        of: WebSocketWireFrame(
                            number == 0 ? WebSocketWireFrame.text : WebSocketWireFrame.continuation, Array(part),
                            final: number == count - 1, reserved: deflate && number == 0 ? .rsv1 : []))
                }
                async let writing: Void = scripted.peer.write(bytes)
                let message = try await scripted.socket.receiveStream()
                #expect(message.kind == .text)
                var whole: [UInt8] = []
                for try await piece in message {
                    #expect(!piece.isEmpty && String(validating: piece, as: UTF8.self) != nil, "whole characters")
                    whole += piece
                }
                #expect(whole == Array(text.utf8))
                try await writing
            }
        }
    }

    @Test func aMessageThatIsUnderWayIsTakenOver() async throws {
        try await withScripted { scripted in
            try await scripted.peer.send(Self.frame(WebSocketWireFrame.text, Array("begun ".utf8)))
            try await scripted.fence()
            let message = try await scripted.socket.receiveStream()
            try await scripted.peer.send(Self.frame(0, Array("and ended".utf8), final: true), .text("next"))
            #expect(try await message.collect() == "begun and ended")
            #expect(try await scripted.socket.receive() == "next")
        }
    }

    /// `websockets` makes a connection unusable that way.
    @Test(arguments: [false, true])
    func theRestOfAnAbandonedMessageIsDrained(isBeforeTheEnd: Bool) async throws {
        try await withScripted(options: { $0.maximumMessageSize = 64 << 20 }) { scripted in
            let socket = scripted.socket
            let block = Payload.noise(100_000)
            do {
                async let streaming = socket.receiveStream()
                try await scripted.peer.send(Self.frame(WebSocketWireFrame.binary, [1]))
                let message = try await streaming
                var iterator = message.makeAsyncIterator()
                #expect(try await iterator.next() == [1])
                if !isBeforeTheEnd {
                    try await scripted.peer.send(Self.frame(0, [2], final: true))
                    try await scripted.fence()
                }
            }
            if isBeforeTheEnd {
                for number in 0..<8 { try await scripted.peer.send(Self.frame(0, block, final: number == 7)) }
            }
            try await scripted.peer.send(.text("next"))
            #expect(try await socket.receive() == "next")
            // The loop hears of the abandonment from this thread, perhaps after it has read the message.
            let wire = socket.wire
            try await until("nothing is left", on: socket.eventLoop) { !wire.hasInboundResidue }
            let again = Task { try await socket.receiveStream().collect() }
            try await scripted.peer.send(
                Self.frame(WebSocketWireFrame.text, [0x61]), Self.frame(0, [0x62], final: true))
            #expect(try await again.value == "ab")
        }
    }

    /// A pool gives such a connection to the next user.
    @Test func cancelledReceiverOfAStreamLeavesNothing() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let streaming = Task { try await socket.receiveStream() }
            try await socket.eventLoop.reaches("it waits") { $0.pendingContinuations == 1 }
            #expect(socket.wire.hasInboundResidue)
            streaming.cancel()
            await #expect(throws: WebSocketError.self) { try await streaming.value }
            #expect(!socket.wire.hasInboundResidue)
        }
    }

    /// The first caller gets the first message, whichever way it wants it.
    @Test func receiversOfBothKindsTakeTurns() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let results = Events<String>()
            var tasks: [Task<Void, any Error>] = []
            for number in 0..<6 {
                tasks.append(
                    Task {
                        let message =
                            number % 2 == 0
                            ? try await socket.receive() : try await socket.receiveStream().collect()
                        results.send("\(number) \(message.text ?? "")")
                    })
                try await socket.eventLoop.reaches("\(number) waits") { $0.pendingContinuations == number + 1 }
            }
            for number in 0..<6 {
                try await scripted.peer.send(
                    Self.frame(WebSocketWireFrame.text, Array("message ".utf8)),
                    Self.frame(0, Array("\(number)".utf8), final: true))
                #expect(try await results.next() == "\(number) message \(number)")
            }
            for task in tasks { try await task.value }
        }
    }

    /// A reader that does not read holds up the peer and not the memory.
    @Test func unreadPiecesPressBack() async throws {
        let size = 4 << 20
        let payload = Payload.zeros(size)
        try await withScripted(options: { $0.maximumMessageSize = size }, receiveBuffer: 16 << 10) { scripted in
            let streaming = Task { try await scripted.socket.receiveStream() }
            try await scripted.socket.eventLoop.reaches("it waits") { $0.pendingContinuations == 1 }
            let bytes = scripted.peer.bytes(of: Self.frame(WebSocketWireFrame.binary, payload, final: true))
            try await scripted.peer.write(Array(bytes[..<100_000]))
            let message = try await streaming.value
            let hasWritten = Events<Void>()
            let writing = Task {
                try await scripted.peer.write(Array(bytes[100_000...]))
                hasWritten.send()
            }
            #expect(scripted.socket.wire.hasInboundResidue)
            let wire = scripted.socket.wire
            try await until("reading pauses", on: scripted.socket.eventLoop) {
                wire.isPausedForPieces && wire.unreadPieceBytes < 1 << 20
            }
            #expect(try await message.collect() == .binary(payload))
            try await hasWritten.next()
            try await writing.value
            try await scripted.peer.send(.text("next"))
            #expect(try await scripted.socket.receive() == "next")
            try await until("nothing is left", on: scripted.socket.eventLoop) { !wire.hasInboundResidue }
        }
    }

    @Test func limitsCountWhatWasReadAlready() async throws {
        try await withScripted(options: { $0.maximumMessageSize = 10 }) { scripted in
            async let streaming = scripted.socket.receiveStream()
            try await scripted.peer.send(Self.frame(WebSocketWireFrame.binary, [UInt8](repeating: 0, count: 8)))
            let message = try await streaming
            var iterator = message.makeAsyncIterator()
            #expect(try await iterator.next()?.count == 8)
            try await scripted.peer.send(Self.frame(0, [1, 2, 3], final: true))
            let error = try await failure { try await iterator.next() }
            #expect(error.code == .messageTooBig)
            #expect(error.message.contains("10 bytes"))
            #expect(try await scripted.peer.readFrame().closeCode == 1009)
        }
    }

    @Test func textIsCheckedAcrossPieces() async throws {
        try await withScripted { scripted in
            async let streaming = scripted.socket.receiveStream()
            try await scripted.peer.send(Self.frame(WebSocketWireFrame.text, [0x61, 0xF0, 0x9F]))
            let message = try await streaming
            var iterator = message.makeAsyncIterator()
            #expect(try await iterator.next() == [0x61])
            try await scripted.peer.send(Self.frame(0, [], final: true))
            let error = try await failure { try await iterator.next() }
            #expect(error.code == .invalidUTF8)
            #expect(try await scripted.peer.readFrame().closeCode == 1007)
        }
    }

    @Test func aConnectionThatIsLostFailsTheReader() async throws {
        try await withScripted { scripted in
            async let streaming = scripted.socket.receiveStream()
            try await scripted.peer.send(Self.frame(WebSocketWireFrame.binary, [1]))
            let message = try await streaming
            try await scripted.peer.send(Self.frame(0, [2]))
            try await scripted.fence()
            scripted.peer.close()
            _ = try await scripted.socket.closed()
            var iterator = message.makeAsyncIterator()
            #expect(try await iterator.next() == [1, 2], "what came before the end is delivered first")
            let error = try await failure { try await iterator.next() }
            #expect(error.code == .connectionClosed)
            #expect(error.closeInfo?.cause == .connectionLost)
            let later = try await failure { try await scripted.socket.receiveStream() }
            #expect(later.code == .connectionClosed)
        }
    }

    @Test func aCancelledCallTakesNothing() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let waiting = Task { try await socket.receiveStream() }
            try await socket.eventLoop.reaches("it waits") { $0.pendingContinuations == 1 }
            waiting.cancel()
            let error = try await failure { try await waiting.value }
            #expect(error.code == .cancelled)
            async let streaming = socket.receiveStream()
            try await scripted.peer.send(Self.frame(WebSocketWireFrame.binary, [1]))
            let message = try await streaming
            var iterator = message.makeAsyncIterator()
            #expect(try await iterator.next() == [1])
            let reading = Task {
                var iterator = message.makeAsyncIterator()
                return try await iterator.next()
            }
            try await socket.eventLoop.reaches("it reads") { $0.pendingContinuations == 1 }
            reading.cancel()
            let second = try await failure { try await reading.value }
            #expect(second.code == .cancelled)
            try await scripted.peer.send(Self.frame(0, [2], final: true))
            #expect(try await iterator.next() == [2])
            #expect(try await iterator.next() == nil)
        }
    }

    /// A close is not held up by a reader that sleeps.
    @Test func aCloseEndsThePause() async throws {
        let payload = Payload.zeros(2 << 20)
        try await withScripted(options: {
            $0.maximumMessageSize = 8 << 20
            $0.closeTimeout = .seconds(60)
        }) { scripted in
            async let streaming = scripted.socket.receiveStream()
            let writing = Task {
                try await scripted.peer.send(Self.frame(WebSocketWireFrame.binary, payload, final: true))
                try await scripted.peer.send(.close(1000))
            }
            let message = try await streaming
            let wire = scripted.socket.wire
            try await until("reading pauses", on: scripted.socket.eventLoop) { wire.isPausedForPieces }
            #expect(try await scripted.socket.close().isNormal)
            #expect(try await message.collect() == .binary(payload))
            try await writing.value
        }
    }
}
