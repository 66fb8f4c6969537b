//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSockets

/// Joins a connection to a stream of bytes, until either ends.
struct StreamRelay: Sendable {
    let socket: WebSocketConnection
    let stream: ByteStream
    /// Lines are text messages; other bytes are binary ones, cut where they were read.
    let isLines: Bool
    /// With what the connection is closed at the end of the stream.
    let atEnd: @Sendable () async -> WebSocketCloseFrame

    private static let maximumLine = 16 << 20
    /// After this many lines the loop serves its other connections.
    private static let linesInARow = 128

    func run() async throws(WebSocketError) {
        let sending = Task(executorPreference: socket.eventLoop.taskExecutor) {
            do throws(WebSocketError) {
                let close = isLines ? try await sendLines() : try await sendBytes()
                try await socket.close(code: close.code, reason: close.reason)
            } catch {
                // The other direction tells how the connection ended.
            }
        }
        let watching = Task {
            _ = try? await socket.closed()
            // A message may wait for a program that does not read it.
            await stream.endWhenStuck()
        }
        let result: Result<Void, WebSocketError>
        do throws(WebSocketError) {
            for try await message in socket.messages {
                let bytes: [UInt8] =
                    switch message {
                    case .text(let text): Array(text.utf8) + (isLines ? [UInt8(ascii: "\n")] : [])
                    case .binary(let bytes): bytes
                    }
                guard await stream.write(bytes) else {
                    // What the other program has said before goes out.
                    await sending.value
                    break
                }
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        watching.cancel()
        // What the other end still says has no receiver once the connection is closed.
        stream.end()
        await sending.value
        try result.get()
    }

    private func sendBytes() async throws(WebSocketError) -> WebSocketCloseFrame {
        while let bytes = await stream.read() {
            try await socket.send(bytes)
            await Task.yield()
        }
        return await atEnd()
    }

    private func sendLines() async throws(WebSocketError) -> WebSocketCloseFrame {
        var splitter = LineSplitter(limit: Self.maximumLine)
        var count = 0
        while let bytes = await stream.read() {
            var lines: [String] = []
            let isBounded = splitter.take(bytes) { lines.append(String(decoding: $0, as: UTF8.self)) }
            for line in lines {
                try await socket.send(line)
                count += 1
                if count.isMultiple(of: Self.linesInARow) { await Task.yield() }
            }
            guard isBounded else {
                stream.end()
                return .init(
                    code: .internalError,
                    reason: "a line of the command's output is longer than \(Self.maximumLine >> 20) MiB")
            }
            await Task.yield()
        }
        if !splitter.rest.isEmpty { try await socket.send(String(decoding: splitter.rest, as: UTF8.self)) }
        return await atEnd()
    }
}
