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
        _ reason: WebSocketDisconnectReason, reconnectAfter delay: Duration?
    ) -> [Command]? {
        guard case .open(let open) = state else { return nil }
        return leave(open, reason, delay.map { .wait($0) } ?? .ask)
    }

    /// Leaves the open connection at that time.
    package mutating func scheduleDisconnect(at time: Duration, reconnectAfter delay: Duration?) -> Bool {
        guard case .open(var open) = state else { return false }
        open.scheduled = (time, delay.map { .wait($0) } ?? .ask)
        state = .open(open)
        return true
    }

    /// Replaces the open connection without a gap.
    package mutating func renew() -> [Command]? {
        guard case .open(var open) = state else { return nil }
        guard case .none = open.successor, retiring == nil else { return [] }
        lastEpoch += 1
        open.successor = .attempting(lastEpoch)
        state = .open(open)
        return [.connect(lastEpoch)]
    }

    /// Closes; the session can be connected again.
    package mutating func close(_ frame: WebSocketCloseFrame) -> [Command] {
        switch state {
        case .unstarted, .resting, .ended: return []
        case .deciding, .waiting, .asking: return rest()
        case .attempting(let epoch): return [.cancelWork(epoch)] + rest()
        case .preparing(let epoch, let connection):
            return [.cancelWork(epoch)] + leave(epoch, connection, since: nil, .userRequested, .rest, frame)
        case .open(let open): return leave(open, .userRequested, .rest, frame)
        case .leaving(var leaving):
            leaving.sequel = .rest
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
            return [.cancelWork(epoch)] + leave(epoch, connection, since: nil, .userRequested, .end, frame)
        case .open(let open): return leave(open, .userRequested, .end, frame)
        case .leaving(var leaving):
            leaving.sequel = .end
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
            let commands = leave(open, .killed, .react)
            return commands.map { command in
                if case .close(let connection, _) = command { .abort(connection) } else { command }
            }
        case .unstarted, .resting, .deciding, .waiting, .asking, .attempting, .leaving, .ended: return []
        }
    }

    /// The inbox is full, and its policy is to disconnect.
    package mutating func overflowed(_ epoch: Epoch) -> [Command] {
        guard case .open(let open) = state, open.epoch == epoch else { return [] }
        return leave(open, .overflow, .react, WebSocketCloseFrame(code: .policyViolation, reason: "too slow"))
    }

    mutating func leave(
        _ open: Open, _ reason: WebSocketDisconnectReason, _ sequel: Sequel,
        _ frame: WebSocketCloseFrame = WebSocketCloseFrame(code: .normalClosure)
    ) -> [Command] {
        var commands: [Command] = []
        switch open.successor {
        case .none: break
        case .attempting(let epoch): commands = [.cancelWork(epoch)]
        case .preparing(let epoch, let connection): commands = [.cancelWork(epoch), .abort(connection)]
        }
        return commands + leave(open.epoch, open.connection, since: open.since, reason, sequel, frame)
    }

    private mutating func leave(
        _ epoch: Epoch, _ connection: Connection, since: Duration?, _ reason: WebSocketDisconnectReason,
        _ sequel: Sequel, _ frame: WebSocketCloseFrame
    ) -> [Command] {
        state = .leaving(Leaving(epoch: epoch, connection: connection, since: since, reason: reason, sequel: sequel))
        return [.close(connection, frame)]
    }
}
