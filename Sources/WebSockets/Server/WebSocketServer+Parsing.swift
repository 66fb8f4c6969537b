//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import HTTPTypes
public import WebSocketCore

extension WebSocketServer {
    /// Reads the head of a request from the beginning of what a client sent, as strictly as the server does itself. For
    /// sockets that a program reads from before it gives them away:
    ///
    /// ```swift
    /// var bytes: [UInt8] = []
    /// while true {
    ///     bytes += try await readSome(from: descriptor)
    ///     guard let (request, count) = try WebSocketServer.parseRequest(bytes) else { continue }
    ///     return try await server.accept(socket, request: request, bytesBehind: Array(bytes[count...]))
    /// }
    /// ```
    ///
    /// The request's `path` is the target's path and query, its `authority` the host that is asked for, also when the target
    /// is a whole URL. Of a request in HTTP/1.0 `Upgrade` is left out, because there it means nothing (RFC 9110 §7.8).
    ///
    /// - Parameters:
    ///   - bytes: All that has come so far.
    ///   - limits: How large the head may be. Default: those of a server's configuration.
    /// - Returns: The request and how many bytes it took, or `nil` when its head is not complete. What stands behind these
    ///   bytes is what comes after it.
    /// - Throws: `handshakeRejected` for what is no request or breaks a limit, and will not become better; its `response` is
    ///   the answer that the client ought to get.
    public static func parseRequest(
        _ bytes: [UInt8], limits: WebSocketRequestLimits = .init()
    ) throws(WebSocketError) -> (request: HTTPRequest, byteCount: Int)? {
        try limits.validate()
        do throws(UpgradeRefusal) {
            switch bytes.withUnsafeBytes({ HTTPRequestHeadParser.parse($0, limits: limits.parser) }) {
            case .incomplete: return nil
            case .refused(let refusal): throw refusal
            case .head(let head, let byteCount):
                return (try request(of: try head.resolved()), byteCount)
            }
        } catch {
            let answer = PlainResponse(error)
            throw WebSocketError(
                .handshakeRejected, "the request cannot be read: \(error.explanation)", phase: .upgrade,
                response: .init(status: answer.status, headers: answer.fields, body: answer.body))
        }
    }

    private static func request(of head: HTTPRequestHead) throws(UpgradeRefusal) -> HTTPRequest {
        guard let method = HTTPRequest.Method(head.method) else { throw .badRequest("the request line is malformed") }
        var fields = head.fields
        if head.isHTTP10 { fields[.upgrade] = nil }
        return HTTPRequest(
            method: method, scheme: nil, authority: fields[.hostField], path: head.target, headerFields: fields)
    }
}
