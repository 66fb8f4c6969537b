//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Testing
import WebSocketCore

@Suite struct SentFramesTests {
    struct Frame {
        let opcode: FrameEncoder.Opcode
        let isFinal: Bool
        let size: Int
    }

    private static func burst(_ frames: [Frame], maskKey: UInt32?) -> (bytes: [UInt8], ends: [Int]) {
        var (bytes, ends): ([UInt8], [Int]) = ([], [])
        for frame in frames {
            let payload = [UInt8](repeating: 0xAA, count: frame.size)
            var whole = [UInt8](repeating: 0, count: FrameEncoder.maximumHeaderBytes + frame.size)
            let count = whole.withUnsafeMutableBytes { memory in
                let header = FrameEncoder.writeHeader(
                    frame.opcode, final: frame.isFinal, compressed: false, payloadBytes: frame.size, maskKey: maskKey,
                    to: memory.baseAddress!)
                payload.withUnsafeBytes {
                    (memory.baseAddress! + header).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
                }
                return header + frame.size
            }
            bytes += whole.prefix(count)
            ends.append(bytes.count)
        }
        return (bytes, ends)
    }

    /// Every kind of length, masked and not, control frames between, cut at every byte around each border.
    @Test(arguments: [nil, 0x0102_0304] as [UInt32?])
    func wholeMessagesAreCountedAtEveryCut(maskKey: UInt32?) throws {
        let frames = [
            Frame(opcode: .text, isFinal: true, size: 1), .init(opcode: .ping, isFinal: true, size: 8),
            .init(opcode: .binary, isFinal: true, size: 126), .init(opcode: .text, isFinal: false, size: 70_000),
            .init(opcode: .pong, isFinal: true, size: 125), .init(opcode: .continuation, isFinal: true, size: 5),
            .init(opcode: .binary, isFinal: true, size: 65_535), .init(opcode: .close, isFinal: true, size: 2),
        ]
        let (bytes, ends) = Self.burst(frames, maskKey: maskKey)
        var cuts: Set<Int> = [0, bytes.count]
        for end in ends { for cut in max(0, end - 15)...min(bytes.count, end + 15) { cuts.insert(cut) } }
        for cut in cuts.sorted() {
            let sent = withExactBytes(bytes) { SentFrames(of: $0, taken: cut) }
            var (whole, isInside, start) = (0, false, 0)
            for (frame, end) in zip(frames, ends) {
                let isData = [.text, .binary, .continuation].contains(frame.opcode)
                if isData, cut > start, cut < end || !frame.isFinal { isInside = true }
                if isData, frame.isFinal, cut >= end { (whole, isInside) = (whole + 1, false) }
                start = end
            }
            try check(sent.wholeMessages == whole, "\(sent.wholeMessages) instead of \(whole) at \(cut)")
            try check(sent.isInsideMessage == isInside, "inside at \(cut)")
        }
    }

    @Test func aMessageThatBeganInAnEarlierBurstIsUnderWay() {
        let (bytes, _) = Self.burst([.init(opcode: .continuation, isFinal: true, size: 9)], maskKey: nil)
        #expect(withExactBytes(bytes) { SentFrames(of: $0, taken: 0).isInsideMessage })
        #expect(withExactBytes(bytes) { SentFrames(of: $0, taken: bytes.count).wholeMessages } == 1)
        #expect(
            withExactBytes([]) { SentFrames(of: $0, taken: 0) } == SentFrames(of: .init(start: nil, count: 0), taken: 0)
        )
    }
}
