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
    /// `--timestamps`
    static let showsTimes = Atomic<Bool>(false)

    private let queue = DispatchQueue(label: "wsx.output")
    private let firstError = Atomic<CInt>(0)

    /// Writes the bytes at once; `false` when that cannot be done any more. ``check()`` tells why.
    func write(_ bytes: [UInt8]) async -> Bool {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                let error = Keyboard.print(bytes, to: STDOUT_FILENO)
                if error != 0 { _ = firstError.compareExchange(expected: 0, desired: error, ordering: .relaxed) }
                continuation.resume(returning: error == 0)
            }
        }
    }

    @discardableResult
    func write(line: String) async -> Bool {
        let time = Self.showsTimes.load(ordering: .relaxed) ? UTC.now.text + " " : ""
        return await write(Array((time + line + "\n").utf8))
    }

    @discardableResult
    func write(json: JSON) async -> Bool {
        guard Self.showsTimes.load(ordering: .relaxed), case .object(let members) = json else {
            return await write(Array((json.text + "\n").utf8))
        }
        return await write(Array((JSON.object(members + [("time", .string(UTC.now.text))]).text + "\n").utf8))
    }

    /// Throws what was not written: a full disk, say. As with any filter, a reader that has seen enough is no failure.
    func check() throws {
        Keyboard.giveBack()
        let error = firstError.load(ordering: .relaxed)
        // Some file systems tell only now.
        let isClosed = close(STDOUT_FILENO) == 0 || errno == EBADF
        guard error != 0 || !isClosed else { return }
        guard error != EPIPE else { return }
        throw CommandFailure(
            code: Exit.outputFailed,
            message: "standard output cannot be written: \(String(cString: strerror(error != 0 ? error : errno)))")
    }
}

/// Standard input in pieces. The descriptor is left as it is: making it non-blocking would change the terminal for the
/// shell too. So `read` blocks, on a queue of its own.
final class Input: Sendable {
    /// What a message is made of.
    enum Framing: Sendable {
        case lines
        /// What one read returns.
        case chunks
        /// Everything up to the end.
        case whole
    }

    private struct State {
        var splitter = LineSplitter(limit: .max)
        var whole: [UInt8] = []
        var isAtEnd = false
    }
    private struct Waiter {
        var continuation: CheckedContinuation<[[UInt8]]?, Never>?
        var isCancelled = false
    }

    private let framing: Framing
    private let queue = DispatchQueue(label: "wsx.input")
    private let state = Mutex(State())
    private let waiter = Mutex(Waiter())
    private let error = Atomic<CInt>(0)

    init(_ framing: Framing) { self.framing = framing }

    /// Why the input ended early, if it did.
    var failure: CommandFailure? {
        let error = error.load(ordering: .relaxed)
        guard error != 0 else { return nil }
        return CommandFailure(
            code: Exit.usage, message: "standard input cannot be read: \(String(cString: strerror(error)))")
    }

    /// The pieces that one read completes, lines without their newlines; `nil` at the end of input or when cancelled.
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
                queue.async { self.resume(self.readPieces()) }
            }
        } onCancel: {
            waiter.withLock { $0.isCancelled = true }
            // The read goes on blocking; its outcome has no receiver.
            resume(nil)
        }
    }

    private func resume(_ lines: [[UInt8]]?) {
        waiter.withLock { $0.continuation.take() }?.resume(returning: lines)
    }

    private func readPieces() -> [[UInt8]]? {
        state.withLock { state in
            while !state.isAtEnd {
                let chunk = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
                    count = read(into: buffer)
                }
                guard !chunk.isEmpty else {
                    state.isAtEnd = true
                    let rest = state.whole + state.splitter.rest
                    return rest.isEmpty ? nil : [rest]
                }
                switch framing {
                case .chunks: return [chunk]
                case .whole: state.whole += chunk
                case .lines:
                    var lines: [[UInt8]] = []
                    _ = state.splitter.take(chunk) { lines.append(Array($0)) }
                    if !lines.isEmpty { return lines }
                }
            }
            return nil
        }
    }

    private func read(into buffer: UnsafeMutableBufferPointer<UInt8>) -> Int {
        while true {
            let count = Glibc.read(STDIN_FILENO, buffer.baseAddress, buffer.count)
            if count >= 0 { return count }
            switch errno {
            case EINTR: continue
            case EAGAIN:
                var poll = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
                Glibc.poll(&poll, 1, -1)
            default:
                error.store(errno, ordering: .relaxed)
                return 0
            }
        }
    }
}
