#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client for an echo server, built on Python's websockets.

Sends messages of mixed sizes and kinds, some of them in fragments with pings in between, several under
way at once, checks that each comes back unchanged, of the same kind and in order, and closes. Prints one
JSON object: what was negotiated, what was exchanged, both sides' close codes, or the error. The same
--seed sends the same messages. Exits with 0 when everything was right, otherwise with 1.
"""

import argparse
import asyncio
import json
import random
import ssl
import sys
import time
from collections.abc import AsyncIterator

import peer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

# Both sides of every limit of the frame header, of common buffers and of nothing at all.
EDGE_SIZES = (0, 1, 2, 124, 125, 126, 127, 1000, 1023, 1024, 4095, 4096, 16_384, 65_535, 65_536, 65_537, 200_000)

Message = str | bytes


def make_message(source: random.Random, number: int, maximum: int) -> Message:
    """The edge sizes first, then random ones, most of them small; text and binary, compressible and not."""
    edges = [size for size in EDGE_SIZES if size <= maximum]
    size = edges[number] if number < len(edges) else int(maximum ** source.random())
    match source.randrange(4):
        case 0:
            return source.randbytes(size)
        case 1:
            return (b"%d " % number * (size // 2 + 1))[:size]
        case 2:
            return ("price %d.%02d " % (number, number % 100) * (size // 8 + 1))[:size]
        case _:
            # One to four bytes of UTF-8 a character.
            return "".join(source.choices("aZ ~éß€漢字🙂", k=size // 3))


def in_fragments(message: Message, count: int) -> AsyncIterator[Message]:
    size = len(message) // count + 1

    async def parts() -> AsyncIterator[Message]:
        for number in range(count):
            yield message[number * size : (number + 1) * size]

    return parts()


async def exchange(connection: ClientConnection, options: argparse.Namespace, result: dict) -> None:
    source = random.Random(options.seed)
    expected: asyncio.Queue[Message] = asyncio.Queue(options.pipeline)

    async def send() -> None:
        for number in range(options.messages):
            message = make_message(source, number, options.max_size)
            await expected.put(message)
            if options.fragments and source.random() < 0.3:
                await connection.send(in_fragments(message, source.randint(2, 5)))
            else:
                await connection.send(message)
            if source.random() < 0.1:
                # One at a time: of several that arrive together libwebsockets 4.1.6 answers only the first.
                await (await connection.ping())

    sender = asyncio.ensure_future(send())
    try:
        for number in range(options.messages):
            receiver = asyncio.ensure_future(connection.recv())
            await asyncio.wait([sender, receiver], return_when=asyncio.FIRST_COMPLETED)
            if sender.done() and sender.exception():
                receiver.cancel()
                sender.result()
            received = await receiver
            message = expected.get_nowait()
            if received != message:
                raise AssertionError(f"message {number}: sent {brief(message)}, received {brief(received)}")
            result["messages"] += 1
            result["bytes"] += len(message.encode() if isinstance(message, str) else message)
        # Its last ping too must have its answer before another one goes out: see above.
        await sender
    finally:
        sender.cancel()


def brief(message: Message) -> str:
    return f"{type(message).__name__} of {len(message)}: {message[:40]!r}"


def tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.url.startswith("wss:"):
        return None
    context = ssl.create_default_context(cafile=options.ca)
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.cert:
        context.load_cert_chain(options.cert, options.key)
    peer.apply_tls_versions(context, options)
    return context


async def talk(options: argparse.Namespace, result: dict) -> None:
    headers = [tuple(part.strip() for part in header.split(":", 1)) for header in options.header]
    connection = await connect(
        options.url,
        ssl=tls_context(options),
        proxy=None,
        compression=None,
        extensions=[ClientPerMessageDeflateFactory(**peer.deflate_options(options))] if options.deflate else None,
        subprotocols=options.subprotocol,
        origin=options.origin,
        additional_headers=headers,
        ping_interval=options.ping_interval,
        max_size=None,
        **({"server_hostname": options.server_name} if options.server_name else {}),
    )
    try:
        result["subprotocol"] = connection.subprotocol
        result["extensions"] = connection.response.headers.get("Sec-WebSocket-Extensions")
        result["tls"] = peer.describe_tls(connection)
        started = time.monotonic()
        await exchange(connection, options, result)
        result["seconds"] = round(time.monotonic() - started, 6)
        result["ping_seconds"] = round(await (await connection.ping()), 6)
        if options.wait_close:
            await connection.wait_closed()
        else:
            await connection.close(options.close, options.reason)
    finally:
        result["close"] = peer.describe_close(connection)


def describe_error(error: BaseException) -> dict[str, object]:
    about: dict[str, object] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, InvalidStatus):
        response = error.response
        about |= {"status": response.status_code, "headers": list(response.headers.raw_items())}
        about["body"] = (response.body or b"").decode(errors="replace")
    return about


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--messages", type=int, default=100, metavar="N")
    parser.add_argument("--max-size", type=int, default=200_000, metavar="N", help="bytes or characters of a message")
    parser.add_argument("--pipeline", type=int, default=8, metavar="N", help="messages under way at once")
    parser.add_argument("--fragments", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--close", type=int, default=1000, metavar="CODE")
    parser.add_argument("--reason", default="")
    parser.add_argument("--wait-close", action="store_true", help="let the server close instead")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("--origin")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="for everything together")
    parser.add_argument("--ca", metavar="FILE", help="instead of the system's")
    parser.add_argument("--insecure", action="store_true", help="accept any certificate")
    parser.add_argument("--cert", metavar="FILE", help="client certificate, with --key")
    parser.add_argument("--key", metavar="FILE")
    parser.add_argument("--server-name", metavar="NAME", help="for SNI and verification, instead of the URL's host")
    peer.add_common_options(parser)
    options = parser.parse_args()
    if any(":" not in header for header in options.header):
        parser.error("--header needs 'NAME: VALUE'")
    return options


async def main() -> int:
    options = parse_arguments()
    peer.require_websockets()
    result: dict[str, object] = {"ok": False, "messages": 0, "bytes": 0, "error": None}
    try:
        await asyncio.wait_for(talk(options, result), options.timeout)
        result["ok"] = True
    except Exception as error:
        result["error"] = describe_error(error)
    print(json.dumps(result), flush=True)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
