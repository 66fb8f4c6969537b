//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import HTTPTypes
import Logging
import Synchronization
import TestSupport
import Testing
import WebSocketCore
import WebSocketsTestKit

@testable import WebSocketLoop

/// Groups of loops from their creation to their end.
@Suite(.timeLimit(.minutes(5))) struct EventLoopLifecycleTests {
    @Test(arguments: EventLoopJobTests.backends, [false, true])
    func shutdownAbortsLiveConnections(backend: WebSocketEventLoop.Backend, isSecure: Bool) async throws {
        let servers = try WebSocketEventLoopGroup(count: 1, logger: silentLogger, backend: backend)
        let clients = try WebSocketEventLoopGroup(count: 1, logger: silentLogger, backend: backend)
        let server = try LoopServer(loop: servers.loops[0], tls: isSecure ? TestCertificate.server() : nil)
        await server.start()
        // libwebsockets' poll() returns after 30 s at the latest: what it does not notice earlier is not good enough.
        let request = try ClientRequest(
            url: WebSocketURL("\(isSecure ? "wss" : "ws")://localhost:\(server.port)"), fields: [:], subprotocols: [],
            options: .quiet, openTimeout: .seconds(25), tls: TestCertificate.client)
        var pairs: [(client: Connection, server: Connection)] = []
        for _ in 0..<5 { pairs.append((try await clients.loops[0].connect(request), try await server.next())) }
        // One that is in the middle of its handshake, one that waits for an answer, and calls that wait.
        let halfOpen = try await WebSocketBytePeer.connect(port: server.port)
        try await halfOpen.write(Array("GET / HTTP/1.1\r\n".utf8))
        let silent = try WebSocketBytePeerListener()
        let silentRequest = try ClientRequest(port: silent.port)
        let connecting = Task { try await clients.loops[0].connect(silentRequest) }
        let silentPeer = try await silent.accept()
        let client = pairs[0].client
        let receiving = Task { try await client.receive() }
        let closed = Task { try await client.closed() }
        let loop = clients.loops[0]
        await loop.turn { loop.diagnostics.pendingContinuations >= 3 }

        await clients.shutDown()
        #expect(loop.diagnostics.isZero, "\(loop.diagnostics)")
        #expect(try await error { _ = try await receiving.value }.code == .connectionClosed)
        #expect(try await error { _ = try await connecting.value }.code == .shutDown)
        // It may have been told, or have come too late to wait.
        if case .failure(let error as WebSocketError) = await closed.result { #expect(error.code == .shutDown) }
        let late = try await error { try await client.send("late") }
        #expect(late.code == .connectionClosed || late.code == .shutDown, "\(late)")
        for pair in pairs { #expect(try await pair.server.closed().received == nil) }

        await servers.shutDown()
        // The listener that nobody stopped included.
        #expect(servers.loops[0].diagnostics.isZero, "\(servers.loops[0].diagnostics)")
        halfOpen.close()
        silentPeer.close()
    }

    /// Rule 23: structures are laid out as the headers say, which an older library knows nothing of.
    @Test func aLibraryOlderThanItsHeadersIsRefused() {
        #expect(LibWebSockets.refusal(built: LibWebSockets.buildVersion, loaded: LibWebSockets.runtimeVersion) == nil)
        for loaded in ["4.1.6", "4.1.6-v4.1.6", "4.1.10", "4.3.3"] {
            #expect(LibWebSockets.refusal(built: "4.1.6-", loaded: loaded) == nil, "\(loaded)")
        }
        for loaded in ["4.1.5", "4.0.22", "3.2.1", "5.0.0", "unknown"] {
            let refusal = LibWebSockets.refusal(built: "4.1.6", loaded: loaded)
            #expect(refusal?.contains("4.1.6") == true, "\(loaded)")
        }
    }

    @Test func aServerThatNeverRanCountsForNothing() async throws {
        try await withLoops { group in
            let server = try LoopServer(loop: group.loops[0])
            await server.stop()
            #expect(group.loops[0].diagnostics.descriptors == 0)
            // Stopped is stopped.
            await server.start()
            #expect(group.loops[0].diagnostics.descriptors == 0)
        }
    }

    /// In a process of its own, where nothing else opens descriptors.
    @Test func groupsLeaveNoDescriptors() async {
        await #expect(processExitsWith: .success) {
            func openDescriptors() -> Int {
                var count = 0
                guard let directory = opendir("/proc/self/fd") else { return -1 }
                while readdir(directory) != nil { count += 1 }
                closedir(directory)
                return count
            }
            func use(_ backend: WebSocketEventLoop.Backend) async throws {
                let group = try WebSocketEventLoopGroup(count: 2, logger: silentLogger, backend: backend)
                let listener = try WebSocketBytePeerListener()
                let request = try ClientRequest(port: listener.port)
                async let connecting = group.next().connect(request)
                let peer = try await listener.accept()
                try await peer.acceptHandshake()
                _ = try await connecting
                // Still open: the shutdown has to end it.
                await group.shutDown()
                peer.close()
            }
            for backend in [WebSocketEventLoop.Backend.libuv, .poll] {
                // What the first one opens for the process stays: libuv's signal pipe, libwebsockets' anchor.
                try await use(backend)
                let before = openDescriptors()
                for _ in 0..<20 { try await use(backend) }
                let after = openDescriptors()
                guard before > 0, after == before else {
                    print("\(backend): \(before) descriptors became \(after)")
                    exit(1)
                }
            }
            exit(0)
        }
    }

    /// 4.1.6 closes the number of its wake descriptor twice. A file that gets it in between keeps it, the end of the loop is
    /// told all the same, and what is left of the loop goes when the file does.
    @Test func aFileThatTakesANumberMeanwhileKeepsIt() async {
        await #expect(processExitsWith: .success) {
            func openDescriptors() -> Set<CInt> { Set((0..<1_024).filter { fcntl($0, F_GETFD) != -1 }) }
            func fail(_ text: String) -> Never {
                print(text)
                exit(1)
            }
            // What the first one opens for the process stays.
            try await WebSocketEventLoopGroup(count: 1, logger: silentLogger, backend: .libuv).shutDown()
            let file = open("/proc/self/status", O_RDONLY)
            let before = openDescriptors()
            let deadline = ContinuousClock.now + .seconds(120)

            /// Ends a loop while a thread watches for its number. Whether the file was quick enough to be waited for.
            func endsLateForAFile() async throws -> Bool {
                let group = try WebSocketEventLoopGroup(count: 1, logger: silentLogger, backend: .libuv)
                let number = try #require(group.loops[0].lwsContext?.wakeDescriptor)
                let isOver = Atomic<Bool>(false)
                let hasTaken = Atomic<Bool>(false)
                let isDone = LoopSemaphore()
                _ = DetachedThread.start("files", blocksSignals: true) {
                    defer { isDone.signal() }
                    while !isOver.load(ordering: .relaxed) {
                        guard fcntl(number, F_GETFD) == -1 else { continue }
                        let copy = fcntl(file, F_DUPFD_CLOEXEC, number)
                        guard copy != number else { return hasTaken.store(true, ordering: .releasing) }
                        close(copy)
                    }
                }
                await group.shutDown()
                isOver.store(true, ordering: .relaxed)
                isDone.wait()
                guard hasTaken.load(ordering: .acquiring) else { return false }
                // The loop's other descriptors stay open for as long as it waits. From 4.3 on it has no need to.
                let isWaitedFor =
                    openDescriptors().subtracting(before).count > 1 || LibWebSockets.isLoaded(atLeast: [4, 3])
                var (taken, own) = (stat(), stat())
                guard fstat(number, &taken) == 0, fstat(file, &own) == 0, taken.st_ino == own.st_ino else {
                    fail("the file has lost its number")
                }
                close(number)
                return isWaitedFor
            }

            var isWaitedFor = false
            while !isWaitedFor {
                guard ContinuousClock.now < deadline else { fail("the file never got the number in between") }
                isWaitedFor = try await endsLateForAFile()
                while openDescriptors() != before {
                    guard ContinuousClock.now < deadline else { fail("\(before) became \(openDescriptors())") }
                    // Not `Task.sleep`, whose timer may be the next file to get the number.
                    usleep(10_000)
                }
            }
            exit(0)
        }
    }

    @Test func loopsAreHandedOutInTurn() async throws {
        try await withLoops(3) { group in
            let names = (0..<6).map { _ in group.next().name }
            #expect(Set(names).count == 3 && names.prefix(3).elementsEqual(names.suffix(3)))
        }
    }

    @Test func aGroupNeedsALoop() async throws {
        #expect(try await error { _ = try WebSocketEventLoopGroup(count: 0) }.code == .invalidConfiguration)
    }

    private struct Recorder: LogHandler {
        final class Lines: Sendable { let all = Mutex<[String]>([]) }
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.warning
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) { lines.all.withLock { $0.append("\(event.message)") } }
    }

    @Test func theFallbackToPollIsSaidOnce() async throws {
        let lines = Recorder.Lines()
        let logger = Logger(label: "poll") { _ in Recorder(lines: lines) }
        try await withLoops(backend: .poll, logger: logger) { group in #expect(group.loops[0].backend == .poll) }
        #expect(lines.all.withLock { $0.filter { $0.contains("poll()") } }.count == 1)
    }

    /// The same code on both engines: messages of both kinds and all sizes there and back, over TCP and TLS, with and
    /// without compression, from the loop and from elsewhere.
    @Test(arguments: EventLoopJobTests.backends, [false, true])
    func echoRunsOnBothEngines(backend: WebSocketEventLoop.Backend, isSecure: Bool) async throws {
        for compression in Compression.allCases {
            try await withLoops(2, backend: backend) { group in
                let options = WebSocketOptions.with {
                    if compression == .deflate { $0.compression = .deflate() }
                }
                try await withServer(
                    on: group.loops[0], options: options, tls: isSecure ? TestCertificate.server() : nil
                ) { server in
                    let request = try ClientRequest(
                        url: WebSocketURL("\(isSecure ? "wss" : "ws")://127.0.0.1:\(server.port)"), fields: [:],
                        subprotocols: [], options: options, openTimeout: .seconds(60), tls: TestCertificate.client)
                    let client = try await group.loops[1].connect(request)
                    #expect((client.details.tls != nil) == isSecure)
                    #expect((client.details.deflate != nil) == (compression == .deflate))
                    let connection = try await server.next()
                    let echo = Task(executorPreference: group.loops[0].taskExecutor) {
                        while let message = try? await connection.receive() { try await connection.send(message) }
                    }
                    for isOnLoop in [false, true] {
                        try await Task(executorPreference: isOnLoop ? group.loops[1].taskExecutor : nil) {
                            for size in [0, 1, 100, 70_000, 1_000_000] {
                                let bytes = [UInt8](count: size) { UInt8(truncatingIfNeeded: $0 &* $0) }
                                try await client.send(.binary(bytes))
                                #expect(try await client.receive() == .binary(bytes))
                                let text = String(repeating: "äß", count: size / 4)
                                try await client.send(.text(text))
                                #expect(try await client.receive() == .text(text))
                            }
                            #expect(try await client.ping() > 0)
                        }.value
                    }
                    let info = try await client.close(WebSocketCloseFrame(code: .normalClosure))
                    #expect(info.isNormal)
                    try await echo.value
                    #expect(try await connection.closed().isNormal)
                }
            }
        }
    }

    /// Waits on the fallback engine are woken by sockets, threads and deadlines alike.
    @Test func theFallbackServesManyConnections() async throws {
        try await withLoops(backend: .poll) { group in
            let loop = group.loops[0]
            try await withServer(on: loop) { server in
                let request = try ClientRequest(port: server.port)
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    for number in 0..<20 {
                        let client = try await loop.connect(request)
                        let connection = try await server.next()
                        tasks.addTask {
                            for round in 0..<50 {
                                try await client.send(.text("\(number) \(round)"))
                                #expect(try await connection.receive() == .text("\(number) \(round)"))
                                try await connection.send(.text("\(round) \(number)"))
                                #expect(try await client.receive() == .text("\(round) \(number)"))
                            }
                            _ = try await client.close(WebSocketCloseFrame(code: .goingAway))
                        }
                    }
                    try await tasks.waitForAll()
                }
            }
        }
    }
}
