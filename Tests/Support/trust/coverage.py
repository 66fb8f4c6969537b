#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads `llvm-cov export -summary-only` and prints the lines covered, per target and per state machine."""

import collections
import json
import pathlib
import sys

# Values without I/O, clock or task: what every transition of can be tested of.
MACHINES = (
    "WebSocketPool/StateMachine/",
    "WebSocketCore/Connection/",
    "WebSocketCore/Session/",
)


def main() -> int:
    sources = pathlib.Path(sys.argv[1])
    targets: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    machines: list[tuple[str, int, int]] = []
    for entry in json.load(sys.stdin)["data"][0]["files"]:
        path = pathlib.Path(entry["filename"])
        if not path.is_relative_to(sources):
            continue
        name = str(path.relative_to(sources))
        lines = entry["summary"]["lines"]
        target = targets[name.split("/")[0]]
        target[0] += lines["covered"]
        target[1] += lines["count"]
        if name.startswith(MACHINES):
            machines.append((name, lines["covered"], lines["count"]))

    def line(name: str, covered: int, count: int) -> str:
        return f"{100 * covered / max(1, count):6.1f} %  {covered:5} of {count:5}  {name}"

    for name, covered, count in sorted(machines):
        print(line(name, covered, count))
    total = [sum(machine[index] for machine in machines) for index in (1, 2)]
    print(line("all state machines", *total))
    print()
    for name, (covered, count) in sorted(targets.items()):
        print(line(name, covered, count))
    print(line("all targets", *[sum(target[index] for target in targets.values()) for index in (0, 1)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
