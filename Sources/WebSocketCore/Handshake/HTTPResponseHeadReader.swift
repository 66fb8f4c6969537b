//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes

/// A response head as it came over the wire.
package struct HTTPResponseHead: Sendable, Hashable {
    /// The x of `HTTP/1.x`.
    package var minorVersion: Int
    /// 100 to 999.
    package var status: Int
    /// The header fields, in the order in which they came; two of one name stay two.
    package var fields: HTTPFields

    package init(minorVersion: Int, status: Int, fields: HTTPFields) {
        self.minorVersion = minorVersion
        self.status = status
        self.fields = fields
    }
}

/// Reads the head of the final answer to one request, behind any interim ones (RFC 9112 §2.2, §4, §5; RFC 9110 §15.2),
/// byte after byte: what can be no head is refused with its first wrong byte, however the bytes are cut.
///
/// Read are: optional white space around values, a missing reason, names and values of every kind, folded lines (RFC
/// 9112 §5.2 has a user agent put a space in their place), and a line that ends in LF alone (§2.2): this connection
/// carries one answer, so there is no second one that could be smuggled, and every browser reads it. A CR without
/// its LF, white space before a colon, NUL and other controls are refused: those make two readers see two heads.
package struct HTTPResponseHeadReader: Sendable {
    package enum Problem: Equatable, Sendable {
        /// The first bytes are of no HTTP/1 answer.
        case notHTTP(String)
        case malformed(String)
        case tooMuch(String)

        /// The sentence, without a beginning.
        package var text: String {
            switch self {
            case .notHTTP(let text), .malformed(let text), .tooMuch(let text): text
            }
        }
    }

    package enum Result: Equatable, Sendable {
        /// More is needed.
        case wait
        /// The head of the final answer: 101, or 200 and above.
        case head(HTTPResponseHead)
        case problem(Problem)
    }

    private enum State {
        /// This many bytes of the status line, up to its reason, are right.
        case statusLine(Int)
        case reason
        /// Behind the CR of the status line.
        case statusLineEnd
        /// At the beginning of a line. The field before it may be continued.
        case lineStart
        case name
        case value
        /// In the white space that begins a folded line.
        case fold
        /// Behind the CR of a field's line.
        case valueEnd
        /// Behind the CR of the empty line.
        case headEnd
        case over(Result)
    }

    private let limits: WebSocketResponseLimits
    private var state = State.statusLine(0)
    private var minorVersion = 0
    private var status = 0
    private var fields = HTTPFields()
    private var fieldCount = 0
    private var fieldBytes = 0
    private var name: [UInt8] = []
    private var value: [UInt8] = []
    private var lineCount = 0
    private var headCount = 0
    private var interimBytes = 0
    /// Complete interim answers.
    package private(set) var interimAnswers = 0

    package init(limits: WebSocketResponseLimits = .init()) { self.limits = limits }

    /// Whether any byte of an answer has come.
    package var hasBegun: Bool { headCount > 0 || interimAnswers > 0 }
    /// Whether a part of a head has come.
    package var isWithinHead: Bool { headCount > 0 }
    /// What is held of the answer, in bytes: never more than `headBytes`.
    package var keptBytes: Int { fieldBytes + name.count + value.count }

    /// Bytes came.
    ///
    /// - Returns: How many of them are the heads' and what they say. After a head or a problem none is taken.
    package mutating func receive(_ bytes: UnsafeRawBufferPointer) -> (taken: Int, result: Result) {
        if case .over(let result) = state { return (0, result) }
        for index in 0..<bytes.count {
            let result = count() ?? step(bytes[index])
            switch result {
            case .wait: continue
            case .head, .problem:
                state = .over(result)
                return (index + 1, result)
            }
        }
        return (bytes.count, .wait)
    }

    /// Counts a byte; a result if it is one too many.
    private mutating func count() -> Result? {
        headCount += 1
        if headCount > limits.headBytes { return tooMuch("the response head is longer than \(limits.headBytes) bytes") }
        if isInterim, interimBytes + headCount > limits.interimBytes {
            return tooMuch("the interim answers (1xx) are longer than \(limits.interimBytes) bytes together")
        }
        return nil
    }

    private var isInterim: Bool { (100...199).contains(status) && status != 101 }

    private mutating func step(_ byte: UInt8) -> Result {
        switch state {
        case .statusLine(let position): return statusLine(position, byte)
        case .reason:
            switch byte {
            case 0x0D: state = .statusLineEnd
            case 0x0A: state = .lineStart
            case 0x00..<0x20 where byte != 0x09, 0x7F: return malformed("the status line has a control character")
            default:
                lineCount += 1
                guard lineCount <= limits.lineBytes else {
                    return tooMuch("the status line is longer than \(limits.lineBytes) bytes")
                }
            }
            return .wait
        case .statusLineEnd:
            guard byte == 0x0A else { return malformed("a line has a CR without a LF") }
            state = .lineStart
            return .wait
        case .lineStart: return lineStart(byte)
        case .name: return nameByte(byte)
        case .fold:
            if byte == 0x20 || byte == 0x09 { return lengthened() }
            state = .value
            return valueByte(byte)
        case .value: return valueByte(byte)
        case .valueEnd:
            guard byte == 0x0A else { return malformed("a line has a CR without a LF") }
            state = .lineStart
            return .wait
        case .headEnd:
            guard byte == 0x0A else { return malformed("a line has a CR without a LF") }
            return endOfHead()
        case .over(let result): return result
        }
    }

    // MARK: The status line

    private static let beginning = Array("HTTP/1.".utf8)

    private mutating func statusLine(_ position: Int, _ byte: UInt8) -> Result {
        lineCount = position + 1
        switch position {
        case 0..<Self.beginning.count:
            guard byte == Self.beginning[position] else { return .problem(.notHTTP(Self.other(byte, at: position))) }
        case 7:
            guard let digit = byte.digit else { return malformed("the status line is malformed") }
            minorVersion = digit
        case 8:
            guard byte == 0x20 else { return malformed("the status line is malformed") }
            status = 0
        case 9, 10, 11:
            // RFC 9112 §4: three digits; no status begins with 0.
            guard let digit = byte.digit, position > 9 || digit > 0 else {
                return malformed("the status line is malformed")
            }
            status = status * 10 + digit
        case 12:
            // The space is there even when the reason is not; a client reads it without, too.
            switch byte {
            case 0x20: state = .reason
            case 0x0D: state = .statusLineEnd
            case 0x0A: state = .lineStart
            default: return malformed("the status line is malformed")
            }
            return .wait
        default: return malformed("the status line is malformed")
        }
        state = .statusLine(position + 1)
        return .wait
    }

    private static func other(_ byte: UInt8, at position: Int) -> String {
        if position == 5, let digit = byte.digit {
            return "it answers in HTTP/\(digit); a WebSocket is opened over HTTP/1.1, so check what the server speaks"
        }
        // An alert or a handshake record.
        if position == 0, byte == 0x15 || byte == 0x16 { return "it answers in TLS; use a wss URL" }
        return "it does not answer in HTTP/1.1; check the URL's port and scheme: a TLS port wants wss://"
    }

    // MARK: Fields

    private mutating func lineStart(_ byte: UInt8) -> Result {
        if byte == 0x20 || byte == 0x09 {
            // RFC 9112 §2.2: there is no field yet that could be continued.
            guard !name.isEmpty else { return malformed("white space follows the status line") }
            trimValue()
            if !value.isEmpty { value.append(0x20) }
            state = .fold
            return lengthened()
        }
        endOfField()
        lineCount = 0
        switch byte {
        case 0x0D:
            state = .headEnd
            return .wait
        case 0x0A: return endOfHead()
        default:
            fieldCount += 1
            guard fieldCount <= limits.headerLines else {
                return tooMuch("the response head has more than \(limits.headerLines) header fields")
            }
            state = .name
            return nameByte(byte)
        }
    }

    private mutating func nameByte(_ byte: UInt8) -> Result {
        switch byte {
        case UInt8(ascii: ":"):
            guard !name.isEmpty else { return malformed("a header line has no name before its colon") }
            state = .value
        case 0x0D, 0x0A: return malformed("a header line has no colon")
        // RFC 9112 §5.1: what is smuggled in messages hides there.
        case 0x20, 0x09: return malformed("a header line has white space before its colon, or no colon")
        default:
            guard byte.isTokenCharacter else {
                return malformed("a header's name has the byte \(Self.hex(byte)), which no name may have")
            }
            name.append(byte)
        }
        return lengthened()
    }

    private mutating func valueByte(_ byte: UInt8) -> Result {
        switch byte {
        case 0x0D:
            state = .valueEnd
            return .wait
        case 0x0A:
            state = .lineStart
            return .wait
        case 0x20, 0x09: if !value.isEmpty { value.append(byte) }
        case 0x00..<0x20, 0x7F:
            return malformed("the header \(nameText) has the control character \(Self.hex(byte))")
        default: value.append(byte)
        }
        return lengthened()
    }

    private mutating func lengthened() -> Result {
        lineCount += 1
        guard lineCount <= limits.lineBytes else {
            let which = nameText.utf8.count <= 64 ? "the header \(nameText)" : "a header line"
            return tooMuch("\(which) is longer than \(limits.lineBytes) bytes")
        }
        return .wait
    }

    private var nameText: String { String(decoding: name, as: UTF8.self) }

    private mutating func trimValue() {
        while value.last == 0x20 || value.last == 0x09 { value.removeLast() }
    }

    /// The field that the line before completes, if there is one.
    private mutating func endOfField() {
        guard !name.isEmpty else { return }
        trimValue()
        // Every token is a name.
        if let name = HTTPField.Name(nameText) { fields.append(HTTPField(name: name, lenientValue: value)) }
        fieldBytes += name.count + value.count
        name.removeAll(keepingCapacity: true)
        value.removeAll(keepingCapacity: true)
    }

    private mutating func endOfHead() -> Result {
        guard isInterim else {
            return .head(HTTPResponseHead(minorVersion: minorVersion, status: status, fields: fields))
        }
        interimAnswers += 1
        guard interimAnswers <= limits.interimAnswers else {
            return tooMuch("more than \(limits.interimAnswers) interim answers (1xx) came before the final one")
        }
        interimBytes += headCount
        guard interimBytes <= limits.interimBytes else {
            return tooMuch("the interim answers (1xx) are longer than \(limits.interimBytes) bytes together")
        }
        fields = HTTPFields()
        fieldCount = 0
        fieldBytes = 0
        status = 0
        headCount = 0
        state = .statusLine(0)
        return .wait
    }

    // MARK: Sentences

    private func malformed(_ text: String) -> Result { .problem(.malformed(text)) }
    private func tooMuch(_ text: String) -> Result { .problem(.tooMuch(text)) }

    private static func hex(_ byte: UInt8) -> String {
        "0x" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }
}

extension UInt8 {
    fileprivate var digit: Int? { self >= 0x30 && self <= 0x39 ? Int(self - 0x30) : nil }
}
