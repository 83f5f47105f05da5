# SPDX-License-Identifier: MIT
"""A datacenter to lose: two endpoints of the simulated messenger that die, fall silent or
are cut off together, and come back.

Peers that speak HTTP/1.1 to their backends get nghttpx as a translator in front of each
endpoint; what happens to the endpoint happens to both. With a wire it lives in a network
namespace of its own, and losing it means that its kernel drops every packet, in and out
(two rules of type blackhole): nothing is refused, nothing closed, as when power is cut."""
import os
import random
import signal
import subprocess

from .lab import free_port, wait_port, wait_until

HOST, INSIDE = "198.18.{}.{}", "eth0"  # RFC 2544: nobody's
ENDPOINTS = (1, 2)


def wires():
    """Why there can be none; "" there can."""
    done = subprocess.run(["unshare", "--net", "ip", "rule", "add", "pref", "1", "iif", "lo", "blackhole"], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


class Wire:
    """A network namespace that a process of ours holds open, and a pair of interfaces into it."""

    def __init__(self, lab, name):
        self.holder = lab.start(f"wire-{name}", ["unshare", "--net", "sleep", "3600"], lab.load_cpu)
        own = os.readlink("/proc/self/ns/net")
        # taskset and unshare become sleep
        if not wait_until(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, 5, self.holder):
            raise RuntimeError(f"no network namespace: {lab.said(self.holder)}")
        while True:
            self.net, quarter = random.randrange(256), 4 * random.randrange(64)
            self.host, self.address = (HOST.format(self.net, quarter + i) for i in (1, 2))
            if not subprocess.run(["ip", "-4", "address", "show", "to", f"{self.host}/30"], capture_output=True, text=True, check=True).stdout:
                break
        self.link = f"fb{self.holder.pid}"
        self.ip(f"link add {self.link} type veth peer name {INSIDE} netns {self.holder.pid}\n"
                f"address add {self.host}/30 dev {self.link}\nlink set {self.link} up\n", ())
        # The table of local addresses moves behind the rules that cut() adds.
        self.ip(f"link set lo up\naddress add {self.address}/30 dev {INSIDE}\nlink set {INSIDE} up\n"
                "rule add pref 100 lookup local\nrule del pref 0\n")

    @property
    def enter(self):
        return ["nsenter", f"--target={self.holder.pid}", "--net"]

    def ip(self, commands, where=None):
        subprocess.run((self.enter if where is None else list(where)) + ["ip", "-batch", "-"], input=commands, text=True, check=True, capture_output=True)

    def cut(self, on):
        verb = "add" if on else "del"
        self.ip(f"rule {verb} pref 1 iif {INSIDE} blackhole\nrule {verb} pref 2 to {self.host} blackhole\n")

    def close(self, lab):
        """The interfaces go with the namespace, some time after; here at once."""
        subprocess.run(["ip", "link", "del", self.link], capture_output=True, check=False)
        lab.stop([self.holder])


class Datacenter:
    """Started by the constructor; lose() and heal() as often as wanted, stop() in the end."""

    def __init__(self, lab, name, state, upstream, latency_ms, wire):
        self.lab, self.name, self.state = lab, name, state
        self.latency_ms, self.processes = latency_ms, []
        self.wire = Wire(lab, name) if wire else None
        self.where = self.wire.address if wire else "127.0.0.1"
        self.ports = [free_port() for _ in ENDPOINTS]
        self.fronts = [free_port() for _ in ENDPOINTS] if upstream == "h1" else []
        self.run()
        for port in self.ports + self.fronts:
            wait_port(port, host=self.where)

    @property
    def addresses(self):
        return [f"{self.where}:{port}" for port in self.fronts or self.ports]

    def run(self):
        lab, enter = self.lab, self.wire.enter if self.wire else []
        self.processes = [
            lab.start(f"backend-{self.name}{n}", enter + [lab.bench, "backend", "-d", self.name, "-e", f"{self.name}-{n}", "-l", f"{self.where}:{port}",
                                                          "-s", self.state, "--fault", f"latency={self.latency_ms}"], lab.load_cpu)
            for n, port in zip(ENDPOINTS, self.ports)]
        self.processes += [
            lab.start(f"front-{self.name}{n}", enter + ["nghttpx", "--conf=/dev/null", "--single-process", "--workers=1", f"-f{self.where},{front};no-tls",
                                                        f"-b{self.where},{port};;proto=h2", "--accesslog-file=/dev/null", "--errorlog-file=/dev/null"], lab.load_cpu)
            for n, port, front in zip(ENDPOINTS, self.ports, self.fronts)]

    def signal(self, number):
        for p in self.processes:
            p.send_signal(number)

    def lose(self, how):
        if how == "drop":
            self.wire.cut(True)
        else:
            self.signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)

    def heal(self, how):
        if how == "drop":
            self.wire.cut(False)
        elif how == "stop":
            self.signal(signal.SIGCONT)
        else:
            self.lab.stop(self.processes)  # they are dead, or nearly
            self.run()

    def stop(self):
        self.lab.stop(self.processes)
        if self.wire:
            self.wire.close(self.lab)
