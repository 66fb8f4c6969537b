//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore

extension WebSocketSessionConfiguration {
    /// Looks at every value.
    ///
    /// - Throws: `invalidConfiguration`, with the first option that is out of its range, its value and the range.
    public func validate() throws(WebSocketError) {
        var check = SettingCheck()
        if let keepAlive = client.options.keepAlive {
            check.time("client.options.keepAlive.interval", keepAlive.interval, 0.05...3_600)
            if let timeout = keepAlive.timeout {
                check.time("client.options.keepAlive.timeout", timeout, 0.05...3_600)
            }
        }
        check.time("client.openTimeout", client.openTimeout, 0.05...3_600)
        check.time("disconnectCheckInterval", disconnectCheckInterval, 0.01...3_600)
        check.time("reconnectCheckInterval", reconnectCheckInterval, 0.01...3_600)
        check.time("disconnectMargin", disconnectMargin, 0...86_400)
        if let maximumConnectionAge { check.time("maximumConnectionAge", maximumConnectionAge, 1...1e9) }
        check.time("handoverTimeout", handoverTimeout, 0...60)
        if let silenceTimeout { check.time("silenceTimeout", silenceTimeout, 0.01...86_400) }
        check.time("preparationTimeout", preparationTimeout, 0.05...3_600)
        check.time("subscriptions.replyTimeout", subscriptions.replyTimeout, 0.05...3_600)
        check.time("subscriptions.retryDelay", subscriptions.retryDelay, 0...3_600)
        check.time("subscriptions.interval", subscriptions.interval, 0...60)
        check.number("subscriptions.attempts", subscriptions.attempts, 1...1_000)
        check.number("subscriptions.batchSize", subscriptions.batchSize, 1...100_000)
        check.number("inboundMessages", inboundMessages, 1...1_000_000)
        check.number("inboundBytes", inboundBytes, (64 << 10)...(1 << 40))
        check.number("outboundQueue", outboundQueue, 0...100_000)
        if let outboundDeadline { check.time("outboundDeadline", outboundDeadline, 0...1e9) }
        check.time("alertInterval", alertInterval, 0...86_400)
        for kind in WebSocketSessionAlert.Kind.allCases {
            guard let interval = alertIntervals[kind] else { continue }
            check.time("alertIntervals[.\(kind.rawValue)]", interval, 0...86_400)
        }
        try check.result.get()
        try reconnect.validate()
    }

    func coordinatorSettings(endpointCount: Int) -> SessionCoordinator<SessionCoreWorld>.Settings {
        var settings = SessionCoordinator<SessionCoreWorld>.Settings()
        settings.machine.policy = reconnect
        settings.machine.reconnectsAutomatically = reconnectsAutomatically
        settings.machine.asksToDisconnect = shouldDisconnect != nil
        settings.machine.asksToReconnect = shouldReconnect != nil
        settings.machine.asksToRenew = shouldRenew != nil
        settings.machine.disconnectCheckInterval = disconnectCheckInterval
        settings.machine.reconnectCheckInterval = reconnectCheckInterval
        settings.machine.maximumConnectionAge = maximumConnectionAge
        settings.machine.disconnectMargin = disconnectMargin
        settings.machine.makesBeforeBreaking = makesBeforeBreaking
        settings.machine.handoverTimeout = handoverTimeout
        settings.machine.endpointCount = endpointCount
        settings.inboundMessages = inboundMessages
        settings.inboundBytes = inboundBytes
        settings.overflow = overflow
        settings.outboundQueue = outboundQueue
        settings.outboundDeadline = outboundDeadline
        settings.alertInterval = alertInterval
        settings.alertIntervals = alertIntervals
        settings.silenceTimeout = silenceTimeout
        settings.holdsWhileSubscribing = subscriptions.delivery == .afterAnswers
        settings.timing = .init(
            acknowledgement: subscriptions.reply == nil ? nil : subscriptions.replyTimeout,
            retryDelay: subscriptions.retryDelay, attempts: subscriptions.attempts,
            batch: subscriptions.subscribeBatch == nil ? 1 : subscriptions.batchSize, interval: subscriptions.interval)
        settings.isObserved = !observers.isEmpty
        return settings
    }
}
