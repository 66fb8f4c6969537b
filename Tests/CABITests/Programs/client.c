/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* Against somebody else's server: TLS, deflate, refusals, close codes. Arguments: ws://…, wss://…, the authority's file. */
#include "check.h"
#include "programs.h"

static void plain(const char *base) {
    char url[128];
    wsx_connection connection;
    wsx_message message;
    wsx_error error = wsx_error_init();
    int64_t microseconds = -1;
    wsx_connection_info info = wsx_connection_info_init();
    snprintf(url, sizeof url, "%s/", base);
    CHECK_OK_E(wsx_connect(url, NULL, &connection, &error));
    check_echo(connection, "gr\xc3\xbc\xc3\x9f" "e");
    CHECK_OK_E(wsx_send(connection, WSX_BINARY, NULL, 0, 0, &error));
    CHECK_OK_E(wsx_receive(connection, 5000, &message, &error));
    CHECK(message.kind == WSX_BINARY && message.length == 0 && message.data != NULL);
    CHECK_OK(wsx_message_free(&message));
    CHECK_OK_E(wsx_ping(connection, 5000, &microseconds, &error));
    CHECK(microseconds >= 0);
    CHECK_OK(wsx_connection_get_info(connection, &info, NULL));
    CHECK(info.latency_us >= 0 && info.deflate == 0 && info.tls_version[0] == 0);
    CHECK(strstr(info.remote_address, "127.0.0.1") != NULL);
    CHECK_STATUS(wsx_receive(connection, 1, &message, &error), WSX_TIMED_OUT);
    CHECK(error.phase == WSX_PHASE_RECEIVE);
    CHECK_STATUS(wsx_receive(connection, 0, &message, &error), WSX_TIMED_OUT);
    CHECK_OK(wsx_connection_free(connection));

    snprintf(url, sizeof url, "%s/close-4444", base);
    CHECK_OK_E(wsx_connect(url, NULL, &connection, &error));
    CHECK_STATUS(wsx_receive(connection, 5000, &message, &error), WSX_CLOSED);
    CHECK(error.close.received_code == 4444 && error.close.received_first && !error.close.is_normal);
    CHECK(error.close.cause == WSX_CAUSE_CLOSING_HANDSHAKE);
    CHECK_STATUS(wsx_send(connection, WSX_TEXT, "x", 1, 0, NULL), WSX_CLOSED);
    CHECK_OK(wsx_connection_free(connection));

    snprintf(url, sizeof url, "%s/reject-403", base);
    CHECK_STATUS(wsx_connect(url, NULL, &connection, &error), WSX_HANDSHAKE_REJECTED);
    CHECK(error.http_status == 403);
    CHECK_STATUS(wsx_connect("ws://name.invalid/", NULL, &connection, &error), WSX_NAME_NOT_FOUND);

    snprintf(url, sizeof url, "%s/handshake-silent", base);
    wsx_client_config config = wsx_client_config_init();
    config.open_timeout_ms = 100;
    CHECK_STATUS(wsx_connect(url, &config, &connection, &error), WSX_TIMED_OUT);
    CHECK(error.phase == WSX_PHASE_UPGRADE);

    config = wsx_client_config_init();
    config.maximum_message_size = 1000;
    snprintf(url, sizeof url, "%s/big/2000", base);
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    CHECK_STATUS(wsx_receive(connection, 5000, &message, &error), WSX_MESSAGE_TOO_BIG);
    CHECK_OK(wsx_connection_free(connection));
}

static void tls(const char *base, const char *authority) {
    char url[128], text[2000];
    wsx_connection connection;
    wsx_error error = wsx_error_init();
    wsx_client_config config = wsx_client_config_init();
    wsx_connection_info info = wsx_connection_info_init();
    snprintf(url, sizeof url, "%s/", base);
    CHECK_STATUS(wsx_connect(url, NULL, &connection, &error), WSX_TLS_FAILED);
    CHECK(error.tls_failure == WSX_TLS_UNTRUSTED || error.tls_failure == WSX_TLS_SELF_SIGNED);
    config.ca_file = authority;
    config.deflate = WSX_ON;
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    CHECK_OK(wsx_connection_get_info(connection, &info, NULL));
    CHECK(info.deflate == 1 && strncmp(info.tls_version, "TLSv1.", 6) == 0 && info.tls_cipher[0] != 0);
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    check_echo(connection, text);
    CHECK_OK_E(wsx_close(connection, 1000, "bye", NULL, &error));
    CHECK_OK(wsx_connection_free(connection));

    /* Through the pool. */
    const char *urls[2];
    wsx_pool_config pooled = wsx_pool_config_init();
    wsx_pool pool;
    wsx_pool_statistics statistics = wsx_pool_statistics_init();
    urls[0] = url;
    urls[1] = NULL;
    pooled.client = &config;
    CHECK_OK_E(wsx_pool_create(urls, &pooled, &pool, &error));
    CHECK_STATUS(wsx_pool_acquire(pool, 0, &connection, NULL), WSX_ACQUIRE_TIMED_OUT);
    for (int round = 0; round < 3; round++) {
        CHECK_OK_E(wsx_pool_acquire(pool, 5000, &connection, &error));
        check_echo(connection, text);
        CHECK_OK(wsx_pool_release(connection, 0, NULL));
    }
    CHECK_OK(wsx_pool_get_statistics(pool, &statistics, NULL));
    CHECK(statistics.connects_succeeded == 1 && statistics.acquired == 3);
    CHECK_OK(wsx_pool_shut_down(pool, 1000, NULL));
}

PROGRAM(client) {
    CHECK(count == 4);
    plain(arguments[1]);
    tls(arguments[2], arguments[3]);
    return 0;
}
