//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization
import Logging
import WebSockets
import WebSocketsTestKit

/// A server and clients of ours in this process, and a blocking socket for whoever feeds them. Used by one thread.
final class SocketFuzzer: Sendable {
    static let shared = {
        isStarted.store(true, ordering: .relaxed)
        return SocketFuzzer()
    }()
    private static let isStarted = Atomic<Bool>(false)
    /// Longer than this is a hang: nothing in the peer's hands may hold a connection that the peer has ended.
    static let patience: CInt = 30

    private let loops: WebSocketEventLoopGroup
    private let listener: WebSocketServer
    private let port: Int
    private let connections = Atomic<Int>(0)
    /// The server of our clients: one for all inputs, each of which makes one connection.
    private let peer = listen()

    private init() {
        do {
            loops = try WebSocketEventLoopGroup(count: 1)
            var configuration = WebSocketServerConfiguration()
            configuration.eventLoopGroup = loops
            configuration.options.keepAlive = nil
            configuration.options.maximumMessageSize = 64 << 10
            configuration.options.closeTimeout = .milliseconds(200)
            configuration.logger.logLevel = .critical
            let server = try WebSocketServer(configuration: configuration)
            listener = server
            port = server.port
            Task.detached {
                try await server.run { socket in
                    for try await message in socket.messages { try await socket.send(message) }
                }
            }
        } catch {
            fatalError("no server: \(error)")
        }
    }

    /// Blocks until the server has stopped.
    static func stop() {
        guard isStarted.load(ordering: .relaxed) else { return }
        let ended = Gate()
        Task.detached {
            await shared.listener.shutDown()
            await shared.loops.shutDown()
            ended.open()
        }
        _ = ended.wait(seconds: patience)
        close(shared.peer.descriptor)
    }

    // MARK: Targets

    func server(_ bytes: UnsafeRawBufferPointer) -> String? {
        let descriptor = Self.connect(port, connections.wrappingAdd(1, ordering: .relaxed).newValue)
        defer { close(descriptor) }
        return talk(descriptor, Array(bytes))
    }

    /// Bytes are read as frames: the first byte as it is, the second as a size, then the payload. So a fuzzer need not
    /// find out about masks and lengths.
    func frames(_ bytes: UnsafeRawBufferPointer) -> String? {
        let descriptor = Self.connect(port, connections.wrappingAdd(1, ordering: .relaxed).newValue)
        defer { close(descriptor) }
        var wire = WebSocketBytePeer.request(extensions: "permessage-deflate; client_no_context_takeover")
        var rest = bytes[...]
        while let first = rest.popFirst() {
            let size = Int(rest.popFirst() ?? 0)
            var frame = WebSocketWireFrame(first & 15, Array(rest.prefix(size)), final: first & 0x80 != 0)
            frame.reserved = .init(rawValue: first & 0x70)
            frame.maskKey = WebSocketBytePeer.someMaskKey
            wire += frame.bytes
            rest = rest.dropFirst(size)
        }
        return talk(descriptor, wire)
    }

    func client(_ bytes: UnsafeRawBufferPointer) -> String? {
        let ended = Gate()
        let answer = Answer()
        let loop = loops.next()
        let url = "ws://127.0.0.1:\(peer.port)/"
        Task.detached {
            var configuration = WebSocketClientConfiguration()
            configuration.eventLoop = loop
            configuration.options.keepAlive = nil
            configuration.options.maximumMessageSize = 64 << 10
            configuration.options.closeTimeout = .milliseconds(200)
            configuration.options.compression = .deflate()
            configuration.openTimeout = .seconds(5)
            do {
                let socket = try await WebSocketClient.connect(
                    to: url, configuration: configuration)
                while true { _ = try await socket.receive() }
            } catch {
                if !(error is WebSocketError) { answer.problem.withLock { $0 = "an undocumented error: \(error)" } }
            }
            ended.open()
        }
        let descriptor = CInt(Self.uninterrupted { Int(accept(peer.descriptor, nil, nil)) })
        defer { close(descriptor) }
        Self.limit(descriptor)
        var head: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4_096)
        while !head.suffix(4).elementsEqual("\r\n\r\n".utf8) {
            let count = Self.uninterrupted { read(descriptor, &chunk, chunk.count) }
            guard count > 0 else { return "the client sent no request" }
            head += chunk[..<count]
        }
        guard let request = try? WebSocketWireHead(head) else { return "the client's request is malformed" }
        // Either everything is the fuzzer's, or only what follows a right answer.
        var wire = Array(bytes.dropFirst())
        if let first = bytes.first, first & 1 == 0 {
            wire = WebSocketBytePeer.answer(to: request, extensions: first & 2 == 0 ? "permessage-deflate" : nil) + wire
        }
        if let problem = talk(descriptor, wire) { return problem }
        guard ended.wait(seconds: Self.patience) else { return "the client hangs" }
        return answer.problem.withLock { $0 }
    }

    // MARK: Sockets

    private final class Answer: Sendable { let problem = Mutex<String?>(nil) }

    /// libFuzzer's timer goes off every few seconds and interrupts whatever call it meets.
    static func uninterrupted(_ call: () -> Int) -> Int {
        while true {
            let result = call()
            if result >= 0 || errno != EINTR { return result }
        }
    }

    /// - Parameter number: Which connection of the process it is.
    static func connect(_ port: Int, _ number: Int) -> CInt {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        // From another address each time: whoever ends first keeps its port for a minute, and an address has 28,000.
        var source = Self.loopback(port: 0, host: 1 + number % 250)
        var yes: CInt = 1
        setsockopt(descriptor, CInt(IPPROTO_IP), Self.bindAddressNoPort, &yes, socklen_t(MemoryLayout<CInt>.size))
        var address = Self.loopback(port: port)
        let isConnected =
            Self.with(&source) { bind(descriptor, $0, $1) == 0 }
            && Self.with(&address) { address, length in
                // On Linux a repeated call goes on with the one that was interrupted.
                uninterrupted { Int(Glibc.connect(descriptor, address, length)) } == 0
            }
        guard isConnected else { fatalError("no connection: errno \(errno)") }
        Self.limit(descriptor)
        return descriptor
    }

    /// Sends everything, ends its direction, and reads to the end.
    private func talk(_ descriptor: CInt, _ wire: [UInt8]) -> String? {
        // What echoes back must not fill both directions: inputs are small, and the rest is read before it is sent.
        _ = Self.uninterrupted { Glibc.send(descriptor, wire, wire.count, CInt(MSG_NOSIGNAL)) }
        return Self.readToEnd(descriptor)
    }

    /// Ends this direction, and reads to the end of the other.
    static func readToEnd(_ descriptor: CInt) -> String? {
        shutdown(descriptor, CInt(SHUT_WR))
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = uninterrupted { read(descriptor, &chunk, chunk.count) }
            if count > 0 { continue }
            return count < 0 && errno == EAGAIN ? "the connection outlives its peer" : nil
        }
    }

    private static func limit(_ descriptor: CInt) {
        var limit = timeval(tv_sec: Int(patience), tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        // Thousands of connections a second would use up the ports in TIME_WAIT; a reset leaves none.
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    }

    /// IP_BIND_ADDRESS_NO_PORT of <linux/in.h>.
    private static let bindAddressNoPort: CInt = 24

    private static func loopback(port: Int, host: Int = 1) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = (in_addr_t(INADDR_LOOPBACK) - 1 + in_addr_t(host)).bigEndian
        address.sin_port = in_port_t(port).bigEndian
        return address
    }

    private static func with(_ address: inout sockaddr_in, _ call: (UnsafeMutablePointer<sockaddr>, socklen_t) -> Bool)
        -> Bool
    {
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                call($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    private static func listen() -> (descriptor: CInt, port: Int) {
        let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        var address = loopback(port: 0)
        let isListening = with(&address) { pointer, length in
            var length = length
            return bind(descriptor, pointer, length) == 0 && Glibc.listen(descriptor, 4) == 0
                && getsockname(descriptor, pointer, &length) == 0
        }
        guard isListening else { fatalError("no listener: errno \(errno)") }
        return (descriptor, Int(in_port_t(bigEndian: address.sin_port)))
    }
}

/// Opened once, by another thread.
final class Gate: @unchecked Sendable {
    // The semaphore is its own synchronisation.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    init() { sem_init(semaphore, 0, 0) }
    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }
    func open() { sem_post(semaphore) }
    func wait(seconds: CInt) -> Bool {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        time.tv_sec += Int(seconds)
        while sem_timedwait(semaphore, &time) != 0 { if errno != EINTR { return false } }
        return true
    }
}
