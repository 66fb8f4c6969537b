//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import RedisWire
package import WebSocketCore

/// What the reading script answers: the top's offset and epoch, and a list of entries `[id, [d, record]]`.
package enum RedisHistoryAnswer {
    /// - Throws: `protocolViolation`, for what is no such answer; `brokerRefused`, for an error.
    package static func parse(_ value: RESPValue, topic: String) throws(WebSocketError) -> WebSocketTopicHistory {
        if case .error(let error) = value { throw .redis(error) }
        guard let parts = value.elements, parts.count == 3, let top = position(parts[0], parts[1]),
            let entries = parts[2].elements
        else { throw unreadable }
        var messages: [WebSocketTopicDelivery] = []
        for entry in entries {
            guard let pair = entry.elements, pair.count == 2, let id = pair[0].text, let fields = pair[1].elements,
                fields.count == 2, let record = fields[1].bytes, id.hasSuffix("-0"),
                let offset = UInt64(id.dropLast(2)), offset > messages.last?.position?.offset ?? 0,
                let position = WebSocketTopicPosition(epoch: top.epoch, offset: offset),
                case .delivery(let delivery) = TopicEnvelope.decode(record: record, topic: topic, at: position)
            else { throw unreadable }
            messages.append(delivery)
        }
        return WebSocketTopicHistory(messages: messages, top: top)
    }

    static func position(_ offset: RESPValue, _ epoch: RESPValue) -> WebSocketTopicPosition? {
        guard let offset = offset.number, offset >= 0, let epoch = epoch.text else { return nil }
        return WebSocketTopicPosition(epoch: epoch, offset: UInt64(offset))
    }

    private static var unreadable: WebSocketError {
        WebSocketError(
            .protocolViolation,
            "Redis' answer about a topic's history cannot be read; check that no other program writes its keys")
    }
}

extension WebSocketError {
    static func redis(_ error: RESPError) -> Self {
        Self(
            .brokerRefused,
            "Redis answered “\(error.text.escapedForLog)”; check the user's permissions, and Redis' log")
    }
}
