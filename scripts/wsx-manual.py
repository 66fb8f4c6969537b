#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the manual page wsx(1) from what the command says of itself.

usage: wsx --experimental-dump-help | wsx-manual.py VERSION
"""

import json
import re
import sys


def escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def spelled(argument: dict) -> str:
    names = [("-" if name["kind"] == "short" else "--") + name["name"] for name in argument.get("names", [])]
    value = argument.get("valueName", "value")
    if argument["kind"] == "positional":
        return f"\\fI{escape(value)}\\fR" + (" ..." if argument.get("isRepeating") else "")
    text = ", ".join(f"\\fB{escape(name)}\\fR" for name in names)
    return f"{text} \\fI{escape(value)}\\fR" if argument["kind"] == "option" else text


def prose(text: str) -> list[str]:
    """Paragraphs; lines with columns, and those that are indented, stay as they are."""
    lines = []
    for block in re.split(r"\n\s*\n", text.strip()) if text.strip() else []:
        if re.search(r"\S {2,}\S|^ ", block, flags=re.MULTILINE):
            lines += [".PP", ".nf", escape(block), ".fi"]
        else:
            lines += [".PP", escape(block)]
    return lines


def described(command: dict, path: list[str]) -> list[str]:
    shown = [a for a in command.get("arguments", []) if a.get("shouldDisplay", True)]
    own = [a for a in shown if a.get("names", [{}])[0].get("name") not in ("h", "help", "version", "generate-completion-script")]
    places = " ".join(spelled(a) if not a["isOptional"] else f"[{spelled(a)}]" for a in own if a["kind"] == "positional")
    lines = [f'.SH "{escape(" ".join(path[1:]).upper())}"']
    lines += [f"\\fB{escape(' '.join(path))}\\fR " + ("[\\fIoptions\\fR] " if own else "") + places]
    lines += [".PP", escape(command["abstract"])]
    # The codes are the same everywhere, and stand once at the top.
    lines += prose(re.sub(r"\n*Exit codes:\n(  .*\n?)+", "\n\n", command.get("discussion", "")))
    for argument in own:
        default = f" Default: {argument['defaultValue']}." if argument.get("defaultValue") else ""
        choices = f" One of {', '.join(argument['allValues'])}." if argument.get("allValues") else ""
        lines += [".TP", spelled(argument), escape((argument.get("abstract") or "") + choices + default)]
    return lines


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    wsx = json.load(sys.stdin)["command"]
    lines = [f'.TH WSX 1 "" "wsx {sys.argv[1]}" "User Commands"', ".SH NAME", f"wsx \\- {escape(wsx['abstract'])}"]
    lines += [".SH SYNOPSIS", "\\fBwsx\\fR \\fIcommand\\fR [\\fIoptions\\fR]", ".SH DESCRIPTION", *prose(wsx["discussion"])]
    for command in wsx["subcommands"]:
        if not command.get("shouldDisplay", True) or command["commandName"] == "help":
            continue
        nested = [c for c in command.get("subcommands", []) if c.get("shouldDisplay", True) and c["commandName"] != "help"]
        for path, each in [([command["commandName"], c["commandName"]], c) for c in nested] or [([command["commandName"]], command)]:
            lines += described(each, ["wsx", *path])
    print("\n".join(lines))


if __name__ == "__main__":
    main()
