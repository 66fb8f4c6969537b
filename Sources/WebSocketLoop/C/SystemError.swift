//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc

/// Why the system refused something: a value of `errno`.
package struct SystemError: Error, Hashable, Sendable {
    package let code: CInt

    package init(_ code: CInt) { self.code = code }

    /// Of the call that has just failed on this thread.
    package static var last: SystemError { SystemError(errno) }

    /// The system's own words.
    package var text: String { unsafe String(cString: strerror(code)) }

    /// Whether there were too few descriptors or too little memory, which is no caller's mistake and may pass.
    package var isShortage: Bool { [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(code) }

    static let connectionReset = SystemError(ECONNRESET)
    static let unknownFamily = SystemError(EAFNOSUPPORT)
    static let invalidArgument = SystemError(EINVAL)
}
