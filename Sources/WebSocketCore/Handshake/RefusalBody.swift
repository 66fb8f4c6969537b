//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes

/// The beginning of the body of an answer that is no upgrade (RFC 9112 §6, §7.1): decoded from chunks, or as long as
/// `Content-Length` says, or up to the end of the stream.
///
/// The body only explains the refusal, so what is wrong with it is no error of its own: a body that is malformed ends
/// where it is, and a length that is none counts as absent.
struct RefusalBody: Sendable {
    private enum State {
        /// This many bytes are to come.
        case length(UInt64)
        case untilEnd
        /// In a chunk's size, of which this is read.
        case size(UInt64, hasDigits: Bool)
        /// Between a chunk's size and the end of its line.
        case sizeEnd(UInt64)
        case chunk(UInt64)
        /// Behind a chunk's bytes, and behind the CR there.
        case chunkEnd
        case chunkEndLF
        case complete
    }

    private var state: State
    private let limit: Int
    /// How many bytes of chunks' sizes, extensions and line ends may still come.
    private var framingLeft: Int
    private(set) var bytes: [UInt8] = []

    init(of head: HTTPResponseHead, limits: WebSocketResponseLimits) {
        limit = limits.bodyBytes
        framingLeft = limits.headBytes
        state = limit > 0 ? Self.framing(of: head) : .complete
    }

    var isComplete: Bool {
        switch state {
        case .complete: true
        case .length, .untilEnd, .size, .sizeEnd, .chunk, .chunkEnd, .chunkEndLF: false
        }
    }

    /// RFC 9112 §6.3.
    private static func framing(of head: HTTPResponseHead) -> State {
        if head.status == 204 || head.status == 304 { return .complete }
        let codings = head.fields.list(.transferEncoding)
        if let last = codings.last {
            return last.lowercased() == "chunked" ? .size(0, hasDigits: false) : .untilEnd
        }
        let lengths = head.fields.list(.contentLength)
        guard let first = lengths.first, lengths.allSatisfy({ $0 == first }),
            first.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let length = UInt64(first)
        else { return .untilEnd }
        return length == 0 ? .complete : .length(length)
    }

    /// - Returns: How many of the bytes are the body's.
    mutating func receive(_ input: UnsafeRawBufferPointer) -> Int {
        var index = 0
        while index < input.count {
            switch state {
            case .complete: return index
            case .untilEnd: index += keep(input[index...], atMost: .max)
            case .length(let left):
                let kept = keep(input[index...], atMost: left)
                index += kept
                if !isComplete { state = left == UInt64(kept) ? .complete : .length(left - UInt64(kept)) }
            case .chunk(let left):
                let kept = keep(input[index...], atMost: left)
                index += kept
                if !isComplete { state = left == UInt64(kept) ? .chunkEnd : .chunk(left - UInt64(kept)) }
            case .size, .sizeEnd, .chunkEnd, .chunkEndLF:
                framing(input[index])
                index += 1
                framingLeft -= 1
                if framingLeft <= 0 { state = .complete }
            }
        }
        return index
    }

    private mutating func keep(_ input: Slice<UnsafeRawBufferPointer>, atMost most: UInt64) -> Int {
        let count = min(input.count, limit - bytes.count, Int(clamping: most))
        bytes.append(contentsOf: input.prefix(count))
        if bytes.count == limit { state = .complete }
        return count
    }

    private mutating func framing(_ byte: UInt8) {
        switch state {
        case .size(let size, let hasDigits):
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit(byte - 0x30, behind: size)
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit(byte - 0x57, behind: size)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit(byte - 0x37, behind: size)
            case UInt8(ascii: ";"), 0x20, 0x09, 0x0D: state = hasDigits ? .sizeEnd(size) : .complete
            case 0x0A: state = hasDigits ? Self.chunk(size) : .complete
            default: state = .complete
            }
        case .sizeEnd(let size):
            // Extensions are ignored.
            if byte == 0x0A { state = Self.chunk(size) }
        case .chunkEnd:
            switch byte {
            case 0x0D: state = .chunkEndLF
            case 0x0A: state = .size(0, hasDigits: false)
            default: state = .complete
            }
        case .chunkEndLF: state = byte == 0x0A ? .size(0, hasDigits: false) : .complete
        case .length, .untilEnd, .chunk, .complete: break
        }
    }

    /// A size of 2^64 and more is a lie: it ends the body.
    private mutating func digit(_ digit: UInt8, behind size: UInt64) {
        state = size >> 60 == 0 ? .size(size << 4 | UInt64(digit), hasDigits: true) : .complete
    }

    /// The last chunk is the end: trailers explain nothing.
    private static func chunk(_ size: UInt64) -> State { size == 0 ? .complete : .chunk(size) }
}

extension HTTPFields {
    /// The elements of a list over all fields of the name, without white space around them and without empty ones
    /// (RFC 9110 §5.6.1). Of no use where elements may be quoted.
    func list(_ name: HTTPField.Name) -> [Substring] {
        self[values: name].flatMap { value in
            value.utf8.split(separator: UInt8(ascii: ",")).compactMap { element in
                var element = element
                while let byte = element.first, byte == 0x20 || byte == 0x09 { element = element.dropFirst() }
                while let byte = element.last, byte == 0x20 || byte == 0x09 { element = element.dropLast() }
                return element.isEmpty ? nil : Substring(element)
            }
        }
    }
}
