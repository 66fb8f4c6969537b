//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Synchronization
import TestSupport
import Testing
import WebSockets

/// Receiving with a time-out, in both spellings, and `request(_:matching:)`.
@Suite(.timeLimit(.minutes(5)))
struct ReplyTests {
    // MARK: receive with a deadline

    @Test func aReceiveWithADeadlineTakesNothingWhenItIsLate() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            for timeout in [Duration.zero, .milliseconds(20), .seconds(-1)] {
                let error = try await failure { try await socket.receive(timeout: timeout) }
                #expect(error.code == .timedOut)
                #expect(error.phase == .receive)
                #expect(error.isSentence)
                #expect(try await socket.receive(within: timeout) == nil)
            }
            try await scripted.peer.send(.text("one"), .text("two"), .text("three"))
            #expect(try await socket.receive(timeout: .seconds(60)) == "one")
            #expect(try await socket.receive(within: .seconds(60)) == "two")
            #expect(try await socket.receive(timeout: .zero) == "three", "it is here already")
            try await socket.eventLoop.reaches("no timer is left") { $0.timers == 0 }
        }
    }

    @Test func aReceiveWithADeadlineWakesForAMessage() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let waiting = Task { try await socket.receive(timeout: .seconds(60)) }
            try await socket.eventLoop.reaches("it waits") { $0.pendingContinuations == 1 && $0.timers == 1 }
            try await scripted.peer.send(.text("here"))
            #expect(try await waiting.value == "here")
            let cancelled = Task { try await socket.receive(timeout: .seconds(60)) }
            try await socket.eventLoop.reaches("it waits") { $0.pendingContinuations == 1 && $0.timers == 1 }
            cancelled.cancel()
            let error = try await failure { try await cancelled.value }
            #expect(error.code == .cancelled)
            let ended = Task { try await socket.receive(within: .seconds(60)) }
            try await socket.eventLoop.reaches("it waits") { $0.pendingContinuations == 1 }
            scripted.peer.close()
            let end = try await failure { try await ended.value }
            #expect(end.code == .connectionClosed, "the end is no time-out")
        }
    }

    /// Deadlines against messages, many times: each message reaches exactly one receiver.
    @Test func deadlinesAndMessagesRace() async throws {
        let count = 200
        try await withLoopback(handler: { socket in
            for number in 0..<count {
                try await socket.send("\(number)")
                _ = try await socket.ping()
            }
        }) { loopback in
            let socket = try await loopback.connect()
            var received: [String] = []
            do throws(WebSocketError) {
                while true {
                    if let message = try await socket.receive(within: .microseconds(300)) {
                        received.append(message.text ?? "")
                    }
                }
            } catch {
                #expect(error.code == .connectionClosed)
            }
            #expect(received == (0..<count).map { "\($0)" })
        }
    }

    // MARK: request

    private static func id(_ id: Int) -> @Sendable (WebSocketMessage) -> Bool {
        { $0.text?.hasPrefix("\(id):") == true }
    }

    @Test func repliesFindTheirRequestsInAnyOrder() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let requests = (0..<5).map { id in
                Task { try await socket.request(.text("\(id)?"), matching: Self.id(id)) }
            }
            var asked: Set<String> = []
            for _ in requests {
                asked.insert(String(decoding: try await scripted.peer.readFrame().payload, as: UTF8.self))
            }
            #expect(asked == Set((0..<5).map { "\($0)?" }))
            for id in [3, 0, 4, 2, 1] {
                // In between something for nobody, in fragments too.
                try await scripted.peer.send(
                    .text("news \(id)"), .text("\(id):", final: false),
                    WebSocketWireFrame(WebSocketWireFrame.continuation, Array("yes".utf8)))
            }
            for (id, request) in requests.enumerated() { #expect(try await request.value == .text("\(id):yes")) }
            for id in [3, 0, 4, 2, 1] { #expect(try await socket.receive() == .text("news \(id)")) }
            try await socket.eventLoop.reaches("no timer is left") { $0.timers == 0 }
        }
    }

    @Test func aLateReplyIsAMessageLikeAnyOther() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let error = try await failure {
                try await socket.request("1?", timeout: .milliseconds(20), matching: Self.id(1))
            }
            #expect(error.code == .timedOut)
            #expect(error.phase == .receive)
            #expect(error.isSentence)
            try await scripted.peer.send(.text("1:late"))
            #expect(try await socket.receive() == "1:late")
        }
    }

    @Test func aRequestEndsWithItsTaskOrItsConnection() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let cancelled = Task { try await socket.request("1?", matching: Self.id(1)) }
            let lost = Task { try await socket.request("2?", timeout: nil, matching: Self.id(2)) }
            for _ in 0..<2 { _ = try await scripted.peer.readFrame() }
            try await socket.eventLoop.reaches("both wait") { $0.pendingContinuations == 2 }
            cancelled.cancel()
            let error = try await failure { try await cancelled.value }
            #expect(error.code == .cancelled)
            try await scripted.peer.send(.text("1:unwanted"))
            #expect(try await socket.receive() == "1:unwanted")
            scripted.peer.close()
            let end = try await failure { try await lost.value }
            #expect(end.code == .connectionClosed)
            #expect(end.closeInfo?.cause == .connectionLost)
            let late = try await failure { try await socket.request("3?", matching: Self.id(3)) }
            #expect(late.code == .connectionClosed)
        }
    }

    /// With a handler, too, and after the last request everything is as before.
    @Test func otherMessagesGoToTheHandler() async throws {
        try await withScripted { scripted in
            let socket = scripted.socket
            let handled = Events<String>()
            socket.onMessage { bytes, kind in
                handled.send(bytes.withUnsafeBytes { String(decoding: $0, as: UTF8.self) } + " \(kind)")
            }
            for round in 0..<2 {
                let request = Task { try await socket.request("\(round)?".binary, matching: Self.id(round)) }
                #expect(try await scripted.peer.readFrame().opcode == WebSocketWireFrame.binary)
                try await scripted.peer.send(
                    .text("before"), WebSocketWireFrame(WebSocketWireFrame.binary, Array("\(round):".utf8)),
                    .text("after"))
                #expect(try await request.value.bytes == Array("\(round):".utf8))
                #expect(try await handled.next() == "before text")
                #expect(try await handled.next() == "after text")
            }
        }
    }

    /// “recv(decode=…)” of websockets: text as bytes and bytes as text.
    @Test func messagesAreReadAsEitherKind() {
        #expect(WebSocketMessage.text("é").bytes == [0xC3, 0xA9])
        #expect(WebSocketMessage.binary([0xC3, 0xA9]).text == "é")
        #expect(WebSocketMessage.binary([0xC3]).text == nil)
        #expect(WebSocketMessage.text("é").text == "é")
        #expect(WebSocketMessage.binary([1]).bytes == [1])
    }
}

extension String {
    fileprivate var binary: WebSocketMessage { .binary(Array(utf8)) }
}
