//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// Faults that concern the process as a whole, each in a process of its own: rows A10, H5, H6, X4 and X5.
@Suite(.timeLimit(.minutes(5))) struct ProcessFaultTests {
    private static func server(on loops: WebSocketEventLoopGroup) throws -> WebSocketServer {
        var configuration = WebSocketServerConfiguration()
        configuration.eventLoopGroup = loops
        return try WebSocketServer(configuration: configuration)
    }

    /// Takes every descriptor that the process may have, except `spare`. To be given back soon: libdispatch looks after its
    /// busy threads once a second through files in /proc, and traps when it cannot open one
    /// (`_dispatch_workq_monitor_pools`).
    private static func takeDescriptors(leaving spare: Int = 0) throws -> [CInt] {
        var limit = rlimit(rlim_cur: 128, rlim_max: 128)
        try #require(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
        var taken: [CInt] = []
        while case let descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC), descriptor >= 0 {
            taken.append(descriptor)
        }
        try #require(errno == EMFILE && taken.count > spare)
        for _ in 0..<spare { close(taken.removeLast()) }
        return taken
    }

    /// A10: a client without descriptors says so, and connects when there are some again.
    @Test
    func aClientWithoutDescriptorsSaysSo() async {
        await #expect(processExitsWith: .success) {
            try await withLoops { serverLoops in
                let server = try Self.server(on: serverLoops)
                let running = Task { try await server.run(echo) }
                try await withLoops { loops in
                    let client = try clientConfiguration(on: loops)
                    let url = "ws://127.0.0.1:\(server.port)/"
                    let (here, there) = (loops.loops[0], serverLoops.loops[0])
                    try await WebSocketClient.connect(to: url, configuration: client).close()
                    // A descriptor that comes back later would let a connection begin that nobody can accept.
                    try await here.reaches("the client's end is gone") { $0.isZero }
                    try await there.reaches("only the listener is left") {
                        $0.connections == 0 && $0.descriptors == 1
                    }
                    let taken = try Self.takeDescriptors()
                    for _ in 0..<3 {
                        let error = try await failure {
                            try await WebSocketClient.connect(to: url, configuration: client)
                        }
                        try #require(error.code == .resourceExhausted && error.systemError == EMFILE, "\(error)")
                    }
                    for descriptor in taken { close(descriptor) }
                    try await WebSocketClient.connect(to: url, configuration: client).close()
                }
                await server.shutDown()
                try await running.value
            }
        }
    }

    /// H5: a server without descriptors lets its clients wait and serves them when there are some again.
    @Test
    func aServerWithoutDescriptorsLetsItsClientsWaitAndServesThemWhenThereAreSomeAgain() async {
        await #expect(processExitsWith: .success) {
            try await withLoops { loops in
                let server = try Self.server(on: loops)
                let running = Task { try await server.run(echo) }
                let first = try await WebSocketBytePeer.connect(port: server.port)
                try await first.openHandshake()
                let taken = try Self.takeDescriptors(leaving: 1)
                // Its own end takes the last one, so the server cannot have the other.
                let second = try await WebSocketBytePeer.connect(port: server.port)
                try await second.write(WebSocketBytePeer.request(target: "/"))
                // Meanwhile the loop serves those who are there.
                for _ in 0..<10 {
                    try await first.send(WebSocketWireFrame(WebSocketWireFrame.binary, [7]))
                    let echo = try await first.readFrame()
                    try #require(echo.payload == [7])
                }
                try #require(second.unread.isEmpty && server.connections.count == 1)
                for descriptor in taken { close(descriptor) }
                _ = try WebSocketBytePeer.check(answer: await second.readHead())
                first.close()
                second.close()
                await server.shutDown()
                try await running.value
            }
        }
    }

    /// H6: without memory there is an error or a trap, and never a wrong message.
    @Test func withoutMemoryThereIsAnErrorOrATrapAndNeverAWrongMessage() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardOutputContent]) {
            let everything = 1 << 40
            try await withLoopback(
                Transport(compression: .deflate()), server: { $0.options.maximumMessageSize = everything },
                handler: echo
            ) { loopback in
                let socket = try await loopback.connect { $0.options.maximumMessageSize = everything }
                // Pages there are now, and 64 MiB more: enough for the first messages.
                var pages = 0
                let file = try #require(fopen("/proc/self/statm", "r"))
                withUnsafeMutablePointer(to: &pages) { pointer in
                    withVaList([pointer]) { _ = vfscanf(file, "%ld", $0) }
                }
                fclose(file)
                let bytes = rlim_t(pages * sysconf(CInt(_SC_PAGESIZE)) + 64 << 20)
                var limit = rlimit(rlim_cur: bytes, rlim_max: bytes)
                try #require(pages > 0 && setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0)
                for size in sequence(first: 1 << 20, next: { $0 * 2 }) {
                    let message = [UInt8](repeating: UInt8(size.trailingZeroBitCount), count: size)
                    try await socket.send(message)
                    guard case .binary(let answer) = try await socket.receive(), answer == message else {
                        // The one end that is wrong looks like success.
                        _exit(0)
                    }
                    _ = write(STDOUT_FILENO, "echo\n", 5)
                }
            }
        }
        // It was not too little from the beginning.
        #expect(result.map { String(decoding: $0.standardOutputContent, as: UTF8.self).contains("echo") } == true)
    }

    /// X4: system calls that are interrupted every millisecond lose nothing.
    @Test func systemCallsThatAreInterruptedEveryMillisecondLoseNothing() async {
        await #expect(processExitsWith: .success) {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { _ in }
            // Without SA_RESTART, so that calls fail with EINTR.
            try #require(sigaction(SIGALRM, &action, nil) == 0)
            let interval = timeval(tv_sec: 0, tv_usec: 1_000)
            var timer = itimerval(it_interval: interval, it_value: interval)
            try #require(setitimer(__itimer_which_t(ITIMER_REAL.rawValue), &timer, nil) == 0)
            try await withLoopback(Transport(isSecure: true, compression: .deflate()), handler: echo) { loopback in
                let socket = try await loopback.connect()
                for size in 0..<300 {
                    let message = Payload.noise(size * 100)
                    try await socket.send(message)
                    let answer = try await socket.receive()
                    try #require(answer == .binary(message))
                }
                let info = try await socket.close()
                try #require(info.isNormal && info.unsentMessages == 0)
            }
            endProcess()
        }
    }

    /// X5: a process may exit while connections live.
    @Test func aProcessMayExitWhileConnectionsLive() async {
        await #expect(processExitsWith: .exitCode(3)) {
            let loops = try WebSocketEventLoopGroup(count: 2)
            let server = try Self.server(on: loops)
            Task { try await server.run(echo) }
            var sockets: [WebSocketConnection] = []
            for _ in 0..<100 {
                let socket = try await WebSocketClient.connect(
                    to: "ws://127.0.0.1:\(server.port)/", configuration: clientConfiguration(on: loops))
                try await socket.send("on its way")
                sockets.append(socket)
            }
            exit(3)
        }
    }
}

/// Ends a process of a test well. Not through `exit`: OpenSSL's cleaning up there takes the keys away from threads of
/// loops that are just ending, and LeakSanitizer then reports what these would have freed in the next moment.
func endProcess() -> Never { _exit(0) }
