/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===
 *
 * WebSockets for C (C99) and C++: client, connection pool, session, server.
 *
 * Handles are small values that hold a number. Using one that is zero, was freed, or was never given out is not
 * undefined: the call returns WSX_INVALID_HANDLE. Freeing one twice is such a use.
 *
 * Structures that may grow begin with `size`. Get them from their wsx_…_init() function, which sets it and zeroes the
 * rest; zero is the default of every field. A time is in milliseconds, and WSX_NEVER sets no limit where there can be
 * none; other times below zero are refused. Strings are copied before a call returns.
 *
 * Every function may be called from any thread. Those that say that they wait may not be called from a callback that
 * runs on one of the library's threads: they return WSX_WRONG_THREAD. Callbacks run on the thread of the connection's
 * loop, must not block there, and may call back in and free any handle, their own included. With a queue they run on
 * the thread that calls wsx_queue_dispatch, where they may do what they like.
 *
 * The last parameter of most functions is where a failure is described; it may be NULL.
 */
#ifndef WSX_H
#define WSX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ---------------------------------------------------------------------------------------------------- */

#define WSX_VERSION_MAJOR 0
#define WSX_VERSION_MINOR 1
#define WSX_VERSION_PATCH 0

/* Of the library that runs, as "0.1.0". Compare with the macros, which are those of the header. */
const char *wsx_version(void);
/* Of the libwebsockets that is loaded. */
const char *wsx_libwebsockets_version(void);

enum {
    WSX_CAPABILITY_TLS = 1,
    WSX_CAPABILITY_DEFLATE = 2,
    WSX_CAPABILITY_UNIX_SOCKETS = 4,
    WSX_CAPABILITY_QUEUE = 8,      /* wsx_queue_…: callbacks on the caller's thread */
    WSX_CAPABILITY_LIBUV = 16      /* the fast backend; without it, install libwebsockets-evlib-uv */
};
/* What the library can do here, as a sum of WSX_CAPABILITY_…. Starts the library's threads. */
uint64_t wsx_capabilities(void);

/* ---- Failures --------------------------------------------------------------------------------------------------- */

/* What a call returns. Numbers may be added. */
typedef int32_t wsx_status;
enum {
    WSX_OK = 0,
    /* How this interface was used. */
    WSX_INVALID_ARGUMENT = 1,      /* NULL where something is needed, a wrong `size`, a value out of range */
    WSX_INVALID_HANDLE = 2,        /* zero, freed, or of another kind */
    WSX_WRONG_THREAD = 3,          /* the call would wait, and the thread is one of the library's */
    WSX_FULL = 4,                  /* the outbound buffer is full and the call may not wait; nothing was sent */
    WSX_FAILED = 5,                /* anything that has no number of its own; see the message */
    WSX_FORKED = 6,                /* this process is a child of the one that uses the library; nothing was done */
    /* Opening. */
    WSX_INVALID_URL = 10, WSX_INVALID_CONFIGURATION, WSX_NAME_NOT_FOUND, WSX_CONNECT_FAILED, WSX_TIMED_OUT,
    WSX_TLS_FAILED, WSX_PROXY_FAILED, WSX_HANDSHAKE_REJECTED, WSX_HANDSHAKE_INVALID, WSX_REDIRECT_REFUSED,
    WSX_RESOURCE_EXHAUSTED, WSX_LISTEN_FAILED, WSX_BAD_DESCRIPTOR,
    /* Using. */
    WSX_MESSAGE_TOO_BIG = 40, WSX_INVALID_UTF8, WSX_PROTOCOL_VIOLATION, WSX_CLOSED, WSX_INVALID_CLOSE_CODE,
    WSX_CLOSE_REASON_TOO_LONG, WSX_CANCELLED, WSX_SHUT_DOWN, WSX_TOO_MANY_FRAGMENTS, WSX_INVALID_PING,
    /* Pools. */
    WSX_ACQUIRE_TIMED_OUT = 70, WSX_POOL_UNAVAILABLE, WSX_POOL_EXHAUSTED, WSX_POOL_CLOSED, WSX_LEASE_ENDED,
    /* Sessions. */
    WSX_NOT_CONNECTED = 90, WSX_RECONNECT_FAILED, WSX_SEND_QUEUE_FULL, WSX_NOT_SENT
};
/* The name of a status, such as "tlsFailed"; never NULL. */
const char *wsx_status_name(wsx_status status);

/* In which step a time ran out or an attempt failed. */
enum {
    WSX_PHASE_NONE, WSX_PHASE_NAME_RESOLUTION, WSX_PHASE_CONNECT, WSX_PHASE_PROXY, WSX_PHASE_TLS, WSX_PHASE_UPGRADE,
    WSX_PHASE_PING, WSX_PHASE_CLOSE, WSX_PHASE_SEND, WSX_PHASE_RECEIVE
};

/* What was wrong with TLS. */
enum {
    WSX_TLS_NONE, WSX_TLS_EXPIRED, WSX_TLS_NOT_YET_VALID, WSX_TLS_HOST_MISMATCH, WSX_TLS_SELF_SIGNED,
    WSX_TLS_UNTRUSTED, WSX_TLS_BAD_CHAIN, WSX_TLS_WRONG_USAGE, WSX_TLS_PIN_MISMATCH, WSX_TLS_NOT_TLS, WSX_TLS_VERSION,
    WSX_TLS_CLIENT_CERTIFICATE, WSX_TLS_PEER_ALERT, WSX_TLS_OTHER
};

/* Why a connection ended. */
enum {
    WSX_CAUSE_NONE, WSX_CAUSE_CLOSING_HANDSHAKE, WSX_CAUSE_CONNECTION_LOST, WSX_CAUSE_PING_TIMEOUT,
    WSX_CAUSE_CLOSE_TIMEOUT, WSX_CAUSE_PEER_VIOLATION, WSX_CAUSE_ABORTED,
    WSX_CAUSE_FLUSH_TIMEOUT         /* the peer did not take what was sent before the close frame */
};

/* How a connection ended. This structure does not grow. */
typedef struct wsx_close_info {
    int32_t cause;                 /* WSX_CAUSE_…; WSX_CAUSE_NONE: it has not ended */
    uint16_t received_code;        /* 0: no close frame came; 1005: one without a code */
    uint16_t sent_code;            /* 0: no close frame was sent */
    int32_t received_first;        /* whether the peer's frame came before ours */
    int32_t is_normal;             /* both sides closed with 1000, 1001 or no code */
    uint64_t unsent_messages;      /* accepted by wsx_send and not handed to the operating system */
    char received_reason[124];     /* the peer's text: escape it before showing it */
    char sent_reason[124];
} wsx_close_info;

/* What failed. */
typedef struct wsx_error {
    size_t size;
    wsx_status status;
    int32_t phase;                 /* WSX_PHASE_… */
    int32_t tls_failure;           /* WSX_TLS_… */
    int32_t http_status;           /* of the server's answer; 0 without one */
    int32_t system_error;          /* errno, when the system gave one, else 0 */
    int32_t reserved;
    wsx_close_info close;
    char message[512];             /* what happened and what to do; peer text in it is escaped */
    /* Of a server's answer, with http_status. Text of the peer's: escape it before showing it. */
    char response_headers[1024];   /* "Name: value" and a line feed each, as many whole ones as fit */
    char response_body[1024];      /* its beginning; a zero byte follows, which is not part of it */
    size_t response_body_length;   /* how much of it is there */
} wsx_error;

static inline wsx_error wsx_error_init(void) {
    wsx_error error;
    memset(&error, 0, sizeof error);
    error.size = sizeof error;
    return error;
}

#define WSX_NEVER ((int64_t)-1)    /* for a time in milliseconds: no limit, or, of something that comes again: not at all */

/* ---- The library in your process -------------------------------------------------------------------------------- */

enum { WSX_LOG_ERROR = 1, WSX_LOG_WARNING, WSX_LOG_INFO, WSX_LOG_DEBUG };

/* Where the library logs, and how much: `log` gets a line without its end for everything of `level` and what is graver, on
 * any thread, perhaps on several at once; it must not block. NULL: nowhere. Until this is called, errors and warnings go to
 * standard error. What a program is told in another way, by a session's events for example, is not logged. May be called
 * at any time; a call of the former function may still be running when it returns. */
wsx_status wsx_set_log(
    int32_t level, void (*log)(void *user, int32_t level, const char *line), void *user, wsx_error *error);
/* How many loops, and so threads, the library has for connections; 0, the default, is one for each core. To be called
 * before anything that needs one: then it fails. Loops on a context of the program's do not count. Threads of the library
 * block all signals, but for the one of a program that services an attached context. */
wsx_status wsx_set_loops(size_t count, wsx_error *error);

/* ---- Callbacks on your own thread ------------------------------------------------------------------------------- */

/* A queue of callbacks, for a program with an event loop of its own: poll its descriptor for reading, and call
 * wsx_queue_dispatch on the thread that is to run the callbacks. One thread at a time may dispatch. */
typedef struct wsx_queue { uint64_t id; } wsx_queue;

wsx_status wsx_queue_create(wsx_queue *queue, wsx_error *error);
/* The descriptor, which stays the library's. It becomes readable when there is something to dispatch. */
wsx_status wsx_queue_descriptor(wsx_queue queue, int *descriptor, wsx_error *error);
/* Runs callbacks that are waiting, at most `maximum`; 0 for those that are there now. Never waits.
 * `count`, unless NULL, gets how many ran. */
wsx_status wsx_queue_dispatch(wsx_queue queue, size_t maximum, size_t *count, wsx_error *error);
/* Waits for a callback, then dispatches. For programs whose loop is this. */
wsx_status wsx_queue_wait(wsx_queue queue, int64_t timeout_ms, size_t *count, wsx_error *error);
/* To be freed after everything that uses it: callbacks that are still waiting are dropped. */
wsx_status wsx_queue_free(wsx_queue queue);

/* ---- Your own lws_context --------------------------------------------------------------------------------------- */

/* A loop on an lws_context that you service: connections, pools and sessions whose client configuration names it live on
 * your context and your thread, on vhosts of their own. Your vhosts and protocols go on as they are. The thread that
 * services the context counts as one of the library's: callbacks run there, unless there is a queue, and functions that
 * wait return WSX_WRONG_THREAD there. Use wsx_connect_start, wsx_pool_acquire_start and callbacks, or other threads.
 * From other threads calls wait until the context is serviced. */
typedef struct wsx_loop { uint64_t id; } wsx_loop;
struct lws_context;                /* of the libwebsockets that this library is linked with */

typedef struct wsx_loop_config {
    size_t size;
    void *user;
    /* The last call: nothing of the library is on the context any more. Comes once, when the loop was detached, or the
     * context was destroyed; on a thread of the library's, also in the midst of lws_context_destroy. */
    void (*on_detached)(void *user);
} wsx_loop_config;

static inline wsx_loop_config wsx_loop_config_init(void) {
    wsx_loop_config config;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    return config;
}

/* Moves in. To be called on the thread that services the context, or before any does. `config` may be NULL. */
wsx_status wsx_loop_attach(
    struct lws_context *context, const wsx_loop_config *config, wsx_loop *loop, wsx_error *error);
/* Moves out and frees the handle: what still lives on the loop is aborted, and what is begun there later fails with
 * WSX_SHUT_DOWN. Waits, which takes a context that is serviced meanwhile; on the thread that services it, and in
 * callbacks, it only begins to. A context may also be destroyed with the loop on it, on the thread that services it or
 * after that has ended, but not in a callback: then connections end with WSX_CLOSED, the rest as above, and the handle
 * is still to be freed with this function. */
wsx_status wsx_loop_detach(wsx_loop loop, wsx_error *error);

/* ---- Messages --------------------------------------------------------------------------------------------------- */

typedef int32_t wsx_kind;
enum { WSX_TEXT = 1, WSX_BINARY = 2 };

/* A received message. It is the caller's, to be freed. This structure does not grow. */
typedef struct wsx_message {
    uint64_t id;
    const char *data;              /* never NULL; a zero byte follows, which is not part of the message */
    size_t length;
    wsx_kind kind;
} wsx_message;

/* Frees what wsx_receive and wsx_session_receive gave, and zeroes the structure. */
wsx_status wsx_message_free(wsx_message *message);

/* ---- Connections ------------------------------------------------------------------------------------------------ */

/* A connection: a client's own, one borrowed from a pool, or a server's. */
typedef struct wsx_connection { uint64_t id; } wsx_connection;

/* What happens to a connection. Each may be NULL. See the top for the thread that they run on. A server that echoes, or
 * passes messages on, has backpressure with three of its functions: where wsx_send returns WSX_FULL it pauses reading
 * (wsx_connection_pause), keeps the message, and sends it and resumes in on_writable. */
typedef struct wsx_callbacks {
    size_t size;
    void *user;                    /* handed to each */
    void (*on_open)(void *user, wsx_connection connection);
    /* A message; the bytes are valid for the call only. With this callback wsx_receive gets none. Without a queue there
     * is no backpressure but the time that it takes and wsx_connection_pause; with one, reading also pauses while many
     * callbacks wait. */
    void (*on_message)(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length);
    /* The connection has ended, or (wsx_connect_start) could not be opened. Comes once, unless the handle is freed
     * before. The handle is still to be freed, but a server's frees itself afterwards. */
    void (*on_close)(void *user, wsx_connection connection, const wsx_error *reason);
    /* The last call: nothing of the library will use `user` for this connection any more. Comes after the handle was
     * freed, and never after a call that failed and gave none. (A server has one `user` for all its connections, and
     * calls this once, when it has ended.) */
    void (*on_released)(void *user);
    /* There is room for a message again. Comes once after a wsx_send that returned WSX_FULL (once for several of them),
     * unless the connection ends first. */
    void (*on_writable)(void *user, wsx_connection connection);
} wsx_callbacks;

static inline wsx_callbacks wsx_callbacks_init(void) {
    wsx_callbacks callbacks;
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.size = sizeof callbacks;
    return callbacks;
}

enum { WSX_DEFAULT = 0, WSX_ON = 1, WSX_OFF = 2 };

/* How a client connects. */
typedef struct wsx_client_config {
    size_t size;
    const wsx_callbacks *callbacks;
    wsx_queue queue;               /* where callbacks run; zero: on the connection's loop */
    const char *const *headers;    /* "Name: value" each; NULL ends the list */
    const char *const *subprotocols; /* in order of preference; NULL ends the list */
    const char *user_agent;
    const char *proxy;             /* http://…, https://…, socks5://…; "environment" asks http_proxy and the like */
    const char *unix_socket;       /* the path to connect to, instead of the URL's host; "@name" for an abstract one */
    const char *connect_host;      /* the host to connect to, instead of the URL's, which stays Host, SNI and what is verified */
    int32_t connect_port;          /* with connect_host */
    int32_t maximum_redirects;     /* default 0: a redirect is a refusal */
    int64_t open_timeout_ms;       /* default 10,000: everything up to the open connection */
    int64_t close_timeout_ms;      /* default 10,000: how long the peer's close frame is awaited */
    int64_t ping_interval_ms;      /* default 20,000; WSX_NEVER sends none */
    int64_t ping_timeout_ms;       /* default 20,000; WSX_NEVER measures, but never fails */
    size_t maximum_message_size;   /* default 1 MiB, after decompression */
    size_t inbound_messages;       /* default 16: this many wait for wsx_receive, then reading pauses */
    size_t outbound_bytes;         /* default 64 KiB: this many wait for the peer, then wsx_send waits */
    int32_t deflate;               /* WSX_ON offers permessage-deflate; default off */
    int32_t deflate_level;         /* 1 (default, fastest) to 9 */
    const char *ca_file;           /* PEM; only these authorities are trusted, for an https:// proxy too. Default: the system's */
    const char *certificate_file;  /* PEM; shown to a server that asks, with key_file */
    const char *key_file;
    const char *key_passphrase;
    const char *server_name;       /* the name that is verified and sent as SNI. Default: the URL's host */
    const char *const *public_key_pins; /* base64 of SHA-256, as RFC 7469; NULL ends the list */
    int32_t minimum_tls;           /* 12 (default) or 13 */
    int32_t insecure_no_verification; /* 1: NOTHING is verified. For experiments only */
    wsx_loop loop;                 /* where to live; zero: on one of the library's own loops */
} wsx_client_config;

static inline wsx_client_config wsx_client_config_init(void) {
    wsx_client_config config;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    return config;
}

/* Opens a connection to a ws:// or wss:// URL, and waits until it is open. `config` may be NULL. */
wsx_status wsx_connect(
    const char *url, const wsx_client_config *config, wsx_connection *connection, wsx_error *error);
/* Begins to open a connection. on_open or on_close tells what came of it; until then sending fails with
 * WSX_NOT_CONNECTED. */
wsx_status wsx_connect_start(
    const char *url, const wsx_client_config *config, wsx_connection *connection, wsx_error *error);

/* Sends a message; `data` is copied. Where the outbound buffer is full the call waits, at most `timeout_ms`, and fails
 * with WSX_TIMED_OUT and nothing sent; with a timeout of 0, or on one of the library's threads, it fails with WSX_FULL
 * at once. WSX_OK means that the message is in the buffer. Text has to be UTF-8. */
wsx_status wsx_send(
    wsx_connection connection, wsx_kind kind, const void *data, size_t length, int64_t timeout_ms, wsx_error *error);
/* Sends a message without waiting, and, while there is room, without copying it anywhere but into its frame. `data` has
 * to stay as it is until `release` is called, once, with WSX_OK when the message is in the outbound buffer, and else
 * with why it is not. Where the buffer is full that takes as long as the peer takes to read. `release` runs where
 * callbacks run, also after the handle was freed, and perhaps before this function returns. When this function itself
 * fails, `release` is not called. */
wsx_status wsx_send_nocopy(
    wsx_connection connection, wsx_kind kind, const void *data, size_t length,
    void (*release)(void *user, const void *data, wsx_status status), void *user, wsx_error *error);
/* Takes the next message. Waits at most `timeout_ms`, then fails with WSX_TIMED_OUT; 0 never waits. At the end of the
 * connection, when all messages have been taken, fails with WSX_CLOSED, and the error's `close` says how it ended. */
wsx_status wsx_receive(
    wsx_connection connection, int64_t timeout_ms, wsx_message *message, wsx_error *error);
/* Sends a ping and waits for its pong. `microseconds`, unless NULL, gets the round trip. */
wsx_status wsx_ping(
    wsx_connection connection, int64_t timeout_ms, int64_t *microseconds, wsx_error *error);
/* Sends a ping without waiting, and tells `done`: with an error, `microseconds` is -1. It runs where callbacks run, also
 * after the handle was freed. When this function itself fails, `done` is not called. */
wsx_status wsx_ping_start(
    wsx_connection connection, int64_t timeout_ms,
    void (*done)(void *user, int64_t microseconds, const wsx_error *error), void *user, wsx_error *error);
/* Closes: 1000–1003, 1007–1014 or 3000–4999, and a reason of at most 123 bytes or NULL. Waits until the connection has
 * ended; what is sent before goes out first. On one of the library's threads it only begins to. The handle is still to
 * be freed. `info`, unless NULL, gets how it ended. */
wsx_status wsx_close(
    wsx_connection connection, uint16_t code, const char *reason, wsx_close_info *info, wsx_error *error);
/* Begins to close, as wsx_close does, and returns. on_close tells the end, and so does `done`, unless it is NULL: where
 * callbacks run, once, before or after on_close, also after the handle was freed. When this function itself fails, `done`
 * is not called. */
wsx_status wsx_close_start(
    wsx_connection connection, uint16_t code, const char *reason,
    void (*done)(void *user, const wsx_close_info *info), void *user, wsx_error *error);
/* Stops on_message until wsx_connection_resume. Messages that arrive meanwhile wait, as many as inbound_messages says (16),
 * then the socket is not read any more and the peer feels it. on_close waits too: what came before the end is told before
 * it. (Once a server is shut down or freed, its connections' ends wait no longer.) Where callbacks run, pausing takes
 * effect at once: in on_message, that was the last one. On other threads, calls that are on their way still come. Pausing
 * twice is once. Only for connections with on_message: wsx_receive takes one message at a time anyway. */
wsx_status wsx_connection_pause(wsx_connection connection, wsx_error *error);
/* Goes on. What has waited is told first, in order, and never before this function returns where callbacks run. Does
 * nothing to a connection that is not paused. */
wsx_status wsx_connection_resume(wsx_connection connection, wsx_error *error);
/* Ends the connection at once, without a closing handshake. */
wsx_status wsx_abort(wsx_connection connection, wsx_error *error);
/* Frees the handle. An open connection is aborted; one of a pool goes back to be closed. No callback begins any more
 * but on_released; one that runs on another thread may still be running. */
wsx_status wsx_connection_free(wsx_connection connection);

/* A pointer of the program's own. */
wsx_status wsx_connection_set_data(wsx_connection connection, void *data, wsx_error *error);
wsx_status wsx_connection_data(wsx_connection connection, void **data, wsx_error *error);

enum { WSX_STATE_CONNECTING, WSX_STATE_OPEN, WSX_STATE_CLOSING, WSX_STATE_CLOSED };

/* What is known about a connection. */
typedef struct wsx_connection_info {
    size_t size;
    int32_t state;                 /* WSX_STATE_… */
    int32_t deflate;               /* 1 when permessage-deflate was agreed on */
    int64_t latency_us;            /* the last ping's round trip; -1 before the first pong */
    wsx_close_info close;
    char subprotocol[64];          /* empty without one */
    char remote_address[112];
    char tls_version[16];          /* such as "TLSv1.3"; empty without TLS */
    char tls_cipher[64];
} wsx_connection_info;

static inline wsx_connection_info wsx_connection_info_init(void) {
    wsx_connection_info info;
    memset(&info, 0, sizeof info);
    info.size = sizeof info;
    return info;
}

wsx_status wsx_connection_get_info(wsx_connection connection, wsx_connection_info *info, wsx_error *error);

/* A certificate that a peer has shown, verified, unless the configuration says that nothing is. */
typedef struct wsx_certificate {
    size_t size;
    const char *subject;           /* as in RFC 4514, such as CN=alice,O=Example */
    const char *issuer;
    const char *const *names;      /* DNS names, addresses and URIs among its alternative names; NULL ends the list */
    const char *fingerprint;       /* SHA-256 of the certificate, 64 hexadecimal digits: what to compare with */
    const char *public_key_pin;    /* base64 of the SHA-256 of its key, as public_key_pins has it */
    const void *der;               /* the certificate itself */
    size_t der_length;
    int64_t valid_from, valid_until; /* seconds since 1970 */
} wsx_certificate;

/* The opening handshake of a connection, of either side. It is the caller's, to be freed with wsx_handshake_free, and
 * stays as it is whatever becomes of the connection. */
typedef struct wsx_handshake {
    size_t size;
    uint64_t id;
    const char *target;            /* what the client asked for: path and query, byte for byte */
    const char *const *headers;    /* of the request, credentials included: name, value, name, value, …, NULL */
    const char *user;              /* of a server's: what on_request said; NULL without */
    const char *url;               /* of a client's: what it is connected to, after redirects; NULL of a server's */
    int32_t status;                /* of a client's: of the server's answer; 0 of a server's */
    int32_t reserved;
    const char *const *response_headers; /* of a client's: as `headers`; empty of a server's */
    const wsx_certificate *certificate;  /* the peer's; NULL without one */
    const char *remote_address;    /* such as 127.0.0.1:1234, as a trusted proxy says; empty for sockets without one */
    const char *local_address;
} wsx_handshake;

static inline wsx_handshake wsx_handshake_init(void) {
    wsx_handshake handshake;
    memset(&handshake, 0, sizeof handshake);
    handshake.size = sizeof handshake;
    return handshake;
}

/* Of an open connection, or one that has ended and is not freed, so also in on_close. */
wsx_status wsx_connection_get_handshake(wsx_connection connection, wsx_handshake *handshake, wsx_error *error);
/* Frees what the handshake points to, and zeroes it but for its size. */
wsx_status wsx_handshake_free(wsx_handshake *handshake);

/* ---- Pools ------------------------------------------------------------------------------------------------------ */

typedef struct wsx_pool { uint64_t id; } wsx_pool;

typedef struct wsx_pool_config {
    size_t size;
    const wsx_client_config *client; /* how connections are opened; its callbacks are not used */
    wsx_queue queue;               /* where the callbacks of wsx_pool_acquire_start run */
    size_t maximum_connections;    /* default 16 */
    size_t minimum_idle;           /* default 0: connections that are kept ready */
    int64_t acquire_timeout_ms;    /* default 30,000 */
    int64_t idle_timeout_ms;       /* how long a connection may be idle; default the library's */
    int64_t maximum_lifetime_ms;   /* how old a connection may get; default the library's */
    /* Of every connection while it is lent: on_message, on_close and on_writable, with one `user` for all; what belongs
     * to a lease, wsx_connection_set_data keeps. They begin after `done` of wsx_pool_acquire_start has returned; with
     * wsx_pool_acquire they may begin before it returns. They end with the lease. on_open is not called; on_released is
     * the last call, after the pool has ended. */
    const wsx_callbacks *lease_callbacks;
} wsx_pool_config;

static inline wsx_pool_config wsx_pool_config_init(void) {
    wsx_pool_config config;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    return config;
}

/* Makes a pool of connections to one or several URLs; NULL ends the list. Opens nothing yet. `config` may be NULL. */
wsx_status wsx_pool_create(
    const char *const *urls, const wsx_pool_config *config, wsx_pool *pool, wsx_error *error);
/* Borrows a connection, which is to be given back with wsx_pool_release. Waits at most `timeout_ms`, connecting
 * included, and acquire_timeout_ms with WSX_NEVER, which sets no other limit. 0 takes only what is idle, and may be used
 * anywhere. */
wsx_status wsx_pool_acquire(wsx_pool pool, int64_t timeout_ms, wsx_connection *connection, wsx_error *error);
/* Borrows a connection, and tells `done`: with an error, the connection is zero. */
wsx_status wsx_pool_acquire_start(
    wsx_pool pool, int64_t timeout_ms,
    void (*done)(void *user, wsx_connection connection, const wsx_error *error), void *user, wsx_error *error);
/* Gives a connection back and frees its handle. `discard`: close it instead; say so whenever an exchange may be
 * incomplete. */
wsx_status wsx_pool_release(wsx_connection connection, int32_t discard, wsx_error *error);

typedef struct wsx_pool_statistics {
    size_t size;
    uint64_t idle, leased, connecting, waiting, total;
    uint64_t acquired, acquire_timeouts, acquire_failures;
    uint64_t connects_started, connects_succeeded, connects_failed, connections_closed;
} wsx_pool_statistics;

static inline wsx_pool_statistics wsx_pool_statistics_init(void) {
    wsx_pool_statistics statistics;
    memset(&statistics, 0, sizeof statistics);
    statistics.size = sizeof statistics;
    return statistics;
}

wsx_status wsx_pool_get_statistics(wsx_pool pool, wsx_pool_statistics *statistics, wsx_error *error);
/* Refuses acquires, waits at most `grace_ms` for connections that are lent, closes all, and frees the handle. Waits. */
wsx_status wsx_pool_shut_down(wsx_pool pool, int64_t grace_ms, wsx_error *error);
/* Does the same without waiting, and tells `done`, unless it is NULL, when all are closed: where callbacks run. */
wsx_status wsx_pool_shut_down_start(
    wsx_pool pool, int64_t grace_ms, void (*done)(void *user), void *user, wsx_error *error);
/* Does the same with no grace and without waiting. */
wsx_status wsx_pool_free(wsx_pool pool);

/* ---- Sessions --------------------------------------------------------------------------------------------------- */

/* A connection that reconnects, subscribes again, and says where messages may be missing. */
typedef struct wsx_session { uint64_t id; } wsx_session;

enum {
    WSX_EVENT_MESSAGE = 1, WSX_EVENT_CONNECTED, WSX_EVENT_DISCONNECTED, WSX_EVENT_GAP, WSX_EVENT_RENEWED,
    WSX_EVENT_ALERT, WSX_EVENT_ENDED,
    WSX_EVENT_ATTEMPT_FAILED       /* an attempt to connect failed, with `error`; other events tell what comes next */
};

/* Something that happened to a session. Valid for the call only. */
typedef struct wsx_session_event {
    size_t size;
    int32_t type;                  /* WSX_EVENT_… */
    wsx_kind kind;                 /* of a message */
    const void *data;              /* of a message */
    size_t length;
    int32_t is_reconnect;          /* connected: not for the first time */
    int32_t is_proactive;          /* disconnected: this side wanted it */
    int64_t duration_ms;           /* disconnected: how long it was connected; a gap: how long there was no connection */
    uint64_t dropped;              /* a gap: messages that were dropped because the program did not take them */
    const char *text;              /* disconnected: the reason's name; an alert: a sentence; never NULL */
    const wsx_error *error;        /* disconnected, ended, attempt failed: what failed, else NULL */
} wsx_session_event;

typedef struct wsx_session_config {
    size_t size;
    const wsx_client_config *client; /* how to connect; its callbacks are not used */
    wsx_queue queue;               /* where events are told; zero: on the session's loop */
    void *user;
    /* Everything that happens, in order; nothing comes after WSX_EVENT_ENDED. With it, wsx_session_receive gets
     * nothing. */
    void (*on_event)(void *user, wsx_session session, const wsx_session_event *event);
    void (*on_released)(void *user); /* the last call, after the handle was freed */
    int64_t reconnect_minimum_ms;  /* default 1,000: delays are random, up to a bound that doubles … */
    int64_t reconnect_maximum_ms;  /* … from the minimum to this; default 60,000 */
    int32_t maximum_attempts;      /* default 10; -1 never gives up */
    int32_t overflow;              /* 0: reading pauses; 1: the oldest message goes; 2: the new one; 3: disconnects */
    size_t outbound_queue;         /* default 0: messages kept while there is no connection */
    size_t inbound_messages;       /* default 1,000 */
    int64_t maximum_connection_age_ms; /* default: none. Shortly before it the connection is replaced */
    int32_t make_before_break;     /* 1: the new connection is there before the old one goes */
    int32_t reserved;
    const char *subscribe;         /* the message that subscribes: %s is the channel. Default {"type":"subscribe",…} */
    const char *unsubscribe;       /* the one that ends it */
} wsx_session_config;

static inline wsx_session_config wsx_session_config_init(void) {
    wsx_session_config config;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    return config;
}

/* Makes a session, which begins to connect. `config` may be NULL. */
wsx_status wsx_session_create(
    const char *url, const wsx_session_config *config, wsx_session *session, wsx_error *error);
/* Waits until messages flow. */
wsx_status wsx_session_wait_connected(wsx_session session, int64_t timeout_ms, wsx_error *error);
/* Sends a message, or keeps it if there is an outbound queue. Waits while the connection's buffer is full, at most
 * `timeout_ms`. On one of the library's threads it never waits: the message waits inside, and with 256 such messages the
 * call fails with WSX_FULL. What becomes of messages is in the statistics. */
wsx_status wsx_session_send(
    wsx_session session, wsx_kind kind, const void *data, size_t length, int64_t timeout_ms, wsx_error *error);
/* Takes the next message, from this connection or a later one. */
wsx_status wsx_session_receive(
    wsx_session session, int64_t timeout_ms, wsx_message *message, wsx_error *error);
/* Wants a channel, now and on every later connection; or does not any more. */
wsx_status wsx_session_subscribe(wsx_session session, const char *channel, wsx_error *error);
wsx_status wsx_session_unsubscribe(wsx_session session, const char *channel, wsx_error *error);
/* Connects a session that is disconnected, or that waits to reconnect. Does not wait. */
wsx_status wsx_session_connect(wsx_session session, wsx_error *error);
/* Leaves the connection; connects again after `reconnect_after_ms`, or with WSX_NEVER when told to. Does not wait. */
wsx_status wsx_session_disconnect(wsx_session session, int64_t reconnect_after_ms, wsx_error *error);

typedef struct wsx_session_statistics {
    size_t size;
    int32_t is_connected;
    int32_t reserved;
    uint64_t connects, disconnects, failed_attempts, gaps;
    uint64_t messages_received, bytes_received, messages_submitted, messages_written, messages_not_sent;
    uint64_t messages_unknown, messages_pending, messages_dropped;
} wsx_session_statistics;

static inline wsx_session_statistics wsx_session_statistics_init(void) {
    wsx_session_statistics statistics;
    memset(&statistics, 0, sizeof statistics);
    statistics.size = sizeof statistics;
    return statistics;
}

wsx_status wsx_session_get_statistics(wsx_session session, wsx_session_statistics *statistics, wsx_error *error);
/* Closes with 1000, waits until the session has ended, and frees the handle. */
wsx_status wsx_session_shut_down(wsx_session session, wsx_error *error);
/* Does the same without waiting: the handle is freed at once. WSX_EVENT_ENDED tells the end, then on_released, then
 * `done`, unless it is NULL, where events are told. */
wsx_status wsx_session_shut_down_start(
    wsx_session session, void (*done)(void *user), void *user, wsx_error *error);
/* Ends the session at once, without waiting. */
wsx_status wsx_session_free(wsx_session session);

/* ---- Topics ----------------------------------------------------------------------------------------------------- */

/* What connections subscribe to: those of servers and clients, of one server or several. What is published reaches every
 * subscriber, and a slow one holds up no other. A connection that ends is unsubscribed. Nothing here waits, and from one
 * thread everything takes effect in order. A topic is a group: it is there as long as it has a subscriber. */
typedef struct wsx_topics { uint64_t id; } wsx_topics;

enum {
    WSX_SLOW_PEER_DISCONNECT = 0,  /* is closed with 1008, and gets nothing more */
    WSX_SLOW_PEER_DROP,            /* misses the message */
    WSX_SLOW_PEER_KEEP_LATEST      /* misses older messages of the topic for the newest one */
};

typedef struct wsx_topics_config {
    size_t size;
    size_t maximum_buffered_bytes; /* that may wait for one peer; default 1 MiB. One message is always taken */
    int32_t slow_peer;             /* WSX_SLOW_PEER_…: what happens to a peer beyond that */
    int32_t reserved;
} wsx_topics_config;

static inline wsx_topics_config wsx_topics_config_init(void) {
    wsx_topics_config config;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    return config;
}

/* `config` may be NULL. */
wsx_status wsx_topics_create(const wsx_topics_config *config, wsx_topics *topics, wsx_error *error);
/* The connection gets what is published to the topic from now on. Twice is once. */
wsx_status wsx_topics_subscribe(wsx_topics topics, wsx_connection connection, const char *topic, wsx_error *error);
wsx_status wsx_topics_unsubscribe(wsx_topics topics, wsx_connection connection, const char *topic, wsx_error *error);
/* Sends a message to the topic's subscribers, but for `except`, which may be zero. The frame is built once. */
wsx_status wsx_topics_publish(
    wsx_topics topics, const char *topic, wsx_kind kind, const void *data, size_t length, wsx_connection except,
    wsx_error *error);
/* How many connections are subscribed to a topic now. */
wsx_status wsx_topics_subscribers(wsx_topics topics, const char *topic, size_t *count, wsx_error *error);

/* What has become of what was published: one count for each message and each subscriber. */
typedef struct wsx_topics_statistics {
    size_t size;
    uint64_t sent;                 /* taken for sending */
    uint64_t dropped;              /* missed by a slow peer */
    uint64_t replaced;             /* missed by a slow peer that got a newer one instead */
    uint64_t disconnected;         /* not sent, because the slow peer was closed */
} wsx_topics_statistics;

static inline wsx_topics_statistics wsx_topics_statistics_init(void) {
    wsx_topics_statistics statistics;
    memset(&statistics, 0, sizeof statistics);
    statistics.size = sizeof statistics;
    return statistics;
}

wsx_status wsx_topics_get_statistics(wsx_topics topics, wsx_topics_statistics *statistics, wsx_error *error);
/* Frees the handle. Nothing is sent to the subscribers any more; their connections go on. */
wsx_status wsx_topics_free(wsx_topics topics);

/* ---- Servers ---------------------------------------------------------------------------------------------------- */

typedef struct wsx_server { uint64_t id; } wsx_server;

/* A request, as the one who decides about it sees it. Valid for the call only. */
typedef struct wsx_request {
    size_t size;
    const char *method;
    const char *target;            /* path and query, byte for byte */
    const char *host;
    const char *origin;            /* NULL without one */
    const char *remote_address;
    const char *const *headers;    /* name, value, name, value, …, NULL */
    const char *const *subprotocols; /* what the client offers; NULL ends the list */
    int32_t is_websocket;          /* 0: plain HTTP, which can only be answered with a status other than 101 */
    int32_t is_secure;
    const char *local_address;
    const wsx_certificate *certificate; /* the client's; NULL without one */
} wsx_request;

/* What becomes of it. What it points to has to live until the hook has returned. */
typedef struct wsx_response {
    size_t size;
    int32_t status;                /* 101 accepts, which is what it holds at first; anything else is the answer */
    int32_t reserved;
    const char *subprotocol;       /* one that the client offered; NULL: the first that the configuration lists */
    const char *const *headers;    /* "Name: value" each; NULL ends the list */
    const void *body;
    size_t body_length;
    const char *user;              /* who the client is, for wsx_handshake; copied */
    /* The connection's data from its beginning (wsx_connection_data). Where there will be no connection, because this is
     * a refusal or the client left, on_request_dropped gets it. */
    void *data;
} wsx_response;

/* A certificate for clients that ask for one of some names (SNI). This structure does not grow. */
typedef struct wsx_identity {
    const char *const *names;      /* such as example.com, or *.example.com for one label in front; NULL ends the list */
    const char *certificate_file;  /* PEM, followed by the intermediates */
    const char *key_file;
    const char *key_passphrase;    /* NULL: the key is not encrypted */
} wsx_identity;

typedef struct wsx_server_config {
    size_t size;
    const wsx_callbacks *callbacks; /* of every connection */
    wsx_queue queue;               /* where callbacks run; zero: on each connection's loop */
    const char *host;              /* default 127.0.0.1; "0.0.0.0" or "::" for all */
    int32_t port;                  /* default 0: the system chooses, and wsx_server_port tells */
    int32_t does_not_listen;       /* 1: only for wsx_server_adopt */
    const char *unix_socket;       /* listen here instead */
    const char *certificate_file;  /* PEM; with key_file, the server speaks TLS */
    const char *key_file;
    const char *const *subprotocols;
    const char *const *origins;    /* such as https://example.com; "*" for any. Default: the same host */
    /* Decides about every request; runs where callbacks run. Default: WebSocket handshakes are accepted. */
    void (*on_request)(void *user, const wsx_request *request, wsx_response *response);
    int64_t handshake_timeout_ms;  /* default 10,000 */
    int64_t idle_timeout_ms;       /* default: idle connections stay */
    int64_t ping_interval_ms, ping_timeout_ms, close_timeout_ms; /* as a client's */
    size_t maximum_connections;    /* default 16,000 */
    size_t maximum_message_size;   /* default 1 MiB */
    size_t outbound_bytes;         /* default 64 KiB */
    int32_t deflate;               /* WSX_OFF declines permessage-deflate; default: accepted */
    int32_t reserved;
    /* What on_request left, other than NULL, for a connection that did not come to be; to be freed, for example. Each
     * pointer ends either here or with a connection, whose on_close finds it with wsx_connection_data. */
    void (*on_request_dropped)(void *user, void *data);
    const char *key_passphrase;    /* of key_file; NULL: it is not encrypted */
    const wsx_identity *identities; /* other certificates; clients that ask for no name of theirs get the main one */
    size_t identity_count;
    const char *client_ca_file;    /* PEM: clients are asked for a certificate that one of these authorities vouches for */
    int32_t client_certificate_optional; /* 1: with client_ca_file, they may come without one. Default: they are refused */
    int32_t minimum_tls;           /* 12 (default) or 13 */
    int32_t unix_socket_mode;      /* of unix_socket's file, such as 0660. Default 0600 */
    int32_t reserved_2;
    /* Stream sockets that listen already, systemd's for example, instead of host, port and unix_socket. The library works
     * on duplicates, makes both non-blocking, and never closes yours. */
    const int *listen_descriptors;
    size_t listen_descriptor_count;
} wsx_server_config;

static inline wsx_server_config wsx_server_config_init(void) {
    wsx_server_config config;
    memset(&config, 0, sizeof config);
    config.size = sizeof config;
    return config;
}

/* Binds, listens and serves. `config` may be NULL. */
wsx_status wsx_server_create(const wsx_server_config *config, wsx_server *server, wsx_error *error);
wsx_status wsx_server_port(wsx_server server, int32_t *port, wsx_error *error);
/* Reads certificates, keys and authorities again: handshakes that begin from now on get the new ones, connections that
 * stand are not touched. `config` names them in its TLS fields, others are not looked at; NULL: the same files as before.
 * Whether clients are asked for certificates, and minimum_tls, stay as they were. On failure nothing has changed. Waits
 * for nothing but the files. */
wsx_status wsx_server_reload_tls(wsx_server server, const wsx_server_config *config, wsx_error *error);
/* Takes over a connected socket that has not been read from, and does the handshake there. On success, and on any failure
 * but WSX_BAD_DESCRIPTOR, WSX_WRONG_THREAD and those of the arguments, the descriptor is the library's. Waits for the
 * client, for handshake_timeout_ms at most. The connection belongs to the caller, who frees it; the server's callbacks are
 * told of it. On the thread that dispatches the queue where on_request is asked it returns WSX_WRONG_THREAD. */
wsx_status wsx_server_adopt(wsx_server server, int descriptor, wsx_connection *connection, wsx_error *error);
/* Does the same without waiting. `done` is told where callbacks run, after on_open: with an error, the connection is zero.
 * With `done` NULL the connection is the server's, as those that it accepts: on_open tells of it, and it frees itself. On
 * success the descriptor is the library's, whatever follows. */
wsx_status wsx_server_adopt_start(
    wsx_server server, int descriptor,
    void (*done)(void *user, wsx_connection connection, const wsx_error *error), void *user, wsx_error *error);
/* Sends a message to every open connection. The frame is built once; the call never waits. */
wsx_status wsx_server_broadcast(
    wsx_server server, wsx_kind kind, const void *data, size_t length, wsx_error *error);

typedef struct wsx_server_statistics {
    size_t size;
    uint64_t sockets, accepted, refused_for_limits, broadcast_sent, broadcast_dropped;
} wsx_server_statistics;

static inline wsx_server_statistics wsx_server_statistics_init(void) {
    wsx_server_statistics statistics;
    memset(&statistics, 0, sizeof statistics);
    statistics.size = sizeof statistics;
    return statistics;
}

wsx_status wsx_server_get_statistics(wsx_server server, wsx_server_statistics *statistics, wsx_error *error);
/* Stops accepting, closes every connection with 1001, waits for their ends at most `timeout_ms`, frees the handle. */
wsx_status wsx_server_shut_down(wsx_server server, int64_t timeout_ms, wsx_error *error);
/* Does the same without waiting: the handle is freed at once. `done`, unless it is NULL, is told the end where callbacks
 * run, before or after on_released. */
wsx_status wsx_server_shut_down_start(
    wsx_server server, int64_t timeout_ms, void (*done)(void *user), void *user, wsx_error *error);
/* Stops accepting and aborts every connection, without waiting. */
wsx_status wsx_server_free(wsx_server server);

#ifdef __cplusplus
}
#endif
#endif
