/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* A server: who is let in, what is taken over, what all get. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "programs.h"

static void decide(void *user, const wsx_request *request, wsx_response *response) {
    static const char *const headers[] = {"X-Decided: yes", NULL};
    const char *token = NULL;
    CHECK(user != NULL && response->status == 101 && request->size >= sizeof *request);
    for (const char *const *header = request->headers; *header; header += 2)
        if (strcmp(header[0], "X-Token") == 0) token = header[1];
    if (!request->is_websocket) {
        response->status = 200;
        response->body = "plain";
        response->body_length = 5;
        return;
    }
    response->headers = headers;
    if (token == NULL || strcmp(token, "good") != 0) {
        response->status = 401;
        return;
    }
    CHECK(strcmp(request->target, "/path?q=1") == 0 && strcmp(request->method, "GET") == 0);
    if (request->subprotocols[0] && strcmp(request->subprotocols[0], "one") == 0) response->subprotocol = "two";
}

static wsx_server start(echo_server *echo, wsx_queue queue, int32_t *port) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_server_config config = wsx_server_config_init();
    wsx_server server;
    counter_init(&echo->opened);
    counter_init(&echo->closed);
    counter_init(&echo->released);
    callbacks.user = echo;
    callbacks.on_open = echo_opened;
    callbacks.on_message = echo_message;
    callbacks.on_close = echo_closed;
    callbacks.on_released = echo_released;
    config.callbacks = &callbacks;
    config.queue = queue;
    config.on_request = decide;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, port, NULL));
    return server;
}

static void deciding(void) {
    static const char *const good[] = {"X-Token: good", NULL};
    static const char *const bad[] = {"X-Token: bad", NULL};
    static const char *const protocols[] = {"one", "two", NULL};
    echo_server echo;
    int32_t port;
    char url[64];
    wsx_queue none = {0};
    wsx_server server = start(&echo, none, &port);
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection;
    wsx_connection_info info = wsx_connection_info_init();
    wsx_error error = wsx_error_init();
    wsx_server_statistics statistics = wsx_server_statistics_init();
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/path?q=1", (int)port);
    config.headers = bad;
    CHECK_STATUS(wsx_connect(url, &config, &connection, &error), WSX_HANDSHAKE_REJECTED);
    CHECK(error.http_status == 401 && error.status == WSX_HANDSHAKE_REJECTED && connection.id == 0);
    config.headers = good;
    config.subprotocols = protocols;
    config.deflate = WSX_ON;
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    CHECK_OK(wsx_connection_get_info(connection, &info, NULL));
    CHECK(strcmp(info.subprotocol, "two") == 0 && info.deflate == 1);
    check_echo(connection, "let in");
    CHECK_OK(wsx_server_get_statistics(server, &statistics, NULL));
    CHECK(statistics.accepted == 1);
    CHECK_OK(wsx_server_shut_down(server, 5000, NULL));
    counter_wait(&echo.released, 1);
    CHECK(counter_value(&echo.closed) == 1);
    wsx_message message;
    CHECK_STATUS(wsx_receive(connection, 5000, &message, &error), WSX_CLOSED);
    CHECK(error.close.received_code == 1001 && error.close.received_first);
    CHECK_OK(wsx_connection_free(connection));
}

/* The hook and the callbacks on a thread that dispatches. */
typedef struct dispatcher {
    wsx_queue queue;
    counter stop;
} dispatcher;

static void *dispatch(void *argument) {
    dispatcher *self = (dispatcher *)argument;
    while (!counter_value(&self->stop)) wsx_queue_wait(self->queue, 20, NULL, NULL);
    return NULL;
}

static void deciding_elsewhere(void) {
    static const char *const good[] = {"X-Token: good", NULL};
    echo_server echo;
    dispatcher self;
    pthread_t thread;
    int32_t port;
    char url[64];
    wsx_connection connection;
    wsx_client_config config = wsx_client_config_init();
    CHECK_OK_E(wsx_queue_create(&self.queue, &error));
    counter_init(&self.stop);
    wsx_server server = start(&echo, self.queue, &port);
    CHECK(pthread_create(&thread, NULL, dispatch, &self) == 0);
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/path?q=1", (int)port);
    config.headers = good;
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    check_echo(connection, "elsewhere");
    CHECK_OK(wsx_connection_free(connection));
    counter_wait(&echo.closed, 1);
    CHECK_OK(wsx_server_free(server));
    counter_wait(&echo.released, 1);
    counter_add(&self.stop, 1);
    pthread_join(thread, NULL);
    CHECK_OK(wsx_queue_free(self.queue));
}

static void broadcasting(void) {
    echo_server echo;
    wsx_connection connections[5];
    wsx_message message;
    echo_start(&echo);
    for (int index = 0; index < 5; index++) CHECK_OK_E(wsx_connect(echo.url, NULL, &connections[index], &error));
    counter_wait(&echo.opened, 5);
    CHECK_OK(wsx_server_broadcast(echo.server, WSX_TEXT, "to all", 6, NULL));
    CHECK_STATUS(wsx_server_broadcast(echo.server, WSX_TEXT, "\xff", 1, NULL), WSX_INVALID_UTF8);
    for (int index = 0; index < 5; index++) {
        CHECK_OK_E(wsx_receive(connections[index], 5000, &message, &error));
        CHECK(strcmp(message.data, "to all") == 0);
        CHECK_OK(wsx_message_free(&message));
        CHECK_OK_E(wsx_close(connections[index], 1000, NULL, NULL, &error));
        CHECK_OK(wsx_connection_free(connections[index]));
    }
    echo_stop(&echo);
}

static void *connect_to(void *argument) {
    wsx_connection connection;
    CHECK_OK_E(wsx_connect((const char *)argument, NULL, &connection, &error));
    check_echo(connection, "adopted");
    CHECK_OK_E(wsx_close(connection, 1000, NULL, NULL, &error));
    CHECK_OK(wsx_connection_free(connection));
    return NULL;
}

/* The program accepts by itself and hands over the socket. */
static void adopting(void) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), descriptor;
    char url[64];
    pthread_t thread;
    echo_server echo;
    wsx_connection connection;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", ntohs(address.sin_port));
    echo_start(&echo);
    CHECK_STATUS(wsx_server_adopt(echo.server, -1, &connection, NULL), WSX_BAD_DESCRIPTOR);
    CHECK_STATUS(wsx_server_adopt(echo.server, listener, &connection, NULL), WSX_BAD_DESCRIPTOR);
    CHECK(pthread_create(&thread, NULL, connect_to, url) == 0);
    descriptor = accept(listener, NULL, NULL);
    CHECK(descriptor >= 0);
    CHECK_OK_E(wsx_server_adopt(echo.server, descriptor, &connection, &error));
    pthread_join(thread, NULL);
    counter_wait(&echo.closed, 1);
    CHECK_OK(wsx_connection_free(connection));
    close(listener);
    echo_stop(&echo);
}

PROGRAM(server) {
    (void)count;
    (void)arguments;
    deciding();
    deciding_elsewhere();
    broadcasting();
    adopting();
    return 0;
}
