//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import WebSockets

struct Listen: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Be a server: echo, broadcast, topics, a replay, or what another program does.",
        discussion: """
            The first line of output is the address, so that a script can use port 0 and read which one it got. \
            Ctrl-C or SIGTERM closes every connection with 1001; a second one ends the process at once.

            A browser finds the server's state at /status, a program at /status.json.

            With --json, each line of output is one object whose "event" is listening, open, close, exit (of a \
            command), broker (with --redis) or error.

            \(Exit.table)
            """)

    @Flag(
        name: .long,
        help: "Send each message to every other connection instead of back. A sender is slowed down for slow readers.")
    var broadcast = false

    @Flag(name: .long, help: "Send each message to the other connections to the same path.")
    var topics = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "With --topics: join the topics of all servers that use this Redis or Valkey: redis://host, rediss://host or unix:/path. A password is better in WSX_REDIS_PASSWORD, with its user in WSX_REDIS_USER.",
            valueName: "url"))
    var redis: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "With --redis: in front of every key and channel; servers that share it are one.", valueName: "word"))
    var redisPrefix = "wsx"

    @Option(
        name: .long, help: ArgumentHelp("With --redis: trust these authorities, PEM.", valueName: "file"),
        completion: .file())
    var redisCa: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Send a directory's files as messages, in the order of their names, or what connect --record wrote into a file, at its times; then close.",
            valueName: "path"), completion: .file())
    var replay: String?

    @Option(
        name: .long,
        help: ArgumentHelp("How many times faster than recorded; 0 sends all at once.", valueName: "factor"))
    var replaySpeed = 1.0

    @Option(
        name: .long,
        help: ArgumentHelp("Join each connection to a stream: tcp:host:port or unix:path.", valueName: "upstream"))
    var to: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Run a shell command for each connection; lines of its input and output are messages.", valueName: "command"
        ))
    var exec: String?

    @Option(name: .long, help: ArgumentHelp("The address to listen on; 0.0.0.0 or :: for all.", valueName: "address"))
    var host = "127.0.0.1"

    @Option(name: [.short, .long], help: ArgumentHelp("The port; 0 takes a free one.", valueName: "number"))
    var port = 0

    @Option(
        name: .long,
        help: ArgumentHelp("Listen on a unix socket instead; @name is an abstract one.", valueName: "path"),
        completion: .file()
    )
    var unix: String?

    @Option(
        name: .long, help: ArgumentHelp("The certificate and its intermediates, PEM.", valueName: "file"),
        completion: .file())
    var tlsCert: String?

    @Option(name: .long, help: ArgumentHelp("The certificate's key, PEM.", valueName: "file"), completion: .file())
    var tlsKey: String?

    @Option(
        name: .long,
        help: ArgumentHelp("Only accept clients with a certificate of these authorities, PEM.", valueName: "file"),
        completion: .file())
    var clientCa: String?

    @Option(name: .long, help: ArgumentHelp("A subprotocol to accept. May be repeated.", valueName: "name"))
    var `protocol`: [String] = []

    @Flag(inversion: .prefixedNo, help: "Accept compression (permessage-deflate).")
    var deflate = true

    @Flag(name: .long, help: "Accept browsers from pages of other hosts too.")
    var anyOrigin = false

    @Option(
        name: .long,
        help: ArgumentHelp(
            "A page's origin that may connect, such as https://example.com or https://*.example.com. May be repeated.",
            valueName: "origin"))
    var origin: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "On loopback, answer requests for this host too, beside localhost and addresses; *.example.com and * are possible. May be repeated.",
            valueName: "name"))
    var hostName: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Credentials that clients need, seen by all who list processes. May be repeated.",
            valueName: "user:password"))
    var basicAuth: [String] = []

    @Option(
        name: .long,
        help: ArgumentHelp("The same from a file, one user:password a line; # begins a comment.", valueName: "file"),
        completion: .file())
    var basicAuthFile: String?

    @Option(name: .long, help: ArgumentHelp("Connections beyond this get 503.", valueName: "number"))
    var maxConnections: Int?

    @Option(name: .long, help: ArgumentHelp("The largest message accepted.", valueName: "bytes", visibility: .hidden))
    var maxMessageSize = 1 << 20

    @Flag(name: .shortAndLong, help: "Report connections on standard error, even when it is no terminal.")
    var verbose = false

    @OptionGroup var display: DisplayOptions

    func validate() throws {
        guard (tlsCert == nil) == (tlsKey == nil) else {
            let missing = tlsCert == nil ? "--tls-cert" : "--tls-key"
            throw ValidationError("--tls-cert and --tls-key belong together; add \(missing)")
        }
        let modes = [
            broadcast ? "--broadcast" : nil, topics ? "--topics" : nil, replay.map { _ in "--replay" },
            to.map { _ in "--to" }, exec.map { _ in "--exec" },
        ].compactMap { $0 }
        guard modes.count <= 1 else {
            throw ValidationError("\(modes.joined(separator: " and ")) contradict each other; choose one")
        }
        guard redis == nil || topics else { throw ValidationError("--redis joins the topics of servers; add --topics") }
        guard redis != nil || (redisCa == nil && redisPrefix == "wsx") else {
            throw ValidationError("--redis-prefix and --redis-ca belong to --redis; add it")
        }
        if let to, Upstream(to) == nil {
            throw ValidationError("--to is “\(to)”; write tcp:host:port or unix:path")
        }
        guard clientCa == nil || tlsCert != nil else {
            throw ValidationError("--client-ca needs TLS; add --tls-cert and --tls-key")
        }
        guard !anyOrigin || origin.isEmpty else {
            throw ValidationError("--any-origin and --origin contradict each other; choose one")
        }
        guard (maxConnections ?? 1) > 0 else {
            throw ValidationError("--max-connections is \(maxConnections ?? 0); it must be positive")
        }
        // The value is not repeated: it may be a password.
        guard basicAuth.allSatisfy({ $0.contains(":") }) else {
            throw ValidationError("--basic-auth needs a user and a password; write user:password")
        }
        guard replaySpeed >= 0, replaySpeed.isFinite else {
            throw ValidationError("--replay-speed is \(replaySpeed); it must not be negative")
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
        if let unix { configuration.addresses = [.unix(path: unix)] }
        if let clientCa { configuration.tls?.clientCertificates = .required(.file(clientCa)) }
        configuration.origins = anyOrigin ? .any : origin.isEmpty ? .sameHost : .only(Set(origin))
        if let maxConnections { configuration.maximumConnections = maxConnections }
        let users =
            basicAuth.compactMap(CredentialsFile.entry) + (try basicAuthFile.map(CredentialsFile.users) ?? [])
        if !users.isEmpty {
            configuration.authentication = .basic(realm: "wsx", users: Dictionary(users) { $1 })
        }
        configuration.options.compression = deflate ? .deflate() : .disabled
        configuration.options.maximumMessageSize = maxMessageSize
        // Large messages may come in small frames.
        configuration.options.maximumFragments = max(4_096, maxMessageSize / 64)
        do {
            try await serve(configuration)
        } catch let error as WebSocketError {
            if display.json {
                await Output.standard.write(json: [
                    "event": "error", "code": .string(error.code.description),
                    "message": .string(CommandText.message(of: error)),
                    "exitCode": .integer(Int(Exit.code(for: error))),
                ])
            }
            throw error
        }
    }

    private func mode() throws -> ListenMode {
        if broadcast { return .broadcast(Rooms()) }
        if let redis { return .shared(try SharedTopics(redis, prefix: redisPrefix, authorities: redisCa)) }
        if topics { return .topics(Rooms()) }
        if let replay { return .replay(try Replay(replay, speed: replaySpeed)) }
        if let exec { return .command(exec) }
        if let upstream = to.flatMap(Upstream.init) { return .upstream(upstream) }
        return .echo
    }

    private func serve(_ base: WebSocketServerConfiguration) async throws {
        let interruption = await Interruption.begin()
        let mode = try mode()
        let status = StatusPage(topics: mode.sharedTopics?.topics)
        var configuration = base
        let hosts = HostNames(allowed: hostName)
        configuration.onRequest = { [authentication = configuration.authentication] request in
            if let refusal = hosts.refusal(of: request) { return refusal }
            guard !request.isWebSocket else { return .accept() }
            // The page tells who is connected, so it is for those who may connect.
            if let authentication, try await authentication.user(of: request) == nil { return authentication.refusal }
            return status.answer(request)
        }
        let server = try WebSocketServer(configuration: configuration)
        status.show(server)
        let scheme = configuration.tls == nil ? "ws" : "wss"
        let url = unix == nil ? "\(scheme)://\(server.address)" : "\(scheme)+\(server.address)"
        let isTold =
            display.json
            ? await Output.standard.write(json: ["event": "listening", "url": .string(url)])
            : await Output.standard.write(line: "listening on \(url)")
        if !isTold { try Output.standard.check() }
        let reporter = ConnectionReporter(display: display, isVerbose: verbose)
        interruption.onFirst { Task { await server.shutDown() } }
        let sharing = mode.sharedTopics.map { shared in Task { await shared.run(reporter) } }
        defer { sharing?.cancel() }
        try await server.run { socket in
            mode.join(socket)
            let number = await reporter.opened(socket)
            do throws(WebSocketError) {
                try await mode.serve(socket) { await reporter.commandEnded(number, $0) }
            } catch {
                await reporter.closed(number, socket, error: error)
                throw error
            }
            await reporter.closed(number, socket, error: nil)
        }
    }
}
