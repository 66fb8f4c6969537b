# SPDX-License-Identifier: Apache-2.0
"""Prepares symbol graphs for scripts/docs.

usage: symbols.py SYMBOLS PRODUCTS FACADE MODULE...

Puts the symbols of each MODULE, all of which FACADE exports, under FACADE's name, and the graphs of every product into
a folder of its own below PRODUCTS. Ends with 1 when a public symbol has no documentation.
"""

import json
import pathlib
import sys

symbols, products, facade, *inside = sys.argv[1:]

# By product and, of what a product adds to other modules' types, by that module.
graphs: dict[tuple[str, str], dict] = {}
undocumented = []
for path in sorted(pathlib.Path(symbols).glob("*.symbols.json")):
    graph = json.loads(path.read_text())
    undocumented += [
        f"{graph['module']['name']}: {'.'.join(symbol['pathComponents'])}"
        for symbol in graph["symbols"]
        if not symbol.get("docComment", {}).get("lines")
    ]
    # `A@B.symbols.json` is what A adds to types of B.
    module, _, extended = path.name.removesuffix(".symbols.json").partition("@")
    product = facade if module in inside else module
    extended = facade if extended in inside else extended
    graph["module"]["name"] = product
    key = (product, "" if extended == product else extended)
    if key in graphs:
        graphs[key]["symbols"] += graph["symbols"]
        graphs[key]["relationships"] += graph["relationships"]
    else:
        graphs[key] = graph

for (product, extended), graph in graphs.items():
    folder = pathlib.Path(products) / product
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{product}@{extended}" if extended else product
    (folder / f"{name}.symbols.json").write_text(json.dumps(graph))

for line in undocumented:
    print(f"no documentation: {line}", file=sys.stderr)
sys.exit(1 if undocumented else 0)
