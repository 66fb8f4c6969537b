# SPDX-License-Identifier: Apache-2.0
#
# Usage: idle.py WSX COUNT: see scripts/trust/idle.
import json, select, signal, socket, statistics, subprocess, sys, time

binary, count = sys.argv[1], int(sys.argv[2])
REQUEST = (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
FRAME = b"\x81\x82\0\0\0\0hi"
ECHO = b"\x81\x02hi"
BATCH = 200
DEADLINE = 120


def memory(process):
    with open(f"/proc/{process}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


def connect(port, number):
    """Several at a time: they are sent together and then answered together."""
    sockets = []
    for _ in range(number):
        sockets.append(socket.create_connection(("127.0.0.1", port)))
        sockets[-1].sendall(REQUEST)
    for one in sockets:
        one.settimeout(DEADLINE)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            part = one.recv(4096)
            assert part, f"the server answered {head!r} and closed"
            head += part
        assert head.startswith(b"HTTP/1.1 101 "), head
    return sockets


server = subprocess.Popen(
    [binary, "listen", "--no-deflate", "--max-connections", str(min(count + 100, 16000))], stdout=subprocess.PIPE, text=True)
try:
    port = int(server.stdout.readline().rsplit(":", 1)[1])
    sockets = connect(port, 10)  # what the first ones cost is not a connection's price
    before = memory(server.pid)
    began = time.monotonic()
    while len(sockets) < count:
        sockets += connect(port, min(BATCH, count - len(sockets)))
    connected = time.monotonic() - began
    after = memory(server.pid)

    times = []
    for _ in range(200):
        start = time.perf_counter()
        sockets[0].sendall(FRAME)
        received = b""
        while len(received) < len(ECHO):
            received += sockets[0].recv(64)
        times.append(time.perf_counter() - start)
        assert received == ECHO, received

    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    poll = select.poll()
    open_sockets = {one.fileno(): one for one in sockets}
    for descriptor in open_sockets:
        poll.register(descriptor, select.POLLIN)
    while open_sockets:
        assert time.monotonic() - began < DEADLINE, f"{len(open_sockets)} connections are still open"
        for descriptor, _ in poll.poll(1000):
            one = open_sockets[descriptor]
            if b"\x88" in one.recv(64):
                one.sendall(b"\x88\x82\0\0\0\0\x03\xe9")  # the answer to 1001
            else:
                poll.unregister(descriptor)
                open_sockets.pop(descriptor).close()
    closed = time.monotonic() - began
    server.wait(timeout=DEADLINE)
finally:
    server.kill()
    server.wait()

print(json.dumps({
    "connections": count, "bytesPerConnection": round((after - before) / max(1, count - 10)),
    "connectSeconds": round(connected, 2), "echoMicroseconds": round(statistics.median(times) * 1e6, 1),
    "closeSeconds": round(closed, 2), "exitCode": server.returncode,
}))
