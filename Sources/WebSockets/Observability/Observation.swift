//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSocketLoop

/// Tells observers.
struct Observation {
    let observers: [any WebSocketObserver]

    /// Opens a client's connection and reports it to the observers.
    func connect(
        to url: WebSocketURL, _ body: () async throws(WebSocketError) -> Connection
    ) async throws(WebSocketError) -> Connection {
        guard !observers.isEmpty else { return try await body() }
        for observer in observers { observer.connecting(to: url) }
        let began = ContinuousClock.now
        do throws(WebSocketError) {
            let wire = try await body()
            watch(wire, openedAfter: .now - began)
            return wire
        } catch {
            let duration = ContinuousClock.now - began
            for observer in observers { observer.connectFailed(to: url, error: error, after: duration) }
            throw error
        }
    }

    /// Tells of the opening now, and of what happens from now on.
    func watch(_ wire: Connection, openedAfter duration: Duration) {
        guard !observers.isEmpty else { return }
        let summary = WebSocketConnectionSummary(wire)
        let observers = observers
        for observer in observers { observer.opened(summary, after: duration) }
        let opened = ContinuousClock.now
        wire.addPongHandler { _, roundTrip in
            guard let roundTrip else { return }
            let duration = Duration.nanoseconds(Int64(clamping: roundTrip))
            for observer in observers { observer.ponged(summary, roundTrip: duration) }
        }
        wire.addEndObserver { info in
            let duration = ContinuousClock.now - opened
            for observer in observers { observer.closed(summary, info: info, after: duration) }
        }
    }
}
