//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// TLS records without data (RFC 8446 §4.6) cost the peer next to nothing. OpenSSL would read them for as long as they
/// come, and the loop with it, and no deadline would fire.
@Suite(.timeLimit(.minutes(5))) struct RecordsWithoutDataTests {
    /// More than are read in a row.
    private static let flood = 33

    /// Rule 26: a peer that sends records without data for ever is ended.
    @Test(arguments: Side.allCases)
    func aFloodOfKeyUpdatesEndsTheConnection(_ ours: Side) async throws {
        try await withSecurePair(ours) { connection, tls in
            try await tls.peer.write(try tls.keyUpdates(Self.flood))
            let end = try await error { _ = try await connection.receive() }
            #expect(end.code == .connectionClosed)
            #expect(try await connection.closed().cause == .connectionLost)
        }
    }

    @Test func aFloodOfTicketsEndsTheConnection() async throws {
        try await withSecurePair(.client) { connection, tls in
            try await tls.peer.write(try tls.tickets(Self.flood))
            #expect(try await connection.closed().cause == .connectionLost)
        }
    }

    /// Before TLS 1.3. OpenSSL refuses to renegotiate, and reads on.
    @Test(arguments: Side.allCases)
    func aFloodOfRenegotiationsEndsTheConnection(_ ours: Side) async throws {
        try await withSecurePair(ours, version: TLS1_2_VERSION) { connection, tls in
            try await tls.peer.write((0..<Self.flood).flatMap { _ in tls.renegotiation() })
            #expect(try await connection.closed().cause == .connectionLost)
        }
    }

    @Test(arguments: Side.allCases)
    func renegotiationsBetweenMessagesAreNoFlood(_ ours: Side) async throws {
        try await withSecurePair(ours, version: TLS1_2_VERSION) { connection, tls in
            for number in 0..<4 {
                try await tls.peer.write((1..<Self.flood).flatMap { _ in tls.renegotiation() })
                try await tls.peer.write(tls.record(23, tls.peer.bytes(of: .text("message \(number)"))))
                #expect(try await connection.receive() == .text("message \(number)"))
            }
        }
    }

    @Test func aFloodInFrontOfTheRequestEndsTheHandshake() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            // The deadline for the handshake is a minute away, longer than the peer waits.
            try await withServer(on: loop, tls: try TestCertificate.server()) { server in
                let tls = TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                try await tls.handshake()
                try await tls.peer.write(try tls.keyUpdates(Self.flood))
                // Nothing but what TLS itself has to say comes before the end.
                await tls.waitForTheEndOfTheSocket()
                tls.peer.close()
            }
        }
    }

    @Test(arguments: Side.allCases)
    func recordsWithoutDataBetweenMessagesAreNoFlood(_ ours: Side) async throws {
        try await withSecurePair(ours) { connection, tls in
            for number in 0..<4 {
                try await tls.peer.write(try tls.keyUpdates(Self.flood - 1))
                try await tls.write(tls.peer.bytes(of: .text("message \(number)")))
                #expect(try await connection.receive() == .text("message \(number)"))
            }
        }
    }
}
