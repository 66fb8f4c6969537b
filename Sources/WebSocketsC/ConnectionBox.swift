//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import Synchronization
import WebSocketCore
import WebSocketLoop
import WebSockets

/// The program's callbacks, and where they run.
final class Callbacks: @unchecked Sendable {
    // Sendable: what C gave is not changed, and it says itself on which thread it is used.
    private let raw: wsx_callbacks
    let queue: CallbackQueue?
    private let isSilent = Atomic<Bool>(false)

    init(_ raw: wsx_callbacks?, queue: CallbackQueue?) {
        self.raw = raw ?? wsx_callbacks()
        self.queue = queue
    }

    /// The same ones for a connection of a server, whose end is not the end of `user`.
    func forOneConnection() -> Callbacks {
        var raw = raw
        raw.on_released = nil
        return Callbacks(raw, queue: queue)
    }

    var takesMessages: Bool { raw.on_message != nil }
    var user: UnsafeMutableRawPointer? { raw.user }

    /// No callback begins any more.
    func silence() { isSilent.store(true, ordering: .releasing) }

    /// Runs `body` where callbacks run. Called on the loop. Whether the caller should wait for room in the queue.
    @discardableResult
    func call(_ body: @escaping @Sendable (wsx_callbacks) -> Void) -> Bool {
        guard let queue else {
            if !isSilent.load(ordering: .acquiring) { asCallback { body(raw) } }
            return false
        }
        return queue.push { [self] in if !isSilent.load(ordering: .acquiring) { body(raw) } }
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

    func message(_ connection: UInt64, _ message: WebSocketMessage) -> Bool {
        call { raw in
            message.withData {
                raw.on_message?(
                    raw.user, wsx_connection(id: connection), message.kind.number, $0.baseAddress ?? Self.nothing,
                    $0.count)
            }
        }
    }

    /// The last callback, after all others.
    func release(on loop: WebSocketEventLoop) {
        silence()
        let raw = raw
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

/// What a connection's handle stands for.
final class ConnectionBox: Sendable {
    private struct State {
        var socket: WebSocketConnection?
        var lease: WebSocketLease?
        var failure: WebSocketError?
        /// What ends with the handle.
        var task: Task<Void, Never>?
        var isReleased = false
        /// No callback but the last one comes any more.
        var isFinished = false
        var waiter: CheckedContinuation<Void, Never>?
        // The program's own pointer, which is only stored and given back, behind the lock.
        nonisolated(unsafe) var data: UnsafeMutableRawPointer?
    }

    let callbacks: Callbacks
    let loop: WebSocketEventLoop
    /// A server's: the program does not free it.
    private let freesItself: Bool
    private let state: Mutex<State>
    private let number = Atomic<UInt64>(0)

    /// The handle's number.
    var id: UInt64 { number.load(ordering: .acquiring) }

    private init(_ state: State, callbacks: Callbacks, loop: WebSocketEventLoop, freesItself: Bool) {
        self.callbacks = callbacks
        self.loop = loop
        self.freesItself = freesItself
        self.state = Mutex(state)
    }

    /// One that is to be opened, or is a server's.
    static func make(callbacks: Callbacks, loop: WebSocketEventLoop, freesItself: Bool = false) -> ConnectionBox {
        let box = ConnectionBox(State(), callbacks: callbacks, loop: loop, freesItself: freesItself)
        box.number.store(Handles.connections.insert(box), ordering: .releasing)
        return box
    }

    /// One that is borrowed.
    static func make(_ lease: WebSocketLease) throws(WebSocketError) -> ConnectionBox {
        let loop = try lease.socket.eventLoop
        let box = ConnectionBox(
            State(lease: lease), callbacks: Callbacks(nil, queue: nil), loop: loop, freesItself: false)
        box.number.store(Handles.connections.insert(box), ordering: .releasing)
        return box
    }

    /// The connection, if it is open, or has been.
    func socket() throws(Failure) -> WebSocketConnection {
        let (socket, lease, failure, isReleased) = state.withLock { ($0.socket, $0.lease, $0.failure, $0.isReleased) }
        guard !isReleased else { throw .freed("connection") }
        if let socket { return socket }
        do throws(WebSocketError) { if let lease { return try lease.socket } } catch { throw Failure(error) }
        if let failure { throw Failure(failure) }
        throw Failure(WSX_NOT_CONNECTED, "the connection is not open yet; wait for on_open")
    }

    /// What every message goes through.
    func wire() throws(Failure) -> Connection {
        if let wire = state.withLock({ $0.socket?.wire }) { return wire }
        return try socket().wire
    }

    var isConnecting: Bool {
        state.withLock { !$0.isReleased && $0.socket == nil && $0.lease == nil && $0.failure == nil }
    }
    var hasFailed: Bool { state.withLock { $0.failure != nil } }

    var data: UnsafeMutableRawPointer? {
        get { state.withLock { Unchecked($0.data) }.value }
        set {
            let pointer = Unchecked(newValue)
            state.withLock { $0.data = pointer.value }
        }
    }

    // MARK: Life

    /// Keeps a task that ends with the handle.
    func keep(_ task: Task<Void, Never>) {
        let isReleased = state.withLock { state in
            if !state.isReleased { state.task = task }
            return state.isReleased
        }
        if isReleased { task.cancel() }
    }

    /// The connection is open: tells the program, and from now on of what comes.
    func opened(_ socket: WebSocketConnection) {
        let isReleased = state.withLock { state in
            if !state.isReleased { state.socket = socket }
            return state.isReleased
        }
        let wire = socket.wire
        guard !isReleased else {
            wire.loop.execute { wire.abort() }
            return
        }
        let callbacks = callbacks
        let id = id
        wire.loop.execute { [self] in
            callbacks.call { $0.on_open?($0.user, wsx_connection(id: id)) }
            guard callbacks.queue != nil, callbacks.takesMessages else {
                if callbacks.takesMessages {
                    wire.setMessageHandler { bytes, kind in callbacks.message(id, kind, bytes) }
                }
                wire.addEndObserver { [weak self] info in self?.ended(.closed(info)) }
                return
            }
            pump(wire)
        }
    }

    /// Hands messages to the queue, no faster than they are taken out.
    private func pump(_ wire: Connection) {
        let callbacks = callbacks
        let id = id
        // What is left of a connection that has ended is little, and its end must not wait for a program that waits for
        // it. Both run on the loop, so nothing comes between the question and the wait.
        wire.addEndObserver { _ in callbacks.queue?.wakeAll() }
        keep(
            Task(executorPreference: loop.taskExecutor) { [weak self] in
                do throws(WebSocketError) {
                    while true {
                        let message = try await wire.receive()
                        guard callbacks.message(id, message) else { continue }
                        while wire.finalCloseInfo == nil, await callbacks.queue?.waitForRoom() == false {}
                    }
                } catch {
                    self?.ended(error)
                }
            })
    }

    /// It could not be opened.
    func failed(_ error: WebSocketError) {
        state.withLock { $0.failure = error }
        loop.execute { self.ended(error) }
    }

    private func ended(_ error: WebSocketError) {
        let id = id
        let freesItself = freesItself
        let reason = Unchecked(wsx_error(Failure(error)))
        callbacks.call { raw in
            withUnsafePointer(to: reason.value) { raw.on_close?(raw.user, wsx_connection(id: id), $0) }
            if freesItself { Handles.connections.remove(id)?.release() }
        }
        finish()
    }

    private func finish() {
        let waiter = state.withLock { state in
            defer { state.waiter = nil }
            state.isFinished = true
            return state.waiter
        }
        waiter?.resume()
    }

    /// Returns when the program has been told of the end, or has freed the handle.
    func finished() async {
        await withCheckedContinuation { continuation in
            let isFinished = state.withLock { state in
                if !state.isFinished { state.waiter = continuation }
                return state.isFinished
            }
            if isFinished { continuation.resume() }
        }
    }

    /// The handle is gone. `discard`: a borrowed connection is not used again.
    func release(discard: Bool = true) {
        let (socket, lease, task) = state.withLock { state in
            defer {
                state.isReleased = true
                state.socket = nil
                state.lease = nil
                state.task = nil
            }
            return (state.socket, state.lease, state.task)
        }
        callbacks.silence()
        task?.cancel()
        lease?.release(discard: discard)
        if let socket {
            // Later, because the caller may be in a callback of it.
            let wire = socket.wire
            Task(executorPreference: loop.taskExecutor) { wire.abort() }
        }
        callbacks.release(on: loop)
        finish()
    }

    var isBorrowed: Bool { state.withLock { $0.lease != nil } }
    var isReleased: Bool { state.withLock { $0.isReleased } }
}
