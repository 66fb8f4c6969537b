//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import Glibc
import WebSocketLoop
import WebSockets

struct Demo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Verified traffic over TLS and compression, with nothing to set up.",
        discussion: """
            Makes a throw-away CA and certificate in memory, starts a TLS echo server inside this process, opens \
            a pool of connections and exchanges messages of mixed sizes and kinds. Every byte that comes back is compared.
            Then a session goes on sending while its server is killed and comes back; every message has to arrive.

            With --cluster it starts a Redis and three nodes behind haproxy, and kills the Redis and a node while clients \
            verify every message. It needs Debian's redis-tools and haproxy.

            With --web it serves a page instead: a browser connects over wss, and plots latency and throughput.

            \(Exit.table)
            """)

    @Option(name: .long, help: "How long to exchange messages; 3 s, with --cluster 10 s.")
    var seconds: Double?

    @Option(name: .long, help: "How many connections to open; 8, with --cluster 300.")
    var connections: Int?

    @Flag(name: .long, help: "Three nodes and a Redis that are killed and come back.")
    var cluster = false

    @Flag(name: .long, help: "Serve a page that measures in a browser, until Ctrl-C.")
    var web = false

    @Option(name: .long, help: "With --web: the port; 0 lets the system choose.")
    var port = 0

    @OptionGroup var display: DisplayOptions

    func validate() throws {
        guard (0...65_535).contains(port) else { throw ValidationError("--port is \(port); it must be in 0...65535") }
        guard web || port == 0 else { throw ValidationError("--port belongs to --web; add it") }
        guard !web || !cluster else { throw ValidationError("--web and --cluster contradict each other; choose one") }
        let seconds = seconds ?? 3
        let connections = connections ?? 8
        guard !cluster || seconds >= 5 || self.seconds == nil else {
            throw ValidationError("--seconds is \(seconds); with --cluster it must be at least 5")
        }
        guard seconds > 0, seconds <= 3_600 else {
            throw ValidationError("--seconds is \(seconds); it must be positive and at most 3600")
        }
        guard (1...1_000).contains(connections) else {
            throw ValidationError("--connections is \(connections); it must be in 1...1000")
        }
    }

    func run() async throws {
        if web { return try await DemoWeb(display: display, port: port).run() }
        if cluster {
            return try await DemoCluster(display: display, seconds: seconds ?? 10, clientCount: connections ?? 300)
                .run()
        }
        let seconds = seconds ?? 3
        let connections = connections ?? 8
        var report = DemoReport(connections: connections)
        do {
            try await exchange(&report, seconds: seconds, connections: connections)
        } catch let error as WebSocketError {
            report.failure = error
        }
        if display.json {
            await Output.standard.write(json: report.json)
        } else {
            await Output.standard.write(line: report.text)
        }
        if let failure = report.failure { throw failure }
        guard report.isGood else {
            throw CommandFailure(
                code: Exit.internalError,
                message:
                    "messages came back wrong: \(report.tally.wrong); lost by the session: \(report.session?.lost ?? 0)"
            )
        }
    }

    private func exchange(_ report: inout DemoReport, seconds: Double, connections: Int) async throws {
        let certificate = try ThrowawayCertificate()
        let corpus = DemoCorpus()
        // Half of the cores for each side, as if they were two machines.
        let count = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)) / 2)
        let serverLoops = try WebSocketEventLoopGroup(count: count)
        let clientLoops = try WebSocketEventLoopGroup(count: count)
        report.backend = clientLoops.loops[0].backend

        var serverConfiguration = WebSocketServerConfiguration(
            tls: WebSocketTLSServerConfiguration(
                certificateChain: .bytes(certificate.certificate), privateKey: .bytes(certificate.privateKey)))
        serverConfiguration.eventLoopGroup = serverLoops
        let server = try WebSocketServer(configuration: serverConfiguration)
        var clientConfiguration = WebSocketClientConfiguration()
        clientConfiguration.tls.trust = .certificates(.bytes(certificate.authority))
        clientConfiguration.options.compression = .deflate()

        var poolConfiguration = WebSocketConnectionPoolConfiguration(
            maximumConnections: connections, client: clientConfiguration)
        poolConfiguration.eventLoopGroup = clientLoops
        // All come at once, and the server is near.
        poolConfiguration.connectStagger = .zero

        let serving = Task {
            try await server.run { socket in
                for try await message in socket.messages { try await socket.send(message) }
            }
        }
        let progress = DemoProgress()
        let ticker = display.showsStatus ? Task { await progress.show() } : nil
        let clock = ContinuousClock()
        let begin = clock.now
        let end = begin + .seconds(seconds)
        let url = "wss://localhost:\(server.port)/demo"
        let result: Result<([DemoTally], WebSocketPoolStatistics), any Error>
        do {
            result = .success(
                try await WebSocketConnectionPool.withPool(to: url, configuration: poolConfiguration) {
                    pool in
                    let tallies = try await withThrowingTaskGroup(of: DemoTally.self) { group in
                        for index in 0..<connections {
                            group.addTask {
                                var tally = DemoTally()
                                var worker = DemoWorker(corpus: corpus, seed: UInt64(index))
                                while worker.hasEdgesLeft || clock.now < end {
                                    let turn = try await pool.withConnection(on: .loop) { [worker] socket in
                                        try await worker.turn(on: socket, progress: progress)
                                    }
                                    worker = turn.worker
                                    tally.add(turn)
                                }
                                return tally
                            }
                        }
                        return try await group.reduce(into: []) { $0.append($1) }
                    }
                    return (tallies, pool.statistics)
                })
        } catch {
            result = .failure(error)
        }
        report.elapsed = begin.duration(to: clock.now)
        ticker?.cancel()
        await ticker?.value
        await server.shutDown()
        try await serving.value
        if case .success = result {
            clientConfiguration.eventLoop = clientLoops.next()
            report.session = try await DemoSession(server: serverConfiguration, client: clientConfiguration).run()
        }
        await clientLoops.shutDown()
        await serverLoops.shutDown()
        let (tallies, statistics) = try result.get()
        report.pool = statistics
        for tally in tallies { report.tally.add(tally) }
    }
}
