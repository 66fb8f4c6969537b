//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets

/// Python's websockets as a client of our server. It verifies what comes back by itself.
@Suite(.timeLimit(.minutes(5)))
struct PythonClientTests {
    static let deflates: [[String]] = [
        ["--no-deflate"], [], ["--server-no-context-takeover"], ["--client-no-context-takeover"],
        ["--server-max-window-bits", "9"], ["--client-max-window-bits", "10"],
        [
            "--server-no-context-takeover", "--client-no-context-takeover", "--server-max-window-bits", "12",
            "--client-max-window-bits", "9",
        ],
    ]

    @Test(arguments: deflates, [false, true])
    func everythingComesBack(_ deflate: [String], isSecure: Bool) async throws {
        let closes = Events<WebSocketCloseInfo>()
        let seen = Events<WebSocketNegotiatedDeflate?>()
        try await withLoopback(
            Transport(isSecure: isSecure, compression: .deflate()),
            handler: { socket in
                seen.send(socket.deflate)
                try await echo(socket)
                closes.send(try await socket.closed())
            }
        ) { loopback in
            let report = try await Peer.echoClient(loopback.url, deflate + ["--reason", "done", "--messages", "60"])
            #expect(report["ok"] as? Bool == true, "\(report)")
            #expect(report["messages"] as? Int == 60)
            #expect((report["tls"] as? [String: Any] != nil) == isSecure)
            let extensions = report["extensions"] as? String
            let agreed = try await seen.next()
            #expect(extensions == agreed?.description)
            #expect((extensions == nil) == deflate.contains("--no-deflate"))
            for parameter in deflate where parameter.hasPrefix("--") && parameter != "--no-deflate" {
                #expect(extensions?.contains(parameter.dropFirst(2).replacing("-", with: "_")) == true)
            }
            let info = try await closes.next()
            #expect(info.received == WebSocketCloseFrame(code: .normalClosure, reason: "done"))
            let close = try #require(report["close"] as? [String: Any])
            #expect((close["received"] as? [String: Any])?["code"] as? Int == 1000)
        }
    }

    @Test(arguments: [1000, 1001, 1011, 1012, 1014, 3000, 4999])
    func closesAreSeenOnBothSides(_ code: Int) async throws {
        let closes = Events<WebSocketCloseInfo>()
        try await withLoopback(
            handler: { socket in
                do { try await echo(socket) } catch {}
                closes.send(try await socket.closed())
            }
        ) { loopback in
            let report = try await Peer.echoClient(
                loopback.url, ["--messages", "3", "--close", "\(code)", "--reason", "grüße"])
            #expect(report["ok"] as? Bool == true, "\(report)")
            let info = try await closes.next()
            #expect(info.received == WebSocketCloseFrame(code: .init(rawValue: UInt16(code)), reason: "grüße"))
            #expect(info.receivedFirst == true)
            let close = try #require(report["close"] as? [String: Any])
            #expect((close["received"] as? [String: Any])?["code"] as? Int == code)
        }
    }

    @Test func theServerClosesFirst() async throws {
        try await withLoopback(
            handler: { socket in
                for _ in 0..<3 { try await socket.send(try await socket.receive()) }
                _ = try await socket.close(code: .init(rawValue: 4000), reason: "enough")
            }
        ) { loopback in
            let report = try await Peer.echoClient(
                loopback.url, ["--messages", "3", "--no-fragments", "--wait-close"])
            let close = try #require(report["close"] as? [String: Any], "\(report)")
            let received = try #require(close["received"] as? [String: Any])
            #expect(received["code"] as? Int == 4000)
            #expect(received["reason"] as? String == "enough")
        }
    }

    @Test func subprotocolHeadersAndOriginAreJudged() async throws {
        let seen = Events<String?>()
        try await withLoopback(
            server: {
                $0.subprotocols = ["chat.v1"]
                $0.origins = .only(["https://example.com"])
            },
            handler: { socket in
                seen.send(socket.requestHeaders[.init("X-Token")!])
                try await echo(socket)
            }
        ) { loopback in
            let options = ["--messages", "3", "--subprotocol", "chat.v2", "--subprotocol", "chat.v1"]
            let report = try await Peer.echoClient(
                loopback.url, options + ["--origin", "https://example.com", "--header", "X-Token: t"])
            #expect(report["ok"] as? Bool == true, "\(report)")
            #expect(report["subprotocol"] as? String == "chat.v1")
            #expect(try await seen.next() == "t")
            let refused = try await Peer.echoClient(loopback.url, options + ["--origin", "https://example.org"])
            #expect(refused["ok"] as? Bool == false)
            #expect((refused["error"] as? [String: Any])?["status"] as? Int == 403)
        }
    }
}
