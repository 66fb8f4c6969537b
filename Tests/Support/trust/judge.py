#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts what of catalogue.json holds, by the results of a run of the tests in xunit's format.

An entry holds when it names tests, all of them ran and passed, and nothing of it is said to be missing. The exit
code is 1 when a named test does not exist or when fewer entries of a section hold than its floor.
"""

import argparse
import json
import pathlib
import sys
import xml.etree.ElementTree

MOMENTS = ("before", "during", "after", "twice")
TITLES = {
    "faults": "faults survived",
    "cancellation": "points of cancellation",
    "security": "security rules",
    "vulnerabilities": "classes of vulnerabilities",
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
                    f"{row['id']} {row.get('fault') or row.get('rule') or row.get('after')}",
                    row.get("tests", []),
                    row.get("missing", "" if "tests" in row else "no test"),
                )
                for row in rows
            ]
    return result


def outcomes(path: pathlib.Path) -> dict[str, bool]:
    """`Suite.function` to whether it passed, in each module that has one of that name."""
    result: dict[str, bool] = {}
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        suite = case.get("classname", "").split(".")[-1].split("/")[-1]
        name = f"{suite}.{case.get('name', '').split('(')[0]}"
        passed = case.find("failure") is None and case.find("error") is None and case.find("skipped") is None
        result[name] = result.get(name, True) and passed
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path, nargs="?", help="the xunit file")
    parser.add_argument("--missing", action="store_true", help="also print what does not hold")
    parser.add_argument("--print-filter", action="store_true", help="print a filter for the tests that are named")
    options = parser.parse_args()

    catalogue = json.loads(pathlib.Path(__file__).with_name("catalogue.json").read_text())
    sections = entries(catalogue)
    if options.print_filter:
        suites = sorted({test.split(".")[0] for rows in sections.values() for _, tests, _ in rows for test in tests})
        print(r"\.(" + "|".join(suites) + r")/")
        return 0
    if options.results is None:
        parser.error("the results are missing")

    passed = outcomes(options.results)
    code = 0
    held: dict[str, int] = {}
    for section, rows in sections.items():
        held[section] = 0
        for name, tests, missing in rows:
            unknown = [test for test in tests if test not in passed]
            failed = [test for test in tests if not passed.get(test, True)]
            if unknown:
                print(f"{name}: there is no test {', '.join(unknown)}")
                code = 1
            if failed:
                print(f"{name}: failed: {', '.join(failed)}")
            if tests and not unknown and not failed and not missing:
                held[section] += 1
            elif options.missing and missing:
                print(f"{name}: {missing}")
        floor = catalogue[section]["floor"]
        print(f"{TITLES[section]}: {held[section]} of {len(rows)}")
        if held[section] < floor:
            print(f"{TITLES[section]}: {floor} were reached before")
            code = 1
    both = ("faults", "cancellation")
    print(f"survived {sum(held[s] for s in both)} of {sum(len(sections[s]) for s in both)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
