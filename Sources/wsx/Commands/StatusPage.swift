//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSockets

/// The page at `/status`, for a person and, as `/status.json`, for a program.
final class StatusPage: Sendable {
    private let server = Mutex<WebSocketServer?>(nil)
    private let began = ContinuousClock.now
    private static let shownConnections = 100
    /// What is shared with other servers.
    private let topics: WebSocketTopics?

    init(topics: WebSocketTopics? = nil) { self.topics = topics }

    /// What the page is about; there is none before.
    func show(_ shown: WebSocketServer) { server.withLock { $0 = shown } }

    /// The answer to a request that is no WebSocket handshake.
    func answer(_ request: WebSocketUpgradeRequest) -> WebSocketUpgradeDecision {
        guard request.method == "GET" || request.method == "HEAD", let server = server.withLock({ $0 }) else {
            return .accept()
        }
        let wantsJSON = request.headers[.accept]?.contains("application/json") == true
        switch request.path {
        case "/status.json": return json(server)
        case "/status": return wantsJSON ? json(server) : page(server)
        default: return .accept()
        }
    }

    private var seconds: Int { Int((ContinuousClock.now - began).components.seconds) }

    private static let headers: HTTPFields = [.cacheControl: "no-store", .xContentTypeOptions: "nosniff"]

    private func json(_ server: WebSocketServer) -> WebSocketUpgradeDecision {
        let statistics = server.statistics
        let connections = server.connections
        let body: JSON = [
            "seconds": .integer(seconds), "open": .integer(connections.count), "sockets": .integer(statistics.sockets),
            "accepted": .integer(statistics.accepted), "refusedForLimits": .integer(statistics.refusedForLimits),
            "broker": broker.map { rows in .object(rows.map { ($0.name, $0.json) }) } ?? .null,
            "versions": .object(WebSocketLibraries.versions.map { ($0.name, .string($0.loaded)) }),
            "connections": .array(
                connections.prefix(Self.shownConnections).map { socket in
                    [
                        "remote": .optional(socket.remoteAddress?.description),
                        "target": .optional(socket.requestTarget),
                        "subprotocol": .optional(socket.subprotocol), "tlsVersion": .optional(socket.tls?.version),
                        "user": .optional(socket.user),
                    ]
                }),
        ]
        var headers = Self.headers
        headers[.contentType] = "application/json"
        return .respond(status: 200, headers: headers, body: Array((body.text + "\n").utf8))
    }

    private var broker: [(name: String, json: JSON, text: String)]? {
        guard let topics, let statistics = topics.brokerStatistics else { return nil }
        func count(_ name: String, _ value: Int) -> (String, JSON, String) { (name, .integer(value), decimal(value)) }
        return [
            ("broker", .string(topics.brokerName ?? ""), topics.brokerName ?? ""),
            ("connected", .boolean(statistics.isConnected), statistics.isConnected ? "yes" : "no"),
            count("connects", statistics.connects), count("topics", statistics.topics),
            count("published", statistics.published), count("accepted", statistics.accepted),
            count("dropped", statistics.dropped), count("unknown", statistics.unknown),
            count("waiting", statistics.waiting), count("received", statistics.received),
            count("gaps", statistics.gaps),
        ]
    }

    private var brokerTable: String {
        guard let broker else { return "" }
        let rows = broker.map { "<tr><td>\($0.name)</td><td>\($0.text.escapedForHTML)</td></tr>\n" }
        return "<h2>Broker</h2>\n<table>\n\(rows.joined())</table>\n"
    }

    private func page(_ server: WebSocketServer) -> WebSocketUpgradeDecision {
        let statistics = server.statistics
        let connections = server.connections
        func row(_ cells: [String], _ tag: String = "td") -> String {
            "<tr>" + cells.map { "<\(tag)>\($0.escapedForHTML)</\(tag)>" }.joined() + "</tr>\n"
        }
        let shown = connections.prefix(Self.shownConnections).map { socket in
            row([
                socket.remoteAddress?.description ?? "", socket.requestTarget ?? "", socket.subprotocol ?? "",
                socket.tls?.version ?? "", socket.user ?? "",
            ])
        }
        let text = """
            <!DOCTYPE html>
            <html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>wsx listen</title>
            <style>body{font-family:sans-serif;margin:2em}td,th{padding:.2em 1em .2em 0;text-align:left}</style></head>
            <body><h1>wsx listen</h1>
            <table>
            \(row(["up", "\(decimal(seconds)) s"]))\(row(["open connections", decimal(connections.count)]))\
            \(row(["accepted", decimal(statistics.accepted)]))\
            \(row(["refused because of a limit", decimal(statistics.refusedForLimits)]))\
            \(row(["libraries", WebSocketLibrariesText.version]))</table>
            \(brokerTable)<h2>Connections</h2>
            <table>
            \(row(["from", "path", "subprotocol", "TLS", "user"], "th"))\(shown.joined())</table>
            \(connections.count > Self.shownConnections ? "<p>and \(decimal(connections.count - Self.shownConnections)) more</p>" : "")
            <p><a href="/status.json">the same as JSON</a></p>
            </body></html>

            """
        var headers = Self.headers
        headers[.contentType] = "text/html; charset=utf-8"
        headers[.contentSecurityPolicy] = "default-src 'none'; style-src 'unsafe-inline'"
        return .respond(status: 200, headers: headers, body: Array(text.utf8))
    }
}

extension String {
    fileprivate var escapedForHTML: String {
        var result = ""
        for character in escapedForLog {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            default: result.append(character)
            }
        }
        return result
    }
}
