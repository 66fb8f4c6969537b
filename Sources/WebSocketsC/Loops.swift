//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import Synchronization
import WebSocketCore
import WebSocketLoop

/// The loops that the library has for C programs.
enum Loops {
    private struct Wish {
        var count = 0
        var isFulfilled = false
    }
    private static let wish = Mutex(Wish())

    /// Created on first use, never shut down. Signals are the program's own affair, and it starts its processes itself.
    static let shared: WebSocketEventLoopGroup = {
        let wanted = wish.withLock { wish in
            wish.isFulfilled = true
            return wish.count
        }
        do {
            return try WebSocketEventLoopGroup(
                count: wanted > 0 ? wanted : WebSocketEventLoopGroup.defaultCount, logger: Log.logger,
                blocksSignals: true)
        } catch {
            fatalError("\(error)")
        }
    }()

    static func next() -> WebSocketEventLoop { shared.next() }

    /// Whether there was still time to wish.
    static func want(_ count: Int) -> Bool {
        wish.withLock { wish in
            guard !wish.isFulfilled else { return false }
            wish.count = count
            return true
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_set_loops(_ count: Int, _ error: UnsafeMutablePointer<wsx_error>?) -> wsx_status {
    attempt(error) { () throws(Failure) in
        guard (0...1_024).contains(count) else { throw .argument("count is \(count); it must be in 0...1024") }
        guard Loops.want(count) else {
            throw Failure(
                WSX_FAILED, "the loops are running already; call wsx_set_loops before anything that needs one")
        }
    }
}
