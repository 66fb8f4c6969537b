//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// One measurement of one workload, as run.py asks for it:
//   bench-client loop|caller|global|onmessage WORKLOAD HOST PORT SECONDS [--ca FILE]
import Glibc
import WebSockets

/// Where bodies run: on the loop, where their caller runs, on the global executor, or inside the loop's work.
enum Mode: String { case loop, caller, global, onmessage }

struct Job: Sendable {
    let mode: Mode
    let workload: String
    let host: String
    let port: Int
    let seconds: Double
    let ca: String?
    let loop: WebSocketEventLoop

    /// Runs a body in the form that is measured.
    func withConnection(
        path: String = "/", _ body: @escaping @Sendable @concurrent (WebSocketConnection) async throws -> Void
    ) async throws {
        guard mode == .caller else {
            let executor: WebSocketBodyExecutor = mode == .global ? .global : .loop
            return try await WebSocketClient.withConnection(
                to: url(path), configuration: configuration(), on: executor, body)
        }
        try await WebSocketClient.withConnection(to: url(path), configuration: configuration()) { socket in
            try await body(socket)
        }
    }

    func url(_ path: String = "/") -> String {
        ["c3s", "c6", "c8s"].contains(workload)
            ? "wss://localhost:\(port)\(path)" : "ws://\(host):\(port)\(path)"
    }

    /// What goes to and fro one message at a time.
    var payload: [UInt8] {
        switch workload {
        case "c3", "c3s": [UInt8](repeating: 0x41, count: 1 << 20)
        case "c7": text(1_024)
        default: [UInt8](repeating: 0x41, count: 32)
        }
    }

    func configuration() -> WebSocketClientConfiguration {
        var configuration = WebSocketClientConfiguration()
        configuration.eventLoop = loop
        configuration.options.keepAlive = nil
        if workload == "c7" { configuration.options.compression = .deflate() }
        configuration.options.maximumMessageSize = 2 << 20
        if let ca { configuration.tls.trust = .certificates(.file(ca)) }
        return configuration
    }
}

/// Counts what happens between the end of the warm-up and the end of the measurement.
struct Meter {
    private let warmUp: UInt64
    private let length: UInt64
    private var began: UInt64 = 0
    private var cpu: Double = 0
    private(set) var messages = 0
    private var latencies: [UInt32] = []
    private(set) var isOver = false
    private var elapsed: Double = 0
    private var cpuUsed: Double = 0
    private let start: UInt64

    init(seconds: Double) {
        length = UInt64(seconds * 1e9)
        warmUp = UInt64(min(seconds / 4, 0.5) * 1e9)
        start = now()
    }

    mutating func count(_ amount: Int, latency: UInt64? = nil) {
        let time = now()
        if began == 0 {
            if time - start >= warmUp {
                began = time
                cpu = cpuSeconds()
            }
            return
        }
        messages += amount
        if let latency { latencies.append(UInt32(truncatingIfNeeded: latency)) }
        if time - began >= length {
            isOver = true
            elapsed = Double(time - began) / 1e9
            cpuUsed = cpuSeconds() - cpu
        }
    }

    func report(_ workload: String) {
        var text = "{\"workload\":\"\(workload)\",\"messages\":\(messages),\"seconds\":\(elapsed),"
        text += "\"rate\":\(Double(messages) / elapsed),\"cpu_us_per_message\":\(cpuUsed * 1e6 / Double(messages))"
        if !latencies.isEmpty {
            let sorted = latencies.sorted()
            text += ",\"p50_us\":\(Double(sorted[sorted.count / 2]) / 1e3)"
        }
        print(text + "}")
    }
}

func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

func cpuSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

struct WrongEcho: Error {}

@concurrent func run(_ job: Job) async throws {
    switch job.workload {
    case "c1", "c3", "c3s", "c6": try await pingPong(job)
    case "c7": try await pingPong(job, path: "/deflate")
    case "c2": try await pipelined(job, depth: 64)
    case "c4": try await many(job, connections: 100)
    case "c5": try await flood(job)
    case "c8" where job.mode != .onmessage, "c8s" where job.mode != .onmessage: try await dial(job)
    case "c9" where job.mode != .onmessage: try await idle(job)
    default: throw WrongEcho()
    }
}

/// Text as programs send it, the same as the C programs': words from a short list, in an order that repeats late.
func text(_ count: Int) -> [UInt8] {
    let words = [
        "\"price\":", "\"size\":", "btcusdt", "bid", "ask", "trade", "\"time\":16", "{\"e\":", "0.00100", "42017.5",
        "false",
        "},{",
    ]
    var state: UInt32 = 1
    var bytes: [UInt8] = []
    while bytes.count < count {
        state = state &* 1_664_525 &+ 1_013_904_223
        bytes += Array(words[Int(state >> 16) % words.count].utf8)
        bytes.append(UInt8(ascii: "0") + UInt8((state >> 24) % 10))
    }
    return Array(bytes.prefix(count))
}

@concurrent func pingPong(_ job: Job, path: String = "/") async throws {
    let payload = job.payload
    if job.mode == .onmessage { return try await synchronous(job, payload, depth: 1, path: path) }
    try await job.withConnection(path: path) { socket in
        var meter = Meter(seconds: job.seconds)
        while !meter.isOver {
            let sent = now()
            try await socket.send(payload)
            guard case .binary(let echo) = try await socket.receive(), echo == payload else { throw WrongEcho() }
            meter.count(1, latency: now() - sent)
        }
        meter.report(job.workload)
    }
}

@concurrent func pipelined(_ job: Job, depth: Int) async throws {
    let payload = [UInt8](repeating: 0x41, count: 32)
    if job.mode == .onmessage { return try await synchronous(job, payload, depth: depth) }
    try await job.withConnection { socket in
        var meter = Meter(seconds: job.seconds)
        for _ in 0..<depth { try await socket.send(payload) }
        var received = 0
        for try await message in socket.messages {
            guard case .binary(let echo) = message, echo == payload else { throw WrongEcho() }
            received += 1
            if received & 63 == 0 {
                meter.count(64)
                if meter.isOver { break }
            }
            try await socket.send(payload)
        }
        meter.report(job.workload)
    }
}

@concurrent func synchronous(_ job: Job, _ payload: [UInt8], depth: Int, path: String = "/") async throws {
    let socket = try await WebSocketClient.connect(to: job.url(path), configuration: job.configuration())
    let (ends, end) = AsyncStream<Void>.makeStream()
    // Touched by the handler only, which runs on one thread.
    nonisolated(unsafe) var meter = Meter(seconds: job.seconds)
    nonisolated(unsafe) var sent = now()
    nonisolated(unsafe) var received = 0
    socket.onMessage { [unowned socket] bytes, _ in
        guard bytes.byteCount == payload.count else { fatalError("wrong echo") }
        received += 1
        if depth == 1 {
            let time = now()
            meter.count(1, latency: time - sent)
            sent = time
        } else if received & 63 == 0 {
            meter.count(64)
        }
        if meter.isOver {
            end.finish()
        } else {
            _ = try? socket.trySend(payload.span.bytes)
        }
    }
    try await withTaskExecutorPreference(socket.eventLoop.taskExecutor) {
        for _ in 0..<depth { try await socket.send(payload) }
    }
    for await _ in ends {}
    meter.report(job.workload)
    try await socket.close()
}

@concurrent func many(_ job: Job, connections: Int) async throws {
    let payload = [UInt8](repeating: 0x42, count: 128)
    let shared = Shared(Meter(seconds: job.seconds))
    if job.mode == .onmessage { return try await manySynchronous(job, payload, connections, shared) }
    try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<connections {
            group.addTask {
                try await job.withConnection { socket in
                    while !shared.isOver {
                        try await socket.send(payload)
                        guard case .binary(let echo) = try await socket.receive(), echo == payload else {
                            throw WrongEcho()
                        }
                        shared.count()
                    }
                }
            }
        }
        try await group.waitForAll()
    }
    shared.report(job.workload)
}

@concurrent func manySynchronous(_ job: Job, _ payload: [UInt8], _ connections: Int, _ shared: Shared) async throws {
    let (ends, end) = AsyncStream<Void>.makeStream()
    var sockets: [WebSocketConnection] = []
    for _ in 0..<connections {
        let socket = try await WebSocketClient.connect(to: job.url(), configuration: job.configuration())
        socket.onMessage { [unowned socket] bytes, _ in
            guard bytes.byteCount == payload.count else { fatalError("wrong echo") }
            shared.count()
            if shared.isOver {
                end.finish()
            } else {
                _ = try? socket.trySend(payload.span.bytes)
            }
        }
        sockets.append(socket)
    }
    for socket in sockets { try await socket.send(payload) }
    for await _ in ends {}
    shared.report(job.workload)
    for socket in sockets { socket.abort() }
    for socket in sockets { _ = try await socket.closed() }
}

/// One meter for many tasks, which in mode `loop` share a thread and in mode `global` need the lock.
final class Shared: @unchecked Sendable {
    private var meter: Meter
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    init(_ meter: Meter) {
        self.meter = meter
        pthread_mutex_init(lock, nil)
    }
    private func locked<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return body()
    }
    var isOver: Bool { locked { meter.isOver } }
    func count() { locked { if !meter.isOver { meter.count(1) } } }
    func report(_ workload: String) { locked { meter.report(workload) } }
}

@concurrent func flood(_ job: Job) async throws {
    let path = "/flood?size=64"
    if job.mode == .onmessage {
        let socket = try await WebSocketClient.connect(to: job.url(path), configuration: job.configuration())
        let (ends, end) = AsyncStream<Void>.makeStream()
        nonisolated(unsafe) var meter = Meter(seconds: job.seconds)
        nonisolated(unsafe) var received = 0
        socket.onMessage { bytes, _ in
            guard bytes.byteCount == 64 else { fatalError("wrong size") }
            received += 1
            if received & 63 == 0 {
                meter.count(64)
                if meter.isOver { end.finish() }
            }
        }
        for await _ in ends {}
        meter.report(job.workload)
        socket.abort()
        _ = try await socket.closed()
        return
    }
    try await job.withConnection(path: path) { socket in
        var meter = Meter(seconds: job.seconds)
        var received = 0
        for try await message in socket.messages {
            guard message.byteCount == 64 else { throw WrongEcho() }
            received += 1
            if received & 63 == 0 {
                meter.count(64)
                if meter.isOver { break }
            }
        }
        meter.report(job.workload)
        socket.abort()
    }
}

@concurrent func dial(_ job: Job) async throws {
    var meter = Meter(seconds: job.seconds)
    while !meter.isOver {
        let began = now()
        try await job.withConnection { _ in }
        meter.count(1, latency: now() - began)
    }
    meter.report(job.workload)
}

/// Bytes of this process for each connection that has exchanged a message and fallen silent; the first hundred are not
/// counted.
@concurrent func idle(_ job: Job) async throws {
    let payload = job.payload
    var sockets: [WebSocketConnection] = []
    var before = 0.0
    let (first, counted) = (100, 2_000)
    for number in 0..<(first + counted) {
        if number == first { before = residentBytes() }
        let socket = try await WebSocketClient.connect(to: job.url(), configuration: job.configuration())
        try await socket.send(payload)
        guard case .binary(let echo) = try await socket.receive(), echo == payload else { throw WrongEcho() }
        sockets.append(socket)
    }
    let each = (residentBytes() - before) / Double(counted)
    print("{\"workload\":\"c9\",\"rate\":\(each),\"bytes_each\":\(each)}")
    for socket in sockets { socket.abort() }
    for socket in sockets { _ = try await socket.closed() }
}

func residentBytes() -> Double {
    guard let file = fopen("/proc/self/statm", "r") else { return 0 }
    defer { fclose(file) }
    var pages = (0, 0)
    withUnsafeMutablePointer(to: &pages.0) { total in
        withUnsafeMutablePointer(to: &pages.1) { resident in
            withVaList([total, resident]) { _ = vfscanf(file, "%ld %ld", $0) }
        }
    }
    return Double(pages.1) * Double(sysconf(Int32(_SC_PAGESIZE)))
}

/// libwebsockets scans a table with an entry per allowed descriptor at each close; all drivers use this limit.
func limitDescriptors() {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    // As common.h has it: `BENCH_FILES` is another limit, for workloads of thousands of connections.
    let wanted = getenv("BENCH_FILES").flatMap { UInt(String(cString: $0)) } ?? 4_096
    limit.rlim_cur = min(limit.rlim_max, rlim_t(wanted))
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}

let arguments = CommandLine.arguments
guard arguments.count >= 6, let mode = Mode(rawValue: arguments[1]), let port = Int(arguments[4]),
    let seconds = Double(arguments[5])
else {
    print("usage: bench-client loop|caller|global|onmessage WORKLOAD HOST PORT SECONDS [--ca FILE]")
    exit(64)
}
limitDescriptors()
let ca = arguments.firstIndex(of: "--ca").map { arguments[$0 + 1] }
let group = try WebSocketEventLoopGroup(count: 1)
let job = Job(
    mode: mode, workload: arguments[2], host: arguments[3], port: port, seconds: seconds, ca: ca, loop: group.loops[0])
if mode == .global {
    try await run(job)
} else {
    try await withTaskExecutorPreference(group.loops[0].taskExecutor) { try await run(job) }
}
