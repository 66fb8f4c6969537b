//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#define _GNU_SOURCE

#include "Readiness.h"

#include <string.h>
#include <sys/epoll.h>

int wsx_readiness_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int wsx_readiness_watch(int set, int descriptor, int events, int is_known) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.data.fd = descriptor;
    if (events & WSX_READABLE) event.events |= EPOLLIN;
    if (events & WSX_WRITABLE) event.events |= EPOLLOUT;
    if (events & WSX_PEER_LEFT) event.events |= EPOLLRDHUP;
    if (events & WSX_NEWS) event.events |= EPOLLET;
    return epoll_ctl(set, is_known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, descriptor, &event);
}

int wsx_readiness_forget(int set, int descriptor) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    return epoll_ctl(set, EPOLL_CTL_DEL, descriptor, &event);
}

int wsx_readiness_take(int set, int32_t *descriptors, bool *left, int count) {
    enum { MOST = 16 };
    struct epoll_event events[MOST];
    const int taken = epoll_wait(set, events, count < MOST ? count : MOST, 0);
    for (int index = 0; index < taken; index++) {
        descriptors[index] = events[index].data.fd;
        left[index] = (events[index].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    }
    return taken < 0 ? 0 : taken;
}
