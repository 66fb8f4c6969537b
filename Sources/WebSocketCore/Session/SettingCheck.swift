//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Remembers the first setting that is out of its range.
package struct SettingCheck {
    package private(set) var result: Result<Void, WebSocketError> = .success(())

    package init() {}

    /// - Parameter range: Seconds.
    package mutating func time(_ name: String, _ value: Duration, _ range: ClosedRange<Double>) {
        guard value < .seconds(range.lowerBound) || value > .seconds(range.upperBound) else { return }
        refuse("\(name) is \(value); it must be in \(Self.text(range.lowerBound))...\(Self.text(range.upperBound)) s")
    }

    package mutating func number(_ name: String, _ value: Int, _ range: ClosedRange<Int>) {
        guard !range.contains(value) else { return }
        refuse("\(name) is \(value); it must be in \(range)")
    }

    private mutating func refuse(_ text: String) {
        if case .success = result { result = .failure(WebSocketError(.invalidConfiguration, text)) }
    }

    private static func text(_ seconds: Double) -> String {
        seconds == seconds.rounded() ? "\(Int(seconds))" : "\(seconds)"
    }
}
