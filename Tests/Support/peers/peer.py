# SPDX-License-Identifier: Apache-2.0
"""What the Python peers share: JSON lines, TLS contexts, deflate options, lifetime."""

import argparse
import asyncio
import json
import ssl
import sys
import time

from websockets.asyncio.connection import Connection

TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# A peer that its test forgot ends by itself after this many seconds.
DEFAULT_LIFETIME = 900


def emit(**fields: object) -> None:
    """Prints one JSON object on a line of its own, at once. `t` is seconds of the monotonic clock."""
    print(json.dumps(fields | {"t": round(time.monotonic(), 6)}), flush=True)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    deflate = parser.add_argument_group("permessage-deflate (on unless --no-deflate)")
    deflate.add_argument("--deflate", action=argparse.BooleanOptionalAction, default=True)
    deflate.add_argument("--server-no-context-takeover", action="store_true")
    deflate.add_argument("--client-no-context-takeover", action="store_true")
    deflate.add_argument("--server-max-window-bits", type=int, metavar="BITS")
    deflate.add_argument("--client-max-window-bits", type=int, metavar="BITS")
    parser.add_argument("--subprotocol", action="append", metavar="NAME", help="may be repeated, best first")
    parser.add_argument("--ping-interval", type=float, metavar="SECONDS", help="keepalive of this peer (default: none)")
    parser.add_argument("--tls-maximum", choices=TLS_VERSIONS, help="highest TLS version")
    parser.add_argument("--tls-minimum", choices=TLS_VERSIONS, help="lowest TLS version")


def apply_tls_versions(context: ssl.SSLContext, options: argparse.Namespace) -> None:
    if options.tls_minimum:
        context.minimum_version = TLS_VERSIONS[options.tls_minimum]
    if options.tls_maximum:
        context.maximum_version = TLS_VERSIONS[options.tls_maximum]


def deflate_options(options: argparse.Namespace) -> dict[str, object]:
    """The arguments of websockets' extension factories. Level 1 and 8 are cheap and small enough for tests."""
    return {
        "server_no_context_takeover": options.server_no_context_takeover,
        "client_no_context_takeover": options.client_no_context_takeover,
        "server_max_window_bits": options.server_max_window_bits,
        "client_max_window_bits": options.client_max_window_bits,
        "compress_settings": {"level": 1, "memLevel": 8},
    }


def describe_tls(connection: Connection) -> dict[str, object] | None:
    tls = connection.transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    certificate = tls.getpeercert() or {}
    subject = dict(pair for part in certificate.get("subject", ()) for pair in part)
    return {
        "version": tls.version(),
        "cipher": tls.cipher()[0],
        "resumed": tls.session_reused,
        "sni": getattr(tls, "requested_name", None),
        "peer": subject.get("commonName"),
    }


def describe_close(connection: Connection) -> dict[str, object]:
    """Both sides' close frames. `received_first` is null unless both were exchanged."""
    protocol = connection.protocol

    def side(close):
        return None if close is None else {"code": int(close.code), "reason": close.reason}

    return {
        "received": side(protocol.close_rcvd),
        "sent": side(protocol.close_sent),
        "received_first": protocol.close_rcvd_then_sent,
    }


async def until_closed(file) -> None:
    """Returns when the other end of a pipe is closed."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    while await reader.read(4096):
        pass


def require_websockets(version: str = "17.4") -> None:
    """Ends with a sentence instead of a traceback when run under the wrong Python."""
    import websockets

    if websockets.__version__ != version:
        sys.exit(f"expected websockets {version}, found {websockets.__version__}: run scripts/setup --tests")
