//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// A waiter is resumed exactly once because the machine that holds it hands it out once. Debug builds check that; release
// builds do not pay for it.
#if DEBUG
import Synchronization

/// A suspended call.
package struct Waiter<Value>: Sendable {
    private let base: CheckedContinuation<Value, Never>
    private let order: ResumeOrder

    fileprivate init(_ base: CheckedContinuation<Value, Never>, _ order: ResumeOrder) {
        self.base = base
        self.order = order
    }

    package func resume(returning value: sending Value) {
        order.noteResumed()
        base.resume(returning: value)
    }
}

/// What is written before a waiter is resumed happens before what its task does then. When the waiter is resumed before
/// its task has suspended, Swift 6.3's runtime does not tell ThreadSanitizer, which reports every such write that is not
/// atomic (a `CheckedContinuation` and a class with one property are enough). An atomic of ours tells it.
private final class ResumeOrder: Sendable {
    private let isResumed = Atomic<Bool>(false)

    func noteResumed() { isResumed.store(true, ordering: .releasing) }
    func noteRunning() { _ = isResumed.load(ordering: .acquiring) }
}

/// Suspends until the waiter is resumed.
package func suspend<Value>(
    isolation: isolated (any Actor)? = #isolation, _ body: (Waiter<Value>) -> Void
) async -> sending Value {
    let order = ResumeOrder()
    defer { order.noteRunning() }
    return await withCheckedContinuation(isolation: isolation) { body(Waiter($0, order)) }
}
#else
/// A suspended call.
@safe @usableFromInline package struct Waiter<Value>: Sendable {
    @usableFromInline let base: UnsafeContinuation<Value, Never>

    @inlinable
    package init(_ base: UnsafeContinuation<Value, Never>) { unsafe self.base = unsafe base }

    @inlinable @inline(__always)
    package func resume(returning value: sending Value) { unsafe base.resume(returning: value) }
}

/// Suspends until the waiter is resumed.
@inlinable @inline(__always)
package func suspend<Value>(
    isolation: isolated (any Actor)? = #isolation, _ body: (Waiter<Value>) -> Void
) async -> sending Value {
    unsafe await withUnsafeContinuation(isolation: isolation) { unsafe body(Waiter($0)) }
}
#endif

extension Waiter<Void> {
    package func resume() { resume(returning: ()) }
}
