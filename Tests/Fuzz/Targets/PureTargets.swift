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

/// Whole, in single bytes, and at cuts: the same comes of it, and no more is taken or kept than there is room for.
func fuzzHandshake(_ bytes: UnsafeRawBufferPointer) -> String? {
    var limits = WebSocketResponseLimits()
    limits.headBytes = 1_024
    limits.lineBytes = 512
    limits.headerLines = 16
    limits.interimAnswers = 4
    limits.interimBytes = 512
    limits.bodyBytes = 256
    let offer = ClientHandshakeMachine.Offer(
        key: "dGhlIHNhbXBsZSBub25jZQ==", acceptKey: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", subprotocols: ["chat"],
        compression: .deflate())
    var problem: String?

    func client(_ pieces: [Range<Int>]) -> (Int, ClientHandshakeMachine.Action, WebSocketError) {
        var machine = ClientHandshakeMachine(offer, limits: limits)
        var taken = 0
        var action = ClientHandshakeMachine.Action.wait
        loop: for piece in pieces {
            let result = machine.receive(UnsafeRawBufferPointer(rebasing: bytes[piece]))
            if !(0...piece.count).contains(result.taken) { problem = "\(result.taken) of \(piece.count) are taken" }
            if machine.keptBytes > limits.headBytes + limits.bodyBytes { problem = "\(machine.keptBytes) are kept" }
            taken += result.taken
            action = result.action
            switch action {
            case .wait, .readBody: if result.taken != piece.count { problem = "\(action) leaves bytes" }
            case .open, .fail: break loop
            }
        }
        return (taken, action, machine.ended())
    }
    func proxy(_ pieces: [Range<Int>]) -> (Int, ProxyTunnel.Action)? {
        guard let endpoint = try? ProxyEndpoint("http://proxy", source: "fuzz") else { return nil }
        var tunnel = ProxyTunnel(endpoint, target: .init(host: "example.com", port: 443), userAgent: nil)
        var taken = 0
        var action = ProxyTunnel.Action.wait
        for piece in pieces where action == .wait {
            let result = tunnel.receive(UnsafeRawBufferPointer(rebasing: bytes[piece]))
            if !(0...piece.count).contains(result.taken) { problem = "\(result.taken) of \(piece.count) are taken" }
            taken += result.taken
            action = result.action
        }
        return (taken, action)
    }

    let whole = client([0..<bytes.count])
    guard let tunnel = proxy([0..<bytes.count]) else { return "there is no proxy" }
    switch whole.1 {
    case .wait, .readBody: break
    case .open(let opened):
        guard opened.response.status == 101, [nil, "chat"].contains(opened.subprotocol) else { return "\(opened)" }
    case .fail(let error):
        guard error.code == .handshakeInvalid || error.code == .handshakeRejected, error.phase == .upgrade else {
            return "an undocumented error: \(error)"
        }
        if let response = error.response {
            guard response.body.count <= limits.bodyBytes, response.headers.count <= limits.headerLines else {
                return "\(response.body.count) bytes and \(response.headers.count) fields"
            }
            for field in response.headers where field.value.utf8.contains(where: { $0 == 13 || $0 == 10 || $0 == 0 }) {
                return "a value has a line break"
            }
        }
    }
    let third = bytes.count / 3
    for pieces in [
        bytes.indices.map { $0..<($0 + 1) }, [0..<third, third..<(2 * third), (2 * third)..<bytes.count],
        [0..<max(0, bytes.count - 1), max(0, bytes.count - 1)..<bytes.count],
    ] {
        guard client(pieces) == whole || bytes.isEmpty else {
            return "the client: another end in \(pieces.count) pieces"
        }
        guard proxy(pieces).map({ $0 == tunnel }) == true || bytes.isEmpty else {
            return "the proxy: another end in \(pieces.count) pieces"
        }
    }
    return problem
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
    if OriginCheck.isSameHost(origin: origin, host: host) {
        guard let origin else { return nil }
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
