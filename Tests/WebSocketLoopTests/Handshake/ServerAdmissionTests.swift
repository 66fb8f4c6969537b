//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// What sockets cost that have not said what they want.
@Suite(.timeLimit(.minutes(5))) struct ServerAdmissionTests {
    /// Rule 30: some say nothing, some a part of their first message, byte by byte.
    @Test(arguments: [0, 1, 5, 9, 100])
    func aTLSClientCostsWhatAPlainOneDoesUntilItsFirstMessageIsThere(sent: Int) async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            try await withServer(on: loop, tls: try TestCertificate.server()) { server in
                var peers: [TLSPeer] = []
                var hellos: [[UInt8]] = []
                for _ in 0..<20 {
                    let tls = TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                    let hello = tls.clientHello()
                    for byte in hello[..<sent] { try await tls.peer.write([byte]) }
                    peers.append(tls)
                    hellos.append(hello)
                }
                // One descriptor each, and the listener's; libwebsockets knows of none of them.
                await loop.turn { loop.diagnostics.descriptors == 21 }
                for _ in 0..<100 { await loop.run {} }
                #expect(loop.diagnostics.descriptors == 21)
                #expect(loop.diagnostics.connections == 0)
                // A client whose first message is there has its TLS session with libwebsockets, and still one descriptor.
                try await peers[0].peer.write(Array(hellos[0][sent...]))
                await loop.turn { loop.diagnostics.connections == 1 }
                #expect(loop.diagnostics.descriptors == 21)
                try await peers[0].handshake()
                try await peers[0].write(WebSocketBytePeer.request())
                #expect(try await peers[0].readHead().status == 101)
                for tls in peers { tls.peer.close() }
            }
        }
    }

    /// The message may come in as many pieces, segments and records as it likes.
    @Test func aFirstMessageThatDripsIsHeard() async throws {
        try await withLoops { group in
            try await withServer(on: group.loops[0], tls: try TestCertificate.server()) { server in
                let tls = TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                for byte in tls.clientHello() { try await tls.peer.write([byte]) }
                try await tls.handshake()
                try await tls.write(WebSocketBytePeer.request())
                #expect(try await tls.readHead().status == 101)
                tls.peer.close()
            }
        }
    }

    @Test func aFirstMessageWithoutEndIsNotWaitedFor() async throws {
        try await withLoops { group in
            // The deadline is a minute away, longer than the peer waits.
            try await withServer(on: group.loops[0], tls: try TestCertificate.server()) { server in
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                try await peer.write([22, 3, 1, 0x40, 0, 1, 0xFF, 0xFF, 0xFF])
                while let bytes = try? await peer.readSome(), !bytes.isEmpty {}
                peer.close()
            }
        }
    }

    /// More than there are places for TLS sessions: the others wait for those that say no more.
    @Test func clientsComeThroughBehindManyThatSayNoMore() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            try await withServer(on: loop, tls: try TestCertificate.server()) { server in
                var silent: [TLSPeer] = []
                for _ in 0..<520 {
                    let tls = TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                    try await tls.peer.write(tls.clientHello())
                    silent.append(tls)
                }
                await loop.turn { loop.diagnostics.connections >= 512 }
                #expect(loop.diagnostics.connections <= 512)
                let tls = TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                try await tls.handshake()
                try await tls.write(WebSocketBytePeer.request())
                #expect(try await tls.readHead().status == 101)
                tls.peer.close()
                for tls in silent { tls.peer.close() }
            }
        }
    }
}
