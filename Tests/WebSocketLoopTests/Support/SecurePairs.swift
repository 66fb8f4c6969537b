//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import HTTPTypes
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// An open connection of ours over TLS, and the other end.
func withSecurePair(
    _ ours: Side, version: CInt = TLS1_3_VERSION, protocols: [String] = [],
    _ body: (Connection, TLSPeer) async throws -> Void
) async throws {
    try await withLoops { group in
        let loop = group.loops[0]
        switch ours {
        case .client:
            let listener = try WebSocketBytePeerListener()
            let request = try ClientRequest(
                url: WebSocketURL("wss://127.0.0.1:\(listener.port)/"), fields: [:], subprotocols: [],
                options: .quiet, openTimeout: .seconds(60), tls: TestCertificate.client)
            async let connecting = loop.connect(request)
            let tls = TLSPeer(
                try await listener.accept(), server: TestCertificate.shared, version: version,
                protocols: protocols)
            try await tls.handshake()
            try await tls.write(WebSocketBytePeer.answer(to: try await tls.readHead()))
            let client = try await connecting
            try await body(client, tls)
            tls.peer.close()
            await client.end()
        case .server:
            try await withServer(on: loop, tls: try TestCertificate.server()) { server in
                let tls = TLSPeer(
                    try await WebSocketBytePeer.connect(port: server.port), version: version, protocols: protocols)
                try await tls.handshake()
                try await tls.write(WebSocketBytePeer.request())
                _ = try await tls.readHead()
                let connection = try await server.next()
                try await body(connection, tls)
                tls.peer.close()
            }
        }
    }
}
