/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* Whose connection it is: what a server's program leaves in on_request and finds again, what both sides know of the
 * handshake, and what a refusal says. */
#include "check.h"
#include "programs.h"

/* What the program keeps of a client, from the request to the end of the connection. */
typedef struct client {
    char name[32];
} client;

typedef struct desk {
    counter opened, closed, made, freed, dropped, released;
    int keeps_all;
} desk;

static const char *header(const char *const *headers, const char *name) {
    for (; *headers; headers += 2)
        if (strcmp(headers[0], name) == 0) return headers[1];
    return NULL;
}

static void decide(void *user, const wsx_request *request, wsx_response *response) {
    static const char *const accepted[] = {"X-Decided: yes", "Set-Cookie: a=1", NULL};
    static const char *const refused[] = {"Retry-After: 7", "X-Reason: no name", NULL};
    desk *self = (desk *)user;
    const char *name = header(request->headers, "X-Name");
    client *left = (client *)calloc(1, sizeof *left);
    CHECK(left != NULL && response->data == NULL && response->user == NULL);
    CHECK(strncmp(request->local_address, "127.0.0.1:", 10) == 0 && request->certificate == NULL);
    counter_add(&self->made, 1);
    response->data = left;
    if (name == NULL) {
        response->status = 403;
        response->headers = refused;
        response->body = "who are you?\n";
        response->body_length = 13;
        return;
    }
    snprintf(left->name, sizeof left->name, "%s", name);
    response->user = left->name;
    response->headers = accepted;
}

static void dropped(void *user, void *data) {
    desk *self = (desk *)user;
    CHECK(data != NULL && counter_value(&self->released) == 0);
    free(data);
    counter_add(&self->freed, 1);
    counter_add(&self->dropped, 1);
}

static client *client_of(wsx_connection connection) {
    void *data = NULL;
    CHECK_OK(wsx_connection_data(connection, &data, NULL));
    CHECK(data != NULL);
    return (client *)data;
}

static void check_known(wsx_connection connection) {
    client *who = client_of(connection);
    wsx_handshake handshake = wsx_handshake_init();
    char target[64];
    CHECK_OK_E(wsx_connection_get_handshake(connection, &handshake, &error));
    snprintf(target, sizeof target, "/%s?q=%%20", who->name);
    CHECK(strcmp(handshake.target, target) == 0);
    CHECK(strcmp(header(handshake.headers, "X-Name"), who->name) == 0);
    CHECK(header(handshake.headers, "Sec-WebSocket-Key") != NULL && header(handshake.headers, "X-None") == NULL);
    CHECK(handshake.user != NULL && strcmp(handshake.user, who->name) == 0);
    CHECK(handshake.url == NULL && handshake.status == 0 && handshake.response_headers[0] == NULL);
    CHECK(handshake.certificate == NULL && strncmp(handshake.remote_address, "127.0.0.1:", 10) == 0);
    CHECK_OK(wsx_handshake_free(&handshake));
    CHECK(handshake.id == 0 && handshake.target == NULL && handshake.size == sizeof handshake);
    CHECK_STATUS(wsx_handshake_free(&handshake), WSX_INVALID_HANDLE);
}

static void on_open(void *user, wsx_connection connection) {
    check_known(connection);
    counter_add(&((desk *)user)->opened, 1);
}

static void on_message(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    client *who = client_of(connection);
    (void)user;
    (void)data;
    (void)length;
    CHECK_OK(wsx_send(connection, kind, who->name, strlen(who->name), 0, NULL));
}

static void on_close(void *user, wsx_connection connection, const wsx_error *reason) {
    desk *self = (desk *)user;
    CHECK(reason != NULL);
    check_known(connection);
    free(client_of(connection));
    counter_add(&self->freed, 1);
    counter_add(&self->closed, 1);
}

static void on_released(void *user) { counter_add(&((desk *)user)->released, 1); }

static void serve(desk *self, wsx_queue queue, wsx_server *server, int32_t *port) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_server_config config = wsx_server_config_init();
    memset(self, 0, sizeof *self);
    counter_init(&self->opened);
    counter_init(&self->closed);
    counter_init(&self->made);
    counter_init(&self->freed);
    counter_init(&self->dropped);
    counter_init(&self->released);
    callbacks.user = self;
    callbacks.on_open = on_open;
    callbacks.on_message = on_message;
    callbacks.on_close = on_close;
    callbacks.on_released = on_released;
    config.callbacks = &callbacks;
    config.queue = queue;
    config.on_request = decide;
    config.on_request_dropped = dropped;
    CHECK_OK_E(wsx_server_create(&config, server, &error));
    CHECK_OK(wsx_server_port(*server, port, NULL));
}

static void refusal(int32_t port) {
    wsx_connection connection;
    wsx_error error = wsx_error_init();
    char url[64];
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", (int)port);
    CHECK_STATUS(wsx_connect(url, NULL, &connection, &error), WSX_HANDSHAKE_REJECTED);
    CHECK(error.http_status == 403 && error.response_body_length == 13);
    CHECK(strcmp(error.response_body, "who are you?\n") == 0);
    CHECK(strstr(error.response_headers, "Retry-After: 7\n") != NULL);
    CHECK(strstr(error.response_headers, "X-Reason: no name\n") != NULL);
    CHECK(error.response_headers[strlen(error.response_headers) - 1] == '\n');
    /* The next failure of another kind has nothing of it left. */
    CHECK_STATUS(wsx_connect("ftp://", NULL, &connection, &error), WSX_INVALID_URL);
    CHECK(error.response_headers[0] == 0 && error.response_body_length == 0 && error.http_status == 0);
}

static void clients(int32_t port) {
    static const char *const names[] = {"alice", "bob"};
    wsx_connection connections[2];
    for (int index = 0; index < 2; index++) {
        char url[64], line[64];
        const char *headers[2];
        wsx_client_config config = wsx_client_config_init();
        wsx_handshake handshake = wsx_handshake_init();
        snprintf(url, sizeof url, "ws://127.0.0.1:%d/%s?q=%%20", (int)port, names[index]);
        snprintf(line, sizeof line, "X-Name: %s", names[index]);
        headers[0] = line;
        headers[1] = NULL;
        config.headers = headers;
        CHECK_OK_E(wsx_connect(url, &config, &connections[index], &error));
        CHECK_OK_E(wsx_connection_get_handshake(connections[index], &handshake, &error));
        CHECK(handshake.status == 101 && strcmp(header(handshake.response_headers, "X-Decided"), "yes") == 0);
        CHECK(strcmp(header(handshake.response_headers, "Set-Cookie"), "a=1") == 0);
        CHECK(strcmp(header(handshake.headers, "X-Name"), names[index]) == 0);
        CHECK(handshake.user == NULL && strncmp(handshake.url, "ws://127.0.0.1:", 15) == 0);
        CHECK_OK(wsx_handshake_free(&handshake));
    }
    for (int index = 0; index < 2; index++) {
        wsx_message message;
        CHECK_OK(wsx_send(connections[index], WSX_TEXT, "who am I?", 9, WSX_NEVER, NULL));
        CHECK_OK_E(wsx_receive(connections[index], WSX_NEVER, &message, &error));
        CHECK(strcmp(message.data, names[index]) == 0);
        CHECK_OK(wsx_message_free(&message));
    }
    CHECK_OK_E(wsx_close(connections[0], 1000, NULL, NULL, &error));
    /* The other one ends with the server. */
    CHECK_OK(wsx_connection_free(connections[0]));
    CHECK_OK(wsx_abort(connections[1], NULL));
    CHECK_OK(wsx_connection_free(connections[1]));
}

static void check_balance(desk *self) {
    counter_wait(&self->released, 1);
    CHECK(counter_value(&self->made) == 3 && counter_value(&self->freed) == 3);
    CHECK(counter_value(&self->dropped) == 1 && counter_value(&self->closed) == counter_value(&self->opened));
}

static void on_loops(void) {
    desk self;
    wsx_queue none = {0};
    wsx_server server;
    int32_t port;
    serve(&self, none, &server, &port);
    refusal(port);
    clients(port);
    counter_wait(&self.closed, 2);
    CHECK_OK_E(wsx_server_shut_down(server, 5000, &error));
    check_balance(&self);
}

typedef struct dispatcher {
    wsx_queue queue;
    counter stop;
} dispatcher;

static void *dispatch(void *argument) {
    dispatcher *self = (dispatcher *)argument;
    while (!counter_value(&self->stop)) wsx_queue_wait(self->queue, 20, NULL, NULL);
    return NULL;
}

static void on_a_queue(void) {
    desk self;
    dispatcher other;
    pthread_t thread;
    wsx_server server;
    int32_t port;
    CHECK_OK_E(wsx_queue_create(&other.queue, &error));
    counter_init(&other.stop);
    serve(&self, other.queue, &server, &port);
    CHECK(pthread_create(&thread, NULL, dispatch, &other) == 0);
    refusal(port);
    clients(port);
    counter_wait(&self.closed, 2);
    CHECK_OK(wsx_server_free(server));
    check_balance(&self);
    counter_add(&other.stop, 1);
    pthread_join(thread, NULL);
    CHECK_OK(wsx_queue_free(other.queue));
}

/* A failed call tells nothing but its failure: whoever freed `user` because of it would free it twice. */
static void not_to_be_told(void *user) {
    (void)user;
    CHECK(!"on_released after a failure");
}

static void failures_are_not_released(void) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection;
    echo_server echo;
    callbacks.on_released = not_to_be_told;
    config.callbacks = &callbacks;
    CHECK_STATUS(wsx_connect("ws://127.0.0.1:1/", &config, &connection, NULL), WSX_CONNECT_FAILED);
    CHECK(wsx_connect("ws://name.invalid/", &config, &connection, NULL) != WSX_OK);
    CHECK_STATUS(wsx_connect_start("nothing", &config, &connection, NULL), WSX_INVALID_URL);
    /* A whole life on every loop: what was to come has come. */
    for (int round = 0; round < 8; round++) {
        echo_start(&echo);
        CHECK_OK_E(wsx_connect(echo.url, NULL, &connection, &error));
        check_echo(connection, "still here");
        CHECK_OK(wsx_connection_free(connection));
        counter_wait(&echo.closed, 1);
        echo_stop(&echo);
    }
}

/* What a TLS server shows, as its client sees it. */
static void certificates(const char *directory) {
    char certificate[512], key[512], authority[512], url[64];
    wsx_server_config config = wsx_server_config_init();
    wsx_client_config trusting = wsx_client_config_init();
    wsx_handshake handshake = wsx_handshake_init();
    wsx_server server;
    wsx_connection connection;
    int32_t port;
    int names = 0;
    snprintf(certificate, sizeof certificate, "%s/valid.pem", directory);
    snprintf(key, sizeof key, "%s/valid.key", directory);
    snprintf(authority, sizeof authority, "%s/ca.pem", directory);
    config.certificate_file = certificate;
    config.key_file = key;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, &port, NULL));
    snprintf(url, sizeof url, "wss://localhost:%d/", (int)port);
    trusting.ca_file = authority;
    CHECK_OK_E(wsx_connect(url, &trusting, &connection, &error));
    CHECK_OK_E(wsx_connection_get_handshake(connection, &handshake, &error));
    CHECK_OK(wsx_connection_free(connection));
    CHECK_OK(wsx_server_free(server));
    /* It outlives the connection. */
    CHECK(handshake.certificate != NULL && handshake.certificate->size >= sizeof *handshake.certificate);
    CHECK(strncmp(handshake.certificate->subject, "CN=", 3) == 0 && handshake.certificate->issuer[0] != 0);
    for (; handshake.certificate->names[names]; names++)
        if (strcmp(handshake.certificate->names[names], "localhost") == 0) break;
    CHECK(handshake.certificate->names[names] != NULL);
    CHECK(strlen(handshake.certificate->fingerprint) == 64);
    CHECK(strspn(handshake.certificate->fingerprint, "0123456789abcdef") == 64);
    CHECK(strlen(handshake.certificate->public_key_pin) == 44);
    CHECK(handshake.certificate->der_length > 100 && ((const unsigned char *)handshake.certificate->der)[0] == 0x30);
    CHECK(handshake.certificate->valid_from < handshake.certificate->valid_until);
    CHECK_OK(wsx_handshake_free(&handshake));
}

PROGRAM(identity) {
    const char *directory = count > 1 ? arguments[1] : getenv("WSX_TEST_CERTS");
    CHECK(directory != NULL);
    on_loops();
    on_a_queue();
    failures_are_not_released();
    certificates(directory);
    return 0;
}
