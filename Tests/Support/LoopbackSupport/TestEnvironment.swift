//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Testing
package import WebSockets

/// What `scripts/test` prepares.
package enum TestEnvironment {
    private static func variable(_ name: String) throws -> String {
        try #require(ProcessInfo.processInfo.environment[name], "\(name) is not set: run scripts/test")
    }

    /// The Python that has websockets.
    package static var python: String { get throws { try variable("WSX_TEST_PYTHON") } }
    /// A program of `Tests/Support/peers`.
    package static func peer(_ name: String) throws -> String { try variable("WSX_TEST_PEERS") + "/" + name }

    /// A certificate's file.
    package static func certificate(_ name: String) throws -> String { try variable("WSX_TEST_CERTS") + "/\(name).pem" }
    /// Its key's file.
    package static func key(_ name: String) throws -> String { try variable("WSX_TEST_CERTS") + "/\(name).key" }

    package static func identity(_ name: String) throws -> WebSocketTLSServerConfiguration {
        try .files(certificate: certificate(name), key: key(name))
    }

    package static func bytes(_ file: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(filePath: file)))
    }

    package static func text(_ file: String) throws -> String { String(decoding: try bytes(file), as: UTF8.self) }
}
