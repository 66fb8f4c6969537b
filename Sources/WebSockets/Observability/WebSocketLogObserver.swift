//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import Logging
public import WebSocketCore

/// Writes what happens to connections to a log of swift-log.
///
/// Nothing secret gets there: URLs come without credentials and without the values of their query, errors without
/// headers, messages not at all. What the peer wrote, such as a close reason, is escaped.
public struct WebSocketLogObserver: WebSocketObserver {
    private let logger: Logger
    private let level: Logger.Level

    /// - Parameters:
    ///   - logger: Where to write.
    ///   - level: The level of what is in order. What is not is a `warning`. Default `debug`.
    public init(logger: Logger, level: Logger.Level = .debug) {
        self.logger = logger
        self.level = level
    }

    /// Writes a line.
    public func connecting(to url: WebSocketURL) {
        logger.log(level: level, "websocket: connecting", metadata: ["url": "\(url)"])
    }

    /// Writes a line.
    public func opened(_ connection: WebSocketConnectionSummary, after duration: Duration) {
        var metadata = Self.metadata(connection)
        metadata["after"] = "\(duration)"
        metadata["tls"] = connection.tlsVersion.map { "\($0)" }
        metadata["subprotocol"] = connection.subprotocol.map { "\($0.escapedForLog)" }
        logger.log(level: level, "websocket: open", metadata: metadata)
    }

    /// Writes a warning.
    public func connectFailed(to url: WebSocketURL, error: WebSocketError, after duration: Duration) {
        logger.warning(
            "websocket: could not connect",
            metadata: ["url": "\(url)", "error": "\(error)", "after": "\(duration)"])
    }

    /// Writes a line, at level `trace`.
    public func ponged(_ connection: WebSocketConnectionSummary, roundTrip: Duration) {
        var metadata = Self.metadata(connection)
        metadata["roundTrip"] = "\(roundTrip)"
        logger.trace("websocket: pong", metadata: metadata)
    }

    /// Writes a line; a warning, if the connection did not end well.
    public func closed(_ connection: WebSocketConnectionSummary, info: WebSocketCloseInfo, after duration: Duration) {
        var metadata = Self.metadata(connection)
        metadata["close"] = "\(info)"
        metadata["after"] = "\(duration)"
        logger.log(level: info.isNormal ? level : .warning, "websocket: closed", metadata: metadata)
    }

    private static func metadata(_ connection: WebSocketConnectionSummary) -> Logger.Metadata {
        var metadata: Logger.Metadata = ["connection": "\(connection.id)"]
        metadata["url"] = connection.url.map { "\($0)" }
        metadata["peer"] = connection.remoteAddress.map { "\($0)" }
        return metadata
    }
}
