//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

package import WebSocketCore

extension WebSocketURL {
    /// Parses a URL whose host may be internationalised.
    ///
    /// - Throws: `invalidURL`.
    package init(international string: String) throws(WebSocketError) {
        try self.init(string) { (name) throws(URLProblem) in try InternationalName.ascii(name) }
    }
}
