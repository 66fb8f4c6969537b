#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# This file is part of the swift-libwebsockets open source project.

"""What topics cost with a broker and without: rows b1 and b2, side by side in one run.

    topics.py --bin .build/release --raw raw [--rounds N] [--seconds N] [--connections N]

b1   one process, one topic of its own with 3,000 subscribers: without a broker (`none`), and with one that the topic
     does not use (`local`)
b2   three processes with 1,000 subscribers each, one topic through Redis (`shared`)

Each round measures all of them in turn; ratios are those of a round to its `none`, of which the median is printed. The
processor time is the servers'; Redis' own is given apart, for each message that was published.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

DRIVERS = [("b1", "none", 1), ("b1", "local", 1), ("b2", "shared", 3)]


class Redis:
    """A server on a Unix socket of its own; Debian's redis-tools has it under another name."""

    def __enter__(self):
        program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
        if not program:
            sys.exit("topics.py: there is no redis-server; run scripts/setup --tests")
        self.directory = tempfile.mkdtemp(prefix="bench-redis-")
        link, self.socket = (os.path.join(self.directory, name) for name in ("redis-server", "redis"))
        os.symlink(program, link)
        self.child = subprocess.Popen(
            [link, "--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", self.directory],
            stdout=subprocess.DEVNULL)  # fmt: skip
        until = time.monotonic() + 30
        while not os.path.exists(self.socket):
            if self.child.poll() is not None or time.monotonic() > until:
                sys.exit("topics.py: redis-server does not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def measure(options, redis, mode, processes, size):
    limit = int(options.seconds * 2 + 60 + options.connections / 50)
    command = [os.path.join(options.bin, "bench-topics"), mode, str(limit)]
    if mode != "none":
        command.append(f"unix:{redis.socket}")
    servers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        places = [f"{json.loads(s.stdout.readline())['port']}:{s.pid}" for s in servers]
        load = [os.path.join(options.raw, "topic-load"), str(size), str(options.connections), str(options.seconds),
                *places, "--", str(redis.child.pid)]  # fmt: skip
        return json.loads(subprocess.run(load, check=True, capture_output=True, timeout=limit).stdout)
    except subprocess.CalledProcessError as error:
        sys.exit(f"topics.py: {mode}: {error.stderr.decode(errors='replace').strip()}")
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
        for server in servers:
            server.wait(10)
            server.stdout.close()


def spread(values, digits):
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}–{max(values):.{digits}f}]"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default=os.path.join(here, ".build", "release"), help="where bench-topics is built")
    p.add_argument("--raw", default=os.path.join(here, "raw"), help="where the C programs are built")
    p.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    p.add_argument("--seconds", type=float, default=2, help="for each measurement; default: %(default)g")
    p.add_argument("--connections", type=int, default=3000, help="of all processes together; default: %(default)s")
    options = p.parse_args()
    if options.rounds < 1 or not 0 < options.seconds <= 60 or options.connections < 3:
        p.error("needs a round, 0 to 60 seconds, and 3 connections")
    print(f"{options.connections} subscribers of one topic; medians of {options.rounds} interleaved rounds of "
          f"{options.seconds:g} s [min–max].\n")  # fmt: skip
    print("| | bytes | topic | processes | deliveries/s | CPU µs/delivery | × | Redis µs/message | p50 µs to all |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with Redis() as redis:
        for size in (32, 256):
            rounds = []
            for number in range(options.rounds):
                turn = number % len(DRIVERS)
                results = {}
                for _, mode, processes in DRIVERS[turn:] + DRIVERS[:turn]:
                    results[mode] = measure(options, redis, mode, processes, size)
                rounds.append(results)
            for row, mode, processes in DRIVERS:
                found = [r[mode] for r in rounds]
                cpu = [r["cpu_us_per_delivery"] for r in found]
                ratios = [r[mode]["cpu_us_per_delivery"] / r["none"]["cpu_us_per_delivery"] for r in rounds]
                print(f"| {row} | {size} | {mode} | {processes} | {statistics.median(r['rate'] for r in found):,.0f} "
                      f"| {spread(cpu, 3)} | {spread(ratios, 2)} "
                      f"| {statistics.median(r['broker_cpu_us_per_message'] for r in found):.1f} "
                      f"| {statistics.median(r['p50_us'] for r in found):,.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
