//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import Logging
import WebSocketCore
import WebSocketLoop

/// A server's decisions: the fixed rules in their order, then the user's.
struct ServerDecider: Sendable {
    private let state: ServerState
    private let hosts: [HostPattern]?
    private let origins: Origins
    private let allowsMissingOrigin: Bool
    private let subprotocols: [String]
    private let authentication: WebSocketAuthentication?
    private let hook: WebSocketUpgradeHook?
    private let attachingHook: WebSocketAttachingHook?
    private let isOnLoop: Bool
    private let logger: Logger

    /// More could not be handed to libwebsockets in one piece.
    private static let maximumHeaderBytes = 16 << 10

    private enum Origins: Sendable {
        case any, sameHost
        case only([OriginPattern])
    }

    init(_ configuration: WebSocketServerConfiguration, state: ServerState) throws(WebSocketError) {
        self.state = state
        switch configuration.origins {
        case .any: origins = .any
        case .sameHost: origins = .sameHost
        case .only(let texts):
            var patterns: [OriginPattern] = []
            for text in texts.sorted() {
                guard let pattern = OriginPattern(pattern: text) else {
                    throw WebSocketError(
                        .invalidConfiguration,
                        "origins has “\(text.escapedForLog)”, which is no origin; write it as https://example.com")
                }
                patterns.append(pattern)
            }
            origins = .only(patterns)
        }
        hosts = try configuration.hostPatterns()
        allowsMissingOrigin = configuration.allowsMissingOrigin
        subprotocols = configuration.subprotocols
        authentication = configuration.authentication
        attachingHook = configuration.onRequestAttaching
        // That there is one decides whether a request is asked about at all.
        if let attaching = configuration.onRequestAttaching {
            hook = { request in try await attaching(request).decision }
        } else {
            hook = configuration.onRequest
        }
        isOnLoop = configuration.executor == .loop
        logger = configuration.logger
    }

    /// On the loop. Without hooks and authentication no task is needed.
    func decide(_ received: UpgradeRequest, _ pending: PendingUpgrade) -> (@Sendable () -> Void)? {
        guard !state.isStopping else {
            pending(.respond(PlainResponse(.unavailable)))
            return nil
        }
        var request = WebSocketUpgradeRequest(received)
        guard answers(for: request) else {
            pending(.respond(PlainResponse(.misdirected)))
            return nil
        }
        var hook = hook
        var route: Int?
        switch state.routes?.match(request) {
        case nil: break
        case .answer(let answer):
            pending(.respond(answer))
            return nil
        case .http(let parameters, let responder):
            request.parameters = parameters
            hook = responder
        case .webSocket(let index, let parameters, let own):
            request.parameters = parameters
            route = index
            hook = own ?? hook
        }
        switch received.upgrade {
        case .failure(let refusal):
            guard let hook else {
                pending(.respond(PlainResponse(refusal)))
                return nil
            }
            return begin(pending) { [request, route] in try await ask(hook, request, route) }
        case .success:
            guard allows(request) else {
                pending(.respond(PlainResponse(.forbiddenOrigin)))
                return nil
            }
            guard hook != nil || authentication != nil else {
                pending(translate(.accept(), request, route))
                return nil
            }
            return begin(pending) { [request, hook, route] in
                var request = request
                if let authentication {
                    guard let user = try await authentication.user(of: request) else {
                        return translate(authentication.refusal, request, route)
                    }
                    request.user = user
                }
                return try await ask(hook, request, route)
            }
        }
    }

    /// What the hook says. What an attaching one leaves goes along with the request.
    private func ask(
        _ hook: WebSocketUpgradeHook?, _ request: WebSocketUpgradeRequest, _ route: Int?
    ) async throws -> UpgradeDecision {
        guard let attachingHook else { return translate(try await hook?(request) ?? .accept(), request, route) }
        let answer = try await attachingHook(request)
        var request = request
        request.user = answer.user ?? request.user
        request.attachment = answer.attachment
        return translate(answer.decision, request, route)
    }

    private func begin(
        _ pending: PendingUpgrade, _ decide: @escaping @Sendable @concurrent () async throws -> UpgradeDecision
    ) -> @Sendable () -> Void {
        let task = pending.loop.startTask(isOnLoop: isOnLoop) {
            do {
                pending(try await decide())
            } catch {
                if !Task.isCancelled {
                    logger.error("the decision about a request failed", metadata: ["error": "\(error)"])
                }
                pending(.respond(PlainResponse(.internalError)))
            }
        }
        return { task.cancel() }
    }

    /// A request without `Host`, which HTTP/1.0 allows, is no browser's.
    private func answers(for request: WebSocketUpgradeRequest) -> Bool {
        guard let hosts, !request.host.isEmpty else { return true }
        return hosts.contains { $0.matches(request.host, defaultPort: request.isSecure ? 443 : 80) }
    }

    private func allows(_ request: WebSocketUpgradeRequest) -> Bool {
        guard let origin = request.origin else { return allowsMissingOrigin }
        switch origins {
        case .any: return true
        case .sameHost: return OriginCheck.isSameHost(origin: origin, host: request.host)
        case .only(let patterns):
            guard let origin = OriginPattern(origin: origin) else { return false }
            return patterns.contains { $0.matches(origin) }
        }
    }

    /// What a decision means on the wire. One that cannot be carried out is the server's failure, not the client's.
    private func translate(
        _ decision: WebSocketUpgradeDecision, _ request: WebSocketUpgradeRequest, _ route: Int?
    ) -> UpgradeDecision {
        do throws(WebSocketError) {
            switch decision {
            case .respond(let status, let headers, let body):
                guard (200...599).contains(status) else {
                    throw WebSocketError(
                        .invalidConfiguration, "\(status) is no status to answer with; use one of 200...599")
                }
                return .respond(PlainResponse(status: status, fields: headers, body: body))
            case .accept(let subprotocol, let headers, let options):
                try HandshakeText.validate(fields: headers)
                let size = headers.reduce(0) { $0 + $1.name.rawName.utf8.count + $1.value.utf8.count + 4 }
                guard size <= Self.maximumHeaderBytes else {
                    throw WebSocketError(.invalidConfiguration, "the headers have \(size) bytes; keep them small")
                }
                try options?.validate()
                return .accept(
                    UpgradeResponse(
                        subprotocol: try choose(subprotocol, request), fields: headers, options: options,
                        context: context(request, route)))
            }
        } catch {
            logger.error("a decision cannot be carried out", metadata: ["error": "\(error.message)"])
            return .respond(PlainResponse(.internalError))
        }
    }

    private func context(_ request: WebSocketUpgradeRequest, _ route: Int?) -> UpgradeContext? {
        guard
            route != nil || !request.parameters.isEmpty || request.user != nil || request.clientCertificate != nil
                || request.attachment != nil
        else { return nil }
        return UpgradeContext(
            route: route, parameters: request.parameters, user: request.user,
            clientCertificate: request.clientCertificate, attachment: request.attachment)
    }

    private func choose(
        _ subprotocol: WebSocketUpgradeDecision.Subprotocol, _ request: WebSocketUpgradeRequest
    ) throws(WebSocketError) -> String? {
        switch subprotocol {
        case .none: return nil
        case .automatic: return request.subprotocols.first { subprotocols.contains($0) }
        case .named(let name):
            guard !request.isWebSocket || request.subprotocols.contains(name) else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "the client has not offered the subprotocol “\(name.escapedForLog)”; choose one of the request's subprotocols, or none"
                )
            }
            return name
        }
    }
}
