/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* A program that ends in the middle of everything. */
#include "check.h"
#include "programs.h"

enum { CONNECTIONS = 200 };

PROGRAM(leaving) {
    /* Not on the stack of a function that returns: the server's callbacks use it until the process is gone. */
    static echo_server echo;
    static const char *urls[2];
    wsx_connection connections[CONNECTIONS];
    wsx_session session;
    wsx_pool pool;
    (void)count;
    (void)arguments;
    echo_start(&echo);
    for (int index = 0; index < CONNECTIONS; index++) {
        CHECK_OK_E(wsx_connect(echo.url, NULL, &connections[index], &error));
        CHECK_OK(wsx_send(connections[index], WSX_TEXT, "on its way", 10, 0, NULL));
    }
    urls[0] = echo.url;
    CHECK_OK_E(wsx_pool_create(urls, NULL, &pool, &error));
    CHECK_OK_E(wsx_pool_acquire(pool, 5000, &connections[0], &error));
    CHECK_OK_E(wsx_session_create(echo.url, NULL, &session, &error));
    exit(0);
}
