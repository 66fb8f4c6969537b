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
    /// Decides about a request, now or later, by calling the pending upgrade. On the loop. What it
    /// returns stops it when the decision is not waited for any more.
    package var decide: @Sendable (UpgradeRequest, PendingUpgrade) -> (@Sendable () -> Void)?
    /// Takes over an established connection. On the loop, inside a callback: it must not run user code.
    package var established: @Sendable (Connection) -> Void

    package init(
        options: WebSocketOptions, handshakeTimeout: Duration, tls: ServerTLSContext?,
        deciding decide: @escaping @Sendable (UpgradeRequest, PendingUpgrade) -> (@Sendable () -> Void)?,
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
        decide: @escaping @Sendable (ValidatedUpgrade, Bool) -> Result<UpgradeResponse, UpgradeRefusal>,
        established: @escaping @Sendable (Connection) -> Void
    ) {
        self.init(
            options: options, handshakeTimeout: handshakeTimeout, tls: tls,
            deciding: { request, pending in
                do throws(UpgradeRefusal) {
                    pending(.accept(try decide(try request.upgrade.get(), request.isSecure).get()))
                } catch {
                    pending(.respond(PlainResponse(error)))
                }
                return nil
            }, established: established)
    }
}

/// A request that waits for a decision.
package struct UpgradeRequest: Sendable {
    private let request: ServerUpgradeMachine.Request
    package let localAddress: WebSocketAddress?
    /// The client's, which a trusted proxy may have told.
    package let remoteAddress: WebSocketAddress?
    package let tls: WebSocketTLSInfo?
    package let clientCertificate: WebSocketTLSClientCertificate?

    init(
        _ request: ServerUpgradeMachine.Request, _ details: ConnectionDetails,
        clientCertificate: WebSocketTLSClientCertificate?
    ) {
        self.request = request
        (localAddress, remoteAddress, tls) = (details.localAddress, details.remoteAddress, details.tls)
        self.clientCertificate = clientCertificate
    }

    package var head: HTTPRequestHead { request.head }
    /// The handshake, or what a request without one is refused with unless it is answered otherwise.
    package var upgrade: Result<ValidatedUpgrade, UpgradeRefusal> { request.upgrade }
    /// Whether the client used TLS, here or as a trusted proxy says.
    package var isSecure: Bool { request.isSecure }
    /// The host that the client asked for.
    package var host: String? { request.host }
}

/// What becomes of a request.
package enum UpgradeDecision: Sendable {
    case accept(UpgradeResponse)
    case respond(PlainResponse)
}

/// What the 101 says, and what holds for the connection.
package struct UpgradeResponse: Sendable {
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

    /// Header lines, beside those of every 101.
    var lines: String {
        var text = subprotocol.map { "Sec-WebSocket-Protocol: \($0)\r\n" } ?? ""
        for field in fields { text += "\(field.name.rawName): \(field.value)\r\n" }
        return text
    }
}

/// What the decision found out, for the handler.
package final class UpgradeContext: Sendable {
    package let route: Int?
    package let parameters: [String: String]
    package let user: String?
    package let clientCertificate: WebSocketTLSClientCertificate?
    /// What the hook has left for the connection. It goes with it, or with the request that did not become one.
    package let attachment: (any AnyObject & Sendable)?

    package init(
        route: Int? = nil, parameters: [String: String] = [:], user: String? = nil,
        clientCertificate: WebSocketTLSClientCertificate? = nil, attachment: (any AnyObject & Sendable)? = nil
    ) {
        self.attachment = attachment
        self.route = route
        self.parameters = parameters
        self.user = user
        self.clientCertificate = clientCertificate
    }
}

/// Takes the decision about one request. From any thread; the first one counts.
package struct PendingUpgrade: Sendable {
    let upgrade: ServerUpgrade

    package var loop: WebSocketEventLoop { upgrade.loop }

    package func callAsFunction(_ decision: UpgradeDecision) {
        upgrade.loop.execute { upgrade.decided(decision) }
    }
}

// MARK: For one socket

extension UpgradePolicy {
    private static let answerTime: UInt64 = 10_000_000_000
    private static let lingerTime: UInt64 = 1_000_000_000

    func nanoseconds(of deadline: ServerUpgradeMachine.Deadline) -> UInt64 {
        switch deadline {
        case .handshake: handshakeTimeout.nanoseconds
        case .answer: Self.answerTime
        case .linger: Self.lingerTime
        }
    }

    func trusts(_ peer: WebSocketAddress?) -> Bool {
        switch peer {
        case .ip(let address, _): trust.trusts(address)
        case .unix: trust.trustsUnixSockets
        case nil: false
        }
    }

    func rules(for peer: WebSocketAddress?, _ preread: ServerUpgrade.Preread?) -> ServerUpgradeMachine.Rules {
        var rules = ServerUpgradeMachine.Rules()
        rules.limits = limits
        rules.trust = trust
        rules.isFromTrustedProxy = trusts(peer)
        rules.expectsProxyHeader = expectsProxyHeader
        rules.usesTLS = tls != nil && preread == nil
        rules.isSecure = preread?.isSecure ?? (tls != nil)
        return rules
    }
}
