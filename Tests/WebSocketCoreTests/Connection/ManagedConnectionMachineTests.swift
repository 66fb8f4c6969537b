//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct ManagedConnectionMachineTests {
    private static func connected() -> ManagedConnectionMachine {
        var machine = ManagedConnectionMachine()
        expectTrue(machine.connect() == .start)
        expectTrue(machine.attemptEnded(isConnected: true))
        return machine
    }

    @Test func oneAttemptForAll() {
        var machine = ManagedConnectionMachine()
        expectTrue(machine.acquire() == .start)
        expectTrue(machine.connect() == .join)
        expectTrue(machine.acquire() == .refuse(.busy))
        expectTrue(machine.isBusy && !machine.isConnected)
        expectTrue(machine.attemptEnded(isConnected: true))
        expectTrue(machine.connect() == .ready)
        expectTrue(machine.isConnected && !machine.isIdle)
    }

    @Test func aFailedAttemptMayBeRepeated() {
        var machine = ManagedConnectionMachine()
        expectTrue(machine.acquire() == .start)
        expectTrue(machine.attemptEnded(isConnected: false))
        machine.acquireFailed()
        expectTrue(!machine.isBusy && !machine.isConnected)
        expectTrue(machine.acquire() == .start)
    }

    @Test func releasingOnceIsEnough() {
        var machine = Self.connected()
        expectTrue(machine.release(drains: true) == .ignore)
        expectTrue(machine.acquire() == .ready)
        expectTrue(machine.release(drains: false) == .free)
        expectTrue(machine.release(drains: false) == .ignore)
        expectTrue(machine.isIdle)
    }

    @Test func drainingIsAStateOfItsOwn() {
        var machine = Self.connected()
        expectTrue(machine.acquire() == .ready)
        expectTrue(machine.release(drains: true) == .drain)
        expectTrue(machine.isDraining && !machine.isBusy && !machine.isIdle)
        expectTrue(machine.acquire() == .refuse(.draining))
        expectTrue(machine.connect() == .ready)
        machine.drained()
        expectTrue(machine.isIdle)
        // Without a connection there is nothing to drain.
        expectTrue(machine.acquire() == .ready)
        machine.lost()
        expectTrue(machine.release(drains: true) == .free)
        expectTrue(machine.acquire() == .start)
    }

    @Test(arguments: [ManagedConnectionMachine.End.closed, .idleTimeout])
    func theEndIsFinal(_ end: ManagedConnectionMachine.End) {
        var machine = Self.connected()
        expectTrue(machine.acquire() == .ready)
        expectTrue(machine.close(end))
        expectTrue(!machine.close(.closed))
        expectTrue(machine.end == end && !machine.isBusy)
        expectTrue(machine.acquire() == .refuse(.closed(end)))
        expectTrue(machine.connect() == .refuse(.closed(end)))
        expectTrue(machine.release(drains: true) == .ignore)
        machine.lost()
        expectTrue(machine.end == end)
        var connecting = ManagedConnectionMachine()
        expectTrue(connecting.connect() == .start)
        expectTrue(connecting.close(end))
        expectTrue(!connecting.attemptEnded(isConnected: true), "nobody wants it any more")
    }
}

/// `#expect` cannot look into values that are not copied.
private func expectTrue(
    _ isTrue: Bool, _ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(isTrue, comment, sourceLocation: sourceLocation)
}
