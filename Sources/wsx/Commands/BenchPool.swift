//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import Histogram
import WebSockets

struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure against a server of yours.", subcommands: [BenchPool.self])
}

struct BenchPool: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pool", abstract: "Measure a pool of connections to an echo server.",
        discussion: """
            First one task borrows and returns an idle connection as fast as it can. Then several tasks share the \
            connections: each borrows one, sends a message, receives one and returns it.

            The server must answer each message with one, such as: wsx listen --port 8080

            \(Exit.table)
            """)

    @Argument(help: "A ws:// or wss:// URL. Several are the endpoints of one pool.")
    var urls: [String]

    @Option(name: .long, help: "How many connections the pool may have.")
    var connections = 8

    @Option(name: .long, help: "How many tasks share them.")
    var tasks = 64

    @Option(name: .long, help: "How long to measure.")
    var seconds = 3.0

    @Option(name: .long, help: ArgumentHelp("The size of each message.", valueName: "bytes"))
    var size = 32

    @Option(
        name: .long, help: ArgumentHelp("Trust the CAs in this PEM file instead of the system's.", valueName: "file"))
    var ca: String?

    @Flag(name: [.customShort("k"), .long], help: "Do not verify the server's certificate. For experiments only.")
    var insecure = false

    @OptionGroup var display: DisplayOptions

    func validate() throws {
        func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws {
            guard range.contains(value) else {
                throw ValidationError("--\(name) is \(value); it must be in \(range.lowerBound)...\(range.upperBound)")
            }
        }
        try check("connections", connections, 1...10_000)
        try check("tasks", tasks, 1...100_000)
        try check("size", size, 0...(1 << 20))
        guard seconds > 0, seconds <= 3_600 else {
            throw ValidationError("--seconds is \(seconds); it must be positive and at most 3600")
        }
        guard !urls.isEmpty else { throw ValidationError("a URL is missing") }
        guard ca == nil || !insecure else {
            throw ValidationError("--ca has no effect with --insecure; leave one out")
        }
    }

    func run() async throws {
        var client = WebSocketClientConfiguration()
        if let ca { client.tls.trust = .certificates(.file(ca)) }
        if insecure { client.tls.verification = .insecureNoVerification }
        var configuration = WebSocketConnectionPoolConfiguration(maximumConnections: connections, client: client)
        // What is measured is the pool, not the round trip of a validation.
        configuration.validationBypass = nil
        configuration.maximumWaiters = .max
        let result = try await WebSocketConnectionPool.withPool(to: urls, configuration: configuration) { pool in
            // Also finds out whether the server is there.
            try await pool.withConnection { _ = try await $0.ping() }
            let lease = try await uncontended(pool)
            return try await contended(pool, lease: lease)
        }
        await Output.standard.write(line: display.json ? result.json.text : result.text)
    }

    private static let echoPatience = Duration.seconds(5)

    /// Nanoseconds for acquire and release.
    private func uncontended(_ pool: WebSocketConnectionPool) async throws -> Double {
        let clock = ContinuousClock()
        var best = Double.infinity
        let end = clock.now + .seconds(min(1, seconds / 4))
        let count = 10_000
        repeat {
            let begin = clock.now
            for _ in 0..<count { try await pool.acquire().release() }
            // The best of many rounds: other work on the machine only ever adds.
            best = min(best, Double((clock.now - begin).wholeNanoseconds) / Double(count))
        } while clock.now < end
        return best
    }

    private func contended(_ pool: WebSocketConnectionPool, lease: Double) async throws -> BenchPoolResult {
        let clock = ContinuousClock()
        let message = [UInt8](repeating: 0x77, count: size)
        let begin = clock.now
        let end = begin + .seconds(seconds)
        return try await withThrowingTaskGroup(of: (Histogram<UInt64>, Histogram<UInt64>).self) { group in
            for _ in 0..<tasks {
                group.addTask {
                    var waits = BenchPoolResult.histogram()
                    var echoes = BenchPoolResult.histogram()
                    // At least once each, however slow the machine is: no cycle at all would be no measurement.
                    repeat {
                        let before = clock.now
                        let (granted, returned) = try await pool.withConnection(on: .loop) { socket in
                            let granted = clock.now
                            try await socket.send(message)
                            guard try await socket.receive(within: Self.echoPatience) != nil else {
                                throw CommandFailure(
                                    code: Exit.timeout,
                                    message: "no echo came within \(Self.echoPatience.components.seconds) s; "
                                        + "the server has to send each message back, as wsx listen does")
                            }
                            return (granted, clock.now)
                        }
                        waits.record(UInt64(clamping: (granted - before).wholeNanoseconds))
                        echoes.record(UInt64(clamping: (returned - granted).wholeNanoseconds))
                    } while clock.now < end
                    return (waits, echoes)
                }
            }
            var result = BenchPoolResult(lease: lease, tasks: tasks)
            for try await (waits, echoes) in group {
                result.waits.add(waits)
                result.echoes.add(echoes)
            }
            result.elapsed = clock.now - begin
            result.statistics = pool.statistics
            return result
        }
    }
}

struct BenchPoolResult: Sendable {
    let lease: Double
    let tasks: Int
    var elapsed = Duration.zero
    var waits = histogram()
    var echoes = histogram()
    var statistics = WebSocketPoolStatistics()

    init(lease: Double, tasks: Int) {
        self.lease = lease
        self.tasks = tasks
    }

    static func histogram() -> Histogram<UInt64> {
        Histogram(highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .two)
    }

    private var rate: Double { elapsed > .zero ? Double(echoes.totalCount) / elapsed.inSeconds : 0 }

    var text: String {
        func percentiles(_ histogram: Histogram<UInt64>) -> String {
            "p50 \(duration(nanoseconds: histogram.valueAtPercentile(50)))"
                + " · p99 \(duration(nanoseconds: histogram.valueAtPercentile(99)))"
                + " · p99.9 \(duration(nanoseconds: histogram.valueAtPercentile(99.9)))"
        }
        let totals = statistics.totals
        let rows = [
            ("idle pool", "\(decimal(lease)) ns for acquire and release"),
            ("cycles", "\(decimal(rate)) per second: acquire, echo, release"),
            ("acquire", percentiles(waits)),
            ("echo", percentiles(echoes)),
            (
                "connections",
                "\(decimal(totals.connectsSucceeded)) opened, \(decimal(totals.connectsFailed)) failed; "
                    + "\(statistics.counts)"
            ),
        ]
        let head = "\(tasks) tasks over a pool of connections, \(decimal(elapsed.inSeconds, 1)) s"
        return ([head] + rows.map { "  " + $0.0 + String(repeating: " ", count: 13 - $0.0.count) + $0.1 })
            .joined(separator: "\n")
    }

    var json: JSON {
        func microseconds(_ histogram: Histogram<UInt64>) -> JSON {
            [
                "p50": .number(Double(histogram.valueAtPercentile(50)) / 1_000),
                "p99": .number(Double(histogram.valueAtPercentile(99)) / 1_000),
                "p99.9": .number(Double(histogram.valueAtPercentile(99.9)) / 1_000),
            ]
        }
        return [
            "leaseNanoseconds": .number(lease), "tasks": .integer(tasks), "seconds": .number(elapsed.inSeconds),
            "cycles": .integer(Int(echoes.totalCount)), "cyclesPerSecond": .number(rate.rounded()),
            "acquireMicroseconds": microseconds(waits), "echoMicroseconds": microseconds(echoes),
            "connectionsOpened": .integer(statistics.totals.connectsSucceeded),
            "connectsFailed": .integer(statistics.totals.connectsFailed),
            "leases": .integer(statistics.totals.acquired),
        ]
    }
}
