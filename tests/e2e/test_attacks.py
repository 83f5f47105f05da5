# SPDX-License-Identifier: MIT
"""Hostile clients (docs/security.md). Every attack here must be answered the way the RFC
names, while a prober on new connections is served within a second; afterwards the
worker holds no descriptor more than before, and the backend has done none of the
attacker's work. Floods of legal frames are *cut off*: GOAWAY ENHANCE_YOUR_CALM within
a bounded number of frames, and the fault that names them is counted."""
import itertools
import re
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

from conftest import Scene, World
from lib import proc
from lib.frames import (ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, GOAWAY, HEADERS, PADDED,
                        PREFACE, PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, Raw, block, data, fetch, get,
                        headers, ping, raw, rst, settings, window)

NEVER = "/t/attacked/never"
SHORT = {"handshake_timeout": "1s", "header_timeout": "1s", "body_timeout": "1s", "body_rate": "1000B", "write_timeout": "1s",
         "idle_timeout": "3s"}


def make(tmp_path_factory, certs, name, **more):
    w = World(tmp_path_factory.mktemp(name), certs)
    try:
        s = Scene(w, workers=1, **more)
        s.worker = s.proxy.workers()[0]
        yield s
    finally:
        w.end()


@pytest.fixture(scope="module")
def scene(tmp_path_factory, certs):
    yield from make(tmp_path_factory, certs, "attacks")


@pytest.fixture(scope="module")
def hasty(tmp_path_factory, certs):
    """Deadlines of a second: slow attacks."""
    yield from make(tmp_path_factory, certs, "slow", limits=SHORT)


class Prober(threading.Thread):
    """Good requests on new connections, over and over."""

    def __init__(self, address, path="/t/probe"):
        super().__init__(daemon=True)
        self.address, self.path, self.worst, self.bad, self.n = address, path, 0.0, [], 0
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set() or not self.n:
            began = time.monotonic()
            try:
                answer = fetch(self.address, get(self.path))
                if not answer.ended or answer.status != 200:
                    self.bad.append(repr(answer))
            except OSError as e:
                self.bad.append(repr(e))
            self.n += 1
            self.worst = max(self.worst, time.monotonic() - began)
            self.stopping.wait(0.03)


@pytest.fixture
def watch(request):
    """The scene of the test, watched: a prober during it, descriptors after it."""
    s = request.getfixturevalue("hasty" if "hasty" in request.fixturenames else "scene")
    fetch(s.address, get("/t/probe"))  # the upstream connection is there
    before = proc.descriptors(s.worker)
    prober = Prober(s.address)
    prober.start()
    yield prober
    prober.stopping.set()
    prober.join(10)
    assert not prober.bad, prober.bad[:3]
    assert prober.worst < 1.0, "a prober waited %.2f s" % prober.worst
    # an attack on the backend may have grown the pool by a connection or two
    proc.wait_for(lambda: proc.descriptors(s.worker) <= before + 2, 5, what="descriptors back to %d" % before)


# -- floods of legal frames: cut off --

def opened(*frames, then):
    """Frames once, then a generator of the flood."""
    yield from frames
    yield from then


def each(make_frames, first=1):
    """One stream after the other."""
    return (make_frames(sid) for sid in itertools.count(first, 2))


def post(*more):
    return get(NEVER, "POST") + list(more)


OPEN = headers(1, post(), False)


def forever(*frames):
    return itertools.repeat(b"".join(frames))


# name -> (frames without end, most of them before the cut, the faults that may name it)
FLOODS = {
    "ping": (lambda: forever(ping()), 150, ["flood-pings"]),
    "ping ack": (lambda: forever(raw(6, ACK, 0, b"12345678")), 150, ["flood-pings"]),
    "settings": (lambda: forever(settings([(3, 100)])), 30, ["flood-settings"]),
    "empty settings": (lambda: forever(settings()), 30, ["flood-settings"]),
    "settings of 2000 entries": (lambda: forever(raw(SETTINGS, 0, 0, b"\xfa\xce\0\0\0\1" * 2000)), 3, ["flood-settings"]),
    "settings of 30 entries": (lambda: forever(raw(SETTINGS, 0, 0, b"\xfa\xce\0\0\0\1" * 30)), 30, ["flood-settings"]),
    "toggled header table": (lambda: (settings([(1, 4096 * (i & 1))]) for i in itertools.count()), 30, ["flood-settings"]),
    "toggled window": (lambda: opened(OPEN, then=(settings([(4, 65535 + (i & 1))]) for i in itertools.count())), 30, ["flood-settings"]),
    "priority": (lambda: each(lambda sid: raw(PRIORITY, 0, sid, b"\0\0\0\0\x10")), 1400, ["flood-frames"]),
    "priority update": (lambda: forever(raw(0x10, 0, 0, b"\0\0\0\1u=3")), 1400, ["flood-frames"]),
    "window update": (lambda: forever(window(0, 1)), 1400, ["flood-frames"]),
    "window update of a stream": (lambda: opened(OPEN, then=forever(window(1, 1))), 1400, ["flood-frames"]),
    "window update of a closed stream": (lambda: opened(OPEN, rst(1), then=forever(window(1, 1))), 1400, ["flood-frames"]),
    "unknown type": (lambda: forever(raw(0xBA, 0, 0, b"x")), 1400, ["flood-frames"]),
    "unknown type on a stream": (lambda: opened(OPEN, then=forever(raw(0xBA, 0, 1, b"x"))), 1400, ["flood-frames"]),
    "large unknown type": (lambda: forever(raw(0xBA, 0, 0, b"x" * 16384)), 200, ["flood-frames"]),
    "altsvc": (lambda: forever(raw(0xA, 0, 0, b"\0\1ab")), 1400, ["flood-frames"]),
    "origin": (lambda: forever(raw(0xC, 0, 0, b"\0\1a")), 1400, ["flood-frames"]),
    "goaway": (lambda: opened(OPEN, then=forever(raw(GOAWAY, 0, 0, b"\0" * 8))), 30, ["flood-settings"]),
    "rst on a closed stream": (lambda: opened(OPEN, then=forever(rst(1))), 260, ["flood-resets"]),
    "empty data": (lambda: opened(OPEN, then=forever(data(1, b""))), 150, ["flood-empty"]),
    "padding only data": (lambda: opened(OPEN, then=forever(raw(DATA, PADDED, 1, b"\x08" + b"\0" * 8))), 150, ["flood-empty"]),
    "long padding only data": (lambda: opened(OPEN, then=forever(raw(DATA, PADDED, 1, b"\xff" + b"\0" * 255))), 150, ["flood-empty"]),
    "data of one octet": (lambda: opened(OPEN, then=forever(data(1, b"x"))), 1400, ["flood-frames"]),
    "empty headers": (lambda: each(lambda sid: raw(HEADERS, 0, sid, b"") + raw(CONTINUATION, END_HEADERS | 0, sid, block(post()))), 260, ["flood-empty"]),
    "continuation": (lambda: opened(headers(1, get(NEVER), True, False), then=(raw(CONTINUATION, 0, 1, block([("x-%d" % i, "y")]))
                                                                               for i in itertools.count())), 12, ["flood-continuations"]),
    "empty continuation": (lambda: opened(headers(1, get(NEVER), True, False), then=forever(raw(CONTINUATION, 0, 1))), 12, ["flood-continuations"]),
    # resets, received and made (CVE-2023-44487, CVE-2025-8671)
    "rapid reset": (lambda: each(lambda sid: headers(sid, get(NEVER)) + rst(sid)), 260, ["flood-resets"]),
    "rapid reset of open requests": (lambda: each(lambda sid: headers(sid, post(), False) + data(sid, b"x" * 100) + rst(sid)), 260, ["flood-resets"]),
    "rapid reset a stream later": (lambda: each(lambda sid: headers(sid, get(NEVER)) + (rst(sid - 2) if sid > 1 else b"")), 260, ["flood-resets"]),
    "reset by window overflow": (lambda: each(lambda sid: headers(sid, get(NEVER)) + window(sid, 0x7FFFFFFF)), 260, ["flood-resets"]),
    "reset by a body beyond content-length": (lambda: each(lambda sid: headers(sid, post(("content-length", "1")), False) + data(sid, b"xx")), 260,
                                              ["flood-resets"]),
    "reset by a body short of content-length": (lambda: each(lambda sid: headers(sid, post(("content-length", "9")), False) + data(sid, b"xx", True)), 260,
                                                ["flood-resets"]),
    "reset by a second head": (lambda: each(lambda sid: headers(sid, post(), False) + headers(sid, [("x", "y")], False)), 260, ["flood-resets"]),
    "reset by pseudo-field trailers": (lambda: each(lambda sid: headers(sid, post(), False) + headers(sid, [(":path", "/")])), 260, ["flood-resets"]),
    "reset by huge trailers": (lambda: each(lambda sid: headers(sid, post(), False) + headers(sid, [("x%d" % i, "y") for i in range(250)])), 260,
                               ["flood-resets", "flood-heads"]),
    "reset by a malformed head": (lambda: each(lambda sid: headers(sid, get(NEVER) + [("connection", "close")])), 260, ["flood-resets"]),
    "reset by an upper-case name": (lambda: each(lambda sid: headers(sid, get(NEVER) + [("X", "y")])), 260, ["flood-resets"]),
}


def pour(c, frames, most, batch=20):
    """Sends until cut off or `most` are out. Returns how many were."""
    sent = 0
    while sent < most:
        part = list(itertools.islice(frames, min(batch, most - sent)))
        sent += len(part)
        if not c.send(*part):
            break
        c.run(lambda: c.closed, 0.002)
        if c.closed or c.goaway:
            break
    c.run(lambda: c.closed, 3)
    return sent


@pytest.mark.parametrize("name", FLOODS, ids=lambda n: n.replace(" ", "-"))
def test_flood_is_told_to_calm_down(scene, watch, name):
    frames, most, faults = FLOODS[name]
    before = {f: scene.proxy.fault(f) for f in faults}
    seen = len(scene.seen(path=NEVER))
    with Raw(scene.address) as c:
        c.run(lambda: c.settings)
        c.auto_window = False
        pour(c, frames(), most, 5 if most < 50 else 20)
        assert c.goaway == ENHANCE_YOUR_CALM, (c.goaway, c.closed, c.frames[-3:])
        assert c.closed
    proc.wait_for(lambda: any(scene.proxy.fault(f) > before[f] for f in faults), 5, what="the fault is counted")
    mine = scene.seen(path=NEVER)[seen:]
    assert len(mine) <= 260, "%d requests reached the backend" % len(mine)
    assert scene.a.wait(lambda: all(r.reset is not None or r.ended for r in mine), 3), "the backend still works for the attacker"
    assert scene.a.wait(lambda: all(r.reset is not None for r in mine if not r.ended), 3)


@pytest.mark.parametrize("late", [data(1, b"x" * 100), headers(1, [("x", "y")]), window(1, 1)], ids=["data", "headers", "window updates"])
def test_late_frames_end_some_time(scene, watch, late):
    """What was under way when we ended a stream is ignored; more than can be under way is not."""
    with Raw(scene.address) as c:
        c.run(lambda: c.settings)
        c.send(headers(1, get("/off/x", "POST"), False))
        assert c.run(lambda: c.stream(1).reset is not None) and c.stream(1).status == 503
        c.send(late * 500)
        assert c.ask(3, get("/t/x")).status == 200
        pour(c, forever(late), 1400)
        assert c.closed and c.goaway == ENHANCE_YOUR_CALM, (c.goaway, c.closed)


def test_headers_on_a_stream_refused_for_the_limit(scene, watch):
    """Before our SETTINGS are acknowledged a stream above the limit is refused, not an error;
    HEADERS on it again are as good as a flood."""
    with Raw(scene.address, preface=False) as c:
        c.auto_ack = False
        c.send(PREFACE + settings())
        c.run(lambda: c.settings)
        c.send(*[headers(2 * i + 1, get(NEVER)) for i in range(101)])
        assert c.run(lambda: c.stream(201).reset == REFUSED_STREAM or c.goaway), c.frames[-2:]
        pour(c, forever(headers(201, get(NEVER))), 2000)
        assert c.closed and c.goaway in (ENHANCE_YOUR_CALM, STREAM_CLOSED, PROTOCOL_ERROR), (c.goaway, c.closed)


def test_streams_refused_for_the_limit_are_a_flood(scene, watch):
    with Raw(scene.address, preface=False) as c:
        c.auto_ack = False
        c.send(PREFACE + settings())
        c.run(lambda: c.settings)
        c.send(*[headers(2 * i + 1, get(NEVER)) for i in range(100)])
        pour(c, each(lambda sid: headers(sid, get(NEVER)), 201), 400)
        assert c.closed and c.goaway == ENHANCE_YOUR_CALM, (c.goaway, c.closed)


def test_flood_that_reads_nothing(scene, watch):
    """PINGs whose answers are never read: bounded output, then cut off."""
    s = socket.create_connection(scene.address, timeout=5)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        s.sendall(PREFACE + settings())
        for _ in range(3000):
            s.sendall(ping() * 100)
        raise AssertionError("300,000 PINGs were taken")
    except (ConnectionResetError, BrokenPipeError, socket.timeout):
        pass
    finally:
        s.close()


def test_reset_before_the_backend_is_asked(scene, watch):
    """HEADERS and RST_STREAM in one segment cost the backend nothing."""
    before = len(scene.seen(path=NEVER))
    with Raw(scene.address) as c:
        c.run(lambda: c.settings)
        c.send(b"".join(headers(2 * i + 1, get(NEVER)) + rst(2 * i + 1) for i in range(90)))
        assert c.ask(201, get("/t/x")).status == 200
    assert len(scene.seen(path=NEVER)) == before


# -- header abuse --

BIG = b"\x40\x05x-big" + b"\x7f\xa1\x1e" + b"v" * 4000  # 4,000 octets of value, into the table
assert len(BIG) == 4010


@pytest.mark.parametrize("references", [15, 40, 16000])
def test_hpack_bomb(scene, watch, references):
    """One-octet references to one large entry: 431 above header_list, and the connection ends far above it."""
    with Raw(scene.address) as c:
        c.run(lambda: c.settings)
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 1, block(get("/t/x")) + BIG))
        assert c.run(lambda: c.done(1)) and c.stream(1).status == 200
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 3, block(get("/t/x")) + b"\xbe" * references))
        c.run(lambda: c.done(3) or c.closed)
        if references == 15:
            assert c.stream(3).status == 200
        elif references == 40:
            assert c.stream(3).status == 431 and c.ask(5, get("/t/x")).status == 200
        else:
            assert c.goaway == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("crumb", [b"\x60\x00", b"\x00\x06cookie\x01a"], ids=["indexed", "literal"])
def test_cookie_crumbs(scene, watch, crumb):
    """Crumbs are fields: more than header_count of them are refused, whatever they weigh."""
    with Raw(scene.address) as c:
        c.run(lambda: c.settings)
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 1, block(get(NEVER)) + crumb * 1000))
        c.run(lambda: c.done(1) or c.closed)
        assert c.stream(1).status == 431 or c.goaway == ENHANCE_YOUR_CALM
    assert not [r for r in scene.seen(path=NEVER) if len(r.all("cookie")) > 200]


@pytest.mark.parametrize("kind", ["references", "crumbs"])
def test_http2_bomb(scene, watch, kind):
    """Many stalled streams with heads that cost nothing to send: what a connection may hold
    of heads is bounded over all of its streams."""
    with Raw(scene.address, first=[(4, 0)]) as c:
        c.run(lambda: c.settings)
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 1, block(get("/t/x")) + BIG))
        small = b"\xbe" * 14 if kind == "references" else b"\x60\x00" * 190
        before = proc.rss(scene.worker)
        for sid in range(3, 201, 2):
            if not c.send(raw(HEADERS, END_HEADERS, sid, block(post()) + small)):
                break
            c.run(lambda: c.closed, 0.002)
        c.run(lambda: c.closed, 2)
        assert c.goaway == ENHANCE_YOUR_CALM, (c.goaway, c.closed)
        assert proc.rss(scene.worker) - before < 32 << 20
    assert scene.a.wait(lambda: all(r.reset is not None or r.ended for r in scene.seen(path=NEVER)), 3)


@pytest.mark.parametrize("field", [("x-big", "v" * 100000), (":path", "/t/" + "p" * 100000), ("n" * 100000, "v"), (":authority", "a" * 100000)],
                         ids=["value", "path", "name", "authority"])
def test_field_of_100_kib(scene, watch, field):
    fields = [field if f[0] == field[0] else f for f in get(NEVER)]
    if field not in fields:
        fields.append(field)
    whole = block(fields)
    parts = [whole[i:i + 16384] for i in range(0, len(whole), 16384)]
    frames = [raw(HEADERS if i == 0 else CONTINUATION, (END_STREAM if i == 0 else 0) | (END_HEADERS if i == len(parts) - 1 else 0), 1, p)
              for i, p in enumerate(parts)]
    with Raw(scene.address) as c:
        c.run(lambda: c.settings)
        c.send(*frames)
        c.run(lambda: c.done(1) or c.closed)
        assert c.stream(1).status in (431, 414, 400) or c.goaway in (ENHANCE_YOUR_CALM, COMPRESSION_ERROR), (c.stream(1), c.goaway)


def test_list_of_a_mebibyte(scene, watch):
    whole = block(get(NEVER) + [("x-%d" % i, "v" * 1000) for i in range(1000)])
    with Raw(scene.address) as c:
        c.run(lambda: c.settings)
        c.send(raw(HEADERS, END_STREAM, 1, whole[:16384]))
        pour(c, (raw(CONTINUATION, 0, 1, whole[i:i + 16384]) for i in range(16384, len(whole), 16384)), 64, 4)
        assert c.goaway == ENHANCE_YOUR_CALM


def test_names_of_no_length(scene, watch):
    with Raw(scene.address) as c:
        c.run(lambda: c.settings)
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 1, block(get(NEVER)) + b"\x00\x00\x00" * 1000))
        c.run(lambda: c.stream(1).reset is not None or c.done(1) or c.closed)
        assert c.stream(1).reset == PROTOCOL_ERROR or c.stream(1).status in (400, 431) or c.goaway in (PROTOCOL_ERROR, ENHANCE_YOUR_CALM)


@pytest.mark.parametrize("trailers", [[("x-%d" % i, "y") for i in range(250)], [("x-%d" % i, "v" * 4000) for i in range(4)] * 5],
                         ids=["count", "octets"])
def test_huge_trailers_are_not_shortened(scene, watch, trailers):
    """A request either arrives whole or not at all."""
    path = "/t/trailers-%d/never" % len(trailers)
    with Raw(scene.address) as c:
        c.run(lambda: c.settings)
        c.send(headers(1, get(path, "POST"), False), data(1, b"body"))
        whole = block(trailers)
        parts = [whole[i:i + 16384] for i in range(0, len(whole), 16384)]
        c.send(*[raw(HEADERS if i == 0 else CONTINUATION, (END_STREAM if i == 0 else 0) | (END_HEADERS if i == len(parts) - 1 else 0), 1, p)
                 for i, p in enumerate(parts)])
        c.run(lambda: c.done(1) or c.closed, 3)
        assert c.stream(1).reset is not None or c.goaway, (c.stream(1), c.goaway)
    assert scene.a.wait(lambda: all(r.reset is not None for r in scene.seen(path=path)), 3)
    assert not [r for r in scene.seen(path=path) if r.ended]


def test_interims_outlive_their_attempt(tmp_path_factory, certs):
    """A 103 of an attempt that failed in the same segment reaches the client as it was sent,
    though the attempt's memory is another's by then."""
    def refuse(conversation, request):
        with conversation.lock:
            for i in range(3):
                conversation.h.send_headers(request.sid, [(":status", "103"), ("link", "<%s-%d>" % ("first" * 40, i))])
            conversation.h.reset_stream(request.sid, REFUSED_STREAM)
            conversation.flush()

    for s in make(tmp_path_factory, certs, "interims"):
        path = "/t/interims"
        s.a.custom[path] = s.b.custom[path] = refuse
        with Raw(s.address) as c:
            for sid in range(1, 41, 2):
                c.send(headers(sid, get(path) + [("x-filler", "secret-of-another" * 30)]))
            c.run(lambda: all(c.done(sid) for sid in range(1, 41, 2)))
            for sid in range(1, 41, 2):
                for head in c.stream(sid).heads[:-1]:
                    assert dict(head)[":status"] == "103" and dict(head)["link"].startswith("<" + "first" * 40 + "-"), head
                assert c.stream(sid).status == 502, c.stream(sid) # who has answered something has not refused


# -- windows --

def test_zero_windows_hold_nothing_up(scene, watch):
    """100 answers nobody takes: the others do not notice, the backend sends no more than the windows."""
    with Raw(scene.address, first=[(4, 0)]) as c:
        c.run(lambda: c.settings)
        c.send(*[headers(2 * i + 1, get("/t/zero/bytes/2000000")) for i in range(100)])
        assert c.run(lambda: len([a for a in c.streams.values() if a.status == 200]) == 100)
        time.sleep(0.3)
        mine = scene.seen(path="/t/zero/bytes/2000000")
        assert len(mine) == 100 and all(r.written <= 1 << 20 for r in mine)
    assert scene.a.wait(lambda: all(r.reset is not None for r in mine), 3), "the backend still sends"


def test_data_beyond_credit(tmp_path_factory, certs):
    """A backend that takes nothing, and a client that sends all the same (RFC 9113 6.9.1)."""
    def behave(s):
        s.sendall(settings([(4, 0)]) + raw(SETTINGS, ACK, 0))
        while s.recv(65536):
            pass

    w = World(tmp_path_factory.mktemp("credit"), certs)
    try:
        p = w.proxy(datacenters={"a": [w.script(behave).where]}, workers=1, checks=False)
        with Raw(p.address) as c:
            c.run(lambda: c.settings)
            c.send(headers(1, post(), False), *[data(1, b"x" * 16000)] * 10)
            c.run(lambda: c.closed or c.stream(1).reset is not None)
            assert FLOW_CONTROL_ERROR in (c.goaway, c.stream(1).reset), (c.goaway, c.stream(1))
    finally:
        w.end()


def test_cut_for_its_body_after_the_answer_began(tmp_path_factory, certs):
    """Stream after stream is cut for its body while its answer waits in shut windows: the
    answers that got out are their own, and nothing is held."""
    feature = {"name": "small", "tier": "core", "routes": ["/small/**"], "body_limit": "16KiB"}
    for s in make(tmp_path_factory, certs, "cut", features=[feature]):
        with Raw(s.address, first=[(4, 0)]) as c:
            c.run(lambda: c.settings)
            for sid in range(1, 101, 2):
                c.send(headers(sid, get("/small/echo", "POST"), False))
            c.run(lambda: all(c.stream(sid).heads for sid in range(1, 101, 2)))
            c.send(*[data(sid, b"x" * 16384) for sid in range(1, 101, 2)], *[data(sid, b"x") for sid in range(1, 101, 2)])
            assert c.run(lambda: all(c.stream(sid).reset is not None for sid in range(1, 101, 2))), c.goaway
            assert c.ask(101, get("/t/status/204")).status == 204
        assert s.a.wait(lambda: all(r.reset is not None for r in s.seen(path="/small/echo")), 3)


def test_data_dribble(scene, watch):
    """CVE-2019-9511: a window of one octet, opened again and again."""
    with Raw(scene.address, first=[(4, 1)]) as c:
        c.auto_window = False
        c.run(lambda: c.settings)
        c.send(headers(1, get("/t/bytes/1000000")))
        pour(c, forever(window(1, 1)), 2000)
        assert c.closed and c.goaway == ENHANCE_YOUR_CALM, (c.goaway, len(c.stream(1).body))


def test_slow_taker_is_dropped(hasty, watch):
    """An octet now and then is not taking the answer: write_timeout goes by body_rate."""
    with Raw(hasty.address, first=[(4, 1)]) as c:
        c.auto_window = False
        c.run(lambda: c.settings)
        c.send(headers(1, get("/t/bytes/1000000")))
        end = time.monotonic() + 6
        while time.monotonic() < end and not c.closed and c.stream(1).reset is None:
            c.send(window(1, 1))
            c.run(lambda: c.closed or c.stream(1).reset is not None, 0.2)
        assert c.closed or c.stream(1).reset is not None, "%d octets in 6 s, and still served" % len(c.stream(1).body)
        assert c.closed or c.ask(3, get("/t/x")).status is not None or c.goaway is None


def test_closed_tcp_window(hasty, watch):
    """Wide HTTP/2 windows and a socket nobody reads: ended after write_timeout."""
    with Raw(hasty.address, first=[(4, 0x7FFFFFFF)]) as c:
        c.run(lambda: c.settings)
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.send(window(0, 0x7FFFFFFF - 65535), *[headers(2 * i + 1, get("/t/tcp/bytes/2000000")) for i in range(20)])
        mine = []
        hasty.a.wait(lambda: len(hasty.seen(path="/t/tcp/bytes/2000000")) == 20, 3)
        mine = hasty.seen(path="/t/tcp/bytes/2000000")
        assert len(mine) == 20
        assert hasty.a.wait(lambda: all(r.reset is not None or r.written == 2000000 for r in mine), 6), "still held"
        assert sum(r.written for r in mine) < 30 << 20
        ends(c)


@pytest.mark.plain
def test_stalled_answers_do_not_starve_the_others(tmp_path_factory, certs):
    """Clients that shut their windows may fill the memory of bodies, but not keep it: when it
    is scarce, who does not take what is there goes first."""
    for s in make(tmp_path_factory, certs, "starve", limits={"memory": "8MiB"}, plain=True):
        attackers = [Raw(s.address, first=[(4, 0)]) for _ in range(3)]
        for c in attackers:
            c.send(*[headers(2 * i + 1, get("/t/bytes/1000000")) for i in range(50)])
            c.run(lambda: len(c.streams) >= 40, 1)
        def served():
            answer = fetch(s.address, get("/t/bytes/20000"), seconds=2)
            return answer.status == 200 and len(answer.body) == 20000
        proc.wait_for(served, 5, 0.1, what="service while windows are shut")
        time.sleep(1)
        assert served()
        for c in attackers:
            c.close()


@pytest.mark.plain
def test_who_holds_the_memory_goes(tmp_path_factory, certs):
    """Clients that come back as often as they are thrown out, each to hold as much as it can:
    when memory is scarce the connection that holds the most is closed, and nobody else's request fails."""
    for s in make(tmp_path_factory, certs, "hogs", limits={"memory": "8MiB"}, plain=True):
        over = threading.Event()
        closed = []

        def hold():
            while not over.is_set():
                with Raw(s.address, first=[(4, 0)]) as c:
                    c.auto_window = False
                    for sid in range(1, 101, 2):
                        c.send(headers(sid, get("/t/bytes/1000000")))
                    c.run(lambda: c.closed, 1)
                    closed.append(c.goaway)

        fetch(s.address, get("/t/probe"))
        hogs = [threading.Thread(target=hold, daemon=True) for _ in range(3)]
        prober = Prober(s.address, "/t/bytes/20000")
        for t in hogs + [prober]:
            t.start()
        proc.wait_for(lambda: s.proxy.fault("memory-held") >= 3 and prober.n >= 30, 30, what="the largest are closed")
        prober.stopping.set()
        over.set()
        prober.join(10)
        for t in hogs:
            t.join(35)
        assert not prober.bad, prober.bad[:3]
        assert ENHANCE_YOUR_CALM in closed


# -- slow --

def ends(c, seconds=4.0):
    began = time.monotonic()
    c.run(lambda: c.closed, seconds)
    assert c.closed, "still open after %.1f s" % (time.monotonic() - began)


def dribble(c, octets, seconds=4.0, pause=0.15):
    """Octet by octet until the peer has had enough."""
    end = time.monotonic() + seconds
    for b in octets:
        if time.monotonic() > end:
            raise AssertionError("still open")
        if not c.send(bytes([b])) or c.run(lambda: c.closed, pause):
            return
    ends(c, max(0.1, end - time.monotonic()))


@pytest.mark.parametrize("end_headers", [True, False], ids=["END_HEADERS", "CONTINUATION"])
def test_head_octet_by_octet(hasty, watch, end_headers):
    """Time for a header block counts until its last octet has come."""
    with Raw(hasty.address) as c:
        c.run(lambda: c.settings)
        dribble(c, headers(1, get(NEVER) + [("x-long", "v" * 5000)], True, end_headers))
        assert c.goaway in (ENHANCE_YOUR_CALM, None)


def test_continuation_octet_by_octet(hasty, watch):
    with Raw(hasty.address) as c:
        c.run(lambda: c.settings)
        c.send(headers(1, get(NEVER), True, False))
        dribble(c, raw(CONTINUATION, END_HEADERS, 1, block([("x-long", "v" * 5000)])))


def test_head_that_stops(hasty, watch):
    with Raw(hasty.address) as c:
        c.send(headers(1, get(NEVER))[:20])
        ends(c)


def test_preface_without_settings(hasty, watch):
    """SETTINGS are part of the preface (RFC 9113 3.4): they have to come within its time, not the idle one."""
    with Raw(hasty.address, preface=False) as c:
        c.auto_ack = False
        before = hasty.proxy.fault("handshake-timeout")
        c.send(PREFACE)
        ends(c, 6)
        proc.wait_for(lambda: hasty.proxy.fault("handshake-timeout") > before, 2, what="the fault that names it")


def test_frame_without_end_is_idle(hasty, watch):
    """Half a frame of no stream, octet by octet: the connection is idle all the same."""
    with Raw(hasty.address) as c:
        c.run(lambda: c.settings)
        dribble(c, raw(0xBA, 0, 0, b"x" * 16000), 8, 0.2)


def test_body_octet_by_octet(hasty, watch):
    with Raw(hasty.address) as c:
        c.run(lambda: c.settings)
        c.send(headers(1, post(), False))
        end = time.monotonic() + 6
        while time.monotonic() < end and not (c.closed or c.done(1)):
            c.send(data(1, b"x"))
            c.run(lambda: c.closed or c.done(1), 0.2)
        assert c.stream(1).status == 408 or c.closed, c.stream(1)


def test_body_octet_by_octet_of_an_answer_that_began(hasty, watch):
    """The backend answers at once, the client goes on with an octet now and then: it holds the stream no longer."""
    with Raw(hasty.address) as c:
        c.run(lambda: c.settings)
        c.send(headers(1, get("/t/dribble/echo", "POST"), False))
        end = time.monotonic() + 6
        while time.monotonic() < end and not (c.closed or c.done(1)):
            c.send(data(1, b"x"))
            c.run(lambda: c.closed or c.done(1), 0.2)
        assert c.stream(1).heads and (c.closed or c.stream(1).reset == CANCEL), c.stream(1)
    assert hasty.a.wait(lambda: all(r.reset is not None for r in hasty.seen(path="/t/dribble/echo")), 3)


def test_body_announced_and_not_sent(hasty, watch):
    with Raw(hasty.address) as c:
        c.send(headers(1, post(("content-length", "10000")), False))
        c.run(lambda: c.closed or c.done(1), 5)
        assert c.stream(1).status == 408, c.stream(1)


def test_many_slow_connections(hasty, watch):
    """200 of them at once: all gone after the deadline, the prober served throughout."""
    held = [Raw(hasty.address, preface=False) for _ in range(200)]
    for i, c in enumerate(held):
        c.send((PREFACE + settings() + headers(1, get(NEVER), True, False))[:5 + i % 60])
    end = time.monotonic() + 8
    for c in held:
        c.run(lambda: c.closed, max(0.01, end - time.monotonic()))
    assert all(c.closed for c in held), sum(not c.closed for c in held)


# -- TLS --

def s_client(scene, *args, send=b"", seconds=10):
    r = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % scene.tls_port, "-servername", "localhost", *args],
                       input=send, capture_output=True, timeout=seconds)
    return (r.stdout + r.stderr).decode("utf-8", "replace")


# RFC 9113 9.2.2, appendix A: no CBC, no static key exchange, nothing anonymous
@pytest.mark.parametrize("suite", ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384",
                                   "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-SHA", "ADH-AES128-GCM-SHA256", "AECDH-NULL-SHA", "ECDHE-ECDSA-AES128-CCM8"])
def test_weak_suites(scene, watch, suite):
    out = s_client(scene, "-tls1_2", "-alpn", "h2", "-cipher", suite + ":@SECLEVEL=0")
    assert "handshake failure" in out and "BEGIN CERTIFICATE" not in out, out[-800:]


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"])
def test_good_suites(scene, suite):
    out = s_client(scene, "-tls1_2", "-alpn", "h2", "-cipher", suite)
    assert suite in out and "ALPN protocol: h2" in out


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions(scene, watch, version):
    out = s_client(scene, version, "-alpn", "h2", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert "protocol version" in out and "BEGIN CERTIFICATE" not in out, out[-800:]


@pytest.mark.parametrize("alpn", [["http/1.1"], ["h2c"], ["h3"], ["spdy/3.1", "http/1.0"]])
def test_foreign_alpn(scene, watch, alpn):
    out = s_client(scene, "-alpn", ",".join(alpn))
    assert "no application protocol" in out, out[-800:]


def test_alpn_h2_among_others(scene):
    assert "ALPN protocol: h2" in s_client(scene, "-alpn", "http/1.1,h2")


def test_no_alpn(scene, watch):
    """Prior knowledge over TLS is no right (RFC 9113 3.2), but must not be worse than an answer or an alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(scene.tls_address, timeout=5) as s:
        try:
            with context.wrap_socket(s, server_hostname="localhost") as t:
                t.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                got = t.recv(4096)
                assert got == b"" or got.startswith(b"HTTP/1.1 505")
        except (ssl.SSLError, ConnectionError):
            pass


def test_renegotiation(scene, watch):
    """RFC 9113 9.2.1: refused, as often as it is asked for."""
    out = s_client(scene, "-tls1_2", "-alpn", "h2", send=b"R\n", seconds=15)
    assert "RENEGOTIATING" in out
    assert "no renegotiation" in out or "error" in out, out[-800:]


def test_early_data(scene, watch, tmp_path):
    """A ticket allows none, and what a client sends early is not read (a replayed POST is a second message)."""
    ticket, early = tmp_path / "ticket", tmp_path / "early"
    early.write_bytes(PREFACE + settings() + headers(1, get("/t/early-data", "POST")))
    p = subprocess.Popen(["openssl", "s_client", "-connect", "127.0.0.1:%d" % scene.tls_port, "-servername", "localhost", "-alpn", "h2", "-tls1_3",
                          "-sess_out", str(ticket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        proc.wait_for(ticket.exists, 5, what="a ticket")
    finally:
        out = p.communicate(b"Q\n", 5)[0].decode("utf-8", "replace")
    assert "Max Early Data: 0" in out, out[-800:]
    out = s_client(scene, "-alpn", "h2", "-tls1_3", "-sess_in", str(ticket), "-early_data", str(early))
    assert "Early data was accepted" not in out
    assert not scene.seen(path="/t/early-data")


HELLO = bytes.fromhex("16030100c8010000c40303") + b"r" * 32 + b"\x20" + b"s" * 32


@pytest.mark.parametrize("first", [b"", HELLO[:3], HELLO[:5], HELLO[:40], HELLO, b"\x16\x03\x01\x40\x00" + b"\x01\x00\x3f\xfc" + b"x" * 50],
                         ids=["nothing", "3 octets", "record header", "half", "hello without extensions", "long record"])
def test_half_client_hello(hasty, watch, first):
    s = socket.create_connection(hasty.tls_address, timeout=6)
    began = time.monotonic()
    try:
        s.sendall(first)
        while s.recv(1000):
            pass
    except ConnectionResetError:
        pass
    s.close()
    assert time.monotonic() - began < 4


def test_client_hello_octet_by_octet(hasty, watch):
    s = socket.create_connection(hasty.tls_address, timeout=5)
    began = time.monotonic()
    try:
        for b in HELLO:
            s.sendall(bytes([b]))
            time.sleep(0.05)
            assert time.monotonic() - began < 4, "still open"
    except (ConnectionResetError, BrokenPipeError):
        pass
    s.close()


@pytest.mark.parametrize("noise", [b"\x00" * 1000, b"\xff" * 1000, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", PREFACE + settings(), b"\x80\x2e\x01\x03\x01",
                                   b"\x15\x03\x03\x00\x02\x02\x28", b"\x17\x03\x03\x00\x10" + b"x" * 16, b"\x14\x03\x03\x00\x01\x01"],
                         ids=["zeros", "ones", "http1", "http2 in clear", "sslv2", "alert", "application data", "change cipher"])
def test_noise_instead_of_tls(hasty, watch, noise):
    s = socket.create_connection(hasty.tls_address, timeout=5)
    try:
        s.sendall(noise)
        got = b""
        while True:
            more = s.recv(4096)
            if not more:
                break
            got += more
        assert got[:1] in (b"", b"\x15"), got  # an alert at most
    except ConnectionResetError:
        pass
    s.close()


@pytest.mark.parametrize("name", ["", "elsewhere.test", "a" * 63 + ".test", "xn--strae-oqa.test", "LOCALHOST", "127.0.0.1"], ids=lambda n: n[:16] or "none")
def test_odd_names(scene, watch, name):
    """SNI chooses nothing here; every name gets the certificate there is."""
    out = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % scene.tls_port, "-alpn", "h2"] +
                         (["-servername", name] if name else ["-noservername"]), input=b"", capture_output=True, timeout=10).stdout
    assert b"ALPN protocol: h2" in out


@pytest.mark.parametrize("authority,want", [("localhost", 200), ("example.com", 200), ("EXAMPLE.com:443", 200), ("127.0.0.1", 200),
                                            ("elsewhere.test", 421), ("sub.example.com", 421), ("example.com.", 421), ("xexample.com", 421),
                                            ("localhost.evil.test", 421), ("127.0.0.2", 421), ("[::1]", 421)])
def test_foreign_authority(scene, watch, authority, want):
    with Raw(scene.tls_address, tls=True) as c:
        answer = c.ask(1, get("/t/x", "GET", authority, "https"))
        assert answer.status == want, answer
        assert c.ask(3, get("/t/x", "GET", "localhost", "https")).status == 200


def test_handshakes_cut_off_leak_nothing(scene, watch):
    """300 connections that go away in the middle of the handshake."""
    for i in range(300):
        s = socket.create_connection(scene.tls_address, timeout=5)
        s.sendall(HELLO[:i % len(HELLO)])
        if i % 2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


# -- afterwards --

@pytest.mark.plain
def test_memory_returns(tmp_path_factory, certs):
    """The worst of the above, in rounds, each of which fills some 100 MiB of buffers: they go back to the system."""
    for s in make(tmp_path_factory, certs, "memory", plain=True):
        def round_():
            for name in ("rapid reset", "empty headers", "reset by a body beyond content-length", "reset by huge trailers"):
                frames, most, _ = FLOODS[name]
                for _ in range(3):
                    with Raw(s.address) as c:
                        pour(c, frames(), most)
            held = []
            for _ in range(5):
                c = Raw(s.address, first=[(4, 0)])
                c.send(*[headers(2 * i + 1, get("/t/bytes/300000")) for i in range(90)])
                c.run(lambda: len(c.streams) >= 90, 3)
                held.append(c)
            for c in held:
                c.close()
            s.a.wait(lambda: all(r.reset is not None or r.ended for r in s.seen(prefix="/t/")), 3)
            assert fetch(s.address, get("/t/x")).status == 200
        fetch(s.address, get("/t/x"))
        before = proc.rss(s.worker)
        for _ in range(5):
            round_()
        proc.wait_for(lambda: proc.rss(s.worker) <= before + (36 << 20), 3, what="memory back near %d KiB" % (before >> 10))


assert CANCEL and WINDOW_UPDATE and re
