//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import HTTPTypes

/// An HTTP answer other than 101, after which the connection ends.
package struct PlainResponse: Sendable, Equatable {
    package var status: Int
    package var fields: HTTPFields
    package var body: [UInt8]
    /// Why the server refuses by itself; `nil` for what a hook answers.
    package var reason: String?

    package init(status: Int, fields: HTTPFields = [:], body: [UInt8] = []) {
        self.status = status
        self.fields = fields
        self.body = body
    }

    /// The whole answer. A `HEAD` request gets no body, though its length (RFC 9110 §9.3.2).
    package func bytes(isHead: Bool = false) -> [UInt8] {
        var text = "HTTP/1.1 \(status) \(Self.phrase(of: status))\r\n"
        // Framing is ours: what the caller says about it would let two readers disagree where the answer ends.
        for field in fields where field.name != .contentLength && field.name != .transferEncoding {
            if field.name == .connection, field.value.lowercased() != "upgrade" { continue }
            text += "\(field.name.rawName): \(field.value)\r\n"
        }
        if fields[.connection]?.lowercased() != "upgrade" { text += "Connection: close\r\n" }
        let hasBody = status >= 200 && status != 204 && status != 304
        if hasBody { text += "Content-Length: \(body.count)\r\n" }
        text += "\r\n"
        return Array(text.utf8) + (hasBody && !isHead ? body : [])
    }

    /// The reason phrase of RFC 9110 §15, for the codes that servers send; empty for others.
    package static func phrase(of status: Int) -> String { phrases[status] ?? "" }

    private static let phrases = [
        200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 301: "Moved Permanently", 302: "Found",
        303: "See Other", 304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect",
        400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
        406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict", 410: "Gone", 413: "Content Too Large",
        414: "URI Too Long", 418: "I'm a teapot", 421: "Misdirected Request", 426: "Upgrade Required",
        429: "Too Many Requests", 431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
        500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
        504: "Gateway Timeout", 505: "HTTP Version Not Supported",
    ]
}

extension PlainResponse {
    /// A refusal with its sentence as the body.
    package init(_ refusal: UpgradeRefusal) {
        var fields = refusal.fields
        fields[.contentType] = "text/plain; charset=utf-8"
        self.init(status: refusal.status, fields: fields, body: Array("\(refusal.explanation)\n".utf8))
        reason = refusal.explanation
    }
}
