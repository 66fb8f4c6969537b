//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#pragma once

#include <stdint.h>

/// What the kernel knows of a connected socket.
struct wsx_socket_health {
    /// Bytes that the peer's kernel has acknowledged, and bytes that came from it. With `has_counters` only.
    uint64_t acknowledged, received;
    uint32_t milliseconds_since_acknowledgement;
    /// Retransmissions and window probes that no answer has come to.
    uint32_t unanswered;
    /// Bytes that are to be sent or acknowledged.
    int waiting;
    int has_counters;
};

/// Never fails: what is not known stays 0.
void wsx_socket_health(int descriptor, struct wsx_socket_health *health);
