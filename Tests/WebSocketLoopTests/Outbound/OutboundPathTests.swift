//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@testable import WebSocketLoop

/// The outgoing direction without a socket.
@Suite struct OutboundPathTests {
    private static func path() -> OutboundPath {
        OutboundPath(deflater: nil, marks: .init(highBytes: 100, lowBytes: 10))
    }

    private static func addMessage(of count: Int, to path: inout OutboundPath, _ memory: inout FrameMemory) {
        path.noteMessage()
        [UInt8](repeating: 0x41, count: count).withUnsafeBytes {
            path.append(.binary, final: true, compressed: false, $0, maskKey: nil, from: &memory)
        }
        path.noteFramed()
    }

    @Test func messageCountsAsWrittenOnlyWhenTheSocketHasAllOfIt() {
        var path = Self.path()
        var memory = FrameMemory()
        Self.addMessage(of: 50, to: &path, &memory)
        var state = (path.hasBurst, path.unsentMessages, path.bytes, path.hasRoom)
        #expect(state == (true, 1, 52, true))
        path.burstIsHeld(to: &memory)
        state = (path.hasBurst, path.unsentMessages, path.bytes, path.hasRoom)
        #expect(state == (false, 1, 52, true))
        Self.addMessage(of: 60, to: &path, &memory)
        state = (path.hasBurst, path.unsentMessages, path.bytes, path.hasRoom)
        #expect(state == (false, 2, 114, false), "it waits behind the held burst")
        let messages = path.heldIsOut()
        #expect(messages == 1)
        state = (path.hasBurst, path.unsentMessages, path.bytes, path.hasRoom)
        #expect(state == (true, 1, 62, true))
        let rest = path.burstIsOut(to: &memory)
        #expect(rest == 1)
        state = (path.isFlushed, path.unsentMessages, path.bytes, path.hasRoom)
        #expect(state == (true, 0, 0, true))
        let written = (path.messagesWritten, path.bytesWritten)
        #expect(written == (2, 114))
    }

    @Test func acceptedMessageKeepsItsPlaceBehindOneInSeveralFrames() {
        var path = Self.path()
        path.reserve()
        path.wait(accepted: "first", id: 1)
        path.wait(accepted: "second", id: 2)
        var counts = (path.unsentMessages, path.isQueueing)
        #expect(counts == (2, true))
        let isAdmitted = path.nextAdmitted(at: { 0 }) != nil
        #expect(!isAdmitted)
        path.endReservation()
        for expected: WebSocketMessage in ["first", "second"] {
            guard case .message(let message, _) = path.nextAdmitted(at: { 0 })?.content else {
                Issue.record("\(expected) is lost")
                return
            }
            #expect(message == expected)
        }
        counts = (path.unsentMessages, path.isQueueing)
        #expect(counts == (0, false))
        let waits = path.pressure.waits
        #expect(waits == 0, "no sender has waited")
    }

    @Test func burstThatGoesNoFurtherIsSettledByWhatTheSocketTook() {
        var path = Self.path()
        var memory = FrameMemory()
        var held = FrameBuffer()
        for _ in 0..<3 { Self.addMessage(of: 10, to: &path, &memory) }
        path.burstIsHeld(in: &held)
        // One whole message and a part of the next.
        let sent = SentFrames(of: UnsafeRawBufferPointer(start: held.bytes, count: held.count), taken: 20)
        let whole = path.settle(sent)
        #expect(whole == 1)
        let counts = (path.messagesWritten, path.messagesInDoubt, path.unsentMessages)
        #expect(counts == (1, 1, 2))
    }
}
