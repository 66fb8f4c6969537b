//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc

/// Reads small files whole.
enum FileBytes {
    /// No file of ours is larger than a bundle of all the authorities that there are, many times over.
    static let maximum = 4 << 20

    /// - Throws: `EFBIG` when it is larger than `maximum`.
    static func read(_ path: String) throws(SystemError) -> [UInt8] {
        guard !path.utf8.contains(0) else { throw SystemError(EINVAL) }
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .last }
        defer { close(descriptor) }
        var result: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = unsafe Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw .last }
            guard count > 0 else { return result }
            result += chunk[..<count]
            guard result.count <= maximum else { throw SystemError(EFBIG) }
        }
    }
}
