//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Glibc
import Synchronization
import Testing
import WebSockets

@testable import wsx

/// `wsx listen --to`.
@Suite(.timeLimit(.minutes(5)))
struct ListenUpstreamTests {
    @Test(arguments: ["tcp", "unix"]) func idleClientsDoNotStopTheOthers(kind: String) async throws {
        let path = FileManager.default.temporaryDirectory.appending(path: "wsx-\(UUID().uuidString.prefix(8))").path
        let upstream = try kind == "tcp" ? RawServer() : RawServer(unixSocketAt: path)
        try await Command.listen(["--to", upstream.upstream]) { url in
            let socket = try await WebSocketClient.connect(to: url)
            let stream = await upstream.accept()
            var idle: [(WebSocketConnection, CInt)] = []
            // More than there are threads for blocking calls.
            for _ in 0..<270 {
                let client = try await WebSocketClient.connect(to: url)
                idle.append((client, await upstream.accept()))
            }
            try await socket.send("still here")
            #expect(await upstream.read(stream) { $0.count >= 10 } == Array("still here".utf8))
            upstream.write(stream, Array("so am I".utf8))
            #expect(try await socket.receive() == .binary(Array("so am I".utf8)))
            for (client, stream) in idle {
                upstream.close(stream)
                client.abort()
            }
            upstream.close(stream)
        }
    }

    /// More than any buffer holds, both ways.
    @Test func muchGoesThroughUnchanged() async throws {
        let upstream = try RawServer()
        let block = (0..<65_521).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        let bytes = repeatElement(block, count: 128).reduce(into: [UInt8]()) { $0 += $1 }
        try await Command.listen(["--to", upstream.upstream]) { url in
            let socket = try await WebSocketClient.connect(to: url)
            let stream = await upstream.accept()
            async let received = upstream.read(stream) { $0.count >= bytes.count }
            for start in stride(from: 0, to: bytes.count, by: 1 << 19) {
                try await socket.send(Array(bytes[start..<min(bytes.count, start + 1 << 19)]))
            }
            #expect(await received == bytes)
            async let written: Void = upstream.writeAll(stream, bytes)
            var echo: [UInt8] = []
            while echo.count < bytes.count {
                guard case .binary(let part) = try await socket.receive() else { break }
                echo += part
            }
            await written
            #expect(echo == bytes)
            upstream.close(stream)
            #expect(try await socket.closed().received?.code == .normalClosure)
        }
    }
}
