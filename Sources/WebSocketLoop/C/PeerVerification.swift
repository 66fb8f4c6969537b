//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import COpenSSL

/// What a client has found out about the certificates of a server during one handshake.
struct PeerVerification {
    /// The first fault (X509_V_ERR_...).
    private(set) var error: CInt?
    private(set) var isPinMissed = false
    private var isPinMet = false

    /// OpenSSL asks once for each certificate of the chain, and for the server's own last, when the chain is complete.
    ///
    /// - Returns: Whether it may go on.
    mutating func judge(_ store: OpaquePointer, isValid: Bool, _ tls: ClientTLSContext) -> Bool {
        if !isValid {
            guard tls.isVerified else {
                unsafe X509_STORE_CTX_set_error(store, X509_V_OK)
                return true
            }
            if error == nil { error = unsafe X509_STORE_CTX_get_error(store) }
            return false
        }
        guard !tls.pins.isEmpty, unsafe X509_STORE_CTX_get_error_depth(store) == 0 else { return true }
        guard unsafe PublicKeyPin.isMet(tls.pins, by: store, wholeChain: tls.isVerified) else {
            isPinMissed = true
            unsafe X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION)
            return false
        }
        isPinMet = true
        return true
    }

    /// Whether a session that stands may be used. One that is resumed was verified when it began, by the same context;
    /// every other must have met a pin.
    func mayProceed(_ tls: ClientTLSContext, isResumed: Bool) -> Bool {
        tls.pins.isEmpty || isPinMet || isResumed
    }

    /// Lets OpenSSL ask the attempts. Once in the process.
    static func install() { _ = installed }

    private static let installed: Void = unsafe wsx_tls_set_verifier { verifier, store, isValid in
        guard let verifier = unsafe verifier, let store = unsafe store else { return 0 }
        let attempt = unsafe Unmanaged<ClientAttempt>.fromOpaque(verifier).takeUnretainedValue()
        guard let tls = attempt.request.tls else { return 0 }
        return unsafe attempt.verification.judge(store, isValid: isValid != 0, tls) ? 1 : 0
    }
}
