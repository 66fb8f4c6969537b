//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// A program of its own with libwebsockets: a context that a plain thread services, and an echo protocol on it.
#ifndef HOST_CONTEXT_H
#define HOST_CONTEXT_H

#include <stdbool.h>

struct lws_context;
struct host;

/// A context with an echo server on a port of 127.0.0.1 that the kernel chooses. Nobody services it yet. With
/// `service_buffer` 0 it has libwebsockets' default.
struct host *host_create(unsigned int service_buffer);
struct lws_context *host_context(struct host *host);
int host_port(const struct host *host);
/// Starts the thread that services the context.
void host_start(struct host *host);
/// Ends that thread; the context stays.
void host_stop(struct host *host);
/// Destroys the context: on the servicing thread, between two services, if there is one; which then ends.
void host_destroy_context(struct host *host);
/// Frees the rest. The context must have been destroyed.
void host_free(struct host *host);
/// How often the echo protocol was told of the end of a wait.
int host_wakes(const struct host *host);
/// How many messages the echo protocol has got.
int host_messages(const struct host *host);
/// Whether any callback of the host's got a connection that is not one of its own.
bool host_saw_strangers(const struct host *host);

#endif
