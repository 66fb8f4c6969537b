//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import Glibc
import Synchronization

/// Calls of the C interface in any order, with handles that live, that were freed and that never were. Used by one thread.
final class ABIFuzzer: Sendable {
    static let shared = {
        isStarted.store(true, ordering: .relaxed)
        return ABIFuzzer()
    }()
    private static let isStarted = Atomic<Bool>(false)
    private static let url = "ws://localhost/"
    /// More than that only takes time.
    private static let maximumHandles = 24

    private let server: wsx_server
    /// An abstract unix socket, because thousands of connections a second would use up the ports.
    private let path: String

    private init() {
        path = "@wsx-fuzz-\(getpid())"
        var callbacks = wsx_callbacks_init()
        callbacks.on_message = { _, connection, kind, data, length in
            wsx_send(connection, kind, data, length, 0, nil)
        }
        var created = wsx_server(id: 0)
        let status = path.withCString { path in
            withUnsafePointer(to: callbacks) { callbacks in
                var config = wsx_server_config_init()
                config.callbacks = callbacks
                config.unix_socket = path
                return wsx_server_create(&config, &created, nil)
            }
        }
        precondition(status == WSX_OK, "no server: \(String(cString: wsx_status_name(status)))")
        server = created
    }

    /// Ends the server, if there is one.
    static func stop() {
        if isStarted.load(ordering: .relaxed) { wsx_server_shut_down(shared.server, 5_000, nil) }
    }

    /// Bytes are read as calls: which one, with which handle, and what else it takes.
    func run(_ bytes: UnsafeRawBufferPointer) -> String? {
        path.withCString { path in
            var client = wsx_client_config_init()
            client.unix_socket = path
            return withUnsafePointer(to: client) { client in
                var calls = Calls(bytes: bytes[...], client: client, server: server)
                while calls.problem == nil, !calls.isAtEnd { calls.next() }
                calls.freeAll()
                return calls.problem
            }
        }
    }

    private struct Calls {
        var bytes: Slice<UnsafeRawBufferPointer>
        let client: UnsafePointer<wsx_client_config>
        let server: wsx_server
        /// What never was: zero, every bit, and an index far out of each table.
        var handles: [UInt64] = [0, .max] + (0..<8).map { $0 << 60 | 0xFFFF }
        var messages: [wsx_message] = []
        var problem: String?

        init(
            bytes: Slice<UnsafeRawBufferPointer>, client: UnsafePointer<wsx_client_config>, server: wsx_server
        ) {
            self.bytes = bytes
            self.client = client
            self.server = server
        }

        var isAtEnd: Bool { bytes.isEmpty }

        private mutating func byte() -> Int { Int(bytes.popFirst() ?? 0) }
        private mutating func handle() -> UInt64 { handles[byte() % handles.count] }
        /// Up to 31 bytes, without a zero in them.
        private mutating func text() -> String {
            let count = byte() % 32
            let part = bytes.prefix(count)
            bytes = bytes.dropFirst(count)
            return String(decoding: part.filter { $0 != 0 }, as: UTF8.self)
        }

        private mutating func keep(_ id: UInt64) {
            if id != 0 { handles.append(id) }
        }

        /// Only documented numbers come back, and what fails hands out no handle.
        private mutating func check(_ status: wsx_status, _ created: UInt64? = nil) {
            if String(cString: wsx_status_name(status)) == "unknown" { problem = "an undocumented status: \(status)" }
            guard let created else { return }
            if (status == WSX_OK) != (created != 0) { problem = "status \(status) with the handle \(created)" }
            keep(created)
        }

        mutating func next() {
            let call = byte()
            // Sometimes nobody asks for the error, and sometimes its size is wrong.
            var error = wsx_error_init()
            if call & 0x80 != 0 { error.size = byte() }
            withUnsafeMutablePointer(to: &error) { pointer in
                let asked = call & 0x40 == 0 ? pointer : nil
                switch call % 6 {
                case 0: open(asked)
                case 1: use(asked)
                case 2: free()
                case 3: ask(asked)
                case 4: wait(asked)
                default: session(asked)
                }
            }
        }

        private mutating func open(_ error: UnsafeMutablePointer<wsx_error>?) {
            let isFull = handles.count >= maximumHandles
            switch byte() % 6 {
            case 0 where !isFull:
                var connection = wsx_connection(id: 0)
                check(wsx_connect(ABIFuzzer.url, client, &connection, error), connection.id)
            case 1 where !isFull:
                var pool = wsx_pool(id: 0)
                let status = ABIFuzzer.url.withCString { url in
                    withUnsafePointer(to: client.pointee) { client in
                        var config = wsx_pool_config_init()
                        config.client = client
                        config.maximum_connections = byte() % 4
                        return wsx_pool_create([url, nil], &config, &pool, error)
                    }
                }
                check(status, pool.id)
            case 2 where !isFull:
                var session = wsx_session(id: 0)
                var config = wsx_session_config_init()
                config.client = client
                config.outbound_queue = byte()
                check(wsx_session_create(ABIFuzzer.url, &config, &session, error), session.id)
            case 3 where !isFull:
                var queue = wsx_queue(id: 0)
                check(wsx_queue_create(&queue, error), queue.id)
            case 4:
                // Nobody listens there, and most of it is no URL.
                var connection = wsx_connection(id: 0)
                var other = wsx_client_config_init()
                if byte() & 1 == 0 { other.size = min(byte(), other.size) }
                check(wsx_connect("ws://[::1]:1/" + text(), &other, &connection, error), connection.id)
            default:
                var connection = wsx_connection(id: 0)
                check(wsx_pool_acquire(wsx_pool(id: handle()), 20, &connection, error), connection.id)
            }
        }

        private mutating func use(_ error: UnsafeMutablePointer<wsx_error>?) {
            let connection = wsx_connection(id: handle())
            switch byte() % 5 {
            case 0:
                let kind = wsx_kind(byte() % 4)
                var payload = text()
                let status = payload.withUTF8 { wsx_send(connection, kind, $0.baseAddress, $0.count, 1, error) }
                check(status)
            case 1: check(wsx_ping(connection, 20, nil, error))
            case 2: check(wsx_close(connection, UInt16(byte() << 8 | byte()), text(), nil, error))
            case 3: check(wsx_abort(connection, error))
            default: check(wsx_pool_release(connection, CInt(byte() & 1), error))
            }
        }

        private mutating func free() {
            if byte() & 7 == 0, var message = messages.popLast() {
                var copy = message
                check(wsx_message_free(&message))
                if wsx_message_free(&copy) == WSX_OK { problem = "a message was freed twice" }
                return
            }
            check(Self.free(handle()))
        }

        /// By its own kind, or, of a number that is none, as a connection.
        private static func free(_ id: UInt64) -> wsx_status {
            switch id >> 60 {
            case 1: wsx_queue_free(wsx_queue(id: id))
            case 4: wsx_pool_free(wsx_pool(id: id))
            case 5: wsx_session_free(wsx_session(id: id))
            case 6: wsx_server_free(wsx_server(id: id))
            default: wsx_connection_free(wsx_connection(id: id))
            }
        }

        private mutating func ask(_ error: UnsafeMutablePointer<wsx_error>?) {
            let id = handle()
            let size = byte()
            switch byte() % 6 {
            case 0:
                var info = wsx_connection_info_init()
                if size & 1 == 0 { info.size = min(size, info.size) }
                check(wsx_connection_get_info(wsx_connection(id: id), &info, error))
            case 1:
                var statistics = wsx_pool_statistics_init()
                if size & 1 == 0 { statistics.size = min(size, statistics.size) }
                check(wsx_pool_get_statistics(wsx_pool(id: id), &statistics, error))
            case 2:
                var statistics = wsx_session_statistics_init()
                if size & 1 == 0 { statistics.size = min(size, statistics.size) }
                check(wsx_session_get_statistics(wsx_session(id: id), &statistics, error))
            case 3:
                var port: Int32 = 0
                check(wsx_server_port(wsx_server(id: id), &port, error))
            case 4: check(wsx_server_broadcast(wsx_server(id: id), wsx_kind(WSX_TEXT), "all", 3, error))
            default: check(wsx_connection_set_data(wsx_connection(id: id), nil, error))
            }
        }

        private mutating func wait(_ error: UnsafeMutablePointer<wsx_error>?) {
            let id = handle()
            switch byte() % 4 {
            case 0:
                var message = wsx_message()
                let status = wsx_receive(wsx_connection(id: id), Int64(byte() % 4), &message, error)
                check(status)
                if status == WSX_OK { messages.append(message) }
            case 1: check(wsx_queue_dispatch(wsx_queue(id: id), 0, nil, error))
            case 2: check(wsx_queue_wait(wsx_queue(id: id), 1, nil, error))
            default: check(wsx_pool_shut_down(wsx_pool(id: id), 0, error))
            }
        }

        private mutating func session(_ error: UnsafeMutablePointer<wsx_error>?) {
            let session = wsx_session(id: handle())
            switch byte() % 5 {
            case 0: check(wsx_session_send(session, wsx_kind(WSX_TEXT), "text", 4, 1, error))
            case 1: check(wsx_session_subscribe(session, text(), error))
            case 2: check(wsx_session_disconnect(session, Int64(byte()), error))
            case 3: check(wsx_session_wait_connected(session, 5, error))
            default:
                var message = wsx_message()
                let status = wsx_session_receive(session, 1, &message, error)
                check(status)
                if status == WSX_OK { messages.append(message) }
            }
        }

        mutating func freeAll() {
            for index in messages.indices where wsx_message_free(&messages[index]) != WSX_OK {
                problem = problem ?? "a message could not be freed"
            }
            for id in handles {
                _ = Self.free(id)
                if Self.free(id) != WSX_INVALID_HANDLE { problem = problem ?? "the handle \(id) was freed twice" }
            }
        }
    }
}
