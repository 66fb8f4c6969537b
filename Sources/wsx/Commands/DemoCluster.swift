//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import WebSockets

/// `wsx demo --cluster`: a Redis, three nodes behind haproxy, and clients that verify every message while the Redis and a
/// node are killed and come back.
struct DemoCluster {
    let display: DisplayOptions
    let seconds: Double
    let clientCount: Int

    private static let publishers = 4
    /// How long anything may stand still. A machine that has other things to do is slow, not wrong.
    private static let patience = Duration.seconds(60)

    /// What it ran and what came of it.
    private struct Report {
        var published = 0
        var accepted = 0
        var ledger = ClusterLedger()
        /// Clients that do not stand at the topic's end, and that end.
        var behind: [WebSocketTopicPosition?] = []
        var top: WebSocketTopicPosition?
        var steps: [String] = []
    }

    private func missing(_ program: String, _ package: String) -> CommandFailure {
        CommandFailure(
            code: Exit.cannotConnect, message: "\(program) is missing; install it with: sudo apt-get install \(package)"
        )
    }

    func run() async throws {
        guard let redis = HelperProcess.find("redis-server", "redis-check-rdb") else {
            throw missing("Redis", "redis-tools")
        }
        guard let haproxy = HelperProcess.find("haproxy") else { throw missing("haproxy", "haproxy") }
        var template = Array("/tmp/wsx-cluster-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw CommandFailure(code: Exit.internalError, message: "there is no temporary directory")
        }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { remove(directory) }
        // Debian's `redis-tools` has the server under the name of a tool; its name decides what it is.
        symlink(redis, directory + "/redis-server")
        var report = Report()
        try await exchange(directory, haproxy, &report)
        try await show(report)
    }

    private func remove(_ directory: String) {
        guard let handle = opendir(directory) else { return }
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { unlink("\(directory)/\(name)") }
        }
        closedir(handle)
        rmdir(directory)
    }

    // MARK: Processes

    private func startRedis(_ directory: String) throws -> HelperProcess {
        guard
            let process = HelperProcess(
                directory + "/redis-server",
                [
                    "--port", "0", "--unixsocket", directory + "/redis", "--dir", directory, "--save", "",
                    "--appendonly", "no",
                ])
        else { throw CommandFailure(code: Exit.internalError, message: "Redis cannot be started") }
        return process
    }

    private func startNode(_ number: Int, _ directory: String) throws -> HelperProcess {
        guard
            let process = HelperProcess(
                "/proc/self/exe",
                ["cluster-node", "--redis", "unix:\(directory)/redis", "--unix", "\(directory)/node\(number)"])
        else { throw CommandFailure(code: Exit.internalError, message: "a node cannot be started") }
        return process
    }

    private func startBalancer(_ haproxy: String, _ directory: String) throws -> HelperProcess {
        let servers = (1...3).map { "    server node\($0) unix@\(directory)/node\($0) check inter 100ms fall 1 rise 1" }
        let text = """
            global
                maxconn 4000
            defaults
                mode tcp
                timeout connect 1s
                timeout client 60s
                timeout server 60s
                retries 3
                option redispatch
            frontend front
                bind unix@\(directory)/front
                default_backend nodes
            backend nodes
                balance roundrobin
            \(servers.joined(separator: "\n"))

            """
        let path = directory + "/haproxy.cfg"
        guard let file = fopen(path, "w") else {
            throw CommandFailure(code: Exit.internalError, message: "\(path) cannot be written")
        }
        fputs(text, file)
        fclose(file)
        guard let process = HelperProcess(haproxy, ["-db", "-q", "-f", path]) else {
            throw CommandFailure(code: Exit.internalError, message: "haproxy cannot be started")
        }
        return process
    }

    // MARK: Traffic

    private func exchange(_ directory: String, _ haproxy: String, _ report: inout Report) async throws {
        let front = directory + "/front"
        let clock = ContinuousClock()
        var redis = try startRedis(directory)
        var nodes = try (1...3).map { try startNode($0, directory) }
        let balancer = try startBalancer(haproxy, directory)
        defer {
            balancer.end()
            nodes.forEach { $0.end() }
            redis.end()
        }
        let clients = (0..<clientCount).map { _ in ClusterClient() }
        let listening = clients.map { client in Task { await client.run(front) } }
        defer { listening.forEach { $0.cancel() } }
        try await waitForAll(clients)
        let began = clock.now
        func note(_ step: String, _ report: inout Report) {
            let line = "\(decimal((clock.now - began).inSeconds, 1)) s  \(step)"
            report.steps.append(line)
            if display.showsStatus { Terminal.status(line) }
        }
        let publishers = (0..<Self.publishers).map { ClusterPublisher("p\($0)") }
        let publishing = publishers.map { publisher in Task { await publisher.run(front) } }
        defer { publishers.forEach { $0.stop() } }
        try await clock.sleep(until: began + .seconds(seconds * 0.2))
        try await waitForProgress(publishers)
        redis.end()
        note("the broker is killed", &report)
        try await clock.sleep(for: .milliseconds(700))
        redis = try startRedis(directory)
        note("the broker is back, empty", &report)
        try await waitForProgress(publishers)
        try await clock.sleep(until: began + .seconds(seconds * 0.55))
        nodes[1].end()
        note("a node is killed", &report)
        try await clock.sleep(for: .seconds(1))
        nodes[1] = try startNode(2, directory)
        note("the node is back", &report)
        try await waitForProgress(publishers)
        try await clock.sleep(until: began + .seconds(seconds))
        publishers.forEach { $0.stop() }
        for task in publishing { await task.value }
        report.published = publishers.reduce(0) { $0 + $1.published }
        report.accepted = publishers.reduce(0) { $0 + $1.accepted }
        note("no more is published", &report)
        await waitUntilLevel(clients, front, &report)
        listening.forEach { $0.cancel() }
        for task in listening { await task.value }
        let known = publishers.map(\.known).reduce(into: [:]) { $0.merge($1) { first, _ in first } }
        for client in clients { report.ledger.add(client.ledger(known)) }
    }

    /// Waits until the broker has taken more of every publisher.
    private func waitForProgress(_ publishers: [ClusterPublisher]) async throws {
        let before = publishers.map(\.accepted)
        let deadline = ContinuousClock.now + Self.patience
        while zip(publishers, before).contains(where: { $0.accepted < $1 + 3 }) {
            guard ContinuousClock.now < deadline else {
                throw CommandFailure(
                    code: Exit.internalError, message: "a publisher got no answer within \(Self.patience)")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private func waitForAll(_ clients: [ClusterClient]) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while clients.contains(where: { $0.position == nil }) {
            guard ContinuousClock.now < deadline else {
                throw CommandFailure(code: Exit.cannotConnect, message: "not all clients could connect within 60 s")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Waits until every client stands at the topic's end. As long as messages arrive a client that does not is only slow.
    private func waitUntilLevel(_ clients: [ClusterClient], _ front: String, _ report: inout Report) async {
        var received = -1
        var deadline = ContinuousClock.now + Self.patience
        while true {
            let top = try? await ClusterClient.withConnection(front) { socket in
                try await socket.send("?")
                while true {
                    let words = try await socket.receive().text?.split(separator: " ").map(String.init) ?? []
                    if words.first?.hasPrefix("=") == true {
                        return words.last.flatMap { WebSocketTopicPosition($0) }
                    }
                }
            }
            if let top {
                report.top = top
                report.behind = clients.map(\.position).filter { $0 != top }
                if report.behind.isEmpty { return }
            }
            let count = clients.reduce(0) { $0 + $1.receivedCount }
            if count != received {
                received = count
                deadline = ContinuousClock.now + Self.patience
            }
            guard ContinuousClock.now < deadline else {
                if report.top == nil { report.behind = clients.map(\.position) }
                return
            }
            try? await Task.sleep(for: .milliseconds(200))
        }
    }

    // MARK: Report

    private func show(_ report: Report) async throws {
        let ledger = report.ledger
        let isGood =
            ledger.repeated == 0 && ledger.holes == 0 && ledger.disordered == 0 && report.behind.isEmpty
            && report.accepted > 0
        if display.json {
            await Output.standard.write(json: [
                "ok": .boolean(isGood), "clients": .integer(clientCount), "published": .integer(report.published),
                "accepted": .integer(report.accepted), "received": .integer(ledger.received),
                "repeated": .integer(ledger.repeated), "holesInSilence": .integer(ledger.holes),
                "disordered": .integer(ledger.disordered), "clientsBehind": .integer(report.behind.count),
                "reconnects": .integer(ledger.connects - clientCount), "recovered": .integer(ledger.recovered),
                "toldOfLostHistory": .integer(ledger.told),
            ])
        } else {
            let rows = [
                ("published", "\(decimal(report.published)), of which the broker accepted \(decimal(report.accepted))"),
                ("received", "\(decimal(ledger.received)) by \(decimal(clientCount)) clients, each verified"),
                ("twice", decimal(ledger.repeated)), ("out of order", decimal(ledger.disordered)),
                (
                    "missing",
                    "\(decimal(ledger.holes)) in silence; \(decimal(ledger.told)) times a client was told that the history is lost"
                ),
                (
                    "reconnects",
                    "\(decimal(ledger.connects - clientCount)), with \(decimal(ledger.recovered)) messages from the history"
                ),
                (
                    "at the end",
                    "\(decimal(clientCount - report.behind.count)) clients have all, \(decimal(report.behind.count)) do not"
                ),
            ]
            let head =
                "3 nodes behind haproxy, one Redis, \(decimal(seconds, 1)) s: \(isGood ? "all is well" : "NOT all is well")"
            let lines =
                report.steps.map { "  " + $0 }
                + rows.map { "  " + $0.0 + String(repeating: " ", count: 13 - $0.0.count) + $0.1 }
            await Output.standard.write(line: ([head] + lines).joined(separator: "\n"))
        }
        guard isGood else {
            let places = report.behind.prefix(5).map { $0?.description ?? "nowhere" }.joined(separator: ", ")
            let behind =
                places.isEmpty ? "" : "; the end is \(report.top?.description ?? "unknown"), clients are at \(places)"
            throw CommandFailure(code: Exit.internalError, message: "the ledger does not add up\(behind)")
        }
    }
}
