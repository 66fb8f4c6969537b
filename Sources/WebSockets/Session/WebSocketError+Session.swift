//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore

extension WebSocketError {
    /// Of `reconnectFailed`: how often the session tried to reconnect; nil for any other error.
    public var attempts: Int? { surrender?.attempts }

    private var surrender: SessionSurrender? { attachment?.object as? SessionSurrender }

    /// Of `reconnectFailed`: what the last attempt, or the last connection, failed with.
    public var sessionCause: WebSocketError? { surrender?.cause }
}
