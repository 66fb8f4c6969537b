//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing

@testable import WebSocketCore

@Suite struct ExtensionHeaderTests {
    typealias Parameter = ExtensionOffer.Parameter

    private static func offer(_ name: String, _ parameters: (String, String?)...) -> ExtensionOffer {
        ExtensionOffer(name: name, parameters: parameters.map { Parameter(name: $0.0, value: $0.1) })
    }

    static let good: [(String, [ExtensionOffer])] = [
        ("", []), (" ", []), (",", []), (" , ,\t, ", []), ("a", [offer("a")]), ("\ta ", [offer("a")]),
        ("a,b", [offer("a"), offer("b")]), ("a , ,b,", [offer("a"), offer("b")]), ("a;b", [offer("a", ("b", nil))]),
        ("a ; b ;c", [offer("a", ("b", nil), ("c", nil))]), ("a;b=c", [offer("a", ("b", "c"))]),
        ("a; b = c ; d", [offer("a", ("b", "c"), ("d", nil))]), (#"a;b="c""#, [offer("a", ("b", "c"))]),
        (#"a;b="\c1\0", d"#, [offer("a", ("b", "c10")), offer("d")]), ("a;b;b", [offer("a", ("b", nil), ("b", nil))]),
        // RFC 6455 §9.1.
        ("deflate-stream", [offer("deflate-stream")]),
        (
            "mux; max-channels=4; flow-control, deflate-stream",
            [offer("mux", ("max-channels", "4"), ("flow-control", nil)), offer("deflate-stream")]
        ),
        ("private-extension", [offer("private-extension")]),
        // RFC 7692 §5 and §7.
        ("permessage-foo; x=10", [offer("permessage-foo", ("x", "10"))]),
        ("permessage-foo; use_y, permessage-foo", [offer("permessage-foo", ("use_y", nil)), offer("permessage-foo")]),
        (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate",
            [
                offer("permessage-deflate", ("client_max_window_bits", nil), ("server_max_window_bits", "10")),
                offer("permessage-deflate"),
            ]
        ),
    ]

    @Test(arguments: good) func reads(_ text: String, _ expected: [ExtensionOffer]) {
        #expect(ExtensionOffer.parse(text) == expected)
    }

    @Test(arguments: [
        ";", "=", "a;", "a; ", "a;,b", "a;;b", "a b", "a;b c", "a;b=", "a;b= ", "a;b=,c", "a=b", "a;=b", #"a;b=""#,
        #"a;b="""#,
        #"a;b="c"#, #"a;b="c d""#, #"a;b="c,d""#, #"a;b="c\"#, #"a;b="\""#, #"a;b="\"""#, #"a;b="c"d"#, #""a""#,
        #"a;"b""#,
        "a;b=c=d", "ä", "a;ä", "a;b=ä", "a\u{0}", "a\r\nb", "a/b", "a(b)", "a;b={}", "a;b='c\u{7F}'", #"a;b="é""#,
    ])
    func refuses(_ text: String) { #expect(ExtensionOffer.parse(text) == nil) }

    /// The grammar's edges, at a size that anything but linear time would take minutes for.
    @Test func longHeaders() {
        let size = 64 << 10
        #expect(ExtensionOffer.parse(String(repeating: ",", count: size)) == [])
        #expect(ExtensionOffer.parse(String(repeating: " ", count: size)) == [])
        #expect(ExtensionOffer.parse(String(repeating: "a,", count: size / 2))?.count == size / 2)
        #expect(
            ExtensionOffer.parse("a" + String(repeating: ";b", count: size / 2))?.first?.parameters.count == size / 2)
        #expect(ExtensionOffer.parse(String(repeating: "a", count: size))?.first?.name.utf8.count == size)
        #expect(ExtensionOffer.parse("a;b=\"" + String(repeating: "c", count: size)) == nil)
        #expect(ExtensionOffer.parse("a;b=\"" + String(repeating: #"\c"#, count: size / 2) + "\"") != nil)
        #expect(ExtensionOffer.parse("a;b=\"" + String(repeating: #"\"#, count: size)) == nil)
        #expect(ExtensionOffer.parse("a" + String(repeating: " ", count: size) + "b") == nil)
    }

    @Test(arguments: [1, 2, 3] as [UInt64]) func randomTextIsReadOrRefused(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let alphabet = Array("ab;,= \t\"\\1é")
        for round in 0..<5_000 {
            let text = String((0..<random.below(14)).map { _ in alphabet[random.below(alphabet.count)] })
            guard let offers = ExtensionOffer.parse(text) else { continue }
            // What was understood, written plainly, is understood as the same.
            let written = offers.map { offer in
                offer.name + offer.parameters.map { "; \($0.name)" + ($0.value.map { "=\($0)" } ?? "") }.joined()
            }.joined(separator: ", ")
            try check(ExtensionOffer.parse(written) == offers, "seed \(seed), round \(round): \(text)")
            try check(
                offers.allSatisfy {
                    $0.name.isToken && $0.parameters.allSatisfy { $0.name.isToken && $0.value?.isToken != false }
                },
                "seed \(seed), round \(round): \(text)")
        }
    }

    @Test(
        arguments: [
            ("", []), ("a", ["a"]), ("a,b", ["a", "b"]), (" a ,\tb , ", ["a", "b"]), (",,a,,", ["a"]),
            ("a,a", ["a", "a"]),
            ("!#$%&'*+-.^_`|~", ["!#$%&'*+-.^_`|~"]),
        ] as [(String, [String])])
    func tokenLists(_ text: String, _ expected: [String]) { #expect(HeaderScanner.tokenList(text) == expected) }

    @Test(arguments: ["a b", "a;b", "\"a\"", "a/b", "a, (b)", "ä", "a\0", "=", "a,b c"])
    func notTokenLists(_ text: String) { #expect(HeaderScanner.tokenList(text) == nil) }

    @Test func tokenCharacters() {
        let expected = Set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        for byte in UInt8.min...UInt8.max { #expect(byte.isTokenCharacter == expected.contains(byte), "\(byte)") }
        #expect("chat.v2".isToken && !"".isToken && !"a b".isToken && !"é".isToken)
    }
}
