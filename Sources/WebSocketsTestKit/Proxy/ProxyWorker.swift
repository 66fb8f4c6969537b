//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc

/// The proxy's thread.
struct ProxyWorker {
    private typealias Instant = ContinuousClock.Instant

    private struct Connection {
        let client: CInt
        var server: CInt = -1
        let connectAt: ContinuousClock.Instant
        var isConnected = false
        var toServer = ProxyLane()
        var toClient = ProxyLane()
    }

    private let proxy: WebSocketFaultProxy
    private var listener: CInt
    private var random: ProxyRandom
    private var conditions: WebSocketFaultProxy.Conditions
    private var connections: [Connection] = []
    private var chunk = [UInt8](repeating: 0, count: 64 << 10)

    init(proxy: WebSocketFaultProxy, listener: CInt, seed: UInt64, conditions: WebSocketFaultProxy.Conditions) {
        self.proxy = proxy
        self.listener = listener
        self.conditions = conditions
        random = ProxyRandom(seed: seed)
    }

    mutating func run() {
        while true {
            for (command, done) in proxy.takeCommands() {
                defer { done.signal() }
                switch command {
                case .apply(let new): conditions = new
                case .kill: endAll()
                case .refuse:
                    endAll()
                    ProxySocket.end(listener, isReset: false)
                    listener = -1
                case .listen:
                    if listener < 0 {
                        listener = (try? ProxySocket.listen(host: proxy.host, port: proxy.port))?.0 ?? -1
                    }
                case .stop:
                    endAll()
                    ProxySocket.end(listener, isReset: false)
                    return
                }
            }
            turn()
        }
    }

    private mutating func endAll() {
        for connection in connections { end(connection, isReset: true) }
        connections = []
    }

    private func end(_ connection: Connection, isReset: Bool) {
        ProxySocket.end(connection.client, isReset: isReset)
        ProxySocket.end(connection.server, isReset: isReset)
    }

    private mutating func turn() {
        let now = Instant.now
        var wakeAt: Instant?
        var polls = [pollfd(fd: proxy.wakeRead, events: Int16(POLLIN), revents: 0)]
        func interest(_ descriptor: CInt, read: Bool, write: Bool) {
            let events = (read ? POLLIN : 0) | (write ? POLLOUT : 0)
            // Without an interest an end of the stream would wake us again and again.
            if events != 0 { polls.append(pollfd(fd: descriptor, events: Int16(events), revents: 0)) }
        }
        if listener >= 0 { interest(listener, read: true, write: false) }

        var index = 0
        while index < connections.count {
            var connection = connections[index]
            let verdict = advance(&connection, now: now)
            connections[index] = connection
            guard case .goOn = verdict else {
                end(connections.remove(at: index), isReset: verdict == .reset)
                continue
            }
            if connection.isConnected {
                interest(connection.client, read: connection.toServer.wantsRead, write: connection.toClient.wantsWrite)
                interest(connection.server, read: connection.toClient.wantsRead, write: connection.toServer.wantsWrite)
                for time in [connection.toServer.wakeAt, connection.toClient.wakeAt] {
                    if let time { wakeAt = min(wakeAt ?? time, time) }
                }
            } else if connection.server >= 0 {
                interest(connection.server, read: false, write: true)
            } else if connection.connectAt > now {
                wakeAt = min(wakeAt ?? connection.connectAt, connection.connectAt)
            }
            index += 1
        }

        var timeout: CInt = -1
        if let wakeAt {
            // Rounded up, or the last millisecond would be spent spinning.
            timeout = CInt(min(60_000, max(0, (wakeAt - Instant.now) / .milliseconds(1)).rounded(.up)))
        }
        poll(&polls, nfds_t(polls.count), timeout)
        let ready = Set(polls.filter { $0.revents != 0 }.map(\.fd))
        if ready.contains(proxy.wakeRead) { _ = read(proxy.wakeRead, &chunk, chunk.count) }
        if listener >= 0, ready.contains(listener) { acceptAll() }
        receive(ready)
    }

    private mutating func acceptAll() {
        while true {
            let client = ProxySocket.accept(listener)
            guard client >= 0 else { return }
            proxy.countAccepted()
            connections.append(Connection(client: client, connectAt: .now + conditions.connectDelay))
        }
    }

    /// Reads from whatever is ready.
    private mutating func receive(_ ready: Set<CInt>) {
        let now = Instant.now
        var index = 0
        while index < connections.count {
            var verdict = ProxyLane.Verdict.goOn
            let connection = connections[index]
            if !connection.isConnected, connection.server >= 0, ready.contains(connection.server) {
                if ProxySocket.connectError(connection.server) == 0 {
                    connections[index].isConnected = true
                } else {
                    verdict = .reset
                }
            } else {
                if connection.toServer.wantsRead, ready.contains(connection.client) {
                    verdict = connections[index].toServer.read(
                        from: connection.client, now: now, toxics: conditions.toServer, random: &random, chunk: &chunk)
                }
                if case .goOn = verdict, connection.toClient.wantsRead, ready.contains(connection.server) {
                    verdict = connections[index].toClient.read(
                        from: connection.server, now: now, toxics: conditions.toClient, random: &random, chunk: &chunk)
                }
            }
            if case .goOn = verdict {
                index += 1
            } else {
                end(connections.remove(at: index), isReset: verdict == .reset)
            }
        }
    }

    private mutating func advance(_ connection: inout Connection, now: Instant) -> ProxyLane.Verdict {
        guard connection.isConnected else {
            if connection.server < 0, connection.connectAt <= now, !conditions.isSilent {
                connection.server = ProxySocket.connect(host: proxy.upstream.host, port: proxy.upstream.port)
                if connection.server < 0 { return .reset }
            }
            return .goOn
        }
        var verdict = connection.toServer.advance(
            to: connection.server, now: now, toxics: conditions.toServer, random: &random)
        guard case .goOn = verdict else { return verdict }
        verdict = connection.toClient.advance(
            to: connection.client, now: now, toxics: conditions.toClient, random: &random)
        guard case .goOn = verdict else { return verdict }
        return connection.toServer.isFinished && connection.toClient.isFinished ? .close : .goOn
    }
}
