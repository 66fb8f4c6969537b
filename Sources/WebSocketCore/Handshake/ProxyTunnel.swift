//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes

/// A client's side of the handshake with a proxy: CONNECT (RFC 9110 §9.3.6), SOCKS 5 (RFC 1928, 1929), or
/// SOCKS 4 and 4a, which have no RFC.
///
/// The states are the replies that are awaited; each leads to the next, to `open`, or to a failure, by a reply.
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
            self.host = host
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
        case done
    }

    private let proxy: ProxyEndpoint
    private let target: Target
    private let userAgent: String?
    private var state: State
    private var received: [UInt8] = []
    private static let maximumHeadBytes = 32 << 10

    package init(_ proxy: ProxyEndpoint, target: Target, userAgent: String?) {
        self.proxy = proxy
        self.target = target
        self.userAgent = userAgent
        state =
            switch proxy.kind {
            case .http: .head
            case .socks4, .socks4a: .oldReply
            case .socks5, .socks5h: .method
            }
    }

    /// What opens the conversation.
    package var greeting: [UInt8] {
        switch proxy.kind {
        case .http:
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
    /// - Returns: How many of them are the proxy's own, and what to do.
    package mutating func receive(_ bytes: UnsafeRawBufferPointer) -> (taken: Int, action: Action) {
        switch state {
        case .head: return receiveHead(bytes)
        case .method, .authentication, .reply, .oldReply:
            // One byte after the other: how long a reply is stands in the reply, and what follows it is not ours.
            for index in 0..<bytes.count {
                received.append(bytes[index])
                let action = socksAction()
                if action != .wait { return (index + 1, action) }
            }
            return (bytes.count, .wait)
        case .done: return (0, .open)
        }
    }

    /// The proxy has ended the connection.
    package func ended() -> WebSocketError { failure("ended the connection before the tunnel was open") }

    private func failure(_ what: String, response: WebSocketError.Response? = nil) -> WebSocketError {
        WebSocketError(.proxyFailed, "the proxy \(proxy) \(what)", phase: .proxy, response: response)
    }

    // MARK: CONNECT

    private mutating func receiveHead(_ bytes: UnsafeRawBufferPointer) -> (taken: Int, action: Action) {
        let before = received.count
        received.append(contentsOf: bytes)
        guard let parsed = received.withUnsafeBytes({ HTTPResponseHeadParser.parse($0) }) else {
            guard received.count < Self.maximumHeadBytes, "HTTP/1.".utf8.starts(with: received.prefix(7)),
                !received.containsBlankLine
            else {
                return (bytes.count, .fail(failure("does not answer in HTTP; check its host, port and kind")))
            }
            return (bytes.count, .wait)
        }
        let taken = parsed.byteCount - before
        if parsed.status < 200 {
            // An interim answer; the final one follows.
            received = []
            let rest = UnsafeRawBufferPointer(rebasing: bytes[taken...])
            let next = receiveHead(rest)
            return (taken + next.taken, next.action)
        }
        state = .done
        if parsed.status < 300 { return (taken, .open) }
        let response = WebSocketError.Response(status: parsed.status, headers: parsed.fields)
        switch parsed.status {
        case 407:
            let advice =
                proxy.userInfo == nil ? "put user:password@ into its URL" : "check user and password in its URL"
            return (taken, .fail(failure("wants authentication (status 407); \(advice)", response: response)))
        default:
            return (
                taken,
                .fail(
                    failure(
                        "answered CONNECT with status \(parsed.status); check that it may connect to \(target.authority)",
                        response: response))
            )
        }
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
        guard received[0] == 0 else {
            return .fail(failure("does not speak SOCKS 4; check its host, port and kind"))
        }
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
            return .fail(failure("did not connect to \(target.authority): \(text) (SOCKS reply \(code))"))
        }
        next(.done)
        return .open
    }

    // MARK: SOCKS 5

    private mutating func socksAction() -> Action {
        if state == .oldReply { return oldAction() }
        guard received[0] == (state == .authentication ? 1 : 5) else {
            return .fail(failure("does not speak SOCKS 5; check its host, port and kind"))
        }
        switch state {
        case .method:
            guard received.count == 2 else { return .wait }
            switch received[1] {
            case 0: return connect()
            case 2 where proxy.userInfo != nil:
                next(.authentication)
                let parts = proxy.userInfo!.split(
                    separator: UInt8(ascii: ":"), maxSplits: 1, omittingEmptySubsequences: false)
                return .send([1, UInt8(parts[0].count)] + parts[0] + [UInt8(parts[1].count)] + parts[1])
            default:
                let advice = proxy.userInfo == nil ? "put user:password@ into its URL" : "check its configuration"
                return .fail(failure("accepts none of our ways of authentication; \(advice)"))
            }
        case .authentication:
            guard received.count == 2 else { return .wait }
            guard received[1] == 0 else {
                return .fail(failure("refuses user and password; check them in its URL"))
            }
            return connect()
        case .reply:
            guard received.count > 1 else { return .wait }
            guard received[1] == 0 else {
                let code = Int(received[1])
                let text = Self.replies.indices.contains(code) ? Self.replies[code] : "unknown code"
                return .fail(failure("did not connect to \(target.authority): \(text) (SOCKS reply \(code))"))
            }
            guard received.count > 4 else { return .wait }
            let addressLength: Int
            switch received[3] {
            case 1: addressLength = 4
            case 3: addressLength = 1 + Int(received[4])
            case 4: addressLength = 16
            default: return .fail(failure("does not speak SOCKS 5; check its host, port and kind"))
            }
            guard received.count == 4 + addressLength + 2 else { return .wait }
            next(.done)
            return .open
        case .head, .oldReply, .done: return .open
        }
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

    /// RFC 1928 §6.
    private static let replies = [
        "succeeded", "general failure", "not allowed by its rules", "network unreachable", "host unreachable",
        "connection refused", "the time to live expired", "command not supported", "address type not supported",
    ]
}

extension [UInt8] {
    fileprivate var containsBlankLine: Bool {
        var index = 0
        while index + 3 < count {
            if self[index] == 0x0D && self[index + 1] == 0x0A && self[index + 2] == 0x0D && self[index + 3] == 0x0A {
                return true
            }
            index += 1
        }
        return false
    }
}
