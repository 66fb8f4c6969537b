//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Whether and how messages are compressed (permessage-deflate, RFC 7692).
///
/// Compressing secrets together with text that an attacker chooses leaks them through the size of
/// the frames (CRIME, BREACH). That is why a client offers compression only when it is asked to;
/// a server accepts it by default.
public enum WebSocketCompression: Sendable, Hashable {
    /// No compression: not offered by a client, declined by a server.
    case disabled
    /// Offered by a client, accepted by a server.
    case deflate(Deflate = Deflate())

    /// The parameters of RFC 7692 §7.1 and zlib's knobs.
    public struct Deflate: Sendable, Hashable {
        /// The server compresses each message on its own. Costs ratio, saves memory. Default `false`.
        public var serverNoContextTakeover = false
        /// The client compresses each message on its own. Default `false`.
        public var clientNoContextTakeover = false
        /// The server's window, 8 to 15 bits. Default 15.
        public var serverMaxWindowBits = 15
        /// The client's window, 8 to 15 bits. Default 15. A compressor cannot use 8: with it our own
        /// messages go out uncompressed, which is always allowed.
        public var clientMaxWindowBits = 15
        /// Whether a client's offer has `client_max_window_bits`. Default `true`. Only with it may the server choose a
        /// smaller window for the client (RFC 7692 §7.1.2.2), but some servers know only a bare
        /// `permessage-deflate` and refuse an offer that has it. Without it `clientMaxWindowBits` still binds this
        /// client, and a server that answers with the parameter is refused. A server's own settings ignore it.
        public var offersClientMaxWindowBits = true
        /// Whether a client offers a second choice behind the first (RFC 7692 §5.1), which is the same without
        /// `client_max_window_bits`: `permessage-deflate; client_max_window_bits, permessage-deflate`. Default
        /// `false`. It helps with servers that pass over an offer that they do not know; one that refuses the whole
        /// handshake for it needs `offersClientMaxWindowBits = false`, with which this has no effect. A server's own
        /// settings ignore it.
        public var offersFallback = false
        /// zlib's level, 1 (fastest) to 9. Default 1.
        public var level = 1
        /// zlib's memory level, 1 to 9. Default 5; a compressor takes about 2^(level+9) + 2^(bits+2) bytes.
        public var memoryLevel = 5
        /// Messages below this many bytes go out uncompressed: they would hardly shrink. Default 64.
        public var minimumSize = 64

        /// The defaults.
        public init() {}
    }

    package func validate() throws(WebSocketError) {
        guard case .deflate(let deflate) = self else { return }
        func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws(WebSocketError) {
            guard range.contains(value) else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "compression: \(name) is \(value); it must be in \(range.lowerBound)...\(range.upperBound)")
            }
        }
        try check("serverMaxWindowBits", deflate.serverMaxWindowBits, 8...15)
        try check("clientMaxWindowBits", deflate.clientMaxWindowBits, 8...15)
        try check("level", deflate.level, 1...9)
        try check("memoryLevel", deflate.memoryLevel, 1...9)
        try check("minimumSize", deflate.minimumSize, 0...Int.max)
    }
}

/// What both sides agreed on for one connection.
public struct WebSocketNegotiatedDeflate: Sendable, Hashable {
    /// The server compresses each message by itself (RFC 7692 §7.1.1.1).
    public var serverNoContextTakeover: Bool
    /// The client compresses each message by itself (RFC 7692 §7.1.1.2).
    public var clientNoContextTakeover: Bool
    /// The server's window as a power of two, 8 to 15 (RFC 7692 §7.1.2.1).
    public var serverMaxWindowBits: Int
    /// The client's window as a power of two, 8 to 15 (RFC 7692 §7.1.2.2).
    public var clientMaxWindowBits: Int

    package init(
        serverNoContextTakeover: Bool = false, clientNoContextTakeover: Bool = false,
        serverMaxWindowBits: Int = 15, clientMaxWindowBits: Int = 15
    ) {
        self.serverNoContextTakeover = serverNoContextTakeover
        self.clientNoContextTakeover = clientNoContextTakeover
        self.serverMaxWindowBits = serverMaxWindowBits
        self.clientMaxWindowBits = clientMaxWindowBits
    }
}

extension WebSocketNegotiatedDeflate: CustomStringConvertible {
    /// The parameters as in a `Sec-WebSocket-Extensions` header.
    public var description: String {
        "permessage-deflate"
            + parameterText(serverWindow: serverMaxWindowBits != 15, clientWindow: clientMaxWindowBits != 15)
    }

    package func parameterText(serverWindow: Bool, clientWindow: Bool) -> String {
        var text = ""
        if serverNoContextTakeover { text += "; server_no_context_takeover" }
        if clientNoContextTakeover { text += "; client_no_context_takeover" }
        if serverWindow { text += "; server_max_window_bits=\(serverMaxWindowBits)" }
        if clientWindow { text += "; client_max_window_bits=\(clientMaxWindowBits)" }
        return text
    }
}
