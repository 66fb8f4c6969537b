//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// How a message travels through an engine that knows only bytes.
///
/// `0xF5`, which no UTF-8 has, a version, flags; with history the offset (8 bytes, big endian), the epoch's length and the
/// epoch; the publisher and the number (8 bytes each); the payload. Bytes that begin otherwise are another program's
/// message: text if they are UTF-8, binary if not.
package enum TopicEnvelope {
    private static let mark: UInt8 = 0xF5
    private static let version: UInt8 = 1

    private enum Flag {
        static let text: UInt8 = 1
        static let position: UInt8 = 2
        static let all: UInt8 = 3
    }

    /// What was read.
    package enum Content: Sendable, Hashable {
        case delivery(WebSocketTopicDelivery)
        /// It begins like an envelope, and is none.
        case invalid
    }

    /// The first three bytes of what the script publishes.
    package static func positionedHead(_ message: WebSocketMessage) -> [UInt8] {
        [mark, version, flags(message) | Flag.position]
    }

    /// What the history keeps: flags, publisher, number, payload.
    package static func record(_ publication: WebSocketTopicPublication) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(17 + publication.message.byteCount)
        bytes.append(flags(publication.message))
        appendBody(publication, to: &bytes)
        return bytes
    }

    /// The envelope of a message without a position.
    package static func encode(_ publication: WebSocketTopicPublication) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(19 + publication.message.byteCount)
        bytes.append(mark)
        bytes.append(version)
        bytes.append(flags(publication.message))
        appendBody(publication, to: &bytes)
        return bytes
    }

    /// The envelope of a message with one, as the script makes it.
    package static func encode(
        _ publication: WebSocketTopicPublication, at position: WebSocketTopicPosition
    ) -> [UInt8] {
        var bytes = positionedHead(publication.message)
        append(position.offset, to: &bytes)
        bytes.append(UInt8(position.epoch.utf8.count))
        bytes += position.epoch.utf8
        appendBody(publication, to: &bytes)
        return bytes
    }

    private static func flags(_ message: WebSocketMessage) -> UInt8 { message.kind == .text ? Flag.text : 0 }

    private static func appendBody(_ publication: WebSocketTopicPublication, to bytes: inout [UInt8]) {
        append(publication.publisher, to: &bytes)
        append(publication.id, to: &bytes)
        switch publication.message {
        case .text(let text): bytes.append(contentsOf: text.utf8)
        case .binary(let payload): bytes.append(contentsOf: payload)
        }
    }

    private static func append(_ number: UInt64, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
    }

    // MARK: Reading

    /// Reads what came through a topic's channel.
    package static func decode(_ bytes: [UInt8], topic: String) -> Content {
        guard bytes.first == mark else {
            let message = String(validating: bytes, as: UTF8.self).map { WebSocketMessage.text($0) } ?? .binary(bytes)
            return .delivery(WebSocketTopicDelivery(topic: topic, message: message))
        }
        var rest = bytes[...].dropFirst()
        guard rest.popFirst() == version, let flags = rest.popFirst(), flags & ~Flag.all == 0 else { return .invalid }
        var position: WebSocketTopicPosition?
        if flags & Flag.position != 0 {
            guard let offset = number(&rest), let count = rest.popFirst(), rest.count >= Int(count) else {
                return .invalid
            }
            let epoch = String(decoding: rest.prefix(Int(count)), as: UTF8.self)
            rest = rest.dropFirst(Int(count))
            guard let read = WebSocketTopicPosition(epoch: epoch, offset: offset), offset > 0 else { return .invalid }
            position = read
        }
        return body(rest, flags, topic: topic, position: position)
    }

    /// Reads what the history has kept.
    package static func decode(record: [UInt8], topic: String, at position: WebSocketTopicPosition) -> Content {
        var rest = record[...]
        guard let flags = rest.popFirst(), flags & ~Flag.text == 0 else { return .invalid }
        return body(rest, flags, topic: topic, position: position)
    }

    private static func body(
        _ bytes: ArraySlice<UInt8>, _ flags: UInt8, topic: String, position: WebSocketTopicPosition?
    ) -> Content {
        var rest = bytes
        guard let publisher = number(&rest), let id = number(&rest) else { return .invalid }
        let message: WebSocketMessage
        if flags & Flag.text != 0 {
            // One bad byte would make browsers close their connections (1007).
            guard let text = String(validating: rest, as: UTF8.self) else { return .invalid }
            message = .text(text)
        } else {
            message = .binary(Array(rest))
        }
        return .delivery(
            WebSocketTopicDelivery(
                topic: topic, message: message, position: position, origin: .init(publisher: publisher, number: id)))
    }

    private static func number(_ bytes: inout ArraySlice<UInt8>) -> UInt64? {
        guard bytes.count >= 8 else { return nil }
        let number = bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        bytes = bytes.dropFirst(8)
        return number
    }
}
