# SPDX-License-Identifier: MIT
"""Processes under test: started with their own log, ended by pid, looked at afterwards."""
import glob
import os
import re
import signal
import socket
import subprocess
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))

SANITIZER = re.compile(r"(ERROR: (Address|Leak|Undefined)\w*Sanitizer.*|.*runtime error: .*)")


def build_dir(plain=False):
    """Where the binaries are: the sanitised build when there is one; `plain` for
    tests that measure."""
    given = os.environ.get("FIREBREAK_BUILD")
    if given and not plain:
        return os.path.join(ROOT, given)
    asan = os.path.join(ROOT, "build-asan")
    if not plain and os.path.exists(os.path.join(asan, "src", "firebreak")):
        return asan
    return os.path.join(ROOT, "build")


def binary(name, plain=False):
    where = {"firebreak": "src/firebreak", "firebreakctl": "src/ctl/firebreakctl", "firebreak-bench": "bench/firebreak-bench"}[name]
    return os.path.join(build_dir(plain), where)


def free_port():
    """A port nobody listens on, outside the range the kernel hands to clients."""
    for port in range(20000 + (os.getpid() * 37) % 9000, 32000):
        if port in _given:
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("no free port")


_given = set()


def wait_for(condition, seconds=10.0, step=0.02, what="condition"):
    """Polls for something another process does. Returns what the condition gave."""
    end = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError("%s did not hold within %.1f s" % (what, seconds))
        time.sleep(step)


def listening(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False


def children(pid):
    out = []
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, task), encoding="ascii") as f:
                out += [int(p) for p in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return sorted(out)


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def rss(pid):
    """Resident private bytes (RssAnon + RssShmem): what the process itself costs."""
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        text = f.read()
    return 1024 * sum(int(m) for m in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+)", text, re.M))


def cpu(pid):
    """User + system seconds of a process."""
    with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as f:
        parts = f.read().rsplit(")", 1)[1].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def client_ports(pid, port):
    """The clients' ports of a process' connections on its port `port` of loopback."""
    inodes = set()
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            m = re.match(r"socket:\[(\d+)\]", os.readlink("/proc/%d/fd/%s" % (pid, fd)))
        except OSError:
            continue
        if m:
            inodes.add(m.group(1))
    found = set()
    with open("/proc/net/tcp", encoding="ascii") as f:
        for line in f.readlines()[1:]:
            part = line.split()
            if int(part[1].split(":")[1], 16) == port and part[9] in inodes:
                found.add(int(part[2].split(":")[1], 16))
    return found - {0}


class Process:
    """One child with its output in files under `folder`."""

    def __init__(self, argv, folder, name, env=None, cwd=None, limits=None):
        self.argv = argv
        self.name = name
        self.folder = str(folder)
        self.out = os.path.join(self.folder, name + ".out")
        self.err = os.path.join(self.folder, name + ".err")
        self.asan = os.path.join(self.folder, name + ".asan")
        full = dict(os.environ)
        full["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=0:log_path=%s:handle_abort=1" % self.asan
        full["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1:log_path=%s" % self.asan
        full.update(env or {})
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            self.p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=full,
                                      cwd=cwd or self.folder, preexec_fn=limits)
        self.pid = self.p.pid
        self.expect_dead = set()  # children a test killed itself

    def children(self):
        return children(self.pid)

    def kill(self, number):
        os.kill(self.pid, number)

    def running(self):
        return self.p.poll() is None

    def stop(self, seconds=15.0, number=15):
        """SIGTERM, then SIGKILL for what remains. Returns the exit code, or None when it had to be killed."""
        brood = self.children()
        killed = False
        if self.running():
            try:
                os.kill(self.pid, number)
                self.p.wait(seconds)
            except subprocess.TimeoutExpired:
                killed = True
                self.p.kill()
                self.p.wait()
        for pid in brood:
            if alive(pid) and self._ours(pid):
                killed = True
                os.kill(pid, signal.SIGKILL)
        return None if killed else self.p.returncode

    def _ours(self, pid):
        try:
            with open("/proc/%d/environ" % pid, "rb") as f:
                return self.asan.encode() in f.read()
        except OSError:
            return False

    def log(self):
        out = ""
        for path in (self.out, self.err):
            with open(path, encoding="utf-8", errors="replace") as f:
                out += f.read()
        return out

    def reports(self):
        """Sanitizer reports of this process and its children."""
        found = []
        for path in glob.glob(self.asan + ".*") + [self.err]:
            with open(path, encoding="utf-8", errors="replace") as f:
                text = f.read()
            if path.startswith(self.asan) and text.strip():
                found.append(text[:6000])
            elif SANITIZER.search(text):
                found.append(text[:6000])
        return found
