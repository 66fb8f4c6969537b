//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import Synchronization
import WebSocketCore
import WebSocketLoop

/// Carries what is not Sendable to where it is used; what says why that is safe is where it is made.
struct Unchecked<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

/// What a thread waits for.
private final class Outcome<Value: Sendable>: @unchecked Sendable {
    // Sendable, because the result is behind a lock and the gate is one.
    private let gate = wsxc_gate_create()
    private let result = Mutex<Result<Value, WebSocketError>?>(nil)

    func finish(_ value: Result<Value, WebSocketError>) {
        result.withLock { $0 = value }
        wsxc_gate_open(gate)
    }

    func wait(nanoseconds: Int64) -> Result<Value, WebSocketError>? {
        wsxc_gate_wait(gate, nanoseconds) ? result.withLock { $0 } : nil
    }

    deinit { wsxc_gate_free(gate) }
}

/// Whether the calling thread may wait for what happens on `loop`: in a callback, and where an attached loop's context is
/// serviced, it would wait for itself.
func mayWait(for loop: WebSocketEventLoop) -> Bool { !wsxc_is_in_callback() && !loop.isOnServiceThread }

/// Refuses to wait on a thread whose connections would wait too, and says why.
func checkMayWait(for loop: WebSocketEventLoop? = nil) throws(Failure) {
    guard !wsxc_is_in_callback() else {
        throw Failure(
            WSX_WRONG_THREAD,
            "the call would wait, and this thread is the library's; call it from another thread, or use a queue")
    }
    guard loop?.isOnServiceThread != true else {
        throw Failure(
            WSX_WRONG_THREAD,
            "the call would wait, and this thread services the lws_context that it would wait for; call it from another thread, or use the function that does not wait"
        )
    }
}

/// Runs `body` as a task and waits for it, in milliseconds; less than zero: for ever. When the time is over the task is
/// cancelled, and what it has got nevertheless is not lost.
func wait<Value: Sendable>(
    _ timeout: Int64, on loop: WebSocketEventLoop?, phase: WebSocketError.Phase? = nil,
    _ body: @escaping @Sendable () async throws(WebSocketError) -> Value
) throws(Failure) -> Value {
    try checkMayWait(for: loop)
    let outcome = Outcome<Value>()
    let task = Task(executorPreference: loop?.taskExecutor) {
        do throws(WebSocketError) {
            outcome.finish(.success(try await body()))
        } catch {
            outcome.finish(.failure(error))
        }
    }
    let (nanoseconds, overflows) = timeout.multipliedReportingOverflow(by: 1_000_000)
    var hasTimedOut = false
    var result = outcome.wait(nanoseconds: timeout < 0 || overflows ? -1 : nanoseconds)
    if result == nil {
        hasTimedOut = true
        task.cancel()
        result = outcome.wait(nanoseconds: -1)
    }
    switch result! {
    case .success(let value): return value
    case .failure(let error) where hasTimedOut && error.code == .cancelled:
        throw Failure.timedOut(after: timeout, phase)
    case .failure(let error): throw Failure(error)
    }
}

extension Failure {
    static func timedOut(after milliseconds: Int64, _ phase: WebSocketError.Phase?) -> Self {
        Self(
            WebSocketError(
                .timedOut, "it took longer than \(milliseconds) ms; allow more time if that is normal", phase: phase))
    }
}

/// Refuses times below zero other than `WSX_NEVER`: what is left until a deadline that has passed, for example, would
/// otherwise be for ever.
func check(time milliseconds: Int64, _ name: StaticString = "timeout_ms") throws(Failure) {
    guard milliseconds >= -1 else {
        throw .argument("\(name) is \(milliseconds); use WSX_NEVER, or 0 for a time that is over")
    }
}

func required<Pointee>(
    _ pointer: UnsafeMutablePointer<Pointee>?, _ name: StaticString
) throws(Failure) -> UnsafeMutablePointer<Pointee> {
    guard let pointer else { throw .argument("\(name) is NULL") }
    return pointer
}
