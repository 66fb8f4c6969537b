//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization

/// A TCP relay in front of a server: the network, which can be slow, silent, or gone.
final class Relay: Sendable {
    struct Conditions {
        /// What a new connection waits before it reaches the server.
        var connectDelay: Duration = .zero
        /// Nothing is passed on; TCP stays up.
        var isSilent = false
        /// Bytes that still go to the client, then silence in that direction.
        var bytesToClient = Int.max
    }

    private enum Command { case kill, refuse, listen, stop }

    private struct Pair {
        var client: CInt
        var server: CInt = -1
        var connectAt: ContinuousClock.Instant
    }

    private struct Shared {
        var conditions = Conditions()
        var commands: [Command] = []
        var accepted = 0
    }

    let port: Int
    private let upstream: Int
    private let host: String
    private let shared = Mutex(Shared())
    private let wakeRead: CInt
    private let wakeWrite: CInt
    private let ended = Ending()

    init(to upstream: Int, host: String = "127.0.0.1", port: Int = 0) throws {
        self.upstream = upstream
        self.host = host
        var ends: [CInt] = [0, 0]
        guard pipe(&ends) == 0 else { throw Failure() }
        (wakeRead, wakeWrite) = (ends[0], ends[1])
        let (listener, port) = try Self.listen(host: host, port: port)
        self.port = port
        let start = Unmanaged.passRetained(Start(relay: self, listener: listener)).toOpaque()
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { argument in
                let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
                start.relay.run(start.listener)
                start.relay.ended.signal()
                return nil
            }, start)
        pthread_detach(thread)
    }

    struct Failure: Error {}
    private final class Start {
        let relay: Relay
        let listener: CInt
        init(relay: Relay, listener: CInt) { (self.relay, self.listener) = (relay, listener) }
    }

    var url: String { "ws://\(host):\(port)/" }
    /// Connections that came.
    var accepted: Int { shared.withLock { $0.accepted } }

    func change(_ body: @Sendable (inout Conditions) -> Void) {
        shared.withLock { body(&$0.conditions) }
        wake()
    }

    /// Resets every connection.
    func kill() { send(.kill) }
    /// Refuses connections from now on, and resets those there are.
    func refuse() { send(.refuse) }
    /// Accepts connections again, on the same port.
    func listen() { send(.listen) }
    func stop() {
        send(.stop)
        ended.wait()
    }

    private func send(_ command: Command) {
        shared.withLock { $0.commands.append(command) }
        wake()
    }

    private func wake() {
        var byte: UInt8 = 1
        _ = write(wakeWrite, &byte, 1)
    }

    private static func listen(host: String, port: Int) throws -> (CInt, Int) {
        let listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var one: CInt = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        inet_pton(AF_INET, host, &address.sin_addr)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(listener, address, length) == 0 && Glibc.listen(listener, 128) == 0
                    && getsockname(listener, address, &length) == 0
            }
        }
        guard isBound else { throw Failure() }
        return (listener, Int(in_port_t(bigEndian: address.sin_port)))
    }

    // MARK: The relay's thread

    private func run(_ first: CInt) {
        var listener = first
        var pairs: [Pair] = []
        defer {
            for pair in pairs { Self.end(pair, isReset: true) }
            for descriptor in [listener, wakeRead, wakeWrite] where descriptor >= 0 { close(descriptor) }
        }
        while true {
            let (conditions, commands) = shared.withLock { shared in
                defer { shared.commands = [] }
                return (shared.conditions, shared.commands)
            }
            for command in commands {
                switch command {
                case .stop: return
                case .listen: if listener < 0 { listener = (try? Self.listen(host: host, port: port).0) ?? -1 }
                case .kill, .refuse:
                    for pair in pairs { Self.end(pair, isReset: true) }
                    pairs = []
                    if command == .refuse, listener >= 0 {
                        close(listener)
                        listener = -1
                    }
                }
            }
            let now = ContinuousClock.now
            for index in pairs.indices where pairs[index].server < 0 && pairs[index].connectAt <= now {
                if !conditions.isSilent { pairs[index].server = connectUpstream() }
            }
            let next = pairs.filter { $0.server < 0 }.map(\.connectAt).min()
            let timeout = conditions.isSilent ? nil : next.map { max(1, Int32(($0 - now) / .milliseconds(1)) + 1) }

            var polls = [pollfd(fd: wakeRead, events: Int16(POLLIN), revents: 0)]
            if listener >= 0 { polls.append(pollfd(fd: listener, events: Int16(POLLIN), revents: 0)) }
            if !conditions.isSilent {
                for pair in pairs where pair.server >= 0 {
                    polls.append(pollfd(fd: pair.client, events: Int16(POLLIN), revents: 0))
                    if conditions.bytesToClient > 0 {
                        polls.append(pollfd(fd: pair.server, events: Int16(POLLIN), revents: 0))
                    }
                }
            }
            poll(&polls, nfds_t(polls.count), timeout ?? -1)
            let ready = Set(polls.filter { $0.revents != 0 }.map(\.fd))
            if ready.contains(wakeRead) {
                var bytes = [UInt8](repeating: 0, count: 64)
                _ = read(wakeRead, &bytes, 64)
                continue
            }
            if listener >= 0, ready.contains(listener) {
                let client = accept(listener, nil, nil)
                if client >= 0 {
                    shared.withLock { $0.accepted += 1 }
                    pairs.append(Pair(client: client, connectAt: .now + conditions.connectDelay))
                }
            }
            pairs.removeAll { pair in
                var isOver = false
                if ready.contains(pair.client) { isOver = !pass(from: pair.client, to: pair.server) }
                if !isOver, pair.server >= 0, ready.contains(pair.server) { isOver = !passToClient(pair) }
                if isOver { Self.end(pair, isReset: false) }
                return isOver
            }
        }
    }

    private func passToClient(_ pair: Pair) -> Bool {
        let limit = shared.withLock { $0.conditions.bytesToClient }
        guard limit > 0 else { return true }
        var bytes = [UInt8](repeating: 0, count: min(limit, 64 << 10))
        let count = read(pair.server, &bytes, bytes.count)
        guard count > 0, Self.writeAll(pair.client, bytes[..<count]) else { return false }
        shared.withLock { if $0.conditions.bytesToClient != .max { $0.conditions.bytesToClient -= count } }
        return true
    }

    private func pass(from source: CInt, to destination: CInt) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = read(source, &bytes, bytes.count)
        return count > 0 && Self.writeAll(destination, bytes[..<count])
    }

    private static func writeAll(_ descriptor: CInt, _ bytes: ArraySlice<UInt8>) -> Bool {
        bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count {
                let count = Glibc.send(descriptor, buffer.baseAddress! + done, buffer.count - done, CInt(MSG_NOSIGNAL))
                if count <= 0 { return false }
                done += count
            }
            return true
        }
    }

    private func connectUpstream() -> CInt {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(upstream).bigEndian
        inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
        _ = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        return descriptor
    }

    private static func end(_ pair: Pair, isReset: Bool) {
        for descriptor in [pair.client, pair.server] where descriptor >= 0 {
            var linger = linger(l_onoff: 1, l_linger: 0)
            if isReset {
                setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
            }
            close(descriptor)
        }
    }
}

/// Lets a thread wait for another one's end.
private final class Ending: @unchecked Sendable {
    // The semaphore is its own synchronisation.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    init() { sem_init(semaphore, 0, 0) }
    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
    func signal() { sem_post(semaphore) }
    func wait() { while sem_wait(semaphore) != 0 {} }
}
