//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import WebSocketCore

/// Who may connect, by the `Authorization` header (RFC 7617 and RFC 6750). Secrets are compared in constant time.
///
/// Browsers cannot set the header for a WebSocket; they send Basic credentials only from a page that was asked for them.
/// Use TLS: both schemes send the secret as it is.
public struct WebSocketAuthentication: Sendable {
    private let challenge: String
    private let check: @Sendable @concurrent (Credentials) async throws -> String?

    private init(
        _ challenge: String, _ check: @escaping @Sendable @concurrent (Credentials) async throws -> String?
    ) {
        self.challenge = challenge
        self.check = check
    }

    /// User names and their passwords.
    public static func basic(realm: String, users: [String: String]) -> Self {
        let known = users.map { (Array($0.key.utf8), Array($0.value.utf8), $0.key) }
        return Self("Basic realm=\"\(realm.quotable)\", charset=\"UTF-8\"") { credentials in
            guard case .basic(let user, let password) = credentials else { return nil }
            let offered = Array(user.utf8)
            var found: String?
            // All of them, so that the time does not tell which names exist.
            for (name, secret, text) in known {
                let isUser = ConstantTime.isEqual(offered, name)
                let isPassword = ConstantTime.isEqual(password, secret)
                if isUser && isPassword { found = text }
            }
            return found
        }
    }

    /// `verify` knows whether user and password belong together. What it throws becomes 500.
    public static func basic(
        realm: String, verify: @escaping @Sendable @concurrent (_ user: String, _ password: String) async throws -> Bool
    ) -> Self {
        Self("Basic realm=\"\(realm.quotable)\", charset=\"UTF-8\"") { credentials in
            guard case .basic(let user, let password) = credentials,
                let text = String(validating: password, as: UTF8.self)
            else { return nil }
            return try await verify(user, text) ? user : nil
        }
    }

    /// Tokens, and whom each stands for.
    public static func bearer(realm: String, tokens: [String: String]) -> Self {
        let known = tokens.map { (Array($0.key.utf8), $0.value) }
        return Self("Bearer realm=\"\(realm.quotable)\"") { credentials in
            guard case .bearer(let token) = credentials else { return nil }
            let offered = Array(token.utf8)
            var found: String?
            for (secret, user) in known where ConstantTime.isEqual(offered, secret) { found = user }
            return found
        }
    }

    /// `verify` says whom a token stands for, or `nil` for one that is no good. What it throws becomes 500.
    public static func bearer(
        realm: String, verify: @escaping @Sendable @concurrent (_ token: String) async throws -> String?
    ) -> Self {
        Self("Bearer realm=\"\(realm.quotable)\"") { credentials in
            guard case .bearer(let token) = credentials else { return nil }
            return try await verify(token)
        }
    }

    /// Who sent the request; `nil` when its credentials are missing, malformed or wrong.
    @concurrent
    public func user(of request: WebSocketUpgradeRequest) async throws -> String? {
        guard let credentials = Credentials.parse(request.headers) else { return nil }
        return try await check(credentials)
    }

    /// The answer for those whom ``user(of:)`` does not know: 401 with the challenge of RFC 9110 §11.6.1.
    public var refusal: WebSocketUpgradeDecision {
        .respond(status: 401, headers: [.wwwAuthenticate: challenge], text: "valid credentials are needed")
    }
}

extension String {
    /// As the content of a quoted string (RFC 9110 §5.6.4).
    fileprivate var quotable: String {
        var result = ""
        for scalar in unicodeScalars where scalar.value >= 0x20 && scalar.value < 0x7F {
            if scalar == "\"" || scalar == "\\" { result += "\\" }
            result.unicodeScalars.append(scalar)
        }
        return result
    }
}
