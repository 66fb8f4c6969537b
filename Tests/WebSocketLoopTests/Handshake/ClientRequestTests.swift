//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// The request that our client sends, byte for byte.
@Suite(.timeLimit(.minutes(5))) struct ClientRequestTests {
    /// Connects with a request, answers it, and returns the head that came.
    private func head(
        _ make: (Int) throws -> ClientRequest, isIPv6: Bool = false, subprotocol: String? = nil
    ) async throws -> (WebSocketWireHead, Int, ConnectionDetails) {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener(isIPv6: isIPv6)
            let request = try make(listener.port)
            async let connecting = group.loops[0].connect(request)
            let peer = try await listener.accept()
            let head = try await peer.acceptHandshake(subprotocol: subprotocol)
            let client = try await connecting
            peer.close()
            await client.end()
            return (head, listener.port, client.details)
        }
    }

    private func expectedHead(_ port: Int, target: String, host: String, key: String, rest: [String] = []) -> String {
        ([
            "GET \(target) HTTP/1.1", "Host: \(host):\(port)", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Key: \(key)", "Sec-WebSocket-Version: 13",
        ] + rest).joined(separator: "\r\n") + "\r\n\r\n"
    }

    @Test func aRequestIsExactlyWhatWasAskedFor() async throws {
        let options = WebSocketOptions.with { $0.compression = .deflate() }
        var fields: HTTPFields = [:]
        fields[.origin] = "https://example.com"
        fields[HTTPField.Name("X-Mixed-CASE")!] = "a  b"
        fields.append(HTTPField(name: .cookie, value: "a=1"))
        fields.append(HTTPField(name: .cookie, value: "b=2"))
        let (head, port, details) = try await head(
            {
                try ClientRequest(
                    port: $0, target: "/chat/%20x?a=b&c=%C3%A4//..", fields: fields, subprotocols: ["one", "two.v2"],
                    options: options)
            }, subprotocol: "two.v2")
        let key = try #require(head["Sec-WebSocket-Key"])
        #expect(key.utf8.count == 24 && key.hasSuffix("=="))
        #expect(
            String(decoding: head.bytes, as: UTF8.self)
                == expectedHead(
                    port, target: "/chat/%20x?a=b&c=%C3%A4//..", host: "127.0.0.1", key: key,
                    rest: [
                        "Sec-WebSocket-Protocol: one, two.v2",
                        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
                        "Origin: https://example.com", "X-Mixed-CASE: a  b", "Cookie: a=1", "Cookie: b=2",
                    ]))
        #expect(details.subprotocol == "two.v2")
        #expect(details.deflate == nil)
        #expect(details.response?.status == 101)
        #expect(details.remoteAddress?.port == port)
    }

    /// libwebsockets alone would cut the target at 2,047 bytes and headers at the size of its tables.
    @Test func longTargetsAndHeadersGoOutWhole() async throws {
        let target = "/" + String(repeating: "0123456789", count: 1_000)
        let long = String(repeating: "token ", count: 1_500) + "end"
        let many = (0..<100).map { (HTTPField.Name("X-Header-\($0)")!, String(repeating: "v", count: 100)) }
        var fields: HTTPFields = [.authorization: long]
        for (name, value) in many { fields[name] = value }
        let (head, port, _) = try await head { try ClientRequest(port: $0, target: target, fields: fields) }
        let key = try #require(head["Sec-WebSocket-Key"])
        #expect(
            String(decoding: head.bytes, as: UTF8.self)
                == expectedHead(
                    port, target: target, host: "127.0.0.1", key: key,
                    rest: ["Authorization: \(long)"] + many.map { "\($0.0): \($0.1)" }))
    }

    @Test func aRequestThatDoesNotFitIsRefusedBeforeItIsSent() async throws {
        let fields: HTTPFields = [.authorization: String(repeating: "x", count: 70_000)]
        let error = try await error { _ = try ClientRequest(port: 1, fields: fields) }
        #expect(error.code == .invalidConfiguration)
    }

    @Test func aNameStaysInTheHostHeader() async throws {
        let (head, port, _) = try await head {
            try ClientRequest(
                url: WebSocketURL("ws://LOCALHOST:\($0)"), fields: [:], subprotocols: [], options: .quiet,
                openTimeout: .seconds(60), tls: WebSocketTLSClientConfiguration())
        }
        let key = try #require(head["Sec-WebSocket-Key"])
        #expect(
            String(decoding: head.bytes, as: UTF8.self) == expectedHead(port, target: "/", host: "localhost", key: key))
    }

    @Test func anIPv6LiteralGoesIntoBrackets() async throws {
        func request(_ port: Int) throws -> ClientRequest {
            try ClientRequest(
                url: WebSocketURL("ws://[::1]:\(port)/v6"), fields: [:], subprotocols: [], options: .quiet,
                openTimeout: .seconds(60), tls: WebSocketTLSClientConfiguration())
        }
        do {
            let (head, port, details) = try await head(request, isIPv6: true)
            let key = try #require(head["Sec-WebSocket-Key"])
            #expect(
                String(decoding: head.bytes, as: UTF8.self)
                    == expectedHead(port, target: "/v6", host: "[::1]", key: key))
            #expect(details.remoteAddress?.description == "[::1]:\(port)")
        } catch is WebSocketBytePeerError {
            // A machine without IPv6 cannot listen there; then our client must say that it cannot connect.
            let error = try await error {
                try await withLoops { group in _ = try await group.loops[0].connect(request(9)) }
            }
            #expect(error.code == .connectFailed)
        }
    }

    @Test func keysAreFresh() async throws {
        let (first, _, _) = try await head { try ClientRequest(port: $0) }
        let (second, _, _) = try await head { try ClientRequest(port: $0) }
        #expect(first["Sec-WebSocket-Key"] != second["Sec-WebSocket-Key"])
    }
}
