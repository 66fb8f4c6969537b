// SPDX-License-Identifier: Apache-2.0
// This file is part of the swift-libwebsockets open source project.
//
// Shared by the C programs of the benchmark: clock, latency histogram, frame headers, masking,
// and the rules by which a server ends.

#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t cpu_ns(clockid_t clock) {
  struct timespec t;
  if (clock_gettime(clock, &t)) return 0;
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

UNUSED __attribute__((noreturn)) static void die(const char *what) {
  fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
  exit(1);
}

UNUSED static void *xrealloc(void *p, size_t n) {
  p = realloc(p, n);
  if (!p) die("out of memory");
  return p;
}

// Every driver runs uncounted for a quarter of the measured time, at most half a second.
UNUSED static double warmup_for(double seconds) { return seconds / 4 < 0.5 ? seconds / 4 : 0.5; }

// libwebsockets scans a table of RLIMIT_NOFILE entries at every close, so a generous shell would
// slow it down. The same limit everywhere makes figures comparable; BENCH_FILES is another one, for
// workloads of thousands of connections.
UNUSED static void limit_files(rlim_t want) {
  struct rlimit r;
  const char *other = getenv("BENCH_FILES");
  if (other) want = (rlim_t)atol(other);
  if (getrlimit(RLIMIT_NOFILE, &r)) return;
  r.rlim_cur = want < r.rlim_max ? want : r.rlim_max;
  setrlimit(RLIMIT_NOFILE, &r);
}

// Logarithmic histogram, 128 steps an octave: under 1 % error without keeping samples.
typedef struct {
  uint32_t count[57 * 128 + 256];
  uint64_t total;
} histogram;

UNUSED static void histogram_add(histogram *h, uint64_t v) {
  int e = 63 - __builtin_clzll(v | 1), shift = e > 7 ? e - 7 : 0;
  h->count[((uint64_t)shift << 7) + (v >> shift)]++;
  h->total++;
}

UNUSED static double histogram_us(const histogram *h, double percentile) {
  uint64_t want = (uint64_t)(percentile / 100 * (double)h->total), seen = 0;
  if (!h->total) return 0;
  for (unsigned i = 0; i < sizeof h->count / sizeof *h->count; i++) {
    seen += h->count[i];
    if (seen > want) {
      if (i < 256) return i / 1000.0;
      unsigned shift = i / 128 - 1;
      return (double)((uint64_t)(i - shift * 128) << shift) / 1000.0;
    }
  }
  return 0;
}

// Word at a time, which the compiler turns into vectors.
static inline void mask_copy(uint8_t *restrict to, const uint8_t *restrict from, size_t n, uint32_t key) {
  uint64_t k = (uint64_t)key << 32 | key, w;
  const uint8_t *kb = (const uint8_t *)&key;
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    memcpy(&w, from + i, 8);
    w ^= k;
    memcpy(to + i, &w, 8);
  }
  for (; i < n; i++) to[i] = from[i] ^ kb[i & 3];
}

// `mask_bit` is 0x80 or 0. Returns the number of bytes written, at most 10.
static inline size_t put_header(uint8_t *p, unsigned first, uint64_t n, unsigned mask_bit) {
  p[0] = (uint8_t)first;
  if (n < 126) {
    p[1] = (uint8_t)(mask_bit | n);
    return 2;
  }
  if (n < 65536) {
    p[1] = (uint8_t)(mask_bit | 126);
    p[2] = (uint8_t)(n >> 8);
    p[3] = (uint8_t)n;
    return 4;
  }
  p[1] = (uint8_t)(mask_bit | 127);
  for (int i = 0; i < 8; i++) p[2 + i] = (uint8_t)(n >> (56 - 8 * i));
  return 10;
}

typedef struct {
  unsigned first;
  int masked;
  uint32_t key;
  uint64_t length;
} header;

// Returns the size of the header with its mask key, or 0 if more bytes are needed.
static inline size_t get_header(const uint8_t *p, size_t n, header *h) {
  size_t at = 2;
  if (n < 2) return 0;
  h->first = p[0];
  h->masked = p[1] >> 7;
  h->length = p[1] & 127;
  if (h->length == 126) {
    if (n < 4) return 0;
    h->length = (uint64_t)p[2] << 8 | p[3];
    at = 4;
  } else if (h->length == 127) {
    if (n < 10) return 0;
    h->length = 0;
    for (int i = 0; i < 8; i++) h->length = h->length << 8 | p[2 + i];
    at = 10;
  }
  if (h->masked) {
    if (n < at + 4) return 0;
    memcpy(&h->key, p + at, 4);
    at += 4;
  }
  return at;
}

UNUSED static void fill_payload(uint8_t *p, size_t n) {
  static const char unit[] = "{\"id\":1234567,\"symbol\":\"ACME\",\"price\":101.25,\"quantity\":300},";
  for (size_t i = 0; i < n; i++) p[i] = (uint8_t)unit[i % (sizeof unit - 1)];
}

// A server ends at SIGTERM or SIGINT, when its standard input ends, or after a time limit, so
// that none outlives the run that started it. One thread waits for all three and then calls back;
// the loop that is measured knows nothing about it.
typedef struct {
  double seconds;
  void (*end)(void);
  int signals;
} ending;

UNUSED static void *ending_thread(void *argument) {
  ending *e = argument;
  uint64_t until = now_ns() + (uint64_t)(e->seconds * 1e9);
  struct pollfd p[2] = {{.fd = e->signals, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  for (;;) {
    uint64_t now = now_ns();
    char scratch[256];
    if (now >= until) break;
    if (poll(p, 2, (int)((until - now) / 1000000) + 1) < 0 && errno != EINTR) break;
    if (p[0].revents) break;
    if (p[1].revents && read(0, scratch, sizeof scratch) <= 0) break;
  }
  e->end();
  return NULL;
}

UNUSED static void end_after(double seconds, void (*end)(void)) {
  static ending e;
  pthread_t thread;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, NULL);
  e.seconds = seconds;
  e.end = end;
  e.signals = signalfd(-1, &set, SFD_CLOEXEC);
  if (e.signals < 0 || pthread_create(&thread, NULL, ending_thread, &e)) die("watching for the end");
  pthread_detach(thread);
}

// Text as programs send it: words from a short list, in an order that repeats late.
UNUSED static void fill_text(uint8_t *p, size_t n) {
  static const char *const words[] = {"\"price\":",  "\"size\":", "btcusdt",  "bid",    "ask",   "trade",
                                      "\"time\":16", "{\"e\":",   "0.00100", "42017.5", "false", "},{"};
  uint32_t state = 1;
  for (size_t i = 0; i < n;) {
    state = state * 1664525u + 1013904223u;
    const char *word = words[(state >> 16) % (sizeof words / sizeof *words)];
    for (size_t k = 0; word[k] && i < n; k++) p[i++] = (uint8_t)word[k];
    if (i < n) p[i++] = (uint8_t)('0' + (state >> 24) % 10);
  }
}

// Resident memory of this process.
UNUSED static double resident_bytes(void) {
  char line[256];
  double kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  if (!f) die("/proc/self/status");
  while (fgets(line, sizeof line, f))
    if (sscanf(line, "VmRSS: %lf", &kib) == 1) break;
  fclose(f);
  return kib * 1024;
}

#endif
