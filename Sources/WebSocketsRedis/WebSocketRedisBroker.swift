//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import RedisWire
import Synchronization
import WebSocketConcurrency
public import WebSocketCore
import WebSocketLoop
public import WebSockets

/// Joins topics of several processes through a Redis 6 or later, a Valkey, or what speaks like them.
///
/// One connection subscribes and publishes; histories are read on a second one, which is opened when it is first needed.
/// Both are dialled, secured and verified like a client's WebSocket.
///
/// A user that may publish in Redis may write to every client, so the service should have one of its own:
/// `user wsx on >… resetkeys ~wsx:* resetchannels &wsx:* -@all +@connection +hello +role +info +subscribe +unsubscribe
/// +publish +evalsha +script|load +hmget +hset +get +set +del +xadd +xrange +expire +hgetall +hdel`. The last two are for
/// counts of subscribers.
public final class WebSocketRedisBroker: WebSocketTopicBroker {
    /// An order for each topic, histories, and counts.
    public let features: WebSocketTopicBrokerFeatures = [.topicOrder, .history, .counts]
    /// The URLs without credentials, and the prefix.
    public let name: String

    private let locations: [RedisLocation]
    private let configuration: WebSocketRedisConfiguration
    private let keys: RedisKeys
    private let loop: WebSocketEventLoop
    private struct State {
        var link: RedisLink?
        var reading: Reading?
        var lastReading = 0
        var isRunning = false
        var generation = 0
        /// Which of the locations was used last.
        var place = 0
    }
    private let state = Mutex(State())

    /// The connection that histories are read on, or the way to it. The number tells it from a later one: a task that hears of
    /// its end must not give up another, which nothing would close then.
    private struct Reading {
        let number: Int
        let task: Task<Reader, any Error>
    }

    /// A connection with what it found out.
    struct Reader: Sendable {
        let pipe: RedisPipe
        let server: RedisServer
    }

    /// A broker that connects when its topics run.
    ///
    /// - Parameters:
    ///   - url: `redis://[user:password@]host[:6379]`, `rediss://…` with TLS, or `unix:/path`.
    ///   - configuration: How to connect, and what is kept.
    /// - Throws: `invalidURL` or `invalidConfiguration`, which name what is wrong.
    public convenience init(
        url: String, configuration: WebSocketRedisConfiguration = .init()
    ) throws(WebSocketError) { try self.init(urls: [url], configuration: configuration) }

    /// A broker that connects to whichever of several servers is the primary, when its topics run.
    ///
    /// They are a primary and its replicas, between which something else decides, for example Sentinel or an operator: none
    /// is promoted by this. One that cannot be reached, or is a replica, is passed over for the next, from the one that was
    /// used last, or the first. Each of them may take `connectTimeout`.
    ///
    /// - Parameters:
    ///   - urls: 1 to 16, each as for one server; the same in all processes.
    ///   - configuration: How to connect, and what is kept. For several servers `requiresPrimary` must be true.
    /// - Throws: `invalidURL` or `invalidConfiguration`, which name what is wrong.
    public init(
        urls: [String], configuration: WebSocketRedisConfiguration = .init()
    ) throws(WebSocketError) {
        try configuration.validate()
        guard (1...16).contains(urls.count) else {
            throw WebSocketError(.invalidConfiguration, "there are \(urls.count) Redis URLs; there must be 1 to 16")
        }
        guard urls.count == 1 || configuration.requiresPrimary else {
            throw WebSocketError(
                .invalidConfiguration,
                "requiresPrimary is false, and without it processes could use different ones of several servers; give one URL"
            )
        }
        var locations: [RedisLocation] = []
        for url in urls { locations.append(try RedisLocation(url)) }
        self.locations = locations
        self.configuration = configuration
        keys = try RedisKeys(
            prefix: configuration.prefix, node: String(UInt64.random(in: .min ... .max), radix: 36))
        name = "\(locations.map(\.name).joined(separator: ", ")) (\(configuration.prefix))"
        if let eventLoop = configuration.eventLoop {
            loop = eventLoop
        } else {
            loop = WebSocketEventLoopGroup.shared.next()
        }
    }

    // MARK: Calls

    /// Asks for topics.
    public func subscribe(_ topics: [WebSocketTopicInterest]) { state.withLock { $0.link }?.call(.subscribe(topics)) }

    /// Gives topics up.
    public func unsubscribe(_ topics: [String]) { state.withLock { $0.link }?.call(.unsubscribe(topics)) }

    /// Publishes.
    public func publish(_ publications: [WebSocketTopicPublication]) {
        state.withLock { $0.link }?.call(.publish(publications))
    }

    /// Tells how many subscribers topics have here.
    public func tell(counts: [String: Int]) { state.withLock { $0.link }?.call(.counts(counts)) }

    /// Adds up what living processes have told, and forgets the others, on the connection for histories.
    public func subscriberCount(of topic: String) async throws(WebSocketError) -> Int {
        let reader = try await reader()
        let answer = try await ask(reader, ["HGETALL", keys.counts(topic)])
        var counts: [(node: String, count: Int)] = []
        switch answer {
        case .map(let pairs):
            for pair in pairs {
                guard let node = pair.key.text, let count = pair.value.number else { continue }
                counts.append((node, Int(clamping: count)))
            }
        case .error(let error): throw .redis(error)
        case .null, .simple, .integer, .double, .boolean, .bigNumber, .bulk, .verbatim, .array, .set, .push:
            throw WebSocketError(
                .protocolViolation,
                "Redis' answer about a topic's subscribers cannot be read; check that no other program writes its keys")
        }
        var sum = 0
        for (node, count) in counts {
            if try await ask(reader, ["GET", keys.lease(node)]).bytes != nil {
                sum += max(count, 0)
            } else {
                _ = try await ask(reader, ["HDEL", keys.counts(topic), node])
            }
        }
        return sum
    }

    private func ask(_ reader: Reader, _ words: [String]) async throws(WebSocketError) -> RESPValue {
        var writer = RESPWriter()
        writer.command(words)
        guard let answer = await ask(reader, writer.take()) else { throw noAnswer }
        return answer
    }

    private static var stopped: WebSocketError {
        WebSocketError(.shutDown, "the topics were stopped; serve with new ones")
    }

    private var noAnswer: WebSocketError {
        WebSocketError(.brokerUnavailable, "the connection to \(name) ended before it answered; try again")
    }

    /// Reads a history, on a connection of its own.
    public func history(
        of topic: String, after: WebSocketTopicPosition?, limit: Int
    ) async throws(WebSocketError) -> WebSocketTopicHistory {
        let reader = try await reader()
        var answer = await ask(reader, reader.server.read(keys, topic, after: after, limit: limit))
        if case .error(let error)? = answer, error.code == "NOSCRIPT" {
            var writer = RESPWriter()
            writer.command("SCRIPT", "LOAD", RedisScripts.read)
            _ = await ask(reader, writer.take())
            answer = await ask(reader, reader.server.read(keys, topic, after: after, limit: limit))
        }
        guard let answer else { throw noAnswer }
        return try RedisHistoryAnswer.parse(answer, topic: topic)
    }

    private func ask(_ reader: Reader, _ command: [UInt8]) async -> RESPValue? {
        await suspend { continuation in
            let isTaken = loop.execute { reader.pipe.send(command) { continuation.resume(returning: $0) } }
            if !isTaken { continuation.resume(returning: nil) }
        }
    }

    private func reader() async throws(WebSocketError) -> Reader {
        let reading = state.withLock { state -> Reading? in
            if let known = state.reading { return known }
            // Only `run` closes it.
            guard state.isRunning else { return nil }
            state.lastReading += 1
            let number = state.lastReading
            // At the server that the link is at, or was: no other has the same histories.
            let location = locations[state.place]
            let task = Task { () throws -> Reader in
                let (pipe, server) = try await self.open(location) { [self] _ in forgetReading(number) }
                return Reader(pipe: pipe, server: server)
            }
            state.reading = Reading(number: number, task: task)
            return state.reading
        }
        guard let reading else {
            throw WebSocketError(
                .brokerUnavailable, "no history is read from \(name) unless the topics run; call run()")
        }
        do {
            return try await reading.task.value
        } catch {
            forgetReading(reading.number)
            // It was given up for a new one, or because the topics were stopped: no wish of this caller's.
            guard let error = error as? WebSocketError, error.code != .cancelled else { throw noAnswer }
            throw error
        }
    }

    private func forgetReading(_ number: Int) {
        state.withLock { if $0.reading?.number == number { $0.reading = nil } }
    }

    // MARK: Running

    /// Connects, and connects again, until the task is cancelled.
    public func run(_ events: WebSocketTopicBrokerEvents) async {
        let isFirst = state.withLock { state in
            defer { state.isRunning = true }
            return !state.isRunning
        }
        guard isFirst else {
            return events.alert(
                WebSocketError(.invalidConfiguration, "this broker runs already; make one for each WebSocketTopics"))
        }
        warn(events)
        var engine = ReconnectEngine(policy: configuration.reconnectPolicy, seed: .random(in: .min ... .max))
        let clock = ContinuousClock()
        let began = clock.now
        var lastAlert: WebSocketError.Code?
        while !Task.isCancelled {
            let error: WebSocketError
            do throws(WebSocketError) {
                error = try await serve(events) {
                    lastAlert = nil
                    engine.connected(at: clock.now - began)
                }
            } catch let failure {
                error = failure
                // Once for each kind of trouble: it is tried again every few seconds.
                if lastAlert != failure.code, failure.code != .cancelled { events.alert(failure) }
                lastAlert = failure.code
            }
            guard !Task.isCancelled else { break }
            guard case .retry(let delay) = engine.next(after: .connectFailed(error), at: clock.now - began) else {
                break
            }
            try? await clock.sleep(for: max(delay, .milliseconds(10)))
        }
        state.withLock { $0.isRunning = false }
        await closeReading(Self.stopped)
    }

    /// Ends the connection for histories, if there is one, and waits until its socket is closed.
    private func closeReading(_ error: WebSocketError) async {
        let reading = state.withLock { state in
            defer { state.reading = nil }
            return state.reading
        }
        // One that is on its way gives up and closes what it has by then.
        reading?.task.cancel()
        if let reader = try? await reading?.task.value { await close(reader.pipe, error) }
    }

    /// Ends a connection, and waits until its socket is closed.
    private func close(_ pipe: RedisPipe, _ error: WebSocketError) async {
        await suspend { [loop] (continuation: LoopContinuation<Void>) in
            let isTaken = loop.execute {
                pipe.end(error)
                pipe.afterEnd { continuation.resume(returning: ()) }
            }
            // A loop that is gone has closed it.
            if !isTaken { continuation.resume(returning: ()) }
        }
    }

    private func warn(_ events: WebSocketTopicBrokerEvents) {
        for location in locations
        where !location.isPrivate && (location.credentials != nil || configuration.credentials != nil) {
            events.alert(
                WebSocketError(
                    .invalidConfiguration,
                    "the password for \(name(of: location)) goes over the network as it is; use rediss://"))
        }
    }

    private func name(of location: RedisLocation) -> String { "\(location.name) (\(configuration.prefix))" }

    /// One connection, from its beginning to its end. Returns why it ended.
    private func serve(
        _ events: WebSocketTopicBrokerEvents, connected: () -> Void
    ) async throws(WebSocketError) -> WebSocketError {
        let (pipe, server, ended) = try await openAny()
        // It may be at a server that was the primary before.
        await closeReading(noAnswer)
        let generation = state.withLock { state in
            state.generation += 1
            return state.generation
        }
        connected()
        // On the loop: what is told next must come behind it.
        let isTaken = await suspend { [self] (continuation: LoopContinuation<Bool>) in
            let isTaken = loop.execute { [self] in
                guard pipe.isOpen else { return continuation.resume(returning: false) }
                let link = RedisLink(
                    pipe, server: server, keys: keys, settings: configuration, loop: loop, events: events)
                link.start()
                state.withLock { $0.link = link }
                events.connected(generation: generation)
                continuation.resume(returning: true)
            }
            if !isTaken { continuation.resume(returning: false) }
        }
        var error = Self.stopped
        await withTaskCancellationHandler {
            for await reason in ended { error = reason }
        } onCancel: {
            loop.execute { pipe.end(Self.stopped) }
        }
        // A task that is cancelled hears nothing more of the stream.
        await close(pipe, Self.stopped)
        if isTaken {
            let link = state.withLock { state in
                defer { state.link = nil }
                return state.link
            }
            link?.close()
            events.disconnected(error)
        }
        return error
    }

    /// A connection to the first that will do, from the one that was used last, and a stream of why it has ended.
    private func openAny() async throws(WebSocketError) -> (RedisPipe, RedisServer, AsyncStream<WebSocketError>) {
        let first = state.withLock { $0.place }
        var failures: [WebSocketError] = []
        for step in locations.indices {
            let place = (first + step) % locations.count
            let (ended, end) = AsyncStream.makeStream(of: WebSocketError.self)
            do throws(WebSocketError) {
                let (pipe, server) = try await open(locations[place]) { error in
                    end.yield(error)
                    end.finish()
                }
                state.withLock { $0.place = place }
                return (pipe, server, ended)
            } catch {
                guard !Task.isCancelled, locations.count > 1 else { throw error }
                failures.append(
                    WebSocketError(error.code, "\(locations[place].name): \(error.message)"))
            }
        }
        let codes = Set(failures.map(\.code))
        throw WebSocketError(
            codes.count == 1 ? failures[0].code : .brokerUnavailable,
            "none of the servers will do: \(failures.map(\.message).joined(separator: "; "))")
    }

    /// Dials and asks everything that is asked before a connection is used.
    private func open(
        _ location: RedisLocation, _ onEnd: @escaping @Sendable (WebSocketError) -> Void
    ) async throws(WebSocketError) -> (RedisPipe, RedisServer) {
        var credentials = location.credentials
        if let closure = configuration.credentials {
            do {
                credentials = try await closure()
            } catch {
                throw WebSocketError(
                    .brokerUnavailable,
                    "the closure `credentials` threw an error; it is asked again with the next attempt")
            }
        }
        var way = ClientRequest.Way()
        way.connectTo = location.connectTo
        let request = try ClientRequest(
            url: location.url, fields: [:], subprotocols: [], options: WebSocketOptions(),
            openTimeout: configuration.connectTimeout, tls: configuration.tls, way: way)
        let (probeInterval, probeTimeout) = (configuration.probeInterval, configuration.probeTimeout)
        let box = PipeBox()
        _ = try await loop.openStream(request) { stream in
            let pipe = RedisPipe(stream, probeInterval: probeInterval, probeTimeout: probeTimeout)
            pipe.onEnd = onEnd
            box.pipe.withLock { $0 = pipe }
        }
        guard let pipe = box.pipe.withLock({ $0 }) else {
            throw WebSocketError(
                .brokerUnavailable,
                "the connection to \(name(of: location)) ended at once; check that a Redis answers there")
        }
        let greeting = RedisGreeting(
            pipe, loop: loop, name: name(of: location), timeout: configuration.connectTimeout)
        let result: Result<RedisServer, WebSocketError>
        do throws(WebSocketError) {
            result = .success(
                try await greeting.run(
                    credentials, keys: keys, requiresPrimary: configuration.requiresPrimary))
        } catch {
            result = .failure(error)
        }
        switch result {
        case .success(let server): return (pipe, server)
        case .failure(let error):
            await close(pipe, error)
            throw error
        }
    }
}

private final class PipeBox: Sendable {
    let pipe = Mutex<RedisPipe?>(nil)
}
