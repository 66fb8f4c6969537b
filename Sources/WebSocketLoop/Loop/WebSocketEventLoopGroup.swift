//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import Logging
import Synchronization
public import WebSocketCore

/// Several loops, handed out in turn.
public final class WebSocketEventLoopGroup: Sendable {
    /// One loop per core, created on first use, never shut down.
    public static let shared: WebSocketEventLoopGroup = {
        do {
            return try WebSocketEventLoopGroup(count: Host.processorCount, isShared: true)
        } catch {
            fatalError("\(error)")
        }
    }()

    /// The loops, in the order in which they are given out.
    public let loops: [WebSocketEventLoop]
    private let nextIndex = Atomic<UInt>(0)
    private let isShared: Bool

    /// Creates loops and starts their threads.
    ///
    /// - Parameters:
    ///   - count: How many loops, at least 1.
    ///   - logger: Where the loops log; nothing above `warning`.
    ///   - backend: Forces a backend; `nil` takes libuv and falls back to poll.
    ///   - blockedLoopThreshold: How long tasks may hold a loop before a warning. Default 250 ms.
    ///   - memoryBudget: What connections of these loops may hold together, and those of other groups with the same
    ///     budget. Default: the process's.
    /// - Throws: `resourceExhausted` when libwebsockets cannot create a context; `invalidConfiguration` when the loaded
    ///   libwebsockets is older than the headers this was built with.
    public convenience init(
        count: Int, logger: Logger = Logger(label: "swift-libwebsockets"), backend: WebSocketEventLoop.Backend? = nil,
        blockedLoopThreshold: Duration = .milliseconds(250), memoryBudget: WebSocketMemoryBudget = .shared
    ) throws(WebSocketError) {
        try self.init(
            count: count, logger: logger, backend: backend, blockedLoopThreshold: blockedLoopThreshold,
            memoryBudget: memoryBudget, isShared: false)
    }

    /// How many there are by default: one for each core.
    package static var defaultCount: Int { Host.processorCount }

    /// Loops that live as long as the process.
    ///
    /// - Parameter blocksSignals: Whether the loops' threads block all signals, for a program that handles them on threads
    ///   of its own and starts its processes there.
    package convenience init(count: Int, logger: Logger, blocksSignals: Bool) throws(WebSocketError) {
        try self.init(count: count, logger: logger, isShared: true, blocksSignals: blocksSignals)
    }

    private init(
        count: Int, logger: Logger = Logger(label: "swift-libwebsockets"), backend: WebSocketEventLoop.Backend? = nil,
        blockedLoopThreshold: Duration = .milliseconds(250), memoryBudget: WebSocketMemoryBudget = .shared,
        isShared: Bool, blocksSignals: Bool = false
    ) throws(WebSocketError) {
        guard count > 0 else {
            throw WebSocketError(.invalidConfiguration, "count is \(count); a group needs at least one loop")
        }
        // Its structures are laid out as the headers say.
        if let refusal = LibWebSockets.refusal(
            built: LibWebSockets.buildVersion, loaded: LibWebSockets.runtimeVersion)
        {
            throw WebSocketError(.invalidConfiguration, refusal)
        }
        var loops: [WebSocketEventLoop] = []
        for index in 0..<count {
            loops.append(
                try WebSocketEventLoop(
                    name: "wsx-loop-\(index)", logger: logger, backend: backend,
                    blockedLoopThreshold: blockedLoopThreshold, memoryBudget: memoryBudget,
                    blocksSignals: blocksSignals))
        }
        self.loops = loops
        self.isShared = isShared
    }

    /// The next loop in turn.
    public func next() -> WebSocketEventLoop {
        let index = nextIndex.wrappingAdd(1, ordering: .relaxed).oldValue
        return loops[Int(index % UInt(loops.count))]
    }

    /// Ends the loops and their threads; connections that still live on them are aborted. Traps for `shared`.
    public func shutDown() async {
        precondition(!isShared, "WebSocketEventLoopGroup.shared cannot be shut down; create a group of your own")
        for loop in loops { await loop.shutDown() }
    }
}
