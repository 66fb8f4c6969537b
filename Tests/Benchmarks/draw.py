#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# This file is part of the swift-libwebsockets open source project.

"""Draws what `run.py --json` measured: speed and memory, each for light and for dark pages.

    draw.py RESULTS.json... DIRECTORY

Writes DIRECTORY/{speed,memory}-{light,dark}.svg. Of several files with the same workload the last one counts. Speeds are
ratios to raw C libwebsockets in the same run on a logarithmic scale, so that twice as fast and half as fast are equally
long; a thin line spans the rounds.
"""

import html
import json
import math
import pathlib
import sys

LABELS = {
    "c1": "one message at a time",
    "c2": "64 in flight",
    "c3": "1 MiB messages",
    "c4": "100 connections",
    "c5": "flood of 64 B",
    "c7": "compressed",
    "c8": "connect and close",
    "s1b": "64 connections",
    "s1c": "512 connections",
    "s2": "64 × 16 in flight",
    "s3": "64 KiB messages",
    "s4": "broadcast to 200",
    "s5": "accept and close",
    "idle1000": "beside 1,000 idle",
    "c9": "idle client connection",
    "s6": "idle server connection",
}
SPEED = [("Client", ["c1", "c2", "c3", "c5", "c8"]), ("Server", ["s1b", "s2", "s3", "s4", "s5", "idle1000"])]
MEMORY = ["c9", "s6"]
DRIVERS = {"swift onMessage": "onMessage", "swift for await": "for await"}
RAW = "raw lws"
THEMES = {
    "light": {"text": "#1f2328", "muted": "#59636e", "grid": "#d1d9e0", "swift onMessage": "#c2410c",
              "swift for await": "#f59e0b", RAW: "#59636e"},
    "dark": {"text": "#f0f6fc", "muted": "#9198a1", "grid": "#3d444d", "swift onMessage": "#fb923c",
             "swift for await": "#fcd34d", RAW: "#9198a1"},
}  # fmt: skip
WIDTH, LEFT, RIGHT, ROW, BAR = 760, 190, 60, 34, 11


class Picture:
    def __init__(self, title, theme):
        self.title, self.colour, self.parts = title, THEMES[theme], []

    def text(self, x, y, text, colour="text", anchor="start", size=13, weight="normal"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{self.colour[colour]}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{html.escape(text)}</text>'
        )

    def bar(self, x, y, width, driver):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{BAR}" rx="2" fill="{self.colour[driver]}"/>'
        )

    def line(self, x1, y1, x2, y2, colour="grid", width=1.0):
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{self.colour[colour]}" '
            f'stroke-width="{width}"/>'
        )

    def legend(self, y, drivers):
        x = LEFT
        for driver, name in drivers:
            self.bar(x, y - BAR + 1, 18, driver)
            self.text(x + 24, y, name, size=12)
            x += 40 + 7.2 * len(name)

    def svg(self, height):
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
                f'height="{height:.0f}" role="img" font-family="system-ui, -apple-system, Segoe UI, sans-serif">',
                f"<title>{html.escape(self.title)}</title>",
                *self.parts,
                "</svg>\n",
            ]
        )


def speed(summary, theme):
    picture = Picture("Messages a second beside raw C libwebsockets", theme)
    rows = [(group, [w for w in found if w in summary]) for group, found in SPEED]
    ratios = [
        summary[w][d][bound] for _, found in rows for w in found for d in DRIVERS if summary[w].get(d)
        for bound in ("ratio_min", "ratio_max")
    ]  # fmt: skip
    lowest = 2 ** math.floor(math.log2(min(ratios + [0.5])))
    highest = 2 ** math.ceil(math.log2(max(ratios + [2])))
    scale = (WIDTH - LEFT - RIGHT) / math.log2(highest / lowest)

    def x(ratio):
        return LEFT + math.log2(ratio / lowest) * scale

    picture.text(16, 24, "Speed", weight="bold", size=15)
    picture.legend(24, [*DRIVERS.items()])
    picture.text(WIDTH - 16, 24, "× raw C libwebsockets", "muted", "end", 12)
    top, y = 58, 58
    for group, found in rows:
        picture.text(16, y + 6, group, "muted", size=12, weight="bold")
        y += 16
        for workload in found:
            picture.text(16, y + 15, LABELS[workload])
            drivers = [d for d in DRIVERS if summary[workload].get(d)]
            at = y + (ROW - 6 - len(drivers) * (BAR + 2)) / 2
            for driver in drivers:
                s = summary[workload][driver]
                begin, end = sorted((x(1), x(s["ratio"])))
                picture.bar(begin, at, end - begin, driver)
                picture.line(x(s["ratio_min"]), at + BAR / 2, x(s["ratio_max"]), at + BAR / 2, "muted")
                picture.text(x(s["ratio_max"]) + 5 if s["ratio"] >= 1 else max(x(1), x(s["ratio_max"])) + 5,
                             at + BAR - 1.5, f"{s['ratio']:.2f}", "muted", size=11)  # fmt: skip
                at += BAR + 2
            y += ROW
        y += 10
    grid, value = [], lowest
    while value <= highest:
        grid.append(f'<line x1="{x(value):.1f}" y1="{top - 14}" x2="{x(value):.1f}" y2="{y}" '
                    f'stroke="{picture.colour["text" if value == 1 else "grid"]}" stroke-width="{1.5 if value == 1 else 1}"/>')  # fmt: skip
        picture.text(x(value), y + 16, f"{value:g}×", "muted", "middle", 11)
        value *= 2
    picture.parts = grid + picture.parts
    return picture.svg(y + 28)


def memory(summary, theme):
    picture = Picture("Memory of an idle connection", theme)
    drivers = {RAW: "C libwebsockets", "swift for await": "Swift"}
    rows = [w for w in MEMORY if w in summary]
    largest = max(summary[w][d]["rate"] for w in rows for d in drivers if summary[w].get(d))
    step = 1024 * max(1, math.ceil(largest / 1024 / 5))
    scale = (WIDTH - LEFT - RIGHT) / (math.ceil(largest / step) * step)
    picture.text(16, 24, "Memory", weight="bold", size=15)
    picture.legend(24, [*drivers.items()])
    picture.text(WIDTH - 16, 24, "of the process, for each idle connection", "muted", "end", 12)
    y = 48
    for workload in rows:
        picture.text(16, y + 18, LABELS[workload])
        at = y + 2
        for driver in drivers:
            if s := summary[workload].get(driver):
                picture.bar(LEFT, at, s["rate"] * scale, driver)
                picture.text(LEFT + s["rate"] * scale + 6, at + BAR - 1.5, f"{s['rate'] / 1024:.1f} KiB", "muted", size=11)
                at += BAR + 2
        y += ROW
    value, grid = 0, []
    while value <= math.ceil(largest / step) * step:
        grid.append(f'<line x1="{LEFT + value * scale:.1f}" y1="40" x2="{LEFT + value * scale:.1f}" y2="{y}" '
                    f'stroke="{picture.colour["grid"]}"/>')  # fmt: skip
        picture.text(LEFT + value * scale, y + 16, f"{value // 1024} KiB", "muted", "middle", 11)
        value += step
    picture.parts = grid + picture.parts
    return picture.svg(y + 28)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    *files, directory = map(pathlib.Path, sys.argv[1:])
    summary = {}
    for file in files:
        summary |= json.loads(file.read_text(encoding="utf-8"))["summary"]
    directory.mkdir(parents=True, exist_ok=True)
    for theme in THEMES:
        (directory / f"speed-{theme}.svg").write_text(speed(summary, theme), encoding="utf-8")
        (directory / f"memory-{theme}.svg").write_text(memory(summary, theme), encoding="utf-8")


if __name__ == "__main__":
    main()
