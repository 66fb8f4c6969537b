#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: run_test_server.sh [CERTIFICATE KEY]
#
# Runs Debian's libwebsockets-test-server in the foreground on a port of 127.0.0.1 that the kernel chooses,
# with TLS when a certificate is given. Prints {"port": N} first; its log (warnings and worse) is on standard
# error. This process becomes the server: SIGTERM ends it.
#
# What it speaks, as measured with 4.1.6: no permessage-deflate; pings are answered, a Close is echoed. A
# client must ask for one of these subprotocols: without any it gets a connection that stays silent, and with
# an unknown one the TCP connection is closed without an answer.
#
#   lws-mirror-protocol      sends each message to everybody in the room, the sender included, always as text
#                            and in pieces of at most 4088 bytes, each a message of its own. `?mirror=NAME`
#                            in the URL chooses the room, so a private name makes an echo server.
#   dumb-increment-protocol  sends "0", "1", "2", ... every 50 ms. The text "reset\n" starts again from 0,
#                            "closeme\n" makes it close with 1001 and the reason "seeya".
#   lws-status               sends one JSON text about the server and its connections
set -euo pipefail

case $# in
    0) tls=() ;;
    2) tls=(--ssl -C "$1" -K "$2") ;;
    *) sed -n '4,8s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
command -v libwebsockets-test-server >/dev/null ||
    { echo "run_test_server.sh: no libwebsockets-test-server; run scripts/setup --tests" >&2; exit 69; }

# Prints the port as soon as process $1 listens: the kernel's tables name the port for the socket's inode.
announce_port() {
    local link inode port descriptor
    for _ in {1..200}; do
        for descriptor in "/proc/$1/fd/"*; do
            link=$(readlink "$descriptor") || continue
            [[ $link == socket:* ]] || continue
            inode=${link//[^0-9]/}
            # Column 4 is the state (0A: listening), 10 the inode; column 2 ends in the port, in hexadecimal.
            port=$(awk -v inode="$inode" '$4 == "0A" && $10 == inode { sub(/.*:/, "", $2); print $2; exit }' \
                /proc/net/tcp /proc/net/tcp6)
            [[ -z $port ]] || { printf '{"port": %d}\n' "0x$port"; return; }
        done
        sleep 0.02
    done
    echo "run_test_server.sh: the server does not listen" >&2
}

# In a subshell of a subshell, so that the server does not inherit a child.
(announce_port $$ &)
exec libwebsockets-test-server --port=0 --interface=lo -d 3 "${tls[@]}" >/dev/null </dev/null
