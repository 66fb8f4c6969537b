//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Testing
import WebSocketCore

@Suite struct TopicEnvelopeTests {
    private static let messages: [WebSocketMessage] = [
        "", "hello", "häß 日本", .binary([]), .binary([0xF5, 1, 0, 255]), .binary(Array(repeating: 7, count: 70_000)),
    ]

    private func publication(_ message: WebSocketMessage) -> WebSocketTopicPublication {
        WebSocketTopicPublication(id: .max, publisher: 0x0102_0304_0506_0708, topic: "t", message: message)
    }

    @Test(arguments: messages) func whatWasWrittenIsRead(message: WebSocketMessage) throws {
        let publication = publication(message)
        let position = try #require(WebSocketTopicPosition(epoch: "ab-9", offset: 1 << 40))
        let origin = WebSocketTopicDelivery.Origin(publisher: publication.publisher, number: publication.id)
        let plain = WebSocketTopicDelivery(topic: "t", message: message, origin: origin)
        let positioned = WebSocketTopicDelivery(topic: "t", message: message, position: position, origin: origin)
        #expect(TopicEnvelope.decode(TopicEnvelope.encode(publication), topic: "t") == .delivery(plain))
        #expect(
            TopicEnvelope.decode(TopicEnvelope.encode(publication, at: position), topic: "t") == .delivery(positioned))
        #expect(
            TopicEnvelope.decode(record: TopicEnvelope.record(publication), topic: "t", at: position)
                == .delivery(positioned))
    }

    @Test func anotherProgramsBytesAreAMessage() {
        #expect(
            TopicEnvelope.decode(Array("hi".utf8), topic: "t")
                == .delivery(WebSocketTopicDelivery(topic: "t", message: "hi")))
        #expect(
            TopicEnvelope.decode([], topic: "t") == .delivery(WebSocketTopicDelivery(topic: "t", message: "")))
        #expect(
            TopicEnvelope.decode([0xFF, 0], topic: "t")
                == .delivery(WebSocketTopicDelivery(topic: "t", message: .binary([0xFF, 0]))))
    }

    @Test func whatOnlyBeginsLikeAnEnvelopeIsInvalid() throws {
        let position = try #require(WebSocketTopicPosition(epoch: "e", offset: 3))
        let whole = TopicEnvelope.encode(publication("text"), at: position)
        let headerCount = whole.count - 4
        for count in 1..<headerCount { #expect(TopicEnvelope.decode(Array(whole[..<count]), topic: "t") == .invalid) }
        var changed = whole
        changed[1] = 2
        #expect(TopicEnvelope.decode(changed, topic: "t") == .invalid)
        changed = whole
        changed[2] |= 0x80
        #expect(TopicEnvelope.decode(changed, topic: "t") == .invalid)
        changed = whole
        changed[changed.count - 1] = 0xFF
        #expect(TopicEnvelope.decode(changed, topic: "t") == .invalid, "the text is not UTF-8")
        changed = whole
        changed[12] = UInt8(ascii: ":")
        #expect(TopicEnvelope.decode(changed, topic: "t") == .invalid, "the epoch is none")
        #expect(TopicEnvelope.decode(record: [1, 2, 3], topic: "t", at: position) == .invalid)
        #expect(TopicEnvelope.decode(record: [], topic: "t", at: position) == .invalid)
    }

    @Test func aPositionIsReadAsItIsShown() throws {
        let position = try #require(WebSocketTopicPosition(epoch: "1a2b-c", offset: .max))
        #expect(position.description == "1a2b-c:18446744073709551615")
        #expect(WebSocketTopicPosition(position.description) == position)
        for text in [
            "", ":", "a", "a:", ":1", "a:-1", "a:+1", "a:1 ", "a b:1", "a:18446744073709551616", "a:1:2", "ä:1",
            String(repeating: "e", count: 65) + ":1",
        ] {
            #expect(WebSocketTopicPosition(text) == nil, "\(text)")
        }
        #expect(WebSocketTopicPosition(epoch: "", offset: 1) == nil)
    }
}
