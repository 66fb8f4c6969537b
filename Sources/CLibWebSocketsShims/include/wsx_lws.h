//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// libwebsockets: what Swift cannot import, and what takes more than one call.

#ifndef WSX_LWS_H
#define WSX_LWS_H

#include <libwebsockets.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#if LWS_LIBRARY_VERSION_NUMBER < 4001000
#error "libwebsockets 4.1 or newer is needed: Debian 12, Ubuntu 24.04 or later have it; Ubuntu 22.04 and Debian 11 have 4.0"
#endif

// Constants that libwebsockets spells as macros Swift does not see.
static inline int wsx_lws_pre(void) { return LWS_PRE; }
static inline int wsx_lws_version_number(void) { return LWS_LIBRARY_VERSION_NUMBER; }
static inline const char *wsx_lws_build_version(void) { return LWS_LIBRARY_VERSION; }

/// What limits and sizes are ours.
enum {
    /// One read of a connection. At least one TLS record, or a throttled TLS client spins for ever in 4.1.6.
    WSX_READ_SIZE = 32 << 10,
    /// The buffer that all connections of a context share.
    WSX_SERVICE_BUFFER_SIZE = 64 << 10,
    /// 4.1.6 scans a table with one entry per allowed descriptor whenever a connection closes (2 µs at 1,024 entries,
    /// 50 µs at 20,000) and takes a limit above ten million for 2,560. Descriptors above this are refused.
    WSX_MAXIMUM_DESCRIPTORS = 16384,
};

/// libwebsockets' one callback, on contexts of ours and on a context that its owner services. To be set once, before the
/// first vhost.
void wsx_lws_set_callbacks(lws_callback_function *own, lws_callback_function *attached);

/// Makes a context only for what it initialises in OpenSSL.
struct lws_context *wsx_context_create_for_tls(void);

struct wsx_context_settings {
    /// `lws_context_user`.
    void *owner;
    /// The loop to run on with libwebsockets' plugin for libuv; NULL for its own poll().
    uv_loop_t *uv;
};
/// Makes a context without vhosts. NULL when the plugin is missing, or a descriptor or memory. Lowers the process's limit of
/// descriptors meanwhile, so not two at a time.
struct lws_context *wsx_context_create(const struct wsx_context_settings *settings);

struct wsx_vhost_settings {
    /// As long as the context.
    const char *name;
    /// The context is not ours.
    bool is_attached;
    /// For a vhost whose sockets get an SSL; what libwebsockets would make its clients' from, if it had any.
    SSL_CTX *unused_client;
    /// `lws_vhost_user`, and what is told when the vhost is gone. May be NULL.
    void *owner;
    void (*finalize)(struct lws_vhost *vhost, void *argument);
    void *finalize_argument;
};
struct lws_vhost *wsx_vhost_create(struct lws_context *context, const struct wsx_vhost_settings *settings);

/// Lets a context poll a descriptor that is no socket; it closes it also when it fails.
struct lws *wsx_lws_adopt_file(struct lws_vhost *vhost, int descriptor);
/// Makes a context that waits return after this many microseconds; negative: not for this any more.
void wsx_lws_wake_after(struct lws_context *context, lws_sorted_usec_list_t *timer, int64_t delay);

/// A `permessage-deflate` extension that only negotiates: payload passes untouched and RSV1 is
/// tolerated, because the stock extension of 4.1.6 loops for ever on an uncompressed frame,
/// aborts when a control frame meets a draining message and mixes up the takeover directions.
const struct lws_extension *wsx_lws_extension_table(void);

/// Hands bytes to libwebsockets exactly as they are, in one send.
static inline int wsx_lws_write_raw(struct lws *wsi, unsigned char *bytes, size_t count) {
    return lws_write(wsi, bytes, count, LWS_WRITE_HTTP);
}

/// Ends the connection now, whatever it still has to send and whatever the peer does, from anywhere on the loop's
/// thread except inside one of its callbacks. `LWS_TO_KILL_SYNC` alone waits for bytes that the socket does not take,
/// and under poll for the peer's end of TLS.
void wsx_lws_kill(struct lws *wsi);

/// Ends the connection when what it has to send is sent, with TLS's own end. Not inside one of its callbacks either.
static inline void wsx_lws_end(struct lws *wsi) {
    lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

/// `lws_service_fd` with a made-up readable event: libuv reports none for bytes that lws or
/// OpenSSL already hold.
int wsx_lws_pretend_readable(struct lws_context *context, struct lws *wsi);

/// Gives a connected socket of a client's to libwebsockets in its raw role, with an SSL as a server would have it or
/// without. Closes the socket when it fails.
struct lws *wsx_lws_adopt(struct lws_vhost *vhost, int descriptor, bool secure);
/// A client's TLS session is up: libwebsockets reads from now on. It notices the state of the session when it looks at
/// the socket. The wsi may be gone afterwards.
void wsx_lws_let_go(struct lws_context *context, struct lws *wsi);
/// Writes to a socket in the raw role what it takes now; returns how much that was, or -1 when it is dead. Not with
/// lws_write: in this role libwebsockets 4.1.6 to 5.0.0 read nothing while they hold bytes that the socket did not
/// take, and two sides that both send more than the buffers between them hold would wait for each other for ever.
ssize_t wsx_lws_send(struct lws *wsi, const void *bytes, size_t count);
/// Ends the sending half of a socket in the raw role, with TLS's own end.
void wsx_lws_finish_sending(struct lws *wsi);

/// `lws_service_fd` with a made-up writable event, for a pong that shall go out now.
int wsx_lws_pretend_writable(struct lws_context *context, struct lws *wsi);

/// What we leave with a context that its owner services: a timer in which our turns run, and a notifier that tells that
/// the context is being destroyed: in 4.1 before anything of it is gone, in 4.3 behind its connections and vhosts.
struct wsx_attachment {
    lws_sorted_usec_list_t turn;
    lws_state_notify_link_t leaving;
    void *owner;
    void (*on_turn)(void *owner);
    void (*on_leaving)(void *owner);
};
/// Both on the thread that services the context. `end` may be called until the context's last vhost is gone.
void wsx_attachment_begin(struct lws_context *context, struct wsx_attachment *attachment);
void wsx_attachment_end(struct lws_context *context, struct wsx_attachment *attachment);
/// The next turn in this many microseconds, instead of when it would have been; negative: none.
void wsx_attachment_schedule(struct lws_context *context, struct wsx_attachment *attachment, int64_t delay);

/// Whether the context is being destroyed, as far as the library that is loaded can tell: 4.1 cannot (and has no need to,
/// its notifier comes first), 4.3 can.
bool wsx_lws_context_is_being_destroyed(struct lws_context *context);

/// What libwebsockets logs now, as `lws_set_log_level` takes it.
static inline int wsx_lws_log_level(void) { return lwsl_visible(0xFFFF); }
/// What it logs as long as no program has chosen.
static inline int wsx_lws_default_log_level(void) { return LLL_ERR | LLL_WARN | LLL_NOTICE; }

/// Whether the peer's stream is over: its FIN or RST has been read, or TLS's own end. Takes nothing from the socket.
int wsx_stream_has_ended(struct lws *wsi);

#endif
