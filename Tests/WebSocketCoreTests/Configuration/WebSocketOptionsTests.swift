//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct WebSocketOptionsTests {
    @Test func defaultsAreValidAndFinite() throws {
        let options = WebSocketOptions()
        try options.validate()
        #expect(options.maximumMessageSize == 1 << 20)
        #expect(options.maximumFragments == 4_096)
        #expect(options.inboundBuffer == .init(highMessages: 16, lowMessages: 4, highBytes: 4 << 20))
        #expect(options.outboundBuffer == .init(highBytes: 64 << 10, lowBytes: 16 << 10))
        #expect(options.keepAlive == .init(interval: .seconds(20), timeout: .seconds(20)))
        #expect(options.closeTimeout == .seconds(10) && options.flushTimeout == .seconds(30))
        #expect(options.compression == .disabled)
    }

    /// One mark alone can be set: the lower one follows the higher one until it is said.
    @Test func lowMarksFollowTheHighOnes() throws {
        var options = WebSocketOptions()
        options.inboundBuffer.highMessages = 2
        options.outboundBuffer.highBytes = 8_192
        try options.validate()
        #expect(options.inboundBuffer.lowMessages == 0 && options.outboundBuffer.lowBytes == 2_048)
        #expect(options.inboundBuffer == .init(highMessages: 2, lowMessages: 0))
        #expect(Set([options.outboundBuffer, .init(highBytes: 8_192, lowBytes: 2_048)]).count == 1)
        options.inboundBuffer.highMessages = 1
        try options.validate()
        options.inboundBuffer.lowMessages = 1
        let error = #expect(throws: WebSocketError.self) { try options.validate() }
        #expect(error?.message.contains("highMessages 1, lowMessages 1") == true)
    }

    struct Case: Sendable, CustomTestStringConvertible {
        let field: String
        let testDescription: String
        let change: @Sendable (inout WebSocketOptions) -> Void

        init(_ field: String, _ text: String, _ change: @escaping @Sendable (inout WebSocketOptions) -> Void) {
            self.field = field
            testDescription = "\(field) \(text)"
            self.change = change
        }
    }

    static let bad: [Case] = [
        Case("maximumMessageSize", "0") { $0.maximumMessageSize = 0 },
        Case("maximumMessageSize", "-1") { $0.maximumMessageSize = -1 },
        Case("maximumFragments", "0") { $0.maximumFragments = 0 },
        Case("maximumFragments", "-1") { $0.maximumFragments = -1 },
        Case("inboundBuffer", "highMessages 0") { $0.inboundBuffer.highMessages = 0 },
        Case("inboundBuffer", "highMessages 0, lowMessages -1") {
            $0.inboundBuffer = .init(highMessages: 0, lowMessages: -1)
        },
        Case("lowMessages", "-1") { $0.inboundBuffer.lowMessages = -1 },
        Case("lowMessages", "= highMessages") { $0.inboundBuffer.lowMessages = 16 },
        Case("lowMessages", "> highMessages") { $0.inboundBuffer.lowMessages = 17 },
        Case("highBytes", "inbound 0") { $0.inboundBuffer.highBytes = 0 },
        Case("inboundBuffer", "highBytes -1") { $0.inboundBuffer.highBytes = -1 },
        Case("outboundBuffer", "highBytes 0") { $0.outboundBuffer = .init(highBytes: 0, lowBytes: 0) },
        Case("outboundBuffer", "both negative") { $0.outboundBuffer = .init(highBytes: -1, lowBytes: -2) },
        Case("lowBytes", "-1") { $0.outboundBuffer.lowBytes = -1 },
        Case("lowBytes", "= highBytes") { $0.outboundBuffer.lowBytes = $0.outboundBuffer.highBytes },
        Case("closeTimeout", "0") { $0.closeTimeout = .zero },
        Case("closeTimeout", "-1 s") { $0.closeTimeout = .seconds(-1) },
        Case("flushTimeout", "0") { $0.flushTimeout = .zero },
        Case("flushTimeout", "-1 s") { $0.flushTimeout = .seconds(-1) },
        Case("keepAlive.interval", "0") { $0.keepAlive?.interval = .zero },
        Case("keepAlive.interval", "-1 ns") { $0.keepAlive?.interval = .nanoseconds(-1) },
        Case("keepAlive.timeout", "0") { $0.keepAlive?.timeout = .zero },
        Case("keepAlive.timeout", "-1 s") { $0.keepAlive?.timeout = .seconds(-1) },
        Case("serverMaxWindowBits", "7") { $0.compression = deflate { $0.serverMaxWindowBits = 7 } },
    ]

    @Test(arguments: bad) func namesTheField(_ bad: Case) {
        var options = WebSocketOptions()
        bad.change(&options)
        expectError(.invalidConfiguration, bad.field) { () throws(WebSocketError) in try options.validate() }
    }

    @Test(arguments: [
        Case("smallest", "") {
            $0.maximumMessageSize = 1
            $0.maximumFragments = 1
            $0.inboundBuffer = .init(highMessages: 1, lowMessages: 0, highBytes: 1)
            $0.outboundBuffer = .init(highBytes: 1, lowBytes: 0)
            $0.closeTimeout = .nanoseconds(1)
            $0.flushTimeout = .nanoseconds(1)
            $0.keepAlive = .init(interval: .nanoseconds(1), timeout: .nanoseconds(1))
        },
        Case("largest", "") {
            $0.maximumMessageSize = .max
            $0.maximumFragments = .max
            $0.inboundBuffer = .init(highMessages: .max, lowMessages: .max - 1, highBytes: .max)
            $0.outboundBuffer = .init(highBytes: .max, lowBytes: .max - 1)
        },
        Case("no keepalive", "") { $0.keepAlive = nil },
        Case("no ping timeout", "") { $0.keepAlive?.timeout = nil },
        Case("deflate", "") { $0.compression = .deflate() },
    ])
    func accepts(_ good: Case) throws {
        var options = WebSocketOptions()
        good.change(&options)
        try options.validate()
    }
}

func deflate(_ change: (inout WebSocketCompression.Deflate) -> Void = { _ in }) -> WebSocketCompression {
    var deflate = WebSocketCompression.Deflate()
    change(&deflate)
    return .deflate(deflate)
}
