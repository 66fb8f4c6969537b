//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import HTTPTypes
import WebSocketCore
import WebSocketLoop
import WebSockets

extension WebSocketClientConfiguration {
    /// Takes over what C has set.
    mutating func apply(_ config: wsx_client_config) throws(Failure) {
        logger = Log.logger
        eventLoop = try WebSocketEventLoop.named(config.loop)
        headers.append(contentsOf: try fields(config.headers))
        subprotocols = try texts(config.subprotocols, "subprotocols")
        if let agent = try text(config.user_agent, "user_agent") { userAgent = agent }
        if let proxy = try text(config.proxy, "proxy") {
            do throws(WebSocketError) {
                self.proxy = proxy == "environment" ? .environment : try WebSocketProxy(proxy)
            } catch {
                throw Failure(error)
            }
        }
        if let path = try text(config.unix_socket, "unix_socket") { connectTo = .unix(path: path) }
        if let host = try text(config.connect_host, "connect_host") {
            connectTo = .host(host, port: Int(config.connect_port))
        }
        guard config.maximum_redirects >= 0 else { throw .argument("maximum_redirects is negative") }
        maximumRedirects = Int(config.maximum_redirects)
        if let timeout = try Duration.setting(config.open_timeout_ms, "open_timeout_ms") { openTimeout = timeout }
        try options.apply(
            close: config.close_timeout_ms, pings: (config.ping_interval_ms, config.ping_timeout_ms),
            maximumMessage: config.maximum_message_size, outbound: config.outbound_bytes)
        if config.inbound_messages > 0 {
            options.inboundBuffer.highMessages = config.inbound_messages
            options.inboundBuffer.lowMessages = config.inbound_messages / 4
        }
        if try isOn(config.deflate, "deflate", byDefault: false) {
            var deflate = WebSocketCompression.Deflate()
            if config.deflate_level != 0 { deflate.level = Int(config.deflate_level) }
            options.compression = .deflate(deflate)
        }
        try tls.apply(config)
        // Whom a program trusts it trusts as a proxy too; name, pins and certificate are the server's.
        proxyTLS.trust = tls.trust
    }
}

extension WebSocketTLSClientConfiguration {
    fileprivate mutating func apply(_ config: wsx_client_config) throws(Failure) {
        if let file = try text(config.ca_file, "ca_file") { trust = .certificates(.file(file)) }
        switch (try text(config.certificate_file, "certificate_file"), try text(config.key_file, "key_file")) {
        case (nil, nil): break
        case (let certificate?, let key?):
            identity = .files(
                certificate: certificate, key: key, passphrase: try text(config.key_passphrase, "key_passphrase"))
        default: throw .argument("certificate_file and key_file belong together")
        }
        serverName = try text(config.server_name, "server_name")
        publicKeyPins = Set(try texts(config.public_key_pins, "public_key_pins"))
        minimumVersion = try .named(config.minimum_tls)
        switch config.insecure_no_verification {
        case 0: break
        case 1: verification = .insecureNoVerification
        default: throw .argument("insecure_no_verification is neither 0 nor 1")
        }
    }
}

extension WebSocketTLSVersion {
    static func named(_ number: Int32) throws(Failure) -> Self {
        switch number {
        case 0, 12: .tls12
        case 13: .tls13
        default: throw .argument("minimum_tls is \(number); use 12 or 13")
        }
    }
}

extension WebSocketOptions {
    mutating func apply(
        close: Int64, pings: (interval: Int64, timeout: Int64), maximumMessage: Int, outbound: Int
    ) throws(Failure) {
        if let timeout = try Duration.setting(close, "close_timeout_ms") { closeTimeout = timeout }
        if pings.interval == -1 {
            keepAlive = nil
        } else if var alive = keepAlive {
            if let interval = try Duration.setting(pings.interval, "ping_interval_ms") { alive.interval = interval }
            if pings.timeout == -1 {
                alive.timeout = nil
            } else if let timeout = try Duration.setting(pings.timeout, "ping_timeout_ms") {
                alive.timeout = timeout
            }
            keepAlive = alive
        }
        guard maximumMessage >= 0, outbound >= 0 else { throw .argument("a size is too large") }
        if maximumMessage > 0 { maximumMessageSize = maximumMessage }
        if outbound > 0 {
            outboundBuffer.highBytes = outbound
            outboundBuffer.lowBytes = outbound / 4
        }
    }
}

func isOn(_ value: Int32, _ name: StaticString, byDefault: Bool) throws(Failure) -> Bool {
    switch Int(value) {
    case WSX_DEFAULT: byDefault
    case WSX_ON: true
    case WSX_OFF: false
    default: throw .argument("\(name) is \(value); use WSX_ON, WSX_OFF or WSX_DEFAULT")
    }
}

/// Header fields from "Name: value" each. A value that cannot be sent is refused here: HTTPTypes would mend it silently.
func fields(_ list: UnsafePointer<UnsafePointer<CChar>?>?) throws(Failure) -> HTTPFields {
    var fields = HTTPFields()
    for line in try texts(list, "headers") {
        guard let colon = line.utf8.firstIndex(of: UInt8(ascii: ":")), let name = HTTPField.Name(String(line[..<colon]))
        else { throw .argument("headers: each is “Name: value”") }
        let value = line[line.index(after: colon)...].drop { $0 == " " || $0 == "\t" }
        guard HTTPField.isValidValue(String(value)) else {
            throw .argument("headers: the value of \(name.rawName) has characters that a header cannot have")
        }
        fields.append(HTTPField(name: name, value: String(value)))
    }
    return fields
}
