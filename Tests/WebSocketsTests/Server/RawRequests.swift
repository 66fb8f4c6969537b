//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import LoopbackSupport
import Testing
import WebSockets

/// What was logged, in order.
struct LogEntry: Sendable {
    let level: Logger.Level
    let message: String
    let metadata: [String: String]

    /// A logger that keeps what is `info` or more serious.
    static func logger(_ entries: Events<LogEntry>) -> Logger { logger { entries.send($0) } }

    static func logger(_ note: @escaping @Sendable (LogEntry) -> Void) -> Logger {
        Logger(label: "test") { _ in Recorder(note: note) }
    }

    private struct Recorder: LogHandler {
        let note: @Sendable (LogEntry) -> Void
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let metadata = (event.metadata ?? [:]).mapValues { "\($0)" }
            note(LogEntry(level: event.level, message: "\(event.message)", metadata: metadata))
        }
    }
}

/// A server's whole answer to a request, read to its end.
struct RawAnswer {
    let status: Int
    let head: String
    let body: String

    init(_ bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) throws {
        let text = String(decoding: bytes, as: UTF8.self)
        let match = try #require(
            text.wholeMatch(of: /(?s)HTTP\/1\.1 ([0-9]{3}) (.*?\r\n)\r\n(.*)/), "\(text.debugDescription)",
            sourceLocation: sourceLocation)
        status = try #require(Int(match.output.1))
        head = String(match.output.2)
        body = String(match.output.3)
    }

    /// A header's value.
    subscript(_ name: String) -> String? {
        for line in head.split(separator: "\r\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, parts[0].lowercased() == name.lowercased() else { continue }
            return String(parts[1].drop { $0 == " " })
        }
        return nil
    }
}

/// Requests as text, for what no client of ours would send.
enum RawRequest {
    static func upgrade(_ target: String = "/", host: String = "127.0.0.1", _ headers: [String] = []) -> String {
        plain(
            target, host: host,
            [
                "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ] + headers)
    }

    static func plain(
        _ target: String = "/", method: String = "GET", host: String = "127.0.0.1", _ headers: [String] = []
    ) -> String {
        "\(method) \(target) HTTP/1.1\r\nHost: \(host)\r\n" + headers.map { $0 + "\r\n" }.joined() + "\r\n"
    }
}

extension RawClient {
    /// Sends a request and reads to the connection's end.
    func answer(to request: String, sourceLocation: SourceLocation = #_sourceLocation) async throws -> RawAnswer {
        write(Array(request.utf8))
        return try RawAnswer(await readToEnd(), sourceLocation: sourceLocation)
    }

    /// Sends a request and reads the head of its answer. Frames may follow it at once.
    func headOfAnswer(to request: String, sourceLocation: SourceLocation = #_sourceLocation) async throws -> RawAnswer {
        write(Array(request.utf8))
        return try RawAnswer(
            await read { $0.firstRange(of: Array("\r\n\r\n".utf8)) != nil }, sourceLocation: sourceLocation)
    }
}

extension Loopback {
    /// What the server answers to a request that becomes no connection.
    func answer(_ request: String, sourceLocation: SourceLocation = #_sourceLocation) async throws -> RawAnswer {
        try await RawClient(port: server.port).answer(to: request, sourceLocation: sourceLocation)
    }

    /// The status of the answer to a handshake, 101 included.
    func status(_ request: String, sourceLocation: SourceLocation = #_sourceLocation) async throws -> Int {
        try await RawClient(port: server.port).headOfAnswer(to: request, sourceLocation: sourceLocation).status
    }
}
