//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import Glibc
import Logging

@main
struct Wsx: AsyncParsableCommand {
    /// That of the whole package, as in `wsx.h`.
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "wsx",
        abstract: "WebSockets in the terminal.",
        discussion: """
            Try it with nothing to set up:    wsx demo
            Talk to a server:                 wsx connect wss://example.com/feed
            Be a server:                      wsx listen --port 8080
            Measure one:                      wsx bench pool ws://127.0.0.1:8080/
            See whether all is installed:     wsx doctor
            Complete words in your shell:     wsx --generate-completion-script bash (zsh, fish)

            \(Exit.table)
            """,
        version: "wsx \(version) · \(WebSocketLibrariesText.versionAndVulnerabilities)",
        subcommands: [
            Demo.self, Connect.self, Listen.self, Bench.self, Doctor.self, AutobahnClient.self, ClusterNode.self,
        ])

    /// Not argument-parser's: errors are one line here, usage errors included.
    static func main() async {
        // A reader that went away is an error of `write`, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        Terminal.openStandardDescriptors()
        // Log lines would get between the messages; what matters is reported, and `doctor` explains the rest.
        LoggingSystem.bootstrap { _ in SwiftLogNoOpLogHandler() }
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            try Output.standard.check()
        } catch {
            Exit.end(with: error)
        }
        Glibc.exit(Exit.ok)
    }
}
