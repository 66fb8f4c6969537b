//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// When connections are closed that shall not all leave, and come back, at once: evenly over a span.
struct CloseSchedule {
    private let count: Int
    private let span: UInt64
    private var taken = 0

    /// - Parameter span: In nanoseconds; 0 closes all at once.
    init(count: Int, span: UInt64) {
        self.count = count
        self.span = span
    }

    /// How many more are to be closed, so long after the beginning.
    mutating func due(at elapsed: UInt64) -> Int {
        let all = elapsed >= span ? count : min(count, Int(elapsed * UInt64(count) / span) + 1)
        defer { taken = max(taken, all) }
        return max(0, all - taken)
    }

    /// When the next one is to be closed; `nil` when there is none left.
    var next: UInt64? { taken < count ? (UInt64(taken) * span).dividedUp(by: UInt64(count)) : nil }
}

extension UInt64 {
    /// Rounded up, so that a timer for it does not come too early.
    fileprivate func dividedUp(by divisor: UInt64) -> UInt64 { (self + divisor - 1) / divisor }
}
