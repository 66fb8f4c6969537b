/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* Ten thousand of everything come and go: descriptors and memory stay. */
#include <dirent.h>
#include <unistd.h>

#include "check.h"
#include "programs.h"

static int descriptors(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory)) count++;
    closedir(directory);
    return count;
}

static long resident_kilobytes(void) {
    long pages = 0, all = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%ld %ld", &all, &pages) == 2);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void cycle(const char *url, int count) {
    const char *urls[2];
    urls[0] = url;
    urls[1] = NULL;
    for (int round = 0; round < count; round++) {
        wsx_connection connection;
        wsx_queue queue;
        wsx_pool pool;
        CHECK_OK(wsx_queue_create(&queue, NULL));
        CHECK_OK(wsx_pool_create(urls, NULL, &pool, NULL));
        CHECK_OK_E(wsx_connect(url, NULL, &connection, &error));
        if (round % 2) CHECK_OK_E(wsx_close(connection, 1000, NULL, NULL, &error));
        CHECK_OK(wsx_connection_free(connection));
        CHECK_OK(wsx_pool_free(pool));
        CHECK_OK(wsx_queue_free(queue));
    }
}

PROGRAM(cycles) {
    int rounds = count > 1 ? atoi(arguments[1]) : 10000;
    echo_server echo;
    echo_start(&echo);
    cycle(echo.url, rounds / 10 + 1);
    counter_wait(&echo.closed, rounds / 10 + 1);
    int before = descriptors();
    long memory = resident_kilobytes();
    cycle(echo.url, rounds);
    counter_wait(&echo.closed, rounds / 10 + 1 + rounds);
    long grown = resident_kilobytes() - memory;
    CHECK(descriptors() <= before + 2);
    /* A sanitizer keeps what is freed. */
    if (rounds >= 10000) CHECK(grown < 8 * 1024);
    printf("%d cycles, memory grew by %ld KiB\n", rounds, grown);
    echo_stop(&echo);
    return 0;
}
