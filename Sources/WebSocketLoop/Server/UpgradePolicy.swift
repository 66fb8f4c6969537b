//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes
package import WebSocketCore

/// What a server wants of the connections it accepts.
package struct UpgradePolicy: Sendable {
    package var options: WebSocketOptions
    package var handshakeTimeout: Duration
    package var tls: ServerTLSContext?
    package var limits = HTTPRequestHeadParser.Limits()
    /// Decides about a valid request. On the loop.
    package var decide: @Sendable (ValidatedUpgrade, _ isSecure: Bool) -> Result<UpgradeAcceptance, UpgradeRefusal>
    /// Takes over an established connection. On the loop, inside a callback: it must not run user code.
    package var established: @Sendable (Connection) -> Void

    package init(
        options: WebSocketOptions, handshakeTimeout: Duration, tls: ServerTLSContext?,
        decide: @escaping @Sendable (ValidatedUpgrade, Bool) -> Result<UpgradeAcceptance, UpgradeRefusal>,
        established: @escaping @Sendable (Connection) -> Void
    ) {
        self.options = options
        self.handshakeTimeout = handshakeTimeout
        self.tls = tls
        self.decide = decide
        self.established = established
    }
}

/// How a request is accepted.
package struct UpgradeAcceptance: Sendable {
    package var subprotocol: String?
    package var fields: HTTPFields

    package init(subprotocol: String? = nil, fields: HTTPFields = [:]) {
        self.subprotocol = subprotocol
        self.fields = fields
    }
}
