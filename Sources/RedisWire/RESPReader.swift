//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Reads RESP3 from pieces of any size. Each byte is looked at once, however the stream is cut; what is announced is not
/// allocated before it has come. After a violation there is nothing more.
///
/// Attributes (`|`) are read and left out: they may stand before any value, and a client may ignore them.
package struct RESPReader: Sendable {
    private enum Aggregate { case array, map, set, push, attribute }

    /// An aggregate whose elements have not all come.
    private struct Open {
        let kind: Aggregate
        var missing: Int
        var elements: [RESPValue] = []

        var value: RESPValue {
            switch kind {
            case .array: .array(elements)
            case .set: .set(elements)
            case .push: .push(elements)
            case .map, .attribute:
                .map(
                    stride(from: 0, to: elements.count - 1, by: 2).map {
                        RESPValue.Pair(key: elements[$0], value: elements[$0 + 1])
                    })
            }
        }
    }

    /// A string whose length is known.
    private struct Announced {
        let type: UInt8
        let count: Int
    }

    private enum Step {
        case needsMore
        case value(RESPValue)
        /// An aggregate has begun, or a length is known.
        case goOn
    }

    private let limits: RESPLimits
    private var buffer: [UInt8] = []
    private var position = 0
    /// How far the line that begins at `position` was searched for its end.
    private var searched = 0
    private var announced: Announced?
    private var open: [Open] = []
    /// Of the value that is being read.
    private var elements = 0
    private var bytes = 0
    private var failure: RESPViolation?

    package init(limits: RESPLimits = RESPLimits()) { self.limits = limits }

    /// Bytes that are kept and belong to no value yet.
    package var keptBytes: Int { buffer.count - position }

    /// Takes what has arrived.
    package mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        guard failure == nil else { return }
        if position == buffer.count {
            buffer.removeAll(keepingCapacity: buffer.capacity <= 1 << 20)
            searched -= position
            position = 0
        } else if position > 64 << 10, position > buffer.count / 2 {
            buffer.removeSubrange(..<position)
            searched -= position
            position = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// The next whole value; nil when more has to come first.
    ///
    /// - Throws: What is wrong with the stream, each time from then on.
    package mutating func next() throws(RESPViolation) -> RESPValue? {
        if let failure { throw failure }
        do throws(RESPViolation) {
            return try read()
        } catch {
            failure = error
            buffer = []
            position = 0
            open = []
            throw error
        }
    }

    private mutating func read() throws(RESPViolation) -> RESPValue? {
        while true {
            switch try announced == nil ? readLine() : readString() {
            case .needsMore: return nil
            case .goOn: continue
            case .value(let value):
                guard let whole = add(value) else { continue }
                elements = 0
                bytes = 0
                return whole
            }
        }
    }

    /// Puts a value where it belongs. Returns it, or what it completes, when nothing encloses that.
    private mutating func add(_ value: RESPValue) -> RESPValue? {
        var value = value
        while let last = open.indices.last {
            open[last].elements.append(value)
            open[last].missing -= 1
            guard open[last].missing == 0 else { return nil }
            let done = open.removeLast()
            guard done.kind != .attribute else { return nil }
            value = done.value
        }
        return value
    }

    // MARK: Strings

    private mutating func readString() throws(RESPViolation) -> Step {
        guard let string = announced else { return .goOn }
        guard buffer.count - position >= string.count + 2 else { return .needsMore }
        let end = position + string.count
        guard buffer[end] == 13, buffer[end + 1] == 10 else { throw .lineEnd }
        let content = Array(buffer[position..<end])
        position = end + 2
        searched = position
        announced = nil
        switch string.type {
        case UInt8(ascii: "!"): return .value(.error(RESPError(String(decoding: content, as: UTF8.self))))
        case UInt8(ascii: "="):
            guard content.count >= 4, content[3] == UInt8(ascii: ":"),
                let format = String(validating: content[..<3], as: UTF8.self)
            else { throw .malformed("=") }
            return .value(.verbatim(format: format, Array(content[4...])))
        default: return .value(.bulk(content))
        }
    }

    // MARK: Lines

    private mutating func readLine() throws(RESPViolation) -> Step {
        guard position < buffer.count else { return .needsMore }
        let type = buffer[position]
        // Not only when the line is there: what is no RESP need not have lines.
        guard Self.isType(type) else { throw .unknownType(type) }
        var index = max(searched, position + 1)
        while index < buffer.count, buffer[index] != 13, buffer[index] != 10 { index += 1 }
        searched = index
        guard index - position - 1 <= limits.lineBytes else { throw .lineTooLong }
        guard index < buffer.count else { return .needsMore }
        guard buffer[index] == 13 else { throw .lineEnd }
        guard index + 1 < buffer.count else { return .needsMore }
        guard buffer[index + 1] == 10 else { throw .lineEnd }
        let line = buffer[(position + 1)..<index]
        let step = try read(type, line)
        position = index + 2
        searched = position
        return step
    }

    private static func isType(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "$"), UInt8(ascii: "*"),
            UInt8(ascii: "_"), UInt8(ascii: "#"), UInt8(ascii: ","), UInt8(ascii: "("), UInt8(ascii: "!"),
            UInt8(ascii: "="), UInt8(ascii: "%"), UInt8(ascii: "~"), UInt8(ascii: ">"), UInt8(ascii: "|"),
            UInt8(ascii: ";"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    private mutating func read(_ type: UInt8, _ line: ArraySlice<UInt8>) throws(RESPViolation) -> Step {
        switch type {
        case UInt8(ascii: "+"):
            try count(line.count)
            return .value(.simple(String(decoding: line, as: UTF8.self)))
        case UInt8(ascii: "-"):
            try count(line.count)
            return .value(.error(RESPError(String(decoding: line, as: UTF8.self))))
        case UInt8(ascii: ":"):
            guard let number = Self.integer(line) else { throw .malformed(":") }
            return .value(.integer(number))
        case UInt8(ascii: "_"):
            guard line.isEmpty else { throw .malformed("_") }
            return .value(.null)
        case UInt8(ascii: "#"):
            guard line.count == 1, let letter = line.first, letter == UInt8(ascii: "t") || letter == UInt8(ascii: "f")
            else { throw .malformed("#") }
            return .value(.boolean(letter == UInt8(ascii: "t")))
        case UInt8(ascii: ","):
            guard let number = Self.double(line) else { throw .malformed(",") }
            return .value(.double(number))
        case UInt8(ascii: "("):
            try count(line.count)
            guard Self.isInteger(line) else { throw .malformed("(") }
            return .value(.bigNumber(String(decoding: line, as: UTF8.self)))
        case UInt8(ascii: "$"), UInt8(ascii: "!"), UInt8(ascii: "="): return try announce(type, line)
        case UInt8(ascii: "*"): return try begin(.array, line)
        case UInt8(ascii: "%"): return try begin(.map, line)
        case UInt8(ascii: "~"): return try begin(.set, line)
        case UInt8(ascii: ">"): return try begin(.push, line)
        case UInt8(ascii: "|"): return try begin(.attribute, line)
        case UInt8(ascii: ";"), UInt8(ascii: "."): throw .streamed
        default: throw .unknownType(type)
        }
    }

    private mutating func announce(_ type: UInt8, _ line: ArraySlice<UInt8>) throws(RESPViolation) -> Step {
        switch try Self.length(line, type) {
        case nil:
            guard type == UInt8(ascii: "$") else { throw .malformed(Character(Unicode.Scalar(type))) }
            return .value(.null)
        case let length?:
            guard length <= limits.bulkBytes else { throw .bulkTooLong(length) }
            try count(length)
            announced = Announced(type: type, count: length)
            return .goOn
        }
    }

    private mutating func begin(_ kind: Aggregate, _ line: ArraySlice<UInt8>) throws(RESPViolation) -> Step {
        guard let length = try Self.length(line, UInt8(ascii: "*")) else {
            guard kind == .array else { throw .malformed("*") }
            return .value(.null)
        }
        guard kind != .push || open.isEmpty else { throw .nestedPush }
        let isPairs = kind == .map || kind == .attribute
        guard length <= limits.elements else { throw .tooManyElements }
        let count = isPairs ? length * 2 : length
        elements += count
        guard elements <= limits.elements else { throw .tooManyElements }
        guard open.count < limits.depth else { throw .tooDeep }
        guard count > 0 else { return kind == .attribute ? .goOn : .value(Open(kind: kind, missing: 0).value) }
        open.append(Open(kind: kind, missing: count))
        return .goOn
    }

    private mutating func count(_ more: Int) throws(RESPViolation) {
        bytes += more
        guard bytes <= limits.valueBytes else { throw .valueTooLarge }
    }

    // MARK: Numbers

    /// A length; nil for RESP2's null, -1.
    private static func length(_ line: ArraySlice<UInt8>, _ type: UInt8) throws(RESPViolation) -> Int? {
        if line.elementsEqual([UInt8(ascii: "?")]) { throw .streamed }
        if line.elementsEqual("-1".utf8) { return nil }
        guard !line.isEmpty, line.allSatisfy(isDigit), let length = Int(String(decoding: line, as: UTF8.self)) else {
            throw .malformed(Character(Unicode.Scalar(type)))
        }
        return length
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private static func isInteger(_ line: ArraySlice<UInt8>) -> Bool {
        let isSigned = line.first == UInt8(ascii: "-") || line.first == UInt8(ascii: "+")
        let digits = isSigned ? line.dropFirst() : line
        return !digits.isEmpty && digits.allSatisfy(isDigit)
    }

    private static func integer(_ line: ArraySlice<UInt8>) -> Int64? {
        isInteger(line) ? Int64(String(decoding: line, as: UTF8.self)) : nil
    }

    private static func double(_ line: ArraySlice<UInt8>) -> Double? {
        let text = String(decoding: line, as: UTF8.self)
        switch text {
        case "inf", "+inf": return .infinity
        case "-inf": return -.infinity
        case "nan", "-nan": return .nan
        default:
            let isPlain = line.allSatisfy { byte in
                isDigit(byte) || "+-.eE".utf8.contains(byte)
            }
            return isPlain ? Double(text) : nil
        }
    }
}
