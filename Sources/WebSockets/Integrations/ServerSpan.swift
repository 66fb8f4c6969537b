//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import WebSocketCore
import WebSocketLoop

#if Tracing
import Tracing
#endif

/// The trace that a handshake belongs to, in its headers: `traceparent` (W3C Trace Context) or what the tracer has instead.
enum TraceHeaders {
    /// Adds those of the present span to a client's request. What the request has already stays.
    static func inject(into fields: inout HTTPFields) {
        #if Tracing
        guard let context = ServiceContext.current else { return }
        InstrumentationSystem.instrument.inject(context, into: &fields, using: Carrier())
        #endif
    }

    #if Tracing
    fileprivate struct Carrier: Injector, Extractor {
        func inject(_ value: String, forKey key: String, into fields: inout HTTPFields) {
            guard let name = HTTPField.Name(key), fields[name] == nil, HTTPField.isValidValue(value) else { return }
            fields[name] = value
        }
        func extract(key: String, from fields: HTTPFields) -> String? { HTTPField.Name(key).flatMap { fields[$0] } }
    }
    #endif
}

/// One span for each connection that a server's handler serves, as part of the client's trace.
enum ServerSpan {
    typealias Handler = @Sendable @concurrent (WebSocketConnection) async throws -> Void

    /// The handler in a span; itself, if no tracer is there when the server begins to run.
    static func traced(_ handler: @escaping Handler) -> Handler {
        #if Tracing
        guard WebSocketSpan.isTraced else { return handler }
        return { socket in
            var context = ServiceContext.topLevel
            InstrumentationSystem.instrument.extract(
                socket.requestHeaders, into: &context, using: TraceHeaders.Carrier())
            try await withSpan("websocket connection", context: context, ofKind: .server) { span in
                span.attributes["network.protocol.name"] = "websocket"
                span.attributes["url.scheme"] = socket.tls == nil ? "ws" : "wss"
                // Without the query and what looks like a key.
                span.attributes["url.path"] = socket.requestTarget.map { ShownTarget.path($0) }
                if case .ip(let address, let port) = socket.remoteAddress {
                    span.attributes["client.address"] = address
                    span.attributes["client.port"] = port
                }
                do {
                    try await handler(socket)
                } catch {
                    // A connection that has ended is how most handlers end.
                    if let error = error as? WebSocketError, error.code == .connectionClosed {
                        note(error.closeInfo, in: span)
                    }
                    throw error
                }
                note(socket.closeInfo, in: span)
            }
        }
        #else
        return handler
        #endif
    }

    #if Tracing
    private static func note(_ info: WebSocketCloseInfo?, in span: any Span) {
        guard let info else { return }
        span.attributes["websocket.close.code"] = Int(info.code.rawValue)
        span.attributes["websocket.close.cause"] = "\(info.cause)"
    }
    #endif
}
