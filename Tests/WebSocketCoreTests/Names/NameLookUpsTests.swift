//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing

@testable import WebSocketCore

@Suite struct NameLookUpsTests {
    private typealias LookUps = NameLookUps<Int>

    private static func make(wanted: Int, threads: Int = 100, perName: Int = 2) -> LookUps {
        LookUps(limits: .init(wanted: wanted, threads: threads, perName: perName))
    }

    @Test func eachNameHasAThreadOfItsOwn() {
        var lookUps = Self.make(wanted: 3)
        #expect(lookUps.add(1, "a", 1) == .start(.init(thread: 1, name: "a")))
        #expect(lookUps.add(2, "b", 2) == .start(.init(thread: 2, name: "b")))
        #expect(lookUps.add(3, "a", 3) == .joined)
        #expect(lookUps.add(4, "c", 4) == .start(.init(thread: 3, name: "c")))
        #expect(lookUps.add(5, "d", 5) == .queued)
        #expect(lookUps.add(6, "d", 6) == .joined)
        let first = lookUps.finished(1)
        #expect(first.waiters == [1, 3])
        #expect(first.next == .init(thread: 4, name: "d"))
        #expect(lookUps.finished(4).waiters == [5, 6])
        #expect(lookUps.finished(2).next == nil)
    }

    @Test func whatIsNotWantedGivesItsPlaceAway() {
        var lookUps = Self.make(wanted: 1)
        #expect(lookUps.add(1, "a", 1) == .start(.init(thread: 1, name: "a")))
        #expect(lookUps.add(2, "b", 2) == .queued)
        #expect(lookUps.add(3, "c", 3) == .queued)
        let cancelled = lookUps.cancel(1)
        #expect(cancelled.waiter == 1)
        #expect(cancelled.next == .init(thread: 2, name: "b"))
        // In the queue it had no place yet.
        #expect(lookUps.cancel(3).next == nil)
        #expect(lookUps.cancel(3).waiter == nil)
        #expect(lookUps.threadCount == 2)
        // Its end is nobody's, and no second look-up takes its place: that is b's.
        #expect(lookUps.finished(1).waiters == [])
        #expect(lookUps.finished(2).waiters == [2])
        #expect(lookUps.threadCount == 0)
    }

    @Test func oneOfSeveralWaitersLeavesTheOthers() {
        var lookUps = Self.make(wanted: 1)
        _ = lookUps.add(1, "a", 1)
        _ = lookUps.add(2, "a", 2)
        _ = lookUps.add(3, "b", 3)
        #expect(lookUps.cancel(1).next == nil)
        #expect(lookUps.finished(1).waiters == [2])
    }

    @Test func aNameThatIsGivenUpAndWantedAgainIsAskedForAnewTwice() {
        var lookUps = Self.make(wanted: 5)
        #expect(lookUps.add(1, "a", 1) == .start(.init(thread: 1, name: "a")))
        _ = lookUps.cancel(1)
        #expect(lookUps.add(2, "a", 2) == .start(.init(thread: 2, name: "a")))
        _ = lookUps.cancel(2)
        // A third thread would wait no shorter.
        #expect(lookUps.add(3, "a", 3) == .joined)
        #expect(lookUps.finished(1).waiters == [])
        #expect(lookUps.finished(2).waiters == [3])
    }

    @Test func threadsAreBoundedAlsoWhenTheyAreNotWanted() {
        var lookUps = Self.make(wanted: 2, threads: 3)
        for name in 1...3 {
            #expect(lookUps.add(UInt64(name), "\(name)", name) == .start(.init(thread: UInt64(name), name: "\(name)")))
            _ = lookUps.cancel(UInt64(name))
        }
        #expect(lookUps.add(4, "4", 4) == .queued)
        #expect(lookUps.finished(2).next == .init(thread: 4, name: "4"))
    }

    @Test func withoutAThreadTheOthersDoTheWork() {
        var lookUps = Self.make(wanted: 3)
        _ = lookUps.add(1, "a", 1)
        _ = lookUps.add(2, "b", 2)
        #expect(lookUps.refused(2) == [])
        #expect(lookUps.finished(1).next == .init(thread: 3, name: "b"))
        #expect(lookUps.refused(3) == [2])
        #expect(lookUps.threadCount == 0)
    }

    @Test func anAnswerFromElsewhereEmptiesTheQueue() {
        var lookUps = Self.make(wanted: 1)
        _ = lookUps.add(1, "a", 1)
        _ = lookUps.add(2, "b", 2)
        _ = lookUps.add(3, "b", 3)
        #expect(lookUps.takeQueued("a") == [])
        #expect(lookUps.takeQueued("b") == [2, 3])
        #expect(lookUps.finished(1).next == nil)
    }

    /// Whatever happens in whatever order: each waiter is handed out once, limits are kept, nothing waits while there
    /// is a place.
    @Test(arguments: 0..<200 as Range<UInt64>)
    func everyWaiterIsHandedOutOnce(_ seed: UInt64) {
        var random = SessionRandom(seed: seed)
        var lookUps = Self.make(wanted: 3, threads: 5)
        var threads: Set<UInt64> = []
        var open: Set<Int> = []
        var last: UInt64 = 0
        func begin(_ job: LookUps.Job?) {
            if let job { #expect(threads.insert(job.thread).inserted) }
            #expect(threads.count <= 5)
        }
        func end(_ waiters: [Int]) {
            for waiter in waiters { #expect(open.remove(waiter) != nil) }
        }
        for _ in 0..<300 {
            switch Int.random(in: 0..<5, using: &random) {
            case 0, 1:
                last += 1
                open.insert(Int(last))
                if case .start(let job) = lookUps.add(last, "\(last % 11)", Int(last)) { begin(job) }
            case 2:
                let (waiter, next) = lookUps.cancel(UInt64.random(in: 0...last, using: &random))
                end(waiter.map { [$0] } ?? [])
                begin(next)
            case 3:
                guard let thread = threads.sorted().randomElement(using: &random) else { continue }
                threads.remove(thread)
                let (waiters, next) = lookUps.finished(thread)
                end(waiters)
                begin(next)
            default: end(lookUps.takeQueued("\(Int.random(in: 0..<11, using: &random))"))
            }
            #expect(lookUps.threadCount == threads.count)
        }
        // What is left comes to its end.
        while let thread = threads.min() {
            threads.remove(thread)
            let (waiters, next) = lookUps.finished(thread)
            end(waiters)
            begin(next)
        }
        #expect(open.isEmpty)
    }
}

@Suite struct HostsFileTests {
    private static let text = """
        # a comment with known.test
        127.0.0.1\tlocalhost loopback
        ::1 localhost ip6-localhost # known.test is not this one
          192.0.2.1   Known.Test  short\r
        192.0.2.1 known.test
        2001:db8::1 known.test
        fe80::1%eth0 link.test
        not-an-address known.test
        192.0.2.9

        192.0.2.2 last.test
        """

    @Test(arguments: [
        ("known.test", ["192.0.2.1", "2001:db8::1"]), ("KNOWN.test.", ["192.0.2.1", "2001:db8::1"]),
        ("short", ["192.0.2.1"]), ("localhost", ["127.0.0.1", "::1"]), ("link.test", ["fe80::1%eth0"]),
        ("last.test", ["192.0.2.2"]), ("unknown.test", []), ("192.0.2.9", []), ("", []), ("comment", []),
    ])
    func namesAreFound(_ name: String, _ addresses: [String]) {
        #expect(HostsFile.addresses(of: name, in: Self.text.utf8) == addresses)
    }

    @Test func anythingMayStandInIt() {
        var random = SessionRandom(seed: 1)
        for _ in 0..<200 {
            let bytes = (0..<60).map { _ in "\n\t #:.a1%\0\r\u{FF}".utf8.randomElement(using: &random)! }
            for address in HostsFile.addresses(of: "a", in: bytes) { #expect(IPAddress.isAddress(address)) }
        }
    }

    @Test func localhostIsThisMachinesName() {
        for name in ["localhost", "LOCALHOST", "localhost.", "a.localhost", "a.b.localhost."] {
            #expect(HostsFile.isLocalhost(name), "\(name)")
        }
        for name in ["", "localhost.test", "notlocalhost", "localhost..", "local"] {
            #expect(!HostsFile.isLocalhost(name), "\(name)")
        }
    }
}

@Suite struct AddressZoneTests {
    @Test func zonesAreAddressesToo() {
        for text in ["fe80::1%eth0", "fe80::1%1", "FE80::1%lo", "ff02::1%br-lan.100", "febf::1%9"] {
            #expect(IPAddress.isAddress(text), "\(text)")
            #expect(IPAddress.zone(text) == String(text.split(separator: "%")[1]))
            #expect(IPAddress.withoutZone(text) == String(text.split(separator: "%")[0]))
            #expect(IPAddress.bytes(text) == IPAddress.bytes(IPAddress.withoutZone(text)))
            #expect(IPAddress.bytes(text)?.count == 16)
        }
        for text in ["192.0.2.1", "::1", "fe80::1"] {
            #expect(IPAddress.isAddress(text) && IPAddress.zone(text) == nil)
            #expect(IPAddress.withoutZone(text) == text)
        }
        for text in [
            "fe80::1%", "fe80::1%a b", "fe80::1%eth0%1", "192.0.2.1%eth0", "name%eth0", "%eth0", "fe80::1%a/b",
            "fe80::1%0123456789abcdef", "fe80::1%\u{E9}", "fe80::1%\n", "fe80::1%a]",
            "::1%1", "2001:db8::1%eth0", "fec0::1%eth0", "::ffff:192.0.2.1%eth0",
        ] {
            #expect(!IPAddress.isAddress(text) && IPAddress.zone(text) == nil, "\(text)")
            #expect(IPAddress.withoutZone(text) == text && IPAddress.bytes(text) == nil)
        }
    }
}
