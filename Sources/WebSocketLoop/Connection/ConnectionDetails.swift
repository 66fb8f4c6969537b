//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
package import WebSocketCore

/// What the opening handshake settled.
package struct ConnectionDetails: Sendable {
    @Boxed package var url: WebSocketURL?
    /// The request, where another server has taken it apart.
    @Boxed package var prereadRequest: HTTPRequestHead?
    /// The request as it went over the wire, whole. Taken apart only when a caller wants to see it: its parts are a
    /// kilobyte in 20 pieces of memory, for as long as the connection lasts.
    package var requestBytes: [UInt8]?
    @Boxed package var response: WebSocketError.Response?
    package var subprotocol: String?
    package var deflate: WebSocketNegotiatedDeflate?
    @Boxed package var tls: WebSocketTLSInfo?
    package var localAddress: WebSocketAddress?
    package var remoteAddress: WebSocketAddress?
    package var upgrade: UpgradeContext?

    package init() {}

    /// The target of the request line, byte for byte, without a look at the rest.
    package var requestTarget: String? {
        if let prereadRequest { return prereadRequest.target }
        let space = UInt8(ascii: " ")
        guard let requestBytes, let method = requestBytes.firstIndex(of: space) else { return nil }
        return String(decoding: requestBytes[(method + 1)...].prefix { $0 != space }, as: UTF8.self)
    }

    /// The handshake's request, of either side.
    package var requestHead: HTTPRequestHead? {
        if let prereadRequest { return prereadRequest }
        guard let requestBytes else { return nil }
        var limits = HTTPRequestHeadParser.Limits()
        limits.requestLineBytes = requestBytes.count
        limits.fieldBytes = requestBytes.count
        limits.fields = requestBytes.count
        let verdict = unsafe requestBytes.withUnsafeBytes { unsafe HTTPRequestHeadParser.parse($0, limits: limits) }
        guard case .head(let head, _) = verdict else { return nil }
        return head
    }
}
