//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSockets

/// What an application saw of numbered deltas, each a text of its channel and its number, or of the number alone: holes that
/// no gap told of before, and deltas that came twice.
struct SessionLedger: Sendable {
    private(set) var last: [Substring: Int] = [:]
    private var mayMiss: Set<Substring> = []
    private(set) var delivered = 0
    private(set) var untold = 0
    private(set) var doubled = 0
    private(set) var gaps = 0
    private(set) var connects = 0
    private(set) var renewals = 0
    private(set) var ends = 0

    mutating func take(_ event: WebSocketSessionEvent) {
        switch event {
        case .message(.text(let text)):
            let words = text.split(separator: " ")
            guard let number = words.last.flatMap({ Int($0) }) else { return }
            let channel = words.count > 1 ? words[0] : ""
            delivered += 1
            if let last = last[channel] {
                if number <= last { doubled += 1 }
                if number > last + 1, !mayMiss.contains(channel) { untold += 1 }
            }
            last[channel] = max(last[channel] ?? number, number)
            mayMiss.remove(channel)
        case .gap:
            gaps += 1
            mayMiss = Set(last.keys)
        case .connected: connects += 1
        case .renewed: renewals += 1
        case .disconnected: ends += 1
        case .message, .subscription, .alert: break
        }
    }
}
