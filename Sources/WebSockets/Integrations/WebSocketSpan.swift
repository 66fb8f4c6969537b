//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

#if Tracing
import Tracing
#endif

/// One span for each attempt to connect, a client's, a session's or a pool's, and for each acquire of a pool that has to
/// wait; none for messages and for leases from an idle pool.
enum WebSocketSpan: String {
    case connect = "websocket connect"
    case acquire = "websocket pool acquire"

    /// Whether the program traces. Spans that are not recorded cost as much as a lease.
    static var isTraced: Bool {
        #if Tracing
        !(InstrumentationSystem.tracer is NoOpTracer)
        #else
        false
        #endif
    }

    /// Runs `body`, which connects to `url`, in a span, if the program traces.
    func traced<Value>(
        _ url: WebSocketURL, _ body: () async throws(WebSocketError) -> Value
    ) async throws(WebSocketError) -> Value {
        guard Self.isTraced else { return try await body() }
        return try await around(
            attributes: [
                ("server.address", url.host), ("url.scheme", url.isSecure ? "wss" : "ws"),
                ("network.protocol.name", "websocket"),
            ], numbers: [("server.port", url.port)], body)
    }

    /// Runs `body` in a span, if the package's trait `Tracing` is on.
    func around<Value>(
        attributes: [(String, String)] = [], numbers: [(String, Int)] = [],
        _ body: () async throws(WebSocketError) -> Value
    ) async throws(WebSocketError) -> Value {
        #if Tracing
        let result: Result<Value, WebSocketError> = await withSpan(rawValue, ofKind: .client) { span in
            for (name, value) in attributes { span.attributes[name] = value }
            for (name, value) in numbers { span.attributes[name] = value }
            do throws(WebSocketError) {
                return .success(try await body())
            } catch {
                span.recordError(error)
                span.attributes["error.type"] = error.code.description
                if let status = error.response?.status { span.attributes["http.response.status_code"] = status }
                span.setStatus(SpanStatus(code: .error, message: error.code.description))
                return .failure(error)
            }
        }
        return try result.get()
        #else
        return try await body()
        #endif
    }
}
