//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CABIPrograms
import Glibc
import Testing
import WebSocketsC

/// The programs in C, each in a process of its own, with the library as it was built for the tests: its Swift is under
/// the sanitizers here. `scripts/c-abi` runs them as real programs with the installed library.
@Suite struct CABITests {
    @Test func misuseIsAnErrorCode() async {
        await #expect(processExitsWith: .success) { exit(cabi_misuse(0, nil)) }
    }

    @Test func callbacksMayCallBackInAndFree() async {
        await #expect(processExitsWith: .success) { exit(cabi_callbacks(0, nil)) }
    }

    @Test func aQueueRunsCallbacksOnTheCallersThread() async {
        await #expect(processExitsWith: .success) { exit(cabi_queue(0, nil)) }
    }

    @Test func threadsShareHandles() async {
        await #expect(processExitsWith: .success) { exit(cabi_threads(0, nil)) }
    }

    @Test func aServerDecidesAdoptsAndBroadcasts() async {
        await #expect(processExitsWith: .success) { exit(cabi_server(0, nil)) }
    }

    @Test func aSessionComesBack() async {
        await #expect(processExitsWith: .success) { exit(cabi_session(0, nil)) }
    }

    @Test func aLoopLivesOnTheProgramsOwnContext() async {
        await #expect(processExitsWith: .success) { exit(cabi_attached(0, nil)) }
    }

    @Test func aProcessMayEndInTheMiddle() async {
        await #expect(processExitsWith: .success) { exit(cabi_leaving(0, nil)) }
    }
}
