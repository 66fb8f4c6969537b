// SPDX-License-Identifier: Apache-2.0
// This file is part of the swift-libwebsockets open source project.
//
// The peer of every client driver: a WebSocket echo server on bare epoll, quick enough never to be
// what is measured. A request for /flood?size=N gets messages of N bytes as fast as they are read, one for /deflate
// permessage-deflate with both contexts kept.
// With a certificate it also listens for wss.
//
//   peer-server SECONDS_MAX [--cert FILE --key FILE]
//
// prints {"port":N} or {"port":N,"tls_port":M} and ends like the server drivers do. It trusts its
// clients and belongs nowhere but on the loopback device.

#include "common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <zlib.h>

enum { BUFFER = 65536, FRAME_MAX = 4 << 20, FLOOD_BLOCK = 256 << 10 };

typedef struct {
  int fd, listener, closing;
  SSL *tls;
  enum { TLS_HANDSHAKE, REQUEST, OPEN } state;
  uint32_t interest;
  uint8_t *in, *out;
  size_t in_length, in_capacity;
  size_t out_at, out_length, out_capacity;
  uint8_t *flood;  // whole frames, sent over and over
  size_t flood_at, flood_length;
  z_stream *inflater, *deflater;
} connection;

static int epoll_fd;
static volatile int over;
static SSL_CTX *tls_context;
static uint8_t *scratch;  // the replies to one read
static size_t scratch_capacity;

static void watch(connection *c, uint32_t interest) {
  struct epoll_event e = {.events = interest, .data.ptr = c};
  if (c->interest == interest) return;
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
  c->interest = interest;
}

static void discard(connection *c) {
  if (c->tls) SSL_free(c->tls);
  close(c->fd);
  free(c->in);
  free(c->out);
  free(c->flood);
  if (c->inflater) inflateEnd(c->inflater);
  if (c->deflater) deflateEnd(c->deflater);
  free(c->inflater);
  free(c->deflater);
  free(c);
}

// Bytes moved, 0 when the socket is not ready, -1 when the connection is finished.
static ssize_t result(connection *c, ssize_t n) {
  if (n > 0) return n;
  if (c->tls) {
    int e = SSL_get_error(c->tls, (int)n);
    ERR_clear_error();
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE ? 0 : -1;
  }
  return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t get(connection *c, uint8_t *p, size_t n) {
  if (c->tls) return result(c, SSL_read(c->tls, p, (int)n));
  return result(c, recv(c->fd, p, n, 0));
}

static ssize_t put(connection *c, const uint8_t *p, size_t n) {
  if (c->tls) return result(c, SSL_write(c->tls, p, (int)n));
  return result(c, send(c->fd, p, n, MSG_NOSIGNAL));
}

// Sends at once and keeps what the socket does not take.
static int transmit(connection *c, const uint8_t *p, size_t n) {
  while (n && c->out_at == c->out_length) {
    ssize_t k = put(c, p, n);
    if (k < 0) return -1;
    if (k == 0) break;
    p += k;
    n -= (size_t)k;
  }
  if (!n) return 0;
  if (c->out_at == c->out_length) c->out_at = c->out_length = 0;
  if (c->out_length + n > c->out_capacity) {
    c->out_capacity = (c->out_length + n) * 2;
    c->out = xrealloc(c->out, c->out_capacity);
  }
  memcpy(c->out + c->out_length, p, n);
  c->out_length += n;
  return 0;
}

static int writable(connection *c) {
  while (c->out_at < c->out_length) {
    ssize_t k = put(c, c->out + c->out_at, c->out_length - c->out_at);
    if (k <= 0) return (int)k;
    c->out_at += (size_t)k;
  }
  // A few blocks at a time, so that a close is still noticed.
  for (int i = 0; c->flood && i < 4; i++) {
    ssize_t k = put(c, c->flood + c->flood_at, c->flood_length - c->flood_at);
    if (k <= 0) return (int)k;
    c->flood_at = (c->flood_at + (size_t)k) % c->flood_length;
  }
  return 0;
}

static void start_flood(connection *c, size_t size) {
  uint8_t head[10];
  size_t h = put_header(head, 0x82, size, 0), frames = FLOOD_BLOCK / (h + size);
  if (!frames) frames = 1;
  c->flood_length = frames * (h + size);
  c->flood = xrealloc(NULL, c->flood_length);
  for (size_t i = 0; i < frames; i++) {
    memcpy(c->flood + i * (h + size), head, h);
    fill_payload(c->flood + i * (h + size) + h, size);
  }
}

static void start_deflate(connection *c) {
  c->inflater = xrealloc(NULL, sizeof *c->inflater);
  c->deflater = xrealloc(NULL, sizeof *c->deflater);
  memset(c->inflater, 0, sizeof *c->inflater);
  memset(c->deflater, 0, sizeof *c->deflater);
  if (inflateInit2(c->inflater, -15) != Z_OK ||
      deflateInit2(c->deflater, Z_BEST_SPEED, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    die("zlib");
}

// Inflates the message and deflates it again into `to`. Returns its length there, -1 when it cannot be read.
static ssize_t recompress(connection *c, uint8_t *to, size_t room, const uint8_t *from, size_t n, uint32_t key) {
  static uint8_t masked[FRAME_MAX + 4], plain[FRAME_MAX];
  mask_copy(masked, from, n, key);
  memcpy(masked + n, "\0\0\xff\xff", 4);
  c->inflater->next_in = masked;
  c->inflater->avail_in = (uInt)n + 4;
  c->inflater->next_out = plain;
  c->inflater->avail_out = sizeof plain;
  int status = inflate(c->inflater, Z_SYNC_FLUSH);
  if (status != Z_OK && status != Z_BUF_ERROR) return -1;
  c->deflater->next_in = plain;
  c->deflater->avail_in = (uInt)(sizeof plain - c->inflater->avail_out);
  c->deflater->next_out = to;
  c->deflater->avail_out = (uInt)room;
  if (deflate(c->deflater, Z_SYNC_FLUSH) != Z_OK || !c->deflater->avail_out) return -1;
  return (ssize_t)(room - c->deflater->avail_out) - 4;
}

// Returns the bytes used, 0 when more are needed, -1 when the request is no good.
static ssize_t request(connection *c) {
  static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  uint8_t *last = memmem(c->in, c->in_length, "\r\n\r\n", 4);
  unsigned char digest[SHA_DIGEST_LENGTH], accept[32];
  char text[4096], key[128], reply[256];
  size_t n;
  if (!last) return c->in_length < sizeof text ? 0 : -1;
  n = (size_t)(last - c->in) + 4;
  if (n >= sizeof text) return -1;
  memcpy(text, c->in, n);
  text[n] = 0;

  char *k = strcasestr(text, "\r\nsec-websocket-key:");
  if (!k || strncmp(text, "GET ", 4)) return -1;
  k += 20;
  k += strspn(k, " ");
  int length = (int)strcspn(k, " \r\n");
  if (length > 64) return -1;
  length = snprintf(key, sizeof key, "%.*s%s", length, k, guid);
  SHA1((unsigned char *)key, (size_t)length, digest);
  EVP_EncodeBlock(accept, digest, sizeof digest);
  int deflates = !strncmp(text, "GET /deflate ", 13) && strcasestr(text, "permessage-deflate");
  if (deflates) start_deflate(c);
  length = snprintf(reply, sizeof reply,
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: %s\r\n%s\r\n",
                    accept, deflates ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "");
  if (transmit(c, (uint8_t *)reply, (size_t)length)) return -1;

  c->state = OPEN;
  if (!strncmp(text, "GET /flood", 10)) {
    char *size = strstr(text, "size=");
    long want = size && size < strstr(text, "\r\n") ? atol(size + 5) : 64;
    if (want < 0 || want > FRAME_MAX) return -1;
    start_flood(c, (size_t)want);
  }
  return (ssize_t)n;
}

// Echoes every whole frame that has arrived with one send.
static int frames(connection *c, size_t at) {
  size_t out = 0, h;
  header f;
  if (scratch_capacity < c->in_length) {
    scratch_capacity = c->in_length;
    scratch = xrealloc(scratch, scratch_capacity);
  }
  while (!c->closing && (h = get_header(c->in + at, c->in_length - at, &f))) {
    if (!f.masked || f.length > FRAME_MAX) return -1;
    if (c->in_length - at < h + f.length) {
      size_t whole = h + (size_t)f.length + BUFFER;
      if (c->in_capacity < whole) {
        c->in_capacity = whole;
        c->in = xrealloc(c->in, whole);
      }
      break;
    }
    unsigned opcode = f.first & 15;
    if (c->deflater && f.first & 0x40) {
      static uint8_t packed[FRAME_MAX];
      ssize_t k = recompress(c, packed, sizeof packed, c->in + at + h, (size_t)f.length, f.key);
      if (k < 0) return -1;
      if (out + (size_t)k + 10 > scratch_capacity) {
        scratch_capacity = (out + (size_t)k + 10) * 2 + c->in_length;
        scratch = xrealloc(scratch, scratch_capacity);
      }
      out += put_header(scratch + out, f.first, (uint64_t)k, 0);
      memcpy(scratch + out, packed, (size_t)k);
      out += (size_t)k;
    } else if (opcode != 10) {  // the reply is shorter than the frame by its mask key: it always fits
      out += put_header(scratch + out, opcode == 9 ? 0x8A : f.first, f.length, 0);
      mask_copy(scratch + out, c->in + at + h, (size_t)f.length, f.key);
      out += (size_t)f.length;
      c->closing = opcode == 8;
    }
    at += h + (size_t)f.length;
  }
  c->in_length -= at;
  if (c->in_length) memmove(c->in, c->in + at, c->in_length);
  return out ? transmit(c, scratch, out) : 0;
}

static int readable(connection *c) {
  do {
    ssize_t n = get(c, c->in + c->in_length, c->in_capacity - c->in_length);
    if (n <= 0) return (int)n;
    c->in_length += (size_t)n;
    ssize_t used = 0;
    if (c->state == REQUEST && (used = request(c)) <= 0) return (int)used;
    if (frames(c, (size_t)used)) return -1;
  } while (c->tls && SSL_pending(c->tls) && !c->closing);
  return 0;
}

static void accept_one(connection *l) {
  int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
  if (fd < 0) return;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  connection *c = xrealloc(NULL, sizeof *c);
  memset(c, 0, sizeof *c);
  c->fd = fd;
  c->state = REQUEST;
  c->interest = EPOLLIN;
  c->in_capacity = BUFFER;
  c->in = xrealloc(NULL, BUFFER);
  if (l->listener == 2) {
    c->state = TLS_HANDSHAKE;
    c->tls = SSL_new(tls_context);
    if (!c->tls || !SSL_set_fd(c->tls, fd)) die("SSL_new");
  }
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
}

static int serve(connection *c, uint32_t events) {
  if (c->state == TLS_HANDSHAKE) {
    int n = SSL_accept(c->tls);
    if (n != 1) return (int)result(c, n);
    c->state = REQUEST;
    return 0;
  }
  if (events & EPOLLOUT && writable(c)) return -1;
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && readable(c)) return -1;
  if (c->out_at < c->out_length) {
    watch(c, EPOLLOUT);  // read on once the replies are out
    return 0;
  }
  if (c->closing) return -1;
  watch(c, c->flood ? EPOLLIN | EPOLLOUT : EPOLLIN);
  return 0;
}

static int listen_on(connection *l, int kind) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof a;
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};
  l->listener = kind;
  l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&a, sizeof a) || listen(l->fd, 1024) ||
      getsockname(l->fd, (struct sockaddr *)&a, &length) || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, l->fd, &e))
    die("listen");
  return ntohs(a.sin_port);
}

static int end_fd;
static void end(void) {
  uint64_t one = 1;
  over = 1;
  if (write(end_fd, &one, sizeof one) < 0) _exit(1);
}

int main(int argc, char **argv) {
  static connection plain, secure, ender;
  const char *cert = NULL, *key = NULL;
  struct epoll_event events[256];

  for (int i = 2; i + 1 < argc; i += 2) {
    if (!strcmp(argv[i], "--cert")) cert = argv[i + 1];
    if (!strcmp(argv[i], "--key")) key = argv[i + 1];
  }
  if (argc != 2 && !(argc == 6 && cert && key)) {
    fprintf(stderr, "usage: peer-server SECONDS_MAX [--cert FILE --key FILE]\n");
    return 2;
  }
  limit_files(4096);
  signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  end_fd = eventfd(0, EFD_CLOEXEC);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = &ender};
  ender.listener = 3;
  if (epoll_fd < 0 || end_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, end_fd, &e)) die("epoll");
  end_after(atof(argv[1]), end);

  printf("{\"port\":%d", listen_on(&plain, 1));
  if (cert) {
    tls_context = SSL_CTX_new(TLS_server_method());
    if (!tls_context || SSL_CTX_use_certificate_chain_file(tls_context, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1) {
      ERR_print_errors_fp(stderr);
      return 1;
    }
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    printf(",\"tls_port\":%d", listen_on(&secure, 2));
  }
  printf("}\n");
  fflush(stdout);

  while (!over) {
    int n = epoll_wait(epoll_fd, events, sizeof events / sizeof *events, -1);
    for (int i = 0; i < n && !over; i++) {
      connection *c = events[i].data.ptr;
      if (c->listener == 3) break;
      if (c->listener) accept_one(c);
      else if (serve(c, events[i].events)) discard(c);
    }
  }
  printf("{\"cpu_seconds\":%.4f}\n", (double)cpu_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9);
  fflush(stdout);
  _exit(0);
}
