/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* A program with a loop of its own: every callback runs on its thread. */
#include <poll.h>

#include "check.h"
#include "programs.h"

static pthread_t home;

typedef struct state {
    wsx_queue queue;
    int opened, messages, closed, released, acquired;
    int wanted;
    wsx_status reason;
    wsx_connection borrowed;
} state;

static void is_home(void) { CHECK(pthread_equal(pthread_self(), home)); }

static void on_open(void *user, wsx_connection connection) {
    is_home();
    ((state *)user)->opened++;
    /* Waiting is allowed here: the library's threads go on. */
    CHECK_OK_E(wsx_ping(connection, 5000, NULL, &error));
    CHECK_OK(wsx_send(connection, WSX_TEXT, "1", 1, WSX_NEVER, NULL));
}

static void on_message(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    state *self = (state *)user;
    (void)kind;
    is_home();
    CHECK(length == 1 && ((const char *)data)[0] == '1');
    self->messages++;
    if (self->messages < self->wanted) CHECK_OK(wsx_send(connection, WSX_TEXT, "1", 1, WSX_NEVER, NULL));
    if (self->messages == self->wanted) CHECK_OK(wsx_close(connection, 1000, NULL, NULL, NULL));
}

static void on_close(void *user, wsx_connection connection, const wsx_error *reason) {
    is_home();
    ((state *)user)->closed++;
    ((state *)user)->reason = reason->status;
    CHECK(reason->close.is_normal);
    CHECK_OK(wsx_connection_free(connection));
}

static void on_released(void *user) {
    is_home();
    ((state *)user)->released++;
}

static void on_acquired(void *user, wsx_connection connection, const wsx_error *error) {
    is_home();
    CHECK(error == NULL);
    ((state *)user)->acquired++;
    ((state *)user)->borrowed = connection;
}

static void dispatch_once(wsx_queue queue) {
    struct pollfd entry;
    CHECK_OK(wsx_queue_descriptor(queue, &entry.fd, NULL));
    entry.events = POLLIN;
    CHECK(poll(&entry, 1, 10000) == 1);
    CHECK_OK(wsx_queue_dispatch(queue, 0, NULL, NULL));
}

static void round_trips(state *self, const char *url) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection;
    memset(self, 0, sizeof *self);
    self->wanted = 500;
    CHECK_OK_E(wsx_queue_create(&self->queue, &error));
    callbacks.user = self;
    callbacks.on_open = on_open;
    callbacks.on_message = on_message;
    callbacks.on_close = on_close;
    callbacks.on_released = on_released;
    config.callbacks = &callbacks;
    config.queue = self->queue;
    CHECK_OK_E(wsx_connect_start(url, &config, &connection, &error));
    while (!self->released) dispatch_once(self->queue);
    CHECK(self->opened == 1 && self->messages == 500 && self->closed == 1 && self->reason == WSX_CLOSED);
    CHECK_STATUS(wsx_connection_free(connection), WSX_INVALID_HANDLE);
}

static void pool(state *self, const char *url) {
    wsx_pool_config config = wsx_pool_config_init();
    wsx_pool pool;
    const char *urls[2];
    urls[0] = url;
    urls[1] = NULL;
    config.queue = self->queue;
    CHECK_OK_E(wsx_pool_create(urls, &config, &pool, &error));
    CHECK_OK_E(wsx_pool_acquire_start(pool, 5000, on_acquired, self, &error));
    while (!self->acquired) dispatch_once(self->queue);
    check_echo(self->borrowed, "borrowed");
    CHECK_OK(wsx_pool_release(self->borrowed, 0, NULL));
    CHECK_OK(wsx_pool_shut_down(pool, 5000, NULL));
}

/* Nobody dispatches: the library stops reading instead of filling the memory, and nothing is lost. */
static int flooded;

static void count(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    (void)user;
    (void)connection;
    (void)kind;
    (void)data;
    CHECK(length == 1000);
    flooded++;
}

static void pressure(const char *url) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection;
    wsx_queue queue;
    size_t ran = 0;
    char data[1000];
    int sent = 0;
    memset(data, 'x', sizeof data);
    CHECK_OK_E(wsx_queue_create(&queue, &error));
    callbacks.on_message = count;
    config.callbacks = &callbacks;
    config.queue = queue;
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    for (; sent < 2000; sent++) CHECK_OK_E(wsx_send(connection, WSX_TEXT, data, sizeof data, 5000, &error));
    while (flooded < sent) {
        CHECK_OK_E(wsx_queue_wait(queue, 10000, &ran, &error));
        CHECK(ran <= 300);
    }
    CHECK_STATUS(wsx_queue_wait(queue, 1, &ran, NULL), WSX_TIMED_OUT);
    CHECK_OK(wsx_connection_free(connection));
    CHECK_OK(wsx_queue_free(queue));
    CHECK_STATUS(wsx_queue_dispatch(queue, 0, NULL, NULL), WSX_INVALID_HANDLE);
}

/* Nobody dispatches, and the thread that would do so waits for the server's end: it comes, and the last call is last. */
typedef struct last {
    int opened, messages, closed, released;
} last;

static void last_open(void *user, wsx_connection connection) {
    (void)connection;
    ((last *)user)->opened++;
}

static void last_message(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    (void)connection;
    (void)kind;
    (void)data;
    (void)length;
    CHECK(((last *)user)->closed == 0);
    ((last *)user)->messages++;
}

static void last_close(void *user, wsx_connection connection, const wsx_error *reason) {
    (void)connection;
    (void)reason;
    ((last *)user)->closed++;
}

static void last_released(void *user) {
    CHECK(((last *)user)->closed == 1);
    ((last *)user)->released++;
}

static void ending_unread(void) {
    last self = {0, 0, 0, 0};
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_server_config config = wsx_server_config_init();
    wsx_connection connection;
    wsx_server server;
    wsx_queue queue;
    char url[64], data[1000];
    int32_t port;
    wsx_status status = WSX_OK;
    memset(data, 'x', sizeof data);
    CHECK_OK_E(wsx_queue_create(&queue, &error));
    callbacks.user = &self;
    callbacks.on_open = last_open;
    callbacks.on_message = last_message;
    callbacks.on_close = last_close;
    callbacks.on_released = last_released;
    config.callbacks = &callbacks;
    config.queue = queue;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, &port, NULL));
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", (int)port);
    CHECK_OK_E(wsx_connect(url, NULL, &connection, &error));
    /* Until nobody takes any more. */
    for (int sent = 0; sent < 400 || status == WSX_OK; sent += status == WSX_OK) {
        status = wsx_send(connection, WSX_TEXT, data, sizeof data, 50, NULL);
        CHECK(status == WSX_OK || status == WSX_TIMED_OUT);
    }
    CHECK_OK_E(wsx_server_shut_down(server, 100, &error));
    CHECK(self.opened == 0);
    while (!self.released) CHECK_OK_E(wsx_queue_wait(queue, 10000, NULL, &error));
    CHECK(self.opened == 1 && self.messages > 0 && self.closed == 1);
    CHECK_STATUS(wsx_queue_wait(queue, 1, NULL, NULL), WSX_TIMED_OUT);
    CHECK_OK(wsx_connection_free(connection));
    CHECK_OK(wsx_queue_free(queue));
}

PROGRAM(queue) {
    (void)count;
    (void)arguments;
    echo_server echo;
    state self;
    home = pthread_self();
    echo_start(&echo);
    round_trips(&self, echo.url);
    pool(&self, echo.url);
    pressure(echo.url);
    ending_unread();
    CHECK_OK(wsx_queue_free(self.queue));
    echo_stop(&echo);
    return 0;
}
