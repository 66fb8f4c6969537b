//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What the implementation of wsx.h needs and Swift cannot say. Not installed.
#ifndef WSX_INTERNAL_H
#define WSX_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wsx.h"

// How large structures were in the first version, for programs of that time.
enum {
    WSXC_FIRST_ERROR = offsetof(wsx_error, response_headers),
    WSXC_FIRST_CALLBACKS = offsetof(wsx_callbacks, on_writable),
    WSXC_FIRST_POOL_CONFIG = offsetof(wsx_pool_config, lease_callbacks),
    WSXC_FIRST_SERVER_CONFIG = offsetof(wsx_server_config, on_request_dropped)
};

// A thread waits here until another one lets it go.
typedef struct wsxc_gate wsxc_gate;
wsxc_gate *wsxc_gate_create(void);
void wsxc_gate_open(wsxc_gate *gate);
// At most this many nanoseconds, negative: for ever. Whether the gate is open.
bool wsxc_gate_wait(wsxc_gate *gate, int64_t nanoseconds);
void wsxc_gate_free(wsxc_gate *gate);

// An eventfd, non-blocking.
int wsxc_event_create(void);
void wsxc_event_close(int descriptor);
void wsxc_event_set(int descriptor);
void wsxc_event_clear(int descriptor);
// Whether it was set within this many milliseconds, negative: for ever.
bool wsxc_event_wait(int descriptor, int64_t milliseconds);

// Whether this thread runs a callback on behalf of a loop.
void wsxc_enter_callback(void);
void wsxc_leave_callback(void);
bool wsxc_is_in_callback(void);

// The calling thread: never 0, and no other's while it lives.
uintptr_t wsxc_thread(void);

// A line for standard error, in one piece where that can be.
void wsxc_write_error(const char *line);

// Whether this is no child, by `fork`, of a process that has used the library: there its threads do not exist and its locks
// may be held for ever. The first call is the first use.
bool wsxc_may_be_used(void);

// Fills `error`, if it is no NULL and large enough, and returns WSX_FORKED. In C, because a child of `fork` must not wait
// for the Swift runtime's locks either: another thread of its parent may have held one.
wsx_status wsxc_refuse_child(wsx_error *error);

#endif
