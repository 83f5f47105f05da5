# SPDX-License-Identifier: MIT
"""Backends that talk nonsense. Each costs its own request one clear status (or another
datacenter answers), never a hang, a crash, a body that looks whole when it is not, or
anything for the neighbours."""
import struct
import time

import pytest

from lib.frames import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PUSH_PROMISE, RST_STREAM, SETTINGS,
                        Raw, block, data, fetch, get, headers, ping, raw, rst, settings, window)

OK = [(":status", "200"), ("content-type", "text/plain")]
HEALTH = b"/healthz"


class Peer:
    """The server side of a script: reads frames, knows which streams ask for what."""

    def __init__(self, s, greet=True):
        import hpack
        self.s = s
        self.buf = b""
        self.decoder = hpack.Decoder()
        self.part = {}
        self.want(len(PREFACE))
        self.buf = self.buf[len(PREFACE):]
        if greet:
            s.sendall(settings([(3, 100)]))

    def want(self, n):
        while len(self.buf) < n:
            more = self.s.recv(65536)
            if not more:
                raise ConnectionError("the proxy closed")
            self.buf += more

    def frame(self):
        self.want(9)
        n = int.from_bytes(self.buf[:3], "big")
        self.want(9 + n)
        kind, flags = self.buf[3], self.buf[4]
        sid = struct.unpack(">I", self.buf[5:9])[0]
        payload, self.buf = self.buf[9:9 + n], self.buf[9 + n:]
        if kind == SETTINGS and not flags & ACK:
            self.s.sendall(raw(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.s.sendall(raw(PING, ACK, 0, payload))
        return kind, flags, sid, payload

    def request(self):
        """(stream, fields) of the next request that is no health check; those are answered."""
        while True:
            kind, flags, sid, payload = self.frame()
            if kind != HEADERS:
                continue
            fields = {n.decode() if isinstance(n, bytes) else n: v.decode() if isinstance(v, bytes) else v
                      for n, v in self.decoder.decode(payload[5:] if flags & 0x20 else payload, raw=True)}
            if fields.get(":path", "").startswith("/healthz"):
                self.s.sendall(headers(sid, OK))
                continue
            return sid, fields


def after_request(reply):
    """A server that is sane until the request, then sends reply(stream) and reads on."""
    def behave(s):
        p = Peer(s)
        while True:
            sid, _ = p.request()
            out = reply(sid)
            for piece in out if isinstance(out, (list, tuple)) else [out]:
                if piece is None:
                    return
                s.sendall(piece)
            if out is None:
                return
    return behave


def interim_flood(sid):
    return [headers(sid, [(":status", "103"), ("link", "<x>")], end=False)] * 5000 + [headers(sid, OK)]


def header_bomb(sid):
    """One big field in the dynamic table, then a thousand references to it."""
    big = b"\x40\x01x" + b"\x7f\xa1\x1e" + b"y" * 4000
    whole = block([(":status", "200")]) + big + b"\xbe" * 15000
    return raw(HEADERS, END_HEADERS | END_STREAM, sid, whole[:16000]) if len(whole) <= 16000 else \
        raw(HEADERS, END_STREAM, sid, whole[:16000]) + raw(CONTINUATION, END_HEADERS, sid, whole[16000:])


def endless_headers(sid):
    yield raw(HEADERS, 0, sid, block([(":status", "200")]))
    for i in range(3000):
        yield raw(CONTINUATION, 0, sid, block([("x-%d" % i, "y" * 100)]))


# What a backend does after the request came. name -> bytes, list of bytes, None = close
REPLIES = {
    "closes": lambda sid: None,
    "half a frame, closes": lambda sid: [b"\0\0\x10\x01\x04\0\0", None],
    "garbage": lambda sid: b"\xde\xad\xbe\xef" * 64,
    "HTTP/1 answer": lambda sid: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "no :status": lambda sid: headers(sid, [("content-type", "x")]),
    "status of letters": lambda sid: headers(sid, [(":status", "abc")]),
    "status of four digits": lambda sid: headers(sid, [(":status", "2000")]),
    "status 099": lambda sid: headers(sid, [(":status", "099")]),
    "status twice": lambda sid: headers(sid, [(":status", "200"), (":status", "200")]),
    "status after a field": lambda sid: headers(sid, [("x", "y"), (":status", "200")]),
    "request pseudo-field": lambda sid: headers(sid, [(":status", "200"), (":path", "/")]),
    "101": lambda sid: headers(sid, [(":status", "101")], end=False),
    "100 with END_STREAM": lambda sid: headers(sid, [(":status", "100")]),
    "upper-case name": lambda sid: headers(sid, OK + [("X-A", "b")]),
    "CRLF in a value": lambda sid: headers(sid, OK + [("x-a", "b\r\nset-cookie: x")]),
    "NUL in a value": lambda sid: headers(sid, OK + [("x-a", "b\0c")]),
    "transfer-encoding": lambda sid: headers(sid, OK + [("transfer-encoding", "chunked")]),
    "HPACK garbage": lambda sid: raw(HEADERS, END_HEADERS, sid, b"\xff\xff\xff\xff\xff"),
    "HPACK bomb": header_bomb,
    "endless headers": lambda sid: list(endless_headers(sid)),
    "interim flood": interim_flood,
    "DATA before HEADERS": lambda sid: data(sid, b"x", True),
    "oversized frame": lambda sid: headers(sid, OK, end=False) + raw(DATA, 0, sid, b"x" * 20000),
    "DATA on stream zero": lambda sid: data(0, b"x"),
    "HEADERS on a stream nobody opened": lambda sid: headers(sid + 100, OK),
    "HEADERS on an even stream": lambda sid: headers(2, OK),
    "PUSH_PROMISE": lambda sid: raw(PUSH_PROMISE, END_HEADERS, sid, b"\0\0\0\2" + block(get())),
    "RST_STREAM protocol": lambda sid: rst(sid, 1),
    "RST_STREAM internal": lambda sid: rst(sid, 2),
    "RST_STREAM cancel": lambda sid: rst(sid, 8),
    "RST_STREAM no error": lambda sid: rst(sid, 0),
    "RST_STREAM http11": lambda sid: rst(sid, 13),
    "RST_STREAM unknown code": lambda sid: rst(sid, 0xBADC0DE),
    "RST_STREAM of a wrong length": lambda sid: raw(RST_STREAM, 0, sid, b"\0"),
    "GOAWAY below the stream": lambda sid: raw(GOAWAY, 0, 0, struct.pack(">II", 0, 0)),
    "GOAWAY with error": lambda sid: [raw(GOAWAY, 0, 0, struct.pack(">II", sid, 2)), None],
    "WINDOW_UPDATE of zero": lambda sid: window(sid, 0),
    "window overflow": lambda sid: window(0, 0x7FFFFFFF) + window(0, 0x7FFFFFFF),
    "SETTINGS window overflow": lambda sid: settings([(4, 1 << 31)]),
    "SETTINGS of a wrong length": lambda sid: raw(SETTINGS, 0, 0, b"\0\0\0"),
    "PING flood": lambda sid: [ping() * 1000] * 30,
    "SETTINGS flood": lambda sid: [settings([(3, 100)]) * 1000] * 30,
    "unknown frame flood": lambda sid: [raw(0xEE, 0, 0, b"x") * 1000] * 30,
    "empty DATA flood": lambda sid: [headers(sid, OK, end=False)] + [data(sid, b"") * 1000] * 30,
}

# These begin an answer and then break it: the client sees the status and a reset.
CUT = {
    "closes mid-body": lambda sid: [headers(sid, OK + [("content-length", "100")], end=False) + data(sid, b"x" * 50), None],
    "closes mid-body without length": lambda sid: [headers(sid, OK, end=False) + data(sid, b"x" * 50), None],
    "resets mid-body": lambda sid: headers(sid, OK, end=False) + data(sid, b"x" * 50) + rst(sid, 2),
    "resets mid-body with NO_ERROR": lambda sid: headers(sid, OK, end=False) + data(sid, b"x" * 50) + rst(sid, 0),
    "short body": lambda sid: headers(sid, OK + [("content-length", "100")], end=False) + data(sid, b"x" * 50, True),
    "long body": lambda sid: headers(sid, OK + [("content-length", "10")], end=False) + data(sid, b"x" * 50, True),
    "pseudo-field in trailers": lambda sid: headers(sid, OK, end=False) + data(sid, b"x") + headers(sid, [(":status", "200")]),
    "second final head": lambda sid: headers(sid, OK, end=False) + data(sid, b"x") + headers(sid, OK, end=False),
    "garbage mid-body": lambda sid: headers(sid, OK, end=False) + data(sid, b"x" * 50) + b"\xff" * 100,
}


@pytest.fixture
def one(world):
    """A proxy with a scripted datacenter beside a good one that the script's feature never uses:
    all traffic of /t goes to the script alone."""
    def start(behave, **more):
        script = world.script(behave)
        p = world.proxy(datacenters={"a": [script.where]}, checks=False, **more)
        p.script = script
        return p
    return start


def outcome(address, fields, body=None, seconds=8):
    began = time.monotonic()
    answer = fetch(address, fields, body, seconds=seconds)
    return answer, time.monotonic() - began


@pytest.mark.parametrize("name", REPLIES, ids=lambda n: n.replace(" ", "-").replace("/", "-"))
def test_fault_before_an_answer(one, name):
    p = one(after_request(REPLIES[name]))
    answer, took = outcome(p.address, get("/t/x", "POST"), b"body")
    assert answer.status is not None, "no status: %s after %.1f s" % (answer, took)
    if answer.status == 200:
        # an answer that had begun must not look whole when it is not
        assert name in ("interim flood", "empty DATA flood", "oversized frame", "PING flood", "SETTINGS flood", "unknown frame flood"), answer
    else:
        assert answer.status in (502, 503, 504), answer
        assert answer.ended and answer.field("proxy-status"), answer
    assert took < 7
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


@pytest.mark.parametrize("name", CUT, ids=lambda n: n.replace(" ", "-"))
def test_cut_body_never_looks_whole(one, name):
    p = one(after_request(CUT[name]))
    answer, took = outcome(p.address, get("/t/x", "POST"), b"body")
    if answer.status == 200:
        assert not answer.ended and answer.reset not in (None, 0), answer
    else:
        assert answer.status in (502, 503), answer
    assert took < 7


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


def test_zero_window_upload_is_bounded(one):
    """A backend that never opens its window: the upload waits at the client, then gets an answer."""
    def behave(s):
        p = Peer(s, greet=False)
        s.sendall(settings([(4, 0)]))
        while True:
            p.frame()
    p = one(behave)
    before = p.memory()
    with Raw(p.address, timeout=3) as c:
        c.run(lambda: 3 in c.settings)
        c.send(headers(1, get("/t/echo", "POST"), end=False))
        sent, at, credit = 0, 0, 65535
        while sent < 20 << 20 and not c.done(1):
            for kind, _, _, payload in c.frames[at:]:
                if kind == 8:
                    credit += int.from_bytes(payload, "big") // 2
            at = len(c.frames)
            if credit < 16384:
                if not c.run(lambda: len(c.frames) > at, 1):
                    break
                continue
            c.send(data(1, b"x" * 16384))
            sent += 16384
            credit -= 16384
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
