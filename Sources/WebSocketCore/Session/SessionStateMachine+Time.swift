//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What time brings, and what the application answers when it is asked.
extension SessionStateMachine {
    /// When `tick` has something to do next.
    package var nextDeadline: Duration? {
        switch state {
        case .waiting(let until): until
        case .asking(let next): next
        case .open(let open):
            [
                open.nextCheck, open.nextRenewalCheck, open.lastRenewal, open.limit, open.scheduled?.at,
                engine.stableAt,
            ].lazy.compactMap { $0 }.min()
        case .leaving(let leaving): leaving.deadline
        case .unstarted, .resting, .deciding, .attempting, .preparing, .ended: nil
        }
    }

    /// Time has passed.
    package mutating func tick(at now: Duration) -> [Command] {
        switch state {
        case .waiting(let until): return until <= now ? attempt(at: now) : []
        case .asking(let next):
            guard let next, next <= now else { return [] }
            state = .asking(next: nil)
            return [.ask(.reconnect, lastEpoch)]
        case .open(let open):
            engine.lasted(until: now)
            return tick(open, at: now)
        case .leaving(var leaving):
            guard let deadline = leaving.deadline, deadline <= now else { return [] }
            leaving.deadline = nil
            state = .leaving(leaving)
            return [.abort(leaving.connection)]
        case .unstarted, .resting, .deciding, .attempting, .preparing, .ended: return []
        }
    }

    private mutating func tick(_ before: Open, at now: Duration) -> [Command] {
        var open = before
        if let scheduled = open.scheduled, scheduled.at <= now {
            return leave(open, .scheduled, scheduled.sequel, at: now)
        }
        if let limit = open.limit, limit <= now { return leave(open, .connectionLimit, .reconnect, at: now) }
        var commands: [Command] = []
        if let last = open.lastRenewal, last <= now {
            // Whatever the application and the policy say: otherwise there will be a gap.
            open.lastRenewal = nil
            open.nextRenewalCheck = nil
            open.renewalDecision = nil
            state = .open(open)
            commands += renew(at: now) ?? []
            guard case .open(let renewing) = state else { return commands }
            open = renewing
        }
        if let next = open.nextRenewalCheck, next <= now {
            if settings.asksToRenew {
                open.nextRenewalCheck = nil
                commands.append(.ask(.renew, open.epoch))
            } else if settings.makesBeforeBreaking {
                open.nextRenewalCheck = nil
                state = .open(open)
                commands += renew(at: now) ?? []
                guard case .open(let renewing) = state else { return commands }
                open = renewing
            } else {
                return leave(open, .connectionLimit, .reconnect, at: now)
            }
        }
        if let next = open.nextCheck, next <= now {
            open.nextCheck = nil
            commands.append(.ask(.disconnect, open.epoch))
        }
        state = .open(open)
        return commands
    }

    /// `shouldDisconnect` answered; false also when it threw.
    package mutating func answeredDisconnect(_ answer: Bool, _ epoch: Epoch, at now: Duration) -> [Command] {
        guard case .open(var open) = state, open.epoch == epoch, open.nextCheck == nil else { return [] }
        if answer { return leave(open, .callbackTriggered, .ask, at: now) }
        open.nextCheck = now + settings.disconnectCheckInterval
        state = .open(open)
        return []
    }

    /// `shouldRenew` answered; false also when it threw.
    package mutating func answeredRenew(_ answer: Bool, _ epoch: Epoch, at now: Duration) -> [Command] {
        guard case .open(var open) = state, open.epoch == epoch, open.nextRenewalCheck == nil,
            case .none = open.successor
        else { return [] }
        guard answer else {
            open.nextRenewalCheck = now + settings.disconnectCheckInterval
            state = .open(open)
            return []
        }
        if settings.makesBeforeBreaking { return renew(at: now) ?? [] }
        return leave(open, .connectionLimit, .reconnect, at: now)
    }

    /// `shouldReconnect` answered; `notYet` also when it threw.
    package mutating func answeredReconnect(
        _ answer: WebSocketReconnectWindow, _ epoch: Epoch, at now: Duration
    ) -> [Command] {
        guard case .asking(nil) = state, epoch == lastEpoch else { return [] }
        switch answer {
        case .now: return attempt(at: now)
        case .after(let delay):
            state = .waiting(until: now + max(delay, .zero))
            return delay > .zero ? [] : tick(at: now)
        case .notYet:
            state = .asking(next: now + settings.reconnectCheckInterval)
            return []
        case .never: return rest(.closed)
        }
    }
}
