//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import Logging
import Synchronization
public import WebSocketCore

extension WebSocketEventLoop {
    /// A loop on an `lws_context` that you service: its connections live on your context and your thread, on vhosts of
    /// their own. Clients, pools and sessions take it (`eventLoop`); servers do not.
    ///
    /// Tested with contexts that wait in `lws_service`, libwebsockets' own `poll()` loop; nothing here asks for that loop, so
    /// its plugins for libuv and glib may serve as well, but no test shows it. Your vhosts, protocols and connections go on
    /// as they are. Whatever uses the loop from other threads wakes the context with
    /// `lws_cancel_service`, so your protocols see `LWS_CALLBACK_EVENT_WAIT_CANCELLED` more often than before.
    ///
    /// To be called on the thread that services the context, or before any does. Everything else on the loop may be
    /// used from any thread. Code that runs on it (bodies of scopes, the handlers of `onMessage`) runs on your thread and
    /// must neither block it nor destroy the context.
    ///
    /// The loop stays until ``detach()``, or until you destroy the context, which ends every connection on it with
    /// `connectionClosed`, and everything that begins afterwards with `shutDown`. Destroy the context on the thread that
    /// services it, or after that has ended.
    ///
    /// Of the context's own settings these count for our connections too: `pt_serv_buf_size`, as much as is read at once
    /// (the default of 4,096 will do; more is faster with large messages), and `fd_limit_per_thread`, which counts our
    /// sockets.
    ///
    /// TLS is initialised in libwebsockets here, unless it was by an earlier loop, whatever the context's own
    /// `LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT` says. In 4.1.6 that, and creating a context with this option, disturbs
    /// handshakes that are under way in that moment anywhere in the process: attach before connections do.
    ///
    /// - Parameters:
    ///   - context: A `struct lws_context *`, of the libwebsockets that this library is linked with.
    ///   - name: For logs. Default `wsx-attached`.
    ///   - logger: Where the loop logs; nothing above `warning`.
    ///   - blockedLoopThreshold: How long tasks may hold a turn before a warning. Default 250 ms.
    ///   - memoryBudget: What the loop's connections may hold together with those of other loops with the same budget.
    ///     Default: the process's.
    /// - Throws: `resourceExhausted` when the context takes no vhost or descriptor.
    public convenience init(
        attachedTo context: OpaquePointer, name: String = "wsx-attached",
        logger: Logger = Logger(label: "swift-libwebsockets"), blockedLoopThreshold: Duration = .milliseconds(250),
        memoryBudget: WebSocketMemoryBudget = .shared
    ) throws(WebSocketError) {
        LibWebSockets.initializeQuietly()
        let attachment = unsafe ContextAttachment(context)
        try self.init(
            name: name, logger: logger, blockedLoopThreshold: blockedLoopThreshold, memoryBudget: memoryBudget,
            attachment: attachment)
        try attach(attachment)
    }

    /// Ends everything that lives on a loop that is attached to a context, takes the loop's vhosts out of the context,
    /// and returns when nothing of the library is left there. Connections that are still open are aborted: close them
    /// first. The context has to be serviced meanwhile, or destroyed.
    ///
    /// Returns at once when it has ended already. On a loop of the library's own it does nothing; see
    /// ``WebSocketEventLoopGroup/shutDown()``.
    public func detach() async {
        if attachment != nil { await shutDown() }
    }

    /// Returns when a loop that is attached to a context has ended, by ``detach()`` or because the context was destroyed,
    /// and nothing of the library is left there. On a loop of the library's own it returns at once.
    public func detached() async {
        if attachment != nil { await stopped() }
    }

    /// Whether the caller runs on the thread that services the context of an attached loop, or on the loop's own. A
    /// thread that blocks there waits for itself.
    public var isOnServiceThread: Bool {
        guard let attachment else { return isOnLoop }
        return isOnLoop || attachment.serviceThread.load(ordering: .relaxed) == DetachedThread.current
    }
}
