//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// PEM text from a file or from memory, at most 4 MiB. A client's files are read again by the first attempt to connect that
/// finds them changed, a server's by `reloadTLS`. While one cannot be read attempts fail: with `invalidConfiguration`, or
/// with `resourceExhausted` when it is descriptors that are missing. What was read before is not used instead.
public enum WebSocketPEMSource: Sendable, Hashable {
    /// A file's path.
    case file(String)
    /// What such a file has in it.
    case bytes([UInt8])
}

/// The least TLS version that is accepted.
public enum WebSocketTLSVersion: Sendable, Hashable {
    /// TLS 1.2 (RFC 5246).
    case tls12
    /// TLS 1.3 (RFC 8446).
    case tls13
}

/// How a client checks a server. The default is safe: the system's CAs, the URL's name, TLS 1.2 or later.
public struct WebSocketTLSClientConfiguration: Sendable, Hashable {
    /// Whose certificates are trusted.
    public enum Trust: Sendable, Hashable {
        /// The system's CAs (Debian: `ca-certificates`), or those of the variables `SSL_CERT_FILE` and `SSL_CERT_DIR`. They
        /// are read again when they have changed; that there are none is `invalidConfiguration`.
        case system
        /// Only these, each of which is an anchor: a root, an intermediate CA without its root, or a server's own
        /// certificate. A bundle is read whole, or refused with the number of the block that cannot be read.
        case certificates(WebSocketPEMSource)
    }

    /// How the server's certificate is verified.
    public enum Verification: Sendable, Hashable {
        /// Chain, validity and name (RFC 6125: subject alternative names only, never the common name).
        case full
        /// NOTHING is checked: an attacker in between can read and change everything. For experiments only.
        case insecureNoVerification
    }

    /// Default `.system`.
    public var trust: Trust = .system
    /// Default `.full`.
    public var verification: Verification = .full
    /// Default TLS 1.2.
    public var minimumVersion: WebSocketTLSVersion = .tls12
    /// The name to verify and to send as SNI, both without a dot at its end. Default: the URL's host. A host that a
    /// redirect leads to goes by its own.
    public var serverName: String?
    /// What the client shows to a server that asks who it is (mutual TLS). Default: nothing.
    public var identity: WebSocketTLSClientIdentity?
    /// Ciphers for TLS 1.2, as OpenSSL's list (`openssl ciphers`), such as `ECDHE+AESGCM`. Default: OpenSSL's own.
    public var ciphers: String?
    /// Cipher suites for TLS 1.3, separated by colons, such as `TLS_AES_256_GCM_SHA384`. Default: OpenSSL's own.
    public var cipherSuites: String?
    /// Keys, one of which the server must prove to have or be vouched for by: SHA-256 of a public key
    /// (SubjectPublicKeyInfo) in base64, as RFC 7469 §2.4 has it. A key counts anywhere in the verified chain, in the
    /// server's own certificate or in its CA's; without verification only in the server's own. Pin a second key that is
    /// kept in reserve. Default: any key.
    public var publicKeyPins: Set<String> = []
    /// Whether sessions are resumed, which saves both sides the certificates and a signature. A resumed session does
    /// not look at the certificate again, however often it is resumed, until one of the certificates ends with which it
    /// was verified, and shows no client certificate. Tickets are kept for this configuration, these files and this name
    /// only, in memory, and are used once under TLS 1.3. Default on.
    public var resumesSessions = true

    /// The defaults: verified against the system's certificate authorities.
    public init() {}
}

/// A client's certificate and key.
public struct WebSocketTLSClientIdentity: Sendable, Hashable {
    /// The certificate, followed by the intermediates.
    public var certificateChain: WebSocketPEMSource
    /// The private key of the first certificate in the chain.
    public var privateKey: WebSocketPEMSource
    /// What the private key is encrypted with, at most 1,023 bytes. Default: it is not encrypted.
    public var passphrase: String?

    /// A client's certificate and key.
    public init(certificateChain: WebSocketPEMSource, privateKey: WebSocketPEMSource, passphrase: String? = nil) {
        self.certificateChain = certificateChain
        self.privateKey = privateKey
        self.passphrase = passphrase
    }

    /// From two PEM files. They are read again when they have changed, by the next connection.
    public static func files(certificate: String, key: String, passphrase: String? = nil) -> Self {
        Self(certificateChain: .file(certificate), privateKey: .file(key), passphrase: passphrase)
    }
}

extension WebSocketTLSClientIdentity: CustomStringConvertible, CustomReflectable {
    /// Without the secrets.
    public var description: String { "WebSocketTLSClientIdentity" }
    /// Nothing: `dump` and test frameworks print mirrors.
    public var customMirror: Mirror { Mirror(self, children: [:], displayStyle: .struct) }
}

/// A server's identity.
public struct WebSocketTLSServerConfiguration: Sendable, Hashable {
    /// The certificate, followed by the intermediates.
    public var certificateChain: WebSocketPEMSource
    /// The private key of the first certificate in the chain.
    public var privateKey: WebSocketPEMSource
    /// What the private key is encrypted with, at most 1,023 bytes. Default: it is not encrypted.
    public var passphrase: String?
    /// Default TLS 1.2.
    public var minimumVersion: WebSocketTLSVersion = .tls12
    /// Other certificates, for clients that ask for their names (SNI, RFC 6066 §3). Clients that ask for another name, or
    /// none, get the main one. Default none.
    public var additionalIdentities: [Identity] = []
    /// Whether clients show certificates. Default ``ClientCertificates/ignored``.
    public var clientCertificates = ClientCertificates.ignored

    /// A certificate for some names.
    public struct Identity: Sendable, Hashable {
        /// The names, such as `example.com`, or `*.example.com` for one label in front.
        public var serverNames: [String]
        /// The certificate, followed by the intermediates.
        public var certificateChain: WebSocketPEMSource
        /// The private key of the first certificate in the chain.
        public var privateKey: WebSocketPEMSource
        /// What the private key is encrypted with, at most 1,023 bytes. Default: it is not encrypted.
        public var passphrase: String?

        /// A certificate for some names.
        public init(
            serverNames: [String], certificateChain: WebSocketPEMSource, privateKey: WebSocketPEMSource,
            passphrase: String? = nil
        ) {
            self.serverNames = serverNames
            self.certificateChain = certificateChain
            self.privateKey = privateKey
            self.passphrase = passphrase
        }
    }

    /// Whether clients show certificates, and which authorities must have signed them. With ``optional(_:)`` and
    /// ``required(_:)`` sessions are not resumed: a resumed one would not show its certificate again.
    public enum ClientCertificates: Sendable, Hashable {
        /// Clients are not asked.
        case ignored
        /// Clients may come without one. One that does not verify ends the handshake.
        case optional(WebSocketPEMSource)
        /// Clients without one, or with one that does not verify, are refused in the TLS handshake.
        case required(WebSocketPEMSource)
    }

    /// A server's identity.
    public init(certificateChain: WebSocketPEMSource, privateKey: WebSocketPEMSource, passphrase: String? = nil) {
        self.certificateChain = certificateChain
        self.privateKey = privateKey
        self.passphrase = passphrase
    }

    /// From two PEM files.
    public static func files(certificate: String, key: String, passphrase: String? = nil) -> Self {
        Self(certificateChain: .file(certificate), privateKey: .file(key), passphrase: passphrase)
    }
}

extension WebSocketTLSServerConfiguration: CustomStringConvertible, CustomReflectable {
    /// Without the secrets.
    public var description: String { "WebSocketTLSServerConfiguration" }
    /// Nothing: `dump` and test frameworks print mirrors.
    public var customMirror: Mirror { Mirror(self, children: [:], displayStyle: .struct) }
}

extension WebSocketTLSServerConfiguration.Identity: CustomStringConvertible, CustomReflectable {
    /// The names, without the secrets.
    public var description: String { serverNames.joined(separator: ", ") }
    /// Nothing: `dump` and test frameworks print mirrors.
    public var customMirror: Mirror { Mirror(self, children: [:], displayStyle: .struct) }
}

/// What TLS negotiated on a connection.
public struct WebSocketTLSInfo: Sendable, Hashable {
    /// Such as `TLSv1.3`.
    public let version: String
    /// Such as `TLS_AES_256_GCM_SHA384`.
    public let cipher: String
    /// Whether an earlier session was resumed.
    public let isResumed: Bool
    /// What the peer has shown: a server's certificate, or a client's if it was asked for one.
    public let peerCertificate: WebSocketTLSCertificate?
}
