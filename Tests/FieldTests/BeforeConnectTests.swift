//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import LoopbackSupport
import Synchronization
import Testing
import WebSockets

/// Tokens, signatures and listen keys that expire: each attempt asks for its own.
@Suite(.timeLimit(.minutes(5)))
struct BeforeConnectTests {
    /// A server that takes each token once, and the closure that has the next one.
    final class Tokens: Sendable {
        struct State {
            var issued = 0
            var seen: [String] = []
            var refusals: [Int?] = []
        }
        let state = Mutex(State())

        func next(_ attempt: WebSocketConnectAttempt) -> WebSocketConnectAttempt {
            var attempt = attempt
            let token = state.withLock { state in
                state.issued += 1
                state.refusals.append(attempt.refusal?.response?.status)
                return state.issued
            }
            attempt.headers[.authorization] = "Bearer \(token)"
            return attempt
        }

        /// Whether this token is shown for the first time.
        func takes(_ request: WebSocketUpgradeRequest) -> Bool {
            let token = request.headers[.authorization] ?? ""
            return state.withLock { state in
                defer { state.seen.append(token) }
                return token.hasPrefix("Bearer ") && !state.seen.contains(token)
            }
        }
    }

    enum Way: CaseIterable, Sendable { case call, iterator, session, managed, pool }

    /// A server that ends each connection after its first message, and `body` with how to reach it.
    private func withTokenServer(
        _ tokens: Tokens, refusing status: Int = 401, first refused: Set<Int> = [], _ transport: Transport = .plain,
        _ body: (Loopback) async throws -> Void
    ) async throws {
        let requests = Mutex(0)
        try await withLoopback(
            transport,
            server: { configuration in
                configuration.subprotocols = ["fresh"]
                configuration.onRequest = { request in
                    let number = requests.withLock { count in
                        count += 1
                        return count
                    }
                    guard tokens.takes(request), !refused.contains(number) else { return .respond(status: status) }
                    return .accept()
                }
            },
            handler: { socket in
                let message = try await socket.receive()
                try await socket.send(message)
                try await socket.close(code: .goingAway)
            }, body)
    }

    /// A renewal is an attempt like any other, its one retry with fresh credentials included.
    @Test func eachRenewalAsksAgain() async throws {
        let tokens = Tokens()
        try await withTokenServer(tokens, first: [3]) { loopback in
            var configuration = WebSocketSessionConfiguration()
            configuration.client = loopback.client
            configuration.client.beforeConnect = { tokens.next($0) }
            configuration.makesBeforeBreaking = true
            try await WebSocketSession.withSession(
                to: loopback.url, configuration: configuration, whenConnected: true
            ) { session in
                for _ in 0..<2 {
                    try session.renew()
                    for try await event in session.events { if case .renewed = event { break } }
                }
                #expect(session.statistics.renewals == 2 && session.statistics.gaps == 0)
            }
        }
        tokens.state.withLock { state in
            #expect(state.seen == (1...4).map { "Bearer \($0)" })
            #expect(state.refusals == [nil, nil, nil, 401])
        }
    }

    /// Why an attempt failed.
    private func refusal(of client: WebSocketClientConfiguration, _ url: String) async -> WebSocketError? {
        do throws(WebSocketError) {
            try await WebSocketClient.connect(to: url, configuration: client).abort()
            return nil
        } catch {
            return error
        }
    }

    private func talk(_ socket: WebSocketConnection) async throws {
        try await socket.send("hello")
        #expect(try await socket.receive() == .text("hello"))
        _ = try await socket.closed()
    }

    @Test(arguments: Way.allCases)
    func everyAttemptOfEveryWayHasItsOwnToken(_ way: Way) async throws {
        let tokens = Tokens()
        try await withTokenServer(tokens) { loopback in
            var client = loopback.client
            client.beforeConnect = { tokens.next($0) }
            let url = loopback.url + "/"
            switch way {
            case .call:
                for _ in 0..<2 { try await talk(WebSocketClient.connect(to: url, configuration: client)) }
            case .iterator:
                var policy = WebSocketReconnectPolicy()
                policy.strategy = .fixed(.zero)
                var rest = 2
                for try await socket in WebSocketClient.connections(to: url, configuration: client, reconnect: policy) {
                    try await talk(socket)
                    rest -= 1
                    if rest == 0 { break }
                }
            case .session:
                var configuration = WebSocketSessionConfiguration()
                configuration.client = client
                configuration.reconnect.strategy = .fixed(.zero)
                configuration.prepare = { try await $0.send("hello") }
                try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
                    var rest = 2
                    for try await message in session.messages {
                        #expect(message == .text("hello"))
                        rest -= 1
                        if rest == 0 { break }
                    }
                }
            case .managed:
                let managed = try WebSocketManagedConnection(to: url, configuration: client)
                for _ in 0..<2 {
                    try await managed.acquire()
                    try await managed.send("hello")
                    #expect(try await managed.receive() == .text("hello"))
                    while (try? await managed.receive()) != nil {}
                    managed.release()
                }
                try await managed.close()
            case .pool:
                var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
                configuration.client = client
                try await WebSocketConnectionPool.withPool(to: url, configuration: configuration) { pool in
                    for _ in 0..<2 {
                        try await pool.withConnection { socket in
                            try await socket.send("hello")
                            #expect(try await socket.receive() == .text("hello"))
                            while (try? await socket.receive()) != nil {}
                        }
                    }
                }
            }
            let (seen, refusals) = tokens.state.withLock { ($0.seen, $0.refusals) }
            #expect(seen.prefix(2) == ["Bearer 1", "Bearer 2"])
            #expect(Set(seen).count == seen.count, "no token twice: \(seen)")
            #expect(refusals.allSatisfy { $0 == nil })
        }
    }

    @Test func urlHeadersSubprotocolsAndTLSAreTheAttempts() async throws {
        let tokens = Tokens()
        try await withTokenServer(tokens, .secure) { loopback in
            var client = loopback.client
            let tls = client.tls
            // With these alone the server would not be trusted, nor asked for what it is.
            client.tls = .init()
            client.headers[.userAgent] = "configured"
            client.beforeConnect = { attempt in
                #expect(attempt.url == loopback.url + "/old" && attempt.headers[.userAgent] == "configured")
                var attempt = tokens.next(attempt)
                attempt.url = loopback.url + "/new?signature=1"
                attempt.subprotocols = ["fresh"]
                attempt.tls = tls
                return attempt
            }
            let socket = try await WebSocketClient.connect(to: loopback.url + "/old", configuration: client)
            #expect(socket.requestTarget == "/new?signature=1" && socket.subprotocol == "fresh")
            #expect(socket.tls != nil)
            try await talk(socket)
        }
    }

    @Test(arguments: [401, 403])
    func aRefusalIsTriedOnceMoreWithFreshOnes(_ status: Int) async throws {
        let tokens = Tokens()
        try await withTokenServer(tokens, refusing: status, first: [1]) { loopback in
            let socket = try await loopback.connect { $0.beforeConnect = { tokens.next($0) } }
            try await talk(socket)
            #expect(tokens.state.withLock { $0.seen } == ["Bearer 1", "Bearer 2"])
            #expect(tokens.state.withLock { $0.refusals } == [nil, status])
        }
    }

    @Test(arguments: [(401, 2), (403, 2), (404, 1), (503, 1)])
    func aSecondRefusalCountsAndSoDoesEveryOther(_ status: Int, _ attempts: Int) async throws {
        let tokens = Tokens()
        try await withTokenServer(tokens, refusing: status, first: [1, 2, 3]) { loopback in
            let error = await #expect(throws: WebSocketError.self) {
                _ = try await loopback.connect { $0.beforeConnect = { tokens.next($0) } }
            }
            #expect(error?.code == .handshakeRejected && error?.response?.status == status)
            #expect(tokens.state.withLock { $0.seen.count } == attempts)
        }
    }

    @Test func withoutTheClosureARefusalIsNotRepeated() async throws {
        let tokens = Tokens()
        try await withTokenServer(tokens, first: [1, 2]) { loopback in
            let error = await #expect(throws: WebSocketError.self) { _ = try await loopback.connect() }
            #expect(error?.code == .handshakeRejected && tokens.state.withLock { $0.seen.count } == 1)
        }
    }

    struct NoToken: Error, Equatable { let number: Int }

    @Test func whatItThrowsIsKept() async throws {
        try await withLoops { loops in
            var client = try clientConfiguration(on: loops)
            client.beforeConnect = { _ in throw NoToken(number: 7) }
            let error = await refusal(of: client, "ws://127.0.0.1:9")
            #expect(error?.code == .beforeConnectFailed)
            #expect(error?.beforeConnectError as? NoToken == NoToken(number: 7))
            #expect(error?.message.contains("NoToken(number: 7)") == true)
        }
    }

    @Test func sessionsTryAgainAfterItThrew() async throws {
        let tokens = Tokens()
        let asked = Mutex(0)
        try await withTokenServer(tokens) { loopback in
            var configuration = WebSocketSessionConfiguration()
            configuration.client = loopback.client
            configuration.client.beforeConnect = { attempt in
                let number = asked.withLock { count in
                    count += 1
                    return count
                }
                guard number > 2 else { throw NoToken(number: number) }
                return tokens.next(attempt)
            }
            configuration.reconnect.strategy = .fixed(.zero)
            configuration.prepare = { try await $0.send("hello") }
            try await WebSocketSession.withSession(to: loopback.url, configuration: configuration) { session in
                for try await message in session.messages {
                    #expect(message == .text("hello"))
                    break
                }
            }
            #expect(asked.withLock { $0 } >= 3)
        }
    }

    @Test func openTimeoutEndsItAndDoesNotWaitForIt() async throws {
        try await withLoops { loops in
            let cancelled = Events<Void>()
            let release = Events<Void>()
            var client = try clientConfiguration(on: loops)
            client.openTimeout = .milliseconds(100)
            client.beforeConnect = { attempt in
                await withTaskCancellationHandler {
                    // Deaf to its cancellation.
                    await Task.detached { try? await release.next() }.value
                } onCancel: {
                    cancelled.send()
                }
                return attempt
            }
            let error = await refusal(of: client, "ws://127.0.0.1:9")
            #expect(error?.code == .timedOut && error?.message.contains("beforeConnect") == true)
            try await cancelled.next()
            release.send()
        }
    }

    /// Judged by the order on one loop, which a busy machine keeps. An attempt that begins when the closure has returned,
    /// and has less time, ends later.
    @Test func itsTimeIsPartOfOpenTimeout() async throws {
        try await withLoops { loops in
            let peer = try RawPeer()
            let url = "ws://127.0.0.1:\(peer.port)"
            let loop = loops.loops[0]
            var client = try clientConfiguration(on: loops)
            client.eventLoop = loop
            client.openTimeout = .milliseconds(9_500)
            var asked = client
            asked.openTimeout = .seconds(10)
            let returned = Events<Void>()
            asked.beforeConnect = { attempt in
                try await Task.sleep(for: .seconds(1))
                returned.send()
                return attempt
            }
            let ends = Events<String>()
            let first = Task(executorPreference: loop.taskExecutor) { [asked] in
                let error = await refusal(of: asked, url)
                ends.send("asked")
                return error
            }
            try await returned.next()
            let second = Task(executorPreference: loop.taskExecutor) { [client] in
                let error = await refusal(of: client, url)
                ends.send("not asked")
                return error
            }
            #expect(try await [ends.next(), ends.next()] == ["asked", "not asked"])
            for error in [await first.value, await second.value] {
                #expect(error?.code == .timedOut && error?.phase == .upgrade, "\(error as Any)")
            }
        }
    }

    @Test func cancellationEndsIt() async throws {
        try await withLoops { loops in
            let began = Events<Void>()
            let cancelled = Events<Void>()
            var client = try clientConfiguration(on: loops)
            client.beforeConnect = { attempt in
                began.send()
                do { try await Task.sleep(for: .seconds(600)) } catch { cancelled.send() }
                return attempt
            }
            let connecting = Task { [client] in
                try await WebSocketClient.connect(to: "ws://127.0.0.1:9", configuration: client)
            }
            try await began.next()
            connecting.cancel()
            let error = await #expect(throws: WebSocketError.self) { _ = try await connecting.value }
            #expect(error?.code == .cancelled)
            try await cancelled.next()
        }
    }

    @Test func aLoopThatIsShutDownEndsIt() async throws {
        let loops = try WebSocketEventLoopGroup(count: 1)
        let began = Events<Void>()
        var client = try clientConfiguration(on: loops)
        client.beforeConnect = { attempt in
            began.send()
            try await Task.sleep(for: .seconds(600))
            return attempt
        }
        let connecting = Task { [client] in
            try await WebSocketClient.connect(to: "ws://127.0.0.1:9", configuration: client)
        }
        try await began.next()
        await loops.shutDown()
        let error = await #expect(throws: WebSocketError.self) { _ = try await connecting.value }
        #expect(error?.code == .shutDown)
    }

    @Test func whatItReturnsIsCheckedAsTheConfigurationIs() async throws {
        try await withLoops { loops in
            let cases: [(WebSocketError.Code, @Sendable (inout WebSocketConnectAttempt) -> Void)] = [
                (.invalidURL, { $0.url = "ws://" }),
                (.invalidURL, { $0.url = "ftp://127.0.0.1" }),
                (.invalidConfiguration, { $0.headers[.upgrade] = "h2c" }),
                (.invalidConfiguration, { $0.subprotocols = ["not a token"] }),
                (
                    .invalidConfiguration,
                    {
                        $0.url = "wss://127.0.0.1:9"
                        $0.tls.trust = .certificates(.file("/nowhere.pem"))
                    }
                ),
            ]
            for (code, change) in cases {
                var client = try clientConfiguration(on: loops)
                client.beforeConnect = { attempt in
                    var attempt = attempt
                    change(&attempt)
                    return attempt
                }
                let error = await refusal(of: client, "ws://127.0.0.1:9")
                #expect(error?.code == code, "\(String(describing: error))")
                #expect(error?.message.hasPrefix("what beforeConnect returned cannot be used: ") == true)
            }
        }
    }

    @Test func observersSeeEachTryAndEachFailureOnce() async throws {
        final class Watcher: WebSocketObserver {
            let lines = Mutex<[String]>([])
            func connecting(to url: WebSocketURL) { lines.withLock { $0.append("connecting") } }
            func opened(_ connection: WebSocketConnectionSummary, after duration: Duration) {
                lines.withLock { $0.append("opened") }
            }
            func connectFailed(to url: WebSocketURL, error: WebSocketError, after duration: Duration) {
                lines.withLock { $0.append("\(error.code)") }
            }
        }
        let tokens = Tokens()
        try await withTokenServer(tokens, first: [1]) { loopback in
            let watcher = Watcher()
            let socket = try await loopback.connect {
                $0.observers = [watcher]
                $0.beforeConnect = { tokens.next($0) }
            }
            try await talk(socket)
            #expect(watcher.lines.withLock { $0 } == ["connecting", "handshakeRejected", "connecting", "opened"])
            watcher.lines.withLock { $0 = [] }
            await #expect(throws: WebSocketError.self) {
                _ = try await loopback.connect {
                    $0.observers = [watcher]
                    $0.beforeConnect = { _ in throw NoToken(number: 1) }
                }
            }
            #expect(watcher.lines.withLock { $0 } == ["beforeConnectFailed"])
        }
    }
}
