//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import DequeModule
import RedisWire
import WebSocketCore
import WebSocketLoop

/// One connection to Redis: commands go out in their order, each answer finds its command, and silence is probed.
/// Loop-confined, but for being passed to its loop.
final class RedisPipe: @unchecked Sendable {
    private let stream: LoopByteStream
    private let probeInterval: Duration
    private let probeTimeout: Duration
    private var reader = RESPReader()
    private var expectations: Deque<Expectation> = []
    private var error: WebSocketError?
    private var isEnded = false
    private var probe: LoopByteStream.Token?
    private var hasHeard = false
    private var isProbing = false

    /// Values that belong to no command.
    var onPush: (([RESPValue]) -> Void)?
    /// All that one read brought has been handled.
    var onBatch: (() -> Void)?
    /// The connection is gone, and every command has been told.
    var onEnd: ((WebSocketError) -> Void)?

    private var whenEnded: [() -> Void] = []

    /// What a command waits for.
    struct Expectation {
        /// Pushes of subscriptions stand for its answer.
        var confirmations = 0
        /// Its answer; nil when it will not come.
        let done: (RESPValue?) -> Void
    }

    init(_ stream: LoopByteStream, probeInterval: Duration, probeTimeout: Duration) {
        self.stream = stream
        self.probeInterval = probeInterval
        self.probeTimeout = probeTimeout
        stream.onBytes = { [self] in unsafe take($0) }
        stream.onEnd = { [self] in ended() }
        scheduleProbe()
    }

    /// Why it has ended, or will with this turn.
    var failure: WebSocketError? { error }
    var isOpen: Bool { !isEnded && error == nil }

    // MARK: Out

    /// Sends one command.
    func send(_ command: [UInt8], confirmations: Int = 0, _ done: @escaping (RESPValue?) -> Void) {
        guard isOpen else { return done(nil) }
        expectations.append(Expectation(confirmations: confirmations, done: done))
        stream.write(command)
    }

    func send(_ words: [String], _ done: @escaping (RESPValue?) -> Void) {
        var writer = RESPWriter()
        writer.command(words)
        send(writer.bytes, done)
    }

    /// Sends a command whose only answer is pushes that belong to no command.
    func tell(_ words: [String]) {
        guard isOpen else { return }
        var writer = RESPWriter()
        writer.command(words)
        stream.write(writer.bytes)
    }

    /// Ends the connection.
    func end(_ error: WebSocketError) {
        guard isOpen else { return }
        self.error = error
        stream.abort()
    }

    /// Runs the action when the socket is closed, at once if it is.
    func afterEnd(_ action: @escaping () -> Void) {
        if isEnded { action() } else { whenEnded.append(action) }
    }

    func schedule(after delay: Duration, _ action: @escaping () -> Void) -> LoopByteStream.Token {
        stream.schedule(after: delay, action)
    }

    func cancel(_ token: LoopByteStream.Token?) { stream.cancel(token) }

    // MARK: In

    private func take(_ bytes: UnsafeRawBufferPointer) {
        hasHeard = true
        unsafe reader.feed(bytes)
        do throws(RESPViolation) {
            while isOpen, let value = try reader.next() { take(value) }
        } catch {
            end(WebSocketError(.protocolViolation, "Redis' answer cannot be read: \(error)"))
        }
        onBatch?()
    }

    private func take(_ value: RESPValue) {
        guard case .push(let elements) = value else { return answer(value) }
        if elements.first?.bytes == Self.subscribe {
            guard let first = expectations.first, first.confirmations > 0 else { return }
            expectations[0].confirmations -= 1
            if first.confirmations == 1 { expectations.removeFirst().done(.null) }
            return
        }
        onPush?(elements)
    }

    private static let subscribe = Array("subscribe".utf8)

    private func answer(_ value: RESPValue) {
        guard let first = expectations.popFirst() else {
            return end(
                WebSocketError(
                    .protocolViolation, "Redis answered what was not asked; check that a Redis answers there"))
        }
        first.done(value)
    }

    private func ended() {
        isEnded = true
        stream.cancel(probe)
        let error =
            error
            ?? WebSocketError(
                .brokerUnavailable, "Redis ended the connection; it is connected to anew, and Redis' log may say why")
        self.error = error
        onBatch?()
        while let expectation = expectations.popFirst() { expectation.done(nil) }
        onBatch?()
        let end = onEnd
        onEnd = nil
        onPush = nil
        onBatch = nil
        end?(error)
        let actions = whenEnded
        whenEnded = []
        for action in actions { action() }
    }

    // MARK: Probes

    private func scheduleProbe() {
        hasHeard = false
        probe = stream.schedule(after: probeInterval) { [self] in
            if hasHeard { return scheduleProbe() }
            isProbing = true
            send(["PING"]) { [self] _ in isProbing = false }
            probe = stream.schedule(after: probeTimeout) { [self] in
                guard isProbing else { return scheduleProbe() }
                // A server that is behind with a large answer is alive.
                if hasHeard { return scheduleProbe() }
                end(
                    WebSocketError(
                        .timedOut, "Redis was silent for \(probeInterval) and did not answer a PING in \(probeTimeout)",
                        phase: .ping))
            }
        }
    }
}
