//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Glibc
import Synchronization

/// Standard output. Writing may block for as long as its reader likes, so it happens on a queue of its own and the
/// caller is suspended meanwhile: a slow reader slows the peer down, and never a loop.
final class Output: Sendable {
    static let standard = Output()

    private let queue = DispatchQueue(label: "wsx.output")

    /// Writes the bytes at once; `false` when nobody reads any more.
    func write(_ bytes: [UInt8]) async -> Bool {
        await withCheckedContinuation { continuation in
            queue.async {
                continuation.resume(returning: bytes.withUnsafeBytes { writeAll(STDOUT_FILENO, $0) })
            }
        }
    }

    @discardableResult
    func write(line: String) async -> Bool { await write(Array(line.utf8) + [UInt8(ascii: "\n")]) }

    @discardableResult
    func write(json: JSON) async -> Bool { await write(line: json.text) }
}

/// Standard input as lines. The descriptor is left as it is: making it non-blocking would change the terminal for the
/// shell too. So `read` blocks, on a queue of its own.
final class LineInput: Sendable {
    private struct State {
        var partial: [UInt8] = []
        var isAtEnd = false
    }
    private struct Waiter {
        var continuation: CheckedContinuation<[[UInt8]]?, Never>?
        var isCancelled = false
    }

    private let queue = DispatchQueue(label: "wsx.input")
    private let state = Mutex(State())
    private let waiter = Mutex(Waiter())

    /// The lines that one read completes, without their newlines; `nil` at the end of input or when cancelled.
    func next() async -> [[UInt8]]? {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isCancelled = waiter.withLock { waiter in
                    if !waiter.isCancelled { waiter.continuation = continuation }
                    return waiter.isCancelled
                }
                if isCancelled {
                    continuation.resume(returning: nil)
                    return
                }
                queue.async { self.resume(self.readLines()) }
            }
        } onCancel: {
            waiter.withLock { $0.isCancelled = true }
            // The read goes on blocking; its outcome has nobody to go to.
            resume(nil)
        }
    }

    private func resume(_ lines: [[UInt8]]?) {
        waiter.withLock { $0.continuation.take() }?.resume(returning: lines)
    }

    private func readLines() -> [[UInt8]]? {
        state.withLock { state in
            while !state.isAtEnd {
                let chunk = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
                    count = max(0, Self.read(into: buffer))
                }
                guard !chunk.isEmpty else {
                    state.isAtEnd = true
                    return state.partial.isEmpty ? nil : [state.partial]
                }
                var lines: [[UInt8]] = []
                var rest = chunk[...]
                while let newline = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    lines.append(state.partial + rest[..<newline])
                    state.partial = []
                    rest = rest[(newline + 1)...]
                }
                state.partial += rest
                if !lines.isEmpty { return lines }
            }
            return nil
        }
    }

    private static func read(into buffer: UnsafeMutableBufferPointer<UInt8>) -> Int {
        while true {
            let count = Glibc.read(STDIN_FILENO, buffer.baseAddress, buffer.count)
            if count >= 0 { return count }
            switch errno {
            case EINTR: continue
            case EAGAIN:
                var poll = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
                Glibc.poll(&poll, 1, -1)
            default: return -1
            }
        }
    }
}
