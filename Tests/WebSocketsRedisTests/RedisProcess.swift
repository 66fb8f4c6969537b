//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Testing

/// A Redis of the test's own on a Unix socket, and on a port with TLS if it is asked for: Debian's `redis-tools` has the
/// server, as `redis-check-rdb` under another name. It ends with the test.
final class RedisProcess: @unchecked Sendable {
    // `process` is used by the test's one task.
    let directory: URL
    var socket: String { directory.appending(path: "redis").path }
    var url: String { "unix:\(socket)" }
    private let arguments: [String]
    private var process: Process?

    private static func program(_ name: String, _ others: String...) throws -> String {
        let paths = ([name] + others).flatMap { ["/usr/bin/\($0)", "/usr/local/bin/\($0)"] }
        return try #require(
            paths.first { FileManager.default.isExecutableFile(atPath: $0) },
            "there is no \(name): run scripts/setup --tests")
    }

    init(_ arguments: [String] = []) throws {
        directory = URL(filePath: "/tmp/wsx-redis-\(UUID().uuidString.prefix(8))")
        self.arguments = arguments
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        // What the program is depends on its name.
        try FileManager.default.createSymbolicLink(
            atPath: directory.appending(path: "redis-server").path,
            withDestinationPath: try Self.program("redis-server", "redis-check-rdb"))
        try start()
    }

    deinit {
        kill()
        try? FileManager.default.removeItem(at: directory)
    }

    func start() throws {
        let process = Process()
        process.executableURL = directory.appending(path: "redis-server")
        process.arguments =
            [
                "--port", "0", "--unixsocket", socket, "--dir", directory.path, "--save", "", "--appendonly", "no",
                "--loglevel", "warning",
            ] + arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        self.process = process
        let deadline = ContinuousClock.now + .seconds(30)
        // With a password it refuses, and is there.
        while true {
            let answer = (try? ask("PING")) ?? ""
            if answer == "PONG" || answer.hasPrefix("NOAUTH") { break }
            try #require(ContinuousClock.now < deadline, "Redis does not answer")
            usleep(20_000)
        }
    }

    func signal(_ number: Int32) {
        if let process { Foundation.kill(process.processIdentifier, number) }
    }

    /// At once, and waits for its end.
    func kill() {
        guard let process else { return }
        signal(SIGKILL)
        process.waitUntilExit()
        self.process = nil
    }

    /// What `redis-cli` prints.
    @discardableResult
    func ask(_ words: String...) throws -> String { try ask(all: words) }

    @discardableResult
    func ask(all words: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: try Self.program("redis-cli"))
        process.arguments = ["-s", socket] + words
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let data = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .newlines)
    }

    /// The topics that somebody is subscribed to.
    func topics(_ prefix: String = "wsx") throws -> Set<String> {
        let head = "\(prefix):c:{"
        let lines = try ask("PUBSUB", "CHANNELS", "\(prefix):c:*").split(separator: "\n")
        return Set(lines.filter { $0.hasPrefix(head) }.map { String($0.dropFirst(head.count).dropLast()) })
    }
}
