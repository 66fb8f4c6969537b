//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Bugs that tests plant in the machine, to see that its checks find them. Absent from release builds.
package enum Mutation: Sendable, CaseIterable {
    case drainedConnectionIsNeverReused
    case discardLeaksItsSlot
    case deadIdleLeaksItsSlot
    case discardIsIgnored
    case reuseOrderIsReversed
    case waitersAreServedLastFirst
    case expiredWaiterStaysQueued
    case cancelledWaiterStaysQueued
    case cancelIsIgnored
    case leaseIdIsNotChecked
    case deathWhileIdleIsIgnored
    case deathWhileLeasedKeepsTheSlot
    case shutdownForgetsWaiters
    case shutdownForgetsIdle
    case failedConnectLeaksItsSlot
    case hardMaximumIsIgnored
    case connectLimitIsIgnored
    case releaseDoesNotWakeWaiters
    case freedSlotDoesNotWakeWaiters
    case validatedConnectionIsLost
    case minimumIdleIsNotRefilled
    case backoffIsIgnored
    case leaseIdsRepeat
    case suspensionIsIgnored
    case lateConnectionIsKept
    case lentConnectionStaysIdle
    case idleTimeoutIgnoresMinimumIdle
    case countersMissTimeouts
}
