//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import LoopbackSupport
import Testing
import WebSockets
import WebSocketsTestKit

/// How much of an answer is read is an option, and in the error.
@Suite(.timeLimit(.minutes(5))) struct ResponseLimitsTests {
    typealias Change = @Sendable (inout WebSocketResponseLimits) -> Void

    struct Row: Sendable {
        let text: String
        var line = ""
        let change: Change
    }

    private static let large = String(repeating: "x", count: 20_000)

    @Test(arguments: [
        Row(text: "X-Long is longer than 8192 bytes", line: "X-Long: \(large)") { $0.lineBytes = 8_192 },
        Row(text: "X-Long is longer than 16384 bytes", line: "X-Long: \(large)") { _ in },
        Row(text: "more than 8 header fields", line: "X: y\r\nX: y\r\nX: y\r\nX: y\r\nX: y\r\nX: y") {
            $0.headerLines = 8
        },
        Row(text: "longer than 4096 bytes", line: "X-Long: \(large)") {
            $0.lineBytes = 30_000
            $0.headBytes = 4_096
        },
    ])
    func anAnswerBeyondALimitIsRefusedWithIt(_ row: Row) async throws {
        let error = try #require(try await error(of: "HTTP/1.1 101 Switching", [row.line], row.change))
        #expect(error.code == .handshakeInvalid)
        #expect(error.message.contains(row.text), "\(error)")
    }

    @Test func aLargerLimitIsKept() async throws {
        #expect(
            try await error(of: "HTTP/1.1 101 Switching", ["X-Long: \(Self.large)"]) { $0.lineBytes = 30_000 } == nil)
    }

    @Test func aRefusalsBodyIsCut() async throws {
        let error = try #require(
            try await error(of: "HTTP/1.1 500 No", ["Content-Length: 5", "", "hello"]) { $0.bodyBytes = 4 })
        #expect(error.code == .handshakeRejected)
        #expect(error.response?.body == Array("hell".utf8))
    }

    @Test(arguments: [
        Row(text: "lineBytes is 63; it must be in 64...1048576") { $0.lineBytes = 63 },
        Row(text: "lineBytes") { $0.lineBytes = 1_048_577 },
        Row(text: "headerLines is 7; it must be in 8...10000") { $0.headerLines = 7 },
        Row(text: "headerLines") { $0.headerLines = 10_001 },
        Row(text: "headBytes is 511; it must be in 512...1048576") { $0.headBytes = 511 },
        Row(text: "headBytes") { $0.headBytes = 1_048_577 },
        Row(text: "interimAnswers is -1; it must be in 0...10000") { $0.interimAnswers = -1 },
        Row(text: "interimAnswers") { $0.interimAnswers = 10_001 },
        Row(text: "interimBytes is -1; it must be in 0...1048576") { $0.interimBytes = -1 },
        Row(text: "interimBytes") { $0.interimBytes = 1_048_577 },
        Row(text: "bodyBytes is -1; it must be in 0...1048576") { $0.bodyBytes = -1 },
        Row(text: "bodyBytes") { $0.bodyBytes = 1_048_577 },
    ])
    func limitsOutOfRangeAreNamed(_ row: Row) async throws {
        var configuration = WebSocketClientConfiguration()
        row.change(&configuration.responseLimits)
        let broken = configuration
        let error = try await failure {
            _ = try await WebSocketClient.connect(to: "ws://127.0.0.1:9", configuration: broken)
        }
        #expect(error.code == .invalidConfiguration)
        #expect(error.message.contains("responseLimits.\(row.text)"), "\(error)")
    }

    /// What becomes of an answer with more lines than a server's.
    private func error(of status: String, _ lines: [String], _ change: Change) async throws -> WebSocketError? {
        try await withLoops { loops in
            let listener = try WebSocketBytePeerListener()
            var configuration = try clientConfiguration(on: loops)
            change(&configuration.responseLimits)
            async let connecting: WebSocketError? = {
                [configuration] () async throws(WebSocketError) -> WebSocketError? in
                do throws(WebSocketError) {
                    let url = "ws://127.0.0.1:\(listener.port)"
                    try await WebSocketClient.connect(to: url, configuration: configuration).close()
                    return nil
                } catch {
                    return error
                }
            }()
            let peer = try await listener.accept()
            let head = String(decoding: WebSocketBytePeer.answer(to: try await peer.readHead()), as: UTF8.self)
            let own = head.split(separator: "\r\n").dropFirst().map { String($0) }
            let isBody = lines.contains("")
            let text = ([status] + own + lines).joined(separator: "\r\n") + (isBody ? "" : "\r\n\r\n")
            try? await peer.write(Array(text.utf8))
            if !isBody { _ = try? await peer.readFrame() }
            try? await peer.send(.close(1000))
            let result = try await connecting
            peer.close()
            return result
        }
    }
}
