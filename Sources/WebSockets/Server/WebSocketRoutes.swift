//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
public import WebSocketCore

/// What a server does by the path of a request.
///
/// ```swift
/// var routes = WebSocketRoutes()
/// try routes.webSocket("/rooms/:room") { socket in
///     let room = socket.routeParameters["room"]!
///     …
/// }
/// try routes.http("/health") { _ in .respond(status: 200, text: "ok") }
/// try await server.run(routes: routes)
/// ```
///
/// Patterns are tried in the order in which they were added. `:name` takes one segment of the path, `*name` at the end
/// takes the rest; both are percent-decoded. A path that no pattern matches gets 404, a request that is no WebSocket
/// handshake gets 426 at a WebSocket's path.
public struct WebSocketRoutes: Sendable {
    /// Serves one connection, as in ``WebSocketServer/run(_:)``.
    public typealias Handler = @Sendable @concurrent (WebSocketConnection) async throws -> Void

    enum Target: Sendable {
        case webSocket(WebSocketUpgradeHook?, Handler)
        case http(methods: Set<String>, WebSocketUpgradeHook)
        case redirect(status: Int, location: String)
    }

    struct Entry: Sendable {
        let pattern: RoutePattern
        let target: Target
    }

    private(set) var entries: [Entry] = []

    /// No routes: every request gets 404.
    public init() {}

    /// Adds a path for WebSockets.
    ///
    /// - Parameters:
    ///   - pattern: Such as `/rooms/:room`.
    ///   - decide: Decides about requests to this path, instead of the configuration's hook.
    ///   - handler: Serves connections to this path.
    /// - Throws: `invalidConfiguration` for a malformed pattern.
    public mutating func webSocket(
        _ pattern: String, decide: WebSocketUpgradeHook? = nil, handler: @escaping Handler
    ) throws(WebSocketError) {
        entries.append(Entry(pattern: try RoutePattern(pattern), target: .webSocket(decide, handler)))
    }

    /// Adds a path for plain HTTP, such as a health check. WebSocket handshakes do not match it, other methods get 405.
    ///
    /// - Throws: `invalidConfiguration` for a malformed pattern.
    public mutating func http(
        _ pattern: String, methods: Set<String> = ["GET", "HEAD"], respond: @escaping WebSocketUpgradeHook
    ) throws(WebSocketError) {
        entries.append(Entry(pattern: try RoutePattern(pattern), target: .http(methods: methods, respond)))
    }

    /// Adds a path that sends clients elsewhere, with 308 or 307.
    ///
    /// - Throws: `invalidConfiguration` for a malformed pattern or location.
    public mutating func redirect(
        _ pattern: String, to location: String, permanently: Bool = false
    ) throws(WebSocketError) {
        guard !location.isEmpty, location.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw WebSocketError(
                .invalidConfiguration,
                "the redirect from \(pattern) has no usable location; write a URL or a path in ASCII without spaces")
        }
        entries.append(
            Entry(
                pattern: try RoutePattern(pattern),
                target: .redirect(status: permanently ? 308 : 307, location: location)))
    }

    enum Match {
        case webSocket(route: Int, [String: String], WebSocketUpgradeHook?)
        case http([String: String], WebSocketUpgradeHook)
        case answer(PlainResponse)
    }

    func match(_ request: WebSocketUpgradeRequest) -> Match {
        var isWebSocketPath = false
        var allowed: Set<String>?
        for (index, entry) in entries.enumerated() {
            guard let parameters = entry.pattern.match(request.path) else { continue }
            switch entry.target {
            case .webSocket(let hook, _):
                if request.isWebSocket { return .webSocket(route: index, parameters, hook) }
                isWebSocketPath = true
            case .http(let methods, let hook) where !request.isWebSocket:
                if methods.contains(request.method) { return .http(parameters, hook) }
                allowed = (allowed ?? []).union(methods)
            case .http: break
            case .redirect(let status, let location):
                return .answer(PlainResponse(status: status, fields: [.location: location]))
            }
        }
        if let allowed {
            var answer = PlainResponse(UpgradeRefusal(405, "", "this path does not take \(request.method)"))
            answer.fields[.allow] = allowed.sorted().joined(separator: ", ")
            return .answer(answer)
        }
        if isWebSocketPath {
            return .answer(PlainResponse(request.method == "GET" ? .upgradeRequired : .methodNotAllowed))
        }
        return .answer(PlainResponse(.notFound))
    }

    /// The handler of the route that a connection came by.
    func handler(of connection: WebSocketConnection) -> Handler? {
        guard let route = connection.wire.details.upgrade?.route, entries.indices.contains(route),
            case .webSocket(_, let handler) = entries[route].target
        else { return nil }
        return handler
    }
}
