//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

/// A Redis of the test's own in a temporary directory, on a Unix socket and, if it is asked for, on a port that the system
/// chose: Debian's `redis-tools` has the server, as `redis-check-rdb` under another name. `WSX_TEST_REDIS` names another
/// program, a Valkey or another version. It ends with the test.
package final class RedisProcess: Sendable {
    /// What listens on the port.
    package enum Port: Sendable {
        case none
        case plain
        case tls
    }

    private struct State {
        var program: ChildProgram?
        var arguments: [String]
        var port = 0
    }

    private let directory: URL
    private let kind: Port
    private let state: Mutex<State>

    package var socket: String { directory.appending(path: "redis").path }
    package var url: String { "unix:\(socket)" }
    /// 0 without one.
    package var port: Int { state.withLock { $0.port } }
    /// What it is started with; for the next start.
    package var arguments: [String] {
        get { state.withLock { $0.arguments } }
        set { state.withLock { $0.arguments = newValue } }
    }

    private static func program(_ name: String, _ others: String...) throws -> String {
        let paths = ([name] + others).flatMap { ["/usr/bin/\($0)", "/usr/local/bin/\($0)"] }
        return try #require(
            paths.first { access($0, X_OK) == 0 }, "there is no \(name): run scripts/setup --tests")
    }

    private static func server() throws -> String {
        guard let path = ProcessInfo.processInfo.environment["WSX_TEST_REDIS"] else {
            return try program("redis-server", "redis-check-rdb")
        }
        try #require(access(path, X_OK) == 0, "WSX_TEST_REDIS is “\(path)”, which is no program")
        return path
    }

    package init(_ arguments: [String] = [], port: Port = .none) throws {
        directory = URL(filePath: "/tmp/wsx-redis-\(UUID().uuidString.prefix(8))")
        kind = port
        state = Mutex(State(arguments: arguments))
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        // What the program is depends on its name.
        try FileManager.default.createSymbolicLink(
            atPath: directory.appending(path: "redis-server").path,
            withDestinationPath: try Self.server())
        try start()
    }

    deinit {
        kill()
        try? FileManager.default.removeItem(at: directory)
    }

    /// Starts it, again on the same port if it has one, and waits until it answers: with `LOADING` or `NOAUTH` too.
    package func start() throws {
        // Between the choice of a port and its use another program may take it.
        for attempt in 0..<20 {
            if try state.withLock({ try start(&$0, isFirst: $0.port == 0) }) { return }
            try #require(attempt < 19, "Redis ends when it is started")
        }
    }

    private func start(_ state: inout State, isFirst: Bool) throws -> Bool {
        var ports = ["--port", "0"]
        switch kind {
        case .none: break
        case .plain:
            if isFirst { state.port = try Self.freePort() }
            ports = ["--port", "\(state.port)", "--bind", "127.0.0.1"]
        case .tls:
            if isFirst { state.port = try Self.freePort() }
            ports += [
                "--bind", "127.0.0.1", "--tls-port", "\(state.port)", "--tls-cert-file",
                try TestEnvironment.certificate("valid"), "--tls-key-file", try TestEnvironment.key("valid"),
                "--tls-ca-cert-file", try TestEnvironment.certificate("ca"),
            ]
        }
        let program = try ChildProgram(
            directory.appending(path: "redis-server").path,
            ports + [
                "--unixsocket", socket, "--dir", directory.path, "--save", "", "--appendonly", "no", "--loglevel",
                "warning",
            ] + state.arguments)
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            let answer = (try? ask("PING")) ?? ""
            if answer == "PONG" || answer.hasPrefix("NOAUTH") || answer.hasPrefix("LOADING") { break }
            if program.hasEnded {
                if isFirst { state.port = 0 }
                return false
            }
            try #require(ContinuousClock.now < deadline, "Redis does not answer")
            poll(nil, 0, 10)
        }
        state.program = program
        return true
    }

    private static func freePort() throws -> Int {
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                guard bind(descriptor, address, size) == 0 else { return errno }
                return getsockname(descriptor, address, &size) == 0 ? 0 : errno
            }
        }
        try #require(code == 0, "there is no free port: \(code)")
        return Int(UInt16(bigEndian: address.sin_port))
    }

    package func signal(_ number: Int32) { state.withLock { $0.program }?.signal(number) }

    /// At once, and waits for its end.
    package func kill() {
        let program = state.withLock { state in
            defer { state.program = nil }
            return state.program
        }
        program?.kill()
    }

    /// What `redis-cli` prints.
    @discardableResult
    package func ask(_ words: String...) throws -> String { try ask(all: words) }

    @discardableResult
    package func ask(all words: [String]) throws -> String {
        try ChildProgram.output(of: try Self.program("redis-cli"), ["-s", socket] + words)
            .trimmingCharacters(in: .newlines)
    }

    /// How often a command was carried out.
    package func calls(of command: String) throws -> Int {
        for line in try ask("INFO", "commandstats").split(whereSeparator: \.isNewline) {
            guard line.hasPrefix("cmdstat_\(command):calls=") else { continue }
            return Int(line.split(separator: "=")[1].prefix { $0.isNumber }) ?? 0
        }
        return 0
    }

    /// A number of `INFO`.
    package func figure(_ name: String, in section: String, password: String? = nil) throws -> Int {
        let words = (password.map { ["--no-auth-warning", "-a", $0] } ?? []) + ["INFO", section]
        for line in try ask(all: words).split(whereSeparator: \.isNewline) where line.hasPrefix(name + ":") {
            return try #require(Int(line.dropFirst(name.count + 1)), "\(line)")
        }
        Issue.record("there is no \(name)")
        return 0
    }

    /// The topics that have subscribers.
    package func topics(_ prefix: String = "wsx") throws -> Set<String> {
        let head = "\(prefix):c:{"
        let lines = try ask("PUBSUB", "CHANNELS", "\(prefix):c:*").split(separator: "\n")
        return Set(lines.filter { $0.hasPrefix(head) }.map { String($0.dropFirst(head.count).dropLast()) })
    }

    /// How many processes are subscribed to a topic.
    package func subscribers(of topic: String) throws -> Int {
        try ask("PUBSUB", "NUMSUB", "wsx:c:{\(topic)}").split(separator: "\n").last.flatMap { Int($0) } ?? 0
    }
}
