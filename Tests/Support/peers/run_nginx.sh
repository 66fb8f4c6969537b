#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: run_nginx.sh UPSTREAM-PORT CERTIFICATE KEY DIRECTORY [IDLE-TIMEOUT]
#
# Runs nginx in the foreground as a TLS-terminating proxy for ws://127.0.0.1:UPSTREAM-PORT, on a port that
# the kernel chooses. Prints {"port": N} first; connections are accepted from then on. This process becomes
# nginx's master: SIGTERM ends it. Configuration, logs and temporary files go to DIRECTORY, which nobody
# else may use. IDLE-TIMEOUT is nginx's proxy_read_timeout (default 60s, as in nginx).
set -euo pipefail

if [[ $# -lt 4 || $# -gt 5 ]]; then
    sed -n '4,11s/^# \{0,1\}//p' "$0" >&2
    exit 64
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
PATH=$PATH:/usr/sbin
command -v nginx >/dev/null || { echo "run_nginx.sh: no nginx; run scripts/setup --tests" >&2; exit 69; }
mkdir -p "$4"

# The socket is bound here and handed over in the variable NGINX, as nginx does with its own sockets when its
# binary is replaced: so the port is known, free and already listening before nginx has started.
exec "${WSX_TEST_PYTHON:-python3}" - "$here/nginx.conf.in" "$(command -v nginx)" "$@" <<'PROGRAM'
import json, os, pathlib, socket, sys

template, nginx, upstream, certificate, key, directory, *idle = sys.argv[1:]
listener = socket.create_server(("127.0.0.1", 0), backlog=511)
port = listener.getsockname()[1]
directory = pathlib.Path(directory).resolve()
words = {
    "PORT": port,
    "UPSTREAM": int(upstream),
    "CERTIFICATE": pathlib.Path(certificate).resolve(strict=True),
    "KEY": pathlib.Path(key).resolve(strict=True),
    "DIRECTORY": directory,
    "IDLE": idle[0] if idle else "60s",
}
text = pathlib.Path(template).read_text()
for word, value in words.items():
    text = text.replace(f"@{word}@", str(value))
configuration = directory / "nginx.conf"
configuration.write_text(text)
os.set_inheritable(listener.fileno(), True)
os.environ["NGINX"] = f"{listener.fileno()};"
print(json.dumps({"port": port}), flush=True)
os.execv(nginx, [nginx, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(configuration)])
PROGRAM
