//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// libuv: what only its headers know of its handles.

#ifndef WSX_UV_H
#define WSX_UV_H

#include <libwebsockets.h>
#include <stdbool.h>
#include <uv.h>

/// The version of the headers, pasted together by macros.
const char *wsx_uv_build_version(void);

// libuv handles as opaque memory, so that Swift never depends on their layout.
static inline uv_handle_t *wsx_uv_handle(void *handle) { return (uv_handle_t *)handle; }

/// The number of the wake eventfd that libwebsockets' libuv plugin polls in a fresh loop, or -1.
/// Only valid directly after `lws_create_context` with EXPLICIT_VHOSTS, when it is the only
/// UV_POLL handle there is.
int wsx_uv_only_poll_descriptor(uv_loop_t *loop);

/// Whether libwebsockets waits for the socket to become writable: it has a pong to send, or bytes that the socket
/// did not take. Known for the libuv engine only; `false` with the other.
bool wsx_lws_wants_write(const uv_loop_t *loop, struct lws *wsi);

/// Handles of a loop that are not closing, for the tests and the teardown.
int wsx_uv_open_handle_count(uv_loop_t *loop);

#endif
