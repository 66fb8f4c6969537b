//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore

typealias HandshakeAction = ClientHandshakeMachine.Action

/// What the tests of the client's handshake share. The key and its digest are those of RFC 6455 §1.3.
enum Answer {
    static let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    static let upgrade = "Upgrade: websocket"
    static let connection = "Connection: Upgrade"
    static let head = head([upgrade, connection, accept])

    static func head(_ lines: [String], status: String = "HTTP/1.1 101 Switching Protocols") -> String {
        ([status] + lines + ["", ""]).joined(separator: "\r\n")
    }

    static func machine(
        subprotocols: [String] = ["chat", "superchat"], compression: WebSocketCompression = .deflate(),
        limits: WebSocketResponseLimits = .init()
    ) -> ClientHandshakeMachine {
        ClientHandshakeMachine(
            .init(
                key: "dGhlIHNhbXBsZSBub25jZQ==", acceptKey: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
                subprotocols: subprotocols, compression: compression),
            limits: limits)
    }

    /// Feeds the machine until it takes no more, and hands over again what it left of each piece, as a caller that
    /// peeks does.
    static func feed(
        _ machine: inout ClientHandshakeMachine, _ pieces: [ArraySlice<UInt8>]
    ) throws -> (taken: Int, action: HandshakeAction) {
        var taken = 0
        var action = HandshakeAction.wait
        for piece in pieces {
            let result = withExactBytes(piece) { machine.receive($0) }
            try check(result.taken >= 0 && result.taken <= piece.count, "\(result.taken) of \(piece.count) are taken")
            taken += result.taken
            action = result.action
            switch action {
            case .wait, .readBody: try check(result.taken == piece.count, "\(action) without taking all")
            case .open, .fail: return (taken, action)
            }
        }
        return (taken, action)
    }

    /// The same outcome for the whole, for single bytes, and for every cut.
    static func outcome(
        _ text: String, of machine: ClientHandshakeMachine = machine()
    ) throws -> (taken: Int, action: HandshakeAction) {
        let bytes = Array(text.utf8)
        var fresh = machine
        let whole = try feed(&fresh, [bytes[...]])
        fresh = machine
        let single = try feed(&fresh, bytes.indices.map { bytes[$0...$0] })
        try check(single == whole, "in single bytes: \(single) instead of \(whole)")
        // Every cut costs the whole text again, so long ones are cut at some places only.
        for cut in stride(from: 0, through: bytes.count, by: 1 + (bytes.count * bytes.count) >> 19) {
            fresh = machine
            let cutOnce = try feed(&fresh, [bytes[..<cut], bytes[cut...]])
            try check(cutOnce == whole, "cut at \(cut): \(cutOnce) instead of \(whole)")
        }
        return whole
    }

    /// The answer opens the connection, and every byte of it is the handshake's, none of what follows.
    @discardableResult
    static func opened(
        _ text: String, behind rest: String = "\u{1}\u{2}hi\r\n\r\n", by machine: ClientHandshakeMachine = machine(),
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> ClientHandshakeMachine.Opened {
        let result = try outcome(text + rest, of: machine)
        #expect(result.taken == text.utf8.count, sourceLocation: sourceLocation)
        guard case .open(let opened) = result.action else {
            throw Mismatch(description: "\(text) is not open: \(result.action)")
        }
        #expect(opened.response.status == 101 && opened.response.body.isEmpty, sourceLocation: sourceLocation)
        return opened
    }

    static func error(
        _ text: String, by machine: ClientHandshakeMachine = machine()
    ) throws -> WebSocketError {
        guard case .fail(let error) = try outcome(text, of: machine).action else {
            throw Mismatch(description: "\(text) is no failure")
        }
        #expect(error.phase == .upgrade)
        return error
    }

    /// The answer is refused as invalid with such a sentence.
    static func expectInvalid(
        _ text: String, _ part: String, by machine: ClientHandshakeMachine = machine(),
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let error = try error(text, by: machine)
        #expect(error.code == .handshakeInvalid, "\(text): \(error)", sourceLocation: sourceLocation)
        #expect(
            error.message.hasPrefix("the server's handshake is not valid: ") && error.message.contains(part),
            "\(text): \(error)", sourceLocation: sourceLocation)
    }
}

/// What a 101 must say, and all that it may say (RFC 6455 §4.1, RFC 9110, RFC 9112).
@Suite struct ClientHandshakeMachineTests {
    private static func head(replacing name: String, with lines: [String]) -> String {
        let right = [Answer.upgrade, Answer.connection, Answer.accept]
        return Answer.head(right.flatMap { $0.hasPrefix(name) ? lines : [$0] })
    }

    @Test func rfc6455Section1_3TheExampleOpens() throws {
        let opened = try Answer.opened(Answer.head + "", behind: "")
        #expect(opened.subprotocol == nil && opened.deflate == nil)
        #expect(opened.response.headers.map(\.name.rawName) == ["Upgrade", "Connection", "Sec-WebSocket-Accept"])
    }

    // MARK: RFC 6455 §4.1

    @Test(arguments: [
        ["Upgrade: websocket"], ["upgrade:WebSocket"], ["UPGRADE: \t WEBSOCKET \t"], ["Upgrade:\twebsocket"],
        ["Upgrade: , websocket ,, "], ["Upgrade:", "Upgrade: websocket"],
    ])
    func rfc6455Section4_1Item2UpgradeIsRead(lines: [String]) throws {
        try Answer.opened(Self.head(replacing: "Upgrade", with: lines))
    }

    @Test(
        arguments: [
            ([], "the Upgrade header is missing"), (["Upgrade: "], "the Upgrade header is missing"),
            (["Upgrade: h2c"], "something else than websocket"),
            (["Upgrade: websocket/13"], "something else than websocket"),
            (["Upgrade: foo, websocket"], "something else than websocket"),
            (["Upgrade: websocket", "Upgrade: h2c"], "something else than websocket"),
            (["Upgrade: websocket", "Upgrade: websocket"], "something else than websocket"),
            (["Upgrade: web socket"], "something else than websocket"),
            (["Upgrade: \"websocket\""], "something else than websocket"),
        ] as [([String], String)])
    func rfc6455Section4_1Item2UpgradeIsChecked(lines: [String], part: String) throws {
        try Answer.expectInvalid(Self.head(replacing: "Upgrade", with: lines), part)
    }

    @Test(arguments: [
        ["Connection: Upgrade"], ["connection:upgrade"], ["Connection: keep-alive, Upgrade"],
        ["Connection: , Upgrade"], ["Connection: keep-alive,, UPGRADE ,"], ["Connection:\tUpgrade\t"],
        ["Connection: close", "Connection: upgrade"], ["Connection:", "Connection: upgrade"],
        ["Connection: " + String(repeating: "a", count: 62) + ", Upgrade"],
        ["Connection: " + String(repeating: "a, ", count: 5_000) + "Upgrade"],
    ])
    func rfc6455Section4_1Item3ConnectionIsAList(lines: [String]) throws {
        try Answer.opened(Self.head(replacing: "Connection", with: lines))
    }

    @Test(
        arguments: [
            [], ["Connection:"], ["Connection: close"], ["Connection: u"], ["Connection: up"], ["Connection: UPGRAD"],
            ["Connection: keep-alive, u"], ["Connection: upgrades"], ["Connection: up", "Connection: grade"],
            ["Connection: upgrade;q=1"], ["Connection: \"upgrade\""], ["Connection: close upgrade"],
        ] as [[String]])
    func rfc6455Section4_1Item3ConnectionMustSayUpgrade(lines: [String]) throws {
        try Answer.expectInvalid(
            Self.head(replacing: "Connection", with: lines), "the Connection header does not say upgrade")
    }

    @Test(arguments: [" \(0)", "\t", "", "   "])
    func rfc6455Section4_1Item4WhiteSpaceAroundAcceptIsIgnored(space: String) throws {
        let space = space.filter { $0 == " " || $0 == "\t" }
        let value = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        for line in ["sec-websocket-accept:\(space)\(value)", "SEC-WEBSOCKET-ACCEPT:\(value)\(space)"] {
            try Answer.opened(Self.head(replacing: "Sec-WebSocket-Accept", with: [line]))
        }
    }

    @Test(
        arguments: [
            ([], "Sec-WebSocket-Accept is missing"), (["Sec-WebSocket-Accept:"], "does not match the key"),
            (["Sec-WebSocket-Accept: short"], "does not match the key"),
            (["Sec-WebSocket-Accept: s3pplmbitxaq9kygzzhzrbk+xoo="], "does not match the key"),
            (["Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xO8="], "does not match the key"),
            (["Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ=="], "the key itself"),
            (["Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYG zzhZRbK+xOo="], "does not match the key"),
            ([Answer.accept, "Sec-WebSocket-Accept: x"], "more than once"),
            // §11.3.3: MUST NOT appear more than once, which browsers enforce for the same value, too.
            ([Answer.accept, Answer.accept], "more than once"),
            (["\(Answer.accept), s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], "does not match the key"),
        ] as [([String], String)])
    func rfc6455Section4_1Item4AcceptIsChecked(lines: [String], part: String) throws {
        try Answer.expectInvalid(Self.head(replacing: "Sec-WebSocket-Accept", with: lines), part)
    }

    @Test(arguments: [
        "Sec-WebSocket-Extensions: permessage-deflate", "sec-websocket-extensions:permessage-deflate\t",
        "Sec-WebSocket-Extensions: permessage-deflate,", "Sec-WebSocket-Extensions: , ,permessage-deflate",
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits = 15",
        "Sec-WebSocket-Extensions: permessage-deflate;\tclient_max_window_bits\t=\t\"15\"",
        "Sec-WebSocket-Extensions:\r\nSec-WebSocket-Extensions: permessage-deflate",
        "Sec-WebSocket-Extensions: permessage-deflate;\r\n server_max_window_bits=15",
    ])
    func rfc6455Section4_1Item5ExtensionsAreRead(lines: String) throws {
        let opened = try Answer.opened(Answer.head([Answer.upgrade, Answer.connection, Answer.accept, lines]))
        #expect(opened.deflate == WebSocketNegotiatedDeflate())
    }

    @Test(arguments: [
        ("Sec-WebSocket-Extensions: x-webkit-deflate-frame", "not offered"),
        ("Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate", "not offered"),
        (
            "Sec-WebSocket-Extensions: permessage-deflate\r\nsec-websocket-extensions: permessage-deflate",
            "not offered"
        ),
        ("Sec-WebSocket-Extensions: permessage-deflate;", "malformed"),
        ("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7", "does not fit"),
    ])
    func rfc6455Section4_1Item5ExtensionsAreChecked(lines: String, part: String) throws {
        try Answer.expectInvalid(Answer.head([Answer.upgrade, Answer.connection, Answer.accept, lines]), part)
    }

    @Test(
        arguments: [
            ("chat", "chat"), ("superchat", "superchat"), ("\tchat \t", "chat"), ("", nil),
        ] as [(String, String?)])
    func rfc6455Section4_1Item6TheSubprotocolIsOneOfTheOffered(value: String, chosen: String?) throws {
        let line = "Sec-WebSocket-Protocol:\(value)"
        let opened = try Answer.opened(Answer.head([line, Answer.upgrade, Answer.connection, Answer.accept]))
        #expect(opened.subprotocol == chosen)
    }

    @Test(arguments: [
        ("Sec-WebSocket-Protocol: other", "not offered"), ("Sec-WebSocket-Protocol: Chat", "not offered"),
        ("Sec-WebSocket-Protocol: chat, superchat", "not offered"),
        ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: superchat", "more than once"),
        ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat", "more than once"),
    ])
    func rfc6455Section4_1Item6OtherSubprotocolsAreRefused(lines: String, part: String) throws {
        let text = Answer.head([lines, Answer.upgrade, Answer.connection, Answer.accept])
        try Answer.expectInvalid(text, part)
        if part == "not offered" { try Answer.expectInvalid(text, part, by: Answer.machine(subprotocols: [])) }
    }

    @Test func anInvalid101IsInTheError() throws {
        let error = try Answer.error(Answer.head(["X-Why: reasons"]))
        #expect(error.response?.status == 101)
        #expect(error.response?.headers[HTTPField.Name("X-Why")!] == "reasons")
    }

    // MARK: RFC 9110, fields

    /// Names that begin like others, of every letter case, with bytes that are no ASCII: unknown fields are ignored.
    @Test(arguments: [
        "X-Auth: yes", "X-Real: 1", "Content: x", "Expire: 0", "Access-Control-Allow: *", "X: y", "A:", "Upgrad: h2c",
        "Upgrade-Insecure: h2c", "Sec-WebSocket-Accep: x", "Sec-WebSocket-Accept2: x", "!#$%&'*+-.^_`|~09azAZ: x",
        "X-Text: gr\u{FC}\u{DF}e \u{1F600}", "Set-Cookie: a=1\r\nset-cookie: a=2", "Date:Thu, 01 Jan 1970 00:00:00 GMT",
        "Content-Length: 0", "Content-Length: 17", "Content-Length: -1", "Transfer-Encoding: chunked",
        "Link: <a>;b=\"c:d\"",
    ])
    func rfc9110Section5_1UnknownFieldsAreIgnoredWherever(line: String) throws {
        let right = [Answer.upgrade, Answer.connection, Answer.accept]
        for place in 0...right.count {
            var lines = right
            lines.insert(line, at: place)
            let opened = try Answer.opened(Answer.head(lines))
            #expect(opened.response.headers.count == 3 + line.split(separator: "\r\n").count)
        }
        // What is behind the head looks like a field, and is a message.
        try Answer.opened(Answer.head(right + [line]), behind: "\u{1}\u{9}first:1\n\n\u{1}\u{2}ok")
    }

    @Test func rfc9110Section5_3TwoFieldsOfOneNameStayTwo() throws {
        let opened = try Answer.opened(
            Answer.head([Answer.upgrade, Answer.connection, Answer.accept, "Set-Cookie: a", "set-cookie: b, c"]))
        #expect(opened.response.headers[values: .setCookie] == ["a", "b, c"])
    }

    // MARK: RFC 9112

    @Test(arguments: [
        "HTTP/1.1 101", "HTTP/1.1 101 ", "HTTP/1.1 101 Switching Protocols", "HTTP/1.1 101 \t any \u{E9} 101",
        "HTTP/1.2 101 x", "HTTP/1.9 101 ",
    ])
    func rfc9112Section4StatusLinesAreRead(line: String) throws {
        try Answer.opened(Answer.head([Answer.upgrade, Answer.connection, Answer.accept], status: line))
    }

    @Test func rfc9112Section5_2AFoldedLineIsASpace() throws {
        let opened = try Answer.opened(
            "HTTP/1.1 101\r\nUpgrade:\r\n \twebsocket\r\nConnection: keep-alive \r\n\t , upgrade\r\n \r\n"
                + "Sec-WebSocket-Accept: \r\n s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Long: a \r\n \t b\r\n\tc\r\n\r\n")
        #expect(opened.response.headers[.connection] == "keep-alive , upgrade")
        #expect(opened.response.headers[HTTPField.Name("X-Long")!] == "a b c")
    }

    /// One line feed, all of them, and the last only.
    @Test func rfc9112Section2_2ALineMayEndInLFAlone() throws {
        try Answer.opened(Answer.head.replacing("\r\n", with: "\n"))
        try Answer.opened(String(Answer.head.dropLast()) + "\n")
        try Answer.opened("HTTP/1.1 101\n" + Answer.head([Answer.connection, Answer.accept], status: Answer.upgrade))
    }

    /// The last byte of each is the one that cannot be: with it, and not before, the answer is refused.
    @Test(arguments: [
        ("S", "does not answer in HTTP/1.1"), ("\r", "does not answer in HTTP/1.1"),
        ("\0", "does not answer in HTTP/1.1"),
        ("h", "does not answer in HTTP/1.1"), (" ", "does not answer in HTTP/1.1"),
        ("<", "does not answer in HTTP/1.1"),
        ("HTTP ", "does not answer in HTTP/1.1"), ("HTTP/x", "does not answer in HTTP/1.1"),
        ("\u{15}", "TLS"), ("\u{16}", "TLS"), ("HTTP/2", "HTTP/2"), ("HTTP/0", "HTTP/0"), ("HTTP/3", "HTTP/3"),
        ("HTTP/1 ", "does not answer in HTTP/1.1"), ("HTTP/1.x", "status line"), ("HTTP/1.10", "status line"),
        ("HTTP/1.1\r", "status line"), ("HTTP/1.1\t", "status line"), ("HTTP/1.1  ", "status line"),
        ("HTTP/1.1 0", "status line"), ("HTTP/1.1 a", "status line"), ("HTTP/1.1 +", "status line"),
        ("HTTP/1.1 20\r", "status line"), ("HTTP/1.1 2x", "status line"), ("HTTP/1.1 1010", "status line"),
        ("HTTP/1.1 101-", "status line"), ("HTTP/1.1 101\rx", "CR without a LF"), ("HTTP/1.1 101 \0", "status line"),
        ("HTTP/1.1 101 \u{7F}", "status line"), ("HTTP/1.1 101 OK\r\r", "CR without a LF"),
        ("HTTP/1.1 101\r\n ", "white space follows the status line"),
        ("HTTP/1.1 101\r\n\t", "white space follows the status line"), ("HTTP/1.1 101\r\n:", "no name"),
        ("HTTP/1.1 101\r\nno ", "white space before its colon, or no colon"),
        ("HTTP/1.1 101\r\nno\t", "white space before its colon, or no colon"),
        ("HTTP/1.1 101\r\nnocolon\r", "no colon"), ("HTTP/1.1 101\r\nnocolon\n", "no colon"),
        ("HTTP/1.1 101\r\na\0", "0x00"), ("HTTP/1.1 101\r\na(", "0x28"), ("HTTP/1.1 101\r\na\u{7F}", "0x7F"),
        ("HTTP/1.1 101\r\na: b\r\n@", "0x40"), ("HTTP/1.1 101\r\nX-Nul: a\0", "the header X-Nul"),
        ("HTTP/1.1 101\r\nX-Esc: \u{1B}", "0x1B"), ("HTTP/1.1 101\r\nX: \u{8}", "0x08"),
        ("HTTP/1.1 101\r\nX: a\r\n b\u{7F}", "0x7F"), ("HTTP/1.1 101\r\nX: a\rb", "CR without a LF"),
        ("HTTP/1.1 101\r\nX: a\r\r", "CR without a LF"), ("HTTP/1.1 101\r\n\rx", "CR without a LF"),
        ("HTTP/1.1 101\r\nX: a\r\n\r\r", "CR without a LF"), ("HTTP/1.1 103\r\n\r\nX", "does not answer in HTTP/1.1"),
        ("HTTP/1.1 500\r\nX-Nul: a\0", "the header X-Nul"), ("HTTP/1.1 103 Hints\r\nbad line", "no colon"),
    ])
    func rfc9112WhatIsMalformedIsRefusedAtOnce(text: String, part: String) throws {
        var bytes = Array(text.utf8)
        // The last row's first wrong byte is the space.
        if text.hasSuffix("bad line") { bytes.removeLast(4) }
        var machine = Answer.machine()
        #expect(try Answer.feed(&machine, [bytes.dropLast()]) == (bytes.count - 1, .wait))
        let last = try Answer.feed(&machine, [bytes.suffix(1)])
        #expect(last.taken == 1)
        guard case .fail(let error) = last.action else { throw Mismatch(description: "\(text): \(last.action)") }
        #expect(error.code == .handshakeInvalid && error.response == nil)
        try Answer.expectInvalid(text + "X: more\r\n\r\n", part)
    }

    @Test func rfc6455Section4_2_2AnUpgradeInHTTP1_0IsRefused() throws {
        try Answer.expectInvalid(
            Answer.head([Answer.upgrade, Answer.connection, Answer.accept], status: "HTTP/1.0 101 x"), "HTTP/1.0")
    }

    // MARK: RFC 9110 §15.2, interim answers

    private static let interims = [
        "HTTP/1.1 100\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 \r\nServer: x\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\tx\r\n\r\n", "HTTP/1.0 199 x\n\n",
        "HTTP/1.1 103 x\r\nContent-Length: 9\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: x\r\n\r\n",
    ]

    @Test func rfc9110Section15_2InterimAnswersAreReadOver() throws {
        for first in Self.interims {
            #expect(try Answer.opened(first + Answer.head).response.headers.count == 3)
            for second in Self.interims { try Answer.opened(first + second + Answer.head) }
        }
        try Answer.opened(Self.interims.joined() + Answer.head)
    }

    @Test func rfc9110Section15_2ARefusalBehindThemHasItsOwnStatus() throws {
        let error = try Answer.error(Self.interims[3] + "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        #expect(error.code == .handshakeRejected && error.response?.status == 401)
        #expect(error.response?.headers.count == 1)
    }

    // MARK: Limits

    private static func limited(_ change: (inout WebSocketResponseLimits) -> Void) -> ClientHandshakeMachine {
        var limits = WebSocketResponseLimits()
        change(&limits)
        return Answer.machine(limits: limits)
    }

    /// As much as the limit is read, one more is not.
    @Test func limitsAreExactAndInTheError() throws {
        let count = Answer.head.utf8.count
        try Answer.opened(Answer.head, by: Self.limited { $0.headBytes = count })
        try Answer.expectInvalid(
            Answer.head, "longer than \(count - 1) bytes", by: Self.limited { $0.headBytes = count - 1 })

        let line = Answer.accept.utf8.count
        try Answer.opened(Answer.head, by: Self.limited { $0.lineBytes = line })
        try Answer.expectInvalid(
            Answer.head, "the header Sec-WebSocket-Accept is longer than \(line - 1) bytes",
            by: Self.limited { $0.lineBytes = line - 1 })
        try Answer.expectInvalid(
            "HTTP/1.1 101 " + String(repeating: "x", count: 50), "the status line is longer than 40 bytes",
            by: Self.limited { $0.lineBytes = 40 })
        // A folded field is one line.
        try Answer.expectInvalid(
            "HTTP/1.1 101\r\nX: " + String(repeating: "\r\n " + String(repeating: "x", count: 30), count: 2),
            "the header X is longer than 40 bytes", by: Self.limited { $0.lineBytes = 40 })

        try Answer.opened(Answer.head, by: Self.limited { $0.headerLines = 3 })
        try Answer.expectInvalid(Answer.head, "more than 2 header fields", by: Self.limited { $0.headerLines = 2 })

        let interim = "HTTP/1.1 100\r\n\r\n"
        let three = String(repeating: interim, count: 3)
        try Answer.opened(three + Answer.head, by: Self.limited { $0.interimAnswers = 3 })
        try Answer.expectInvalid(
            three + Answer.head, "more than 2 interim answers", by: Self.limited { $0.interimAnswers = 2 })
        let total = three.utf8.count
        try Answer.opened(three + Answer.head, by: Self.limited { $0.interimBytes = total })
        try Answer.expectInvalid(
            three + Answer.head, "the interim answers (1xx) are longer than \(total - 1) bytes together",
            by: Self.limited { $0.interimBytes = total - 1 })
    }

    @Test(arguments: [
        "HTTP/1.1 101 " + String(repeating: "x", count: 1_000),
        "HTTP/1.1 101\r\nX: " + String(repeating: "x", count: 1_000),
        "HTTP/1.1 101\r\nX: y" + String(repeating: "\r\n z", count: 400),
        "HTTP/1.1 101\r\n" + String(repeating: "x", count: 1_000),
        "HTTP/1.1 101\r\n" + String(repeating: "x:\n", count: 400),
        "HTTP/1.1 101\r\nX: " + String(repeating: " ", count: 1_000), String(repeating: "HTTP/1.1 100\n\n", count: 100),
        String(repeating: "HTTP/1.1 103\nLink: abc\n\n", count: 100),
    ])
    func whatEndsNeverIsRefusedWithinTheDefaults(piece: String) throws {
        var machine = Answer.machine()
        var fed = 0
        var action = HandshakeAction.wait
        // Only the first piece is a beginning; the others continue what can go on.
        let bytes = Array(piece.utf8)
        let rest = piece.hasPrefix("HTTP/1.1 101") ? Array(bytes.suffix(900)) : bytes
        while action == .wait, fed < 1 << 20 {
            action = try Answer.feed(&machine, [fed == 0 ? bytes[...] : rest[...]]).action
            fed += fed == 0 ? bytes.count : rest.count
            #expect(machine.keptBytes <= 64 << 10)
        }
        guard case .fail(let error) = action else { throw Mismatch(description: "\(action)") }
        #expect(error.code == .handshakeInvalid && fed <= 130 << 10, "\(fed): \(error)")
    }

    @Test func largeHeadsWithinTheLimitsAreRead() throws {
        let cookies = (0..<250).map { "Set-Cookie: name\($0)=" + String(repeating: "v", count: 200) }
        let opened = try Answer.opened(Answer.head(cookies + [Answer.upgrade, Answer.connection, Answer.accept]))
        #expect(opened.response.headers[values: .setCookie].count == 250)
        try Answer.opened(
            Answer.head([
                "X-Long: " + String(repeating: "v", count: 16_000), Answer.upgrade, Answer.connection, Answer.accept,
            ]))
    }

    // MARK: Random heads

    /// Everything legal that the grammar has, in any order, and in any pieces.
    @Test(arguments: 1...8 as ClosedRange<UInt64>) func randomLegalHeadsOpen(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for round in 0..<150 {
            var generator = HeadGenerator(random: random)
            let text = generator.answer()
            random = generator.random
            let bytes = Array(text.utf8) + random.bytes(random.below(20))
            var pieces: [ArraySlice<UInt8>] = []
            var start = 0
            while start < bytes.count {
                let end = min(bytes.count, start + 1 + random.below(random.below(2) == 0 ? 3 : 200))
                pieces.append(bytes[start..<end])
                start = end
            }
            var machine = Answer.machine()
            let result = try Answer.feed(&machine, pieces)
            guard case .open(let opened) = result.action, result.taken == text.utf8.count else {
                throw Mismatch(description: "seed \(seed), round \(round): \(result.action)\n\(text)")
            }
            try check(opened.subprotocol == generator.subprotocol, "seed \(seed), round \(round): \(opened)\n\(text)")
            try check((opened.deflate != nil) == generator.deflates, "seed \(seed), round \(round): \(opened)\n\(text)")
        }
    }

    /// One byte is another: whatever comes of it comes of it whole, in single bytes, and at a cut.
    @Test(arguments: 1...8 as ClosedRange<UInt64>) func randomDamageIsJudgedAlike(seed: UInt64) throws {
        var random = SplitMix64(seed: seed &+ 100)
        for _ in 0..<150 {
            var generator = HeadGenerator(random: random)
            var bytes = Array(generator.answer().utf8)
            random = generator.random
            for _ in 0...random.below(2) {
                let alphabet = Array("\0\t\n\r :,;/.01aU\u{7F}".utf8) + [0x80, 0xFF]
                bytes[random.below(bytes.count)] = alphabet[random.below(alphabet.count)]
            }
            var whole = Answer.machine()
            var single = Answer.machine()
            var cut = Answer.machine()
            let expected = try Answer.feed(&whole, [bytes[...]])
            let place = random.below(bytes.count + 1)
            try check(
                try Answer.feed(&single, bytes.indices.map { bytes[$0...$0] }) == expected, "seed \(seed): \(bytes)")
            try check(try Answer.feed(&cut, [bytes[..<place], bytes[place...]]) == expected, "seed \(seed): \(bytes)")
        }
    }
}

/// Writes 101s of every legal form.
private struct HeadGenerator {
    var random: SplitMix64
    private(set) var subprotocol: String?
    private(set) var deflates = false

    init(random: SplitMix64) { self.random = random }

    private mutating func chance(_ of: Int) -> Bool { random.below(of) == 0 }
    private mutating func space() -> String { ["", " ", "\t", "  ", " \t "][random.below(5)] }
    private mutating func end() -> String { chance(8) ? "\n" : "\r\n" }
    /// Optional white space, folded now and then.
    private mutating func gap() -> String {
        chance(10) ? "\(space())\(end())\(chance(2) ? " " : "\t")\(space())" : space()
    }

    private mutating func cased(_ text: String) -> String {
        switch random.below(4) {
        case 0: text.lowercased()
        case 1: text.uppercased()
        default: text
        }
    }

    private mutating func line(_ name: String, _ value: String) -> String {
        let name = cased(name)
        let before = gap()
        let after = gap()
        return "\(name):\(before)\(value)\(after)\(end())"
    }

    private mutating func list(_ elements: [String]) -> String {
        var text = chance(4) ? "," : ""
        for (index, element) in elements.enumerated() {
            if index > 0 { text += "," }
            text += gap() + element + gap()
            if chance(6) { text += "," }
        }
        return text
    }

    mutating func answer() -> String {
        var text = ""
        for _ in 0..<random.below(3) {
            text += "HTTP/1.1 \([100, 102, 103, 199][random.below(4)])\(chance(2) ? " Wait" : "")\(end())"
            for _ in 0..<random.below(3) { text += line("Link", "<a>; b") }
            text += end()
        }
        let upgrade = cased("websocket")
        let options = ["keep-alive", cased("upgrade"), "x"].prefix(2 + random.below(2))
        var lines = [
            line("Upgrade", list([upgrade])), line("Connection", list(Array(options))),
            line("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ]
        if chance(2) {
            subprotocol = ["chat", "superchat"][random.below(2)]
            lines.append(line("Sec-WebSocket-Protocol", subprotocol!))
        }
        if chance(2) {
            deflates = true
            let parameters = [
                "", "; server_no_context_takeover", ";client_max_window_bits = 9", "; server_max_window_bits=\"12\"",
            ]
            lines.append(line("Sec-WebSocket-Extensions", list(["permessage-deflate" + parameters[random.below(4)]])))
        }
        for _ in 0..<random.below(5) {
            let name = ["X-Auth", "Set-Cookie", "A", "Content", "Upgrade-Hint", "content-length"][random.below(6)]
            lines.append(line(name, ["", "0", "a:b", "\u{E9}", "x, y; \"z\""][random.below(5)]))
        }
        for index in lines.indices.reversed() { lines.swapAt(index, random.below(index + 1)) }
        return text + "HTTP/1.1 101\(["", " ", " Switching Protocols"][random.below(3)])\(end())" + lines.joined()
            + end()
    }
}
