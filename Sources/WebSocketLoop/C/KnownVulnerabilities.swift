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
        /// The first version of libwebsockets that does not have it, such as `4.3.7`; `nil` when that is not known. A
        /// distribution may have repaired it under an earlier number.
        public var repairedIn: String? = nil
    }

    /// What was known in November 2026 of libwebsockets 4.1.6 and of the parts of it that later versions share.
    /// `wsx --version` prints it. A distribution may have repaired some of them under the same version number.
    public static let knownVulnerabilities: [KnownVulnerability] = [
        KnownVulnerability(
            identifier: "CVE-2025-11677",
            summary: "use after free when a program handles LWS_CALLBACK_HTTP_CONFIRM_UPGRADE",
            reason: "that callback is not used: servers accept and decide before libwebsockets sees a socket",
            repairedIn: "4.3.7"),
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

extension WebSocketLibraries {
    /// The versions of libwebsockets that the whole test suite runs with: Debian 12's and Debian 13's.
    public static let testedVersions = ["4.1.6", "4.3.5"]

    /// Whether the libwebsockets that is loaded is one of ``testedVersions``. Others from 4.1 on are expected to work:
    /// what differs between versions is decided by the one that is loaded.
    public static var isTested: Bool {
        let loaded = LibWebSockets.numbers(of: LibWebSockets.runtimeVersion)
        return testedVersions.contains { LibWebSockets.numbers(of: $0) == loaded }
    }

    /// The vulnerabilities that the loaded libwebsockets has by its number; a program that uses this package has none of
    /// them, for the reason that each gives.
    public static var vulnerabilitiesOfLoaded: [KnownVulnerability] {
        knownVulnerabilities.filter { known in
            known.repairedIn.map { !LibWebSockets.isLoaded(atLeast: LibWebSockets.numbers(of: $0)) } ?? true
        }
    }
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
