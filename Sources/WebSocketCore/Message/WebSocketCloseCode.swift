//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A close status code (RFC 6455 §7.4 and the IANA registry).
public struct WebSocketCloseCode: RawRepresentable, Sendable, Hashable {
    /// The number on the wire.
    public let rawValue: UInt16
    /// Any number; whether it may be sent is checked where it is sent.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// 1000: the purpose of the connection is fulfilled.
    public static let normalClosure = Self(rawValue: 1000)
    /// 1001: the server goes down, or the user left the page.
    public static let goingAway = Self(rawValue: 1001)
    /// 1002: the peer broke RFC 6455.
    public static let protocolError = Self(rawValue: 1002)
    /// 1003: a kind of data that this endpoint does not take, such as binary where it wants text.
    public static let unsupportedData = Self(rawValue: 1003)
    /// The close frame held no code. Never on the wire.
    public static let noStatusReceived = Self(rawValue: 1005)
    /// The connection ended without a close frame. Never on the wire.
    public static let abnormalClosure = Self(rawValue: 1006)
    /// 1007: a payload that is not what its kind says, such as text that is not UTF-8.
    public static let invalidPayloadData = Self(rawValue: 1007)
    /// 1008: a message that this endpoint's policy forbids.
    public static let policyViolation = Self(rawValue: 1008)
    /// 1009: a message larger than this endpoint takes.
    public static let messageTooBig = Self(rawValue: 1009)
    /// 1010: the client needs an extension that the server did not accept.
    public static let mandatoryExtension = Self(rawValue: 1010)
    /// 1011: the server met a condition that it did not expect.
    public static let internalError = Self(rawValue: 1011)
    /// 1012: the service restarts (IANA registry).
    public static let serviceRestart = Self(rawValue: 1012)
    /// 1013: the service is overloaded (IANA registry).
    public static let tryAgainLater = Self(rawValue: 1013)
    /// 1014: a gateway got an invalid answer from its upstream (IANA registry).
    public static let badGateway = Self(rawValue: 1014)

    /// Whether a close frame may carry the code: 1000–1003, 1007–1014 and 3000–4999.
    public var isAllowedOnTheWire: Bool {
        switch rawValue {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }

    /// Whether the code means an orderly end: 1000, 1001 or none at all (1005).
    public var isNormal: Bool { rawValue == 1000 || rawValue == 1001 || rawValue == 1005 }
}

extension WebSocketCloseCode: CustomStringConvertible {
    /// The number, and the name where there is one.
    public var description: String {
        let name =
            switch rawValue {
            case 1000: "normal closure"
            case 1001: "going away"
            case 1002: "protocol error"
            case 1003: "unsupported data"
            case 1005: "no status received"
            case 1006: "abnormal closure"
            case 1007: "invalid payload data"
            case 1008: "policy violation"
            case 1009: "message too big"
            case 1010: "mandatory extension"
            case 1011: "internal error"
            case 1012: "service restart"
            case 1013: "try again later"
            case 1014: "bad gateway"
            case 3000...3999: "registered"
            case 4000...4999: "private use"
            default: "invalid"
            }
        return "\(rawValue) (\(name))"
    }
}
