//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes
package import Logging
package import WebSocketCore

/// What a server wants of the connections it accepts.
package struct UpgradePolicy: Sendable {
    let sharedOptions: Shared<WebSocketOptions>
    package var options: WebSocketOptions { sharedOptions.value }
    package var handshakeTimeout: Duration
    package var tls: ServerTLSContext?
    package var limits = HTTPRequestHeadParser.Limits()
    /// Who may say in headers for whom a connection is.
    package var trust = ForwardingTrust()
    /// Whether each connection begins with a PROXY header.
    package var expectsProxyHeader = false
    package var limiter: ConnectionLimiter?
    /// Where refusals are told. Default: where the loop logs.
    package var logger: Logger?
    /// Told of each request that is answered without a WebSocket, with the status and why: the server's own reason; `nil` for
    /// what a hook answers. On the loop.
    package var refused: (@Sendable (_ status: Int, _ reason: String?, _ client: WebSocketAddress?) -> Void)?
    /// Decides about a request, now or later, through the reply. On the loop. What it returns stops it when nobody waits
    /// for the decision any more.
    package var decide: @Sendable (UpgradeInquiry, UpgradeReply) -> (@Sendable () -> Void)?
    /// Takes over an established connection. On the loop, inside a callback: it must not run user code.
    package var established: @Sendable (Connection) -> Void

    package init(
        options: WebSocketOptions, handshakeTimeout: Duration, tls: ServerTLSContext?,
        deciding decide: @escaping @Sendable (UpgradeInquiry, UpgradeReply) -> (@Sendable () -> Void)?,
        established: @escaping @Sendable (Connection) -> Void
    ) {
        sharedOptions = Shared(options)
        self.handshakeTimeout = handshakeTimeout
        self.tls = tls
        self.decide = decide
        self.established = established
    }

    /// A policy that decides at once, and only about WebSocket handshakes.
    package init(
        options: WebSocketOptions, handshakeTimeout: Duration, tls: ServerTLSContext?,
        decide: @escaping @Sendable (ValidatedUpgrade, Bool) -> Result<UpgradeAcceptance, UpgradeRefusal>,
        established: @escaping @Sendable (Connection) -> Void
    ) {
        self.init(
            options: options, handshakeTimeout: handshakeTimeout, tls: tls,
            deciding: { inquiry, reply in
                do throws(UpgradeRefusal) {
                    reply(.accept(try decide(try inquiry.upgrade.get(), inquiry.isSecure).get()))
                } catch {
                    reply(.respond(HTTPAnswer(error)))
                }
                return nil
            }, established: established)
    }
}

/// A request that waits for a decision.
package struct UpgradeInquiry: Sendable {
    package let head: HTTPRequestHead
    /// The handshake, or what a request without one is refused with unless it is answered otherwise.
    package let upgrade: Result<ValidatedUpgrade, UpgradeRefusal>
    package let localAddress: WebSocketAddress?
    /// The client's, which a trusted proxy may have told.
    package let remoteAddress: WebSocketAddress?
    /// Whether the client used TLS, here or as a trusted proxy says.
    package let isSecure: Bool
    /// The host that the client asked for.
    package let host: String?
    package let tls: WebSocketTLSInfo?
    package let clientCertificate: WebSocketTLSClientCertificate?
}

/// How a request is answered.
package enum UpgradeVerdict: Sendable {
    case accept(UpgradeAcceptance)
    case respond(HTTPAnswer)
}

/// How a request is accepted.
package struct UpgradeAcceptance: Sendable {
    package var subprotocol: String?
    package var fields: HTTPFields
    /// `nil` for the server's.
    package var options: WebSocketOptions?
    /// What the handler wants to know about the request.
    package var context: UpgradeContext?

    package init(
        subprotocol: String? = nil, fields: HTTPFields = [:], options: WebSocketOptions? = nil,
        context: UpgradeContext? = nil
    ) {
        self.subprotocol = subprotocol
        self.fields = fields
        self.options = options
        self.context = context
    }
}

/// What the decision found out, for the handler.
package final class UpgradeContext: Sendable {
    package let route: Int?
    package let parameters: [String: String]
    package let user: String?
    package let clientCertificate: WebSocketTLSClientCertificate?

    package init(
        route: Int? = nil, parameters: [String: String] = [:], user: String? = nil,
        clientCertificate: WebSocketTLSClientCertificate? = nil
    ) {
        self.route = route
        self.parameters = parameters
        self.user = user
        self.clientCertificate = clientCertificate
    }
}

/// Takes the decision about one request. From any thread; the first decision counts.
package struct UpgradeReply: Sendable {
    let upgrade: ServerUpgrade

    package var loop: WebSocketEventLoop { upgrade.loop }

    package func callAsFunction(_ verdict: UpgradeVerdict) {
        upgrade.loop.execute { upgrade.decided(verdict) }
    }
}
