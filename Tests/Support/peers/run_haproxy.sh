#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: run_haproxy.sh UPSTREAM MODE DIRECTORY [CERTIFICATE KEY]
#
# haproxy on a free port of 127.0.0.1, in front of a server on 127.0.0.1:UPSTREAM, which expects the PROXY protocol unless
# the mode is a check.
#
#   MODE           terminate: ends TLS with the certificate and sends PROXY version 2, headers X-Forwarded-Proto and -For
#                  pass: hands the bytes on as they are, behind PROXY version 1
#                  check: ends TLS and asks the server every 50 ms how it is, as `option httpchk` does by default, in
#                  HTTP/1.0; clients get 503 after the first answer that is none of 2xx and 3xx
#                  check-path: the same with GET /health in HTTP/1.1
#   DIRECTORY      where it may write
#
# Prints {"port": N} and runs until it is ended.
set -euo pipefail

if [[ ${1-} == -h || ${1-} == --help || $# -lt 3 ]]; then
    awk 'NR <= 2 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "${BASH_SOURCE[0]}"
    exit 64
fi
PATH=$PATH:/usr/sbin
command -v haproxy >/dev/null || { echo "run_haproxy.sh: no haproxy; run scripts/setup --tests" >&2; exit 69; }
mkdir -p "$3"

# The socket is bound here and inherited, so the port is known, free and listening before haproxy has started.
exec "${WSX_TEST_PYTHON:-python3}" - "$(command -v haproxy)" "$@" <<'PROGRAM'
import json, os, pathlib, socket, sys

haproxy, upstream, mode, directory, *identity = sys.argv[1:]
directory = pathlib.Path(directory).resolve()
listener = socket.create_server(("127.0.0.1", 0), backlog=511)
port = listener.getsockname()[1]
os.set_inheritable(listener.fileno(), True)
bind, protocol, extra, header = f"fd@{listener.fileno()}", "tcp", "", "send-proxy"
if mode in ("check", "check-path"):
    pem = directory / "identity.pem"
    pem.write_text("".join(pathlib.Path(path).read_text() for path in identity))
    bind += f" ssl crt {pem} alpn http/1.1"
    protocol, header = "http", "check inter 50ms fall 1 rise 1"
    extra = "    option httpchk\n"
    if mode == "check-path":
        extra += "    http-check send meth GET uri /health ver HTTP/1.1 hdr Host health.example\n"
elif mode == "terminate":
    pem = directory / "identity.pem"
    pem.write_text("".join(pathlib.Path(path).read_text() for path in identity))
    bind += f" ssl crt {pem} alpn http/1.1"
    protocol, header = "http", "send-proxy-v2"
    extra = "    http-request set-header X-Forwarded-Proto https\n    option forwardfor\n"
configuration = directory / "haproxy.cfg"
configuration.write_text(f"""
global
    maxconn 1000
defaults
    mode {protocol}
    timeout connect 30s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend front
    bind {bind}
    default_backend back
backend back
{extra}    server only 127.0.0.1:{int(upstream)} {header}
""")
print(json.dumps({"port": port}), flush=True)
os.execv(haproxy, [haproxy, "-db", "-q", "-f", str(configuration)])
PROGRAM
