//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Glibc
import Subprocess
import SystemPackage
import Testing
import WebSocketLoop

/// Runs the `wsx` that was built together with these tests.
enum Command {
    /// It lies next to the test bundle, which is the running program.
    private static let path: FilePath = {
        let tests = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return FilePath(tests ?? CommandLine.arguments[0]).removingLastComponent().appending("wsx")
    }()

    struct Outcome {
        let code: Int32?
        let output: String
        let error: String

        var lines: [String] {
            output.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
        }
        /// The output as one JSON object per line.
        func objects() throws -> [[String: Any]] { try lines.map(object) }
    }

    private static let limit = 16 << 20
    /// A developer's settings must not decide about the colour.
    private static let environment = Environment.inherit.updating(["NO_COLOR": nil, "FORCE_COLOR": nil])

    private static func environment(with variables: [String: String]) -> Environment {
        environment.updating(
            Dictionary(uniqueKeysWithValues: variables.map { (Environment.Key(stringLiteral: $0.key), $0.value) }))
    }

    static func run(
        _ arguments: [String], input: [UInt8] = [], variables: [String: String] = [:]
    ) async throws -> Outcome {
        let result = try await runBytes(arguments, input: input, variables: variables)
        return Outcome(
            code: result.code, output: String(decoding: result.output, as: UTF8.self), error: result.error)
    }

    /// The same with an output that is no text.
    static func runBytes(
        _ arguments: [String], input: [UInt8], variables: [String: String] = [:]
    ) async throws -> (code: Int32?, output: [UInt8], error: String) {
        if input.count <= FileDescriptor.mostReady {
            let ready = try FileDescriptor.ready(input)
            defer { try? ready.close() }
            let result = try await Subprocess.run(
                .path(path), arguments: Arguments(arguments), environment: Self.environment(with: variables),
                input: .fileDescriptor(ready, closeAfterSpawningProcess: false),
                output: .bytes(limit: limit), error: .string(limit: limit))
            return (result.terminationStatus.code, result.standardOutput, result.standardError)
        }
        let result = try await Subprocess.run(
            .path(path), arguments: Arguments(arguments),
            environment: Self.environment(with: variables), input: .inputWriter,
            output: .bytes(limit: limit), error: .string(limit: limit)
        ) { execution in
            // A command that ends before it has read everything is no failure of the test. Written by hand, because
            // swift-subprocess 1.0.2 ends the process when its own writing of an input is cut off.
            _ = try? await execution.standardInputWriter.write(input)
            try? await execution.standardInputWriter.finish()
        }
        return (result.terminationStatus.code, result.standardOutput, result.standardError)
    }

    static func run(
        _ arguments: [String], input: String, variables: [String: String] = [:]
    ) async throws -> Outcome {
        try await run(arguments, input: Array(input.utf8), variables: variables)
    }

    /// Runs the command with these as its standard input and output; its exit code and errors.
    static func run(
        _ arguments: [String], input: FileDescriptor, output: FileDescriptor, variables: [String: String] = [:]
    ) async throws -> (code: Int32?, error: String) {
        let result = try await Subprocess.run(
            .path(path), arguments: Arguments(arguments), environment: environment(with: variables),
            input: .fileDescriptor(input, closeAfterSpawningProcess: false),
            output: .fileDescriptor(output, closeAfterSpawningProcess: false), error: .string(limit: limit))
        return (result.terminationStatus.code, result.standardError)
    }

    /// Runs the command without any input, as cron and systemd do.
    static func runWithoutInput(_ arguments: [String]) async throws -> Outcome {
        let result = try await Subprocess.run(
            .path(path), arguments: Arguments(arguments), environment: environment, input: .none,
            output: .string(limit: limit), error: .string(limit: limit))
        return Outcome(
            code: result.terminationStatus.code, output: result.standardOutput,
            error: result.standardError)
    }

    /// A running command: its lines as they come, its input, and signals.
    final class Running {
        fileprivate var iterator: SubprocessOutputSequence.StringSequence<UTF8>.AsyncIterator
        fileprivate let execution: Execution<CustomWriteInput, SequenceOutput, StringOutput<UTF8>>
        fileprivate var lines: [String] = []

        fileprivate init(_ execution: Execution<CustomWriteInput, SequenceOutput, StringOutput<UTF8>>) {
            self.execution = execution
            iterator = execution.standardOutput.strings().makeAsyncIterator()
        }

        func nextLine() async throws -> String? {
            guard let line = try await iterator.next() else { return nil }
            let text = line.last?.isNewline == true ? String(line.dropLast()) : line
            lines.append(text)
            return text
        }

        func write(_ text: String) async throws { _ = try await execution.standardInputWriter.write(text) }
        func endInput() async throws { try await execution.standardInputWriter.finish() }
        func send(_ signal: Signal) throws { try execution.send(signal: signal) }
    }

    /// Runs the command beside `body`, then reads its output to the end.
    @discardableResult
    static func interact(
        _ arguments: [String], variables: [String: String] = [:], _ body: (Running) async throws -> Void
    ) async throws -> Outcome {
        let result = try await Subprocess.run(
            .path(path), arguments: Arguments(arguments), environment: environment(with: variables),
            input: .inputWriter, output: .sequence, error: .string(limit: limit)
        ) { execution in
            let running = Running(execution)
            do {
                try await body(running)
            } catch {
                // Otherwise its end would be awaited for ever.
                try? running.send(.kill)
                throw error
            }
            while try await running.nextLine() != nil {}
            return running.lines
        }
        let code = result.terminationStatus.code
        let error = result.standardError
        return Outcome(
            code: code, output: result.takeClosureResult().map { $0 + "\n" }.joined(), error: error)
    }

    /// Runs `wsx listen`, hands its URL to `body`, and ends it with SIGTERM.
    @discardableResult
    static func listen(
        _ arguments: [String] = [], _ body: (_ url: String) async throws -> Void
    ) async throws -> Outcome {
        try await interact(["listen"] + arguments) { running in
            let line = try #require(try await running.nextLine())
            let url = try #require(line.wholeMatch(of: /listening on (wss?:\/\/.+:[1-9][0-9]*)/)?.output.1)
            try await body(String(url))
            try running.send(.terminate)
        }
    }
}

extension TerminationStatus {
    /// `nil` when a signal ended the process.
    fileprivate var code: Int32? { if case .exited(let code) = self { code } else { nil } }
}

/// One line of JSON.
func object(_ line: String?) throws -> [String: Any] {
    let line = try #require(line)
    let value = try JSONSerialization.jsonObject(with: Data(line.utf8))
    return try #require(value as? [String: Any])
}

/// A throw-away certificate in files of a directory that is removed afterwards.
func withCertificateFiles(
    _ body: (_ authority: String, _ certificate: String, _ key: String) async throws -> Void
) async throws {
    let made = try ThrowawayCertificate()
    let directory = FileManager.default.temporaryDirectory.appending(path: "wsx-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    func file(_ name: String, _ bytes: [UInt8]) throws -> String {
        let url = directory.appending(path: name)
        try Data(bytes).write(to: url)
        return url.path
    }
    try await body(
        file("ca.pem", made.authority), file("certificate.pem", made.certificate), file("key.pem", made.privateKey))
}

extension FileDescriptor {
    /// This much fits into a pair of sockets that is not read, on every Linux.
    fileprivate static let mostReady = 4_096

    /// A stream that has all of this in it, and its end: what a command gets does not depend on when a task of this
    /// process has its turn. The caller closes it.
    ///
    /// No pipe: a command that another test starts at this moment would keep the writing end open.
    fileprivate static func ready(_ bytes: [UInt8]) throws -> FileDescriptor {
        var ends: [CInt] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
            throw Errno(rawValue: errno)
        }
        let writer = FileDescriptor(rawValue: ends[1])
        defer { try? writer.close() }
        _ = try writer.writeAll(bytes)
        return FileDescriptor(rawValue: ends[0])
    }
}
