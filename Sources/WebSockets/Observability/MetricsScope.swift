//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Metrics
import CoreMetrics
import WebSocketLoop

/// What the adapters to swift-metrics share: how names begin, the dimensions of all, and where they go.
struct MetricsScope: Sendable {
    let label: String
    let dimensions: [(String, String)]
    let factory: any MetricsFactory

    func timer(_ name: String, _ more: [(String, String)] = []) -> Timer {
        Timer(label: "\(label)_\(name)", dimensions: dimensions + more, factory: factory)
    }

    func meter(_ name: String) -> Meter {
        Meter(label: "\(label)_\(name)", dimensions: dimensions, factory: factory)
    }

    func counter(_ name: String, _ more: [(String, String)] = []) -> Counter {
        Counter(label: "\(label)_\(name)", dimensions: dimensions + more, factory: factory)
    }

    /// Counts one, in the series that the additional dimensions name.
    func count(_ name: String, _ more: (String, String)...) { counter(name, more).increment() }
}

extension Timer {
    func observe(_ duration: Duration) { recordNanoseconds(Int64(duration.nanoseconds)) }
}

extension Meter {
    /// Factories ignore steps that are not greater than 0.
    func step(by count: Int) {
        if count > 0 { increment(by: Double(count)) }
        if count < 0 { decrement(by: Double(-count)) }
    }
}
#endif
