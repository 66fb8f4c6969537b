#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Usage: run_gorilla.sh server|client|health ARGUMENT...
#
# Builds gorilla.go with Debian's Go and gorilla's websocket, once, and runs it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
place=$here/../../../.build-peers/gorilla
mkdir -p "$place"
exec 9>"$place/lock"
flock 9
if [[ ! -x $place/gorilla || $here/gorilla.go -nt $place/gorilla ]]; then
    GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$place/cache GOFLAGS='' \
        go build -o "$place/gorilla.new" "$here/gorilla.go" 9>&- >&2
    mv "$place/gorilla.new" "$place/gorilla"
fi
exec 9>&-
exec "$place/gorilla" "$@"
