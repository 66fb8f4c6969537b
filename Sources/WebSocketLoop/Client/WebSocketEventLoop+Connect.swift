//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketCore

extension WebSocketEventLoop {
    /// Opens a connection on this loop.
    ///
    /// - Parameter deadline: When it must be open, if the time has begun before; `nil` for `openTimeout` from now.
    package func connect(
        _ request: ClientRequest, deadline: UInt64? = nil
    ) async throws(WebSocketError) -> Connection {
        let deadline = deadline ?? now &+ request.openTimeout.nanoseconds
        var request = request
        var hops = 0
        while true {
            request.trace?.begins(request)
            do throws(WebSocketError) {
                return try await attempt(request, deadline: deadline)
            } catch {
                guard error.code == .handshakeRejected, let response = error.response,
                    let next = try request.following(response, hops: hops)
                else { throw error }
                request.trace?.redirected(response)
                request = next
                hops += 1
            }
        }
    }

    private func attempt(_ request: ClientRequest, deadline: UInt64) async throws(WebSocketError) -> Connection {
        let connector = ClientConnector(loop: self, request: request, deadline: deadline)
        let opened: ClientConnector.Opened = try await wait(
            for: "connect", register: { connector.start($0) }, cancel: { _ in connector.cancel() })
        switch opened {
        case .connection(let connection): return connection
        case .stream: preconditionFailure("a connection was asked for")
        }
    }
}
