#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Python's web frameworks as peers.

  frameworks.py server aiohttp|uvicorn-websockets|uvicorn-wsproto [--identity CERTIFICATE KEY]
  frameworks.py client aiohttp URL [--ca FILE] [--proxy URL]

A server echoes messages on every path, chooses the subprotocol `chat`, closes with 4001 "bye" when it gets the text `close`,
and answers `GET /health` with 200. It prints {"port": N} first and ends on SIGTERM or on end of input. A client sends texts
and bytes of many sizes, checks what comes back, closes with 4002, and prints a report.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import ssl
import sys

SIZES = [0, 1, 125, 126, 65535, 65536, 300000]


def identity(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.identity:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*options.identity)
    return context


async def until_told() -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    loop.run_in_executor(None, sys.stdin.buffer.read).add_done_callback(lambda _: done.set())
    await done.wait()
    # The executor's thread waits for the input.
    sys.stdout.flush()
    os._exit(0)


async def serve_aiohttp(listener: socket.socket, options: argparse.Namespace) -> None:
    from aiohttp import WSMsgType, web

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/health":
            return web.Response(text="fine")
        response = web.WebSocketResponse(protocols=["chat"], max_msg_size=1 << 24)
        await response.prepare(request)
        async for message in response:
            if message.type == WSMsgType.TEXT and message.data == "close":
                await response.close(code=4001, message=b"bye")
            elif message.type == WSMsgType.TEXT:
                await response.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await response.send_bytes(message.data)
        return response

    application = web.Application()
    application.router.add_route("GET", "/{tail:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=identity(options)).start()


async def application(scope, receive, send) -> None:
    """What uvicorn serves."""
    if scope["type"] == "http":
        status = 200 if scope["path"] == "/health" else 404
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["type"] != "websocket":
        return
    await receive()
    chosen = "chat" if "chat" in scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": chosen})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "bye"})
            return
        content = {key: event[key] for key in ("text", "bytes") if event.get(key) is not None}
        await send({"type": "websocket.send", **content})


async def serve_uvicorn(listener: socket.socket, options: argparse.Namespace, implementation: str) -> None:
    import uvicorn

    files = dict(zip(("ssl_certfile", "ssl_keyfile"), options.identity or ()))
    configuration = uvicorn.Config(
        application, ws=implementation, ws_max_size=1 << 24, log_level="critical", lifespan="off", **files)
    server = uvicorn.Server(configuration)
    server.install_signal_handlers = lambda: None
    asyncio.get_running_loop().create_task(server._serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)


async def server(options: argparse.Namespace) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    match options.kind:
        case "aiohttp":
            await serve_aiohttp(listener, options)
        case "uvicorn-websockets":
            await serve_uvicorn(listener, options, "websockets-sansio")
        case "uvicorn-wsproto":
            await serve_uvicorn(listener, options, "wsproto")
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    await until_told()


async def client(options: argparse.Namespace) -> None:
    import aiohttp

    trust = ssl.create_default_context(cafile=options.ca) if options.ca else None
    wrong = []
    async with aiohttp.ClientSession() as session:
        connection = session.ws_connect(
            options.url, ssl=trust or True, protocols=["other", "chat"], compress=15, max_msg_size=1 << 24,
            proxy=options.proxy)
        async with connection as peer:
            count = 0
            for size in SIZES:
                for content in ("é" * (size // 2), bytes(index % 251 for index in range(size))):
                    await (peer.send_str if isinstance(content, str) else peer.send_bytes)(content)
                    back = await peer.receive()
                    count += 1
                    if back.data != content:
                        wrong.append(size)
            await peer.ping(b"are you there")
            await peer.close(code=4002, message=b"enough")
            report = {
                "ok": not wrong, "wrong": wrong, "messages": count, "subprotocol": peer.protocol,
                "compress": peer.compress, "code": peer.close_code}
    print(json.dumps(report), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    roles = parser.add_subparsers(dest="role", required=True)
    one = roles.add_parser("server")
    one.add_argument("kind", choices=["aiohttp", "uvicorn-websockets", "uvicorn-wsproto"])
    one.add_argument("--identity", nargs=2)
    other = roles.add_parser("client")
    other.add_argument("kind", choices=["aiohttp"])
    other.add_argument("url")
    other.add_argument("--ca")
    other.add_argument("--proxy")
    options = parser.parse_args()
    asyncio.run(server(options) if options.role == "server" else client(options))


main()
