//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct EscapedTextTests {
    @Test(arguments: [
        ("", ""), ("plain text", "plain text"), ("grüße 👋🏽", "grüße 👋🏽"), ("a\nb", #"a\nb"#), ("a\r\nb", #"a\r\nb"#),
        ("\t", #"\t"#), ("\0", #"\u{0}"#), ("\u{1B}[31m", #"\u{1b}[31m"#), ("\u{7F}", #"\u{7f}"#),
        ("\u{85}", #"\u{85}"#),
        ("\u{9B}2J", #"\u{9b}2J"#), ("\u{A0}", "\u{A0}"), ("\u{202E}txt.exe", #"\u{202e}txt.exe"#),
        ("\u{2066}x\u{2069}", #"\u{2066}x\u{2069}"#), ("\u{61C}", #"\u{61c}"#), ("\u{FEFF}", #"\u{feff}"#),
        ("e\u{301}", "e\u{301}"),
    ])
    func table(_ text: String, _ expected: String) {
        #expect(text.escapedForLog.unicodeScalars.elementsEqual(expected.unicodeScalars))
    }

    /// Unicode's own properties decide: no control, no line separator and no bidirectional control comes through.
    @Test func everyScalar() throws {
        let bidirectionalControls: Set<UInt32> = [
            0x061C, 0x200E, 0x200F, 0x202A, 0x202B, 0x202C, 0x202D, 0x202E, 0x2066, 0x2067, 0x2068, 0x2069,
        ]
        for value in UInt32(0)...0x10FFFF {
            guard let scalar = UnicodeScalar(value) else { continue }
            let dangerous: Bool
            if value < 0x3000 {
                let category = scalar.properties.generalCategory
                dangerous =
                    category == .control || category == .lineSeparator || category == .paragraphSeparator
                    || bidirectionalControls.contains(value)
            } else {
                dangerous = value == 0xFEFF
            }
            if value >= 0x3000 && value % 97 != 0 && value != 0xFEFF { continue }
            let escaped = String(Character(scalar)).escapedForLog
            try check(
                dangerous == (escaped.unicodeScalars.first != scalar), "U+\(String(value, radix: 16)): \(escaped)")
            try check(
                !dangerous || escaped.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F }, "U+\(String(value, radix: 16))")
        }
    }
}
