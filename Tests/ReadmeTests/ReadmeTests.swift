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
    private static func blocks(_ language: String, in path: String = "README.md") throws -> [String] {
        try text(path).components(separatedBy: "```\(language)\n").dropFirst().map {
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
        #expect(blocks.count == 5)
        for block in blocks {
            let lines = Self.lines(block)
            #expect(lines.first == "import WebSockets")
            let code = Array(lines.dropFirst())
            #expect(!code.isEmpty && compiled.firstRange(of: code) != nil, "not in Snippets.swift:\n\(block)")
        }
    }

    /// A trading feed, a telemetry uplink and a watchdog.
    @Test func theArticleOnSessionsCompiles() throws {
        let compiled = Self.lines(try Self.text("Tests/ReadmeTests/SessionSnippets.swift"))
        let blocks = try Self.blocks("swift", in: "Sources/WebSockets/WebSockets.docc/Session.md")
        #expect(blocks.count == 3)
        for block in blocks {
            let code = Self.lines(block)
            #expect(!code.isEmpty && compiled.firstRange(of: code) != nil, "not in SessionSnippets.swift:\n\(block)")
        }
    }

    @Test func theRecipesCompile() throws {
        let compiled = Self.lines(try Self.text("Tests/ReadmeTests/RecipeSnippets.swift"))
        let blocks = try Self.blocks("swift", in: "Sources/WebSockets/WebSockets.docc/Recipes.md")
        #expect(blocks.count == 9)
        for block in blocks {
            let code = Self.lines(block)
            #expect(!code.isEmpty && compiled.firstRange(of: code) != nil, "not in RecipeSnippets.swift:\n\(block)")
        }
    }

    @Test func theArticleOnErrorsCompiles() throws {
        let compiled = Self.lines(try Self.text("Tests/ReadmeTests/ErrorSnippets.swift"))
        let blocks = try Self.blocks("swift", in: "Sources/WebSockets/WebSockets.docc/Closing.md")
        #expect(blocks.count == 2)
        for block in blocks {
            let code = Self.lines(block)
            #expect(!code.isEmpty && compiled.firstRange(of: code) != nil, "not in ErrorSnippets.swift:\n\(block)")
        }
    }

    /// All but the one of an adapter, whose framework is made up.
    @Test func theArticleOnTheServerCompiles() throws {
        let compiled = Self.lines(try Self.text("Tests/ReadmeTests/ServerSnippets.swift"))
        let blocks = try Self.blocks("swift", in: "Sources/WebSockets/WebSockets.docc/Server.md")
        #expect(blocks.count == 6)
        for block in blocks where !block.contains("FrameworkRequest") {
            let code = Self.lines(block)
            #expect(!code.isEmpty && compiled.firstRange(of: code) != nil, "not in ServerSnippets.swift:\n\(block)")
        }
    }

    /// The article has numbers and names where the tests have variables.
    @Test func theArticleOnGettingStartedCompiles() throws {
        let compiled = Self.lines(try Self.text("Tests/ReadmeTests/GettingStartedSnippets.swift"))
        let blocks = try Self.blocks("swift", in: "Sources/WebSockets/WebSockets.docc/GettingStarted.md")
        #expect(blocks.count == 2)
        let variables = [
            ("port: 8443", "port: port"), ("localhost:8443", "localhost:\\(port)"), ("\"cert.pem\"", "certificate"),
            ("\"key.pem\"", "key"),
        ]
        for block in blocks {
            let code = Self.lines(variables.reduce(block) { $0.replacing($1.0, with: $1.1) })
            #expect(code.first == "import WebSockets")
            #expect(compiled.firstRange(of: code.dropFirst()) != nil, "not in GettingStartedSnippets.swift:\n\(block)")
        }
    }

    /// What is said about tests is true: each that the table names is there.
    @Test func theTestsThatTraceabilityNamesExist() throws {
        var sources: [String: String] = [:]
        let files = FileManager.default.enumerator(
            at: Self.repository.appending(path: "Tests"), includingPropertiesForKeys: nil)
        while let file = files?.nextObject() as? URL {
            // Suites are not always in a file of their name.
            guard file.pathExtension == "swift" else { continue }
            let text = try String(contentsOf: file, encoding: .utf8)
            for suite in text.matches(of: /(?:struct|extension) ([A-Z][A-Za-z0-9]*Tests)\b/) {
                sources[String(suite.output.1), default: ""] += text
            }
        }
        var (suite, count) = ("", 0)
        for name in try Self.text("Tests/TRACEABILITY.md").matches(of: /`([A-Z]\w*Tests)?(?:\.(\w+))?`/) {
            if let named = name.output.1 { suite = String(named) }
            let source = try #require(sources[suite], "there is no suite \(suite)")
            if let test = name.output.2 { #expect(source.contains("func \(test)("), "\(suite).\(test) is not there") }
            count += 1
        }
        #expect(count >= 400)
    }

    /// The README and what it leads to.
    private static let documents = [
        "README.md", "CONTRIBUTING.md", "SECURITY.md", "Documentation/C.md", "Documentation/Containers.md",
        "Documentation/Limits.md", "Documentation/Performance.md", "Documentation/Trust.md",
    ]

    @Test func theScriptsExist() throws {
        let named = try Self.documents.flatMap { document in
            try Self.text(document).matches(of: /scripts\/[a-z\/-]+[a-z]/).map { String($0.output) }
        }
        #expect(Set(named).count >= 12)
        for path in Set(named) {
            #expect(FileManager.default.isExecutableFile(atPath: Self.repository.appending(path: path).path), "\(path)")
        }
    }

    @Test(arguments: documents) func linksLeadSomewhere(document: String) throws {
        let folder = Self.repository.appending(path: document).deletingLastPathComponent()
        for link in try Self.text(document).matches(of: /\]\(([A-Za-z.\/]+)\)/).map({ String($0.output.1) }) {
            #expect(FileManager.default.fileExists(atPath: folder.appending(path: link).path), "\(link)")
        }
    }

    /// The first thing that is read stays short.
    @Test func theReadmeIsShort() throws {
        #expect(try Self.text("README.md").split(separator: "\n", omittingEmptySubsequences: false).count <= 180)
    }
}
