//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

@Suite(.timeLimit(.minutes(5)))
struct LifetimeTests {
    @Test(arguments: Transport.all)
    func idleConnectionsAreClosed(_ transport: Transport) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            transport, server: { $0.idleTimeout = .milliseconds(200) }, handler: report(closes)
        ) { loopback in
            let socket = try await loopback.connect()
            let info = try await socket.closed()
            #expect(info.received == WebSocketCloseFrame(code: .goingAway, reason: "idle"))
            #expect(info.isNormal)
            #expect(try await closes.next().isNormal)
        }
    }

    /// Pings keep nobody; messages do.
    @Test func onlyMessagesCountAsActivity() async throws {
        try await withLoopback(
            server: {
                $0.idleTimeout = .seconds(5)
                $0.options.keepAlive = .init(interval: .milliseconds(20))
            }, handler: echo
        ) { loopback in
            let busy = try await loopback.connect()
            let idle = try await loopback.connect()
            let talking = Task {
                while !Task.isCancelled {
                    try await busy.send("x")
                    _ = try await busy.receive()
                }
            }
            #expect(try await idle.closed().received?.reason == "idle")
            talking.cancel()
            _ = await talking.result
            // It was open all the time.
            #expect(try await busy.ping() > .zero)
            try await busy.close()
        }
    }

    @Test(arguments: [Transport.plain, .secure])
    func oldConnectionsAreClosed(_ transport: Transport) async throws {
        try await withLoopback(
            transport, server: { $0.maximumLifetime = .milliseconds(300) }, handler: echo
        ) { loopback in
            let socket = try await loopback.connect()
            do {
                while true {
                    try await socket.send("x")
                    _ = try await socket.receive()
                }
            } catch {
                // Whichever call it was that met the end.
            }
            let info = try await socket.closed()
            #expect(info.received == WebSocketCloseFrame(code: .goingAway, reason: "maximum lifetime"))
        }
    }

    @Test func aConnectionThatEndsTakesItsTimersAlong() async throws {
        try await withLoopback(
            server: {
                $0.idleTimeout = .seconds(600)
                $0.maximumLifetime = .seconds(600)
            }, handler: echo
        ) { loopback in
            let loop = loopback.serverLoops.loops[0]
            let socket = try await loopback.connect()
            try await loop.reaches("both timers run") { $0.timers == 2 }
            try await socket.close()
            try await loop.reaches("none is left") { $0.timers == 0 && $0.connections == 0 }
        }
    }

    /// All clients of a server that restarts would come back at once.
    @Test(arguments: [false, true])
    func aShutDownSpreadsItsCloseFrames(_ isConfigured: Bool) async throws {
        let count = 5
        let step = Duration.milliseconds(40)
        let ready = Events<Void>()
        try await withLoopback(
            server: { if isConfigured { $0.shutdownSpread = step * count } },
            handler: { socket in
                ready.send()
                await drain(socket)
            }
        ) { loopback in
            var sockets: [WebSocketConnection] = []
            for _ in 0..<count {
                sockets.append(try await loopback.connect())
                try await ready.next()
            }
            let start = ContinuousClock.now
            let closes = sockets.map { socket in
                Task {
                    let code = try await socket.closed().received?.code
                    return (code, ContinuousClock.now - start)
                }
            }
            let spread = isConfigured ? nil : step * count
            // The timeout begins behind the last one, however short it is.
            await loopback.server.shutDown(code: .serviceRestart, timeout: .seconds(60), spread: spread)
            var times: [Duration] = []
            for close in closes {
                let (code, time) = try await close.value
                #expect(code == .serviceRestart)
                times.append(time)
            }
            // None comes before its turn; a busy machine may be late.
            for (index, time) in times.sorted().enumerated() { #expect(time >= step * index, "\(index)") }
        }
    }

    @Test func aShutDownSaysWhy() async throws {
        let ready = Events<Void>()
        try await withLoopback(
            handler: { socket in
                ready.send()
                await drain(socket)
            }
        ) { loopback in
            let socket = try await loopback.connect()
            try await ready.next()
            await loopback.server.shutDown(code: .serviceRestart, reason: "back soon")
            let info = try await socket.closed()
            #expect(info.received == WebSocketCloseFrame(code: .serviceRestart, reason: "back soon"))
        }
    }
}
