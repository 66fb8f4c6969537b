//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore

/// The routers of some topics, one for each broker; none without a broker.
struct TopicRouters: Sendable {
    let all: [TopicRouter]

    /// Whose topic it is; nil without a broker.
    subscript(topic: String) -> TopicRouter? {
        all.count > 1 ? all[TopicName.place(of: topic, among: all.count)] : all.first
    }
}
