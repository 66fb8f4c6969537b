//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// The kernel's struct tcp_info, which glibc's older one lacks the last half of; the two headers exclude each other.
#include <linux/tcp.h>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "SocketHealth.h"

void wsx_socket_health(int descriptor, struct wsx_socket_health *health) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    int waiting = 0;
    memset(health, 0, sizeof *health);
    if (ioctl(descriptor, SIOCOUTQ, &waiting) == 0) health->waiting = waiting;
    memset(&info, 0, sizeof info);
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return;
    // Linux 4.1 has both counters.
    if (size < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received) return;
    health->has_counters = 1;
    health->acknowledged = info.tcpi_bytes_acked;
    health->received = info.tcpi_bytes_received;
    health->milliseconds_since_acknowledgement = info.tcpi_last_ack_recv;
    health->unanswered = info.tcpi_retransmits + info.tcpi_probes;
}
