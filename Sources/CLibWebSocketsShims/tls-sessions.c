//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// TLS sessions on both sides: those that servers gave to clients, and the keys with which a server encrypts the tickets that
// it gives out (RFC 5077, RFC 8446 §4.6.1). OpenSSL makes keys for each SSL_CTX, so that a ticket would be good on the loop
// only that gave it out.

#define _GNU_SOURCE

#include "wsx_system.h"
#include "wsx_tls.h"
#include "wsx_tls_sessions.h"

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Clients.

enum { KEPT_SESSIONS = 8 };

struct wsx_tls_sessions {
    // Loops share them: held for each look at what follows.
    pthread_mutex_t lock;
    int count;
    SSL_SESSION *kept[KEPT_SESSIONS];
    // Seconds by which the clock is ahead.
    int64_t advance;
};

// Where an SSL_CTX keeps its sessions.
static int sessions_index;

// When the chain ends with which a session was verified, as seconds since 1970; OpenSSL copies it with the session, and
// from one that is resumed to those that its server gives out next.
static int chain_end_index;
static pthread_once_t clients_once = PTHREAD_ONCE_INIT;

static void make_client_indices(void) {
    sessions_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    chain_end_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

static intptr_t chain_end(const SSL *ssl) {
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    intptr_t end = INTPTR_MAX;
    for (int index = 0; chain && index < sk_X509_num(chain); index++) {
        const int64_t one = wsx_x509_validity(sk_X509_value(chain, index), 1);
        if (one < end) end = (intptr_t)one;
    }
    return end;
}

static int keep_session(SSL *ssl, SSL_SESSION *session) {
    struct wsx_tls_sessions *sessions = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), sessions_index);
    SSL_SESSION *copy;
    if (!sessions || !SSL_SESSION_is_resumable(session)) return 0;
    if (!SSL_session_reused(ssl)) SSL_SESSION_set_ex_data(session, chain_end_index, (void *)chain_end(ssl));
    // A copy, because OpenSSL marks the session of a connection that ends without close_notify as not resumable.
    copy = SSL_SESSION_dup(session);
    if (!copy) return 0;
    pthread_mutex_lock(&sessions->lock);
    if (sessions->count == KEPT_SESSIONS) {
        SSL_SESSION_free(sessions->kept[0]);
        memmove(sessions->kept, sessions->kept + 1, (KEPT_SESSIONS - 1) * sizeof sessions->kept[0]);
        sessions->count--;
    }
    sessions->kept[sessions->count++] = copy;
    pthread_mutex_unlock(&sessions->lock);
    return 0;
}

void wsx_tls_sessions_offer(struct wsx_tls_sessions *sessions, SSL *ssl) {
    SSL_SESSION *session = NULL;
    pthread_mutex_lock(&sessions->lock);
    // What was verified with a chain that has ended is to be verified again (RFC 8446 §4.6.1).
    const int64_t now = (int64_t)time(NULL) + sessions->advance;
    while (sessions->count > 0 &&
           (intptr_t)SSL_SESSION_get_ex_data(sessions->kept[sessions->count - 1], chain_end_index) <= now)
        SSL_SESSION_free(sessions->kept[--sessions->count]);
    if (sessions->count > 0) {
        SSL_SESSION *last = sessions->kept[sessions->count - 1];
        if (SSL_SESSION_get_protocol_version(last) >= TLS1_3_VERSION) {
            // Once only, so that connections cannot be linked by it (RFC 8446 appendix C.4).
            session = last;
            sessions->count--;
        } else {
            session = SSL_SESSION_dup(last);
        }
    }
    pthread_mutex_unlock(&sessions->lock);
    if (!session) return;
    SSL_set_session(ssl, session);
    SSL_SESSION_free(session);
}

struct wsx_tls_sessions *wsx_tls_sessions_new(void) {
    struct wsx_tls_sessions *sessions = calloc(1, sizeof *sessions);
    pthread_once(&clients_once, make_client_indices);
    if (sessions) pthread_mutex_init(&sessions->lock, NULL);
    return sessions;
}

void wsx_tls_sessions_free(struct wsx_tls_sessions *sessions) {
    for (int index = 0; index < sessions->count; index++) SSL_SESSION_free(sessions->kept[index]);
    pthread_mutex_destroy(&sessions->lock);
    free(sessions);
}

int wsx_ssl_ctx_keep_sessions(SSL_CTX *context, struct wsx_tls_sessions *sessions) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    return SSL_CTX_set_ex_data(context, sessions_index, sessions);
}

void wsx_tls_sessions_advance(struct wsx_tls_sessions *sessions, int64_t seconds) {
    pthread_mutex_lock(&sessions->lock);
    sessions->advance += seconds;
    pthread_mutex_unlock(&sessions->lock);
}

// Servers.

struct ticket_key {
    unsigned char name[16];
    unsigned char mac[32];
    unsigned char cipher[32];
    int64_t made;
};

struct wsx_ticket_keys {
    // The SSL_CTXs of several loops share them.
    pthread_mutex_t lock;
    // The present one, and the one before it: with it tickets are read that were given out just before the change.
    struct ticket_key keys[2];
    int count;
    int64_t advance;
};

static int context_index;
static pthread_once_t context_index_once = PTHREAD_ONCE_INIT;

static void make_context_index(void) { context_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL); }

struct wsx_ticket_keys *wsx_ticket_keys_new(void) {
    struct wsx_ticket_keys *keys = calloc(1, sizeof *keys);
    if (keys) pthread_mutex_init(&keys->lock, NULL);
    return keys;
}

void wsx_ticket_keys_free(struct wsx_ticket_keys *keys) {
    OPENSSL_cleanse(keys->keys, sizeof keys->keys);
    pthread_mutex_destroy(&keys->lock);
    free(keys);
}

void wsx_ticket_keys_advance(struct wsx_ticket_keys *keys, int64_t seconds) {
    pthread_mutex_lock(&keys->lock);
    keys->advance += seconds;
    pthread_mutex_unlock(&keys->lock);
}

// Makes a new key when the present one is old enough. The lock is held.
static void rotate(struct wsx_ticket_keys *keys) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    const int64_t now = (int64_t)time.tv_sec + keys->advance;
    if (keys->count > 0 && now - keys->keys[0].made < WSX_TICKET_KEY_SECONDS) return;
    // After a pause of two lives no ticket of the present one is good either.
    const int keeps = keys->count > 0 && now - keys->keys[0].made < 2 * WSX_TICKET_KEY_SECONDS;
    if (keeps) keys->keys[1] = keys->keys[0];
    keys->count = keeps ? 2 : 1;
    struct ticket_key *key = &keys->keys[0];
    wsx_random_bytes(key, sizeof *key);
    key->made = now;
}

static int use_ticket_key(SSL *ssl, unsigned char *name, unsigned char *vector, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                          int encrypts) {
    struct wsx_ticket_keys *keys = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), context_index);
    struct ticket_key key;
    int found = 0;
    pthread_mutex_lock(&keys->lock);
    rotate(keys);
    while (found < keys->count && !encrypts && memcmp(keys->keys[found].name, name, sizeof key.name) != 0) found++;
    const int is_known = found < keys->count;
    if (is_known) key = keys->keys[found];
    pthread_mutex_unlock(&keys->lock);
    // A full handshake.
    if (!is_known) return 0;
    if (encrypts) memcpy(name, key.name, sizeof key.name);
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac, sizeof key.mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    int done = EVP_MAC_CTX_set_params(mac, parameters) == 1;
    if (encrypts) {
        done = done && RAND_bytes(vector, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
               EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, vector) == 1;
    } else {
        done = done && EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, vector) == 1;
    }
    OPENSSL_cleanse(&key, sizeof key);
    if (!done) return -1;
    // With 2 a ticket is exchanged for a new one: for one of the new key, and under TLS 1.3 because each is used once.
    return !encrypts && (found > 0 || SSL_version(ssl) >= TLS1_3_VERSION) ? 2 : 1;
}

int wsx_ssl_ctx_share_tickets(SSL_CTX *context, struct wsx_ticket_keys *keys) {
    static const unsigned char name[] = "wsx";
    pthread_once(&context_index_once, make_context_index);
    if (SSL_CTX_set_ex_data(context, context_index, keys) != 1) return 0;
    // A session belongs to all of a server's SSL_CTXs; of another server's it cannot be, which has other keys.
    if (SSL_CTX_set_session_id_context(context, name, sizeof name - 1) != 1) return 0;
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(context, use_ticket_key) == 1;
}
