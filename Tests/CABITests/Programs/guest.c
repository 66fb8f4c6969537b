/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* The library is a guest of the process: it logs where it is told to, leaves the program's libwebsockets log and signals
 * alone, has as many threads as it may, and speaks of what the program knows. */
#include <libwebsockets.h>

#include <dirent.h>
#include <unistd.h>

#include "check.h"
#include "programs.h"

/* ---- Threads ---- */

/* How many threads of this process are loops; all of them block every signal that can be blocked. */
static int loops(void) {
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;
    CHECK(tasks != NULL);
    while ((entry = readdir(tasks)) != NULL) {
        char path[300], line[256], name[64] = "";
        unsigned long long blocked = 0;
        FILE *status;
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        status = fopen(path, "r");
        /* It has ended meanwhile. */
        if (status == NULL) continue;
        while (fgets(line, sizeof line, status)) {
            sscanf(line, "Name: %63s", name);
            sscanf(line, "SigBlk: %llx", &blocked);
        }
        fclose(status);
        if (strncmp(name, "wsx-loop", 8) != 0) continue;
        count++;
        /* SIGKILL and SIGSTOP cannot be blocked, and the C library keeps two for itself. */
        for (int signal = 1; signal <= 31; signal++)
            if (signal != 9 && signal != 19) CHECK((blocked >> (signal - 1) & 1) == 1);
    }
    closedir(tasks);
    return count;
}

/* A look at threads while others come and go may miss one. */
static void loops_are(int wanted) {
    int tries = 0;
    while (loops() != wanted) {
        CHECK(++tries < 6000);
        usleep(10000);
    }
}

/* ---- libwebsockets' log ---- */

static counter mine, errors;

static void emit(int level, const char *line) {
    if (level == LLL_USER && strstr(line, "the program's own")) counter_add(&mine, 1);
    if (level == LLL_ERR) {
        fprintf(stderr, "in the program's log: %s", line);
        counter_add(&errors, 1);
    }
}

static int ignore(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t length) {
    (void)wsi;
    (void)reason;
    (void)user;
    (void)in;
    (void)length;
    return 0;
}

static struct lws_protocols protocols[] = {
    {"own", ignore, 0, 0, 0, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static void attached_quietly(const char *url) {
    struct lws_context_creation_info info;
    struct lws_context *context;
    wsx_loop loop;
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection;
    wsx_connection_info state = wsx_connection_info_init();
    memset(&info, 0, sizeof info);
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.protocols = protocols;
    context = lws_create_context(&info);
    CHECK(context != NULL);
    CHECK_OK_E(wsx_loop_attach(context, NULL, &loop, &error));
    config.loop = loop;
    CHECK_OK_E(wsx_connect_start(url, &config, &connection, &error));
    do {
        CHECK(lws_service(context, 0) >= 0);
        CHECK_OK(wsx_connection_get_info(connection, &state, NULL));
    } while (state.state == WSX_STATE_CONNECTING);
    CHECK(state.state == WSX_STATE_OPEN);
    CHECK_OK(wsx_connection_free(connection));
    lws_context_destroy(context);
    CHECK_OK(wsx_loop_detach(loop, NULL));
    CHECK(counter_value(&errors) == 0);
    lwsl_user("the program's own\n");
    counter_wait(&mine, 2);
}

/* ---- The library's log ---- */

/* Those about a loop that was held, which a busy machine may add to, and all others. */
static counter lines, others;

static void log_line(void *user, int32_t level, const char *line) {
    CHECK(user == &lines && (level == WSX_LOG_ERROR || level == WSX_LOG_WARNING));
    CHECK(line[0] != 0 && strchr(line, '\n') == NULL);
    counter_add(strstr(line, "the loop; move") ? &lines : &others, 1);
}

static void hold_the_loop(void *user, wsx_connection connection) {
    (void)connection;
    /* Longer than the library likes, until it has said so. */
    if (user != NULL) counter_wait(&lines, 1);
    if (user == NULL) usleep(600000);
}

static void logging(const char *url) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_client_config config = wsx_client_config_init();
    wsx_connection connection;
    int before;
    callbacks.user = &lines;
    callbacks.on_open = hold_the_loop;
    config.callbacks = &callbacks;
    CHECK_STATUS(wsx_set_log(0, log_line, &lines, NULL), WSX_INVALID_ARGUMENT);
    CHECK_OK(wsx_set_log(WSX_LOG_WARNING, log_line, &lines, NULL));
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    counter_wait(&lines, 1);
    CHECK_OK(wsx_connection_free(connection));
    /* Nowhere: the test has an eye on standard error. */
    CHECK_OK(wsx_set_log(WSX_LOG_ERROR, NULL, NULL, NULL));
    before = counter_value(&lines);
    callbacks.user = NULL;
    CHECK_OK_E(wsx_connect(url, &config, &connection, &error));
    CHECK_OK_E(wsx_ping(connection, WSX_NEVER, NULL, &error));
    CHECK_OK(wsx_connection_free(connection));
    CHECK(counter_value(&lines) == before);
    CHECK_OK(wsx_set_log(WSX_LOG_WARNING, log_line, &lines, NULL));
}

/* ---- Sessions that retry ---- */

typedef struct seeker {
    counter failed, released;
} seeker;

static void seek(void *user, wsx_session session, const wsx_session_event *event) {
    seeker *self = (seeker *)user;
    (void)session;
    if (event->type == WSX_EVENT_ALERT) return;
    CHECK(event->type == WSX_EVENT_ATTEMPT_FAILED);
    CHECK(event->error != NULL && event->error->status == WSX_CONNECT_FAILED && event->error->message[0] != 0);
    counter_add(&self->failed, 1);
}

static void seeker_released(void *user) { counter_add(&((seeker *)user)->released, 1); }

static void failures_are_told(void) {
    seeker self;
    wsx_session_config config = wsx_session_config_init();
    wsx_session session;
    wsx_error error = wsx_error_init();
    counter_init(&self.failed);
    counter_init(&self.released);
    config.user = &self;
    config.on_event = seek;
    config.on_released = seeker_released;
    config.maximum_attempts = -1;
    config.reconnect_minimum_ms = 1;
    config.reconnect_maximum_ms = 5;
    CHECK_OK_E(wsx_session_create("ws://127.0.0.1:1/", &config, &session, &error));
    counter_wait(&self.failed, 3);
    CHECK_STATUS(wsx_session_wait_connected(session, 1, &error), WSX_TIMED_OUT);
    CHECK(strstr(error.message, "the last attempt: ") != NULL);
    CHECK_OK(wsx_session_free(session));
    counter_wait(&self.released, 1);
    /* The program has been told: nothing of it is logged as well. */
    CHECK(counter_value(&others) == 0);
}

/* ---- Words and numbers ---- */

static void negative_times(const char *url) {
    static const int64_t wrong[] = {-2, INT64_MIN};
    const char *urls[2];
    wsx_connection connection;
    wsx_message message;
    wsx_queue queue;
    wsx_pool pool;
    wsx_server server;
    wsx_session session;
    wsx_error error = wsx_error_init();
    urls[0] = url;
    urls[1] = NULL;
    CHECK_OK_E(wsx_connect(url, NULL, &connection, &error));
    CHECK_OK(wsx_queue_create(&queue, NULL));
    CHECK_OK_E(wsx_pool_create(urls, NULL, &pool, &error));
    CHECK_OK_E(wsx_session_create(url, NULL, &session, &error));
    CHECK_OK_E(wsx_server_create(NULL, &server, &error));
    for (int index = 0; index < 2; index++) {
        wsx_connection none;
        int64_t time = wrong[index];
        CHECK_STATUS(wsx_receive(connection, time, &message, &error), WSX_INVALID_ARGUMENT);
        CHECK(strstr(error.message, "timeout_ms") != NULL && strstr(error.message, "WSX_NEVER") != NULL);
        CHECK_STATUS(wsx_send(connection, WSX_TEXT, "x", 1, time, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_ping(connection, time, NULL, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_queue_wait(queue, time, NULL, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_pool_acquire(pool, time, &none, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_pool_shut_down(pool, time, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_session_wait_connected(session, time, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_session_send(session, WSX_TEXT, "x", 1, time, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_session_receive(session, time, &message, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_session_disconnect(session, time, NULL), WSX_INVALID_ARGUMENT);
        CHECK_STATUS(wsx_server_shut_down(server, time, NULL), WSX_INVALID_ARGUMENT);
    }
    check_echo(connection, "as before");
    CHECK_OK(wsx_connection_free(connection));
    CHECK_OK(wsx_queue_free(queue));
    CHECK_OK(wsx_pool_free(pool));
    CHECK_OK(wsx_session_free(session));
    CHECK_OK(wsx_server_shut_down(server, WSX_NEVER, NULL));
}

static void names_of_fields(const char *directory) {
    char certificate[512], key[512], url[64];
    wsx_server_config config = wsx_server_config_init();
    wsx_client_config client = wsx_client_config_init();
    wsx_server server;
    wsx_connection connection;
    wsx_error error = wsx_error_init();
    int32_t port;
    config.certificate_file = "/nowhere.pem";
    config.key_file = "/nowhere.key";
    CHECK_STATUS(wsx_server_create(&config, &server, &error), WSX_INVALID_CONFIGURATION);
    CHECK(strstr(error.message, "certificate_file") != NULL && strstr(error.message, "certificateChain") == NULL);
    client.ca_file = "/nowhere.pem";
    CHECK_STATUS(wsx_connect("wss://127.0.0.1:1/", &client, &connection, &error), WSX_INVALID_CONFIGURATION);
    CHECK(strstr(error.message, "ca_file") != NULL && strstr(error.message, "tls.trust") == NULL);
    snprintf(certificate, sizeof certificate, "%s/valid.pem", directory);
    snprintf(key, sizeof key, "%s/valid.key", directory);
    config.certificate_file = certificate;
    config.key_file = key;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, &port, NULL));
    snprintf(url, sizeof url, "wss://localhost:%d/", (int)port);
    CHECK_STATUS(wsx_connect(url, NULL, &connection, &error), WSX_TLS_FAILED);
    CHECK(strstr(error.message, "tls.") == NULL);
    CHECK_OK(wsx_server_free(server));
}

PROGRAM(guest) {
    const char *directory = count > 1 ? arguments[1] : getenv("WSX_TEST_CERTS");
    echo_server echo;
    wsx_error error = wsx_error_init();
    CHECK(directory != NULL);
    counter_init(&mine);
    counter_init(&errors);
    counter_init(&lines);
    counter_init(&others);
    /* The program has chosen what it reads before the library comes. */
    lws_set_log_level(LLL_ERR | LLL_WARN | LLL_USER, emit);
    CHECK_STATUS(wsx_set_loops((size_t)-1, NULL), WSX_INVALID_ARGUMENT);
    CHECK_OK_E(wsx_set_loops(2, &error));
    CHECK_OK_E(wsx_set_loops(1, &error));
    CHECK(loops() == 0);
    echo_start(&echo);
    loops_are(1);
    CHECK_STATUS(wsx_set_loops(2, &error), WSX_FAILED);
    lwsl_user("the program's own\n");
    counter_wait(&mine, 1);
    logging(echo.url);
    attached_quietly(echo.url);
    failures_are_told();
    negative_times(echo.url);
    names_of_fields(directory);
    loops_are(1);
    CHECK(counter_value(&errors) == 0);
    counter_wait(&echo.closed, counter_value(&echo.opened));
    echo_stop(&echo);
    return 0;
}
