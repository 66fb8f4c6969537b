//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

// Handlers of messages, and what a pool asks of a connection that goes from one user to the next.
extension Connection {
    /// A handler is about to be set. From any thread.
    package func claimInbound() { published.isInboundHandled.store(true, ordering: .relaxed) }

    /// Messages go to `handler`, on the loop, as they arrive; what was buffered goes first.
    package func setMessageHandler(_ handler: @escaping MessageHandler) {
        if let replies = inbound.replies { replies.handler = handler } else { inbound.messageHandler = handler }
        published.isInboundHandled.store(true, ordering: .relaxed)
        // The handler may want no more in the middle of this.
        while hasMessageHandler {
            switch arrivals.pop() {
            case .message(let message, let resume):
                unsafe message.withBytes { unsafe handler($0.bytes, message.kind) }
                if resume { messagesWereTaken() }
            case .ended, .empty: return
            }
        }
    }

    private var hasMessageHandler: Bool {
        if let replies = inbound.replies { replies.handler != nil } else { inbound.messageHandler != nil }
    }

    /// Messages wait for `receive`, or for another handler, and reading pauses at the buffer's mark. On the loop.
    package func removeMessageHandler() {
        if let replies = inbound.replies { replies.handler = nil } else { inbound.messageHandler = nil }
        published.isInboundHandled.store(false, ordering: .relaxed)
    }

    /// No task reads any more: control frames are dealt with, and a message ends the connection.
    package func closeReading() {
        inbound.refusesMessages = true
        setMessageHandler { [unowned self] _, _ in refuseMessage() }
        if inbound.hasUnclaimedMessage { refuseMessage() }
        // Nothing piles up now, and the peer's close has to be seen.
        resumeReading()
    }

    /// Whether messages can still be sent, as far as the loop has seen. From any thread.
    package var isUsable: Bool { published.isOpen.load(ordering: .acquiring) }

    /// Messages sent, less those that have arrived whole. From any thread.
    package var exchangeBalance: Int { published.balance.load(ordering: .acquiring) }

    /// Whether messages of this side are still on their way to the loop. From any thread.
    package var hasPromisedMessages: Bool { published.promisedBytes.load(ordering: .acquiring) != 0 }

    /// Whether a caller that takes the connection over would find something of its former user: messages, a part of
    /// one, receivers that wait for one, or a message handler. From any thread, as cheap as it looks.
    package var hasInboundResidue: Bool {
        !arrivals.isEmpty || published.isInboundPartial.load(ordering: .acquiring)
            || published.isInboundHandled.load(ordering: .relaxed)
    }

    /// Whether messages that come have a taker already: a handler, or a receiver that waits.
    package var isInboundClaimed: Bool {
        published.isInboundHandled.load(ordering: .relaxed) || arrivals.hasReceivers
    }
}
