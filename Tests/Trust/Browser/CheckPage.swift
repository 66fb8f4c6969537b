//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The page, whose `run()` gives a line for each check: `ok NAME`, or what is wrong.
enum CheckPage {
    static let html = #"""
        <!DOCTYPE html>
        <html lang="en"><head><meta charset="utf-8"><title>browser-check</title></head><body><script>
        "use strict";
        const scheme = location.protocol === "https:" ? "wss://" : "ws://";

        class Peer {
            constructor(path, protocols = [], host = location.host) {
                this.messages = [];
                this.waiting = [];
                this.socket = new WebSocket(scheme + host + path, protocols);
                this.socket.binaryType = "arraybuffer";
                this.socket.onmessage = event =>
                    this.waiting.length ? this.waiting.shift()(event.data) : this.messages.push(event.data);
                this.closed = new Promise(resolve => { this.socket.onclose = resolve; });
                this.opened = new Promise((resolve, reject) => {
                    this.socket.onopen = resolve;
                    this.closed.then(event => reject(new Error("closed with " + event.code + " instead")));
                });
                this.opened.catch(() => {});
            }
            next() {
                if (this.messages.length) return Promise.resolve(this.messages.shift());
                return Promise.race([
                    new Promise(resolve => this.waiting.push(resolve)),
                    this.closed.then(event => { throw new Error("closed with " + event.code); })]);
            }
            async echo(message) { this.socket.send(message); return this.next(); }
        }
        function same(got, wanted, what = "value") {
            if (got !== wanted) throw new Error(what + " is " + String(got).slice(0, 80) + ", not " + String(wanted).slice(0, 80));
        }
        function sameBytes(got, wanted) {
            got = new Uint8Array(got);
            same(got.length, wanted.length, "length");
            for (let index = 0; index < got.length; index++) same(got[index], wanted[index], "byte " + index);
        }
        function random(size) {
            const bytes = new Uint8Array(size);
            for (let at = 0; at < size; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
            return bytes;
        }
        async function closing(peer, code, reason, wasClean = true) {
            const event = await peer.closed;
            same(event.code, code, "code");
            same(event.reason, reason, "reason");
            same(event.wasClean, wasClean, "wasClean");
        }

        const checks = {
            async text() {
                const peer = new Peer("/echo");
                await peer.opened;
                for (const text of ["", "hello", "grüße 👋 \u0000 \u2028", "x".repeat(126), "é".repeat(400000)])
                    same(await peer.echo(text), text);
                peer.socket.close();
            },
            async binary() {
                const peer = new Peer("/echo");
                await peer.opened;
                for (const size of [0, 1, 125, 126, 127, 65535, 65536, 1 << 20]) {
                    const bytes = random(size);
                    sameBytes(await peer.echo(bytes), bytes);
                }
                const bytes = random(3000);
                sameBytes(await peer.echo(new Blob([bytes])), bytes);
                peer.socket.close();
            },
            async pipelined() {
                const peer = new Peer("/echo");
                await peer.opened;
                for (let number = 0; number < 1000; number++) peer.socket.send("message " + number);
                for (let number = 0; number < 1000; number++) same(await peer.next(), "message " + number);
                peer.socket.close();
            },
            async deflate() {
                const peer = new Peer("/echo");
                await peer.opened;
                if (!peer.socket.extensions.includes("permessage-deflate"))
                    throw new Error("the extensions are: " + peer.socket.extensions);
                // The window is kept from message to message.
                for (let turn = 0; turn < 50; turn++) {
                    const text = JSON.stringify({ turn, prices: Array(turn).fill(101.25) });
                    same(await peer.echo(text), text);
                }
                peer.socket.close();
            },
            async subprotocol() {
                const peer = new Peer("/echo", ["unknown", "chat"]);
                await peer.opened;
                same(peer.socket.protocol, "chat", "protocol");
                peer.socket.close();
                const none = new Peer("/echo");
                await none.opened;
                same(none.socket.protocol, "", "protocol");
                none.socket.close();
            },
            async closesOfTheServer() {
                for (const code of [1000, 1001, 1008, 1009, 1011, 1012, 3000, 4999])
                    await closing(new Peer("/close/" + code), code, "because " + code);
            },
            async closesOfThePage() {
                const closes = [[], [1000, "done"], [3000], [4999, "grüße 👋"]];
                for (const close of closes) {
                    const peer = new Peer("/closed");
                    await peer.opened;
                    peer.socket.close(...close);
                    // The server answers with the code (RFC 6455 §5.5.1) and has no reason of its own.
                    await closing(peer, close[0] ?? 1005, "");
                }
            },
            async messageTooBig() {
                const peer = new Peer("/small");
                await peer.opened;
                peer.socket.send("x".repeat(101));
                same((await peer.closed).code, 1009, "code");
            },
            async pushed() {
                const peer = new Peer("/push");
                same(await peer.next(), "first");
                same(await peer.next(), "one message in parts");
                for (let number = 0; number < 2000; number++) {
                    const bytes = new Uint8Array(await peer.next());
                    same(bytes.length, 1024, "length");
                    same(bytes[0] * 256 + bytes[1], number, "number");
                }
                await closing(peer, 1000, "");
            },
            async refusals() {
                for (const path of ["/refused", "/nowhere"]) same((await new Peer(path).closed).code, 1006, path);
                // The same server by another name: for the browser and for the rule on origins another site.
                same((await new Peer("/echo", [], "localhost:" + location.port).closed).code, 1006, "other origin");
                // A browser takes no connection that answers none of its subprotocols.
                same((await new Peer("/echo", ["unknown"]).closed).code, 1006, "unknown subprotocol");
            },
            async many() {
                const peers = Array.from({ length: 50 }, () => new Peer("/echo"));
                await Promise.all(peers.map(peer => peer.opened));
                await Promise.all(peers.map(async (peer, index) => {
                    for (let turn = 0; turn < 10; turn++) same(await peer.echo(index + " " + turn), index + " " + turn);
                    peer.socket.close();
                    await closing(peer, 1005, "");
                }));
            },
        };

        async function run() {
            const lines = [];
            for (const [name, check] of Object.entries(checks)) {
                let timer;
                const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("takes too long")), 30000); });
                try {
                    await Promise.race([check(), late]);
                    lines.push("ok " + name);
                } catch (error) {
                    lines.push("NOT ok " + name + ": " + error.message);
                }
                clearTimeout(timer);
            }
            return lines;
        }
        // One connection is left for the server's end.
        let last;
        async function wait() { last = new Peer("/last"); return last.next(); }
        async function end() { return (await last.closed).code; }
        </script></body></html>

        """#
}
