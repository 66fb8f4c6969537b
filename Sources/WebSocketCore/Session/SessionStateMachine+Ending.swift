//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What this side does to end a connection or the session. Each works in every state.
extension SessionStateMachine {
    /// Leaves the open connection, for a reason of ours.
    ///
    /// - Returns: nil unless the session is connected.
    package mutating func disconnect(
        _ reason: WebSocketDisconnectReason, reconnectAfter delay: Duration?,
        _ frame: WebSocketCloseFrame = WebSocketCloseFrame(code: .normalClosure), at now: Duration
    ) -> [Command]? {
        guard case .open(let open) = state else { return nil }
        return leave(open, reason, delay.map { .wait($0) } ?? .ask, frame, at: now)
    }

    /// Leaves the open connection at that time.
    package mutating func scheduleDisconnect(at time: Duration, reconnectAfter delay: Duration?) -> Bool {
        guard case .open(var open) = state else { return false }
        open.scheduled = (time, delay.map { .wait($0) } ?? .ask)
        state = .open(open)
        return true
    }

    /// Replaces the open connection without a gap.
    package mutating func renew(at now: Duration) -> [Command]? {
        guard case .open(var open) = state else { return nil }
        guard case .none = open.successor, retiring == nil else { return [] }
        return attemptRenewal(&open, at: now)
    }

    /// Closes; the session can be connected again.
    package mutating func close(_ frame: WebSocketCloseFrame) -> [Command] {
        switch state {
        case .unstarted, .resting, .ended: return []
        case .deciding, .waiting, .asking: return rest(.closed)
        case .attempting(let epoch): return [.cancelWork(epoch)] + rest(.closed)
        case .preparing(let epoch, let connection):
            return [.cancelWork(epoch)]
                + leave(epoch, connection, since: nil, .userRequested, .rest(.closed), frame, nil)
        case .open(let open): return leave(open, .userRequested, .rest(.closed), frame, at: nil)
        case .leaving(var leaving):
            // A shutdown that is under way stays one.
            if isShutdown { return [] }
            leaving.sequel = .rest(.closed)
            leaving.deadline = nil
            state = .leaving(leaving)
            return []
        }
    }

    /// Closes for good.
    package mutating func shutDown(_ frame: WebSocketCloseFrame) -> [Command] {
        isShutdown = true
        switch state {
        case .ended: return []
        case .unstarted, .resting, .deciding, .waiting, .asking: return end(nil)
        case .attempting(let epoch): return [.cancelWork(epoch)] + end(nil)
        case .preparing(let epoch, let connection):
            return [.cancelWork(epoch)] + leave(epoch, connection, since: nil, .userRequested, .end, frame, nil)
        case .open(let open): return leave(open, .userRequested, .end, frame, at: nil)
        case .leaving(var leaving):
            leaving.sequel = .end
            leaving.deadline = nil
            state = .leaving(leaving)
            return []
        }
    }

    /// Ends for good without asking the server.
    package mutating func abort() -> [Command] {
        let commands = shutDown(WebSocketCloseFrame(code: .goingAway))
        var forced: [Command] = commands.map { command in
            if case .close(let connection, _) = command { .abort(connection) } else { command }
        }
        if case .leaving(let leaving) = state, commands.isEmpty { forced.append(.abort(leaving.connection)) }
        if let retiring { forced.append(.abort(retiring.connection)) }
        return forced
    }

    /// Cuts the connection, as a broken network would.
    package mutating func kill() -> [Command] {
        switch state {
        case .preparing(let epoch, let connection):
            state = .leaving(
                Leaving(epoch: epoch, connection: connection, since: nil, reason: .killed, sequel: .react))
            return [.cancelWork(epoch), .abort(connection)]
        case .open(let open):
            return cut(open, .killed)
        case .unstarted, .resting, .deciding, .waiting, .asking, .attempting, .leaving, .ended: return []
        }
    }

    /// No message has come for as long as the application allows.
    package mutating func fellSilent() -> [Command] {
        guard case .open(let open) = state else { return [] }
        return cut(open, .silence)
    }

    private mutating func cut(_ open: Open, _ reason: WebSocketDisconnectReason) -> [Command] {
        leave(open, reason, .react, at: nil).map { command in
            if case .close(let connection, _) = command { .abort(connection) } else { command }
        }
    }

    /// The inbox is full, and its policy is to disconnect.
    package mutating func overflowed(_ epoch: Epoch, at now: Duration) -> [Command] {
        guard case .open(let open) = state, open.epoch == epoch else { return [] }
        return leave(open, .overflow, .react, WebSocketCloseFrame(code: .policyViolation, reason: "too slow"), at: now)
    }

    /// - Parameter now: When the connection is left; nil when nothing waits for its end but the caller.
    mutating func leave(
        _ open: Open, _ reason: WebSocketDisconnectReason, _ sequel: Sequel,
        _ frame: WebSocketCloseFrame = WebSocketCloseFrame(code: .normalClosure), at now: Duration?
    ) -> [Command] {
        var commands: [Command] = []
        switch open.successor {
        case .none: break
        case .attempting(let epoch): commands = [.cancelWork(epoch)]
        case .preparing(let epoch, let connection): commands = [.cancelWork(epoch), .abort(connection)]
        }
        return commands + leave(open.epoch, open.connection, since: open.since, reason, sequel, frame, now)
    }

    private mutating func leave(
        _ epoch: Epoch, _ connection: Connection, since: Duration?, _ reason: WebSocketDisconnectReason,
        _ sequel: Sequel, _ frame: WebSocketCloseFrame, _ now: Duration?
    ) -> [Command] {
        // What is to follow waits for a server that answers the close frame, but not for one that does not.
        let patience: Duration? =
            switch sequel {
            case .wait(let delay): max(delay, settings.handoverTimeout)
            case .ask: settings.asksToReconnect ? settings.handoverTimeout : nil
            case .reconnect, .react: settings.handoverTimeout
            case .rest, .end: nil
            }
        var deadline: Duration?
        if let now, let patience { deadline = now + patience }
        state = .leaving(
            Leaving(
                epoch: epoch, connection: connection, since: since, reason: reason, sequel: sequel, deadline: deadline))
        return [.close(connection, frame)]
    }
}
