//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Sessions against Python's websockets.
@Suite(.timeLimit(.minutes(5)))
struct SessionInteropTests {
    struct End: Sendable, CustomStringConvertible {
        let path: String
        let reason: WebSocketDisconnectReason
        let code: UInt16
        var description: String { path }
    }

    @Test(arguments: [
        End(path: "close-1000", reason: .serverClosed, code: 1000),
        End(path: "close-1001", reason: .serverClosed, code: 1001),
        End(path: "close-1011", reason: .serverClosed, code: 1011),
        End(path: "close-4000", reason: .serverClosed, code: 4000),
        End(path: "close-none", reason: .serverClosed, code: 1005),
        End(path: "eof", reason: .networkError, code: 1006), End(path: "abort", reason: .networkError, code: 1006),
    ])
    func everyEndIsNoticedAndFollowedByANewConnection(_ end: End) async throws {
        try await withLoops { loops in
            var configuration = WebSocketSessionConfiguration()
            configuration.client = try clientConfiguration(on: loops)
            configuration.reconnect.strategy = .fixed(.zero)
            try await Peer.echoServer(["--behaviour", "by-path"]) { [configuration] peer in
                let url = "ws://127.0.0.1:\(peer.port)/\(end.path)"
                try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                    var ends: [WebSocketSessionDisconnect] = []
                    for try await event in session.events {
                        if case .disconnected(let end) = event { ends.append(end) }
                        if ends.count == 2 { break }
                    }
                    #expect(ends.allSatisfy { $0.reason == end.reason && $0.closeInfo?.code.rawValue == end.code })
                }
            }
        }
    }

    @Test func whatTheServerSaysFirstIsNotLost() async throws {
        try await withLoops { loops in
            var configuration = WebSocketSessionConfiguration()
            configuration.client = try clientConfiguration(on: loops)
            configuration.reconnect.strategy = .fixed(.zero)
            try await Peer.echoServer(["--behaviour", "talk-first", "hello"]) { [configuration] peer in
                let url = "ws://127.0.0.1:\(peer.port)/"
                try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                    for round in 0..<3 {
                        #expect(try await session.receive() == "hello")
                        try await session.send("\(round)")
                        #expect(try await session.receive() == .text("\(round)"))
                        await session.kill()
                    }
                }
            }
        }
    }
}
