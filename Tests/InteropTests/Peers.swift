//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import LoopbackSupport
import Subprocess
import SystemPackage
import Testing

/// A server that we did not write: a program that prints `{"port": N}` first and ends with its input or on SIGTERM.
enum Peer {
    private static let limit = 16 << 20

    /// A running peer: its port, and what it prints.
    final class Running {
        fileprivate var iterator: SubprocessOutputSequence.StringSequence<UTF8>.AsyncIterator
        fileprivate(set) var port = 0
        /// Sends the program a signal.
        let signal: (Signal) throws -> Void
        /// Writes to the program's input.
        let write: ([UInt8]) async throws -> Void

        fileprivate init(
            _ output: SubprocessOutputSequence, signal: @escaping (Signal) throws -> Void,
            write: @escaping ([UInt8]) async throws -> Void
        ) {
            iterator = output.strings().makeAsyncIterator()
            self.signal = signal
            self.write = write
        }

        /// The next line.
        func line() async throws -> String { try #require(try await iterator.next(), "the peer ended") }

        /// The next line, which is JSON.
        func next() async throws -> [String: Any] { try object(try await line()) }

        /// The next line about an event of this name.
        func next(_ event: String) async throws -> [String: Any] {
            while true {
                let line = try await next()
                if line["event"] as? String == event { return line }
            }
        }
    }

    /// Runs Python's websockets as a server.
    static func echoServer<Result: Sendable>(
        _ arguments: [String] = [], _ body: (Running) async throws -> Result
    ) async throws -> Result {
        let script = try TestEnvironment.peer("echo_server.py")
        return try await server(
            try TestEnvironment.python, [script, "--events", "--until-stdin-closes"] + arguments, body)
    }

    /// Runs a program beside `body`, then ends it with SIGTERM.
    ///
    /// - Parameter port: Finds the port in the program's first lines.
    static func server<Result: Sendable>(
        _ program: String, _ arguments: [String],
        port: (Running) async throws -> Int = { try #require(try await $0.next()["port"] as? Int) },
        _ body: (Running) async throws -> Result
    ) async throws -> Result {
        let outcome = try await Subprocess.run(
            program.contains("/") ? .path(FilePath(program)) : .name(program), arguments: Arguments(arguments),
            input: .inputWriter, output: .sequence, error: .string(limit: limit)
        ) { execution in
            let running = Running(execution.standardOutput) {
                try execution.send(signal: $0)
            } write: {
                _ = try await execution.standardInputWriter.write($0)
            }
            do {
                running.port = try await port(running)
                let result = try await body(running)
                try execution.send(signal: .terminate)
                while try await running.iterator.next() != nil {}
                return result
            } catch {
                // Otherwise its end would be awaited for ever.
                try? execution.send(signal: .kill)
                throw error
            }
        }
        return outcome.takeClosureResult()
    }

    struct Outcome {
        let status: TerminationStatus
        let output: String
        let error: String
        var text: String { output + error }
    }

    /// Runs a program to its end.
    static func run(_ program: String, _ arguments: [String], input: String = "") async throws -> Outcome {
        let result = try await Subprocess.run(
            program.contains("/") ? .path(FilePath(program)) : .name(program), arguments: Arguments(arguments),
            input: .string(input), output: .string(limit: limit), error: .string(limit: limit))
        return Outcome(
            status: result.terminationStatus, output: result.standardOutput, error: result.standardError)
    }

    /// Runs Python's websockets as a client and returns its report.
    static func echoClient(_ url: String, _ arguments: [String] = []) async throws -> [String: Any] {
        let script = try TestEnvironment.peer("echo_client.py")
        var arguments = [script, url] + arguments
        if url.hasPrefix("wss:"), !arguments.contains("--ca") {
            arguments += ["--ca", try TestEnvironment.certificate("ca")]
        }
        let outcome = try await run(try TestEnvironment.python, arguments)
        let line = outcome.output.split(separator: "\n").last.map(String.init)
        #expect(line != nil, "\(outcome.error)")
        return try object(line)
    }
}

/// One line of JSON.
func object(_ line: String?) throws -> [String: Any] {
    let line = try #require(line, "the peer ended")
    let value = try JSONSerialization.jsonObject(with: Data(line.utf8))
    return try #require(value as? [String: Any])
}
