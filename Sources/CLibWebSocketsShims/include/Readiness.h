//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#ifndef WSX_READINESS_H
#define WSX_READINESS_H

#include <stdbool.h>
#include <stdint.h>

// An epoll set, whose header Swift's Glibc module does not have.

/// What a descriptor is watched for; `NEWS`: only when more has come since the last time.
enum { WSX_READABLE = 1, WSX_WRITABLE = 2, WSX_PEER_LEFT = 4, WSX_NEWS = 8 };

/// A new set, close-on-exec; -1 and errno when there is none.
int wsx_readiness_create(void);
/// Watches a descriptor; `is_known`: which is watched already, for something else.
int wsx_readiness_watch(int set, int descriptor, int events, int is_known);
int wsx_readiness_forget(int set, int descriptor);
/// Descriptors that are ready now, at most this many; returns their number. Never waits. `left`: whether the peer has ended
/// its half of the stream, or the socket is dead; told where that is watched for.
int wsx_readiness_take(int set, int32_t *descriptors, bool *left, int count);

#endif
