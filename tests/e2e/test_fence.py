# SPDX-License-Identifier: MIT
"""Who has written is shown what he wrote: reads follow the last write while the fence stands.
Datacenters that do not copy anything to each other: whoever asks the wrong one does not see it."""
import os
import signal
import time

from lib import proc
from lib.frames import fetch, get
from lib.peers import Backend


def ask(user, path, method="GET", *more):
    return get(path, method, "example.com", "http", ("authorization", "Bearer %s" % user), *more)


class Twins:
    """Datacenters a and b, two workers, one feature; a can die and come back."""

    def __init__(self, world, fence="30s", version=None, workers=2, features=()):
        self.world = world
        self.backends = {"a": world.backend("a"), "b": world.backend("b")}
        self.version = {"a": None, "b": None}
        self.prepare()
        fence = {"time": fence, **({"version": version} if version else {})}
        self.proxy = world.proxy(datacenters={d: [b.where] for d, b in self.backends.items()}, workers=workers, features=features,
                                 retry={"ping_after": "1s"}, extra={"fence": fence})
        self.address = self.proxy.address
        homes = {u: self.where(u) for u in ("user-%d" % i for i in range(40))}
        self.home = {d: [u for u in homes if homes[u] == d] for d in "ab"}
        assert len(self.home["a"]) > 4 and len(self.home["b"]) > 4

    def prepare(self):
        for d, b in self.backends.items():
            b.custom["/t/data"] = lambda c, r, d=d: c.respond(r, 200, [("x-from", d)] + ([("x-position", self.version[d])] if self.version[d] else []))

    def where(self, user, method="GET", connection=None, *more):
        a = fetch(self.address, ask(user, "/t/data", method, *more), b"x" if method == "POST" else None)
        assert a.status == 200, (a, a.heads)
        return a.field("x-from")

    def state(self, d):
        return {x["name"]: x["state"] for x in self.proxy.status()["datacenters"]}[d]

    def lose_a(self):
        self.backends["a"].close()
        self.backends["a"].drop()
        proc.wait_for(lambda: self.state("a") == "down", what="a is down")

    def bring_a_back(self):
        self.backends["a"] = self.world.keep(Backend("a", address=self.backends["a"].address))
        self.prepare()
        proc.wait_for(lambda: self.state("a") == "up" and self.where(self.home["a"][0]) == "a", 20, what="a is back, and takes its users")

    def all_workers(self, user, n=24):
        """Where this user reads from over connections of which, in all likelihood, some go to each worker."""
        return {self.where(user) for _ in range(n)}


def test_a_read_follows_the_write(world):
    """a dies, a user of a writes to b; a returns without that write: while the fence stands no read of his goes to
    a, through whichever worker; all others are home; and so is he when it is over."""
    t = Twins(world, fence="12s")
    bystander, writer, other = t.home["a"][:3]
    t.lose_a()
    assert t.where(writer, "POST") == "b"
    wrote = time.monotonic()
    t.bring_a_back()
    assert t.all_workers(writer) == {"b"}
    assert t.all_workers(other) == {"a"}
    assert t.where(t.home["b"][0]) == "b"
    assert time.monotonic() < wrote + 12, "the test was too slow to show anything"
    assert t.proxy.metric("firebreak_fence_reads_total") >= 24
    proc.wait_for(lambda: t.where(writer) == "a", 20, what="the way home")
    assert time.monotonic() > wrote + 11.9
    assert t.all_workers(writer) == {"a"}
    with open(t.proxy.cfg.access_log, encoding="utf-8") as f:
        assert sum('"why":"fenced"' in line for line in f) >= 24


def test_the_last_write_counts(world):
    """A write after a's return goes home, and reads follow that one."""
    t = Twins(world)
    writer = t.home["a"][1]
    t.lose_a()
    assert t.where(writer, "POST") == "b"
    t.bring_a_back()
    assert t.where(writer) == "b"
    assert t.where(writer, "POST") == "a"
    assert t.all_workers(writer) == {"a"}


def test_a_dead_datacenter_is_not_waited_for(world):
    """Availability wins: what was written to b cannot be read while b is dead, the rest can."""
    t = Twins(world)
    writer = t.home["a"][1]
    t.lose_a()
    assert t.where(writer, "POST") == "b"
    t.bring_a_back()
    assert t.where(writer) == "b"
    t.backends["b"].close()
    t.backends["b"].drop()
    assert t.all_workers(writer) == {"a"}


def test_a_refused_write_raises_nothing(world):
    t = Twins(world)
    for b in t.backends.values():
        b.custom["/t/no"] = lambda c, r: c.respond(r, 403)
    writer = t.home["a"][1]
    t.lose_a()
    assert fetch(t.address, ask(writer, "/t/no", "POST"), b"x").status == 403
    assert fetch(t.address, ask(writer, "/t/data", "OPTIONS")).status == 200
    t.bring_a_back()
    assert t.all_workers(writer) == {"a"}


def test_an_unanswered_write_counts(world):
    """b took the write and was not heard of again: it may well have it."""
    t = Twins(world)
    writer = t.home["a"][1]
    t.lose_a()
    assert fetch(t.address, ask(writer, "/t/reset/2", "POST"), b"x").status == 502
    t.bring_a_back()
    assert t.all_workers(writer) == {"b"}


def test_the_backends_version_lifts_it(world):
    """b says where in its log the write is; as soon as anybody's read from a shows that a has come so far, the
    writer is home."""
    t = Twins(world, version="x-position")
    writer, other = t.home["a"][1:3]
    t.lose_a()
    t.version["b"] = "1000"
    assert t.where(writer, "POST") == "b"
    t.version["a"] = "999"
    t.bring_a_back()
    assert t.where(other) == "a"
    assert t.all_workers(writer) == {"b"}
    for nonsense in ("", "-1", "1001x", "99999999999999999999999"):
        t.version["a"] = nonsense
        assert t.where(other) == "a"
    assert t.all_workers(writer) == {"b"}
    t.version["a"] = "1000"
    assert t.where(other) == "a"
    assert t.all_workers(writer) == {"a"}


def test_it_outlives_a_worker_and_a_reload(world):
    t = Twins(world)
    writer, other = t.home["a"][1:3]
    t.lose_a()
    assert t.where(writer, "POST") == "b"
    t.bring_a_back()
    old = t.proxy.workers()
    for pid in old:
        t.proxy.expected_deaths += 1
        os.kill(pid, signal.SIGKILL)
        proc.wait_for(lambda: pid not in t.proxy.workers() and len(t.proxy.workers()) == 2, what="another worker")
    proc.wait_for(lambda: t.where(other) == "a", what="workers that know where a is")
    assert t.all_workers(writer) == {"b"}
    t.proxy.cfg.data["datacenters"].reverse()
    generation = t.proxy.status()["generation"]
    t.proxy.reload(t.proxy.cfg.text())
    proc.wait_for(lambda: all(w["generation"] > generation for w in t.proxy.status()["workers"]), what="the reload")
    proc.wait_for(lambda: t.where(other) == "a", what="a in the new configuration")
    assert t.all_workers(writer) == {"b"}


def test_a_late_read_is_not_hedged_away(world):
    """Reads that are late are asked in b, too, and b answers first; not those of who wrote to a a moment ago."""
    t = Twins(world, workers=1)
    writer, bystander = t.home["a"][:2]
    for _ in range(40):
        assert t.where(bystander) == "a"
    assert t.where(writer, "POST") == "a"

    def slow(c, r):
        time.sleep(0.6) # a backend that takes its time
        c.respond(r, 200, [("x-from", "a")])
    t.backends["a"].custom["/t/data"] = slow
    assert t.where(bystander) == "b"
    assert t.where(writer) == "a"


def test_off(world):
    t = Twins(world, fence="off")
    writer = t.home["a"][1]
    t.lose_a()
    assert t.where(writer, "POST") == "b"
    t.bring_a_back()
    assert t.all_workers(writer) == {"a"}
