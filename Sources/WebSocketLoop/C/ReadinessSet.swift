//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims

/// What a ``ReadinessSet`` tells.
protocol ReadinessOwner: AnyObject {
    /// - Parameter hasLeft: Whether the peer has ended its half of the stream, where that is watched for.
    func becameReady(hasLeft: Bool)
}

/// Readiness of many descriptors of a loop behind one of its own, an epoll set that libuv polls.
///
/// libuv takes each descriptor once, and libwebsockets polls what it is given: here it can be watched beside that, without
/// a duplicate. All that is ready in it counts as one event of the loop, with a bounded share of its time. On the loop; owns
/// none of the descriptors.
@safe final class ReadinessSet {
    private unowned let loop: WebSocketEventLoop
    private let descriptor: CInt
    private var poll: DescriptorPoll?
    private var owners: [CInt: any ReadinessOwner] = [:]

    /// How much of a turn it may take, in nanoseconds.
    private static let share: UInt64 = 3_000_000
    private static let batch = 8
    private var ready = [CInt](repeating: 0, count: batch)
    private var left = [Bool](repeating: false, count: batch)

    /// `nil` when there is no descriptor left.
    init?(loop: WebSocketEventLoop) {
        self.loop = loop
        descriptor = wsx_readiness_create()
        guard descriptor >= 0 else { return nil }
        poll = DescriptorPoll(loop: loop, descriptor: descriptor) { [unowned self] in serve() }
        guard let poll else { return nil }
        poll.start(.readable)
    }

    /// Tells the owner, which is held until `forget`, whenever the descriptor is ready.
    ///
    /// - Parameter onlyNews: Only when more has come since: for bytes that stay in the socket.
    /// - Returns: Whether it could be watched.
    func watch(
        _ watched: CInt, for events: DescriptorPoll.Events, onlyNews: Bool, by owner: any ReadinessOwner
    ) -> Bool {
        guard poll != nil else { return false }
        var bits = onlyNews ? WSX_NEWS : 0
        if events.contains(.readable) { bits |= WSX_READABLE }
        if events.contains(.writable) { bits |= WSX_WRITABLE }
        if events.contains(.disconnected) { bits |= WSX_PEER_LEFT }
        let isKnown = owners.updateValue(owner, forKey: watched) != nil
        guard wsx_readiness_watch(descriptor, watched, CInt(bits), isKnown ? 1 : 0) == 0 else {
            owners[watched] = nil
            return false
        }
        return true
    }

    /// Before the descriptor is closed, or as soon as it is known to be.
    func forget(_ watched: CInt) {
        if owners.removeValue(forKey: watched) != nil { _ = wsx_readiness_forget(descriptor, watched) }
    }

    private func serve() {
        let end = loop.now &+ Self.share
        repeat {
            let count = unsafe Int(wsx_readiness_take(descriptor, &ready, &left, CInt(Self.batch)))
            guard count > 0 else { return }
            // Each that was taken out is served, however long it takes: what is told once would not be told again.
            for index in 0..<count { owners[ready[index]]?.becameReady(hasLeft: left[index]) }
            guard count == Self.batch else { return }
        } while loop.now < end
    }

    /// Nothing is told any more.
    func close() {
        guard let poll = poll.take() else { return }
        poll.close()
        owners = [:]
        SocketIO.close(descriptor)
    }

    deinit { close() }
}
