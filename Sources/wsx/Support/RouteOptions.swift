//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import Glibc
import WebSocketCore
import WebSocketLoop
import WebSockets

/// By which way `connect` reaches the server.
struct RouteOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Connect through this proxy: http://, socks5h://, socks5://, socks4a:// or socks4://, with user:password@ if it wants them; or env for what http_proxy, no_proxy and their like say.",
            valueName: "url"))
    var proxy: String?

    @Option(
        name: .long,
        help: ArgumentHelp("Connect to this Unix socket; an abstract name begins with @.", valueName: "path"),
        completion: .file())
    var unix: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "Connect there; Host, SNI and the name that is verified stay the URL's.", valueName: "host:port"))
    var connectTo: String?

    @Flag(name: [.customShort("L"), .long], help: "Follow redirects, at most 10 and never from wss to ws.")
    var location = false

    func validate() throws {
        let set = [("--proxy", proxy), ("--unix", unix), ("--connect-to", connectTo)].filter { $0.1 != nil }.map(\.0)
        guard set.count < 2 else {
            throw ValidationError("\(set.joined(separator: " and ")) each say where to connect; leave all but one out")
        }
        do throws(WebSocketError) {
            _ = try parsedProxy()
            try endpoint()?.validate()
        } catch {
            throw ValidationError(error.message)
        }
    }

    private func parsedProxy() throws(WebSocketError) -> WebSocketProxy {
        guard let proxy else { return .none }
        return proxy == "env" ? .environment : try WebSocketProxy(proxy)
    }

    private func endpoint() throws(WebSocketError) -> WebSocketEndpoint? {
        if let unix { return .unix(path: unix) }
        guard let connectTo else { return nil }
        guard let colon = connectTo.lastIndex(of: ":"), let port = Int(connectTo[connectTo.index(after: colon)...])
        else {
            throw WebSocketError(.invalidConfiguration, "--connect-to is not of the form host:port")
        }
        var host = connectTo[..<colon]
        if host.first == "[", host.last == "]" { host = host.dropFirst().dropLast() }
        return .host(String(host), port: port)
    }

    func apply(to configuration: inout WebSocketClientConfiguration) throws {
        configuration.proxy = try parsedProxy()
        configuration.connectTo = try endpoint()
        configuration.maximumRedirects = location ? 10 : 0
    }
}

/// Who the client is.
struct IdentityOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp("Show this certificate, with its intermediates, to the server (PEM).", valueName: "file"),
        completion: .file())
    var cert: String?

    @Option(
        name: .long, help: ArgumentHelp("The private key of --cert (PEM). (default: the same file)", valueName: "file"),
        completion: .file())
    var key: String?

    @Option(
        name: .long,
        help: ArgumentHelp("The first line of this file is what --key is encrypted with.", valueName: "file"),
        completion: .file())
    var passphraseFile: String?

    func validate() throws {
        guard cert != nil || (key == nil && passphraseFile == nil) else {
            throw ValidationError("\(key == nil ? "--passphrase-file" : "--key") needs --cert")
        }
    }

    func apply(to configuration: inout WebSocketClientConfiguration) throws {
        guard let cert else { return }
        configuration.tls.identity = .files(
            certificate: cert, key: key ?? cert, passphrase: try passphraseFile.map(Self.firstLine))
    }

    private static func firstLine(of path: String) throws -> String {
        guard let file = fopen(path, "re") else {
            throw CommandFailure(
                code: Exit.usage,
                message: "--passphrase-file: “\(path)” cannot be read: \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 2_048)
        guard fgets(&line, CInt(line.count), file) != nil else {
            throw CommandFailure(code: Exit.usage, message: "--passphrase-file: “\(path)” is empty")
        }
        let bytes = line.prefix { $0 != 0 && $0 != 0x0A && $0 != 0x0D }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }
}
