// SPDX-License-Identifier: Apache-2.0
// This file is part of the swift-libwebsockets open source project.
//
// The client of the C interface: messages come through on_message on the connection's loop, and the next ones are sent
// from there.
//
//   wsx-client c1|c2|c4|c5 HOST PORT SECONDS

#include "common.h"

#include <wsx.h>

typedef struct {
  const char *name;
  int connections, depth, size, flood;
} workload;

static const workload workloads[] = {
    {"c1", 1, 1, 32, 0}, {"c2", 1, 64, 32, 0}, {"c4", 100, 1, 128, 0}, {"c5", 1, 0, 64, 1},
};

// Several connections live on several loops, so their figures are kept under a lock.
typedef struct {
  uint64_t sent_at;
} session;

static const workload *work;
static uint8_t payload[128];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int several;
static volatile int failed, over;
static uint64_t messages, warm_at, stop_at, began, ended, cpu_began, cpu_ended;
static histogram latencies;
static pthread_cond_t finished = PTHREAD_COND_INITIALIZER;

static void finish(int failure) {
  pthread_mutex_lock(&lock);
  failed |= failure;
  over = 1;
  pthread_cond_signal(&finished);
  pthread_mutex_unlock(&lock);
}

static int clock_says_go_on(uint64_t now) {
  if (!stop_at) return 1;
  if (!began && now >= warm_at) {
    began = now;
    cpu_began = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    messages = 0;
    memset(&latencies, 0, sizeof latencies);
  } else if (now >= stop_at) {
    ended = now;
    cpu_ended = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    return 0;
  }
  return 1;
}

static void send_one(wsx_connection connection) {
  if (wsx_send(connection, WSX_BINARY, payload, (size_t)work->size, 0, NULL) && !over) finish(1);
}

static int count(session *s) {
  int goes_on = 1;
  messages++;
  if (work->depth == 1) {
    uint64_t now = now_ns();
    histogram_add(&latencies, now - s->sent_at);
    goes_on = clock_says_go_on(now);
    s->sent_at = now;
  } else if (!(messages & 63)) {
    goes_on = clock_says_go_on(now_ns());
  }
  return goes_on;
}

static void on_message(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t n) {
  int goes_on;
  (void)kind;
  if (over) return;
  if (n != (size_t)work->size || (!work->flood && memcmp(data, payload, n))) {
    fprintf(stderr, "wsx-client: a message came back different\n");
    finish(1);
    return;
  }
  if (several) pthread_mutex_lock(&lock);
  goes_on = count(user);
  if (several) pthread_mutex_unlock(&lock);
  if (!goes_on) {
    finish(0);
    return;
  }
  if (!work->flood) send_one(connection);
}

static void on_close(void *user, wsx_connection connection, const wsx_error *reason) {
  (void)user;
  (void)connection;
  if (over) return;
  fprintf(stderr, "wsx-client: %s\n", reason->message);
  finish(1);
}

int main(int argc, char **argv) {
  static session sessions[100];
  wsx_connection connections[100];
  wsx_client_config config = wsx_client_config_init();
  wsx_error error = wsx_error_init();
  char url[256];
  double seconds;
  uint64_t now;

  for (size_t i = 0; argc > 1 && i < sizeof workloads / sizeof *workloads; i++)
    if (!strcmp(argv[1], workloads[i].name)) work = &workloads[i];
  if (!work || argc != 5) {
    fprintf(stderr, "usage: wsx-client c1|c2|c4|c5 HOST PORT SECONDS\n");
    return 2;
  }
  seconds = atof(argv[4]);
  alarm((unsigned)seconds + 30);
  limit_files(4096);
  fill_payload(payload, sizeof payload);
  several = work->connections > 1;
  snprintf(url, sizeof url, "ws://%s:%s%s", argv[2], argv[3], work->flood ? "/flood?size=64" : "/");
  now = now_ns();
  warm_at = now + (uint64_t)(warmup_for(seconds) * 1e9);
  stop_at = warm_at + (uint64_t)(seconds * 1e9);
  for (int i = 0; i < work->connections; i++) {
    wsx_callbacks callbacks = wsx_callbacks_init();
    callbacks.user = &sessions[i];
    callbacks.on_message = on_message;
    callbacks.on_close = on_close;
    config.callbacks = &callbacks;
    if (wsx_connect(url, &config, &connections[i], &error)) {
      fprintf(stderr, "wsx-client: %s\n", error.message);
      return 1;
    }
    sessions[i].sent_at = now_ns();
    for (int sent = 0; sent < work->depth; sent++) send_one(connections[i]);
  }
  pthread_mutex_lock(&lock);
  while (!over) pthread_cond_wait(&finished, &lock);
  pthread_mutex_unlock(&lock);
  if (failed) return 1;

  double elapsed = (double)(ended - began) / 1e9;
  printf("{\"workload\":\"%s\",\"messages\":%llu,\"seconds\":%.4f,\"rate\":%.1f,\"cpu_us_per_message\":%.4f", work->name,
         (unsigned long long)messages, elapsed, (double)messages / elapsed,
         (double)(cpu_ended - cpu_began) / 1e3 / (double)messages);
  if (latencies.total) printf(",\"p50_us\":%.2f", histogram_us(&latencies, 50));
  printf("}\n");
  fflush(stdout);
  _exit(0);
}
