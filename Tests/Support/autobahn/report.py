#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges the report of an Autobahn run: counts per group, then every case that is not perfect.

A case is right when its behaviour and its way of closing are OK or informational. Any other outcome must
be in exceptions.json, with a number and a reason; otherwise, or when a case is missing, the exit code is 1.
"""

import argparse
import collections
import json
import pathlib
import sys

RIGHT = {"OK", "INFORMATIONAL"}


def natural(case: str) -> list[int]:
    return [int(part) for part in case.split(".")]


def group(case: str) -> str:
    parts = case.split(".")
    return ".".join(parts[:2]) if parts[0] in ("12", "13") else parts[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=pathlib.Path, help="index.json of the report")
    parser.add_argument("--role", required=True, choices=("server", "client"), help="what was tested")
    parser.add_argument("--cases", required=True, type=int, metavar="N", help="how many cases there must be")
    options = parser.parse_args()

    agents = json.loads(options.index.read_text())
    if len(agents) != 1:
        print(f"{options.role}: expected one agent in the report, found {sorted(agents)}")
        return 1
    cases = next(iter(agents.values()))
    exceptions = [
        entry
        for entry in json.loads(pathlib.Path(__file__).with_name("exceptions.json").read_text())
        if options.role in entry["roles"]
    ]

    groups: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    excused: list[str] = []
    wrong: list[str] = []
    used: set[tuple[int, str]] = set()
    for case in sorted(cases, key=natural):
        outcome = cases[case]
        behaviour, closing = outcome["behavior"], outcome["behaviorClose"]
        groups[group(case)][behaviour] += 1
        if behaviour in RIGHT and closing in RIGHT:
            continue
        line = f"{case}: {behaviour}, closing {closing}, {outcome['duration']} ms"
        for entry in exceptions:
            if case not in entry["cases"]:
                continue
            if behaviour in RIGHT | set(entry.get("behavior", ())) and closing in RIGHT | set(entry.get("close", ())):
                excused.append(f"{line} (exception {entry['number']}: {entry['reason']})")
                used.add((entry["number"], case))
                break
        else:
            wrong.append(line)

    total = sum(groups.values(), collections.Counter())
    for name in sorted(groups, key=natural):
        print(f"  {name:<6}" + ", ".join(f"{count} {outcome}" for outcome, count in groups[name].most_common()))
    for line in excused:
        print(f"  excused  {line}")
    for line in wrong:
        print(f"  WRONG    {line}")
    for entry in exceptions:
        idle = [case for case in entry["cases"] if case in cases and (entry["number"], case) not in used]
        if idle:
            print(f"  exception {entry['number']} was not needed for {', '.join(idle)}")
    if len(cases) != options.cases:
        wrong.append("cases are missing")
        print(f"  WRONG    {len(cases)} cases in the report, expected {options.cases}")
    counts = ", ".join(f"{count} {outcome}" for outcome, count in total.most_common())
    print(f"{options.role}: {len(cases)} cases: {counts}; {len(excused)} excused, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
