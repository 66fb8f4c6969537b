//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The page of `wsx demo --web`.
///
/// One socket measures round trips, one at a time, every 50 ms; another keeps 64 messages of 1 KiB under way. Each byte
/// that comes back is compared. Every half a second becomes a point of the plots.
enum DemoPage {
    static let html = #"""
        <!DOCTYPE html>
        <html lang="en"><head><meta charset="utf-8"><title>wsx demo</title>
        <style>
        body { font-family: sans-serif; margin: 2em; max-width: 60em }
        canvas { width: 100%; height: 14em; border: 1px solid #ccc }
        td { padding-right: 2em } #wrong { font-weight: bold }
        </style></head>
        <body><h1>wsx demo</h1>
        <p>This browser and the server exchange messages over <code id="url"></code>. <span id="state">connecting</span></p>
        <table><tr><td>round trip <b id="latency">–</b></td><td>messages <b id="rate">–</b></td>
        <td>compared <b id="count">0</b></td><td>wrong <span id="wrong">0</span></td></tr></table>
        <h2>Round trip, milliseconds: median and greatest of each half second</h2><canvas id="latencies"></canvas>
        <h2>Messages of 1 KiB a second, there and back</h2><canvas id="rates"></canvas>
        <script>
        "use strict";
        const element = id => document.getElementById(id);
        const url = "wss://" + location.host + "/live";
        element("url").textContent = url;
        const points = { median: [], worst: [], rate: [] };
        let trips = [], messages = 0, compared = 0, wrong = 0;

        function plot(canvas, lines, unit) {
            const width = canvas.width = canvas.clientWidth, height = canvas.height = canvas.clientHeight;
            const context = canvas.getContext("2d"), top = Math.max(...lines.flatMap(line => line.values), 1e-9) * 1.1;
            for (const { values, color } of lines) {
                context.beginPath();
                context.strokeStyle = color;
                values.forEach((value, index) => {
                    const x = width * index / 119, y = height - height * value / top;
                    index ? context.lineTo(x, y) : context.moveTo(x, y);
                });
                context.stroke();
            }
            context.fillStyle = "#555";
            context.fillText(top.toPrecision(3) + unit, 4, 12);
        }
        function add(values, value) { values.push(value); if (values.length > 120) values.shift(); }
        function report(text) { element("state").textContent = text; }

        function measureTrips() {
            const socket = new WebSocket(url);
            let sent = 0, number = 0;
            const ping = () => { sent = performance.now(); socket.send(String(++number)); };
            socket.onopen = () => { report("connected"); ping(); };
            socket.onmessage = event => {
                trips.push(performance.now() - sent);
                compared++;
                if (event.data !== String(number)) wrong++;
                setTimeout(() => { if (socket.readyState === WebSocket.OPEN) ping(); }, 50);
            };
            socket.onclose = event => { report("closed with " + event.code); setTimeout(start, 1000); };
        }
        function measureRate() {
            const socket = new WebSocket(url);
            socket.binaryType = "arraybuffer";
            const waiting = [];
            let seed = 1;
            const send = () => {
                const message = new Uint8Array(1024).fill(seed++ & 255);
                waiting.push(message[0]);
                socket.send(message);
            };
            socket.onopen = () => { for (let count = 0; count < 64; count++) send(); };
            socket.onmessage = event => {
                const bytes = new Uint8Array(event.data), expected = waiting.shift();
                if (bytes.length !== 1024 || bytes.some(byte => byte !== expected)) wrong++;
                messages++;
                compared++;
                send();
            };
        }
        function start() { measureTrips(); measureRate(); }

        let last = performance.now();
        setInterval(() => {
            const now = performance.now(), sorted = trips.sort((a, b) => a - b);
            if (sorted.length) {
                add(points.median, sorted[sorted.length >> 1]);
                add(points.worst, sorted[sorted.length - 1]);
                element("latency").textContent = points.median.at(-1).toFixed(2) + " ms";
            }
            const rate = messages / (now - last) * 1000;
            add(points.rate, rate);
            element("rate").textContent = Math.round(rate) + "/s";
            element("count").textContent = compared;
            element("wrong").textContent = wrong;
            plot(element("latencies"), [
                { values: points.worst, color: "#e08214" }, { values: points.median, color: "#2166ac" }], " ms");
            plot(element("rates"), [{ values: points.rate, color: "#2166ac" }], "/s");
            [trips, messages, last] = [[], 0, now];
        }, 500);
        start();
        </script></body></html>

        """#
}
