#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A WebSocket server on a port that the kernel chooses, built on Python's websockets.

Prints {"port": N} as its first line. Ends on SIGTERM (connections get 1001), on end of input with
--until-stdin-closes, or after --lifetime seconds.

What it does with a connection is its behaviour:

  echo                    sends every message back, of the same kind
  close-CODE              closes with this code, valid or not; close-none sends a Close without a code
  abort                   resets the TCP connection
  eof                     ends the TCP connection without a Close
  silent                  reads everything, sends nothing but pongs
  deaf                    stops reading right after the handshake: no pongs either
  no-pong                 echoes, but never answers a ping
  ignore-close            echoes, but never answers a Close and leaves the connection open
  talk-first [TEXT]       sends TEXT (default "welcome") at once, then echoes
  slow                    waits --delay seconds before it reads each message, then echoes it
  big N                   sends one binary message of N bytes (byte i is i mod 251), then echoes
  flood N SIZE            sends N binary messages of SIZE bytes as fast as the client reads, then echoes
  ping-storm N            sends N pings at once, waits for N pongs, sends the text "pongs N", then echoes
  fragment N              echoes in N frames with a ping after each but the last
  uncompressed-on-deflate echoes without compression even when it was negotiated
  mixed-on-deflate        the same for every second message
  describe                sends a JSON text about the request (path, headers, subprotocol, tls), then echoes
  reject-STATUS           answers the handshake with this HTTP status, --header and --body
  handshake-silent        never answers the handshake
  handshake-slow          answers the handshake after --delay seconds
  by-path                 the client chooses: /close-1001, /big/1000000, / for echo

With --after N the behaviours close, abort and eof echo N messages first.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from urllib.parse import unquote, urlsplit

import peer
from websockets.asyncio.server import Request, Response, ServerConnection, serve, unix_serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State

Behaviour = Callable[[ServerConnection, list[str], argparse.Namespace], Awaitable[None]]


async def echo(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    async for message in connection:
        await connection.send(message)


async def echo_before(connection: ServerConnection, options: argparse.Namespace) -> None:
    for _ in range(options.after):
        await connection.send(await connection.recv())


async def close(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    await echo_before(connection, options)
    code = 1005 if arguments[0] == "none" else int(arguments[0])
    payload = b"" if arguments[0] == "none" else struct.pack("!H", code) + options.reason.encode()
    # By hand, because websockets refuses to send codes that are not valid.
    connection.protocol.send_frame(Frame(Opcode.CLOSE, payload))
    connection.protocol.close_sent = Close(code, options.reason if payload else "")
    connection.protocol.state = State.CLOSING
    connection.send_data()
    await connection.wait_closed()


async def abort(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    await echo_before(connection, options)
    linger = struct.pack("ii", 1, 0)
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.transport.abort()


async def eof(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    await echo_before(connection, options)
    connection.transport.close()


async def silent(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    async for _ in connection:
        pass


async def deaf(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    connection.transport.pause_reading()
    await connection.wait_closed()


async def no_pong(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    drop_frames(connection, Opcode.PING)
    await echo(connection, [], options)


async def ignore_close(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    drop_frames(connection, Opcode.CLOSE)
    await echo(connection, [], options)


def drop_frames(connection: ServerConnection, opcode: Opcode) -> None:
    receive = connection.protocol.recv_frame
    connection.protocol.recv_frame = lambda frame: None if frame.opcode is opcode else receive(frame)


async def talk_first(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    await connection.send(arguments[0] if arguments else "welcome")
    await echo(connection, [], options)


async def slow(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    while True:
        await asyncio.sleep(options.delay)
        await connection.send(await connection.recv())


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def big(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    await connection.send(pattern(int(arguments[0])))
    await echo(connection, [], options)


async def flood(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    message = pattern(int(arguments[1]))
    for _ in range(int(arguments[0])):
        await connection.send(message)
    await echo(connection, [], options)


async def ping_storm(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    pongs = [await connection.ping(f"ping {number}") for number in range(int(arguments[0]))]
    await asyncio.gather(*pongs)
    await connection.send(f"pongs {len(pongs)}")
    await echo(connection, [], options)


async def fragment(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    count = int(arguments[0])

    async def parts(message: str | bytes) -> AsyncIterator[str | bytes]:
        size = -(-len(message) // count)
        for number in range(count):
            if number:
                await connection.ping()
            yield message[number * size : (number + 1) * size]

    async for message in connection:
        await connection.send(parts(message))


def leave_uncompressed(connection: ServerConnection, choose: Callable[[int], bool]) -> None:
    """Sends message number n (from 0) uncompressed when choose(n) says so."""
    for extension in connection.protocol.extensions:
        count = -1
        encode = extension.encode

        def encode_some(frame: Frame) -> Frame:
            nonlocal count
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                count += 1
            return frame if choose(count) else encode(frame)

        extension.encode = encode_some


async def uncompressed(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    leave_uncompressed(connection, lambda number: True)
    await echo(connection, [], options)


async def mixed(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    leave_uncompressed(connection, lambda number: number % 2 == 0)
    await echo(connection, [], options)


async def describe(connection: ServerConnection, arguments: list[str], options: argparse.Namespace) -> None:
    request = connection.request
    about = {
        "path": request.path,
        "headers": [[name, value] for name, value in request.headers.raw_items()],
        "subprotocol": connection.subprotocol,
        "extensions": connection.response.headers.get("Sec-WebSocket-Extensions"),
        "tls": peer.describe_tls(connection),
    }
    await connection.send(json.dumps(about))
    await echo(connection, [], options)


# Name, number of arguments needed, function. A name that ends in "-" is followed by its first argument.
BEHAVIOURS: dict[str, tuple[int, Behaviour]] = {
    "echo": (0, echo),
    "close-": (1, close),
    "abort": (0, abort),
    "eof": (0, eof),
    "silent": (0, silent),
    "deaf": (0, deaf),
    "no-pong": (0, no_pong),
    "ignore-close": (0, ignore_close),
    "talk-first": (0, talk_first),
    "slow": (0, slow),
    "big": (1, big),
    "flood": (2, flood),
    "ping-storm": (1, ping_storm),
    "fragment": (1, fragment),
    "uncompressed-on-deflate": (0, uncompressed),
    "mixed-on-deflate": (0, mixed),
    "describe": (0, describe),
    # These are over before the connection opens (see `answer`).
    "reject-": (1, echo),
    "handshake-silent": (0, echo),
    "handshake-slow": (0, echo),
}


def parse_behaviour(words: list[str]) -> tuple[str, list[str]] | None:
    """["close-1001"] -> ("close-", ["1001"]); None when there is no such behaviour."""
    name, arguments = words[0], words[1:]
    if match := re.fullmatch(r"(close-|reject-)(\d+|none)", name):
        name, arguments = match[1], [match[2], *arguments]
    if name not in BEHAVIOURS or len(arguments) < BEHAVIOURS[name][0]:
        return None
    return name, arguments


def behaviour_for(path: str, options: argparse.Namespace) -> tuple[str, list[str]] | None:
    if options.behaviour != ["by-path"]:
        return parse_behaviour(options.behaviour)
    words = [unquote(part) for part in urlsplit(path).path.split("/") if part]
    return parse_behaviour(words or ["echo"])


async def answer(connection: ServerConnection, request: Request, options: argparse.Namespace) -> Response | None:
    behaviour = behaviour_for(request.path, options)
    if behaviour is None:
        return connection.respond(404, f"no such behaviour: {request.path}\n")
    name, arguments = behaviour
    if name == "handshake-silent":
        await asyncio.sleep(options.lifetime)
    elif name == "handshake-slow":
        await asyncio.sleep(options.delay)
    elif name == "reject-":
        response = connection.respond(int(arguments[0]), options.body)
        for header in options.header:
            field, _, value = header.partition(":")
            response.headers[field.strip()] = value.strip()
        return response
    return None


async def handle(connection: ServerConnection, options: argparse.Namespace) -> None:
    name, arguments = behaviour_for(connection.request.path, options)
    if options.events:
        peer.emit(event="open", path=connection.request.path, tls=peer.describe_tls(connection))
    try:
        await BEHAVIOURS[name][1](connection, arguments, options)
    except ConnectionClosed:
        pass
    finally:
        if options.events:
            await connection.wait_closed()
            peer.emit(event="closed", path=connection.request.path, close=peer.describe_close(connection))


def tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.tls_cert:
        return None

    def context(certificate: str, key: str) -> ssl.SSLContext:
        result = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if options.tls_security_level is not None:
            result.set_ciphers(f"DEFAULT:@SECLEVEL={options.tls_security_level}")
        result.load_cert_chain(certificate, key)
        peer.apply_tls_versions(result, options)
        if options.tls_client_ca:
            result.verify_mode = ssl.CERT_REQUIRED
            result.load_verify_locations(options.tls_client_ca)
        return result

    default = context(options.tls_cert, options.tls_key)
    by_name = {name: context(certificate, key) for name, certificate, key in options.tls_sni}

    def choose(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        tls.requested_name = name  # what the client asked for, for `describe`
        if name in by_name:
            tls.context = by_name[name]

    default.sni_callback = choose
    return default


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--behaviour", nargs="+", default=["echo"], metavar=("NAME", "ARGUMENT"))
    parser.add_argument("--after", type=int, default=0, metavar="N", help="messages echoed before close, abort, eof")
    parser.add_argument("--reason", default="", help="of close-CODE")
    parser.add_argument("--delay", type=float, default=1, metavar="SECONDS", help="of slow and handshake-slow")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="of reject-STATUS")
    parser.add_argument("--body", default="rejected\n", help="of reject-STATUS")
    parser.add_argument("--address", default="127.0.0.1", help="or ::1 (default: %(default)s)")
    parser.add_argument("--unix", metavar="PATH", help="listen on a Unix socket instead; the port is then 0")
    parser.add_argument("--max-size", type=int, metavar="BYTES", help="of a message (default: no limit)")
    parser.add_argument("--events", action="store_true", help="print a line when a connection opens and closes")
    parser.add_argument("--lifetime", type=float, default=peer.DEFAULT_LIFETIME, metavar="SECONDS")
    parser.add_argument("--until-stdin-closes", action="store_true")
    parser.add_argument("--tls-cert", metavar="FILE")
    parser.add_argument("--tls-key", metavar="FILE")
    parser.add_argument("--tls-client-ca", metavar="FILE", help="clients must have a certificate of this CA")
    parser.add_argument("--tls-security-level", type=int, metavar="0-5", help="0 lets weak certificates be served")
    parser.add_argument("--tls-sni", nargs=3, action="append", default=[], metavar=("NAME", "CERT", "KEY"))
    peer.add_common_options(parser)
    options = parser.parse_args()
    if bool(options.tls_cert) != bool(options.tls_key):
        parser.error("--tls-cert and --tls-key go together")
    if options.behaviour != ["by-path"] and parse_behaviour(options.behaviour) is None:
        parser.error(f"no such behaviour, or too few arguments: {' '.join(options.behaviour)}")
    return options


async def main() -> None:
    options = parse_arguments()
    peer.require_websockets()
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, finished.set)
    loop.call_later(options.lifetime, finished.set)

    # Other defaults of websockets that would get in the way: its compression argument, limits, deadlines and keepalive.
    listen = partial(unix_serve, path=options.unix) if options.unix else partial(serve, host=options.address, port=0)
    server = await listen(
        lambda connection: handle(connection, options),
        ssl=tls_context(options),
        compression=None,
        extensions=[ServerPerMessageDeflateFactory(**peer.deflate_options(options))] if options.deflate else None,
        subprotocols=options.subprotocol,
        # Without a common subprotocol websockets would reject the handshake; here it goes on without one.
        select_subprotocol=lambda connection, offered: next((n for n in options.subprotocol or () if n in offered), None),
        process_request=lambda connection, request: answer(connection, request, options),
        max_size=options.max_size,
        open_timeout=options.lifetime,
        ping_interval=options.ping_interval,
    )
    peer.emit(port=0 if options.unix else server.sockets[0].getsockname()[1])
    waits = [asyncio.ensure_future(finished.wait())]
    if options.until_stdin_closes:
        waits.append(asyncio.ensure_future(peer.until_closed(sys.stdin)))
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    server.close()
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(server.wait_closed()), 2)
    # Connections that never let go (`deaf`, `ignore-close`) must not keep the process; asyncio.run would wait for them.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
