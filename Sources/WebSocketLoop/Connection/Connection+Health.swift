//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Synchronization
package import WebSocketCore

/// What the user wants to know of pongs.
package typealias PongHandler = @Sendable (_ payload: [UInt8], _ roundTrip: UInt64?) -> Void

extension Connection {
    private static var maximumControlPayload: Int { 125 }

    private func checkControl(_ payload: [UInt8], _ what: String) throws(WebSocketError) {
        guard payload.count <= Self.maximumControlPayload else {
            throw WebSocketError(
                .invalidPing,
                "the payload of a \(what) has \(payload.count) bytes; a control frame holds \(Self.maximumControlPayload) (RFC 6455 §5.5)"
            )
        }
    }

    /// What becomes of a connection whose peer does not answer a ping in time.
    package enum LatePong: Sendable {
        case goesOn, aborts

        fileprivate var text: String {
            switch self {
            case .goesOn: "the connection goes on, abort() ends it"
            case .aborts: "the connection was aborted, the next use opens a new one"
            }
        }
    }

    /// Sends a ping and returns the round trip in nanoseconds.
    ///
    /// - Parameters:
    ///   - payload: Its payload; `nil` for a number.
    ///   - timeout: How long the pong may take, on the loop; `nil` for as long as the connection lives.
    ///   - late: What happens then.
    package func ping(
        _ payload: [UInt8]? = nil, timeout: Duration? = nil, late: LatePong = .goesOn
    ) async throws(WebSocketError) -> UInt64 {
        if let payload { try checkControl(payload, "ping") }
        let timer = timeout.map { _ in LoopTimer(loop) }
        defer { timer?.cancel() }
        return try await loop.wait(
            for: "ping",
            register: { waiter in
                guard self.requireOpen(waiter), self.sendPing(payload, waiter), let timer, let timeout else { return }
                timer.start(timeout) {
                    // A loop that was held reads its sockets before it judges, because the pong may lie in one; and one
                    // turn later it has run the calls that waited for what it has read.
                    timer.start(.milliseconds(1)) {
                        timer.start(.milliseconds(1)) { self.pongIsLate(waiter.id, timeout, late) }
                    }
                }
            },
            cancel: { self.liveness.cancel(id: $0) })
    }

    private func sendPing(_ payload: [UInt8]?, _ waiter: LoopWaiter<UInt64>) -> Bool {
        // libwebsockets 4.1.6 does not tell a server of an empty pong.
        guard let payload, isClient || !payload.isEmpty else {
            sendPing(liveness.ping(now: loop.now, waiterID: waiter.id, waiter).payload)
            return true
        }
        guard liveness.ping(with: payload, now: loop.now, waiterID: waiter.id, waiter) else {
            waiter.resume(
                .failure(
                    WebSocketError(
                        .invalidPing, "a ping with the same payload is still unanswered; wait for it, or choose another"
                    ))
            )
            return false
        }
        unsafe payload.withUnsafeBytes { unsafe appendControl(.ping, $0) }
        return true
    }

    private func pongIsLate(_ id: UInt64, _ timeout: Duration, _ late: LatePong) {
        guard let waiter = liveness.cancel(id: id) else { return }
        if late == .aborts { abort() }
        waiter.resume(
            .failure(
                WebSocketError(
                    .timedOut, "no pong came within \(timeout); \(late.text)", phase: .ping, closeInfo: closeInfo)))
    }

    /// Sends a pong that answers nothing (RFC 6455 §5.5.3).
    package func pong(_ payload: [UInt8]) async throws(WebSocketError) {
        try checkControl(payload, "pong")
        try await loop.wait(
            for: "pong",
            register: { (waiter: LoopWaiter<Void>) in
                guard self.requireOpen(waiter) else { return }
                unsafe payload.withUnsafeBytes { unsafe self.appendControl(.pong, $0) }
                waiter.resume(.success(()))
            }, cancel: { _ in nil })
    }

    /// `handler` is told of every pong, on the loop.
    package func addPongHandler(_ handler: @escaping PongHandler) {
        loop.execute { if self.closeInfo == nil { self.inbound.pongHandlers.append(handler) } }
    }

    func tellPongHandlers(_ bytes: UnsafeRawBufferPointer, roundTrip: UInt64?) {
        let payload = unsafe [UInt8](bytes)
        tellSoon { [handlers = inbound.pongHandlers] in
            for handler in handlers { handler(payload, roundTrip) }
        }
    }

    /// Outside libwebsockets' callbacks, because handlers may do what they like with this connection and others. In
    /// order.
    func tellSoon(_ body: @escaping () -> Void) {
        // A loop that stops has no timers any more, and nothing to protect.
        if loop.isStopping { body() } else { _ = loop.schedule(after: 0, body) }
    }

    /// `handler` is told how the connection ended, on the loop; at once if it has.
    package func addEndObserver(_ handler: @escaping @Sendable (WebSocketCloseInfo) -> Void) {
        loop.execute { if let info = self.closeInfo { handler(info) } else { self.ends.append(observer: handler) } }
    }

    /// How the connection ended; `nil` while it has not. From any thread.
    package var finalCloseInfo: WebSocketCloseInfo? { published.finalInfo.withLock { $0.wrappedValue } }

    /// The last round trip in nanoseconds; `nil` before the first pong. From any thread.
    package var latency: UInt64? {
        let last = published.lastRoundTrip.load(ordering: .relaxed)
        return last == 0 ? nil : last
    }
}
