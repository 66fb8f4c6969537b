/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* The programs as functions, which they are in the Swift test bundle. */
#ifndef PROGRAMS_H
#define PROGRAMS_H

int cabi_misuse(int count, char **arguments);
int cabi_callbacks(int count, char **arguments);
int cabi_queue(int count, char **arguments);
int cabi_threads(int count, char **arguments);
int cabi_server(int count, char **arguments);
int cabi_session(int count, char **arguments);
int cabi_attached(int count, char **arguments);
int cabi_leaving(int count, char **arguments);
int cabi_forking(int count, char **arguments);
int cabi_cycles(int count, char **arguments);
int cabi_identity(int count, char **arguments);
int cabi_flow(int count, char **arguments);
int cabi_serving(int count, char **arguments);
int cabi_guest(int count, char **arguments);
int cabi_yesterday(int count, char **arguments);
int cabi_evented(int count, char **arguments);
int cabi_client(int count, char **arguments);

#endif
