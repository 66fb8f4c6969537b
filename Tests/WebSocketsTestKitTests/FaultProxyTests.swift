//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import TestSupport
import Testing
import WebSocketsTestKit

/// Both ends of a TCP connection with the proxy between them.
private struct Path {
    let proxy: WebSocketFaultProxy
    let listener: WebSocketBytePeerListener
    let client: WebSocketBytePeer
    let server: WebSocketBytePeer
}

private func withPath<Result: Sendable>(
    seed: UInt64 = 1, _ change: @Sendable (inout WebSocketFaultProxy.Conditions) -> Void = { _ in },
    _ body: (Path) async throws -> Result
) async throws -> Result {
    let listener = try WebSocketBytePeerListener(patience: .seconds(30))
    var conditions = WebSocketFaultProxy.Conditions()
    change(&conditions)
    return try await withWebSocketFaultProxy(to: listener.port, seed: seed, conditions: conditions) { proxy in
        let client = try await WebSocketBytePeer.connect(port: proxy.port, patience: .seconds(30))
        let server = try await listener.accept()
        defer {
            client.close()
            server.close()
        }
        return try await body(Path(proxy: proxy, listener: listener, client: client, server: server))
    }
}

/// How long the body took.
private func measured(_ body: () async throws -> Void) async throws -> Duration {
    let start = ContinuousClock.now
    try await body()
    return .now - start
}

@Suite(.timeLimit(.minutes(5))) struct FaultProxyTests {
    private let message = (0..<1_000).map { UInt8(truncatingIfNeeded: $0) }

    private func isReset(_ peer: WebSocketBytePeer) async -> Bool {
        do {
            _ = try await peer.readToEnd()
            return false
        } catch {
            return error as? WebSocketBytePeerError == .system(errno: ECONNRESET)
        }
    }

    @Test func withoutToxicsEverythingPasses() async throws {
        try await withPath { path in
            let large = [UInt8](count: 3_000_000) { UInt8(truncatingIfNeeded: $0 &* 7) }
            async let sent: Void = path.client.write(large)
            #expect(try await path.server.read(large.count) == large)
            try await sent
            try await path.server.write(message)
            #expect(try await path.client.read(message.count) == message)
            // Each direction ends by itself.
            path.client.halfClose()
            #expect(try await path.server.readToEnd() == [])
            try await path.server.write([1, 2])
            path.server.close()
            #expect(try await path.client.readToEnd() == [1, 2])
            #expect(path.proxy.accepted == 1)
        }
    }

    @Test func latencyDelaysAndKeepsTheOrder() async throws {
        try await withPath { path in
            path.proxy.change {
                $0.toServer.latency = .milliseconds(40)
                $0.toServer.jitter = .milliseconds(20)
            }
            let took = try await measured {
                for byte in message.prefix(20) { try await path.client.write([byte]) }
                #expect(try await path.server.read(20) == Array(message.prefix(20)))
            }
            #expect(took >= .milliseconds(20))
            // The other direction has no toxics.
            try await path.server.write(message)
            #expect(try await path.client.read(message.count) == message)
        }
    }

    @Test func bandwidthIsKept() async throws {
        try await withPath { path in
            path.proxy.change { $0.toClient.bandwidth = 10_000 }
            let took = try await measured {
                try await path.server.write(message)
                #expect(try await path.client.read(message.count) == message)
            }
            // All but the last piece have been paid for.
            #expect(took >= .milliseconds(75))
        }
    }

    @Test func aFullPathPressesBack() async throws {
        try await withPath { path in
            path.proxy.change { $0.isSilent = true }
            let block = [UInt8](repeating: 1, count: 1 << 20)
            var written = 0
            while true {
                let count = path.client.writeWithoutWaiting(block)
                if count == 0 { break }
                written += count
            }
            #expect(written > 0)
            path.proxy.change { $0.isSilent = false }
            let received = try await path.server.read(written)
            #expect(received.count == written)
        }
    }

    @Test func theSlicerCuts() async throws {
        try await withPath { path in
            path.proxy.change {
                $0.toServer.slicer = .init(size: 100, variation: 20, delay: .milliseconds(5))
            }
            let took = try await measured {
                try await path.client.write(message)
                #expect(try await path.server.read(message.count) == message)
            }
            // At least nine pieces, with a pause behind each but the last.
            #expect(took >= .milliseconds(35))
        }
    }

    @Test func silenceLosesNothing() async throws {
        try await withPath { path in
            path.proxy.change { $0.toServer.timeout = .silent }
            try await path.client.write([1])
            // The other direction still works, and what it carries is behind what was written first.
            try await path.server.write([2])
            #expect(try await path.client.read(1) == [2])
            #expect(path.server.unread == [])
            path.proxy.change { $0.toServer.timeout = nil }
            #expect(try await path.server.read(1) == [1])
        }
    }

    @Test func aTimeoutCloses() async throws {
        try await withPath { path in
            path.proxy.change { $0.toServer.timeout = .closing(after: .milliseconds(20)) }
            let took = try await measured {
                try await path.client.write([1])
                #expect(try await path.server.readToEnd() == [])
            }
            #expect(took >= .milliseconds(20))
        }
    }

    @Test func resetPeerResetsBothEnds() async throws {
        try await withPath { path in
            path.proxy.change { $0.toClient.resetPeer = .milliseconds(10) }
            try await path.server.write([1])
            #expect(await isReset(path.client))
            #expect(await isReset(path.server))
        }
    }

    @Test func limitsEndWhatPasses() async throws {
        try await withPath { path in
            path.proxy.change { $0.toServer.limitData = .init(bytes: 700) }
            try await path.client.write(message)
            let passed = try await path.server.readToEnd()
            #expect(passed == Array(message.prefix(700)))
        }
        try await withPath { path in
            path.proxy.change { $0.toServer.limitData = .init(bytes: 700, then: .reset) }
            try await path.client.write(message)
            #expect(await isReset(path.server))
        }
        try await withPath { path in
            path.proxy.change { $0.toServer.limitData = .init(bytes: 700, then: .silence) }
            try await path.client.write(message)
            #expect(try await path.server.read(700) == Array(message.prefix(700)))
            #expect(path.server.unread == [])
            path.proxy.change { $0.toServer.limitData = nil }
            #expect(try await path.server.read(300) == Array(message.suffix(300)))
        }
    }

    @Test func slowCloseDelaysTheEnd() async throws {
        try await withPath { path in
            path.proxy.change { $0.toServer.slowClose = .milliseconds(40) }
            let took = try await measured {
                try await path.client.write([1])
                path.client.halfClose()
                #expect(try await path.server.readToEnd() == [1])
            }
            #expect(took >= .milliseconds(40))
        }
    }

    @Test func corruptionFlipsOneBitAndRepeatsItself() async throws {
        func corrupted(seed: UInt64, rarity: Int) async throws -> [UInt8] {
            try await withPath(seed: seed, { $0.toServer.corrupt = rarity }) { path in
                try await path.client.write(message)
                return try await path.server.read(message.count)
            }
        }
        let all = try await corrupted(seed: 1, rarity: 1)
        #expect(zip(all, message).allSatisfy { ($0 ^ $1).nonzeroBitCount == 1 })
        let some = try await corrupted(seed: 2, rarity: 50)
        let changed = zip(some, message).filter { $0 != $1 }.count
        #expect(changed > 0 && changed < 200)
        #expect(try await corrupted(seed: 2, rarity: 50) == some)
    }

    @Test func connectionsAreRefusedKilledAndAcceptedAgain() async throws {
        try await withPath { path in
            path.proxy.kill()
            #expect(await isReset(path.client))
            #expect(await isReset(path.server))
            path.proxy.refuse()
            await #expect(throws: WebSocketBytePeerError.system(errno: ECONNREFUSED)) {
                _ = try await WebSocketBytePeer.connect(port: path.proxy.port)
            }
            path.proxy.listen()
            let again = try await WebSocketBytePeer.connect(port: path.proxy.port)
            let other = try await path.listener.accept()
            try await again.write([1])
            #expect(try await other.read(1) == [1])
            #expect(path.proxy.accepted == 2)
        }
    }

    @Test func aStoppedProxyStaysStopped() async throws {
        let listener = try WebSocketBytePeerListener()
        let proxy = try WebSocketFaultProxy(to: listener.port)
        let client = try await WebSocketBytePeer.connect(port: proxy.port)
        let server = try await listener.accept()
        try await server.write([1])
        #expect(try await client.read(1) == [1])
        proxy.stop()
        #expect(await isReset(client))
        // Calls afterwards do nothing, and do not wait for a thread that has ended.
        proxy.kill()
        proxy.change { $0.isSilent = true }
        proxy.stop()
    }

    @Test func aServerThatIsNotThereResetsTheClient() async throws {
        let port: Int
        do {
            let listener = try WebSocketBytePeerListener()
            port = listener.port
        }
        try await withWebSocketFaultProxy(to: port) { proxy in
            // The reset may come while the client still looks whether it is connected.
            let error = await #expect(throws: WebSocketBytePeerError.self) {
                _ = try await WebSocketBytePeer.connect(port: proxy.port).readToEnd()
            }
            #expect(error == .system(errno: ECONNRESET))
        }
    }
}
