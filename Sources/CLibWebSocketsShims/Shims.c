//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#define _GNU_SOURCE

#include "CLibWebSocketsShims.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/sha.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const struct lws_ext_options deflate_options[] = {
    {"server_no_context_takeover", EXTARG_NONE},
    {"client_no_context_takeover", EXTARG_NONE},
    {"server_max_window_bits", EXTARG_OPT_DEC},
    {"client_max_window_bits", EXTARG_OPT_DEC},
    {NULL, 0},
};

// The parameters themselves are negotiated in Swift, from the header text. This answers
// libwebsockets' questions so that it lets the extension be active, and nothing more.
static int deflate_stub(struct lws_context *context, const struct lws_extension *extension, struct lws *wsi,
                        enum lws_extension_callback_reasons reason, void *user, void *in, size_t length) {
    (void)context;
    (void)extension;
    (void)wsi;
    (void)length;
    switch ((int)reason) {
    case LWS_EXT_CB_CONSTRUCT:
    case LWS_EXT_CB_CLIENT_CONSTRUCT:
        *(void **)user = NULL;
        *(const struct lws_ext_options **)in = deflate_options;
        return 0;
    default:
        return 0;
    }
}

static const struct lws_extension extensions[2] = {
    {"permessage-deflate", deflate_stub, "permessage-deflate"},
    {NULL, NULL, NULL},
};

const struct lws_extension *wsx_lws_extension_table(void) { return extensions; }

int wsx_lws_pretend_readable(struct lws_context *context, struct lws *wsi) {
    struct lws_pollfd descriptor;
    memset(&descriptor, 0, sizeof descriptor);
    descriptor.fd = lws_get_socket_fd(wsi);
    descriptor.events = LWS_POLLIN;
    descriptor.revents = LWS_POLLIN;
    return lws_service_fd(context, &descriptor);
}

struct lws *wsx_lws_adopt(struct lws_vhost *vhost, int descriptor, bool secure) {
    lws_sock_file_fd_type socket;
    memset(&socket, 0, sizeof socket);
    socket.sockfd = descriptor;
    return lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_SOCKET | (secure ? LWS_ADOPT_ALLOW_SSL : 0), socket, "wsx", NULL);
}

void wsx_lws_let_go(struct lws_context *context, struct lws *wsi) {
    lws_rx_flow_control(wsi, 1);
    if (wsx_lws_pretend_readable(context, wsi) != 0) return;
    // A server would have the context's time to say what it wants.
    lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
}

static ssize_t send_plain(int descriptor, const char *bytes, size_t count) {
    size_t done = 0;
    while (done < count) {
        const ssize_t sent = send(descriptor, bytes + done, count - done, MSG_NOSIGNAL);
        if (sent >= 0) {
            done += (size_t)sent;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return (ssize_t)done;
}

static ssize_t send_secure(SSL *ssl, const char *bytes, size_t count) {
    size_t done = 0;
    while (done < count) {
        const size_t rest = count - done;
        ERR_clear_error();
        const int sent = SSL_write(ssl, bytes + done, rest > INT_MAX ? INT_MAX : (int)rest);
        if (sent > 0) {
            done += (size_t)sent;
            continue;
        }
        const int error = SSL_get_error(ssl, sent);
        if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) break;
        return -1;
    }
    return (ssize_t)done;
}

ssize_t wsx_lws_send(struct lws *wsi, const void *bytes, size_t count) {
    SSL *ssl = lws_get_ssl(wsi);
    return ssl ? send_secure(ssl, bytes, count) : send_plain(lws_get_socket_fd(wsi), bytes, count);
}

void wsx_lws_finish_sending(struct lws *wsi) {
    SSL *ssl = lws_get_ssl(wsi);
    if (ssl) {
        ERR_clear_error();
        SSL_shutdown(ssl);
    }
    shutdown(lws_get_socket_fd(wsi), SHUT_WR);
}

bool wsx_lws_wants_write(const uv_loop_t *loop, struct lws *wsi) {
    int descriptor = lws_get_socket_fd(wsi);
    if (descriptor < 0 || (unsigned int)descriptor >= loop->nwatchers) return false;
    const uv__io_t *watcher = loop->watchers[descriptor];
    return watcher && (watcher->pevents & POLLOUT) != 0;
}

int wsx_lws_pretend_writable(struct lws_context *context, struct lws *wsi) {
    struct lws_pollfd descriptor;
    memset(&descriptor, 0, sizeof descriptor);
    descriptor.fd = lws_get_socket_fd(wsi);
    descriptor.events = LWS_POLLOUT;
    descriptor.revents = LWS_POLLOUT;
    return lws_service_fd(context, &descriptor);
}

void wsx_lws_kill(struct lws *wsi) {
    struct lws_pollfd descriptor;
    memset(&descriptor, 0, sizeof descriptor);
    descriptor.fd = lws_get_socket_fd(wsi);
    descriptor.revents = LWS_POLLHUP;
    // A hangup is what libwebsockets takes for final. It does not know the descriptor before the connection begins.
    if (descriptor.fd >= 0 && lws_service_fd(lws_get_context(wsi), &descriptor) == 1) return;
    wsx_lws_end(wsi);
}

static void attached_turn(lws_sorted_usec_list_t *turn) {
    struct wsx_attachment *attachment = lws_container_of(turn, struct wsx_attachment, turn);
    attachment->on_turn(attachment->owner);
}

static int attached_state(lws_state_manager_t *manager, lws_state_notify_link_t *link, int current, int target) {
    (void)manager;
    (void)current;
    // The first thing that lws_context_destroy does.
    if (target == LWS_SYSTATE_POLICY_INVALID) {
        struct wsx_attachment *attachment = lws_container_of(link, struct wsx_attachment, leaving);
        attachment->on_leaving(attachment->owner);
    }
    return 0;
}

void wsx_attachment_begin(struct lws_context *context, struct wsx_attachment *attachment) {
    attachment->leaving.notify_cb = attached_state;
    attachment->leaving.name = "wsx";
    lws_state_reg_notifier(lws_system_get_state_manager(context), &attachment->leaving);
}

void wsx_attachment_end(struct lws_context *context, struct wsx_attachment *attachment) {
    wsx_attachment_schedule(context, attachment, -1);
    lws_state_reg_deregister(&attachment->leaving);
}

void wsx_attachment_schedule(struct lws_context *context, struct wsx_attachment *attachment, int64_t delay) {
    lws_sul_schedule(context, 0, &attachment->turn, attached_turn,
                     delay < 0 ? (lws_usec_t)LWS_SET_TIMER_USEC_CANCEL : (lws_usec_t)delay);
}

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

enum { KEPT_SESSIONS = 8 };

struct wsx_tls_identity {
    int is_address, resumes;
    char name[256];
    // Loops share the sessions.
    pthread_mutex_t lock;
    int session_count;
    SSL_SESSION *sessions[KEPT_SESSIONS];
    // Seconds by which the clock is ahead.
    int64_t advance;
};

// When the chain ends with which a session was verified, as seconds since 1970; OpenSSL copies it with the session, and
// from one that is resumed to those that its server gives out next.
static int chain_end_index;
static pthread_once_t chain_end_once = PTHREAD_ONCE_INIT;

static void make_chain_end_index(void) { chain_end_index = SSL_SESSION_get_ex_new_index(0, NULL, NULL, NULL, NULL); }

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
    struct wsx_tls_identity *identity = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION *copy;
    if (!identity || !SSL_SESSION_is_resumable(session)) return 0;
    if (!SSL_session_reused(ssl)) SSL_SESSION_set_ex_data(session, chain_end_index, (void *)chain_end(ssl));
    // A copy, because OpenSSL marks the session of a connection that ends without close_notify as not resumable.
    copy = SSL_SESSION_dup(session);
    if (!copy) return 0;
    pthread_mutex_lock(&identity->lock);
    if (identity->session_count == KEPT_SESSIONS) {
        SSL_SESSION_free(identity->sessions[0]);
        memmove(identity->sessions, identity->sessions + 1, (KEPT_SESSIONS - 1) * sizeof identity->sessions[0]);
        identity->session_count--;
    }
    identity->sessions[identity->session_count++] = copy;
    pthread_mutex_unlock(&identity->lock);
    return 0;
}

static void offer_session(SSL *ssl, struct wsx_tls_identity *identity) {
    SSL_SESSION *session = NULL;
    pthread_mutex_lock(&identity->lock);
    // What was verified with a chain that has ended is to be verified again (RFC 8446 §4.6.1).
    const int64_t now = (int64_t)time(NULL) + identity->advance;
    while (identity->session_count > 0 &&
           (intptr_t)SSL_SESSION_get_ex_data(identity->sessions[identity->session_count - 1], chain_end_index) <= now)
        SSL_SESSION_free(identity->sessions[--identity->session_count]);
    if (identity->session_count > 0) {
        SSL_SESSION *last = identity->sessions[identity->session_count - 1];
        if (SSL_SESSION_get_protocol_version(last) >= TLS1_3_VERSION) {
            // Once only, so that connections cannot be linked by it (RFC 8446 appendix C.4).
            session = last;
            identity->session_count--;
        } else {
            session = SSL_SESSION_dup(last);
        }
    }
    pthread_mutex_unlock(&identity->lock);
    if (!session) return;
    SSL_set_session(ssl, session);
    SSL_SESSION_free(session);
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

struct wsx_tls_identity *wsx_tls_identity_create(const char *name, int is_address, int resumes) {
    struct wsx_tls_identity *identity = calloc(1, sizeof *identity);
    if (!identity) return NULL;
    pthread_once(&chain_end_once, make_chain_end_index);
    identity->is_address = is_address;
    identity->resumes = resumes;
    strncpy(identity->name, name, sizeof identity->name - 1);
    pthread_mutex_init(&identity->lock, NULL);
    return identity;
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
    SSL_CTX_set_session_cache_mode(
        context, identity->resumes ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
    if (identity->resumes) SSL_CTX_sess_set_new_cb(context, keep_session);
    return 1;
}

void wsx_tls_client_begin(SSL *ssl, int verifies, void *verifier) {
    static const unsigned char protocols[] = "\x08http/1.1";
    struct wsx_tls_identity *identity = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    // libwebsockets has begun to accept on it.
    SSL_clear(ssl);
    // Before the method, because it sets that to the context's.
    if (identity->resumes) offer_session(ssl, identity);
    SSL_set_ssl_method(ssl, TLS_client_method());
    SSL_set_connect_state(ssl);
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
    pthread_mutex_lock(&identity->lock);
    identity->advance += seconds;
    pthread_mutex_unlock(&identity->lock);
}

void wsx_tls_identity_free(struct wsx_tls_identity *identity) {
    for (int index = 0; index < identity->session_count; index++) SSL_SESSION_free(identity->sessions[index]);
    pthread_mutex_destroy(&identity->lock);
    free(identity);
}

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

// Where an SSL keeps how many records without data came in a row.
static int records_index;
static pthread_once_t records_once = PTHREAD_ONCE_INIT;
static void make_records_index(void) { records_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL); }

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
        if (first != SSL3_MT_KEY_UPDATE && first != SSL3_MT_NEWSESSION_TICKET && first != SSL3_MT_HELLO_REQUEST) return;
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

int wsx_deflate_init(z_stream *stream, int level, int window_bits, int memory_level) {
    memset(stream, 0, sizeof *stream);
    return deflateInit2(stream, level, Z_DEFLATED, -window_bits, memory_level, Z_DEFAULT_STRATEGY);
}

int wsx_inflate_init(z_stream *stream, int window_bits) {
    memset(stream, 0, sizeof *stream);
    // A larger window than negotiated inflates the same stream; zlib has no raw window of 8 bits.
    return inflateInit2(stream, -(window_bits < 9 ? 9 : window_bits));
}

struct walk_result {
    int descriptor, polls, open;
};

static void walk(uv_handle_t *handle, void *argument) {
    struct walk_result *result = argument;
    uv_os_fd_t descriptor;
    if (uv_is_closing(handle)) return;
    result->open++;
    if (handle->type != UV_POLL) return;
    result->polls++;
    if (uv_fileno(handle, &descriptor) == 0) result->descriptor = (int)descriptor;
}

int wsx_uv_only_poll_descriptor(uv_loop_t *loop) {
    struct walk_result result = {-1, 0, 0};
    uv_walk(loop, walk, &result);
    return result.polls == 1 ? result.descriptor : -1;
}

int wsx_uv_open_handle_count(uv_loop_t *loop) {
    struct walk_result result = {-1, 0, 0};
    uv_walk(loop, walk, &result);
    return result.open;
}

void wsx_random_bytes(void *memory, size_t count) {
    unsigned char *at = memory;
    while (count > 0) {
        ssize_t got = getrandom(at, count, 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            abort();
        }
        at += got;
        count -= (size_t)got;
    }
}

void wsx_set_thread_name(const char *name) {
    char short_name[16];
    strncpy(short_name, name, sizeof short_name - 1);
    short_name[sizeof short_name - 1] = 0;
    pthread_setname_np(pthread_self(), short_name);
}

void wsx_ssl_ctx_clear_servername_callback(SSL_CTX *context) {
    SSL_CTX_set_tlsext_servername_callback(context, NULL);
}

int wsx_accept(int listener) { return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC); }

#define STRING_OF_VALUE(value) #value
#define STRING_OF(macro) STRING_OF_VALUE(macro)

const char *wsx_uv_build_version(void) {
    return STRING_OF(UV_VERSION_MAJOR) "." STRING_OF(UV_VERSION_MINOR) "." STRING_OF(UV_VERSION_PATCH) UV_VERSION_SUFFIX;
}

int wsx_stream_has_ended(struct lws *wsi) {
    char byte;
    SSL *ssl = lws_get_ssl(wsi);
    ssize_t count;
    struct pollfd state = {.fd = lws_get_socket_fd(wsi), .events = 0};
    // A reset also ends it when there is still something to read: libwebsockets does not read it then.
    if (poll(&state, 1, 0) == 1 && (state.revents & (POLLHUP | POLLERR))) return 1;
    if (ssl && (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN)) return 1;
    count = recv(lws_get_socket_fd(wsi), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
}

unsigned int wsx_zone_number(const char *zone) {
    char *end;
    const unsigned long number = strtoul(zone, &end, 10);
    return end != zone && *end == 0 && number <= UINT_MAX ? (unsigned int)number : if_nametoindex(zone);
}

int wsx_connect_ip(int descriptor, const unsigned char *address, size_t count, unsigned int zone, int port) {
    if (count == 4) {
        struct sockaddr_in name;
        memset(&name, 0, sizeof name);
        name.sin_family = AF_INET;
        name.sin_port = htons((uint16_t)port);
        memcpy(&name.sin_addr, address, count);
        return connect(descriptor, (struct sockaddr *)&name, sizeof name);
    } else {
        struct sockaddr_in6 name;
        memset(&name, 0, sizeof name);
        name.sin6_family = AF_INET6;
        name.sin6_port = htons((uint16_t)port);
        name.sin6_scope_id = zone;
        memcpy(&name.sin6_addr, address, count);
        return connect(descriptor, (struct sockaddr *)&name, sizeof name);
    }
}

int wsx_connect_unix(int descriptor, const char *path, size_t count) {
    struct sockaddr_un name;
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + count);
    memset(&name, 0, sizeof name);
    if (count >= sizeof name.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    name.sun_family = AF_UNIX;
    memcpy(name.sun_path, path, count);
    // An abstract name ends with its length, a path with its zero.
    if (path[0] == '@') name.sun_path[0] = 0;
    else length++;
    return connect(descriptor, (struct sockaddr *)&name, length);
}

int wsx_stream_socket(int family) {
    const int descriptor = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    if (descriptor >= 0 && family != AF_UNIX) setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return descriptor;
}

int wsx_socket_error(int descriptor) {
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : 0;
}

int wsx_socket_shortage(void) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return errno;
    close(descriptor);
    return 0;
}

int wsx_route_problem(const unsigned char *address, size_t count, int port) {
    int descriptor = socket(count == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return 0;
    // Looks for the route, and sends nothing.
    int problem = wsx_connect_ip(descriptor, address, count, 0, port) == 0 ? 0 : errno;
    close(descriptor);
    return problem;
}

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

int wsx_is_listening(int descriptor) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value;
}

int wsx_share_port(int descriptor) {
    const int one = 1;
    return setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
}

socklen_t wsx_unix_address(struct sockaddr_un *address, const char *path) {
    const size_t count = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (count == 0 || count >= sizeof address->sun_path) return 0;
    memcpy(address->sun_path, path, count);
    if (path[0] != '@') return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + count + 1);
    address->sun_path[0] = 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + count);
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

enum wsx_idn_status wsx_idn_lookup(const char *file, const char *name, char *ascii, size_t room, const char **why) {
    // Never closed: the next name comes soon, and dlopen only counts then.
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return WSX_IDN_NO_LIBRARY;
    // Without idn2.h, which only libidn2-dev has: these have been the same since 2.0.
    int (*lookup)(const uint8_t *, uint8_t **, int) = (int (*)(const uint8_t *, uint8_t **, int))dlsym(library, "idn2_lookup_u8");
    const char *(*text)(int) = (const char *(*)(int))dlsym(library, "idn2_strerror");
    if (!lookup || !text)
        return WSX_IDN_NO_LIBRARY;
    enum { NFC_INPUT = 1, NONTRANSITIONAL = 8, TOO_BIG = -205 };
    uint8_t *result = NULL;
    int status = lookup((const uint8_t *)name, &result, NFC_INPUT | NONTRANSITIONAL);
    if (status == 0 && strlen((const char *)result) >= room)
        status = TOO_BIG;
    if (status == 0)
        strcpy(ascii, (const char *)result);
    else
        *why = text(status);
    // libidn2 takes it from malloc.
    free(result);
    return status == 0 ? WSX_IDN_OK : WSX_IDN_REFUSED;
}
