# SPDX-License-Identifier: MIT
"""Backends that talk nonsense (lib/hostile.py has the list). Each costs its own request one
clear status (or another datacenter answers), never a hang, a crash, a body that looks whole
when it is not, or anything for the neighbours."""
import json
import struct
import threading
import time

import pytest

from lib import proc
from lib.frames import GOAWAY, WINDOW_UPDATE, Raw, data, fetch, get, headers, raw, rst, settings, window
from lib.hostile import CONNECTIONS, CUT, OK, REPLIES, WHOLE, Peer, after_request, from_the_start

TIMEOUT = 2.0  # of the feature


def patience(time):
    """Scripts share one interpreter, which a busy machine keeps from answering a PING."""
    return {"connect_timeout": time, "ping_timeout": time, "ping_idle_timeout": time}


GRPC = [(":method", "POST"), (":scheme", "http"), (":authority", "example.com"), (":path", "/test.Chat/Say"),
        ("content-type", "application/grpc"), ("te", "trailers")]
# An answer may have begun before what breaks it was seen.
MAY_BEGIN = ("interim flood", "empty DATA flood", "oversized frame", "PING flood", "SETTINGS flood", "unknown frame flood")


def words(name):
    return "".join(c if c.isalnum() else "-" for c in name)


@pytest.fixture
def one(world):
    """A proxy whose only endpoint is a script."""
    def start(behave, **more):
        script = world.script(behave)
        p = world.proxy(datacenters={"a": [script.where]}, checks=False, **{"timeout": "%gs" % TIMEOUT, "retry": patience("1s"), **more})
        p.script = script
        return p
    return start


def outcome(address, fields, body=None, seconds=8):
    began = time.monotonic()
    answer = fetch(address, fields, body, seconds=seconds)
    return answer, time.monotonic() - began


def refused(answer):
    """One clean final answer of ours: no body of the endpoint's, and why."""
    assert answer.status in (502, 503, 504) and answer.ended and answer.reset in (None, 0), answer
    assert answer.field("content-type") == "application/problem+json" and answer.field("proxy-status"), answer.heads
    told = json.loads(answer.body)
    assert told["status"] == answer.status and told["reason"] in answer.field("proxy-status"), answer.body


def refused_grpc(answer):
    assert answer.status == 200 and answer.ended and answer.reset in (None, 0) and not answer.body, answer
    assert answer.field("grpc-status") in ("4", "8", "13", "14") and answer.field("proxy-status"), answer.heads


@pytest.mark.parametrize("name", REPLIES, ids=words)
def test_fault_before_an_answer(one, name):
    p = one(after_request(REPLIES[name]))
    answer, took = outcome(p.address, get("/t/x", "POST"), b"body")
    if answer.status != 200 or name not in MAY_BEGIN:
        refused(answer)
    assert took < TIMEOUT * 1.1 + 1
    answer, took = outcome(p.address, GRPC, b"\0\0\0\0\0")
    if answer.field("grpc-status") or name not in MAY_BEGIN:
        refused_grpc(answer)
    assert took < TIMEOUT * 1.1 + 1
    assert not p.script.errors, p.script.errors
    assert p.p.running() and p.ready() is not None


def test_interim_flood_leaves_the_clients_connection_alone(one):
    """Thousands of 103 would fill the output of a client that shares its connection with others."""
    p = one(after_request(REPLIES["interim flood"]))
    with Raw(p.address) as c:
        for i in range(8):
            answer = c.ask(2 * i + 1, get("/t/x", "POST"), b"body")
            assert c.goaway is None, c.goaway
            assert answer.status == 502 and len(answer.heads) <= 66, (answer, len(answer.heads))


@pytest.mark.parametrize("name", CUT, ids=words)
def test_cut_body_never_looks_whole(one, name):
    p = one(after_request(CUT[name]))
    for fields, clean in ((get("/t/x", "POST"), refused), (GRPC, refused_grpc)):
        answer, took = outcome(p.address, fields, b"body")
        if answer.ended:
            clean(answer)
        else:
            assert answer.status in (200, 204, 304) and answer.reset, answer
        assert took < TIMEOUT * 1.1 + 1


@pytest.mark.parametrize("name", WHOLE, ids=words)
def test_odd_but_legal(one, name):
    p = one(after_request(WHOLE[name]))
    for i in range(3):
        answer, _ = outcome(p.address, get("/t/x", "POST"), b"body")
        assert answer.status == 200 and answer.ended and answer.body == b"whole", (i, answer)


def bodies_nobody_asked_for(sid):
    return headers(sid, OK, end=False) + data(sid, b"x" * 50, True)


def test_answer_to_head_with_a_body(one):
    p = one(after_request(bodies_nobody_asked_for))
    answer, _ = outcome(p.address, get("/t/x", "HEAD"))
    assert not answer.body and (answer.reset or answer.status == 502), answer


def test_answer_to_head_with_trailers(one):
    p = one(after_request(lambda sid: headers(sid, OK + [("content-length", "5")], end=False) + headers(sid, [("x-sum", "5")])))
    answer, _ = outcome(p.address, get("/t/x", "HEAD"))
    assert answer.status == 200 and answer.ended and answer.field("x-sum") == "5", answer


def test_body_that_stops(one):
    """Nothing more comes of a body: its stream ends within the feature's patience, reset."""
    p = one(after_request(lambda sid: headers(sid, OK, end=False) + data(sid, b"x" * 50)),
            features=[{"name": "stops", "tier": "core", "routes": ["/stops/**"], "stream_idle": "1s"}])
    answer, took = outcome(p.address, get("/stops/x"))
    assert answer.status == 200 and not answer.ended and answer.reset, answer
    assert took < 3


def dripping(sid):
    """A header block without end, an octet now and then: no PING can be answered meanwhile."""
    yield headers(sid, OK, end_headers=False)
    yield raw(9, 0, sid, b"", length=16000)
    for _ in range(100):
        yield 0.1
        yield b"x"


def test_dripped_head(one):
    """Bytes come, so nobody is silent; yet nothing can be told from them."""
    p = one(after_request(lambda sid: list(dripping(sid))), timeout="15s", limits={"header_timeout": "1s"})
    answer, took = outcome(p.address, get("/t/x", "POST"), b"body", seconds=10)
    refused(answer)
    assert took < 4 and p.fault("upstream-protocol") > 0, took


def talks_on(s):
    """Takes the head of a request, reads no more, and says something now and then."""
    p = Peer(s)
    s.sendall(settings([(4, 1 << 30)]) + window(0, 1 << 30))
    p.request()
    while True:
        s.sendall(window(0, 1))
        time.sleep(0.02)


def test_endpoint_that_does_not_read(one):
    p = one(talks_on, timeout="15s", limits={"write_timeout": "1s"})
    sent, answer = upload(p.address, 64 << 20, 8)
    refused(answer)
    assert sent < 32 << 20 and p.fault("upstream-protocol") > 0


def test_wedged_connection(one):
    """One connection answers PING and nothing else, as through a relay to a hung server. It
    costs the request that found out, not those that follow."""
    lock, met = threading.Lock(), []

    def behave(s):
        p = Peer(s)
        while True:
            sid, _ = p.request()
            with lock:
                if not met:
                    met.append(s)
            if met[0] is not s:
                s.sendall(headers(sid, OK, end=False) + data(sid, b"whole", True))
    p = one(behave, workers=1)
    refused(fetch(p.address, get("/t/x", "POST"), b"body"))
    for _ in range(3):
        answer = fetch(p.address, get("/t/x", "POST"), b"body")
        assert answer.status == 200 and answer.body == b"whole", answer


class Prober(threading.Thread):
    """A client of another feature, all the time."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.bad, self.n, self.worst, self.stopping = address, [], 0, 0.0, threading.Event()

    def run(self):
        while not self.stopping.is_set():
            began = time.monotonic()
            answer = fetch(self.address, get("/opt/probe"))
            if answer.status != 200 or not answer.ended:
                self.bad.append(answer)
            self.n += 1
            self.worst = max(self.worst, time.monotonic() - began)
            self.stopping.wait(0.01)


TABLE = {**REPLIES, **CUT}


@pytest.mark.parametrize("part", range(4))
def test_neighbours_notice_nothing(world, part):
    """One endpoint of two goes mad for one path only, in every way of the list. Who asks for
    something else gets an answer from it or from the other, at once."""
    names = [n for i, n in enumerate(TABLE) if i % 4 == part]
    turn = [None]
    script = world.script(lambda s: after_request(lambda sid: TABLE[turn[0]](sid), "/t/")(s))
    good = world.backend("good")
    p = world.proxy(datacenters={"mad": [script.where], "good": [good.where]}, timeout="500ms", workers=1,
                    retry=patience("300ms"))
    fetch(p.address, get("/opt/probe"))
    worker = p.workers()[0]
    before, memory = proc.descriptors(worker), p.memory()
    prober = Prober(p.address)
    prober.start()
    for name in names:
        turn[0] = name
        answer = fetch(p.address, get("/t/x", "POST"), b"body", seconds=8)
        assert answer.status is not None, name
    prober.stopping.set()
    prober.join(10)
    assert not prober.bad, prober.bad[:3]
    assert prober.n and prober.worst < 1.0, "a prober waited %.2f s" % prober.worst
    proc.wait_for(lambda: proc.descriptors(worker) <= before + 4, 8, what="descriptors back to %d" % before)
    assert p.workers() == [worker] and p.memory() - memory < 64 << 20
    assert not script.errors, script.errors


def silent(s):
    s.recv(1)
    while s.recv(65536):
        pass


def no_settings(s):
    p = Peer(s, greet=False)
    while True:
        p.frame()


def banner(s):
    s.sendall(b"220 smtp.example.com ESMTP\r\n")
    while s.recv(65536):
        pass


def slams(s):
    return


def no_streams(s):
    p = Peer(s, greet=False)
    s.sendall(settings([(3, 0)]))
    while True:
        p.frame()


def goaway_at_once(s):
    p = Peer(s)
    s.sendall(raw(GOAWAY, 0, 0, struct.pack(">II", 0, 0)))
    while True:
        p.frame()


@pytest.mark.parametrize("behave", [silent, no_settings, banner, slams, no_streams, goaway_at_once], ids=lambda f: f.__name__)
def test_fault_at_connect(one, behave):
    p = one(behave)
    answer, took = outcome(p.address, get("/t/x"), seconds=15)
    assert answer.status in (502, 503, 504), (answer, took)
    assert answer.ended and answer.field("proxy-status")
    assert took < 12


def upload(address, most, seconds=3):
    """Sends a body of up to `most` octets as the windows allow. (how many went, the answer)."""
    with Raw(address, timeout=seconds) as c:
        c.run(lambda: 3 in c.settings)
        c.send(headers(1, get("/t/echo", "POST"), end=False))
        sent, at, credit = 0, 0, 65535
        while sent < most and not c.done(1):
            for kind, _, sid, payload in c.frames[at:]:
                if kind == WINDOW_UPDATE and sid == 1:
                    credit += int.from_bytes(payload, "big")
            at = len(c.frames)
            if credit < 16384:
                if not c.run(lambda: len(c.frames) > at):
                    break
                continue
            c.send(data(1, b"x" * 16384))
            sent += 16384
            credit -= 16384
        c.run(lambda: c.done(1))
        return sent, c.stream(1)


@pytest.mark.parametrize("name", CONNECTIONS, ids=words)
def test_fault_from_the_start(one, name):
    p = one(from_the_start(CONNECTIONS[name]))
    for fields, clean in ((get("/t/x", "POST"), refused), (GRPC, refused_grpc)):
        answer, took = outcome(p.address, fields, b"body")
        clean(answer)
        assert took < TIMEOUT * 1.1 + 1
    assert not p.script.errors, p.script.errors


def test_slow_settings_are_legal(one):
    def behave(s):
        time.sleep(0.1)
        after_request(WHOLE["everything in one segment"])(s)
    p = one(behave)
    answer, _ = outcome(p.address, get("/t/x", "POST"), b"body")
    assert answer.status == 200 and answer.body == b"whole", answer


def test_zero_window_upload_is_bounded(one):
    """A backend that never opens its window: the upload waits at the client, then gets an answer."""
    def behave(s):
        p = Peer(s, greet=False)
        s.sendall(settings([(4, 0)]))
        while True:
            p.frame()
    p = one(behave)
    before = p.memory()
    sent, _ = upload(p.address, 20 << 20)
    assert sent < 8 << 20, "the proxy took %d bytes for a backend that takes none" % sent
    assert p.memory() - before < 16 << 20


def test_graceful_goaway_is_invisible(one):
    """GOAWAY(2^31-1), later GOAWAY(last): every request gets its answer, on this or the next connection."""
    def behave(s):
        p = Peer(s)
        n = 0
        while True:
            sid, _ = p.request()
            n += 1
            if n == 5:
                s.sendall(raw(GOAWAY, 0, 0, struct.pack(">II", 0x7FFFFFFF, 0)))
            if n == 8:
                s.sendall(raw(GOAWAY, 0, 0, struct.pack(">II", sid, 0)))
            s.sendall(headers(sid, OK, end=False) + data(sid, b"ok", True))
    p = one(behave)
    with Raw(p.address, timeout=10) as c:
        for i in range(40):
            answer = c.ask(2 * i + 1, get("/t/x", "POST"), b"x")
            assert answer.status == 200 and answer.body == b"ok", (i, answer)
    assert p.script.connections >= 3


def test_goaway_refuses_are_retried(one):
    """Streams beyond the last id of a GOAWAY were not processed: even a POST goes again elsewhere."""
    taken = []

    def behave(s):
        p = Peer(s)
        first = not taken
        taken.append(s)
        sids = []
        while True:
            sid, _ = p.request()
            sids.append(sid)
            if first:
                if len(sids) == 4:
                    s.sendall(raw(GOAWAY, 0, 0, struct.pack(">II", sids[1], 0)))
                    for x in sids[:2]:
                        s.sendall(headers(x, OK, end=False) + data(x, b"old", True))
            else:
                s.sendall(headers(sid, OK, end=False) + data(sid, b"new", True))
    p = one(behave, workers=1)
    with Raw(p.address, timeout=10) as c:
        c.run(lambda: 3 in c.settings)
        for i in range(4):
            c.send(headers(2 * i + 1, get("/t/x", "POST"), end=False) + data(2 * i + 1, b"x", True))
        assert c.run(lambda: all(c.done(2 * i + 1) for i in range(4)))
        assert [c.stream(s).status for s in (1, 3, 5, 7)] == [200] * 4, c.streams


def test_refused_stream_is_retried(one):
    seen = []

    def behave(s):
        p = Peer(s)
        while True:
            sid, _ = p.request()
            seen.append(sid)
            if len(seen) == 1:
                s.sendall(rst(sid, 7))
            else:
                s.sendall(headers(sid, OK, end=False) + data(sid, b"ok", True))
    p = one(behave)
    answer = fetch(p.address, get("/t/x", "POST"), b"x")
    assert answer.status == 200 and len(seen) == 2


def test_unsafe_is_not_retried(one):
    """A POST that may have been processed is never sent twice."""
    seen = []

    def behave(s):
        p = Peer(s)
        sid, _ = p.request()
        seen.append(sid)
        s.close()
    p = one(behave)
    answer = fetch(p.address, get("/t/x", "POST"), b"x")
    assert answer.status in (502, 503), answer
    assert len(seen) == 1


def test_drip_is_legal(one):
    def behave(s):
        p = Peer(s)
        while True:
            sid, _ = p.request()
            s.sendall(headers(sid, OK + [("content-length", "20")], end=False))
            for i in range(20):
                s.sendall(data(sid, b"x", i == 19))
                time.sleep(0.02)
    p = one(behave)
    answer = fetch(p.address, get("/t/x"), seconds=8)
    assert answer.status == 200 and len(answer.body) == 20 and answer.ended
