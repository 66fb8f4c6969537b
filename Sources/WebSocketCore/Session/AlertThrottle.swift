//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Lets the first alert of a kind through, holds back those that follow within the interval, and reports their count
/// when it is over.
package struct AlertThrottle: Sendable {
    private struct Window: Sendable {
        var end: Duration
        var suppressed = 0
        var last = ""
    }

    private let interval: Duration
    private let intervals: [WebSocketSessionAlert.Kind: Duration]
    private var windows: [WebSocketSessionAlert.Kind: Window] = [:]
    /// Alerts that were held back.
    package private(set) var suppressedCount = 0

    package init(interval: Duration, intervals: [WebSocketSessionAlert.Kind: Duration] = [:]) {
        self.interval = interval
        self.intervals = intervals
    }

    private func interval(of kind: WebSocketSessionAlert.Kind) -> Duration { intervals[kind] ?? interval }

    /// When the next count is due.
    package var nextDeadline: Duration? { windows.values.lazy.filter { $0.suppressed > 0 }.map(\.end).min() }

    /// Something happened. Returns the alert unless it is held back.
    package mutating func raise(
        _ kind: WebSocketSessionAlert.Kind, _ message: String, at now: Duration
    ) -> WebSocketSessionAlert? {
        if var window = windows[kind], now < window.end {
            window.suppressed += 1
            window.last = message
            windows[kind] = window
            suppressedCount += 1
            return nil
        }
        // A count that is due at the same moment goes with it.
        let suppressed = windows[kind]?.suppressed ?? 0
        windows[kind] = Window(end: now + interval(of: kind))
        return WebSocketSessionAlert(kind: kind, message: message, suppressed: suppressed)
    }

    package mutating func resetCount() { suppressedCount = 0 }

    /// The counts that are due; all of them when the session ends.
    package mutating func flush(at now: Duration, all: Bool = false) -> [WebSocketSessionAlert] {
        var alerts: [WebSocketSessionAlert] = []
        for kind in WebSocketSessionAlert.Kind.allCases {
            guard let window = windows[kind], all || window.end <= now else { continue }
            windows[kind] = nil
            guard window.suppressed > 0 else { continue }
            alerts.append(WebSocketSessionAlert(kind: kind, message: window.last, suppressed: window.suppressed))
            // The count is an alert too: what follows it within an interval is held back again.
            if !all { windows[kind] = Window(end: now + interval(of: kind)) }
        }
        return alerts
    }
}
