/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* Several threads at one handle, and one that takes it away. */
#include "check.h"
#include "programs.h"

enum { THREADS = 4, MESSAGES = 500, ROUNDS = 50 };

typedef struct shared {
    wsx_connection connection;
    wsx_pool pool;
    const char *url;
    counter received;
} shared;

static void *send_many(void *argument) {
    shared *self = (shared *)argument;
    for (int number = 0; number < MESSAGES; number++)
        CHECK_OK_E(wsx_send(self->connection, WSX_TEXT, "thread", 6, WSX_NEVER, &error));
    return NULL;
}

static void *receive_many(void *argument) {
    shared *self = (shared *)argument;
    wsx_message message;
    for (int number = 0; number < MESSAGES; number++) {
        CHECK_OK_E(wsx_receive(self->connection, 10000, &message, &error));
        CHECK(message.length == 6);
        CHECK_OK(wsx_message_free(&message));
        counter_add(&self->received, 1);
    }
    return NULL;
}

static void run(void *(*first)(void *), void *(*second)(void *), shared *self) {
    pthread_t threads[2 * THREADS];
    for (int index = 0; index < THREADS; index++) {
        CHECK(pthread_create(&threads[2 * index], NULL, first, self) == 0);
        CHECK(pthread_create(&threads[2 * index + 1], NULL, second, self) == 0);
    }
    for (int index = 0; index < 2 * THREADS; index++) pthread_join(threads[index], NULL);
}

static void one_connection(shared *self) {
    CHECK_OK_E(wsx_connect(self->url, NULL, &self->connection, &error));
    run(send_many, receive_many, self);
    CHECK(counter_value(&self->received) == THREADS * MESSAGES);
    CHECK_OK(wsx_connection_free(self->connection));
}

static void *borrow(void *argument) {
    shared *self = (shared *)argument;
    for (int round = 0; round < ROUNDS; round++) {
        wsx_connection connection;
        CHECK_OK_E(wsx_pool_acquire(self->pool, 10000, &connection, &error));
        check_echo(connection, "pooled");
        CHECK_OK(wsx_pool_release(connection, round % 10 == 9, NULL));
    }
    return NULL;
}

static void one_pool(shared *self) {
    wsx_pool_config config = wsx_pool_config_init();
    wsx_pool_statistics statistics = wsx_pool_statistics_init();
    const char *urls[2];
    urls[0] = self->url;
    urls[1] = NULL;
    config.maximum_connections = 3;
    CHECK_OK_E(wsx_pool_create(urls, &config, &self->pool, &error));
    run(borrow, borrow, self);
    CHECK_OK(wsx_pool_get_statistics(self->pool, &statistics, NULL));
    CHECK(statistics.acquired == 2 * THREADS * ROUNDS);
    CHECK(statistics.leased == 0 && statistics.total <= 3 && statistics.acquire_timeouts == 0);
    CHECK_OK(wsx_pool_shut_down(self->pool, 5000, NULL));
}

/* The handle goes while others use it: whatever they get is a status. */
static void *use_until_gone(void *argument) {
    shared *self = (shared *)argument;
    wsx_connection connection = self->connection;
    wsx_message message;
    for (;;) {
        wsx_status status = wsx_send(connection, WSX_TEXT, "x", 1, 100, NULL);
        if (status == WSX_INVALID_HANDLE) return NULL;
        CHECK(status == WSX_OK || status == WSX_CLOSED || status == WSX_TIMED_OUT);
        status = wsx_receive(connection, 100, &message, NULL);
        if (status == WSX_OK) CHECK_OK(wsx_message_free(&message));
        counter_add(&self->received, 1);
    }
}

static void *take_away(void *argument) {
    shared *self = (shared *)argument;
    wsx_connection connection = self->connection;
    counter_wait(&self->received, 20);
    wsx_connection_free(connection);
    return NULL;
}

static void free_under_others(shared *self) {
    for (int round = 0; round < 25; round++) {
        self->received.value = 0;
        CHECK_OK_E(wsx_connect(self->url, NULL, &self->connection, &error));
        run(use_until_gone, take_away, self);
        CHECK_STATUS(wsx_connection_free(self->connection), WSX_INVALID_HANDLE);
    }
}

/* A queue goes while threads wait for its callbacks: they come back, whether they had begun to wait or not. */
static void *wait_until_gone(void *argument) {
    const wsx_queue *queue = (const wsx_queue *)argument;
    CHECK_STATUS(wsx_queue_wait(*queue, WSX_NEVER, NULL, NULL), WSX_INVALID_HANDLE);
    return NULL;
}

static void free_a_queue_under_others(void) {
    for (int round = 0; round < 25; round++) {
        wsx_queue queue;
        pthread_t threads[THREADS];
        CHECK_OK_E(wsx_queue_create(&queue, &error));
        for (int index = 0; index < THREADS; index++)
            CHECK(pthread_create(&threads[index], NULL, wait_until_gone, &queue) == 0);
        CHECK_OK(wsx_queue_free(queue));
        for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
    }
}

/* Several threads give one borrowed connection back: one of them does. */
static counter given_back;

static void *give_back(void *argument) {
    const wsx_connection *connection = (const wsx_connection *)argument;
    wsx_status status = wsx_pool_release(*connection, 0, NULL);
    CHECK(status == WSX_OK || status == WSX_INVALID_HANDLE);
    if (status == WSX_OK) counter_add(&given_back, 1);
    return NULL;
}

static void release_twice(shared *self) {
    wsx_pool_config config = wsx_pool_config_init();
    const char *urls[2];
    urls[0] = self->url;
    urls[1] = NULL;
    config.maximum_connections = 1;
    counter_init(&given_back);
    CHECK_OK_E(wsx_pool_create(urls, &config, &self->pool, &error));
    for (int round = 1; round <= 25; round++) {
        wsx_connection connection;
        pthread_t threads[THREADS];
        CHECK_OK_E(wsx_pool_acquire(self->pool, 10000, &connection, &error));
        for (int index = 0; index < THREADS; index++)
            CHECK(pthread_create(&threads[index], NULL, give_back, &connection) == 0);
        for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
        CHECK(counter_value(&given_back) == round);
    }
    CHECK_OK(wsx_pool_shut_down(self->pool, 5000, NULL));
}

PROGRAM(threads) {
    (void)count;
    (void)arguments;
    echo_server echo;
    shared self;
    echo_start(&echo);
    memset(&self, 0, sizeof self);
    self.url = echo.url;
    counter_init(&self.received);
    one_connection(&self);
    one_pool(&self);
    free_under_others(&self);
    free_a_queue_under_others();
    release_twice(&self);
    echo_stop(&echo);
    return 0;
}
