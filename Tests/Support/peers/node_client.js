#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// Usage: node_client.js URL [--ca FILE] [--no-deflate] [--subprotocol NAME]... [--close CODE]
//
// Debian's node-ws as a client of an echo server: sends text and binary messages of many sizes, expects each back,
// closes, and prints one line of JSON: {"ok", "messages", "subprotocol", "extensions", "code", "reason", "error"}.
'use strict';
// Debian keeps node's modules where a node from elsewhere does not look.
module.paths.push('/usr/share/nodejs', '/usr/lib/nodejs');
const fs = require('fs');
const WebSocket = require('ws');

const [url, ...rest] = process.argv.slice(2);
const subprotocols = [];
const options = { perMessageDeflate: true, handshakeTimeout: 30000 };
let code = 1000;
while (rest.length > 0) {
    const option = rest.shift();
    if (option === '--ca') options.ca = fs.readFileSync(rest.shift());
    else if (option === '--no-deflate') options.perMessageDeflate = false;
    else if (option === '--subprotocol') subprotocols.push(rest.shift());
    else if (option === '--close') code = Number(rest.shift());
    else { console.error(`unknown option ${option}`); process.exit(64); }
}

const report = { ok: false, messages: 0, subprotocol: null, extensions: '', code: null, reason: '', error: null };
const sizes = [0, 1, 125, 126, 127, 1000, 65535, 65536, 200000];
const messages = sizes.flatMap((size) => [
    Array.from('é漢🙂x'.repeat(Math.ceil(size / 4))).slice(0, size).join(''), Buffer.alloc(size, size & 255),
]);
const socket = new WebSocket(url, subprotocols, options);

socket.on('open', () => {
    report.subprotocol = socket.protocol;
    report.extensions = socket.extensions;
    for (const message of messages) socket.send(message);
});
socket.on('message', (data, isBinary) => {
    const expected = messages[report.messages];
    const isSame = Buffer.isBuffer(expected)
        ? isBinary && data.equals(expected) : !isBinary && data.toString() === expected;
    if (!isSame) {
        report.error = `message ${report.messages} came back wrong`;
        socket.terminate();
        return;
    }
    report.messages += 1;
    if (report.messages === messages.length) {
        socket.ping();
        socket.once('pong', () => socket.close(code, 'bye'));
    }
});
socket.on('error', (error) => { report.error = String(error); });
socket.on('close', (received, reason) => {
    report.code = received;
    report.reason = reason.toString();
    report.ok = report.error === null && report.messages === messages.length;
    console.log(JSON.stringify(report));
});
