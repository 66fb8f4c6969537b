//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#include "wsx_internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct wsxc_gate {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    bool is_open;
};

wsxc_gate *wsxc_gate_create(void) {
    wsxc_gate *gate = malloc(sizeof *gate);
    if (gate == NULL) abort();
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->condition, &attributes);
    pthread_condattr_destroy(&attributes);
    gate->is_open = false;
    return gate;
}

void wsxc_gate_open(wsxc_gate *gate) {
    pthread_mutex_lock(&gate->mutex);
    gate->is_open = true;
    pthread_cond_signal(&gate->condition);
    pthread_mutex_unlock(&gate->mutex);
}

bool wsxc_gate_wait(wsxc_gate *gate, int64_t nanoseconds) {
    struct timespec until = {0, 0};
    if (nanoseconds >= 0) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t sum = (int64_t)until.tv_nsec + nanoseconds % 1000000000;
        until.tv_sec += (time_t)(nanoseconds / 1000000000 + sum / 1000000000);
        until.tv_nsec = (long)(sum % 1000000000);
    }
    pthread_mutex_lock(&gate->mutex);
    int status = 0;
    while (!gate->is_open && status != ETIMEDOUT) {
        status = nanoseconds < 0 ? pthread_cond_wait(&gate->condition, &gate->mutex)
                                 : pthread_cond_timedwait(&gate->condition, &gate->mutex, &until);
    }
    bool is_open = gate->is_open;
    pthread_mutex_unlock(&gate->mutex);
    return is_open;
}

void wsxc_gate_free(wsxc_gate *gate) {
    pthread_cond_destroy(&gate->condition);
    pthread_mutex_destroy(&gate->mutex);
    free(gate);
}

int wsxc_event_create(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

void wsxc_event_close(int descriptor) { close(descriptor); }

void wsxc_event_set(int descriptor) {
    uint64_t one = 1;
    while (write(descriptor, &one, sizeof one) < 0 && errno == EINTR) continue;
}

void wsxc_event_clear(int descriptor) {
    uint64_t count;
    while (read(descriptor, &count, sizeof count) < 0 && errno == EINTR) continue;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool wsxc_event_wait(int descriptor, int64_t milliseconds) {
    struct pollfd entry = {.fd = descriptor, .events = POLLIN};
    int64_t until = milliseconds < 0 ? 0 : now_ms() + milliseconds;
    for (;;) {
        int64_t left = milliseconds < 0 ? -1 : until - now_ms();
        if (milliseconds >= 0 && left < 0) left = 0;
        if (left > 1000000) left = 1000000;
        int ready = poll(&entry, 1, (int)left);
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
        if (ready == 0 && milliseconds >= 0 && now_ms() >= until) return false;
    }
}

static _Thread_local int depth;

void wsxc_enter_callback(void) { depth++; }
void wsxc_leave_callback(void) { depth--; }
bool wsxc_is_in_callback(void) { return depth > 0; }

// Its own `depth` has an address that no other thread's has.
uintptr_t wsxc_thread(void) { return (uintptr_t)&depth; }

void wsxc_write_error(const char *line) {
    size_t left = strlen(line);
    while (left > 0) {
        ssize_t count = write(STDERR_FILENO, line, left);
        if (count < 0 && errno == EINTR) continue;
        // Where there is no standard error there is nowhere to tell it.
        if (count < 0) return;
        line += count;
        left -= (size_t)count;
    }
}

// What this process is to the library.
enum { UNUSED, USED, CHILD_OF_USER };
static atomic_int use = UNUSED;
static pthread_once_t first_use = PTHREAD_ONCE_INIT;

static void became_child(void) {
    if (atomic_load(&use) == USED) atomic_store(&use, CHILD_OF_USER);
}

static void begin_use(void) {
    pthread_atfork(NULL, NULL, became_child);
    atomic_store(&use, USED);
}

bool wsxc_may_be_used(void) {
    if (atomic_load_explicit(&use, memory_order_relaxed) == UNUSED) pthread_once(&first_use, begin_use);
    return atomic_load_explicit(&use, memory_order_relaxed) == USED;
}

wsx_status wsxc_refuse_child(wsx_error *error) {
    static const char words[] =
        "the library's threads stayed in the parent process; call exec, or use the library in the child only";
    if (error == NULL || error->size < WSXC_FIRST_ERROR) return WSX_FORKED;
    size_t size = error->size;
    memset(error, 0, size < sizeof *error ? size : sizeof *error);
    error->size = size;
    error->status = WSX_FORKED;
    memcpy(error->message, words, sizeof words);
    return WSX_FORKED;
}
