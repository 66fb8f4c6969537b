//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// The bodies of scopes run where their caller runs, and may touch what it may: that these compile is half the test.
@Suite(.timeLimit(.minutes(5)))
struct CallersActorTests {
    private struct Mishap: Error, Equatable {}

    /// Every scope there is, with an echo behind it. A message goes through each.
    private enum Scope: String, CaseIterable, CustomTestStringConvertible {
        case client, pool, newConnection, managed, managedOnce, session

        var testDescription: String { rawValue }

        func run(_ loopback: Loopback, _ body: (WebSocketMessage) async throws -> Void) async throws {
            var pooled = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
            pooled.client = loopback.client
            var persistent = WebSocketSessionConfiguration()
            persistent.client = loopback.client
            switch self {
            case .client:
                try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                    try await socket.send("x")
                    try await body(try await socket.receive())
                }
            case .pool, .newConnection:
                try await WebSocketConnectionPool.withPool(to: loopback.url, configuration: pooled) { pool in
                    guard self == .pool else {
                        return try await pool.withNewConnection { socket in
                            try await socket.send("x")
                            try await body(try await socket.receive())
                        }
                    }
                    try await pool.withConnection { socket in
                        try await socket.send("x")
                        try await body(try await socket.receive())
                    }
                }
            case .managed:
                let connection = try WebSocketManagedConnection(to: loopback.url, configuration: loopback.client)
                defer { connection.abort() }
                try await connection.withConnection { connection in
                    try await connection.send("x")
                    try await body(try await connection.receive())
                }
            case .managedOnce:
                try await WebSocketManagedConnection.withConnection(
                    to: loopback.url, configuration: loopback.client
                ) { connection in
                    try await connection.send("x")
                    try await body(try await connection.receive())
                }
            case .session:
                try await WebSocketSession.withSession(to: loopback.url, configuration: persistent) { session in
                    #expect(await session.waitConnected(timeout: .seconds(60)))
                    try await session.send("x")
                    try await body(try await session.receive())
                }
            }
        }
    }

    @Test(arguments: Scope.allCases)
    private func aScriptsVariablesCanBeTouched(_ scope: Scope) async throws {
        try await withLoopback(handler: echo) { loopback in
            var received: [WebSocketMessage] = []
            try await scope.run(loopback) { received.append($0) }
            #expect(received == ["x"])
        }
    }

    /// Not Sendable, as most classes.
    private final class Journal {
        var entries: [WebSocketMessage] = []

        func fill(_ scope: Scope, _ loopback: Loopback) async throws {
            try await scope.run(loopback) { self.entries.append($0) }
        }
    }

    @Test(arguments: Scope.allCases)
    private func aClassCanTouchItself(_ scope: Scope) async throws {
        try await withLoopback(handler: echo) { loopback in
            let journal = Journal()
            try await journal.fill(scope, loopback)
            #expect(journal.entries == ["x"])
        }
    }

    private actor Ledger {
        var entries: [WebSocketMessage] = []

        func fill(_ scope: Scope, _ loopback: Loopback) async throws {
            try await scope.run(loopback) { message in
                // Without a hop: it is the actor's code.
                self.assertIsolated()
                entries.append(message)
            }
        }
    }

    @Test(arguments: Scope.allCases)
    private func anActorCanTouchItsState(_ scope: Scope) async throws {
        try await withLoopback(handler: echo) { loopback in
            let ledger = Ledger()
            try await ledger.fill(scope, loopback)
            #expect(await ledger.entries == ["x"])
        }
    }

    @MainActor private final class ViewModel {
        var text = ""

        func load(_ loopback: Loopback) async throws {
            try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                MainActor.assertIsolated()
                try await socket.send("main")
                text = try await socket.receive().text ?? ""
                MainActor.assertIsolated()
            }
        }
    }

    @Test func theMainActorStaysTheMainActor() async throws {
        try await withLoopback(handler: echo) { loopback in
            let model = ViewModel()
            try await model.load(loopback)
            #expect(await model.text == "main")
        }
    }

    /// What the result is made of need not be Sendable either.
    @Test func aResultMayBeAnything() async throws {
        try await withLoopback(handler: echo) { loopback in
            let journal = try await WebSocketClient.withConnection(
                to: loopback.url, configuration: loopback.client
            ) { socket in
                try await socket.send("x")
                let journal = Journal()
                journal.entries.append(try await socket.receive())
                return journal
            }
            #expect(journal.entries == ["x"])
        }
    }

    @Test(arguments: [true, false])
    func aThrowClosesWith1011AndAReturnWith1000(throwing: Bool) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(handler: report(closes)) { loopback in
            var entered = 0
            for isManaged in [false, true] {
                let result = await Task<Void, any Error>.immediate { [loopback] in
                    if isManaged {
                        try await WebSocketManagedConnection.withConnection(
                            to: loopback.url, configuration: loopback.client
                        ) { _ in if throwing { throw Mishap() } }
                    } else {
                        try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) {
                            _ in if throwing { throw Mishap() }
                        }
                    }
                }.result
                entered += 1
                if throwing { #expect(throws: Mishap()) { try result.get() } } else { try result.get() }
                let info = try await closes.next()
                #expect(info.received?.code == (throwing ? .internalError : .normalClosure))
            }
            #expect(entered == 2)
        }
    }

    @Test func aCancelledBodyStillCloses() async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(handler: report(closes)) { loopback in
            let entered = Events<Void>()
            let scope = Task {
                var count = 0
                try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                    count += 1
                    entered.send()
                    _ = try await socket.receive()
                }
            }
            try await entered.next()
            scope.cancel()
            let error = await #expect(throws: WebSocketError.self) { try await scope.value }
            #expect(error?.code == .cancelled)
            #expect(try await closes.next().received?.code == .internalError)
        }
    }

    /// The fast form runs on the loop, wherever it is called from.
    @Test func onLoopRunsOnTheLoop() async throws {
        try await withLoopback(handler: echo) { loopback in
            var pooled = WebSocketConnectionPoolConfiguration(maximumConnections: 1)
            pooled.client = loopback.client
            var persistent = WebSocketSessionConfiguration()
            persistent.client = loopback.client
            for executor in [WebSocketBodyExecutor.loop, .global] {
                let isOnLoop = executor == .loop
                let loop = loopback.loop
                try await WebSocketClient.withConnection(
                    to: loopback.url, configuration: loopback.client, on: executor
                ) { socket in
                    _ = try await socket.ping()
                    #expect(loop.isOnLoop == isOnLoop)
                }
                try await WebSocketConnectionPool.withPool(to: loopback.url, configuration: pooled) { pool in
                    try await pool.withConnection(on: executor) { _ in #expect(loop.isOnLoop == isOnLoop) }
                    try await pool.withNewConnection(on: executor) { _ in #expect(loop.isOnLoop == isOnLoop) }
                }
                try await WebSocketManagedConnection.withConnection(
                    to: loopback.url, configuration: loopback.client, on: executor
                ) { connection in
                    try await connection.send("x")
                    _ = try await connection.receive()
                    #expect(loop.isOnLoop == isOnLoop)
                }
                try await WebSocketSession.withSession(to: loopback.url, configuration: persistent, on: executor) {
                    session in
                    #expect(await session.waitConnected(timeout: .seconds(60)))
                    #expect(loop.isOnLoop == isOnLoop)
                }
            }
        }
    }
}
