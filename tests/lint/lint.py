#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The house rules that a program can check.

Every rule collects its hits from a tree and fails if there is any. Every rule also
has a planted violation (PLANTS): the rule has to find it in a made-up tree, and has
to pass the same tree without it, so a rule that quietly stopped looking is noticed.

usage: lint.py RESULTS [ROOT]    RESULTS gets "PASS lint ..." / "FAIL lint ..." lines
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Bottom-up; a room may include the doors of the rooms before it, and its own. "pure"
# stands for the doors that hold plain data and pure functions only: the board carries
# that data, so they stand below it.
ROOMS = ["core", "config", "telemetry", "pure", "route", "degrade", "board", "crypt", "net", "http2",
         "redis", "datacenter", "cache", "control", "exchange", "admin"]

# Which room's door a header is. Doors not listed are named like their room.
DOORS = {"arena": "core", "buf": "core", "clock": "core", "fault": "core", "list": "core", "log": "core",
         "proc": "core", "conf": "config", "yaml": "config", "h2": "http2", "dc": "pure", "dc_pool": "datacenter",
         "dc_probe": "datacenter"}

# A third-party header is seen only in these rooms.
THIRD_PARTY = [
    (r"nghttp2/", {"http2"}),
    (r"hiredis/", {"redis"}),
    (r"libfyaml", {"config"}),
    (r"openssl/", {"net", "crypt"}),
    (r"event2/(http|keyvalq_struct)", {"admin"}),
    (r"event2/(dns|util)", {"net", "admin"}),
    (r"event2/|event\.h|evhttp\.h", {"net", "admin"}),
    (r"jansson", {"control", "admin", "config", "ctl"}),
    (r"zlib\.h", {"cache"}),
    (r"cmocka", set()),
]

# The pure library links with nothing: these may be the only undefined symbols.
PURE_FILES = ["src/route/", "src/degrade/", "src/datacenter/health.c", "src/datacenter/pick.c", "src/cache/rules.c"]
PURE_SYMBOLS = re.compile(
    r"^(mem(cpy|move|set|cmp|chr|rchr|mem)|str(n?len|n?cmp|n?casecmp|r?chr|spn|cspn)|__stack_chk_fail|__(asan|ubsan|sanitizer)\w*|"
    r"_GLOBAL_OFFSET_TABLE_|__mem\w+_chk|exp|log|pow|cbrt|sqrt|fmax|fmin|floor|ceil|round|lround|llround)$")

BANNED = re.compile(r"(?<![\w.>])(strcpy|strcat|strncat|sprintf|vsprintf|gets|strtok|system|popen|alloca|"
                    r"rand|srand|random|sleep|usleep|nanosleep|gethostbyname|getaddrinfo|asctime|ctime|gmtime|localtime|"
                    r"setjmp|longjmp|tmpnam|mktemp)\s*\(")
# Where a banned call is meant, and why.
BANNED_FINE = {
    ("src/ctl/", "getaddrinfo"): "a command that runs once may wait for a name",
}

MACHINE_PATHS = re.compile(r"/(?:work|root|home/\w+|Users/\w+)/\w|(?:registry\.npmjs|pypi|deb\.debian)\.org")
TEXT = (".c", ".h", ".def", ".py", ".mjs", ".js", ".sh", ".md", ".yaml", ".yml", ".build", ".txt", ".json", ".cases", ".css",
        ".html", ".scd", ".conf", "")


def files(root, *suffixes, under=("src", "include", "bench", "tests", "config", "docs", ".ci")):
    """Paths relative to root, sorted; hidden and build folders left out."""
    out = []
    for top in under:
        for folder, dirs, names in os.walk(os.path.join(root, top)):
            dirs[:] = sorted(d for d in dirs if d not in ("__pycache__", "node_modules", ".pytest_cache", "corpus"))
            for name in sorted(names):
                if not suffixes or os.path.splitext(name)[1] in suffixes:
                    out.append(os.path.relpath(os.path.join(folder, name), root))
    return out


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def strip(text):
    """C text without comments and string contents, line numbers kept."""
    def blank(m):
        s = m.group(0)
        if s.startswith(('"', "'")):
            return s[0] * 2
        return re.sub(r"[^\n]", " ", s)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def room_of(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else None


INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.M)


def includes(root, path):
    text = read(root, path)
    for m in INCLUDE.finditer(text):
        yield text.count("\n", 0, m.start()) + 1, m.group(1)


def lint_third_party(root):
    """Third-party headers stay inside their room; doors include none."""
    hits = []
    for path in files(root, ".c", ".h", under=("src", "include")):
        room = room_of(path)
        for line, header in includes(root, path):
            for pattern, rooms in THIRD_PARTY:
                if re.match(pattern, header):
                    if room not in rooms:
                        hits.append("%s:%d: <%s> belongs to %s" % (path, line, header, ", ".join(sorted(rooms)) or "tests"))
                    break
    return hits


def lint_rooms(root):
    """A room includes the doors of lower rooms only, and no other room's private headers."""
    hits = []
    for path in files(root, ".c", ".h", under=("src", "include")):
        room = room_of(path)
        if path.startswith("include/firebreak/"):
            name = os.path.splitext(os.path.basename(path))[0]
            room = DOORS.get(name, name)
        if room not in ROOMS:
            continue
        for line, header in includes(root, path):
            if header.startswith("firebreak/"):
                name = header[len("firebreak/"):].rsplit(".", 1)[0]
            elif path.startswith("include/") and "/" not in header and header.endswith(".h") and \
                    os.path.exists(os.path.join(root, "include/firebreak", header)):
                name = header.rsplit(".", 1)[0]
            elif "/" in header and header.split("/")[-2] in ROOMS and header.endswith((".h", ".c")):
                if header.split("/")[-2] != room:
                    hits.append("%s:%d: %s is private to its room" % (path, line, header))
                continue
            else:
                continue
            other = "pure" if name == "degrade" else DOORS.get(name, name)
            if other in ROOMS and ROOMS.index(other) > ROOMS.index(room):
                hits.append("%s:%d: %s/ looks up at %s/ (%s)" % (path, line, room, other, header))
    return hits


def lint_banned(root):
    """Calls that overflow, block, or are not ours to make."""
    hits = []
    for path in files(root, ".c", ".h", under=("src", "include")):
        text = strip(read(root, path))
        for m in BANNED.finditer(text):
            if not any(path.startswith(p) and m.group(1) == f for p, f in BANNED_FINE):
                hits.append("%s:%d: %s()" % (path, text.count("\n", 0, m.start()) + 1, m.group(1)))
    return hits


def lint_machine_paths(root):
    """No path of the machine it was written on, no registry host."""
    hits = []
    top = [f for f in os.listdir(root) if f != ".git" and os.path.isfile(os.path.join(root, f))]
    for path in sorted(top) + files(root, *TEXT):
        if path in ("tests/lint/lint.py", "package-lock.json") or os.path.splitext(path)[1] not in TEXT or \
                os.path.islink(os.path.join(root, path)):
            continue
        for n, line in enumerate(read(root, path).splitlines(), 1):
            m = MACHINE_PATHS.search(line)
            if m:
                hits.append("%s:%d: %s" % (path, n, m.group(0)))
    return hits


def lint_spdx(root):
    """Every source file says its licence in its first three lines."""
    hits = []
    for path in files(root, ".c", ".h", ".py", ".mjs", ".js", ".sh", ""):
        if os.path.splitext(path)[1] == "" and not read(root, path).startswith("#!"):
            continue
        if "SPDX-License-Identifier: MIT" not in "\n".join(read(root, path).splitlines()[:3]):
            hits.append("%s:1: no SPDX line" % path)
    return hits


def lint_no_todo(root):
    """Nothing is left for later in a comment: what is missing is said in the README."""
    return ["%s:%d: %s" % (path, n, line.strip()[:60])
            for path in files(root, ".c", ".h", ".py", ".mjs", ".def") if path != "tests/lint/lint.py"
            for n, line in enumerate(read(root, path).splitlines(), 1) if re.search(r"\b(TODO|FIXME|XXX)\b", line)]


def lint_file_size(root):
    """A file above 900 lines has a second job that wants out."""
    return ["%s: %d lines" % (path, n) for path, n in
            ((p, read(root, p).count("\n")) for p in files(root, ".c", ".h", ".py", ".mjs", under=("src", "include", "bench", "tests")))
            if n > 900]


def lint_python(root):
    """Every Python file compiles."""
    hits = []
    for path in files(root, ".py"):
        try:
            compile(read(root, path), path, "exec")
        except SyntaxError as e:
            hits.append("%s:%s: %s" % (path, e.lineno, e.msg))
    return hits


def shell_scripts(root):
    out = []
    for path in files(root, ".sh", ""):
        first = read(root, path).split("\n", 1)[0]
        if first.startswith("#!") and re.search(r"\b(ba)?sh\b", first):
            out.append(path)
    return out


def lint_shellcheck(root):
    """shellcheck finds nothing in any shell script."""
    scripts = shell_scripts(root)
    if not scripts:
        return ["no shell script found"]
    r = subprocess.run(["shellcheck", "-f", "gcc", "-e", "SC1091,SC2015,SC2317"] + scripts, cwd=root, capture_output=True, text=True)
    return r.stdout.splitlines() + r.stderr.splitlines()


def undefined_symbols(library):
    r = subprocess.run(["nm", "-u", library], capture_output=True, text=True)
    return sorted({line.split()[-1] for line in r.stdout.splitlines() if re.match(r"\s+[Uw] ", line)})


def defined_symbols(library):
    r = subprocess.run(["nm", "--defined-only", library], capture_output=True, text=True)
    return {line.split()[-1] for line in r.stdout.splitlines() if len(line.split()) == 3}


def lint_breaches(root):
    """What tests/mutations/run plants still has its place: a text that is there once."""
    path = "tests/mutations/table"
    if not os.path.exists(os.path.join(root, path)):
        return []
    hits, source = [], ""
    for number, line in enumerate(read(root, path).split("\n"), 1):
        if line.startswith("@ "):
            source = read(root, line[2:])
        elif line.startswith("- "):
            there = source.count(line[2:].replace("\\n", "\n").replace("\\t", "\t"))
            if there != 1:
                hits.append("%s:%d: the text is there %d times" % (path, number, there))
    return hits


def lint_pure(root):
    """The pure library links with nothing: no clock, no random, no memory, no I/O."""
    library = os.path.join(root, "build/src/libfirebreak-pure.a")
    if not os.path.exists(library):
        return ["%s is not built" % os.path.relpath(library, root)]
    own = defined_symbols(library)
    if not own:
        return ["the pure library is empty"]
    return ["pure library needs %s" % s for s in undefined_symbols(library) if s not in own and not PURE_SYMBOLS.match(s)]


HARDENED = {"position independent": r"Type:\s+DYN", "resolved when it starts": r"BIND_NOW", "read-only where it was relocated": r"GNU_RELRO",
            "without code on its stack": r"GNU_STACK.* RW ", "guarded by canaries": r"__stack_chk_fail", "fortified": r"__mem\w+_chk"}


def lint_hardened(root):
    """The program that faces the internet is built the way such programs are."""
    program = os.path.join(root, "build/src/firebreak")
    r = subprocess.run(["readelf", "-hldW", "--dyn-syms", program], capture_output=True, text=True, check=False)
    return ["%s is not %s" % (os.path.relpath(program, root), what) for what, sign in HARDENED.items() if not re.search(sign, r.stdout)]


RULES = [lint_third_party, lint_rooms, lint_banned, lint_machine_paths, lint_spdx, lint_no_todo, lint_file_size, lint_python,
         lint_shellcheck, lint_breaches, lint_pure, lint_hardened]

SPDX_C = "/* SPDX-License-Identifier: MIT */\n"
CLEAN = {
    "include/firebreak/net.h": SPDX_C + '#include "buf.h"\n',
    "include/firebreak/buf.h": SPDX_C,
    "include/firebreak/exchange.h": SPDX_C,
    "src/http2/session.c": SPDX_C + '#include "firebreak/net.h"\n#include <nghttp2/nghttp2.h>\n/* never sprintf() */\n'
                                    'const char *x = "system(1)";\n',
    "tests/x.py": "# SPDX-License-Identifier: MIT\nprint(1)\n",
    "bench/x.sh": '#!/bin/bash\n# SPDX-License-Identifier: MIT\necho "$1"\n',
    "README.md": "# x\n",
}
# rule -> files that break it (added to CLEAN)
PLANTS = {
    "third_party": {"src/net/conn.c": SPDX_C + "#include <nghttp2/nghttp2.h>\n"},
    "rooms": {"src/net/conn.c": SPDX_C + '#include "firebreak/exchange.h"\n'},
    "banned": {"src/net/conn.c": SPDX_C + "void f(char *a) { strcpy(a, a); }\n"},
    "machine_paths": {"README.md": "see /" + "root/x\n"},
    "spdx": {"src/net/conn.c": "int x;\n"},
    "no_todo": {"src/net/conn.c": SPDX_C + "/* TO" + "DO: later */\n"},
    "file_size": {"src/net/conn.c": SPDX_C + "int;\n" * 901},
    "python": {"tests/x.py": "# SPDX-License-Identifier: MIT\nprint(\n"},
    "breaches": {"tests/mutations/table": "P1 x\n@ include/firebreak/buf.h\n- nowhere\n+ y\n"},
    "shellcheck": {"bench/x.sh": "#!/bin/bash\n# SPDX-License-Identifier: MIT\nrm -rf $1/*\n"},
}


def plant(tree, folder):
    for path, text in tree.items():
        full = os.path.join(folder, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)


def compile_pure(folder, text):
    os.makedirs(os.path.join(folder, "build/src"), exist_ok=True)
    source, obj = os.path.join(folder, "p.c"), os.path.join(folder, "p.o")
    with open(source, "w", encoding="utf-8") as f:
        f.write(text)
    subprocess.run(["cc", "-c", "-o", obj, source], check=True)
    subprocess.run(["ar", "rc", os.path.join(folder, "build/src/libfirebreak-pure.a"), obj], check=True)


def compile_program(folder, *flags):
    os.makedirs(os.path.join(folder, "build/src"), exist_ok=True)
    source = os.path.join(folder, "m.c")
    with open(source, "w", encoding="utf-8") as f:
        f.write("#include <string.h>\nint main(int n, char **v) { char b[8]; memcpy(b, v[0], (unsigned)n); return b[1]; }\n")
    subprocess.run(["cc", "-O2", "-o", os.path.join(folder, "build/src/firebreak"), source] + list(flags), check=True)


# rule -> what to build for it: well, and with a violation
BUILDS = {
    "pure": (lambda folder: compile_pure(folder, "int p(int a) { return a; }\n"),
             lambda folder: compile_pure(folder, "#include <time.h>\nlong p(void) { return time(0); }\n")),
    "hardened": (lambda folder: compile_program(folder, "-fPIE", "-pie", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now"),
                 lambda folder: compile_program(folder, "-fPIE", "-pie", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,lazy")),
}


def self_test(rule):
    """None when the rule finds its planted violation and passes the clean tree, else what went wrong."""
    name = rule.__name__[len("lint_"):]
    folder = tempfile.mkdtemp(prefix="firebreak-lint-")
    try:
        plant(CLEAN, folder)
        if name in BUILDS:
            BUILDS[name][0](folder)
            clean = rule(folder)
            shutil.rmtree(os.path.join(folder, "build"))
            BUILDS[name][1](folder)
        else:
            clean = rule(folder)
            plant(PLANTS[name], folder)
        if clean:
            return "hits in a clean tree: %s" % clean[0]
        return None if rule(folder) else "missed its planted violation"
    finally:
        shutil.rmtree(folder)


def main():
    results = open(sys.argv[1], "a", encoding="utf-8")
    root = sys.argv[2] if len(sys.argv) > 2 else "."
    bad = 0
    for rule in RULES:
        name = rule.__name__[len("lint_"):].replace("_", "-")
        hits = rule(root)
        wrong = self_test(rule)
        for verdict, what, detail in ((not hits, "lint " + name, hits), (wrong is None, "lint " + name + " self-test", [wrong])):
            print(("ok   " if verdict else "FAIL ") + what)
            results.write(("PASS " if verdict else "FAIL ") + what + "\n")
            if not verdict:
                bad += 1
                for hit in detail[:40]:
                    print("     " + hit)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
