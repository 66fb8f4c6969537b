//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// What a client's connection has of the wire, where libwebsockets only reads and decrypts. A server's has none of it.
final class ClientWire {
    @safe @exclusivity(unchecked) var parser: FrameParser
    /// Nothing that arrives is looked at any more: the peer's close frame has come, or what cannot be parsed.
    @safe @exclusivity(unchecked) var ignoresInput = false
    /// What could not be parsed, until what came before it has been dealt with.
    var violation: FrameParser.Violation?
    /// How long that may take.
    var patience: WebSocketEventLoop.TimerToken?
    /// The burst that the socket has taken a part of, and how much.
    @safe @exclusivity(unchecked) var held = FrameBuffer()
    @safe @exclusivity(unchecked) var taken = 0
    /// The last ping that came while the socket took nothing: its pong answers those before it, too (RFC 6455 §5.5.3).
    var unanswered: [UInt8]?
    /// Nothing more is sent behind what is queued.
    var isFinishing = false
    var isFinished = false
    /// Which counts those that use it.
    var vhost: Vhost?

    init(allowsCompression: Bool) {
        parser = FrameParser(role: .client, allowsCompression: allowsCompression)
    }
}

// MARK: In

extension Connection {
    func takeControl(_ frame: FrameParser.Control, _ payload: UnsafeRawBufferPointer, _ client: ClientWire) {
        switch frame {
        case .ping: unsafe answerPing(payload, client)
        case .pong: unsafe takePong(payload)
        case .close: _ = unsafe takeClose(payload)
        }
    }

    /// A turn is over, in which a frame may have come that no peer may send. The messages in front of it are received
    /// and answered first, as if it had come in another read, as far as that takes no longer than a moment.
    func failLate(_ client: ClientWire) {
        guard client.violation != nil else { return }
        guard arrivals.messageCount > 0 else { return fail(client) }
        if client.patience == nil {
            client.patience = schedule(at: loop.now &+ Self.momentToAnswer) { $0.fail(client) }
        }
    }

    private static let momentToAnswer: UInt64 = 250_000_000

    private func fail(_ client: ClientWire) {
        loop.cancel(client.patience)
        client.patience = nil
        guard let violation = client.violation.take(), canReceive else { return }
        self.violation(violation.closeCode, violation.text)
    }

    /// What the server has sent behind its answer.
    func receiveEarly(_ bytes: UnsafeRawBufferPointer) {
        if unsafe received(bytes) != 0 { loop.killAtTurnEnd(self) }
    }

    private func answerPing(_ payload: UnsafeRawBufferPointer, _ client: ClientWire) {
        guard canSend else { return }
        // A peer that pings and does not read must not make a queue of pongs.
        if outbound.isChoked {
            client.unanswered = unsafe Array(payload)
        } else {
            unsafe appendControl(.pong, payload)
        }
    }
}

// MARK: Out

extension Connection {
    /// What came while the socket took nothing gets its answer.
    func answerLatePing(_ client: ClientWire) {
        guard let payload = client.unanswered.take(), canSend else { return }
        unsafe payload.withUnsafeBytes { unsafe appendControl(.pong, $0) }
    }

    /// Both close frames are exchanged, or the connection has failed: this side's half ends behind what is queued, and the
    /// server ends the connection (RFC 6455 §7.1.1).
    func finishSending(_ client: ClientWire) {
        client.isFinishing = true
        flush()
        finishSendingIfDone(client)
    }

    func finishSendingIfDone(_ client: ClientWire) {
        guard client.isFinishing, !client.isFinished, outbound.isFlushed, let wire else { return }
        client.isFinished = true
        wire.finishSending()
        startCloseTimer(at: loop.now &+ min(options.closeTimeout, Self.lingerTime).nanoseconds)
    }

    /// How long a server has to end a connection whose closing handshake is done.
    private static let lingerTime = Duration.seconds(1)
}
