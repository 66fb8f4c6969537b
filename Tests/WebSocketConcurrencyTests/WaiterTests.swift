//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Glibc
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

    /// ThreadSanitizer is the judge: nothing but the resume stands between the two accesses. The waiter is resumed while
    /// its task still registers it, which is the case that the runtime does not tell the sanitizer about.
    @Test
    func whatIsWrittenBeforeAResumeIsThereForTheTask() async {
        final class Note: @unchecked Sendable {
            var value = 0
            let isResumed = Atomic<Bool>(false)
        }
        let note = Note()
        await suspend { (waiter: Waiter<Void>) in
            DispatchQueue.global().async {
                note.value = 1
                waiter.resume()
                note.isResumed.store(true, ordering: .relaxed)
            }
            // Relaxed: waiting for it must not be what puts the accesses in order.
            while !note.isResumed.load(ordering: .relaxed) { sched_yield() }
        }
        #expect(note.value == 1)
    }
}
