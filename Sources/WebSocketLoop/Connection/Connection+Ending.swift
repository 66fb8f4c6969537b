//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
import WebSocketCore

extension Connection {
    /// How long a peer that is to blame has to read the close frame. RFC 6455 §7.1.7 wants TCP closed without waiting for
    /// an answer, which libwebsockets would not find behind bytes that make no sense; Autobahn waits for one second.
    private static let momentToRead = Duration.milliseconds(500)

    /// Fails the connection: receivers are told at once, the peer gets the close frame and a moment to read it.
    func fail(
        _ frame: WebSocketCloseFrame?, isSentByLibrary: Bool = false, cause: WebSocketCloseInfo.Cause,
        error: WebSocketError
    ) {
        switch machine.fail(frame, cause: cause) {
        case .end(let frame):
            // Who does not answer pings is most likely not there. If it is, it finds the frame in front of the FIN.
            let moment = cause == .pingTimeout ? .zero : min(options.closeTimeout, Self.momentToRead)
            let senders = stopSending()
            outbound.closesByLibrary = isSentByLibrary
            if isSentByLibrary {
                startCloseTimer(at: loop.now &+ moment.nanoseconds)
            } else if let frame {
                queueClose(frame, flush: moment, patience: moment)
                flush()
            }
            // Told is what has happened: a frame behind bytes that the socket does not take has not been sent.
            let isSent = isSentByLibrary || liveness.isCloseWritten
            var error = error
            error.closeInfo = WebSocketCloseInfo(
                received: nil, sent: isSent ? frame : nil, receivedFirst: nil, cause: cause)
            tellTheEnd(.failed(error))
            refuse(senders)
            guard !isSentByLibrary else { return }
            if frame == nil { cut() } else { resumeReadingForClosing() }
        case .ignore: break
        }
    }

    /// Tells those who wait now, and those who ask later. The first end counts.
    func tellTheEnd(_ end: ConnectionEnd) {
        // Before any task can know of the end: one that has been told must not send with success.
        published.isOpen.store(false, ordering: .releasing)
        let waiters = arrivals.finish(end)
        noLongerSending()
        for waiter in waiters { waiter.resume(.failure(end.error)) }
        inbound.finish(end)
        for waiter in liveness.finish() { waiter.resume(.failure(end.error)) }
    }

    /// Ends without a closing handshake.
    package func abort() {
        guard closeInfo == nil else { return }
        fail(
            nil, cause: .aborted,
            error: WebSocketError(.connectionClosed, "the connection was aborted on this side; open a new one"))
        // Also when a close was under way.
        cut()
    }

    /// No task can use the connection any more. A close that this side has begun goes on, and its timer bounds it.
    package func forget() {
        if canSend || !canReceive { abort() }
    }

    func cut() {
        guard let wire else { return }
        if turnState.isInCallback { loop.killAtTurnEnd(self) } else { wire.kill() }
    }

    func startCloseTimer(at deadline: UInt64) {
        loop.cancel(timers.close)
        timers.close = schedule(at: deadline) { connection in
            connection.timers.close = nil
            if connection.outbound.isChoked { connection.outbound.closesByLibrary = false }
            let isWritten =
                connection.outbound.closesByLibrary
                || !connection.outbound.isChoked && !connection.liveness.isCloseWaiting
                    && connection.outbound.deflater?.underWay?.close == nil
            if case .end = connection.machine.closeTimedOut(isWritten: isWritten) { connection.cut() }
        }
    }

    func noLongerSending() { refuse(stopSending()) }

    /// Nothing is sent any more but the close frame. Returns who is to be told.
    private func stopSending() -> OutboundPath.WaitingSenders {
        published.isOpen.store(false, ordering: .releasing)
        loop.cancel(timers.keepAlive)
        loop.cancel(timers.probe)
        (timers.keepAlive, timers.probe) = (nil, nil)
        liveness.stopAsking()
        return outbound.finish(at: { loop.now })
    }

    private func refuse(_ senders: OutboundPath.WaitingSenders) {
        guard !senders.isEmpty else { return }
        let error = closedSendError()
        for pending in senders.messages { pending.waiter?.resume(.failure(error)) }
        for part in senders.parts { part.waiter.resume(.failure(error)) }
    }

    /// The last burst goes no further.
    private func settleHeldBurst() {
        // What the socket has not taken of a server's is with libwebsockets.
        guard let client, client.held.count > 0 else {
            _ = outbound.settle(nil)
            return
        }
        let sent = unsafe SentFrames(
            of: UnsafeRawBufferPointer(start: client.held.bytes, count: client.held.count), taken: client.taken)
        if outbound.settle(sent) > 0 { tellWritten() }
    }

    /// The wsi is gone.
    func end() {
        settleHeldBurst()
        dropBacklog()
        // libwebsockets does not tell that it has sent one.
        let isCloseWritten = outbound.closesByLibrary || liveness.isCloseWritten
        guard
            let info = machine.transportEnded(
                isCloseWritten: isCloseWritten, unsentMessages: outbound.unsentMessages,
                droppedMessages: inbound.messagesDropped)
        else { return }
        ends.info = info
        published.finalInfo.withLock { $0.wrappedValue = info }
        loop.cancel(client?.patience)
        loop.cancel(timers.close)
        timers.close = nil
        // Before any task is told: one that has waited for the end finds it in the registry too.
        loop.counters.connections.subtract(1)
        if loop.resources.crowd.left(open: loop.counters.connections.value) { HeapTrim.soon() }
        loop.counters.descriptors.subtract(1)
        tellTheEnd(.closed(info))
        dropCompression()
        client?.vhost.take()?.users -= 1
        inbound.releaseTakers()
        outbound.whenWritten = nil
        serverSide.take()?.ended(on: loop)
        releaseMemory()
        tell(ends.removeAll(), info)
    }

    private func tell(_ entries: [EndList.Entry], _ info: WebSocketCloseInfo) {
        var observers: [@Sendable (WebSocketCloseInfo) -> Void] = []
        for entry in entries {
            switch entry {
            case .action(let action): action()
            case .waiter(let waiter): waiter.resume(.success(info))
            case .observer(let observer): observers.append(observer)
            }
        }
        if !observers.isEmpty { tellSoon { for observer in observers { observer(info) } } }
    }
}
