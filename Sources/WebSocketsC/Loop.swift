//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import WebSocketCore
import WebSocketLoop
import WebSockets

/// What the handle of a loop on the program's own context stands for.
final class LoopBox: Sendable {
    let loop: WebSocketEventLoop
    /// Ends after `on_detached`.
    private let ending: Task<Void, Never>

    init(_ loop: WebSocketEventLoop, _ config: wsx_loop_config?) {
        self.loop = loop
        // What C gave is not changed, and it says itself where it is used.
        let config = Unchecked(config)
        ending = Task {
            await loop.detached()
            if let config = config.value, let tell = config.on_detached { asCallback { tell(config.user) } }
        }
    }

    func detach() async {
        await loop.detach()
        await ending.value
    }
}

extension WebSocketEventLoop {
    /// The loop that a configuration names; nil for zero.
    static func named(_ loop: wsx_loop) throws(Failure) -> WebSocketEventLoop? {
        loop.id == 0 ? nil : try Handles.loops.find(loop.id, "loop").loop
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_loop_attach(
    _ context: OpaquePointer?, _ config: UnsafePointer<wsx_loop_config>?, _ loop: UnsafeMutablePointer<wsx_loop>?,
    _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let result = try required(loop, "loop")
        result.pointee = wsx_loop()
        guard let context else { throw .argument("context is NULL") }
        let config = try copied(config, "wsx_loop_config")
        do throws(WebSocketError) {
            let box = LoopBox(try WebSocketEventLoop(attachedTo: context, logger: Log.logger), config)
            result.pointee = wsx_loop(id: Handles.loops.insert(box))
        } catch {
            throw Failure(error)
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_loop_detach(_ loop: wsx_loop, _ error: UnsafeMutablePointer<wsx_error>?) -> wsx_status {
    attempt(error) { () throws(Failure) in
        guard let box = Handles.loops.remove(loop.id) else {
            _ = try Handles.loops.find(loop.id, "loop")
            return
        }
        guard mayWait(for: box.loop) else {
            Task { await box.detach() }
            return
        }
        try wait(-1, on: nil) { () async throws(WebSocketError) in await box.detach() }
    }
}
