// SPDX-License-Identifier: Apache-2.0
// This file is part of the swift-libwebsockets open source project.
//
// The yardstick for servers: an echo server on C libwebsockets written the documented way. Its own
// poll loop, messages queued in RECEIVE and sent from WRITEABLE with lws_write, several per
// callback until the pipe is choked, tx_packet_size raised, no permessage-deflate. What comes to
// /broadcast goes to everybody there.
//
//   lws-server [libuv] serve SECONDS_MAX
//
// With `libuv` the same program on libwebsockets' libuv loop, which idle connections do not slow down.

#include "common.h"

#include <libwebsockets.h>

// A queued message: its length, the room lws_write wants in front, its bytes. `partial` is the
// place of the one that is still arriving.
typedef struct session {
  uint8_t *queue;
  size_t head, tail, capacity, partial;
  int arriving, binary, broadcasts;
  struct lws *wsi;
  struct session *next;  // among those at /broadcast
} session;

typedef struct {
  size_t length;
  int binary;
} record;

enum { RECORD = sizeof(record) + LWS_PRE };

static struct lws_context *context;
static volatile int over;
static session *everybody;

static void room(session *s, size_t n) {
  if (s->tail + n <= s->capacity) return;
  if (s->head) {  // what has been sent already gives its place back first
    memmove(s->queue, s->queue + s->head, s->tail - s->head);
    s->partial -= s->arriving ? s->head : 0;
    s->tail -= s->head;
    s->head = 0;
  }
  if (s->tail + n <= s->capacity) return;
  s->capacity = (s->tail + n) * 2;
  s->queue = xrealloc(s->queue, s->capacity);
}

// Everybody's queue gets a copy of the message, the sender's has it already.
static void broadcast(session *sender, size_t at, size_t n) {
  for (session *s = everybody; s; s = s->next) {
    if (s != sender) {
      room(s, n);
      memcpy(s->queue + s->tail, sender->queue + at, n);
      s->tail += n;
    }
    lws_callback_on_writable(s->wsi);
  }
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n) {
  session *s = user;
  record r;
  switch (reason) {
  case LWS_CALLBACK_ESTABLISHED: {
    char path[32];
    s->wsi = wsi;
    if (lws_hdr_copy(wsi, path, sizeof path, WSI_TOKEN_GET_URI) <= 0 || strcmp(path, "/broadcast")) break;
    s->broadcasts = 1;
    s->next = everybody;
    everybody = s;
    break;
  }

  case LWS_CALLBACK_RECEIVE:
    if (!s->arriving) {
      room(s, RECORD + n + lws_remaining_packet_payload(wsi));
      s->arriving = 1;
      s->partial = s->tail;
      s->binary = lws_frame_is_binary(wsi);
      s->tail += RECORD;
    } else {
      room(s, n);
    }
    memcpy(s->queue + s->tail, in, n);
    s->tail += n;
    if (!lws_is_final_fragment(wsi) || lws_remaining_packet_payload(wsi)) break;
    s->arriving = 0;
    r.length = s->tail - s->partial - RECORD;
    r.binary = s->binary;
    memcpy(s->queue + s->partial, &r, sizeof r);
    if (s->broadcasts)
      broadcast(s, s->partial, RECORD + r.length);
    else
      lws_callback_on_writable(wsi);
    break;

  case LWS_CALLBACK_SERVER_WRITEABLE: {
    size_t end = s->arriving ? s->partial : s->tail;
    while (s->head < end) {
      memcpy(&r, s->queue + s->head, sizeof r);
      if (lws_write(wsi, s->queue + s->head + RECORD, r.length, r.binary ? LWS_WRITE_BINARY : LWS_WRITE_TEXT) <
          (int)r.length)
        return -1;
      s->head += RECORD + r.length;
      if (s->head < end && lws_send_pipe_choked(wsi)) {
        lws_callback_on_writable(wsi);
        break;
      }
    }
    if (s->head == s->tail) s->head = s->tail = 0;
    break;
  }

  case LWS_CALLBACK_CLOSED:
    for (session **p = &everybody; *p; p = &(*p)->next)
      if (*p == s) {
        *p = s->next;
        break;
      }
    free(s->queue);
    s->queue = NULL;
    break;

  default: break;
  }
  return 0;
}

// Room for a 64 KiB message in one read; smaller messages are neither faster nor slower for it. It is
// paid for each connection, so with thousands of them it is what libwebsockets has by default.
enum { RX_BUFFER = 262144, SMALL_RX_BUFFER = 4096 };

static struct lws_protocols protocols[] = {
    {"bench", callback, sizeof(session), RX_BUFFER, 0, NULL, 4 << 20},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static void report(void) {
  printf("{\"cpu_seconds\":%.4f}\n", (double)cpu_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9);
  fflush(stdout);
  _exit(0);
}

static void end(void) {
  over = 1;
  lws_cancel_service(context);
}

int main(int argc, char **argv) {
  struct lws_context_creation_info info;
  int on_libuv = argc > 1 && !strcmp(argv[1], "libuv");

  argc -= on_libuv;
  argv += on_libuv;
  if (argc != 3 || strcmp(argv[1], "serve")) {
    fprintf(stderr, "usage: lws-server [libuv] serve SECONDS_MAX\n");
    return 2;
  }
  limit_files(4096);
  lws_set_log_level(LLL_ERR, NULL);
  memset(&info, 0, sizeof info);
  info.port = 0;
  info.iface = "127.0.0.1";
  info.vhost_name = "bench";
  info.protocols = protocols;
  info.pt_serv_buf_size = RX_BUFFER;
  if (getenv("BENCH_FILES")) protocols[0].rx_buffer_size = info.pt_serv_buf_size = SMALL_RX_BUFFER;
  if (on_libuv) info.options = LWS_SERVER_OPTION_LIBUV;
  info.gid = (gid_t)-1;
  info.uid = (uid_t)-1;
  context = lws_create_context(&info);
  if (!context) die("lws_create_context");
  // lws_service does not come back from libuv's loop.
  end_after(atof(argv[2]), on_libuv ? report : end);

  printf("{\"port\":%d}\n", lws_get_vhost_listen_port(lws_get_vhost_by_name(context, "bench")));
  fflush(stdout);
  while (!over && lws_service(context, 0) >= 0) {}
  report();
}
