//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import FlyingFox
public import FlyingSocks
import Synchronization

/// The pool for the server's configuration. It waits for sockets as FlyingFox's own does, and can say which descriptor
/// a connection has.
///
/// FlyingFox hands neither its sockets nor their descriptors to a handler. Its pool is public, however, and is given the
/// socket whenever a read would block. So the adapter reads the next frame of a client that must not send any yet
/// (RFC 6455 §4.1), and the pool, instead of waiting, notes the descriptor and ends that read.
public struct DescriptorPool: AsyncSocketPool {
    private let base: any AsyncSocketPool

    /// - Parameter base: Waits for the sockets. Default: FlyingFox's own, on epoll.
    public init(_ base: any AsyncSocketPool = HTTPServer.defaultPool()) { self.base = base }

    /// As the pool behind it.
    public func prepare() async throws { try await base.prepare() }
    /// As the pool behind it.
    public func run() async throws { try await base.run() }

    /// Waits, or answers the question that was asked in this task.
    public func suspendSocket(_ socket: Socket, untilReadyFor events: Socket.Events) async throws {
        guard let question = Question.current else {
            return try await base.suspendSocket(socket, untilReadyFor: events)
        }
        question.answer(socket.file.rawValue)
        throw CancellationError()
    }

    /// The descriptor that the frames come from. It stays FlyingFox's.
    static func descriptor(of frames: AsyncThrowingStream<WSFrame, any Error>) async throws -> CInt {
        let question = Question()
        do {
            let isEarly = try await Question.$current.withValue(question) {
                try await frames.first { _ in true } != nil
            }
            throw isEarly ? UpgradeFailure.clientDidNotWait : UpgradeFailure.clientLeft
        } catch {
            if let descriptor = question.descriptor { return descriptor }
            throw error is CancellationError ? error : (error as? UpgradeFailure ?? UpgradeFailure.clientLeft)
        }
    }

    /// Asked in the task that reads, so that no other connection answers.
    private final class Question: Sendable {
        @TaskLocal static var current: Question?
        private let known = Mutex<CInt?>(nil)
        var descriptor: CInt? { known.withLock { $0 } }
        func answer(_ descriptor: CInt) { known.withLock { $0 = descriptor } }
    }
}

/// Why a connection could not be taken over.
public enum UpgradeFailure: Error {
    /// The client sent frames before its handshake was answered.
    case clientDidNotWait
    /// The client closed its connection before its handshake was answered.
    case clientLeft
}
