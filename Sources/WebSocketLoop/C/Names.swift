//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// As in SocketIO.
import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import Glibc
package import WebSocketCore

/// `getaddrinfo`.
enum SystemNames {
    /// The addresses of a name, as the machine understands it. Blocks for as long as DNS does.
    @Sendable static func lookUp(_ name: String) -> NameService.Answer {
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_ADDRCONFIG
        var results: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(name, nil, &hints, &results)
        guard status == 0 else { return .failure(status, errno: errno) }
        defer { unsafe freeaddrinfo(results) }
        var addresses: [String] = []
        var next = unsafe results
        while let entry = unsafe next {
            if case .ip(let address, _)? = unsafe WebSocketAddress(storage: entry.pointee.ai_addr),
                !addresses.contains(address)
            {
                addresses.append(address)
            }
            unsafe next = unsafe entry.pointee.ai_next
        }
        return .addresses(addresses)
    }

    /// There was no thread for a look-up.
    static func noThread(_ error: SystemError) -> NameService.Answer { .failure(EAI_SYSTEM, errno: error.code) }

    /// Why a look-up failed, in words.
    static func text(_ status: CInt, _ error: SystemError) -> String {
        unsafe status == EAI_SYSTEM ? error.text : String(cString: gai_strerror(status))
    }

    /// The shortage that a look-up failed for; `nil` when the name or the network is to blame.
    static func shortage(_ status: CInt, _ error: SystemError) -> SystemError? {
        switch status {
        case EAI_MEMORY: SystemError(ENOMEM)
        case EAI_SYSTEM: error.isShortage || error.code == EAGAIN ? error : nil
        default: nil
        }
    }
}

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
