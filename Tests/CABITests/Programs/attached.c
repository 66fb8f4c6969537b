/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* Connections, pools and sessions on a context of the program's own, which its own thread services. */
#include <libwebsockets.h>

#include "check.h"
#include "programs.h"

typedef struct own {
    struct lws_context *context;
    pthread_t thread;
    pthread_mutex_t mutex;
    int must_end, must_destroy;
    wsx_loop loop;
    counter detached;
    /* Of one connection. */
    counter opened, messages, closed, released;
    wsx_status reason;
} own;

static int must(own *self, int *flag) {
    pthread_mutex_lock(&self->mutex);
    int value = *flag;
    pthread_mutex_unlock(&self->mutex);
    return value;
}

static void *service(void *argument) {
    own *self = (own *)argument;
    while (!must(self, &self->must_end) && lws_service(self->context, 0) >= 0) continue;
    if (must(self, &self->must_destroy)) lws_context_destroy(self->context);
    return NULL;
}

static void on_detached(void *user) { counter_add(&((own *)user)->detached, 1); }

static int default_callback(
    struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    (void)wsi;
    (void)user;
    (void)in;
    (void)length;
    /* Nothing of the library's may end up here. */
    CHECK(reason != LWS_CALLBACK_CLIENT_ESTABLISHED && reason != LWS_CALLBACK_CLIENT_RECEIVE);
    return 0;
}

static struct lws_protocols protocols[] = {
    {"own", default_callback, 0, 0, 0, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static void create(own *self) {
    struct lws_context_creation_info info;
    memset(self, 0, sizeof *self);
    memset(&info, 0, sizeof info);
    pthread_mutex_init(&self->mutex, NULL);
    counter_init(&self->detached);
    counter_init(&self->opened);
    counter_init(&self->messages);
    counter_init(&self->closed);
    counter_init(&self->released);
    lws_set_log_level(LLL_ERR, NULL);
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.protocols = protocols;
    self->context = lws_create_context(&info);
    CHECK(self->context != NULL);
}

static void attach(own *self) {
    wsx_loop_config config = wsx_loop_config_init();
    config.user = self;
    config.on_detached = on_detached;
    CHECK_OK_E(wsx_loop_attach(self->context, &config, &self->loop, &error));
}

static void start(own *self) { CHECK(pthread_create(&self->thread, NULL, service, self) == 0); }

static void end(own *self, int destroy) {
    pthread_mutex_lock(&self->mutex);
    self->must_destroy = destroy;
    self->must_end = 1;
    lws_cancel_service(self->context);
    pthread_mutex_unlock(&self->mutex);
    CHECK(pthread_join(self->thread, NULL) == 0);
    if (!destroy) lws_context_destroy(self->context);
}

static void is_serviced_here(own *self) { CHECK(pthread_equal(pthread_self(), self->thread)); }

static void on_open(void *user, wsx_connection connection) {
    own *self = (own *)user;
    wsx_connection other;
    is_serviced_here(self);
    CHECK_STATUS(wsx_connect("ws://127.0.0.1:1/", NULL, &other, NULL), WSX_WRONG_THREAD);
    CHECK_OK(wsx_send(connection, WSX_TEXT, "1", 1, WSX_NEVER, NULL));
    counter_add(&self->opened, 1);
}

static void on_message(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    own *self = (own *)user;
    is_serviced_here(self);
    CHECK(kind == WSX_TEXT && length == 1 && ((const char *)data)[0] == '1');
    if (counter_value(&self->messages) < 999) CHECK_OK(wsx_send(connection, WSX_TEXT, "1", 1, WSX_NEVER, NULL));
    counter_add(&self->messages, 1);
}

static void on_close(void *user, wsx_connection connection, const wsx_error *reason) {
    own *self = (own *)user;
    self->reason = reason->status;
    CHECK_OK(wsx_connection_free(connection));
    counter_add(&self->closed, 1);
}

static void on_released(void *user) { counter_add(&((own *)user)->released, 1); }

static wsx_callbacks callbacks(own *self) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    callbacks.user = self;
    callbacks.on_open = on_open;
    callbacks.on_message = on_message;
    callbacks.on_close = on_close;
    callbacks.on_released = on_released;
    return callbacks;
}

/* A connection with callbacks, which run on the thread that services the context; others from this one. */
static void everything(const char *url) {
    own self;
    wsx_callbacks events;
    wsx_client_config config = wsx_client_config_init();
    wsx_pool_config pool_config = wsx_pool_config_init();
    wsx_session_config session_config = wsx_session_config_init();
    wsx_connection connection;
    wsx_pool pool;
    wsx_session session;
    wsx_message message;
    const char *urls[2];
    create(&self);
    attach(&self);
    start(&self);
    events = callbacks(&self);
    config.loop = self.loop;
    config.callbacks = &events;
    CHECK_OK_E(wsx_connect_start(url, &config, &connection, &error));
    counter_wait(&self.messages, 1000);
    CHECK_OK(wsx_close(connection, 1000, NULL, NULL, NULL));
    counter_wait(&self.released, 1);
    CHECK(counter_value(&self.opened) == 1 && counter_value(&self.closed) == 1);

    config.callbacks = NULL;
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    check_echo(connection, "from another thread");
    CHECK_OK_E(wsx_ping(connection, 5000, NULL, &error));
    CHECK_OK(wsx_connection_free(connection));

    urls[0] = url;
    urls[1] = NULL;
    pool_config.client = &config;
    CHECK_OK_E(wsx_pool_create(urls, &pool_config, &pool, &error));
    for (int round = 0; round < 50; round++) {
        CHECK_OK_E(wsx_pool_acquire(pool, 5000, &connection, &error));
        check_echo(connection, "borrowed");
        CHECK_OK(wsx_pool_release(connection, 0, NULL));
    }
    CHECK_OK(wsx_pool_shut_down(pool, 1000, NULL));

    session_config.client = &config;
    CHECK_OK_E(wsx_session_create(url, &session_config, &session, &error));
    CHECK_OK_E(wsx_session_wait_connected(session, 5000, &error));
    CHECK_OK_E(wsx_session_send(session, WSX_TEXT, "session", 7, 5000, &error));
    CHECK_OK_E(wsx_session_receive(session, 5000, &message, &error));
    CHECK(strcmp(message.data, "session") == 0);
    CHECK_OK(wsx_message_free(&message));
    CHECK_OK(wsx_session_shut_down(session, NULL));

    CHECK_OK_E(wsx_loop_detach(self.loop, &error));
    CHECK(counter_value(&self.detached) == 1);
    CHECK_STATUS(wsx_loop_detach(self.loop, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_HANDLE);
    end(&self, 0);
}

/* The program destroys its context while a connection is open, or detaches. */
static void end_with_a_connection(const char *url, int destroy) {
    own self;
    wsx_callbacks events;
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection;
    create(&self);
    attach(&self);
    start(&self);
    events = callbacks(&self);
    config.loop = self.loop;
    config.callbacks = &events;
    CHECK_OK_E(wsx_connect_start(url, &config, &connection, &error));
    counter_wait(&self.messages, 1000);
    if (destroy) {
        end(&self, 1);
        counter_wait(&self.detached, 1);
        CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_SHUT_DOWN);
    }
    CHECK_OK_E(wsx_loop_detach(self.loop, &error));
    counter_wait(&self.closed, 1);
    counter_wait(&self.released, 1);
    CHECK(self.reason == WSX_CLOSED);
    if (!destroy) end(&self, 0);
}

/* One thread for everything: the context is serviced by the one that attaches and detaches. */
static void one_thread(const char *url) {
    own self;
    wsx_callbacks events;
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection, other;
    wsx_pool pool;
    wsx_pool_config pool_config = wsx_pool_config_init();
    const char *urls[2];
    create(&self);
    attach(&self);
    self.thread = pthread_self();
    events = callbacks(&self);
    config.loop = self.loop;
    config.callbacks = &events;
    CHECK_OK_E(wsx_connect_start(url, &config, &connection, &error));
    while (counter_value(&self.messages) < 1000) CHECK(lws_service(self.context, 0) >= 0);
    /* Here, too, waiting would be for ever. */
    CHECK_STATUS(wsx_connect(url, &config, &other, NULL), WSX_WRONG_THREAD);
    CHECK_STATUS(wsx_ping(connection, 5000, NULL, NULL), WSX_WRONG_THREAD);
    config.callbacks = NULL;
    urls[0] = url;
    urls[1] = NULL;
    pool_config.client = &config;
    CHECK_OK_E(wsx_pool_create(urls, &pool_config, &pool, &error));
    CHECK_STATUS(wsx_pool_acquire(pool, 5000, &other, NULL), WSX_WRONG_THREAD);
    CHECK_OK(wsx_pool_free(pool));
    CHECK_OK(wsx_close(connection, 1000, NULL, NULL, NULL));
    while (counter_value(&self.released) < 1) CHECK(lws_service(self.context, 0) >= 0);
    CHECK_OK(wsx_loop_detach(self.loop, NULL));
    while (counter_value(&self.detached) < 1) CHECK(lws_service(self.context, -1) >= 0);
    lws_context_destroy(self.context);
}

static void misuse(const char *url) {
    own self;
    wsx_loop loop = {0};
    wsx_loop_config config = wsx_loop_config_init();
    wsx_client_config client = wsx_client_config_init();
    wsx_connection connection;
    CHECK_STATUS(wsx_loop_attach(NULL, NULL, &loop, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_loop_detach(loop, NULL), WSX_INVALID_HANDLE);
    create(&self);
    CHECK_STATUS(wsx_loop_attach(self.context, NULL, NULL, NULL), WSX_INVALID_ARGUMENT);
    config.size = 3;
    CHECK_STATUS(wsx_loop_attach(self.context, &config, &loop, NULL), WSX_INVALID_ARGUMENT);
    client.loop.id = 12345;
    CHECK_STATUS(wsx_connect(url, &client, &connection, NULL), WSX_INVALID_HANDLE);
    lws_context_destroy(self.context);
}

/* The argument is how many contexts come and go. */
PROGRAM(attached) {
    echo_server echo;
    int rounds = count > 1 ? atoi(arguments[1]) : 10;
    CHECK(rounds > 0);
    echo_start(&echo);
    misuse(echo.url);
    everything(echo.url);
    for (int round = 0; round < rounds; round++) {
        end_with_a_connection(echo.url, 0);
        end_with_a_connection(echo.url, 1);
    }
    one_thread(echo.url);
    echo_stop(&echo);
    return 0;
}
