# SPDX-License-Identifier: MIT
"""Nodes that tell each other through a real Redis how they see the datacenters: one with a bad cable, a datacenter
that is really lost, Redis gone, junk in it, a node that died."""
import signal
import socket
import subprocess
import threading
import time

import pytest

from lib import proc
from lib.frames import fetch, get

STANDARD = [{"name": "media", "tier": "standard", "routes": ["/std/**"]}]


class Cable:
    """Between one node and one endpoint. Cut, it refuses."""

    def __init__(self, target):
        self.target = target
        self.port = proc.free_port()
        self.ends = []
        self.sock = None
        self.mend()

    @property
    def where(self):
        return "127.0.0.1:%d" % self.port

    def mend(self):
        self.sock = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self.sock,), daemon=True).start()

    def _accept(self, sock):
        while True:
            try:
                near, _ = sock.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, 2)
            except OSError:
                near.close()
                continue
            self.ends += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    @staticmethod
    def _pump(a, b):
        try:
            while True:
                data = a.recv(65536)
                if not data:
                    break
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is cut already
        self.sock.close()
        for s in self.ends:
            try:
                s.shutdown(socket.SHUT_RDWR)
                s.close()
            except OSError:
                pass
        self.ends = []

    def close(self):
        self.cut()


class Fleet:
    """Some nodes that share a secret; the last one reaches datacenter a through a cable."""

    def __init__(self, world, nodes=3, names=None):
        self.world = world
        self.redis = world.redis()
        self.a, self.b = world.backend("a"), world.backend("b")
        self.cable = world.keep(Cable(self.a.address))
        self.nodes = []
        secret = world.folder / "secret"
        secret.write_text("known to the nodes alone")
        for i in range(nodes):
            cfg = world.config(datacenters={"a": [self.a.where if i < nodes - 1 else self.cable.where], "b": [self.b.where]}, redis=self.redis.port,
                               workers=1, tls=False, features=STANDARD)
            cfg.data.setdefault("cache", {})["secret_file"] = str(secret)
            cfg.data["node"] = names[i] if names else "node-%d" % i
            self.nodes.append(world.proxy(cfg))
        self.last = self.nodes[-1]
        self.wait_peers(nodes - 1)
        homes = {u: ask(self.last, u, "/t/x").field("x-backend") for u in ("u%d" % i for i in range(20))}
        self.users = {d: [u for u in homes if homes[u] == d] for d in "ab"}
        assert self.users["a"] and self.users["b"]

    def wait_peers(self, n, nodes=None, seconds=15):
        for p in nodes or self.nodes:
            proc.wait_for(lambda p=p: len(p.status()["fleet"]["peers"]) == n, seconds, what="%d peers" % n)

    def cli(self, *args):
        return subprocess.run(["redis-cli", "-p", str(self.redis.port), *args], capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL,
                              check=True).stdout.strip()


def ask(p, user, path):
    return fetch(p.address, get(path, "GET", "example.com", "http", ("authorization", "Bearer " + user)))


def datacenter(p, name):
    return next(d for d in p.status()["datacenters"] if d["name"] == name)


def view(p, name="a"):
    d = datacenter(p, name)
    return d["state"], d["why"], d["dissent"]


def alone(f):
    """The node with the bad cable has drawn its consequences."""
    proc.wait_for(lambda: not f.last.ready(), 15, what="clients are sent to other nodes")
    assert view(f.last) == ("suspect", "dissent", True)


def test_one_node_with_a_bad_cable(world):
    """It is not ready, fails core over, does not send lesser features to the other datacenter, and says why; the others
    do not care. When the cable is mended all is as before."""
    f = Fleet(world)
    f.cable.cut()
    alone(f)
    status, text, _ = f.last.ask("GET", "/readyz")
    assert status == 503 and "dissent" in text, text
    a_user, b_user = f.users["a"][0], f.users["b"][0]
    core, lesser = ask(f.last, a_user, "/t/x"), ask(f.last, a_user, "/std/x")
    assert core.status == 200 and core.field("x-backend") == "b"
    assert lesser.status == 503 and 'details="dissent"' in lesser.field("proxy-status"), (lesser, lesser.heads)
    assert ask(f.last, b_user, "/std/x").status == 200
    assert f.last.fault("dissent") >= 1 and f.last.metric("firebreak_datacenter_dissent", datacenter="a") == 1
    assert "node-0" in f.last.ctl("status") and "NOT READY" in f.last.ctl("status")
    for p in f.nodes[:2]:
        assert p.ready() and view(p) == ("up", "start", False)
        assert ask(p, a_user, "/std/x").field("x-backend") == "a"
        assert datacenter(p, "a")["peers"] == {"up": 1, "down": 1}
        proc.wait_for(lambda p=p: any(n["dissent"] for n in p.status()["fleet"]["peers"]), what="the others have heard of it")
    f.cable.mend()
    proc.wait_for(lambda: f.last.ready() and ask(f.last, a_user, "/std/x").field("x-backend") == "a", 20, what="all is as before")
    assert any(e["event"] == "fleet.dissent" for e in f.last.events()) and any(e["event"] == "fleet.dissent_over" for e in f.last.events())


def test_a_datacenter_really_lost(world):
    """All see it: nobody is in dissent for longer than it takes to hear of it, everybody stays ready, and lesser features
    of its users are sent to the other one."""
    f = Fleet(world)
    f.a.close()
    f.a.drop()
    for p in f.nodes:
        proc.wait_for(lambda p=p: view(p)[0] == "down", 15, what="it is down")
    proc.wait_for(lambda: all(datacenter(p, "a")["peers"] == {"up": 0, "down": 2} for p in f.nodes), 15, what="all have heard of it")
    for p in f.nodes:
        assert p.ready()
        assert ask(p, f.users["a"][0], "/std/x").field("x-backend") == "b"
        assert not any(e["event"] == "fleet.dissent" for e in p.events())


def test_two_nodes_decide_alone(world):
    """One says so, one says so: nobody knows who is right."""
    f = Fleet(world, nodes=2)
    f.cable.cut()
    proc.wait_for(lambda: view(f.last)[0] == "down", 15, what="it is down for the one")
    proc.wait_for(lambda: datacenter(f.nodes[0], "a")["peers"] == {"up": 0, "down": 1}, what="the other has heard of it")
    assert all(p.ready() for p in f.nodes)
    assert view(f.nodes[0]) == ("up", "start", False)
    assert ask(f.last, f.users["a"][0], "/std/x").field("x-backend") == "b"


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_redis_gone(world, how):
    """What was heard is over after a few seconds: a node that was in dissent decides alone."""
    f = Fleet(world)
    f.cable.cut()
    alone(f)
    f.redis.kill(how)
    began = time.monotonic()
    proc.wait_for(lambda: f.last.ready() and view(f.last)[0] == "down", 15, what="it decides alone")
    assert time.monotonic() - began < 10
    f.wait_peers(0)
    proc.wait_for(lambda: ask(f.last, f.users["a"][0], "/std/x").field("x-backend") == "b", what="lesser features go elsewhere")
    if how == signal.SIGSTOP:
        f.redis.kill(signal.SIGCONT)
        f.wait_peers(2)


def test_junk_in_redis(world):
    """Somebody writes into the fleet's hash: what does not validate counts for nothing and is taken away, the others
    are heard all the same; and a hash too long, too large to be read, or none at all is dropped."""
    f = Fleet(world)
    key = f.cli("KEYS", "fb:1:fleet*")
    assert key.startswith("fb:1:fleet:")
    good = f.cli("HGETALL", key).splitlines()
    fields = dict(zip(good[::2], good[1::2]))
    assert len(fields) == 3
    value = next(iter(fields.values()))
    evil = {"0" * 15 + "1": "junk", "not a process": value, "0" * 15 + "2": value[:-1], "0" * 15 + "3": value.replace("a=u", "a=d"),
            "0" * 15 + "4": "1 " * 50000, "0" * 15 + "5": "", "x" * 100000: "y"}
    for k, v in evil.items():
        f.cli("HSET", key, k, v)
    proc.wait_for(lambda: f.cli("HLEN", key) == "3", 15, what="junk is taken away")
    assert sum(p.metric("firebreak_fleet_junk_total") for p in f.nodes) >= len(evil)
    f.wait_peers(2)
    flood = [x for i in range(3000) for x in ("%016x" % (1000 + i), value)]  # repeats a living node's word
    for spoil in (["HSET", key, *flood], ["EVAL", "return redis.call('HSET', KEYS[1], 'x', string.rep('y', 9000000))", "1", key],
                  ["SET", key, "not a hash"]):
        f.cli(*spoil)
        proc.wait_for(lambda: f.cli("TYPE", key) == "hash" and f.cli("HLEN", key) == "3", 15, what="it is the nodes' again")
        f.wait_peers(2)
        for p in f.nodes:
            assert p.ready() and view(p) == ("up", "start", False)
            assert ask(p, f.users["a"][0], "/t/x").field("x-backend") == "a"


def test_a_dead_nodes_word_ages_out(world):
    f = Fleet(world)
    f.cable.cut()
    alone(f)
    proc.wait_for(lambda: datacenter(f.nodes[0], "a")["peers"]["down"] == 1, what="its word is heard")
    f.last.stop()
    f.wait_peers(1, f.nodes[:2])
    assert datacenter(f.nodes[0], "a")["peers"] == {"up": 1, "down": 0}


def test_the_same_name_twice(world):
    f = Fleet(world, names=["one", "two", "two"])
    assert not f.nodes[0].status()["fleet"]["same_name"]
    for p in f.nodes[1:]:
        assert p.status()["fleet"]["same_name"] and p.metric("firebreak_fleet_same_name") == 1
        assert any(e["event"] == "fleet.same_name" for e in p.events())
