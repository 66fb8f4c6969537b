/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* A plain C client: one request through a pool, over TLS with permessage-deflate where the server has them.
 *
 *     cc -std=c99 client.c $(pkg-config --cflags --libs wsx) -o client
 *     ./client wss://example.com/rpc "hello" [authority.pem]
 */
#include <stdio.h>
#include <string.h>
#include <wsx.h>

static int complain(const char *what, const wsx_error *error) {
    fprintf(stderr, "%s: %s: %s\n", what, wsx_status_name(error->status), error->message);
    return 1;
}

int main(int count, char **arguments) {
    wsx_error error = wsx_error_init();
    wsx_client_config client = wsx_client_config_init();
    wsx_pool_config config = wsx_pool_config_init();
    wsx_connection_info info = wsx_connection_info_init();
    wsx_pool pool;
    wsx_connection connection;
    wsx_message reply;
    const char *urls[2];
    int code = 1;

    if (count < 3) {
        fprintf(stderr, "usage: %s URL TEXT [AUTHORITY]\n", arguments[0]);
        return 64;
    }
    urls[0] = arguments[1];
    urls[1] = NULL;
    client.deflate = WSX_ON;
    client.ca_file = count > 3 ? arguments[3] : NULL;
    config.client = &client;
    config.maximum_connections = 4;
    if (wsx_pool_create(urls, &config, &pool, &error)) return complain("pool", &error);

    if (wsx_pool_acquire(pool, 10000, &connection, &error)) {
        complain("acquire", &error);
    } else {
        const char *text = arguments[2];
        if (wsx_send(connection, WSX_TEXT, text, strlen(text), 5000, &error)) {
            complain("send", &error);
        } else if (wsx_receive(connection, 5000, &reply, &error)) {
            complain("receive", &error);
        } else {
            wsx_connection_get_info(connection, &info, NULL);
            printf("%s\n", reply.data);
            fprintf(stderr, "%s, deflate %s\n", info.tls_version[0] ? info.tls_version : "no TLS",
                    info.deflate ? "on" : "off");
            wsx_message_free(&reply);
            code = 0;
        }
        /* After a failure the exchange may be incomplete: the connection is not for the next one. */
        wsx_pool_release(connection, code != 0, NULL);
    }
    wsx_pool_shut_down(pool, 1000, NULL);
    return code;
}
