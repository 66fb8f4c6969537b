/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* Everything that a caller can get wrong is an error code. */
#include "check.h"
#include "programs.h"

static void null_handles(void) {
    wsx_connection connection = {0};
    wsx_pool pool = {0};
    wsx_session session = {0};
    wsx_server server = {0};
    wsx_queue queue = {0};
    wsx_message message;
    wsx_error error = wsx_error_init();
    int number;
    void *data;
    int64_t time;
    wsx_connection_info info = wsx_connection_info_init();
    wsx_pool_statistics pool_statistics = wsx_pool_statistics_init();
    wsx_session_statistics session_statistics = wsx_session_statistics_init();
    wsx_server_statistics server_statistics = wsx_server_statistics_init();
    int32_t port;

    CHECK_STATUS(wsx_send(connection, WSX_TEXT, "x", 1, 0, &error), WSX_INVALID_HANDLE);
    CHECK(error.status == WSX_INVALID_HANDLE && strstr(error.message, "connection") != NULL);
    CHECK_STATUS(wsx_receive(connection, 0, &message, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_ping(connection, 0, &time, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_close(connection, 1000, NULL, NULL, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_abort(connection, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_connection_free(connection), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_connection_set_data(connection, NULL, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_connection_data(connection, &data, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_connection_get_info(connection, &info, NULL), WSX_INVALID_HANDLE);

    CHECK_STATUS(wsx_pool_acquire(pool, 0, &connection, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_pool_release(connection, 0, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_pool_get_statistics(pool, &pool_statistics, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_pool_shut_down(pool, 0, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_pool_free(pool), WSX_INVALID_HANDLE);

    CHECK_STATUS(wsx_session_wait_connected(session, 0, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_session_send(session, WSX_TEXT, "x", 1, 0, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_session_receive(session, 0, &message, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_session_subscribe(session, "x", NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_session_unsubscribe(session, "x", NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_session_connect(session, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_session_disconnect(session, 0, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_session_get_statistics(session, &session_statistics, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_session_shut_down(session, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_session_free(session), WSX_INVALID_HANDLE);

    CHECK_STATUS(wsx_server_port(server, &port, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_server_adopt(server, 0, &connection, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_server_broadcast(server, WSX_TEXT, "x", 1, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_server_get_statistics(server, &server_statistics, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_server_shut_down(server, 0, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_server_free(server), WSX_INVALID_HANDLE);

    CHECK_STATUS(wsx_queue_descriptor(queue, &number, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_queue_dispatch(queue, 0, NULL, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_queue_wait(queue, 0, NULL, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_queue_free(queue), WSX_INVALID_HANDLE);

    memset(&message, 0, sizeof message);
    CHECK_STATUS(wsx_message_free(&message), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_message_free(NULL), WSX_INVALID_ARGUMENT);
}

static void null_arguments(const char *url) {
    wsx_connection connection;
    wsx_pool pool;
    wsx_session session;
    const char *none[] = {NULL};

    CHECK_STATUS(wsx_connect(NULL, NULL, &connection, NULL), WSX_INVALID_ARGUMENT);
    CHECK(connection.id == 0);
    CHECK_STATUS(wsx_connect(url, NULL, NULL, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_connect_start(NULL, NULL, &connection, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_connect_start(url, NULL, NULL, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_pool_create(NULL, NULL, &pool, NULL), WSX_INVALID_CONFIGURATION);
    CHECK_STATUS(wsx_pool_create(none, NULL, &pool, NULL), WSX_INVALID_CONFIGURATION);
    CHECK_STATUS(wsx_pool_create(none, NULL, NULL, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_session_create(NULL, NULL, &session, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_session_create(url, NULL, NULL, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_server_create(NULL, NULL, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_queue_create(NULL, NULL), WSX_INVALID_ARGUMENT);

    CHECK_OK_E(wsx_connect(url, NULL, &connection, &error));
    CHECK_STATUS(wsx_send(connection, WSX_TEXT, NULL, 1, 0, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_send(connection, 7, "x", 1, 0, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_send(connection, WSX_TEXT, "\xff", 1, 0, NULL), WSX_INVALID_UTF8);
    CHECK_STATUS(wsx_send_nocopy(connection, WSX_TEXT, "x", 1, NULL, NULL, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_receive(connection, 0, NULL, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_connection_data(connection, NULL, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_connection_get_info(connection, NULL, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_close(connection, 1006, NULL, NULL, NULL), WSX_INVALID_CLOSE_CODE);
    CHECK_STATUS(wsx_pool_release(connection, 0, NULL), WSX_INVALID_ARGUMENT);
    CHECK_OK(wsx_connection_free(connection));
}

static void sizes(const char *url) {
    wsx_connection connection;
    wsx_client_config config = wsx_client_config_init();
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_connection_info info = wsx_connection_info_init();
    wsx_error error = wsx_error_init();
    struct {
        wsx_client_config known;
        int64_t unknown;
    } larger;

    config.size = 0;
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);
    config.size = sizeof config - 1;
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);
    config.size = (size_t)-1;
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);
    config = wsx_client_config_init();
    callbacks.size = 3;
    config.callbacks = &callbacks;
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);

    /* A program that was compiled with a later header: what it does not use does not matter. */
    larger.known = wsx_client_config_init();
    larger.known.size = sizeof larger;
    larger.unknown = 0;
    CHECK_OK_E(wsx_connect(url, &larger.known, &connection, &error));
    CHECK_OK(wsx_connection_free(connection));
    larger.unknown = 1;
    CHECK_STATUS(wsx_connect(url, &larger.known, &connection, &error), WSX_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "newer") != NULL);

    /* Nothing is written into an error of a wrong size, nor done. */
    error.size = 8;
    memset(error.message, 'x', sizeof error.message);
    CHECK_STATUS(wsx_connect(url, NULL, &connection, &error), WSX_INVALID_ARGUMENT);
    CHECK(error.message[0] == 'x' && error.message[sizeof error.message - 1] == 'x');

    CHECK_OK_E(wsx_connect(url, NULL, &connection, &error));
    info.size = 1;
    CHECK_STATUS(wsx_connection_get_info(connection, &info, NULL), WSX_INVALID_ARGUMENT);
    info = wsx_connection_info_init();
    CHECK_OK(wsx_connection_get_info(connection, &info, NULL));
    CHECK(info.size == sizeof info && info.state == WSX_STATE_OPEN && info.latency_us == -1);
    CHECK_OK(wsx_connection_free(connection));
}

static void values(const char *url) {
    wsx_connection connection;
    wsx_server server;
    wsx_client_config config = wsx_client_config_init();
    wsx_server_config server_config = wsx_server_config_init();
    const char *headers[] = {"X-Two: a\r\nX-Three: b", NULL};
    const char *nameless[] = {"no colon", NULL};

    CHECK_STATUS(wsx_connect("http//x", NULL, &connection, NULL), WSX_INVALID_URL);
    CHECK_STATUS(wsx_connect("\xff", NULL, &connection, NULL), WSX_INVALID_ARGUMENT);
    config.open_timeout_ms = -5;
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);
    config = wsx_client_config_init();
    config.headers = headers;
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);
    config.headers = nameless;
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);
    config = wsx_client_config_init();
    config.deflate = 9;
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);
    config = wsx_client_config_init();
    config.minimum_tls = 10;
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);
    config = wsx_client_config_init();
    config.key_file = "/nowhere";
    CHECK_STATUS(wsx_connect(url, &config, &connection, NULL), WSX_INVALID_ARGUMENT);
    server_config.port = 70000;
    CHECK_STATUS(wsx_server_create(&server_config, &server, NULL), WSX_INVALID_ARGUMENT);
    server_config = wsx_server_config_init();
    server_config.host = "256.1.1.1";
    CHECK(wsx_server_create(&server_config, &server, NULL) != WSX_OK && server.id == 0);
}

static void stale_handles(const char *url) {
    wsx_connection first, second;
    wsx_pool pool;
    wsx_message message, copy;
    const char *urls[2];

    CHECK_OK_E(wsx_connect(url, NULL, &first, &error));
    pool.id = first.id;
    CHECK_STATUS(wsx_pool_free(pool), WSX_INVALID_HANDLE);
    CHECK_OK(wsx_send(first, WSX_TEXT, "hello", 5, 0, NULL));
    CHECK_OK_E(wsx_receive(first, 5000, &message, &error));
    copy = message;
    CHECK_OK(wsx_message_free(&message));
    CHECK(message.data == NULL);
    CHECK_STATUS(wsx_message_free(&message), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_message_free(&copy), WSX_INVALID_HANDLE);
    CHECK_OK(wsx_connection_free(first));
    CHECK_STATUS(wsx_connection_free(first), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_send(first, WSX_TEXT, "x", 1, 0, NULL), WSX_INVALID_HANDLE);

    /* Another one in its place is another one. */
    CHECK_OK_E(wsx_connect(url, NULL, &second, &error));
    CHECK(second.id != first.id);
    CHECK_STATUS(wsx_send(first, WSX_TEXT, "x", 1, 0, NULL), WSX_INVALID_HANDLE);
    CHECK_OK(wsx_send(second, WSX_TEXT, "x", 1, 0, NULL));
    CHECK_OK(wsx_connection_free(second));

    urls[0] = url;
    urls[1] = NULL;
    CHECK_OK_E(wsx_pool_create(urls, NULL, &pool, &error));
    CHECK_OK_E(wsx_pool_acquire(pool, 5000, &first, &error));
    CHECK_OK(wsx_pool_release(first, 0, NULL));
    CHECK_STATUS(wsx_pool_release(first, 0, NULL), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_send(first, WSX_TEXT, "x", 1, 0, NULL), WSX_INVALID_HANDLE);
    /* A pool that goes takes its connections along. */
    CHECK_OK_E(wsx_pool_acquire(pool, 5000, &first, &error));
    CHECK_OK(wsx_pool_shut_down(pool, 0, NULL));
    CHECK_STATUS(wsx_send(first, WSX_TEXT, "x", 1, 0, NULL), WSX_LEASE_ENDED);
    CHECK_OK(wsx_pool_release(first, 0, NULL));
    CHECK_STATUS(wsx_pool_free(pool), WSX_INVALID_HANDLE);
}

/* Numbers that nobody gave out. */
static void invented_handles(void) {
    uint64_t random = 88172645463325252u;
    for (int round = 0; round < 100000; round++) {
        wsx_connection connection;
        wsx_queue queue;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        connection.id = random;
        queue.id = random;
        CHECK_STATUS(wsx_abort(connection, NULL), WSX_INVALID_HANDLE);
        CHECK_STATUS(wsx_queue_free(queue), WSX_INVALID_HANDLE);
    }
}

PROGRAM(misuse) {
    (void)count;
    (void)arguments;
    echo_server echo;
    CHECK(strcmp(wsx_version(), "0.1.0") == 0);
    CHECK(wsx_libwebsockets_version()[0] == '4');
    CHECK((wsx_capabilities() & WSX_CAPABILITY_TLS) != 0);
    CHECK(strcmp(wsx_status_name(12345), "unknown") == 0);
    echo_start(&echo);
    null_handles();
    null_arguments(echo.url);
    sizes(echo.url);
    values(echo.url);
    stale_handles(echo.url);
    invented_handles();
    echo_stop(&echo);
    return 0;
}
