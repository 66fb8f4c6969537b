//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import FlyingFox
import HTTPTypes
import WebSockets

/// A request that FlyingFox has read, and the socket it came from.
struct Upgrade: WebSocketUpgradeSource {
    let request: FlyingFox.HTTPRequest
    /// FlyingFox's own.
    let descriptor: CInt

    var upgradeRequest: HTTPTypes.HTTPRequest {
        var fields = HTTPFields()
        for (name, value) in request.headers {
            if let name = HTTPField.Name(name.rawValue) { fields.append(HTTPField(name: name, value: value)) }
        }
        return HTTPTypes.HTTPRequest(
            method: HTTPTypes.HTTPRequest.Method(request.method.rawValue) ?? .get, scheme: "http",
            authority: request.headers[.host], path: request.target.rawValue, headerFields: fields)
    }

    /// Nothing: a client that had sent some would not have been taken over.
    var bytesBehindRequest: [UInt8] { [] }

    /// A duplicate, because FlyingFox closes its own when the conversation is over.
    func takeSocket() throws -> WebSocketConnectedSocket { try WebSocketConnectedSocket(duplicating: descriptor) }
}
