//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// zlib: macros.

#ifndef WSX_ZLIB_H
#define WSX_ZLIB_H

#include <zlib.h>

static inline const char *wsx_zlib_build_version(void) { return ZLIB_VERSION; }

// zlib's macros. Window bits are those of RFC 7692 (8 to 15); raw streams without header.
int wsx_deflate_init(z_stream *stream, int level, int window_bits, int memory_level);
int wsx_inflate_init(z_stream *stream, int window_bits);

#endif
