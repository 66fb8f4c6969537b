// SPDX-License-Identifier: Apache-2.0
// This file is part of the swift-libwebsockets open source project.
//
// The yardstick for clients: C libwebsockets written the documented way. Its own poll loop, every
// message sent from the WRITEABLE callback with lws_write, several per callback until the pipe is
// choked, tx_packet_size raised, 16 KiB reads, permessage-deflate for c7 only.
//
// Large messages are collected from the pieces in which libwebsockets hands them over, and sent with one lws_write. c7 uses
// libwebsockets' own permessage-deflate.
//
//   lws-client WORKLOAD HOST PORT SECONDS [--ca FILE]

#include "common.h"

#include <libwebsockets.h>

typedef struct {
  const char *name;
  int connections, depth, size, tls, flood, churn, deflate, idle;
} workload;

enum { MAXIMUM = 1 << 20, FIRST = 100 };

static const workload workloads[] = {
    {"c1", 1, 1, 32, 0, 0, 0, 0, 0},       {"c2", 1, 64, 32, 0, 0, 0, 0, 0},
    {"c3", 1, 1, MAXIMUM, 0, 0, 0, 0, 0},  {"c3s", 1, 1, MAXIMUM, 1, 0, 0, 0, 0},
    {"c4", 100, 1, 128, 0, 0, 0, 0, 0},    {"c5", 1, 0, 64, 0, 1, 0, 0, 0},
    {"c6", 1, 1, 32, 1, 0, 0, 0, 0},       {"c7", 1, 1, 1024, 0, 0, 0, 1, 0},
    {"c8", 1, 0, 0, 0, 0, 1, 0, 0},        {"c8s", 1, 0, 0, 1, 0, 1, 0, 0},
    {"c9", FIRST + 2000, 1, 32, 0, 0, 0, 0, 1},
};

typedef struct {
  struct lws *wsi;
  int owed;         // messages to send at the next WRITEABLE
  size_t received;  // bytes of the message that is arriving
  uint64_t sent_at;
  uint8_t *message; // room for one that comes in pieces
} session;

static const workload *work;
static struct lws_context *context;
static const char *host;
static int port;
static uint8_t payload[MAXIMUM], out[LWS_PRE + MAXIMUM];
static double memory_before;
static int echoed;
static int open_count, over, redial, failed;
static uint64_t messages, warm_at, stop_at, began, ended, cpu_began, cpu_ended, dialled_at;
static histogram latencies;

static void fail(const char *why) {
  if (!failed) fprintf(stderr, "lws-client: %s\n", why);
  failed = over = 1;
}

static void start_clock(double seconds) {
  uint64_t now = now_ns();
  warm_at = now + (uint64_t)(warmup_for(seconds) * 1e9);
  stop_at = warm_at + (uint64_t)(seconds * 1e9);
}

// Called with the time after something counted; 0 once the time is up.
static int clock_says_go_on(uint64_t now) {
  if (!stop_at) return 1;  // some connections are still to be opened
  if (!began && now >= warm_at) {
    began = now;
    cpu_began = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    messages = 0;
    memset(&latencies, 0, sizeof latencies);
  } else if (now >= stop_at) {
    ended = now;
    cpu_ended = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    over = 1;
    return 0;
  }
  return 1;
}

static void dial(void) {
  struct lws_client_connect_info i;
  memset(&i, 0, sizeof i);
  i.context = context;
  i.address = host;
  i.port = port;
  i.path = work->flood ? "/flood?size=64" : work->deflate ? "/deflate" : "/";
  // lws checks `host` against the certificate's DNS names only, so an address would not match.
  i.host = i.origin = work->tls ? "localhost" : host;
  i.local_protocol_name = "bench";
  i.ietf_version_or_minus_one = -1;
  i.ssl_connection = work->tls ? LCCSCF_USE_SSL : 0;
  dialled_at = now_ns();
  if (!lws_client_connect_via_info(&i)) fail("cannot connect");
}

static void owe(session *s, int count) {
  if (!s->owed) lws_callback_on_writable(s->wsi);
  s->owed += count;
}

// Each connection has exchanged a message and falls silent; the first hundred are not counted.
static void idle(void) {
  echoed++;
  if (echoed == FIRST) memory_before = resident_bytes();
  if (echoed < work->connections) {
    redial = 1;
    return;
  }
  double each = (resident_bytes() - memory_before) / (work->connections - FIRST);
  printf("{\"workload\":\"%s\",\"rate\":%.1f,\"bytes_each\":%.1f}\n", work->name, each, each);
  fflush(stdout);
  _exit(0);
}

static int message(session *s, const uint8_t *bytes, size_t n) {
  if (n != (size_t)work->size || (!work->flood && memcmp(bytes, payload, n))) {
    fail("a message came back different");
    return -1;
  }
  if (work->idle) {
    idle();
    return 0;
  }
  messages++;
  // A look at the clock is only needed for each message where latency is measured.
  if (work->depth == 1) {
    uint64_t now = now_ns();
    histogram_add(&latencies, now - s->sent_at);
    if (!clock_says_go_on(now)) return 0;
    s->sent_at = now;
  } else if (!(messages & 63) && !clock_says_go_on(now_ns())) {
    return 0;
  }
  if (!work->flood) owe(s, 1);
  return 0;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n) {
  session *s = user;
  switch (reason) {
  case LWS_CALLBACK_CLIENT_ESTABLISHED:
    s->wsi = wsi;
    if (work->churn) {
      lws_callback_on_writable(wsi);
      break;
    }
    if (++open_count < work->connections && !work->idle) redial = 1;
    s->sent_at = now_ns();
    if (work->depth) owe(s, work->depth);
    break;

  case LWS_CALLBACK_CLIENT_RECEIVE: {
    int whole = lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi);
    if (over) break;
    if (whole && !s->received) return message(s, in, n);
    if (s->received + n > (size_t)work->size) {
      fail("a message is too long");
      return -1;
    }
    if (!s->message) s->message = xrealloc(NULL, (size_t)work->size);
    memcpy(s->message + s->received, in, n);
    s->received += n;
    if (!whole) break;
    n = s->received;
    s->received = 0;
    return message(s, s->message, n);
  }

  case LWS_CALLBACK_CLIENT_WRITEABLE:
    if (work->churn) {
      lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
      return -1;
    }
    while (s->owed) {
      // lws masks in place, so the payload is copied afresh for each message.
      memcpy(out + LWS_PRE, payload, (size_t)work->size);
      if (lws_write(wsi, out + LWS_PRE, (size_t)work->size, LWS_WRITE_BINARY) < work->size) return -1;
      if (--s->owed && lws_send_pipe_choked(wsi)) {
        lws_callback_on_writable(wsi);
        break;
      }
    }
    break;

  case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    fail(in ? (const char *)in : "connection error");
    break;

  case LWS_CALLBACK_CLIENT_CLOSED:
    free(s->message);
    s->message = NULL;
    break;

  case LWS_CALLBACK_WSI_DESTROY:
    if (over || !s || !s->wsi) break;
    if (work->churn) {
      uint64_t now = now_ns();
      messages++;
      histogram_add(&latencies, now - dialled_at);
      if (clock_says_go_on(now)) redial = 1;
    } else {
      fail("the server closed a connection");
    }
    break;

  default: break;
  }
  return 0;
}

static struct lws_protocols protocols[] = {
    {"bench", callback, sizeof(session), 16384, 0, NULL, 4 << 20},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static const struct lws_extension extensions[] = {
    {"permessage-deflate", lws_extension_callback_pm_deflate, "permessage-deflate; client_max_window_bits"},
    {NULL, NULL, NULL},
};

int main(int argc, char **argv) {
  struct lws_context_creation_info info;
  const char *ca = NULL;
  double seconds;
  int started = 0;

  for (size_t i = 0; argc > 1 && i < sizeof workloads / sizeof *workloads; i++)
    if (!strcmp(argv[1], workloads[i].name)) work = &workloads[i];
  if (argc == 7 && !strcmp(argv[5], "--ca")) ca = argv[6];
  if (!work || (argc != 5 && !ca)) {
    fprintf(stderr, "usage: lws-client c1|c2|c3|c3s|c4|c5|c6|c7|c8|c8s|c9 HOST PORT SECONDS [--ca FILE]\n");
    return 2;
  }
  host = argv[2];
  port = atoi(argv[3]);
  seconds = atof(argv[4]);
  alarm((unsigned)seconds + 30);  // never outlive a server that hangs
  limit_files(4096);
  if (work->deflate) fill_text(payload, sizeof payload);
  else fill_payload(payload, sizeof payload);

  lws_set_log_level(LLL_ERR, NULL);
  memset(&info, 0, sizeof info);
  info.port = CONTEXT_PORT_NO_LISTEN;
  info.protocols = protocols;
  info.pt_serv_buf_size = 65536;
  info.gid = (gid_t)-1;
  info.uid = (uid_t)-1;
  if (work->tls) info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
  if (work->deflate) info.extensions = extensions;
  info.client_ssl_ca_filepath = ca;
  context = lws_create_context(&info);
  if (!context) die("lws_create_context");

  if (work->churn) start_clock(seconds);
  dial();
  while (!over) {
    if (lws_service(context, 0) < 0) fail("lws_service failed");
    if (redial) {
      redial = 0;
      dial();
    }
    if (!work->churn && !work->idle && !started && open_count == work->connections) {
      started = 1;
      start_clock(seconds);
    }
  }
  if (failed) return 1;

  double elapsed = (double)(ended - began) / 1e9;
  printf("{\"workload\":\"%s\",\"messages\":%llu,\"seconds\":%.4f,\"rate\":%.1f,\"cpu_us_per_message\":%.4f", work->name,
         (unsigned long long)messages, elapsed, (double)messages / elapsed,
         (double)(cpu_ended - cpu_began) / 1e3 / (double)messages);
  if (latencies.total) printf(",\"p50_us\":%.2f", histogram_us(&latencies, 50));
  printf("}\n");
  fflush(stdout);
  _exit(0);  // closing connections politely is not part of the measurement
}
