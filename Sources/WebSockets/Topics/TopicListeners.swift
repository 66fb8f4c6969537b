//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

/// The streams of events. Apart from the topics and their routers, which they must not keep, and not a weak reference to
/// them: Swift has those counts where a leak check cannot find them while the object lives.
final class TopicListeners: Sendable {
    private struct State {
        var listeners: [UInt64: AsyncStream<WebSocketTopicEvent>.Continuation] = [:]
        var last: UInt64 = 0
    }

    private let state = Mutex(State())

    /// A stream of what is told from now on, to its reader's end or the topics'.
    func stream() -> AsyncStream<WebSocketTopicEvent> {
        let (stream, continuation) = AsyncStream.makeStream(
            of: WebSocketTopicEvent.self, bufferingPolicy: .bufferingNewest(4_096))
        let id = state.withLock { state in
            state.last += 1
            state.listeners[state.last] = continuation
            return state.last
        }
        continuation.onTermination = { _ in _ = self.state.withLock { $0.listeners.removeValue(forKey: id) } }
        return stream
    }

    func tell(_ event: WebSocketTopicEvent) {
        for listener in state.withLock({ Array($0.listeners.values) }) { listener.yield(event) }
    }

    /// Ends all streams.
    func finish() {
        let listeners = state.withLock { state in
            defer { state.listeners = [:] }
            return state.listeners
        }
        for listener in listeners.values { listener.finish() }
    }
}
