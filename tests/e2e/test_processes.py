# SPDX-License-Identifier: MIT
"""Workers and the control process die, configurations change, the service goes on."""
import os
import re
import signal
import threading
import time

import pytest

from lib import proc
from lib.frames import Raw, data, fetch, get, headers
from lib.load import Load, bad


def simple(world, **more):
    a, b = world.backend("a"), world.backend("b")
    p = world.proxy(datacenters={"a": [a.where], "b": [b.where]}, **more)
    p.a, p.b = a, b
    return p


MIX = [("get", get("/t/x"), None), ("post", get("/t/echo", "POST"), b"body")]


def test_roles_are_visible(world):
    p = simple(world, workers=2)
    proc.wait_for(lambda: len(p.workers()) == 2 and p.control() not in p.workers(), 5, what="two workers and a control process")


def test_sigkill_of_a_worker(world):
    """Other workers' streams go on; the dead one is replaced within a second; no queued connection is lost."""
    p = simple(world, workers=2)
    proc.wait_for(lambda: len(p.workers()) == 2, 5, what="two workers")
    with_stream = []
    for _ in range(16):
        c = Raw(p.address)
        c.send(headers(1, get("/t/echo", "POST"), end=False))
        c.run(lambda c=c: c.stream(1).status == 200)
        with_stream.append(c)
    victim = p.workers()[0]
    p.expected_deaths += 1
    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    # connections that arrive meanwhile are all answered
    answered = [fetch(p.address, get("/t/x"), seconds=5).status for _ in range(40)]
    assert answered == [200] * 40
    proc.wait_for(lambda: len(p.workers()) == 2 and victim not in p.workers(), 2, what="a new worker")
    assert time.monotonic() - began < 2.5
    living = 0
    for c in with_stream:
        c.send(data(1, b"still here", True))
        c.run(lambda c=c: c.done(1) or c.closed, 2)
        living += c.stream(1).body == b"still here"
        c.close()
    assert 0 < living < 16 or living == 16, living
    assert living >= 1, "the other worker's streams died too"


@pytest.mark.slow
def test_sigkill_of_control_under_load(world):
    """The data path does not notice; toggles work again."""
    p = simple(world, workers=2)
    load = Load(p.address, MIX, rate=100, connections=4)
    time.sleep(1)
    old = p.control()
    p.expected_deaths += 1
    os.kill(old, signal.SIGKILL)
    proc.wait_for(lambda: p.role("control") and p.control() != old and p.ready(), 5, what="a new control process")
    p.ctl("mode", "set", "core-only", "--for", "1m", "--reason", "test")
    proc.wait_for(lambda: fetch(p.address, get("/off/x")).status == 503 and fetch(p.address, get("/opt/x")).status == 503, 3, what="the toggle")
    p.ctl("mode", "auto")
    proc.wait_for(lambda: fetch(p.address, get("/opt/x")).status == 200, 3, what="the toggle back")
    assert not bad(load.stop())


def test_override_survives_a_dead_control(world):
    p = simple(world)
    p.ctl("mode", "set", "core-only", "--for", "5m", "--reason", "test")
    proc.wait_for(lambda: fetch(p.address, get("/opt/x")).status == 503, 3)
    old = p.control()
    p.expected_deaths += 1
    os.kill(old, signal.SIGKILL)
    for _ in range(20):
        assert fetch(p.address, get("/opt/x")).status == 503, "the mode was lost"
    proc.wait_for(lambda: p.role("control") and p.control() != old and p.ready(), 5)
    assert fetch(p.address, get("/opt/x")).status == 503
    assert "core-only" in p.ask("GET", "/api/v1/status")[1]


@pytest.mark.slow
def test_kills_do_not_leak(world):
    """Worker and control killed again and again: the supervisor's descriptors and memory stay."""
    p = simple(world, workers=2)
    rounds = 12
    for i in range(rounds):
        if i == 2:
            fds, memory = proc.descriptors(p.pid), proc.rss(p.pid)
        pids = p.p.children()
        victim = pids[i % len(pids)]
        p.expected_deaths += 1
        os.kill(victim, signal.SIGKILL)
        proc.wait_for(lambda: len(p.p.children()) == len(pids) and victim not in p.p.children(), 6, what="replacement")
        proc.wait_for(lambda: p.ready(), 6, what="readiness")
        assert fetch(p.address, get("/t/x")).status == 200
    assert proc.descriptors(p.pid) == fds
    assert proc.rss(p.pid) < memory * 1.2 + (1 << 20)


# -- reload --

def test_reload_under_load_drops_nothing(world):
    p = simple(world, workers=2)
    load = Load(p.address, MIX, rate=100, connections=4)
    with Raw(p.address, timeout=20) as c:
        c.send(headers(1, get("/t/echo", "POST"), end=False))
        c.run(lambda: c.stream(1).status == 200)
        for i in range(5):
            p.cfg.comment = "round %d" % i
            p.reload(p.cfg.text())
            proc.wait_for(lambda i=i: p.status().get("generation", p.status().get("config_generation")) == i + 2, 5, what="generation %d" % (i + 2))
        assert c.goaway is None, "the long-lived stream was asked to leave"
        c.send(data(1, b"long lived", True))
        c.run(lambda: c.done(1))
        assert c.stream(1).body == b"long lived"
    samples = load.stop()
    assert not bad(samples), bad(samples)[:3]


def test_reload_changes_routes(world):
    p = simple(world)
    assert fetch(p.address, get("/new/x")).status == 200
    p.cfg.off.append("/new/**")
    p.reload(p.cfg.text())
    proc.wait_for(lambda: fetch(p.address, get("/new/x")).status == 503, 5, what="the new route")


def test_bad_reload_is_refused(world):
    p = simple(world)
    good = p.cfg.text()
    p.reload(good + "\nnonsense: [1,\n")
    proc.wait_for(lambda: re.search(r"error", p.p.log()), 5, what="a complaint")
    assert fetch(p.address, get("/t/x")).status == 200
    p.reload(good.replace("workers", "wrokers"))
    time.sleep(0.3)
    assert fetch(p.address, get("/t/x")).status == 200 and p.p.running()
    p.reload(good)
    assert fetch(p.address, get("/t/x")).status == 200


# -- stop --

def test_sigterm_drains(world):
    """Two-step GOAWAY; open streams end; exit 0."""
    p = simple(world, drain="10s")
    with Raw(p.address, timeout=10) as c:
        c.send(headers(1, get("/t/slow/1500")))
        assert p.a.wait(lambda: p.a.seen(path="/t/slow/1500") or p.b.seen(path="/t/slow/1500"))
        p.p.kill(signal.SIGTERM)
        assert c.run(lambda: c.goaway is not None, 2), "no GOAWAY"
        assert c.goaway == 0 and c.goaway_last == 0x7FFFFFFF
        assert c.run(lambda: c.done(1)), "the open stream was cut"
        assert c.stream(1).status == 200 and c.stream(1).ended
        c.run(lambda: c.closed, 5)
        assert c.goaway_last == 1, "no second GOAWAY"
    assert p.p.p.wait(8) == 0


def test_sigterm_drain_is_bounded(world):
    p = simple(world, drain="1s")
    with Raw(p.address, timeout=10) as c:
        c.send(headers(1, get("/t/never")))
        p.a.wait(lambda: p.a.seen(path="/t/never") or p.b.seen(path="/t/never"))
        began = time.monotonic()
        p.p.kill(signal.SIGTERM)
        p.p.p.wait(6)
        assert time.monotonic() - began < 5


def test_second_sigterm_is_now(world):
    p = simple(world, drain="30s")
    with Raw(p.address, timeout=10) as c:
        c.send(headers(1, get("/t/never")))
        p.a.wait(lambda: p.a.seen(path="/t/never") or p.b.seen(path="/t/never"))
        p.p.kill(signal.SIGTERM)
        c.run(lambda: c.goaway is not None, 2)
        p.p.kill(signal.SIGTERM)
        p.p.p.wait(4)


def test_supervisor_sigkill_leaves_nothing(world):
    p = simple(world)
    brood = p.p.children()
    p.p.kill(signal.SIGKILL)
    p.p.p.wait(5)
    proc.wait_for(lambda: not any(proc.alive(pid) for pid in brood), 20, what="end of the orphans")


def test_status_code_when_port_is_taken(world):
    a = world.backend("a")
    cfg = world.config(datacenters={"a": [a.where]})
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", cfg.port))
        s.listen(1)
        p = world.proxy(cfg, wait=False)
        assert p.p.p.wait(20) != 0
        assert re.search(r"%d" % cfg.port, p.p.log()), p.p.log()


# -- toggles --

def test_mode_core_only(world):
    p = simple(world)
    assert fetch(p.address, get("/opt/x")).status == 200
    p.ctl("mode", "set", "core-only", "--for", "30m", "--reason", "drill")
    proc.wait_for(lambda: fetch(p.address, get("/opt/x")).status == 503, 3, what="the mode on the workers")
    a = fetch(p.address, get("/opt/x"))
    assert "mode-refused" in a.field("proxy-status"), a.heads
    assert int(a.field("retry-after")) >= 1
    assert fetch(p.address, get("/t/x")).status == 200, "core was refused"
    p.ctl("mode", "auto")
    proc.wait_for(lambda: fetch(p.address, get("/opt/x")).status == 200, 3, what="back to normal")


def test_retry_after_is_jittered(world):
    p = simple(world)
    values = {fetch(p.address, get("/off/x") + [("authorization", "Bearer u%d" % i)]).field("retry-after") for i in range(40)}
    assert len(values) > 1, values


def test_feature_off_and_on(world):
    p = simple(world)
    p.ctl("feature", "opt", "off", "--for", "10m", "--reason", "drill")
    proc.wait_for(lambda: fetch(p.address, get("/opt/x")).status == 503, 3)
    assert "feature-off" in fetch(p.address, get("/opt/x")).field("proxy-status")
    p.ctl("feature", "opt", "on", "--for", "10m", "--reason", "drill")
    proc.wait_for(lambda: fetch(p.address, get("/opt/x")).status == 200, 3)


def test_core_feature_off_needs_force(world):
    p = simple(world)
    p.ctl("feature", "test", "off", "--for", "1m", "--reason", "x", expect=None)
    time.sleep(0.3)
    assert fetch(p.address, get("/t/x")).status == 200, "a core feature was switched off without --force"


def test_dc_drain(world):
    p = simple(world)
    p.ctl("dc", "drain", "a", "--for", "10m", "--reason", "work")

    def only_b():
        n = len(p.a.seen(path="/t/drained"))
        for _ in range(20):
            assert fetch(p.address, get("/t/drained")).status == 200
        return len(p.a.seen(path="/t/drained")) == n
    proc.wait_for(only_b, 5, what="nothing to a")


def test_refusal_arrives_while_the_body_is_still_sent(world):
    p = simple(world)
    with Raw(p.address) as c:
        c.send(headers(1, get("/off/x", "POST"), end=False) + data(1, b"x" * 1000))
        assert c.run(lambda: c.stream(1).status == 503, 2)
        assert c.run(lambda: c.done(1), 2)
        assert c.ask(3, get("/t/x")).status == 200
    assert not p.a.seen(path="/off/x") and not p.b.seen(path="/off/x")


assert threading
