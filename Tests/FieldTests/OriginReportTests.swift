//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// Reports of other libraries on origins.
@Suite(.timeLimit(.minutes(5)))
struct OriginReportTests {
    typealias Policy = WebSocketServerConfiguration.OriginPolicy

    struct Page: Sendable, CustomTestStringConvertible {
        let report: String
        var policy = Policy.sameHost
        let host: String
        let origin: String
        let mayConnect: Bool

        var testDescription: String { "\(report): \(origin) at \(host), \(policy)" }
    }

    static let pages = [
        // Case counts nowhere in a host.
        Page(report: "OctoPrint/OctoPrint#3519", host: "OctoPi.Local", origin: "http://octopi.local", mayConnect: true),
        Page(
            report: "OctoPrint/OctoPrint#3519, listed", policy: .only(["HTTP://OctoPi.Local"]), host: "x",
            origin: "http://octopi.local", mayConnect: true),
        Page(
            report: "OctoPrint/OctoPrint#3519, patterns", policy: .only(["https://*.Example.COM"]), host: "x",
            origin: "https://a.example.com", mayConnect: true),
        // The scheme belongs to an origin.
        Page(
            report: "coder/websocket#529", policy: .only(["https://example.com"]), host: "x",
            origin: "http://example.com",
            mayConnect: false),
        Page(
            report: "coder/websocket#529, port", policy: .only(["https://example.com"]), host: "x",
            origin: "https://example.com:8443", mayConnect: false),
        // Another port is another origin, also on one machine.
        Page(
            report: "gorilla/websocket#592", host: "example.com:1234", origin: "http://example.com", mayConnect: false),
        Page(
            report: "Matheus28/ws28#7", host: "127.0.0.1:3000", origin: "http://127.0.0.1", mayConnect: false),
        Page(
            report: "gorilla/websocket#592, as it is allowed", policy: .only(["http://example.com:*"]),
            host: "example.com:1234", origin: "http://example.com", mayConnect: true),
        Page(
            report: "The-OpenROAD-Project/OpenROAD#11302", host: "localhost:8080", origin: "http://localhost:8080",
            mayConnect: true),
        Page(
            report: "The-OpenROAD-Project/OpenROAD#11302, spelling", host: "localhost:8080",
            origin: "http://127.0.0.1:8080", mayConnect: false),
        // A default port is there or not, on either side, and is that of the origin's scheme.
        Page(
            report: "fabro-sh/fabro#417", host: "example.com", origin: "https://example.com", mayConnect: true),
        Page(
            report: "BetterDB-inc/monitor#458", host: "example.com:443", origin: "https://example.com", mayConnect: true
        ),
        Page(
            report: "SocketCluster/socketcluster-server#35", policy: .only(["https://www.example.com:443"]), host: "x",
            origin: "https://www.example.com", mayConnect: true),
        Page(
            report: "SocketCluster/socketcluster-server#35, port 80", policy: .only(["https://www.example.com:80"]),
            host: "x", origin: "https://www.example.com", mayConnect: false),
        // Clients that are no browsers and make an origin up.
        Page(report: "websockets/ws#494", host: "example.com:81", origin: "example.com:81", mayConnect: false),
        Page(report: "javaee/grizzly#1754", host: "example.com", origin: "example.com", mayConnect: false),
        // A name as browsers write it, and a name that is said to be whole.
        Page(
            report: "neighbour: IDN", policy: .only(["https://xn--bcher-kva.example"]), host: "x",
            origin: "https://xn--bcher-kva.example", mayConnect: true),
        Page(report: "neighbour: dot", host: "example.com.", origin: "http://example.com.", mayConnect: true),
    ]

    @Test(arguments: pages)
    func aPageIsJudgedByItsWholeOrigin(_ page: Page) async throws {
        try await withLoopback(server: { $0.origins = page.policy }, handler: echo) { loopback in
            let peer = try await WebSocketBytePeer.connect(port: loopback.server.port)
            try await peer.write(WebSocketBytePeer.request(host: page.host, fields: ["Origin: \(page.origin)"]))
            #expect(try await peer.readHead().status == (page.mayConnect ? 101 : 403))
            peer.close()
        }
    }
}
