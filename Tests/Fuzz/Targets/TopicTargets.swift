//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import RedisWire
import WebSocketCore
import WebSocketsRedis

private func limits() -> RESPLimits {
    var limits = RESPLimits()
    limits.bulkBytes = 1_024
    limits.lineBytes = 256
    limits.valueBytes = 2_048
    limits.elements = 200
    return limits
}

/// What a reader makes of a stream in pieces of a size, as text: a number that is none equals nothing, not even itself.
private func read(_ bytes: UnsafeRawBufferPointer, by size: Int, _ values: inout [RESPValue]) -> String {
    var reader = RESPReader(limits: limits())
    var rest = bytes[...]
    values = []
    do throws(RESPViolation) {
        while !rest.isEmpty {
            let piece = rest.prefix(size)
            rest = rest.dropFirst(piece.count)
            reader.feed(UnsafeRawBufferPointer(rebasing: piece))
            while let value = try reader.next() { values.append(value) }
        }
        return "\(values) and \(reader.keptBytes) bytes"
    } catch {
        return "\(values) and \(error)"
    }
}

/// However the stream is cut, the same comes of it; nothing is larger than allowed.
func fuzzRESP(_ bytes: UnsafeRawBufferPointer) -> String? {
    var values: [RESPValue] = []
    let whole = read(bytes, by: max(1, bytes.count), &values)
    for value in values where (value.bytes?.count ?? 0) > 1_024 {
        return "a string of \(value.bytes?.count ?? 0) bytes"
    }
    for size in [1, 2, 7, max(1, bytes.count / 2)] {
        let other = read(bytes, by: size, &values)
        // What is kept depends on the cuts only as far as lines and strings are whole.
        guard other == whole else { return "by \(size): \(other), whole: \(whole)" }
    }
    return nil
}

/// What is an envelope is written again as it was.
func fuzzEnvelope(_ bytes: UnsafeRawBufferPointer) -> String? {
    let bytes = Array(bytes)
    if let position = WebSocketTopicPosition(epoch: "epoch", offset: 7),
        case .delivery(let delivery) = TopicEnvelope.decode(record: bytes, topic: "t", at: position),
        let publication = publication(delivery), TopicEnvelope.record(publication) != bytes
    {
        return "another record: \(delivery)"
    }
    guard case .delivery(let delivery) = TopicEnvelope.decode(bytes, topic: "t") else {
        return bytes.first == 0xF5 ? nil : "a raw message is invalid"
    }
    guard let publication = publication(delivery) else {
        return delivery.message.bytes == bytes ? nil : "a raw message has changed"
    }
    let again =
        delivery.position.map { TopicEnvelope.encode(publication, at: $0) } ?? TopicEnvelope.encode(publication)
    guard again == bytes else { return "another envelope: \(delivery)" }
    if let position = delivery.position, WebSocketTopicPosition(position.description) != position {
        return "another position: \(position)"
    }
    return nil
}

private func publication(_ delivery: WebSocketTopicDelivery) -> WebSocketTopicPublication? {
    delivery.origin.map {
        WebSocketTopicPublication(
            id: $0.number, publisher: $0.publisher, topic: delivery.topic, message: delivery.message)
    }
}

/// An answer about a history has positions that grow, of one epoch, or is refused.
func fuzzHistory(_ bytes: UnsafeRawBufferPointer) -> String? {
    var values: [RESPValue] = []
    _ = read(bytes, by: max(1, bytes.count), &values)
    for value in values {
        do throws(WebSocketError) {
            let history = try RedisHistoryAnswer.parse(value, topic: "t")
            var last: UInt64 = 0
            for message in history.messages {
                guard let position = message.position, position.epoch == history.top.epoch, position.offset > last
                else {
                    return "\(message) behind \(last)"
                }
                last = position.offset
            }
        } catch {
            guard error.code == .protocolViolation || error.code == .brokerRefused else { return "\(error)" }
        }
    }
    return nil
}
