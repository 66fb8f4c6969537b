//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// “Ignore unclean TLS shutdown”: many servers end TCP without TLS's close_notify. What the close frames say counts.
@Suite(.timeLimit(.minutes(5))) struct UncleanTLSTests {
    enum End: CaseIterable, Sendable {
        case afterBothCloseFrames, afterTheServersCloseFrame, withoutAny
    }

    @Test(arguments: End.allCases)
    func theCloseFramesSayHowItEnded(_ end: End) async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            let request = try ClientRequest(
                url: WebSocketURL("wss://127.0.0.1:\(listener.port)/"), fields: [:], subprotocols: [], options: .quiet,
                openTimeout: .seconds(60), tls: TestCertificate.client)
            async let connecting = group.loops[0].connect(request)
            let tls = TLSPeer(try await listener.accept(), server: TestCertificate.shared)
            try await tls.handshake()
            let head = try await tls.readHead()
            try await tls.write(WebSocketBytePeer.answer(to: head) + WebSocketWireFrame.text("last words").bytes)
            let client = try await connecting
            if end != .withoutAny {
                try await tls.write(WebSocketWireFrame.close(1000, "done").bytes)
                // The client's, masked.
                let answer = try await tls.read(8)
                #expect(answer[0] == 0x88 && answer[1] == 0x82)
            }
            // FIN without close_notify, or not even that.
            if end == .afterTheServersCloseFrame { tls.peer.reset() } else { tls.peer.close() }
            let info = try await client.closed()
            #expect(info.cause == (end == .withoutAny ? .connectionLost : .closingHandshake))
            #expect(info.isNormal == (end != .withoutAny))
            #expect(
                info.received == (end == .withoutAny ? nil : WebSocketCloseFrame(code: .normalClosure, reason: "done")))
            // What came before is not lost.
            #expect(try await client.receive() == "last words")
            let after = try await error { _ = try await client.receive() }
            #expect(after.code == .connectionClosed && after.tlsFailure == nil)
        }
    }
}
