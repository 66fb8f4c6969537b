//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// TLS ends as TLS does (RFC 8446 §6.1): each side says that nothing more comes, and nothing is answered with a reset.
@Suite(.timeLimit(.minutes(5))) struct CleanTLSTests {
    enum First: CaseIterable, Sendable { case ours, peers }

    @Test(arguments: Side.allCases, First.allCases)
    func bothSidesSayThatNothingMoreComes(_ ours: Side, first: First) async throws {
        try await bothSidesSayIt(ours, first: first, version: TLS1_3_VERSION)
    }

    @Test(arguments: Side.allCases, First.allCases)
    func bothSidesSaySoBeforeTLS13Too(_ ours: Side, first: First) async throws {
        try await bothSidesSayIt(ours, first: first, version: TLS1_2_VERSION)
    }

    private func bothSidesSayIt(_ ours: Side, first: First, version: CInt) async throws {
        try await withSecurePair(ours, version: version) { connection, tls in
            // A client masks.
            let size = ours == .client ? 8 : 4
            let frame = tls.peer.bytes(of: .close(1000))
            async let ended = connection.closed()
            switch first {
            case .ours:
                async let closing = connection.close(WebSocketCloseFrame(code: .normalClosure))
                #expect(try await tls.read(size).first == 0x88)
                try await tls.write(frame)
                try await finish(ours, tls)
                _ = try await closing
            case .peers:
                try await tls.write(frame)
                #expect(try await tls.read(size).first == 0x88)
                try await finish(ours, tls)
            }
            let info = try await ended
            #expect(info.cause == .closingHandshake && info.receivedFirst == (first == .peers))
        }
    }

    /// A server ends TCP first (RFC 6455 §7.1.1). What is sent to it afterwards is answered with a reset by the system.
    private func finish(_ ours: Side, _ tls: TLSPeer) async throws {
        if ours == .client { try await tls.closeNotify() }
        #expect(try await tls.readToEnd().isEmpty)
        #expect(tls.isToldTheEnd)
        // Not a reset.
        #expect(try await tls.peer.readToEnd().isEmpty)
    }
}
