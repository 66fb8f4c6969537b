//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HostContext
import LoopbackSupport
import TestSupport
import Testing
import WebSockets

/// A program with libwebsockets and a thread of its own. Only its functions are used, from one task.
struct Host: @unchecked Sendable {
    let pointer: OpaquePointer

    /// With libwebsockets' default service buffer, 4 KiB.
    init() { pointer = host_create(0) }

    var context: OpaquePointer { host_context(pointer)! }
    var url: String { "ws://127.0.0.1:\(host_port(pointer))/" }
    var messages: Int { Int(host_messages(pointer)) }
    var wakes: Int { Int(host_wakes(pointer)) }
    var sawStrangers: Bool { host_saw_strangers(pointer) }

    func start() { host_start(pointer) }
    func stop() { host_stop(pointer) }
    func destroyContext() { host_destroy_context(pointer) }

    /// The host's own protocol, with a client from elsewhere.
    func checkEcho() async throws {
        try await withLoops { loops in
            var configuration = try clientConfiguration(on: loops)
            configuration.subprotocols = ["echo"]
            try await WebSocketClient.withConnection(to: url, configuration: configuration) { socket in
                try await socket.send("of the host")
                #expect(try await socket.receive() == .text("of the host"))
            }
        }
    }
}

/// A host, and a loop of ours attached to its context, which is detached before the host ends. Nothing may be left.
func withAttachedLoop(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (Host, WebSocketEventLoop) async throws -> Void
) async throws {
    try await withHost { host in
        let loop = try WebSocketEventLoop(attachedTo: host.context, blockedLoopThreshold: .seconds(30))
        host.start()
        do {
            try await body(host, loop)
            try await loop.reaches("nothing is left", sourceLocation: sourceLocation) { $0.isZero }
        } catch {
            await loop.detach()
            throw error
        }
        await loop.detach()
        #expect(loop.diagnostics.isZero, sourceLocation: sourceLocation)
        try await host.checkEcho()
        #expect(!host.sawStrangers, "the host's protocol got callbacks of ours", sourceLocation: sourceLocation)
    }
}

func withHost(_ body: (Host) async throws -> Void) async throws {
    LeakGate.install()
    let host = Host()
    defer {
        host.destroyContext()
        host_free(host.pointer)
    }
    try await body(host)
}

/// A client's configuration for a loop that is attached.
func attached(_ loopback: Loopback, _ loop: WebSocketEventLoop) -> WebSocketClientConfiguration {
    var configuration = loopback.client
    configuration.eventLoop = loop
    return configuration
}
