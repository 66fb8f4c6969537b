//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Glibc
import Testing

/// Sends a request to `wsx listen` and reads the whole answer.
func answer(
    _ url: String, _ target: String, _ headers: [String] = [], host: String = "127.0.0.1"
) async throws -> String {
    let port = try #require(url.split(separator: ":").last.flatMap { UInt16($0) })
    let request = "GET \(target) HTTP/1.1\r\nHost: \(host)\r\n" + headers.map { $0 + "\r\n" }.joined() + "\r\n"
    return await withCheckedContinuation { continuation in
        DispatchQueue(label: "request").async {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
            address.sin_port = port.bigEndian
            _ = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            _ = Glibc.send(descriptor, request, request.utf8.count, Int32(MSG_NOSIGNAL))
            var bytes: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 65_536)
            while case let count = read(descriptor, &chunk, chunk.count), count > 0 { bytes += chunk[..<count] }
            close(descriptor)
            continuation.resume(returning: String(decoding: bytes, as: UTF8.self))
        }
    }
}
