#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts what of catalogue.json holds, by the results of a run of the tests in xunit's format.

An entry holds when it names tests, all of them ran and passed, and nothing of it is said to be missing. What
scripts/trust/system-faults could not run on this machine is named and not counted. The exit code is 1 when a named test does not exist or when fewer entries of a section hold
than its floor.
"""

import argparse
import json
import pathlib
import sys
import xml.etree.ElementTree

MOMENTS = ("before", "during", "after", "twice")
# Not a suite: the cases of scripts/trust/system-faults.
SYSTEM = "SystemFaults"
TITLES = {
    "faults": "faults survived",
    "cancellation": "points of cancellation",
    "security": "security rules",
    "vulnerabilities": "classes of vulnerabilities",
    "field": "field reports",
}


def entries(catalogue: dict) -> dict[str, list[tuple[str, list[str], str]]]:
    """For each section its entries: a name, the tests, and what is missing."""
    result: dict[str, list[tuple[str, list[str], str]]] = {}
    for section in TITLES:
        rows = catalogue[section]["rows"]
        if section == "cancellation":
            result[section] = [
                (f"K {row['point']}, {moment}", row.get(moment, []), "" if moment in row else row.get("missing", "no test"))
                for row in rows
                for moment in MOMENTS
            ]
        else:
            result[section] = [
                (
                    f"{row['id']} {row.get('fault') or row.get('rule') or row.get('after') or row['report']}",
                    row.get("tests", []),
                    row.get("missing", "" if "tests" in row else "no test"),
                )
                for row in rows
            ]
    return result


def outcomes(paths: list[pathlib.Path]) -> tuple[dict[str, bool], dict[str, str]]:
    """`Suite.function` to whether it passed, in each module that has one of that name; and why some could not run."""
    result: dict[str, bool] = {}
    impossible: dict[str, str] = {}
    for path in paths:
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            suite = case.get("classname", "").split(".")[-1].split("/")[-1]
            name = f"{suite}.{case.get('name', '').split('(')[0]}"
            skipped = case.find("skipped")
            if suite == SYSTEM and skipped is not None:
                impossible[name] = skipped.get("message", "")
            passed = case.find("failure") is None and case.find("error") is None and skipped is None
            result[name] = result.get(name, True) and passed
    return result, impossible


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, nargs="*", help="the xunit files")
    parser.add_argument("--missing", action="store_true", help="also print what does not hold")
    parser.add_argument("--print-filter", action="store_true", help="print a filter for the tests that are named")
    options = parser.parse_args()

    catalogue = json.loads(pathlib.Path(__file__).with_name("catalogue.json").read_text())
    sections = entries(catalogue)
    if options.print_filter:
        suites = sorted({test.split(".")[0] for rows in sections.values() for _, tests, _ in rows for test in tests})
        suites.remove(SYSTEM)
        print(r"\.(" + "|".join(suites) + r")/")
        return 0
    if not options.results:
        parser.error("the results are missing")

    passed, impossible = outcomes(options.results)
    code = 0
    held: dict[str, int] = {}
    for section, rows in sections.items():
        held[section] = 0
        unrun = 0
        for name, tests, missing in rows:
            unknown = [test for test in tests if test not in passed]
            cannot = [impossible[test] for test in tests if test in impossible]
            failed = [test for test in tests if not passed.get(test, True) and test not in impossible]
            if unknown:
                print(f"{name}: there is no test {', '.join(unknown)}")
                code = 1
            if failed:
                print(f"{name}: failed: {', '.join(failed)}")
            if cannot:
                # Said each time, and not counted; only the floor does not hold it against this machine.
                print(f"{name}: NOT RUN here: {cannot[0]}")
                unrun += not failed
            elif tests and not unknown and not failed and not missing:
                held[section] += 1
            elif options.missing and missing:
                print(f"{name}: {missing}")
        floor = catalogue[section]["floor"]
        print(f"{TITLES[section]}: {held[section]} of {len(rows)}")
        if held[section] + unrun < floor:
            print(f"{TITLES[section]}: {floor} were reached before")
            code = 1
    both = ("faults", "cancellation")
    print(f"survived {sum(held[s] for s in both)} of {sum(len(sections[s]) for s in both)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
