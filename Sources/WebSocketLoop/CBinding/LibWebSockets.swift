//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import Glibc
import Logging
import Synchronization

/// What depends on libwebsockets' version or touches its process-wide state. Written against Debian 12's 4.1.6.
package enum LibWebSockets {
    /// The version of the headers this was built with.
    package static var buildVersion: String { unsafe String(cString: wsx_lws_build_version()) }
    /// The version of the library that is loaded.
    package static var runtimeVersion: String { unsafe String(cString: lws_get_library_version()) }

    /// One read of a connection. At least one TLS record, or a throttled TLS client spins for ever in 4.1.6.
    static let readSize = 32 << 10
    /// The buffer that all connections of a context share; also the limit for a client's request head.
    static let serviceBufferSize = 64 << 10
    /// Far beyond any deadline of ours: every deadline is ours.
    static let never: UInt32 = 7 * 24 * 3_600
    /// 4.1.6 scans a table with one entry per allowed descriptor whenever a connection closes (2 µs at 1,024 entries,
    /// 50 µs at 20,000) and takes a limit above ten million for 2,560. Descriptors above this are refused.
    static let maximumDescriptors: rlim_t = 16_384

    /// Serialises context creation and destruction in the process.
    private static let creation = Mutex<Void>(())

    /// Initialises OpenSSL once, through a context that is never destroyed: 4.1.6 re-allocates a process-wide index
    /// when a second context passes DO_SSL_GLOBAL_INIT, which crashes the connections of the first.
    /// Kept in a variable, so that leak checkers can reach it.
    nonisolated(unsafe) package static let initialize: OpaquePointer? = {
        lws_set_log_level(0, nil)
        var info = unsafe lws_context_creation_info()
        unsafe info.port = CONTEXT_PORT_NO_LISTEN
        unsafe info.options =
            UInt64(LWS_SERVER_OPTION_EXPLICIT_VHOSTS) | UInt64(LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT)
        unsafe info.fd_limit_per_thread = 4
        return unsafe lws_create_context(&info)
    }()

    /// The protocol of all our vhosts. libwebsockets keeps pointers to it and its name.
    nonisolated(unsafe) static let protocols: UnsafePointer<lws_protocols> = {
        let table = unsafe makeProtocols()
        unsafe table[0].callback = unsafe lwsCallback
        return unsafe UnsafePointer(table)
    }()

    /// The same on a context of somebody else's.
    nonisolated(unsafe) static let attachedProtocols: UnsafePointer<lws_protocols> = {
        let table = unsafe makeProtocols()
        unsafe table[0].callback = unsafe attachedCallback
        return unsafe UnsafePointer(table)
    }()

    private static func makeProtocols() -> UnsafeMutablePointer<lws_protocols> {
        let table = UnsafeMutablePointer<lws_protocols>.allocate(capacity: 2)
        unsafe table.initialize(repeating: lws_protocols(), count: 2)
        unsafe table[0].name = unsafe UnsafePointer(strdup("wsx"))
        unsafe table[0].rx_buffer_size = readSize
        // DROP_PROTOCOL, the only callback that comes before a connection's end, comes to those with session data.
        unsafe table[0].per_session_data_size = 1
        unsafe table[0].tx_packet_size = 1 << 20
        return unsafe table
    }

    /// All zero: libwebsockets' own keepalive stays silent.
    nonisolated(unsafe) static let noKeepAlive: UnsafePointer<lws_retry_bo_t> = {
        // Immutable after this initialiser.
        let policy = UnsafeMutablePointer<lws_retry_bo_t>.allocate(capacity: 1)
        unsafe policy.initialize(to: lws_retry_bo_t())
        return unsafe UnsafePointer(policy)
    }()

    /// Creates a loop's context. `nil` when neither backend can be had.
    static func makeContext(
        loop: WebSocketEventLoop, uv: UnsafeMutablePointer<uv_loop_t>, backend wanted: WebSocketEventLoop.Backend?
    ) -> (OpaquePointer, WebSocketEventLoop.Backend)? {
        _ = unsafe initialize
        // Handed out of the lock; the context is the loop's alone.
        nonisolated(unsafe) var result: (OpaquePointer, WebSocketEventLoop.Backend)?
        creation.withLock { _ in
            unsafe result = unsafe withLoweredDescriptorLimit {
                var info = unsafe lws_context_creation_info()
                unsafe info.port = CONTEXT_PORT_NO_LISTEN
                unsafe info.options = UInt64(LWS_SERVER_OPTION_EXPLICIT_VHOSTS)
                unsafe info.user = unsafe Unmanaged.passUnretained(loop).toOpaque()
                unsafe info.pt_serv_buf_size = UInt32(serviceBufferSize)
                unsafe info.max_http_header_data2 = 32 << 10
                unsafe info.max_http_header_pool2 = 16_384
                unsafe info.timeout_secs = never
                unsafe info.timeout_secs_ah_idle = never
                unsafe info.connect_timeout_secs = never
                unsafe info.retry_and_idle_policy = unsafe noKeepAlive
                if wanted != .poll {
                    unsafe info.options |= UInt64(LWS_SERVER_OPTION_LIBUV)
                    var foreign: UnsafeMutableRawPointer? = UnsafeMutableRawPointer(uv)
                    let context = unsafe withUnsafeMutablePointer(to: &foreign) { pointer in
                        unsafe info.foreign_loops = unsafe pointer
                        return unsafe lws_create_context(&info)
                    }
                    if let context = unsafe context { return unsafe (context, .libuv) }
                    if wanted == .libuv { return nil }
                    unsafe info.options &= ~UInt64(LWS_SERVER_OPTION_LIBUV)
                    unsafe info.foreign_loops = nil
                }
                return unsafe lws_create_context(&info).map { unsafe ($0, .poll) }
            }
        }
        return unsafe result
    }

    private static func withLoweredDescriptorLimit<Result>(_ body: () -> Result) -> Result {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0,
            limit.rlim_cur > maximumDescriptors
        else { return body() }
        let before = limit
        limit.rlim_cur = maximumDescriptors
        unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        defer {
            var restored = before
            unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &restored)
        }
        return body()
    }

    /// Destroys a loop's context. Runs on the loop's thread, outside `uv_run`.
    static func destroyContext(
        of loop: WebSocketEventLoop, uv: UnsafeMutablePointer<uv_loop_t>, backend: WebSocketEventLoop.Backend,
        nested: NestedPoll?
    ) -> Bool {
        guard backend == .libuv else {
            nested?.close()
            creation.withLock { _ in unsafe lws_context_destroy(loop.context) }
            unsafe uv_run(uv, UV_RUN_NOWAIT)
            return true
        }
        // 4.1.6 closes its wake eventfd twice under libuv: once in the first `lws_context_destroy` and once in a
        // later close callback, when the number may belong to somebody else. A duplicate of a spare descriptor takes
        // the number in between, so that the second close hits it and no descriptor of the process.
        let spare = unsafe open("/dev/null", O_RDONLY | O_CLOEXEC)
        let victim = loop.wakeDescriptor
        creation.withLock { _ in unsafe lws_context_destroy(loop.context) }
        if victim >= 0 && spare >= 0 {
            var placed = false
            for _ in 0..<1_000 where !placed {
                let copy = fcntl(spare, F_DUPFD_CLOEXEC, victim)
                placed = copy == victim
                if !placed {
                    if copy >= 0 { close(copy) }
                    usleep(1_000)
                }
            }
            guard placed else {
                // Better to leak a context than to close somebody's file.
                loop.logger.error("could not guard a descriptor while destroying a loop; its context is leaked")
                close(spare)
                return false
            }
        }
        if spare >= 0 { close(spare) }
        // Until libwebsockets' handles are gone; ours are unreferenced for that long.
        loop.withoutOwnHandles { unsafe uv_run(uv, UV_RUN_DEFAULT) }
        creation.withLock { _ in unsafe lws_context_destroy(loop.context) }
        return true
    }
}

/// Drives a context that polls by itself beside a libuv loop: the libuv loop's backend descriptor is a raw file of
/// the context, and its timeout a timer of it. A context that somebody else services is lived on in the same way.
@safe final class NestedPoll {
    private unowned let loop: WebSocketEventLoop
    private let timer: UnsafeMutablePointer<lws_sorted_usec_list_t>
    private var file: OpaquePointer?

    init?(loop: WebSocketEventLoop) {
        self.loop = loop
        unsafe timer = .allocate(capacity: 1)
        unsafe timer.initialize(to: lws_sorted_usec_list_t())
        guard let vhost = unsafe loop.vhosts.plain(of: loop) else { return nil }
        var descriptor = lws_sock_file_fd_type()
        unsafe descriptor.filefd = unsafe fcntl(uv_backend_fd(loop.uv), F_DUPFD_CLOEXEC, 0)
        unsafe file = unsafe lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, descriptor, nil, nil)
        guard unsafe file != nil else { return nil }
    }

    func run(until isStopping: () -> Bool) {
        while true {
            unsafe uv_run(loop.uv, UV_RUN_NOWAIT)
            if isStopping() { return }
            let timeout = unsafe uv_backend_timeout(loop.uv)
            if loop.hasReadyWork || timeout == 0 {
                unsafe lws_service(loop.context, -1)
                continue
            }
            if timeout > 0 { unsafe lws_sul_schedule(loop.context, 0, timer, { _ in }, Int64(timeout) * 1_000) }
            unsafe lws_service(loop.context, 0)
        }
    }

    func close() {
        unsafe lws_sul_schedule(loop.context, 0, timer, { _ in }, Int64(LWS_SET_TIMER_USEC_CANCEL))
    }

    deinit { unsafe timer.deallocate() }
}
