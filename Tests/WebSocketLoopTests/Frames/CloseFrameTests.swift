//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// Close frames in both directions (RFC 6455 §5.5.1, §7).
@Suite(.timeLimit(.minutes(5))) struct CloseFrameTests {
    @Test(
        arguments: Side.allCases,
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] as [UInt16])
    func allowedCodesAreReportedAndEchoed(side: Side, code: UInt16) async throws {
        try await withPair(side) { pair in
            try await pair.peer.send(.close(code, "wegen Umbau geschloßen"))
            let echo = try await pair.peer.readFrame()
            #expect(echo.opcode == WebSocketWireFrame.close && echo.closeCode == code)
            let info = try await pair.ours.closed()
            #expect(info.received?.code.rawValue == code)
            #expect(info.reason == "wegen Umbau geschloßen")
            #expect(info.sent?.code.rawValue == code)
            #expect(info.receivedFirst == true && info.cause == .closingHandshake)
            #expect(info.isNormal == (code <= 1001))
            let error = try await error { _ = try await pair.ours.receive() }
            #expect(error.code == .connectionClosed && error.closeInfo == info)
        }
    }

    @Test(
        arguments: Side.allCases,
        [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] as [UInt16])
    func forbiddenCodesAreAnsweredWith1002(side: Side, code: UInt16) async throws {
        try await withPair(side) { pair in
            try await pair.peer.send(.close(code))
            #expect(try await pair.peer.readFrame().closeCode == 1002)
            let error = try await error { _ = try await pair.ours.receive() }
            #expect(error.code == .protocolViolation)
            #expect(try await pair.ours.closed().cause == .peerViolation)
        }
    }

    @Test(arguments: Side.allCases)
    func anEmptyCloseIsAnsweredWithAnEmptyOne(side: Side) async throws {
        try await withPair(side) { pair in
            try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.close))
            let echo = try await pair.peer.readFrame()
            #expect(echo.opcode == WebSocketWireFrame.close && echo.payload.isEmpty)
            let info = try await pair.ours.closed()
            #expect(info.code == .noStatusReceived && info.isNormal)
        }
    }

    /// The answer to a close frame waits for the tasks of its turn, and what follows the frame may end the connection
    /// before it is given.
    @Test(
        arguments: Side.allCases,
        [
            [], [.close(1000)], [WebSocketWireFrame(0x3, [1])], [WebSocketWireFrame(0xB)], [.text("late")],
            [WebSocketWireFrame(WebSocketWireFrame.ping, [1]), WebSocketWireFrame(0x3)],
            [WebSocketWireFrame(WebSocketWireFrame.text, [0xFF])],
        ] as [[WebSocketWireFrame]])
    func nothingIsLeftWhenTheConnectionEndsBeforeItsAnswer(side: Side, tail: [WebSocketWireFrame]) async throws {
        for isCut in [false, true] {
            try await withPair(side) { pair in
                let ours = pair.ours
                let receiver = Task(executorPreference: pair.loop.taskExecutor) { try await ours.receive() }
                while pair.loop.diagnostics.pendingContinuations == 0 { await pair.loop.pause() }
                let frames = [.text("first"), .close(1000)] + tail
                try await pair.peer.write(frames.flatMap(pair.peer.bytes(of:)))
                if isCut { pair.peer.halfClose() }
                #expect(try await receiver.value == .text("first"))
                _ = try await ours.closed()
                #expect(pair.loop.diagnostics.timers == 0)
            }
        }
    }

    @Test(arguments: Side.allCases)
    func malformedPayloadsAreAnswered(side: Side) async throws {
        try await withPair(side) { pair in
            try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.close, [0x03]))
            #expect(try await pair.peer.readFrame().closeCode == 1002)
            #expect(try await error { _ = try await pair.ours.receive() }.code == .protocolViolation)
        }
        try await withPair(side) { pair in
            try await pair.peer.send(WebSocketWireFrame(WebSocketWireFrame.close, [0x03, 0xE8, 0xE2, 0x82]))
            #expect(try await pair.peer.readFrame().closeCode == 1007)
            #expect(try await error { _ = try await pair.ours.receive() }.code == .invalidUTF8)
        }
    }

    @Test(arguments: Side.allCases)
    func theLongestReasonPasses(side: Side) async throws {
        try await withPair(side) { pair in
            let reason = String(repeating: "ä", count: 61) + "z"
            try await pair.peer.send(.close(4_321, reason))
            #expect(try await pair.ours.closed().reason == reason)
        }
        try await withPair(side) { pair in
            let ours = pair.ours
            let reason = String(repeating: "ü", count: 61) + "y"
            async let closed = ours.close(WebSocketCloseFrame(code: .normalClosure, reason: reason))
            let frame = try await pair.peer.readFrame()
            #expect(
                frame
                    == WebSocketWireFrame(
                        WebSocketWireFrame.close, [0x03, 0xE8] + Array(reason.utf8), maskKey: frame.maskKey))
            try await pair.peer.send(.close(1000))
            #expect(try await closed.isNormal)
        }
    }

    @Test(arguments: Side.allCases, Compression.allCases)
    func ourCloseWaitsForThePeers(side: Side, compression: Compression) async throws {
        try await withPair(side, compression) { pair in
            let ours = pair.ours
            try await ours.send("before")
            async let closed = ours.close(WebSocketCloseFrame(code: .goingAway, reason: "bye"))
            #expect(try await pair.peer.readFrame().payload == Array("before".utf8))
            let frame = try await pair.peer.readFrame()
            #expect(frame.closeCode == 1001 && frame.payload.dropFirst(2).elementsEqual("bye".utf8))
            // What is still under way arrives, and a send is refused.
            try await pair.peer.send(.text("meanwhile"))
            #expect(try await ours.receive() == .text("meanwhile"))
            #expect(try await error { try await ours.send("too late") }.code == .connectionClosed)
            try await pair.peer.send(.close(4000, "and mine"))
            let info = try await closed
            #expect(info.sent == WebSocketCloseFrame(code: .goingAway, reason: "bye"))
            #expect(info.received == WebSocketCloseFrame(code: .init(rawValue: 4000), reason: "and mine"))
            #expect(info.receivedFirst == false && !info.isNormal)
            #expect(try await ours.close(WebSocketCloseFrame(code: .normalClosure)) == info)
        }
    }

    @Test(arguments: Side.allCases)
    func aPeerThatNeverAnswersOurCloseIsCut(side: Side) async throws {
        try await withPair(side, options: .with { $0.closeTimeout = .milliseconds(50) }) { pair in
            let info = try await pair.ours.close(WebSocketCloseFrame(code: .normalClosure))
            #expect(info.cause == .closeTimeout)
            #expect(info.received == nil && info.code == .abnormalClosure)
        }
    }

    @Test(arguments: Side.allCases)
    func theCloseTimerEndsWithTheConnection(side: Side) async throws {
        try await withPair(side, options: .with { $0.closeTimeout = .seconds(3) }) { pair in
            try await pair.peer.send(.close(1000))
            _ = try await pair.ours.closed()
            #expect(pair.loop.diagnostics.timers == 0)
        }
    }

    @Test(arguments: Side.allCases)
    func bothMayCloseAtOnce(side: Side) async throws {
        try await withPair(side) { pair in
            let (ours, peer) = (pair.ours, pair.peer)
            // Whichever is first, each sees the other's code.
            async let closing = ours.close(WebSocketCloseFrame(code: .init(rawValue: 4001)))
            try await peer.send(.close(4002))
            let info = try await closing
            #expect(info.received?.code.rawValue == 4002)
            let answer = try await peer.readFrame()
            #expect(answer.closeCode == (info.receivedFirst == true ? 4002 : 4001))
        }
    }

    @Test(arguments: Side.allCases)
    func closesWithValuesThatMayNotBeSentAreRefusedFirst(side: Side) async throws {
        try await withPair(side) { pair in
            for code in [0, 999, 1004, 1006, 1015, 2999, 5000] as [UInt16] {
                let error = try await error {
                    _ = try await pair.ours.close(WebSocketCloseFrame(code: .init(rawValue: code)))
                }
                #expect(error.code == .invalidCloseCode)
            }
            let long = String(repeating: "x", count: 124)
            let error = try await error {
                _ = try await pair.ours.close(WebSocketCloseFrame(code: .normalClosure, reason: long))
            }
            #expect(error.code == .closeReasonTooLong)
            try await pair.fence()
        }
    }
}
