//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import Synchronization
import WebSocketCore
import WebSocketLoop

/// The program's callbacks, and where they run.
final class Callbacks: @unchecked Sendable {
    // Sendable: what C gave is not changed, and it says itself on which thread it is used.
    private let raw: wsx_callbacks
    let queue: CallbackQueue?
    private let isSilent = Atomic<Bool>(false)

    private struct Uses {
        var count = 0
        /// Where the last callback runs, once it is due.
        var released: WebSocketEventLoop?
    }
    private let uses = Mutex(Uses())

    init(_ raw: wsx_callbacks?, queue: CallbackQueue?) {
        self.raw = raw ?? wsx_callbacks()
        self.queue = queue
    }

    /// The same ones for a connection of a server or a pool, whose end is not the end of `user`.
    func forOneConnection() -> Callbacks {
        var raw = raw
        raw.on_released = nil
        return Callbacks(raw, queue: queue)
    }

    var takesMessages: Bool { raw.on_message != nil }
    var tellsOfEnd: Bool { raw.on_close != nil }
    var tellsOfRoom: Bool { raw.on_writable != nil }
    var user: UnsafeMutableRawPointer? { raw.user }

    /// No callback begins any more.
    func silence() { isSilent.store(true, ordering: .releasing) }

    /// Runs `body` where callbacks run. Called on the loop. Whether the caller should wait for room in the queue.
    @discardableResult
    func call(_ body: @escaping @Sendable (wsx_callbacks) -> Void) -> Bool {
        guard let queue else {
            asCallback { run(body) }
            return false
        }
        return queue.push { [self] in run(body) }
    }

    /// Runs `body` here, unless no callback begins any more.
    func run(_ body: (wsx_callbacks) -> Void) {
        if !isSilent.load(ordering: .acquiring) { body(raw) }
    }

    /// A message where it lies, without a queue; on the loop.
    @inline(__always)
    func message(_ connection: UInt64, _ kind: WebSocketMessage.Kind, _ bytes: borrowing RawSpan) {
        guard !isSilent.load(ordering: .acquiring) else { return }
        bytes.withUnsafeBytes { buffer in
            asCallback {
                raw.on_message?(
                    raw.user, wsx_connection(id: connection), kind.number, buffer.baseAddress ?? Self.nothing,
                    buffer.count)
            }
        }
    }

    /// A message, here.
    func message(_ connection: UInt64, _ message: WebSocketMessage) {
        run { raw in
            message.withData {
                raw.on_message?(
                    raw.user, wsx_connection(id: connection), message.kind.number, $0.baseAddress ?? Self.nothing,
                    $0.count)
            }
        }
    }

    // MARK: The last one

    /// Something has begun that will use `user`, and the last callback comes after it.
    func beginUse() { uses.withLock { $0.count += 1 } }

    func endUse() {
        let released = uses.withLock { uses in
            uses.count -= 1
            return uses.count == 0 ? uses.released : nil
        }
        if let released { tellReleased(on: released) }
    }

    /// The last callback, after all others.
    func release(on loop: WebSocketEventLoop) {
        silence()
        let isUnused = uses.withLock { uses in
            uses.released = loop
            return uses.count == 0
        }
        if isUnused { tellReleased(on: loop) }
    }

    private func tellReleased(on loop: WebSocketEventLoop) {
        guard raw.on_released != nil else { return }
        last(on: loop, Unchecked(raw)) { $0.value.on_released?($0.value.user) }
    }

    /// Runs something after the callback that runs now, also when the others are silent.
    func last<Value: Sendable>(on loop: WebSocketEventLoop, _ value: Value, _ body: @escaping @Sendable (Value) -> Void)
    {
        if let queue {
            queue.push { body(value) }
        } else {
            Task(executorPreference: loop.taskExecutor) { asCallback { body(value) } }
        }
    }

    /// An empty message has an address too. Of a literal, which no program can change.
    nonisolated(unsafe) private static let nothing = UnsafeRawPointer(StaticString("").utf8Start)
}

/// Runs `body`, in which the program must not wait.
@inline(__always)
func asCallback(_ body: () -> Void) {
    wsxc_enter_callback()
    body()
    wsxc_leave_callback()
}

/// Tells the program what has become of something that it began, where its callbacks run; otherwise here.
func tell(_ queue: CallbackQueue?, _ body: @escaping @Sendable () -> Void) {
    if let queue { queue.push(body) } else { asCallback(body) }
}

/// What a hook has left for a connection: the connection's in the end, or given back.
final class RequestData: @unchecked Sendable {
    typealias Dropped = @convention(c) (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) -> Void
    // Sendable: the pointer is only handed on, once.
    private let data: UnsafeMutableRawPointer
    private let dropped: Dropped?
    private let callbacks: Callbacks
    private let isClaimed = Atomic<Bool>(false)

    init(_ data: UnsafeMutableRawPointer, _ callbacks: Callbacks, _ dropped: Dropped?) {
        self.data = data
        self.dropped = dropped
        self.callbacks = callbacks
        callbacks.beginUse()
    }

    /// There is a connection, which has the pointer from now on.
    func claim() -> UnsafeMutableRawPointer {
        if !isClaimed.exchange(true, ordering: .acquiringAndReleasing) { callbacks.endUse() }
        return data
    }

    deinit {
        guard !isClaimed.load(ordering: .acquiring) else { return }
        let (callbacks, dropped, data) = (callbacks, dropped, Unchecked(data))
        // Later: what lets go of a request may be in the middle of something.
        callbacks.last(on: Loops.next(), data) { data in
            dropped?(callbacks.user, data.value)
            callbacks.endUse()
        }
    }
}
