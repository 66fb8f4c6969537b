#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# This file is part of the swift-libwebsockets open source project.

"""Compares WebSocket drivers with raw C libwebsockets, round by round.

Builds nothing: `make -C raw` first, and give every other driver as NAME=COMMAND.

    run.py --client swift-loop='.build/release/bench-client loop' \\
           --server swift-loop='.build/release/bench-server loop'

A name may be limited to some workloads: --client swift-onmessage:c5='...'.

Clients    COMMAND WORKLOAD HOST PORT SECONDS [--ca FILE]
           warms up uncounted, measures for SECONDS, prints one line of JSON: workload, messages,
           seconds, rate, cpu_us_per_message and, for ping-pong, p50_us. Exit status 0.
Servers    COMMAND serve SECONDS_MAX
           listens on a port of the kernel's choice on 127.0.0.1 and prints {"port":N} first; echoes
           until SIGTERM, the end of standard input or SECONDS_MAX, then prints {"cpu_seconds":X}.

All messages are binary. A client sends every message anew after the reply (c1, c3, c4, c6, c7: one in
flight on each connection, c2: 64) and checks the bytes of each reply. For c5 it asks for
/flood?size=64, sends nothing and checks each message's length. For c8 it opens a connection, closes
it with 1000, waits until it is closed, and starts again; for c9 it opens 100 connections and then 2,000 that exchange
a message of 32 bytes and fall silent, and prints bytes_each. For c7 it asks for /deflate and offers permessage-deflate.
For c3s, c6 and c8s the server is reached as wss://, with a certificate for `localhost` and 127.0.0.1 that --ca vouches for.
"""

import argparse
import json
import os
import platform
import resource
import select
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CLIENT = {
    "c1": "1 connection, 32 B ping-pong",
    "c2": "1 connection, 64 × 32 B in flight",
    "c3": "1 connection, 1 MiB ping-pong",
    "c3s": "the same over TLS",
    "c4": "100 connections, 128 B ping-pong each",
    "c5": "receive flood of 64 B messages",
    "c6": "wss, 1 connection, 32 B ping-pong",
    "c7": "1 connection, 1 KiB of text ping-pong, permessage-deflate",
    "c8": "connect and close, one after another",
    "c8s": "the same over TLS, with sessions resumed as the driver does by default",
    "c9": "bytes of the client's memory for each of 2,000 idle connections (here less is better)",
}
SERVER = {
    "s1a": "1 connection, 32 B ping-pong",
    "s1b": "64 connections, 32 B ping-pong each",
    "s1c": "512 connections, 32 B ping-pong each",
    "s2": "64 connections, 16 × 32 B in flight each",
    "s3": "4 connections, 64 KiB ping-pong each",
    "s4": "32 B broadcast to 200 connections, deliveries; the next one when all have it",
    "s5": "connections made, upgraded and closed with 1000, 16 at a time",
    "s6": "bytes of the server's memory for each of 5,000 idle connections (here less is better)",
    "idle1000": "32 B ping-pong beside 1,000 idle connections",
    "idle5000": "the same beside 5,000",
}
# Connections of these; both sides' table of descriptors is larger then, and libwebsockets' closes slower.
FILES = {"s6": 6000, "idle5000": 6000}
TLS = {"c3s", "c6", "c8s"}
# Where one message at a time crosses between the processors, a processor that falls asleep in
# between would be what is measured.
PING_PONG = {"c1", "c6", "c8", "c8s", "s1a", "idle1000", "idle5000"}
RAW = "raw lws"
HOST = "127.0.0.1"


class Failure(Exception):
    pass


class Process:
    """A child with pipes, bounded reads, and an end that always comes."""

    def __init__(self, command, cpus=None, idle=False):
        def prepare():
            if cpus:
                os.sched_setaffinity(0, cpus)
            if idle:
                os.nice(19)
                try:  # gives way at once, where niceness still waits for a tick now and then
                    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
                except OSError:
                    pass

        self.name = os.path.basename(command[0])
        self.errors = tempfile.TemporaryFile()
        try:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                preexec_fn=prepare if cpus or idle else None,
            )
        except OSError as error:
            self.errors.close()
            raise Failure(f"{command[0]}: {error.strerror}") from None
        self.pid = self.child.pid
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def line(self, timeout):
        """The next line of JSON."""
        until = time.monotonic() + timeout
        while True:
            head, newline, rest = self.buffer.partition(b"\n")
            if newline:
                self.buffer = rest
                try:
                    found = json.loads(head)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    return found
                continue
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.child.stdout], [], [], left)[0]:
                raise Failure(f"{self.name}: nothing printed within {timeout:.0f} s {self.said()}")
            some = os.read(self.child.stdout.fileno(), 65536)
            if not some:
                try:
                    self.child.wait(5)
                except subprocess.TimeoutExpired:
                    pass
                raise Failure(f"{self.name}: ended with status {self.child.poll()} {self.said()}")
            self.buffer += some

    def said(self):
        self.errors.seek(0)
        text = self.errors.read(2000).decode(errors="replace").strip()
        return f"({text})" if text else ""

    def wait(self, timeout):
        try:
            status = self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name}: still running after its result") from None
        if status:
            raise Failure(f"{self.name}: ended with status {status} {self.said()}")

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(3)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        for stream in (self.child.stdin, self.child.stdout, self.errors):
            try:
                stream.close()
            except OSError:
                pass


class Spinners:
    """One busy loop of the lowest priority per processor, so that none falls asleep."""

    PROGRAM = (
        "import os,sys,time\n"
        "parent, until = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])\n"
        "while os.getppid() == parent and time.monotonic() < until:\n"
        "    for _ in range(100000): pass\n"
    )

    def __init__(self, wanted, seconds):
        self.arguments = [sys.executable, "-c", self.PROGRAM, str(os.getpid()), str(seconds)]
        self.wanted, self.running = wanted, []

    def __enter__(self):
        for cpu in sorted(os.sched_getaffinity(0)) if self.wanted else []:
            self.running.append(Process(self.arguments, cpus={cpu}, idle=True))
        if self.running:
            time.sleep(0.1)

    def __exit__(self, *_):
        for spinner in self.running:
            spinner.end()


class Others:
    """How many processors everything else on the machine kept busy meanwhile."""

    @staticmethod
    def busy():
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(n) for n in file.readline().split()[1:9]]
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        # All but idle and iowait. What the loopback device does in softirqs counts as our children's too.
        everyone = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
        return time.monotonic(), everyone - sum(u.ru_utime + u.ru_stime for u in own)

    def __enter__(self):
        self.processors = 0.0
        self.before = self.busy()
        return self

    def __exit__(self, *_):
        now, busy = self.busy()
        self.processors = max(0.0, round((busy - self.before[1]) / (now - self.before[0]), 2))


class Bench:
    def __init__(self, options, work):
        self.options = options
        self.ca = os.path.join(work, "ca.pem")
        self.cert = os.path.join(work, "cert.pem")
        self.key = os.path.join(work, "key.pem")
        # The driver and its peer on processors of their own: left free, the kernel now and then puts
        # both on one, which can double a ping-pong's rate or halve it.
        cpus = sorted(os.sched_getaffinity(0))
        self.peer_cpus = self.driver_cpus = None
        if options.pin != "none" and len(cpus) > 1:
            self.peer_cpus = {cpus[0]}
            if options.pin == "split":
                self.driver_cpus = set(cpus[1:])

    def make_certificate(self):
        """A throw-away authority and a server certificate from it, good for two days."""
        where = os.path.dirname(self.ca)
        ca_key, request, extensions = (os.path.join(where, n) for n in ("ca.key", "request.pem", "extensions"))
        with open(extensions, "w", encoding="ascii") as file:
            file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        for command in (
            ["req", "-x509", *new_key, "-keyout", ca_key, "-out", self.ca, "-days", "2", "-subj", "/CN=Benchmark CA",
             "-addext", "keyUsage=critical,keyCertSign"],
            ["req", *new_key, "-keyout", self.key, "-out", request, "-subj", "/CN=localhost"],
            ["x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2",
             "-extfile", extensions, "-out", self.cert],
        ):  # fmt: skip
            try:
                done = subprocess.run(["openssl", *command], capture_output=True, text=True, timeout=30)
            except FileNotFoundError:
                raise SystemExit("run.py: the TLS workloads need the command `openssl`") from None
            if done.returncode:
                raise SystemExit(f"run.py: openssl {command[0]} failed: {done.stderr.strip()}")

    def raw(self, program):
        return os.path.join(self.options.raw, program)

    def client(self, workload, command):
        seconds, tls = self.options.seconds, workload in TLS
        limit = seconds * 2 + 20
        peer = [self.raw("peer-server"), str(limit + 10)]
        if tls:
            peer += ["--cert", self.cert, "--key", self.key]
        with Process(peer, self.peer_cpus) as server:
            port = server.line(10)["tls_port" if tls else "port"]
            arguments = [workload, HOST, str(port), str(seconds)] + (["--ca", self.ca] if tls else [])
            with Process(command + arguments, self.driver_cpus) as driver:
                result = driver.line(limit)
                driver.wait(10)
        return result

    def server(self, workload, command):
        seconds = self.options.seconds
        limit = seconds * (4 if "idle" in workload else 2) + 40 + FILES.get(workload, 0) / 50
        os.environ.pop("BENCH_FILES", None)
        if workload in FILES:
            os.environ["BENCH_FILES"] = str(FILES[workload])
        with Process(command + ["serve", str(limit + 10)], self.driver_cpus) as driver:
            port = driver.line(20)["port"]
            load = [self.raw("peer-load"), workload, HOST, str(port), str(seconds), "--server-pid", str(driver.pid)]
            with Process(load, self.peer_cpus) as peer:
                result = peer.line(limit)
                peer.wait(10)
            driver.child.send_signal(signal.SIGTERM)
            result["server_cpu_seconds"] = driver.line(10).get("cpu_seconds")
            driver.wait(10)
        return result

    def calmest(self, measure, spin):
        """One measurement; with --calm, again while something else takes processors away."""
        best = None
        for attempt in range(self.options.calm + 1):
            with Others() as others, Spinners(spin, self.options.seconds * 4 + 120):
                result = measure()
            if not result.get("rate", 0) > 0:
                raise Failure(f"no rate in {json.dumps(result)}")
            result["others_cpus"], result["repeats"] = others.processors, attempt
            if not best or result["others_cpus"] < best["others_cpus"]:
                best = result
            if best["others_cpus"] <= 0.1:
                break
        best["repeats"] = attempt
        return best

    def run(self, workload, drivers):
        """Rounds of results, {driver: result or None}. The order turns, so that nobody is always first."""
        rounds = []
        measure = self.client if workload in CLIENT else self.server
        spin = self.options.spin == "all" or self.options.spin == "auto" and workload in PING_PONG
        for number in range(self.options.rounds):
            results = {}
            turn = number % len(drivers)
            for name, command in drivers[turn:] + drivers[:turn]:
                say(f"{workload} round {number + 1}/{self.options.rounds} {name}")
                try:
                    result = self.calmest(lambda: measure(workload, command), spin)
                except (Failure, KeyError) as error:
                    say(None)
                    print(f"run.py: {workload} {name}: {error}", file=sys.stderr)
                    result = None
                results[name] = result
            rounds.append(results)
        say(None)
        return rounds


def say(text):
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + (text or ""))
        sys.stderr.flush()


def values(rounds, name, key):
    return [r[name][key] for r in rounds if r[name] and r[name].get(key) is not None]


def short(x):
    if x >= 1e6:
        return f"{x / 1e6:.2f} M"
    if x >= 1e4:
        return f"{x / 1e3:.1f} k"
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}"


def summarize(rounds, name):
    rates = values(rounds, name, "rate")
    if not rates:
        return None
    summary = {"rounds": len(rates), "rate": statistics.median(rates), "rate_min": min(rates), "rate_max": max(rates)}
    ratios = [r[name]["rate"] / r[RAW]["rate"] for r in rounds if r[name] and r.get(RAW)]
    if ratios:
        summary.update(ratio=statistics.median(ratios), ratio_min=min(ratios), ratio_max=max(ratios))
    above = [r[name]["bytes_each"] - r[RAW]["bytes_each"] for r in rounds
             if name != RAW and r[name] and r.get(RAW) and "bytes_each" in r[name]]  # fmt: skip
    if above:
        summary["above"] = statistics.median(above)
    for key in ("cpu_us_per_message", "p50_us", "mb_per_s", "alone_rate", "idle_ratio"):
        found = values(rounds, name, key)
        if found:
            summary[key] = statistics.median(found)
    return summary


def row(workload, name, s):
    if not s:
        return f"| {workload} | {name} | failed | | | | |"
    notes = []
    if workload == "s3":
        notes.append(f"{s['mb_per_s']:,.0f} MB/s")
    if "above" in s:
        notes.append(f"{s['above']:+,.0f} B beside raw lws")
    if "idle_ratio" in s:
        notes.append(f"{s['idle_ratio']:.2f} of {short(s['alone_rate'])} without them")
    ratio = f"**{s['ratio']:.2f}** [{s['ratio_min']:.2f}–{s['ratio_max']:.2f}]" if "ratio" in s and name != RAW else "1"
    cpu = f"{s['cpu_us_per_message']:.3g}" if "cpu_us_per_message" in s else ""
    p50 = f"{s['p50_us']:.1f}" if "p50_us" in s else ""
    rate = f"{short(s['rate'])} [{short(s['rate_min'])}–{short(s['rate_max'])}]"
    return f"| {workload} | {name} | {rate} | {ratio} | {cpu} | {p50} | {', '.join(notes)} |"


def machine():
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((l.partition(":")[2].strip() for l in file if l.startswith("model name")), model)
    except OSError:
        pass
    return f"{len(os.sched_getaffinity(0))} × {model}, Linux {platform.release()}"


def driver(text):
    """NAME[:w1,w2]=COMMAND"""
    name, equals, command = text.partition("=")
    name, colon, only = name.partition(":")
    command = shlex.split(command)
    only = set(only.split(",")) if colon else set(CLIENT) | set(SERVER)
    unknown = only - set(CLIENT) - set(SERVER)
    if not (name and equals and command):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND")
    if unknown:
        raise argparse.ArgumentTypeError(f"no workload {', '.join(sorted(unknown))}")
    if name == RAW:
        raise argparse.ArgumentTypeError(f"the name {RAW!r} is taken")
    if not shutil.which(command[0]):
        raise argparse.ArgumentTypeError(f"cannot run {command[0]}")
    return name, command, only


def parse():
    here = os.path.dirname(os.path.abspath(__file__))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--client", action="append", default=[], type=driver, metavar="NAME=COMMAND", help="a client driver")
    p.add_argument("--server", action="append", default=[], type=driver, metavar="NAME=COMMAND", help="a server driver")
    p.add_argument("--raw", default=os.path.join(here, "raw"), metavar="DIR", help="where the C programs are built")
    p.add_argument("--workloads", metavar="LIST", default=",".join([*CLIENT, *SERVER]), help="default: %(default)s")
    p.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    p.add_argument("--seconds", type=float, default=2, help="for each measurement; default: %(default)g")
    p.add_argument("--spin", choices=("auto", "all", "none"), default="auto",
                   help="keep processors awake with spinners of the lowest priority; auto: for ping-pong")  # fmt: skip
    p.add_argument("--pin", choices=("split", "peer", "none"), default="split",
                   help="split: peer on the first processor, driver on the others; peer: only the peer is pinned")  # fmt: skip
    p.add_argument("--calm", type=int, default=0, metavar="TRIES",
                   help="repeat a measurement up to TRIES times while other processes keep more than a tenth "
                        "of a processor busy, and keep the calmest; default: %(default)s")  # fmt: skip
    p.add_argument("--json", metavar="FILE", help="write the raw numbers there")
    options = p.parse_args()
    options.workloads = [w for w in options.workloads.split(",") if w]
    for w in options.workloads:
        if w not in CLIENT and w not in SERVER:
            p.error(f"no workload {w}; there are {', '.join([*CLIENT, *SERVER])}")
    if not options.workloads or options.rounds < 1 or not 0 < options.seconds <= 60:
        p.error("needs a workload, a round, and 0 to 60 seconds")
    for drivers in (options.client, options.server):
        names = [name for name, _, _ in drivers]
        if len(names) != len(set(names)):
            p.error("every driver needs a name of its own")
    for program in ("lws-client", "lws-server", "peer-server", "peer-load"):
        if not os.access(os.path.join(options.raw, program), os.X_OK):
            p.error(f"{program} is not built in {options.raw}: make -C {os.path.relpath(os.path.join(here, 'raw'))}")
    return options


def main():
    options = parse()
    # Ended from outside, the children still have to be ended: let the context managers run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.strftime("%Y-%m-%d %H:%M")
    results, summaries, complete = {}, {}, True

    print(f"{machine()}; medians of {options.rounds} interleaved rounds of {options.seconds:g} s [min–max]; "
          f"× is the median of the per-round ratios to raw C libwebsockets "
          f"(pinning: {options.pin}, spinners: {options.spin}).\n")  # fmt: skip
    print("| workload | driver | messages/s | × | CPU µs/message | p50 µs | |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        bench = Bench(options, work)
        if TLS & set(options.workloads):
            bench.make_certificate()
        for workload in options.workloads:
            others, raw = (options.client, "lws-client") if workload in CLIENT else (options.server, "lws-server")
            drivers = [(RAW, [bench.raw(raw)])]
            drivers += [(name, command) for name, command, only in others if workload in only]
            rounds = bench.run(workload, drivers)
            results[workload] = rounds
            summaries[workload] = {name: summarize(rounds, name) for name, _ in drivers}
            for name, summary in summaries[workload].items():
                print(row(workload, name, summary), flush=True)
                complete &= bool(summary) and summary["rounds"] == options.rounds

    print("\n" + "; ".join(f"{w}: {(CLIENT | SERVER)[w]}" for w in options.workloads) + ".")
    found = [r for rounds in results.values() for one in rounds for r in one.values() if r]
    if found:
        others = [r["others_cpus"] for r in found]
        print(f"\nOther processes kept {statistics.median(others):.2f} processors busy meanwhile "
              f"[{min(others):.2f}–{max(others):.2f}]; {len(found)} measurements were kept, "
              f"{sum(r['repeats'] for r in found)} were repeated.")  # fmt: skip
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"started": started, "machine": machine(), "rounds": options.rounds, "seconds": options.seconds,
                       "pin": options.pin, "spin": options.spin, "summary": summaries, "results": results},
                      file, indent=1, ensure_ascii=False)  # fmt: skip
            file.write("\n")
    return 0 if complete else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
