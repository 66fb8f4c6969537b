//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization
import WebSockets

/// What `scripts/trust/system-faults` runs: faults that need a network, a load or a process of their own. Each prints
/// what it saw and exits with 1 when that is not what is promised.
@main enum SystemFaults {
    static func main() async {
        let arguments = Array(CommandLine.arguments.dropFirst())
        do {
            switch (arguments.first, arguments.count) {
            case ("closing", 2): try await Crowd.closing(try number(arguments[1]))
            case ("connecting", 5):
                try await Crowd.connecting(
                    try number(arguments[1]), certificate: arguments[2], key: arguments[3], authority: arguments[4])
            case ("routes", 2...): try await Network.routes(Array(arguments.dropFirst()))
            case ("echo", 2): try await Network.echo(host: arguments[1])
            case ("interface", 3): try await Network.interface(arguments[1], url: arguments[2])
            default:
                print("see scripts/trust/system-faults")
                exit(64)
            }
        } catch {
            print("not as promised: \(error)")
            exit(1)
        }
    }

    private static func number(_ text: String) throws -> Int {
        guard let number = Int(text), number > 0 else { throw Problem("'\(text)' is no number") }
        return number
    }
}

struct Problem: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

func require(_ condition: Bool, _ description: @autoclosure () -> String) throws {
    if !condition { throw Problem(description()) }
}

/// Looks every few milliseconds, for at most so long.
func wait(_ limit: Duration, for what: String, _ condition: () -> Bool) async throws {
    let deadline = ContinuousClock.now + limit
    while !condition() {
        try require(ContinuousClock.now < deadline, "\(what): not within \(limit)")
        try await Task.sleep(for: .milliseconds(2))
    }
}

/// A server that echoes on loops of its own, while `body` runs. Nothing may be left on any loop.
func withEchoServer(
    _ change: (inout WebSocketServerConfiguration) throws -> Void = { _ in },
    onEnd: @escaping @Sendable () -> Void = {},
    _ body: (WebSocketServer, WebSocketEventLoopGroup) async throws -> Void
) async throws {
    let serverLoops = try WebSocketEventLoopGroup(count: 2)
    let clientLoops = try WebSocketEventLoopGroup(count: 1)
    var configuration = WebSocketServerConfiguration()
    configuration.eventLoopGroup = serverLoops
    configuration.backlog = 4_096
    configuration.handshakeTimeout = .seconds(120)
    configuration.options.keepAlive = nil
    try change(&configuration)
    let server = try WebSocketServer(configuration: configuration)
    let running = Task {
        try await server.run { socket in
            defer { onEnd() }
            for try await message in socket.messages { try await socket.send(message) }
        }
    }
    try await body(server, clientLoops)
    await server.shutDown()
    try await running.value
    for loop in serverLoops.loops + clientLoops.loops {
        try await wait(.seconds(30), for: "nothing is left on \(loop.name)") { loop.diagnostics.isZero }
    }
    await serverLoops.shutDown()
    await clientLoops.shutDown()
}

func clientConfiguration(on loops: WebSocketEventLoopGroup) -> WebSocketClientConfiguration {
    var configuration = WebSocketClientConfiguration()
    configuration.eventLoop = loops.next()
    configuration.openTimeout = .seconds(120)
    configuration.options.keepAlive = nil
    return configuration
}

/// Echoes on a connection of its own until it is told to end, and knows the longest round trip.
func withHealthyConnection(
    to url: String, _ configuration: WebSocketClientConfiguration, _ body: () async throws -> Void
) async throws -> (count: Int, longest: Duration) {
    let socket = try await WebSocketClient.connect(to: url, configuration: configuration)
    let isOver = Atomic<Bool>(false)
    let echoing = Task {
        var count = 0
        var longest = Duration.zero
        let clock = ContinuousClock()
        while !isOver.load(ordering: .relaxed) {
            let took = try await clock.measure {
                try await socket.send("well \(count)")
                let answer = try await socket.receive()
                try require(answer == .text("well \(count)"), "the healthy connection got \(answer)")
            }
            longest = max(longest, took)
            count += 1
        }
        try await socket.close()
        return (count, longest)
    }
    let result: Result<Void, any Error>
    do {
        result = .success(try await body())
    } catch {
        result = .failure(error)
    }
    isOver.store(true, ordering: .relaxed)
    let seen = try await echoing.value
    try result.get()
    return seen
}
