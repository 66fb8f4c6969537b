//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// A waiter is resumed exactly once because the machine that holds it hands it out once. Debug builds check that; release
// builds do not pay for it.
#if DEBUG
/// A suspended call.
@usableFromInline package typealias Waiter<Value> = CheckedContinuation<Value, Never>
#else
/// A suspended call.
@safe @usableFromInline package struct Waiter<Value>: Sendable {
    @usableFromInline let base: UnsafeContinuation<Value, Never>

    @inlinable
    package init(_ base: UnsafeContinuation<Value, Never>) { unsafe self.base = unsafe base }

    @inlinable @inline(__always)
    package func resume(returning value: sending Value) { unsafe base.resume(returning: value) }
}
#endif

/// Suspends until the waiter is resumed.
@inlinable @inline(__always)
package func suspend<Value>(
    isolation: isolated (any Actor)? = #isolation, _ body: (Waiter<Value>) -> Void
) async -> sending Value {
    #if DEBUG
    await withCheckedContinuation(isolation: isolation, body)
    #else
    unsafe await withUnsafeContinuation(isolation: isolation) { unsafe body(Waiter($0)) }
    #endif
}
