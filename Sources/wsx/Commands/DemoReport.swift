//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Histogram
import WebSocketLoop
import WebSockets

/// What the demo has to say at its end.
struct DemoReport {
    let connections: Int
    var elapsed = Duration.zero
    var tally = DemoTally()
    var backend = WebSocketEventLoop.Backend.libuv
    var pool = WebSocketPoolStatistics()
    var session: DemoSession.Report?
    var failure: WebSocketError?

    init(connections: Int) { self.connections = connections }

    var isGood: Bool {
        failure == nil && tally.wrong == 0 && tally.sent == tally.received && tally.sent > 0
            && session.map { $0.lost == 0 && $0.connections > 1 } ?? false
    }

    private var roundTripsPerSecond: Double {
        elapsed > .zero ? Double(tally.received) / elapsed.inSeconds : 0
    }

    private var compressionRatio: Double? {
        tally.compressible.plain > 0 ? Double(tally.compressible.compressed) / Double(tally.compressible.plain) : nil
    }

    private func latency(_ percentile: Double) -> UInt64 { tally.latency.valueAtPercentile(percentile) }

    var text: String {
        guard failure == nil else { return "the demo failed after \(decimal(elapsed.inSeconds, 1)) s" }
        var rows = [
            (
                "messages",
                "\(decimal(tally.sent)) sent, \(decimal(tally.received)) came back, \(decimal(tally.wrong)) wrong"
                    + " (\(decimal(tally.text)) text, \(decimal(tally.sent - tally.text)) binary,"
                    + " 0 to \(decimal(tally.largest)) bytes)"
            ),
            ("round trips", "\(decimal(roundTripsPerSecond)) per second"),
            (
                "latency",
                "p50 \(duration(nanoseconds: latency(50))) · p99 \(duration(nanoseconds: latency(99)))"
                    + " · p99.9 \(duration(nanoseconds: latency(99.9)))"
            ),
            ("payload", "\(size(bytes: tally.payloadBytes)) each way, every byte compared"),
        ]
        rows.append(
            (
                "pool",
                "\(decimal(pool.totals.acquired)) leases of \(decimal(pool.totals.connectsSucceeded)) connections, "
                    + "\(decimal(pool.totals.acquiredAfterWaiting)) of them after waiting"
            ))
        if let tls = tally.tls { rows.append(("TLS", "\(tls.version) · \(tls.cipher)")) }
        if let deflate = tally.deflate { rows.append(("compression", "\(deflate)")) }
        if let compressionRatio {
            rows.append(
                (
                    "",
                    "\(size(bytes: tally.compressible.plain)) went out as \(size(bytes: tally.compressible.compressed))"
                        + ", \(decimal(compressionRatio * 100, 1)) %; half of the messages are random and cannot shrink"
                ))
        }
        if let session {
            rows.append(
                (
                    "session",
                    "\(decimal(session.messages)) messages while the server was killed and came back after"
                        + " \(decimal(session.downtime.inSeconds, 1)) s: \(decimal(session.lost)) lost,"
                        + " \(decimal(session.connections)) connections, \(decimal(session.repeated)) sent again"
                ))
        }
        rows.append(("libraries", WebSocketLibrariesText.version))
        rows.append(("event loop", backend == .libuv ? "libuv" : "poll (wsx doctor says why)"))
        let head =
            "\(connections) TLS connection\(connections == 1 ? "" : "s") to an echo server in this process, "
            + "\(decimal(elapsed.inSeconds, 1)) s: \(isGood ? "all is well" : "NOT all is well")"
        return ([head] + rows.map { "  " + $0.0 + String(repeating: " ", count: 13 - $0.0.count) + $0.1 })
            .joined(separator: "\n")
    }

    var json: JSON {
        func microseconds(_ nanoseconds: @autoclosure () -> UInt64) -> JSON {
            tally.received > 0 ? .number(Double(nanoseconds()) / 1_000) : .null
        }
        return [
            "ok": .boolean(isGood),
            "error": .optional(failure?.message),
            "connections": .integer(connections),
            "seconds": .number(elapsed.inSeconds),
            "messagesSent": .integer(tally.sent),
            "messagesReceived": .integer(tally.received),
            "messagesWrong": .integer(tally.wrong),
            "textMessages": .integer(tally.text),
            "largestMessage": .integer(tally.largest),
            "payloadBytes": .integer(tally.payloadBytes),
            "roundTripsPerSecond": .number(roundTripsPerSecond.rounded()),
            "latencyMicroseconds": [
                "p50": microseconds(latency(50)), "p99": microseconds(latency(99)),
                "p99.9": microseconds(latency(99.9)), "max": microseconds(tally.latency.maxRecorded),
            ],
            "pool": [
                "leases": .integer(pool.totals.acquired), "connectionsOpened": .integer(pool.totals.connectsSucceeded),
                "leasesAfterWaiting": .integer(pool.totals.acquiredAfterWaiting),
            ],
            "session": session.map {
                [
                    "messages": .integer($0.messages), "lost": .integer($0.lost), "sentAgain": .integer($0.repeated),
                    "connections": .integer($0.connections),
                ]
            } ?? .null,
            "tls": tally.tls.map { ["version": .string($0.version), "cipher": .string($0.cipher)] } ?? .null,
            "deflate": .optional(tally.deflate?.description),
            "compression": [
                "plainBytes": .integer(tally.compressible.plain),
                "compressedBytes": .integer(tally.compressible.compressed),
                "ratio": compressionRatio.map(JSON.number) ?? .null,
            ],
            "eventLoop": .string(backend.rawValue),
            "libraries": .object(WebSocketLibraries.versions.map { ($0.name, .string($0.loaded)) }),
        ]
    }
}
