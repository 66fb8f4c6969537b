//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import WebSocketCore

/// Users and passwords of `wsx listen`.
enum CredentialsFile {
    /// One `user:password` a line; empty lines and those that begin with `#` are skipped.
    static func users(in path: String) throws -> [(String, String)] {
        guard let bytes = FileContents.read(path) else {
            throw CommandFailure(
                code: Exit.usage,
                message: "--basic-auth-file: “\(path)” cannot be read: \(String(cString: strerror(errno)))")
        }
        var users: [(String, String)] = []
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            let text = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            guard !text.isEmpty, text.first != UInt8(ascii: "#") else { continue }
            // The line is not repeated: it may be a password.
            guard let text = String(validating: text, as: UTF8.self), let entry = entry(text) else {
                throw CommandFailure(
                    code: Exit.usage, message: "--basic-auth-file: line \(index + 1) is not user:password")
            }
            users.append(entry)
        }
        guard !users.isEmpty else {
            throw CommandFailure(code: Exit.usage, message: "--basic-auth-file: “\(path)” has no user in it")
        }
        return users
    }

    /// The password may have colons, the user none (RFC 7617 §2).
    static func entry(_ text: String) -> (String, String)? {
        text.firstIndex(of: ":").map { (String(text[..<$0]), String(text[text.index(after: $0)...])) }
    }
}

enum FileContents {
    /// All bytes; `nil` and `errno` when that cannot be done.
    static func read(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return read(descriptor)
    }

    /// The bytes of a regular file, which ends; not of a pipe or a device. `nil` as above.
    static func readRegular(_ path: String) -> [UInt8]? {
        // Without waiting for a pipe's writer.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { return nil }
        guard info.st_mode & S_IFMT == S_IFREG else {
            errno = EINVAL
            return nil
        }
        return read(descriptor)
    }

    private static func read(_ descriptor: CInt) -> [UInt8]? {
        var result: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count == 0 { return result }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return nil }
            result += chunk[..<count]
        }
    }
}
