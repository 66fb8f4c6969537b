//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Where a message stands in a topic that has history. Positions of one epoch are consecutive; another epoch is another
/// sequence, because the history was lost or went back in time.
public struct WebSocketTopicPosition: Sendable, Hashable {
    /// Which sequence: 1 to 64 visible ASCII characters other than `:`.
    public let epoch: String
    /// The number of the message, from 1 on; 0 stands before the first.
    public let offset: UInt64

    /// A position; nil for an epoch that cannot be one.
    public init?(epoch: String, offset: UInt64) {
        guard Self.isEpoch(epoch.utf8) else { return nil }
        self.epoch = epoch
        self.offset = offset
    }

    static func isEpoch(_ bytes: some Collection<UInt8>) -> Bool {
        (1...64).contains(bytes.count) && bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ":") }
    }
}

extension WebSocketTopicPosition: LosslessStringConvertible {
    /// `epoch:offset`, for clients to send back.
    public var description: String { "\(epoch):\(offset)" }

    /// Reads what description says; nil for anything else.
    public init?(_ description: String) {
        guard let colon = description.utf8.firstIndex(of: UInt8(ascii: ":")) else { return nil }
        let digits = description.utf8[description.utf8.index(after: colon)...]
        guard !digits.isEmpty, digits.count <= 20,
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let offset = UInt64(String(decoding: digits, as: UTF8.self))
        else { return nil }
        self.init(epoch: String(description[..<colon]), offset: offset)
    }
}
