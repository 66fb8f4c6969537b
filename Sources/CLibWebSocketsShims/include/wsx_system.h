//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// glibc: random numbers, threads and the heap.

#ifndef WSX_SYSTEM_H
#define WSX_SYSTEM_H

#include <stddef.h>

/// Fills memory from the kernel's CSPRNG. Never fails: the kernel's pool is ready long before any socket is.
void wsx_random_bytes(void *memory, size_t count);

/// Names the calling thread for debuggers; cut at 15 bytes.
void wsx_set_thread_name(const char *name);

/// Gives memory that is free back to the system. Walks through the whole heap. Nothing where the C library is not glibc.
void wsx_trim_heap(void);

#endif
