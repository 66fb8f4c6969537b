//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore

/// Answers that are no upgrade, and the machine's transitions.
@Suite struct ClientHandshakeRefusalTests {
    private func text(_ error: WebSocketError) -> String { String(decoding: error.response?.body ?? [], as: UTF8.self) }

    @Test(arguments: [100, 101, 199]) func interimStatusesAreNoRefusals(status: Int) throws {
        var machine = Answer.machine()
        let result = try Answer.feed(&machine, [Array("HTTP/1.1 \(status)\r\nX: y\r\n".utf8)[...]])
        #expect(result.action == .wait)
    }

    @Test(arguments: [200, 204, 206, 301, 304, 307, 308, 400, 401, 403, 404, 407, 426, 429, 500, 503, 600, 999])
    func rfc6455Section4_1Item1EveryOtherStatusIsARefusalWithAllItsHeaders(status: Int) throws {
        for version in ["HTTP/1.0", "HTTP/1.1", "HTTP/1.7"] {
            let error = try Answer.error(
                """
                \(version) \(status)\r
                Location: /next \r
                X-Only-Here:  spaced value\t\r
                Set-Cookie: a=1\r
                Set-Cookie: b=2\r
                Content-Length: 4\r
                \r
                bodyHTTP/1.1 101 more
                """)
            #expect(error.code == .handshakeRejected)
            #expect(
                error.message.hasPrefix("the server answered the handshake with status \(status) instead of 101; "))
            // 304 leads nowhere, whatever its Location says.
            #expect(error.message.contains("maximumRedirects") == [301, 307, 308].contains(status))
            let response = try #require(error.response)
            #expect(response.status == status)
            #expect(response.headers[.location] == "/next")
            #expect(response.headers[HTTPField.Name("X-Only-Here")!] == "spaced value")
            #expect(response.headers[values: .setCookie] == ["a=1", "b=2"])
            #expect(text(error) == (status == 204 || status == 304 ? "" : "body"))
        }
    }

    // MARK: RFC 9112 §6.3

    /// The body is known to be complete.
    @Test(arguments: [
        ("Content-Length: 5", "hello", "hello"), ("Content-Length: 3", "hello", "hel"), ("Content-Length: 0", "x", ""),
        ("Content-Length: 005", "hello", "hello"), ("Content-Length: 5, 5", "hello", "hello"),
        ("Content-Length: 5\r\ncontent-length:\t5", "hello!", "hello"), ("content-length:5 ", "hello", "hello"),
        // §6.3: the coding counts, not the length.
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("Transfer-Encoding: chunked", "0\r\n\r\n", ""), ("Transfer-Encoding: Chunked", "5\r\nhello\r\n0\r\n", "hello"),
        ("Transfer-Encoding: chunked", "2\r\nhe\r\n003\r\nllo\r\n000\r\nTrailer: x\r\n\r\n", "hello"),
        ("Transfer-Encoding: chunked", "5;name=\"v\"\r\nhello\r\n0;x\r\n\r\n", "hello"),
        ("Transfer-Encoding: chunked", "5 \t;a\nhello\n0\n\n", "hello"),
        ("Transfer-Encoding: chunked", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n", "01234567890123456789"),
        ("Transfer-Encoding: gzip, chunked", "2\r\n\u{1}\u{2}\r\n0\r\n", "\u{1}\u{2}"),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "1\r\nx\r\n0\r\n", "x"),
        // What is malformed ends the body where it is.
        ("Transfer-Encoding: chunked", "zz\r\n", ""), ("Transfer-Encoding: chunked", "\r\n", ""),
        ("Transfer-Encoding: chunked", ";\r\n", ""), ("Transfer-Encoding: chunked", "-5\r\nhello", ""),
        ("Transfer-Encoding: chunked", "5\r\nhelloX", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\rX", "hello"),
        ("Transfer-Encoding: chunked", "0x5\r\nhello", ""),
        ("Transfer-Encoding: chunked", "10000000000000000\r\nhello", ""),
        ("Transfer-Encoding: chunked", "ffffffffffffffffffffffffffffffff\r\nhello", ""),
        ("Transfer-Encoding: chunked", "1\r\nx\r\nfffffffffffffffff", "x"),
    ])
    func aCompleteBodyEndsTheAttempt(fields: String, body: String, kept: String) throws {
        let error = try Answer.error("HTTP/1.1 403 No\r\n\(fields)\r\n\r\n\(body)")
        #expect(error.code == .handshakeRejected && error.response?.status == 403)
        #expect(text(error) == kept)
    }

    /// More may come, until the end of the stream or of the time for it; both keep what came.
    @Test(arguments: [
        ("Connection: close", "hello", "hello"), ("Content-Length: 9", "hello", "hello"),
        ("Content-Length: -7", "hello", "hello"), ("Content-Length: +5", "hello", "hello"),
        ("Content-Length: many", "hello", "hello"), ("Content-Length:", "hello", "hello"),
        ("Content-Length: 99999999999999999999", "hello", "hello"),
        ("Content-Length: 18446744073709551615", "hello", "hello"), ("Content-Length: 1, 2", "hello", "hello"),
        ("Content-Length: 2\r\nContent-Length: 3", "hello", "hello"), ("Content-Length: 5 5", "hello!", "hello!"),
        ("Transfer-Encoding: gzip", "hello", "hello"), ("Transfer-Encoding: chunked, gzip", "5\r\nhello", "5\r\nhello"),
        ("Transfer-Encoding: chunked", "", ""), ("Transfer-Encoding: chunked", "5", ""),
        ("Transfer-Encoding: chunked", "5\r\nhel", "hel"), ("Transfer-Encoding: chunked", "5\r\nhello", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n", "hello"),
        ("Transfer-Encoding: chunked", "ffffffffffffffff\r\nhello", "hello"),
        ("Transfer-Encoding: chunked", "80000000\r\nhello", "hello"),
        ("Transfer-Encoding: chunked", "5;" + String(repeating: "x", count: 5_000), ""),
    ])
    func aBodyThatIsNotCompleteIsWaitedFor(fields: String, body: String, kept: String) throws {
        let text = "HTTP/1.1 403 No\r\n\(fields)\r\n\r\n\(body)"
        let result = try Answer.outcome(text)
        #expect(result == (text.utf8.count, .readBody))
        var machine = Answer.machine()
        _ = try Answer.feed(&machine, [Array(text.utf8)[...]])
        var late = machine
        for error in [machine.ended(), late.bodyTimedOut()] {
            #expect(error.code == .handshakeRejected && error.response?.status == 403)
            #expect(self.text(error) == kept)
        }
    }

    /// The limit of what is kept, whatever the framing, to the byte.
    @Test(arguments: ["Connection: close", "Content-Length: 1000000000", "Transfer-Encoding: chunked"])
    func asMuchIsKeptAsTheLimitSays(field: String) throws {
        for limit in [0, 1, 7, 64 << 10] {
            var limits = WebSocketResponseLimits()
            limits.bodyBytes = limit
            let head = "HTTP/1.1 500 No\r\n\(field)\r\n\r\n" + (field.hasSuffix("chunked") ? "FFFFFFFF\r\n" : "")
            var machine = Answer.machine(limits: limits)
            var action = HandshakeAction.wait
            if limit > 0 {
                action = try Answer.feed(&machine, [Array(head.utf8)[...]]).action
                #expect(action == .readBody)
                let all = [UInt8](repeating: 7, count: limit - 1)
                #expect(try Answer.feed(&machine, [all[...]]) == (limit - 1, .readBody))
                let last = try Answer.feed(&machine, [[7, 7, 7]])
                #expect(last.taken == 1)
                action = last.action
            } else {
                action = try Answer.feed(&machine, [Array(head.utf8)[...]]).action
            }
            guard case .fail(let error) = action else { throw Mismatch(description: "\(action)") }
            #expect(error.response?.body == [UInt8](repeating: 7, count: limit))
        }
    }

    /// Chunks of one byte, and an extension without an end: what frames a body is bounded, too.
    @Test func theFramingOfChunksIsBounded() throws {
        for (piece, kept) in [("1\r\nx\r\n", 13_107), ("1;" + String(repeating: "x", count: 998), 0)] {
            var machine = Answer.machine()
            var action = try Answer.feed(
                &machine, [Array("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n".utf8)[...]]
            ).action
            var fed = 0
            while action == .readBody, fed < 1 << 20 {
                let result = try Answer.feed(&machine, [Array(piece.utf8)[...]])
                fed += result.taken
                action = result.action
            }
            guard case .fail(let error) = action else { throw Mismatch(description: "\(action)") }
            #expect(error.code == .handshakeRejected && error.response?.body.count == kept)
            #expect(fed == (64 << 10) + kept)
        }
    }

    // MARK: Transitions

    private enum Event: CaseIterable { case nothing, byte, ended, bodyTimedOut }

    /// What each event does in each state: text of the error, `nil` when the attempt goes on or is open.
    @Test func everyEventInEveryState() throws {
        let head = "HTTP/1.1 403 No\r\n"
        let refused = "status 403 instead of 101"
        // Texts that lead to the state, and what `nothing`, a byte, `ended` and `bodyTimedOut` make of it.
        let rows: [(text: String, HandshakeAction?, byte: String?, ended: String, timedOut: String)] = [
            ("", .wait, "does not answer in HTTP/1.1", "before it answered", "not read in time"),
            ("HTTP/1.", .wait, "status line", "within its answer", "not read in time"),
            (
                "HTTP/1.1 103\r\n\r\n", .wait, "does not answer in HTTP/1.1", "after an interim answer",
                "not read in time"
            ),
            ("HTTP/1.1 103\r\n\r\nHTTP", .wait, "does not answer in HTTP/1.1", "within its answer", "not read in time"),
            (Answer.head.dropLast(2) + "X", .wait, nil, "within its answer", "not read in time"),
            (head + "\r\n", .readBody, nil, refused, refused),
            (head + "Content-Length: 2\r\n\r\n", .readBody, nil, refused, refused),
            (head + "Content-Length: 1\r\n\r\n", .readBody, refused, refused, refused),
            (head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello", .readBody, refused, refused, refused),
            (Answer.head, nil, nil, "behind its answer", "not read in time"),
            (head + "Content-Length: 0\r\n\r\n", nil, refused, refused, refused),
            ("SSH", nil, "does not answer in HTTP/1.1", "does not answer in HTTP/1.1", "does not answer in HTTP/1.1"),
        ]
        for row in rows {
            var base = Answer.machine()
            let reached = try Answer.feed(&base, [Array(row.text.utf8)[...]]).action
            #expect(base.hasBegun == !row.text.isEmpty)
            for event in Event.allCases {
                var machine = base
                switch event {
                case .nothing:
                    // The same again.
                    let result = try Answer.feed(&machine, [[]])
                    #expect(result == (0, reached), "\(row.text)")
                    if let expected = row.1 { #expect(reached == expected, "\(row.text)") }
                case .byte:
                    let result = try Answer.feed(&machine, [Array("x".utf8)[...]])
                    let isOver = row.1 == nil
                    #expect(result.taken == (isOver ? 0 : 1), "\(row.text)")
                    if isOver { #expect(result.action == reached) }
                    switch result.action {
                    case .fail(let error):
                        #expect(error.message.contains(row.byte ?? "no error"), "\(row.text): \(error)")
                    case .wait, .readBody, .open: #expect(row.byte == nil, "\(row.text): \(result.action)")
                    }
                case .ended, .bodyTimedOut:
                    let error = event == .ended ? machine.ended() : machine.bodyTimedOut()
                    let part = event == .ended ? row.ended : row.timedOut
                    #expect(error.message.contains(part), "\(row.text): \(error)")
                    #expect(error.phase == .upgrade)
                    #expect((error.code == .timedOut) == part.hasPrefix("not read"))
                    // The first end is the end: whatever comes changes nothing.
                    #expect(machine.ended() == error && machine.bodyTimedOut() == error)
                    #expect(try Answer.feed(&machine, [Array(Answer.head.utf8)[...]]) == (0, .fail(error)))
                }
            }
        }
    }

    @Test func theErrorOfASilentServerIsExact() {
        var machine = Answer.machine()
        #expect(
            machine.ended().message
                == "the server's handshake is not valid: the server ended the connection before it answered; its log may say why; check the URL's port and scheme too, a TLS port wants wss://"
        )
    }
}
