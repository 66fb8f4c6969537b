//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// Something to send that waits for room.
struct PendingSend: Sendable {
    enum Content {
        case message(WebSocketMessage, WebSocketMessageCompression)
        /// The first part of a message in several frames.
        case part(WaitingPart)
        /// Nothing: the sender only wants to hear that there is room.
        case room
    }
    let content: Content
    /// `nil` when the message was accepted already and only has to keep its place.
    let waiter: LoopWaiter<Void>?

    /// Whether a sender waits for it.
    var isWaited: Bool {
        switch content {
        case .message: waiter != nil
        case .part, .room: true
        }
    }
}

/// The way of messages out of one connection: frames, the bursts in which they go to the socket, and the senders that
/// wait for room. Loop-confined. Holds no socket and no clock: what the socket has taken, and times in nanoseconds,
/// come in with the events.
struct OutboundPath: ~Copyable {
    let deflater: Deflater?
    /// The next burst.
    private(set) var frames = FrameBuffer()
    private var queue: OutboundQueue<PendingSend>
    /// The socket has not taken all of the last burst; nothing more is handed to it until it has.
    private(set) var isChoked = false
    /// libwebsockets sends the close frame, behind what it holds.
    var closesByLibrary = false
    /// Grows with every message that is sent. Wraps, as the next one does.
    private var queued: UInt32 = 0
    /// Grows with everything that a socket takes that took nothing before.
    private(set) var taken: UInt32 = 0
    private var messagesInFrames = 0
    /// What is in the burst of which the socket has not taken all.
    private var bytesHeld = 0
    private var messagesHeld = 0
    /// Messages that were accepted and are in no frame yet.
    private var messagesQueued = 0
    /// What the operating system has taken whole.
    private(set) var messagesWritten = 0
    private(set) var bytesWritten = 0
    /// At the end: messages of a burst of which the operating system had taken a part.
    private(set) var messagesInDoubt = 0
    /// Told the new count of `messagesWritten`.
    var whenWritten: (@Sendable (Int) -> Void)?
    /// Parts of a message that wait for room.
    private var waitingParts = WaiterList<WaitingPart>()
    var pressure = ConnectionPressure()

    init(deflater: Deflater?, marks: WebSocketOptions.OutboundBuffer) {
        self.deflater = deflater
        queue = OutboundQueue(marks: marks)
    }

    // MARK: Room

    /// Whether a message may be taken now.
    @inline(__always)
    var hasRoom: Bool { queue.hasRoom }
    /// Bytes that wait for the operating system; more than any mark while a sender has the connection to itself.
    @inline(__always)
    var bytes: Int { queue.bytes }
    /// The bytes that really wait.
    var waitingBytes: Int { queue.waitingBytes }
    /// Whether a message is going out that others must not interrupt.
    var isReserved: Bool { queue.isReserved }
    /// Whether a message that is accepted now has to keep its place behind others.
    var isQueueing: Bool { queue.isQueueing }
    /// Whether a message is being compressed, over several turns.
    var isCompressing: Bool { deflater?.underWay != nil }
    /// Whether the next part of a message in several frames may go at once.
    var takesPart: Bool { queue.hasReservedRoom && waitingParts.isEmpty && !isCompressing }

    /// A sender waits for room.
    mutating func wait(_ pending: PendingSend, id: UInt64, at now: UInt64) {
        pressure.beginWait(at: now)
        queue.wait(id: id, pending)
    }

    mutating func wait(_ part: WaitingPart, at now: UInt64) {
        pressure.beginWait(at: now)
        waitingParts.append(id: part.waiter.id, part)
    }

    /// A message of another thread, whose sender does not wait any more, keeps its place.
    mutating func wait(accepted message: WebSocketMessage, id: UInt64) {
        messagesQueued += 1
        queue.wait(id: id, PendingSend(content: .message(message, .automatic), waiter: nil))
    }

    /// The sender under this number, which waits no longer; `nil` when it does not wait.
    mutating func cancel(id: UInt64, at now: UInt64) -> LoopWaiter<Void>? {
        guard let waiter = waitingParts.remove(id: id)?.waiter ?? queue.cancel(id: id)?.waiter else { return nil }
        pressure.endWait(at: now)
        return waiter
    }

    /// A message is going out that others must not interrupt, until `endReservation`.
    mutating func reserve() { queue.reserve() }
    mutating func endReservation() { queue.endReservation() }

    /// A whole message is being compressed, over several turns.
    mutating func compressesMessage() {
        reserve()
        messagesQueued += 1
    }

    mutating func hasCompressedMessage() {
        messagesQueued -= 1
        endReservation()
    }

    // MARK: Frames

    /// A message is being sent.
    @inline(__always)
    mutating func noteMessage() { queued &+= 1 }

    /// A message is in the frames, whole.
    @inline(__always)
    mutating func noteFramed() { messagesInFrames += 1 }

    /// A message was accepted, then overtaken by the end: it counts as one that is not sent.
    mutating func noteOvertaken() { messagesInFrames += 1 }

    @inline(__always)
    mutating func append(
        _ opcode: FrameEncoder.Opcode, final: Bool, compressed: Bool, _ payload: UnsafeRawBufferPointer,
        maskKey: UInt32?, from memory: inout FrameMemory
    ) {
        let destination = unsafe frames.reserve(FrameEncoder.maximumHeaderBytes + payload.count, from: &memory)
        let header = unsafe FrameEncoder.writeHeader(
            opcode, final: final, compressed: compressed, payloadBytes: payload.count, maskKey: maskKey, to: destination
        )
        if let base = payload.baseAddress {
            unsafe FrameEncoder.copy(base, count: payload.count, maskKey: maskKey, to: destination + header)
        }
        committed(header + payload.count)
    }

    /// A frame that was made for many connections.
    @inline(__always)
    mutating func append(encoded frame: [UInt8], from memory: inout FrameMemory) {
        let destination = unsafe frames.reserve(frame.count, from: &memory)
        unsafe frame.withUnsafeBytes {
            unsafe destination.copyMemory(from: $0.baseAddress!, byteCount: $0.count)
        }
        committed(frame.count)
    }

    @inline(__always)
    private mutating func committed(_ count: Int) {
        frames.commit(count)
        queue.took(count)
    }

    // MARK: Bursts

    /// Whether there is something that the socket would take.
    @inline(__always)
    var hasBurst: Bool { !isChoked && frames.count > 0 }
    /// Whether the socket has taken everything.
    var isFlushed: Bool { !isChoked && frames.count == 0 && !isCompressing }

    /// The socket has taken the burst whole. Returns how many messages were in it.
    mutating func burstIsOut(to memory: inout FrameMemory) -> Int {
        let (bytes, messages) = (frames.count, messagesInFrames)
        frames.removeAll(to: &memory)
        messagesInFrames = 0
        return written(messages, bytes)
    }

    /// libwebsockets has taken the burst, and holds a part that the socket has not taken.
    mutating func burstIsHeld(to memory: inout FrameMemory) {
        choke()
        frames.removeAll(to: &memory)
    }

    /// The socket has taken only a part of the burst; the whole of it is kept in `held`, which is empty.
    mutating func burstIsHeld(in held: inout FrameBuffer) {
        choke()
        swap(&frames, &held)
    }

    private mutating func choke() {
        isChoked = true
        bytesHeld = frames.count
        messagesHeld = messagesInFrames
        messagesInFrames = 0
    }

    /// The socket takes something again.
    mutating func noteTaken() { taken &+= 1 }

    /// The rest of the held burst is out. Returns how many messages were in it.
    mutating func heldIsOut() -> Int {
        isChoked = false
        defer { (bytesHeld, messagesHeld) = (0, 0) }
        return written(messagesHeld, bytesHeld)
    }

    private mutating func written(_ messages: Int, _ bytes: Int) -> Int {
        messagesWritten += messages
        bytesWritten &+= bytes
        queue.drained(bytes)
        return messages
    }

    /// The socket is dead.
    mutating func dropBurst(to memory: inout FrameMemory) { frames.removeAll(to: &memory) }

    // MARK: Admission

    /// Whether the sender of a message in several frames goes on, from the low mark on.
    var admitsParts: Bool { queue.admitsReserved }

    /// The next part that may go out; ask until it is `nil`.
    mutating func nextPart(at now: () -> UInt64) -> WaitingPart? {
        guard queue.hasReservedRoom && !isCompressing, let part = waitingParts.popFirst() else { return nil }
        pressure.endWait(at: now())
        return part
    }

    /// The next of those who wait for room that may go on; ask until it is `nil`.
    mutating func nextAdmitted(at now: () -> UInt64) -> PendingSend? {
        guard let next = queue.nextAdmitted() else { return nil }
        if next.isWaited { pressure.endWait(at: now()) }
        // Counted until here as in no frame.
        if case .message = next.content, next.waiter == nil { messagesQueued -= 1 }
        return next
    }

    // MARK: The end

    /// Messages that were accepted and not written.
    var unsentMessages: Int { messagesInFrames + messagesHeld + messagesQueued }

    /// Changes with every message, and while one goes out slowly.
    var activity: UInt32 { queued &+ taken }

    /// Those who wait for room when nothing is sent any more.
    struct WaitingSenders {
        let messages: [PendingSend]
        let parts: [WaitingPart]
        var isEmpty: Bool { messages.isEmpty && parts.isEmpty }
    }

    mutating func finish(at now: () -> UInt64) -> WaitingSenders {
        let senders = WaitingSenders(messages: queue.finish(), parts: waitingParts.removeAll())
        guard !senders.isEmpty else { return senders }
        let now = now()
        for pending in senders.messages where pending.isWaited { pressure.endWait(at: now) }
        for _ in senders.parts { pressure.endWait(at: now) }
        return senders
    }

    /// The held burst goes no further. Returns how many of its messages the socket has taken whole.
    ///
    /// - Parameter sent: What is known of it; `nil` when that is with libwebsockets, which does not say how much is left.
    mutating func settle(_ sent: SentFrames?) -> Int {
        guard let sent else {
            messagesInDoubt = messagesHeld
            return 0
        }
        messagesInDoubt = sent.isInsideMessage ? 1 : 0
        messagesHeld -= sent.wholeMessages
        messagesWritten += sent.wholeMessages
        return sent.wholeMessages
    }
}
