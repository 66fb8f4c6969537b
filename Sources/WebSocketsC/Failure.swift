//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import HTTPTypes
import WebSocketCore

/// Why a call fails, as C sees it.
struct Failure: Error {
    let status: wsx_status
    let message: String
    var error: WebSocketError?

    init(_ status: Int, _ message: String) {
        self.status = wsx_status(status)
        self.message = message
    }

    init(_ error: WebSocketError) {
        status = wsx_status(error.code.status)
        message = FieldNames.translated(error.message)
        self.error = error
    }

    static func argument(_ message: String) -> Self { Self(WSX_INVALID_ARGUMENT, message) }
}

/// Runs what a function of the interface does, and tells C how it ended.
func attempt(
    _ error: UnsafeMutablePointer<wsx_error>?, _ body: () throws(Failure) -> Void
) -> wsx_status {
    guard wsxc_may_be_used() else { return wsxc_refuse_child(error) }
    // Into a structure of unknown size nothing may be written, so nothing is done either.
    if let error, error.pointee.size < wsx_error.firstSize { return wsx_status(WSX_INVALID_ARGUMENT) }
    do throws(Failure) {
        try body()
        error?.pointee.status = wsx_status(WSX_OK)
        return wsx_status(WSX_OK)
    } catch let failure {
        if let error {
            // An earlier header's structure is smaller. A later one's may be larger: what is behind ours stays as it is.
            let raw = UnsafeMutableRawPointer(error)
            put(wsx_error(failure), into: raw, raw.load(as: Int.self))
        }
        return failure.status
    }
}

extension wsx_error {
    init(_ failure: Failure) {
        self.init()
        size = MemoryLayout<wsx_error>.size
        status = failure.status
        put(failure.message, into: &message)
        guard let error = failure.error else { return }
        phase = Int32(error.phase.map { $0.number } ?? WSX_PHASE_NONE)
        tls_failure = Int32(error.tlsFailure.map { $0.number } ?? WSX_TLS_NONE)
        http_status = Int32(clamping: error.response?.status ?? 0)
        system_error = error.systemError ?? 0
        if let info = error.closeInfo { close = wsx_close_info(info) }
        if let response = error.response { take(response) }
    }

    private mutating func take(_ response: WebSocketError.Response) {
        withUnsafeMutableBytes(of: &response_headers) { buffer in
            var end = 0
            for field in response.headers {
                let line = "\(field.name.rawName): \(field.value)\n".utf8
                guard end + line.count < buffer.count else { break }
                UnsafeMutableRawBufferPointer(rebasing: buffer[end...]).copyBytes(from: line)
                end += line.count
            }
        }
        withUnsafeMutableBytes(of: &response_body) { buffer in
            let beginning = response.body.prefix(buffer.count - 1)
            buffer.copyBytes(from: beginning)
            response_body_length = beginning.count
        }
    }
}

extension wsx_close_info {
    init(_ info: WebSocketCloseInfo) {
        self.init()
        let number =
            switch info.cause {
            case .closingHandshake: WSX_CAUSE_CLOSING_HANDSHAKE
            case .connectionLost: WSX_CAUSE_CONNECTION_LOST
            case .pingTimeout: WSX_CAUSE_PING_TIMEOUT
            case .closeTimeout: WSX_CAUSE_CLOSE_TIMEOUT
            case .flushTimeout: WSX_CAUSE_FLUSH_TIMEOUT
            case .peerViolation: WSX_CAUSE_PEER_VIOLATION
            case .aborted: WSX_CAUSE_ABORTED
            }
        cause = Int32(number)
        received_code = info.received?.code.rawValue ?? 0
        sent_code = info.sent?.code.rawValue ?? 0
        received_first = info.receivedFirst == true ? 1 : 0
        is_normal = info.isNormal ? 1 : 0
        unsent_messages = UInt64(clamping: info.unsentMessages)
        put(info.received?.reason ?? "", into: &received_reason)
        put(info.sent?.reason ?? "", into: &sent_reason)
    }
}

/// Writes text into an array of a C structure: as much of it as fits, whole characters, and a zero byte.
func put<Array>(_ text: String, into array: inout Array) {
    withUnsafeMutableBytes(of: &array) { buffer in
        var count = 0
        for scalar in text.unicodeScalars {
            let encoded = UTF8.encode(scalar)!
            guard count + encoded.count < buffer.count else { break }
            for byte in encoded {
                buffer[count] = byte
                count += 1
            }
        }
        for index in count..<buffer.count { buffer[index] = 0 }
    }
}

extension WebSocketError.Code {
    var status: Int {
        switch base {
        case .invalidURL: WSX_INVALID_URL
        case .invalidConfiguration: WSX_INVALID_CONFIGURATION
        case .nameNotFound: WSX_NAME_NOT_FOUND
        case .connectFailed: WSX_CONNECT_FAILED
        case .timedOut: WSX_TIMED_OUT
        case .tlsFailed: WSX_TLS_FAILED
        case .proxyFailed: WSX_PROXY_FAILED
        case .handshakeRejected: WSX_HANDSHAKE_REJECTED
        case .handshakeInvalid: WSX_HANDSHAKE_INVALID
        case .redirectRefused: WSX_REDIRECT_REFUSED
        case .resourceExhausted: WSX_RESOURCE_EXHAUSTED
        case .listenFailed: WSX_LISTEN_FAILED
        case .badDescriptor: WSX_BAD_DESCRIPTOR
        case .messageTooBig: WSX_MESSAGE_TOO_BIG
        case .invalidUTF8: WSX_INVALID_UTF8
        case .protocolViolation: WSX_PROTOCOL_VIOLATION
        case .connectionClosed: WSX_CLOSED
        case .invalidCloseCode: WSX_INVALID_CLOSE_CODE
        case .closeReasonTooLong: WSX_CLOSE_REASON_TOO_LONG
        case .cancelled: WSX_CANCELLED
        case .shutDown: WSX_SHUT_DOWN
        case .tooManyFragments: WSX_TOO_MANY_FRAGMENTS
        case .invalidPing: WSX_INVALID_PING
        case .acquireTimedOut: WSX_ACQUIRE_TIMED_OUT
        case .poolUnavailable: WSX_POOL_UNAVAILABLE
        case .poolExhausted: WSX_POOL_EXHAUSTED
        case .poolClosed: WSX_POOL_CLOSED
        case .leaseEnded: WSX_LEASE_ENDED
        case .notConnected: WSX_NOT_CONNECTED
        case .reconnectFailed: WSX_RECONNECT_FAILED
        case .sendQueueFull: WSX_SEND_QUEUE_FULL
        case .notSent: WSX_NOT_SENT
        // Of types that this interface does not have.
        case .invalidPayload, .connectionBusy, .connectionUnavailable, .notAcquired, .drainTimedOut,
            .beforeConnectFailed, .brokerUnavailable, .brokerRefused, .subscriptionRefused:
            WSX_FAILED
        }
    }
}

extension WebSocketError.Phase {
    var number: Int {
        switch self {
        case .nameResolution: WSX_PHASE_NAME_RESOLUTION
        case .connect: WSX_PHASE_CONNECT
        case .proxy: WSX_PHASE_PROXY
        case .tls: WSX_PHASE_TLS
        case .upgrade: WSX_PHASE_UPGRADE
        case .ping: WSX_PHASE_PING
        case .close: WSX_PHASE_CLOSE
        case .send: WSX_PHASE_SEND
        case .receive: WSX_PHASE_RECEIVE
        }
    }
}

extension WebSocketError.TLSFailure {
    var number: Int {
        switch self {
        case .expired: WSX_TLS_EXPIRED
        case .notYetValid: WSX_TLS_NOT_YET_VALID
        case .hostMismatch: WSX_TLS_HOST_MISMATCH
        case .selfSigned: WSX_TLS_SELF_SIGNED
        case .untrusted: WSX_TLS_UNTRUSTED
        case .badChain: WSX_TLS_BAD_CHAIN
        case .wrongUsage: WSX_TLS_WRONG_USAGE
        case .pinMismatch: WSX_TLS_PIN_MISMATCH
        case .notTLS: WSX_TLS_NOT_TLS
        case .version: WSX_TLS_VERSION
        case .clientCertificate: WSX_TLS_CLIENT_CERTIFICATE
        case .peerAlert: WSX_TLS_PEER_ALERT
        case .other: WSX_TLS_OTHER
        }
    }
}
