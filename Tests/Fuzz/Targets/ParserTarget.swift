//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// The first byte chooses the role and compression, the second how the rest is cut. However it is cut, the parser must
/// tell the same.
func fuzzParser(_ bytes: UnsafeRawBufferPointer) -> String? {
    guard bytes.count >= 2 else { return nil }
    let stream = UnsafeRawBufferPointer(rebasing: bytes[2...])
    let whole = Transcript(of: stream, mode: bytes[0]) { stream.count }
    let bytewise = Transcript(of: stream, mode: bytes[0]) { 1 }
    var state = UInt64(bytes[1])
    let cut = Transcript(of: stream, mode: bytes[0]) {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((state >> 33) % 24)
    }
    for transcript in [whole, bytewise, cut] {
        if let problem = transcript.problem { return problem }
        guard transcript.frames == whole.frames, transcript.payloads == whole.payloads else {
            return "\(transcript), whole: \(whole)"
        }
    }
    return nil
}

/// What a parser tells of a stream, with the pieces of a frame put together. It makes little garbage, which the address
/// sanitizer would keep.
private struct Transcript {
    private(set) var problem: String?
    private(set) var frames: [Frame] = []
    /// Those of all frames, one behind the other.
    private(set) var payloads: [UInt8] = []

    enum Frame: Equatable {
        case data(
            WebSocketMessage.Kind, startsMessage: Bool, isCompressed: Bool, size: Int, missing: UInt64,
            endsMessage: Bool)
        case control(FrameParser.Control, size: Int)
        case violation(FrameParser.Violation)
    }

    /// - Parameter size: How many bytes the next piece has.
    init(of stream: UnsafeRawBufferPointer, mode: UInt8, size: () -> Int) {
        var parser = FrameParser(role: mode & 1 == 0 ? .client : .server, allowsCompression: mode & 2 != 0)
        var rest = stream[...]
        while !rest.isEmpty {
            let piece = rest.prefix(size())
            rest = rest.dropFirst(piece.count)
            guard read(UnsafeRawBufferPointer(rebasing: piece), &parser) else { return }
        }
    }

    /// - Returns: `false` when the stream is over.
    private mutating func read(_ input: UnsafeRawBufferPointer, _ parser: inout FrameParser) -> Bool {
        var offset = 0
        while true {
            let before = offset
            switch parser.next(input, &offset) {
            case .needsMore:
                if offset != input.count { problem = "\(input.count - offset) bytes are left" }
                return problem == nil
            case .data(let data):
                guard data.payload.lowerBound >= before, data.payload.upperBound == offset, offset <= input.count else {
                    problem = "\(data) from \(before) to \(offset) of \(input.count)"
                    return false
                }
                add(data, UnsafeRawBufferPointer(rebasing: input[data.payload]), key: parser.maskKey)
            case .control(let control):
                parser.withControlPayload { payload in
                    frames.append(.control(control, size: payload.count))
                    payloads += payload
                }
            case .violation(let violation):
                frames.append(.violation(violation))
                return false
            }
            guard problem == nil else { return false }
        }
    }

    private mutating func add(_ data: FrameParser.Data, _ payload: UnsafeRawBufferPointer, key: UInt32) {
        withUnsafeBytes(of: key) { key in
            for index in payload.indices { payloads.append(payload[index] ^ key[index % 4]) }
        }
        var startsMessage = data.startsMessage
        var size = payload.count
        if case .data(data.kind, let starts, data.isCompressed, let earlier, let missing, _)? = frames.last,
            missing > 0
        {
            frames.removeLast()
            if data.startsFrame || missing != UInt64(payload.count) + data.remaining {
                problem = "\(data) does not add up"
            }
            startsMessage = starts
            size += earlier
        } else if !data.startsFrame {
            problem = "\(data) goes on with no frame"
        }
        frames.append(
            .data(
                data.kind, startsMessage: startsMessage, isCompressed: data.isCompressed, size: size,
                missing: data.remaining, endsMessage: data.endsMessage))
    }
}
