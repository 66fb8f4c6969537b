//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import HTTPTypes
import Synchronization
import TestSupport
import Testing
import WebSocketCore

@testable import WebSocketLoop

/// Names are looked up beside each other. No test asks the system's DNS: look-ups block until the test lets them go.
@Suite(.timeLimit(.minutes(5))) struct NameTests {
    /// A name service whose look-ups of names that begin with "dead" end when the test says so.
    private final class Names: Sendable {
        private struct State {
            var entered: [String] = []
            var isOpen = false
            var blocked: [LoopSemaphore] = []
        }
        private let state = Mutex(State())
        let hosts = Mutex("192.0.2.7 known.test\n")

        func service(_ limits: NameLookUps<NameService.Waiter>.Limits = .init()) -> NameService {
            NameService(
                limits: limits, lookUp: { self.lookUp($0) }, hosts: { Array(self.hosts.withLock { $0 }.utf8) })
        }

        private func lookUp(_ name: String) -> NameService.Answer {
            let semaphore = LoopSemaphore()
            let blocks = state.withLock { state in
                state.entered.append(name)
                guard name.hasPrefix("dead"), !state.isOpen else { return false }
                state.blocked.append(semaphore)
                return true
            }
            if blocks { semaphore.wait() }
            switch name {
            case "exhausted.test": return .failure(EAI_SYSTEM, errno: EMFILE)
            case "missing.test": return .failure(EAI_NONAME, errno: 0)
            case "nothing.test": return .addresses([])
            default: return .addresses(["127.0.0.1"])
            }
        }

        var entered: [String] { state.withLock { $0.entered } }

        /// Lets all look-ups end that were begun and will be.
        func open() {
            let blocked = state.withLock { state in
                state.isOpen = true
                defer { state.blocked = [] }
                return state.blocked
            }
            for semaphore in blocked { semaphore.signal() }
        }
    }

    /// A loop whose names are these. All of their threads must come to an end.
    private func withNames(
        _ limits: NameLookUps<NameService.Waiter>.Limits = .init(),
        _ body: (WebSocketEventLoop, Names) async throws -> Void
    ) async throws {
        let names = Names()
        let service = names.service(limits)
        do {
            try await withLoops { group in
                let loop = group.loops[0]
                await loop.run { loop.names = service }
                try await body(loop, names)
            }
        } catch {
            names.open()
            throw error
        }
        names.open()
        try await until("no threads") { service.threadCount == 0 }
    }

    private func until(_ what: Comment, _ condition: () -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while !condition() {
            try #require(ContinuousClock.now < deadline, what)
            try await Task.sleep(for: .milliseconds(1))
        }
    }

    private func expect(
        _ code: WebSocketError.Code, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
    ) async {
        do {
            try await body()
            Issue.record("no error was thrown", sourceLocation: sourceLocation)
        } catch {
            #expect((error as? WebSocketError)?.code == code, "\(error)", sourceLocation: sourceLocation)
        }
    }

    private func addresses(_ loop: WebSocketEventLoop, _ name: String) async throws -> [String] {
        try await loop.resolve(name)
    }

    private func request(_ url: String, openTimeout: Duration = .seconds(60)) throws -> ClientRequest {
        try ClientRequest(
            url: WebSocketURL(url), fields: [:], subprotocols: [], options: .quiet, openTimeout: openTimeout,
            tls: WebSocketTLSClientConfiguration())
    }

    @Test func aLookUpWaitsForNoOther() async throws {
        try await withNames { loop, names in
            let dead = (0..<60).map { number in Task { try await addresses(loop, "dead\(number).test") } }
            try await until("60 look-ups at once") { names.entered.count == 60 }
            #expect(try await addresses(loop, "good.test") == ["127.0.0.1"])
            names.open()
            for task in dead { #expect(try await task.value == ["127.0.0.1"]) }
        }
    }

    /// The bound is reached, and nothing answers: names that need no DNS do not notice.
    @Test func whatNeedsNoDNSNeverWaits() async throws {
        try await withNames(.init(wanted: 2)) { loop, names in
            let dead = (0..<2).map { number in Task { try await addresses(loop, "dead\(number).test") } }
            try await until("both places are taken") { names.entered.count == 2 }
            for _ in 0..<3 {
                for name in ["localhost", "LOCALHOST", "localhost.", "a.b.localhost"] {
                    let found = try await addresses(loop, name)
                    #expect(found.contains("127.0.0.1") && Set(found).isSubset(of: ["127.0.0.1", "::1"]))
                }
            }
            #expect(try await addresses(loop, "known.test") == ["192.0.2.7"])
            for address in ["192.0.2.1", "::1", "fe80::1%lo"] {
                #expect(try await addresses(loop, address) == [address])
            }
            #expect(names.entered.count == 2)
            names.open()
            for task in dead { _ = try await task.value }
        }
    }

    /// An administrator's own entry counts.
    @Test func theHostsFileSaysWhereLocalhostIs() async throws {
        try await withNames { loop, names in
            names.hosts.withLock { $0 = "127.0.0.9 localhost\n127.0.0.8 app.localhost\n127.0.0.7 localhost\n" }
            let found = try await addresses(loop, "localhost")
            #expect(found == ["127.0.0.9", "127.0.0.7"])
            #expect(try await addresses(loop, "app.localhost") == ["127.0.0.8"])
            #expect(try await addresses(loop, "other.localhost").contains("127.0.0.1"))
            #expect(names.entered.isEmpty)
        }
    }

    @Test func aCancelledLookUpFreesItsPlaceAtOnce() async throws {
        try await withNames(.init(wanted: 1)) { loop, names in
            let dead = Task { try await addresses(loop, "dead.test") }
            try await until("the place is taken") { names.entered.count == 1 }
            let (queued, given) = (
                Task { try await addresses(loop, "good.test") }, Task { try await addresses(loop, "other.test") }
            )
            given.cancel()
            await expect(.cancelled) { _ = try await given.value }
            dead.cancel()
            await expect(.cancelled) { _ = try await dead.value }
            // The thread of the first still waits.
            #expect(try await queued.value == ["127.0.0.1"])
        }
    }

    /// Each attempt leaves a thread behind; the next one does not notice.
    @Test func deadlinesFreePlacesToo() async throws {
        try await withNames(.init(wanted: 1, threads: 50)) { loop, names in
            for number in 0..<5 {
                let error = try await error {
                    _ = try await loop.connect(
                        request("ws://dead\(number).test/", openTimeout: .milliseconds(20)))
                }
                #expect(error.code == .timedOut && error.phase == .nameResolution)
            }
            #expect(try await addresses(loop, "good.test") == ["127.0.0.1"])
        }
    }

    @Test func threadsAreBounded() async throws {
        try await withNames(.init(wanted: 2, threads: 3)) { loop, names in
            for number in 0..<3 {
                let task = Task { try await addresses(loop, "dead\(number).test") }
                try await until("it has begun") { names.entered.count == number + 1 }
                task.cancel()
                _ = await task.result
            }
            let late = Task { try await addresses(loop, "good.test") }
            // A question to the hosts file that comes later is answered, so this one has been queued.
            while try await addresses(loop, "known.test") != ["192.0.2.7"] {}
            #expect(names.entered.count == 3)
            names.open()
            #expect(try await late.value == ["127.0.0.1"])
        }
    }

    @Test func callersOfOneNameShareItsLookUp() async throws {
        try await withNames { loop, names in
            let first = Task { try await addresses(loop, "dead.test") }
            try await until("it has begun") { names.entered.count == 1 }
            let others = (0..<20).map { _ in Task { try await addresses(loop, "dead.test") } }
            await loop.turn { loop.counters.continuations.value == 21 }
            first.cancel()
            await expect(.cancelled) { _ = try await first.value }
            names.open()
            for task in others { #expect(try await task.value == ["127.0.0.1"]) }
            #expect(names.entered == ["dead.test"])
        }
    }

    @Test func aLoopMayStopMeanwhile() async throws {
        let names = Names()
        let service = names.service()
        let group = try WebSocketEventLoopGroup(count: 1, logger: silentLogger)
        let loop = group.loops[0]
        await loop.run { loop.names = service }
        let (looking, connecting) = (
            Task { try await addresses(loop, "dead.test") },
            Task { await (try loop.connect(request("ws://dead1.test/"))).end() }
        )
        try await until("both have begun") { names.entered.count == 2 }
        await group.shutDown()
        await expect(.shutDown) { _ = try await looking.value }
        await expect(.shutDown) { try await connecting.value }
        #expect(loop.diagnostics.isZero, "\(loop.diagnostics)")
        names.open()
        try await until("no threads") { service.threadCount == 0 }
    }

    @Test func failuresAreToldApart() async throws {
        try await withNames { loop, _ in
            let missing = try await error { _ = try await addresses(loop, "missing.test") }
            #expect(missing.code == .nameNotFound && missing.phase == .nameResolution)
            #expect(missing.message.contains("“missing.test”"), "\(missing)")
            let exhausted = try await error { _ = try await addresses(loop, "exhausted.test") }
            #expect(exhausted.code == .resourceExhausted && exhausted.systemError == EMFILE)
            let nothing = try await error { _ = try await loop.connect(request("ws://nothing.test/")) }
            #expect(nothing.code == .nameNotFound && nothing.phase == .nameResolution)
        }
    }

    @Test func threadsHaveNamesAndTakeNoSignals() async throws {
        let seen = Mutex<[String]>([])
        let look: @Sendable () -> Void = {
            var mask = sigset_t()
            pthread_sigmask(SIG_SETMASK, nil, &mask)
            let blocked = [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE, SIGCHLD].allSatisfy {
                sigismember(&mask, $0) == 1
            }
            let name = String(decoding: (try? FileBytes.read("/proc/thread-self/comm")) ?? [], as: UTF8.self)
            seen.withLock { $0.append("\(name)\(blocked)") }
        }
        let service = NameService(
            lookUp: { _ in
                look()
                return .addresses([])
            },
            hosts: {
                look()
                return []
            })
        for name in ["a.test", "localhost"] {
            await withCheckedContinuation { continuation in
                var (before, after) = (sigset_t(), sigset_t())
                pthread_sigmask(SIG_SETMASK, nil, &before)
                _ = service.begin(name) { _ in continuation.resume() }
                pthread_sigmask(SIG_SETMASK, nil, &after)
                // The caller's own mask is what it was.
                for signal in 1..<32 as Range<CInt> {
                    #expect(sigismember(&before, signal) == sigismember(&after, signal))
                }
            }
        }
        #expect(seen.withLock { $0 } == ["wsx-name\ntrue", "wsx-hosts\ntrue"])
    }
}
