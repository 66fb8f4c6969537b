//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import LoopbackSupport
import Testing
import WebSockets

/// What stands in front of servers asks them how they are, in its own way and in HTTP/1.0.
@Suite(.timeLimit(.minutes(5)))
struct HealthCheckTests {
    private func withDirectory(_ body: (String) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "wsx-health-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try await body(directory.path)
    }

    @Test(arguments: [("check", "OPTIONS", "/"), ("check-path", "GET", "/health")])
    func haproxyFindsTheServerWell(_ mode: String, _ method: String, _ target: String) async throws {
        let checks = Events<(String, String)>()
        try await withLoopback(
            server: {
                $0.onRequest = { request in
                    guard !request.isWebSocket else { return .accept() }
                    checks.send((request.method, request.target))
                    return .respond(status: 200)
                }
            }, handler: echo
        ) { loopback in
            try await withDirectory { directory in
                try await Peer.server(
                    try TestEnvironment.peer("run_haproxy.sh"),
                    [
                        "\(loopback.server.port)", mode, directory, try TestEnvironment.certificate("valid"),
                        try TestEnvironment.key("valid"),
                    ]
                ) { proxy in
                    // The third shows that haproxy has taken the answers before it.
                    for _ in 0..<3 { #expect(try await checks.next() == (method, target)) }
                    var configuration = loopback.client
                    configuration.tls.trust = .certificates(.file(try TestEnvironment.certificate("ca")))
                    let socket = try await WebSocketClient.connect(
                        to: "wss://localhost:\(proxy.port)/", configuration: configuration)
                    for message in Payload.mixed {
                        try await socket.send(message)
                        #expect(try await socket.receive().isIdentical(to: message))
                    }
                    #expect(try await socket.close().isNormal)
                }
            }
        }
    }

    /// Plain requests reach the hook; a handshake, whose Upgrade nginx takes away by default, gets an answer that says so.
    @Test func nginxWithItsDefaultsReachesTheHook() async throws {
        let seen = Events<String>()
        try await withLoopback(
            server: {
                $0.onRequest = { request in
                    seen.send("\(request.method) \(request.target) \(request.isWebSocket)")
                    return request.target.hasSuffix("/page") ? .respond(status: 200, text: "here") : .accept()
                }
            }, handler: echo
        ) { loopback in
            try await withDirectory { directory in
                try await Peer.server(
                    try TestEnvironment.peer("run_nginx.sh"),
                    [
                        "\(loopback.server.port)", try TestEnvironment.certificate("valid"),
                        try TestEnvironment.key("valid"), directory,
                    ]
                ) { proxy in
                    var configuration = loopback.client
                    configuration.tls.trust = .certificates(.file(try TestEnvironment.certificate("ca")))
                    let url = "wss://localhost:\(proxy.port)/default"
                    let page = try await failure {
                        try await WebSocketClient.connect(to: url + "/page", configuration: configuration)
                    }
                    #expect(page.response?.status == 200, "\(page)")
                    #expect(page.response.map { String(decoding: $0.body, as: UTF8.self) } == "here\n")
                    #expect(try await seen.next() == "GET /default/page false")
                    let handshake = try await failure {
                        try await WebSocketClient.connect(to: url + "/socket", configuration: configuration)
                    }
                    #expect(handshake.response?.status == 426, "\(handshake)")
                    #expect(handshake.message.contains("proxy in between"), "\(handshake)")
                    let body = handshake.response.map { String(decoding: $0.body, as: UTF8.self) } ?? ""
                    #expect(body.contains("Upgrade") || body.contains("HTTP/1.1"), "\(body)")
                }
            }
        }
    }
}
