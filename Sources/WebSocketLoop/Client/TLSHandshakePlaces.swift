//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// How many of a loop's clients shake hands over TLS at the same time. Each needs a second descriptor until it is done,
/// so thousands that connect at once would need twice what they need afterwards. The others wait, connected, and their
/// own deadlines go on.
struct TLSHandshakePlaces {
    private static let count = 256

    private var taken = 0
    /// In the order in which they came. One that ends while it waits stays until its turn.
    private var waiting: [ClientAttempt] = []
    private var first = 0

    /// `false` when there is none left; `next()` names the attempt when its turn comes.
    mutating func take(for attempt: ClientAttempt) -> Bool {
        guard taken >= Self.count else {
            taken += 1
            return true
        }
        waiting.append(attempt)
        return false
    }

    /// Gives a place back.
    /// - Returns: Who has it now.
    mutating func next() -> ClientAttempt? {
        while first < waiting.count {
            let attempt = waiting[first]
            first += 1
            if !attempt.isOver { return attempt }
        }
        waiting.removeAll()
        first = 0
        taken -= 1
        return nil
    }
}
