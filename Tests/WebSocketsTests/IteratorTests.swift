//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import TestSupport
import Testing
import WebSockets

/// `async for … in connect(…)` of websockets, where it goes wrong there.
@Suite(.timeLimit(.minutes(5)))
struct IteratorTests {
    /// There, a redirect rewrites the address, and takes the credentials, of all later connections.
    @Test func everyConnectionBeginsAtItsOwnURL() async throws {
        try await withLoops { loops in
            let (front, back) = (try WebSocketBytePeerListener(), try WebSocketBytePeerListener())
            var client = try clientConfiguration(on: loops)
            client.maximumRedirects = 1
            client.headers[.authorization] = "Bearer t"
            let redirect =
                "HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:\(back.port)/\r\nContent-Length: 0\r\n\r\n"
            let serving = Task {
                for _ in 0..<2 {
                    let first = try await front.accept()
                    let head = try await first.readHead()
                    #expect(head["Authorization"] == "Bearer t")
                    try await first.write(Array(redirect.utf8))
                    let second = try await back.accept()
                    #expect(try await second.acceptHandshake()["Authorization"] == nil)
                    try await second.send(.close(1001))
                    #expect(try await second.readFrame().closeCode == 1001)
                    first.close()
                    second.close()
                }
            }
            var policy = WebSocketReconnectPolicy()
            policy.strategy = .immediate
            var count = 0
            for try await socket in WebSocketClient.connections(
                to: "ws://127.0.0.1:\(front.port)/", configuration: client, reconnect: policy)
            {
                #expect(try await socket.closed().received?.code == .goingAway)
                count += 1
                if count == 2 { break }
            }
            try await serving.value
        }
    }

    /// One that does not answer is passed over, and so is the one that vanished; the one that closed is asked again.
    @Test func severalServersAreTriedInTurn() async throws {
        try await withLoops { loops in
            // Of a listener that is gone at once.
            let dead = try WebSocketBytePeerListener().port
            let servers = [try WebSocketBytePeerListener(), try WebSocketBytePeerListener()]
            let client = try clientConfiguration(on: loops)
            let serving = Task {
                /// Takes a message, and so knows that the client's iterator has got the connection.
                func serve(_ server: Int, _ end: (WebSocketBytePeer) async throws -> Void) async throws {
                    let peer = try await servers[server].accept()
                    _ = try await peer.acceptHandshake()
                    _ = try await peer.readFrame()
                    try await end(peer)
                    peer.close()
                }
                @Sendable func close(_ peer: WebSocketBytePeer) async throws {
                    try await peer.send(.close(1001))
                    _ = try await peer.readFrame()
                }
                try await serve(0, close)
                try await serve(0) { $0.reset() }
                try await serve(1, close)
            }
            var policy = WebSocketReconnectPolicy()
            policy.strategy = .immediate
            var targets: [String?] = []
            for try await socket in WebSocketClient.connections(
                to: ["\(dead)/dead", "\(servers[0].port)/0", "\(servers[1].port)/1"].map { "ws://127.0.0.1:\($0)" },
                configuration: client, reconnect: policy)
            {
                targets.append(socket.requestTarget)
                try await socket.send("here")
                _ = try? await socket.closed()
                if targets.count == 3 { break }
            }
            #expect(targets == ["/0", "/0", "/1"])
            try await serving.value
        }
    }

    @Test func noServerIsNamed() async throws {
        let error = try await failure { for try await _ in WebSocketClient.connections(to: [String]()) {} }
        #expect(error.code == .invalidURL)
    }

    /// A loop that is left by `break` or an error aborts its connection. The scope closes it, and says what happens
    /// while there is none.
    @Test func aScopeClosesItsConnectionsAndLogsWhatFails() async throws {
        struct Enough: Error {}
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            let client = try clientConfiguration(on: loops)
            let serving = Task {
                try await listener.accept().write(Array("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".utf8))
                var codes: [UInt16?] = []
                for turn in 0..<4 {
                    let peer = try await listener.accept()
                    try await peer.acceptHandshake()
                    // The second connection ends under its body.
                    if turn == 1 { try await peer.send(.close(1012)) }
                    codes.append(try await peer.readFrame().closeCode)
                    if turn != 1 { try await peer.send(.close(codes[turn] ?? 1000)) }
                }
                return codes
            }
            var policy = WebSocketReconnectPolicy()
            policy.strategy = .immediate
            let log = Events<LogEntry>()
            let url = "ws://me:secret@127.0.0.1:\(listener.port)/"
            var turn = 0
            let thrown = await #expect(throws: Enough.self) {
                try await WebSocketClient.connections(
                    to: url, configuration: client, reconnect: policy, logger: LogEntry.logger(log)
                ).run { socket in
                    defer { turn += 1 }
                    switch turn {
                    case 0: return
                    case 1: while true { _ = try await socket.receive() }
                    // An error that says nothing of the connection.
                    case 2: do { try await socket.send([UInt8](repeating: 0xFF, count: 1), as: .text) } catch { return }
                    default: throw Enough()
                    }
                }
            }
            #expect(thrown != nil && turn == 4)
            #expect(try await serving.value == [1000, 1012, 1000, 1011])
            let told = [try await log.next(), try await log.next()].map { "\($0.message) \($0.metadata)" }
            #expect(told[0].contains("503") && told[1].contains("1012"), "\(told)")
            #expect(!told.contains { $0.contains("secret") })
        }
    }
}
