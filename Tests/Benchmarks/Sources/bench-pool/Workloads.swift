//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSockets

func nanoseconds(_ duration: Duration) -> Double {
    let (seconds, attoseconds) = duration.components
    return Double(seconds) * 1e9 + Double(attoseconds) / 1e9
}

/// Measures rounds until the time is over.
func rounds(seconds: Double, _ measure: () async throws -> Double) async throws -> [Double] {
    let end = ContinuousClock.now + .seconds(seconds)
    var results: [Double] = []
    repeat { results.append(try await measure()) } while ContinuousClock.now < end
    return results.sorted()
}

func report(_ name: String, _ unit: String, best: Double, median: Double, rounds: Int) {
    print("{\"workload\":\"\(name)\",\"unit\":\"\(unit)\",\"best\":\(best),\"median\":\(median),\"rounds\":\(rounds)}")
}

@inline(never)
func lease(_ pool: WebSocketConnectionPool, times: Int) async throws {
    for _ in 0..<times { try await pool.acquire().release() }
}

func uncontended(_ pool: WebSocketConnectionPool, seconds: Double) async throws {
    try await pool.warmUp(1)
    let count = 200_000
    let results = try await rounds(seconds: seconds) {
        let begin = ContinuousClock.now
        try await lease(pool, times: count)
        return nanoseconds(ContinuousClock.now - begin) / Double(count)
    }
    report("c10a", "ns", best: results[0], median: results[results.count / 2], rounds: results.count)
}

func contended(
    on executor: (any TaskExecutor)?, _ name: String, seconds: Double,
    _ cycle: @escaping @Sendable () async throws -> Void
) async throws {
    let (tasks, cycles) = (64, 2_000)
    let results = try await rounds(seconds: seconds) {
        let begin = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<tasks {
                group.addTask(executorPreference: executor) { for _ in 0..<cycles { try await cycle() } }
            }
            try await group.waitForAll()
        }
        return nanoseconds(ContinuousClock.now - begin) / Double(tasks * cycles) / 1_000
    }
    report(name, "us", best: results[0], median: results[results.count / 2], rounds: results.count)
}

func contended(_ pool: WebSocketConnectionPool, loop: WebSocketEventLoop, seconds: Double) async throws {
    try await pool.warmUp(8)
    let bare = BareQueue(8)
    for (place, executor) in [("the loop", loop.taskExecutor as any TaskExecutor), ("the global executor", nil)] {
        try await contended(on: executor, "c10b on \(place)", seconds: seconds) {
            let lease = try await pool.acquire()
            await Task.yield()
            lease.release()
        }
        try await contended(on: executor, "c10b on \(place), a bare queue instead", seconds: seconds) {
            await bare.acquire()
            await Task.yield()
            bare.release()
        }
    }
}

func echo(
    _ pool: WebSocketConnectionPool, _ url: String, _ client: WebSocketClientConfiguration, seconds: Double
) async throws {
    let message = [UInt8](repeating: 7, count: 32)
    let count = 10_000
    try await pool.warmUp(1)
    try await WebSocketClient.withConnection(to: url, configuration: client, on: .loop) { socket in
        // In turns, so that both meet the same machine.
        let results = try await rounds(seconds: seconds) {
            var begin = ContinuousClock.now
            for _ in 0..<count {
                try await socket.send(message)
                _ = try await socket.receive()
            }
            let rate = Double(count) / nanoseconds(ContinuousClock.now - begin) * 1e9
            begin = ContinuousClock.now
            for _ in 0..<count {
                let lease = try await pool.acquire()
                let socket = try lease.socket
                try await socket.send(message)
                _ = try await socket.receive()
                lease.release()
            }
            return Double(count) / nanoseconds(ContinuousClock.now - begin) * 1e9 / rate
        }
        report(
            "c10c", "ratio", best: results[results.count - 1], median: results[results.count / 2], rounds: results.count
        )
    }
}
