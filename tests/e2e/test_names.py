# SPDX-License-Identifier: MIT
"""Endpoints by name, with a name server that changes its mind, is slow, lies, or is gone."""
import time

import pytest

from lib import config, proc
from lib.dns import Dns, MANNERS
from lib.frames import fetch, get
from lib.load import Load, bad, quantile
from lib.peers import Backend

NAME = "messenger.test"


class Named:
    """One datacenter, one endpoint by name; backends for it on 127.0.0.1 and 127.0.0.2, same port."""

    def __init__(self, world, addresses=("127.0.0.1",), **more):
        self.world = world
        self.one = world.backend("one")
        self.port = self.one.address[1]
        self.two = world.keep(Backend("two", address=("127.0.0.2", self.port)))
        self.dns = world.keep(Dns({NAME: list(addresses)}))
        self.cfg = world.config(datacenters={"a": ["%s:%d" % (NAME, self.port)]}, extra={"resolver": self.dns.where}, **more)

    def start(self, **more):
        self.proxy = self.world.proxy(self.cfg, **more)
        return self.proxy

    def ask(self):
        return fetch(self.proxy.address, get("/t/x"))

    def load(self, rate=60, connections=4):
        return Load(self.proxy.address, [("x", get("/t/x"), None)], rate=rate, connections=connections)

    def state(self):
        return self.proxy.status()["datacenters"][0]["state"]


def test_follows_a_change(world):
    """Workers and checks go where the name goes once its time to live is over; nobody notices."""
    n = Named(world, retry=config.PATIENT)
    n.start()
    proc.wait_for(lambda: n.ask().status == 200, what="the name is known")
    load = n.load()
    proc.wait_for(lambda: len(n.one.seen(path="/t/x")) > 20 and n.one.checks > 2, what="traffic at the first address")
    assert not n.two.seen() and not n.two.checks
    n.dns.names[NAME] = ["127.0.0.2"]
    proc.wait_for(lambda: n.two.checks > 2 and len(n.two.seen(path="/t/x")) > 20, what="traffic at the second address")

    def left():
        before = len(n.one.seen(path="/t/x")), n.one.checks
        time.sleep(0.5) # half a second without anything is what is waited for
        return (len(n.one.seen(path="/t/x")), n.one.checks) == before
    proc.wait_for(left, 10, what="the end of traffic at the first address")
    samples = load.stop()
    assert not bad(samples), bad(samples)[:3]
    assert n.state() == "up"


@pytest.mark.parametrize("manner", [m for m in MANNERS if m != "good"])
def test_the_last_good_addresses_stay(world, manner):
    """Whatever becomes of DNS: requests and checks go on where they went, also after a reload and
    through new connections; and nothing waits for it."""
    n = Named(world, retry=config.PATIENT)
    p = n.start()
    proc.wait_for(lambda: n.ask().status == 200, what="the name is known")
    load = n.load()
    n.dns.manner = manner
    n.dns.wait_asked(NAME, 8)
    n.one.drop()
    generation = p.status()["generation"]
    n.cfg.comment = "as before"
    p.reload(n.cfg.text())
    proc.wait_for(lambda: all(w["generation"] > generation for w in p.status()["workers"]), what="the reload")
    checks = n.one.checks
    n.dns.wait_asked(NAME, 8)
    proc.wait_for(lambda: n.one.checks > checks + 2, what="checks after the reload")
    assert n.ask().status == 200
    assert n.state() == "up"
    samples = load.stop()
    # What was under way on the dropped connections is asked again, although there is no other endpoint.
    assert samples and not bad(samples), bad(samples)[:5]
    assert quantile(samples, 0.99) < 1
    n.dns.manner = "good"
    n.dns.names[NAME] = ["127.0.0.2"]
    proc.wait_for(lambda: n.ask().status == 200 and n.two.seen(path="/t/x"), 15, what="the new address, now that DNS is back")


def test_begins_without_dns(world):
    """A name that never resolved: said so, and it comes as soon as DNS does."""
    n = Named(world)
    n.dns.manner = "silent"
    n.start(wait=False)
    proc.wait_for(lambda: proc.listening(n.proxy.port) and proc.listening(n.proxy.admin_port), 30, what="start")
    a = n.ask()
    assert a.status == 503 and 'details="upstream-unresolved"' in a.field("proxy-status") or 'details="no-datacenter"' in a.field("proxy-status"), a.heads
    proc.wait_for(lambda: n.state() == "down", 15, what="the datacenter is down")
    assert n.proxy.status()["datacenters"][0]["endpoints"][0]["why"] == "upstream-unresolved"
    n.dns.manner = "good"
    proc.wait_for(lambda: n.ask().status == 200, 15, what="an answer")
    # and the log says what was wrong with the server
    assert any(e.get("event") == "libevent" and n.dns.where in e.get("what", "") for e in n.proxy.events())


def test_a_slow_server_delays_nobody(world):
    """Numeric endpoints beside a name whose server takes seconds; the name comes by and by."""
    n = Named(world)
    n.dns.manner, n.dns.late = "late", 1.2
    n.cfg.data["datacenters"].append({"name": "b", "endpoints": [world.backend("b").where], "check": n.cfg.data["datacenters"][0]["check"]})
    n.start()
    load = n.load(connections=20)  # clients without a name: each is at home in either datacenter
    proc.wait_for(lambda: n.one.seen(path="/t/x"), 15, what="traffic at the name")
    samples = load.stop()
    assert not bad(samples), bad(samples)[:3]
    assert quantile(samples, 0.99) < 0.8, "somebody waited for DNS"


def test_several_addresses_are_one_endpoint(world):
    """When the address in use dies, the next one is used, and nobody sees an error."""
    n = Named(world, addresses=["127.0.0.1", "127.0.0.2"])
    n.start()
    proc.wait_for(lambda: n.ask().status == 200, what="the name is known")
    load = n.load()
    proc.wait_for(lambda: len(n.one.seen(path="/t/x")) + len(n.two.seen(path="/t/x")) > 20 and n.state() == "up", what="traffic")
    dead, other = (n.one, n.two) if n.one.seen(path="/t/x") else (n.two, n.one)
    dead.close()
    dead.drop()
    before = len(other.seen(path="/t/x"))
    proc.wait_for(lambda: len(other.seen(path="/t/x")) > before + 60, 15, what="traffic at the other address")
    samples = load.stop()
    assert not bad(samples), bad(samples)[:5]
    proc.wait_for(lambda: n.state() == "up", 15, what="the datacenter is up")
