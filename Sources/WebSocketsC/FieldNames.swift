//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Messages name settings as `wsx.h` spells them.
enum FieldNames {
    /// Longer ones first where one begins with another.
    private static let names: [(swift: String, c: String)] = [
        ("tls.additionalIdentities.certificateChain", "identities.certificate_file"),
        ("tls.additionalIdentities.privateKey", "identities.key_file"),
        ("tls.additionalIdentities.passphrase", "identities.key_passphrase"),
        ("tls.additionalIdentities", "identities"),
        ("tls.identity.certificateChain", "certificate_file"),
        ("tls.identity.privateKey", "key_file"),
        ("tls.identity.passphrase", "key_passphrase"),
        ("tls.identity", "certificate_file and key_file"),
        ("tls.certificateChain", "certificate_file"),
        ("tls.privateKey", "key_file"),
        ("tls.passphrase", "key_passphrase"),
        ("tls.clientCertificates", "client_ca_file"),
        ("tls.minimumVersion", "minimum_tls"),
        ("tls.publicKeyPins", "public_key_pins"),
        ("tls.serverName", "server_name"),
        ("tls.trust", "ca_file"),
        ("maximumConnectionAge", "maximum_connection_age_ms"),
        ("maximumConnections", "maximum_connections"),
        ("maximumMessageSize", "maximum_message_size"),
        ("maximumRedirects", "maximum_redirects"),
        ("maximumAttempts", "maximum_attempts"),
        ("maximumLifetime", "maximum_lifetime_ms"),
        ("minimumIdle", "minimum_idle"),
        ("acquireTimeout", "acquire_timeout_ms"),
        ("handshakeTimeout", "handshake_timeout_ms"),
        ("openTimeout", "open_timeout_ms"),
        ("closeTimeout", "close_timeout_ms"),
        ("idleTimeout", "idle_timeout_ms"),
        ("inboundBuffer.highMessages", "inbound_messages"),
        ("outboundBuffer.highBytes", "outbound_bytes"),
        ("inboundMessages", "inbound_messages"),
        ("outboundQueue", "outbound_queue"),
        ("keepAlive.interval", "ping_interval_ms"),
        ("keepAlive.timeout", "ping_timeout_ms"),
        ("connectTo", "unix_socket or connect_host"),
        ("userAgent", "user_agent"),
    ]

    /// The message with the names that C programs know.
    static func translated(_ message: String) -> String {
        // Words of Swift's kind have a capital letter or a dot inside; most messages have neither.
        let isCandidate = message.utf8.contains { (0x41...0x5A).contains($0) || $0 == UInt8(ascii: ".") }
        guard isCandidate else { return message }
        var result = message
        for name in names where result.contains(name.swift) { result = replacing(name.swift, by: name.c, in: result) }
        return result
    }

    private static func replacing(_ word: String, by other: String, in text: String) -> String {
        var result = ""
        var rest = text[...]
        while let range = rest.firstRange(of: word) {
            let isWhole =
                !(result + rest[..<range.lowerBound]).hasWordAtEnd && !rest[range.upperBound...].beginsWithWord
            result += rest[..<range.lowerBound]
            result += isWhole ? other : word
            rest = rest[range.upperBound...]
        }
        return result + rest
    }
}

extension StringProtocol {
    fileprivate var hasWordAtEnd: Bool { last.map { $0.isLetter || $0.isNumber || $0 == "_" } ?? false }
    fileprivate var beginsWithWord: Bool { first.map { $0.isLetter || $0.isNumber || $0 == "_" } ?? false }
}
