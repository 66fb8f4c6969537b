//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSocketLoop
import WebSocketPool

/// A connection as the generic pool sees it.
final class PooledWebSocket: PooledConnection {
    let socket: WebSocketConnection
    /// The pool, so that a lease is one reference.
    let core: PoolCore
    private let clock: any Clock<Duration>
    private let isDisposable: @Sendable (WebSocketMessage) -> Bool

    init(
        _ wire: Connection, core: PoolCore, clock: any Clock<Duration>,
        isDisposable: @escaping @Sendable (WebSocketMessage) -> Bool
    ) {
        self.wire = wire
        self.core = core
        socket = WebSocketConnection(wire)
        self.clock = clock
        self.isDisposable = isDisposable
    }

    /// The socket's; asked on every lease, so without a detour.
    private let wire: Connection

    var isOpen: Bool { wire.isUsable }

    var hasUnreadInput: Bool { wire.hasInboundResidue }

    var preferredExecutor: (any TaskExecutor)? { socket.eventLoop.taskExecutor }

    func close() async {
        let wire = wire
        await withTaskCancellationHandler {
            await wire.closeRegardless(WebSocketCloseFrame(code: .normalClosure))
        } onCancel: {
            wire.loop.execute { wire.abort() }
        }
    }

    func abort() { socket.abort() }

    func validate(timeout: Duration) async -> Bool {
        do throws(WebSocketError) {
            _ = try await wire.ping()
            return isOpen
        } catch {
            return false
        }
    }

    func drain(_ options: DrainOptions) async -> DrainOutcome {
        while true {
            switch wire.popMessageNow() {
            case .message(let message):
                guard isDisposable(message) else { return .unexpectedInput }
                continue
            case .ended: return .failed
            case .empty: break
            }
            // A receiver of the former borrower would take what is the next one's.
            if wire.isInboundClaimed { return .unexpectedInput }
            if options.quietPeriod <= .zero, !wire.hasInboundResidue { return .clean }
            switch await nextMessage(within: options.quietPeriod > .zero ? options.quietPeriod : options.timeout) {
            case .success(let message?): guard isDisposable(message) else { return .unexpectedInput }
            // Half a message may have come in the meantime; then it is not over.
            case .success(nil): if !wire.hasInboundResidue { return .clean }
            case .failure: return .failed
            }
        }
    }

    /// The next message, or `nil` when none comes in time.
    private func nextMessage(within span: Duration) async -> Result<WebSocketMessage?, WebSocketError> {
        let wire = wire
        let clock = clock
        return await withTaskGroup(of: Result<WebSocketMessage?, WebSocketError>.self) { group in
            group.addTask {
                do throws(WebSocketError) { return .success(try await wire.receive()) } catch { return .failure(error) }
            }
            group.addTask {
                try? await clock.sleep(for: span)
                return .success(nil)
            }
            var result = await group.next() ?? .success(nil)
            group.cancelAll()
            // The message and the end of the time may come together: the message is not lost then.
            while let other = await group.next() { if case .success(.some) = other { result = other } }
            return result
        }
    }

    func onClose(_ handler: @escaping @Sendable () -> Void) { wire.onEnd(handler) }
}
