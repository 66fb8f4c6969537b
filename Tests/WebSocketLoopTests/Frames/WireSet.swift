//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// One line of the wire set: what a peer sends, and what our side must make of it.
struct WireCase: Sendable, CustomTestStringConvertible {
    enum Outcome: Sendable {
        /// These messages and nothing else; then the connection still works.
        case delivers([WebSocketMessage], pongs: [[UInt8]])
        /// The connection ends with this close frame, and calls fail with this error.
        case fails(UInt16, WebSocketError.Code)
        /// The close frame is answered with this one (`nil`: an empty one) and reported.
        case closes(answer: UInt16?, delivers: String?)
    }

    let title: String
    let outcome: Outcome
    /// Where the case makes sense.
    let on: [Compression]
    /// RFC 6455 or 7692 wants something else of servers, and libwebsockets 4.1.6, which parses their frames, leaves us no
    /// way to do it.
    let exception: String?
    /// What clients make of it, whose frames we parse; `nil` for the same.
    let onClient: Outcome?
    let options: WebSocketOptions
    let wire: @Sendable (Pair) -> [UInt8]
    private(set) var number = 0

    var testDescription: String { "W\(number) \(title)" }

    init(
        _ title: String, on compressions: [Compression] = Compression.allCases, exception: String? = nil,
        onClient: Outcome? = nil, options: WebSocketOptions = .quiet, _ outcome: Outcome,
        wire: @escaping @Sendable (Pair) -> [UInt8]
    ) {
        self.title = title
        self.onClient = onClient
        self.outcome = outcome
        self.on = compressions
        self.exception = exception
        self.options = options
        self.wire = wire
    }

    /// Frames that break the protocol.
    static func violation(
        _ title: String, on compressions: [Compression] = Compression.allCases, _ frames: WebSocketWireFrame...,
        closeCode: UInt16 = 1002, error: WebSocketError.Code = .protocolViolation
    ) -> WireCase {
        WireCase(title, on: compressions, .fails(closeCode, error)) { $0.bytes(of: frames) }
    }

    /// Frames with text that is not UTF-8.
    static func notUTF8(_ title: String, _ frames: WebSocketWireFrame...) -> WireCase {
        WireCase(title, .fails(1007, .invalidUTF8)) { $0.bytes(of: frames) }
    }

    /// Deflate data that does not decompress.
    static func corrupt(_ title: String, _ frames: WebSocketWireFrame...) -> WireCase {
        WireCase(title, on: [.deflate], .fails(1007, .protocolViolation)) { $0.bytes(of: frames) }
    }

    /// Frames that are right.
    static func delivery(
        _ title: String, on compressions: [Compression] = Compression.allCases, exception: String? = nil,
        onClient: Outcome? = nil, options: WebSocketOptions = .quiet, _ messages: [WebSocketMessage],
        pongs: [[UInt8]] = [], frames: @escaping @Sendable (Pair) -> [WebSocketWireFrame]
    ) -> WireCase {
        WireCase(
            title, on: compressions, exception: exception, onClient: onClient, options: options,
            .delivers(messages, pongs: pongs)
        ) {
            $0.bytes(of: frames($0))
        }
    }

    /// The wire set. Numbers are positions: new cases go to the end.
    static let all: [WireCase] = (reserved + fragments + utf8 + compressed + pressure + closes).enumerated().map {
        var line = $0.element
        line.number = $0.offset + 1
        return line
    }
}

extension Pair {
    func bytes(of frames: [WebSocketWireFrame]) -> [UInt8] { frames.flatMap { peer.bytes(of: $0) } }

    /// Whole text, compressed.
    func compressed(_ text: String) -> WebSocketWireFrame { compressed(WebSocketWireFrame.text, Array(text.utf8)) }

    /// A compressed text in fragments.
    func fragments(of text: String, _ count: Int) -> [WebSocketWireFrame] {
        let bytes = compressor.compress(Array(text.utf8))
        let size = max(1, bytes.count / count)
        return (0..<count).map { index in
            let end = index == count - 1 ? bytes.count : min(bytes.count, (index + 1) * size)
            return WebSocketWireFrame(
                index == 0 ? WebSocketWireFrame.text : WebSocketWireFrame.continuation,
                Array(bytes[min(index * size, bytes.count)..<end]),
                final: index == count - 1, reserved: index == 0 ? .rsv1 : [])
        }
    }
}

/// Our own set of what peers may and may not send, 65 cases for both roles, plain and with permessage-deflate where it
/// applies. Above all it has what Autobahn never sends. `Conformance.md` explains the exceptions.
@Suite(.timeLimit(.minutes(3))) struct WireSetTests {
    @Test(arguments: Side.allCases, WireCase.all)
    func wire(side: Side, line: WireCase) async throws {
        for compression in line.on {
            try await withPair(side, compression, options: line.options) { pair in
                try await pair.peer.send(.text("before"))
                #expect(try await pair.ours.receive() == .text("before"))
                try await pair.peer.write(line.wire(pair))
                try await expect(side == .client ? line.onClient ?? line.outcome : line.outcome, pair)
            }
        }
    }

    private func expect(_ outcome: WireCase.Outcome, _ pair: Pair) async throws {
        switch outcome {
        case .delivers(let messages, let pongs):
            for message in messages { #expect(try await pair.ours.receive() == message) }
            for pong in pongs {
                let frame = try await pair.peer.readFrame()
                #expect(frame.opcode == WebSocketWireFrame.pong && frame.payload == pong)
            }
            try await pair.fence()
            try await pair.peer.send(.text("after"))
            #expect(try await pair.ours.receive() == .text("after"))
        case .fails(let closeCode, let code):
            let error = try await error { while true { _ = try await pair.ours.receive() } }
            #expect(error.code == code)
            #expect(error.closeInfo?.sent?.code.rawValue == closeCode)
            #expect(error.closeInfo?.cause == .peerViolation)
            let close = try await pair.peer.readFrame()
            #expect(close.opcode == WebSocketWireFrame.close && close.closeCode == closeCode)
            try await pair.peer.send(.close(closeCode))
            #expect(try await pair.ours.closed().cause == .peerViolation)
        case .closes(let answer, let text):
            if let text { #expect(try await pair.ours.receive() == .text(text)) }
            let close = try await pair.peer.readFrame()
            #expect(close.opcode == WebSocketWireFrame.close && close.closeCode == answer)
            let info = try await pair.ours.closed()
            #expect(info.cause == .closingHandshake && info.receivedFirst == true)
        }
    }

    @Test func thereAreSixtyCasesAndEachExceptionSaysWhy() {
        #expect(WireCase.all.count >= 60)
        #expect(Set(WireCase.all.map(\.title)).count == WireCase.all.count)
        #expect(WireCase.all.filter { $0.exception != nil }.map(\.number) == [20, 21, 22, 57, 58, 59])
    }
}
