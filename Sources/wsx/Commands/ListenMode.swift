//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSockets

/// What `wsx listen` does with its connections.
enum ListenMode: Sendable {
    case echo
    /// All connections hear each other.
    case broadcast(Rooms)
    /// Those to the same path hear each other.
    case topics(Rooms)
    /// The same with other servers.
    case shared(SharedTopics)
    /// Each connection gets these, and then the end.
    case replay(Replay)
    case upstream(Upstream)
    case command(String)

    /// Serves one connection to its end. `commandEnded` hears how the connection's command ended.
    @concurrent
    func serve(
        _ socket: WebSocketConnection, commandEnded: @escaping @Sendable (ChildCommand.Ending) async -> Void
    ) async throws(WebSocketError) {
        switch self {
        case .echo: for try await message in socket.messages { try await socket.send(message) }
        case .broadcast(let rooms): try await rooms.serve(socket, Self.commonRoom)
        case .topics(let rooms): try await rooms.serve(socket, Self.path(of: socket))
        case .shared(let shared): try await shared.serve(socket, Self.path(of: socket))
        case .replay(let replay): try await replay.serve(socket)
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

    /// Takes part before anything is reported, so that a reader of the report may rely on it.
    func join(_ socket: WebSocketConnection) {
        switch self {
        case .broadcast(let rooms): rooms.join(socket, Self.commonRoom)
        case .topics(let rooms): rooms.join(socket, Self.path(of: socket))
        case .shared(let shared): shared.topics.subscribe(socket, to: Self.path(of: socket))
        case .echo, .replay, .upstream, .command: break
        }
    }

    /// Topics that have a broker.
    var sharedTopics: SharedTopics? {
        if case .shared(let shared) = self { return shared }
        return nil
    }

    private static let commonRoom = "all"

    private static func path(of socket: WebSocketConnection) -> String {
        String((socket.requestTarget ?? "/").prefix { $0 != "?" })
    }
}
