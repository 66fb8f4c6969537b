//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#include "HostContext.h"

#include <libwebsockets.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct host {
    struct lws_context *context;
    struct lws_vhost *vhost;
    pthread_t thread;
    pthread_mutex_t lock;
    bool is_running;
    atomic_bool must_stop, must_destroy;
    atomic_int wakes, messages;
    atomic_bool saw_strangers;
};

typedef struct {
    size_t length;
    unsigned char data[LWS_PRE + 1024];
} echo_session;

static int echo(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    echo_session *session = user;
    struct host *host = lws_context_user(lws_get_context(wsi));
    switch (reason) {
    case LWS_CALLBACK_EVENT_WAIT_CANCELLED: atomic_fetch_add(&host->wakes, 1); break;
    case LWS_CALLBACK_OPENSSL_PERFORM_SERVER_CERT_VERIFICATION:
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR: atomic_store(&host->saw_strangers, true); break;
    case LWS_CALLBACK_RECEIVE:
        if (length > 1024) return -1;
        atomic_fetch_add(&host->messages, 1);
        memcpy(session->data + LWS_PRE, in, length);
        session->length = length;
        lws_callback_on_writable(wsi);
        break;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        if (session->length == 0) break;
        if (lws_write(wsi, session->data + LWS_PRE, session->length, LWS_WRITE_TEXT) < (int)session->length) return -1;
        session->length = 0;
        break;
    default: break;
    }
    return 0;
}

static const struct lws_protocols protocols[] = {
    {"echo", echo, sizeof(echo_session), 0, 0, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

struct host *host_create(unsigned int service_buffer) {
    struct host *host = calloc(1, sizeof *host);
    struct lws_context_creation_info info;
    lws_set_log_level(LLL_ERR, NULL);
    memset(&info, 0, sizeof info);
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    info.user = host;
    info.pt_serv_buf_size = service_buffer;
    // Each close looks through a table of this size, and a test has a few.
    info.fd_limit_per_thread = 256;
    pthread_mutex_init(&host->lock, NULL);
    host->context = lws_create_context(&info);
    if (!host->context) abort();
    info.port = 0;
    info.iface = "127.0.0.1";
    info.protocols = protocols;
    host->vhost = lws_create_vhost(host->context, &info);
    if (!host->vhost) abort();
    return host;
}

struct lws_context *host_context(struct host *host) { return host->context; }

int host_port(const struct host *host) { return lws_get_vhost_listen_port(host->vhost); }

static void destroy_now(struct host *host) {
    // Whoever asked for it is done with the context.
    pthread_mutex_lock(&host->lock);
    pthread_mutex_unlock(&host->lock);
    lws_context_destroy(host->context);
    host->context = NULL;
}

static void *service(void *argument) {
    struct host *host = argument;
    while (!host->must_stop && !host->must_destroy && lws_service(host->context, 0) >= 0) continue;
    if (host->must_destroy) destroy_now(host);
    return NULL;
}

void host_start(struct host *host) {
    host->is_running = true;
    if (pthread_create(&host->thread, NULL, service, host)) abort();
}

static void end(struct host *host, atomic_bool *flag) {
    pthread_mutex_lock(&host->lock);
    atomic_store(flag, true);
    lws_cancel_service(host->context);
    pthread_mutex_unlock(&host->lock);
    pthread_join(host->thread, NULL);
    host->is_running = false;
}

void host_stop(struct host *host) {
    if (host->is_running) end(host, &host->must_stop);
}

void host_destroy_context(struct host *host) {
    if (host->is_running) {
        end(host, &host->must_destroy);
    } else if (host->context) {
        destroy_now(host);
    }
}

void host_free(struct host *host) {
    pthread_mutex_destroy(&host->lock);
    free(host);
}

int host_wakes(const struct host *host) { return atomic_load(&host->wakes); }
int host_messages(const struct host *host) { return atomic_load(&host->messages); }
bool host_saw_strangers(const struct host *host) { return atomic_load(&host->saw_strangers); }
