/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* What a server in production needs: topics, clients' certificates, several names, other certificates while it runs, keys
 * with passphrases, a socket's mode, and a socket that another program has opened. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "programs.h"

static const char *directory;

/* The name of one of the certificates' files, in one of many places. */
static const char *file(const char *name) {
    static char names[128][512];
    static int next;
    char *place = names[next++ % 128];
    snprintf(place, sizeof names[0], "%s/%s", directory, name);
    return place;
}

/* ---- Topics ---- */

static wsx_topics topics;

typedef struct hub {
    counter subscribed, closed, released;
} hub;

/* The path is the topic. */
static void joined(void *user, wsx_connection connection) {
    wsx_handshake handshake = wsx_handshake_init();
    CHECK_OK_E(wsx_connection_get_handshake(connection, &handshake, &error));
    CHECK_OK_E(wsx_topics_subscribe(topics, connection, handshake.target + 1, &error));
    CHECK_OK_E(wsx_topics_subscribe(topics, connection, handshake.target + 1, &error));
    CHECK_OK_E(wsx_topics_subscribe(topics, connection, "all", &error));
    CHECK_OK(wsx_handshake_free(&handshake));
    counter_add(&((hub *)user)->subscribed, 1);
}

static void said(void *user, wsx_connection connection, wsx_kind kind, const void *data, size_t length) {
    (void)user;
    if (length == 5 && memcmp(data, "leave", 5) == 0) {
        CHECK_OK(wsx_topics_unsubscribe(topics, connection, "all", NULL));
        CHECK_OK(wsx_send(connection, WSX_TEXT, "left", 4, 0, NULL));
        return;
    }
    CHECK_OK_E(wsx_topics_publish(topics, "all", kind, data, length, connection, &error));
}

static void gone(void *user, wsx_connection connection, const wsx_error *reason) {
    (void)connection;
    (void)reason;
    counter_add(&((hub *)user)->closed, 1);
}

static void over(void *user) { counter_add(&((hub *)user)->released, 1); }

static void check_gets(wsx_connection connection, const char *text) {
    wsx_message message;
    CHECK_OK_E(wsx_receive(connection, WSX_NEVER, &message, &error));
    CHECK(strcmp(message.data, text) == 0);
    CHECK_OK(wsx_message_free(&message));
}

static void publishing(void) {
    static const char *const paths[] = {"red", "red", "blue"};
    hub self;
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_server_config config = wsx_server_config_init();
    wsx_topics_config limits = wsx_topics_config_init();
    wsx_topics_statistics statistics = wsx_topics_statistics_init();
    wsx_server server;
    wsx_connection connections[3], none = {0};
    int32_t port;
    size_t count = 9;
    counter_init(&self.subscribed);
    counter_init(&self.closed);
    counter_init(&self.released);
    limits.slow_peer = 7;
    CHECK_STATUS(wsx_topics_create(&limits, &topics, NULL), WSX_INVALID_ARGUMENT);
    limits.slow_peer = WSX_SLOW_PEER_KEEP_LATEST;
    CHECK_OK_E(wsx_topics_create(&limits, &topics, &error));
    callbacks.user = &self;
    callbacks.on_open = joined;
    callbacks.on_message = said;
    callbacks.on_close = gone;
    callbacks.on_released = over;
    config.callbacks = &callbacks;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, &port, NULL));
    for (int index = 0; index < 3; index++) {
        char url[64];
        snprintf(url, sizeof url, "ws://127.0.0.1:%d/%s", (int)port, paths[index]);
        CHECK_OK_E(wsx_connect(url, NULL, &connections[index], &error));
    }
    counter_wait(&self.subscribed, 3);
    CHECK_OK(wsx_topics_subscribers(topics, "red", &count, NULL));
    CHECK(count == 2);
    CHECK_OK(wsx_topics_publish(topics, "red", WSX_TEXT, "to red", 6, none, NULL));
    CHECK_OK(wsx_topics_publish(topics, "all", WSX_TEXT, "to all", 6, none, NULL));
    check_gets(connections[0], "to red");
    check_gets(connections[1], "to red");
    for (int index = 0; index < 3; index++) check_gets(connections[index], "to all");
    /* What one says the others hear. */
    CHECK_OK(wsx_send(connections[0], WSX_TEXT, "from the first", 14, WSX_NEVER, NULL));
    check_gets(connections[1], "from the first");
    check_gets(connections[2], "from the first");
    CHECK_OK(wsx_send(connections[2], WSX_TEXT, "leave", 5, WSX_NEVER, NULL));
    check_gets(connections[2], "left");
    CHECK_OK(wsx_topics_publish(topics, "all", WSX_TEXT, "without it", 10, none, NULL));
    CHECK_OK(wsx_topics_publish(topics, "blue", WSX_TEXT, "to blue", 7, none, NULL));
    check_gets(connections[0], "without it");
    check_gets(connections[1], "without it");
    check_gets(connections[2], "to blue");
    CHECK_STATUS(wsx_topics_publish(topics, "red", WSX_TEXT, "\xff", 1, none, NULL), WSX_INVALID_UTF8);
    CHECK_STATUS(wsx_topics_publish(topics, NULL, WSX_TEXT, "x", 1, none, NULL), WSX_INVALID_ARGUMENT);
    CHECK_STATUS(wsx_topics_subscribe(topics, none, "red", NULL), WSX_INVALID_HANDLE);
    CHECK_OK(wsx_topics_get_statistics(topics, &statistics, NULL));
    CHECK(statistics.sent == 10 && statistics.dropped == 0 && statistics.disconnected == 0);
    /* Whoever goes is no subscriber any more. */
    for (int index = 0; index < 3; index++) {
        CHECK_OK_E(wsx_close(connections[index], 1000, NULL, NULL, &error));
        CHECK_OK(wsx_connection_free(connections[index]));
    }
    counter_wait(&self.closed, 3);
    CHECK_OK(wsx_topics_subscribers(topics, "red", &count, NULL));
    CHECK(count == 0);
    CHECK_OK_E(wsx_server_shut_down(server, 5000, &error));
    counter_wait(&self.released, 1);
    CHECK_OK(wsx_topics_free(topics));
    CHECK_STATUS(wsx_topics_free(topics), WSX_INVALID_HANDLE);
    CHECK_STATUS(wsx_topics_publish(topics, "red", WSX_TEXT, "x", 1, none, NULL), WSX_INVALID_HANDLE);
}

/* ---- TLS ---- */

/* What the encrypted keys are encrypted with. */
static const char *passphrase(void) {
    static char line[64];
    FILE *stream = fopen(file("passphrase"), "r");
    CHECK(stream != NULL && fgets(line, sizeof line, stream) != NULL);
    fclose(stream);
    line[strcspn(line, "\n")] = 0;
    return line;
}

typedef struct guard {
    counter asked;
    char subject[128], fingerprint[65];
} guard;

static void asked(void *user, const wsx_request *request, wsx_response *response) {
    guard *self = (guard *)user;
    (void)response;
    CHECK(request->is_secure && request->size >= sizeof *request);
    self->subject[0] = 0;
    if (request->certificate) {
        snprintf(self->subject, sizeof self->subject, "%s", request->certificate->subject);
        snprintf(self->fingerprint, sizeof self->fingerprint, "%s", request->certificate->fingerprint);
    }
    counter_add(&self->asked, 1);
}

/* Connects under this name, and says which certificate the server has shown. */
static wsx_status connects(
    int32_t port, const char *name, const char *certificate, const char *key, char fingerprint[65], wsx_error *error) {
    wsx_client_config config = wsx_client_config_init();
    wsx_handshake handshake = wsx_handshake_init();
    wsx_connection connection;
    wsx_status status;
    char url[64];
    snprintf(url, sizeof url, "wss://127.0.0.1:%d/", (int)port);
    config.ca_file = file("ca.pem");
    config.server_name = name;
    config.certificate_file = certificate;
    config.key_file = key;
    status = wsx_connect(url, &config, &connection, error);
    if (status) return status;
    CHECK_OK(wsx_connection_get_handshake(connection, &handshake, error));
    snprintf(fingerprint, 65, "%s", handshake.certificate->fingerprint);
    CHECK_OK(wsx_handshake_free(&handshake));
    CHECK_OK(wsx_connection_free(connection));
    return WSX_OK;
}

static void certificates(void) {
    static const char *const one[] = {"one.example.test", NULL};
    static const char *const two[] = {"*.example.test", NULL};
    wsx_identity identities[2];
    guard self;
    wsx_callbacks callbacks = wsx_callbacks_init();
    wsx_server_config config = wsx_server_config_init();
    wsx_server server;
    wsx_error error = wsx_error_init();
    int32_t port;
    char main_one[65], first[65], second[65], again[65];
    counter_init(&self.asked);
    callbacks.user = &self;
    config.callbacks = &callbacks;
    config.on_request = asked;
    config.certificate_file = file("valid.pem");
    config.key_file = file("valid-encrypted.key");
    CHECK_STATUS(wsx_server_create(&config, &server, &error), WSX_INVALID_CONFIGURATION);
    config.key_passphrase = "wrong";
    CHECK_STATUS(wsx_server_create(&config, &server, &error), WSX_INVALID_CONFIGURATION);
    CHECK(strstr(error.message, "wrong") == NULL);
    config.key_passphrase = passphrase();
    config.client_ca_file = file("ca.pem");
    identities[0].names = one;
    identities[0].certificate_file = file("sni-one.pem");
    identities[0].key_file = file("sni-one.key");
    identities[0].key_passphrase = NULL;
    identities[1].names = two;
    identities[1].certificate_file = file("sni-two.pem");
    identities[1].key_file = NULL;
    identities[1].key_passphrase = NULL;
    config.identities = identities;
    config.identity_count = 2;
    CHECK_STATUS(wsx_server_create(&config, &server, &error), WSX_INVALID_ARGUMENT);
    identities[1].key_file = file("sni-two.key");
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, &port, NULL));

    /* Who has no certificate, or one of another authority, is not let in. */
    CHECK(connects(port, "localhost", NULL, NULL, main_one, &error) != WSX_OK);
    CHECK(connects(port, "localhost", file("client-untrusted.pem"), file("client-untrusted.key"), main_one, &error));
    CHECK(counter_value(&self.asked) == 0);
    CHECK_OK_E(connects(port, "localhost", file("client.pem"), file("client.key"), main_one, &error));
    CHECK(strncmp(self.subject, "CN=", 3) == 0 && strlen(self.fingerprint) == 64);
    CHECK(strcmp(self.fingerprint, main_one) != 0);
    CHECK_OK_E(connects(port, "one.example.test", file("client.pem"), file("client.key"), first, &error));
    CHECK_OK_E(connects(port, "two.example.test", file("client.pem"), file("client.key"), second, &error));
    CHECK(strcmp(main_one, first) != 0 && strcmp(first, second) != 0 && strcmp(main_one, second) != 0);

    /* Another certificate while it runs; a bad one changes nothing. */
    config.key_file = file("sni-one.key");
    config.key_passphrase = NULL;
    CHECK_STATUS(wsx_server_reload_tls(server, &config, &error), WSX_INVALID_CONFIGURATION);
    CHECK_OK_E(connects(port, "localhost", file("client.pem"), file("client.key"), again, &error));
    CHECK(strcmp(again, main_one) == 0);
    CHECK_OK_E(wsx_server_reload_tls(server, NULL, &error));
    config.certificate_file = file("valid-rsa.pem");
    config.key_file = file("valid-rsa.key");
    CHECK_OK_E(wsx_server_reload_tls(server, &config, &error));
    CHECK_OK_E(connects(port, "localhost", file("client.pem"), file("client.key"), again, &error));
    CHECK(strcmp(again, main_one) != 0);
    config.client_ca_file = NULL;
    CHECK_STATUS(wsx_server_reload_tls(server, &config, &error), WSX_INVALID_CONFIGURATION);
    CHECK_OK(wsx_server_free(server));

    /* Without one, too. */
    config.client_ca_file = file("ca.pem");
    config.client_certificate_optional = 1;
    config.minimum_tls = 13;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_OK(wsx_server_port(server, &port, NULL));
    CHECK_OK_E(connects(port, "localhost", NULL, NULL, again, &error));
    CHECK(self.subject[0] == 0);
    CHECK_OK_E(connects(port, "localhost", file("client.pem"), file("client.key"), again, &error));
    CHECK(self.subject[0] != 0);
    CHECK_OK(wsx_server_free(server));

    config = wsx_server_config_init();
    config.client_ca_file = file("ca.pem");
    CHECK_STATUS(wsx_server_create(&config, &server, &error), WSX_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "certificate_file") != NULL);
    config = wsx_server_config_init();
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK_STATUS(wsx_server_reload_tls(server, NULL, &error), WSX_INVALID_CONFIGURATION);
    CHECK_OK(wsx_server_free(server));
}

/* ---- Sockets ---- */

static void modes(void) {
    char path[64];
    struct stat status;
    wsx_server_config config = wsx_server_config_init();
    wsx_server server;
    mode_t before = umask(0077);
    snprintf(path, sizeof path, "/tmp/wsx-serving-%d", (int)getpid());
    config.unix_socket = path;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK(stat(path, &status) == 0 && (status.st_mode & 0777) == 0600);
    CHECK_OK_E(wsx_server_shut_down(server, 5000, &error));
    config.unix_socket_mode = 0660;
    CHECK_OK_E(wsx_server_create(&config, &server, &error));
    CHECK(stat(path, &status) == 0 && (status.st_mode & 0777) == 0660);
    CHECK_OK_E(wsx_server_shut_down(server, 5000, &error));
    config.unix_socket_mode = 01777;
    CHECK_STATUS(wsx_server_create(&config, &server, NULL), WSX_INVALID_ARGUMENT);
    unlink(path);
    umask(before);
}

static int listen_somewhere(int *port) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listener, 8) == 0 && getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    *port = ntohs(address.sin_port);
    return listener;
}

/* As systemd hands them over. The descriptors stay the program's: the next server takes them up, and what connected in
 * between has waited in the kernel. */
static void given(void) {
    int descriptors[2], ports[2], other = socket(AF_INET, SOCK_STREAM, 0);
    wsx_server_config config = wsx_server_config_init();
    descriptors[0] = listen_somewhere(&ports[0]);
    descriptors[1] = listen_somewhere(&ports[1]);
    config.listen_descriptors = &other;
    config.listen_descriptor_count = 1;
    for (int round = 0; round < 2; round++) {
        wsx_server server;
        int32_t port;
        CHECK_STATUS(wsx_server_create(&config, &server, NULL), WSX_BAD_DESCRIPTOR);
        config.listen_descriptors = descriptors;
        config.listen_descriptor_count = 2;
        CHECK_OK_E(wsx_server_create(&config, &server, &error));
        CHECK_OK(wsx_server_port(server, &port, NULL));
        CHECK(port == ports[0]);
        for (int index = 0; index < 2; index++) {
            char url[64];
            wsx_connection connection;
            snprintf(url, sizeof url, "ws://127.0.0.1:%d/", ports[index]);
            CHECK_OK_E(wsx_connect(url, NULL, &connection, &error));
            CHECK_OK_E(wsx_ping(connection, WSX_NEVER, NULL, &error));
            CHECK_OK(wsx_connection_free(connection));
        }
        CHECK_OK_E(wsx_server_shut_down(server, 5000, &error));
        CHECK(fcntl(descriptors[0], F_GETFD) >= 0 && fcntl(descriptors[1], F_GETFD) >= 0);
        config.listen_descriptors = &other;
        config.listen_descriptor_count = 1;
    }
    close(other);
    close(descriptors[0]);
    close(descriptors[1]);
}

PROGRAM(serving) {
    directory = count > 1 ? arguments[1] : getenv("WSX_TEST_CERTS");
    CHECK(directory != NULL);
    publishing();
    certificates();
    modes();
    given();
    return 0;
}
