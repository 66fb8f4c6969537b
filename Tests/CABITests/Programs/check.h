/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* What the tests share. They are C99 and C++17 at once. */
#ifndef CHECK_H
#define CHECK_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wsx.h>

/* Each file is a program of its own, and a function of the Swift test bundle. Both end through exit(). */
#ifdef CABI_LIBRARY
#define PROGRAM(name) int cabi_##name(int count, char **arguments)
#else
#define PROGRAM(name) int main(int count, char **arguments)
#endif

/* A test that fails says where, and ends the program. */
#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

#define CHECK_STATUS(call, expected)                                                                      \
    do {                                                                                                  \
        wsx_status status_ = (call);                                                                      \
        if (status_ != (expected)) {                                                                      \
            fprintf(stderr, "%s:%d: %s gave %s\n", __FILE__, __LINE__, #call, wsx_status_name(status_)); \
            exit(1);                                                                                      \
        }                                                                                                 \
    } while (0)

#define CHECK_OK(call) CHECK_STATUS(call, WSX_OK)

/* With the error's message when the call fails; the call names an `error`. */
#define CHECK_OK_E(call)                                                                           \
    do {                                                                                           \
        wsx_error error = wsx_error_init();                                                        \
        if ((call) != WSX_OK) {                                                                    \
            fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call,                      \
                    wsx_status_name(error.status), error.message);                                 \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* A count that threads wait for. */
typedef struct counter {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int value;
} counter;

static inline void counter_init(counter *counter) {
    pthread_mutex_init(&counter->mutex, NULL);
    pthread_cond_init(&counter->changed, NULL);
    counter->value = 0;
}

static inline void counter_add(counter *counter, int amount) {
    pthread_mutex_lock(&counter->mutex);
    counter->value += amount;
    pthread_cond_broadcast(&counter->changed);
    pthread_mutex_unlock(&counter->mutex);
}

static inline int counter_value(counter *counter) {
    pthread_mutex_lock(&counter->mutex);
    int value = counter->value;
    pthread_mutex_unlock(&counter->mutex);
    return value;
}

/* What never comes ends the test through its time limit. */
static inline void counter_wait(counter *counter, int value) {
    pthread_mutex_lock(&counter->mutex);
    while (counter->value < value) pthread_cond_wait(&counter->changed, &counter->mutex);
    pthread_mutex_unlock(&counter->mutex);
}

/* ---- A server in this process that echoes ---- */

typedef struct echo_server {
    wsx_server server;
    char url[64];
    counter opened, closed, released;
} echo_server;

static inline void echo_opened(void *user, wsx_connection connection) {
    (void)connection;
    counter_add(&((echo_server *)user)->opened, 1);
}

static inline void echo_message(
    void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    wsx_status status = wsx_send(connection, kind, data, length, 0, NULL);
    (void)user;
    /* The connection may be on its way out; an echo that got lost in any other way would be waited for in vain. */
    CHECK(status == WSX_OK || status == WSX_CLOSED || status == WSX_INVALID_HANDLE);
}

static inline void echo_closed(void *user, wsx_connection connection, const wsx_error *reason) {
    (void)connection;
    (void)reason;
    counter_add(&((echo_server *)user)->closed, 1);
}

static inline void echo_released(void *user) { counter_add(&((echo_server *)user)->released, 1); }

static inline void echo_start(echo_server *echo) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_server_config config = wsx_server_config_init();
    int32_t port = 0;
    counter_init(&echo->opened);
    counter_init(&echo->closed);
    counter_init(&echo->released);
    callbacks.user = echo;
    callbacks.on_open = echo_opened;
    callbacks.on_message = echo_message;
    callbacks.on_close = echo_closed;
    callbacks.on_released = echo_released;
    config.callbacks = &callbacks;
    CHECK_OK_E(wsx_server_create(&config, &echo->server, &error));
    CHECK_OK(wsx_server_port(echo->server, &port, NULL));
    CHECK(port > 0);
    snprintf(echo->url, sizeof echo->url, "ws://127.0.0.1:%d/", (int)port);
}

static inline void echo_stop(echo_server *echo) {
    CHECK_OK(wsx_server_shut_down(echo->server, 5000, NULL));
    counter_wait(&echo->released, 1);
    CHECK(counter_value(&echo->closed) == counter_value(&echo->opened));
    CHECK_STATUS(wsx_server_free(echo->server), WSX_INVALID_HANDLE);
}

/* Sends a text and waits for the same one. */
static inline void check_echo(wsx_connection connection, const char *text) {
    wsx_message message;
    CHECK_OK_E(wsx_send(connection, WSX_TEXT, text, strlen(text), 5000, &error));
    CHECK_OK_E(wsx_receive(connection, 5000, &message, &error));
    CHECK(message.kind == WSX_TEXT && message.length == strlen(text) && strcmp(message.data, text) == 0);
    CHECK_OK(wsx_message_free(&message));
}

#endif
