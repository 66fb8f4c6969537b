//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

@_exported public import HTTPTypes
@_exported public import WebSocketCore
@_exported public import WebSocketLoop
@_exported public import WebSocketPool
