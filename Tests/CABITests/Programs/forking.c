/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* A child of fork gets an error from every call, at once; its parent notices nothing; exec closes all descriptors. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "programs.h"

enum { DESCRIPTORS = 1024 };

/* A call that waits for a thread that is not there would wait for ever. The thread that forks may block signals. */
static void watch(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    alarm(60);
}

/* What a child finds. It leaves through _exit: what runs at exit is the parent's. */
static void child_of_user(const echo_server *echo, wsx_connection connection, wsx_pool pool, wsx_session session) {
    static const char *urls[2];
    wsx_connection other;
    wsx_pool other_pool;
    wsx_session other_session;
    wsx_queue queue;
    wsx_message message;
    wsx_error error = wsx_error_init();
    memset(&message, 0, sizeof message);
    watch();
    CHECK_STATUS(wsx_send(connection, WSX_TEXT, "lost", 4, -1, &error), WSX_FORKED);
    CHECK(error.status == WSX_FORKED && strlen(error.message) > 20);
    CHECK(strcmp(wsx_status_name(WSX_FORKED), "forked") == 0);
    CHECK_STATUS(wsx_receive(connection, -1, &message, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_ping(connection, -1, NULL, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_close(connection, 1000, NULL, NULL, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_abort(connection, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_connect(echo->url, NULL, &other, NULL), WSX_FORKED);
    urls[0] = echo->url;
    CHECK_STATUS(wsx_pool_create(urls, NULL, &other_pool, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_pool_acquire(pool, -1, &other, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_session_create(echo->url, NULL, &other_session, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_session_shut_down(session, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_server_shut_down(echo->server, -1, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_queue_create(&queue, NULL), WSX_FORKED);
    CHECK_STATUS(wsx_message_free(&message), WSX_FORKED);
    CHECK_STATUS(wsx_connection_free(connection), WSX_FORKED);
    CHECK_STATUS(wsx_pool_free(pool), WSX_FORKED);
    CHECK_STATUS(wsx_session_free(session), WSX_FORKED);
    CHECK_STATUS(wsx_server_free(echo->server), WSX_FORKED);
    CHECK(wsx_capabilities() & WSX_CAPABILITY_TLS);
    _exit(0);
}

static void check_child(pid_t child) {
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

PROGRAM(forking) {
    /* Not on the stack of a function that returns: the server's callbacks use it until the process is gone. */
    static echo_server echo;
    static const char *urls[2];
    static int was_open[DESCRIPTORS];
    wsx_connection connection;
    wsx_session session;
    wsx_pool pool;
    pid_t child;
    int opened = 0;
    (void)count;
    (void)arguments;
    for (int descriptor = 0; descriptor < DESCRIPTORS; descriptor++) {
        was_open[descriptor] = fcntl(descriptor, F_GETFD) >= 0;
    }
#ifndef CABI_LIBRARY
    /* Before the first use there is nothing that a child could miss: this is how servers fork their workers. */
    child = fork();
    if (child == 0) {
        watch();
        echo_start(&echo);
        CHECK_OK_E(wsx_connect(echo.url, NULL, &connection, &error));
        check_echo(connection, "a worker");
        _exit(0);
    }
    check_child(child);
#endif
    echo_start(&echo);
    CHECK_OK_E(wsx_connect(echo.url, NULL, &connection, &error));
    check_echo(connection, "before");
    urls[0] = echo.url;
    CHECK_OK_E(wsx_pool_create(urls, NULL, &pool, &error));
    CHECK_OK_E(wsx_session_create(echo.url, NULL, &session, &error));

    child = fork();
    if (child == 0) child_of_user(&echo, connection, pool, session);
    check_child(child);
    check_echo(connection, "after");

    for (int descriptor = 0; descriptor < DESCRIPTORS; descriptor++) {
        int flags = fcntl(descriptor, F_GETFD);
        if (flags < 0 || was_open[descriptor]) continue;
        if ((flags & FD_CLOEXEC) == 0) fprintf(stderr, "descriptor %d is not closed by exec\n", descriptor);
        CHECK(flags & FD_CLOEXEC);
        opened++;
    }
    CHECK(opened > 4);

    CHECK_OK(wsx_session_free(session));
    CHECK_OK(wsx_pool_free(pool));
    CHECK_OK(wsx_close(connection, 1000, NULL, NULL, NULL));
    CHECK_OK(wsx_connection_free(connection));
    echo_stop(&echo);
    return 0;
}
