# SPDX-License-Identifier: MIT
"""The place measurements happen in: a temporary folder, processes pinned to CPUs, two
backends with the same files (nghttpd for HTTP/2, nginx for HTTP/1.1), and the kernel's
account of what a process cost."""
import os
import platform
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
FILES = {"small": 200, "64k": 65536, "1m": 1 << 20}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, seconds, process=None):
    """Polls for what other programs do. False: not within that time, or the process ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and (process is None or process.poll() is None):
        if condition():
            return True
        time.sleep(0.02)
    return False


def wait_port(port, seconds=10.0, process=None, host="127.0.0.1"):
    def listening():
        with socket.socket() as s:
            s.settimeout(0.2)
            return s.connect_ex((host, port)) == 0

    if not wait_until(listening, seconds, process):
        raise RuntimeError(f"nothing listens on port {port}")


def raise_limit():
    """As many descriptors as the system lets us have, for us and all we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def make_certificate(folder):
    """cert.pem and key.pem (P-256, localhost), and both.pem for programs that want one file."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True)
    with open(os.path.join(folder, "both.pem"), "wb") as out:
        for part in ("cert.pem", "key.pem"):
            with open(os.path.join(folder, part), "rb") as f:
                out.write(f.read())


def tree(pid):
    """The process and all its descendants."""
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        try:
            for task in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{task}/children", encoding="ascii") as f:
                    todo += [int(c) for c in f.read().split()]
        except OSError:
            pass
    return out


def cpu_seconds(pids):
    """Time on the CPU, user and system, of all threads of all these processes and their children (exact to nanoseconds)."""
    total = 0
    for p in {q for pid in pids for q in tree(pid)}:
        try:
            for task in os.listdir(f"/proc/{p}/task"):
                with open(f"/proc/{p}/task/{task}/schedstat", encoding="ascii") as f:
                    total += int(f.read().split()[0])
        except OSError:
            pass
    return total / 1e9


def memory(pids):
    """Private resident bytes of all these processes and their children; what the kernel holds for sockets is not in it."""
    total = 0
    for p in {q for pid in pids for q in tree(pid)}:
        try:
            with open(f"/proc/{p}/status", encoding="ascii") as f:
                total += 1024 * sum(int(m) for m in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+)", f.read(), re.M))
        except OSError:
            pass
    return total


def environment():
    """Machine and date, for the reader of a report."""
    cpu = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = dict(line.split(":", 1) for line in f if line.startswith("model name")).get("model name\t", cpu).strip()
    name = platform.system()
    with open("/etc/os-release", encoding="utf-8") as f:
        name = re.search(r'^PRETTY_NAME="?([^"\n]*)', f.read(), re.M).group(1)
    return {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "os": name, "kernel": platform.release(), "cpu": cpu,
            "cpus": len(os.sched_getaffinity(0)), "load_before": os.getloadavg()[0]}


class Lab:
    """Owns the folder and every process; close() ends them all."""

    def __init__(self, build):
        raise_limit()
        self.firebreak = os.path.join(build, "src", "firebreak")
        self.ctl = os.path.join(build, "src", "ctl", "firebreakctl")
        self.bench = os.path.join(build, "bench", "firebreak-bench")
        cpus = [str(c) for c in sorted(os.sched_getaffinity(0))]
        self.proxy_cpu, self.load_cpu = cpus[0], ",".join(cpus[1:] or cpus)
        self.dir = tempfile.mkdtemp(prefix="firebreak-compare-")
        os.chmod(self.dir, 0o755)  # workers that dropped their rights look into it too
        self.processes = []
        self.starting, self.left = False, None
        make_certificate(self.dir)

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def start(self, name, argv, cpu):
        self.starting = True
        with open(os.path.join(self.dir, name + ".log"), "ab") as log:
            p = subprocess.Popen(["taskset", "-c", cpu] + argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 cwd=self.dir, start_new_session=True)
        p.log_name = name
        self.processes.append(p)
        self.starting = False
        if self.left is not None:
            sys.exit(self.left)
        return p

    def leave(self, number, _frame=None):
        """Of a signal: ends the program, but not between a process's start and its entry in our list."""
        self.left = 128 + number
        if not self.starting:
            sys.exit(self.left)

    def said(self, process):
        with open(os.path.join(self.dir, process.log_name + ".log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self, processes, seconds=5):
        """SIGTERM, then SIGKILL for what remains of each and of its children."""
        brood = {p: tree(p.pid) for p in processes if p.poll() is None}
        for p in brood:
            p.send_signal(signal.SIGCONT)
            p.send_signal(signal.SIGTERM)
        for p, pids in brood.items():
            try:
                p.wait(seconds)
            except subprocess.TimeoutExpired:
                for pid in pids:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                p.wait()
        self.processes = [p for p in self.processes if p not in processes]

    def close(self):
        self.stop(list(reversed(self.processes)))
        shutil.rmtree(self.dir, ignore_errors=True)

    def start_files(self, http1=True):
        """Both backends with the same files: their addresses by protocol, their processes."""
        root = os.path.join(self.dir, "root")
        os.makedirs(root, exist_ok=True)
        for name, size in FILES.items():
            with open(os.path.join(root, name), "wb") as f:
                f.write(b"x" * size)
        self.file("post", "y" * 1024)
        ports = {"h2": free_port()}
        started = [self.start("nghttpd", ["nghttpd", "--no-tls", "-n1", "-d", root, "-a127.0.0.1", str(ports["h2"])], self.load_cpu)]
        if http1:
            ports["h1"] = free_port()
            conf = self.file("files.conf", f"""
daemon off; worker_processes 1; pid {self.dir}/files.pid; error_log {self.dir}/files.err;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; open_file_cache max=10;
  server {{
    listen 127.0.0.1:{ports["h1"]} backlog=4096; root {root};
    error_page 405 =200 $uri; add_header cache-control "max-age=3600";
  }}
}}
""")
            started.append(self.start("files", ["nginx", "-p", self.dir, "-c", conf], self.load_cpu))
        for port in ports.values():
            wait_port(port)
        return {protocol: f"127.0.0.1:{port}" for protocol, port in ports.items()}, started
