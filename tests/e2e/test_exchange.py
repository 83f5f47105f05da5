# SPDX-License-Identifier: MIT
"""Everything HTTP/2 carries, end to end: bodies, trailers, interim answers, bodiless
statuses, cookies, extended CONNECT, event streams, cancels, fields on the way."""
import hashlib
import json
import re
import time

import pytest

from lib.config import PATIENT
from lib.frames import CANCEL, NO_ERROR, Raw, data, fetch, get, headers, raw, rst, window


def arrived(answer):
    return json.loads(answer.body)


@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "tls"])
@pytest.mark.parametrize("size", [0, 1, 100, 16383, 16384, 16385, 65535, 65536, 1 << 20, 5000000])
def test_body_sizes_down(scene, size, tls):
    answer = fetch(scene.tls_address if tls else scene.address, get("/t/bytes/%d" % size), tls=tls, seconds=20)
    assert answer.status == 200 and answer.ended
    assert answer.field("content-length") == str(size)
    assert len(answer.body) == size
    assert answer.body == (bytes(range(256)) * (size // 256 + 1))[:size] or size > 16384


@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "tls"])
def test_big_body_both_ways(scene, tls):
    """Echo of 4 MiB: request and answer stream at the same time."""
    body = hashlib.sha512(b"x").digest() * 65536
    with Raw(scene.tls_address if tls else scene.address, tls=tls, timeout=30) as c:
        c.run(lambda: 3 in c.settings)
        c.send(headers(1, get("/t/echo", "POST"), end=False))
        credit = {"c": 65535, "s": c.settings.get(4, 65535)}
        sent, at = 0, 0
        end = time.monotonic() + 30
        while sent < len(body) and time.monotonic() < end:
            for kind, _, sid, payload in c.frames[at:]:
                if kind == 8:
                    credit["s" if sid else "c"] += int.from_bytes(payload, "big")
            at = len(c.frames)
            n = min(16384, credit["c"], credit["s"], len(body) - sent)
            if n > 0:
                c.send(data(1, body[sent:sent + n], sent + n == len(body)))
                sent += n
                credit["c"] -= n
                credit["s"] -= n
                c.run(lambda: True, 0)
            else:
                c.run(lambda: len(c.frames) > at, 5)
        assert c.run(lambda: c.done(1))
        assert hashlib.sha256(c.stream(1).body).digest() == hashlib.sha256(body).digest()


def test_request_trailers_arrive(scene):
    with Raw(scene.address) as c:
        answer = c.ask(1, get("/t/echo", "POST", "example.com", "http", ("te", "trailers")), b"body", [("x-sum", "7")])
    assert answer.body == b"body"
    assert "x-sum" in answer.field("x-trailer-back")
    r = scene.seen(path="/t/echo")[-1]
    assert ("x-sum", "7") in [(n, v) for n, v in r.trailers]


def test_response_trailers_arrive(scene):
    answer = fetch(scene.address, get("/t/trailers"))
    assert answer.body == b"body" and answer.ended
    assert answer.heads[-1] == [("x-sum", "42")]


def test_trailers_without_body(scene):
    with Raw(scene.address) as c:
        answer = c.ask(1, get("/t/echo", "POST"), None, [("x-sum", "7")])
    assert answer.ended and answer.reset is None


@pytest.mark.parametrize("path", ["/t/bytes/12345", "/t/x"])
def test_head(scene, path):
    answer = fetch(scene.address, get(path, "HEAD"))
    assert answer.status == 200 and answer.ended and answer.body == b""
    if "bytes" in path:
        assert answer.field("content-length") == "12345"


@pytest.mark.parametrize("status", [200, 201, 204, 206, 301, 304, 400, 404, 418, 429, 500, 599])
def test_statuses_pass(scene, status):
    answer = fetch(scene.address, get("/t/status/%d" % status))
    assert answer.status == status and answer.ended
    assert (answer.body == b"") == (status in (204, 304))


def test_early_hints(scene):
    answer = fetch(scene.address, get("/t/hints"))
    statuses = [dict(h)[":status"] for h in answer.heads]
    assert statuses == ["103", "200"], answer.heads
    assert dict(answer.heads[0])["link"] == "</style.css>; rel=preload"


def test_expect_continue(scene):
    with Raw(scene.address) as c:
        c.send(headers(1, get("/t/continue", "POST", "example.com", "http", ("expect", "100-continue"), ("content-length", "4")), end=False))
        assert c.run(lambda: any(dict(h).get(":status") == "100" for h in c.stream(1).heads)), "no 100"
        c.send(data(1, b"body", True))
        c.run(lambda: c.done(1))
        assert c.stream(1).status == 200


def test_cookie_crumbs(scene):
    """RFC 9113 8.2.3: fields may be split; what arrives means the same."""
    answer = fetch(scene.address, get("/t/headers") + [("cookie", "a=1"), ("x-between", "1"), ("cookie", "b=2"), ("cookie", "c=3")])
    cookies = [v for n, v in arrived(answer) if n == "cookie"]
    assert "; ".join(cookies) == "a=1; b=2; c=3"


def test_set_cookies_stay_apart(scene):
    path = "/t/set-cookies"
    scene.a.custom[path] = scene.b.custom[path] = lambda c, r: c.respond(r, 200, [("set-cookie", "a=1"), ("x-between", "1"), ("set-cookie", "b=2")], b"")
    head = fetch(scene.address, get(path)).heads[-1]
    assert [v for n, v in head if n == "set-cookie"] == ["a=1", "b=2"]


def test_extended_connect(scene):
    """RFC 8441 end to end, bytes both ways."""
    with Raw(scene.address) as c:
        c.run(lambda: 3 in c.settings)
        assert c.settings.get(8) == 1, "SETTINGS_ENABLE_CONNECT_PROTOCOL is not advertised"
        fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "example.com"), (":path", "/ws/echo"),
                  ("sec-websocket-version", "13")]
        c.send(headers(1, fields, end=False))
        assert c.run(lambda: c.stream(1).status == 200), (c.stream(1), c.goaway)
        for i in range(5):
            c.send(data(1, b"ping%d" % i))
            assert c.run(lambda: c.stream(1).body.endswith(b"ping%d" % i)), c.stream(1).body
        c.send(data(1, b"", True))
        assert c.run(lambda: c.done(1)) and c.stream(1).reset is None
    r = scene.seen(path="/ws/echo")[-1]
    assert r.field(":protocol") == "websocket"


def test_extended_connect_unwanted(scene):
    """Only features that say so take CONNECT."""
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "example.com"), (":path", "/t/echo")]
    with Raw(scene.address) as c:
        c.send(headers(1, fields, end=False))
        c.run(lambda: c.done(1) or c.stream(1).status)
        assert c.stream(1).status == 501, c.stream(1)


@pytest.mark.parametrize("takes", [True, False], ids=["taken", "not taken"])
def test_extended_connect_is_the_first_request(world, takes):
    """No connection, no SETTINGS yet: it waits for them. What they do not allow is refused by name."""
    b = world.backend("a", connect_protocol=takes)
    p = world.proxy(datacenters={"a": [b.where]}, workers=1, checks=False, limits={"upstream_spares": 0}, retry=PATIENT)
    fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "example.com"), (":path", "/ws/echo")]
    with Raw(p.address) as c:
        c.run(lambda: 3 in c.settings)
        c.send(headers(1, fields, end=False))
        assert c.run(lambda: c.stream(1).status), (c.stream(1), c.goaway)
        assert c.stream(1).status == (200 if takes else 502)
        assert takes or "upstream-no-connect" in c.stream(1).field("proxy-status"), c.stream(1).heads
    assert len(b.seen(path="/ws/echo")) == takes


def test_event_stream_arrives_as_it_happens(scene):
    with Raw(scene.address) as c:
        c.send(headers(1, get("/events/events/5")))
        began = time.monotonic()
        assert c.run(lambda: b"data: 0" in c.stream(1).body)
        assert time.monotonic() - began < 0.4, "the first event waited for the others"
        assert c.run(lambda: c.done(1))
        assert c.stream(1).body == b"".join(b"data: %d\n\n" % i for i in range(5))


def test_client_reset_cancels_upstream(scene):
    with Raw(scene.address) as c:
        c.send(headers(1, get("/t/never")))
        assert scene.a.wait(lambda: scene.seen(path="/t/never") and scene.seen(path="/t/never")[-1].ended)
        r = scene.seen(path="/t/never")[-1]
        assert r.reset is None
        c.send(rst(1, CANCEL))
        assert scene.a.wait(lambda: r.reset is not None, 1), "the backend works on"
        assert r.reset == CANCEL


def test_client_gone_cancels_upstream(scene):
    with Raw(scene.address) as c:
        c.send(headers(1, get("/t/gone/never")))
        assert scene.a.wait(lambda: scene.seen(path="/t/gone/never"))
    r = scene.seen(path="/t/gone/never")[-1]
    assert scene.a.wait(lambda: r.reset is not None, 1), "the backend works on"


def test_reset_mid_body_is_never_a_whole_answer(scene):
    answer = fetch(scene.address, get("/t/cut/50000"), seconds=10)
    assert answer.reset is not None and not answer.ended, answer
    assert len(answer.body) < 100000


def test_answer_before_the_body_ends(scene):
    """A backend that answers early: the client gets all of it, then NO_ERROR or its own pace."""
    with Raw(scene.address) as c:
        c.send(headers(1, get("/t/early", "POST"), end=False), data(1, b"x" * 100))
        assert c.run(lambda: c.done(1))
        assert c.stream(1).status == 200 and c.stream(1).body == b"early"
        assert c.stream(1).reset in (None, NO_ERROR)


def test_many_streams_get_their_own_answers(scene):
    with Raw(scene.address, timeout=20) as c:
        c.run(lambda: 3 in c.settings)
        sids = [2 * i + 1 for i in range(90)]
        c.send(*[headers(s, get("/t/headers?n=%d" % s)) for s in sids])
        assert c.run(lambda: all(c.done(s) for s in sids))
        for s in sids:
            assert [v for n, v in arrived(c.stream(s)) if n == ":path"] == ["/t/headers?n=%d" % s]


def test_slow_reader_does_not_hold_others(scene):
    """One stream with a shut window beside one that flows, on one connection."""
    with Raw(scene.address, timeout=10) as c:
        c.auto_window = False
        c.send(headers(1, get("/t/bytes/3000000")))
        c.run(lambda: len(c.stream(1).body) >= 65535)
        c.send(window(0, 10000000))
        answer = c.ask(3, get("/t/x"))
        assert answer.status == 200 and answer.ended
        assert len(c.stream(1).body) == 65535


def test_shut_window_holds_the_upstream_back(scene):
    """Back-pressure: what a client does not read is not fetched without bound."""
    with Raw(scene.address, timeout=10) as c:
        c.auto_window = False
        c.send(headers(1, get("/t/back/bytes/50000000")))
        c.run(lambda: len(c.stream(1).body) >= 65535)
        r = scene.seen(path="/t/back/bytes/50000000")[-1]
        c.run(None, 0.7)
        first = r.written
        c.run(None, 0.5)
        assert r.written == first, "the upstream goes on"
        assert r.written < 8 << 20


# -- fields on the way --

def test_hop_by_hop_and_identity_fields(scene):
    answer = fetch(scene.address, get("/t/headers") + [("te", "trailers"), ("x-keep", "1"), ("proxy-authorization", "Basic x")])
    seen = arrived(answer)
    names = [n for n, _ in seen]
    assert ("x-keep", "1") in [tuple(f) for f in seen]
    assert "proxy-authorization" not in names
    assert [v for n, v in seen if n == "te"] == ["trailers"]


def test_via_forwarded_request_id(scene):
    answer = fetch(scene.address, get("/t/headers"))
    seen = dict(arrived(answer))
    assert re.match(r"2(\.0)? \S+", seen.get("via", "")), seen
    assert seen.get("x-forwarded-for") == "127.0.0.1" or "for=127.0.0.1" in seen.get("forwarded", ""), seen
    assert seen.get("x-forwarded-proto", "http") == "http"
    assert len(seen.get("x-request-id", "")) >= 16
    assert answer.field("x-request-id") in (None, seen["x-request-id"])


def test_untrusted_forwarded_is_stripped(scene):
    answer = fetch(scene.address, get("/t/headers") + [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("x-forwarded-proto", "https")])
    assert b"6.6.6.6" not in answer.body
    assert dict(arrived(answer)).get("x-forwarded-proto", "http") == "http"


def test_traceparent_passes(scene):
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen = dict(arrived(fetch(scene.address, get("/t/headers") + [("traceparent", good)])))
    assert seen["traceparent"].split("-")[1] == good.split("-")[1]


def test_large_header_within_limits(scene):
    answer = fetch(scene.address, get("/t/headers") + [("x-big", "y" * 12000)])
    assert dict(arrived(answer))["x-big"] == "y" * 12000


@pytest.mark.parametrize("fields", [[("x-%d" % i, "y" * 4000) for i in range(30)], [("x-%d" % i, "y") for i in range(2000)],
                                    [("cookie", "a=%d" % i) for i in range(3000)], [("x-huge", "y" * 200000)]],
                         ids=["large-list", "many-fields", "many-crumbs", "huge-value"])
def test_header_list_above_the_limit(scene, fields):
    """431 where the stream can still be answered, else an error; never forwarded; others unaffected."""
    from lib.frames import block, END_HEADERS
    whole = block(get("/t/toolarge") + fields)
    parts = [whole[i:i + 16000] for i in range(0, len(whole), 16000)]
    with Raw(scene.address) as c:
        for i, part in enumerate(parts):
            last = END_HEADERS if i == len(parts) - 1 else 0
            c.send(raw(1, 1 | last, 1, part) if i == 0 else raw(9, last, 1, part))
        c.run(lambda: c.done(1) or c.goaway or c.closed)
        assert c.stream(1).status == 431 or c.stream(1).reset is not None or c.goaway or c.closed
    assert not scene.seen(path="/t/toolarge")
    assert fetch(scene.address, get("/t/x")).status == 200
