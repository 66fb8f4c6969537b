//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import WebSockets

/// What `wsx listen` does with its connections.
enum ListenMode: Sendable {
    case echo
    /// Everybody hears everybody else.
    case broadcast(WebSocketTopics)
    /// Those who asked for the same path hear each other.
    case topics(WebSocketTopics)
    /// Everybody gets these, and then the end.
    case replay([WebSocketMessage])
    case upstream(Upstream)
    case command(String)

    /// Serves one connection to its end. `commandEnded` hears how the connection's command ended.
    @concurrent
    func serve(
        _ socket: WebSocketConnection, commandEnded: @escaping @Sendable (ChildCommand.Ending) async -> Void
    ) async throws(WebSocketError) {
        switch self {
        case .echo: for try await message in socket.messages { try await socket.send(message) }
        case .broadcast(let topics): try await share(socket, topics, "all")
        case .topics(let topics):
            let path = (socket.requestTarget ?? "/").prefix { $0 != "?" }
            try await share(socket, topics, String(path))
        case .replay(let messages): for message in messages { try await socket.send(message) }
        case .upstream(let upstream):
            guard let stream = await upstream.connect() else {
                try await socket.close(code: .tryAgainLater, reason: "the upstream cannot be reached")
                return
            }
            try await StreamRelay(socket: socket, stream: stream, isLines: false) { .init(code: .normalClosure) }.run()
        case .command(let command):
            guard let child = ChildCommand(command, for: socket) else {
                try await socket.close(code: .tryAgainLater, reason: "the command cannot be started")
                return
            }
            let relay = StreamRelay(socket: socket, stream: child.stream, isLines: true) { await child.end().close }
            let result: Result<Void, WebSocketError>
            do throws(WebSocketError) {
                result = .success(try await relay.run())
            } catch {
                result = .failure(error)
            }
            await commandEnded(child.end())
            try result.get()
        }
    }

    /// Takes part before anything is reported, so that whoever reads the report may rely on it.
    func join(_ socket: WebSocketConnection) {
        switch self {
        case .broadcast(let topics): topics.subscribe(socket, to: "all")
        case .topics(let topics):
            topics.subscribe(socket, to: String((socket.requestTarget ?? "/").prefix { $0 != "?" }))
        default: break
        }
    }

    private func share(
        _ socket: WebSocketConnection, _ topics: WebSocketTopics, _ topic: String
    ) async throws(WebSocketError) {
        for try await message in socket.messages { topics.publish(message, to: topic, except: socket) }
    }

    /// The files of a directory in the order of their names: `.txt` and `.json` become text, others binary messages.
    static func replay(directory path: String) throws -> ListenMode {
        guard let directory = opendir(path) else {
            throw CommandFailure(
                code: Exit.usage, message: "the directory \(path) cannot be read: \(String(cString: strerror(errno)))")
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        var messages: [WebSocketMessage] = []
        for name in names.sorted() {
            guard let bytes = FileContents.readRegular("\(path)/\(name)") else {
                let reason = errno == EINVAL ? "is no file" : "cannot be read: \(String(cString: strerror(errno)))"
                throw CommandFailure(code: Exit.usage, message: "--replay: \(path)/\(name) \(reason)")
            }
            let isText = name.hasSuffix(".txt") || name.hasSuffix(".json")
            messages.append(isText ? .text(String(decoding: bytes, as: UTF8.self)) : .binary(bytes))
        }
        return .replay(messages)
    }
}
