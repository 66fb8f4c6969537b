//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// Faults that concern the process as a whole, each in a process of its own: rows A10, H5, X4 and X5.
@Suite(.timeLimit(.minutes(5))) struct ProcessFaultTests {
    private static func server(on loops: EventLoopGroup) throws -> WebSocketServer {
        var configuration = WebSocketServerConfiguration()
        configuration.eventLoopGroup = loops
        return try WebSocketServer(configuration: configuration)
    }

    /// Takes every descriptor that the process may have, except `spare`.
    private static func takeDescriptors(leaving spare: Int = 0) throws -> [CInt] {
        var limit = rlimit(rlim_cur: 128, rlim_max: 128)
        try #require(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
        var taken: [CInt] = []
        while case let descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC), descriptor >= 0 {
            taken.append(descriptor)
        }
        try #require(errno == EMFILE && taken.count > spare)
        for _ in 0..<spare { close(taken.removeLast()) }
        return taken
    }

    @Test("A10: a client without descriptors says so, and connects when there are some again")
    func aClientWithoutDescriptors() async {
        await #expect(processExitsWith: .success) {
            try await withLoops { serverLoops in
                let server = try Self.server(on: serverLoops)
                let running = Task { try await server.run(echo) }
                try await withLoops { loops in
                    let client = try clientConfiguration(on: loops)
                    let url = "ws://127.0.0.1:\(server.port)/"
                    try await WebSocketClient.connect(to: url, configuration: client).close()
                    let taken = try Self.takeDescriptors()
                    for _ in 0..<3 {
                        let error = try await failure {
                            try await WebSocketClient.connect(to: url, configuration: client)
                        }
                        try #require(error.code == .resourceExhausted && error.systemError == EMFILE, "\(error)")
                    }
                    for descriptor in taken { close(descriptor) }
                    try await WebSocketClient.connect(to: url, configuration: client).close()
                }
                await server.shutDown()
                try await running.value
            }
        }
    }

    @Test("H5: a server without descriptors lets its clients wait and serves them when there are some again")
    func aServerWithoutDescriptors() async {
        await #expect(processExitsWith: .success) {
            try await withLoops { loops in
                let server = try Self.server(on: loops)
                let running = Task { try await server.run(echo) }
                let first = try await BytePeer.connect(port: server.port)
                try await first.openHandshake()
                let taken = try Self.takeDescriptors(leaving: 1)
                // Its own end takes the last one, so the server cannot have the other.
                let second = try await BytePeer.connect(port: server.port)
                try await second.write(BytePeer.request(target: "/"))
                // Meanwhile the loop serves those who are there.
                for _ in 0..<100 {
                    try await first.send(WireFrame(WireFrame.binary, [7]))
                    let echo = try await first.readFrame()
                    try #require(echo.payload == [7])
                }
                try #require(second.unread.isEmpty && server.connections.count == 1)
                for descriptor in taken { close(descriptor) }
                _ = try BytePeer.check(answer: await second.readHead())
                first.close()
                second.close()
                await server.shutDown()
                try await running.value
            }
        }
    }

    @Test("X4: system calls that are interrupted every millisecond lose nothing") func aStormOfSignals() async {
        await #expect(processExitsWith: .success) {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { _ in }
            // Without SA_RESTART, so that calls fail with EINTR.
            try #require(sigaction(SIGALRM, &action, nil) == 0)
            let interval = timeval(tv_sec: 0, tv_usec: 1_000)
            var timer = itimerval(it_interval: interval, it_value: interval)
            try #require(setitimer(__itimer_which_t(ITIMER_REAL.rawValue), &timer, nil) == 0)
            try await withLoopback(Transport(isSecure: true, compression: .deflate()), handler: echo) { loopback in
                let socket = try await loopback.connect()
                for size in 0..<300 {
                    let message = Payload.noise(size * 100)
                    try await socket.send(message)
                    let answer = try await socket.receive()
                    try #require(answer == .binary(message))
                }
                let info = try await socket.close()
                try #require(info.isNormal && info.unsentMessages == 0)
            }
        }
    }

    @Test("X5: a process may exit while connections live") func exitWithLiveConnections() async {
        await #expect(processExitsWith: .exitCode(3)) {
            let loops = try EventLoopGroup(count: 2)
            let server = try Self.server(on: loops)
            Task { try await server.run(echo) }
            var sockets: [WebSocketConnection] = []
            for _ in 0..<100 {
                let socket = try await WebSocketClient.connect(
                    to: "ws://127.0.0.1:\(server.port)/", configuration: clientConfiguration(on: loops))
                try await socket.send("on its way")
                sockets.append(socket)
            }
            exit(3)
        }
    }
}
