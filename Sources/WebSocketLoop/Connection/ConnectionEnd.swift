//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// What receivers are told at the end. An error with its text is made only for those who ask: most connections end
/// with nobody waiting.
enum ConnectionEnd: Sendable {
    // Indirect, because every look at the inbound queue has room for an end.
    indirect case closed(WebSocketCloseInfo)
    case failed(WebSocketError)

    var error: WebSocketError {
        switch self {
        case .closed(let info): .closed(info)
        case .failed(let error): error
        }
    }
}
