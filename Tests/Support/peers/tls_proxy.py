#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An HTTP CONNECT proxy that is spoken to in TLS, on a free port of the loopback interface.

  tls_proxy.py CERTIFICATE KEY [--credentials USER:PASSWORD] [--client-ca FILE] [--maximum-version 1.2]
               [--cut-after BYTES] [--end-after BYTES]

Prints {"port": N} as its first line, and for each connection {"event": "connect", "target": ..., "subject": ...} with the
client certificate's common name. `--cut-after` resets the connection when this number of bytes has come from the server,
`--end-after` ends it with close_notify. Ends on SIGTERM or on end of input.
"""

import argparse
import asyncio
import base64
import json
import os
import signal
import socket
import ssl
import struct
import sys


def tell(**event: object) -> None:
    print(json.dumps(event), flush=True)


def common_name(certificate: dict | None) -> str | None:
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return value
    return None


def reset(writer: asyncio.StreamWriter) -> None:
    """Without a word of TLS or TCP."""
    descriptor = writer.get_extra_info("socket")
    descriptor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            subject = common_name(writer.get_extra_info("peercert"))
            tell(event="connect", method=method, target=target, subject=subject)
            if not self.is_allowed(head):
                writer.write(b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n')
                await writer.drain()
                return
            host, _, port = target.rpartition(":")
            upstream = await asyncio.open_connection(host.strip("[]"), int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self.relay(reader, writer, *upstream)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def is_allowed(self, head: list[str]) -> bool:
        if not self.options.credentials:
            return True
        wanted = "Basic " + base64.b64encode(self.options.credentials.encode()).decode()
        return f"Proxy-Authorization: {wanted}" in head

    async def relay(self, reader, writer, up_reader, up_writer) -> None:
        async def outward() -> None:
            while data := await reader.read(65536):
                up_writer.write(data)
                await up_writer.drain()
            up_writer.write_eof()

        async def inward() -> None:
            count = 0
            while data := await up_reader.read(65536):
                writer.write(data)
                await writer.drain()
                count += len(data)
                if self.options.cut_after and count >= self.options.cut_after:
                    reset(writer)
                    return
                if self.options.end_after and count >= self.options.end_after:
                    writer.close()
                    return

        tasks = [asyncio.create_task(outward()), asyncio.create_task(inward())]
        try:
            # The end of the server's side is the end; that of the client's is not.
            await tasks[1]
        finally:
            for task in tasks:
                task.cancel()
            up_writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("certificate")
    parser.add_argument("key")
    parser.add_argument("--credentials")
    parser.add_argument("--client-ca")
    parser.add_argument("--maximum-version")
    parser.add_argument("--cut-after", type=int)
    parser.add_argument("--end-after", type=int)
    options = parser.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    if options.maximum_version == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if options.client_ca:
        context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(Proxy(options).serve, "127.0.0.1", 0, ssl=context)
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    loop.run_in_executor(None, sys.stdin.buffer.read).add_done_callback(lambda _: done.set())
    tell(port=server.sockets[0].getsockname()[1])
    await done.wait()
    # The executor's thread waits for the input.
    sys.stdout.flush()
    os._exit(0)


asyncio.run(main())
