import WebSockets
@concurrent func smoke(tls: Bool, deflate: Bool) async throws {
    let group = try EventLoopGroup(count: 2)
    var sc = WebSocketServerConfiguration(port: 0, tls: tls ? .files(certificate: "/tmp/c/cert.pem", key: "/tmp/c/key.pem") : nil)
    sc.eventLoopGroup = group
    let server = try WebSocketServer(configuration: sc)
    print("listening", server.address)
    async let running: Void = server.run { socket in
        for try await message in socket.messages { try await socket.send(message) }
    }
    var cc = WebSocketClientConfiguration()
    cc.eventLoop = group.loops[0]
    cc.tls.trust = .certificates(.file("/tmp/c/cert.pem"))
    if deflate { cc.options.compression = .deflate() }
    let url = "\(tls ? "wss" : "ws")://localhost:\(server.port)/x?y=1"
    let n = try await WebSocketClient.withConnection(to: url, configuration: cc) { socket in
        print("open", socket.tls as Any, socket.deflate as Any, socket.response?.status as Any)
        var count = 0
        for size in [0, 1, 10, 125, 126, 65535, 65536, 900_000] {
            let bytes = [UInt8]((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) })
            try await socket.send(bytes)
            guard case .binary(let back) = try await socket.receive(), back == bytes else { print("MISMATCH", size); continue }
            let text = String(repeating: "hé", count: size / 3)
            try await socket.send(text)
            guard case .text(let t) = try await socket.receive(), t == text else { print("MISMATCH text", size); continue }
            count += 2
        }
        print("ping", try await socket.ping())
        return count
    }
    print("echoed", n)
    await server.shutDown()
    try await running
    for l in group.loops { print(l.name, l.diagnostics) }
    await group.shutDown()
    print("group down")
}
for tls in [false, true] { for d in [false, true] { try await smoke(tls: tls, deflate: d) } }
