//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Dispatch
import Glibc
import Synchronization

/// A stream of bytes to another program. Neither reading nor writing holds a thread while it waits: there may be
/// thousands of streams, and Dispatch has some 250 threads.
final class ByteStream: Sendable {
    private let descriptor: CInt
    /// A sign of life while the end of writing is awaited.
    private let written = Atomic<Int>(0)

    /// How long the other program may take nothing before what waits for it is given up.
    private static let patience = Duration.seconds(2)

    /// Takes over a connected stream socket.
    init(_ descriptor: CInt) {
        self.descriptor = descriptor
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    /// Some bytes; `nil` at the end.
    func read() async -> [UInt8]? {
        while true {
            let (bytes, error) = withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 1) { buffer in
                let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
                return (Array(buffer.prefix(max(0, count))), count < 0 ? errno : 0)
            }
            switch error {
            case 0: return bytes.isEmpty ? nil : bytes
            case EAGAIN: await Readiness.wait(for: .readable, descriptor)
            case EINTR: continue
            default: return nil
            }
        }
    }

    /// `false` when nothing is read any more.
    func write(_ bytes: [UInt8]) async -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let (count, error) = rest.withUnsafeBytes { buffer in
                let count = Glibc.send(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_NOSIGNAL))
                return (count, count < 0 ? errno : 0)
            }
            switch error {
            case 0:
                rest = rest.dropFirst(count)
                written.wrappingAdd(count, ordering: .relaxed)
            case EAGAIN: await Readiness.wait(for: .writable, descriptor)
            case EINTR: continue
            default: return false
            }
        }
        return true
    }

    /// Ends both directions, also for calls that wait. What was written can still be read at the other end.
    func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

    /// Ends the stream once nothing of what waits has been taken for a while.
    func endWhenStuck() async {
        var before = -1
        while !Task.isCancelled {
            let now = written.load(ordering: .relaxed)
            guard now != before else { return end() }
            before = now
            try? await Task.sleep(for: Self.patience)
        }
    }

    deinit { close(descriptor) }
}

/// Waits until descriptors are ready: Dispatch watches all of them on one thread.
enum Readiness {
    enum Direction { case readable, writable }

    private static let queue = DispatchQueue(label: "wsx.readiness")

    /// The descriptor must stay open meanwhile; an error or an end of the stream is readiness too.
    static func wait(for direction: Direction, _ descriptor: CInt) async {
        await withCheckedContinuation { continuation in
            let source: any DispatchSourceProtocol =
                switch direction {
                case .readable: DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
                case .writable: DispatchSource.makeWriteSource(fileDescriptor: descriptor, queue: queue)
                }
            source.setEventHandler { source.cancel() }
            // Dispatch has let go of the descriptor by then.
            source.setCancelHandler { continuation.resume() }
            source.resume()
        }
    }
}
