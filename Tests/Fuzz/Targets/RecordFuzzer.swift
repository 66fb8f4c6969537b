//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL
import Glibc
import Logging
import Synchronization
import WebSocketLoop
import WebSockets
import WebSocketsTestKit

/// A server with TLS in this process, and clients that do as they are told behind the handshake. Used by one thread.
final class RecordFuzzer: Sendable {
    static let shared = {
        isStarted.store(true, ordering: .relaxed)
        return RecordFuzzer()
    }()
    private static let isStarted = Atomic<Bool>(false)

    private let loops: WebSocketEventLoopGroup
    private let listener: WebSocketServer
    private let connections = Atomic<Int>(0)

    private init() {
        do {
            let certificate = try ThrowawayCertificate()
            loops = try WebSocketEventLoopGroup(count: 1)
            var configuration = WebSocketServerConfiguration()
            configuration.eventLoopGroup = loops
            configuration.options.keepAlive = nil
            configuration.options.maximumMessageSize = 64 << 10
            configuration.options.closeTimeout = .milliseconds(200)
            configuration.logger.logLevel = .critical
            configuration.tls = WebSocketTLSServerConfiguration(
                certificateChain: .bytes(certificate.certificate), privateKey: .bytes(certificate.privateKey))
            let server = try WebSocketServer(configuration: configuration)
            listener = server
            Task.detached {
                try await server.run { socket in
                    for try await message in socket.messages { try await socket.send(message) }
                }
            }
        } catch {
            fatalError("no server: \(error)")
        }
    }

    /// Blocks until the server has stopped.
    static func stop() {
        guard isStarted.load(ordering: .relaxed) else { return }
        let ended = Gate()
        Task.detached {
            await shared.listener.shutDown()
            await shared.loops.shutDown()
            ended.open()
        }
        _ = ended.wait(seconds: SocketFuzzer.patience)
    }

    /// The first byte says which version of TLS. Then come orders, one byte each; behind `d`, `r` and `w` a number of
    /// bytes and the bytes: data, a record of a kind that the first of them says, and what is no record at all.
    func records(_ bytes: UnsafeRawBufferPointer) -> String? {
        let descriptor = SocketFuzzer.connect(
            listener.port, connections.wrappingAdd(1, ordering: .relaxed).newValue)
        defer { close(descriptor) }
        let peer = RecordPeer(descriptor, isOld: (bytes.first ?? 0) & 1 != 0)
        guard peer.handshake() else { return "the handshake failed" }
        var rest = bytes.dropFirst()
        func take() -> [UInt8] {
            let size = Int(rest.popFirst() ?? 0)
            defer { rest = rest.dropFirst(size) }
            return Array(rest.prefix(size))
        }
        while let order = rest.popFirst() {
            switch order {
            case UInt8(ascii: "d"): peer.write(take())
            case UInt8(ascii: "u"): peer.write(WebSocketBytePeer.request())
            case UInt8(ascii: "k"): peer.updateKeys(asksForMore: false)
            case UInt8(ascii: "K"): peer.updateKeys(asksForMore: true)
            case UInt8(ascii: "n"): peer.renegotiate()
            case UInt8(ascii: "e"): peer.end()
            case UInt8(ascii: "r"):
                let record = take()
                let size = record.count
                peer.send([record.first ?? 23, 3, 3, UInt8(size >> 8), UInt8(size & 0xFF)] + record)
            case UInt8(ascii: "w"): peer.send(take())
            default: continue
            }
        }
        return SocketFuzzer.readToEnd(descriptor)
    }
}

/// A client's end of TLS, whose records go into the socket as they are.
private final class RecordPeer {
    private let descriptor: CInt
    private let context: OpaquePointer
    private let ssl: OpaquePointer
    private let input: OpaquePointer
    private let output: OpaquePointer

    init(_ descriptor: CInt, isOld: Bool) {
        self.descriptor = descriptor
        context = SSL_CTX_new(TLS_client_method())
        if isOld { SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(TLS1_2_VERSION), nil) }
        ssl = SSL_new(context)
        input = BIO_new(BIO_s_mem())
        output = BIO_new(BIO_s_mem())
        SSL_set_bio(ssl, input, output)
        SSL_set_connect_state(ssl)
    }

    deinit {
        SSL_free(ssl)
        SSL_CTX_free(context)
    }

    func handshake() -> Bool {
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let status = SSL_do_handshake(ssl)
            flush()
            if status == 1 { return true }
            guard SSL_get_error(ssl, status) == SSL_ERROR_WANT_READ else { return false }
            let count = SocketFuzzer.uninterrupted { read(descriptor, &chunk, chunk.count) }
            guard count > 0 else { return false }
            BIO_write(input, chunk, CInt(count))
        }
    }

    func write(_ data: [UInt8]) {
        guard !data.isEmpty else { return }
        SSL_write(ssl, data, CInt(data.count))
        flush()
    }

    func updateKeys(asksForMore: Bool) {
        SSL_key_update(ssl, asksForMore ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED)
        SSL_do_handshake(ssl)
        flush()
    }

    func renegotiate() {
        SSL_renegotiate(ssl)
        SSL_do_handshake(ssl)
        flush()
    }

    func end() {
        SSL_shutdown(ssl)
        flush()
    }

    func send(_ bytes: [UInt8]) {
        _ = SocketFuzzer.uninterrupted { Glibc.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL)) }
    }

    private func flush() {
        var bytes = [UInt8](repeating: 0, count: Int(BIO_ctrl_pending(output)))
        let count = BIO_read(output, &bytes, CInt(bytes.count))
        if count > 0 { send(Array(bytes.prefix(Int(count)))) }
        ERR_clear_error()
    }
}
