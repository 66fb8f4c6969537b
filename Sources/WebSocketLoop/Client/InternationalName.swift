//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
package import WebSocketCore

/// Internationalised host names (IDNA 2008, RFC 5891), through the library that glibc's own resolver uses for them.
package enum InternationalName {
    /// Present wherever `apt`, `curl` or `wget` are; loaded when the first such name comes.
    package static let library = "libidn2.so.0"

    /// The name in its `xn--` form. Takes microseconds, and no network.
    package static func ascii(_ name: String, library: String = library) throws(URLProblem) -> String {
        // A look-up stops at a zero byte.
        guard !name.utf8.contains(0) else { throw URLProblem(text: "has a zero byte in its host") }
        var ascii = [CChar](repeating: 0, count: 256)
        var why: UnsafePointer<CChar>?
        let status = unsafe wsx_idn_lookup(library, name, &ascii, ascii.count, &why)
        switch status {
        case WSX_IDN_OK:
            return String(decoding: ascii.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        case WSX_IDN_NO_LIBRARY:
            throw URLProblem(
                text:
                    "has a host outside ASCII, and the library that knows its ASCII form is missing; install the package libidn2-0, or write the host in its xn-- form"
            )
        default:
            let reason = unsafe why.map { unsafe String(cString: $0) } ?? "unknown error"
            throw URLProblem(text: "has a host that is no internationalised name: \(reason)")
        }
    }
}

extension WebSocketURL {
    /// Parses a URL whose host may be internationalised.
    ///
    /// - Throws: `invalidURL`.
    package init(international string: String) throws(WebSocketError) {
        try self.init(string) { (name) throws(URLProblem) in try InternationalName.ascii(name) }
    }
}
