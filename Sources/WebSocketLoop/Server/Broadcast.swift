//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

/// A message whose frame is built once for all the connections that it goes to, and compressed once for all those that
/// agreed on a window of the same size.
package final class EncodedMessage: Sendable {
    package let message: WebSocketMessage
    /// The whole frame, unmasked.
    let frame: [UInt8]
    private struct Settings: Hashable {
        let windowBits: Int
        let level: Int
        let memoryLevel: Int
    }
    private let compressed = Mutex<[Settings: [UInt8]]>([:])

    package init(_ message: WebSocketMessage) {
        self.message = message
        var frame: [UInt8] = []
        unsafe message.withBytes { unsafe frame = Self.frame(message.kind, $0, compressed: false) }
        self.frame = frame
    }

    private static func frame(
        _ kind: WebSocketMessage.Kind, _ payload: UnsafeRawBufferPointer, compressed: Bool
    ) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: FrameEncoder.maximumHeaderBytes + payload.count) { buffer, count in
            let start = UnsafeMutableRawPointer(buffer.baseAddress!)
            count = unsafe FrameEncoder.writeHeader(
                kind == .text ? .text : .binary, compressed: compressed, payloadBytes: payload.count, maskKey: nil,
                to: start)
            if let base = payload.baseAddress {
                unsafe (start + count).copyMemory(from: base, byteCount: payload.count)
            }
            count += payload.count
        }
    }

    /// The frame as this connection's peer can read it, whatever it has read before: nothing in it refers back.
    func frame(for deflater: Deflater) -> [UInt8] {
        let settings = Settings(
            windowBits: deflater.windowBits, level: deflater.level, memoryLevel: deflater.memoryLevel)
        return compressed.withLock { known in
            if let frame = known[settings] { return frame }
            var frame = self.frame
            var options = WebSocketCompression.Deflate()
            options.level = settings.level
            options.memoryLevel = settings.memoryLevel
            if let own = Deflater(windowBits: settings.windowBits, resets: true, options: options) {
                var scratch = ScratchBuffer()
                unsafe message.withBytes { payload in
                    guard let count = unsafe own.compress(payload, into: &scratch) else { return }
                    frame = unsafe Self.frame(
                        message.kind,
                        UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(scratch.memory)[..<count]),
                        compressed: true)
                }
            }
            known[settings] = frame
            return frame
        }
    }
}

/// What happens to a broadcast for a peer that does not keep up.
package struct BroadcastLimits: Sendable {
    package enum SlowPeer: Sendable { case drop, keepLatest, disconnect }
    /// Bytes that may wait for one peer.
    package var bytes: Int
    package var slowPeer: SlowPeer

    package init(bytes: Int, slowPeer: SlowPeer) {
        self.bytes = bytes
        self.slowPeer = slowPeer
    }

    /// How many of them may be frames that go out in any case. What may still be replaced needs room beside them.
    var bytesInFrames: Int {
        switch slowPeer {
        case .drop, .disconnect: bytes
        case .keepLatest: bytes / 2
        }
    }
}

/// What became of a broadcast at each connection.
package struct BroadcastCounts: Sendable {
    package var sent = 0
    package var dropped = 0
    package var replaced = 0
    package var disconnected = 0

    package init() {}

    package enum Outcome: Sendable { case sent, kept, replaced, dropped, disconnected, closed }

    package mutating func note(_ outcome: Outcome) {
        switch outcome {
        case .sent: sent += 1
        // It goes out later, unless a newer one takes its place.
        case .kept: sent += 1
        case .replaced: replaced += 1
        case .dropped: dropped += 1
        case .disconnected: disconnected += 1
        case .closed: break
        }
    }
}

extension Connection {
    /// Takes a broadcast, whatever `send` waits for. Never suspends. On the loop.
    package func broadcast(
        _ message: EncodedMessage, _ limits: BroadcastLimits, key: String
    ) -> BroadcastCounts.Outcome {
        guard canSend else { return .closed }
        let waiting = outbound.waitingBytes + (serverSide?.heldBytes ?? 0)
        // One message goes in any case, or one that is larger than the limit never would.
        let isSlow = waiting > 0 && waiting + message.frame.count > limits.bytesInFrames
        switch limits.slowPeer {
        case _ where !isSlow && serverSide?.hasLatest(for: key) != true:
            take(message)
            return .sent
        case .keepLatest:
            switch side.keepLatest(message, for: key, room: limits.bytes - waiting) {
            case .kept: return .kept
            case .replaced:
                outbound.pressure.broadcastsDropped += 1
                return .replaced
            // What the peer has of the topic would be stale, without its knowing.
            case .full: return sendAway()
            }
        case .drop where isSlow:
            outbound.pressure.broadcastsDropped += 1
            return .dropped
        case .disconnect where isSlow: return sendAway()
        case .drop, .disconnect:
            take(message)
            return .sent
        }
    }

    private func sendAway() -> BroadcastCounts.Outcome {
        close(WebSocketCloseFrame(code: .policyViolation, reason: "reads too slowly"), nil)
        return .disconnected
    }

    /// Between the frames of a message that goes out in parts nothing but control frames may go (RFC 6455 §5.4).
    private func take(_ message: EncodedMessage) {
        guard !outbound.isReserved, serverSide?.heldBytes ?? 0 == 0 else { return side.hold(message) }
        append(message)
        // One turn may bring all peers a large message. What they take at once need not wait for the turn's end.
        guard loop.memory.mustFlush(message.frame.count), !turnState.mustAnswerClose else { return }
        sendPongFirst()
        flush()
        checkOutboundMemory()
    }

    var isSendingParts: Bool { outbound.isReserved }

    var hasRoomForBroadcast: Bool {
        machine.canSend && !outbound.isReserved && outbound.bytes <= options.outboundBuffer.lowBytes
    }

    func append(_ message: EncodedMessage) {
        // A client masks each frame with a key of its own.
        if isClient { return unsafe message.message.withBytes { unsafe append(message.message.kind, $0) } }
        outbound.noteMessage()
        let frame: [UInt8]
        if let deflater = outbound.deflater, message.message.byteCount >= deflater.minimumSize {
            frame = message.frame(for: deflater)
            deflater.forgetHistory()
        } else {
            frame = message.frame
        }
        outbound.append(encoded: frame, from: &loop.frameMemory)
        outbound.noteFramed()
        noteAppended()
    }
}
