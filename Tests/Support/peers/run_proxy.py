#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a proxy on a free port of the loopback interface.

  run_proxy.py tinyproxy DIRECTORY [USER PASSWORD]    HTTP CONNECT
  run_proxy.py microsocks DIRECTORY [USER PASSWORD]   SOCKS 5

Prints {"port": N} as its first line, when the proxy accepts connections. Ends, and the proxy with it, on SIGTERM or on
end of input. Files go to DIRECTORY, which nobody else may use.
"""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

PATIENCE = 30

TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Timeout 600
MaxClients 100
LogFile "{directory}/tinyproxy.log"
PidFile "{directory}/tinyproxy.pid"
{authentication}
"""


def command(kind: str, port: int, directory: pathlib.Path, credentials: list[str]) -> list[str]:
    if kind == "microsocks":
        authentication = ["-u", credentials[0], "-P", credentials[1]] if credentials else []
        return ["microsocks", "-i", "127.0.0.1", "-p", str(port), *authentication]
    configuration = directory / "tinyproxy.conf"
    authentication = f"BasicAuth {credentials[0]} {credentials[1]}" if credentials else ""
    # Without ConnectPort lines it connects to any port.
    configuration.write_text(TINYPROXY.format(port=port, directory=directory, authentication=authentication))
    return ["tinyproxy", "-d", "-c", str(configuration)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def owned_sockets(process: subprocess.Popen) -> set[str]:
    links = set()
    for entry in pathlib.Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            links.add(str(entry.readlink()))
        except OSError:
            pass
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def listens(process: subprocess.Popen, port: int) -> bool:
    """Whether it is this process that listens there, not somebody who took the port in between."""
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            return fields[9] in owned_sockets(process)
    return False


def start(kind: str, directory: pathlib.Path, credentials: list[str]) -> tuple[subprocess.Popen, int]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        port = free_port()
        log = open(directory / "output.log", "ab")
        process = subprocess.Popen(
            command(kind, port, directory, credentials), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while process.poll() is None and time.monotonic() < deadline:
            if listens(process, port):
                return process, port
            time.sleep(0.01)
        process.kill()
    sys.exit(f"{kind} does not start:\n{(directory / 'output.log').read_text()}")


def main() -> None:
    kind, directory, *credentials = sys.argv[1:]
    if kind not in ("tinyproxy", "microsocks") or len(credentials) not in (0, 2):
        sys.exit(__doc__)
    process, port = start(kind, pathlib.Path(directory), credentials)
    signal.signal(signal.SIGTERM, lambda number, frame: process.kill())

    def end_with_input() -> None:
        sys.stdin.buffer.read()
        process.kill()

    threading.Thread(target=end_with_input, daemon=True).start()
    print(json.dumps({"port": port}), flush=True)
    process.wait()


if __name__ == "__main__":
    main()
