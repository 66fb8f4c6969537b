//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import COpenSSL
import WebSocketCore

/// What a client has found out about the certificates of a server during one handshake.
struct PeerVerification {
    /// The first fault, and of which certificate.
    struct Fault {
        /// X509_V_ERR_...
        let code: CInt
        /// 0 is the peer's own certificate, 1 the one that issued it, and so on.
        let depth: Int
        let subject: String
        /// The names and addresses that the certificate is for.
        let names: [String]
    }
    private(set) var fault: Fault?
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
            if fault == nil { fault = unsafe Self.fault(store) }
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

    private static func fault(_ store: OpaquePointer) -> Fault {
        let certificate = unsafe X509_STORE_CTX_get_current_cert(store).flatMap {
            unsafe WebSocketTLSCertificate(retaining: $0)
        }
        return unsafe Fault(
            code: X509_STORE_CTX_get_error(store), depth: Int(X509_STORE_CTX_get_error_depth(store)),
            subject: certificate?.subject ?? "", names: certificate.map { $0.dnsNames + $0.ipAddresses } ?? [])
    }

    /// Whether a session that stands may be used. One that is resumed was verified when it began, by the same context;
    /// every other must have met a pin.
    func mayProceed(_ tls: ClientTLSContext, isResumed: Bool) -> Bool {
        tls.pins.isEmpty || isPinMet || isResumed
    }

    /// Lets OpenSSL ask the verifiers. Once in the process.
    static func install() { _ = installed }

    private static let installed: Void = unsafe wsx_tls_set_verifier { verifier, store, isValid in
        guard let verifier = unsafe verifier, let store = unsafe store else { return 0 }
        let asked = unsafe Unmanaged<PeerVerifier>.fromOpaque(verifier).takeUnretainedValue()
        return unsafe asked.verification.judge(store, isValid: isValid != 0, asked.tls) ? 1 : 0
    }
}

/// Who decides about one peer's certificates, and can say why they were refused. Lives as long as the handshake.
final class PeerVerifier {
    let tls: ClientTLSContext
    let party: TLSErrors.Party
    var verification = PeerVerification()

    init(_ tls: ClientTLSContext, _ party: TLSErrors.Party) {
        self.tls = tls
        self.party = party
    }

    /// Why the handshake failed. `reason`: OpenSSL's, 0 when the connection ended without one.
    func error(reason: CInt, wasAsked: Bool) -> WebSocketError {
        if verification.isPinMissed { return TLSErrors.pinMissed(party) }
        if let fault = verification.fault { return TLSErrors.verification(fault, party, tls) }
        return TLSErrors.handshake(
            reason: reason, party, wasAskedForCertificate: wasAsked, isIdentified: tls.isIdentified)
    }
}
