/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* A session comes back by itself, subscribes again, and says where something may be missing. */
#include "check.h"
#include "programs.h"

typedef struct record {
    counter connected, disconnected, gaps, messages, ended, released;
    char last[64];
    int32_t ended_status;
} record;

static void on_event(void *user, wsx_session session, const wsx_session_event *event) {
    record *self = (record *)user;
    CHECK(session.id != 0 && event->size == sizeof *event && event->text != NULL);
    switch (event->type) {
    case WSX_EVENT_MESSAGE:
        CHECK(event->kind == WSX_TEXT && event->length < sizeof self->last);
        memcpy(self->last, event->data, event->length);
        self->last[event->length] = 0;
        counter_add(&self->messages, 1);
        break;
    case WSX_EVENT_CONNECTED:
        CHECK(event->is_reconnect == (counter_value(&self->connected) > 0));
        CHECK_OK(wsx_session_send(session, WSX_TEXT, "from the event", 14, WSX_NEVER, NULL));
        CHECK_STATUS(wsx_session_shut_down(session, NULL), WSX_WRONG_THREAD);
        counter_add(&self->connected, 1);
        break;
    case WSX_EVENT_DISCONNECTED: counter_add(&self->disconnected, 1); break;
    case WSX_EVENT_GAP: counter_add(&self->gaps, 1); break;
    case WSX_EVENT_ENDED:
        self->ended_status = event->error ? event->error->status : WSX_OK;
        counter_add(&self->ended, 1);
        break;
    default: break;
    }
}

static void on_released(void *user) { counter_add(&((record *)user)->released, 1); }

static wsx_session_config configure(record *self) {
    wsx_session_config config = wsx_session_config_init();
    memset(self, 0, sizeof *self);
    counter_init(&self->connected);
    counter_init(&self->disconnected);
    counter_init(&self->gaps);
    counter_init(&self->messages);
    counter_init(&self->ended);
    counter_init(&self->released);
    config.user = self;
    config.on_event = on_event;
    config.on_released = on_released;
    config.reconnect_minimum_ms = 1;
    config.reconnect_maximum_ms = 5;
    config.subscribe = "+%s";
    config.unsubscribe = "-%s";
    return config;
}

static void events(const char *url) {
    record self;
    wsx_session_config config = configure(&self);
    wsx_session session;
    wsx_session_statistics statistics = wsx_session_statistics_init();
    wsx_message message;
    CHECK_OK_E(wsx_session_create(url, &config, &session, &error));
    CHECK_OK_E(wsx_session_wait_connected(session, 10000, &error));
    counter_wait(&self.messages, 1);
    CHECK(strcmp(self.last, "from the event") == 0);
    CHECK_OK(wsx_session_subscribe(session, "news", NULL));
    counter_wait(&self.messages, 2);
    CHECK(strcmp(self.last, "+news") == 0);
    CHECK_STATUS(wsx_session_receive(session, 0, &message, NULL), WSX_INVALID_ARGUMENT);
    /* Leaves, and comes back with the subscription. */
    CHECK_OK(wsx_session_disconnect(session, 1, NULL));
    counter_wait(&self.connected, 2);
    counter_wait(&self.messages, 4);
    CHECK(counter_value(&self.disconnected) == 1 && counter_value(&self.gaps) == 1);
    CHECK_OK(wsx_session_unsubscribe(session, "news", NULL));
    counter_wait(&self.messages, 5);
    CHECK(strcmp(self.last, "-news") == 0);
    CHECK_OK(wsx_session_get_statistics(session, &statistics, NULL));
    CHECK(statistics.connects == 2 && statistics.messages_received == 5 && statistics.is_connected == 1);
    CHECK_OK_E(wsx_session_shut_down(session, &error));
    counter_wait(&self.released, 1);
    CHECK_STATUS(wsx_session_free(session), WSX_INVALID_HANDLE);
}

static void receiving(const char *url) {
    wsx_session session;
    wsx_message message;
    CHECK_OK_E(wsx_session_create(url, NULL, &session, &error));
    CHECK_OK_E(wsx_session_wait_connected(session, 10000, &error));
    CHECK_OK_E(wsx_session_send(session, WSX_BINARY, "\0\1", 2, 5000, &error));
    CHECK_OK_E(wsx_session_receive(session, 5000, &message, &error));
    CHECK(message.kind == WSX_BINARY && message.length == 2 && message.data[1] == 1);
    CHECK_OK(wsx_message_free(&message));
    CHECK_STATUS(wsx_session_receive(session, 1, &message, NULL), WSX_TIMED_OUT);
    CHECK_OK(wsx_session_free(session));
    CHECK_STATUS(wsx_session_send(session, WSX_TEXT, "x", 1, 0, NULL), WSX_INVALID_HANDLE);
}

static void gives_up(void) {
    record self;
    wsx_session_config config = configure(&self);
    wsx_session session;
    config.maximum_attempts = 2;
    CHECK_OK_E(wsx_session_create("ws://127.0.0.1:1/", &config, &session, &error));
    counter_wait(&self.ended, 1);
    CHECK(self.ended_status == WSX_RECONNECT_FAILED);
    CHECK(wsx_session_wait_connected(session, 10, NULL) != WSX_OK);
    CHECK_OK(wsx_session_free(session));
    counter_wait(&self.released, 1);
    CHECK(counter_value(&self.connected) == 0);
}

PROGRAM(session) {
    (void)count;
    (void)arguments;
    echo_server echo;
    echo_start(&echo);
    events(echo.url);
    receiving(echo.url);
    gives_up();
    echo_stop(&echo);
    return 0;
}
