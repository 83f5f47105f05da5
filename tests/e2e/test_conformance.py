# SPDX-License-Identifier: MIT
"""What h2spec asks of a server, section by section (generic, http2, hpack), against one
worker. A case is (section, name, frames, outcome); every case runs three times: frame by
frame, with all frames in one segment, and with the preface in that segment, too, because
what looks at bytes before the codec does must not care how they come.

Outcomes, as h2spec accepts them, though a connection error must be named by GOAWAY:
  conn(CODES)    GOAWAY with one of the codes, then close
  strm(CODES)    RST_STREAM on stream 1 with one of the codes, or the same as GOAWAY
  status(N)      stream 1 is answered with N
  pong           the connection lives: a PING is answered
  closed         the connection ends, with or without GOAWAY
"""
import json
import struct

import pytest

from conftest import Scene, World
from lib.frames import (ACK, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY,
                        HEADERS, NO_ERROR, PADDED, PING, PREFACE, PRIO, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM,
                        SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, Raw, block, data, get, headers, ping, raw, rst, settings, window)

BAD = "/t/malformed"
GET = get("/t/x")
NEVER = get("/t/never")
POST = get("/t/echo", "POST")
BAD_GET, BAD_POST = get(BAD), get(BAD, "POST")


@pytest.fixture(scope="module")
def scene(tmp_path_factory, certs):
    w = World(tmp_path_factory.mktemp("conformance"), certs)
    try:
        yield Scene(w, workers=1)
    finally:
        w.end()


# -- outcomes --

def conn(*codes):
    return "conn", codes


def strm(*codes):
    return "strm", codes


def status(n):
    return "status", n


pong, closed = ("pong", None), ("closed", None)


class Answered:
    """Waits until stream 1 is complete, so that what follows meets a closed stream."""


ANSWERED = Answered()


def pri(depends, weight=16, exclusive=False):
    return struct.pack(">IB", depends | (exclusive << 31), weight - 1)


def with_priority(stream, fields, priority, end=True):
    return raw(HEADERS, PRIO | END_HEADERS | (END_STREAM if end else 0), stream, priority + block(fields))


def padded(kind, flags, stream, payload, n):
    return raw(kind, flags | PADDED, stream, bytes([n]) + payload + b"\0" * n)


def without(name, fields=BAD_GET):
    return [f for f in fields if f[0] != name]


def fragments(fields, n):
    """HEADERS and n CONTINUATION frames."""
    whole = block(fields)
    step = len(whole) // (n + 1)
    cuts = [whole[i * step:(i + 1) * step if i < n else len(whole)] for i in range(n + 1)]
    return [raw(HEADERS, END_STREAM, 1, cuts[0])] + [raw(CONTINUATION, END_HEADERS if i == n else 0, 1, cuts[i]) for i in range(1, n + 1)]


def hpack(more, fields=BAD_GET):
    return [raw(HEADERS, END_HEADERS | END_STREAM, 1, block(fields) + more)]


GENERIC = [
    ("2/1", "PRIORITY on an idle stream", [raw(PRIORITY, 0, 1, pri(0)), headers(1, GET)], status(200)),
    ("2/2", "WINDOW_UPDATE on a half-closed (remote) stream", [headers(1, NEVER), window(1, 100)], pong),
    ("2/3", "PRIORITY on a half-closed (remote) stream", [headers(1, NEVER), raw(PRIORITY, 0, 1, pri(0))], pong),
    ("2/4", "RST_STREAM on a half-closed (remote) stream", [headers(1, NEVER), rst(1)], pong),
    ("2/5", "PRIORITY on a closed stream", [headers(1, GET), ANSWERED, raw(PRIORITY, 0, 1, pri(0))], pong),
    ("2/-", "WINDOW_UPDATE and RST_STREAM on a closed stream", [headers(1, GET), ANSWERED, window(1, 100), rst(1)], pong),
    ("3.1/1", "DATA", [headers(1, POST, False), data(1, b"test", True)], status(200)),
    ("3.1/2", "several DATA", [headers(1, POST, False), data(1, b"test"), data(1, b"test", True)], status(200)),
    ("3.1/3", "DATA with padding", [headers(1, POST, False), padded(DATA, END_STREAM, 1, b"test", 6)], status(200)),
    ("3.2/1", "HEADERS", [headers(1, GET)], status(200)),
    ("3.2/2", "HEADERS with padding", [padded(HEADERS, END_HEADERS | END_STREAM, 1, block(GET), 6)], status(200)),
    ("3.2/3", "HEADERS with priority", [with_priority(1, GET, pri(0, 255))], status(200)),
    ("3.3/1", "PRIORITY of weight 1", [raw(PRIORITY, 0, 1, pri(0, 1)), headers(1, GET)], status(200)),
    ("3.3/2", "PRIORITY of weight 256", [raw(PRIORITY, 0, 1, pri(0, 256)), headers(1, GET)], status(200)),
    ("3.3/3", "PRIORITY with a dependency", [raw(PRIORITY, 0, 1, pri(0)), raw(PRIORITY, 0, 3, pri(1)), headers(1, GET)], status(200)),
    ("3.3/4", "PRIORITY exclusive", [raw(PRIORITY, 0, 3, pri(1, 16, True)), headers(1, GET)], status(200)),
    ("3.3/5", "PRIORITY on an idle stream, then a lower one opens", [raw(PRIORITY, 0, 3, pri(0)), headers(1, GET)], status(200)),
    ("3.4/1", "RST_STREAM", [headers(1, NEVER), rst(1)], pong),
    ("3.5/1", "SETTINGS", [settings([(3, 100)])], pong),
    ("3.7/1", "PING", [], pong),
    ("3.8/1", "GOAWAY", [raw(GOAWAY, 0, 0, b"\0" * 8)], ("pong or closed", None)),
    ("3.9/1", "WINDOW_UPDATE on the connection", [window(0, 1), headers(1, GET)], status(200)),
    ("3.9/2", "WINDOW_UPDATE on a stream", [headers(1, POST, False), window(1, 1), data(1, b"", True)], status(200)),
    ("3.10/1", "CONTINUATION", fragments(GET, 1), status(200)),
    ("3.10/2", "several CONTINUATION", fragments(GET, 3), status(200)),
    ("4/1", "GET", [headers(1, GET)], status(200)),
    ("4/2", "HEAD", [headers(1, get("/t/x", "HEAD"))], status(200)),
    ("4/3", "POST", [headers(1, POST, False), data(1, b"test", True)], status(200)),
    ("4/4", "POST with trailers", [headers(1, POST + [("trailer", "x-test")], False), data(1, b"test"), headers(1, [("x-test", "ok")])],
     status(200)),
]

HTTP2 = [
    # 4.1, 4.2, 4.3
    ("4.1/1", "frame of an unknown type", [raw(0x16, 0, 0, b"\0" * 8)], pong),
    ("4.1/2", "undefined flags", [raw(PING, 0x16, 0, b"h2spec\0\0")], ("pongs", 1)),
    ("4.1/3", "reserved bit", [raw(PING, 0, 0x80000000, b"h2spec\0\0")], ("pongs", 1)),
    ("4.2/1", "DATA of 2^14 octets", [headers(1, POST, False), data(1, b"x" * 16384, True)], status(200)),
    ("4.2/2", "DATA above SETTINGS_MAX_FRAME_SIZE", [headers(1, BAD_POST, False), data(1, b"x" * 16385, True)], strm(FRAME_SIZE_ERROR)),
    ("4.2/3", "HEADERS above SETTINGS_MAX_FRAME_SIZE", [headers(1, BAD_GET + [("x-dummy%d" % i, "x" * 1000) for i in range(20)])],
     conn(FRAME_SIZE_ERROR)),
    ("4.3/1", "invalid header block fragment", [raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40")], conn(COMPRESSION_ERROR)),
    ("4.3/2", "PRIORITY inside a header block", [headers(1, BAD_GET, True, False), raw(PRIORITY, 0, 1, pri(0)),
                                                 raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")]))], conn(PROTOCOL_ERROR)),
    ("4.3/3", "HEADERS of another stream inside a header block", [headers(1, BAD_GET, True, False), headers(3, BAD_GET)], conn(PROTOCOL_ERROR)),
    # 5.1
    ("5.1/1", "idle: DATA", [data(1, b"test", True)], conn(PROTOCOL_ERROR)),
    ("5.1/2", "idle: RST_STREAM", [rst(1)], conn(PROTOCOL_ERROR)),
    ("5.1/3", "idle: WINDOW_UPDATE", [window(1, 100)], conn(PROTOCOL_ERROR)),
    ("5.1/4", "idle: CONTINUATION", [raw(CONTINUATION, END_HEADERS, 1, block(BAD_GET))], conn(PROTOCOL_ERROR)),
    ("5.1/5", "half closed (remote): DATA", [headers(1, NEVER), data(1, b"test", True)], strm(STREAM_CLOSED)),
    ("5.1/6", "half closed (remote): HEADERS", [headers(1, NEVER), headers(1, BAD_GET)], strm(STREAM_CLOSED)),
    ("5.1/7", "half closed (remote): CONTINUATION", [headers(1, NEVER), raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")]))],
     conn(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1/8", "closed: DATA after RST_STREAM", [headers(1, NEVER, False), rst(1), data(1, b"test", True)], strm(STREAM_CLOSED)),
    ("5.1/9", "closed: HEADERS after RST_STREAM", [headers(1, NEVER, False), rst(1), headers(1, BAD_GET)], strm(STREAM_CLOSED)),
    ("5.1/10", "closed: CONTINUATION after RST_STREAM", [headers(1, NEVER, False), rst(1), raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")]))],
     conn(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1/11", "closed: DATA", [headers(1, GET), ANSWERED, data(1, b"test", True)], strm(STREAM_CLOSED)),
    ("5.1/12", "closed: HEADERS", [headers(1, GET), ANSWERED, headers(1, BAD_GET)], conn(STREAM_CLOSED)),
    ("5.1/13", "closed: CONTINUATION", [headers(1, GET), ANSWERED, raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")]))],
     conn(STREAM_CLOSED, PROTOCOL_ERROR)),
    # 5.1.1, 5.1.2
    ("5.1.1/1", "even stream id", [headers(2, BAD_GET)], conn(PROTOCOL_ERROR)),
    ("5.1.1/2", "stream id below the last one", [headers(5, GET), headers(3, BAD_GET)], conn(PROTOCOL_ERROR)),
    ("5.1.2/1", "more streams than SETTINGS_MAX_CONCURRENT_STREAMS", [b"".join(headers(2 * i + 1, NEVER) for i in range(100)), headers(201, BAD_GET)],
     ("last", (REFUSED_STREAM, PROTOCOL_ERROR))),
    # 5.3.1
    ("5.3.1/1", "HEADERS depending on itself", [with_priority(1, BAD_GET, pri(1))], strm(PROTOCOL_ERROR)),
    ("5.3.1/2", "PRIORITY depending on itself", [headers(1, NEVER, False), raw(PRIORITY, 0, 1, pri(1))], strm(PROTOCOL_ERROR)),
    # 5.4.1, 5.5
    ("5.4.1/1", "the connection closes after a connection error", [raw(PING, 0, 3, b"\0" * 8)], conn(PROTOCOL_ERROR)),
    ("5.4.1/2", "GOAWAY comes before", [raw(PING, 0, 0, b"\0" * 6)], conn(FRAME_SIZE_ERROR)),
    ("5.5/1", "extension frame", [raw(0x16, 0, 1, b"h2spec")], pong),
    ("5.5/2", "extension frame inside a header block", [headers(1, BAD_GET, True, False), raw(0x16, 0, 1, b"h2spec"),
                                                        raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")]))], conn(PROTOCOL_ERROR)),
    # 6.1, 6.2
    ("6.1/1", "DATA on stream 0", [data(0, b"test", True)], conn(PROTOCOL_ERROR)),
    ("6.1/2", "DATA on a stream that is not open", [headers(1, NEVER), data(1, b"test", True)], strm(STREAM_CLOSED)),
    ("6.1/3", "DATA with an invalid pad length", [headers(1, BAD_POST, False), raw(DATA, PADDED | END_STREAM, 1, b"\x05Test")], conn(PROTOCOL_ERROR)),
    ("6.2/1", "HEADERS without END_HEADERS, then PRIORITY", [headers(1, BAD_GET, True, False), raw(PRIORITY, 0, 1, pri(0))], conn(PROTOCOL_ERROR)),
    ("6.2/2", "HEADERS without END_HEADERS, then another stream's", [headers(1, BAD_GET, True, False), headers(3, BAD_GET)], conn(PROTOCOL_ERROR)),
    ("6.2/3", "HEADERS on stream 0", [headers(0, BAD_GET)], conn(PROTOCOL_ERROR)),
    ("6.2/4", "HEADERS with an invalid pad length", [raw(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\xff" + block(BAD_GET))], conn(PROTOCOL_ERROR)),
    # 6.3, 6.4
    ("6.3/1", "PRIORITY on stream 0", [raw(PRIORITY, 0, 0, pri(0))], conn(PROTOCOL_ERROR)),
    ("6.3/2", "PRIORITY of a wrong length", [headers(1, NEVER, False), raw(PRIORITY, 0, 1, b"\x80\0\0\1")], strm(FRAME_SIZE_ERROR)),
    ("6.4/1", "RST_STREAM on stream 0", [rst(0)], conn(PROTOCOL_ERROR)),
    ("6.4/2", "RST_STREAM on an idle stream", [rst(1)], conn(PROTOCOL_ERROR)),
    ("6.4/3", "RST_STREAM of a wrong length", [headers(1, NEVER, False), raw(RST_STREAM, 0, 1, b"\0\0\0")], conn(FRAME_SIZE_ERROR)),
    # 6.5
    ("6.5/1", "SETTINGS ACK with a payload", [raw(SETTINGS, ACK, 0, b"\0")], conn(FRAME_SIZE_ERROR)),
    ("6.5/2", "SETTINGS on a stream", [raw(SETTINGS, 0, 1, b"\0\3\0\0\0\x64")], conn(PROTOCOL_ERROR)),
    ("6.5/3", "SETTINGS of a wrong length", [raw(SETTINGS, 0, 0, b"\0\3\0")], conn(FRAME_SIZE_ERROR)),
    ("6.5.2/1", "ENABLE_PUSH 2", [settings([(2, 2)])], conn(PROTOCOL_ERROR)),
    ("6.5.2/2", "INITIAL_WINDOW_SIZE 2^31", [settings([(4, 1 << 31)])], conn(FLOW_CONTROL_ERROR)),
    ("6.5.2/3", "MAX_FRAME_SIZE 2^14 - 1", [settings([(5, 16383)])], conn(PROTOCOL_ERROR)),
    ("6.5.2/4", "MAX_FRAME_SIZE 2^24", [settings([(5, 1 << 24)])], conn(PROTOCOL_ERROR)),
    ("6.5.2/5", "unknown setting", [settings([(0xFF, 1)])], pong),
    ("6.5.3/1", "the last of several INITIAL_WINDOW_SIZE counts", [settings([(4, 100), (4, 1)]), headers(1, GET)], ("first data", 1)),
    ("6.5.3/2", "SETTINGS is acknowledged", [settings([(2, 0)])], ("acks", 2)),
    # 6.7, 6.8
    ("6.7/1", "PING is answered", [ping(b"h2spec\0\0")], ("pongs", 1)),
    ("6.7/2", "PING ACK is not", [raw(PING, ACK, 0, b"invalid\0"), ping(b"h2spec\0\0")], ("pongs", 1)),
    ("6.7/3", "PING on a stream", [raw(PING, 0, 1, b"\0" * 8)], conn(PROTOCOL_ERROR)),
    ("6.7/4", "PING of six octets", [raw(PING, 0, 0, b"\0" * 6)], conn(FRAME_SIZE_ERROR)),
    ("6.8/1", "GOAWAY on a stream", [raw(GOAWAY, 0, 1, b"\0" * 8)], conn(PROTOCOL_ERROR)),
    # 6.9
    ("6.9/1", "WINDOW_UPDATE of 0", [window(0, 0)], conn(PROTOCOL_ERROR)),
    ("6.9/2", "WINDOW_UPDATE of 0 on a stream", [headers(1, NEVER, False), window(1, 0)], strm(PROTOCOL_ERROR)),
    ("6.9/3", "WINDOW_UPDATE of a wrong length", [raw(WINDOW_UPDATE, 0, 0, b"\0\0\1")], conn(FRAME_SIZE_ERROR)),
    ("6.9.1/1", "a window of one octet is kept", [settings([(4, 1)]), headers(1, GET)], ("first data", 1)),
    ("6.9.1/2", "connection window above 2^31 - 1", [window(0, 0x7FFFFFFF), window(0, 0x7FFFFFFF)], conn(FLOW_CONTROL_ERROR)),
    ("6.9.1/3", "stream window above 2^31 - 1", [headers(1, NEVER, False), window(1, 0x7FFFFFFF), window(1, 0x7FFFFFFF)], strm(FLOW_CONTROL_ERROR)),
    ("6.9.2/1", "INITIAL_WINDOW_SIZE opens a waiting stream", [settings([(4, 0)]), headers(1, GET), settings([(4, 1)])], ("first data", 1)),
    ("6.9.2/3", "INITIAL_WINDOW_SIZE above the maximum", [settings([(4, 1 << 31)])], conn(FLOW_CONTROL_ERROR)),
    # 6.10
    ("6.10/1", "several CONTINUATION", fragments(GET, 2), status(200)),
    ("6.10/2", "CONTINUATION, then DATA", [headers(1, BAD_GET, False, False), raw(CONTINUATION, 0, 1, block([("x", "y")])), data(1, b"test", True)],
     conn(PROTOCOL_ERROR)),
    ("6.10/3", "CONTINUATION on stream 0", [headers(1, BAD_GET, True, False), raw(CONTINUATION, END_HEADERS, 0, block([("x", "y")]))],
     conn(PROTOCOL_ERROR)),
    ("6.10/4", "CONTINUATION after END_HEADERS", [headers(1, NEVER, False), raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")]))],
     conn(PROTOCOL_ERROR)),
    ("6.10/5", "CONTINUATION after a CONTINUATION with END_HEADERS", [headers(1, NEVER, False, False), raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")])),
                                                                     raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")]))], conn(PROTOCOL_ERROR)),
    ("6.10/6", "CONTINUATION after DATA", [headers(1, NEVER, False), data(1, b"test"), raw(CONTINUATION, END_HEADERS, 1, block([("x", "y")]))],
     conn(PROTOCOL_ERROR)),
    # 7
    ("7/1", "GOAWAY with an unknown code", [raw(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\xff")], ("pong or closed", None)),
    ("7/2", "RST_STREAM with an unknown code", [headers(1, NEVER, False), rst(1, 0xFF)], pong),
    # 8.1
    ("8.1/1", "second HEADERS without END_STREAM", [headers(1, BAD_POST, False), headers(1, [("x-test", "ok")], False)], strm(PROTOCOL_ERROR)),
    ("8.1.2/1", "upper-case name", [headers(1, BAD_GET + [("X-TEST", "ok")])], strm(PROTOCOL_ERROR)),
    ("8.1.2.1/1", "unknown pseudo-field", [headers(1, BAD_GET + [(":test", "ok")])], strm(PROTOCOL_ERROR)),
    ("8.1.2.1/2", "response pseudo-field", [headers(1, BAD_GET + [(":status", "200")])], strm(PROTOCOL_ERROR)),
    ("8.1.2.1/3", "pseudo-field as a trailer", [headers(1, BAD_POST, False), data(1, b"test"), headers(1, [(":method", "200")])], strm(PROTOCOL_ERROR)),
    ("8.1.2.1/4", "pseudo-field after a field", [headers(1, without(":path") + [("x-test", "ok"), (":path", BAD)])], strm(PROTOCOL_ERROR)),
    ("8.1.2.2/1", "connection", [headers(1, BAD_GET + [("connection", "keep-alive")])], strm(PROTOCOL_ERROR)),
    ("8.1.2.2/2", "te other than trailers", [headers(1, BAD_GET + [("trailers", "test"), ("te", "trailers, deflate")])], strm(PROTOCOL_ERROR)),
    ("8.1.2.3/1", "empty :path", [headers(1, get(""))], strm(PROTOCOL_ERROR)),
    ("8.1.2.3/2", "no :method", [headers(1, without(":method"))], strm(PROTOCOL_ERROR)),
    ("8.1.2.3/3", "no :scheme", [headers(1, without(":scheme"))], strm(PROTOCOL_ERROR)),
    ("8.1.2.3/4", "no :path", [headers(1, without(":path"))], strm(PROTOCOL_ERROR)),
    ("8.1.2.3/5", "two :method", [headers(1, [(":method", "GET")] + BAD_GET)], strm(PROTOCOL_ERROR)),
    ("8.1.2.3/6", "two :scheme", [headers(1, [(":scheme", "http")] + BAD_GET)], strm(PROTOCOL_ERROR)),
    ("8.1.2.3/7", "two :path", [headers(1, [(":path", BAD)] + BAD_GET)], strm(PROTOCOL_ERROR)),
    ("8.1.2.6/1", "content-length against one DATA", [headers(1, BAD_POST + [("content-length", "1")], False), data(1, b"test", True)],
     strm(PROTOCOL_ERROR)),
    ("8.1.2.6/2", "content-length against several DATA", [headers(1, BAD_POST + [("content-length", "1")], False), data(1, b"test"), data(1, b"test", True)],
     strm(PROTOCOL_ERROR)),
    ("8.2/1", "PUSH_PROMISE", [raw(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x03" + block(BAD_GET))], conn(PROTOCOL_ERROR)),
]

HPACK = [
    ("2.3.3/1", "indexed field beyond the tables", hpack(b"\xc6"), conn(COMPRESSION_ERROR)),
    ("2.3.3/2", "literal with a name index beyond the tables", hpack(b"\x7f\x07\x05value"), conn(COMPRESSION_ERROR)),
    ("4.2/1", "table size update at the end of a block", hpack(b"\x21"), conn(COMPRESSION_ERROR)),
    ("5.2/1", "Huffman padding longer than 7 bits", hpack(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"), conn(COMPRESSION_ERROR)),
    ("5.2/2", "Huffman padding of zeros", hpack(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"), conn(COMPRESSION_ERROR)),
    ("5.2/3", "Huffman string with EOS", hpack(b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f"), conn(COMPRESSION_ERROR)),
    ("6.1/1", "index 0", hpack(b"\x80"), conn(COMPRESSION_ERROR)),
    ("6.3/1", "table size above SETTINGS_HEADER_TABLE_SIZE", [raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x3f\xe2\x1f" + block(BAD_GET))],
     conn(COMPRESSION_ERROR)),
    # RFC 7541 5.1, 5.2: integers and strings without end
    ("5.1/-", "integer above 2^32", hpack(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), conn(COMPRESSION_ERROR)),
    ("5.2/-", "string longer than its block", hpack(b"\x00\x7f\xff\x01a"), conn(COMPRESSION_ERROR)),
]

# RFC 9113 beyond h2spec.
MORE = [
    ("5.1", "DATA with a body after END_STREAM on another stream's heels", [headers(1, NEVER), headers(3, GET), data(1, b"x")],
     conn(STREAM_CLOSED)),
    ("5.1.1", "the largest stream id, and a reused one", [headers(0x7FFFFFFF, GET), headers(0x7FFFFFFF, BAD_GET)], conn(STREAM_CLOSED, PROTOCOL_ERROR)),
    ("5.1.1", "even id after odd ones", [headers(1, GET), headers(4, BAD_GET)], conn(PROTOCOL_ERROR)),
    ("6.2", "padding of HEADERS equal to its length", [raw(HEADERS, PADDED | END_HEADERS | END_STREAM, 1, b"\x01")], conn(PROTOCOL_ERROR)),
    ("6.4", "RST_STREAM of five octets", [headers(1, NEVER, False), raw(RST_STREAM, 0, 1, b"\0" * 5)], conn(FRAME_SIZE_ERROR)),
    ("6.5", "SETTINGS ACK that nobody waits for", [raw(SETTINGS, ACK, 0)], conn(PROTOCOL_ERROR)),
    ("6.5.2", "ENABLE_CONNECT_PROTOCOL 2", [settings([(8, 2)])], conn(PROTOCOL_ERROR)),
    ("6.5.2", "NO_RFC7540_PRIORITIES 2", [settings([(9, 2)])], conn(PROTOCOL_ERROR)),
    ("6.8", "GOAWAY of seven octets", [raw(GOAWAY, 0, 0, b"\0" * 7)], conn(FRAME_SIZE_ERROR)),
    ("6.9.2", "INITIAL_WINDOW_SIZE takes a stream's window above 2^31 - 1", [headers(1, NEVER, False), window(1, 0x7FFF0000 - 1), settings([(4, 0x7FFFFFFF)])],
     conn(FLOW_CONTROL_ERROR)),
    ("8.1", "trailers without END_STREAM after DATA", [headers(1, BAD_POST, False), data(1, b"x"), headers(1, [("x", "y")], False)], strm(PROTOCOL_ERROR)),
    ("8.1", "DATA after trailers", [headers(1, get("/t/never", "POST"), False), headers(1, [("x", "y")]), data(1, b"x")], strm(STREAM_CLOSED)),
    ("8.1.1", "content-length and no body", [headers(1, BAD_POST + [("content-length", "1")])], strm(PROTOCOL_ERROR)),
    ("8.1.1", "content-length that is no number", [headers(1, BAD_POST + [("content-length", "1x")], False), data(1, b"x", True)], strm(PROTOCOL_ERROR)),
    ("8.1.1", "negative content-length", [headers(1, BAD_POST + [("content-length", "-1")], False), data(1, b"x", True)], strm(PROTOCOL_ERROR)),
    ("8.2.2", "transfer-encoding in trailers", [headers(1, BAD_POST, False), headers(1, [("transfer-encoding", "chunked")])], strm(PROTOCOL_ERROR)),
    ("8.2.2", "connection in trailers", [headers(1, BAD_POST, False), headers(1, [("connection", "close")])], strm(PROTOCOL_ERROR)),
    ("8.2.1", "upper-case trailer", [headers(1, BAD_POST, False), headers(1, [("X", "y")])], strm(PROTOCOL_ERROR)),
    ("8.2.1", "LF in a trailer", [headers(1, BAD_POST, False), headers(1, [("x", "a\nb")])], strm(PROTOCOL_ERROR)),
    ("8.3", "empty :method", [headers(1, get(BAD, ""))], strm(PROTOCOL_ERROR)),
    ("8.3", "empty :scheme", [headers(1, get(BAD, "GET", "example.com", ""))], strm(PROTOCOL_ERROR)),
    ("8.5", "CONNECT with :path", [headers(1, get(BAD, "CONNECT"), False)], strm(PROTOCOL_ERROR)),
    ("8.5", "CONNECT without :authority", [headers(1, [(":method", "CONNECT")], False)], strm(PROTOCOL_ERROR)),
    ("8.5", "CONNECT", [headers(1, [(":method", "CONNECT"), (":authority", "example.com:443")], False)], status(501)),
    ("RFC 8441 4", ":protocol without CONNECT", [headers(1, [(":protocol", "websocket")] + BAD_GET)], strm(PROTOCOL_ERROR)),
    ("RFC 8441 4", ":protocol unasked for", [headers(1, [(":protocol", "websocket")] + get(BAD, "CONNECT"), False)], status(501)),
]

CASES = [("generic " + s, n, f, o) for s, n, f, o in GENERIC] + HTTP2 + [("hpack " + s, n, f, o) for s, n, f, o in HPACK] + MORE


def name_of(case):
    return (case[0] + " " + case[1]).replace(" ", "-").replace("/", ".")


def greet(scene):
    """As h2spec: the server's SETTINGS and the acknowledgement of ours have come."""
    c = Raw(scene.address)
    assert c.run(lambda: c.settings and any(f[:2] == (SETTINGS, ACK) for f in c.frames)), c.frames
    return c


def play(c, steps, together, waiting=()):
    waiting = list(waiting)
    for step in steps:
        if step is ANSWERED:
            c.send(*waiting)
            waiting = []
            assert c.run(lambda: c.done(1)), "stream 1 was not answered"
        elif together:
            waiting.append(step)
        else:
            c.send(step)
            c.run(seconds=0.002)
    c.send(*waiting)


def lives(c):
    n = c.pongs
    c.send(ping(b"are you?"))
    return c.run(lambda: c.pongs > n) and c.goaway is None


@pytest.mark.parametrize("how", ["frames", "segment", "first segment"])
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_case(scene, case, how):
    _, _, steps, (what, want) = case
    before = len(scene.seen(path=BAD))
    with Raw(scene.address, preface=False) if how == "first segment" else greet(scene) as c:
        c.auto_window = what != "first data"
        play(c, steps, how != "frames", [PREFACE + settings()] if how == "first segment" else [])
        if what == "conn":
            c.run(lambda: c.closed)
            assert c.goaway in want, (c.goaway, c.frames)
            assert c.closed, "GOAWAY, and the connection stays open"
        elif what in ("strm", "last"):
            sid = 201 if what == "last" else 1
            c.run(lambda: c.closed or c.stream(sid).reset is not None or c.goaway not in (None, NO_ERROR))
            assert c.stream(sid).reset in want or c.goaway in want, (c.stream(sid), c.goaway, c.frames)
        elif what == "status":
            c.run(lambda: c.done(1) or c.closed)
            assert c.stream(1).status == want and c.goaway is None, (c.stream(1), c.goaway)
        elif what == "pong":
            assert lives(c), c.frames
        elif what == "pongs":
            c.run(lambda: c.pongs >= want)
            assert lives(c) and c.pongs == want + 1, c.frames
        elif what == "pong or closed":
            assert lives(c) or (c.closed and c.goaway in (None, NO_ERROR)), c.frames
        elif what == "acks":
            assert c.run(lambda: sum(f[:2] == (SETTINGS, ACK) for f in c.frames) == want), c.frames
        elif what == "first data":
            assert c.run(lambda: len(c.stream(1).body) >= want), c.frames
            assert lives(c) and len(c.stream(1).body) == want, c.frames
        else:
            raise AssertionError(what)
    assert not [r for r in scene.seen(path=BAD)[before:] if r.ended], "a malformed request was completed at the backend"


# -- 3.4: the preface (h2spec 3.5) --

def test_preface(scene):
    """The server's preface is a SETTINGS frame, and the first thing it says."""
    with Raw(scene.address) as c:
        c.run(lambda: c.frames)
        assert c.frames[0][:3] == (SETTINGS, 0, 0)


@pytest.mark.parametrize("first", [b"INVALID CONNECTION PREFACE\r\n\r\n", PREFACE[:-2] + b"XX" + settings(), PREFACE + headers(1, BAD_GET),
                                   PREFACE + raw(SETTINGS, ACK, 0), PREFACE + b"GET / HTTP/1.1\r\n\r\n"],
                         ids=["words", "last octets", "no SETTINGS", "SETTINGS ACK first", "HTTP1 behind it"])
def test_invalid_preface(scene, first):
    before = len(scene.seen(path=BAD))
    with Raw(scene.address, preface=False) as c:
        c.send(first)
        if first[:3] == b"INV":
            c._take = lambda: False  # the answer is HTTP/1
        c.run(lambda: c.closed)
        assert c.closed
    assert len(scene.seen(path=BAD)) == before


# -- 6.9.2/2: a window below zero --

def test_negative_window(scene):
    with Raw(scene.address, first=[(4, 3)]) as c:
        c.auto_window = False
        c.send(headers(1, GET))
        assert c.run(lambda: len(c.stream(1).body) == 3)
        c.send(settings([(4, 2)]), window(1, 2))
        assert c.run(lambda: len(c.stream(1).body) >= 4)
        assert lives(c) and len(c.stream(1).body) == 4


# -- generic 5: every representation of RFC 7541 6 is understood --

def literal(first, name, value, huffman=False, indexed_name=None):
    import hpack as h

    def string(s):
        if not huffman:
            return h.hpack.encode_integer(len(s), 7) + s
        coded = h.huffman.HuffmanEncoder(h.huffman_constants.REQUEST_CODES, h.huffman_constants.REQUEST_CODES_LENGTH).encode(s)
        out = h.hpack.encode_integer(len(coded), 7)
        out[0] |= 0x80
        return out + coded

    prefix = 6 if first == 0x40 else 4
    if indexed_name:
        out = h.hpack.encode_integer(indexed_name, prefix)
        out[0] |= first
    else:
        out = bytearray([first]) + string(name)
    return bytes(out + string(value))


FIELDS = [("indexed", b"\x90", "accept-encoding", "gzip, deflate")]
for kind, first in (("incremental", 0x40), ("without", 0x00), ("never", 0x10)):
    for huffman in (False, True):
        word = kind + (" huffman" if huffman else "")
        FIELDS.append((word + ", indexed name", literal(first, b"", b"h2spec", huffman, 58), "user-agent", "h2spec"))
        FIELDS.append((word + ", new name", literal(first, b"x-test", b"h2spec", huffman), "x-test", "h2spec"))


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f[0].replace(" ", "-"))
def test_field_representation(scene, field):
    _, octets, name, value = field
    with greet(scene) as c:
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 1, block(get("/t/headers")) + octets))
        c.run(lambda: c.done(1) or c.closed)
        assert c.stream(1).status == 200, c.goaway
        assert [name, value] in json.loads(c.stream(1).body)


@pytest.mark.parametrize("updates", [b"\x3f\xe1\x1f", b"\x20\x3f\xe1\x1f", b"\x20"], ids=["one", "two", "to zero"])
def test_table_size_update(scene, updates):
    with greet(scene) as c:
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 1, updates + block(get("/t/x"))))
        c.run(lambda: c.done(1) or c.closed)
        assert c.stream(1).status == 200, c.goaway


def test_table_entries_carry_over(scene):
    """What one request put into the table, the next may refer to (RFC 7541 2.2)."""
    with greet(scene) as c:
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 1, block(get("/t/x")) + literal(0x40, b"x-kept", b"yes")))
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 3, block(get("/t/headers")) + b"\xbe"))
        c.run(lambda: c.done(3) or c.closed)
        assert ["x-kept", "yes"] in json.loads(c.stream(3).body)


def test_table_survives_refused_blocks(scene):
    """A block of a malformed or a too large request still feeds the table (RFC 9113 4.3)."""
    with greet(scene) as c:
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 1, block(get("/t/x") + [("connection", "x")]) + literal(0x40, b"x-kept", b"yes")))
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 3, block(get("/t/x") + [("n%d" % i, "x") for i in range(250)]) + literal(0x40, b"x-more", b"too")))
        c.send(raw(HEADERS, END_HEADERS | END_STREAM, 5, block(get("/t/headers")) + b"\xbe\xbf"))
        c.run(lambda: c.done(5) or c.closed)
        assert c.stream(1).reset == PROTOCOL_ERROR and c.stream(3).status == 431
        seen = json.loads(c.stream(5).body)
        assert ["x-kept", "yes"] in seen and ["x-more", "too"] in seen


def test_peer_without_table(scene):
    """SETTINGS_HEADER_TABLE_SIZE 0: the answers tell and use no table (RFC 7541 4.2)."""
    with Raw(scene.address, first=[(1, 0)]) as c:
        c.run(lambda: c.settings)
        c.decoder.max_allowed_table_size = 0
        for sid in (1, 3, 5):
            assert c.ask(sid, get("/t/x")).status == 200
        assert c.decoder.header_table.maxsize == 0


def test_frames_fit_the_peer(scene):
    """DATA never exceeds 2^14 octets unless the peer allowed more, nor fills a larger allowance blindly."""
    for first in ([], [(5, 1 << 20)]):
        with Raw(scene.address, first=first + [(4, 1 << 20)]) as c:
            c.send(window(0, 1 << 20))
            assert len(c.ask(1, get("/t/bytes/300000")).body) == 300000
            assert max(len(p) for k, _, _, p in c.frames if k == DATA) <= (1 << 20 if first else 16384)


# -- 5.1: frames under way when we have reset --

def test_frames_on_streams_we_ended_are_ignored(scene):
    """An answer that does not wait for the body stops it; what the client had sent before it
    heard is no mistake, on no stream (RFC 9113 5.1), and gives its credit back."""
    with greet(scene) as c:
        ids = [2 * i + 1 for i in range(100)]
        c.send(*[headers(i, get("/off/x", "POST"), False) for i in ids])
        assert c.run(lambda: all(c.done(i) and c.streams[i].reset is not None for i in ids) or c.closed), c.goaway
        assert all(c.streams[i].status == 503 for i in ids)
        began = credit(c)
        for n in range(10):  # 4.9 MB in all, the connection's window many times
            c.send(*[data(i, b"x" * 16384) for i in ids[n::10]] * 3)
            assert c.run(lambda: credit(c) - began >= (n + 1) * 30 * 16384 - (1 << 19) or c.closed), c.goaway
        c.send(*[headers(i, [("x-trailer", "late")]) for i in ids])
        answer = c.ask(201, POST, b"x" * 16000)
        assert c.goaway is None and answer.status == 200 and len(answer.body) == 16000, (c.goaway, answer)


def credit(c):
    """What the peer has given us for the connection, beyond the first 65,535."""
    return sum(struct.unpack(">I", p)[0] for k, _, sid, p in c.frames if k == WINDOW_UPDATE and sid == 0)


def test_padding_gives_its_credit_back(scene):
    """Padding counts against the windows (RFC 9113 6.1), and has to come back."""
    with greet(scene) as c:
        c.send(headers(1, POST, False))
        for _ in range(40):
            c.send(padded(DATA, 0, 1, b"x" * 8000, 255) * 2)
            n = sum(f[0] == WINDOW_UPDATE and f[2] == 1 for f in c.frames)
            c.run(lambda: len(c.stream(1).body) >= 8000 or c.closed, 0.5)
            c.run(lambda: sum(f[0] == WINDOW_UPDATE and f[2] == 1 for f in c.frames) > n or c.closed, 0.02)
        c.send(data(1, b"", True))
        c.run(lambda: c.done(1) or c.closed)
        assert c.goaway is None and len(c.stream(1).body) == 640000, (c.goaway, c.stream(1))


def test_stream_limit_leaves_the_others_alone(scene):
    with greet(scene) as c:
        c.send(*[headers(2 * i + 1, get("/t/slow/300")) for i in range(100)])
        c.send(headers(201, BAD_GET))
        c.run(lambda: c.done(201) or c.closed)
        if c.goaway is None:
            assert c.stream(201).reset == REFUSED_STREAM
            assert c.run(lambda: all(c.done(2 * i + 1) for i in range(100)))
            assert all(c.stream(2 * i + 1).status == 200 for i in range(100))
            assert c.ask(203, GET).status == 200
        assert not scene.seen(path=BAD) or not scene.seen(path=BAD)[-1].ended


def test_good_requests_between_bad_ones(scene):
    """Stream errors hurt nobody else: each good request gets its own answer."""
    bad = [o for o in (BAD_GET + [("connection", "x")], without(":method"), BAD_GET + [("te", "gzip")], BAD_GET + [("X", "y")],
                       get("/t/%zz"), get(BAD, "CONNECT"))]
    with greet(scene) as c:
        for i, fields in enumerate(bad):
            c.send(headers(4 * i + 1, fields))
            answer = c.ask(4 * i + 3, get("/t/headers") + [("x-mine", str(i))])
            assert answer.status == 200 and ["x-mine", str(i)] in json.loads(answer.body), (fields, answer, c.goaway)


def test_tls_speaks_the_same(scene):
    """Over TLS one case of each kind."""
    for steps, want in (([headers(1, BAD_GET + [("X", "y")])], PROTOCOL_ERROR), ([data(1, b"x")], PROTOCOL_ERROR),
                        ([raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x80")], COMPRESSION_ERROR), ([raw(PING, 0, 0, b"x")], FRAME_SIZE_ERROR)):
        with Raw(scene.tls_address, tls=True) as c:
            c.run(lambda: c.settings)
            c.send(*steps)
            c.run(lambda: c.closed or c.stream(1).reset is not None)
            assert want in (c.goaway, c.stream(1).reset), c.frames
