//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketCore

/// Bytes to and from a server that speaks another protocol, over a socket that was dialled, verified and given to
/// libwebsockets like a WebSocket's. It is read without a pause. Loop-confined, but for being passed to its loop.
@safe package final class LoopByteStream: WireOwner, @unchecked Sendable {
    /// What has arrived; valid for the call.
    package var onBytes: ((UnsafeRawBufferPointer) -> Void)?
    /// The connection is gone; called once.
    package var onEnd: (() -> Void)?
    var vhost: Vhost?
    private var unsent: [UInt8] = []
    private var sentCount = 0
    private var isFlushScheduled = false
    private var isChoked = false
    private var isAborted = false

    package typealias Token = TimerHeap<() -> Void>.Token

    override init(loop: WebSocketEventLoop) { super.init(loop: loop) }

    /// Bytes that the socket has not taken.
    package var unsentBytes: Int { unsent.count - sentCount }

    /// Sends bytes with all others of this turn.
    package func write(_ bytes: [UInt8]) {
        guard !isAborted, wire != nil else { return }
        unsent += bytes
        guard !isFlushScheduled, !isChoked else { return }
        isFlushScheduled = true
        _ = loop.schedule(after: 0) { [self] in
            isFlushScheduled = false
            flush()
        }
    }

    private func flush() {
        guard let wire, !isAborted, unsentBytes > 0 else { return }
        let written = unsafe unsent.withUnsafeBufferPointer { bytes in
            unsafe wire.send(bytes.baseAddress! + sentCount, bytes.count - sentCount)
        }
        guard let written else { return abort() }
        sentCount += written
        if sentCount == unsent.count {
            unsent.removeAll(keepingCapacity: unsent.capacity <= 1 << 20)
            sentCount = 0
        } else {
            isChoked = true
            if sentCount > 1 << 20 {
                unsent.removeSubrange(..<sentCount)
                sentCount = 0
            }
            wire.askForRoom()
        }
    }

    override func received(_ bytes: UnsafeRawBufferPointer) -> CInt {
        if !isAborted { unsafe onBytes?(bytes) }
        return 0
    }

    override func becameWritable() -> CInt {
        isChoked = false
        flush()
        return 0
    }

    /// Ends the connection with this turn.
    package func abort() {
        guard !isAborted else { return }
        isAborted = true
        if wire != nil { loop.killAtTurnEnd(self) }
    }

    override func destroyed() {
        loop.counters.connections.subtract(1)
        loop.counters.descriptors.subtract(1)
        vhost?.users -= 1
        vhost = nil
        isAborted = true
        unsafe onBytes = nil
        let end = onEnd
        onEnd = nil
        end?()
    }

    /// Runs the action on the loop unless it is cancelled.
    package func schedule(after delay: Duration, _ action: @escaping () -> Void) -> Token {
        loop.schedule(after: delay.nanoseconds, action)
    }

    package func cancel(_ token: Token?) { loop.cancel(token) }
}

extension WebSocketEventLoop {
    /// Opens a stream of bytes on this loop: resolves, races addresses, goes through the proxy, secures and verifies as
    /// `connect` does, and asks for nothing.
    ///
    /// - Parameter start: Runs on the loop before anything is read.
    package func openStream(
        _ request: ClientRequest, start: @escaping @Sendable (LoopByteStream) -> Void
    ) async throws(WebSocketError) -> LoopByteStream {
        var request = request
        request.streamStart = start
        let connector = ClientConnector(
            loop: self, request: request, deadline: now &+ request.openTimeout.nanoseconds)
        let opened: ClientConnector.Opened = try await wait(
            for: "connect", register: { connector.start($0) }, cancel: { _ in connector.cancel() })
        switch opened {
        case .stream(let stream): return stream
        case .connection: preconditionFailure("a stream was asked for")
        }
    }
}

extension ClientAttempt {
    /// The way is open: the socket becomes a stream of bytes.
    func openStream(_ start: (LoopByteStream) -> Void) {
        if stream == nil {
            stopWatching()
            guard adopt(into: loop.resources.vhosts.plainVhost(of: loop), secure: false) else { return end(untaken()) }
        }
        guard let wire else { return end(brokenOff()) }
        stream?.finish()
        let bytes = LoopByteStream(loop: loop)
        bytes.vhost = vhost
        vhost = nil
        handOver(to: bytes)
        start(bytes)
        succeed(.stream(bytes))
        if stream != nil { wire.letGo() }
    }
}
