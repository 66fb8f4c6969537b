/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* Backpressure: a program that is told more than it can pass on pauses, and loses nothing. */
#include "check.h"
#include "programs.h"

enum { MESSAGES = 2000, SIZE = 2000 };

typedef struct dispatcher {
    wsx_queue queue;
    pthread_t thread;
    counter stop;
} dispatcher;

static void *dispatch(void *argument) {
    dispatcher *self = (dispatcher *)argument;
    while (!counter_value(&self->stop)) wsx_queue_wait(self->queue, 20, NULL, NULL);
    return NULL;
}

static void dispatcher_start(dispatcher *self) {
    CHECK_OK_E(wsx_queue_create(&self->queue, &error));
    counter_init(&self->stop);
    CHECK(pthread_create(&self->thread, NULL, dispatch, self) == 0);
}

static void dispatcher_stop(dispatcher *self) {
    counter_add(&self->stop, 1);
    pthread_join(self->thread, NULL);
    CHECK_OK(wsx_queue_free(self->queue));
}

/* ---- An echo that loses nothing ---- */

/* The message that did not fit: one, because nothing comes while reading is paused. */
typedef struct kept_message {
    char *data;
    size_t length;
} kept_message;

typedef struct echo {
    counter paused, opened, closed, released, messages;
    kept_message kept;
} echo;

static void pausing_message(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    echo *self = (echo *)user;
    wsx_status status;
    CHECK(self->kept.data == NULL);
    counter_add(&self->messages, 1);
    status = wsx_send(connection, kind, data, length, 0, NULL);
    if (status == WSX_FULL) {
        self->kept.data = (char *)malloc(length);
        CHECK(self->kept.data != NULL);
        memcpy(self->kept.data, data, length);
        self->kept.length = length;
        CHECK_OK(wsx_connection_pause(connection, NULL));
        CHECK_OK(wsx_connection_pause(connection, NULL));
        counter_add(&self->paused, 1);
    } else {
        CHECK(status == WSX_OK);
    }
}

static void pausing_writable(void *user, wsx_connection connection) {
    echo *self = (echo *)user;
    wsx_status status;
    CHECK(self->kept.data != NULL);
    status = wsx_send(connection, WSX_BINARY, self->kept.data, self->kept.length, 0, NULL);
    if (status == WSX_FULL) return;
    CHECK(status == WSX_OK);
    free(self->kept.data);
    self->kept.data = NULL;
    CHECK_OK(wsx_connection_resume(connection, NULL));
}

static void echo_ended(void *user, wsx_connection connection, const wsx_error *reason) {
    (void)connection;
    (void)reason;
    counter_add(&((echo *)user)->closed, 1);
}

static void echo_over(void *user) { counter_add(&((echo *)user)->released, 1); }

typedef struct sender {
    wsx_connection connection;
} sender;

static void *send_all(void *argument) {
    sender *self = (sender *)argument;
    char data[SIZE];
    memset(data, 's', sizeof data);
    for (uint32_t number = 0; number < MESSAGES; number++) {
        memcpy(data, &number, sizeof number);
        CHECK_OK_E(wsx_send(self->connection, WSX_BINARY, data, sizeof data, WSX_NEVER, &error));
    }
    return NULL;
}

static void echo_without_loss(wsx_queue queue) {
    echo self;
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_server_config config = wsx_server_config_init();
    wsx_client_config slow = wsx_client_config_init();
    wsx_server server;
    sender peer;
    pthread_t thread;
    int32_t port;
    char url[64];
    memset(&self, 0, sizeof self);
    counter_init(&self.paused);
    counter_init(&self.closed);
    counter_init(&self.released);
    counter_init(&self.messages);
    callbacks.user = &self;
    callbacks.on_message = pausing_message;
    callbacks.on_writable = pausing_writable;
    callbacks.on_close = echo_ended;
    callbacks.on_released = echo_over;
    config.callbacks = &callbacks;
    config.queue = queue;
    config.outbound_bytes = 16384;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, &port, NULL));
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", (int)port);
    slow.inbound_messages = 4;
    CHECK_OK_E(wsx_connect(url, &slow, &peer.connection, &error));
    CHECK(pthread_create(&thread, NULL, send_all, &peer) == 0);
    /* This side does not read before the other one has noticed. */
    counter_wait(&self.paused, 1);
    for (uint32_t number = 0; number < MESSAGES; number++) {
        wsx_message message;
        CHECK_OK_E(wsx_receive(peer.connection, WSX_NEVER, &message, &error));
        CHECK(message.length == SIZE && memcmp(message.data, &number, sizeof number) == 0);
        CHECK_OK(wsx_message_free(&message));
    }
    pthread_join(thread, NULL);
    CHECK(counter_value(&self.messages) == MESSAGES);
    CHECK_OK_E(wsx_close(peer.connection, 1000, NULL, NULL, &error));
    CHECK_OK(wsx_connection_free(peer.connection));
    CHECK_OK_E(wsx_server_shut_down(server, 5000, &error));
    counter_wait(&self.released, 1);
    CHECK(counter_value(&self.closed) == 1 && self.kept.data == NULL);
}

/* ---- The end of a paused connection ---- */

typedef struct event_log {
    counter opened, messages, closed, released;
    wsx_connection connection;
    int pauses_in_open;
    char order[16];
} log_of_events;

static void note(log_of_events *self, char event) {
    size_t length = strlen(self->order);
    CHECK(length + 1 < sizeof self->order);
    self->order[length] = event;
}

static void log_opened(void *user, wsx_connection connection) {
    log_of_events *self = (log_of_events *)user;
    self->connection = connection;
    if (self->pauses_in_open) CHECK_OK(wsx_connection_pause(connection, NULL));
    counter_add(&self->opened, 1);
}

static void log_message(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    log_of_events *self = (log_of_events *)user;
    (void)kind;
    CHECK(length == 1);
    note(self, ((const char *)data)[0]);
    /* One at a time: each waits for a resume. */
    CHECK_OK(wsx_connection_pause(connection, NULL));
    counter_add(&self->messages, 1);
}

static void log_closed(void *user, wsx_connection connection, const wsx_error *reason) {
    log_of_events *self = (log_of_events *)user;
    (void)connection;
    CHECK(reason->status == WSX_CLOSED);
    note(self, '.');
    counter_add(&self->closed, 1);
}

static void log_released(void *user) { counter_add(&((log_of_events *)user)->released, 1); }

static wsx_server log_start(log_of_events *self, wsx_queue queue, char url[64]) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_server_config config = wsx_server_config_init();
    wsx_server server;
    int32_t port;
    int pauses = self->pauses_in_open;
    memset(self, 0, sizeof *self);
    self->pauses_in_open = pauses;
    counter_init(&self->opened);
    counter_init(&self->messages);
    counter_init(&self->closed);
    counter_init(&self->released);
    callbacks.user = self;
    callbacks.on_open = log_opened;
    callbacks.on_message = log_message;
    callbacks.on_close = log_closed;
    callbacks.on_released = log_released;
    config.callbacks = &callbacks;
    config.queue = queue;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, &port, NULL));
    snprintf(url, 64, "ws://127.0.0.1:%d/", (int)port);
    return server;
}

static wsx_connection send_abc_and_close(const char *url) {
    wsx_connection connection;
    wsx_close_info info;
    CHECK_OK_E(wsx_connect(url, NULL, &connection, &error));
    CHECK_OK(wsx_send(connection, WSX_TEXT, "a", 1, WSX_NEVER, NULL));
    CHECK_OK(wsx_send(connection, WSX_TEXT, "b", 1, WSX_NEVER, NULL));
    CHECK_OK(wsx_send(connection, WSX_TEXT, "c", 1, WSX_NEVER, NULL));
    /* Little enough to be read: the other side's library answers, its program is not told. */
    CHECK_OK_E(wsx_close(connection, 1000, NULL, &info, &error));
    CHECK(info.received_code == 1000);
    return connection;
}

static void the_end_waits(wsx_queue queue) {
    log_of_events self;
    char url[64];
    wsx_connection connection;
    wsx_server server;
    self.pauses_in_open = 1;
    server = log_start(&self, queue, url);
    connection = send_abc_and_close(url);
    counter_wait(&self.opened, 1);
    CHECK(counter_value(&self.messages) == 0 && counter_value(&self.closed) == 0);
    for (int number = 1; number <= 3; number++) {
        CHECK_OK(wsx_connection_resume(self.connection, NULL));
        counter_wait(&self.messages, number);
        CHECK(counter_value(&self.messages) == number && counter_value(&self.closed) == 0);
    }
    CHECK_OK(wsx_connection_resume(self.connection, NULL));
    counter_wait(&self.closed, 1);
    CHECK(strcmp(self.order, "abc.") == 0);
    CHECK_OK(wsx_connection_free(connection));
    CHECK_OK_E(wsx_server_shut_down(server, 5000, &error));
    counter_wait(&self.released, 1);
}

/* A program that forgets to resume does not keep its server from ending, and is told everything all the same. */
static void a_server_ends_all_the_same(wsx_queue queue, int frees) {
    log_of_events self;
    char url[64];
    wsx_connection connection;
    wsx_server server;
    self.pauses_in_open = 1;
    server = log_start(&self, queue, url);
    connection = send_abc_and_close(url);
    counter_wait(&self.opened, 1);
    if (frees) {
        CHECK_OK(wsx_server_free(server));
    } else {
        CHECK_OK_E(wsx_server_shut_down(server, 5000, &error));
    }
    counter_wait(&self.released, 1);
    CHECK(strcmp(self.order, "abc.") == 0);
    CHECK_OK(wsx_connection_free(connection));
}

/* A handle that is freed while it is paused tells nothing more. */
static void freed_while_paused(wsx_queue queue) {
    log_of_events self;
    char url[64];
    wsx_connection connection;
    wsx_server server;
    self.pauses_in_open = 1;
    server = log_start(&self, queue, url);
    connection = send_abc_and_close(url);
    counter_wait(&self.opened, 1);
    CHECK_OK(wsx_connection_free(self.connection));
    CHECK_STATUS(wsx_connection_resume(self.connection, NULL), WSX_INVALID_HANDLE);
    CHECK_OK_E(wsx_server_shut_down(server, 5000, &error));
    counter_wait(&self.released, 1);
    CHECK(self.order[0] == 0);
    CHECK_OK(wsx_connection_free(connection));
}

/* A client's callbacks pause too, from the first message on; what waits is bounded, and the peer feels it. */
static void a_client_pauses(wsx_queue queue) {
    log_of_events self;
    echo_server echo;
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection;
    memset(&self, 0, sizeof self);
    counter_init(&self.opened);
    counter_init(&self.messages);
    counter_init(&self.closed);
    counter_init(&self.released);
    callbacks.user = &self;
    callbacks.on_open = log_opened;
    callbacks.on_message = log_message;
    callbacks.on_close = log_closed;
    callbacks.on_released = log_released;
    config.callbacks = &callbacks;
    config.queue = queue;
    echo_start(&echo);
    CHECK_OK_E(wsx_connect_start(echo.url, &config, &connection, &error));
    counter_wait(&self.opened, 1);
    for (int number = 1; number <= 5; number++) {
        char letter = (char)('a' + number - 1);
        CHECK_OK(wsx_send(connection, WSX_TEXT, &letter, 1, WSX_NEVER, NULL));
        counter_wait(&self.messages, number);
        CHECK_OK(wsx_send(connection, WSX_TEXT, "-", 1, WSX_NEVER, NULL));
        CHECK_OK_E(wsx_ping(connection, WSX_NEVER, NULL, &error));
        CHECK(counter_value(&self.messages) == number);
        CHECK_OK(wsx_connection_resume(connection, NULL));
        counter_wait(&self.messages, number + 1);
        CHECK_OK(wsx_connection_resume(connection, NULL));
        self.order[strlen(self.order) - 1] = 0;
        counter_add(&self.messages, -1);
    }
    CHECK(strcmp(self.order, "abcde") == 0);
    CHECK_OK_E(wsx_close(connection, 1000, NULL, NULL, &error));
    counter_wait(&self.closed, 1);
    CHECK_OK(wsx_connection_free(connection));
    counter_wait(&self.released, 1);
    echo_stop(&echo);
}

static void pausing_wants_on_message(void) {
    echo_server echo;
    wsx_connection connection;
    wsx_error error = wsx_error_init();
    echo_start(&echo);
    CHECK_OK_E(wsx_connect(echo.url, NULL, &connection, &error));
    CHECK_STATUS(wsx_connection_pause(connection, &error), WSX_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "on_message") != NULL);
    CHECK_OK(wsx_connection_resume(connection, NULL));
    check_echo(connection, "reads what is taken");
    CHECK_OK(wsx_connection_free(connection));
    CHECK_STATUS(wsx_connection_pause(connection, NULL), WSX_INVALID_HANDLE);
    counter_wait(&echo.closed, 1);
    echo_stop(&echo);
}

PROGRAM(flow) {
    (void)count;
    (void)arguments;
    wsx_queue none = {0};
    dispatcher other;
    dispatcher_start(&other);
    for (int turn = 0; turn < 2; turn++) {
        wsx_queue queue = turn == 0 ? none : other.queue;
        echo_without_loss(queue);
        the_end_waits(queue);
        a_server_ends_all_the_same(queue, 0);
        a_server_ends_all_the_same(queue, 1);
        freed_while_paused(queue);
        a_client_pauses(queue);
    }
    pausing_wants_on_message();
    dispatcher_stop(&other);
    return 0;
}
