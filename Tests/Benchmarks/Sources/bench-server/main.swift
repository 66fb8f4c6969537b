//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// An echo server as run.py asks for it:
//   bench-server loop|global|onmessage serve SECONDS_MAX
// Prints {"port":N}, serves until SIGTERM, the end of stdin or the time limit, and prints {"cpu_seconds":X}.
import Glibc
import WebSockets

func cpuSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

let arguments = CommandLine.arguments
guard arguments.count >= 4, let limit = Double(arguments[3]).map(UInt32.init) else {
    print("usage: bench-server loop|global|onmessage serve SECONDS_MAX")
    exit(64)
}
var descriptors = rlimit()
getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &descriptors)
// Thousands of connections need more than is comparable otherwise.
descriptors.rlim_cur = min(descriptors.rlim_cur, getenv("BENCH_FILES").flatMap { rlim_t(String(cString: $0)) } ?? 4_096)
setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &descriptors)

var configuration = WebSocketServerConfiguration()
configuration.eventLoopGroup = try WebSocketEventLoopGroup(count: 1)
configuration.options.compression = .disabled
configuration.options.keepAlive = nil
configuration.options.outboundBuffer = .init(highBytes: 1 << 20, lowBytes: 1 << 18)
configuration.executor = arguments[1] == "global" ? .global : .loop
let isSynchronous = arguments[1] == "onmessage"
let server = try WebSocketServer(configuration: configuration)

func finish() -> Never {
    print("{\"cpu_seconds\":\(cpuSeconds())}")
    fflush(nil)
    exit(0)
}
signal(SIGTERM) { _ in finish() }
signal(SIGALRM) { _ in finish() }
alarm(limit)
print("{\"port\":\(server.port)}")
fflush(nil)
let watcher = Task.detached {
    // Blocks a thread of its own pool slot until the runner closes the pipe.
    var byte: UInt8 = 0
    while read(0, &byte, 1) > 0 {}
    finish()
}
try await server.run { socket in
    if socket.requestTarget == "/broadcast" {
        for try await message in socket.messages { server.broadcast(message) }
    } else if isSynchronous {
        socket.onMessage { [unowned socket] bytes, kind in _ = try? socket.trySend(bytes, as: kind) }
        _ = try await socket.closed()
    } else {
        for try await message in socket.messages { try await socket.send(message) }
    }
}
