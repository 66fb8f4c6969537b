//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct WebSocketCompressionTests {
    @Test func disabledIsAlwaysValid() throws { try WebSocketCompression.disabled.validate() }

    @Test func everyValueOfEveryField() {
        typealias Deflate = WebSocketCompression.Deflate
        let fields: [(String, WritableKeyPath<Deflate, Int>, ClosedRange<Int>)] = [
            ("serverMaxWindowBits", \.serverMaxWindowBits, 8...15),
            ("clientMaxWindowBits", \.clientMaxWindowBits, 8...15),
            ("level", \.level, 1...9), ("memoryLevel", \.memoryLevel, 1...9),
            ("minimumSize", \.minimumSize, 0...Int.max),
        ]
        for (name, path, range) in fields {
            for value in Array(-2...20) + [Int.min, Int.max] {
                let compression = deflate { $0[keyPath: path] = value }
                if range.contains(value) {
                    #expect(throws: Never.self) { try compression.validate() }
                } else {
                    expectError(.invalidConfiguration, name, "\(value)") { () throws(WebSocketError) in
                        try compression.validate()
                    }
                }
            }
        }
    }

    @Test(arguments: [
        (WebSocketNegotiatedDeflate(), "permessage-deflate"),
        (WebSocketNegotiatedDeflate(serverNoContextTakeover: true), "permessage-deflate; server_no_context_takeover"),
        (
            WebSocketNegotiatedDeflate(
                serverNoContextTakeover: true, clientNoContextTakeover: true, serverMaxWindowBits: 9,
                clientMaxWindowBits: 8),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9"
                + "; client_max_window_bits=8"
        ),
    ])
    func descriptionIsTheHeader(_ negotiated: WebSocketNegotiatedDeflate, _ expected: String) {
        #expect(negotiated.description == expected)
    }
}
