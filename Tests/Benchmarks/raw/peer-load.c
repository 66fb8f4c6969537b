// SPDX-License-Identifier: Apache-2.0
// This file is part of the swift-libwebsockets open source project.
//
// The peer of every server driver: a load generator on bare epoll. It keeps a fixed number of
// messages in flight on each connection, masks every frame with a key of its own, and checks each
// byte that comes back: every message carries a number, so a lost, doubled or swapped one shows.
//
//   peer-load WORKLOAD HOST PORT SECONDS [--server-pid PID]
//
// With the server's process id it also reads the server's processor time over the measured part, and
// its memory. idle1000 and idle5000 measure one connection alone, then the same with idle ones beside
// it. s4 counts deliveries: the next message goes out when everybody has the last one. s5 counts
// connections: made, upgraded, closed with 1000 and seen to end, 16 at a time. s6 counts bytes of the
// server's memory for each of 5,000 connections that exchanged one message and fell silent.

#include "common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { ECHO, BROADCAST, ACCEPT, MEMORY };

typedef struct {
  const char *name;
  int kind, connections, depth;
  size_t size;
  int idle;
} workload;

static const workload workloads[] = {
    {"s1a", ECHO, 1, 1, 32, 0},         {"s1b", ECHO, 64, 1, 32, 0},
    {"s1c", ECHO, 512, 1, 32, 0},       {"s2", ECHO, 64, 16, 32, 0},
    {"s3", ECHO, 4, 1, 65536, 0},       {"s4", BROADCAST, 200, 1, 32, 0},
    {"s5", ACCEPT, 16, 1, 32, 0},       {"s6", MEMORY, 1, 1, 32, 5000},
    {"idle1000", ECHO, 1, 1, 32, 1000}, {"idle5000", ECHO, 1, 1, 32, 5000},
};

typedef struct {
  int fd, waiting;  // waiting: for the socket to take the rest of `out`
  uint64_t sent, received, sent_at;
  uint8_t *in, *out;
  size_t in_length, in_capacity, out_at, out_length;
} connection;

typedef struct {
  double seconds, rate, cpu, load_cpu, p50;
  uint64_t messages;
} outcome;

static const workload *work;
static int epoll_fd;
static struct sockaddr_in address;
static connection connections[512];
static uint8_t *pattern;
static size_t frame_size;
static clockid_t server_clock;
static int server_known;
static histogram latencies;
static uint64_t messages;
static int awaited;  // who has not got the broadcast yet

static void fail(const char *why) {
  fprintf(stderr, "peer-load: %s\n", why);
  exit(1);
}

static uint32_t next_key(void) {
  static uint64_t s = 0x9E3779B97F4A7C15u;
  s ^= s << 13;
  s ^= s >> 7;
  s ^= s << 17;
  return (uint32_t)(s >> 16);
}

#define HANDSHAKE(path) \
  "GET " path " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
static const char ask_echo[] = HANDSHAKE("/"), ask_broadcast[] = HANDSHAKE("/broadcast");

// The end of an answer that accepts, or NULL if there is more to come.
static const char *accepted(const char *reply) {
  const char *end = strstr(reply, "\r\n\r\n");
  if (!end) return NULL;
  if (strncmp(reply, "HTTP/1.1 101", 12) || !strstr(reply, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    fail("the handshake was refused");
  return end + 4;
}

// Connects and asks; the answer is awaited apart, so that many can be under way.
static int ask_for_upgrade(void) {
  const char *ask = work->kind == BROADCAST ? ask_broadcast : ask_echo;
  size_t length = strlen(ask);
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval patience = {.tv_sec = 30};
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
  if (send(fd, ask, length, MSG_NOSIGNAL) != (ssize_t)length) die("handshake");
  return fd;
}

static void await_upgrade(int fd) {
  char reply[2048];
  size_t n = 0;
  do {
    ssize_t k = recv(fd, reply + n, sizeof reply - 1 - n, 0);
    if (k <= 0) fail("the handshake got no answer");
    n += (size_t)k;
    reply[n] = 0;
  } while (!accepted(reply) && n < sizeof reply - 1);
}

static int dial(void) {
  int fd = ask_for_upgrade();
  await_upgrade(fd);
  if (fcntl(fd, F_SETFL, O_NONBLOCK)) die("fcntl");
  return fd;
}

static void watch(connection *c, int waiting) {
  struct epoll_event e = {.events = EPOLLIN | (waiting ? EPOLLOUT : 0u), .data.ptr = c};
  if (c->waiting == waiting) return;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e)) die("epoll_ctl");
  c->waiting = waiting;
}

static void send_out(connection *c) {
  while (c->out_at < c->out_length) {
    ssize_t k = send(c->fd, c->out + c->out_at, c->out_length - c->out_at, MSG_NOSIGNAL);
    if (k < 0 && errno == EAGAIN) break;
    if (k <= 0) fail("the server closed a connection");
    c->out_at += (size_t)k;
  }
  watch(c, c->out_at < c->out_length);
  if (c->out_at == c->out_length) c->out_at = c->out_length = 0;
}

// `out` has room for the messages in flight: no more can ever be waiting.
static void queue(connection *c) {
  uint8_t *p = c->out + c->out_length;
  uint32_t key = next_key();
  memcpy(pattern, &c->sent, 8);
  c->sent++;
  size_t h = put_header(p, 0x82, work->size, 0x80);
  memcpy(p + h, &key, 4);
  mask_copy(p + h + 4, pattern, work->size, key);
  c->out_length += h + 4 + work->size;
}

static void compact(connection *c) {
  if (!c->out_at) return;
  memmove(c->out, c->out + c->out_at, c->out_length - c->out_at);
  c->out_length -= c->out_at;
  c->out_at = 0;
}

static void receive(connection *c, uint64_t *now) {
  ssize_t n = recv(c->fd, c->in + c->in_length, c->in_capacity - c->in_length, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) fail("the server closed a connection");
  c->in_length += (size_t)n;
  size_t at = 0, h;
  header f;
  compact(c);
  while ((h = get_header(c->in + at, c->in_length - at, &f)) && c->in_length - at >= h + f.length) {
    const uint8_t *p = c->in + at + h;
    if (f.first == 0x8A || f.first == 0x89) {  // none of ours, and too soon to matter
      at += h + (size_t)f.length;
      continue;
    }
    if (f.first != 0x82 || f.masked || f.length != work->size || memcmp(p, &c->received, 8) ||
        memcmp(p + 8, pattern + 8, work->size - 8))
      fail("a message came back different");
    c->received++;
    messages++;
    at += h + (size_t)f.length;
    if (work->kind == ECHO) queue(c);
  }
  if (!at) return;
  c->in_length -= at;
  if (c->in_length) memmove(c->in, c->in + at, c->in_length);
  *now = now_ns();
  if (work->kind == BROADCAST) {
    // Nobody gets a second one before the first is everywhere.
    if (--awaited) return;
    c = connections;
    histogram_add(&latencies, *now - c->sent_at);
    c->sent_at = *now;
    awaited = work->connections;
    queue(c);
  } else if (work->depth == 1) {
    histogram_add(&latencies, *now - c->sent_at);
    c->sent_at = *now;
  }
  send_out(c);
}

// What was so far when the warm-up was over.
typedef struct {
  uint64_t began, cpu, load_cpu;
} span;

static span begin_span(uint64_t now) {
  span span = {.began = now, .load_cpu = cpu_ns(CLOCK_PROCESS_CPUTIME_ID)};
  messages = 0;
  memset(&latencies, 0, sizeof latencies);
  if (server_known) span.cpu = cpu_ns(server_clock);
  return span;
}

static outcome end_span(const span *span, uint64_t now) {
  outcome o = {0};
  o.seconds = (double)(now - span->began) / 1e9;
  o.messages = messages;
  o.rate = (double)messages / o.seconds;
  o.cpu = server_known ? (double)(cpu_ns(server_clock) - span->cpu) / 1e3 / (double)messages : 0;
  o.load_cpu = (double)(cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - span->load_cpu) / 1e3 / (double)messages;
  o.p50 = histogram_us(&latencies, 50);
  return o;
}

static outcome measure(double seconds) {
  uint64_t now = now_ns(), warm_at = now + (uint64_t)(warmup_for(seconds) * 1e9);
  uint64_t stop_at = warm_at + (uint64_t)(seconds * 1e9);
  struct epoll_event events[64];
  span span = {0};
  for (;;) {
    int n = epoll_wait(epoll_fd, events, 64, 10000);
    if (n == 0) fail("the server fell silent");
    for (int i = 0; i < n; i++) {
      connection *c = events[i].data.ptr;
      if (events[i].events & EPOLLOUT) send_out(c);
      if (events[i].events & ~(uint32_t)EPOLLOUT) receive(c, &now);
    }
    if (!span.began && now >= warm_at) {
      span = begin_span(now);
    }
    if (now >= stop_at) break;
  }
  return end_span(&span, now);
}

// One of the connections that s5 makes again and again.
typedef struct {
  int fd, state;
  uint64_t began;
  char reply[1024];
  size_t length;
} visit;

enum { CONNECTING, ASKED, CLOSING };

static void begin_visit(visit *v) {
  struct epoll_event e = {.events = EPOLLOUT, .data.ptr = v};
  int one = 1;
  v->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (v->fd < 0) die("socket");
  setsockopt(v->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(v->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) die("connect");
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, v->fd, &e)) die("epoll_ctl");
  v->state = CONNECTING;
  v->length = 0;
  v->began = now_ns();
}

// A masked close frame with 1000; libwebsockets and we answer it with the same code.
static const uint8_t close_frame[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8}, close_answer[] = {0x88, 0x02, 0x03, 0xE8};

// Whether the visit is over.
static int go_on(visit *v) {
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = v};
  ssize_t k;
  switch (v->state) {
  case CONNECTING:
    if (send(v->fd, ask_echo, sizeof ask_echo - 1, MSG_NOSIGNAL) != (ssize_t)sizeof ask_echo - 1) die("handshake");
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, v->fd, &e)) die("epoll_ctl");
    v->state = ASKED;
    return 0;
  case ASKED:
    k = recv(v->fd, v->reply + v->length, sizeof v->reply - 1 - v->length, 0);
    if (k <= 0) fail("the handshake got no answer");
    v->length += (size_t)k;
    v->reply[v->length] = 0;
    if (!accepted(v->reply)) return 0;
    if (send(v->fd, close_frame, sizeof close_frame, MSG_NOSIGNAL) != (ssize_t)sizeof close_frame) die("close frame");
    v->state = CLOSING;
    v->length = 0;
    return 0;
  default:
    k = recv(v->fd, v->reply + v->length, sizeof v->reply - v->length, 0);
    if (k < 0) die("the answer to a close frame");
    v->length += (size_t)k;
    if (k) return 0;
    if (v->length != sizeof close_answer || memcmp(v->reply, close_answer, sizeof close_answer))
      fail("the close frame was not answered with 1000");
    close(v->fd);
    return 1;
  }
}

static outcome measure_accepts(double seconds) {
  static visit visits[16];
  uint64_t now = now_ns(), warm_at = now + (uint64_t)(warmup_for(seconds) * 1e9);
  uint64_t stop_at = warm_at + (uint64_t)(seconds * 1e9);
  struct epoll_event events[16];
  span span = {0};
  for (int i = 0; i < work->connections; i++) begin_visit(&visits[i]);
  for (;;) {
    int n = epoll_wait(epoll_fd, events, 16, 10000);
    if (n == 0) fail("the server fell silent");
    for (int i = 0; i < n; i++) {
      visit *v = events[i].data.ptr;
      if (!go_on(v)) continue;
      now = now_ns();
      messages++;
      histogram_add(&latencies, now - v->began);
      begin_visit(v);
    }
    now = now_ns();
    if (!span.began && now >= warm_at) {
      span = begin_span(now);
    }
    if (now >= stop_at) break;
  }
  return end_span(&span, now);
}

// Resident memory of the server, in bytes.
static double memory_of(int pid) {
  char path[64], line[256];
  double kib = 0;
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *f = fopen(path, "r");
  if (!f) die(path);
  while (fgets(line, sizeof line, f))
    if (sscanf(line, "VmRSS: %lf", &kib) == 1) break;
  fclose(f);
  return kib * 1024;
}

// Idle connections, a hundred at a time: libwebsockets' poll loop looks at all of them whenever it
// wakes. With `talks` each exchanges a message first, so that it has all that a connection gets.
static void add_idle(int count, int talks) {
  enum { BATCH = 100 };
  int fds[BATCH];
  uint8_t frame[64], reply[64];
  size_t h = put_header(frame, 0x82, work->size, 0x80);
  memset(frame + h, 0, 4);
  memcpy(frame + h + 4, pattern, work->size);
  for (int done = 0; done < count; done += BATCH) {
    int some = count - done < BATCH ? count - done : BATCH;
    for (int i = 0; i < some; i++) fds[i] = ask_for_upgrade();
    for (int i = 0; i < some; i++) await_upgrade(fds[i]);
    if (!talks) continue;
    for (int i = 0; i < some; i++)
      if (send(fds[i], frame, h + 4 + work->size, MSG_NOSIGNAL) < 0) die("send");
    for (int i = 0; i < some; i++)
      if (recv(fds[i], reply, 2 + work->size, MSG_WAITALL) != (ssize_t)(2 + work->size) || reply[0] != 0x82 ||
          memcmp(reply + 2, pattern, work->size))
        fail("a message came back different");
  }
}

// What the first hundred cost is not the price of a connection.
static double bytes_each(int pid) {
  enum { FIRST = 100 };
  add_idle(FIRST, 1);
  double before = memory_of(pid);
  add_idle(work->idle, 1);
  return (memory_of(pid) - before) / work->idle;
}

int main(int argc, char **argv) {
  outcome alone = {0}, o;
  int pid = 0;
  for (size_t i = 0; argc > 1 && i < sizeof workloads / sizeof *workloads; i++)
    if (!strcmp(argv[1], workloads[i].name)) work = &workloads[i];
  if (argc == 7 && !strcmp(argv[5], "--server-pid")) pid = atoi(argv[6]);
  if (!work || (argc != 5 && pid <= 0)) {
    fprintf(stderr, "usage: peer-load s1a|s1b|s1c|s2|s3|s4|s5|s6|idle1000|idle5000 HOST PORT SECONDS [--server-pid PID]\n");
    return 2;
  }
  double seconds = atof(argv[4]);
  address.sin_family = AF_INET;
  address.sin_port = htons((uint16_t)atoi(argv[3]));
  if (inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) fail("HOST must be an IPv4 address");
  alarm((unsigned)(2 * seconds) + 60 + (unsigned)work->idle / 50);  // never outlive a server that hangs
  limit_files(4096);
  server_known = pid > 0 && !clock_getcpuclockid(pid, &server_clock);

  pattern = xrealloc(NULL, work->size);
  fill_payload(pattern, work->size);
  frame_size = work->size + 14;
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll_create1");
  if (work->kind == MEMORY) {
    if (!server_known) fail("s6 needs --server-pid");
    double bytes = bytes_each(pid);
    printf("{\"workload\":\"%s\",\"rate\":%.1f,\"bytes_each\":%.1f}\n", work->name, bytes, bytes);
    return 0;
  }
  if (work->kind == ACCEPT) {
    o = measure_accepts(seconds);
    goto report;
  }
  for (int i = 0; i < work->connections; i++) {
    connection *c = &connections[i];
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    c->in_capacity = frame_size * (size_t)work->depth + 4096;
    c->in = xrealloc(NULL, c->in_capacity);
    c->out = xrealloc(NULL, frame_size * (size_t)work->depth);
    c->fd = dial();
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
  }
  awaited = work->connections;
  for (int i = 0; i < (work->kind == BROADCAST ? 1 : work->connections); i++) {
    for (int k = 0; k < work->depth; k++) queue(&connections[i]);
    connections[i].sent_at = now_ns();
    send_out(&connections[i]);
  }
  if (work->idle) {
    alone = measure(seconds);
    add_idle(work->idle, 0);
    connections[0].sent_at = now_ns();
  }
  o = measure(seconds);

report:
  printf("{\"workload\":\"%s\",\"messages\":%llu,\"seconds\":%.4f,\"rate\":%.1f,\"mb_per_s\":%.2f", work->name,
         (unsigned long long)o.messages, o.seconds, o.rate, o.rate * (double)work->size / 1e6);
  if (server_known) printf(",\"cpu_us_per_message\":%.4f", o.cpu);
  printf(",\"load_cpu_us_per_message\":%.4f", o.load_cpu);
  if (work->depth == 1) printf(",\"p50_us\":%.2f", o.p50);
  if (work->idle) printf(",\"alone_rate\":%.1f,\"idle_ratio\":%.4f", alone.rate, o.rate / alone.rate);
  printf("}\n");
  return 0;
}
