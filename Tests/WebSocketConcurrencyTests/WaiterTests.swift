//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import SimulationSupport
import Synchronization
import Testing
import WebSocketConcurrency

@Suite
struct WaiterTests {
    @Test(arguments: Simulation.seeds)
    func aSuspendedCallGetsWhatItsWaiterIsResumedWithAtOnceOrLater(_ seed: UInt64) throws {
        try Simulation.run(seed: seed) { simulation in
            #expect(await suspend { $0.resume(returning: 1) } == 1)
            let kept = Mutex<Waiter<Int>?>(nil)
            async let value: Int = suspend { waiter in kept.withLock { $0 = waiter } }
            await simulation.pass(.seconds(1))
            kept.withLock { $0.take() }?.resume(returning: 2)
            #expect(await value == 2)
        }
    }
}
