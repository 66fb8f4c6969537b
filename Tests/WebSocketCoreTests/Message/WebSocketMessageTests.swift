//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct WebSocketMessageTests {
    @Test(arguments: [
        (WebSocketMessage.text(""), WebSocketMessage.Kind.text, 0), (.text("é€😀"), .text, 9), (.binary([]), .binary, 0),
        (.binary([1, 2, 3]), .binary, 3),
    ])
    func kindAndSize(_ message: WebSocketMessage, _ kind: WebSocketMessage.Kind, _ size: Int) {
        #expect(message.kind == kind)
        #expect(message.byteCount == size)
    }

    @Test func literalIsText() { #expect(("hello" as WebSocketMessage) == .text("hello")) }

    @Test func descriptionHidesTheContent() {
        #expect(WebSocketMessage.text("S3CR3T").description == "text message of 6 bytes")
        #expect("\(WebSocketMessage.binary([7, 7]))" == "binary message of 2 bytes")
        #expect(String(reflecting: WebSocketMessage.text("S3CR3T")) == "text message of 6 bytes")
    }
}
