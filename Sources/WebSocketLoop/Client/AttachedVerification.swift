//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import Synchronization

/// Finds the handshake whose certificate OpenSSL asks about, by its descriptor. Only for loops that live on a context of
/// somebody else's: libwebsockets 4.1.6 lets the first protocol of a context's first vhost decide, which there is theirs.
enum AttachedVerification {
    // A handshake is only used on its loop's thread, where its descriptor's certificate is verified, too.
    private static let handshakes = Mutex<[CInt: Entry]>([:])

    private struct Entry: @unchecked Sendable {
        let handshake: ClientHandshake
    }

    /// Once in the process.
    static func install() { _ = installed }

    private static let installed: Void = unsafe wsx_tls_set_verifier(
        { descriptor in handshakes.withLock { $0[descriptor] != nil } ? 1 : 0 },
        { descriptor, store, isValid in
            guard let entry = handshakes.withLock({ $0[descriptor] }), let store = unsafe store else { return 1 }
            return unsafe entry.handshake.verifiedCertificate(store, isValid: isValid != 0)
        })

    static func watch(_ descriptor: CInt, _ handshake: ClientHandshake) {
        handshake.watchedDescriptor = descriptor
        handshakes.withLock { $0[descriptor] = Entry(handshake: handshake) }
    }

    static func forget(_ handshake: ClientHandshake) {
        guard let descriptor = handshake.watchedDescriptor.take() else { return }
        handshakes.withLock {
            // The number may be another one's by now.
            if $0[descriptor]?.handshake === handshake { $0[descriptor] = nil }
        }
    }
}
