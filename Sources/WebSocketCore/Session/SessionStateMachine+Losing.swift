//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// How connections are lost, and what follows.
extension SessionStateMachine {
    /// A connection has ended, and everything that it brought has been passed on.
    package mutating func connectionEnded(
        _ epoch: Epoch, _ info: WebSocketCloseInfo?, at now: Duration
    ) -> [Command] {
        if retiring?.epoch == epoch {
            retiring = nil
            return []
        }
        switch state {
        case .preparing(epoch, _):
            return [.cancelWork(epoch)] + lost(info, reason: Self.reason(info), since: nil, error: nil, at: now)
        case .open(let open) where open.epoch == epoch:
            let end = WebSocketSessionDisconnect(
                reason: Self.reason(info), closeInfo: info, connectedFor: now - open.since)
            switch open.successor {
            case .none: return lost(info, reason: end.reason, since: open.since, error: nil, at: now)
            case .attempting(let next): state = .attempting(next)
            case .preparing(let next, let connection): state = .preparing(next, connection)
            }
            // Its successor was under way and takes its place; what was missed in between is a gap.
            endpoints = open.renewalEndpoints
            downSince = now
            return [.disconnected(end)]
        case .open(var open):
            guard case .preparing(epoch, _) = open.successor else { return [] }
            let error =
                info.map { WebSocketError.closed($0) }
                ?? WebSocketError(.connectionClosed, "the next connection ended at once; the present one goes on")
            return [.cancelWork(epoch)] + renewalFailed(&open, error, at: now)
        case .leaving(let leaving):
            guard leaving.epoch == epoch else { return [] }
            return left(leaving, info, at: now)
        // A renewal that was given up, or a connection that came when the session had ended.
        case .unstarted, .resting, .deciding, .waiting, .asking, .attempting, .preparing, .ended: return []
        }
    }

    private mutating func left(_ leaving: Leaving, _ info: WebSocketCloseInfo?, at now: Duration) -> [Command] {
        let since = leaving.since
        downSince = now
        let end = WebSocketSessionDisconnect(
            reason: leaving.reason, closeInfo: info, error: leaving.error, connectedFor: since.map { now - $0 } ?? .zero
        )
        switch leaving.sequel {
        case .react: return lost(info, reason: leaving.reason, since: since, error: leaving.error, at: now)
        case .rest(let rest): return [.disconnected(end)] + self.rest(rest)
        case .wait(let delay):
            state = .waiting(until: now + delay)
            return [.disconnected(end)]
        case .reconnect: return [.disconnected(end)] + attempt(at: now)
        case .ask:
            guard settings.asksToReconnect else { return [.disconnected(end)] + rest(.left) }
            state = .asking(next: now)
            return [.disconnected(end)] + tick(at: now)
        case .end: return [.disconnected(end)] + self.end(nil)
        }
    }

    /// The connection ended and this side did not want it.
    private mutating func lost(
        _ info: WebSocketCloseInfo?, reason: WebSocketDisconnectReason, since: Duration?, error: WebSocketError?,
        at now: Duration
    ) -> [Command] {
        downSince = now
        let end = WebSocketSessionDisconnect(
            reason: reason, closeInfo: info, error: error, connectedFor: since.map { now - $0 } ?? .zero)
        lastError = error ?? info.map { .closed($0) } ?? lastError
        // The server's own words may be secret; they are in the event, not in what is logged.
        let code = info?.received.map { " with \($0.code.rawValue)" } ?? ""
        let text = "the connection ended: \(reason)\(code)"
        if reason.isOfEndpoint { endpoints.vanished() }
        return [.disconnected(end), .alert(.disconnected, error?.message ?? text)]
            + next(after: .disconnected(end), at: now)
    }

    mutating func next(after cause: WebSocketReconnectPolicy.Cause, at now: Duration) -> [Command] {
        if case .disconnected = cause {
            guard settings.reconnectsAutomatically else { return rest(.closed) }
            isRecovering = true
            if case .callbackControlled = settings.policy.strategy, settings.asksToReconnect {
                state = .asking(next: now)
                return tick(at: now)
            }
        }
        lastDecision += 1
        state = .deciding(lastDecision, cause)
        return [.decide(cause, attempt: engine.ended(at: now), lastDecision)]
    }

    /// The policy's closures have been asked.
    package mutating func decided(
        _ answer: WebSocketReconnectPolicy.Answer, _ decision: Decision, at now: Duration
    ) -> [Command] {
        switch state {
        case .open(var open):
            guard open.renewalDecision == decision else { return [] }
            open.renewalDecision = nil
            if case .retry(let delay) = open.renewals.decide(answer) { open.nextRenewalCheck = now + delay }
            state = .open(open)
            return []
        case .deciding(decision, let cause): return decided(answer, after: cause, at: now)
        // A question that is not open any more.
        case .unstarted, .resting, .deciding, .waiting, .asking, .attempting, .preparing, .leaving, .ended: return []
        }
    }

    private mutating func decided(
        _ answer: WebSocketReconnectPolicy.Answer, after cause: WebSocketReconnectPolicy.Cause, at now: Duration
    ) -> [Command] {
        switch engine.decide(answer) {
        case .retry(let delay):
            state = .waiting(until: now + delay)
            if case .retrySlowly = answer {
                return [
                    .alert(.attemptFailed, "\(lastError?.message ?? "an attempt failed"); tried again after \(delay)")
                ]
            }
            return delay > .zero ? [] : tick(at: now)
        case .giveUp:
            let error = surrender(after: cause)
            return [.alert(.gaveUp, error.message)] + rest(.gaveUp(error))
        }
    }

    private func surrender(after cause: WebSocketReconnectPolicy.Cause) -> WebSocketError {
        // The first attempt's own error says more.
        if case .connectFailed(let error) = cause, engine.attempts == 0, !hasBeenOpen { return error }
        let attempts = engine.attempts
        let count = attempts == 1 ? "1 attempt" : "\(attempts) attempts"
        let why = lastError.map { "; last: \($0.message)" } ?? ""
        var error = WebSocketError(
            .reconnectFailed,
            "the session gave up after \(count) to reconnect; call connect to try again\(why)",
            phase: lastError?.phase, tlsFailure: lastError?.tlsFailure, response: lastError?.response,
            closeInfo: lastError?.closeInfo, systemError: lastError?.systemError)
        error.attachment = .init(SessionSurrender(attempts: attempts, cause: lastError))
        return error
    }

    /// What an end that this side did not want is called.
    package static func reason(_ info: WebSocketCloseInfo?) -> WebSocketDisconnectReason {
        switch info?.cause {
        case .closingHandshake, .closeTimeout, .flushTimeout: .serverClosed
        case .pingTimeout: .pingTimeout
        case .peerViolation: .protocolError
        case .connectionLost, .aborted, nil: .networkError
        }
    }

    mutating func rest(_ rest: SessionRest) -> [Command] {
        state = .resting(rest)
        isRecovering = false
        engine.restart()
        return [.rested(rest)]
    }

    mutating func end(_ error: WebSocketError?) -> [Command] {
        state = .ended
        return [.ended(error)]
    }
}

/// What a session's error knows of its last attempts.
package final class SessionSurrender: Sendable {
    package let attempts: Int
    package let cause: WebSocketError?

    init(attempts: Int, cause: WebSocketError?) {
        self.attempts = attempts
        self.cause = cause
    }
}
