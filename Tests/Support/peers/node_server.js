#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// Usage: node_server.js [CERTIFICATE KEY]
//
// Debian's node-ws as a server: echoes every message, chooses the subprotocol "chat", closes with 4001 "bye" when it gets
// the text "close", and pings when it gets "ping", to answer "ponged". It prints {"port": N} first and ends with its input.
'use strict';
// Debian keeps node's modules where a node from elsewhere does not look.
module.paths.push('/usr/share/nodejs', '/usr/lib/nodejs');
const fs = require('fs');
const http = require('http');
const https = require('https');
const { WebSocketServer } = require('ws');

const [certificate, key] = process.argv.slice(2);
const server = certificate
    ? https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }) : http.createServer();
const sockets = new WebSocketServer({
    server, perMessageDeflate: { threshold: 0 },
    handleProtocols: (protocols) => (protocols.has('chat') ? 'chat' : false),
});
sockets.on('connection', (socket) => {
    socket.on('error', () => socket.terminate());
    socket.on('message', (data, isBinary) => {
        const text = isBinary ? null : data.toString();
        if (text === 'close') socket.close(4001, 'bye');
        else if (text === 'ping') {
            socket.once('pong', (payload) => socket.send(`ponged ${payload}`));
            socket.ping('1');
            socket.ping('2');
        } else socket.send(data, { binary: isBinary });
    });
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
