//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#define _GNU_SOURCE

#include "wsx_lws.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct lws_ext_options deflate_options[] = {
    {"server_no_context_takeover", EXTARG_NONE},
    {"client_no_context_takeover", EXTARG_NONE},
    {"server_max_window_bits", EXTARG_OPT_DEC},
    {"client_max_window_bits", EXTARG_OPT_DEC},
    {NULL, 0},
};

// The parameters themselves are negotiated in Swift, from the header text. This answers
// libwebsockets' questions so that it lets the extension be active, and nothing more.
static int deflate_stub(struct lws_context *context, const struct lws_extension *extension, struct lws *wsi,
                        enum lws_extension_callback_reasons reason, void *user, void *in, size_t length) {
    (void)context;
    (void)extension;
    (void)wsi;
    (void)length;
    switch ((int)reason) {
    case LWS_EXT_CB_CONSTRUCT:
    case LWS_EXT_CB_CLIENT_CONSTRUCT:
        *(void **)user = NULL;
        *(const struct lws_ext_options **)in = deflate_options;
        return 0;
    default:
        return 0;
    }
}

static const struct lws_extension extensions[2] = {
    {"permessage-deflate", deflate_stub, "permessage-deflate"},
    {NULL, NULL, NULL},
};

const struct lws_extension *wsx_lws_extension_table(void) { return extensions; }

int wsx_lws_pretend_readable(struct lws_context *context, struct lws *wsi) {
    struct lws_pollfd descriptor;
    memset(&descriptor, 0, sizeof descriptor);
    descriptor.fd = lws_get_socket_fd(wsi);
    descriptor.events = LWS_POLLIN;
    descriptor.revents = LWS_POLLIN;
    return lws_service_fd(context, &descriptor);
}

struct lws *wsx_lws_adopt(struct lws_vhost *vhost, int descriptor, bool secure) {
    lws_sock_file_fd_type socket;
    memset(&socket, 0, sizeof socket);
    socket.sockfd = descriptor;
    return lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_SOCKET | (secure ? LWS_ADOPT_ALLOW_SSL : 0), socket, "wsx", NULL);
}

void wsx_lws_let_go(struct lws_context *context, struct lws *wsi) {
    lws_rx_flow_control(wsi, 1);
    if (wsx_lws_pretend_readable(context, wsi) != 0) return;
    // A server would have the context's time to say what it wants.
    lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
}

static ssize_t send_plain(int descriptor, const char *bytes, size_t count) {
    size_t done = 0;
    while (done < count) {
        const ssize_t sent = send(descriptor, bytes + done, count - done, MSG_NOSIGNAL);
        if (sent >= 0) {
            done += (size_t)sent;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return (ssize_t)done;
}

static ssize_t send_secure(SSL *ssl, const char *bytes, size_t count) {
    size_t done = 0;
    while (done < count) {
        const size_t rest = count - done;
        ERR_clear_error();
        const int sent = SSL_write(ssl, bytes + done, rest > INT_MAX ? INT_MAX : (int)rest);
        if (sent > 0) {
            done += (size_t)sent;
            continue;
        }
        const int error = SSL_get_error(ssl, sent);
        if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) break;
        return -1;
    }
    return (ssize_t)done;
}

ssize_t wsx_lws_send(struct lws *wsi, const void *bytes, size_t count) {
    SSL *ssl = lws_get_ssl(wsi);
    return ssl ? send_secure(ssl, bytes, count) : send_plain(lws_get_socket_fd(wsi), bytes, count);
}

void wsx_lws_finish_sending(struct lws *wsi) {
    SSL *ssl = lws_get_ssl(wsi);
    if (ssl) {
        ERR_clear_error();
        SSL_shutdown(ssl);
    }
    shutdown(lws_get_socket_fd(wsi), SHUT_WR);
}

int wsx_lws_pretend_writable(struct lws_context *context, struct lws *wsi) {
    struct lws_pollfd descriptor;
    memset(&descriptor, 0, sizeof descriptor);
    descriptor.fd = lws_get_socket_fd(wsi);
    descriptor.events = LWS_POLLOUT;
    descriptor.revents = LWS_POLLOUT;
    return lws_service_fd(context, &descriptor);
}

void wsx_lws_kill(struct lws *wsi) {
    struct lws_pollfd descriptor;
    memset(&descriptor, 0, sizeof descriptor);
    descriptor.fd = lws_get_socket_fd(wsi);
    descriptor.revents = LWS_POLLHUP;
    // A hangup is what libwebsockets takes for final. It does not know the descriptor before the connection begins.
    if (descriptor.fd >= 0 && lws_service_fd(lws_get_context(wsi), &descriptor) == 1) return;
    wsx_lws_end(wsi);
}

int wsx_stream_has_ended(struct lws *wsi) {
    char byte;
    SSL *ssl = lws_get_ssl(wsi);
    ssize_t count;
    struct pollfd state = {.fd = lws_get_socket_fd(wsi), .events = 0};
    // A reset also ends it when there is still something to read: libwebsockets does not read it then.
    if (poll(&state, 1, 0) == 1 && (state.revents & (POLLHUP | POLLERR))) return 1;
    if (ssl && (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN)) return 1;
    count = recv(lws_get_socket_fd(wsi), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
}

static void attached_turn(lws_sorted_usec_list_t *turn) {
    struct wsx_attachment *attachment = lws_container_of(turn, struct wsx_attachment, turn);
    attachment->on_turn(attachment->owner);
}

static int attached_state(lws_state_manager_t *manager, lws_state_notify_link_t *link, int current, int target) {
    (void)manager;
    (void)current;
    // The first thing that lws_context_destroy does.
    if (target == LWS_SYSTATE_POLICY_INVALID) {
        struct wsx_attachment *attachment = lws_container_of(link, struct wsx_attachment, leaving);
        attachment->on_leaving(attachment->owner);
    }
    return 0;
}

void wsx_attachment_begin(struct lws_context *context, struct wsx_attachment *attachment) {
    attachment->leaving.notify_cb = attached_state;
    attachment->leaving.name = "wsx";
    lws_state_reg_notifier(lws_system_get_state_manager(context), &attachment->leaving);
}

void wsx_attachment_end(struct lws_context *context, struct wsx_attachment *attachment) {
    wsx_attachment_schedule(context, attachment, -1);
    lws_state_reg_deregister(&attachment->leaving);
}

void wsx_attachment_schedule(struct lws_context *context, struct wsx_attachment *attachment, int64_t delay) {
    lws_sul_schedule(context, 0, &attachment->turn, attached_turn,
                     delay < 0 ? (lws_usec_t)LWS_SET_TIMER_USEC_CANCEL : (lws_usec_t)delay);
}

// Contexts and vhosts. libwebsockets keeps pointers to what is static here.

static struct lws_protocols own_protocols[2], attached_protocols[2];

static void make_protocol(struct lws_protocols *protocol, lws_callback_function *callback) {
    protocol->name = "wsx";
    protocol->callback = callback;
    protocol->rx_buffer_size = WSX_READ_SIZE;
    // DROP_PROTOCOL, the only callback that comes before a connection's end, comes to those with session data.
    protocol->per_session_data_size = 1;
    protocol->tx_packet_size = 1 << 20;
}

void wsx_lws_set_callbacks(lws_callback_function *own, lws_callback_function *attached) {
    make_protocol(own_protocols, own);
    make_protocol(attached_protocols, attached);
}

// All zero: libwebsockets' own keepalive stays silent.
static const lws_retry_bo_t no_keepalive;

// Far beyond any deadline of ours: every deadline is ours.
static void set_deadlines(struct lws_context_creation_info *info) {
    enum { NEVER = 7 * 24 * 3600 };
    info->retry_and_idle_policy = &no_keepalive;
    info->timeout_secs = NEVER;
    // A vhost's own, not its context's: without it a TLS handshake ended after 10 s.
    info->timeout_secs_ah_idle = NEVER;
    info->connect_timeout_secs = NEVER;
}

// From 4.3 on a context listens to the kernel's routes on a netlink socket that exec would keep. It is among the first
// free numbers from `lowest` on.
static void close_route_socket_on_exec(int lowest) {
    int free_numbers = 0;
    for (int descriptor = lowest; lowest >= 0 && free_numbers < 32; descriptor++) {
        int domain = 0;
        socklen_t size = sizeof domain;
        const int flags = fcntl(descriptor, F_GETFD);
        if (flags < 0) {
            free_numbers++;
        } else if (!(flags & FD_CLOEXEC) && getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
                   domain == AF_NETLINK) {
            fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC);
            return;
        }
    }
}

static struct lws_context *create(const struct lws_context_creation_info *info) {
    const int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (lowest >= 0) close(lowest);
    struct lws_context *context = lws_create_context(info);
    if (context) close_route_socket_on_exec(lowest);
    return context;
}

struct lws_context *wsx_context_create_for_tls(void) {
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    info.fd_limit_per_thread = 4;
    return create(&info);
}

struct lws_context *wsx_context_create(const struct wsx_context_settings *settings) {
    struct lws_context_creation_info info;
    struct rlimit limit;
    void *uv = settings->uv;
    memset(&info, 0, sizeof info);
    info.port = CONTEXT_PORT_NO_LISTEN;
    info.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
    info.user = settings->owner;
    info.pt_serv_buf_size = WSX_SERVICE_BUFFER_SIZE;
    info.max_http_header_data2 = 32 << 10;
    info.max_http_header_pool2 = 16384;
    set_deadlines(&info);
    if (uv) {
        info.options |= LWS_SERVER_OPTION_LIBUV;
        info.foreign_loops = &uv;
    }
    const bool lowers = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > WSX_MAXIMUM_DESCRIPTORS;
    const struct rlimit lowered = {.rlim_cur = WSX_MAXIMUM_DESCRIPTORS, .rlim_max = limit.rlim_max};
    if (lowers) setrlimit(RLIMIT_NOFILE, &lowered);
    struct lws_context *context = create(&info);
    if (lowers) setrlimit(RLIMIT_NOFILE, &limit);
    return context;
}

struct lws_vhost *wsx_vhost_create(struct lws_context *context, const struct wsx_vhost_settings *settings) {
    struct lws_context_creation_info info;
    memset(&info, 0, sizeof info);
    info.vhost_name = settings->name;
    info.protocols = settings->is_attached ? attached_protocols : own_protocols;
    info.extensions = wsx_lws_extension_table();
    set_deadlines(&info);
    info.alpn = "http/1.1";
    // An explicit empty proxy keeps libwebsockets from obeying the environment's `http_proxy`. Without a port it would
    // complain in its log; nothing ever connects through it, because libwebsockets connects nothing for us.
    info.http_proxy_address = "";
    info.http_proxy_port = 1;
    info.user = settings->owner;
    info.finalize = settings->finalize;
    info.finalize_arg = settings->finalize_argument;
    // A host's listeners and adopted sockets are for its own vhosts only.
    info.port = settings->is_attached ? CONTEXT_PORT_NO_LISTEN : CONTEXT_PORT_NO_LISTEN_SERVER;
    if (settings->unused_client) {
        // Sockets adopted into the vhost get an SSL. libwebsockets has that for vhosts of servers only, and picks such a
        // one for a socket of a host's by its port, which is none, and its name, which nothing can guess.
        info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
        info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
        // Without a client's context libwebsockets would load the system's CAs into one that is never used.
        info.provided_client_ssl_ctx = settings->unused_client;
    }
    return lws_create_vhost(context, &info);
}

struct lws *wsx_lws_adopt_file(struct lws_vhost *vhost, int descriptor) {
    lws_sock_file_fd_type file;
    memset(&file, 0, sizeof file);
    file.filefd = descriptor;
    return lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, file, NULL, NULL);
}

static void nothing(lws_sorted_usec_list_t *timer) { (void)timer; }

void wsx_lws_wake_after(struct lws_context *context, lws_sorted_usec_list_t *timer, int64_t delay) {
    lws_sul_schedule(context, 0, timer, nothing,
                     delay < 0 ? (lws_usec_t)LWS_SET_TIMER_USEC_CANCEL : (lws_usec_t)delay);
}

bool wsx_lws_context_is_being_destroyed(struct lws_context *context) {
    // Not in 4.1.6, which this may have been compiled with.
    int (*ask)(struct lws_context *) =
        (int (*)(struct lws_context *))dlsym(RTLD_DEFAULT, "lws_context_is_being_destroyed");
    return ask && ask(context);
}
