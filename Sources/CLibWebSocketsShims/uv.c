//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#define _GNU_SOURCE

#include "wsx_uv.h"


bool wsx_lws_wants_write(const uv_loop_t *loop, struct lws *wsi) {
    int descriptor = lws_get_socket_fd(wsi);
    if (descriptor < 0 || (unsigned int)descriptor >= loop->nwatchers) return false;
    const uv__io_t *watcher = loop->watchers[descriptor];
    return watcher && (watcher->pevents & POLLOUT) != 0;
}

struct walk_result {
    int descriptor, polls, open;
};

static void walk(uv_handle_t *handle, void *argument) {
    struct walk_result *result = argument;
    uv_os_fd_t descriptor;
    if (uv_is_closing(handle)) return;
    result->open++;
    if (handle->type != UV_POLL) return;
    result->polls++;
    if (uv_fileno(handle, &descriptor) == 0) result->descriptor = (int)descriptor;
}

int wsx_uv_only_poll_descriptor(uv_loop_t *loop) {
    struct walk_result result = {-1, 0, 0};
    uv_walk(loop, walk, &result);
    return result.polls == 1 ? result.descriptor : -1;
}

int wsx_uv_open_handle_count(uv_loop_t *loop) {
    struct walk_result result = {-1, 0, 0};
    uv_walk(loop, walk, &result);
    return result.open;
}

#define STRING_OF_VALUE(value) #value
#define STRING_OF(macro) STRING_OF_VALUE(macro)

const char *wsx_uv_build_version(void) {
    return STRING_OF(UV_VERSION_MAJOR) "." STRING_OF(UV_VERSION_MINOR) "." STRING_OF(UV_VERSION_PATCH) UV_VERSION_SUFFIX;
}
