//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import FoundationEssentials
public import WebSocketCore

/// What logs in Foundation's way: `error.localizedDescription` is the code and the sentence, instead of a number.
extension WebSocketError: LocalizedError {
    /// The code, what happened and what to do.
    public var errorDescription: String? { description }
}
