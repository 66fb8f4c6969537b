//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Configuration
public import Configuration
import WebSocketCore

extension WebSocketSessionConfiguration {
    /// A configuration with the values that `reader` has, under keys that are named as the properties are.
    ///
    /// | key | value |
    /// |---|---|
    /// | `preset` | `trading` or `monitoring`: what the others are changes of, instead of `defaults` |
    /// | `client` | see ``WebSocketClientConfiguration/init(from:defaults:)`` |
    /// | `reconnectsAutomatically`, `makesBeforeBreaking` | Booleans |
    /// | `reconnect.strategy` | `immediate`, `fixed`, `exponential`, `fullJitter`, `callbackControlled` |
    /// | `reconnect.delay`, `reconnect.maximumDelay` | seconds: the strategy's `base` or `fixed`, and `maximum` |
    /// | `reconnect.maximumAttempts` | a number; `unlimited` for no end |
    /// | `reconnect.stableTime`, `reconnect.serverUnavailableDelay`, `reconnect.maximumRetryAfter` | seconds |
    /// | `disconnectCheckInterval`, `reconnectCheckInterval`, `disconnectMargin`, `maximumConnectionAge` | seconds |
    /// | `handoverTimeout`, `silenceTimeout`, `preparationTimeout`, `alertInterval`, `outboundDeadline` | seconds |
    /// | `alertIntervals.disconnected` and so on, a key for each kind | seconds; `none` for `alertInterval` |
    /// | `subscriptions.replyTimeout`, `subscriptions.retryDelay`, `subscriptions.interval` | seconds |
    /// | `subscriptions.delivery` | `atOnce`, `afterAnswers` |
    /// | `subscriptions.attempts`, `subscriptions.batchSize`, `inboundMessages`, `inboundBytes`, `outboundQueue` | numbers |
    /// | `overflow` | `suspendReading`, `dropOldest`, `dropNewest`, `disconnect` |
    ///
    /// Seconds may have a fraction. `maximumConnectionAge`, `silenceTimeout` and `outboundDeadline` may be `none`. A value that cannot be
    /// read as what its key wants counts as absent, as swift-configuration has it; one outside of its documented range
    /// is refused when the session is made. Closures and observers are code and come from `defaults`.
    ///
    /// - Parameters:
    ///   - reader: Where the values are, for example `ConfigReader(provider: EnvironmentVariablesProvider())`, scoped
    ///     with `scoped(to: "feed")`.
    ///   - defaults: What holds where the reader has nothing.
    public init(from reader: ConfigReader, defaults: Self = .init()) {
        var result = defaults
        switch reader.string(forKey: "preset") {
        case "trading": result.apply(preset: .trading)
        case "monitoring": result.apply(preset: .monitoring)
        default: break
        }
        result.client = WebSocketClientConfiguration(from: reader.scoped(to: "client"), defaults: result.client)
        result.reconnect.update(from: reader.scoped(to: "reconnect"))
        reader.update(&result.reconnectsAutomatically, "reconnectsAutomatically")
        reader.update(&result.makesBeforeBreaking, "makesBeforeBreaking")
        reader.update(&result.disconnectCheckInterval, "disconnectCheckInterval")
        reader.update(&result.reconnectCheckInterval, "reconnectCheckInterval")
        reader.update(&result.disconnectMargin, "disconnectMargin")
        reader.update(&result.maximumConnectionAge, "maximumConnectionAge")
        reader.update(&result.handoverTimeout, "handoverTimeout")
        reader.update(&result.silenceTimeout, "silenceTimeout")
        reader.update(&result.preparationTimeout, "preparationTimeout")
        reader.update(&result.alertInterval, "alertInterval")
        let alerts = reader.scoped(to: "alertIntervals")
        for kind in WebSocketSessionAlert.Kind.allCases {
            alerts.update(&result.alertIntervals[kind], ConfigKey(kind.rawValue))
        }
        reader.update(&result.outboundDeadline, "outboundDeadline")
        reader.update(&result.inboundMessages, "inboundMessages")
        reader.update(&result.inboundBytes, "inboundBytes")
        reader.update(&result.outboundQueue, "outboundQueue")
        let subscriptions = reader.scoped(to: "subscriptions")
        subscriptions.update(&result.subscriptions.replyTimeout, "replyTimeout")
        subscriptions.update(&result.subscriptions.retryDelay, "retryDelay")
        subscriptions.update(&result.subscriptions.attempts, "attempts")
        subscriptions.update(&result.subscriptions.interval, "interval")
        subscriptions.update(&result.subscriptions.batchSize, "batchSize")
        if let delivery = subscriptions.string(forKey: "delivery").flatMap(WebSocketSubscriptionDelivery.init) {
            result.subscriptions.delivery = delivery
        }
        if let policy = reader.string(forKey: "overflow").flatMap(WebSocketOverflowPolicy.init) {
            result.overflow = policy
        }
        self = result
    }

    /// What a preset has to say; the rest, closures above all, stays.
    private mutating func apply(preset: Self) {
        client.options.keepAlive = preset.client.options.keepAlive
        reconnect.strategy = preset.reconnect.strategy
        reconnect.maximumAttempts = preset.reconnect.maximumAttempts
        disconnectCheckInterval = preset.disconnectCheckInterval
        reconnectCheckInterval = preset.reconnectCheckInterval
    }
}

extension WebSocketClientConfiguration {
    /// A configuration with the values that `reader` has.
    ///
    /// | key | value |
    /// |---|---|
    /// | `openTimeout`, `closeTimeout`, `flushTimeout` | seconds |
    /// | `keepAlive` | a Boolean: false for no pings |
    /// | `keepAlive.interval`, `keepAlive.timeout` | seconds; the timeout may be `none` |
    /// | `maximumMessageSize` | bytes |
    /// | `compression` | a Boolean: permessage-deflate with its defaults, or none |
    /// | `subprotocols` | a list |
    /// | `userAgent` | the header |
    /// | `authorization` | the header of this name, a secret: access reporters do not show it |
    /// | `maximumRedirects` | a number |
    ///
    /// See ``WebSocketSessionConfiguration/init(from:defaults:)`` for what counts as a value.
    ///
    /// - Parameters:
    ///   - reader: Where the values are.
    ///   - defaults: What holds where the reader has nothing.
    public init(from reader: ConfigReader, defaults: Self = .init()) {
        self = defaults
        reader.update(&openTimeout, "openTimeout")
        reader.update(&options.closeTimeout, "closeTimeout")
        reader.update(&options.flushTimeout, "flushTimeout")
        reader.update(&options.maximumMessageSize, "maximumMessageSize")
        reader.update(&maximumRedirects, "maximumRedirects")
        if let names = reader.stringArray(forKey: "subprotocols") { subprotocols = names }
        if let name = reader.string(forKey: "userAgent") { userAgent = name }
        if let value = reader.string(forKey: "authorization", isSecret: true) { headers[.authorization] = value }
        if let compresses = reader.bool(forKey: "compression") {
            switch (compresses, options.compression) {
            case (true, .disabled): options.compression = .deflate()
            case (true, .deflate): break
            case (false, _): options.compression = .disabled
            }
        }
        if reader.bool(forKey: "keepAlive") == false {
            options.keepAlive = nil
        } else {
            let pings = reader.scoped(to: "keepAlive")
            var keepAlive = options.keepAlive ?? .init()
            let changed = pings.update(&keepAlive.interval, "interval")
            if pings.update(&keepAlive.timeout, "timeout") || changed || reader.bool(forKey: "keepAlive") == true {
                options.keepAlive = keepAlive
            }
        }
    }
}

extension WebSocketReconnectPolicy {
    fileprivate mutating func update(from reader: ConfigReader) {
        reader.update(&stableTime, "stableTime")
        reader.update(&serverUnavailableDelay, "serverUnavailableDelay")
        reader.update(&maximumRetryAfter, "maximumRetryAfter")
        if reader.string(forKey: "maximumAttempts") == "unlimited" {
            maximumAttempts = nil
        } else if let number = reader.int(forKey: "maximumAttempts") {
            maximumAttempts = number
        }
        var (name, base, maximum) = ("", Duration.seconds(1), Duration.seconds(60))
        switch strategy {
        case .immediate: name = "immediate"
        case .fixed(let delay): (name, base) = ("fixed", delay)
        case .exponential(let least, let most): (name, base, maximum) = ("exponential", least, most)
        case .fullJitter(let least, let most): (name, base, maximum) = ("fullJitter", least, most)
        case .callbackControlled: name = "callbackControlled"
        // A closure: only another name replaces it.
        case .custom: break
        }
        reader.update(&base, "delay")
        reader.update(&maximum, "maximumDelay")
        switch reader.string(forKey: "strategy") ?? name {
        case "immediate": strategy = .immediate
        case "fixed": strategy = .fixed(base)
        case "exponential": strategy = .exponential(base: base, maximum: maximum)
        case "fullJitter": strategy = .fullJitter(base: base, maximum: maximum)
        case "callbackControlled": strategy = .callbackControlled
        default: break
        }
    }
}

extension ConfigReader {
    /// Seconds. A provider of typed values may have a whole number where a fraction is asked for.
    private func seconds(_ key: ConfigKey) -> Duration? {
        guard let seconds = double(forKey: key) ?? int(forKey: key).map(Double.init), seconds.isFinite,
            // What a `Duration` holds, by far; every range ends before.
            abs(seconds) < 1e12
        else { return nil }
        return .seconds(seconds)
    }

    @discardableResult
    fileprivate func update(_ value: inout Duration, _ key: ConfigKey) -> Bool {
        guard let seconds = seconds(key) else { return false }
        value = seconds
        return true
    }

    @discardableResult
    fileprivate func update(_ value: inout Duration?, _ key: ConfigKey) -> Bool {
        if string(forKey: key) == "none" {
            value = nil
            return true
        }
        guard let seconds = seconds(key) else { return false }
        value = seconds
        return true
    }

    fileprivate func update(_ value: inout Int, _ key: ConfigKey) {
        if let number = int(forKey: key) { value = number }
    }

    fileprivate func update(_ value: inout Bool, _ key: ConfigKey) {
        if let flag = bool(forKey: key) { value = flag }
    }
}
#endif
