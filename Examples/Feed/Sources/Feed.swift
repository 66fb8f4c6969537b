//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSockets

/// A price feed that survives what a venue does: it reconnects, subscribes again, and says where prices may be missing.
///
///     swift run feed serve 8080                          a venue that ends each connection after seven prices
///     swift run feed ws://127.0.0.1:8080/ 20             prints twenty prices, and each hole
@main
struct Feed {
    static func main() async throws {
        let words = Array(CommandLine.arguments.dropFirst())
        guard let first = words.first else { return print("usage: feed serve [PORT] | feed URL [PRICES]") }
        let number = words.dropFirst().first.flatMap { Int($0) }
        if first == "serve" { try await serve(port: number ?? 8080) } else { try await follow(first, number ?? 20) }
    }

    static func follow(_ url: String, _ count: Int) async throws {
        var configuration = WebSocketSessionConfiguration.trading
        configuration.reconnect.strategy = .fullJitter(base: .milliseconds(100), maximum: .seconds(10))
        configuration.subscriptions.subscribe = { .text("subscribe \($0)") }
        configuration.subscriptions.unsubscribe = { .text("unsubscribe \($0)") }

        try await WebSocketSession.withSession(to: url, configuration: configuration) { session in
            try await session.subscribe("btcusdt")
            var prices = 0
            for try await event in session.events {
                switch event {
                case .message(let message):
                    print(message.text ?? "not text")
                    prices += 1
                    if prices == count { return }
                case .gap(let gap): print("prices may be missing: \(gap.cause)")
                case .disconnected(let end): print("away: \(end.reason)")
                case .connected, .renewed, .subscription, .alert: break
                }
            }
        }
    }

    static func serve(port: Int) async throws {
        let server = try WebSocketServer(configuration: .init(port: port))
        print("listening on \(server.address)")
        try await server.run { socket in
            guard let order = try await socket.receive().text, order.hasPrefix("subscribe ") else { return }
            for number in 1...7 {
                try await socket.send(.text("\(order.dropFirst(10)) \(60_000 + number)"))
                try await Task.sleep(for: .milliseconds(20))
            }
            // A restart, as venues do.
            try await socket.close(code: .serviceRestart, reason: "back soon")
        }
    }
}
