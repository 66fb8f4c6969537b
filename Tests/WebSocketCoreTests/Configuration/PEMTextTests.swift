//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing

@testable import WebSocketCore

@Suite struct PEMTextTests {
    private static let one = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n"
    private static let key = "-----BEGIN EC PRIVATE KEY-----\nDEK-Info: x\n\nCCCC\n-----END EC PRIVATE KEY-----\n"

    private static func labels(_ text: String) throws -> [String] {
        try PEMText.blocks(in: Array(text.utf8)).map { "\($0.label) \($0.number) \($0.line)" }
    }

    @Test(arguments: [
        ("", []), ("a comment\n", []), (one, ["CERTIFICATE 1 1"]), (String(one.dropLast()), ["CERTIFICATE 1 1"]),
        (one + one, ["CERTIFICATE 1 1", "CERTIFICATE 2 5"]),
        (key + "subject=x\n" + one, ["EC PRIVATE KEY 1 1", "CERTIFICATE 2 7"]),
        ("\u{FEFF}" + one + "\u{FEFF}" + one, ["CERTIFICATE 1 1", "CERTIFICATE 2 5"]),
        (one.split(separator: "\n").joined(separator: " \t\r\n"), ["CERTIFICATE 1 1"]),
        ("# -----BEGIN CERTIFICATE-----\n# AAAA\n" + one, ["CERTIFICATE 1 3"]),
        ("---- BEGIN SSH2 PUBLIC KEY ----\n-----\n\0\n" + one, ["CERTIFICATE 1 4"]),
    ]) func blocksAreFound(_ text: String, _ blocks: [String]) throws {
        #expect(try Self.labels(text) == blocks)
    }

    @Test(arguments: [
        (one + "-----BEGIN CERTIFICATE-----\nAAAA\n", "block 2 (line 5) has no end"),
        (one + "-----BEGIN CERTIFICATE-----\n" + one, "block 2 (line 5) is not ended where it should be, in line 6"),
        (
            one.replacing("-----END CERTIFICATE-----\n", with: "-----END CERTIFICATE-----") + one,
            "block 1 (line 1) is not ended where it should be, in line 4"
        ),
        (one + key.replacing("END EC", with: "END RSA"), "block 2 (line 5) is not ended where it should be, in line 9"),
        (
            one + "-----BEGIN of the next one-----\n" + one,
            "block 2 (line 5) is not ended where it should be, in line 6"
        ),
        (one.replacing("-----BEGIN", with: "----BEGIN"), "line 4, behind block 0"),
        (one + one.replacing("CERTIFICATE-----\nA", with: "CERTIFICATE----\nA"), "line 5, behind block 1"),
        (one + " -----BEGIN CERTIFICATE-----\n AAAA\n -----END CERTIFICATE-----\n", "line 5, behind block 1"),
        (one.split(separator: "\n").joined(separator: "\r"), "line 1, behind block 0"),
        (one + one.replacing("BBBB\n-----END", with: "BBBB-----END"), "block 2 (line 5) is not ended"),
    ]) func whatIsDamagedIsNamed(_ text: String, _ problem: String) {
        let error = #expect(throws: PEMText.Problem.self) { _ = try Self.labels(text) }
        #expect(error?.text.contains(problem) == true, "\(String(describing: error))")
    }

    /// Nothing is lost, wherever one byte is wrong: every block is found, or it is an error.
    @Test func aDamagedByteLosesNoBlock() throws {
        let text = Array((Self.one + Self.key + Self.one).utf8)
        for index in text.indices {
            for byte in "\n\r -!A\0".utf8 where byte != text[index] {
                var damaged = text
                damaged[index] = byte
                guard let blocks = try? PEMText.blocks(in: damaged) else { continue }
                #expect(blocks.count == 3, "byte \(index) is \(byte)")
            }
        }
    }
}
