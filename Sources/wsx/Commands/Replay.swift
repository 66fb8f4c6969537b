//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import WebSocketCore
import WebSockets

/// Messages that each connection of `wsx listen --replay` gets.
struct Replay: Sendable {
    struct Entry: Sendable {
        /// How long after the beginning.
        var at: Duration
        var message: WebSocketMessage
    }
    let entries: [Entry]

    func serve(_ socket: WebSocketConnection) async throws(WebSocketError) {
        let start = ContinuousClock.now
        for entry in entries {
            let due = start + entry.at
            if due > .now {
                // What arrives meanwhile is of no interest, but the client's close is.
                let sleep = Task { try? await Task.sleep(until: due) }
                let watch = Task {
                    _ = try? await socket.closed()
                    sleep.cancel()
                }
                _ = await sleep.value
                watch.cancel()
            }
            try await socket.send(entry.message)
        }
    }

    /// A directory's files in the order of their names, at once; or what `connect --record` wrote into a file, at its
    /// times divided by `speed`: what was received then.
    init(_ path: String, speed: Double) throws {
        guard let directory = opendir(path) else {
            guard errno == ENOTDIR else {
                throw CommandFailure(
                    code: Exit.usage, message: "--replay: \(path) cannot be read: \(String(cString: strerror(errno)))")
            }
            entries = try Self.recording(path, speed: speed)
            return
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        entries = try names.sorted().map { name in
            let bytes = try Self.contents("\(path)/\(name)")
            // `.txt` and `.json` become text, others binary messages.
            let isText = name.hasSuffix(".txt") || name.hasSuffix(".json")
            return Entry(at: .zero, message: isText ? .text(String(decoding: bytes, as: UTF8.self)) : .binary(bytes))
        }
    }

    private static func contents(_ path: String) throws -> [UInt8] {
        guard let bytes = FileContents.readRegular(path) else {
            let reason = errno == EINVAL ? "is no file" : "cannot be read: \(String(cString: strerror(errno)))"
            throw CommandFailure(code: Exit.usage, message: "--replay: \(path) \(reason)")
        }
        return bytes
    }

    private static func recording(_ path: String, speed: Double) throws -> [Entry] {
        var entries: [Entry] = []
        let lines = try contents(path).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() where !line.isEmpty {
            guard let record = Recording.Record(line: line) else {
                throw CommandFailure(
                    code: Exit.usage, message: "--replay: line \(index + 1) of \(path) is not of a recording")
            }
            guard record.direction == .received else { continue }
            entries.append(Entry(at: speed > 0 ? record.at / speed : .zero, message: record.message))
        }
        return entries
    }
}
