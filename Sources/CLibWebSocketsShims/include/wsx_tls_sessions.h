//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// TLS sessions that are resumed: what clients keep, and what servers encrypt tickets with.

#ifndef WSX_TLS_SESSIONS_H
#define WSX_TLS_SESSIONS_H

#include <openssl/ssl.h>
#include <stdint.h>

/// The sessions that servers gave to clients of one identity. Loops share them, under a lock of their own.
struct wsx_tls_sessions;
/// NULL when there is no memory.
struct wsx_tls_sessions *wsx_tls_sessions_new(void);
/// Only after the SSL_CTXs and their SSLs are gone.
void wsx_tls_sessions_free(struct wsx_tls_sessions *sessions);
/// Makes an SSL_CTX keep them. 1 when it took.
int wsx_ssl_ctx_keep_sessions(SSL_CTX *context, struct wsx_tls_sessions *sessions);
/// Offers the last one that is still good to a server.
void wsx_tls_sessions_offer(struct wsx_tls_sessions *sessions, SSL *ssl);
/// Lets time pass for them, for tests.
void wsx_tls_sessions_advance(struct wsx_tls_sessions *sessions, int64_t seconds);

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

#endif
