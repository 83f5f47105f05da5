# SPDX-License-Identifier: MIT
"""Silence found before anybody waits for it, slowness left alone, and what both may cost."""
import signal
import time
from concurrent import futures

import grpc
import pytest

from lib import proc
from lib.config import PATIENT
from lib.frames import Raw, fetch, get, headers
from lib.load import Load, bad
from test_datacenters import Messenger, as_user, mix, pair


def settled(metric):
    """Workers publish as they go: read until twice the same."""
    last = [None]

    def same():
        now = metric()
        was, last[0] = last[0], now
        return now == was
    proc.wait_for(same, what="counters at rest")
    return last[0]


@pytest.mark.plain
def test_requests_on_a_dead_connection_are_asked_elsewhere(world):
    """Backends that take 90 ms; one datacenter stops. Nothing fails, and what waited there was hedged."""
    m = Messenger(world)
    for d in "ab":
        for port in m.ports[d]:
            assert fetch(("127.0.0.1", port), get("/_fault?latency=90", "PUT")).status < 300
    load = Load(m.address, mix(), rate=150, connections=8)
    proc.wait_for(lambda: load.now() > 2, what="a learned expectation")
    m.signal("a", signal.SIGSTOP)
    try:
        proc.wait_for(lambda: load.now() > 5, what="three seconds of silence")
        samples = load.stop()
    finally:
        m.signal("a", signal.SIGCONT)
    assert not bad(samples), bad(samples)[:3]
    assert m.proxy.metric("firebreak_upstream_hedges_won_total") > 0
    assert max(s.took for s in samples) < 1


@pytest.mark.plain
def test_a_pause_of_the_only_endpoint_is_waited_out(world, tmp_path):
    """It stands still for a quarter of a second now and then, as a garbage collector does: reads have
    nowhere else to go, writes without a key may not, and none of them fails."""
    port = proc.free_port()
    backend = world.process([proc.binary("firebreak-bench", True), "backend", "--listen", "127.0.0.1:%d" % port, "--state", tmp_path], "backend")
    proc.wait_for(lambda: proc.listening(port), what="start of the backend")
    p = world.proxy(datacenters={"a": ["127.0.0.1:%d" % port]}, messenger=True, plain=True, checks=False, extra={"overload": {"wait": "off"}})
    assert fetch(p.address, as_user(1, "/v1/rooms/r1", "PUT"), b"{}").status < 300
    write = as_user(1, "/v1/rooms/r1/messages", "POST", ("content-type", "application/json"))
    load = Load(p.address, [("read", as_user(1, "/v1/app/calls"), None), ("write", write, b'{"text": "x"}'), ("kept", as_user(1, "/v1/rooms"), None)],
                rate=200)
    for n in range(5):
        proc.wait_for(lambda n=n: load.now() > n + 1, what="a second of load")
        backend.kill(signal.SIGSTOP)
        time.sleep(0.25)  # how long it stands still is the subject
        backend.kill(signal.SIGCONT)
    load.wait_answers(50, since=load.now())
    samples = load.stop()
    assert not bad(samples), bad(samples)[:5]
    assert max(s.took for s in samples) > 0.2, "nothing waited"


@pytest.mark.parametrize("workers", (1, 2, 4))
def test_a_retry_storm_cannot_happen(world, workers):
    """Every answer of every datacenter is a failure that may be tried elsewhere: the backends, by their own count, get a fifth
    more than was asked for, and the minimum, however many workers there are."""
    asked, connections = 1200, 24
    p = pair(world, workers=workers)
    clients = [Raw(p.address, timeout=20) for _ in range(connections)]
    began = time.monotonic()
    try:
        for at in range(asked // connections):
            for c in clients:
                c.send(headers(2 * at + 1, get("/t/status/503")))
            for c in clients:
                c.run(lambda c=c, at=at: c.done(2 * at + 1))
                assert c.stream(2 * at + 1).status == 503
    finally:
        for c in clients:
            c.close()
    seconds = time.monotonic() - began
    came = len(p.a.seen(path="/t/status/503")) + len(p.b.seen(path="/t/status/503"))
    assert came <= 1.2 * asked + 3 * (10 + seconds) + connections, came
    assert came >= asked + 30, "nothing was tried elsewhere"
    assert p.metric("firebreak_retry_budget_exhausted_total") > 0


def test_one_datacenter_that_fails_is_not_seen(world):
    """Its own 503 is tried elsewhere while the budget lasts, and the answer says where it came from."""
    p = pair(world)
    p.a.custom["/t/x"] = lambda talk, r: talk.respond(r, 503, body=b"no")
    answers = [fetch(p.address, as_user(u, "/t/x")) for u in range(20)]
    assert [a.status for a in answers] == [200] * 20
    assert any("upstream-unavailable" in (a.field("proxy-status") or "") for a in answers)


def test_slow_for_everybody_is_left_alone(world):
    """Quick at first, then every answer honestly takes 700 ms: each comes, none is cut, and few are asked twice."""
    p = pair(world, workers=1)
    with Raw(p.address, timeout=20) as c:
        for n in range(1, 401, 2):
            assert c.ask(n, get("/t/x")).status == 200
        ids = list(range(401, 481, 2))
        for n in ids:
            c.send(headers(n, get("/t/slow/700")))
        c.run(lambda: all(c.done(n) for n in ids))
        assert [c.stream(n).status for n in ids] == [200] * len(ids)
    assert p.fault("upstream-silent") == 0
    hedges = settled(lambda: p.metric("firebreak_upstream_hedges_total"))
    assert len(p.a.seen(path="/t/slow/700")) + len(p.b.seen(path="/t/slow/700")) == len(ids) + hedges
    assert hedges <= 10


def test_event_streams_of_a_lost_datacenter_end_well(world):
    """Their end is one that EventSource reconnects after, not all in one instant; the clients' connections stay."""
    p = pair(world, retry=PATIENT)
    with Raw(p.address, timeout=20) as c:
        ids = list(range(1, 61, 2))
        for n in ids:
            c.send(headers(n, as_user(n, "/events/events/600")))
        c.run(lambda: all(c.stream(n).body for n in ids))
        lost = [n for n in ids if c.stream(n).field("x-backend") == "a"]
        assert 3 < len(lost) < len(ids)
        p.a.drop()
        c.run(lambda: any(c.done(n) for n in lost))
        first = time.monotonic()
        c.run(lambda: all(c.done(n) for n in lost))
        assert time.monotonic() - first > 0.2, "all at once"
        assert all(c.stream(n).ended and c.stream(n).reset is None for n in lost)
        assert not any(c.done(n) for n in ids if n not in lost)
        assert c.ask(ids[-1] + 2, get("/t/x")).status == 200


@pytest.fixture
def grpc_backend():
    """The gRPC library's own server, which closes connections that send more PINGs than it cares for."""
    def call(request, context):
        time.sleep(float(request.decode() or 0))
        return b"done"

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(call)

    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(Handler(),))
    server.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield server
    server.stop(None)


def test_a_slow_grpc_call_is_not_cut_by_pings(world, grpc_backend):
    """Calls of seconds, with quick ones before: the server's limit of PINGs without data is not reached."""
    p = world.proxy(datacenters={"a": ["127.0.0.1:%d" % grpc_backend.port]}, workers=1, checks=False)
    call = get("/t/Call", "POST", "example.com", "http", ("content-type", "application/grpc"), ("te", "trailers"))

    def body(text):
        return b"\0" + len(text).to_bytes(4, "big") + text
    with Raw(p.address, timeout=20) as c:
        for n in range(1, 21, 2):
            a = c.ask(n, call, body(b"0"))
            assert (a.status, a.field("grpc-status")) == (200, "0"), a
        for n in (21, 23):
            a = c.ask(n, call, body(b"3"), seconds=10)
            assert (a.status, a.field("grpc-status")) == (200, "0"), (a, a.heads)
        assert p.fault("upstream-closed") == 0 and p.fault("upstream-goaway") == 0
