//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// The names of what a topic has in Redis. The braces put them into one slot of a cluster.
struct RedisKeys: Sendable {
    let prefix: String
    /// This process.
    let node: String

    init(prefix: String, node: String) throws(WebSocketError) {
        let isPlain = prefix.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard isPlain, (1...64).contains(prefix.utf8.count) else {
            throw WebSocketError(
                .invalidConfiguration,
                "prefix is “\(prefix.escapedForLog)”; it must be 1 to 64 letters, digits, dots, underscores and hyphens"
            )
        }
        self.prefix = prefix
        self.node = node
    }

    func channel(_ topic: String) -> String { "\(prefix):c:{\(topic)}" }
    func stream(_ topic: String) -> String { "\(prefix):h:{\(topic)}" }
    func meta(_ topic: String) -> String { "\(prefix):m:{\(topic)}" }
    func repeats(_ topic: String) -> String { "\(prefix):d:{\(topic)}:\(node)" }
    /// Always subscribed: a connection without subscriptions would be of another kind, and it is how a process hears
    /// itself.
    var service: String { "\(prefix):n:\(node)" }

    /// Where every process says that it is there.
    var nodes: String { "\(prefix):nodes" }
    /// Which processes have how many subscribers.
    func counts(_ topic: String) -> String { "\(prefix):p:{\(topic)}" }
    /// There while a process is.
    func lease(_ node: String) -> String { "\(prefix):l:\(node)" }

    /// The topic of a channel; nil for one that is none of a topic.
    func topic(ofChannel channel: [UInt8]) -> String? {
        let head = Array("\(prefix):c:{".utf8)
        guard channel.count > head.count + 1, channel.starts(with: head), channel.last == UInt8(ascii: "}") else {
            return nil
        }
        return String(validating: channel[head.count..<(channel.count - 1)], as: UTF8.self)
    }
}
