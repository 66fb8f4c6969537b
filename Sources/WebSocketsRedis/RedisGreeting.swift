//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import RedisWire
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop

/// What is asked on a connection before it is used: RESP3 and who we are, whether it is a primary, which run of the server
/// it is, and the scripts. Last the channel of this process, so that the connection is one that only hears.
struct RedisGreeting: Sendable {
    private let pipe: RedisPipe
    private let loop: WebSocketEventLoop
    private let name: String
    private let timeout: Duration

    init(_ pipe: RedisPipe, loop: WebSocketEventLoop, name: String, timeout: Duration) {
        self.pipe = pipe
        self.loop = loop
        self.name = name
        self.timeout = timeout
    }

    func run(
        _ credentials: WebSocketRedisConfiguration.Credentials?, keys: RedisKeys, requiresPrimary: Bool
    ) async throws(WebSocketError) -> RedisServer {
        let deadline = ContinuousClock.now + timeout
        let pipe = pipe
        let timer = Task { [loop, name, timeout] in
            try await Task.sleep(until: deadline)
            loop.execute {
                pipe.end(
                    WebSocketError(
                        .timedOut, "\(name) did not answer within connectTimeout (\(timeout))", phase: .connect))
            }
        }
        defer { timer.cancel() }
        var hello = ["HELLO", "3"]
        if let credentials { hello += ["AUTH", credentials.user ?? "default", credentials.password] }
        hello += ["SETNAME", "\(keys.prefix):\(keys.node)"]
        let greeting = try await ask(hello)
        if case .error(let error) = greeting { throw refusal(error, hasCredentials: credentials != nil) }
        guard greeting["proto"]?.number == 3 else {
            throw WebSocketError(.brokerRefused, "\(name) does not speak RESP3; Redis 6 or a Valkey is needed")
        }
        if requiresPrimary {
            let role = try await ask(["ROLE"])
            if let problem = RedisServer.roleProblem(role) { throw problem }
        }
        let incarnation = RedisServer.incarnation(try await ask(["INFO", "server"]))
        let publish = try await load(RedisScripts.publish)
        let read = try await load(RedisScripts.read)
        return RedisServer(incarnation: incarnation, publishScript: publish, readScript: read)
    }

    /// Without the right to load scripts there is no history, and everything else works.
    private func load(_ script: String) async throws(WebSocketError) -> String {
        try await ask(["SCRIPT", "LOAD", script]).text ?? "0000000000000000000000000000000000000000"
    }

    private func refusal(_ error: RESPError, hasCredentials: Bool) -> WebSocketError {
        let advice: String
        switch error.code {
        case "WRONGPASS": advice = "check the user and the password"
        case "NOAUTH": advice = "it needs a password; give credentials"
        case "LOADING": advice = "it reads its data and will answer later"
        case "NOPROTO", "ERR": advice = "RESP3 is needed, which Redis 6 and Valkey speak"
        default: advice = "check its state and the user's access rules"
        }
        let isTemporary = error.code == "LOADING"
        return WebSocketError(
            isTemporary ? .brokerUnavailable : .brokerRefused,
            "\(name) answered “\(error.text.escapedForLog)”; \(advice)")
    }

    private func ask(_ words: [String]) async throws(WebSocketError) -> RESPValue {
        let pipe = pipe
        let answer: RESPValue? = await withTaskCancellationHandler {
            await suspend { (continuation: LoopContinuation<RESPValue?>) in
                let isTaken = loop.execute { pipe.send(words) { continuation.resume(returning: $0) } }
                if !isTaken { continuation.resume(returning: nil) }
            }
        } onCancel: {
            loop.execute { pipe.end(.cancelled("connect")) }
        }
        if let answer { return answer }
        let error: WebSocketError? = await suspend { (continuation: LoopContinuation<WebSocketError?>) in
            if !loop.execute({ continuation.resume(returning: pipe.failure) }) { continuation.resume(returning: nil) }
        }
        throw error ?? WebSocketError(.shutDown, "the event loop was shut down; use one that runs")
    }
}
