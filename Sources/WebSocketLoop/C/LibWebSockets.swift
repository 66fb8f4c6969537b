//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSockets
import CLibWebSocketsShims
import Synchronization

/// What depends on libwebsockets' version or touches its process-wide state. Written against Debian 12's 4.1.6.
package enum LibWebSockets {
    /// The version of the headers this was built with.
    package static var buildVersion: String { unsafe String(cString: wsx_lws_build_version()) }
    /// The version of the library that is loaded.
    package static var runtimeVersion: String { unsafe String(cString: lws_get_library_version()) }

    /// Whether the library that is loaded has at least this version.
    static func isLoaded(atLeast wanted: [Int]) -> Bool {
        !numbers(of: runtimeVersion).lexicographicallyPrecedes(wanted)
    }
    /// `4.3.5-v4.3.5-…` as 4, 3, 5.
    static func numbers(of version: String) -> [Int] {
        version.split { !$0.isNumber && $0 != "." }.first?.split(separator: ".").prefix(3).compactMap { Int($0) } ?? []
    }

    /// One read of a connection.
    static let readSize = Int(WSX_READ_SIZE)
    /// What libwebsockets wants to have free in front of what it writes.
    static let headroom = Int(wsx_lws_pre())
    /// The buffer that all connections of a context share; also the limit for a client's request head.
    static let serviceBufferSize = Int(WSX_SERVICE_BUFFER_SIZE)
    /// Descriptors above this are refused.
    static let maximumDescriptors = Int(WSX_MAXIMUM_DESCRIPTORS)

    /// Initialises OpenSSL once, through a context that is never destroyed: 4.1.6 re-allocates a process-wide index
    /// when a second context passes DO_SSL_GLOBAL_INIT, which crashes the connections of the first.
    /// Kept in a variable, so that leak checkers can reach it.
    nonisolated(unsafe) package static let initialize: OpaquePointer? = {
        // What it says by itself is unasked for. A program of the process that has chosen what it wants to read goes
        // on reading that.
        if wsx_lws_log_level() == wsx_lws_default_log_level() { lws_set_log_level(0, nil) }
        unsafe wsx_lws_set_callbacks(lwsCallback, attachedCallback)
        return unsafe wsx_context_create_for_tls()
    }()

    private struct Quiet {
        var depth = 0
        var level: CInt = 0
    }
    private static let quiet = Mutex(Quiet())

    /// Runs what libwebsockets complains about though nothing is wrong: its log may be a program's. The level is the
    /// process's, so it is back as soon as no thread is in here.
    static func withoutErrors<Value>(_ body: () -> Value) -> Value {
        quiet.withLock { quiet in
            if quiet.depth == 0 {
                quiet.level = wsx_lws_log_level()
                lws_set_log_level(quiet.level & ~CInt(LLL_ERR), nil)
            }
            quiet.depth += 1
        }
        defer {
            quiet.withLock { quiet in
                quiet.depth -= 1
                if quiet.depth == 0 { lws_set_log_level(quiet.level, nil) }
            }
        }
        return body()
    }

    /// The same for a context that is there already. What libwebsockets logs for its owner it goes on logging.
    static func initializeQuietly() {
        let level = wsx_lws_log_level()
        _ = unsafe initialize
        lws_set_log_level(level, nil)
    }
}
