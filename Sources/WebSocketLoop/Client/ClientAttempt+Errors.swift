//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// How an attempt says that it failed.
extension ClientAttempt {
    func dialError(_ error: SystemError) -> WebSocketError {
        let what = isProxied ? "no connection to the proxy at" : "no connection to"
        return WebSocketError(
            error.isShortage ? .resourceExhausted : isProxied ? .proxyFailed : .connectFailed,
            "\(what) \(destination.description.escapedForLog): \(error.text); \(wayOut(error))",
            phase: isProxied ? .proxy : .connect, systemError: error.code)
    }

    private func wayOut(_ error: SystemError) -> String {
        // What the kernel says of an address that is good on one interface only, and of an interface that there is not.
        if error == .invalidArgument, case .ip(let address, _) = destination, address.lowercased().hasPrefix("fe80:") {
            return "a link-local address needs the interface of this machine, as in [fe80::1%25eth0]"
        }
        return "check that the \(isProxied ? "proxy" : "server") runs and is reachable"
    }

    /// libwebsockets did not take the socket, because it has no place for it, or because the server has just spoken and
    /// not in TLS.
    func untaken() -> WebSocketError {
        let shortage = Sockets.shortage
        guard shortage == nil, request.tls != nil else {
            return WebSocketError(
                .resourceExhausted,
                "libwebsockets did not take the socket; open fewer connections on this loop or raise ulimit -n: it has at most \(LibWebSockets.maximumDescriptors) descriptors",
                phase: stage.phase, systemError: shortage?.code)
        }
        return TLSErrors.notTLS(.server)
    }

    func tlsError(_ reason: CInt) -> WebSocketError {
        let wasAsked = stream?.wasAskedForCertificate == true
        return verifier?.error(reason: reason, wasAsked: wasAsked)
            ?? TLSErrors.handshake(
                reason: reason, .server, wasAskedForCertificate: wasAsked, isIdentified: request.isIdentified)
    }

    /// The connection ended before the answer was complete.
    func brokenOff() -> WebSocketError {
        switch stage {
        case .tcp, .proxy: return dialError(.connectionReset)
        case .tls: return tlsError(0)
        case .upgrade: break
        }
        guard var machine else { return tlsError(0) }
        guard !machine.hasBegun else { return machine.ended() }
        let wasAsked = stream?.wasAskedForCertificate == true
        if stream != nil, let alert = TLSErrors.takeReceivedAlert() {
            return TLSErrors.alert(alert, .server, wasAskedForCertificate: wasAsked)
        }
        // TLS 1.3 has a server judge the client's certificate when the client thinks that all is well, and some end the
        // connection without the alert.
        if wasAsked { return TLSErrors.unacceptedIdentity(.server, isShown: request.isIdentified) }
        return machine.ended()
    }
}
