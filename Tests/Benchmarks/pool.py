#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# This file is part of the swift-libwebsockets open source project.

"""The pool's workloads (c10a, c10b, c10c), ours beside aio-websocket-pool from PyPI in the same run.

    swift build -c release --product bench-pool
    python3 -m venv /some/where && /some/where/bin/pip install aio-websocket-pool
    /some/where/bin/python pool.py [SECONDS]

aio-websocket-pool fails at once when all connections are lent, so its 64 tasks wait at a semaphore for their turn.
The best of many rounds counts: other work on the machine only ever adds.
"""

import asyncio
import json
import logging
import pathlib
import subprocess
import sys
import time

import aio_websocket_pool
import websockets

BENCH = pathlib.Path(__file__).parent / ".build/release/bench-pool"


def ours(workload, seconds):
    """The results of bench-pool by name, each its best."""
    lines = subprocess.run(
        [BENCH, workload, str(seconds)], check=True, capture_output=True, text=True, timeout=seconds * 10 + 60
    ).stdout.splitlines()
    return {line["workload"]: line["best"] for line in map(json.loads, lines)}


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def uncontended(pool, _, count=2_000):
    begin = time.perf_counter()
    for _ in range(count):
        await pool.release(await pool.acquire())
    return (time.perf_counter() - begin) / count * 1e9


async def contended(pool, _, tasks=64, cycles=20):
    turns = asyncio.Semaphore(8)

    async def work():
        for _ in range(cycles):
            async with turns:
                connection = await pool.acquire()
                await asyncio.sleep(0)
                await pool.release(connection)

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return (time.perf_counter() - begin) / (tasks * cycles) * 1e6


async def echoes(pool, uri, count=1_000):
    message = bytes(32)
    async with websockets.connect(uri) as socket:
        begin = time.perf_counter()
        for _ in range(count):
            await socket.send(message)
            await socket.recv()
        bare = time.perf_counter() - begin
    begin = time.perf_counter()
    for _ in range(count):
        connection = await pool.acquire()
        await connection.send(message)
        await connection.recv()
        await pool.release(connection)
    # Larger is better, as in a rate.
    return bare / (time.perf_counter() - begin)


async def theirs(seconds):
    async with websockets.serve(echo, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        pool = aio_websocket_pool.WebsocketConnectionPool(uri=uri, max_connections=8, warmup_connections=8)
        await pool.start()
        results = {}
        for name, work, best in (("c10a", uncontended, min), ("c10b", contended, min), ("c10c", echoes, max)):
            rounds = []
            end = time.perf_counter() + seconds
            while not rounds or time.perf_counter() < end:
                rounds.append(await work(pool, uri))
            results[name] = best(rounds)
        await pool.close_all()
        return results


def main():
    logging.disable()
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3
    other = asyncio.run(theirs(seconds))
    units = {"c10a": "ns", "c10b": "µs a cycle", "c10c": "of the echo without a pool"}
    for workload, unit in units.items():
        for name, value in ours(workload, seconds).items():
            print(f"{name:55} {value:10.2f} {unit}")
        print(f"{workload + ', aio-websocket-pool':55} {other[workload]:10.2f} {unit}")


if __name__ == "__main__":
    main()
