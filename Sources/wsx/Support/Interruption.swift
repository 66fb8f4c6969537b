//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization
import UnixSignals

/// SIGINT and SIGTERM: the first one asks for an orderly end, the second one ends the process.
final class Interruption: Sendable {
    private struct State {
        var handler: (@Sendable () -> Void)?
        var signal: UnixSignal?
    }
    private let state = Mutex(State())

    private init() {}

    /// Takes over the signals for the rest of the process.
    static func begin() async -> Interruption {
        let interruption = Interruption()
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
        Task {
            for await signal in signals { interruption.received(signal) }
        }
        return interruption
    }

    /// The code that a shell gives a process which the first signal ended.
    var exitCode: CInt? { state.withLock { $0.signal.map { 128 + $0.rawValue } } }

    /// What the first signal does from now on; done at once if it has already come.
    func onFirst(_ handler: @escaping @Sendable () -> Void) {
        let isDue = state.withLock { state in
            state.handler = handler
            return state.signal != nil
        }
        if isDue { handler() }
    }

    private func received(_ signal: UnixSignal) {
        let (handler, isSecond) = state.withLock { state in
            defer { state.signal = state.signal ?? signal }
            return (state.handler, state.signal != nil)
        }
        if isSecond { exit(128 + signal.rawValue) }
        handler?()
    }
}
