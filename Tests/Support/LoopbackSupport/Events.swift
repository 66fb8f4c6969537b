//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import Testing

/// Hands values from one task to another, in order.
package final class Events<Value: Sendable>: Sendable {
    private let stream: AsyncStream<Value>
    private let continuation: AsyncStream<Value>.Continuation

    package init() { (stream, continuation) = AsyncStream.makeStream() }

    package func send(_ value: Value) { continuation.yield(value) }

    /// The next value. Fails the test when it is cancelled first, which its time limit does.
    package func next(sourceLocation: SourceLocation = #_sourceLocation) async throws -> Value {
        for await value in stream { return value }
        return try #require(nil as Value?, "no event came", sourceLocation: sourceLocation)
    }
}

extension Events where Value == Void {
    package func send() { send(()) }
}
