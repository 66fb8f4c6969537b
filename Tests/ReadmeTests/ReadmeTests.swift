//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Testing

/// What README.md says is what compiles, and what it names exists.
@Suite struct ReadmeTests {
    private static let repository = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    private static func text(_ path: String) throws -> String {
        try String(contentsOf: repository.appending(path: path), encoding: .utf8)
    }

    /// The fenced blocks of one language.
    private static func blocks(_ language: String) throws -> [String] {
        try text("README.md").components(separatedBy: "```\(language)\n").dropFirst().map {
            $0.components(separatedBy: "\n```")[0]
        }
    }

    /// Lines without their indentation, which differs inside a function.
    private static func lines(_ code: some StringProtocol) -> [String] {
        code.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
    }

    @Test func theCodeIsWhatCompiles() throws {
        let compiled = Self.lines(try Self.text("Tests/ReadmeTests/Snippets.swift"))
        let blocks = try Self.blocks("swift")
        #expect(blocks.count == 4)
        for block in blocks {
            let lines = Self.lines(block)
            #expect(lines.first == "import WebSockets")
            let code = Array(lines.dropFirst())
            #expect(!code.isEmpty && compiled.firstRange(of: code) != nil, "not in Snippets.swift:\n\(block)")
        }
    }

    @Test func theScriptsExist() throws {
        let named = try Self.text("README.md").matches(of: /scripts\/[a-z-]+/).map { String($0.output) }
        #expect(Set(named).count >= 5)
        for path in Set(named) {
            #expect(FileManager.default.isExecutableFile(atPath: Self.repository.appending(path: path).path), "\(path)")
        }
    }
}
