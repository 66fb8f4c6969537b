/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* Callbacks call back in, free what they are called for, and cannot hold up a loop by waiting. */
#include "check.h"
#include "programs.h"

typedef struct probe {
    counter opened, messages, closed, released;
    wsx_status status;
    char text[64];
    int frees_in_open, frees_in_message, frees_in_close;
    int waits;
    int32_t reason;
    uint16_t received_code;
} probe;

static void probe_opened(void *user, wsx_connection connection) {
    probe *self = (probe *)user;
    CHECK_OK(wsx_send(connection, WSX_TEXT, "from open", 9, WSX_NEVER, NULL));
    if (self->frees_in_open) {
        CHECK_OK(wsx_connection_free(connection));
        CHECK_STATUS(wsx_connection_free(connection), WSX_INVALID_HANDLE);
    }
    counter_add(&self->opened, 1);
}

static void probe_message(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    probe *self = (probe *)user;
    CHECK(kind == WSX_TEXT && length < sizeof self->text);
    memcpy(self->text, data, length);
    self->text[length] = 0;
    if (self->waits) {
        wsx_message message;
        wsx_connection other;
        CHECK_STATUS(wsx_ping(connection, 1000, NULL, NULL), WSX_WRONG_THREAD);
        CHECK_STATUS(wsx_receive(connection, 0, &message, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_connect("ws://127.0.0.1:1/", NULL, &other, NULL), WSX_WRONG_THREAD);
    }
    if (self->frees_in_message) CHECK_OK(wsx_connection_free(connection));
    counter_add(&self->messages, 1);
}

static void probe_closed(void *user, wsx_connection connection, const wsx_error *reason) {
    probe *self = (probe *)user;
    self->reason = reason->status;
    self->received_code = reason->close.received_code;
    CHECK(reason->message[0] != 0);
    if (self->frees_in_close) CHECK_OK(wsx_connection_free(connection));
    counter_add(&self->closed, 1);
}

static void probe_released(void *user) { counter_add(&((probe *)user)->released, 1); }

static wsx_client_config configure(probe *self, wsx_callbacks *callbacks) {
    wsx_client_config config = wsx_client_config_init();
    memset(self, 0, sizeof *self);
    counter_init(&self->opened);
    counter_init(&self->messages);
    counter_init(&self->closed);
    counter_init(&self->released);
    *callbacks = wsx_callbacks_init();
    callbacks->user = self;
    callbacks->on_open = probe_opened;
    callbacks->on_message = probe_message;
    callbacks->on_close = probe_closed;
    callbacks->on_released = probe_released;
    config.callbacks = callbacks;
    return config;
}

static void whole_life(const char *url) {
    probe self;
    wsx_callbacks callbacks;
    wsx_connection connection;
    wsx_client_config config = configure(&self, &callbacks);
    wsx_close_info info;
    void *data = NULL;
    self.waits = 1;
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    counter_wait(&self.messages, 1);
    CHECK(strcmp(self.text, "from open") == 0);
    CHECK_OK(wsx_connection_set_data(connection, &self, NULL));
    CHECK_OK(wsx_connection_data(connection, &data, NULL));
    CHECK(data == &self);
    CHECK_OK(wsx_send(connection, WSX_TEXT, "", 0, 0, NULL));
    counter_wait(&self.messages, 2);
    CHECK(self.text[0] == 0);
    CHECK_OK_E(wsx_close(connection, 4001, "enough", &info, &error));
    CHECK(info.sent_code == 4001 && strcmp(info.sent_reason, "enough") == 0 && info.received_code == 4001);
    counter_wait(&self.closed, 1);
    CHECK(self.reason == WSX_CLOSED && self.received_code == 4001);
    CHECK(counter_value(&self.released) == 0);
    CHECK_OK(wsx_connection_free(connection));
    counter_wait(&self.released, 1);
    CHECK(counter_value(&self.opened) == 1 && counter_value(&self.closed) == 1);
}

static void free_in(const char *url, int where) {
    probe self;
    wsx_callbacks callbacks;
    wsx_connection connection;
    wsx_client_config config = configure(&self, &callbacks);
    self.frees_in_open = where == 0;
    self.frees_in_message = where == 1;
    self.frees_in_close = where == 2;
    CHECK_OK_E(wsx_connect_start(url, &config, &connection, &error));
    if (where == 2) {
        counter_wait(&self.messages, 1);
        CHECK_OK(wsx_abort(connection, NULL));
    }
    counter_wait(&self.released, 1);
    CHECK_STATUS(wsx_connection_free(connection), WSX_INVALID_HANDLE);
    CHECK(counter_value(&self.closed) == (where == 2));
}

static void cannot_connect(void) {
    probe self;
    wsx_callbacks callbacks;
    wsx_connection connection;
    wsx_client_config config = configure(&self, &callbacks);
    wsx_connection_info info = wsx_connection_info_init();
    CHECK_OK_E(wsx_connect_start("ws://127.0.0.1:1/", &config, &connection, &error));
    counter_wait(&self.closed, 1);
    CHECK(self.reason == WSX_CONNECT_FAILED);
    CHECK_STATUS(wsx_send(connection, WSX_TEXT, "x", 1, 0, NULL), WSX_CONNECT_FAILED);
    CHECK_OK(wsx_connection_get_info(connection, &info, NULL));
    CHECK(info.state == WSX_STATE_CLOSED);
    CHECK_OK(wsx_connection_free(connection));
    counter_wait(&self.released, 1);
    CHECK(counter_value(&self.opened) == 0);
}

/* ---- Without a copy ---- */

static void tell_release(void *user, const void *data, wsx_status status) {
    counter *released = (counter *)user;
    CHECK(data != NULL && (status == WSX_OK || status == WSX_CLOSED));
    counter_add(released, 1);
}

static void without_copy(const char *url) {
    wsx_connection connection;
    wsx_message message;
    counter released;
    wsx_client_config config = wsx_client_config_init();
    size_t size = 300000;
    char *data = (char *)malloc(size);
    counter_init(&released);
    memset(data, 'z', size);
    config.outbound_bytes = 1024;
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    /* More than there is room for, so that some of them wait. */
    for (int round = 0; round < 8; round++)
        CHECK_OK_E(wsx_send_nocopy(connection, WSX_BINARY, data, size, tell_release, &released, &error));
    for (int round = 0; round < 8; round++) {
        CHECK_OK_E(wsx_receive(connection, 10000, &message, &error));
        CHECK(message.length == size && memcmp(message.data, data, size) == 0 && message.kind == WSX_BINARY);
        CHECK_OK(wsx_message_free(&message));
    }
    counter_wait(&released, 8);
    CHECK_STATUS(
        wsx_send_nocopy(connection, WSX_TEXT, "\xff", 1, tell_release, &released, NULL), WSX_INVALID_UTF8);
    CHECK_OK(wsx_abort(connection, NULL));
    CHECK_STATUS(wsx_receive(connection, WSX_NEVER, &message, NULL), WSX_CLOSED);
    CHECK_STATUS(wsx_send_nocopy(connection, WSX_TEXT, "x", 1, tell_release, &released, NULL), WSX_CLOSED);
    CHECK(counter_value(&released) == 8);
    CHECK_OK(wsx_connection_free(connection));
    free(data);
}

PROGRAM(callbacks) {
    (void)count;
    (void)arguments;
    echo_server echo;
    echo_start(&echo);
    whole_life(echo.url);
    for (int where = 0; where < 3; where++) free_in(echo.url, where);
    cannot_connect();
    without_copy(echo.url);
    echo_stop(&echo);
    return 0;
}
