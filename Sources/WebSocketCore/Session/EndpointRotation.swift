//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Which of several endpoints an attempt goes to. One that failed is followed by the next at once; only when each has had
/// its turn the policy is asked. An endpoint that asked for time (`Retry-After`) is passed over until then.
package struct EndpointRotation: Sendable {
    /// The endpoint of the present attempt.
    package private(set) var index = 0
    private var notBefore: [Duration]
    private var failures: [(error: WebSocketError, wait: Duration)] = []
    private var tried: Set<Int> = []

    package init(count: Int) { notBefore = Array(repeating: .zero, count: max(count, 1)) }

    private var count: Int { notBefore.count }

    /// An attempt failed.
    ///
    /// - Parameter wait: What the server asked for.
    /// - Returns: nil when another endpoint is to be tried at once; otherwise what the policy is asked about: the failure
    ///   that can be healed the soonest.
    package mutating func failed(_ error: WebSocketError, wait: Duration, at now: Duration) -> WebSocketError? {
        guard count > 1 else { return error }
        failures.append((error, wait))
        tried.insert(index)
        notBefore[index] = now + wait
        for step in 1..<count {
            let next = (index + step) % count
            if !tried.contains(next), notBefore[next] <= now {
                index = next
                return nil
            }
        }
        let healable = failures.filter { !$0.error.wouldComeAgain }
        let soonest = (healable.isEmpty ? failures : healable).min { $0.wait < $1.wait }
        index = (index + 1) % count
        connected()
        return soonest?.error ?? error
    }

    /// There is a connection: the next round begins with its endpoint.
    package mutating func connected() {
        failures = []
        tried = []
    }

    /// The endpoint has gone without a word, or nothing could be done with it: the next attempt goes to another one.
    package mutating func vanished() { index = (index + 1) % count }

    /// Chooses the endpoint of the next attempt.
    package mutating func choose(at now: Duration) {
        guard notBefore[index] > now else { return }
        let order = (0..<count).map { (index + $0) % count }
        index = order.first { notBefore[$0] <= now } ?? order.min { notBefore[$0] < notBefore[$1] } ?? index
    }
}

extension WebSocketDisconnectReason {
    /// Whether another endpoint may do better.
    package var isOfEndpoint: Bool {
        switch self {
        case .networkError, .pingTimeout, .silence, .preparationFailed: true
        case .userRequested, .scheduled, .callbackTriggered, .connectionLimit, .serverClosed, .protocolError, .overflow,
            .killed:
            false
        }
    }
}
