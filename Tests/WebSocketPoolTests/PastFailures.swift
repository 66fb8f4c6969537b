//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Scenarios that failed once, as `Scenario` prints them. They are replayed before anything random.
let recordedFailures = """
    # a waiter beside a keepalive
    variant 2: acquire 3; connectOK 0; release 1; passLong 20; acquire 3; validatedOK 0; release 0; closeDone 0
    # a connection that comes after its deadline, when its slot has another tenant
    variant 0: acquire 60; passLong 30; lateConnect 0; connectOK 0; lateConnect 0; release 0
    # two deadlines in one action, of which the shell was told only the second
    variant 0: acquire 5; acquire 5; passLong 0; passLong 0; acquire 5
    variant 1: acquire 10; pass 22; acquire 44; pass 14; pass 62; pass 2
    # the fast path did not restore the minimum of idle connections
    variant 2: connectOK 12; tryAcquire 26
    # a lease that a shutdown broke was forgotten, so that its first release looked like a second
    variant 7: warmUp 16; connectOK 28; shutDown 13; pass 45; connectFail 51; closeDone 31; connectOK 7; closeDone 54; releaseStale 60
    # a connection that a cancelled acquire gave back late was lent without proving itself
    variant 1: acquire 54; connectOK 13; pass 29; acquire 47; takeBackCancelled 61
    # closing unused connections made room for waiters, and nobody looked
    variant 4: warmUp 36; connectOK 50; release 53; acquireNew 7; acquireNew 39; releaseUnused 32
    # the model, not the machine: a lease that was taken back late seemed forgotten
    variant 2: connectOK 41; pass 60; pass 29; acquire 11; connectOK 24; passLong 57; pass 13; passLong 62; takeBackCancelled 53; pass 14; pass 3; pass 15
    """
