//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Logging
import Synchronization
import WebSocketCore
import WebSocketLoop

/// Tells of the environment's proxies that are passed over. Once for each value: the environment rarely changes, and every
/// connection looks at it.
enum ProxyWarnings {
    private static let told = Mutex<Set<String>>([])

    static func warn(
        _ proxy: WebSocketProxy, _ url: WebSocketURL, logger: Logger?
    ) {
        let errors = proxy.unusableVariables(for: url) { name in Host.environment(name) }
        let logger = logger ?? Logger(label: "swift-libwebsockets")
        for error in errors where told.withLock({ $0.insert(error.message).inserted }) {
            logger.warning("a proxy of the environment is passed over", metadata: ["reason": "\(error.message)"])
        }
    }
}
