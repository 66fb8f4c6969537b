//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import DequeModule
import Synchronization
import WebSocketConcurrency
import WebSocketCore
import WebSocketLoop
import WebSockets

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
        var waiter: Waiter<Void>?
        /// The program has paused reading.
        var isPaused = false
        /// The end is told in any case.
        var mayPause = true
        /// Messages go to the program as they arrive: follows `isPaused`, on the loop.
        var isListening = false
        /// The end of a connection whose messages wait.
        var pendingEnd: WebSocketError?
        /// What has come out of the queue of a connection that is paused.
        var held: Deque<@Sendable () -> Void> = []
        /// The pump of a connection that is paused.
        var pausedPump: Waiter<Void>?
        /// The program is to hear when there is room.
        var wantsRoom = false
        /// Told when the program has heard of the end, or has freed the handle.
        var whenGone: (@Sendable (UInt64) -> Void)?
        // The program's own pointer, which is only stored and given back, behind the lock.
        nonisolated(unsafe) var data: UnsafeMutableRawPointer?
    }

    let callbacks: Callbacks
    let loop: WebSocketEventLoop
    /// A server's: the program does not free it.
    private let freesItself: Bool
    private let isLease: Bool
    private let state: Mutex<State>
    private let number = Atomic<UInt64>(0)

    /// The handle's number.
    var id: UInt64 { number.load(ordering: .acquiring) }

    private init(
        _ state: State, callbacks: Callbacks, loop: WebSocketEventLoop, freesItself: Bool = false, isLease: Bool = false
    ) {
        self.callbacks = callbacks
        self.loop = loop
        self.freesItself = freesItself
        self.isLease = isLease
        self.state = Mutex(state)
        number.store(Handles.connections.insert(self), ordering: .releasing)
    }

    /// One that is to be opened, or is a server's.
    static func make(
        callbacks: Callbacks, loop: WebSocketEventLoop, freesItself: Bool = false,
        whenGone: (@Sendable (UInt64) -> Void)? = nil
    ) -> ConnectionBox {
        ConnectionBox(State(whenGone: whenGone), callbacks: callbacks, loop: loop, freesItself: freesItself)
    }

    /// One that is borrowed. Callbacks come from `lent` on.
    static func make(
        _ lease: WebSocketLease, _ callbacks: Callbacks, whenGone: @escaping @Sendable (UInt64) -> Void
    ) throws(WebSocketError) -> ConnectionBox {
        let loop = try lease.socket.eventLoop
        return ConnectionBox(
            State(lease: lease, whenGone: whenGone), callbacks: callbacks, loop: loop, isLease: true)
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
        if let left = socket.attachment as? RequestData { data = left.claim() }
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
                applyPause(to: wire)
                wire.addEndObserver { [weak self] info in self?.endedInTurn(.closed(info)) }
                return
            }
            // What is left of a connection that has ended is little, and its end must not wait for a program that waits
            // for it. Both run on the loop, so nothing comes between the question and the wait.
            wire.addEndObserver { _ in callbacks.queue?.wakeAll() }
            pump(wire)
        }
    }

    /// A borrowed connection is the program's, which has been told.
    func lent() {
        // One whose lease is over already has nothing to tell; one that nothing is told of is given back at once.
        guard callbacks.takesMessages || callbacks.tellsOfEnd, let wire = try? wire() else { return }
        guard !callbacks.takesMessages else { return pump(wire) }
        keep(
            Task(executorPreference: loop.taskExecutor) { [weak self] in
                do throws(WebSocketError) {
                    self?.ended(.closed(try await wire.closed()))
                } catch {
                    // The loop is gone, and has told nothing.
                    self?.ended(error)
                }
            })
    }

    /// Hands messages to the program, no faster than it takes them.
    private func pump(_ wire: Connection) {
        let callbacks = callbacks
        keep(
            Task(executorPreference: loop.taskExecutor) { [weak self] in
                do throws(WebSocketError) {
                    while true {
                        let message = try await wire.receive()
                        await self?.waitWhilePaused()
                        guard self?.inOrder({ callbacks.message($0, message) }) == true else { continue }
                        while let self, !self.isReleased, wire.finalCloseInfo == nil,
                            await callbacks.queue?.waitForRoom() == false
                        {}
                    }
                } catch {
                    await self?.waitWhilePaused()
                    self?.ended(error)
                }
            })
    }

    private func waitWhilePaused() async {
        await suspend { continuation in
            let isPaused = state.withLock { state in
                if state.isPaused { state.pausedPump = continuation }
                return state.isPaused
            }
            if !isPaused { continuation.resume() }
        }
    }

    /// Runs something where callbacks run, after everything that is held. Whether the caller should wait for room.
    private func inOrder(_ event: @escaping @Sendable (_ id: UInt64) -> Void) -> Bool {
        let id = id
        guard let queue = callbacks.queue else {
            asCallback { event(id) }
            return false
        }
        return queue.push { [self] in
            let mayRun = state.withLock { state in
                if state.held.isEmpty && !state.isPaused { return true }
                state.held.append { event(id) }
                return false
            }
            if mayRun { event(id) } else { runHeld() }
        }
    }

    private func runHeld() {
        while let event = state.withLock({ $0.isPaused ? nil : $0.held.popFirst() }) { event() }
    }

    /// It could not be opened.
    func failed(_ error: WebSocketError) {
        state.withLock { $0.failure = error }
        loop.execute { self.ended(error) }
    }

    /// The end of a connection without a pump, which comes behind its messages. On the loop.
    private func endedInTurn(_ error: WebSocketError) {
        let waits = state.withLock { state in
            let waits = callbacks.takesMessages && !state.isListening
            if waits { state.pendingEnd = error }
            return waits
        }
        if !waits { ended(error) }
    }

    /// Tells the end. Where there is a queue it is held there, behind what came before.
    private func ended(_ error: WebSocketError) {
        let callbacks = callbacks
        let freesItself = freesItself
        let reason = Unchecked(wsx_error(Failure(error)))
        _ = inOrder { [self] id in
            callbacks.run { raw in
                withUnsafePointer(to: reason.value) { raw.on_close?(raw.user, wsx_connection(id: id), $0) }
                if freesItself { Handles.connections.remove(id)?.release() }
            }
            gone(id)
        }
        finish()
    }

    private func gone(_ id: UInt64) { state.withLock { $0.whenGone.take() }?(id) }

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
        await suspend { continuation in
            let isFinished = state.withLock { state in
                if !state.isFinished { state.waiter = continuation }
                return state.isFinished
            }
            if isFinished { continuation.resume() }
        }
    }

    /// The handle is gone.
    ///
    /// - Parameters:
    ///   - discard: A borrowed connection is not used again.
    ///   - isTold: The program is told when its `user` is not used any more: not of a call that fails.
    func release(discard: Bool = true, isTold: Bool = true) {
        let (socket, lease, task, paused) = state.withLock { state in
            defer {
                state.isReleased = true
                state.socket = nil
                state.lease = nil
                state.task = nil
                state.held = []
                state.isPaused = false
                state.pausedPump = nil
            }
            return (state.socket, state.lease, state.task, state.pausedPump)
        }
        callbacks.silence()
        task?.cancel()
        paused?.resume()
        if let lease { give(back: lease, after: task, discard: discard) }
        if let socket {
            // Later, because the caller may be in a callback of it.
            let wire = socket.wire
            Task(executorPreference: loop.taskExecutor) { wire.abort() }
        }
        if isTold { callbacks.release(on: loop) }
        finish()
        gone(id)
    }

    private func give(back lease: WebSocketLease, after pump: Task<Void, Never>?, discard: Bool) {
        guard let pump else { return lease.release(discard: discard) }
        let queue = callbacks.queue
        Task(executorPreference: loop.taskExecutor) {
            queue?.wakeAll()
            // A receiver that still waits would cost the pool the connection.
            await pump.value
            lease.release(discard: discard)
        }
    }

    var isBorrowed: Bool { state.withLock { $0.lease != nil } }
    var isReleased: Bool { state.withLock { $0.isReleased } }
    var hasEnded: Bool { state.withLock { $0.socket?.closeInfo != nil } }

    // MARK: Pausing

    func pause() throws(Failure) {
        guard callbacks.takesMessages else {
            throw .argument("the connection has no on_message to pause; with wsx_receive it reads what you take")
        }
        let isPaused = state.withLock { state in
            state.isPaused = state.mayPause && !state.isReleased
            return state.isPaused
        }
        if isPaused, let wire = wireWithoutPump { wire.loop.execute { self.applyPause(to: wire) } }
    }

    /// - Parameter forGood: The program is told everything from now on.
    func resume(forGood: Bool = false) {
        let (wasPaused, pump) = state.withLock { state in
            defer {
                state.isPaused = false
                state.pausedPump = nil
                if forGood { state.mayPause = false }
            }
            return (state.isPaused, state.pausedPump)
        }
        pump?.resume()
        guard wasPaused else { return }
        if let queue = callbacks.queue {
            queue.push { self.runHeld() }
        } else if let wire = wireWithoutPump {
            // Later: the caller may be in on_message.
            Task(executorPreference: loop.taskExecutor) { self.applyPause(to: wire) }
        }
    }

    /// The connection whose messages the loop hands over itself.
    private var wireWithoutPump: Connection? {
        guard !isLease, callbacks.queue == nil else { return nil }
        return state.withLock { $0.socket?.wire }
    }

    /// Takes messages or leaves them, as the program wants it now. On the loop.
    private func applyPause(to wire: Connection) {
        guard callbacks.takesMessages, !isReleased else { return }
        let listens = state.withLock { state in
            state.isListening = !state.isPaused
            return state.isListening
        }
        guard listens else { return wire.removeMessageHandler() }
        let (id, callbacks) = (id, callbacks)
        wire.setMessageHandler { bytes, kind in callbacks.message(id, kind, bytes) }
        // What waited may have paused it again, in the middle.
        let end = state.withLock { $0.isListening ? $0.pendingEnd.take() : nil }
        if let end { ended(end) }
    }

    /// The program is told when there is room for a message, which there was not.
    func tellOfRoom(_ wire: Connection) {
        guard callbacks.tellsOfRoom else { return }
        let isFirst = state.withLock { state in
            defer { state.wantsRoom = true }
            return !state.wantsRoom
        }
        guard isFirst else { return }
        let (id, callbacks) = (id, callbacks)
        Task(executorPreference: loop.taskExecutor) { [self] in
            do throws(WebSocketError) {
                try await wire.waitForRoom()
                state.withLock { $0.wantsRoom = false }
                callbacks.call { $0.on_writable?($0.user, wsx_connection(id: id)) }
            } catch {
                // It has ended, which on_close tells.
            }
        }
    }
}
