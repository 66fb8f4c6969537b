//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import WebSocketCore
import WebSocketLoop
import WebSockets

struct Connect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Send lines as messages and print messages as lines.",
        discussion: """
            Every line of standard input becomes a message, every message that arrives becomes a line of standard \
            output. At the end of input the replies under way are awaited, then the connection is closed with --close-code; \
            for replies that take their time, see --wait and --no-close. Ctrl-C closes it with 1001, a second Ctrl-C \
            cuts it.

            Watch a feed, from cron too:    wsx connect --reconnect wss://example.com/feed </dev/null >>log
            Ask one question:               echo '{"op":"time"}' | wsx connect -1 --timeout 5 wss://example.com/
            Send a file as one message:     wsx connect --whole --binary ws://127.0.0.1:8080/ <picture.png

            On a terminal, < marks what arrives and > what you send; /ping and /close are commands, //ping sends /ping.

            On a terminal the control characters of messages are escaped; in a pipe everything is written as it came.
            With --json, each line of output is one object whose "event" is open, message, close or error; with
            --reconnect also disconnect, gap or alert.

            \(Exit.table)
            """)

    @Argument(help: "A ws:// or wss:// URL.")
    var url: String

    @Option(
        name: [.customShort("H"), .long],
        help: ArgumentHelp("A header of the handshake. May be repeated.", valueName: "name: value"))
    var header: [String] = []

    @Option(name: .long, help: ArgumentHelp("A subprotocol to offer. May be repeated.", valueName: "name"))
    var `protocol`: [String] = []

    @Option(name: .long, help: ArgumentHelp("The Origin header.", valueName: "origin"))
    var origin: String?

    @Option(
        name: .long,
        help: ArgumentHelp("The User-Agent header; empty for none. (default: swift-libwebsockets)", valueName: "text"))
    var userAgent: String?

    @OptionGroup(title: "Way to the server") var route: RouteOptions

    @Option(
        name: .long, help: ArgumentHelp("Trust the CAs in this PEM file instead of the system's.", valueName: "file"),
        completion: .file())
    var ca: String?

    @Flag(name: [.customShort("k"), .long], help: "Do not verify the server's certificate. For experiments only.")
    var insecure = false

    @OptionGroup var identity: IdentityOptions

    @Flag(inversion: .prefixedNo, help: "Offer compression (permessage-deflate).")
    var deflate = true

    @Option(
        name: .long,
        help: ArgumentHelp("Ping this often; 0 sends no pings. (default: 20)", valueName: "seconds"))
    var pingInterval: Double?

    @Option(name: .long, help: ArgumentHelp("The deadline for the open connection.", valueName: "seconds"))
    var openTimeout = 10.0

    @OptionGroup(title: "Input and end") var talk: ConversationOptions

    @Flag(name: .long, help: "Print the round trip of every ping to standard error.")
    var printRtt = false

    @Option(name: .long, help: ArgumentHelp("The largest message accepted.", valueName: "bytes"))
    var maxMessageSize = 64 << 20

    @Flag(
        name: .long,
        help: "Connect again when the connection ends, for as long as it takes; lines wait meanwhile (up to 10,000).")
    var reconnect = false

    @Flag(
        name: .shortAndLong,
        help: "Show the handshake, messages, pongs and closes on standard error, credentials hidden.")
    var verbose = false

    @OptionGroup var display: DisplayOptions

    func validate() throws {
        // A bad URL is told of in `run`: what stands there may be the value of an option that was misspelt, which the
        // parser complains about only after this.
        guard let isSecure = (try? WebSocketURL(international: url))?.isSecure else { return }
        guard isSecure || (ca == nil && !insecure) else {
            throw ValidationError("\(ca == nil ? "--insecure" : "--ca") needs a wss:// URL; there is no TLS with ws://")
        }
        guard isSecure || identity.cert == nil else {
            throw ValidationError("--cert needs a wss:// URL; there is no TLS with ws://")
        }
        guard ca == nil || !insecure else {
            throw ValidationError("--ca has no effect with --insecure; leave one out")
        }
        if let pingInterval, !(0...86_400).contains(pingInterval) {
            throw ValidationError("--ping-interval is \(pingInterval); it must be in 0...86400")
        }
        guard openTimeout > 0, openTimeout <= 86_400 else {
            throw ValidationError("--open-timeout is \(openTimeout); it must be positive and at most 86400")
        }
        if printRtt, pingInterval == 0 {
            throw ValidationError("--print-rtt has nothing to print with --ping-interval 0; leave one out")
        }
        guard !reconnect || !(printRtt || verbose) else {
            throw ValidationError(
                "\(printRtt ? "--print-rtt" : "--verbose") shows one connection; leave it out with --reconnect")
        }
        _ = try fields()
    }

    private func fields() throws -> HTTPFields {
        var fields = HTTPFields()
        for text in header {
            guard let colon = text.firstIndex(of: ":"), let name = HTTPField.Name(String(text[..<colon])) else {
                throw ValidationError("the header “\(text)” is not of the form “Name: value”")
            }
            let value = text[text.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
            guard HTTPField.isValidValue(String(value)) else {
                throw ValidationError("the header \(name.rawName) has a control character in its value; remove it")
            }
            fields.append(HTTPField(name: name, value: String(value)))
        }
        if let origin {
            guard HTTPField.isValidValue(origin) else {
                throw ValidationError("--origin has a control character; remove it")
            }
            guard fields[.origin] == nil else {
                throw ValidationError("there is an Origin header besides --origin; leave one out")
            }
            fields[.origin] = origin
        }
        return fields
    }

    private func clientConfiguration() throws -> WebSocketClientConfiguration {
        var configuration = WebSocketClientConfiguration()
        // One connection needs no loop per core.
        configuration.eventLoop = try WebSocketEventLoopGroup(count: 1).loops[0]
        configuration.headers = try fields()
        configuration.subprotocols = self.protocol
        configuration.openTimeout = .seconds(openTimeout)
        if let ca {
            configuration.tls.trust = .certificates(.file(ca))
            configuration.proxyTLS.trust = .certificates(.file(ca))
        }
        try identity.apply(to: &configuration)
        try route.apply(to: &configuration)
        if let userAgent { configuration.userAgent = userAgent.isEmpty ? nil : userAgent }
        if insecure { configuration.tls.verification = .insecureNoVerification }
        configuration.options.compression = deflate ? .deflate() : .disabled
        configuration.options.maximumMessageSize = maxMessageSize
        // The reader may be slow and the peer quick to close; what is here must not be dropped then.
        configuration.options.inboundBuffer = .init(highMessages: 1_024, lowMessages: 256, highBytes: 16 << 20)
        if let pingInterval {
            configuration.options.keepAlive = pingInterval > 0 ? .init(interval: .seconds(pingInterval)) : nil
        }
        return configuration
    }

    func run() async throws {
        do throws(WebSocketError) {
            _ = try WebSocketURL(international: url)
        } catch {
            throw ValidationError(error.message)
        }
        let configuration = try clientConfiguration()
        do {
            try await converse(configuration)
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

    private func converse(_ configuration: WebSocketClientConfiguration) async throws {
        var behaviour = try talk.behaviour()
        behaviour.printsRoundTrips = printRtt
        let interruption = await Interruption.begin()
        if insecure && !display.quiet {
            Terminal.warn("the certificate is not verified; an attacker in between can read and change everything")
        }
        if reconnect {
            return try await SessionConversation.run(
                to: url, configuration, behaviour: behaviour, display: display, interruption: interruption)
        }
        let transcript = verbose ? Transcript() : nil
        var configuration = configuration
        configuration.trace = transcript?.trace
        let attempt = Task { [url, configuration] in
            try await WebSocketClient.connect(to: url, configuration: configuration)
        }
        interruption.onFirst { attempt.cancel() }
        let socket: WebSocketConnection
        do {
            socket = try await attempt.value
        } catch {
            if let code = interruption.exitCode { throw CommandFailure(code: code) }
            if let error = error as? WebSocketError { transcript?.show(error) }
            throw error
        }
        transcript?.show(socket)
        let conversation = Conversation(
            socket: socket, behaviour: behaviour, display: display, transcript: transcript, interruption: interruption)
        await conversation.announce(url: try socket.url ?? WebSocketURL(international: url))
        interruption.onFirst { Task { _ = try? await socket.close(code: .goingAway) } }
        try await conversation.run()
    }
}
