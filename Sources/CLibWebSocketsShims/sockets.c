//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#define _GNU_SOURCE

#include "wsx_sockets.h"

#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int wsx_accept(int listener) { return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC); }

int wsx_is_listening(int descriptor) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value;
}

int wsx_share_port(int descriptor) {
    const int one = 1;
    return setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
}

socklen_t wsx_unix_address(struct sockaddr_un *address, const char *path) {
    const size_t count = strlen(path);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (count == 0 || count >= sizeof address->sun_path) return 0;
    memcpy(address->sun_path, path, count);
    if (path[0] != '@') return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + count + 1);
    address->sun_path[0] = 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + count);
}

unsigned int wsx_zone_number(const char *zone) {
    char *end;
    const unsigned long number = strtoul(zone, &end, 10);
    return end != zone && *end == 0 && number <= UINT_MAX ? (unsigned int)number : if_nametoindex(zone);
}

int wsx_connect_ip(int descriptor, const unsigned char *address, size_t count, unsigned int zone, int port) {
    if (count == 4) {
        struct sockaddr_in name;
        memset(&name, 0, sizeof name);
        name.sin_family = AF_INET;
        name.sin_port = htons((uint16_t)port);
        memcpy(&name.sin_addr, address, count);
        return connect(descriptor, (struct sockaddr *)&name, sizeof name);
    } else {
        struct sockaddr_in6 name;
        memset(&name, 0, sizeof name);
        name.sin6_family = AF_INET6;
        name.sin6_port = htons((uint16_t)port);
        name.sin6_scope_id = zone;
        memcpy(&name.sin6_addr, address, count);
        return connect(descriptor, (struct sockaddr *)&name, sizeof name);
    }
}

int wsx_connect_unix(int descriptor, const char *path, size_t count) {
    struct sockaddr_un name;
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + count);
    memset(&name, 0, sizeof name);
    if (count >= sizeof name.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    name.sun_family = AF_UNIX;
    memcpy(name.sun_path, path, count);
    // An abstract name ends with its length, a path with its zero.
    if (path[0] == '@') name.sun_path[0] = 0;
    else length++;
    return connect(descriptor, (struct sockaddr *)&name, length);
}

int wsx_stream_socket(int family) {
    const int descriptor = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    if (descriptor >= 0 && family != AF_UNIX) setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return descriptor;
}

int wsx_socket_error(int descriptor) {
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : 0;
}

int wsx_socket_shortage(void) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return errno;
    close(descriptor);
    return 0;
}

int wsx_route_problem(const unsigned char *address, size_t count, int port) {
    int descriptor = socket(count == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return 0;
    // Looks for the route, and sends nothing.
    int problem = wsx_connect_ip(descriptor, address, count, 0, port) == 0 ? 0 : errno;
    close(descriptor);
    return problem;
}
