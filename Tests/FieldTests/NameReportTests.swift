//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Synchronization
import Testing
import WebSocketLoop
import WebSockets

/// Reports of other libraries on names. No test asks the system's DNS.
@Suite(.timeLimit(.minutes(5)))
struct NameReportTests {
    /// What a name service says, one answer after the other; the last one stays.
    private final class Directory: Sendable {
        private let answers: Mutex<[NameService.Answer]>
        private let count = Mutex(0)

        init(_ answers: [NameService.Answer]) { self.answers = Mutex(answers) }

        /// From now on.
        func say(_ answer: NameService.Answer) { answers.withLock { $0 = [answer] } }

        var lookUps: Int { count.withLock { $0 } }

        func next() -> NameService.Answer {
            count.withLock { $0 += 1 }
            return answers.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] }
        }
    }

    private func withDirectory(
        _ answers: [NameService.Answer], on loop: WebSocketEventLoop, _ body: (Directory) async throws -> Void
    ) async throws {
        let directory = Directory(answers)
        let service = NameService(lookUp: { _ in directory.next() }, hosts: { [] })
        await withCheckedContinuation { continuation in
            loop.execute {
                loop.names = service
                continuation.resume()
            }
        }
        try await body(directory)
        try await until("its threads have ended", on: loop) { service.threadCount == 0 }
    }

    /// A server that says its name to whoever asks.
    private func server(called name: String) -> Handler {
        { socket in for try await _ in socket.messages { try await socket.send(name) } }
    }

    // uNetworking/uWebSockets#771, warmcat/libwebsockets#926, rofl0r/microsocks#72: only the first address was tried.
    // zaphoyd/websocketpp#656, TakahikoKawasaki/nv-websocket-client#112: an address that answers nothing held up the rest.
    @Test(arguments: [["::1", "127.0.0.2"], ["127.0.0.3", "::1", "127.0.0.2"], ["127.0.0.1", "127.0.0.2"]])
    func everyAddressOfANameIsTried(_ addresses: [String]) async throws {
        // Nothing listens at ::1 and 127.0.0.3, and 127.0.0.1 takes no further connection.
        let silent = try RawPeer(backlog: 0)
        let filling = try silent.fillBacklog()
        defer { for descriptor in filling { close(descriptor) } }
        try await withLoopback(
            server: { $0.addresses = [.tcp(host: "127.0.0.2", port: silent.port)] }, handler: server(called: "here")
        ) { loopback in
            try await withDirectory([.addresses(addresses)], on: loopback.loop) { _ in
                let socket = try await WebSocketClient.connect(
                    to: "ws://venue.test:\(silent.port)/", configuration: loopback.client)
                try await socket.send("who?")
                #expect(try await socket.receive() == "here")
                #expect(socket.remoteAddress?.description == "127.0.0.2:\(silent.port)")
                try await socket.close()
            }
        }
    }

    enum Way: CaseIterable, Sendable { case iterator, session, pool, managed }

    /// What the first connection's server answers, and the next one's, when `move` has ended the first.
    private func answers(
        _ way: Way, _ url: String, _ client: WebSocketClientConfiguration, of count: Int = 2,
        move: @Sendable () async -> Void
    ) async throws -> [WebSocketMessage] {
        var answers: [WebSocketMessage] = []
        var policy = WebSocketReconnectPolicy()
        policy.strategy = .fixed(.milliseconds(1))
        switch way {
        case .iterator:
            for try await socket in WebSocketClient.connections(to: url, configuration: client, reconnect: policy) {
                try await socket.send("who?")
                answers.append(try await socket.receive())
                if answers.count == count { break }
                await move()
                _ = try await socket.closed()
            }
        case .session:
            var configuration = WebSocketSessionConfiguration()
            configuration.client = client
            configuration.reconnect = policy
            configuration.prepare = { try await $0.send("who?") }
            try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                for try await message in session.messages {
                    answers.append(message)
                    if answers.count == count { break }
                    await move()
                }
            }
        case .pool:
            var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
            configuration.client = client
            configuration.backoff = .init(base: .milliseconds(1), maximum: .milliseconds(1))
            configuration.circuitBreaker.failureThreshold = 1_000
            try await WebSocketConnectionPool.withPool(to: url, configuration: configuration) { pool in
                for number in 0..<count {
                    try await pool.withConnection { socket in
                        try await socket.send("who?")
                        answers.append(try await socket.receive())
                        guard number + 1 < count else { return }
                        await move()
                        _ = try await socket.closed()
                    }
                }
            }
        case .managed:
            let managed = try WebSocketManagedConnection(to: url, configuration: client)
            for number in 0..<2 {
                while true {
                    do throws(WebSocketError) {
                        try await managed.acquire()
                        break
                    } catch {
                        try #require(error.code == .connectionUnavailable, "\(error)")
                    }
                }
                try await managed.send("who?")
                answers.append(try await managed.receive())
                if number == 0 {
                    await move()
                    while (try? await managed.receive()) != nil {}
                }
                managed.release()
            }
            try await managed.close()
        }
        return answers
    }

    // firezone/firezone#10817, ithewei/libhv#798, reactor/reactor#379: a name was looked up once, and a client went on
    // asking where the server had been.
    @Test(arguments: Way.allCases)
    func whatConnectsAgainLooksTheNameUpAgain(_ way: Way) async throws {
        try await withLoopback(handler: server(called: "old")) { old in
            try await withLoopback(
                server: { $0.addresses = [.tcp(host: "127.0.0.2", port: old.server.port)] },
                handler: server(called: "new")
            ) { _ in
                try await withDirectory([.addresses(["127.0.0.1"])], on: old.loop) { directory in
                    let server = old.server
                    let found = try await answers(way, "ws://venue.test:\(server.port)/", old.client) {
                        directory.say(.addresses(["127.0.0.2"]))
                        await server.shutDown()
                    }
                    #expect(found == ["old", "new"])
                    #expect(directory.lookUps == 2)
                }
            }
        }
    }

    // cesanta/mongoose#2870, ithewei/libhv#876, eclipse-paho/paho.mqtt.c#996, adhdtech/DRP#120: a name that could not be
    // looked up at the beginning was never found.
    @Test(arguments: Way.allCases, [EAI_AGAIN, EAI_NONAME, EAI_FAIL])
    func aNameThatIsNotFoundForAWhileIsFoundLater(_ way: Way, _ code: CInt) async throws {
        let failure = NameService.Answer.failure(code, errno: 0)
        try await withLoopback(handler: server(called: "found")) { loopback in
            try await withDirectory([failure, failure, .addresses(["127.0.0.1"])], on: loopback.loop) { directory in
                let url = "ws://venue.test:\(loopback.server.port)/"
                if way == .managed {
                    // Of a managed connection each attempt is its user's, and says why it failed.
                    let managed = try WebSocketManagedConnection(to: url, configuration: loopback.client)
                    for isThere in [false, false, true] {
                        do throws(WebSocketError) {
                            try await managed.acquire()
                            #expect(isThere)
                        } catch {
                            #expect(!isThere && error.message.contains("venue.test"), "\(error)")
                        }
                    }
                    managed.release()
                    try await managed.close()
                } else {
                    #expect(try await answers(way, url, loopback.client, of: 1) {} == ["found"])
                    #expect(directory.lookUps == 3)
                }
            }
        }
    }
}
