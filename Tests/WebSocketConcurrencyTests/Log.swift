//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization

/// What happened, in order.
final class Log: Sendable {
    private let state = Mutex<[String]>([])

    var entries: [String] { state.withLock { $0 } }
    func add(_ entry: String) { state.withLock { $0.append(entry) } }
}

extension Simulation {
    /// How many orders of the same events a test goes through.
    static let seeds: Range<UInt64> = 0..<50
}
