# SPDX-License-Identifier: MIT
"""Workers and the control process die, configurations change, the service goes on."""
import http.client
import os
import re
import resource
import shutil
import signal
import threading
import time

import pytest

from lib import config, proc
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
    load = Load(p.address, MIX, rate=50, connections=4)
    held = []
    for _ in range(16):
        c = Raw(p.address)
        c.send(headers(1, get("/t/echo", "POST"), end=False))
        c.run(lambda c=c: c.stream(1).status == 200)
        held.append(c)
    victim, other = p.workers()
    lost = proc.client_ports(victim, p.port)
    began = time.monotonic()
    p.expected_deaths += 1
    os.kill(victim, signal.SIGKILL)
    # connections that arrive meanwhile are all answered
    assert [fetch(p.address, get("/t/x"), seconds=5).status for _ in range(40)] == [200] * 40
    proc.wait_for(lambda: len(p.workers()) == 2 and victim not in p.workers(), 2, what="a new worker")
    assert time.monotonic() - began < 2.5
    assert other in p.workers(), "the other worker died too"
    for c in held:
        survives = c.s.getsockname()[1] not in lost
        c.send(data(1, b"still here", True))
        c.run(lambda c=c: c.done(1) or c.closed, 5)
        assert (c.stream(1).body == b"still here") == survives, "the other worker's stream was touched"
        c.close()
    # what failed was on the dead worker's connections, when it died
    assert all(s.why == "connection lost" for s in bad(load.stop()))


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
@pytest.mark.plain
def test_kills_do_not_leak(world):
    """200 SIGKILLs of workers and control under load: each is replaced within a second, the supervisor's
    and control's descriptors and the memory of all of them stay."""
    many = 24 # so that each is grown up when its turn comes
    p = simple(world, workers=many, plain=True, tls=False)
    load = Load(p.address, MIX, rate=50, connections=4)
    brood = p.p.children()
    figures = []
    for i in range(200):
        # by age, the oldest first; every tenth time control, whoever that is now
        victim = p.control() if i % 10 == 9 else p.workers()[0]
        p.expected_deaths += 1
        os.kill(victim, signal.SIGKILL)
        brood = [pid for pid in brood if pid != victim]
        new = proc.wait_for(lambda: [pid for pid in p.p.children() if pid not in brood and pid != victim], 2, step=0.005, what="a new process")
        brood += new
        if i in (25, 50, 199):
            proc.wait_for(p.ready, 6, what="readiness")
            figures.append((proc.descriptors(p.pid), proc.descriptors(p.control()), len(brood), proc.rss(p.pid), proc.rss(p.control())))
    samples = load.stop()
    print("supervisor fds, control fds, processes, supervisor bytes, control bytes:", figures)
    assert all(s.why == "connection lost" for s in bad(samples)), [s for s in bad(samples) if s.why != "connection lost"][:3]
    assert figures[0][:1] == figures[-1][:1] and figures[0][2] == figures[-1][2] == many + 1
    assert figures[-1][1] <= figures[0][1] + 4 # admin connections come and go
    assert figures[-1][3] < figures[1][3] + (256 << 10) and figures[-1][4] < figures[1][4] + (1 << 20), figures


@pytest.mark.slow
def test_hung_worker_is_replaced(world):
    """A worker whose loop stands still (here: SIGSTOP) leaves its place to another; new connections are served."""
    p = simple(world, workers=2)
    victim = p.workers()[0]
    p.expected_deaths += 1
    os.kill(victim, signal.SIGSTOP)
    proc.wait_for(lambda: not proc.alive(victim) and len(p.workers()) == 2, 15, what="a new worker")
    assert "process.hung" in p.p.log()
    assert [fetch(p.address, get("/t/x")).status for _ in range(20)] == [200] * 20


@pytest.mark.slow
def test_hung_control_is_replaced(world):
    """Control that stands still takes with it the checks, the mode and every toggle: it leaves its place, too. The data
    path does not notice."""
    p = simple(world, workers=2)
    load = Load(p.address, MIX, rate=50, connections=4)
    victim = p.control()
    p.expected_deaths += 1
    os.kill(victim, signal.SIGSTOP)
    proc.wait_for(lambda: not proc.alive(victim) and p.role("control") and p.ready(), 15, what="a new control process")
    assert "process.hung" in p.p.log()
    p.ctl("mode", "set", "core-only", "--for", "1m", "--reason", "test")
    assert fetch(p.address, get("/opt/x")).status == 503
    assert not [s for s in bad(load.stop()) if s.status != 503]


def test_toggles_reach_every_worker(world):
    """The next request on every worker, over connections that were there before."""
    p = simple(world, workers=4)
    held = {}
    while len(held) < 4: # one connection to each worker
        c = Raw(p.address)
        assert c.ask(1, get("/opt/x")).status == 200
        mine = c.s.getsockname()[1]
        owner = next(w for w in p.workers() if mine in proc.client_ports(w, p.port))
        if owner in held:
            c.close()
        else:
            held[owner] = c
    sid = 1
    for words, status in ((["mode", "set", "core-only", "--for", "5m", "--reason", "drill"], 503), (["mode", "auto"], 200),
                          (["feature", "opt", "off", "--for", "5m", "--reason", "drill"], 503), (["feature", "opt", "auto"], 200)):
        p.ctl(*words)
        done = time.monotonic()
        for c in held.values():
            while True:
                sid += 2
                if c.ask(sid, get("/opt/x")).status == status:
                    break
                assert time.monotonic() - done < 1, "%s has not arrived" % words
    for c in held.values():
        c.close()


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


@pytest.mark.slow
def test_counters_never_fall(world):
    """Features change places in the file again and again, and workers and control are killed before, while and after
    that is read: what a scraper sees only grows, feature by feature."""
    p = simple(world, workers=2)
    features = list(p.cfg.data["features"])
    seen, fallen = {}, []
    stop = threading.Event()

    def scrape():
        while not stop.is_set():
            try:
                now = p.metrics()
            except (OSError, http.client.HTTPException):
                continue # control is being replaced
            for key, value in now.items():
                if not re.search(r"_(total|bucket|sum|count)($|\{)", key):
                    continue
                if value < seen.get(key, 0):
                    fallen.append((key, seen[key], value))
                seen[key] = value

    def kill(pid):
        p.expected_deaths += 1
        os.kill(pid, signal.SIGKILL)
        return pid
    thread = threading.Thread(target=scrape)
    load = Load(p.address, MIX + [("opt", get("/opt/x"), None)], rate=200, connections=4)
    proc.wait_for(lambda: p.metric("firebreak_exchanges_total", feature="test") > 50, what="traffic")
    thread.start()
    try:
        for i in range(12):
            gone = [kill(p.workers()[0])] if i % 4 == 1 else []
            p.cfg.data["features"] = features[i % 5:] + features[:i % 5]
            p.reload(p.cfg.text())
            if i % 4 == 2:
                gone.append(kill(p.workers()[0]))
            proc.wait_for(lambda gone=gone: not set(gone) & set(p.workers()) and p.whole() and len(p.workers()) == 2, 10, what="two workers")
            proc.wait_for(lambda i=i: {w["generation"] for w in p.status()["workers"]} == {i + 2}, 10, what="generation %d" % (i + 2))
            if i % 4 == 3:
                old = kill(p.control())
                proc.wait_for(lambda old=old: p.role("control") not in ([], [old]) and p.whole(), 10, what="a new control process")
    finally:
        stop.set()
        thread.join()
        load.stop()
    assert len(seen) > 100 and not fallen, fallen[:5]


@pytest.mark.slow
def test_event_streams_survive_twenty_reloads(world):
    """Server-sent events over TLS go on, in order and whole, while the configuration is read again and again."""
    p = simple(world, workers=2)
    tls = ("127.0.0.1", p.cfg.tls_port)
    load = Load(tls, MIX, rate=100, connections=4, tls=True)
    listeners = [Raw(tls, tls=True, timeout=20) for _ in range(4)]
    for c in listeners:
        c.send(headers(1, get("/events/50")))
        assert c.run(lambda c=c: c.stream(1).status == 200 and c.stream(1).body)
    for i in range(20):
        p.cfg.comment = "round %d" % i
        p.reload(p.cfg.text())
        proc.wait_for(lambda i=i: p.status()["generation"] == i + 2, 5, step=0.01, what="generation %d" % (i + 2))
    for c in listeners:
        assert c.run(lambda c=c: c.done(1), 20) and c.goaway is None
        assert bytes(c.stream(1).body) == b"".join(b"data: %d\n\n" % n for n in range(50))
        c.close()
    samples = load.stop()
    assert not bad(samples), bad(samples)[:3]


def test_certificate_rotation(world, certs):
    """A reload gives new connections the new certificate; streams on the old one go on. A file that is no
    certificate is refused with its name, and the one in force stays."""
    p = simple(world, workers=2)
    tls = ("127.0.0.1", p.cfg.tls_port)
    for name in ("certificate", "key"):
        own = world.folder / ("own-" + name)
        shutil.copy(p.cfg.data["listen"][1][name], own)
        p.cfg.data["listen"][1][name] = str(own)
    for name in ("certificate2", "key2"):
        del p.cfg.data["listen"][1][name]
    p.reload(p.cfg.text())
    proc.wait_for(lambda: p.status()["generation"] == 2, what="the new pair")

    def subject():
        with Raw(tls, tls=True) as c:
            assert c.ask(1, get("/t/x")).status == 200
            return c.s.getpeercert(True)
    before = subject()
    with Raw(tls, tls=True, timeout=10) as c:
        c.send(headers(1, get("/t/echo", "POST"), end=False))
        c.run(lambda: c.stream(1).status == 200)
        shutil.copy(certs / "rsa.pem", world.folder / "own-certificate")
        shutil.copy(certs / "rsa.key", world.folder / "own-key")
        p.reload()
        proc.wait_for(lambda: [subject() != before for _ in range(8)] == [True] * 8, 5, what="the new certificate on every worker")
        after = subject()
        (world.folder / "own-certificate").write_text("no certificate at all\n")
        p.reload()
        proc.wait_for(lambda: "own-certificate" in p.p.log(), 5, what="a complaint that names the file")
        assert subject() == after
        c.send(data(1, b"old but open", True))
        c.run(lambda: c.done(1))
        assert c.stream(1).body == b"old but open"


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


@pytest.mark.parametrize("who", ["worker", "control"])
def test_lost_reload_message_is_sent_again(world, who):
    """A process without a free descriptor cannot take the new configuration's bytes. Once it can, it does."""
    p = simple(world, workers=2)
    pid = p.control() if who == "control" else p.workers()[0]
    proc.wait_for(lambda: len([e for e in p.events() if e["event"] in ("worker.started", "control.started")]) == 3, what="three that have begun")

    def lost():
        return [e for e in p.events() if e["event"] in ("config.rejected", "config.not_applied")]

    def everywhere():
        s = p.status()
        return {s["generation"]} | {w["generation"] for w in s["workers"]} == {2}
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, limits[1]))
    try:
        p.cfg.off.append("/new/**")
        p.reload(p.cfg.text())
        proc.wait_for(lost, 10, what="a message that is lost")
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    proc.wait_for(everywhere, 10, what="the new configuration everywhere")
    assert [fetch(p.address, get("/new/x")).status for _ in range(8)] == [503] * 8
    assert pid in p.workers() + [p.control()]
    assert len([e for e in p.events() if e["event"] == "config.reloaded"]) == 1


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


def test_sigterm_leaves_nothing(world):
    """Under load and with a Unix socket: exit 0, no process, no port, no socket file; who connects during the
    drain is refused at once."""
    path = "/tmp/fb-%d.sock" % os.getpid()
    p = simple(world, drain="5s", listeners=[{"address": "unix:" + path}])
    brood = p.p.children()
    assert fetch(path, get("/t/x")).status == 200
    with Raw(p.address, timeout=10) as c:
        c.send(headers(1, get("/t/slow/1000")))
        assert p.a.wait(lambda: p.a.seen(path="/t/slow/1000") or p.b.seen(path="/t/slow/1000"))
        p.p.kill(signal.SIGTERM)
        assert c.run(lambda: c.goaway is not None, 2)
        proc.wait_for(lambda: not proc.listening(p.port), 1, what="refusal of new connections")
        assert c.run(lambda: c.done(1)) and c.stream(1).status == 200
    assert p.p.p.wait(8) == 0
    assert not any(proc.alive(pid) for pid in brood)
    assert not os.path.exists(path) and not proc.listening(p.admin_port)


def test_sigterm_answers_who_is_in_the_queue(world):
    """A connection that waits in the kernel's queue when the end is told is taken and answered."""
    p = simple(world, workers=1, drain="5s", retry=config.PATIENT)
    worker = p.workers()[0]
    os.kill(worker, signal.SIGSTOP)
    waiting = [Raw(p.address, timeout=5) for _ in range(300)] # more than two turns accept
    for c in waiting:
        c.send(headers(1, get("/t/x")))
    p.p.kill(signal.SIGTERM)
    proc.wait_for(lambda: "service.draining" in p.p.log(), what="the drain")
    os.kill(worker, signal.SIGCONT)
    for c in waiting:
        assert c.run(lambda c=c: c.done(1)) and c.stream(1).status == 200, "it was lost"
        assert c.run(lambda c=c: c.goaway == 0, 2)
        c.close()
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
