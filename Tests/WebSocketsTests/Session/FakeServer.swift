//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import WebSocketCore
import WebSocketLoop

@testable import WebSockets

/// A server without sockets, in the simulation's time. Each connection is scripted by the test.
final class FakeServer: Sendable {
    enum Answer: Sendable {
        case accept
        case refuse(WebSocketError)
        /// Never answers; ends with the attempt's cancellation.
        case hang
    }

    private struct State {
        var answers: [Answer] = []
        var otherwise = Answer.accept
        var connections: [FakeConnection] = []
        var attempts: [Duration] = []
        var details: [SessionAttempt] = []
        var concurrentAttempts = 0
        var mostConcurrentAttempts = 0
        var onMessage: (@Sendable (FakeConnection, WebSocketMessage) -> Void)?
        var onConnect: (@Sendable (FakeConnection) -> Void)?
        var takesNothing = false
        var writesByItself = true
    }

    let simulation: Simulation
    private let state = Mutex(State())

    init(_ simulation: Simulation) { self.simulation = simulation }

    /// What the next attempts meet, in order; then `otherwise`.
    func answer(_ answers: Answer..., otherwise: Answer = .accept) {
        state.withLock { state in
            state.answers = answers
            state.otherwise = otherwise
        }
    }

    func onMessage(_ handler: @escaping @Sendable (FakeConnection, WebSocketMessage) -> Void) {
        state.withLock { $0.onMessage = handler }
    }

    func onConnect(_ handler: @escaping @Sendable (FakeConnection) -> Void) {
        state.withLock { $0.onConnect = handler }
    }

    /// Whether new connections report what they take as written at once.
    func setWritesByItself(_ value: Bool) { state.withLock { $0.writesByItself = value } }

    /// Lets go of everything: connections and closures refer to the session, and the session to this server.
    func dismiss() {
        let connections = state.withLock { state in
            defer { (state.connections, state.onMessage, state.onConnect) = ([], nil, nil) }
            return state.connections
        }
        for connection in connections { connection.dismiss() }
    }

    var connections: [FakeConnection] { state.withLock { $0.connections } }
    var last: FakeConnection { connections.last! }
    /// When each attempt began.
    var attempts: [Duration] { state.withLock { $0.attempts } }
    /// What each attempt was told.
    var details: [SessionAttempt] { state.withLock { $0.details } }
    var mostConcurrentAttempts: Int { state.withLock { $0.mostConcurrentAttempts } }

    @Sendable func open(_ attempt: SessionAttempt) async throws(WebSocketError) -> any SessionConnection {
        let now = simulation.elapsed
        let answer = state.withLock { state in
            state.attempts.append(now)
            state.details.append(attempt)
            state.concurrentAttempts += 1
            state.mostConcurrentAttempts = max(state.mostConcurrentAttempts, state.concurrentAttempts)
            return state.answers.isEmpty ? state.otherwise : state.answers.removeFirst()
        }
        defer { state.withLock { $0.concurrentAttempts -= 1 } }
        // An attempt takes time.
        await simulation.pass(.milliseconds(10))
        switch answer {
        case .accept:
            guard !Task.isCancelled else { throw WebSocketError(.cancelled, "the attempt was cancelled with its task") }
            let connection = state.withLock { state in
                let connection = FakeConnection(
                    simulation, onMessage: state.onMessage, writesByItself: state.writesByItself)
                state.connections.append(connection)
                return connection
            }
            state.withLock { $0.onConnect }?(connection)
            return connection
        case .refuse(let error): throw error
        case .hang:
            await simulation.pass(.seconds(1_000_000))
            throw WebSocketError(.cancelled, "the attempt was cancelled with its task")
        }
    }
}

/// One connection of the fake server: the session's end, and the server's for the test.
final class FakeConnection: SessionConnection {
    private struct State {
        var inbound: [WebSocketMessage] = []
        var receivers: [(Int, CheckedContinuation<Result<WebSocketMessage, WebSocketError>, Never>)] = []
        var senders: [(Int, CheckedContinuation<Bool, Never>)] = []
        var lastID = 0
        var sent: [WebSocketMessage] = []
        var written = 0
        var inDoubt = 0
        var isFull = false
        var isClosing = false
        var closeFrame: WebSocketCloseFrame?
        var end: WebSocketCloseInfo?
        var writtenHandler: (@Sendable (Int) -> Void)?
        var endHandler: (@Sendable (ConnectionLedger) -> Void)?
        var answersClose = true
        /// Waits for the peer of a close that is not answered.
        var patience: Task<Void, Never>?
        var wasAborted = false
        var pongsAreBehindMessages = false
    }

    let simulation: Simulation
    private let onMessage: (@Sendable (FakeConnection, WebSocketMessage) -> Void)?
    private let writesByItself: Bool
    private let state = Mutex(State())

    /// Forgets who is to be told.
    func dismiss() { state.withLock { ($0.writtenHandler, $0.endHandler) = (nil, nil) } }

    init(
        _ simulation: Simulation, onMessage: (@Sendable (FakeConnection, WebSocketMessage) -> Void)?,
        writesByItself: Bool
    ) {
        self.simulation = simulation
        self.onMessage = onMessage
        self.writesByItself = writesByItself
    }

    // MARK: The server's end

    /// What came, in order.
    var received: [WebSocketMessage] { state.withLock { $0.sent } }
    var texts: [String] { received.map { if case .text(let text) = $0 { text } else { "binary" } } }
    var closeFrame: WebSocketCloseFrame? { state.withLock { $0.closeFrame } }
    var wasAborted: Bool { state.withLock { $0.wasAborted } }
    var hasEnded: Bool { state.withLock { $0.end != nil } }
    /// Messages that nobody has read from this connection.
    var unread: Int { state.withLock { $0.inbound.count } }

    func say(_ texts: String...) { for text in texts { push(.text(text)) } }

    func push(_ message: WebSocketMessage) {
        let receiver = state.withLock {
            state -> CheckedContinuation<Result<WebSocketMessage, WebSocketError>, Never>? in
            guard state.end == nil else { return nil }
            if !state.receivers.isEmpty { return state.receivers.removeFirst().1 }
            state.inbound.append(message)
            return nil
        }
        receiver?.resume(returning: .success(message))
    }

    /// The server closes.
    func close(_ code: WebSocketCloseCode, _ reason: String = "") {
        let frame = WebSocketCloseFrame(code: code, reason: reason)
        end(WebSocketCloseInfo(received: frame, sent: frame, receivedFirst: true, cause: .closingHandshake))
    }

    /// The network breaks.
    func cut(_ cause: WebSocketCloseInfo.Cause = .connectionLost) {
        end(WebSocketCloseInfo(received: nil, sent: nil, receivedFirst: nil, cause: cause))
    }

    /// The outbound buffer is full, or has room again.
    func setFull(_ isFull: Bool) {
        let senders = state.withLock { state in
            state.isFull = isFull
            defer { if !isFull { state.senders = [] } }
            return isFull ? [] : state.senders
        }
        for sender in senders { sender.1.resume(returning: true) }
    }

    func setAnswersClose(_ value: Bool) { state.withLock { $0.answersClose = value } }

    /// The operating system takes so many messages, of those that it has not taken.
    func write(_ count: Int) {
        let (total, handler) = state.withLock { state in
            state.written = min(state.sent.count, state.written + count)
            return (state.written, state.writtenHandler)
        }
        handler?(total)
    }

    /// The next so many messages after the written ones are in a burst that was taken in part.
    func setInDoubt(_ count: Int) { state.withLock { $0.inDoubt = count } }

    private func end(_ info: WebSocketCloseInfo) {
        let (receivers, senders, handler, ledger) = state.withLock { state in
            guard state.end == nil else {
                return (
                    [] as [(Int, CheckedContinuation<Result<WebSocketMessage, WebSocketError>, Never>)],
                    [] as [(Int, CheckedContinuation<Bool, Never>)], nil as (@Sendable (ConnectionLedger) -> Void)?,
                    ConnectionLedger(info: nil, written: 0, inDoubt: 0)
                )
            }
            state.end = info
            state.patience?.cancel()
            defer {
                state.receivers = []
                state.senders = []
            }
            return (
                state.receivers, state.senders, state.endHandler,
                ConnectionLedger(info: info, written: state.written, inDoubt: state.inDoubt)
            )
        }
        for receiver in receivers { receiver.1.resume(returning: .failure(.closed(info))) }
        for sender in senders { sender.1.resume(returning: false) }
        handler?(ledger)
    }

    // MARK: The session's end

    var executor: (any TaskExecutor)? { nil }

    func trySend(_ message: WebSocketMessage) -> Bool {
        let isTaken = state.withLock { state in
            guard !state.isFull, !state.isClosing, state.end == nil else { return false }
            state.sent.append(message)
            return true
        }
        guard isTaken else { return false }
        // Later, as a flush at the end of a loop's turn is.
        Task(executorPreference: simulation) {
            // What it had not flushed when it ended is not sent.
            guard !self.hasEnded else { return }
            if self.writesByItself { self.write(1) }
            self.onMessage?(self, message)
        }
        return true
    }

    func send(_ message: WebSocketMessage) async throws(WebSocketError) {
        while !trySend(message) {
            let id = state.withLock { state in
                state.lastID += 1
                return state.lastID
            }
            let goesOn = await withTaskCancellationHandler {
                await withCheckedContinuation { (continuation: CheckedContinuation<Bool, Never>) in
                    let known = state.withLock { state -> Bool? in
                        if state.end != nil || state.isClosing || Task.isCancelled { return false }
                        if !state.isFull { return true }
                        state.senders.append((id, continuation))
                        return nil
                    }
                    if let known { continuation.resume(returning: known) }
                }
            } onCancel: {
                let sender = state.withLock { state in
                    state.senders.firstIndex { $0.0 == id }.map { state.senders.remove(at: $0) }
                }
                sender?.1.resume(returning: false)
            }
            if !goesOn {
                throw Task.isCancelled
                    ? WebSocketError(.cancelled, "send was cancelled with its task")
                    : WebSocketError(.connectionClosed, "the connection is closed, so the message was not sent")
            }
        }
    }

    func receive() async throws(WebSocketError) -> WebSocketMessage {
        let id = state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation {
                (continuation: CheckedContinuation<Result<WebSocketMessage, WebSocketError>, Never>) in
                let known = state.withLock { state -> Result<WebSocketMessage, WebSocketError>? in
                    if Task.isCancelled { return .failure(WebSocketError(.cancelled, "receive was cancelled")) }
                    if !state.inbound.isEmpty { return .success(state.inbound.removeFirst()) }
                    if let end = state.end { return .failure(.closed(end)) }
                    state.receivers.append((id, continuation))
                    return nil
                }
                if let known { continuation.resume(returning: known) }
            }
        } onCancel: {
            let receiver = state.withLock { state in
                state.receivers.firstIndex { $0.0 == id }.map { state.receivers.remove(at: $0) }
            }
            receiver?.1.resume(returning: .failure(WebSocketError(.cancelled, "receive was cancelled")))
        }
        return try result.get()
    }

    /// Pongs come behind the messages, and are not seen while more than a few of them are unread.
    func setPongsBehindMessages() { state.withLock { $0.pongsAreBehindMessages = true } }

    func ping() async throws(WebSocketError) -> Duration {
        while state.withLock({ $0.pongsAreBehindMessages && $0.inbound.count > 16 && $0.end == nil }) {
            await simulation.pass(.milliseconds(1))
            if Task.isCancelled { throw WebSocketError(.cancelled, "ping was cancelled") }
        }
        return .milliseconds(1)
    }
    var latency: Duration? { .milliseconds(1) }

    func beginClosing(_ frame: WebSocketCloseFrame) {
        let answers = state.withLock { state in
            state.isClosing = true
            if state.closeFrame == nil { state.closeFrame = frame }
            return state.answersClose
        }
        let closing = Task(executorPreference: simulation) { [self] in
            if !answers { await simulation.pass(.seconds(10)) }
            end(
                WebSocketCloseInfo(
                    received: answers ? frame : nil, sent: frame, receivedFirst: answers ? false : nil,
                    cause: answers ? .closingHandshake : .closeTimeout))
        }
        state.withLock { if $0.end == nil { $0.patience = closing } }
    }

    func abort() {
        state.withLock { $0.wasAborted = true }
        Task(executorPreference: simulation) { [self] in cut(.aborted) }
    }

    func observe(
        written: @escaping @Sendable (Int) -> Void, ended: @escaping @Sendable (ConnectionLedger) -> Void
    ) {
        let end = state.withLock { state -> ConnectionLedger? in
            state.writtenHandler = written
            state.endHandler = ended
            return state.end.map { ConnectionLedger(info: $0, written: state.written, inDoubt: state.inDoubt) }
        }
        if let end { ended(end) }
    }
}
