// SPDX-License-Identifier: Apache-2.0
// This file is part of the swift-libwebsockets open source project.
//
// The subscribers of bench-topics, on bare epoll: connections spread over one or several processes, of which the first
// publishes. The next message goes out when every connection has the last one; each byte that comes is checked.
//
//   topic-load SIZE CONNECTIONS SECONDS PORT[:PID]... [-- PID...]
//
// All servers are at 127.0.0.1. Counts deliveries, and the processor time of the servers by their process ids; apart
// from it that of the processes behind `--`, which is the broker.

#include "common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

typedef struct {
  int fd;
  uint8_t *in;
  size_t length;
} subscriber;

static size_t size, frame_size;
static uint8_t *pattern, *out;
static uint64_t number;

static void fail(const char *why) {
  fprintf(stderr, "topic-load: %s\n", why);
  exit(1);
}

static const char ask[] =
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

static int dial(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  struct timeval patience = {.tv_sec = 30};
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
  if (send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) != (ssize_t)sizeof ask - 1) die("handshake");
  return fd;
}

// The server says with a message of one byte that the subscription stands; it may come with the answer.
static void await_ready(int fd) {
  static const uint8_t ready[] = {0x82, 0x01, '+'};
  char reply[2048];
  size_t n = 0;
  for (;;) {
    ssize_t k = recv(fd, reply + n, sizeof reply - 1 - n, 0);
    if (k <= 0) fail("the handshake got no answer");
    n += (size_t)k;
    reply[n] = 0;
    const char *end = strstr(reply, "\r\n\r\n");
    if (!end) continue;
    if (strncmp(reply, "HTTP/1.1 101", 12)) fail("the handshake was refused");
    size_t rest = n - (size_t)(end + 4 - reply);
    if (rest < sizeof ready) continue;
    if (rest > sizeof ready || memcmp(end + 4, ready, sizeof ready)) fail("the subscription was not confirmed");
    if (fcntl(fd, F_SETFL, O_NONBLOCK)) die("fcntl");
    return;
  }
}

static void publish(int fd) {
  static uint32_t key = 0x9E3779B9u;
  key = key * 1664525u + 1013904223u;
  number++;
  memcpy(pattern, &number, 8);
  size_t h = put_header(out, 0x82, size, 0x80);
  memcpy(out + h, &key, 4);
  mask_copy(out + h + 4, pattern, size, key);
  if (send(fd, out, h + 4 + size, MSG_NOSIGNAL) != (ssize_t)(h + 4 + size)) die("publish");
}

// Whether it has the whole message now.
static int receive(subscriber *s) {
  ssize_t k = recv(s->fd, s->in + s->length, frame_size - s->length, 0);
  if (k < 0 && errno == EAGAIN) return 0;
  if (k <= 0) fail("the server closed a connection");
  s->length += (size_t)k;
  header f;
  size_t h = get_header(s->in, s->length, &f);
  if (!h || s->length < h + f.length) return 0;
  if (f.first != 0x82 || f.masked || f.length != size || s->length != h + size || memcmp(s->in + h, pattern, size))
    fail("a message came different, or twice");
  s->length = 0;
  return 1;
}

static uint64_t cpu_of(const clockid_t *clocks, int count) {
  uint64_t sum = 0;
  for (int i = 0; i < count; i++) sum += cpu_ns(clocks[i]);
  return sum;
}

static clockid_t clock_of(const char *pid) {
  clockid_t clock;
  if (clock_getcpuclockid(atoi(pid), &clock)) fail("a process id is unknown");
  return clock;
}

int main(int argc, char **argv) {
  enum { MOST = 64 };
  int ports[MOST], port_count = 0, server_count = 0, broker_count = 0, behind = 0;
  clockid_t servers[MOST], brokers[MOST];
  if (argc < 5) {
    fprintf(stderr, "usage: topic-load SIZE CONNECTIONS SECONDS PORT[:PID]... [-- PID...]\n");
    return 2;
  }
  size = (size_t)atol(argv[1]);
  int count = atoi(argv[2]);
  double seconds = atof(argv[3]);
  if (size < 8 || size > 65536 || count < 1 || count > 100000 || seconds <= 0)
    fail("SIZE is 8 to 65536, CONNECTIONS 1 to 100000, SECONDS more than 0");
  for (int i = 4; i < argc; i++) {
    if (!strcmp(argv[i], "--")) {
      behind = 1;
    } else if (behind && broker_count < MOST) {
      brokers[broker_count++] = clock_of(argv[i]);
    } else if (port_count < MOST) {
      const char *colon = strchr(argv[i], ':');
      ports[port_count++] = atoi(argv[i]);
      if (colon) servers[server_count++] = clock_of(colon + 1);
    }
  }
  if (!port_count) fail("there is no port");
  alarm((unsigned)(2 * seconds) + 60 + (unsigned)count / 50);  // never outlive a server that hangs
  limit_files((rlim_t)count + 64);
  pattern = xrealloc(NULL, size);
  fill_payload(pattern, size);
  frame_size = size + 14;
  out = xrealloc(NULL, frame_size);

  enum { BATCH = 100 };
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll_create1");
  subscriber *all = xrealloc(NULL, (size_t)count * sizeof *all);
  for (int done = 0; done < count; done += BATCH) {
    int end = done + BATCH < count ? done + BATCH : count;
    for (int i = done; i < end; i++) all[i].fd = dial(ports[i % port_count]);
    for (int i = done; i < end; i++) {
      struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
      await_ready(all[i].fd);
      all[i].in = xrealloc(NULL, frame_size);
      all[i].length = 0;
      if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, all[i].fd, &e)) die("epoll_ctl");
    }
  }

  static histogram latencies;
  struct epoll_event events[256];
  uint64_t now = now_ns(), warm_at = now + (uint64_t)(warmup_for(seconds) * 1e9), began = 0, sent_at = now;
  uint64_t stop_at = warm_at + (uint64_t)(seconds * 1e9), deliveries = 0, cpu = 0, broker_cpu = 0;
  int awaited = count;
  publish(all[0].fd);
  for (;;) {
    int n = epoll_wait(epoll_fd, events, 256, 10000);
    if (n == 0) fail("a subscriber waits for its message");
    for (int i = 0; i < n; i++) awaited -= receive(events[i].data.ptr);
    if (awaited) continue;
    // Looked at between messages only, so that each is counted whole.
    now = now_ns();
    if (began) {
      deliveries += (uint64_t)count;
      histogram_add(&latencies, now - sent_at);
      if (now >= stop_at) break;
    } else if (now >= warm_at) {
      began = now;
      cpu = cpu_of(servers, server_count);
      broker_cpu = cpu_of(brokers, broker_count);
    }
    awaited = count;
    sent_at = now;
    publish(all[0].fd);
  }
  double elapsed = (double)(now - began) / 1e9;
  printf("{\"deliveries\":%llu,\"seconds\":%.4f,\"rate\":%.1f,\"cpu_us_per_delivery\":%.4f,"
         "\"broker_cpu_us_per_message\":%.4f,\"p50_us\":%.2f}\n",
         (unsigned long long)deliveries, elapsed, (double)deliveries / elapsed,
         (double)(cpu_of(servers, server_count) - cpu) / 1e3 / (double)deliveries,
         (double)(cpu_of(brokers, broker_count) - broker_cpu) / 1e3 / ((double)deliveries / count),
         histogram_us(&latencies, 50));
  return 0;
}
