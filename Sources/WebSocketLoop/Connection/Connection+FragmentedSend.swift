//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketCore

/// A message that goes out in several frames (RFC 6455 §5.4). Loop-confined once it was given to the connection.
package final class OutgoingParts: @unchecked Sendable {
    let kind: WebSocketMessage.Kind
    let compression: WebSocketMessageCompression
    fileprivate var isStarted = false
    fileprivate var hasFrames = false
    fileprivate var isFinished = false
    fileprivate var isCompressed = false

    package var isText: Bool { kind == .text }

    package init(_ kind: WebSocketMessage.Kind, compression: WebSocketMessageCompression) {
        self.kind = kind
        self.compression = compression
    }
}

/// A part whose sender waits for room.
struct WaitingPart: Sendable {
    let bytes: [UInt8]
    let isLast: Bool
    let message: OutgoingParts
    let waiter: LoopWaiter<Void>

    func opcode(isFirst: Bool) -> FrameEncoder.Opcode {
        isFirst ? (message.kind == .text ? .text : .binary) : .continuation
    }
}

extension Connection {
    /// Sends the next part as a frame of its own, and waits for room before. From the first part to the last one the
    /// messages of others wait; control frames do not.
    package func send(part: [UInt8], isLast: Bool, of message: OutgoingParts) async throws(WebSocketError) {
        try await loop.wait(
            for: "send",
            register: { (waiter: LoopWaiter<Void>) in
                guard self.requireOpen(waiter) else { return }
                let part = WaitingPart(bytes: part, isLast: isLast, message: message, waiter: waiter)
                if message.isStarted {
                    if self.outbound.hasReservedRoom && self.waitingParts.isEmpty && !self.isCompressing {
                        self.append(part)
                    } else {
                        self.pressure.beginWait(at: self.loop.now)
                        self.waitingParts.append(id: waiter.id, part)
                    }
                } else if self.outbound.hasRoom {
                    self.begin(part)
                } else {
                    self.pressure.beginWait(at: self.loop.now)
                    self.outbound.wait(id: waiter.id, PendingSend(content: .part(part), waiter: waiter))
                }
            },
            cancel: { id in
                guard let part = self.waitingParts.remove(id: id) else { return self.stopWaiting(id: id) }
                self.pressure.endWait(at: self.loop.now)
                return part.waiter
            })
    }

    func begin(_ part: WaitingPart) {
        outbound.reserve()
        part.message.isStarted = true
        append(part)
    }

    /// The socket has taken enough for the sender with the reservation to go on.
    func admitParts() {
        while outbound.hasReservedRoom && !isCompressing, let part = waitingParts.popFirst() {
            pressure.endWait(at: loop.now)
            append(part)
        }
    }

    private var isCompressing: Bool { deflater?.underWay != nil }

    private func append(_ part: WaitingPart) {
        let message = part.message
        precondition(!message.isFinished, "nothing can follow the last part of a message")
        let isFirst = !message.hasFrames
        message.hasFrames = true
        if isFirst, let deflater, message.compression != .never { message.isCompressed = deflater.begin() }
        let opcode = part.opcode(isFirst: isFirst)
        if message.isCompressed, let deflater {
            guard mayCompressNow(part.bytes.count, deflater) || !hasLaterTurns else {
                return compressLater(.part(part, isFirst: isFirst), part.bytes, deflater)
            }
            unsafe part.bytes.withUnsafeBytes { bytes in
                let count = unsafe deflater.compress(part: bytes, isLast: part.isLast, into: &loop.scratch)
                // Only the first frame says that the message is compressed (RFC 7692 §6.1).
                appendScratch(opcode, final: part.isLast, compressed: isFirst, count)
            }
        } else {
            appendFrame(opcode, final: part.isLast, compressed: false, part.bytes)
        }
        finish(part)
    }

    /// The part's frame is there.
    func finish(_ part: WaitingPart) {
        if part.isLast {
            part.message.isFinished = true
            noteFramed()
            noteSent()
            endReservation()
            admit()
        }
        part.waiter.resume(.success(()))
    }

    /// The sender gives up. What was sent of the message cannot be taken back, so the connection fails; if nothing was
    /// sent, nothing happens.
    package func abandon(_ message: OutgoingParts) {
        guard message.isStarted, !message.isFinished, canSend else { return }
        let text = "a message was not completed"
        fail(
            WebSocketCloseFrame(code: .internalError, reason: text), cause: .aborted,
            error: WebSocketError(
                .connectionClosed,
                "\(text) by the one who sent it in parts, which cannot be mended; the connection was closed with 1011"))
    }
}
