//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// What receivers are told at the end. An error with its text is made only for those who ask: most connections end
/// with no task waiting.
///
/// An object, because every look at the inbound queue has room for an end. No enum of two references: it tells them apart
/// by the pointer's upper bits, and LeakSanitizer takes what only such a pointer holds for lost.
final class ConnectionEnd: Sendable {
    private let info: WebSocketCloseInfo?
    private let failure: WebSocketError?

    private init(info: WebSocketCloseInfo?, failure: WebSocketError?) {
        self.info = info
        self.failure = failure
    }

    static func closed(_ info: WebSocketCloseInfo) -> ConnectionEnd { ConnectionEnd(info: info, failure: nil) }
    static func failed(_ error: WebSocketError) -> ConnectionEnd { ConnectionEnd(info: nil, failure: error) }

    var error: WebSocketError {
        if let failure { return failure }
        guard let info else { preconditionFailure("an end is a close or a failure") }
        return .closed(info)
    }
}

/// How the connection ended, and those who are told, in the order in which they asked. Loop-confined.
struct EndList {
    enum Entry {
        /// Acts at once, so that what is told next finds it done.
        case action(() -> Void)
        /// Suspended until then.
        case waiter(LoopWaiter<WebSocketCloseInfo>)
        /// May do what it likes with this connection and others, so it is told outside libwebsockets' callbacks.
        case observer(@Sendable (WebSocketCloseInfo) -> Void)
    }
    /// `nil` until then.
    @Boxed var info: WebSocketCloseInfo?
    private var entries: [Entry] = []

    mutating func append(action: @escaping () -> Void) { entries.append(.action(action)) }
    mutating func append(waiter: LoopWaiter<WebSocketCloseInfo>) { entries.append(.waiter(waiter)) }
    mutating func append(observer: @escaping @Sendable (WebSocketCloseInfo) -> Void) {
        entries.append(.observer(observer))
    }

    /// The waiter under this number, which waits no longer.
    mutating func remove(id: UInt64) -> LoopWaiter<WebSocketCloseInfo>? {
        let index = entries.firstIndex { if case .waiter(let waiter) = $0 { waiter.id == id } else { false } }
        guard let index, case .waiter(let waiter) = entries.remove(at: index) else { return nil }
        return waiter
    }

    /// Those who are to be told now.
    mutating func removeAll() -> [Entry] {
        defer { entries = [] }
        return entries
    }
}
