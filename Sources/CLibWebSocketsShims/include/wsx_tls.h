//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// OpenSSL: macros, and the settings of clients, servers and certificates.

#ifndef WSX_TLS_H
#define WSX_TLS_H

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdint.h>

static inline const char *wsx_openssl_build_version(void) { return OPENSSL_VERSION_TEXT; }

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

#endif
