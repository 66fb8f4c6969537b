//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Foundation
import Glibc
import Testing

/// A named pipe. Processes hold it open for writing, and its end tells that the last of them has gone.
final class Fifo: Sendable {
    let path: String
    private let queue = DispatchQueue(label: "fifo")

    init() throws {
        path = FileManager.default.temporaryDirectory.appending(path: "wsx-fifo-\(UUID().uuidString)").path
        try #require(mkfifo(path, 0o600) == 0)
    }

    /// Waits for a first writer, then for the last one to go; what they wrote.
    func end() async -> String {
        await withCheckedContinuation { continuation in
            queue.async { [path] in
                let descriptor = open(path, O_RDONLY | O_CLOEXEC)
                var bytes: [UInt8] = []
                var chunk = [UInt8](repeating: 0, count: 4_096)
                while case let count = read(descriptor, &chunk, chunk.count), count > 0 { bytes += chunk[..<count] }
                close(descriptor)
                continuation.resume(returning: String(decoding: bytes, as: UTF8.self))
            }
        }
    }

    deinit { unlink(path) }
}

/// A directory that is removed afterwards.
func withDirectory(_ body: (_ directory: URL) async throws -> Void) async throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: "wsx-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    try await body(directory)
}
