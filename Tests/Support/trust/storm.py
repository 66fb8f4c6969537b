#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What other clients of a server do to two established echoes. See scripts/storm."""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib

REQUEST = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n"
)
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n"
MASK = b"\0\0\0\0"
PATIENCE = 60


def frame(payload: bytes, first: int = 0x82) -> bytes:
    """A client's frame. A mask of zeros costs nothing."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + MASK + payload


def read_exactly(link: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = link.recv(min(count, 1 << 18))
        if not part:
            raise ConnectionError("the server has ended the connection")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_message(link: socket.socket) -> int:
    """Reads a frame and returns the size of its payload."""
    size = read_exactly(link, 2)[1] & 127
    if size == 126:
        (size,) = struct.unpack("!H", read_exactly(link, 2))
    elif size == 127:
        (size,) = struct.unpack("!Q", read_exactly(link, 8))
    read_exactly(link, size)
    return size


def connect(port: int, extensions: str = "", tls: ssl.SSLContext | None = None) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        link = tls.wrap_socket(link, server_hostname="localhost")
    link.sendall(REQUEST.format(extensions).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read_exactly(link, 1)
    if b" 101 " not in head:
        raise ConnectionError(head.decode(errors="replace"))
    return link


def trusting_all() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# Loads. Each runs in a process of its own for about so many seconds, and is small or large.


def in_threads(count: int, body) -> None:
    threads = [threading.Thread(target=body, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)


def tls_clients(ports: dict, short: bool, seconds: float) -> None:
    """Many TLS clients at once, and again."""
    tls = trusting_all()

    def crowd(_: int) -> None:
        with contextlib.suppress(OSError):
            connect(ports["wss"], tls=tls).close()

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        in_threads(100 if short else 1000, crowd)


def deflated(payload: bytes, ports: dict, short: bool, seconds: float) -> None:
    """Clients that each send a mebibyte, compressed, and wait for it to come back."""
    machine = zlib.compressobj(6, zlib.DEFLATED, -15)
    small = machine.compress(payload) + machine.flush(zlib.Z_SYNC_FLUSH)
    wire = frame(small[:-4], 0xC2)
    end = time.monotonic() + seconds

    def client(_: int) -> None:
        with contextlib.suppress(OSError):
            link = connect(ports["ws"], DEFLATE)
            while True:
                link.sendall(wire)
                read_message(link)
                if time.monotonic() > end:
                    break
            link.close()

    in_threads(40 if short else 500, client)


def deflated_json(ports: dict, short: bool, seconds: float) -> None:
    choice = random.Random(1)
    rows = [{"id": number, "price": choice.random(), "name": f"item {number}"} for number in range(18_000)]
    deflated(json.dumps(rows).encode()[: 1 << 20], ports, short, seconds)


def deflated_zeros(ports: dict, short: bool, seconds: float) -> None:
    deflated(bytes(1 << 20), ports, short, seconds)


def deflated_random(ports: dict, short: bool, seconds: float) -> None:
    deflated(random.Random(2).randbytes((1 << 20) - 1024), ports, short, seconds)


def tiny_messages(ports: dict, short: bool, seconds: float) -> None:
    """A flood of messages of one byte, whose echoes are read as they come."""
    link = connect(ports["ws"])
    burst = frame(b"x", 0x81) * 5_000
    reader = threading.Thread(target=lambda: drain(link), daemon=True)
    reader.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        link.sendall(burst)
    link.close()


def drain(link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while link.recv(1 << 18):
            pass


def key_updates(ports: dict, short: bool, seconds: float) -> None:
    """TLS 1.3 KeyUpdates without end: s_client sends one for each line with a k."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        process = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{ports['wss']}", "-tls1_3", "-quiet", "-no_ign_eof"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        with contextlib.suppress(OSError):
            while time.monotonic() < end and process.poll() is None:
                process.stdin.write(b"k\n" * 64)
                process.stdin.flush()
        process.kill()
        process.wait()


def silent_sockets(ports: dict, short: bool, seconds: float) -> None:
    """Sockets to the TLS port that say nothing, so many a second, each of which stays for three seconds."""
    rate = 100 if short else 600
    links: list[socket.socket] = []
    began = time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        while len(links) < (now - began) * rate:
            with contextlib.suppress(OSError):
                links.append(socket.create_connection(("127.0.0.1", ports["wss"]), timeout=PATIENCE))
        for link in links[: max(0, int((now - began - 3) * rate))]:
            link.close()
        time.sleep(0.01)


def busy(ports: dict, short: bool, seconds: float) -> None:
    """Not a load for the server: all processors are in use."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(10_000))


LOADS = {
    "tls-clients": tls_clients,
    "deflated-json": deflated_json,
    "deflated-zeros": deflated_zeros,
    "deflated-random": deflated_random,
    "tiny-messages": tiny_messages,
    "key-updates": key_updates,
    "silent-sockets": silent_sockets,
}


# The echoes.


def probe(port: int, is_secure: bool, ready, begin, end, results) -> None:
    """One echo of 32 bytes after the other, a millisecond apart."""
    link = connect(port, tls=trusting_all() if is_secure else None)
    message = frame(b"0123456789abcdef0123456789abcdef")
    ready.set()
    begin.wait()
    times = []
    while not end.is_set():
        start = time.perf_counter()
        link.sendall(message)
        read_message(link)
        times.append((time.perf_counter() - start) * 1_000)
        time.sleep(0.001)
    results.put(times)


def measure(name: str, scheme: str, load, count: int, ports: dict, short: bool, seconds: float) -> tuple[float, ...]:
    context = multiprocessing.get_context("fork")
    begin, end, results = context.Event(), context.Event(), context.Queue()
    probes = []
    for _ in range(2):
        # One after the other: the server hands connections to its loops in turn.
        ready = context.Event()
        process = context.Process(target=probe, args=(ports[scheme], scheme == "wss", ready, begin, end, results))
        process.start()
        if not ready.wait(PATIENCE):
            raise SystemExit(f"{name}: the echo does not connect")
        probes.append(process)
    loads = [context.Process(target=load, args=(ports, short, seconds)) for _ in range(count)]
    for process in loads:
        process.start()
    begin.set()
    if loads:
        for process in loads:
            process.join(2 * PATIENCE)
            if process.exitcode != 0:
                complain(f"{name}: the load ended with {process.exitcode}")
    else:
        time.sleep(seconds)
    end.set()
    times = []
    for _ in probes:
        times += results.get(timeout=PATIENCE)
    for process in probes:
        process.join(PATIENCE)
    times.sort()
    figures = (times[len(times) // 2], times[len(times) * 99 // 100], times[-1])
    print(f"{name:16} {figures[0]:9.2f} {figures[1]:9.2f} {figures[2]:9.2f} {len(times):9}", flush=True)
    return figures


def complain(text: str) -> None:
    print(f"storm: {text}", file=sys.stderr)


def endless_proxy(binary: str) -> bool:
    """`wsx connect` through a proxy that answers 100 for ever comes to an end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            link, _ = listener.accept()
            while True:
                link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    threading.Thread(target=serve, daemon=True).start()
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        result = subprocess.run(
            [binary, "connect", "--proxy", proxy, "ws://192.0.2.1/"], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        print("endless-proxy    does not end")
        return False
    finally:
        listener.close()
    print(f"endless-proxy    {result.stderr.strip().splitlines()[-1] if result.stderr.strip() else 'no error'}")
    # 64 would say that the command is wrong.
    return result.returncode not in (0, 64)


def serve(binary: str, *arguments: str) -> tuple[subprocess.Popen, int]:
    server = subprocess.Popen(
        [binary, "listen", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )
    line = server.stdout.readline().strip()
    threading.Thread(target=server.stdout.read, daemon=True).start()
    return server, int(line.rstrip("/").rsplit(":", 1)[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loads", nargs="*", metavar="LOAD")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--ratio", type=int, default=100)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--certificates", required=True)
    options = parser.parse_args()
    known = [*LOADS, "endless-proxy"]
    if options.list:
        print("\n".join(known))
        return 0
    wanted = options.loads or known
    for name in wanted:
        if name not in known:
            complain(f"unknown load '{name}'; there are: {' '.join(known)}")
            return 64
    seconds = 3.0 if options.short else 10.0
    certificate = os.path.join(options.certificates, "valid")
    failed = []
    plain, plain_port = serve(options.binary)
    secure, secure_port = serve(options.binary, "--tls-cert", certificate + ".pem", "--tls-key", certificate + ".key")
    ports = {"ws": plain_port, "wss": secure_port}
    try:
        print(f"{'ms':16} {'p50':>9} {'p99':>9} {'max':>9} {'echoes':>9}")
        measure("quiet", "ws", None, 0, ports, options.short, seconds)
        base = measure("busy", "ws", busy, os.cpu_count() or 2, ports, options.short, seconds)
        for name in wanted:
            if name == "endless-proxy":
                if not endless_proxy(options.binary):
                    failed.append(name)
                continue
            # The echoes live on the loops of the server that the load is for.
            scheme = "wss" if name in ("tls-clients", "key-updates", "silent-sockets") else "ws"
            figures = measure(name, scheme, LOADS[name], 1, ports, options.short, seconds)
            if figures[1] > options.ratio * base[1]:
                failed.append(f"{name}: p99 is {figures[1] / base[1]:.0f} times that of the busy machine")
        for server in (plain, secure):
            if server.poll() is not None:
                failed.append(f"a server has ended with {server.returncode}")
    finally:
        for server in (plain, secure):
            server.terminate()
            try:
                server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()
    if not options.short:
        return 0
    for line in failed:
        complain(line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
