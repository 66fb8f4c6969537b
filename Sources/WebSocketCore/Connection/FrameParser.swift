//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Takes apart what a peer sends once a connection is open (RFC 6455 §5), and refuses what no peer may send. The input
/// may be cut anywhere. It allocates nothing, and payloads of data are never copied: they are told as ranges of the
/// input.
///
/// It knows nothing of messages' sizes, of UTF-8 and of what a close frame holds, and goes on behind a close frame:
/// whether anything there is still wanted is for its owner to say.
@usableFromInline package struct FrameParser: Sendable {
    /// The side that parses. A client's peer must not mask its frames, a server's peer must (§5.1).
    @usableFromInline package enum Role: Sendable { case client, server }

    /// A piece of a data frame's payload. A frame without payload is one empty piece; no other piece is empty.
    @usableFromInline package struct Data: Sendable, Equatable {
        /// Where it lies in the input.
        @usableFromInline package let payload: Range<Int>
        @usableFromInline package let kind: WebSocketMessage.Kind
        /// The first piece of the first frame of a message.
        @usableFromInline package let startsMessage: Bool
        /// The first piece of a frame.
        @usableFromInline package let startsFrame: Bool
        /// Bytes of this frame that come after this piece.
        @usableFromInline package let remaining: UInt64
        /// The last piece of the last frame of a message.
        @usableFromInline package let endsMessage: Bool
        /// RSV1 of the message's first frame: the message is compressed with permessage-deflate (RFC 7692 §6).
        @usableFromInline package let isCompressed: Bool

        @inlinable
        init(
            payload: Range<Int>, kind: WebSocketMessage.Kind, startsMessage: Bool, startsFrame: Bool, remaining: UInt64,
            endsMessage: Bool, isCompressed: Bool
        ) {
            self.payload = payload
            self.kind = kind
            self.startsMessage = startsMessage
            self.startsFrame = startsFrame
            self.remaining = remaining
            self.endsMessage = endsMessage
            self.isCompressed = isCompressed
        }
    }

    @usableFromInline package enum Control: Sendable { case close, ping, pong }

    @usableFromInline package enum Event: Sendable, Equatable {
        /// The input is used up.
        case needsMore
        case data(Data)
        /// A whole control frame, whose payload `withControlPayload` has until the next event.
        case control(Control)
        /// The stream cannot be read any further. Every later event is the same.
        case violation(Violation)
    }

    @usableFromInline enum Phase: Sendable {
        case header, data
        case control(Control)
        case ended(Violation)
    }

    @usableFromInline let role: Role
    /// The bits of a frame's first byte that no extension gives a meaning.
    @usableFromInline let reservedBits: UInt8
    @usableFromInline var phase = Phase.header

    // The message under way.
    @usableFromInline var isInMessage = false
    @usableFromInline var kind = WebSocketMessage.Kind.binary
    @usableFromInline var isCompressed = false

    // The frame under way.
    @usableFromInline var isFinal = false
    @usableFromInline var startsMessage = false
    @usableFromInline var startsFrame = false
    @usableFromInline var remaining: UInt64 = 0
    /// The key of what comes next, from its first byte on.
    @usableFromInline var nextMaskKey: UInt32 = 0

    /// The key of the last piece of data, from its first byte on, in the byte order in which it came; 0 for a client.
    @usableFromInline package internal(set) var maskKey: UInt32 = 0

    /// A header that came in parts, or the payload of a control frame: never both.
    private var held = InlineArray<125, UInt8>(repeating: 0)
    @usableFromInline var heldHeaderBytes = 0
    private var controlBytes = 0

    /// - Parameter allowsCompression: permessage-deflate was agreed on, which gives RSV1 a meaning.
    package init(role: Role, allowsCompression: Bool) {
        self.role = role
        reservedBits = allowsCompression ? 0x30 : 0x70
    }

    /// The next event of the input from `offset` on, which moves behind what was used. After `.needsMore` the input is
    /// used up, and the next input starts at 0.
    @inlinable @inline(__always)
    package mutating func next(_ input: UnsafeRawBufferPointer, _ offset: inout Int) -> Event {
        switch phase {
        case .header:
            let available = input.count &- offset
            guard heldHeaderBytes == 0, available >= 2 else { return collectHeader(input, &offset) }
            let header = input.baseAddress! + offset
            if let message = wholeMessage(header, available, &offset) { return .data(message) }
            let size = headerBytes(header.load(fromByteOffset: 1, as: UInt8.self))
            guard available >= size else { return collectHeader(input, &offset) }
            offset &+= size
            return begin(header, size, input, &offset)
        case .data: return piece(input, &offset)
        case .control(let control): return collect(control, input, &offset)
        case .ended(let violation): return .violation(violation)
        }
    }

    /// The payload of the control frame that `next` has just returned, without its mask.
    package func withControlPayload<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try held.span.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[..<controlBytes])) }
    }

    /// The common case, a short message in one frame that lies in the input whole, changes nothing in the parser.
    @inlinable @inline(__always)
    func wholeMessage(_ header: UnsafeRawPointer, _ available: Int, _ offset: inout Int) -> Data? {
        let first = header.load(as: UInt8.self)
        // The top bit, which is the mask's here, makes the size too large.
        let size = Int(header.load(fromByteOffset: 1, as: UInt8.self))
        guard size < 126, size &+ 2 <= available, !isInMessage, role == .client,
            first & (reservedBits | 0x80) == 0x80, first & 0x0F == 0x1 || first & 0x0F == 0x2
        else { return nil }
        let start = offset &+ 2
        offset = start &+ size
        return Data(
            payload: Range(uncheckedBounds: (start, start &+ size)), kind: first & 0x0F == 0x1 ? .text : .binary,
            startsMessage: true, startsFrame: true, remaining: 0, endsMessage: true, isCompressed: first & 0x40 != 0)
    }

    // MARK: Headers

    /// The size of a header whose second byte is this one (§5.2).
    @inlinable @inline(__always)
    func headerBytes(_ second: UInt8) -> Int {
        let length = second & 0x7F
        return 2 + (length < 126 ? 0 : length == 126 ? 2 : 8) + (role == .server ? 4 : 0)
    }

    /// A header has come whole, and the input goes on behind it.
    @inlinable @inline(__always)
    mutating func begin(
        _ header: UnsafeRawPointer, _ size: Int, _ input: UnsafeRawBufferPointer, _ offset: inout Int
    ) -> Event {
        let first = header.load(as: UInt8.self)
        let second = header.load(fromByteOffset: 1, as: UInt8.self)
        if let violation = violation(first, second) { return end(violation) }
        remaining = UInt64(second & 0x7F)
        if remaining >= 126, let violation = readLongLength(header) { return end(violation) }
        if role == .server { nextMaskKey = header.loadUnaligned(fromByteOffset: size - 4, as: UInt32.self) }
        switch first & 0x0F {
        case 0x0: startsMessage = false
        case 0x1: beginMessage(.text, first)
        case 0x2: beginMessage(.binary, first)
        case 0x8: return begin(.close, input, &offset)
        case 0x9: return begin(.ping, input, &offset)
        default: return begin(.pong, input, &offset)
        }
        isFinal = first & 0x80 != 0
        startsFrame = true
        phase = .data
        return piece(input, &offset)
    }

    @inlinable @inline(__always)
    mutating func beginMessage(_ kind: WebSocketMessage.Kind, _ first: UInt8) {
        isInMessage = true
        self.kind = kind
        isCompressed = first & 0x40 != 0
        startsMessage = true
    }

    /// What is wrong with a header as far as its first two bytes tell.
    @inlinable @inline(__always)
    func violation(_ first: UInt8, _ second: UInt8) -> Violation? {
        if first & reservedBits != 0 { return .reservedBits }
        if (second & 0x80 != 0) != (role == .server) { return role == .server ? .unmasked : .masked }
        switch first & 0x0F {
        case 0x1, 0x2: return isInMessage ? .unfinishedMessage : nil
        case 0x0: return !isInMessage ? .strayContinuation : first & 0x40 != 0 ? .misplacedCompression : nil
        case 0x8, 0x9, 0xA:
            if first & 0x80 == 0 { return .fragmentedControl }
            if first & 0x40 != 0 { return .misplacedCompression }
            return second & 0x7F > 125 ? .longControl : nil
        default: return .reservedOpcode
        }
    }

    /// The length of 16 or 64 bits, which must be the shortest form and must not have the top bit (§5.2).
    @usableFromInline
    mutating func readLongLength(_ header: UnsafeRawPointer) -> Violation? {
        if remaining == 126 {
            remaining = UInt64(UInt16(bigEndian: header.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
            return remaining < 126 ? .longLength : nil
        }
        remaining = UInt64(bigEndian: header.loadUnaligned(fromByteOffset: 2, as: UInt64.self))
        if remaining >> 63 != 0 { return .hugeLength }
        return remaining <= 0xFFFF ? .longLength : nil
    }

    /// The header does not lie in one input. It is judged as soon as two bytes of it are there.
    @usableFromInline
    mutating func collectHeader(_ input: UnsafeRawBufferPointer, _ offset: inout Int) -> Event {
        while offset < input.count {
            held[heldHeaderBytes] = input[offset]
            heldHeaderBytes += 1
            offset += 1
            guard heldHeaderBytes >= 2 else { continue }
            if heldHeaderBytes == 2, let violation = violation(held[0], held[1]) { return end(violation) }
            let size = headerBytes(held[1])
            guard heldHeaderBytes == size else { continue }
            heldHeaderBytes = 0
            // A copy, because `held` may take a control frame's payload meanwhile.
            let header = held
            return header.span.withUnsafeBytes { begin($0.baseAddress!, size, input, &offset) }
        }
        return .needsMore
    }

    @usableFromInline
    mutating func end(_ violation: Violation) -> Event {
        phase = .ended(violation)
        return .violation(violation)
    }

    // MARK: Payloads

    /// As much of a data frame as the input has.
    @inlinable @inline(__always)
    mutating func piece(_ input: UnsafeRawBufferPointer, _ offset: inout Int) -> Event {
        let available = input.count - offset
        guard available > 0 || remaining == 0 else { return .needsMore }
        let count = Int(truncatingIfNeeded: min(remaining, UInt64(truncatingIfNeeded: available)))
        remaining &-= UInt64(truncatingIfNeeded: count)
        let endsMessage = isFinal && remaining == 0
        let data = Data(
            payload: Range(uncheckedBounds: (offset, offset &+ count)), kind: kind,
            startsMessage: startsMessage, startsFrame: startsFrame, remaining: remaining, endsMessage: endsMessage,
            isCompressed: isCompressed)
        offset &+= count
        startsMessage = false
        startsFrame = false
        if role == .server {
            maskKey = nextMaskKey
            passMask(count)
        }
        if remaining == 0 {
            phase = .header
            if endsMessage { isInMessage = false }
        }
        return .data(data)
    }

    @usableFromInline
    mutating func begin(_ control: Control, _ input: UnsafeRawBufferPointer, _ offset: inout Int) -> Event {
        controlBytes = 0
        phase = .control(control)
        return collect(control, input, &offset)
    }

    /// A control frame is told whole, so that its owner need not put it together.
    @usableFromInline
    mutating func collect(_ control: Control, _ input: UnsafeRawBufferPointer, _ offset: inout Int) -> Event {
        let count = min(Int(remaining), input.count - offset)
        if count > 0 {
            let start = controlBytes
            let key = role == .server ? nextMaskKey : nil
            var span = held.mutableSpan
            span.withUnsafeMutableBytes { memory in
                FrameEncoder.copy(
                    input.baseAddress! + offset, count: count, maskKey: key, to: memory.baseAddress! + start)
            }
            controlBytes += count
            offset += count
            remaining -= UInt64(count)
            passMask(count)
        }
        guard remaining == 0 else { return .needsMore }
        phase = .header
        return .control(control)
    }

    /// The key begins as many bytes further on (§5.3).
    @usableFromInline
    mutating func passMask(_ count: Int) {
        let key = nextMaskKey.littleEndian
        let shift = UInt32(count & 3) * 8
        nextMaskKey = (key >> shift | key << (32 - shift)).littleEndian
    }
}

extension FrameParser {
    /// What no peer may send. All of it fails the connection with 1002 (§7.4.1).
    @usableFromInline package enum Violation: Sendable, CaseIterable {
        case reservedBits, misplacedCompression, reservedOpcode, masked, unmasked, longLength, hugeLength
        case fragmentedControl, longControl, strayContinuation, unfinishedMessage

        package var closeCode: WebSocketCloseCode { .protocolError }

        /// The reason that the close frame gives and the error tells.
        package var text: String {
            switch self {
            case .reservedBits: "a frame has reserved bits that nothing was negotiated for"
            case .misplacedCompression: "a control frame or a continuation is marked as compressed"
            case .reservedOpcode: "a frame has a reserved opcode"
            case .masked: "a server's frame is masked"
            case .unmasked: "a client's frame is not masked"
            case .longLength: "a frame's length is not in its shortest form"
            case .hugeLength: "a frame's length has its highest bit set"
            case .fragmentedControl: "a control frame is fragmented"
            case .longControl: "a control frame has more than 125 bytes"
            case .strayContinuation: "a continuation frame continues no message"
            case .unfinishedMessage: "a message begins before the one under way has ended"
            }
        }
    }
}
