//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

extension WebSocketLibraries {
    /// A published vulnerability of libwebsockets, and why a program that uses this package does not have it.
    public struct KnownVulnerability: Sendable, Hashable {
        /// Its number, such as `CVE-2025-11677`.
        public let identifier: String
        /// What is wrong in libwebsockets.
        public let summary: String
        /// Why nothing here reaches it.
        public let reason: String
    }

    /// What was known in November 2026 of libwebsockets 4.1.6 and of the parts of it that later versions share.
    /// `wsx --version` prints it. A distribution may have repaired some of them under the same version number.
    public static let knownVulnerabilities: [KnownVulnerability] = [
        KnownVulnerability(
            identifier: "CVE-2025-11677",
            summary: "use after free when a program handles LWS_CALLBACK_HTTP_CONFIRM_UPGRADE",
            reason: "that callback is not used: servers accept and decide before libwebsockets sees a socket"),
        KnownVulnerability(
            identifier: "CVE-2025-11678", summary: "stack overflow in its asynchronous DNS client",
            reason: "names are resolved by the C library"),
        KnownVulnerability(
            identifier: "CVE-2026-10650", summary: "resource exhaustion in its SSH server plugin",
            reason: "no plugin but that of the event loop is loaded"),
        KnownVulnerability(
            identifier: "CVE-2026-19773", summary: "bounds error in its HTTP/2 server",
            reason: "neither side negotiates HTTP/2"),
    ]
}

extension LibWebSockets {
    /// Why a library cannot be used by what was built with the headers of another version: it is older, or its major
    /// version is another one. `nil` when it can be.
    package static func refusal(built: String, loaded: String) -> String? {
        let (built, loaded) = (numbers(of: built), numbers(of: loaded))
        let isOlder = loaded.lexicographicallyPrecedes(built)
        guard isOlder || loaded.first != built.first else { return nil }
        func text(_ numbers: [Int]) -> String { numbers.map(String.init).joined(separator: ".") }
        return
            "this was built with the headers of libwebsockets \(text(built)), but \(text(loaded)) is loaded; install the former or build again"
    }
}
