//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

/// A request whose reply has not come. Loop-confined.
final class PendingReply: @unchecked Sendable {
    let matches: @Sendable (WebSocketMessage) -> Bool
    private var reply: WebSocketMessage?
    private var end: ConnectionEnd?
    private var waiter: LoopWaiter<WebSocketMessage>?

    init(_ matches: @escaping @Sendable (WebSocketMessage) -> Bool) { self.matches = matches }

    func wait(_ waiter: LoopWaiter<WebSocketMessage>) {
        if let reply = reply.take() {
            waiter.resume(.success(reply))
        } else if let end {
            waiter.resume(.failure(end.error))
        } else {
            self.waiter = waiter
        }
    }

    func takeWaiter() -> LoopWaiter<WebSocketMessage>? { waiter.take() }

    /// A reply that came before its caller waited, and that no caller will take.
    func takeReply() -> WebSocketMessage? { reply.take() }

    func fulfil(_ message: WebSocketMessage) {
        if let waiter = waiter.take() { waiter.resume(.success(message)) } else { reply = message }
    }

    func fail(_ end: ConnectionEnd) {
        self.end = end
        waiter.take()?.resume(.failure(end.error))
    }
}

/// Requests in the order in which they were made. Loop-confined.
final class PendingReplies {
    var entries: [PendingReply] = []
    /// Where messages go that answer none of them, if not to those who call `receive`.
    var handler: Connection.MessageHandler?

    init(handler: Connection.MessageHandler?) { self.handler = handler }

    func end(_ end: ConnectionEnd) {
        for entry in entries { entry.fail(end) }
        entries = []
    }
}

extension Connection {
    /// Sends a message and waits for the first one for which `matches` says yes; all others go their usual way.
    package func request(
        _ message: WebSocketMessage, timeout: Duration?, matches: @escaping @Sendable (WebSocketMessage) -> Bool
    ) async throws(WebSocketError) -> WebSocketMessage {
        let reply = PendingReply(matches)
        // Before the message goes out, so that no reply is too quick.
        guard loop.execute({ self.install(reply) }) else { throw closedSendError() }
        let timer = LoopTimer(loop)
        defer {
            timer.cancel()
            loop.execute { self.remove(reply) }
        }
        try await send(message, compression: .automatic)
        return try await loop.wait(
            for: "request",
            register: { waiter in
                reply.wait(waiter)
                guard let timeout else { return }
                timer.start(timeout) {
                    self.remove(reply)
                    reply.takeWaiter()?.resume(
                        .failure(
                            WebSocketError(
                                .timedOut, "no reply came within \(timeout); a late one goes to receive",
                                phase: .receive)))
                }
            },
            cancel: { _ in
                // At once: a reply that comes from here on belongs to others.
                self.remove(reply)
                return reply.takeWaiter()
            })
    }

    private func install(_ reply: PendingReply) {
        if let replies = inbound.replies {
            replies.entries.append(reply)
            return
        }
        let replies = PendingReplies(handler: inbound.messageHandler)
        replies.entries.append(reply)
        inbound.replies = replies
        // In the place of a message handler: while there is no request, nothing has to ask for one.
        inbound.messageHandler = { [unowned self] bytes, kind in sort(bytes, kind) }
    }

    private func remove(_ reply: PendingReply) {
        inbound.replies?.entries.removeAll { $0 === reply }
        stopSorting()
        if let message = reply.takeReply() { deliver(message) }
    }

    private func stopSorting() {
        guard let replies = inbound.replies, replies.entries.isEmpty, closeInfo == nil else { return }
        inbound.messageHandler = replies.handler
        inbound.replies = nil
    }

    private func sort(_ bytes: borrowing RawSpan, _ kind: WebSocketMessage.Kind) {
        let message: WebSocketMessage = unsafe bytes.withUnsafeBytes { bytes in
            // Text was checked on its way here.
            kind == .text ? .text(unsafe String(decoding: bytes, as: UTF8.self)) : .binary(unsafe [UInt8](bytes))
        }
        if let replies = inbound.replies {
            if let index = replies.entries.firstIndex(where: { $0.matches(message) }) {
                replies.entries.remove(at: index).fulfil(message)
                stopSorting()
                return
            }
            if let handler = replies.handler {
                handler(bytes, kind)
                return
            }
        }
        enqueue(message)
    }
}
