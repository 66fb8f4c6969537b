//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#define _GNU_SOURCE

#include "wsx_tls.h"
#include "wsx_tls_sessions.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

// When a process ends, OpenSSL takes down what threads in the midst of a handshake stand on, and loops run until the
// very end: such a process died of a segmentation fault. The first initialisation of OpenSSL in a process decides, and
// nothing of this library runs earlier than this.
__attribute__((constructor)) static void keep_openssl_until_the_end(void) {
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

// Alerts and errors.

static _Thread_local const char *last_alert;
static _Thread_local int last_alert_received;

static void note_alert(const SSL *ssl, int where, int value) {
    (void)ssl;
    if (!(where & SSL_CB_ALERT)) return;
    // close_notify is how TLS ends, not how it fails.
    if ((value & 0xFF) == SSL_AD_CLOSE_NOTIFY) return;
    // OpenSSL 3.0 has no name for this one.
    last_alert =
        (value & 0xFF) == SSL_AD_CERTIFICATE_REQUIRED ? "certificate required" : SSL_alert_desc_string_long(value);
    last_alert_received = (where & SSL_CB_READ) != 0;
}

void wsx_ssl_ctx_watch_alerts(SSL_CTX *context) { SSL_CTX_set_info_callback(context, note_alert); }

const char *wsx_tls_take_alert(int *was_received) {
    const char *alert = last_alert;
    if (was_received) *was_received = last_alert_received;
    last_alert = NULL;
    return alert;
}

int wsx_tls_last_reason(void) {
    int reason = ERR_GET_REASON(ERR_peek_last_error());
    // Below that are reasons which say only what part of OpenSSL it was.
    if (reason < SSL_R_APP_DATA_IN_HANDSHAKE) reason = ERR_GET_REASON(ERR_peek_error());
    return reason;
}

const char *wsx_tls_reason_text(int reason) { return ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, reason)); }

// What a peer may send without data.

// Where an SSL keeps how many records without data came in a row.
static int records_index;
static pthread_once_t records_once = PTHREAD_ONCE_INIT;
static void make_records_index(void) { records_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL); }

// Whether the peer has finished a handshake: the next is a renegotiation, which OpenSSL refuses with a warning before it
// reads on.
static int was_finished(const SSL *ssl) {
    unsigned char unused[EVP_MAX_MD_SIZE];
    return SSL_get_peer_finished(ssl, unused, sizeof unused) > 0;
}

// OpenSSL shows each record and each handshake message that it reads.
static void count_records(int is_written, int version, int type, const void *bytes, size_t count, SSL *ssl, void *unused) {
    (void)version;
    (void)unused;
    if (is_written || count == 0) return;
    const unsigned char first = *(const unsigned char *)bytes;
    switch (type) {
    case SSL3_RT_HEADER:
        // In TLS 1.3 every record claims to hold data; what it holds is told below.
        if (SSL_version(ssl) == TLS1_3_VERSION || first != SSL3_RT_APPLICATION_DATA) return;
        break;
    case SSL3_RT_INNER_CONTENT_TYPE:
        if (first != SSL3_RT_APPLICATION_DATA) return;
        break;
    case SSL3_RT_HANDSHAKE: {
        // The others belong to a handshake, which is bounded by itself.
        if (first != SSL3_MT_KEY_UPDATE && first != SSL3_MT_NEWSESSION_TICKET && first != SSL3_MT_HELLO_REQUEST &&
            !(first == SSL3_MT_CLIENT_HELLO && was_finished(ssl)))
            return;
        const intptr_t records = (intptr_t)SSL_get_ex_data(ssl, records_index) + 1;
        SSL_set_ex_data(ssl, records_index, (void *)records);
        if (records <= WSX_TLS_MAXIMUM_RECORDS_WITHOUT_DATA) return;
        // OpenSSL now says that the stream is over, and the socket that there is something to read.
        SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        shutdown(SSL_get_fd(ssl), SHUT_RD);
        return;
    }
    default: return;
    }
    if (SSL_get_ex_data(ssl, records_index)) SSL_set_ex_data(ssl, records_index, NULL);
}

int wsx_ssl_was_flooded(const SSL *ssl) {
    pthread_once(&records_once, make_records_index);
    return (intptr_t)SSL_get_ex_data(ssl, records_index) > WSX_TLS_MAXIMUM_RECORDS_WITHOUT_DATA;
}

void wsx_ssl_ctx_set_defaults(SSL_CTX *context) {
    pthread_once(&records_once, make_records_index);
    SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    // On by default: OpenSSL would read on behind a record without data, for as long as the peer sends such.
    SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_msg_callback(context, count_records);
}

// Clients.

struct wsx_tls_identity {
    int is_address;
    char name[256];
    // NULL when none are kept.
    struct wsx_tls_sessions *sessions;
};

struct wsx_tls_identity *wsx_tls_identity_create(const char *name, int is_address, int resumes) {
    struct wsx_tls_identity *identity = calloc(1, sizeof *identity);
    if (!identity) return NULL;
    identity->is_address = is_address;
    strncpy(identity->name, name, sizeof identity->name - 1);
    if (!resumes) return identity;
    identity->sessions = wsx_tls_sessions_new();
    if (identity->sessions) return identity;
    free(identity);
    return NULL;
}

static int note_certificate_request(SSL *ssl, void *identity) {
    SSL_set_app_data(ssl, identity);
    return 1;
}

static int (*verify_certificate)(void *verifier, X509_STORE_CTX *store, int is_valid);

void wsx_tls_set_verifier(int (*verify)(void *, X509_STORE_CTX *, int)) { verify_certificate = verify; }

// Where an SSL keeps who decides about its peer's certificates.
static int verifier_index;
static pthread_once_t verifier_once = PTHREAD_ONCE_INIT;
static void make_verifier_index(void) { verifier_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL); }

static int verify_server(int is_valid, X509_STORE_CTX *store) {
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    return verify_certificate(SSL_get_ex_data(ssl, verifier_index), store, is_valid);
}

int wsx_ssl_ctx_set_client(SSL_CTX *context, SSL_CTX *from, struct wsx_tls_identity *identity) {
    STACK_OF(X509) *chain = NULL;
    X509 *certificate = SSL_CTX_get0_certificate(from);
    pthread_once(&verifier_once, make_verifier_index);
    wsx_ssl_ctx_set_defaults(context);
    SSL_CTX_set_min_proto_version(context, (int)SSL_CTX_get_min_proto_version(from));
    // libwebsockets' own would choose a vhost by the name that the server confirms.
    wsx_ssl_ctx_clear_servername_callback(context);
    SSL_CTX_set1_param(context, SSL_CTX_get0_param(from));
    SSL_CTX_set1_cert_store(context, SSL_CTX_get_cert_store(from));
    if (certificate) {
        SSL_CTX_get0_chain_certs(from, &chain);
        if (SSL_CTX_use_certificate(context, certificate) != 1 || SSL_CTX_set1_chain(context, chain) != 1 ||
            SSL_CTX_use_PrivateKey(context, SSL_CTX_get0_privatekey(from)) != 1)
            return 0;
    }
    SSL_CTX_set_app_data(context, identity);
    SSL_CTX_set_info_callback(context, note_alert);
    SSL_CTX_set_cert_cb(context, note_certificate_request, identity);
    if (identity->sessions) return wsx_ssl_ctx_keep_sessions(context, identity->sessions);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return 1;
}

void wsx_tls_client_begin(SSL *ssl, int verifies, void *verifier) {
    static const unsigned char protocols[] = "\x08http/1.1";
    struct wsx_tls_identity *identity = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    // libwebsockets has begun to accept on it.
    SSL_clear(ssl);
    // Before the method, because it sets that to the context's.
    if (identity->sessions) wsx_tls_sessions_offer(identity->sessions, ssl);
    SSL_set_ssl_method(ssl, TLS_client_method());
    SSL_set_connect_state(ssl);
    // A server may ask for the certificate later (RFC 8446 section 4.6.2), if there is one.
    if (SSL_get_certificate(ssl)) SSL_set_post_handshake_auth(ssl, 1);
    SSL_set_alpn_protos(ssl, protocols, sizeof protocols - 1);
    SSL_set_ex_data(ssl, verifier_index, verifier);
    SSL_set_verify(ssl, SSL_VERIFY_PEER, verify_server);
    if (!identity->is_address) SSL_set_tlsext_host_name(ssl, identity->name);
    if (!verifies) return;
    X509_VERIFY_PARAM *parameters = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(parameters, wsx_x509_host_flags());
    if (identity->is_address) X509_VERIFY_PARAM_set1_ip_asc(parameters, identity->name);
    else X509_VERIFY_PARAM_set1_host(parameters, identity->name, 0);
}

void wsx_tls_client_finish(SSL *ssl) {
    SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
    SSL_set_ex_data(ssl, verifier_index, NULL);
}

void wsx_tls_identity_advance(struct wsx_tls_identity *identity, int64_t seconds) {
    if (identity->sessions) wsx_tls_sessions_advance(identity->sessions, seconds);
}

void wsx_tls_identity_free(struct wsx_tls_identity *identity) {
    if (identity->sessions) wsx_tls_sessions_free(identity->sessions);
    free(identity);
}

// Servers.

int wsx_ssl_use_identity(SSL *ssl, X509 *const *chain, int count, EVP_PKEY *key) {
    STACK_OF(X509) *intermediates = sk_X509_new_null();
    int result = intermediates != NULL;
    for (int index = 1; result && index < count; index++) result = sk_X509_push(intermediates, chain[index]) > 0;
    // Takes references of its own.
    if (result) result = SSL_use_cert_and_key(ssl, chain[0], key, intermediates, 1);
    sk_X509_free(intermediates);
    return result;
}

void wsx_ssl_ask_for_certificate(SSL *ssl, int is_required, X509_STORE *store, X509 *const *authorities, int count) {
    SSL_set_verify(ssl, SSL_VERIFY_PEER | (is_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    SSL_set1_verify_cert_store(ssl, store);
    for (int index = 0; index < count; index++) SSL_add_client_CA(ssl, authorities[index]);
}

void wsx_ssl_ctx_disable_resumption(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
}

void wsx_ssl_ctx_clear_servername_callback(SSL_CTX *context) {
    SSL_CTX_set_tlsext_servername_callback(context, NULL);
}

// Certificates.

int wsx_x509_key_digest(const X509 *certificate, unsigned char digest[32]) {
    unsigned char *bytes = NULL;
    const int count = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &bytes);
    if (count <= 0) return 0;
    SHA256(bytes, (size_t)count, digest);
    OPENSSL_free(bytes);
    return 1;
}

int wsx_x509_chain_count(X509_STORE_CTX *store) {
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(store);
    return chain ? sk_X509_num(chain) : 0;
}

X509 *wsx_x509_chain_at(X509_STORE_CTX *store, int index) {
    return sk_X509_value(X509_STORE_CTX_get0_chain(store), index);
}

int wsx_x509_write_name(const X509 *certificate, int issuer, BIO *output) {
    const X509_NAME *name = issuer ? X509_get_issuer_name(certificate) : X509_get_subject_name(certificate);
    // Characters outside ASCII as UTF-8.
    return X509_NAME_print_ex(output, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
}

int64_t wsx_x509_validity(const X509 *certificate, int end) {
    struct tm time;
    const ASN1_TIME *value = end ? X509_get0_notAfter(certificate) : X509_get0_notBefore(certificate);
    if (!ASN1_TIME_to_tm(value, &time)) return 0;
    return (int64_t)timegm(&time);
}

void wsx_x509_visit_names(const X509 *certificate, void *state,
                          void (*visit)(void *state, int kind, const unsigned char *bytes, int count)) {
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    if (!names) return;
    for (int index = 0; index < sk_GENERAL_NAME_num(names); index++) {
        int kind;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, index), &kind);
        if (kind != GEN_DNS && kind != GEN_IPADD && kind != GEN_URI) continue;
        visit(state, kind, ASN1_STRING_get0_data(value), ASN1_STRING_length(value));
    }
    GENERAL_NAMES_free(names);
}

int wsx_x509_subject(const X509 *certificate, void *text, int room) {
    int count = 0;
    BIO *memory = BIO_new(BIO_s_mem());
    if (!memory) return 0;
    if (X509_NAME_print_ex(memory, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
        count = BIO_read(memory, text, room);
    BIO_free(memory);
    return count > 0 ? count : 0;
}
