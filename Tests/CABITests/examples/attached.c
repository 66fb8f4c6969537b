/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* A program with an lws_context of its own and a thread that services it: an echo protocol as libwebsockets
 * documents it serves, and a pool of ours lives on the same context and the same thread. Main uses the pool.
 *
 *     cc -std=c99 attached.c $(pkg-config --cflags --libs wsx libwebsockets) -lpthread -o attached
 */
#include <libwebsockets.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <wsx.h>

typedef struct {
    size_t length;
    unsigned char data[LWS_PRE + 256];
} echo_session;

static int echo(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    echo_session *session = (echo_session *)user;
    switch (reason) {
    case LWS_CALLBACK_RECEIVE:
        if (length > 256) return -1;
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

static struct lws_protocols protocols[] = {
    {"echo", echo, sizeof(echo_session), 0, 0, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static struct lws_context *context;
static volatile int is_over;

static void *service(void *unused) {
    while (!is_over && lws_service(context, 0) >= 0) continue;
    return unused;
}

int main(void) {
    struct lws_context_creation_info info;
    struct lws_vhost *vhost;
    pthread_t thread;
    wsx_error error = wsx_error_init();
    wsx_client_config client = wsx_client_config_init();
    wsx_pool_config config = wsx_pool_config_init();
    wsx_loop loop;
    wsx_pool pool;
    wsx_connection connection;
    wsx_message message;
    char url[64];
    const char *urls[2];
    int echoed = 0;

    memset(&info, 0, sizeof info);
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    context = lws_create_context(&info);
    info.port = 0;
    info.iface = "127.0.0.1";
    info.protocols = protocols;
    vhost = context ? lws_create_vhost(context, &info) : NULL;
    if (!vhost) return 1;

    /* Before the context is serviced, or on the thread that services it. */
    if (wsx_loop_attach(context, NULL, &loop, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    if (pthread_create(&thread, NULL, service, NULL)) return 1;
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", lws_get_vhost_listen_port(vhost));
    urls[0] = url;
    urls[1] = NULL;

    /* Whatever is opened with this configuration lives on our context. */
    client.loop = loop;
    config.client = &client;
    if (wsx_pool_create(urls, &config, &pool, &error)) return 1;
    for (int round = 0; round < 100; round++) {
        if (wsx_pool_acquire(pool, 5000, &connection, &error)) break;
        if (wsx_send(connection, WSX_TEXT, "attached", 8, 5000, &error) == WSX_OK &&
            wsx_receive(connection, 5000, &message, &error) == WSX_OK) {
            echoed += strcmp(message.data, "attached") == 0;
            wsx_message_free(&message);
        }
        wsx_pool_release(connection, error.status != WSX_OK, NULL);
    }
    if (error.status) fprintf(stderr, "%s\n", error.message);
    wsx_pool_shut_down(pool, 1000, NULL);
    wsx_loop_detach(loop, NULL);
    is_over = 1;
    lws_cancel_service(context);
    pthread_join(thread, NULL);
    lws_context_destroy(context);
    printf("%d\n", echoed);
    return echoed == 100 ? 0 : 1;
}
