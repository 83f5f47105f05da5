#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Reports the largest files and functions under src/ (a report, not a rule)."""
import re

from lint import files, read, strip


def functions(text):
    """(name, lines) for each function body: '{' in column 0 up to '}' in column 0."""
    lines = text.split("\n")
    start = None
    for i, line in enumerate(lines):
        if line.startswith("{") and start is None:
            start = i
        elif line.startswith("}") and start is not None:
            head = " ".join(lines[max(0, start - 4):start])
            names = re.findall(r"(\w+)\s*\(", head.rsplit("}", 1)[-1])
            if names:
                yield names[0], i - start + 1
            start = None


def main():
    sized, long = [], []
    for path in files(".", ".c", ".h", under=("src", "include", "bench")):
        text = strip(read(".", path))
        sized.append((text.count("\n"), path))
        long += [(n, "%s %s()" % (path, name)) for name, n in functions(text)]
    for n, what in sorted(sized, reverse=True)[:5] + sorted(long, reverse=True)[:7]:
        print("  %5d  %s" % (n, what))
    if sized:
        print("  %5d  lines in %d files, median %d" % (sum(n for n, _ in sized), len(sized), sorted(sized)[len(sized) // 2][0]))


if __name__ == "__main__":
    main()
