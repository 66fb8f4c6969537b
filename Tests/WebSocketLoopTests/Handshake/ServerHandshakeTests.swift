//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// How a request may reach our server: in pieces, with frames behind it, slowly, or never.
@Suite(.timeLimit(.minutes(5))) struct ServerHandshakeTests {
    private static let compressing = WebSocketOptions.with { $0.compression = .deflate() }
    private static let frames =
        WebSocketWireFrame(WebSocketWireFrame.text, Array("early".utf8), maskKey: [1, 2, 3, 4]).bytes
        + WebSocketWireFrame(WebSocketWireFrame.text, Array("bird".utf8), maskKey: [5, 6, 7, 8]).bytes

    @Test func aHeadMayComeInSingleBytes() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            try await withServer(on: loop, options: Self.compressing) { server in
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                for byte in WebSocketBytePeer.request(extensions: "permessage-deflate") + Self.frames {
                    try await peer.write([byte])
                    await loop.run {}
                }
                let head = try WebSocketBytePeer.check(answer: await peer.readHead())
                #expect(head["Sec-WebSocket-Extensions"] == "permessage-deflate")
                let connection = try await server.next()
                #expect(try await connection.receive() == .text("early"))
                #expect(try await connection.receive() == .text("bird"))
                peer.close()
            }
        }
    }

    @Test func aHeadMayComeInSingleRecords() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            try await withServer(on: loop, options: Self.compressing, tls: TestCertificate.server()) { server in
                let tls = TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                try await tls.handshake()
                for byte in WebSocketBytePeer.request(extensions: "permessage-deflate") + Self.frames {
                    try await tls.write([byte])
                    await loop.run {}
                }
                let head = try WebSocketBytePeer.check(answer: await tls.readHead())
                #expect(head["Sec-WebSocket-Extensions"] == "permessage-deflate")
                let connection = try await server.next()
                #expect(try await connection.receive() == .text("early"))
                #expect(try await connection.receive() == .text("bird"))
                tls.peer.close()
            }
        }
    }

    @Test(arguments: Compression.allCases)
    func framesInTheRequestsSegmentArrive(compression: Compression) async throws {
        var frames = Self.frames
        if compression == .deflate {
            let payload = WebSocketRawDeflate.compressor().compress(Array("deflated".utf8))
            frames +=
                WebSocketWireFrame(WebSocketWireFrame.text, payload, reserved: .rsv1, maskKey: [9, 8, 7, 6]).bytes
        }
        frames += WebSocketWireFrame(WebSocketWireFrame.close, [0x0F, 0xA0], maskKey: [1, 1, 1, 1]).bytes
        try await withPair(.server, compression, behind: frames) { (pair) async throws in
            #expect(try await pair.ours.receive() == .text("early"))
            #expect(try await pair.ours.receive() == .text("bird"))
            if compression == .deflate { #expect(try await pair.ours.receive() == .text("deflated")) }
            #expect(try await pair.ours.closed().received?.code.rawValue == 4000)
            #expect(try await pair.peer.readFrame().closeCode == 4000)
        }
    }

    /// The frames behind the request in its own TLS record, in a record of their own, and both in the segment that ends
    /// the TLS handshake.
    @Test(arguments: ["the same record", "a record behind it", "a record each"])
    func framesBehindTheRequestArriveOverTLS(place: String) async throws {
        try await withLoops { group in
            try await withServer(on: group.loops[0], tls: TestCertificate.server()) { server in
                let tls = TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                try await tls.handshake()
                switch place {
                case "the same record": try await tls.write(WebSocketBytePeer.request() + Self.frames)
                case "a record behind it": try await tls.write(WebSocketBytePeer.request(), Self.frames)
                default:
                    try await tls.write(
                        WebSocketBytePeer.request(), Array(Self.frames.prefix(5)), Array(Self.frames.dropFirst(5)))
                }
                _ = try WebSocketBytePeer.check(answer: await tls.readHead())
                let connection = try await server.next()
                #expect(connection.details.tls?.version == "TLSv1.3")
                #expect(try await connection.receive() == .text("early"))
                #expect(try await connection.receive() == .text("bird"))
                try await connection.send("answer")
                #expect(try await tls.readFrame().payload == Array("answer".utf8))
                tls.peer.close()
            }
        }
    }

    /// More than one record's worth behind the request: nothing wakes the loop for what OpenSSL already holds.
    @Test func manyFramesBehindTheRequestArriveOverTLS() async throws {
        try await withLoops { group in
            let options = WebSocketOptions.with { $0.inboundBuffer.highMessages = 1_000 }
            try await withServer(on: group.loops[0], options: options, tls: TestCertificate.server()) { server in
                let tls = TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                try await tls.handshake()
                let payload = [UInt8](repeating: 0x42, count: 1_000)
                let frame = WebSocketWireFrame(WebSocketWireFrame.binary, payload, maskKey: [0, 0, 0, 0]).bytes
                let record = Array(repeatElement(frame, count: 16).joined())
                try await tls.write(WebSocketBytePeer.request(), record, record, record, record)
                let connection = try await server.next()
                for _ in 0..<64 { #expect(try await connection.receive() == .binary(payload)) }
                tls.peer.close()
            }
        }
    }

    @Test(arguments: [false, true])
    func aClientThatSaysNothingIsDropped(isSecure: Bool) async throws {
        try await withLoops { group in
            try await withServer(
                on: group.loops[0], tls: isSecure ? TestCertificate.server() : nil,
                handshakeTimeout: .milliseconds(100)
            ) { server in
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                #expect(try await peer.readToEnd().isEmpty)
            }
        }
    }

    @Test func aClientThatStopsWithinTLSIsDropped() async throws {
        try await withLoops { group in
            try await withServer(
                on: group.loops[0], tls: TestCertificate.server(), handshakeTimeout: .milliseconds(150)
            ) { server in
                let peers = (
                    TLSPeer(try await WebSocketBytePeer.connect(port: server.port)),
                    TLSPeer(try await WebSocketBytePeer.connect(port: server.port)),
                    TLSPeer(try await WebSocketBytePeer.connect(port: server.port))
                )
                // In the middle of the ClientHello.
                try await peers.0.peer.write(Array(peers.0.clientHello().prefix(100)))
                // After the TLS handshake, and in the middle of the request, unless the deadline is before that.
                try? await peers.1.handshake()
                try? await peers.2.handshake()
                try? await peers.2.write(WebSocketBytePeer.request().dropLast(2))
                for tls in [peers.0, peers.1, peers.2] { _ = try? await tls.peer.readToEnd() }
                let loop = group.loops[0]
                await loop.turn { loop.diagnostics.connections == 0 && loop.diagnostics.timers == 0 }
            }
        }
    }

    /// The deadline is that of the whole handshake, and slow ones disturb nobody.
    @Test func slowHandshakesDisturbNobody() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            try await withServer(on: loop, handshakeTimeout: .seconds(3)) { server in
                let request = WebSocketBytePeer.request()
                var slow: [WebSocketBytePeer] = []
                for number in 0..<100 {
                    let peer = try await WebSocketBytePeer.connect(port: server.port, patience: .seconds(60))
                    try await peer.write(Array(request.prefix(number)))
                    slow.append(peer)
                }
                let peer = try await WebSocketBytePeer.connect(port: server.port)
                try await peer.openHandshake()
                let connection = try await server.next()
                try await peer.send(.text("quick"))
                #expect(try await connection.receive() == .text("quick"))
                // Each is dropped, also those that go on sending.
                for (number, peer) in slow.enumerated() {
                    if number % 2 == 0 { _ = try? await peer.write([UInt8(ascii: "x")]) }
                    _ = try? await peer.readToEnd()
                    peer.close()
                }
                try await peer.send(.text("still here"))
                #expect(try await connection.receive() == .text("still here"))
                await loop.turn { loop.diagnostics.connections == 1 }
                peer.close()
            }
        }
    }

    @Test(arguments: [false, true])
    func aClientMayLeaveAtAnyStep(isReset: Bool) async throws {
        try await withLoops { group in
            for isSecure in [false, true] {
                try await withServer(on: group.loops[0], tls: isSecure ? TestCertificate.server() : nil) { server in
                    let request = WebSocketBytePeer.request()
                    for count in [0, 1, 50, request.count] {
                        let peer = try await WebSocketBytePeer.connect(port: server.port)
                        if isSecure {
                            let tls = TLSPeer(peer)
                            if count > 0 {
                                try await tls.handshake()
                                try await tls.write(Array(request.prefix(count)))
                            } else {
                                try await peer.write(Array(tls.clientHello().prefix(20)))
                            }
                        } else {
                            try await peer.write(Array(request.prefix(count)))
                        }
                        if isReset { peer.reset() } else { peer.close() }
                    }
                    // A whole request may have become a connection before its end was seen.
                    let loop = group.loops[0]
                    let peer = try await WebSocketBytePeer.connect(port: server.port)
                    if !isSecure { try await peer.openHandshake() }
                    peer.close()
                    // Long before the handshake's deadline.
                    await loop.turn(for: .seconds(10)) {
                        loop.diagnostics.connections == 0 && loop.diagnostics.timers == 0
                    }
                }
            }
        }
    }

    /// Behind an upgraded request there are frames, whatever they look like.
    @Test func aSecondRequestIsNoRequest() async throws {
        try await withPair(.server, behind: WebSocketBytePeer.request(target: "/admin")) { pair in
            let error = try await error { _ = try await pair.ours.receive() }
            #expect(error.code == .protocolViolation || error.code == .messageTooBig)
        }
    }
}
