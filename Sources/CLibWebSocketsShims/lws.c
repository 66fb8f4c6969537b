//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#define _GNU_SOURCE

#include "wsx_lws.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

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
