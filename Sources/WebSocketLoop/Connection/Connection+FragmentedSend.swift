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
                let now = self.loop.now
                switch message.isStarted {
                case true where self.outbound.takesPart: self.append(part)
                case true: self.outbound.wait(part, at: now)
                case false where self.outbound.hasRoom: self.begin(part)
                case false:
                    self.outbound.wait(PendingSend(content: .part(part), waiter: waiter), id: waiter.id, at: now)
                }
            },
            cancel: { self.outbound.cancel(id: $0, at: self.loop.now) })
    }

    func begin(_ part: WaitingPart) {
        outbound.reserve()
        part.message.isStarted = true
        append(part)
    }

    /// The message has the connection to itself, and there is room.
    func append(_ part: WaitingPart) {
        let message = part.message
        precondition(!message.isFinished, "nothing can follow the last part of a message")
        let isFirst = !message.hasFrames
        message.hasFrames = true
        let deflater = outbound.deflater
        if isFirst, let deflater, message.compression != .never { message.isCompressed = deflater.begin() }
        if message.isCompressed, let deflater {
            let compressed = unsafe part.bytes.withUnsafeBytes { bytes in
                unsafe compressAndAppend(.part(part, isFirst: isFirst), bytes, deflater)
            }
            guard case .framed = compressed else { return }
        } else {
            appendFrame(part.opcode(isFirst: isFirst), final: part.isLast, compressed: false, part.bytes)
        }
        finish(part)
    }

    /// The part's frame is there.
    func finish(_ part: WaitingPart) {
        if part.isLast {
            part.message.isFinished = true
            outbound.noteFramed()
            published.countSent()
            outbound.endReservation()
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
