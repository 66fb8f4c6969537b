//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Sockets, which differ from libc to libc in Swift's eyes.

#ifndef WSX_SOCKETS_H
#define WSX_SOCKETS_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

/// `accept4` with both flags, non-blocking and close-on-exec.
int wsx_accept(int listener);

/// Whether the descriptor is a socket that listens.
int wsx_is_listening(int descriptor);

/// Lets a server's socket share its port with others (SO_REUSEPORT).
int wsx_share_port(int descriptor);

/// Fills in a unix address; a leading '@' means an abstract name. Returns its length, or 0 when it is too long.
socklen_t wsx_unix_address(struct sockaddr_un *address, const char *path);

/// The number of a zone of IPv6 addresses (RFC 4007 §11), which is an interface's name or number; 0 when there is none.
unsigned int wsx_zone_number(const char *zone);

/// Connects a socket to an IP address (4 or 16 bytes, with the number of its zone, port in host order) or to a Unix path, `@` in front for an abstract
/// name. The result is that of connect(2).
int wsx_connect_ip(int descriptor, const unsigned char *address, size_t count, unsigned int zone, int port);
int wsx_connect_unix(int descriptor, const char *path, size_t count);

/// A non-blocking stream socket, close-on-exec; over TCP without Nagle's delay.
int wsx_stream_socket(int family);

/// Takes the pending error of a socket (SO_ERROR); 0 when there is none.
int wsx_socket_error(int descriptor);

/// Why no socket can be opened now (EMFILE, ENFILE, ENOBUFS, ENOMEM); 0 when one can.
int wsx_socket_shortage(void);

/// Why nothing can be sent to an IP address (EHOSTUNREACH, ENETUNREACH, EACCES, EINVAL, ...); 0 when something can.
int wsx_route_problem(const unsigned char *address, size_t count, int port);

#endif
