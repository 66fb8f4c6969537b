//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// How messages of a topic travel between processes.
public struct WebSocketTopicRules: Sendable, Hashable {
    /// Which messages have one order for all subscribers.
    public enum Order: Sendable, Hashable {
        /// Each publisher's. Subscribers of this process get a message at once, those of others by the broker; two
        /// publishers' messages may come in another order elsewhere.
        case publisher
        /// All of the topic. Subscribers of this process, too, get what the broker hands out.
        case topic
    }

    /// What a broker keeps of a topic.
    public struct History: Sendable, Hashable {
        /// How many messages at most; 1 to 10,000.
        public var messages: Int
        /// For how long after the last one; 1 s to 24 h.
        public var age: Duration

        /// A history of this many messages, for so long.
        public init(messages: Int, age: Duration) {
            self.messages = messages
            self.age = age
        }
    }

    /// Default Order/publisher. A topic with history has Order/topic in any case.
    public var order: Order
    /// Default: none.
    public var history: History?
    /// Whether other processes take part. Default true.
    public var isShared: Bool

    /// Rules.
    public init(order: Order = .publisher, history: History? = nil, isShared: Bool = true) {
        self.order = order
        self.history = history
        self.isShared = isShared
    }

    /// The order that it comes to.
    package var actualOrder: Order { history == nil ? order : .topic }

    package func validate(prefix: String) throws(WebSocketError) {
        guard let history else { return }
        guard (1...10_000).contains(history.messages) else {
            throw WebSocketError(
                .invalidConfiguration,
                "rules of “\(prefix.escapedForLog)”: history.messages is \(history.messages); it must be in 1...10000")
        }
        guard history.age >= .seconds(1), history.age <= .seconds(86_400) else {
            throw WebSocketError(
                .invalidConfiguration,
                "rules of “\(prefix.escapedForLog)”: history.age is \(history.age); it must be from 1 s to 24 h")
        }
        guard isShared else {
            throw WebSocketError(
                .invalidConfiguration,
                "rules of “\(prefix.escapedForLog)”: a topic with history is kept by the broker; leave isShared true")
        }
    }
}

/// The names of topics that can be shared.
package enum TopicName {
    /// What is wrong with a name; nil when nothing is.
    package static func problem(_ name: String) -> String? {
        guard (1...255).contains(name.utf8.count) else {
            return "it has \(name.utf8.count) bytes, and 1 to 255 are possible"
        }
        guard name.utf8.first != UInt8(ascii: "}") else { return "it begins with }" }
        let hasControl = name.unicodeScalars.contains { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) }
        return hasControl ? "it has control characters" : nil
    }

    /// Which of several brokers a topic has: the jump hash (Lamping and Veach) of the name's 64-bit FNV-1a. One more broker
    /// moves one topic of as many as there are brokers then, to the new one.
    package static func place(of name: String, among count: Int) -> Int {
        var key: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.utf8 { key = (key ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        var place = 0
        var next = 0
        while next < count {
            place = next
            key = key &* 2_862_933_555_777_941_757 &+ 1
            next = Int(Double(place + 1) * (Double(1 << 31) / Double((key >> 33) + 1)))
        }
        return place
    }
}
