//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSockets

/// Lines of standard input, sent to a server that is not always there. What waits is bounded, and what became of each line
/// is counted.
///
///     vmstat 1 | swift run uplink ws://127.0.0.1:8080/
@main
struct Uplink {
    static func main() async throws {
        guard let url = CommandLine.arguments.dropFirst().first else { return print("usage: uplink URL < LINES") }
        var configuration = WebSocketSessionConfiguration.monitoring
        configuration.outboundQueue = 10_000
        configuration.outboundDeadline = .seconds(60)
        configuration.reconnect.maximumAttempts = nil

        try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
            while let line = await nextLine() {
                // A line that arrives twice does no harm, so it may be sent again when its fate is unknown.
                try await session.send(.text(line), isIdempotent: true)
            }
            try await session.close()
            let end = session.statistics
            print("sent \(end.messagesWritten), unknown \(end.messagesUnknown), not sent \(end.messagesNotSent)")
        }
    }

    /// Reading blocks: not on a thread that others need.
    @concurrent
    static func nextLine() async -> String? { readLine() }
}
