//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes
package import WebSocketCore

/// Everything a client's connection attempt needs, checked.
package struct ClientRequest: Sendable {
    package let url: WebSocketURL
    package let fields: HTTPFields
    package let subprotocols: [String]
    package let options: WebSocketOptions
    package let openTimeout: Duration
    package let tls: ClientTLSContext?
    /// An IP address to connect to instead of those that the URL's host resolves to; `Host`, SNI and the verified
    /// name stay the URL's.
    package var address: String?

    /// Checks every string and value before a byte is sent; may read certificate files.
    package init(
        url: WebSocketURL, fields: HTTPFields, subprotocols: [String], options: WebSocketOptions,
        openTimeout: Duration, tls: TLSClientConfiguration
    ) throws(WebSocketError) {
        self.url = url
        try HandshakeText.validate(fields: fields)
        try HandshakeText.validate(subprotocols: subprotocols)
        try options.validate()
        guard openTimeout > .zero else {
            throw WebSocketError(.invalidConfiguration, "openTimeout is \(openTimeout); it must be positive")
        }
        var fields = fields
        if let userInfo = url.userInfo, fields[.authorization] == nil {
            fields[.authorization] = HandshakeText.basicAuthorization(userInfo)
        }
        self.fields = fields
        self.subprotocols = subprotocols
        self.options = options
        self.openTimeout = openTimeout
        self.tls = url.isSecure ? try ClientTLSContext.make(tls, host: url.host) : nil
        // libwebsockets gives the request its service buffer.
        let size = requestText(key: String(repeating: "k", count: 24)).utf8.count
        guard size < LibWebSockets.serviceBufferSize - 256 else {
            throw WebSocketError(
                .invalidConfiguration,
                "the request with its target and headers has \(size) bytes; the limit is \(LibWebSockets.serviceBufferSize - 256)"
            )
        }
    }

    func requestText(key: String) -> String {
        var extensions: String?
        if case .deflate(let deflate) = options.compression { extensions = DeflateNegotiation.offer(deflate) }
        return HandshakeText.request(
            url: url, key: key, fields: fields, subprotocols: subprotocols, extensions: extensions)
    }
}
