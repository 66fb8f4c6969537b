//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import WebSocketCore

private func string(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

func fuzzURL(_ bytes: UnsafeRawBufferPointer) -> String? {
    do {
        let url = try WebSocketURL(string(bytes))
        guard (1...65_535).contains(url.port) else { return "the port is \(url.port)" }
        let description = url.description
        guard description.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            return "a control byte passes: \(description)"
        }
        // User information is nowhere, and values of the query are not there.
        let authority = description.drop { $0 != "/" }.dropFirst(2).prefix { $0 != "/" && $0 != "?" }
        if authority.contains("@") { return "user information is shown: \(description)" }
        // What it shows it can read again, and finds nothing else.
        guard (try? WebSocketURL(description))?.description == description || description.contains("…") else {
            return "the description is another URL: \(description)"
        }
        return nil
    } catch {
        return error.code == .invalidURL ? nil : "an undocumented error: \(error.code)"
    }
}

func fuzzRequest(_ bytes: UnsafeRawBufferPointer) -> String? {
    let whole = HTTPRequestHeadParser.parse(bytes)
    // A refusal of a beginning must be one of the whole; a head that is complete does not change by what follows.
    for cut in [bytes.count / 2, max(0, bytes.count - 1)] {
        switch HTTPRequestHeadParser.parse(UnsafeRawBufferPointer(rebasing: bytes[..<cut])) {
        case .incomplete: continue
        case .refused: if case .refused = whole { continue }
        case .head(let head, let byteCount):
            if case .head(head, byteCount) = whole { continue }
        }
        return "another verdict at \(cut) of \(bytes.count) bytes"
    }
    guard case .head(let head, let byteCount) = whole else { return nil }
    guard byteCount <= bytes.count, bytes[..<byteCount].suffix(4).elementsEqual("\r\n\r\n".utf8) else {
        return "the head's end is wrong"
    }
    for field in head.fields where field.value.utf8.contains(where: { $0 == 13 || $0 == 10 || $0 == 0 }) {
        return "a value has a line break"
    }
    do {
        let upgrade = try ValidatedUpgrade(head)
        return upgrade.key.utf8.count == 24 ? nil : "the key is \(upgrade.key)"
    } catch {
        return (400..<600).contains(error.status) ? nil : "refused with \(error.status)"
    }
}

func fuzzResponse(_ bytes: UnsafeRawBufferPointer) -> String? {
    guard let (status, fields, byteCount) = HTTPResponseHeadParser.parse(bytes) else { return nil }
    guard (0...999).contains(status), byteCount <= bytes.count else { return "status \(status)" }
    return fields.contains { $0.value.utf8.contains(10) } ? "a value has a line break" : nil
}

func fuzzExtensions(_ bytes: UnsafeRawBufferPointer) -> String? {
    let text = string(bytes)
    for offer in ExtensionOffer.parse(text) ?? [] where !offer.name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) {
        return "an extension's name is no token"
    }
    for token in HeaderScanner.tokenList(text) ?? [] where token.isEmpty { return "an empty token" }
    let configured = WebSocketCompression.deflate()
    if let agreed = try? DeflateNegotiation.accept(answer: text, offered: configured) {
        guard (8...15).contains(agreed.serverMaxWindowBits), (8...15).contains(agreed.clientMaxWindowBits) else {
            return "a window of \(agreed)"
        }
    }
    if let answer = DeflateNegotiation.answer(offers: text, configured: configured) {
        // A client that offered it must be able to take what we answer.
        let bits = [answer.agreed.serverMaxWindowBits, answer.agreed.clientMaxWindowBits]
        guard bits.allSatisfy((8...15).contains) else { return "a window of \(bits)" }
        let header = "permessage-deflate" + answer.parameterText
        guard ExtensionOffer.parse(header)?.count == 1 else { return "our answer is malformed: \(header)" }
    }
    return nil
}

func fuzzOrigin(_ bytes: UnsafeRawBufferPointer) -> String? {
    let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
    let host = String(decoding: parts[0], as: UTF8.self)
    let origin = parts.count > 1 ? String(decoding: parts[1], as: UTF8.self) : nil
    for isSecure in [false, true] where OriginCheck.isSameHost(origin: origin, host: host, isSecure: isSecure) {
        guard let origin else { continue }
        // Nothing passes whose authority is not the host's, but for letter case and a default port.
        let authority = origin.lowercased().drop { $0 != "/" }.dropFirst(2)
        func bare(_ text: some StringProtocol) -> Substring {
            let text = text.lowercased()[...]
            return text.hasSuffix(":80") ? text.dropLast(3) : text.hasSuffix(":443") ? text.dropLast(4) : text
        }
        guard bare(authority) == bare(host) else { return "\(origin) passes for \(host)" }
    }
    return nil
}

func fuzzClose(_ bytes: UnsafeRawBufferPointer) -> String? {
    for split in [0, bytes.count / 2] {
        let reason = UnsafeRawBufferPointer(rebasing: bytes[..<min(split, 123)])
        for isMasked in [false, true] {
            _ = CloseFrameSearch.code(
                in: UnsafeRawBufferPointer(rebasing: bytes[split...]), reason: reason, isMasked: isMasked)
        }
    }
    guard let frame = try? WebSocketCloseFrame(payload: bytes) else { return nil }
    guard !bytes.isEmpty else { return frame.code == .noStatusReceived ? nil : "an empty payload has a code" }
    guard frame.code.isAllowedOnTheWire, frame.reason.utf8.elementsEqual(bytes.dropFirst(2)) else {
        return "code \(frame.code) or its reason is wrong"
    }
    guard bytes.count <= 125 else { return nil }
    return (try? frame.validate()) == nil ? "what was received may not be sent" : nil
}

func fuzzText(_ bytes: UnsafeRawBufferPointer) -> String? {
    let escaped = string(bytes).escapedForLog
    for scalar in escaped.unicodeScalars {
        switch scalar.value {
        case 0..<0x20, 0x7F..<0xA0, 0x202A...0x202E, 0x2066...0x2069: return "\(scalar.value) is not escaped"
        default: break
        }
    }
    let isValid = String(validating: bytes, as: UTF8.self) != nil
    for cut in [0, bytes.count / 3, bytes.count / 2, bytes.count] {
        var validator = UTF8Validator()
        let isTaken =
            validator.consume(UnsafeRawBufferPointer(rebasing: bytes[..<cut]))
            && validator.consume(UnsafeRawBufferPointer(rebasing: bytes[cut...])) && validator.isComplete
        guard isTaken == isValid else { return "UTF-8: \(isTaken), cut at \(cut), and it is \(isValid)" }
    }
    return nil
}

func fuzzAssembler(_ bytes: UnsafeRawBufferPointer) -> String? {
    let limit = 200
    var assembler = MessageAssembler(maximumSize: limit, maximumFragments: 20)
    var rest = bytes[...]
    var expected: [UInt8] = []
    var kind = WebSocketMessage.Kind.binary
    while let order = rest.popFirst() {
        if assembler.isIdle {
            kind = order & 1 == 0 ? .binary : .text
            assembler.begin(kind)
            expected = []
        }
        let size = Int(rest.popFirst() ?? 0)
        let piece = rest.prefix(size)
        rest = rest.dropFirst(size)
        do {
            let announced: UInt64 = order & 8 == 0 ? UInt64(piece.count) : UInt64(order) << 56
            try assembler.beginFrame(announced: announced, compressed: order & 2 != 0)
            try assembler.append(UnsafeRawBufferPointer(rebasing: piece))
            expected += piece
            guard expected.count <= limit else { return "\(expected.count) bytes are taken" }
            guard order & 4 != 0 else { continue }
            switch try assembler.finish() {
            case .binary(let whole): if kind != .binary || whole != expected { return "another message" }
            case .text(let text):
                if kind != .text || !text.utf8.elementsEqual(expected) { return "another text" }
            }
        } catch {
            // A refused message is gone; the next one must not see it.
            assembler.begin(.binary)
            kind = .binary
            expected = []
        }
    }
    return nil
}
