//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

/// One message, read in the pieces in which it arrives. Loop-confined.
package final class IncomingPieces: @unchecked Sendable {
    fileprivate(set) package var kind = WebSocketMessage.Kind.binary
    private let connection: Connection
    /// What has arrived and was not read.
    private var unread: [UInt8] = []
    private var isComplete = false
    private var end: ConnectionEnd?
    private var readers = WaiterList<LoopWaiter<[UInt8]?>>()
    /// Whether the message was taken over while it arrived; otherwise it comes whole.
    fileprivate var isLive = false
    fileprivate var isAbandoned = false

    fileprivate init(_ connection: Connection) { self.connection = connection }

    var unreadBytes: Int { unread.count }
    /// Whether a reader still has to read something of it.
    fileprivate var isOpen: Bool { !isAbandoned && end == nil && !(isComplete && unread.isEmpty) }

    /// The next piece, never empty; `nil` after the last one. Pieces of a text end with whole characters.
    package func next() async throws(WebSocketError) -> [UInt8]? {
        try await connection.loop.wait(
            for: "receive",
            register: { waiter in
                if let piece = self.take() {
                    waiter.resume(.success(piece))
                    self.connection.piecesWereRead(self)
                } else if self.isComplete {
                    waiter.resume(.success(nil))
                } else if let end = self.end {
                    waiter.resume(.failure(end.error))
                } else {
                    self.readers.append(id: waiter.id, waiter)
                }
            }, cancel: { self.readers.remove(id: $0) })
    }

    /// The reader has left: what is still to come of the message is thrown away when it comes.
    package func abandon() {
        guard connection.loop.execute({ self.abandonOnLoop() }) else { return }
    }

    private func abandonOnLoop() {
        isAbandoned = true
        unread = []
        connection.piecesWereRead(self)
    }

    fileprivate func set(whole message: WebSocketMessage) {
        kind = message.kind
        unread = message.bytes
        isComplete = true
    }

    fileprivate func append(_ bytes: [UInt8]) {
        guard !isAbandoned, !bytes.isEmpty else { return }
        if unread.isEmpty { unread = bytes } else { unread += bytes }
        serveReaders()
    }

    fileprivate func complete() {
        isComplete = true
        serveReaders()
        for reader in readers.removeAll() { reader.resume(.success(nil)) }
    }

    fileprivate func fail(_ end: ConnectionEnd) {
        self.end = end
        for reader in readers.removeAll() { reader.resume(.failure(end.error)) }
    }

    private func serveReaders() {
        guard !readers.isEmpty, let piece = take() else { return }
        readers.popFirst()?.resume(.success(piece))
    }

    private func take() -> [UInt8]? {
        let count = kind == .text && !isComplete ? unread.count - unread.openCharacterBytes : unread.count
        guard count > 0 else { return nil }
        defer { unread.removeFirst(count) }
        return count == unread.count ? unread : Array(unread[..<count])
    }
}

extension [UInt8] {
    /// How many bytes at the end belong to a character that is not complete. The bytes before are valid UTF-8.
    fileprivate var openCharacterBytes: Int {
        for back in 1...4 where back <= count {
            let byte = self[count - back]
            if byte & 0xC0 == 0x80 { continue }
            let length = byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4
            return length > back ? back : 0
        }
        return 0
    }
}

/// Who reads messages in pieces. Loop-confined.
struct PieceReceivers {
    /// Those who wait for a message, by the number under which they wait in the queue of receivers.
    fileprivate var waiting: [UInt64: IncomingPieces] = [:]
    /// Whose message is arriving.
    fileprivate(set) var current: IncomingPieces?
    /// Whose message has arrived, at least in part, and is not read to its end.
    fileprivate var unfinished: IncomingPieces?
    var isUnfinished: Bool { unfinished != nil }
    /// Nothing is read from the socket because no task reads the pieces.
    var isPaused = false

    fileprivate mutating func wait(_ reader: IncomingPieces, id: UInt64) { waiting[id] = reader }

    fileprivate mutating func forget(_ reader: IncomingPieces) {
        guard let place = waiting.first(where: { $0.value === reader })?.key else { return }
        waiting[place] = nil
    }

    /// The message under way is this reader's.
    fileprivate mutating func begin(_ reader: IncomingPieces) {
        current = reader
        unfinished = reader
    }

    /// The message has arrived whole.
    fileprivate mutating func complete() { current = nil }

    /// Whether this is the reader whose message is not read to its end.
    fileprivate func isUnfinished(_ reader: IncomingPieces) -> Bool { unfinished === reader }

    /// The reader has taken something, or has left. When nothing more comes for it, others have their turn.
    fileprivate mutating func noteRead(_ reader: IncomingPieces) {
        if !reader.isOpen, unfinished === reader, current !== reader { unfinished = nil }
    }

    mutating func end(_ end: ConnectionEnd) {
        waiting = [:]
        current.take()?.fail(end)
        unfinished = nil
    }
}

extension Connection {
    /// Whether nothing is read because no task reads a message in pieces; and how much of it is held. On the loop.
    package var isPausedForPieces: Bool { inbound.isPausedForPieces }
    package var unreadPieceBytes: Int { inbound.pieces?.unfinished?.unreadBytes ?? 0 }

    /// This many unread bytes of a message in pieces pause reading.
    private var pieceMark: Int { min(options.inboundBuffer.highBytes, 256 << 10) }

    /// The next message, in the pieces in which it arrives; waits until it begins.
    package func receivePieces() async throws(WebSocketError) -> IncomingPieces {
        let reader = IncomingPieces(self)
        defer { loop.execute { self.forget(reader) } }
        let message = try await loop.wait(
            for: "receive", register: { self.register(reader, $0) },
            cancel: { self.arrivals.cancel(id: $0) })
        if !reader.isLive { reader.set(whole: message) }
        return reader
    }

    private func register(_ reader: IncomingPieces, _ waiter: LoopWaiter<WebSocketMessage>) {
        let isUnderWay = inbound.hasUnclaimedMessage && inbound.messageHandler == nil
        if inbound.pieces == nil { inbound.pieces = PieceReceivers() }
        switch popOrWait(id: waiter.id, takesPieces: isUnderWay, { waiter }) {
        case .message(let message, _): waiter.resume(.success(message))
        case .ended(let end): waiter.resume(.failure(end.error))
        case .underWay: start(reader, waiter)
        case .waits, .cancelled: inbound.pieces?.wait(reader, id: waiter.id)
        }
    }

    private func forget(_ reader: IncomingPieces) { inbound.pieces?.forget(reader) }

    /// A message begins that is not complete: the next receiver may want it in pieces.
    func claimPieces() {
        guard let waiting = inbound.pieces?.waiting, !waiting.isEmpty, inbound.messageHandler == nil else { return }
        if let (reader, waiter) = arrivals.claim(waiting) { start(reader, waiter) }
    }

    private func start(_ reader: IncomingPieces, _ waiter: LoopWaiter<WebSocketMessage>) {
        reader.isLive = true
        reader.kind = inbound.assembler.kind ?? .binary
        inbound.pieces?.begin(reader)
        // What it holds is not looked at: the message comes through the reader.
        waiter.resume(.success(""))
        passPieces(to: reader)
    }

    /// More of the message has arrived.
    func passPieces(to reader: IncomingPieces) {
        reader.append(inbound.assembler.takePieces())
        // The peer is not slowed down while the connection closes.
        guard reader.unreadBytes >= pieceMark, inbound.pieces?.isPaused == false, canSend else { return }
        inbound.pieces?.isPaused = true
        pauseReading()
    }

    /// More of the message has arrived, whichever task reads it.
    func passPiecesOn() {
        if let reader = inbound.pieces?.current { passPieces(to: reader) }
    }

    /// The message is complete.
    func finishPieces(_ reader: IncomingPieces) throws(MessageAssembler.Violation) {
        reader.append(try inbound.finishPieces())
        noteArrived()
        inbound.pieces?.complete()
        reader.complete()
        piecesWereRead(reader)
    }

    /// The reader has taken something, or has left.
    fileprivate func piecesWereRead(_ reader: IncomingPieces) {
        if inbound.isPausedForPieces, inbound.pieces?.isUnfinished(reader) == true, reader.unreadBytes < pieceMark / 2 {
            inbound.pieces?.isPaused = false
            resumeReading()
        }
        checkPartialMemory()
        inbound.pieces?.noteRead(reader)
        noteInboundPartial()
    }

    /// The next user of the connection must not find a part of a message, or a reader that holds it up.
    func noteInboundPartial() {
        published.isInboundPartial.store(inbound.isPartial, ordering: .releasing)
    }
}
