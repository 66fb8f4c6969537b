//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import WebSocketCore

extension WebSocketError {
    /// On `connectionUnavailable`: why the last attempt to connect failed, if one did.
    public var unavailableCause: WebSocketError? { (attachment?.object as? UnavailableCause)?.error }

    private final class UnavailableCause: Sendable {
        let error: WebSocketError
        init(_ error: WebSocketError) { self.error = error }
    }

    static func unavailable(_ cause: WebSocketError?) -> WebSocketError {
        guard let cause else {
            return WebSocketError(
                .connectionUnavailable, "the connection has ended; release it and acquire it again to reconnect")
        }
        var error = WebSocketError(
            .connectionUnavailable, "the connection could not be opened: \(cause.message)", phase: cause.phase,
            tlsFailure: cause.tlsFailure, response: cause.response, systemError: cause.systemError)
        error.attachment = Attachment(UnavailableCause(cause))
        return error
    }

    static func refused(_ refusal: ManagedConnectionMachine.Refusal) -> WebSocketError {
        switch refusal {
        case .busy:
            WebSocketError(
                .connectionBusy, "the connection is in use; release it first, or wait with acquire(timeout:)")
        case .draining:
            WebSocketError(
                .connectionBusy,
                "the connection is being drained after its last use; wait for that with acquire(timeout:)")
        case .closed(.closed):
            WebSocketError(
                .connectionUnavailable, "the connection was closed for good; make a new WebSocketManagedConnection")
        case .closed(.idleTimeout):
            WebSocketError(
                .connectionUnavailable,
                "the connection was unused for idleTimeout, so it was closed for good; make a new WebSocketManagedConnection"
            )
        }
    }

    /// With the advice that helps here: the object connects again, a new one is not needed.
    var ofManaged: WebSocketError {
        guard code == .connectionClosed else { return self }
        guard let closeInfo else {
            return WebSocketError(
                .connectionClosed, "the connection is closing; release it and acquire it again to reconnect")
        }
        return WebSocketError(
            .connectionClosed, "the connection is closed: \(closeInfo); release it and acquire it again to reconnect",
            closeInfo: closeInfo)
    }
}

extension WebSocketError.Code {
    /// Whether the connection is not the caller's to use: in use, or not acquired at all.
    public var isBusy: Bool { self == .connectionBusy || self == .notAcquired }
}
