//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#if Configuration
import Configuration
import Synchronization
import Testing
import WebSockets

/// Configuration from swift-configuration. Compiled with its trait, as in `scripts/test --traits default,Configuration`.
@Suite struct SessionConfigurationTests {
    private func reader(_ values: [AbsoluteConfigKey: ConfigValue]) -> ConfigReader {
        ConfigReader(provider: InMemoryProvider(values: values))
    }

    @Test func everyKeyIsRead() throws {
        let configuration = WebSocketSessionConfiguration(
            from: reader([
                "reconnectsAutomatically": false, "makesBeforeBreaking": true, "disconnectCheckInterval": 7.5,
                "reconnectCheckInterval": 0.75, "disconnectMargin": 120, "maximumConnectionAge": 7_200,
                "preparationTimeout": 45, "alertInterval": 90, "outboundDeadline": "none", "inboundMessages": 17,
                "alertIntervals.disconnected": 10, "alertIntervals.gaveUp": 0,
                "inboundBytes": 100_000, "outboundQueue": 19, "overflow": "dropOldest",
                "subscriptions.replyTimeout": 3, "subscriptions.retryDelay": 0.5, "subscriptions.attempts": 5,
                "reconnect.strategy": "exponential", "reconnect.delay": 2, "reconnect.maximumDelay": 20,
                "reconnect.maximumAttempts": 7, "reconnect.stableTime": 30, "reconnect.serverUnavailableDelay": 40,
                "reconnect.maximumRetryAfter": 50, "client.openTimeout": 8, "client.closeTimeout": 2.5,
                "client.keepAlive.interval": 11, "client.keepAlive.timeout": 12, "client.maximumMessageSize": 4_096,
                "client.compression": true,
                "client.subprotocols": ConfigValue(.stringArray(["a", "b"]), isSecret: false),
                "client.userAgent": "feed/1",
                "client.authorization": ConfigValue("Bearer s3cret", isSecret: true), "client.maximumRedirects": 3,
            ]))
        #expect(!configuration.reconnectsAutomatically && configuration.makesBeforeBreaking)
        #expect(configuration.disconnectCheckInterval == .milliseconds(7_500))
        #expect(configuration.reconnectCheckInterval == .milliseconds(750))
        #expect(configuration.disconnectMargin == .seconds(120))
        #expect(configuration.maximumConnectionAge == .seconds(7_200))
        #expect(configuration.preparationTimeout == .seconds(45))
        #expect(configuration.alertInterval == .seconds(90))
        #expect(configuration.alertIntervals == [.disconnected: .seconds(10), .gaveUp: .zero])
        #expect(configuration.outboundDeadline == nil)
        #expect(configuration.inboundMessages == 17 && configuration.inboundBytes == 100_000)
        #expect(configuration.outboundQueue == 19 && configuration.overflow == .dropOldest)
        #expect(configuration.subscriptions.replyTimeout == .seconds(3))
        #expect(configuration.subscriptions.retryDelay == .milliseconds(500))
        #expect(configuration.subscriptions.attempts == 5)
        guard case .exponential(.seconds(2), .seconds(20)) = configuration.reconnect.strategy else {
            Issue.record("\(configuration.reconnect.strategy)")
            return
        }
        #expect(configuration.reconnect.maximumAttempts == 7)
        #expect(configuration.reconnect.stableTime == .seconds(30))
        #expect(configuration.reconnect.serverUnavailableDelay == .seconds(40))
        #expect(configuration.reconnect.maximumRetryAfter == .seconds(50))
        let client = configuration.client
        #expect(client.openTimeout == .seconds(8) && client.options.closeTimeout == .milliseconds(2_500))
        #expect(client.options.keepAlive == .init(interval: .seconds(11), timeout: .seconds(12)))
        #expect(client.options.maximumMessageSize == 4_096 && client.options.compression == .deflate())
        #expect(client.subprotocols == ["a", "b"] && client.userAgent == "feed/1" && client.maximumRedirects == 3)
        #expect(client.headers[.authorization] == "Bearer s3cret")
    }

    @Test func whatComesFromAReaderIsRefusedToo() throws {
        let keys: [AbsoluteConfigKey] = [
            "disconnectCheckInterval", "reconnectCheckInterval", "disconnectMargin", "maximumConnectionAge",
            "preparationTimeout", "alertInterval", "alertIntervals.disconnected", "inboundMessages", "inboundBytes",
            "outboundQueue",
            "handoverTimeout", "silenceTimeout", "subscriptions.interval", "subscriptions.batchSize",
            "subscriptions.replyTimeout", "subscriptions.attempts", "reconnect.stableTime",
            "reconnect.maximumAttempts", "reconnect.serverUnavailableDelay", "client.openTimeout",
            "client.keepAlive.interval", "client.keepAlive.timeout", "reconnect.maximumRetryAfter",
        ]
        for key in keys {
            let configuration = WebSocketSessionConfiguration(
                from: reader([key: ConfigValue(.int(-5), isSecret: false)]))
            let error = try #require(throws: WebSocketError.self) {
                _ = try WebSocketSession(to: "ws://fake.test", configuration: configuration)
            }
            #expect(error.code == .invalidConfiguration, "\(key): \(error)")
        }
    }

    @Test func whatCannotBeReadCountsAsAbsent() {
        var defaults = WebSocketSessionConfiguration()
        defaults.outboundQueue = 11
        defaults.messageIdentity = { _ in nil }
        let configuration = WebSocketSessionConfiguration(
            from: reader([
                "outboundQueue": "many", "overflow": "explode", "alertInterval": "soon", "preset": "gambling",
                "reconnect.strategy": "hope", "disconnectMargin": .init(.double(.infinity), isSecret: false),
                "maximumConnectionAge": .init(.double(1e300), isSecret: false),
            ]),
            defaults: defaults)
        #expect(configuration.outboundQueue == 11 && configuration.overflow == .suspendReading)
        #expect(configuration.alertInterval == .seconds(300) && configuration.disconnectMargin == .seconds(300))
        #expect(configuration.maximumConnectionAge == nil)
        guard case .fullJitter(.seconds(1), .seconds(60)) = configuration.reconnect.strategy else {
            Issue.record("\(configuration.reconnect.strategy)")
            return
        }
        // Closures are code: they stay.
        #expect(configuration.messageIdentity("a") == nil)
    }

    @Test func aPresetIsWhatTheOtherKeysChange() {
        var defaults = WebSocketSessionConfiguration()
        defaults.messageIdentity = { _ in nil }
        let trading = WebSocketSessionConfiguration(
            from: reader(["preset": "trading", "reconnect.maximumDelay": 10, "disconnectCheckInterval": 4]),
            defaults: defaults)
        #expect(trading.client.options.keepAlive?.interval == .seconds(15))
        #expect(trading.reconnect.maximumAttempts == 20 && trading.reconnectCheckInterval == .seconds(2))
        #expect(trading.disconnectCheckInterval == .seconds(4))
        #expect(trading.messageIdentity("a") == nil)
        guard case .fullJitter(.milliseconds(500), .seconds(10)) = trading.reconnect.strategy else {
            Issue.record("\(trading.reconnect.strategy)")
            return
        }
        let monitoring = WebSocketSessionConfiguration(
            from: reader(["preset": "monitoring", "reconnect.maximumAttempts": "unlimited"]))
        #expect(monitoring.client.options.keepAlive == .init(interval: .seconds(30), timeout: .seconds(15)))
        #expect(monitoring.reconnect.maximumAttempts == nil)
        #expect(monitoring.disconnectCheckInterval == .seconds(30))
    }

    @Test func everyStrategyHasAName() {
        func strategy(_ name: String) -> WebSocketReconnectPolicy.Strategy {
            WebSocketSessionConfiguration(
                from: reader(["reconnect.strategy": .init(.string(name), isSecret: false), "reconnect.delay": 3])
            ).reconnect.strategy
        }
        guard case .immediate = strategy("immediate"), case .fixed(.seconds(3)) = strategy("fixed"),
            case .exponential(.seconds(3), .seconds(60)) = strategy("exponential"),
            case .fullJitter(.seconds(3), .seconds(60)) = strategy("fullJitter"),
            case .callbackControlled = strategy("callbackControlled")
        else {
            Issue.record("a strategy was not read")
            return
        }
    }

    @Test func theEnvironmentIsAReader() throws {
        let environment = EnvironmentVariablesProvider(environmentVariables: [
            "FEED_PRESET": "trading", "FEED_OUTBOUND_QUEUE": "500", "FEED_OUTBOUND_DEADLINE": "2.5",
            "FEED_RECONNECT_MAXIMUM_ATTEMPTS": "unlimited", "FEED_CLIENT_KEEP_ALIVE": "false",
            "FEED_CLIENT_COMPRESSION": "true",
        ])
        let configuration = WebSocketSessionConfiguration(
            from: ConfigReader(provider: environment).scoped(to: "feed"))
        #expect(configuration.outboundQueue == 500)
        #expect(configuration.outboundDeadline == .milliseconds(2_500))
        #expect(configuration.reconnect.maximumAttempts == nil)
        #expect(configuration.client.options.keepAlive == nil)
        #expect(configuration.client.options.compression == .deflate())
        #expect(configuration.disconnectCheckInterval == .seconds(5))
        // A session goes by it.
        let session = try WebSocketSession(to: "ws://fake.test", configuration: configuration)
        #expect(session.configuration.outboundQueue == 500)
    }

    @Test func credentialsAreReadAsSecrets() {
        final class Reporter: AccessReporter {
            let texts = Mutex<[String]>([])
            func report(_ event: AccessEvent) { texts.withLock { $0.append("\(event)") } }
        }
        let reporter = Reporter()
        let provider = InMemoryProvider(values: ["authorization": "Bearer s3cret", "userAgent": "feed/1"])
        let client = WebSocketClientConfiguration(
            from: ConfigReader(provider: provider, accessReporter: reporter))
        #expect(client.headers[.authorization] == "Bearer s3cret")
        let texts = reporter.texts.withLock { $0 }
        #expect(texts.contains { $0.contains("feed/1") })
        #expect(!texts.contains { $0.contains("s3cret") })
    }
}
#endif
