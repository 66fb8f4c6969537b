//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes

/// A client's side of the handshake with a proxy: CONNECT (RFC 9110 §9.3.6), SOCKS 5 (RFC 1928, 1929), or
/// SOCKS 4 and 4a, which have no RFC.
///
/// The states are the replies that are awaited; each leads to the next, to `open`, or to a failure, by a reply.
/// The proxy's answer to CONNECT is read by the same rules as a server's (`HTTPResponseHeadReader`).
package struct ProxyTunnel: ~Copyable {
    package enum Action: Equatable {
        case wait
        case send([UInt8])
        /// What comes now is the target's.
        case open
        case fail(WebSocketError)
    }

    /// Where the tunnel leads.
    package struct Target: Sendable {
        package let host: String
        package let port: Int

        package init(host: String, port: Int) {
            // A zone means nothing to the proxy.
            self.host = IPAddress.withoutZone(host)
            self.port = port
        }

        fileprivate var authority: String {
            (host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host) + ":\(port)"
        }
    }

    private enum State {
        /// The head of the answer to CONNECT.
        case head
        /// Which way of authentication the proxy chose.
        case method
        case authentication
        /// The answer to SOCKS 5's connect.
        case reply
        /// The answer to SOCKS 4's connect, with which it begins.
        case oldReply
        case open
        case failed(WebSocketError)
    }

    private let proxy: ProxyEndpoint
    private let target: Target
    private let userAgent: String?
    private var state: State
    private var received: [UInt8] = []
    private var reader: HTTPResponseHeadReader

    private static let limits: WebSocketResponseLimits = {
        var limits = WebSocketResponseLimits()
        limits.headBytes = 32 << 10
        limits.interimBytes = 32 << 10
        return limits
    }()

    package init(_ proxy: ProxyEndpoint, target: Target, userAgent: String?) {
        self.proxy = proxy
        self.target = target
        self.userAgent = userAgent
        reader = HTTPResponseHeadReader(limits: Self.limits)
        state =
            switch proxy.kind {
            case .http, .https: .head
            case .socks4, .socks4a: .oldReply
            case .socks5, .socks5h: .method
            }
    }

    /// What opens the conversation.
    package var greeting: [UInt8] {
        switch proxy.kind {
        case .http, .https:
            var text = "CONNECT \(target.authority) HTTP/1.1\r\nHost: \(target.authority)\r\n"
            if let userAgent, proxy.headers[.userAgent] == nil { text += "User-Agent: \(userAgent)\r\n" }
            if let userInfo = proxy.userInfo, proxy.headers[.proxyAuthorization] == nil {
                text += "Proxy-Authorization: \(HandshakeText.basicAuthorization(userInfo))\r\n"
            }
            for field in proxy.headers { text += "\(field.name.rawName): \(field.value)\r\n" }
            return Array((text + "\r\n").utf8)
        case .socks4, .socks4a: return oldRequest
        case .socks5, .socks5h:
            return proxy.userInfo == nil ? [5, 1, 0] : [5, 2, 0, 2]
        }
    }

    /// Bytes came from the proxy.
    ///
    /// - Returns: How many of them are the proxy's own, and what to do. After `open` and `fail` none is taken, and the
    ///   action is said again.
    package mutating func receive(_ bytes: UnsafeRawBufferPointer) -> (taken: Int, action: Action) {
        switch state {
        case .head: return receiveHead(bytes)
        case .method: return receiveReply(bytes) { $0.methodAction() }
        case .authentication: return receiveReply(bytes) { $0.authenticationAction() }
        case .reply: return receiveReply(bytes) { $0.replyAction() }
        case .oldReply: return receiveReply(bytes) { $0.oldAction() }
        case .open: return (0, .open)
        case .failed(let error): return (0, .fail(error))
        }
    }

    /// One byte after the other: how long a reply is stands in the reply, and what follows it is not ours.
    private mutating func receiveReply(
        _ bytes: UnsafeRawBufferPointer, _ judge: (inout ProxyTunnel) -> Action
    ) -> (taken: Int, action: Action) {
        for index in 0..<bytes.count {
            received.append(bytes[index])
            let action = judge(&self)
            if action != .wait { return (index + 1, action) }
        }
        return (bytes.count, .wait)
    }

    /// The proxy has ended the connection.
    package func ended() -> WebSocketError {
        failure("ended the connection before the tunnel was open; check its log, and its URL's scheme and port")
    }

    private func failure(_ what: String, response: WebSocketError.Response? = nil) -> WebSocketError {
        WebSocketError(.proxyFailed, "the proxy \(proxy) \(what)", phase: .proxy, response: response)
    }

    private mutating func fail(_ what: String, response: WebSocketError.Response? = nil) -> Action {
        let error = failure(what, response: response)
        next(.failed(error))
        return .fail(error)
    }

    private mutating func open() -> Action {
        next(.open)
        return .open
    }

    // MARK: CONNECT

    private mutating func receiveHead(_ bytes: UnsafeRawBufferPointer) -> (taken: Int, action: Action) {
        let (taken, result) = reader.receive(bytes)
        switch result {
        case .wait: return (taken, .wait)
        case .problem(.notHTTP): return (taken, fail("does not answer in HTTP; check its host, port and kind"))
        case .problem(.malformed(let text)), .problem(.tooMuch(let text)):
            return (taken, fail("does not answer CONNECT in HTTP as it should: \(text); check its port and kind"))
        case .head(let head): return (taken, judge(head))
        }
    }

    /// RFC 9110 §9.3.6: any 2xx opens the tunnel, which begins behind the head.
    private mutating func judge(_ head: HTTPResponseHead) -> Action {
        if (200...299).contains(head.status) { return open() }
        let response = WebSocketError.Response(status: head.status, headers: head.fields)
        // Some say 401, which is an origin server's.
        guard head.status == 407 || head.status == 401 else {
            return fail(
                "answered CONNECT with status \(head.status); check that it may connect to \(target.authority)",
                response: response)
        }
        let advice = proxy.userInfo == nil ? "put user:password@ into its URL" : "check user and password in its URL"
        return fail("wants authentication (status \(head.status)); \(advice)", response: response)
    }

    // MARK: SOCKS 4

    private var oldRequest: [UInt8] {
        let user = proxy.userInfo?.prefix { $0 != UInt8(ascii: ":") } ?? []
        let address = IPAddress.bytes(target.host).flatMap { $0.count == 4 ? $0 : nil }
        // 4a: an address that cannot be, and the name behind it.
        var bytes: [UInt8] = [4, 1]
        bytes += targetPort
        bytes += address ?? [0, 0, 0, 1]
        bytes += user
        bytes.append(0)
        if address == nil {
            bytes += target.host.utf8
            bytes.append(0)
        }
        return bytes
    }

    private var targetPort: [UInt8] { [UInt8(target.port >> 8), UInt8(target.port & 0xFF)] }

    private mutating func oldAction() -> Action {
        guard received[0] == 0 else { return fail("does not speak SOCKS 4; check its host, port and kind") }
        guard received.count == 8 else { return .wait }
        let code = received[1]
        guard code == 90 else {
            let text =
                switch code {
                case 91: "rejected or failed"
                case 92: "it wants an identd on this machine"
                case 93: "identd knows another user; check the user in its URL"
                default: "unknown code"
                }
            return fail("did not connect to \(target.authority): \(text) (SOCKS reply \(code)); \(Self.unreached)")
        }
        return open()
    }

    // MARK: SOCKS 5

    private mutating func otherProtocol() -> Action { fail("does not speak SOCKS 5; check its host, port and kind") }

    private mutating func methodAction() -> Action {
        guard received[0] == 5 else { return otherProtocol() }
        guard received.count == 2 else { return .wait }
        if received[1] == 0 { return connect() }
        guard received[1] == 2, let userInfo = proxy.userInfo else {
            let advice = proxy.userInfo == nil ? "put user:password@ into its URL" : "check its configuration"
            return fail("accepts none of our ways of authentication; \(advice)")
        }
        next(.authentication)
        let parts = userInfo.split(separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false)
        return .send([1, UInt8(parts[0].count)] + parts[0] + [UInt8(parts[1].count)] + parts[1])
    }

    private mutating func authenticationAction() -> Action {
        guard received[0] == 1 else { return otherProtocol() }
        guard received.count == 2 else { return .wait }
        guard received[1] == 0 else { return fail("refuses user and password; check them in its URL") }
        return connect()
    }

    private mutating func replyAction() -> Action {
        guard received[0] == 5 else { return otherProtocol() }
        guard received.count > 1 else { return .wait }
        guard received[1] == 0 else {
            let code = Int(received[1])
            let text = Self.replies.indices.contains(code) ? Self.replies[code] : "unknown code"
            return fail("did not connect to \(target.authority): \(text) (SOCKS reply \(code)); \(Self.unreached)")
        }
        guard received.count > 4 else { return .wait }
        let addressLength: Int
        switch received[3] {
        case 1: addressLength = 4
        case 3: addressLength = 1 + Int(received[4])
        case 4: addressLength = 16
        default: return otherProtocol()
        }
        return received.count == 4 + addressLength + 2 ? open() : .wait
    }

    private mutating func next(_ state: State) {
        self.state = state
        received = []
    }

    private mutating func connect() -> Action {
        next(.reply)
        var bytes: [UInt8] = [5, 1, 0]
        if let address = IPAddress.bytes(target.host) {
            bytes += [address.count == 4 ? 1 : 4] + address
        } else {
            bytes += [3, UInt8(target.host.utf8.count)] + Array(target.host.utf8)
        }
        return .send(bytes + targetPort)
    }

    private static let unreached = "check that the server runs and that the proxy may connect to it"

    /// RFC 1928 §6.
    private static let replies = [
        "succeeded", "general failure", "not allowed by its rules", "network unreachable", "host unreachable",
        "connection refused", "the time to live expired", "command not supported", "address type not supported",
    ]
}
