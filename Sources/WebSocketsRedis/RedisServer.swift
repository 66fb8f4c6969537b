//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import RedisWire
import WebSocketCore

/// What a connection found out about its server, and how the scripts are called there.
struct RedisServer: Sendable {
    /// The server's run; empty where it is not told.
    let incarnation: String
    /// By which the scripts are called.
    let publishScript: String
    let readScript: String

    private static func newEpoch() -> String {
        String(UInt64.random(in: .min ... .max), radix: 36)
    }

    func publish(_ keys: RedisKeys, _ publication: WebSocketTopicPublication) -> [UInt8] {
        let history = publication.history ?? .init(messages: 1, age: .seconds(1))
        let age = Int(history.age.components.seconds)
        var writer = RESPWriter()
        writer.begin(15)
        writer.add("EVALSHA")
        writer.add(publishScript)
        writer.add("4")
        writer.add(keys.stream(publication.topic))
        writer.add(keys.meta(publication.topic))
        writer.add(keys.repeats(publication.topic))
        writer.add(keys.channel(publication.topic))
        writer.add(incarnation)
        writer.add(Self.newEpoch())
        writer.add(history.messages)
        writer.add(age)
        writer.add(max(age * 2, 3_600))
        writer.add(String(publication.id))
        writer.add(TopicEnvelope.record(publication))
        writer.add(TopicEnvelope.positionedHead(publication.message))
        return writer.take()
    }

    func read(_ keys: RedisKeys, _ topic: String, after: WebSocketTopicPosition?, limit: Int) -> [UInt8] {
        var writer = RESPWriter()
        writer.command(
            "EVALSHA", readScript, "2", keys.stream(topic), keys.meta(topic), incarnation, Self.newEpoch(),
            // Twice the longest age.
            "172800", after?.epoch ?? "", String(after?.offset ?? 0), String(after == nil ? 0 : limit))
        return writer.take()
    }

    /// Why a server is not the one to talk to; nil when it is, or does not say.
    static func roleProblem(_ answer: RESPValue) -> WebSocketError? {
        guard let role = answer.elements?.first?.text, role != "master" else { return nil }
        return WebSocketError(
            .brokerUnavailable,
            "this Redis is a \(role.escapedForLog), which hears no publications of others; connect to the primary")
    }

    /// The run of a server, from what it says about itself.
    static func incarnation(_ answer: RESPValue) -> String {
        guard let text = answer.text else { return "" }
        for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix("run_id:") {
            return String(line.dropFirst("run_id:".count))
        }
        return ""
    }
}
