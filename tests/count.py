#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Turns a meson test log or a pytest junit file into "PASS name" / "FAIL name" lines.

usage: count.py meson|junit LABEL FILE
Skipped tests are reported on stderr and counted as neither. Exit 1: no results.
"""
import json
import sys
import xml.etree.ElementTree as ET


def from_meson(path):
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.strip():
                t = json.loads(line)
                yield t["name"], t["result"]


def from_junit(path):
    for case in ET.parse(path).iter("testcase"):
        name = "%s::%s" % (case.get("classname", "").replace("tests.e2e.", ""), case.get("name"))
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            yield name, "FAIL"
        elif "skipped" in kinds:
            yield name, "SKIP"
        else:
            yield name, "OK"


def main():
    kind, label, path = sys.argv[1:4]
    n = 0
    # A pytest case can appear twice (failure in the test, error in its teardown): the worse one counts.
    verdicts = {}
    for name, result in {"meson": from_meson, "junit": from_junit}[kind](path):
        bad = result not in ("OK", "EXPECTEDFAIL", "SKIP")
        if name not in verdicts or bad:
            verdicts[name] = "FAIL" if bad else ("SKIP" if result == "SKIP" else "PASS")
    for name, verdict in verdicts.items():
        n += 1
        if verdict == "SKIP":
            print("skipped: %s %s" % (label, name), file=sys.stderr)
        else:
            print("%s %s %s" % (verdict, label, name))
    return 0 if n else 1


if __name__ == "__main__":
    sys.exit(main())
