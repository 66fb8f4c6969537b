/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* Programs that were compiled with an earlier header, whose structures are smaller, run with today's library. */
#include "yesterday/wsx-0.1.h"

#include "check.h"

#undef PROGRAM
#define PROGRAM(name) static int yesterdays_##name(int count, char **arguments)

#include "misuse.c"
#include "callbacks.c"
#include "server.c"
#define configure configure_session
#include "session.c"
#undef configure

/* Nothing is written behind what the program of that time has room for. */
static void nothing_is_written_behind(void) {
    struct {
        wsx_error error;
        unsigned char behind[4096];
    } room;
    static const char *const refused[] = {"X-Token: bad", NULL};
    echo_server echo;
    int32_t port;
    char url[64];
    wsx_queue none = {0};
    wsx_server server = start(&echo, none, &port);
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection;
    memset(&room, 0xAA, sizeof room);
    room.error = wsx_error_init();
    config.headers = refused;
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/path?q=1", (int)port);
    CHECK_STATUS(wsx_connect(url, &config, &connection, &room.error), WSX_HANDSHAKE_REJECTED);
    CHECK(room.error.size == sizeof room.error && room.error.http_status == 401 && room.error.message[0] != 0);
    for (size_t index = 0; index < sizeof room.behind; index++) CHECK(room.behind[index] == 0xAA);
    CHECK_OK(wsx_server_shut_down(server, 5000, NULL));
    counter_wait(&echo.released, 1);
}

#undef PROGRAM
#ifdef CABI_LIBRARY
#define PROGRAM(name) int cabi_##name(int count, char **arguments)
#else
#define PROGRAM(name) int main(int count, char **arguments)
#endif

PROGRAM(yesterday) {
    CHECK(sizeof(wsx_error) == 816);
    CHECK(yesterdays_misuse(count, arguments) == 0);
    CHECK(yesterdays_callbacks(count, arguments) == 0);
    CHECK(yesterdays_server(count, arguments) == 0);
    CHECK(yesterdays_session(count, arguments) == 0);
    nothing_is_written_behind();
    return 0;
}
