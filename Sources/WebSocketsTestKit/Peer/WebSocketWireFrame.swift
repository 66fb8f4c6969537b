//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// One frame as it stands on the wire (RFC 6455 §5.2), right or wrong.
public struct WebSocketWireFrame: Sendable, Hashable {
    /// The opcode of every frame of a message but the first.
    public static let continuation: UInt8 = 0x0
    /// The opcode of a text message's first frame.
    public static let text: UInt8 = 0x1
    /// The opcode of a binary message's first frame.
    public static let binary: UInt8 = 0x2
    /// The opcode of a close frame.
    public static let close: UInt8 = 0x8
    /// The opcode of a ping.
    public static let ping: UInt8 = 0x9
    /// The opcode of a pong.
    public static let pong: UInt8 = 0xA

    /// The reserved bits, RSV1 to RSV3.
    public struct Reserved: OptionSet, Sendable, Hashable {
        /// The bits in the frame's first byte.
        public let rawValue: UInt8
        /// The bits in the frame's first byte.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Set on the first frame of a compressed message (RFC 7692 §6).
        public static let rsv1 = Self(rawValue: 0x40)
        /// Reserved: always a violation.
        public static let rsv2 = Self(rawValue: 0x20)
        /// Reserved: always a violation.
        public static let rsv3 = Self(rawValue: 0x10)
    }

    /// The low four bits of the first byte.
    public var opcode: UInt8
    /// FIN.
    public var isFinal: Bool
    /// RSV1 to RSV3.
    public var reserved: Reserved
    /// Four bytes, or `nil` for a frame that is not masked.
    public var maskKey: [UInt8]?
    /// Never masked here: the mask is put on and taken off at the wire.
    public var payload: [UInt8]

    /// A frame; by default whole, without reserved bits, and masked as the peer's role demands when it is sent.
    public init(
        _ opcode: UInt8, _ payload: [UInt8] = [], final isFinal: Bool = true, reserved: Reserved = [],
        maskKey: [UInt8]? = nil
    ) {
        self.opcode = opcode
        self.isFinal = isFinal
        self.reserved = reserved
        self.maskKey = maskKey
        self.payload = payload
    }

    /// A text frame.
    public static func text(_ string: String, final: Bool = true) -> Self {
        Self(text, Array(string.utf8), final: final)
    }

    /// A close frame with a code and a reason (RFC 6455 §5.5.1).
    public static func close(_ code: UInt16, _ reason: String = "") -> Self {
        Self(close, [UInt8(code >> 8), UInt8(code & 0xFF)] + Array(reason.utf8))
    }

    /// The code of a close frame; `nil` for an empty one.
    public var closeCode: UInt16? {
        payload.count >= 2 ? UInt16(payload[0]) << 8 | UInt16(payload[1]) : nil
    }

    /// How the length is written: as short as can be, or longer than allowed.
    public enum LengthForm: Sendable {
        /// The shortest that holds the length, which RFC 6455 §5.2 demands.
        case minimal
        /// 126 and two bytes.
        case sixteenBits
        /// 127 and eight bytes.
        case sixtyFourBits
    }

    /// The frame's header, with another length than the payload's if one is announced.
    public func header(announcing announced: UInt64? = nil, form: LengthForm = .minimal) -> [UInt8] {
        let length = announced ?? UInt64(payload.count)
        var bytes = [(isFinal ? 0x80 : 0) | reserved.rawValue | opcode]
        let maskBit: UInt8 = maskKey == nil ? 0 : 0x80
        switch form {
        case .minimal where length < 126: bytes.append(maskBit | UInt8(length))
        case .minimal where length <= 0xFFFF, .sixteenBits:
            bytes.append(maskBit | 126)
            bytes += [UInt8(length >> 8 & 0xFF), UInt8(length & 0xFF)]
        default:
            bytes.append(maskBit | 127)
            bytes += (0..<8).map { UInt8(truncatingIfNeeded: length >> UInt64(56 - 8 * $0)) }
        }
        return bytes + (maskKey ?? [])
    }

    /// The whole frame.
    public var bytes: [UInt8] { header() + Self.mask(payload, maskKey) }

    static func mask(_ payload: [UInt8], _ key: [UInt8]?) -> [UInt8] {
        guard let key, key != [0, 0, 0, 0] else { return payload }
        var masked = payload
        masked.withUnsafeMutableBytes { bytes in
            // Eight bytes at a time: peers move megabytes in builds without optimisation.
            let word = (0..<8).reduce(UInt64(0)) { word, place in
                let byte = UInt64(key[place & 3])
                return word | byte << (8 * place)
            }
            var index = 0
            while index + 8 <= bytes.count {
                let value = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
                bytes.storeBytes(
                    of: (UInt64(littleEndian: value) ^ word).littleEndian, toByteOffset: index, as: UInt64.self)
                index += 8
            }
            while index < bytes.count {
                bytes[index] ^= key[index & 3]
                index += 1
            }
        }
        return masked
    }
}

/// What a frame that was read breaks.
public struct WebSocketFrameViolation: Error, CustomStringConvertible, Hashable, Sendable {
    /// The rule, and the bytes that break it.
    public let description: String
    /// A violation.
    public init(description: String) { self.description = description }
}

extension WebSocketBytePeer {
    /// A mask key for tests that do not care which.
    public static let someMaskKey: [UInt8] = [0x37, 0xFA, 0x21, 0x3D]

    /// A frame's bytes, masked as the role demands unless the frame says how.
    public func bytes(of frame: WebSocketWireFrame) -> [UInt8] {
        var frame = frame
        if role == .client && frame.maskKey == nil { frame.maskKey = Self.someMaskKey }
        return frame.bytes
    }

    /// Sends frames in one segment, masked as the role demands.
    public func send(_ frames: WebSocketWireFrame...) async throws { try await write(frames.flatMap { bytes(of: $0) }) }

    /// Reads one frame and checks all that RFC 6455 §5 says about a single one: reserved bits and opcodes, control
    /// frames, the shortest length, and the mask that the other side's role demands.
    ///
    /// - Parameter compression: Whether RSV1 may be set.
    public func readFrame(compression: Bool = false) async throws -> WebSocketWireFrame {
        let start = try await read(2)
        var frame = WebSocketWireFrame(
            start[0] & 0x0F, final: start[0] & 0x80 != 0, reserved: .init(rawValue: start[0] & 0x70))
        let isMasked = start[1] & 0x80 != 0
        var length = UInt64(start[1] & 0x7F)
        func check(_ condition: Bool, _ text: String) throws(WebSocketFrameViolation) {
            if !condition { throw WebSocketFrameViolation(description: text + " (\(start))") }
        }
        if length == 126 {
            length = try await read(2).reduce(0) { $0 << 8 | UInt64($1) }
            try check(length > 125, "a length of \(length) in 16 bits")
        } else if length == 127 {
            length = try await read(8).reduce(0) { $0 << 8 | UInt64($1) }
            try check(length > 0xFFFF && length < 1 << 63, "a length of \(length) in 64 bits")
        }
        try check(
            isMasked == (role == .server), isMasked ? "a server's frame is masked" : "a client's frame is not masked")
        let isControl = frame.opcode >= 8
        try check([0, 1, 2, 8, 9, 10].contains(frame.opcode), "a reserved opcode")
        try check(frame.reserved.subtracting(.rsv1).isEmpty, "RSV2 or RSV3 is set")
        if frame.reserved.contains(.rsv1) {
            try check(compression && (frame.opcode == 1 || frame.opcode == 2), "RSV1 is set where it may not be")
        }
        try check(!isControl || (frame.isFinal && length <= 125), "a control frame that is fragmented or too long")
        if isMasked { frame.maskKey = try await read(4) }
        frame.payload = WebSocketWireFrame.mask(try await read(Int(length)), frame.maskKey)
        return frame
    }
}
