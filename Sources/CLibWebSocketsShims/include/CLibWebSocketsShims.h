//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What Swift cannot import from the C libraries: function-like macros, valueless defines,
// variadics and the extension table. Every name starts with `wsx_`.

#ifndef CLIBWEBSOCKETS_SHIMS_H
#define CLIBWEBSOCKETS_SHIMS_H

#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>
#include <zlib.h>

#include "Readiness.h"

// Constants that libwebsockets spells as macros Swift does not see.
static inline int wsx_lws_pre(void) { return LWS_PRE; }
static inline int wsx_lws_version_number(void) { return LWS_LIBRARY_VERSION_NUMBER; }
static inline const char *wsx_lws_build_version(void) { return LWS_LIBRARY_VERSION; }

// The versions of the headers, some of which are pasted together by macros.
static inline const char *wsx_openssl_build_version(void) { return OPENSSL_VERSION_TEXT; }
static inline const char *wsx_zlib_build_version(void) { return ZLIB_VERSION; }
const char *wsx_uv_build_version(void);

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

/// Whether libwebsockets waits for the socket to become writable: it has a pong to send, or bytes that the socket
/// did not take. Known for the libuv engine only; `false` with the other.
bool wsx_lws_wants_write(const uv_loop_t *loop, struct lws *wsi);
/// `lws_service_fd` with a made-up writable event, for a pong that shall go out now.
int wsx_lws_pretend_writable(struct lws_context *context, struct lws *wsi);

/// What we leave with a context that somebody else services: a timer in which our turns run, and a notifier that tells
/// when the context is about to be destroyed, before anything of it is gone.
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
/// The next turn in so many microseconds, instead of when it would have been; negative: none.
void wsx_attachment_schedule(struct lws_context *context, struct wsx_attachment *attachment, int64_t delay);

/// What libwebsockets logs now, as `lws_set_log_level` takes it.
static inline int wsx_lws_log_level(void) { return lwsl_visible(0xFFFF); }

// OpenSSL's macros.
static inline int wsx_ssl_ctx_set_minimum_version(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_min_proto_version(context, version);
}
/// What every SSL_CTX of ours has, a client's and a server's. A peer that sends records without data gets one of them
/// read in a turn, and after `WSX_TLS_MAXIMUM_RECORDS_WITHOUT_DATA` in a row its connection ends.
void wsx_ssl_ctx_set_defaults(SSL_CTX *context);
/// KeyUpdates, tickets and requests for renegotiation that a peer may send in a row, without data in between. TLS asks
/// for one KeyUpdate in 2^24 records and more (RFC 8446 §5.5), and servers send two tickets.
enum wsx_tls_limit { WSX_TLS_MAXIMUM_RECORDS_WITHOUT_DATA = 32 };
/// Whether the connection was ended for such records.
int wsx_ssl_was_flooded(const SSL *ssl);
void wsx_ssl_ctx_clear_servername_callback(SSL_CTX *context);
static inline int wsx_ssl_ctx_add_chain_certificate(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add0_chain_cert(context, certificate);
}
/// Gives one handshake its certificate, the chain's intermediates and the key, in place of what it had. 1 when it took.
int wsx_ssl_use_identity(SSL *ssl, X509 *const *chain, int count, EVP_PKEY *key);
/// Makes one handshake of a server ask for a client certificate that `store` verifies; `authorities` are named to the
/// client, so that it can choose.
void wsx_ssl_ask_for_certificate(SSL *ssl, int is_required, X509_STORE *store, X509 *const *authorities, int count);
/// No tickets and no session cache: a resumed session would not show its certificate again.
void wsx_ssl_ctx_disable_resumption(SSL_CTX *context);

/// The keys of a server's TLS tickets, shared by its SSL_CTXs. A new one is made when the last one is this old, which is
/// as long as a ticket is good; the one before it still reads tickets.
enum { WSX_TICKET_KEY_SECONDS = 7200 };
struct wsx_ticket_keys;
/// NULL when there is no memory.
struct wsx_ticket_keys *wsx_ticket_keys_new(void);
/// Only after the SSL_CTXs are gone.
void wsx_ticket_keys_free(struct wsx_ticket_keys *keys);
/// Makes the keys older, for tests.
void wsx_ticket_keys_advance(struct wsx_ticket_keys *keys, int64_t seconds);
/// 1 when it took.
int wsx_ssl_ctx_share_tickets(SSL_CTX *context, struct wsx_ticket_keys *keys);

/// A certificate's subject as RFC 2253 writes it; returns its length.
int wsx_x509_subject(const X509 *certificate, void *text, int room);
static inline int wsx_ssl_is_before_handshake(const SSL *ssl) { return SSL_get_state(ssl) == TLS_ST_BEFORE; }
static inline BIO *wsx_bio_from_memory(const void *bytes, int count) { return BIO_new_mem_buf(bytes, count); }
/// The host flags of RFC 6125: no partial wildcards, and never the common name.
static inline unsigned int wsx_x509_host_flags(void) {
    return X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
}

/// Whom a client's SSL_CTX is for: the name to verify and to send as SNI (IP addresses are never sent as SNI, RFC 6066
/// §3), and the sessions that servers of this name gave out.
struct wsx_tls_identity;

/// Makes an identity. With `resumes` sessions are kept and offered again. NULL when there is no memory.
struct wsx_tls_identity *wsx_tls_identity_create(const char *name, int is_address, int resumes);

/// Makes the SSL_CTX that libwebsockets has made for a vhost into a client's: with the store of certificates, the
/// certificate and the key of `from`, and with the identity.
int wsx_ssl_ctx_set_client(SSL_CTX *context, SSL_CTX *from, struct wsx_tls_identity *identity);

/// Turns an SSL that nothing has been read from or written to into a client's, for the identity of its context.
/// `verifier` is handed to the function below.
void wsx_tls_client_begin(SSL *ssl, int verifies, void *verifier);
/// The verifier is not called any more.
void wsx_tls_client_finish(SSL *ssl);

/// What decides about a server's certificates. Returns 1 to go on. To be set once, before the first handshake.
void wsx_tls_set_verifier(int (*verify)(void *verifier, X509_STORE_CTX *store, int is_valid));

/// Lets time pass for the sessions that are kept, for tests.
void wsx_tls_identity_advance(struct wsx_tls_identity *identity, int64_t seconds);

/// Only after the SSL_CTX and all its SSLs are gone.
void wsx_tls_identity_free(struct wsx_tls_identity *identity);

/// Whether the server has asked for a certificate of the client.
static inline int wsx_ssl_was_asked_for_certificate(const SSL *ssl) { return SSL_get_app_data(ssl) != NULL; }

/// SHA-256 of a certificate's public key with its algorithm (SubjectPublicKeyInfo); 0 when it has none.
int wsx_x509_key_digest(const X509 *certificate, unsigned char digest[32]);

/// The chain that a verification has built, from the peer's certificate (0) to the root.
int wsx_x509_chain_count(X509_STORE_CTX *store);
X509 *wsx_x509_chain_at(X509_STORE_CTX *store, int index);

/// Writes the name of the subject or the issuer as RFC 4514 has it.
int wsx_x509_write_name(const X509 *certificate, int issuer, BIO *output);

/// Seconds since 1970 of one end of the validity.
int64_t wsx_x509_validity(const X509 *certificate, int end);

/// Calls `visit` with each subject alternative name: its kind (GEN_DNS, GEN_IPADD, GEN_URI) and its bytes.
void wsx_x509_visit_names(const X509 *certificate, void *state,
                          void (*visit)(void *state, int kind, const unsigned char *bytes, int count));

/// The certificate that the peer has shown, retained, or NULL.
static inline X509 *wsx_ssl_peer_certificate(const SSL *ssl) { return SSL_get1_peer_certificate(ssl); }

/// The last alert that OpenSSL sent or received on this thread, or NULL. Reading it forgets it.
const char *wsx_tls_take_alert(int *was_received);

/// Why the last call of OpenSSL on this thread failed (SSL_R_...), or 0.
int wsx_tls_last_reason(void);

/// A reason (SSL_R_...) in a few English words, or NULL.
const char *wsx_tls_reason_text(int reason);

/// Makes a server's SSL_CTX report its alerts to `wsx_tls_take_alert`.
void wsx_ssl_ctx_watch_alerts(SSL_CTX *context);

// zlib's macros. Window bits are those of RFC 7692 (8 to 15); raw streams without header.
int wsx_deflate_init(z_stream *stream, int level, int window_bits, int memory_level);
int wsx_inflate_init(z_stream *stream, int window_bits);

// libuv handles as opaque memory, so that Swift never depends on their layout.
static inline uv_handle_t *wsx_uv_handle(void *handle) { return (uv_handle_t *)handle; }

/// The number of the wake eventfd that libwebsockets' libuv plugin polls in a fresh loop, or -1.
/// Only valid directly after `lws_create_context` with EXPLICIT_VHOSTS, when it is the only
/// UV_POLL handle there is.
int wsx_uv_only_poll_descriptor(uv_loop_t *loop);

/// Fills memory from the kernel's CSPRNG. Never fails: the kernel's pool is ready long before any socket is.
void wsx_random_bytes(void *memory, size_t count);

/// `accept4` with both flags, non-blocking and close-on-exec.
int wsx_accept(int listener);

/// Whether the descriptor is a socket that listens.
int wsx_is_listening(int descriptor);

/// Lets a server's socket share its port with others (SO_REUSEPORT).
int wsx_share_port(int descriptor);

/// Fills in a unix address; a leading '@' means an abstract name. Returns its length, or 0 when it is too long.
socklen_t wsx_unix_address(struct sockaddr_un *address, const char *path);

/// The number of a zone of IPv6 addresses (RFC 4007 §11), which is an interface's name or number; 0 when there is none.
unsigned int wsx_zone_number(const char *zone);

/// Connects a socket to an IP address (4 or 16 bytes, with the number of its zone, port in host order) or to a Unix path, `@` in front for an abstract
/// name. The result is that of connect(2).
int wsx_connect_ip(int descriptor, const unsigned char *address, size_t count, unsigned int zone, int port);
int wsx_connect_unix(int descriptor, const char *path, size_t count);

/// A non-blocking stream socket, close-on-exec; over TCP without Nagle's delay.
int wsx_stream_socket(int family);

/// Takes the pending error of a socket (SO_ERROR); 0 when there is none.
int wsx_socket_error(int descriptor);

/// Why no socket can be opened now (EMFILE, ENFILE, ENOBUFS, ENOMEM); 0 when one can.
int wsx_socket_shortage(void);

/// Why nothing can be sent to an IP address (EHOSTUNREACH, ENETUNREACH, EACCES, EINVAL, ...); 0 when something can.
int wsx_route_problem(const unsigned char *address, size_t count, int port);

/// Whether the peer's stream is over: its FIN or RST has been read, or TLS's own end. Takes nothing from the socket.
int wsx_stream_has_ended(struct lws *wsi);

/// What came of a look-up of a name's ASCII form.
enum wsx_idn_status {
    WSX_IDN_OK,
    WSX_IDN_NO_LIBRARY,
    WSX_IDN_REFUSED,
};

/// Writes a name that is not ASCII as it stands in the DNS (RFC 5891, UTS 46 without transitional processing), with the
/// library `file`, which is loaded when it is needed and not linked. `why` gets libidn2's own, static text.
enum wsx_idn_status wsx_idn_lookup(const char *file, const char *name, char *ascii, size_t room, const char **why);

/// Names the calling thread for debuggers; cut at 15 bytes.
void wsx_set_thread_name(const char *name);

/// Handles of a loop that are not closing, for the tests and the teardown.
int wsx_uv_open_handle_count(uv_loop_t *loop);

#endif
