//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import WebSockets

/// In a network of its own, which the script has made.
enum Network {
    /// A6: each argument is a URL and the `errno` that connecting there must end with, as `URL=NUMBER`.
    static func routes(_ cases: [String]) async throws {
        let loops = try WebSocketEventLoopGroup(count: 1)
        for text in cases {
            let parts = text.split(separator: "=")
            let url = String(parts[0])
            let expected = CInt(parts[1])
            let began = ContinuousClock.now
            var failed = false
            do throws(WebSocketError) {
                try await WebSocketClient.connect(to: url, configuration: clientConfiguration(on: loops)).abort()
            } catch {
                failed = true
                print("\(url): \(error) after \(ContinuousClock.now - began)")
                try require(
                    error.code == .connectFailed && error.phase == .connect && error.systemError == expected,
                    "\(url): \(error.code), errno \(error.systemError ?? 0) instead of \(expected ?? 0)")
            }
            try require(failed, "\(url) is connected")
            try require(ContinuousClock.now - began < .seconds(10), "it took a deadline, not the answer")
        }
        try await wait(.seconds(10), for: "nothing is left") { loops.loops[0].diagnostics.isZero }
        await loops.shutDown()
    }

    /// Echoes on all interfaces until its input ends.
    static func echo(host: String) async throws {
        try await withEchoServer {
            $0.host = host
        } _: { server, _ in
            print(server.port)
            // It is a pipe that somebody waits at.
            fflush(nil)
            let ended = Task.detached {
                var byte: UInt8 = 0
                while read(STDIN_FILENO, &byte, 1) > 0 {}
            }
            await ended.value
        }
    }

    /// G6: an interface goes down for five seconds. A keepalive that is more patient survives it, and nothing is lost.
    static func interface(_ name: String, url: String) async throws {
        let loops = try WebSocketEventLoopGroup(count: 1)
        var configuration = clientConfiguration(on: loops)
        configuration.options.keepAlive = .init(interval: .seconds(1), timeout: .seconds(30))
        let socket = try await WebSocketClient.connect(to: url, configuration: configuration)
        let count = 60
        let receiving = Task {
            for number in 0..<count {
                let message = try await socket.receive()
                try require(message == .text("\(number)"), "\(message) instead of \(number)")
            }
        }
        for number in 0..<count {
            if number == 20 { try set(name, "down") }
            if number == 40 {
                try await Task.sleep(for: .seconds(5))
                try set(name, "up")
            }
            try await socket.send("\(number)")
        }
        try await receiving.value
        let info = try await socket.close()
        try require(info.isNormal && info.unsentMessages == 0, "\(info)")
        print("\(name) was down for 5 s: the connection lives, all \(count) messages came back in order")
        try await wait(.seconds(10), for: "nothing is left") { loops.loops[0].diagnostics.isZero }
        await loops.shutDown()
    }

    private static func set(_ name: String, _ state: String) throws {
        var process = pid_t()
        let words = ["ip", "link", "set", name, state]
        let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for argument in arguments { free(argument) } }
        let status = posix_spawnp(&process, "ip", nil, nil, arguments, environ)
        var code: CInt = 0
        try require(
            status == 0 && waitpid(process, &code, 0) == process && code == 0, "ip link set \(name) \(state) failed")
    }
}
