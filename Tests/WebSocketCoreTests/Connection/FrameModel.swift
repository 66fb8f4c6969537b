//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// What a stream of frames says, however it was cut.
enum Told: Equatable {
    case frame(WebSocketMessage.Kind, [UInt8], startsMessage: Bool, endsMessage: Bool, isCompressed: Bool)
    /// The last frame, which is not complete.
    case part(WebSocketMessage.Kind, [UInt8], missing: UInt64, startsMessage: Bool, isCompressed: Bool)
    case control(FrameParser.Control, [UInt8])
    case violation(FrameParser.Violation)
}

/// How a parser is made.
struct Mode {
    let role: FrameParser.Role
    let allowsCompression: Bool

    static let all = [FrameParser.Role.client, .server].flatMap { role in
        [false, true].map { Mode(role: role, allowsCompression: $0) }
    }
}

/// Parses a stream that comes in pieces, and checks that the parser's ranges and sums are right on the way.
func parse(_ stream: [UInt8], _ mode: Mode, cuts: [Int] = []) throws(Mismatch) -> [Told] {
    var reader = PieceReader(mode)
    var start = 0
    for end in cuts + [stream.count] {
        let goesOn = try withExactBytes(stream[start..<end]) { (input) throws(Mismatch) in try reader.read(input) }
        guard goesOn else { break }
        start = end
    }
    return reader.told
}

private struct PieceReader {
    private var parser: FrameParser
    private let mode: Mode
    private(set) var told: [Told] = []
    /// What the frame under way announced and has not delivered.
    private var missing: UInt64?

    init(_ mode: Mode) {
        self.mode = mode
        parser = FrameParser(role: mode.role, allowsCompression: mode.allowsCompression)
    }

    /// - Returns: `false` after a violation.
    mutating func read(_ input: UnsafeRawBufferPointer) throws(Mismatch) -> Bool {
        var offset = 0
        while true {
            let before = offset
            let event = parser.next(input, &offset)
            try check(before <= offset && offset <= input.count, "from \(before) to \(offset) of \(input.count)")
            switch event {
            case .needsMore:
                try check(offset == input.count, "\(input.count - offset) bytes are left")
                return true
            case .data(let data):
                try check(before <= data.payload.lowerBound && data.payload.upperBound == offset, "\(data)")
                try add(data, UnsafeRawBufferPointer(rebasing: input[data.payload]))
            case .control(let control):
                try check(missing == nil, "a control frame inside a frame")
                told.append(.control(control, parser.withControlPayload { Array($0) }))
            case .violation(let violation):
                told.append(.violation(violation))
                return false
            }
        }
    }

    private mutating func add(_ data: FrameParser.Data, _ payload: UnsafeRawBufferPointer) throws(Mismatch) {
        try check(data.startsFrame == (missing == nil), "\(data) and \(missing ?? 0) are missing")
        try check(!data.startsMessage || data.startsFrame, "\(data)")
        try check(!data.endsMessage || data.remaining == 0, "\(data)")
        try check(!payload.isEmpty || data.startsFrame && data.remaining == 0, "an empty piece")
        if let missing { try check(UInt64(payload.count) + data.remaining == missing, "\(data) of \(missing)") }
        missing = data.remaining > 0 ? data.remaining : nil
        try check(mode.role == .server || parser.maskKey == 0, "a mask from nowhere")
        let key = withUnsafeBytes(of: parser.maskKey) { Array($0) }
        var bytes = payload.indices.map { payload[$0] ^ key[$0 % 4] }
        var startsMessage = data.startsMessage
        if !data.startsFrame {
            guard case .part(data.kind, let earlier, _, let starts, data.isCompressed)? = told.popLast() else {
                throw Mismatch(description: "\(data) goes on with another frame")
            }
            bytes = earlier + bytes
            startsMessage = starts
        }
        if data.remaining > 0 {
            told.append(
                .part(
                    data.kind, bytes, missing: data.remaining, startsMessage: startsMessage,
                    isCompressed: data.isCompressed))
        } else {
            told.append(
                .frame(
                    data.kind, bytes, startsMessage: startsMessage, endsMessage: data.endsMessage,
                    isCompressed: data.isCompressed))
        }
    }
}

/// RFC 6455 §5.2 and RFC 7692 §6, slowly: the frames before the first that breaks a rule, and every rule it breaks.
func model(_ stream: [UInt8], _ mode: Mode) -> (frames: [Told], broken: Set<FrameParser.Violation>) {
    var frames: [Told] = []
    var message: (kind: WebSocketMessage.Kind, isCompressed: Bool)?
    var rest = stream[...]
    while rest.count >= 2 {
        let bits = rest.prefix(2).flatMap { byte in (0..<8).map { byte >> (7 - $0) & 1 == 1 } }
        let (isFinal, rsv1, isMasked) = (bits[0], bits[1], bits[8])
        let opcode = rest.first! & 0x0F
        let isControl = opcode >= 8
        let short = rest[rest.startIndex + 1] & 0x7F
        var broken: Set<FrameParser.Violation> = []
        if bits[2] || bits[3] || rsv1 && !mode.allowsCompression { broken.insert(.reservedBits) }
        if ![0, 1, 2, 8, 9, 10].contains(opcode) { broken.insert(.reservedOpcode) }
        if rsv1 && (isControl || opcode == 0) { broken.insert(.misplacedCompression) }
        if isMasked && mode.role == .client { broken.insert(.masked) }
        if !isMasked && mode.role == .server { broken.insert(.unmasked) }
        if isControl && !isFinal { broken.insert(.fragmentedControl) }
        if isControl && short > 125 { broken.insert(.longControl) }
        if opcode == 0 && message == nil { broken.insert(.strayContinuation) }
        if [1, 2].contains(opcode) && message != nil { broken.insert(.unfinishedMessage) }
        guard broken.isEmpty else { return (frames, broken) }

        let lengthBytes = short == 126 ? 2 : short == 127 ? 8 : 0
        let maskBytes = isMasked ? 4 : 0
        guard rest.count >= 2 + lengthBytes + maskBytes else { return (frames, []) }
        rest = rest.dropFirst(2)
        var length = UInt64(short)
        if lengthBytes > 0 {
            length = rest.prefix(lengthBytes).reduce(0) { $0 * 256 + UInt64($1) }
            if length > UInt64(Int64.max) { return (frames, [.hugeLength]) }
            if length < 126 || lengthBytes == 8 && length < 65_536 { return (frames, [.longLength]) }
        }
        let key = Array(rest.dropFirst(lengthBytes).prefix(maskBytes))
        rest = rest.dropFirst(lengthBytes + maskBytes)
        var payload = Array(rest.prefix(Int(length)))
        rest = rest.dropFirst(payload.count)
        if isMasked { for index in payload.indices { payload[index] ^= key[index % 4] } }
        let missing = length - UInt64(payload.count)
        if isControl {
            if missing == 0 { frames.append(.control(opcode == 8 ? .close : opcode == 9 ? .ping : .pong, payload)) }
            continue
        }
        if opcode != 0 { message = (opcode == 1 ? .text : .binary, rsv1) }
        let (kind, isCompressed) = message!
        if missing == 0 {
            frames.append(
                .frame(kind, payload, startsMessage: opcode != 0, endsMessage: isFinal, isCompressed: isCompressed))
            if isFinal { message = nil }
        } else if !payload.isEmpty {
            frames.append(
                .part(kind, payload, missing: missing, startsMessage: opcode != 0, isCompressed: isCompressed))
        }
    }
    return (frames, [])
}

extension SplitMix64 {
    /// Some frames of a peer, in an order that is legal; half of the streams are then broken in one place.
    mutating func stream(_ mode: Mode, sizes: [Int]) -> [UInt8] {
        var stream: [UInt8] = []
        var isInMessage = false
        for _ in 0...below(6) {
            let isControl = below(4) == 0
            let isFinal = isControl || below(2) == 0
            var first: UInt8 = isFinal ? 0x80 : 0
            if isControl {
                first |= [8, 9, 10][below(3)]
            } else if !isInMessage {
                first |= mode.allowsCompression && below(2) == 0 ? 0x40 : 0
                first |= [1, 2][below(2)]
            }
            if !isControl { isInMessage = !isFinal }
            let size = sizes[below(sizes.count)]
            stream += frame(first, bytes(isControl ? min(size, 125) : size), isMasked: mode.role == .server)
        }
        guard !stream.isEmpty, below(2) == 0 else { return stream }
        let place = below(stream.count)
        switch below(3) {
        case 0: stream[place] ^= 1 << UInt8(below(8))
        case 1: stream.removeSubrange(place...)
        default: stream.insert(contentsOf: bytes(1 + below(3)), at: place)
        }
        return stream
    }

    private mutating func frame(_ first: UInt8, _ payload: [UInt8], isMasked: Bool) -> [UInt8] {
        let maskBit: UInt8 = isMasked ? 0x80 : 0
        var frame = [first]
        if payload.count < 126 {
            frame.append(maskBit | UInt8(payload.count))
        } else {
            let lengthBytes = payload.count < 65_536 ? 2 : 8
            frame.append(maskBit | (lengthBytes == 2 ? 126 : 127))
            for place in (0..<lengthBytes).reversed() { frame.append(UInt8(payload.count >> (8 * place) & 0xFF)) }
        }
        // Masking random bytes gives random bytes.
        return frame + (isMasked ? bytes(4) : []) + payload
    }
}
