//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSockets
import WebSocketsTestKit

@Suite(.timeLimit(.minutes(5))) struct WebSocketPairTests {
    @Test func bothEndsTalk() async throws {
        try await withWebSocketPair { pair in
            try await pair.client.send("to the server")
            #expect(try await pair.server.receive() == .text("to the server"))
            try await pair.server.send([1, 2, 3] as [UInt8])
            #expect(try await pair.client.receive() == .binary([1, 2, 3]))
            async let closed = pair.client.closed()
            try await pair.server.close(code: .goingAway)
            #expect(try await closed.code == .goingAway)
        }
    }

    @Test func optionsApplyToBoth() async throws {
        var options = WebSocketOptions()
        options.maximumMessageSize = 10
        try await withWebSocketPair(options: options) { pair in
            try await pair.client.send("more than ten bytes")
            await #expect(throws: WebSocketError.self) { _ = try await pair.server.receive() }
        }
    }

    @Test func anErrorOfTheBodyIsPassedOn() async throws {
        struct Mine: Error {}
        await #expect(throws: Mine.self) { try await withWebSocketPair { _ in throw Mine() } }
    }
}
