//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc
import Synchronization
import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop

@Suite(.timeLimit(.minutes(5))) struct ListenerTests {
    /// Counts calls, and fails while told to.
    private final class Scarcity: Sendable {
        let calls = Atomic<Int>(0)
        let failures: AsyncStream<Void>
        private let failed: AsyncStream<Void>.Continuation
        let code = Atomic<Int32>(0)

        init() { (failures, failed) = AsyncStream.makeStream() }

        func accept(_ listener: CInt) -> CInt {
            calls.wrappingAdd(1, ordering: .relaxed)
            if code.load(ordering: .relaxed) != 0 {
                failed.yield()
                errno = code.load(ordering: .relaxed)
                return -1
            }
            return Listener.take(from: listener)
        }
    }

    @Test(arguments: [EMFILE, ENFILE, ENOBUFS, ENOMEM])
    func runningOutOfDescriptorsPausesAcceptingWithoutSpinning(code: Int32) async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            let scarcity = Scarcity()
            let began = ContinuousClock.now
            scarcity.code.store(code, ordering: .relaxed)
            let policy = UpgradePolicy(
                options: .quiet, handshakeTimeout: .seconds(60), tls: nil,
                decide: { _, _ in .failure(.unavailable) }, established: { _ in })
            let listener = try Listener(
                loop: loop, address: .tcp(host: "127.0.0.1", port: 0), backlog: 16,
                accept: { scarcity.accept($0) }
            ) { ServerUpgrade.begin($0, on: loop, policy: policy) }
            await loop.run { listener.start() }
            let peer = try await WebSocketBytePeer.connect(port: listener.address.port!)
            try await peer.write(WebSocketBytePeer.request(target: "/"))
            // The peer waits in the backlog, and the socket stays readable for all that time.
            var failures = scarcity.failures.makeAsyncIterator()
            for _ in 0..<3 { await failures.next() }
            // Turns of the loop that a readable socket would have used to try again.
            for _ in 0..<1_000 { await loop.run {} }
            // One try after each pause of 100 ms, however long this took.
            let pauses = Int((ContinuousClock.now - began) / .milliseconds(100))
            #expect(scarcity.calls.load(ordering: .relaxed) <= pauses + 2)
            scarcity.code.store(0, ordering: .relaxed)
            let answer = try await peer.readToEnd()
            #expect(String(decoding: answer, as: UTF8.self).hasPrefix("HTTP/1.1 503 "))
            peer.close()
            await loop.run { listener.stop() }
        }
    }

    /// Their handshakes need no other descriptor, so that none is cut off in the middle.
    @Test func tlsClientsWaitInTheBacklogWhileDescriptorsAreShort() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            let scarcity = Scarcity()
            scarcity.code.store(EMFILE, ordering: .relaxed)
            let policy = UpgradePolicy(
                options: .quiet, handshakeTimeout: .seconds(60), tls: try TestCertificate.server(),
                decide: { _, _ in .failure(.unavailable) }, established: { _ in })
            let listener = try Listener(
                loop: loop, address: .tcp(host: "127.0.0.1", port: 0), backlog: 16,
                accept: { scarcity.accept($0) }
            ) { ServerUpgrade.begin($0, on: loop, policy: policy) }
            await loop.run { listener.start() }
            var clients: [TLSPeer] = []
            for _ in 0..<10 {
                let tls = TLSPeer(try await WebSocketBytePeer.connect(port: listener.address.port!))
                try await tls.peer.write(tls.clientHello())
                clients.append(tls)
            }
            var failures = scarcity.failures.makeAsyncIterator()
            for _ in 0..<3 { await failures.next() }
            #expect(loop.diagnostics.descriptors == 1)
            scarcity.code.store(0, ordering: .relaxed)
            for tls in clients {
                try await tls.handshake()
                try await tls.write(WebSocketBytePeer.request(target: "/"))
                #expect(try await tls.readHead().status == 503)
                tls.peer.close()
            }
            await loop.run { listener.stop() }
        }
    }

    /// libwebsockets has a limit to its descriptors' numbers. A connection with a higher one waits for a lower one, and
    /// those behind it in the backlog.
    @Test func aDescriptorWhoseNumberIsTooHighWaitsForALowerOne() async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            let isHigh = Atomic<Bool>(true)
            let (parked, park) = AsyncStream.makeStream(of: Void.self)
            let (numbers, number) = AsyncStream.makeStream(of: CInt.self)
            let listener = try Listener(
                loop: loop, address: .tcp(host: "127.0.0.1", port: 0), backlog: 16, numbersBelow: 900,
                accept: { listener in
                    let descriptor = Listener.take(from: listener)
                    guard descriptor >= 0, isHigh.exchange(false, ordering: .relaxed) else { return descriptor }
                    let high = fcntl(descriptor, F_DUPFD_CLOEXEC, 900)
                    Glibc.close(descriptor)
                    park.yield()
                    return high
                }
            ) { descriptor in
                number.yield(descriptor)
                Glibc.close(descriptor)
            }
            await loop.run { listener.start() }
            let first = try await WebSocketBytePeer.connect(port: listener.address.port!)
            var isParked = parked.makeAsyncIterator()
            await isParked.next()
            let second = try await WebSocketBytePeer.connect(port: listener.address.port!)
            var accepted = numbers.makeAsyncIterator()
            for _ in 0..<2 {
                let number = try #require(await accepted.next())
                #expect(number < 900)
            }
            for peer in [first, second] {
                #expect(try await peer.readToEnd() == [])
                peer.close()
            }
            await loop.run { listener.stop() }
        }
    }

    /// They are the client's doing, and there is a next one.
    @Test(arguments: [ECONNABORTED, EINTR])
    func failuresOfOneClientDoNotStopTheOthers(code: Int32) async throws {
        try await withLoops { group in
            let loop = group.loops[0]
            let isFirst = Atomic<Bool>(true)
            let accepted = Atomic<Int>(0)
            let listener = try Listener(
                loop: loop, address: .tcp(host: "127.0.0.1", port: 0), backlog: 16,
                accept: { listener in
                    if isFirst.exchange(false, ordering: .relaxed) {
                        errno = code
                        return -1
                    }
                    return Listener.take(from: listener)
                }
            ) { descriptor in
                accepted.wrappingAdd(1, ordering: .relaxed)
                Glibc.close(descriptor)
            }
            await loop.run { listener.start() }
            let peer = try await WebSocketBytePeer.connect(port: listener.address.port!)
            #expect(try await peer.readToEnd() == [])
            #expect(accepted.load(ordering: .relaxed) == 1)
            peer.close()
            await loop.run { listener.stop() }
        }
    }
}
