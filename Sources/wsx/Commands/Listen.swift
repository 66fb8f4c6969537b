//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import Synchronization
import WebSockets

struct Listen: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Be a server that echoes or broadcasts.",
        discussion: """
            The first line of output is the address, so that a script can use port 0 and read which one it got. \
            Ctrl-C or SIGTERM closes every connection with 1001; a second one ends the process at once.

            With --json, each line of output is one object whose "event" is listening, open, close or error.

            \(Exit.table)
            """)

    @Flag(name: .long, help: "Send each message to every other connection instead of back.")
    var broadcast = false

    @Option(name: .long, help: ArgumentHelp("The address to listen on; 0.0.0.0 or :: for all.", valueName: "address"))
    var host = "127.0.0.1"

    @Option(name: [.short, .long], help: ArgumentHelp("The port; 0 takes a free one.", valueName: "number"))
    var port = 0

    @Option(name: .long, help: ArgumentHelp("The certificate and its intermediates, PEM.", valueName: "file"))
    var tlsCert: String?

    @Option(name: .long, help: ArgumentHelp("The certificate's key, PEM.", valueName: "file"))
    var tlsKey: String?

    @Option(name: .long, help: ArgumentHelp("A subprotocol to accept. May be repeated.", valueName: "name"))
    var `protocol`: [String] = []

    @Flag(inversion: .prefixedNo, help: "Accept compression (permessage-deflate).")
    var deflate = true

    @Flag(name: .long, help: "Accept browsers from pages of other hosts too.")
    var anyOrigin = false

    @Option(name: .long, help: ArgumentHelp("The largest message accepted.", valueName: "bytes", visibility: .hidden))
    var maxMessageSize = 1 << 20

    @OptionGroup var display: DisplayOptions

    func validate() throws {
        guard (tlsCert == nil) == (tlsKey == nil) else {
            let missing = tlsCert == nil ? "--tls-cert" : "--tls-key"
            throw ValidationError("--tls-cert and --tls-key belong together; add \(missing)")
        }
        guard (0...65_535).contains(port) else {
            throw ValidationError("--port is \(port); it must be in 0...65535")
        }
    }

    func run() async throws {
        var configuration = WebSocketServerConfiguration(port: port)
        configuration.host = host
        if let tlsCert, let tlsKey { configuration.tls = .files(certificate: tlsCert, key: tlsKey) }
        configuration.subprotocols = self.protocol
        configuration.origins = anyOrigin ? .any : .sameHost
        configuration.options.compression = deflate ? .deflate() : .disabled
        configuration.options.maximumMessageSize = maxMessageSize
        // Large messages may come in small frames.
        configuration.options.maximumFragments = max(4_096, maxMessageSize / 64)
        do {
            try await serve(configuration)
        } catch let error as WebSocketError {
            if display.json {
                await Output.standard.write(json: [
                    "event": "error", "code": .string(error.code.description), "message": .string(error.message),
                    "exitCode": .integer(Int(Exit.code(for: error))),
                ])
            }
            throw error
        }
    }

    private func serve(_ configuration: WebSocketServerConfiguration) async throws {
        let interruption = await Interruption.begin()
        let server = try WebSocketServer(configuration: configuration)
        let url = "\(configuration.tls == nil ? "ws" : "wss")://\(server.address)"
        if display.json {
            await Output.standard.write(json: ["event": "listening", "url": .string(url)])
        } else {
            await Output.standard.write(line: "listening on \(url)")
        }
        let reporter = ConnectionReporter(display: display)
        let hub = broadcast ? BroadcastHub() : nil
        interruption.onFirst { Task { await server.shutDown() } }
        try await server.run { socket in
            // Before it is reported, so that whoever reads the report may rely on it.
            let membership = hub?.join(socket)
            defer { membership?.end() }
            let number = await reporter.opened(socket)
            do throws(WebSocketError) {
                if let membership {
                    for try await message in socket.messages { membership.spread(message) }
                } else {
                    for try await message in socket.messages { try await socket.send(message) }
                }
            } catch {
                await reporter.closed(number, socket, error: error)
                throw error
            }
            await reporter.closed(number, socket, error: nil)
        }
    }
}

/// Tells of connections that come and go: JSON on standard output, or status on a terminal.
private final class ConnectionReporter: Sendable {
    private let display: DisplayOptions
    private let count = Atomic<Int>(0)

    init(display: DisplayOptions) { self.display = display }

    func opened(_ socket: WebSocketConnection) async -> Int {
        let number = count.wrappingAdd(1, ordering: .relaxed).newValue
        if display.json {
            await Output.standard.write(json: [
                "event": "open", "connection": .integer(number), "remote": .optional(socket.remoteAddress?.description),
                "target": .optional(socket.requestTarget), "subprotocol": .optional(socket.subprotocol),
                "tlsVersion": .optional(socket.tls?.version), "extensions": .optional(socket.deflate?.description),
            ])
        } else if display.showsStatus {
            let remote = socket.remoteAddress.map { "\($0)" } ?? "unknown"
            Terminal.status("#\(number) open: \(remote) \(socket.requestTarget ?? "")")
        }
        return number
    }

    func closed(_ number: Int, _ socket: WebSocketConnection, error: WebSocketError?) async {
        guard display.json || display.showsStatus else { return }
        // On a normal end the outcome is already there or a close frame away.
        let info: WebSocketCloseInfo? = if let known = error?.closeInfo { known } else { try? await socket.closed() }
        if display.json {
            await Output.standard.write(json: [
                "event": "close", "connection": .integer(number),
                "code": info.map { .integer(Int($0.code.rawValue)) } ?? .null, "reason": .optional(info?.reason),
                "error": .optional(info?.isNormal == true ? nil : error?.message),
            ])
        } else {
            Terminal.status("#\(number) closed: \(info.map { "\($0)" } ?? error?.message ?? "")")
        }
    }
}

/// Connections that hear each other. Each has a queue of its own, so that a slow one holds up nobody: it is sent away
/// when its queue is full.
private final class BroadcastHub: Sendable {
    private static let queueLimit = 1_024

    private let members = Mutex<[ObjectIdentifier: Membership]>([:])

    func join(_ socket: WebSocketConnection) -> Membership {
        let membership = Membership(socket: socket, hub: self, queueLimit: Self.queueLimit)
        members.withLock { $0[ObjectIdentifier(socket)] = membership }
        return membership
    }

    /// One connection's place in the hub.
    final class Membership: Sendable {
        private let socket: WebSocketConnection
        private let hub: BroadcastHub
        private let queue: AsyncStream<WebSocketMessage>.Continuation
        private let sending: Task<Void, Never>

        fileprivate init(socket: WebSocketConnection, hub: BroadcastHub, queueLimit: Int) {
            self.socket = socket
            self.hub = hub
            let (messages, queue) = AsyncStream.makeStream(
                of: WebSocketMessage.self, bufferingPolicy: .bufferingOldest(queueLimit))
            self.queue = queue
            sending = Task(executorPreference: socket.eventLoop.taskExecutor) {
                for await message in messages {
                    do { try await socket.send(message) } catch { return }
                }
            }
        }

        /// Queues the message for everybody else.
        func spread(_ message: WebSocketMessage) {
            for other in hub.members.withLock({ Array($0.values) }) where other !== self {
                guard case .dropped = other.queue.yield(message) else { continue }
                Task { _ = try? await other.socket.close(code: .policyViolation, reason: "reads too slowly") }
            }
        }

        func end() {
            hub.members.withLock { $0[ObjectIdentifier(socket)] = nil }
            queue.finish()
            sending.cancel()
        }
    }
}
