//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import Testing
import WebSocketLoop

@testable import WebSocketsC

/// A handle that another thread frees after a call has found what it names: the steps of both, in that order.
@Suite struct FreedHandleTests {
    private func connection() -> ConnectionBox {
        .make(callbacks: Callbacks(nil, queue: nil), loop: WebSocketEventLoopGroup.shared.next())
    }

    /// The call was told to wait for `on_open`, which does not come any more.
    @Test func aConnectionFreedUnderACallIsAnInvalidHandle() throws {
        let box = connection()
        let found = try Handles.connections.find(box.id, "connection")
        #expect(found.isConnecting)
        Handles.connections.remove(box.id)?.release()
        #expect(!found.isConnecting)
        #expect(status { () throws(Failure) in _ = try found.wire() } == wsx_status(WSX_INVALID_HANDLE))
        #expect(status { () throws(Failure) in _ = try found.socket() } == wsx_status(WSX_INVALID_HANDLE))
    }

    @Test func aConnectionThatIsNotOpenYetSaysSo() {
        let box = connection()
        #expect(status { () throws(Failure) in _ = try box.wire() } == wsx_status(WSX_NOT_CONNECTED))
        Handles.connections.remove(box.id)?.release()
    }

    private func status(_ body: () throws(Failure) -> Void) -> wsx_status {
        do throws(Failure) {
            try body()
            return wsx_status(WSX_OK)
        } catch {
            return error.status
        }
    }
}
