//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import LoopbackSupport
import Testing
import WebSockets

/// Rule 21: what belongs to the whole process stays as it is, and loops of one process do not know each other.
@Suite(.timeLimit(.minutes(5))) struct ProcessRuleTests {
    /// What a library could change for everybody.
    private struct ProcessState: Equatable {
        var signals: [CInt: UInt] = [:]
        var blockedSignals: [Bool] = []
        var environment: [String] = []
        var directory = ""
        var mask: mode_t = 0
        var locale = ""
        var limits: [UInt] = []

        init() {
            for number in 1...64 as ClosedRange<CInt> {
                var action = sigaction()
                guard sigaction(number, nil, &action) == 0 else { continue }
                signals[number] = withUnsafeBytes(of: action) { $0.load(as: UInt.self) }
            }
            var blocked = sigset_t()
            pthread_sigmask(SIG_BLOCK, nil, &blocked)
            blockedSignals = (1...64 as ClosedRange<CInt>).map { sigismember(&blocked, $0) == 1 }
            var entry = environ
            while let text = entry.pointee {
                environment.append(String(cString: text))
                entry += 1
            }
            var path = [CChar](repeating: 0, count: Int(PATH_MAX))
            if getcwd(&path, path.count) != nil {
                directory = String(decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            }
            mask = umask(0)
            umask(mask)
            locale = setlocale(LC_ALL, nil).map { String(cString: $0) } ?? ""
            for resource in [RLIMIT_NOFILE, RLIMIT_AS, RLIMIT_STACK, RLIMIT_CORE] {
                var limit = rlimit()
                getrlimit(__rlimit_resource_t(resource.rawValue), &limit)
                limits += [UInt(limit.rlim_cur), UInt(limit.rlim_max)]
            }
        }
    }

    /// Proxies of the environment where nobody listens: whoever goes by them does not arrive.
    private static func setProxies() {
        for name in ["http", "https", "ws", "wss", "all", "socks"] {
            for variable in ["\(name)_proxy", "\(name.uppercased())_PROXY"] {
                setenv(variable, "http://127.0.0.1:1", 1)
            }
        }
    }

    /// Rule 21: no setting of the process is changed, none of its environment is followed.
    @Test
    func noSettingOfTheProcessIsChanged() async {
        await #expect(processExitsWith: .success) {
            Self.setProxies()
            var before = ProcessState()
            for transport in Transport.all {
                try await withLoopback(transport, handler: echo) { loopback in
                    let socket = try await loopback.connect()
                    try await socket.send("hello")
                    let answer = try await socket.receive()
                    try #require(answer == .text("hello"))
                    try await socket.close()
                }
            }
            let after = ProcessState()
            // The one that is documented, as is libwebsockets' log level.
            try #require(after.signals[SIGPIPE] == 1)  // SIG_IGN
            before.signals[SIGPIPE] = after.signals[SIGPIPE]
            try #require(before == after)
            endProcess()
        }
    }

    /// Rule 21: two groups of loops share no trust and no end.
    @Test func twoGroupsOfLoopsShareNoTrustAndNoEnd() async throws {
        try await withLoopback(.secure, handler: echo) { loopback in
            let trusting = try await loopback.connect()
            let other = try WebSocketEventLoopGroup(count: 1)
            var stranger = loopback.client
            stranger.eventLoop = other.next()
            stranger.tls = .init()
            let error = try await failure {
                try await WebSocketClient.connect(to: loopback.url + "/", configuration: stranger)
            }
            #expect(error.code == .tlsFailed)
            await other.shutDown()
            try await trusting.send("still here")
            #expect(try await trusting.receive() == .text("still here"))
            try await loopback.connect().close()
            try await trusting.close()
        }
    }
}
