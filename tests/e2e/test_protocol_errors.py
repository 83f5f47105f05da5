# SPDX-License-Identifier: MIT
"""Malformed frames and sequences, RFC 9113 section by section: each ends the stream or
the connection with the code the RFC names, and never reaches a backend.

A case is (name, frames after the preface, what must happen):
  ("goaway", codes)  GOAWAY with one of the codes, then close
  ("close", None)    the connection ends, with or without GOAWAY
  ("rst", codes)     RST_STREAM on stream 1 with one of the codes (or a connection error)
  ("any", codes)     a stream or a connection error
  ("ok", None)       legal: the good request that follows is answered
"""
import struct

import pytest

from lib.frames import (ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR,
                        FRAME_SIZE_ERROR, GOAWAY, HEADERS, NO_ERROR, PADDED, PING, PREFACE, PRIO, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE,
                        REFUSED_STREAM, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, Raw, block, data, get, headers, ping, raw, rst,
                        settings, window)

BAD = "/t/malformed"


def post(*more):
    return get(BAD, "POST") + list(more)


def head(end=False, end_headers=True):
    return headers(1, post(), end=end, end_headers=end_headers)


CASES = [
    # 4.1, 4.2: frame format and size
    ("unknown type ignored", raw(0x2F, 0x55, 0, b"whatever"), ("ok", None)),
    ("unknown type on a stream ignored", raw(0xFE, 0, 7, b"x"), ("ok", None)),
    ("unknown flags ignored", raw(PING, 0xFE, 0, b"12345678"), ("ok", None)),
    ("reserved bit ignored", raw(PING, 0, 0x80000000, b"12345678"), ("ok", None)),
    ("DATA above SETTINGS_MAX_FRAME_SIZE", head() + raw(DATA, 0, 1, b"x" * 16385), ("any", [FRAME_SIZE_ERROR])),
    ("HEADERS above SETTINGS_MAX_FRAME_SIZE", raw(HEADERS, END_HEADERS, 1, b"\x00" * 16385), ("goaway", [FRAME_SIZE_ERROR])),
    ("SETTINGS above SETTINGS_MAX_FRAME_SIZE", raw(SETTINGS, 0, 0, b"\0\1\0\0\0\0" * 2731), ("goaway", [FRAME_SIZE_ERROR])),
    # 4.3: field blocks
    ("garbage HPACK", raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff"), ("goaway", [COMPRESSION_ERROR])),
    ("HPACK index zero", raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80"), ("goaway", [COMPRESSION_ERROR])),
    ("HPACK index beyond the table", raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\x7f"), ("goaway", [COMPRESSION_ERROR])),
    ("HPACK string longer than the block", raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x7f\xff\x01a"), ("goaway", [COMPRESSION_ERROR])),
    ("HPACK table size above the setting", raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe1\xff\x03" + block(post())),
     ("goaway", [COMPRESSION_ERROR])),
    ("HPACK table size update after a field", raw(HEADERS, END_HEADERS | END_STREAM, 1, block(post()) + b"\x20"),
     ("goaway", [COMPRESSION_ERROR])),
    ("HPACK bad Huffman padding", raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x00\x81\x00\x81\x00"), ("goaway", [COMPRESSION_ERROR])),
    ("frame inside a header block", head(True, False) + ping(), ("goaway", [PROTOCOL_ERROR])),
    ("other stream's HEADERS inside a header block", head(True, False) + headers(3, post()), ("goaway", [PROTOCOL_ERROR])),
    ("unknown frame inside a header block", head(True, False) + raw(0xEE, 0, 0, b""), ("goaway", [PROTOCOL_ERROR])),
    # 5.1: stream states
    ("DATA on an idle stream", data(1, b"x"), ("goaway", [PROTOCOL_ERROR, STREAM_CLOSED])),
    ("RST_STREAM on an idle stream", rst(1), ("goaway", [PROTOCOL_ERROR])),
    ("WINDOW_UPDATE on an idle stream", window(1, 1), ("goaway", [PROTOCOL_ERROR])),
    ("CONTINUATION without HEADERS", raw(CONTINUATION, END_HEADERS, 1, block(post())), ("goaway", [PROTOCOL_ERROR])),
    ("DATA after END_STREAM", headers(1, get("/t/never")) + data(1, b"x"), ("any", [STREAM_CLOSED])),
    ("HEADERS after END_STREAM", headers(1, get("/t/never")) + headers(1, get("/t/never")), ("any", [STREAM_CLOSED, PROTOCOL_ERROR])),
    ("CONTINUATION after END_HEADERS", head() + raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")])), ("goaway", [PROTOCOL_ERROR])),
    # 5.1.1: stream identifiers
    ("HEADERS on an even stream", headers(2, post()), ("goaway", [PROTOCOL_ERROR])),
    ("stream ids going down", headers(5, get()) + headers(3, post()), ("goaway", [PROTOCOL_ERROR, STREAM_CLOSED])),
    ("stream zero HEADERS", headers(0, post()), ("goaway", [PROTOCOL_ERROR])),
    # 5.3.1: a stream cannot depend on itself
    # 5.4, 6.1: DATA
    ("DATA on stream zero", data(0, b"x"), ("goaway", [PROTOCOL_ERROR])),
    ("DATA padding as long as the frame", head() + raw(DATA, PADDED, 1, b"\x05abcd"), ("goaway", [PROTOCOL_ERROR])),
    ("padded DATA with nothing in it", head() + raw(DATA, PADDED, 1, b""), ("goaway", [FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
    # 6.2: HEADERS
    ("HEADERS padding beyond the frame", raw(HEADERS, PADDED | END_HEADERS, 1, b"\xff" + block(post())), ("goaway", [PROTOCOL_ERROR])),
    ("HEADERS with half a priority", raw(HEADERS, PRIO | END_HEADERS, 1, b"\0\0"), ("goaway", [FRAME_SIZE_ERROR, PROTOCOL_ERROR])),
    # 6.3: PRIORITY
    ("PRIORITY on stream zero", raw(PRIORITY, 0, 0, b"\0\0\0\1\x10"), ("goaway", [PROTOCOL_ERROR])),
    ("PRIORITY of a wrong length", head() + raw(PRIORITY, 0, 1, b"\0\0\0\3"), ("any", [FRAME_SIZE_ERROR])),
    ("PRIORITY on an idle stream", raw(PRIORITY, 0, 9, b"\0\0\0\1\x10"), ("ok", None)),
    # 6.4: RST_STREAM
    ("RST_STREAM on stream zero", rst(0), ("goaway", [PROTOCOL_ERROR])),
    ("RST_STREAM of a wrong length", head() + raw(RST_STREAM, 0, 1, b"\0\0\0"), ("goaway", [FRAME_SIZE_ERROR])),
    # 6.5: SETTINGS
    ("SETTINGS on a stream", raw(SETTINGS, 0, 1, b""), ("goaway", [PROTOCOL_ERROR])),
    ("SETTINGS ACK with payload", raw(SETTINGS, ACK, 0, b"\0\1\0\0\0\0"), ("goaway", [FRAME_SIZE_ERROR])),
    ("SETTINGS of a wrong length", raw(SETTINGS, 0, 0, b"\0\1\0"), ("goaway", [FRAME_SIZE_ERROR])),
    ("SETTINGS ENABLE_PUSH 2", settings([(2, 2)]), ("goaway", [PROTOCOL_ERROR])),
    ("SETTINGS INITIAL_WINDOW_SIZE 2^31", settings([(4, 1 << 31)]), ("goaway", [FLOW_CONTROL_ERROR])),
    ("SETTINGS MAX_FRAME_SIZE below 2^14", settings([(5, 16383)]), ("goaway", [PROTOCOL_ERROR])),
    ("SETTINGS MAX_FRAME_SIZE above 2^24-1", settings([(5, 1 << 24)]), ("goaway", [PROTOCOL_ERROR])),
    ("SETTINGS ENABLE_CONNECT_PROTOCOL 2", settings([(8, 2)]), ("goaway", [PROTOCOL_ERROR])),
    ("unknown setting ignored", settings([(0xABCD, 1)]), ("ok", None)),
    # 6.6: PUSH_PROMISE
    ("PUSH_PROMISE from a client", raw(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block(get())), ("goaway", [PROTOCOL_ERROR])),
    # 6.7: PING
    ("PING on a stream", raw(PING, 0, 1, b"12345678"), ("goaway", [PROTOCOL_ERROR])),
    ("PING of seven octets", raw(PING, 0, 0, b"1234567"), ("goaway", [FRAME_SIZE_ERROR])),
    # 6.8: GOAWAY
    ("GOAWAY on a stream", raw(GOAWAY, 0, 1, b"\0" * 8), ("goaway", [PROTOCOL_ERROR])),
    ("GOAWAY too short", raw(GOAWAY, 0, 0, b"\0" * 7), ("goaway", [FRAME_SIZE_ERROR])),
    # 6.9: WINDOW_UPDATE
    ("WINDOW_UPDATE of zero on the connection", window(0, 0), ("goaway", [PROTOCOL_ERROR])),
    ("WINDOW_UPDATE of zero on a stream", head() + window(1, 0), ("any", [PROTOCOL_ERROR])),
    ("WINDOW_UPDATE of a wrong length", raw(WINDOW_UPDATE, 0, 0, b"\0\0\1"), ("goaway", [FRAME_SIZE_ERROR])),
    ("connection window above 2^31-1", window(0, 0x7FFFFFFF) + window(0, 0x7FFFFFFF), ("goaway", [FLOW_CONTROL_ERROR])),
    ("stream window above 2^31-1", head() + window(1, 0x7FFFFFFF), ("any", [FLOW_CONTROL_ERROR])),
    ("stream window above 2^31-1 by SETTINGS", head() + window(1, 0x7FFF0000) + settings([(4, 0x7FFFFFFF)]), ("any", [FLOW_CONTROL_ERROR])),
    # 8.1: message sequence
    ("second HEADERS without END_STREAM", head() + headers(1, [("x", "y")], end=False), ("any", [PROTOCOL_ERROR])),
    ("pseudo-field in trailers", head() + headers(1, [(":path", "/t/x")]), ("any", [PROTOCOL_ERROR])),
    ("content-length below DATA", headers(1, post(("content-length", "1")), end=False) + data(1, b"xx", True), ("any", [PROTOCOL_ERROR])),
    ("content-length above DATA", headers(1, post(("content-length", "3")), end=False) + data(1, b"xx", True), ("any", [PROTOCOL_ERROR])),
    ("content-length without DATA", headers(1, post(("content-length", "3"))), ("any", [PROTOCOL_ERROR])),
    ("two different content-lengths", headers(1, post(("content-length", "2"), ("content-length", "3")), end=False) + data(1, b"xx", True),
     ("any", [PROTOCOL_ERROR])),
    # 8.2: fields
    ("upper-case name", headers(1, post(("X-Upper", "1"))), ("any", [PROTOCOL_ERROR])),
    ("space in a name", headers(1, post(("x a", "1"))), ("any", [PROTOCOL_ERROR])),
    ("colon in a name", headers(1, post(("x:a", "1"))), ("any", [PROTOCOL_ERROR])),
    ("empty name", headers(1, post(("", "1"))), ("any", [PROTOCOL_ERROR])),
    ("control in a name", headers(1, post(("x\x01a", "1"))), ("any", [PROTOCOL_ERROR])),
    ("byte above 127 in a name", headers(1, post(("x\xe9", "1"))), ("any", [PROTOCOL_ERROR])),
    ("connection", headers(1, post(("connection", "close"))), ("any", [PROTOCOL_ERROR])),
    ("proxy-connection", headers(1, post(("proxy-connection", "close"))), ("any", [PROTOCOL_ERROR])),
    ("keep-alive", headers(1, post(("keep-alive", "5"))), ("any", [PROTOCOL_ERROR])),
    ("transfer-encoding", headers(1, post(("transfer-encoding", "chunked"))), ("any", [PROTOCOL_ERROR])),
    ("upgrade", headers(1, post(("upgrade", "websocket"))), ("any", [PROTOCOL_ERROR])),
    ("te other than trailers", headers(1, post(("te", "gzip"))), ("any", [PROTOCOL_ERROR])),
    ("te trailers", headers(1, get("/t/x", "GET", "example.com", "http", ("te", "trailers"))), ("ok", None)),
    # 8.3: pseudo-fields
    ("unknown pseudo-field", headers(1, [(":x", "y")] + post()), ("any", [PROTOCOL_ERROR])),
    ("response pseudo-field", headers(1, [(":status", "200")] + post()), ("any", [PROTOCOL_ERROR])),
    ("pseudo-field after a field", headers(1, get(BAD)[:3] + [("x", "y")] + [(":path", BAD)]), ("any", [PROTOCOL_ERROR])),
    ("no :method", headers(1, get(BAD)[1:]), ("any", [PROTOCOL_ERROR])),
    ("no :scheme", headers(1, [f for f in get(BAD) if f[0] != ":scheme"]), ("any", [PROTOCOL_ERROR])),
    ("no :path", headers(1, get(BAD)[:3]), ("any", [PROTOCOL_ERROR])),
    ("empty :path", headers(1, get("")), ("any", [PROTOCOL_ERROR])),
    ("two :method", headers(1, [(":method", "GET")] + get(BAD)), ("any", [PROTOCOL_ERROR])),
    ("two :path", headers(1, get(BAD)[:4] + [(":path", BAD)]), ("any", [PROTOCOL_ERROR])),
    ("two :authority", headers(1, [(":authority", "x")] + get(BAD)), ("any", [PROTOCOL_ERROR])),
    (":protocol without CONNECT", headers(1, [(":protocol", "websocket")] + get(BAD)), ("any", [PROTOCOL_ERROR])),
]


def case_id(c):
    return c[0].replace(" ", "-").replace("/", "-")


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_malformed(scene, case):
    _, frames, (what, codes) = case
    before = len(scene.seen(path=BAD))
    with Raw(scene.address) as c:
        c.send(frames)
        if what == "ok":
            answer = c.ask(21, get("/t/after"))
            assert answer.status == 200, (answer, c.goaway, c.frames)
            return
        ended = c.run(lambda: c.closed or c.goaway not in (None, NO_ERROR) or
                      (what in ("rst", "any") and 1 in c.streams and c.streams[1].reset is not None), 5)
        assert ended, "nothing happened: %s" % c.frames
        reset = c.streams[1].reset if 1 in c.streams else None
        if what == "goaway":
            assert c.goaway in codes, (c.goaway, c.frames)
            c.run(lambda: c.closed, 5)
            assert c.closed, "GOAWAY but the connection stays open"
        elif what == "any":
            assert reset in codes or c.goaway in codes, (reset, c.goaway, c.frames)
        elif what == "rst":
            assert reset in codes, (reset, c.goaway)
    assert [r for r in scene.seen(path=BAD)[before:] if r.ended] == [], "a malformed request was completed at the backend"


def test_good_after_bad_stream(scene):
    """A stream error leaves the other streams of the connection alone."""
    with Raw(scene.address) as c:
        c.send(headers(1, post(("x a", "1"))))
        c.run(lambda: 1 in c.streams and c.streams[1].reset is not None or c.goaway)
        if c.goaway is None:
            assert c.ask(3, get("/t/x")).status == 200


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /v1/x HTTP/1.0\r\n\r\n"])
def test_http1_gets_505(scene, text):
    with Raw(scene.address, preface=False) as c:
        c.send(text)
        got = b""
        c.s.settimeout(5)
        while True:
            more = c.s.recv(4096)
            if not more:
                break
            got += more
    assert got.startswith(b"HTTP/1.1 505 "), got
    assert b"HTTP/2" in got.split(b"\r\n\r\n", 1)[1]


@pytest.mark.parametrize("text", [b"\x00" * 64, b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + b"\0" * 30, b"SSH-2.0-OpenSSH\r\n", b"\x16\x03\x01\x02\x00\x01"])
def test_noise_is_closed(scene, text):
    with Raw(scene.address, preface=False) as c:
        c.send(text)
        c.run(lambda: c.closed, 12)
        assert c.closed


def test_first_frame_must_be_settings(scene):
    with Raw(scene.address, preface=False) as c:
        c.send(PREFACE + ping())
        c.run(lambda: c.closed or c.goaway is not None)
        assert c.closed or c.goaway == PROTOCOL_ERROR


def test_stream_limit(scene):
    """More streams than SETTINGS_MAX_CONCURRENT_STREAMS: the rest is refused, the others live."""
    with Raw(scene.address) as c:
        c.run(lambda: 3 in c.settings)
        limit = c.settings[3]
        assert 1 <= limit <= 1000
        c.send(*[headers(2 * i + 1, get("/t/slow/1500")) for i in range(limit + 5)])
        last = 2 * (limit + 4) + 1
        c.run(lambda: all(c.done(2 * i + 1) for i in range(limit + 5)) or c.goaway, 15)
        if c.goaway:
            assert c.goaway in (PROTOCOL_ERROR, ENHANCE_YOUR_CALM)
        else:
            assert c.streams[last].reset in (REFUSED_STREAM, PROTOCOL_ERROR)
            assert sum(a.status == 200 for a in c.streams.values()) == limit


def test_advertised_settings(scene):
    with Raw(scene.address) as c:
        c.run(lambda: 3 in c.settings)
        assert c.settings.get(2, 0) == 0 or 2 not in c.settings
        assert c.settings.get(6, 1 << 30) <= 1 << 20, "MAX_HEADER_LIST_SIZE is not advertised"


def test_ping_is_answered(scene):
    with Raw(scene.address) as c:
        c.send(ping(b"abcdefgh"))
        c.run(lambda: c.pongs)
        assert (PING, ACK, 0, b"abcdefgh") in c.frames


assert struct and CANCEL
