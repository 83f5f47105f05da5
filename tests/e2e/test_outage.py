# SPDX-License-Identifier: MIT
"""Three in the morning: what the operator's machines do to us. Slow backends, a Redis
that hangs, full disks, no descriptors, no memory, wrong files."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time

import pytest

from lib import proc
from lib.frames import Raw, data, fetch, get, headers, window
from lib.load import Load, bad, quantile
from test_datacenters import Messenger, as_user, both_dead, fetch_quiet, pair, stale_scene, until_kept


# -- slow is not dead --

def test_a_slow_backend_is_not_cut(world):
    """Answers that honestly take a second: no retry, no verdict, no error. On a machine that gives the
    backend no time for 40 ms that is a moment's doubt, and what waits may be asked twice."""
    p = pair(world)
    with Raw(p.address, timeout=20) as c:
        ids = list(range(1, 41, 2))
        for n in ids:
            c.send(headers(n, get("/t/slow/1000")))
        c.run(lambda: all(c.done(n) for n in ids))
        assert [c.stream(n).status for n in ids] == [200] * len(ids)
    twice = len(p.a.seen(path="/t/slow/1000")) + len(p.b.seen(path="/t/slow/1000")) - len(ids)
    doubts = p.metric("firebreak_upstream_doubts_total")
    assert doubts <= 4
    assert twice == p.metric("firebreak_upstream_retries_total") == p.metric("firebreak_upstream_hedges_total")
    assert doubts or twice == 0, "some were asked twice"
    assert p.fault("upstream-silent") == 0
    assert {d["state"] for d in p.status()["datacenters"]} == {"up"}


# -- Redis --

def test_redis_stopped_and_continued(world):
    """Both datacenters dead and Redis hanging: what memory holds is answered at once, the
    rest is refused in bounded time; when Redis goes on, so does what it holds."""
    redis = world.redis()
    m = stale_scene(world, redis.port)
    until_kept(m, redis.port)
    both_dead(m)
    proc.wait_for(lambda: fetch(m.address, as_user(1, "/v1/rooms")).field("cache-status"), 5, what="a stale answer")
    redis.kill(signal.SIGSTOP)
    try:
        for u in range(8):
            began = time.monotonic()
            assert fetch(m.address, as_user(u, "/v1/rooms")).status in (200, 503)
            assert time.monotonic() - began < 2
            for path in ("/livez", "/metrics", "/api/v1/status"):
                assert m.proxy.ask("GET", path, seconds=1)[0] == 200
    finally:
        redis.kill(signal.SIGCONT)
    proc.wait_for(lambda: all(fetch(m.address, as_user(u, "/v1/rooms")).status == 200 for u in range(8)), 10, what="what Redis holds")


def test_redis_killed_and_back(world):
    """Redis dies under load and comes back empty: nothing fails, and state is kept again."""
    redis = world.redis()
    m = stale_scene(world, redis.port)
    load = Load(m.address, [("rooms", as_user(i % 8, "/v1/rooms"), None) for i in range(8)], rate=100, connections=4)
    redis.kill(signal.SIGKILL)
    proc.wait_for(lambda: m.proxy.fault("redis-down") > 0, 10, what="redis-down")
    argv = list(redis.argv)
    world.process(argv, "redis-again")
    proc.wait_for(lambda: proc.listening(redis.port), what="Redis again")

    def kept():
        r = subprocess.run(["redis-cli", "-p", str(redis.port), "dbsize"], capture_output=True, text=True)
        return r.stdout.strip().isdigit() and int(r.stdout) >= 8
    proc.wait_for(kept, 15, what="state in the new Redis")
    samples = load.stop()
    assert not bad(samples), bad(samples)[:3]
    assert quantile(samples, 0.99) < 1


# -- logs --

def test_full_disk_under_the_log(world):
    """The access log cannot grow: lines are lost and counted, nothing else happens."""
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    p = pair(world, limits_process=small_files)
    with Raw(p.address) as c:
        for n in range(1, 401, 2):
            assert c.ask(n, get("/t/x")).status == 200
    assert os.path.getsize(p.cfg.access_log) <= 20000
    proc.wait_for(lambda: p.metric("firebreak_log_dropped_total") > 0, 5, what="dropped lines in the metrics")
    assert p.p.running() and len(p.workers()) == 2
    with open(p.cfg.access_log, encoding="ascii") as f:
        for line in f.read().split("\n")[:-1]:
            json.loads(line)


def test_nobody_reads_the_log(world):
    """stdout is a pipe whose reader hangs, for events and access lines: requests do not wait for it, nor does the
    admin side."""
    a = world.backend("a")
    cfg = world.config(datacenters={"a": [a.where]}, workers=1)
    cfg.data["log"]["access"] = cfg.data["log"]["events"] = "stdout"
    read, write = os.pipe()
    try:
        p = world.proxy(cfg, limits_process=lambda: os.dup2(write, 1))
        with Raw(p.address, timeout=20) as c:
            for n in range(1, 1001, 2): # far more than a pipe holds
                assert c.ask(n, get("/t/x?" + "x" * 100)).status == 200
        assert p.metric("firebreak_log_dropped_total") > 0
        for path in ("/livez", "/metrics", "/api/v1/status"):
            assert p.ask("GET", path, seconds=1)[0] == 200
        p.ctl("mode", "set", "core-only", "--for", "1m", "--reason", "test") # an event of control's
        assert fetch(p.address, get("/opt/x")).status == 503 and fetch(p.address, get("/t/x")).status == 200
        p.stop()
    finally:
        os.close(read)
        os.close(write)


def test_logs_follow_a_reload_and_rotation(world):
    p = pair(world, workers=1)
    fetch(p.address, get("/t/first"))
    first, second = p.cfg.access_log, p.cfg.access_log + ".2"

    def holds(path, what):
        fetch(p.address, get(what))
        try:
            with open(path, encoding="ascii") as f:
                return what in f.read()
        except FileNotFoundError:
            return False
    p.cfg.data["log"]["access"] = second
    p.reload(p.cfg.text())
    proc.wait_for(lambda: holds(second, "/t/second"), what="lines in the new file")
    os.rename(second, second + ".old")
    p.p.kill(signal.SIGUSR1)
    proc.wait_for(lambda: holds(second, "/t/third"), what="lines in the reopened file")
    # one that cannot be opened is refused, and the old one stays
    p.cfg.data["log"]["access"] = os.path.join(str(world.folder), "no", "such", "folder")
    p.reload(p.cfg.text())
    proc.wait_for(lambda: re.search(r"cannot open log .*such/folder: No such file", p.p.log()), what="a complaint")
    assert holds(second, "/t/fourth") or proc.wait_for(lambda: holds(second, "/t/fourth"))
    with open(first, encoding="ascii") as f:
        assert "/t/second" not in f.read().split("/t/first")[0]


# -- limits of the machine --

def test_few_descriptors(world):
    """64 descriptors: connections beyond are refused by name; those that are in are served, and when some
    leave, others come in. No datacenter is blamed."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    p = pair(world, workers=1, limits_process=few)
    held = []
    for _ in range(100):
        try:
            held.append(Raw(p.address, timeout=1))
        except OSError:
            break
    for c in held[:10]:
        assert c.ask(1, get("/t/x")).status == 200
    # upstream connections made anew find descriptors, however many clients there are
    p.a.drop()
    p.b.drop()
    for c in held[:10]:
        assert c.ask(3, get("/t/x")).status == 200
    assert p.p.running() and len(p.workers()) == 1
    assert p.fault("connect-failed") == 0
    assert {d["state"] for d in p.status()["datacenters"]} == {"up"}
    for c in held:
        c.close()
    proc.wait_for(lambda: fetch_quiet(p.address, get("/t/x")) == 200, 5, what="an answer after the crowd")
    assert p.fault("connections-full") > 0


def test_memory_limit(world):
    """The buffers' limit is reached by requests that stall: they are refused or reset; others go on."""
    p = pair(world, workers=1, limits={"memory": "1MiB", "stream_window": "256KiB", "connection_window": "4MiB"})
    p.a.custom["/t/hold"] = p.b.custom["/t/hold"] = lambda conversation, request: None
    with Raw(p.address, timeout=3) as c:
        c.run(lambda: c.settings, 2)
        for n in range(1, 81, 2): # bodies nobody takes
            c.send(headers(n, get("/t/hold", "POST"), end=False) + b"".join(data(n, b"x" * 16000) for _ in range(4)))
        c.run(lambda: c.closed, 1)
    proc.wait_for(lambda: fetch_quiet(p.address, get("/t/x")) == 200, 5, what="an answer afterwards")
    assert p.p.running() and not p.p.reports()


# -- wrong files, taken ports --

def refused_start(world, cfg, code, pattern):
    p = world.proxy(cfg, wait=False)
    assert p.p.p.wait(20) == code, p.p.log()
    assert re.search(pattern, p.p.log()), p.p.log()
    return p


def test_certificate_missing_or_wrong(world, certs):
    a = world.backend("a")

    def with_pair(certificate, key):
        cfg = world.config(datacenters={"a": [a.where]})
        cfg.data["listen"][1].update(certificate=str(certificate), key=str(key))
        return cfg
    refused_start(world, with_pair(world.folder / "no.pem", certs / "ecdsa.key"), 78, r"no\.pem")
    refused_start(world, with_pair(certs / "ecdsa.pem", certs / "rsa.key"), 78, r"key \S+rsa\.key does not belong to certificate \S+ecdsa\.pem")
    refused_start(world, with_pair(certs / "ecdsa.pem", certs / "other.key"), 78, r"yaml:\d+:\d+: error: key \S+other\.key does not belong")
    broken = world.folder / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    refused_start(world, with_pair(broken, certs / "ecdsa.key"), 78, r"broken\.pem")


def test_log_that_cannot_be_opened(world):
    a = world.backend("a")
    cfg = world.config(datacenters={"a": [a.where]})
    cfg.data["log"]["events"] = "/proc/no-such/events.log"
    refused_start(world, cfg, 1, r"cannot open log /proc/no-such/events\.log: No such file")


def test_admin_port_taken(world):
    a = world.backend("a")
    cfg = world.config(datacenters={"a": [a.where]})
    with socket.socket() as s:
        s.bind(("127.0.0.1", cfg.admin_port))
        s.listen(1)
        refused_start(world, cfg, 1, r"admin.*%d.*another process listens there" % cfg.admin_port)
    assert not proc.listening(cfg.port), "something was left listening"


@pytest.mark.parametrize("with_redis", [False, True], ids=["memory", "redis"])
def test_stale_is_not_moved_by_the_mode(world, with_redis):
    """An operator forces core-only and island while all is well, then auto: stale never leaks, core goes on."""
    m = Messenger(world, redis=world.redis().port if with_redis else None, workers=1)
    m.fill()
    for mode in ("core-only", "island"):
        m.proxy.ctl("mode", "set", mode, "--for", "5m", "--reason", "drill", "--force")
        proc.wait_for(lambda mode=mode: m.proxy.status()["mode"] == mode, what=mode)
        for u in range(8):
            a = fetch(m.address, as_user(u, "/v1/rooms/r%d/messages" % u))
            assert a.status == 200 and b"secret of u%d" % u in a.body
        assert fetch(m.address, as_user(1, "/v1/shopping")).status == 503
    m.proxy.ctl("mode", "auto")
    proc.wait_for(lambda: fetch(m.address, as_user(1, "/v1/shopping")).status == 200, 5, what="normal")


# -- a pause is not an end --

def paused(world, **more):
    """A backend stopped in the middle of a download and of an upload that cannot be sent twice, both already judged:
    (proxy, backend, connection, octets of the upload still to be sent)."""
    state = world.folder / "state"
    state.mkdir()
    port = proc.free_port()
    backend = world.process([proc.binary("firebreak-bench"), "backend", "--listen", "127.0.0.1:%d" % port, "--state", state], "backend")
    proc.wait_for(lambda: proc.listening(port), what="start of the backend")
    p = world.proxy(datacenters={"a": ["127.0.0.1:%d" % port]}, messenger=True, checks=False, retry={"body": "16KiB", **more})
    c = Raw(p.address, timeout=20)
    c.auto_window = False
    c.send(headers(1, get("/v1/media/x?bytes=1000000")))
    c.send(headers(3, get("/v1/media", "POST", "example.com", "http", ("authorization", "Bearer u1.t")), end=False), data(3, b"u" * 16000),
           data(3, b"u" * 16000))
    assert c.run(lambda: len(c.stream(1).body) == 65535), c.stream(1)
    backend.kill(signal.SIGSTOP)
    proc.wait_for(lambda: p.status()["datacenters"][0]["state"] != "up", 10, what="the verdict")
    return p, backend, c


def test_a_paused_backend_ends_what_it_had_begun(world):
    """A backend that stands still for a while (garbage collection, a moved virtual machine): what waits for an answer goes
    elsewhere, but a download under way and an upload too large to be sent again are not cut."""
    p, backend, c = paused(world, ping_stream_timeout="30s")
    backend.kill(signal.SIGCONT)
    c.auto_window = True
    c.send(window(0, 1 << 20), window(1, 1 << 20), data(3, b"u" * 16000, end=True))
    assert c.run(lambda: c.done(1) and c.done(3)), (c.stream(1), c.stream(3), p.metrics())
    assert c.stream(1).ended and len(c.stream(1).body) == 1000000
    assert c.stream(3).ended and c.stream(3).status == 201 and json.loads(c.stream(3).body)["bytes"] == 48000


def test_a_silent_backend_is_given_up_in_the_end(world):
    p, backend, c = paused(world, ping_stream_timeout="1s")
    c.send(window(0, 1 << 20))  # not for the download: for the answer to the upload
    assert c.run(lambda: c.done(1) and c.done(3)), (c.stream(1), c.stream(3))
    assert c.stream(1).reset is not None and not c.stream(1).ended, "a cut body looks whole"
    assert c.stream(3).status in (503, 504)
    backend.kill(signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.plain
def test_silence_that_comes_and_goes(world):
    """A datacenter that stalls for most of a second again and again: what it did before does not teach us
    to wait for it. (A round trip measured over a stall once made the next one tolerable.)"""
    m = Messenger(world)
    m.fill()
    load = Load(m.address, [("rooms", as_user(i % 8, "/v1/rooms"), None) for i in range(8)], rate=200, connections=8)
    for _ in range(6):
        at = load.now()
        m.signal("a", signal.SIGSTOP)
        proc.wait_for(lambda: load.now() > at + 0.7, step=0.05)
        m.signal("a", signal.SIGCONT)
        proc.wait_for(lambda: load.now() > at + 1.2, step=0.05)
    samples = load.stop()
    assert not bad(samples), bad(samples)[:3]
    slow = [s for s in samples if s.took > 0.45]
    print("%d of %d slower than 450 ms, worst %.0f ms" % (len(slow), len(samples), max(s.took for s in samples) * 1000))
    assert len(slow) <= 10, "waited for the return of a silent datacenter"
