/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* A program with one thread: server, clients, pool and session, everything begun and told, nothing waited for but poll. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "programs.h"

static wsx_queue queue;
static pthread_t home;

/* Dispatches until `flag` has come to `value`. Nothing but poll waits. */
static void until(const int *flag, int value) {
    struct pollfd entry;
    entry.events = POLLIN;
    CHECK_OK(wsx_queue_descriptor(queue, &entry.fd, NULL));
    while (*flag < value) {
        CHECK(poll(&entry, 1, -1) > 0);
        CHECK_OK(wsx_queue_dispatch(queue, 0, NULL, NULL));
    }
}

static void is_home(void) { CHECK(pthread_equal(pthread_self(), home)); }

static void count_up(void *user) {
    is_home();
    ++*(int *)user;
}

typedef struct state {
    int asked, opened, messages, closed, released, adopted, refused, pinged, close_told;
    wsx_status adopt_status;
    wsx_connection last, taken;
    char text[32];
} state;

static void on_request(void *user, const wsx_request *request, wsx_response *response) {
    is_home();
    ((state *)user)->asked++;
    if (strcmp(request->target, "/no") == 0) response->status = 403;
}

static void on_open(void *user, wsx_connection connection) {
    is_home();
    ((state *)user)->last = connection;
    ((state *)user)->opened++;
}

static void echo(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    is_home();
    ((state *)user)->messages++;
    CHECK_OK(wsx_send(connection, kind, data, length, 0, NULL));
}

static void keep(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    state *self = (state *)user;
    (void)connection;
    (void)kind;
    is_home();
    CHECK(length < sizeof self->text);
    memcpy(self->text, data, length);
    self->text[length] = 0;
    self->messages++;
}

static void on_close(void *user, wsx_connection connection, const wsx_error *reason) {
    (void)connection;
    (void)reason;
    is_home();
    ((state *)user)->closed++;
}

static wsx_callbacks callbacks_of(state *self, int echoes) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    memset(self, 0, sizeof *self);
    callbacks.user = self;
    callbacks.on_open = on_open;
    callbacks.on_message = echoes ? echo : keep;
    callbacks.on_close = on_close;
    return callbacks;
}

static void pinged(void *user, int64_t microseconds, const wsx_error *error) {
    is_home();
    CHECK(error == NULL && microseconds >= 0);
    ((state *)user)->pinged++;
}

static void not_pinged(void *user, int64_t microseconds, const wsx_error *error) {
    is_home();
    CHECK(microseconds == -1 && error != NULL);
    CHECK(error->status == WSX_CLOSED || error->status == WSX_TIMED_OUT);
    ((state *)user)->pinged++;
}

static void close_told(void *user, const wsx_close_info *info) {
    is_home();
    CHECK(info->cause == WSX_CAUSE_CLOSING_HANDSHAKE && info->sent_code == 4000);
    ((state *)user)->close_told++;
}

static void adopted(void *user, wsx_connection connection, const wsx_error *error) {
    state *self = (state *)user;
    is_home();
    CHECK((connection.id == 0) == (error != NULL));
    self->adopt_status = error ? error->status : WSX_OK;
    self->taken = connection;
    /* on_open came first. */
    if (error == NULL) CHECK(self->last.id == connection.id);
    self->adopted++;
}

static int listen_somewhere(int *port) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listener, 8) == 0 && getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    *port = ntohs(address.sin_port);
    return listener;
}

static int silent_client(int port) {
    struct sockaddr_in address;
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)port);
    CHECK(descriptor >= 0 && connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0);
    return descriptor;
}

/* The program accepts by itself, and is asked about each request. */
static void adopting(void) {
    state server_side, client_side;
    wsx_callbacks server_callbacks = callbacks_of(&server_side, 1), client_callbacks = callbacks_of(&client_side, 0);
    wsx_server_config config = wsx_server_config_init();
    wsx_client_config client = wsx_client_config_init();
    wsx_server server;
    wsx_connection connection, none;
    int port, listener = listen_somewhere(&port), silent, descriptor, over = 0;
    char url[64];
    server_callbacks.on_released = NULL;
    config.callbacks = &server_callbacks;
    config.queue = queue;
    config.does_not_listen = 1;
    config.on_request = on_request;
    config.handshake_timeout_ms = 60000;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_STATUS(wsx_server_adopt_start(server, -1, adopted, &server_side, NULL), WSX_BAD_DESCRIPTOR);
    CHECK_STATUS(wsx_server_adopt_start(server, listener, adopted, &server_side, NULL), WSX_BAD_DESCRIPTOR);

    /* A client that says nothing holds up no other. */
    silent = silent_client(port);
    descriptor = accept(listener, NULL, NULL);
    CHECK(descriptor >= 0);
    CHECK_OK_E(wsx_server_adopt_start(server, descriptor, adopted, &server_side, &error));

    client.callbacks = &client_callbacks;
    client.queue = queue;
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/yes", port);
    CHECK_OK_E(wsx_connect_start(url, &client, &connection, &error));
    descriptor = accept(listener, NULL, NULL);
    CHECK(descriptor >= 0);
    /* What waits would wait for this thread, and says so; the socket stays the program's. */
    until(&over, 0);
    CHECK_OK(wsx_queue_dispatch(queue, 0, NULL, NULL));
    CHECK_STATUS(wsx_server_adopt(server, descriptor, &none, NULL), WSX_WRONG_THREAD);
    CHECK_OK_E(wsx_server_adopt_start(server, descriptor, adopted, &server_side, &error));
    until(&server_side.adopted, 1);
    CHECK(server_side.adopt_status == WSX_OK && server_side.asked == 1);
    until(&client_side.opened, 1);
    CHECK_OK(wsx_send(connection, WSX_TEXT, "adopted", 7, 0, NULL));
    until(&client_side.messages, 1);
    CHECK(strcmp(client_side.text, "adopted") == 0);
    CHECK_OK_E(wsx_ping_start(server_side.taken, WSX_NEVER, pinged, &server_side, &error));
    until(&server_side.pinged, 1);
    CHECK_OK_E(wsx_close_start(server_side.taken, 4000, "done", close_told, &server_side, &error));
    until(&server_side.close_told, 1);
    until(&server_side.closed, 1);
    until(&client_side.closed, 1);
    CHECK_STATUS(wsx_close_start(connection, 99, NULL, close_told, &client_side, NULL), WSX_INVALID_CLOSE_CODE);
    CHECK_OK_E(wsx_ping_start(connection, 5000, not_pinged, &client_side, &error));
    until(&client_side.pinged, 1);
    CHECK_OK(wsx_connection_free(server_side.taken));
    CHECK_OK(wsx_connection_free(connection));

    /* Refused. */
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/no", port);
    CHECK_OK_E(wsx_connect_start(url, &client, &connection, &error));
    descriptor = accept(listener, NULL, NULL);
    CHECK_OK_E(wsx_server_adopt_start(server, descriptor, adopted, &server_side, &error));
    until(&server_side.adopted, 2);
    CHECK(server_side.adopt_status == WSX_HANDSHAKE_REJECTED && server_side.taken.id == 0);
    until(&client_side.closed, 2);
    CHECK_OK(wsx_connection_free(connection));

    /* Left to the server. */
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/mine", port);
    CHECK_OK_E(wsx_connect_start(url, &client, &connection, &error));
    descriptor = accept(listener, NULL, NULL);
    CHECK_OK_E(wsx_server_adopt_start(server, descriptor, NULL, NULL, &error));
    until(&server_side.opened, 2);
    until(&client_side.opened, 2);
    CHECK_OK(wsx_abort(connection, NULL));
    until(&server_side.closed, 2);
    CHECK_STATUS(wsx_connection_free(server_side.last), WSX_INVALID_HANDLE);
    CHECK_OK(wsx_connection_free(connection));

    /* The silent one leaves. */
    CHECK(server_side.adopted == 2);
    close(silent);
    until(&server_side.adopted, 3);
    CHECK(server_side.adopt_status != WSX_OK);
    CHECK_OK_E(wsx_server_shut_down_start(server, 5000, count_up, &over, &error));
    CHECK_STATUS(wsx_server_free(server), WSX_INVALID_HANDLE);
    until(&over, 1);
    close(listener);
}

/* ---- Pools ---- */

typedef struct borrower {
    int done, messages, closed, released;
    wsx_connection connection, first;
} borrower;

static void lent(void *user, wsx_connection connection, const wsx_error *error) {
    borrower *self = (borrower *)user;
    is_home();
    CHECK(error == NULL);
    self->connection = connection;
    CHECK_OK(wsx_connection_set_data(connection, self, NULL));
    CHECK_OK(wsx_send(connection, WSX_TEXT, "question", 8, 0, NULL));
    self->done++;
}

static void answered(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    borrower *self = (borrower *)user;
    void *mine = NULL;
    is_home();
    CHECK(kind == WSX_TEXT && length == 8 && memcmp(data, "question", 8) == 0);
    CHECK_OK(wsx_connection_data(connection, &mine, NULL));
    CHECK(mine == self && connection.id == self->connection.id);
    self->messages++;
    if (self->messages == 100) return;
    CHECK_OK(wsx_pool_release(connection, 0, NULL));
}

static void lease_closed(void *user, wsx_connection connection, const wsx_error *reason) {
    borrower *self = (borrower *)user;
    is_home();
    CHECK(reason->status == WSX_CLOSED && connection.id == self->connection.id);
    self->closed++;
}

static void pool_released(void *user) { ((borrower *)user)->released++; }

static void borrowing(const char *url, int *server_closed, wsx_connection *server_side) {
    const char *urls[2];
    borrower self;
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_pool_config config = wsx_pool_config_init();
    wsx_pool_statistics statistics = wsx_pool_statistics_init();
    wsx_pool pool;
    int over = 0;
    urls[0] = url;
    urls[1] = NULL;
    memset(&self, 0, sizeof self);
    callbacks.user = &self;
    callbacks.on_message = answered;
    callbacks.on_close = lease_closed;
    callbacks.on_released = pool_released;
    config.queue = queue;
    config.maximum_connections = 1;
    config.lease_callbacks = &callbacks;
    CHECK_OK_E(wsx_pool_create(urls, &config, &pool, &error));
    for (int turn = 1; turn <= 100; turn++) {
        CHECK_OK_E(wsx_pool_acquire_start(pool, WSX_NEVER, lent, &self, &error));
        until(&self.messages, turn);
    }
    CHECK(self.done == 100 && self.closed == 0);
    /* A connection that has callbacks is used again like any other. */
    CHECK_OK(wsx_pool_get_statistics(pool, &statistics, NULL));
    CHECK(statistics.connects_succeeded == 1 && statistics.leased == 1);
    /* The last one is still lent when its peer goes. */
    CHECK_OK(wsx_abort(*server_side, NULL));
    until(&self.closed, 1);
    until(server_closed, 1);
    CHECK_OK(wsx_pool_release(self.connection, 1, NULL));
    CHECK(self.released == 0);
    CHECK_OK_E(wsx_pool_shut_down_start(pool, 5000, count_up, &over, &error));
    CHECK_STATUS(wsx_pool_free(pool), WSX_INVALID_HANDLE);
    until(&over, 1);
    until(&self.released, 1);
}

/* ---- Sessions ---- */

typedef struct follower {
    int connected, messages, ended, released, over;
} follower;

static void happened(void *user, wsx_session session, const wsx_session_event *event) {
    follower *self = (follower *)user;
    is_home();
    CHECK(self->ended == 0 && self->released == 0 && self->over == 0);
    switch (event->type) {
    case WSX_EVENT_CONNECTED:
        CHECK_OK(wsx_session_send(session, WSX_TEXT, "hello", 5, 0, NULL));
        self->connected++;
        break;
    case WSX_EVENT_MESSAGE: self->messages++; break;
    case WSX_EVENT_ENDED: self->ended++; break;
    default: break;
    }
}

static void follower_released(void *user) {
    follower *self = (follower *)user;
    is_home();
    CHECK(self->ended == 1 && self->over == 0);
    self->released++;
}

static void follower_over(void *user) {
    follower *self = (follower *)user;
    is_home();
    CHECK(self->ended == 1 && self->released == 1);
    self->over++;
}

static void following(const char *url) {
    follower self;
    wsx_session_config config = wsx_session_config_init();
    wsx_session session;
    memset(&self, 0, sizeof self);
    config.queue = queue;
    config.user = &self;
    config.on_event = happened;
    config.on_released = follower_released;
    CHECK_OK_E(wsx_session_create(url, &config, &session, &error));
    until(&self.connected, 1);
    until(&self.messages, 1);
    CHECK_OK_E(wsx_session_shut_down_start(session, follower_over, &self, &error));
    CHECK_STATUS(wsx_session_free(session), WSX_INVALID_HANDLE);
    until(&self.over, 1);
    /* The form that waits tells its end as well: it ended while this thread could not be told. */
    memset(&self, 0, sizeof self);
    CHECK_OK_E(wsx_session_create(url, &config, &session, &error));
    until(&self.messages, 1);
    CHECK_OK_E(wsx_session_shut_down(session, &error));
    until(&self.released, 1);
    CHECK(self.ended == 1);
}

PROGRAM(evented) {
    (void)count;
    (void)arguments;
    state server_side;
    wsx_callbacks callbacks;
    wsx_server_config config = wsx_server_config_init();
    wsx_server server;
    int32_t port;
    int over = 0;
    char url[64];
    home = pthread_self();
    CHECK_OK_E(wsx_queue_create(&queue, &error));
    adopting();
    callbacks = callbacks_of(&server_side, 1);
    config.callbacks = &callbacks;
    config.queue = queue;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, &port, NULL));
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", (int)port);
    borrowing(url, &server_side.closed, &server_side.last);
    following(url);
    CHECK_OK_E(wsx_server_shut_down_start(server, 5000, count_up, &over, &error));
    until(&over, 1);
    CHECK_OK(wsx_queue_free(queue));
    return 0;
}
