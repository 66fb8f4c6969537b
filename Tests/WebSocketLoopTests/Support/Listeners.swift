//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import TestSupport
import Testing

/// Listens at a loopback address of its own, `127.0.0.<last>`, on a port that others have chosen.
func listen(last: UInt8, port: Int, backlog: CInt = 16) throws -> CInt {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    let status = withAddress(last: last, port: port) { bind(descriptor, $0, $1) }
    try #require(status == 0 && listen(descriptor, backlog) == 0, "errno \(errno)")
    return descriptor
}

private let SOCK_CLOEXEC = Int32(Glibc.SOCK_CLOEXEC.rawValue)
private let SOCK_NONBLOCK = Int32(Glibc.SOCK_NONBLOCK.rawValue)

private func withAddress(last: UInt8, port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(0x7F00_0000 | UInt32(last)).bigEndian
    address.sin_port = in_port_t(port).bigEndian
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
}

/// An address that answers no SYN, for the time of the body: its backlog is full.
func withBlackHole<Result>(last: UInt8, port: Int, _ body: () async throws -> Result) async throws -> Result {
    var descriptors = [try listen(last: last, port: port, backlog: 0)]
    defer { for descriptor in descriptors { close(descriptor) } }
    var isFull = false
    while !isFull, descriptors.count < 16 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
        descriptors.append(descriptor)
        _ = withAddress(last: last, port: port) { connect(descriptor, $0, $1) }
        var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        isFull = Glibc.poll(&poll, 1, 100) == 0
    }
    try #require(isFull, "the backlog does not fill")
    return try await body()
}

/// A Unix socket at a path that does not exist yet, or an abstract one with `@` in front.
func withUnixAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    if path.hasPrefix("@") { withUnsafeMutableBytes(of: &address.sun_path) { $0[0] = 0 } }
    let length = MemoryLayout<sa_family_t>.size + path.utf8.count + (path.hasPrefix("@") ? 0 : 1)
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(length)) }
    }
}

func listen(unix path: String, backlog: CInt = 16) throws -> CInt {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    let status = withUnixAddress(path) { bind(descriptor, $0, $1) }
    try #require(status == 0 && listen(descriptor, backlog) == 0, "errno \(errno)")
    return descriptor
}

/// Connects to a Unix socket without waiting; the errno, 0 for none.
func connect(unix path: String) -> (descriptor: CInt, code: CInt) {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    let status = withUnixAddress(path) { Glibc.connect(descriptor, $0, $1) }
    return (descriptor, status == 0 ? 0 : errno)
}

/// A name in the file system that nobody else has, removed afterwards.
func withTemporaryPath<Result>(_ body: (String) async throws -> Result) async throws -> Result {
    var template = Array("/tmp/wsx-test-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
        unlink(directory + "/socket")
        rmdir(directory)
    }
    return try await body(directory + "/socket")
}
