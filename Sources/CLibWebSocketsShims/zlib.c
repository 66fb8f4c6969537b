//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#define _GNU_SOURCE

#include "wsx_zlib.h"

#include <string.h>

int wsx_deflate_init(z_stream *stream, int level, int window_bits, int memory_level) {
    memset(stream, 0, sizeof *stream);
    return deflateInit2(stream, level, Z_DEFLATED, -window_bits, memory_level, Z_DEFAULT_STRATEGY);
}

int wsx_inflate_init(z_stream *stream, int window_bits) {
    memset(stream, 0, sizeof *stream);
    // A larger window than negotiated inflates the same stream; zlib has no raw window of 8 bits.
    return inflateInit2(stream, -(window_bits < 9 ? 9 : window_bits));
}
