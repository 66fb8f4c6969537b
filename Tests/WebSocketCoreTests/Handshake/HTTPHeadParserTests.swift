//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import SimulationSupport
import Testing

@testable import WebSocketCore

@Suite struct HTTPRequestHeadParserTests {
    typealias Parser = HTTPRequestHeadParser

    static let head =
        "GET /chat?x=1 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-Empty:\r\n\r\n"

    static func parse(_ bytes: some Collection<UInt8>, _ limits: Parser.Limits = .init()) -> Parser.Outcome {
        withExactBytes(bytes) { Parser.parse($0, limits: limits) }
    }

    static func status(_ verdict: Parser.Outcome) -> Int? {
        if case .refused(let refusal) = verdict { refusal.status } else { nil }
    }

    private func expectRefused(
        _ text: String, _ status: Int, _ limits: Parser.Limits = .init(),
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let verdict = Self.parse(Array(text.utf8), limits)
        #expect(Self.status(verdict) == status, "\(verdict)", sourceLocation: sourceLocation)
    }

    @Test func readsAHead() throws {
        guard case .head(let head, let count) = Self.parse(Array(Self.head.utf8)) else {
            Issue.record("not read")
            return
        }
        #expect(count == Self.head.utf8.count)
        #expect(head.method == "GET" && head.target == "/chat?x=1" && head.fields.count == 6)
        #expect(head.fields[.secWebSocketKey] == "dGhlIHNhbXBsZSBub25jZQ==")
        #expect(head.fields[HTTPField.Name("X-Empty")!] == "")
    }

    @Test func everyPrefixIsIncomplete() {
        let bytes = Array(Self.head.utf8)
        for count in 0..<bytes.count { #expect(Self.parse(bytes[..<count]) == .incomplete, "after \(count) bytes") }
    }

    @Test(arguments: [1, 2, 100, 100_000]) func whatFollowsIsNotTheHeads(_ count: Int) {
        for filler in [UInt8(ascii: "x"), 0x00, 0x0A, 0x0D, 0xFF] {
            let verdict = Self.parse(Array(Self.head.utf8) + [UInt8](repeating: filler, count: count))
            guard case .head(let head, let taken) = verdict else {
                Issue.record("\(verdict)")
                return
            }
            #expect(taken == Self.head.utf8.count && head.fields.count == 6)
        }
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\n\r\n", "GET", "/"), ("POST /x HTTP/1.1\r\n\r\n", "POST", "/x"),
        ("G-1 * HTTP/1.1\r\n\r\n", "G-1", "*"),
        ("GET http://h/ HTTP/1.1\r\n\r\n", "GET", "http://h/"),
        ("GET /%00\"<>\\^`{|} HTTP/1.1\r\n\r\n", "GET", "/%00\"<>\\^`{|}"),
        ("GET / HTTP/1.2\r\n\r\n", "GET", "/"), ("GET / HTTP/1.9\r\n\r\n", "GET", "/"),
    ])
    func requestLines(_ text: String, _ method: String, _ target: String) {
        let expected = HTTPRequestHead(method: method, target: target, fields: [:])
        #expect(Self.parse(Array(text.utf8)) == .head(expected, byteCount: text.utf8.count))
    }

    /// RFC 9110 §2.5: the minor version says what the sender can, not what it needs; only the major one refuses (§15.6.6).
    @Test(arguments: [("1.0", true), ("1.1", false), ("1.2", false), ("1.9", false)])
    func everyMinorVersionIsReadRFC9110Section2_5(_ version: String, _ isHTTP10: Bool) {
        let text = "GET / HTTP/\(version)\r\nHost: h\r\n\r\n"
        let fields: HTTPFields = [.hostField: "h"]
        let expected = HTTPRequestHead(method: "GET", target: "/", fields: fields, isHTTP10: isHTTP10)
        #expect(Self.parse(Array(text.utf8)) == .head(expected, byteCount: text.utf8.count))
    }

    /// RFC 9112 §2.2: at least one empty line in front of a request is ignored. More than a few are no request.
    @Test func emptyLinesInFrontAreIgnoredRFC9112Section2_2() throws {
        for count in 0...Parser.maximumEmptyLines {
            let bytes = Array((String(repeating: "\r\n", count: count) + Self.head).utf8)
            for cut in 0..<bytes.count { try check(Self.parse(bytes[..<cut]) == .incomplete, "\(count), \(cut)") }
            guard case .head(let head, bytes.count) = Self.parse(bytes) else {
                Issue.record("\(count) empty lines")
                continue
            }
            #expect(head.method == "GET" && head.fields.count == 6)
        }
        let many = String(repeating: "\r\n", count: Parser.maximumEmptyLines + 1)
        expectRefused(many, 400)
        expectRefused(many + Self.head, 400)
        for wrong in ["\n", "\r", "\r\r\n", " \r\n"] { expectRefused(wrong + Self.head, 400) }
        // The limits count from the request line on.
        let line = "GET /\(String(repeating: "x", count: 18)) HTTP/1.1\r\n"
        let text = "\r\n\r\n" + line + String(repeating: "Name: 0123456789\r\n", count: 3) + "\r\n"
        guard case .head = Self.parse(Array(text.utf8), limits()) else {
            Issue.record("not read")
            return
        }
    }

    /// Each of these is refused as soon as its line is complete, and as a whole.
    @Test(arguments: [
        // Nothing of HTTP: TLS, HTTP/2's preface is HTTP enough to get an answer.
        ("\u{16}\u{3}\u{1}", 400), ("\0", 400), (" GET / HTTP/1.1\r\n\r\n", 400), ("\r\n GET / HTTP/1.1\r\n\r\n", 400),
        ("\nGET / HTTP/1.1\r\n\r\n", 400), ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        // The request line.
        ("GET\r\n", 400), ("GET /\r\n", 400), ("GET / HTTP/1.1 \r\n", 400), ("GET  / HTTP/1.1\r\n", 400),
        ("GET /  HTTP/1.1\r\n", 400), ("GET / x HTTP/1.1\r\n", 400), ("GET\t/ HTTP/1.1\r\n", 400),
        ("GE(T / HTTP/1.1\r\n", 400),
        ("GET /\t HTTP/1.1\r\n", 400), ("GET /\0 HTTP/1.1\r\n", 400), ("GET /\u{7F} HTTP/1.1\r\n", 400),
        ("GET /ü HTTP/1.1\r\n", 400), ("GET / HTTP/1.\r\n", 400), ("GET / HTTP/1.10\r\n", 400),
        ("GET / http/1.1\r\n", 400),
        ("GET / HTTX/1.1\r\n", 400), ("GET / \r\n", 400),
        ("GET / HTTP/0.9\r\n", 505), ("GET / HTTP/2.0\r\n", 505), ("GET / HTTP/3.0\r\n", 505),
        ("GET / HTTP/1,1\r\n", 400), ("GET / HTTP/a.1\r\n", 400), ("GET / HTTP/1.a\r\n", 400),
        ("GET / HTTP/-1.\r\n", 400),
        // Bare LF and CR.
        ("GET / HTTP/1.1\n", 400), ("GET / HTTP/1.1\n\n", 400), ("GET /\rx HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1\r\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", 400), ("GET / HTTP/1.1\r\nHost: h\r\n\rX", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", 400),
        // Folding.
        ("GET / HTTP/1.1\r\nHost: h\r\n continued\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n\tcontinued\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400), ("GET / HTTP/1.1\r\n \r\n\r\n", 400),
        // Names.
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost\t: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n: h\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHo st: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHo\0st: h\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHöst: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\"Host\": h\r\n\r\n", 400), ("GET / HTTP/1.1\r\n:path: h\r\n\r\n", 400),
        // Values.
        ("GET / HTTP/1.1\r\nHost: h\0\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: \0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\u{1B}[2J\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: h\u{7F}\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\u{B}b\r\n\r\n", 400),
    ])
    func refuses(_ text: String, _ status: Int) throws {
        expectRefused(text, status)
        // Once refused, always refused, whatever comes behind and however it was cut.
        let bytes = Array(text.utf8)
        var refused = false
        for count in 0...bytes.count {
            switch Self.parse(bytes[..<count]) {
            case .incomplete: try check(!refused, "undecided again after \(count) bytes")
            case .head: throw Mismatch(description: "accepted after \(count) bytes")
            case .refused(let refusal):
                refused = true
                try check(refusal.status == status, "\(refusal.status) after \(count) bytes")
            }
        }
        expectRefused(text + "X: y\r\n\r\n", status)
    }

    @Test func everyByteInAName() {
        for byte in UInt8.min...UInt8.max {
            let bytes = Array("GET / HTTP/1.1\r\nX".utf8) + [byte] + Array("Y: z\r\n\r\n".utf8)
            let verdict = Self.parse(bytes)
            if byte.isTokenCharacter {
                guard case .head = verdict else {
                    Issue.record("byte \(byte): \(verdict)")
                    continue
                }
            } else if byte == UInt8(ascii: ":") {
                guard case .head(let head, _) = verdict else {
                    Issue.record("colon: \(verdict)")
                    continue
                }
                #expect(head.fields[HTTPField.Name("X")!] == "Y: z")
            } else {
                #expect(Self.status(verdict) == 400, "byte \(byte)")
            }
        }
    }

    @Test func everyByteInAValue() {
        for byte in UInt8.min...UInt8.max {
            let bytes = Array("GET / HTTP/1.1\r\nX: a".utf8) + [byte] + Array("b\r\n\r\n".utf8)
            let verdict = Self.parse(bytes)
            if byte >= 0x20 && byte != 0x7F || byte == 0x09 {
                guard case .head(let head, _) = verdict else {
                    Issue.record("byte \(byte): \(verdict)")
                    continue
                }
                head.fields.first?.withUnsafeBytesOfValue { #expect(Array($0) == [0x61, byte, 0x62], "byte \(byte)") }
            } else {
                #expect(Self.status(verdict) == 400, "byte \(byte)")
            }
        }
    }

    @Test(arguments: [
        ("a", "a"), (" a", "a"), ("\t a \t", "a"), ("a b", "a b"), ("a\tb", "a\tb"), ("", ""), ("  ", ""),
        (":a:", ":a:"),
        ("grüße", "grüße"),
    ])
    func valuesAreTrimmed(_ raw: String, _ value: String) {
        guard case .head(let head, _) = Self.parse(Array("GET / HTTP/1.1\r\nX:\(raw)\r\n\r\n".utf8)) else {
            Issue.record("not read")
            return
        }
        #expect(head.fields[HTTPField.Name("X")!] == value)
    }

    // MARK: Limits

    private func limits(line: Int = 32, field: Int = 16, fields: Int = 3) -> Parser.Limits {
        var limits = Parser.Limits()
        limits.requestLineBytes = line
        limits.fieldBytes = field
        limits.fields = fields
        return limits
    }

    @Test func defaultLimitsAreFinite() {
        let limits = Parser.Limits()
        #expect(limits.requestLineBytes == 8_192 && limits.fieldBytes == 8_192 && limits.fields == 128)
        #expect(limits.headBytes == 64 << 10)
    }

    /// A client's operator has to know how much is too much.
    @Test func refusalsNameTheLimit() {
        func explanation(_ text: String, _ limits: Parser.Limits) -> String? {
            guard case .refused(let refusal) = Self.parse(Array(text.utf8), limits) else { return nil }
            return refusal.explanation
        }
        let start = "GET / HTTP/1.1\r\n"
        #expect(
            explanation("GET /\(String(repeating: "x", count: 40))", limits())
                == "the request line has more than 32 bytes, the server's limit")
        #expect(
            explanation(start + "A: \(String(repeating: "x", count: 20))", limits())
                == "a header line has more than 16 bytes, the server's limit")
        #expect(
            explanation(start + String(repeating: "A: b\r\n", count: 4), limits())
                == "there are more than 3 header lines, the server's limit")
        var small = limits(fields: 100)
        small.totalBytes = 64
        #expect(
            explanation(start + String(repeating: "A: b\r\n", count: 20) + "\r\n", small)
                == "the request's head has more than 64 bytes, the server's limit")
    }

    /// At a limit a head is read, and no prefix of it is refused; one byte over, it never is.
    @Test func theRequestLineLimitIsExact() {
        let line = "GET /\(String(repeating: "x", count: 18)) HTTP/1.1"
        #expect(line.utf8.count == 32)
        let text = line + "\r\n\r\n"
        let bytes = Array(text.utf8)
        for count in 0..<bytes.count {
            #expect(Self.parse(bytes[..<count], limits()) == .incomplete, "after \(count) bytes")
        }
        guard case .head = Self.parse(bytes, limits()) else {
            Issue.record("not read")
            return
        }
        expectRefused(text, 414, limits(line: 31))
        expectRefused(String(text.prefix(32)), 414, limits(line: 31))
        expectRefused(String(repeating: "G", count: 33), 414, limits())
        expectRefused("GET /\(String(repeating: "x", count: 8_192))", 414)
    }

    @Test func theFieldLimitIsExact() {
        let field = "Name: 0123456789"
        #expect(field.utf8.count == 16)
        let text = "GET / HTTP/1.1\r\n\(field)\r\n\(field)\r\n\r\n"
        let bytes = Array(text.utf8)
        for count in 0..<bytes.count {
            #expect(Self.parse(bytes[..<count], limits()) == .incomplete, "after \(count) bytes")
        }
        guard case .head = Self.parse(bytes, limits()) else {
            Issue.record("not read")
            return
        }
        expectRefused(text, 431, limits(field: 15))
        expectRefused("GET / HTTP/1.1\r\n\(field)", 431, limits(field: 15))
        expectRefused("GET / HTTP/1.1\r\nX: \(String(repeating: "x", count: 8_190))", 431)
        expectRefused("GET / HTTP/1.1\r\nX: \(String(repeating: "x", count: 8_190))\r\n\r\n", 431)
    }

    @Test func theNumberOfFieldsIsExact() {
        func text(_ count: Int) -> String {
            "GET / HTTP/1.1\r\n" + String(repeating: "A: b\r\n", count: count) + "\r\n"
        }
        for count in 0...3 {
            guard case .head(let head, _) = Self.parse(Array(text(count).utf8), limits()) else {
                Issue.record("\(count) fields")
                continue
            }
            #expect(head.fields.count == count)
        }
        expectRefused(text(4), 431, limits())
        expectRefused(text(129), 431)
        guard case .head = Self.parse(Array(text(128).utf8)) else {
            Issue.record("128 fields")
            return
        }
    }

    /// The largest head within the small limits is exactly `headBytes` long.
    @Test func theLargestHead() {
        let line = "GET /\(String(repeating: "x", count: 18)) HTTP/1.1\r\n"
        let text = line + String(repeating: "Name: 0123456789\r\n", count: 3) + "\r\n"
        let bytes = Array(text.utf8)
        #expect(bytes.count == limits().headBytes)
        for count in 0..<bytes.count {
            #expect(Self.parse(bytes[..<count], limits()) == .incomplete, "after \(count) bytes")
        }
        guard case .head = Self.parse(bytes, limits()) else {
            Issue.record("not read")
            return
        }
    }

    /// 64 KiB is the end also for many headers that are each within their limit, however they arrive.
    @Test func theWholeHeadIsLimited() {
        let field = "X: \(String(repeating: "x", count: 8_000))\r\n"
        let text = "GET / HTTP/1.1\r\n" + String(repeating: field, count: 9) + "\r\n"
        let bytes = Array(text.utf8)
        #expect(Self.status(Self.parse(bytes[..<(64 << 10)])) == 431)
        #expect(Self.status(Self.parse(bytes)) == 431)
        // Exactly 64 KiB.
        let most = "GET / HTTP/1.1\r\n" + String(repeating: field, count: 8)
        let last = (64 << 10) - most.utf8.count - "Y: \r\n\r\n".utf8.count
        let whole = Array((most + "Y: " + String(repeating: "y", count: last) + "\r\n\r\n").utf8)
        #expect(whole.count == 64 << 10)
        #expect(Self.parse(whole.dropLast()) == .incomplete)
        guard case .head(_, 65_536) = Self.parse(whole + [1, 2, 3]) else {
            Issue.record("not read")
            return
        }
    }

    /// Random damage to a good head: the verdict does not depend on how the bytes arrive.
    @Test(arguments: [101, 102, 103, 104] as [UInt64])
    func theVerdictDoesNotDependOnTheCuts(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let alphabet: [UInt8] = [0x00, 0x09, 0x0A, 0x0D, 0x20, 0x3A, 0x41, 0x7F, 0x80, 0xFF]
        for round in 0..<TestDepth.choose(60, reduced: 6) {
            var bytes = Array(Self.head.utf8)
            for _ in 0..<random.below(3) {
                let place = random.below(bytes.count)
                switch random.below(3) {
                case 0: bytes[place] = alphabet[random.below(alphabet.count)]
                case 1: bytes.remove(at: place)
                default: bytes.insert(alphabet[random.below(alphabet.count)], at: place)
                }
            }
            var decided: Parser.Outcome?
            for count in 0...bytes.count {
                let verdict = Self.parse(bytes[..<count])
                if let decided {
                    let same = Self.status(verdict).map { $0 == Self.status(decided) } ?? (verdict == decided)
                    try check(same, "seed \(seed), round \(round): \(decided) became \(verdict)")
                } else if verdict != .incomplete {
                    decided = verdict
                }
            }
        }
    }
}
