# SPDX-License-Identifier: Apache-2.0
#
# What the scripts beside this file and in scripts/trust share. Sourced, never run.
# It sets `repository` (absolute path, computed) and `peers` (where test peers are installed).

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
peers=$repository/.build-peers
program=$(basename "$0")
# shellcheck disable=SC2034  # used by the scripts that source this file
readonly repository peers program

# The exit codes of sysexits.h that these scripts use; `wsx` uses the same ones.
# shellcheck disable=SC2034
readonly EX_USAGE=64 EX_UNAVAILABLE=69

# One line per step on standard output; complaints on standard error.
say() { printf '%s: %s\n' "$program" "$*"; }
complain() { printf '%s: %s\n' "$program" "$*" >&2; }

# fail CODE MESSAGE...
fail() {
    local code=$1
    shift
    complain "$@"
    exit "$code"
}

# The comment at the top of the calling script is its help.
help() {
    awk 'NR <= 2 { next } /^#/ { sub(/^# ?/, ""); if (started || $0 != "") { print; started = 1 }; next } { exit }' "$0"
}

usage_error() {
    complain "$@"
    complain "see: $program --help"
    exit "$EX_USAGE"
}

# Ends the script unless `swift` can be run.
require_swift() {
    command -v swift >/dev/null ||
        fail "$EX_UNAVAILABLE" "no 'swift' on PATH. Install Swift 6.3 or newer: https://www.swift.org/install/linux/"
}

# nested PACKAGE COMMAND...: `swift COMMAND...` for a package below Tests, or for Examples. They share a build directory and flags, so that
# the library is compiled for them once. The root's build directory would be no gain: SwiftPM deletes the dependencies in
# it that a nested package does not have, and the root compiles them again.
nested() {
    local package=$1 command=$2
    shift 2
    [[ $package == Examples ]] || package=Tests/$package
    swift "$command" --package-path "$package" --scratch-path .build-nested -Xswiftc -warnings-as-errors "$@"
}

# find_python MAJOR.MINOR MODULE...: prints the first Python 3 that is new enough and has all the modules.
find_python() {
    local minimum=$1 candidate check
    shift
    check="import sys, importlib
assert sys.version_info >= ($(printf '%s' "$minimum" | tr . ,))
for name in sys.argv[1:]: importlib.import_module(name)
print(sys.executable)"
    for candidate in python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        command -v "$candidate" >/dev/null || continue
        if "$candidate" -c "$check" "$@" 2>/dev/null; then return 0; fi
    done
    return 1
}
