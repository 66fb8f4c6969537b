//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Glibc
import WebSockets

/// A stream of bytes to another program. Reads and writes block, on queues of their own.
final class ByteStream: Sendable {
    private let descriptor: CInt
    private let reading = DispatchQueue(label: "wsx.stream.read")
    private let writing = DispatchQueue(label: "wsx.stream.write")

    /// Takes over a connected stream socket.
    init(_ descriptor: CInt) { self.descriptor = descriptor }

    /// Some bytes; `nil` at the end.
    func read() async -> [UInt8]? {
        await withCheckedContinuation { continuation in
            reading.async { [self] in
                var chunk = [UInt8](repeating: 0, count: 64 << 10)
                var count = 0
                repeat { count = Glibc.read(descriptor, &chunk, chunk.count) } while count < 0 && errno == EINTR
                continuation.resume(returning: count > 0 ? Array(chunk[..<count]) : nil)
            }
        }
    }

    /// `false` when nobody reads any more.
    func write(_ bytes: [UInt8]) async -> Bool {
        await withCheckedContinuation { continuation in
            writing.async { [self] in
                continuation.resume(returning: bytes.withUnsafeBytes { writeAll(descriptor, $0) })
            }
        }
    }

    /// Ends both directions, also for calls that are blocked.
    func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

    deinit { close(descriptor) }
}

/// A service behind `wsx listen --to`.
enum Upstream: Sendable {
    case tcp(host: String, port: String)
    case unix(path: String)

    /// `tcp:host:port`, with an IPv6 host in brackets, or `unix:path`.
    init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = String(text.dropFirst(5))
            guard !path.isEmpty, path.utf8.count < 108 else { return nil }
            self = .unix(path: path)
            return
        }
        guard text.hasPrefix("tcp:"), let colon = text.lastIndex(of: ":") else { return nil }
        var host = text[text.index(text.startIndex, offsetBy: 4)...]
        guard host.startIndex <= colon else { return nil }
        host = host[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        let port = text[text.index(after: colon)...]
        guard !host.isEmpty, let number = Int(port), (1...65_535).contains(number) else { return nil }
        self = .tcp(host: String(host), port: String(port))
    }

    /// Connects, on a thread that may block.
    func connect() async -> ByteStream? {
        await withCheckedContinuation { continuation in
            DispatchQueue(label: "wsx.upstream").async {
                continuation.resume(returning: connectNow().map { ByteStream($0) })
            }
        }
    }

    private func connectNow() -> CInt? {
        let flags = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        switch self {
        case .unix(let path):
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            let descriptor = socket(AF_UNIX, flags, 0)
            let status = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            if status == 0 { return descriptor }
            close(descriptor)
            return nil
        case .tcp(let host, let port):
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            var results: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(host, port, &hints, &results) == 0 else { return nil }
            defer { freeaddrinfo(results) }
            var entry = results
            while let address = entry?.pointee {
                let descriptor = socket(address.ai_family, flags, 0)
                if Glibc.connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 { return descriptor }
                close(descriptor)
                entry = address.ai_next
            }
            return nil
        }
    }
}

/// A command that serves one connection through its standard input and output.
struct ChildCommand: Sendable {
    let stream: ByteStream
    private let process: pid_t

    /// Starts the command in a shell; `nil` when that cannot be done. It learns about the connection from WSX_REMOTE and
    /// WSX_TARGET in its environment.
    init?(_ command: String, for socket: WebSocketConnection) {
        var ends: [CInt] = [-1, -1]
        guard
            socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0
        else { return nil }
        stream = ByteStream(ends[0])
        defer { close(ends[1]) }

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
        // This process ignores SIGPIPE, which a command does not expect.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))

        var variables = [
            "WSX_REMOTE=\(socket.remoteAddress?.description ?? "")", "WSX_TARGET=\(socket.requestTarget ?? "")",
        ]
        var entry = environ
        while let text = entry.pointee {
            variables.append(String(cString: text))
            entry += 1
        }
        func pointers(_ texts: [String]) -> [UnsafeMutablePointer<CChar>?] { texts.map { strdup($0) } + [nil] }
        var arguments = pointers(["/bin/sh", "-c", command])
        var environment = pointers(variables)
        defer { (arguments + environment).forEach { free($0) } }
        var process = pid_t()
        guard posix_spawn(&process, "/bin/sh", &actions, &attributes, &arguments, &environment) == 0 else { return nil }
        self.process = process
    }

    /// Ends the command, unless it has ended by itself, and waits for it.
    func end() async {
        stream.end()
        kill(process, SIGTERM)
        await withCheckedContinuation { continuation in
            DispatchQueue(label: "wsx.child").async { [process] in
                var status: CInt = 0
                while waitpid(process, &status, 0) < 0 && errno == EINTR {}
                continuation.resume()
            }
        }
    }
}
