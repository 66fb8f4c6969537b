//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Testing
import WebSockets

/// A directory of one test's own, for unix sockets: their paths are short.
private func withDirectory<Result>(_ body: (String) async throws -> Result) async throws -> Result {
    var template = Array("/tmp/wsx-XXXXXX\0".utf8).map { CChar(bitPattern: $0) }
    let made = try #require(mkdtemp(&template))
    let path = String(cString: made)
    defer {
        for name in ["socket", "other", "link"] { unlink(path + "/" + name) }
        rmdir(path)
    }
    return try await body(path)
}

private func permissions(_ path: String) -> mode_t? {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode & 0o777 : nil
}

@Suite(.timeLimit(.minutes(5)))
struct UnixSocketTests {
    @Test(arguments: [Transport.plain, .secure])
    func aUnixSocketServesLikeAPort(_ transport: Transport) async throws {
        try await withDirectory { directory in
            let path = directory + "/socket"
            try await withLoopback(
                transport,
                server: {
                    $0.addresses = [.unix(path: path), .tcp(host: "127.0.0.1", port: 0)]
                    $0.onRequest = { request in
                        guard case .unix = request.localAddress else { return .accept() }
                        #expect(request.localAddress == .unix(path: path))
                        #expect(request.remoteAddress == .unix(path: ""))
                        return request.isWebSocket ? .accept() : .respond(status: 200, text: "unix")
                    }
                }, handler: echo
            ) { loopback in
                #expect(loopback.server.address == .unix(path: path))
                #expect(loopback.server.addresses.count == 2)
                #expect(permissions(path) == 0o600)
                if !transport.isSecure {
                    let answer = try await RawClient(unixPath: path).answer(to: RawRequest.plain())
                    #expect(answer.body == "unix\n")
                    let client = try RawClient(unixPath: path)
                    try await client.upgrade()
                    client.write([0x81, 0x81, 0, 0, 0, 0, UInt8(ascii: "x")])
                    #expect(await client.read { $0.count >= 3 } == [0x81, 0x01, UInt8(ascii: "x")])
                }
            }
            // The server took its file with it.
            #expect(permissions(path) == nil)
        }
    }

    /// Whatever the process's umask, and never more than that for a moment.
    @Test(arguments: [0o600, 0o660, 0o666] as [UInt32])
    func theFileHasThePermissionsAskedFor(_ wanted: UInt32) async throws {
        try await withDirectory { directory in
            let path = directory + "/socket"
            try await withLoopback(
                server: { $0.addresses = [.unix(path: path, permissions: wanted)] }, handler: echo
            ) { _ in
                #expect(permissions(path) == mode_t(wanted))
            }
        }
    }

    @Test func anAbstractNameHasNoFile() async throws {
        let name = "@wsx-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        try await withLoopback(server: { $0.addresses = [.unix(path: name)] }, handler: echo) { loopback in
            #expect(loopback.server.address == .unix(path: name))
            let client = try RawClient(unixPath: name)
            try await client.upgrade()
            let error = try await failure { try server(at: name, loopback.serverLoops) }
            #expect(error.systemError == EADDRINUSE)
        }
    }

    @discardableResult
    private func server(at path: String, _ loops: WebSocketEventLoopGroup) throws -> WebSocketServer {
        var configuration = WebSocketServerConfiguration()
        configuration.eventLoopGroup = loops
        configuration.addresses = [.unix(path: path)]
        return try WebSocketServer(configuration: configuration)
    }

    /// Binds a unix socket and closes it without removing its file, as a server that was killed does.
    private func leaveStaleFile(_ path: String) throws {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        try #require(onUnixAddress(path) { bind(descriptor, $0, $1) } == 0)
        close(descriptor)
    }

    @Test func aStaleFileIsReplaced() async throws {
        try await withDirectory { directory in
            let path = directory + "/socket"
            try leaveStaleFile(path)
            try await withLoopback(server: { $0.addresses = [.unix(path: path)] }, handler: echo) { _ in
                try await RawClient(unixPath: path).upgrade()
            }
        }
    }

    @Test func whatIsNoStaleSocketIsLeftAlone() async throws {
        try await withDirectory { directory in
            try await withLoops { loops in
                let path = directory + "/socket"
                // A file.
                let file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
                close(file)
                #expect(try await failure { try server(at: path, loops) }.systemError == EEXIST)
                #expect(permissions(path) == 0o600)
                unlink(path)
                // A link, even to a stale socket.
                try leaveStaleFile(directory + "/other")
                symlink(directory + "/other", path)
                #expect(try await failure { try server(at: path, loops) }.systemError == EEXIST)
                unlink(path)
                // Another user's.
                if geteuid() == 0 {
                    try leaveStaleFile(path)
                    chown(path, 65_534, 65_534)
                    #expect(try await failure { try server(at: path, loops) }.systemError == EPERM)
                    unlink(path)
                }
                // A server's that is alive.
                let first = try server(at: path, loops)
                let error = try await failure { try server(at: path, loops) }
                #expect(error.systemError == EADDRINUSE)
                #expect(error.isSentence)
                try RawClient(unixPath: path).write([])
                // The first server does not remove what took its place.
                unlink(path)
                let second = try server(at: path, loops)
                await first.shutDown()
                try await until("the first one has stopped", on: loops.loops[0]) { true }
                #expect(permissions(path) == 0o600)
                await second.shutDown()
                try await until("the file is gone", on: loops.loops[0]) { permissions(path) == nil }
            }
        }
    }

    @Test func pathsThatCannotBeAreRefused() async throws {
        try await withLoops { loops in
            for path in ["", String(repeating: "x", count: 108), "a\0b"] {
                let error = try await failure(path) { try server(at: path, loops) }
                #expect(error.code == .invalidConfiguration)
            }
            let error = try await failure { try server(at: "/nonexistent/socket", loops) }
            #expect(error.code == .listenFailed)
            #expect(error.systemError == ENOENT)
        }
    }
}
