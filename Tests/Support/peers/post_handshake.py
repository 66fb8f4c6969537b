#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server in TLS 1.3 that asks for the client's certificate when the WebSocket is open (RFC 8446 section 4.6.2).

  post_handshake.py CERTIFICATE KEY AUTHORITY

It prints {"port": N}, serves one client, sends "who?", reads a message, and sends the common name that it knows then, or
"cannot ask" when the client has not offered this in its handshake. It ends with the connection.
"""

import base64
import hashlib
import json
import socket
import ssl
import struct
import sys

certificate, key, authority = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(certificate, key)
context.load_verify_locations(authority)
context.verify_mode = ssl.CERT_REQUIRED
context.post_handshake_auth = True


def read(peer: ssl.SSLSocket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def receive(peer: ssl.SSLSocket) -> tuple[int, bytes]:
    first, length = read(peer, 2)
    length &= 127
    assert length < 126
    mask = read(peer, 4)
    return first & 15, bytes(byte ^ mask[index % 4] for index, byte in enumerate(read(peer, length)))


def send(peer: ssl.SSLSocket, opcode: int, payload: bytes) -> None:
    peer.sendall(struct.pack("!BB", 128 | opcode, len(payload)) + payload)


listener = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
peer = context.wrap_socket(listener.accept()[0], server_side=True)
head = b""
while not head.endswith(b"\r\n\r\n"):
    head += read(peer, 1)
fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
accept = base64.b64encode(
    hashlib.sha1((fields["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
peer.sendall(
    f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    .encode())
assert not peer.getpeercert()
try:
    peer.verify_client_post_handshake()
    asked = True
except ssl.SSLError:
    asked = False
send(peer, 1, b"who?")
receive(peer)
name = "cannot ask"
if asked:
    name = dict(pair[0] for pair in peer.getpeercert()["subject"])["commonName"]
send(peer, 1, name.encode())
opcode, payload = receive(peer)
send(peer, opcode, payload)
try:
    peer.unwrap()
except (OSError, ssl.SSLError):
    pass
# Its end is the test's to say.
sys.stdin.read()
