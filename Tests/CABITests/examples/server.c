/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* A server with one thread and a loop of its own: rooms, which are paths, and names, without which nobody gets in. What
 * somebody says is heard by everybody in the room.
 *
 *     cc -std=c99 server.c $(pkg-config --cflags --libs wsx) -o server
 *     ./server 8080
 *     wsx connect -H 'X-Name: ada' ws://127.0.0.1:8080/kitchen
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <wsx.h>

/* Whose connection it is, from the request to the end. */
typedef struct guest {
    char name[64];
    char room[128];
} guest;

static wsx_topics rooms;
static const wsx_connection nobody;

static void on_request(void *user, const wsx_request *request, wsx_response *response) {
    const char *name = NULL;
    guest *who;
    (void)user;
    for (const char *const *header = request->headers; *header; header += 2)
        if (strcmp(header[0], "X-Name") == 0) name = header[1];
    if (!request->is_websocket || name == NULL || (who = calloc(1, sizeof *who)) == NULL) {
        response->status = 403;
        response->body = "X-Name says who you are\n";
        response->body_length = 24;
        return;
    }
    snprintf(who->name, sizeof who->name, "%s", name);
    snprintf(who->room, sizeof who->room, "%s", request->target);
    response->data = who;
}

/* The client left before it was let in. */
static void on_request_dropped(void *user, void *data) {
    (void)user;
    free(data);
}

static guest *guest_of(wsx_connection connection) {
    void *data = NULL;
    wsx_connection_data(connection, &data, NULL);
    return data;
}

static void on_open(void *user, wsx_connection connection) {
    (void)user;
    wsx_topics_subscribe(rooms, connection, guest_of(connection)->room, NULL);
}

static void on_message(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    (void)user;
    wsx_topics_publish(rooms, guest_of(connection)->room, kind, data, length, nobody, NULL);
}

static void on_close(void *user, wsx_connection connection, const wsx_error *reason) {
    guest *who = guest_of(connection);
    (void)user;
    printf("%s has left %s: %s\n", who->name, who->room, reason->message);
    free(who);
}

static void on_end(void *user) { *(int *)user = 1; }

int main(int count, char **arguments) {
    wsx_error error = wsx_error_init();
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_server_config config = wsx_server_config_init();
    wsx_server server;
    struct pollfd entries[2];
    sigset_t signals;
    int32_t port;
    int has_ended = 0;

    /* The library's threads block signals, so that this one gets them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    callbacks.user = &has_ended;
    callbacks.on_open = on_open;
    callbacks.on_message = on_message;
    callbacks.on_close = on_close;
    callbacks.on_released = on_end;
    config.callbacks = &callbacks;
    config.on_request = on_request;
    config.on_request_dropped = on_request_dropped;
    config.port = count > 1 ? atoi(arguments[1]) : 0;
    if (wsx_set_loops(1, &error) || wsx_topics_create(NULL, &rooms, &error) ||
        wsx_queue_create(&config.queue, &error) || wsx_server_create(&config, &server, &error) || wsx_server_port(server, &port, &error) ||
        wsx_queue_descriptor(config.queue, &entries[0].fd, &error)) {
        fprintf(stderr, "%s: %s\n", wsx_status_name(error.status), error.message);
        return 1;
    }
    printf("ws://127.0.0.1:%d\n", (int)port);
    fflush(stdout);

    entries[1].fd = signalfd(-1, &signals, SFD_CLOEXEC);
    entries[0].events = entries[1].events = POLLIN;
    while (!has_ended && poll(entries, 2, -1) > 0) {
        if (entries[1].revents) {
            struct signalfd_siginfo signal;
            if (read(entries[1].fd, &signal, sizeof signal) < 0) return 1;
            /* Everybody gets a close frame, and five seconds. */
            wsx_server_shut_down_start(server, 5000, NULL, NULL, NULL);
        }
        wsx_queue_dispatch(config.queue, 0, NULL, NULL);
    }
    wsx_topics_free(rooms);
    wsx_queue_free(config.queue);
    puts("bye");
    return 0;
}
