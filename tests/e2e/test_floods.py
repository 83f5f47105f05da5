# SPDX-License-Identifier: MIT
"""Floods: useless frames in numbers. Each is cut off, and a prober on new connections
never notices."""
import threading
import time

import pytest

from lib.frames import (CANCEL, CONTINUATION, DATA, HEADERS, PRIORITY, SETTINGS, Raw, block, data, fetch, get, headers, ping, raw,
                        rst, settings, window)

N = 20000


def rapid_reset(n):
    """CVE-2023-44487: open and reset at once."""
    for i in range(n):
        yield headers(2 * i + 1, get("/t/never")) + rst(2 * i + 1, CANCEL)


def made_reset(n):
    """CVE-2025-8671: make the server reset (a window overflow on each stream)."""
    for i in range(n):
        sid = 2 * i + 1
        yield headers(sid, get("/t/never"), end=False) + window(sid, 0x7FFFFFFF)


def made_reset_length(n):
    for i in range(n):
        sid = 2 * i + 1
        yield headers(sid, get("/t/never", "POST", "example.com", "http", ("content-length", "1")), end=False) + data(sid, b"xx", True)


def empty_data(n):
    yield headers(1, get("/t/echo", "POST"), end=False)
    for _ in range(n):
        yield data(1, b"")


def padded_data(n):
    yield headers(1, get("/t/echo", "POST"), end=False)
    for _ in range(n):
        yield raw(DATA, 8, 1, b"\x08" + b"\0" * 8)


def continuations(n):
    """CVE-2024-27316: a header block that never ends."""
    yield raw(HEADERS, 0, 1, block(get("/t/x")))
    for i in range(n):
        yield raw(CONTINUATION, 0, 1, block([("x-%d" % i, "y")]))


def empty_continuations(n):
    yield raw(HEADERS, 0, 1, block(get("/t/x")))
    for _ in range(n):
        yield raw(CONTINUATION, 0, 1, b"")


def resets_on_closed(n):
    yield headers(1, get("/t/x"))
    for _ in range(n):
        yield rst(1)


def toggled_settings(n):
    for i in range(n):
        yield settings([(4, 65535 - (i & 1)), (1, 4096 * (i & 1))])


def many_settings(n):
    yield raw(SETTINGS, 0, 0, b"\xfa\xce\0\0\0\1" * 2000)
    for _ in range(n // 100):
        yield raw(SETTINGS, 0, 0, b"\xfa\xce\0\0\0\1" * 100)


FLOODS = {
    "ping": lambda n: (ping() for _ in range(n)),
    "ping acks": lambda n: (raw(6, 1, 0, b"12345678") for _ in range(n)),
    "settings": lambda n: (settings([(3, 100)]) for _ in range(n)),
    "empty settings": lambda n: (settings() for _ in range(n)),
    "toggled settings": toggled_settings,
    "settings with many entries": many_settings,
    "settings acks": lambda n: (raw(SETTINGS, 1, 0) for _ in range(n)),
    "rapid reset": rapid_reset,
    "made you reset by window": made_reset,
    "made you reset by length": made_reset_length,
    "resets on a closed stream": resets_on_closed,
    "empty data": empty_data,
    "padding only data": padded_data,
    "continuations": continuations,
    "empty continuations": empty_continuations,
    "priority": lambda n: (raw(PRIORITY, 0, 2 * i + 1, b"\0\0\0\0\x10") for i in range(n)),
    "priority update": lambda n: (raw(0x10, 0, 0, b"\0\0\0\1u=3") for _ in range(n)),
    "window updates": lambda n: (window(0, 1) for _ in range(n)),
    "unknown type": lambda n: (raw(0xBA, 0, 0, b"x") for _ in range(n)),
    "altsvc": lambda n: (raw(0xA, 0, 0, b"\0\1ab") for _ in range(n)),
    "goaway": lambda n: (raw(7, 0, 0, b"\0" * 8) for _ in range(n)),
}


class Prober(threading.Thread):
    """A good request on a new connection, again and again."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.worst, self.bad, self.n, self.stopping = address, 0.0, [], 0, False

    def run(self):
        while not self.stopping:
            began = time.monotonic()
            try:
                answer = fetch(self.address, get("/t/probe"))
                if answer.status != 200:
                    self.bad.append(repr(answer))
            except OSError as e:
                self.bad.append(repr(e))
            self.n += 1
            self.worst = max(self.worst, time.monotonic() - began)
            time.sleep(0.02)

    def stop(self):
        self.stopping = True
        self.join(10)


@pytest.mark.parametrize("name", FLOODS, ids=lambda n: n.replace(" ", "-"))
def test_flood_is_cut_off(scene, name):
    prober = Prober(scene.address)
    prober.start()
    try:
        with Raw(scene.address, timeout=10) as c:
            batch, alive = [], True
            for i, frames in enumerate(FLOODS[name](N)):
                batch.append(frames)
                if len(batch) == 100:
                    alive = c.send(*batch)
                    batch = []
                    if not alive:
                        break
                    if i % 1000 < 100:
                        c.run(lambda: c.closed, 0.001)
                        if c.closed:
                            alive = False
                            break
            if alive:
                c.send(*batch)
            c.run(lambda: c.closed, 5)
            assert c.closed or not alive, "%d frames and the connection is still open" % N
    finally:
        prober.stop()
    assert not prober.bad, prober.bad[:3]
    assert prober.n and prober.worst < 1.0, "a prober waited %.2f s" % prober.worst


def test_rapid_reset_costs_the_backend_little(scene):
    """HEADERS+RST in one segment never reach the backend."""
    before = len(scene.seen(path="/t/never-asked"))
    with Raw(scene.address) as c:
        c.run(lambda: 3 in c.settings)
        c.send(*[headers(2 * i + 1, get("/t/never-asked")) + rst(2 * i + 1) for i in range(50)])
        assert c.ask(201, get("/t/x")).status == 200
    assert len(scene.seen(path="/t/never-asked")) - before <= 1


def test_legal_traffic_is_not_a_flood(scene):
    """What real clients do a lot of: many requests, window updates for their bodies, some cancels, a PING a second."""
    with Raw(scene.address, timeout=20) as c:
        c.run(lambda: 3 in c.settings)
        sid = 1
        for round_ in range(40):
            sids = [sid + 2 * i for i in range(25)]
            sid += 50
            c.send(*[headers(s, get("/t/bytes/2000")) for s in sids])
            if round_ % 5 == 0:
                c.send(ping())
                c.send(rst(sids[0]))
                c.streams.setdefault(sids[0], c.stream(sids[0])).reset = CANCEL
            assert c.run(lambda: all(c.done(s) for s in sids) or c.goaway is not None, 20)
            assert c.goaway is None, "cut off after %d rounds" % round_
        assert sum(a.status == 200 for a in c.streams.values()) >= 960


def test_many_small_data_frames_are_not_a_flood(scene):
    """An upload in 1-octet DATA frames is odd but legal at a modest number."""
    with Raw(scene.address) as c:
        c.send(headers(1, get("/t/echo", "POST"), end=False))
        for _ in range(500):
            c.send(data(1, b"x"))
        c.send(data(1, b"", True))
        c.run(lambda: c.done(1))
        assert len(c.stream(1).body) == 500




def test_window_update_for_every_small_answer_is_not_a_flood(world):
    """Simple clients give back each answer's octets at once: two thousand updates, each for a request."""
    a = world.backend("a")
    p = world.proxy(datacenters={"a": [a.where]}, workers=1)
    with Raw(p.address, timeout=20) as c:
        for i in range(2000):
            answer = c.ask(2 * i + 1, get("/t/x"))
            assert answer.status == 200, (i, answer, c.goaway, p.fault("flood-frames"))
