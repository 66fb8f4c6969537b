//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing

@testable import WebSocketCore

@Suite struct DeflateNegotiationTests {
    private static func negotiated(
        _ serverNoContext: Bool = false, _ clientNoContext: Bool = false, server: Int = 15, client: Int = 15
    ) -> WebSocketNegotiatedDeflate {
        WebSocketNegotiatedDeflate(
            serverNoContextTakeover: serverNoContext, clientNoContextTakeover: clientNoContext,
            serverMaxWindowBits: server, clientMaxWindowBits: client)
    }

    /// All settings of the four parameters.
    static func forEachConfiguration(_ body: (WebSocketCompression.Deflate) throws -> Void) rethrows {
        for bits in 0..<4 {
            for server in 8...15 {
                for client in 8...15 {
                    var deflate = WebSocketCompression.Deflate()
                    deflate.serverNoContextTakeover = bits & 1 != 0
                    deflate.clientNoContextTakeover = bits & 2 != 0
                    deflate.serverMaxWindowBits = server
                    deflate.clientMaxWindowBits = client
                    try body(deflate)
                }
            }
        }
    }

    // MARK: Offer

    @Test func offers() {
        #expect(DeflateNegotiation.offer(.init()) == "permessage-deflate; client_max_window_bits")
        Self.forEachConfiguration { deflate in
            var expected = "permessage-deflate"
            if deflate.serverNoContextTakeover { expected += "; server_no_context_takeover" }
            if deflate.clientNoContextTakeover { expected += "; client_no_context_takeover" }
            if deflate.serverMaxWindowBits < 15 {
                expected += "; server_max_window_bits=\(deflate.serverMaxWindowBits)"
            }
            expected += "; client_max_window_bits"
            if deflate.clientMaxWindowBits < 15 { expected += "=\(deflate.clientMaxWindowBits)" }
            #expect(DeflateNegotiation.offer(deflate) == expected)
        }
    }

    /// The parameter is left out, or has a fallback without it (RFC 7692 §5.1, §7.1.2.2).
    @Test func offersForServersThatKnowNoClientWindow() {
        Self.forEachConfiguration { deflate in
            let whole = DeflateNegotiation.offer(deflate)
            var bare = deflate
            bare.offersClientMaxWindowBits = false
            let short = DeflateNegotiation.offer(bare)
            let window = deflate.clientMaxWindowBits < 15 ? "=\(deflate.clientMaxWindowBits)" : ""
            #expect(whole == "\(short); client_max_window_bits\(window)")
            bare.offersFallback = true
            #expect(DeflateNegotiation.offer(bare) == short)
            var both = deflate
            both.offersFallback = true
            #expect(DeflateNegotiation.offer(both) == "\(whole), \(short)")
        }
        let fallback = deflate { $0.offersFallback = true }
        guard case .deflate(let settings) = fallback else { return }
        #expect(
            DeflateNegotiation.offer(settings) == "permessage-deflate; client_max_window_bits, permessage-deflate")
    }

    // MARK: Client

    static let accepted: [(WebSocketCompression, String?, WebSocketNegotiatedDeflate?)] = [
        (deflate(), nil, nil), (.disabled, nil, nil), (deflate(), "", nil), (.disabled, "", nil),
        (deflate(), " ,", nil),
        (deflate(), "permessage-deflate", negotiated()),
        // RFC 7692 §7.1: what a server may add unasked.
        (deflate(), "permessage-deflate; server_no_context_takeover", negotiated(true)),
        (deflate(), "permessage-deflate; client_no_context_takeover", negotiated(false, true)),
        (deflate(), "permessage-deflate; server_max_window_bits=10", negotiated(server: 10)),
        (deflate(), "permessage-deflate; client_max_window_bits=10", negotiated(client: 10)),
        (deflate(), "permessage-deflate; server_max_window_bits=15; client_max_window_bits=15", negotiated()),
        (
            deflate(), "permessage-deflate; server_max_window_bits=8; client_max_window_bits=8",
            negotiated(server: 8, client: 8)
        ),
        (
            deflate(),
            "permessage-deflate;client_max_window_bits=9;server_max_window_bits=12;client_no_context_takeover"
                + ";server_no_context_takeover", negotiated(true, true, server: 12, client: 9)
        ),
        // RFC 6455 §9.1: a quoted value is the value.
        (deflate(), #"permessage-deflate; server_max_window_bits="10""#, negotiated(server: 10)),
        // What we asked for.
        (
            deflate { $0.serverNoContextTakeover = true }, "permessage-deflate; server_no_context_takeover",
            negotiated(true)
        ),
        (
            deflate { $0.serverMaxWindowBits = 10 }, "permessage-deflate; server_max_window_bits=10",
            negotiated(server: 10)
        ),
        (
            deflate { $0.serverMaxWindowBits = 10 }, "permessage-deflate; server_max_window_bits=9",
            negotiated(server: 9)
        ),
        (
            deflate { $0.clientMaxWindowBits = 10 }, "permessage-deflate; client_max_window_bits=9",
            negotiated(client: 9)
        ),
        // What we do ourselves needs no echo.
        (deflate { $0.clientMaxWindowBits = 10 }, "permessage-deflate", negotiated(client: 10)),
        (deflate { $0.clientNoContextTakeover = true }, "permessage-deflate", negotiated(false, true)),
        // Without client_max_window_bits in the offer, and with either of two offers.
        (deflate { $0.offersClientMaxWindowBits = false }, "permessage-deflate", negotiated()),
        (
            deflate { $0.offersClientMaxWindowBits = false }, "permessage-deflate; server_max_window_bits=9",
            negotiated(server: 9)
        ),
        (
            deflate {
                $0.offersClientMaxWindowBits = false
                $0.clientMaxWindowBits = 9
            }, "permessage-deflate", negotiated(client: 9)
        ),
        (deflate { $0.offersFallback = true }, "permessage-deflate", negotiated()),
        (
            deflate { $0.offersFallback = true }, "permessage-deflate; client_max_window_bits=10",
            negotiated(client: 10)
        ),
    ]

    @Test(arguments: accepted)
    func accepts(_ offered: WebSocketCompression, _ answer: String?, _ expected: WebSocketNegotiatedDeflate?) throws {
        #expect(try DeflateNegotiation.accept(answer: answer, offered: offered) == expected)
    }

    static let refused: [(WebSocketCompression, String, String)] = [
        (deflate(), "permessage-deflate;", "malformed"), (deflate(), "permessage-deflate; =", "malformed"),
        (deflate(), #"permessage-deflate; server_max_window_bits="1 0""#, "malformed"),
        (.disabled, "permessage-deflate", "not offered"), (.disabled, "x-webkit-deflate-frame", "not offered"),
        (deflate(), "x-webkit-deflate-frame", "not offered"), (deflate(), "Permessage-Deflate", "not offered"),
        (deflate(), "permessage-deflate, permessage-deflate", "not offered"),
        (deflate(), "permessage-deflate, foo", "not offered"), (deflate(), "foo, permessage-deflate", "not offered"),
        (deflate(), "permessage-deflate; foo", "does not allow"),
        (deflate(), "permessage-deflate; foo=1", "does not allow"),
        (deflate(), "permessage-deflate; server_no_context_takeover=1", "does not allow"),
        (deflate(), "permessage-deflate; client_no_context_takeover=true", "does not allow"),
        (deflate(), "permessage-deflate; server_max_window_bits", "does not allow"),
        (deflate(), "permessage-deflate; client_max_window_bits", "does not allow"),
        (deflate(), "permessage-deflate; SERVER_NO_CONTEXT_TAKEOVER", "does not allow"),
        (deflate(), "permessage-deflate; server_no_context_takeover; server_no_context_takeover", "repeats"),
        (deflate(), "permessage-deflate; client_no_context_takeover; client_no_context_takeover", "repeats"),
        (deflate(), "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", "repeats"),
        (deflate(), "permessage-deflate; client_max_window_bits=10; client_max_window_bits=11", "repeats"),
        // Larger than what was offered.
        (deflate { $0.serverMaxWindowBits = 10 }, "permessage-deflate; server_max_window_bits=11", "does not fit"),
        (deflate { $0.clientMaxWindowBits = 10 }, "permessage-deflate; client_max_window_bits=11", "does not fit"),
        // Ignored.
        (deflate { $0.serverNoContextTakeover = true }, "permessage-deflate", "ignored server_no_context_takeover"),
        (deflate { $0.serverMaxWindowBits = 14 }, "permessage-deflate", "ignored server_max_window_bits"),
        // RFC 7692 §7.1.2.2: not without having been offered.
        (
            deflate { $0.offersClientMaxWindowBits = false }, "permessage-deflate; client_max_window_bits=15",
            "which was not offered"
        ),
        (
            deflate {
                $0.offersClientMaxWindowBits = false
                $0.offersFallback = true
            }, "permessage-deflate; client_max_window_bits=9", "which was not offered"
        ),
        // One of the two, not both.
        (deflate { $0.offersFallback = true }, "permessage-deflate, permessage-deflate", "not offered"),
    ]

    @Test(arguments: refused)
    func refuses(_ offered: WebSocketCompression, _ answer: String, _ part: String) {
        do {
            let agreed = try DeflateNegotiation.accept(answer: answer, offered: offered)
            Issue.record("accepted as \(String(describing: agreed))")
        } catch {
            #expect(error.reason.contains(part))
        }
    }

    static let badBits = [
        "7", "16", "0", "08", "010", "+8", "-8", "8.0", "1e1", "0x9", "a", "100", "99999999999999999999",
    ]

    @Test(arguments: badBits, ["server_max_window_bits", "client_max_window_bits"])
    func invalidWindowBits(_ value: String, _ name: String) {
        for text in [value, "\"\(value)\""] {
            do {
                _ = try DeflateNegotiation.accept(answer: "permessage-deflate; \(name)=\(text)", offered: deflate())
                Issue.record("the client accepted \(name)=\(text)")
            } catch {
                #expect(error.reason.contains(name) && error.reason.contains("does not fit"))
            }
            let offer = "permessage-deflate; \(name)=\(text)"
            #expect(DeflateNegotiation.answer(offers: offer, configured: deflate()) == nil)
            // The next offer has its chance.
            #expect(
                DeflateNegotiation.answer(offers: offer + ", permessage-deflate", configured: deflate())
                    == .init(agreed: Self.negotiated(), parameterText: ""))
        }
    }

    // MARK: Server

    static let answered: [(WebSocketCompression, String, WebSocketNegotiatedDeflate, String)] = [
        (deflate(), "permessage-deflate", negotiated(), ""),
        (deflate(), "permessage-deflate; client_max_window_bits", negotiated(), ""),
        (deflate(), "foo, permessage-deflate", negotiated(), ""),
        // RFC 7692 §7.1.1: context takeover.
        (deflate(), "permessage-deflate; server_no_context_takeover", negotiated(true), "; server_no_context_takeover"),
        (
            deflate(), "permessage-deflate; client_no_context_takeover", negotiated(false, true),
            "; client_no_context_takeover"
        ),
        (
            deflate { $0.serverNoContextTakeover = true }, "permessage-deflate", negotiated(true),
            "; server_no_context_takeover"
        ),
        (
            deflate { $0.clientNoContextTakeover = true }, "permessage-deflate", negotiated(false, true),
            "; client_no_context_takeover"
        ),
        // §7.1.2.1: a server_max_window_bits that was offered is answered, also when it limits nothing.
        (
            deflate(), "permessage-deflate; server_max_window_bits=10", negotiated(server: 10),
            "; server_max_window_bits=10"
        ),
        (deflate(), "permessage-deflate; server_max_window_bits=15", negotiated(), "; server_max_window_bits=15"),
        (
            deflate(), #"permessage-deflate; server_max_window_bits="9""#, negotiated(server: 9),
            "; server_max_window_bits=9"
        ),
        (
            deflate { $0.serverMaxWindowBits = 9 }, "permessage-deflate; server_max_window_bits=12",
            negotiated(server: 9),
            "; server_max_window_bits=9"
        ),
        (
            deflate { $0.serverMaxWindowBits = 12 }, "permessage-deflate; server_max_window_bits=9",
            negotiated(server: 9),
            "; server_max_window_bits=9"
        ),
        (
            deflate { $0.serverMaxWindowBits = 11 }, "permessage-deflate", negotiated(server: 11),
            "; server_max_window_bits=11"
        ),
        // §7.1.2.2.
        (
            deflate(), "permessage-deflate; client_max_window_bits=10", negotiated(client: 10),
            "; client_max_window_bits=10"
        ),
        (
            deflate { $0.clientMaxWindowBits = 9 }, "permessage-deflate; client_max_window_bits", negotiated(client: 9),
            "; client_max_window_bits=9"
        ),
        (
            deflate { $0.clientMaxWindowBits = 9 }, "permessage-deflate; client_max_window_bits=12",
            negotiated(client: 9),
            "; client_max_window_bits=9"
        ),
        (
            deflate { $0.clientMaxWindowBits = 12 }, "permessage-deflate; client_max_window_bits=9",
            negotiated(client: 9),
            "; client_max_window_bits=9"
        ),
        // A client that did not offer the parameter cannot be told: its next offer may have it.
        (
            deflate { $0.clientMaxWindowBits = 9 }, "permessage-deflate, permessage-deflate; client_max_window_bits",
            negotiated(client: 9), "; client_max_window_bits=9"
        ),
        // §7.1.3, the examples.
        (
            deflate(), "permessage-deflate; client_max_window_bits; server_max_window_bits=10", negotiated(server: 10),
            "; server_max_window_bits=10"
        ),
        (
            deflate(),
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10, "
                + "permessage-deflate; client_max_window_bits", negotiated(server: 10), "; server_max_window_bits=10"
        ),
        // §5: an offer that is unknown or invalid is passed over.
        (
            deflate(), "permessage-deflate; foo, permessage-deflate; server_no_context_takeover", negotiated(true),
            "; server_no_context_takeover"
        ),
        (deflate(), "permessage-deflate; server_no_context_takeover=1, permessage-deflate", negotiated(), ""),
        (deflate(), "permessage-deflate; server_max_window_bits, permessage-deflate", negotiated(), ""),
        (
            deflate(), "permessage-deflate; client_max_window_bits; client_max_window_bits, permessage-deflate",
            negotiated(), ""
        ),
        // All four.
        (
            deflate(),
            "permessage-deflate; client_max_window_bits=8; server_max_window_bits=8; client_no_context_takeover; "
                + "server_no_context_takeover", negotiated(true, true, server: 8, client: 8),
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8; client_max_window_bits=8"
        ),
    ]

    @Test(arguments: answered)
    func answers(
        _ configured: WebSocketCompression, _ offers: String, _ agreed: WebSocketNegotiatedDeflate, _ text: String
    ) {
        let answer = DeflateNegotiation.answer(offers: offers, configured: configured)
        #expect(answer == .init(agreed: agreed, parameterText: text))
    }

    @Test(
        arguments: [
            (deflate(), nil), (deflate(), ""), (deflate(), "foo"), (deflate(), "Permessage-Deflate"),
            (deflate(), "permessage-deflate;"),
            (deflate(), "permessage-deflate; foo"), (deflate(), "permessage-deflate; client_no_context_takeover=1"),
            (deflate(), "permessage-deflate; server_no_context_takeover; server_no_context_takeover"),
            (deflate(), "permessage-deflate; server_max_window_bits"),
            (deflate(), "permessage-deflate; SERVER_MAX_WINDOW_BITS=9"),
            (deflate { $0.clientMaxWindowBits = 9 }, "permessage-deflate"), (.disabled, "permessage-deflate"),
            (.disabled, nil),
        ] as [(WebSocketCompression, String?)])
    func declines(_ configured: WebSocketCompression, _ offers: String?) {
        #expect(DeflateNegotiation.answer(offers: offers, configured: configured) == nil)
    }

    /// Every client of ours with every server of ours: both sides agree, on something both allow.
    @Test func bothRolesAgree() throws {
        var servers: [WebSocketCompression.Deflate] = []
        Self.forEachConfiguration { server in
            if [8, 12, 15].contains(server.serverMaxWindowBits) && [8, 12, 15].contains(server.clientMaxWindowBits) {
                servers.append(server)
            }
        }
        try Self.forEachConfiguration { client in
            guard client.serverMaxWindowBits % 3 != 1, client.clientMaxWindowBits % 3 != 1 else { return }
            for server in servers {
                let offer = DeflateNegotiation.offer(client)
                guard let answer = DeflateNegotiation.answer(offers: offer, configured: .deflate(server)) else {
                    throw Mismatch(description: "\(offer) was declined by \(server)")
                }
                let text = "permessage-deflate" + answer.parameterText
                let agreed = try DeflateNegotiation.accept(answer: text, offered: .deflate(client))
                try check(agreed == answer.agreed, "\(offer) → \(text): \(String(describing: agreed))")
                let expected = WebSocketNegotiatedDeflate(
                    serverNoContextTakeover: client.serverNoContextTakeover || server.serverNoContextTakeover,
                    clientNoContextTakeover: client.clientNoContextTakeover || server.clientNoContextTakeover,
                    serverMaxWindowBits: min(client.serverMaxWindowBits, server.serverMaxWindowBits),
                    clientMaxWindowBits: min(client.clientMaxWindowBits, server.clientMaxWindowBits))
                try check(agreed == expected, "\(offer) → \(text)")
            }
        }
    }
}
