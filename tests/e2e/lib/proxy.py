# SPDX-License-Identifier: MIT
"""The proxy with a configuration of the test's own, and its admin side."""
import http.client
import json
import os
import signal
import subprocess

from . import proc


def series(text):
    out = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, value = line.rsplit(" ", 1)
            out[key] = float(value)
    return out


class Proxy:
    """Writes folder/firebreak.yaml and runs the binary on it."""

    def __init__(self, folder, text, port, admin_port, plain=False, name="firebreak", token=None, token_file=None, env=None, limits=None, wait=True):
        self.folder = str(folder)
        self.port = port
        self.admin_port = admin_port
        self.token = token
        self.token_file = str(token_file)
        self.address = ("127.0.0.1", port)
        self.config = os.path.join(self.folder, name + ".yaml")
        self.write(text)
        self.p = proc.Process([proc.binary("firebreak", plain), "-c", self.config], self.folder, name, env=env, limits=limits)
        self.pid = self.p.pid
        self.expected_deaths = 0
        if wait:
            proc.wait_for(lambda: not self.p.running() or (proc.listening(port) and self.whole()), 30, what="start of the proxy")
            assert self.p.running(), "the proxy did not start:\n" + self.p.log()

    def write(self, text):
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(text)

    # -- admin --

    def ask(self, method, path, body=None, headers=None, token=True, seconds=5):
        """(status, text, headers) of an admin call."""
        c = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=seconds)
        try:
            head = dict(headers or {})
            if token and self.token:
                head.setdefault("Authorization", "Bearer " + self.token)
            if body is not None and not isinstance(body, (str, bytes)):
                body = json.dumps(body)
                head.setdefault("Content-Type", "application/json")
            c.request(method, path, body, head)
            r = c.getresponse()
            return r.status, r.read().decode("utf-8", "replace"), dict(r.getheaders())
        finally:
            c.close()

    def ready(self):
        try:
            return self.ask("GET", "/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def whole(self):
        """Ready, and every process has its name."""
        return self.ready() and len(self.workers()) == len(self.status()["workers"])

    def status(self):
        return json.loads(self.ask("GET", "/api/v1/status")[1])

    def metrics(self):
        """{name{labels}: value} of /metrics."""
        return series(self.ask("GET", "/metrics")[1])

    def metric(self, name, **labels):
        """Sum over all series of a name whose labels fit; a name nobody declares is a mistake."""
        total = 0.0
        text = self.ask("GET", "/metrics")[1]
        assert "# TYPE %s " % name in text, "no metric is called " + name
        for key, value in series(text).items():
            if key.split("{")[0] == name and all('%s="%s"' % (k, v) in key for k, v in labels.items()):
                total += value
        return total

    def fault(self, word):
        return self.metric("firebreak_faults_total", fault=word)

    def ctl(self, *args, expect=0):
        env = dict(os.environ)
        env["FIREBREAK_ADMIN"] = "127.0.0.1:%d" % self.admin_port
        env["FIREBREAK_TOKEN_FILE"] = self.token_file
        r = subprocess.run([proc.binary("firebreakctl")] + list(args), capture_output=True, text=True, env=env, timeout=20, stdin=subprocess.DEVNULL)
        assert expect is None or r.returncode == expect, (args, r.returncode, r.stdout, r.stderr)
        return r.stdout + r.stderr

    # -- processes --

    def role(self, kind):
        """Pids of the children of a kind ("worker", "control"), by the name they gave themselves."""
        out = []
        for pid in self.p.children():
            try:
                with open("/proc/%d/comm" % pid, encoding="ascii", errors="replace") as f:
                    if f.read().startswith("fb " + kind):
                        out.append(pid)
            except OSError:
                continue
        return out

    def workers(self):
        return self.role("worker")

    def control(self):
        return self.role("control")[0]

    def memory(self):
        return sum(proc.rss(pid) for pid in self.workers())

    def reload(self, text=None):
        if text is not None:
            self.write(text)
        self.p.kill(signal.SIGHUP)

    def events(self):
        """JSON lines of the event log."""
        out = []
        for line in self.p.log().splitlines():
            if line.startswith("{"):
                try:
                    out.append(json.loads(line))
                except ValueError:
                    pass
        return out

    def stop(self, seconds=15.0):
        return self.p.stop(seconds)

    def sane(self):
        """Nothing died on its own, no sanitizer spoke."""
        reports = self.p.reports()
        assert not reports, "sanitizer report:\n" + "\n".join(reports)
        crashes = [e for e in self.events() if e.get("event") == "process.ended" and e.get("how") != "exit 0"]
        assert len(crashes) <= self.expected_deaths, "a process died: %s" % crashes


def unix_free(folder, name="s.sock"):
    path = os.path.join(str(folder), name)
    if len(path) > 100:
        path = "/tmp/fb-%d-%s" % (os.getpid(), name)
    return path

