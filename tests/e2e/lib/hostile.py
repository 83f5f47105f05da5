# SPDX-License-Identifier: MIT
"""Backends that talk nonsense: what each does to a proxy that has sent it a request.

REPLIES  end before an answer has begun: the client gets one clean status
CUT      begin an answer and break it: it never looks whole
WHOLE    odd but legal: the answer arrives
CONNECTIONS  go wrong before any request is read
"""
import socket
import struct
import time

from .frames import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIO, PRIORITY, PUSH_PROMISE,
                     RST_STREAM, SETTINGS, WINDOW_UPDATE, block, data, get, headers, ping, raw, rst, settings, window)

OK = [(":status", "200"), ("content-type", "text/plain")]


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


def say(s, out):
    """Sends the pieces of a reply: bytes; a number: a pause; "reset": ends with a TCP reset;
    None: closes. False: the connection is over."""
    for piece in out if isinstance(out, (list, tuple)) else [out]:
        if piece is None:
            return False
        if piece == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if isinstance(piece, float):
            time.sleep(piece)
        else:
            s.sendall(piece)
    return True


def after_request(reply, only=""):
    """A server that is sane until a request for a path that begins with `only`, then says
    reply(stream) and reads on. Others are answered."""
    def behave(s):
        p = Peer(s)
        while True:
            sid, fields = p.request()
            if not fields.get(":path", "").startswith(only):
                s.sendall(headers(sid, OK, end=False) + data(sid, b"hello", True))
            elif not say(s, reply(sid)):
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

# ---- more of the same, by what is broken ----

CL = lambda n: [("content-length", str(n))]  # noqa: E731


def goaway(last, code=0, debug=b""):
    return raw(GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)


def said(fields):
    """A complete answer that is a head alone."""
    return lambda sid: headers(sid, fields)


def hpack(octets):
    """A header block of these octets behind a good :status."""
    return lambda sid: raw(HEADERS, END_HEADERS | END_STREAM, sid, b"\x88" + octets)


def whole(sid, body=b"whole", *more):
    return headers(sid, OK + CL(len(body)) + list(more), end=False) + data(sid, body, True)


def waits(sid):
    """Nothing more, but the connection stays."""
    return b""


STATUS = {"empty": "", "two digits": "20", "a sign": "+20", "a space": "2 0", "000": "000", "with a reason": "200 OK"}
FIELDS = {
    "LF in a value": ("x-a", "b\nc: d"), "CR in a value": ("x-a", "b\rc"), "space before a value": ("x-a", " b"), "tab behind a value": ("x-a", "b\t"),
    "control character in a value": ("x-a", "b\x01c"), "DEL in a value": ("x-a", "b\x7f"), "space in a name": ("x a", "b"), "colon in a name": ("x:a", "b"),
    "empty name": ("", "b"), "NUL in a name": ("x\0a", "b"), "CRLF in a name": ("x\r\na", "b"), "upper-case pseudo-field": (":Status", "200"),
    "unknown pseudo-field": (":foo", "b"), "connection": ("connection", "close"), "proxy-connection": ("proxy-connection", "close"),
    "keep-alive": ("keep-alive", "5"), "upgrade": ("upgrade", "h2c"), "negative length": ("content-length", "-1"), "signed length": ("content-length", "+0"),
    "list of lengths": ("content-length", "0, 0"), "hexadecimal length": ("content-length", "0x0"), "length beyond 64 bits": ("content-length", "1" * 30),
    "100 KiB value": ("x-a", "y" * 100000),
}
ILLEGAL_SETTINGS = {"push switched on": (2, 1), "push of 2": (2, 2), "frame size 0": (5, 0), "frame size 16383": (5, 16383), "frame size 2^24": (5, 1 << 24),
                    "connect protocol of 2": (8, 2), "window of 2^32-1": (4, 0xFFFFFFFF)}
BLOCKS = {
    "index 0": b"\x80", "index beyond the tables": b"\xff\x80\x01", "integer without end": b"\x7f" + b"\xff" * 12, "string beyond the block": b"\x00\x01x\x7f",
    "Huffman padding of zeros": b"\x00\x01x\x81\x00", "Huffman EOS": b"\x00\x01x\x84\xff\xff\xff\xff", "table size beyond ours": b"\x3f\xe1\xff\x03",
    "table size after a field": b"\x20", "cut in a name": b"\x00\x05ab",
}
WRONG_FRAMES = {
    "SETTINGS on a stream": lambda sid: raw(SETTINGS, 0, sid), "SETTINGS ACK with a payload": lambda sid: raw(SETTINGS, ACK, 0, b"\0\3\0\0\0\1"),
    "PING of 7 octets": lambda sid: raw(PING, 0, 0, b"1234567"), "PING on a stream": lambda sid: raw(PING, 0, sid, b"12345678"),
    "GOAWAY on a stream": lambda sid: raw(GOAWAY, 0, sid, bytes(8)), "GOAWAY of 7 octets": lambda sid: raw(GOAWAY, 0, 0, bytes(7)),
    "WINDOW_UPDATE of 3 octets": lambda sid: raw(WINDOW_UPDATE, 0, 0, bytes(3)), "WINDOW_UPDATE on an idle stream": lambda sid: window(sid + 100, 1),
    "RST_STREAM on stream zero": lambda sid: rst(0), "RST_STREAM on an idle stream": lambda sid: rst(sid + 100), "RST_STREAM on an even stream": lambda sid: rst(2),
    "PRIORITY on stream zero": lambda sid: raw(PRIORITY, 0, 0, bytes(5)), "HEADERS on stream zero": lambda sid: headers(0, OK),
    "DATA on an idle stream": lambda sid: data(sid + 100, b"x"), "DATA on an even stream": lambda sid: data(2, b"x"),
    "CONTINUATION alone": lambda sid: raw(CONTINUATION, END_HEADERS, sid, block(OK)), "CONTINUATION on another stream":
        lambda sid: headers(sid, OK, end_headers=False) + raw(CONTINUATION, END_HEADERS, sid + 2, b""),
    "PING inside a header block": lambda sid: headers(sid, OK, end_headers=False) + ping() + raw(CONTINUATION, END_HEADERS, sid, b""),
    "DATA inside a header block": lambda sid: headers(sid, OK, end_headers=False) + data(sid, b"x"),
    "padding longer than HEADERS": lambda sid: raw(HEADERS, END_HEADERS | END_STREAM | PADDED, sid, b"\xff" + block(OK)),
    "HEADERS with half a priority": lambda sid: raw(HEADERS, END_HEADERS | END_STREAM | PRIO, sid, b"\0\0"),
    "HEADERS of 16385 octets": lambda sid: raw(HEADERS, END_HEADERS | END_STREAM, sid, b"\x88" + b"x" * 16384),
    "length of 2^24-1 and no more": lambda sid: raw(DATA, 0, sid, b"", length=0xFFFFFF), "PUSH_PROMISE on stream zero":
        lambda sid: raw(PUSH_PROMISE, END_HEADERS, 0, b"\0\0\0\2" + block(get())), "PUSH_PROMISE of an odd stream":
        lambda sid: raw(PUSH_PROMISE, END_HEADERS, sid, b"\0\0\0\x65" + block(get())),
    "preface of a client": lambda sid: PREFACE, "GOAWAY last stream raised": lambda sid: goaway(sid) + goaway(0x7FFFFFFF),
    "GOAWAY last stream even": lambda sid: goaway(2),
}
INTERIM = [(":status", "103"), ("link", "<x>")]
BROKEN_INTERIMS = {
    "interim, then END_STREAM without a status": lambda sid: headers(sid, INTERIM, end=False) + headers(sid, [("x", "y")]),
    "interim, then DATA": lambda sid: headers(sid, INTERIM, end=False) + data(sid, b"x", True), "interim, then RST_STREAM":
        lambda sid: headers(sid, INTERIM, end=False) + rst(sid, 0), "interim, then REFUSED_STREAM": lambda sid: headers(sid, INTERIM, end=False) + rst(sid, 7),
    "interim, closes": lambda sid: [headers(sid, INTERIM, end=False), None], "interim, then silence": lambda sid: headers(sid, INTERIM, end=False),
    "huge interim": lambda sid: headers(sid, INTERIM + [("x-%d" % i, "y" * 100) for i in range(90)], end=False) * 40,
}
LENGTHS = {
    "length without a body": said(OK + CL(5)), "lengths that differ": said(OK + CL(0) + CL(1)), "204 with a length": said([(":status", "204")] + CL(5)),
}
SILENCE = {
    "HEADERS without END_HEADERS, then silence": lambda sid: headers(sid, OK, end_headers=False), "half a HEADERS frame, then silence":
        lambda sid: headers(sid, OK)[:-3], "RST_STREAM's code missing, then silence": lambda sid: rst(sid)[:-2],
    "GOAWAY(2^31-1), then silence": lambda sid: goaway(0x7FFFFFFF), "window of zero, then silence": lambda sid: settings([(4, 0)]),
    "no streams any more, then silence": lambda sid: settings([(3, 0)]), "silence": waits,
}
FLOODS = {
    "WINDOW_UPDATE flood": lambda sid: window(0, 1) * 1000, "PRIORITY flood": lambda sid: raw(PRIORITY, 0, sid, b"\0\0\0\0\1") * 1000,
    "PING ACK flood": lambda sid: raw(PING, ACK, 0, b"12345678") * 1000, "GOAWAY storm": lambda sid: goaway(0x7FFFFFFF, 0, b"x" * 100) * 1000,
    "ALTSVC flood": lambda sid: raw(10, 0, 0, b"\0\1xh2") * 1000, "ORIGIN flood": lambda sid: raw(12, 0, 0, b"") * 1000,
}

for table, form in ((STATUS, lambda v: said([(":status", v)])), (FIELDS, lambda v: said(OK + [v])), (ILLEGAL_SETTINGS, lambda v: lambda sid: settings([v])),
                    (BLOCKS, hpack), (FLOODS, lambda v: lambda sid: [v(sid)] * 30)):
    REPLIES.update({name if table is not STATUS else "status " + name: form(v) for name, v in table.items()})
for table in (WRONG_FRAMES, BROKEN_INTERIMS, LENGTHS, SILENCE):
    REPLIES.update(table)
REPLIES.update({"RST_STREAM code %d" % code: lambda sid, code=code: rst(sid, code) for code in (3, 4, 5, 6, 7, 9, 10, 11, 12)})
REPLIES.update({
    "no field at all": said([]),
    "1000 fields": said(OK + [("x-%d" % i, "") for i in range(400)]),
    "65 KiB of fields": lambda sid: headers(sid, OK + [("x", "y" * 15000)], end_headers=False) +
    b"".join(raw(CONTINUATION, END_HEADERS if i == 4 else 0, sid, block([("x", "y" * 15000)])) for i in range(5)),
    "empty CONTINUATION flood": lambda sid: headers(sid, OK, end_headers=False) + raw(CONTINUATION, 0, sid) * 30000,
    "window overflow on the stream": lambda sid: window(sid, 0x7FFFFFFF) + window(sid, 0x7FFFFFFF),
    "HEADERS in the middle, closes": lambda sid: [headers(sid, OK)[:-5], None],
    "GOAWAY of an older stream": lambda sid: [goaway(sid - 2 if sid > 1 else 0), None],
    "GOAWAY with every stream, closes": lambda sid: [goaway(0x7FFFFFFF), None],
})

TRAILERS = {"huge": [("x-%d" % i, "y" * 1000) for i in range(80)], "with CRLF": [("x-a", "b\r\nc: d")], "upper-case": [("X-A", "b")],
            "with transfer-encoding": [("transfer-encoding", "chunked")], "too many": [("x", "y")] * 300}

CUT.update({"trailers " + name: lambda sid, t=t: headers(sid, OK, end=False) + data(sid, b"x") + headers(sid, t) for name, t in TRAILERS.items()})
CUT.update({
    "204 with a body": lambda sid: headers(sid, [(":status", "204")], end=False) + data(sid, b"x", True),
    "304 with a body": lambda sid: headers(sid, [(":status", "304")], end=False) + data(sid, b"x", True),
    "padding longer than DATA": lambda sid: headers(sid, OK, end=False) + raw(DATA, PADDED, sid, b"\xff" + b"x"),
    "1xx after the head": lambda sid: headers(sid, OK, end=False) + headers(sid, INTERIM, end=False),
    "1xx with END_STREAM after the head": lambda sid: headers(sid, OK, end=False) + headers(sid, INTERIM),
    "REFUSED_STREAM mid-body": lambda sid: headers(sid, OK, end=False) + data(sid, b"x" * 50) + rst(sid, 7),
    "GOAWAY below the stream mid-body": lambda sid: headers(sid, OK, end=False) + data(sid, b"x" * 50) + goaway(0),
    "PUSH_PROMISE mid-body": lambda sid: headers(sid, OK, end=False) + raw(PUSH_PROMISE, END_HEADERS, sid, b"\0\0\0\2" + block(get())),
    "frame error mid-body": lambda sid: headers(sid, OK, end=False) + data(sid, b"x" * 50) + raw(PING, 0, 0, b"1"),
    "HPACK error in trailers": lambda sid: headers(sid, OK, end=False) + data(sid, b"x") + raw(HEADERS, END_HEADERS | END_STREAM, sid, b"\x80"),
    "half a DATA frame, closes": lambda sid: [headers(sid, OK, end=False) + data(sid, b"x" * 50)[:-20], None],
    "beyond the stream's window": lambda sid: [headers(sid, OK, end=False)] + [data(sid, b"x" * 16384)] * 2000,
    "head, a pause, closes": lambda sid: [headers(sid, OK + CL(9), end=False), 0.2, None],
    "head, a pause, RST_STREAM": lambda sid: [headers(sid, OK + CL(9), end=False), 0.2, rst(sid, 2)],
    "head, body, a pause, TCP reset": lambda sid: [headers(sid, OK, end=False) + data(sid, b"x"), 0.2, "reset"],
    "tiny DATA flood": lambda sid: [headers(sid, OK, end=False)] + [data(sid, b"x") * 1000] * 30,
})
REPLIES["TCP reset"] = lambda sid: ["reset"]
REPLIES["TCP reset mid-head"] = lambda sid: [headers(sid, OK)[:-3], "reset"]

UNKNOWN = raw(0xEE, 0xFF, 0, b"what is this")

# Legal: the answer is `whole`.
WHOLE = {
    "one octet at a time": lambda sid: [whole(sid)[i:i + 1] for i in range(len(whole(sid)))],
    "everything in one segment": whole,
    "RST_STREAM(NO_ERROR) after the end": lambda sid: whole(sid) + rst(sid, 0),
    "RST_STREAM(CANCEL) after the end": lambda sid: whole(sid) + rst(sid, 8),
    "GOAWAY before the head": lambda sid: goaway(sid) + whole(sid),
    "GOAWAY with an error before the head": lambda sid: goaway(sid, 2) + whole(sid),
    "GOAWAY between head and body": lambda sid: whole(sid)[:-14] + goaway(sid) + whole(sid)[-14:],
    "GOAWAY and FIN behind the answer": lambda sid: [whole(sid) + goaway(sid), None],
    "FIN behind the answer": lambda sid: [whole(sid), None],
    "unknown frames between": lambda sid: UNKNOWN + whole(sid)[:-14] + UNKNOWN * 3 + whole(sid)[-14:],
    "unknown settings": lambda sid: settings([(0xF0, 7), (0x99, 0)]) + whole(sid),
    "no header table": lambda sid: settings([(1, 0)]) + whole(sid),
    "header table of 4 GiB": lambda sid: settings([(1, 0xFFFFFFFF)]) + whole(sid),
    "header list of 1": lambda sid: settings([(6, 1)]) + whole(sid),
    "interim, then the answer": lambda sid: headers(sid, INTERIM, end=False) + whole(sid),
    "100 though nobody asked": lambda sid: headers(sid, [(":status", "100")], end=False) + whole(sid),
    "padding and priorities": lambda sid: raw(HEADERS, END_HEADERS | PADDED | PRIO, sid, b"\x07\0\0\0\0\x01" + block(OK) + bytes(7)) +
    raw(DATA, PADDED | END_STREAM, sid, b"\xc8whole" + bytes(200)),
    "head in many CONTINUATION": lambda sid: raw(HEADERS, 0, sid, block(OK)[:3]) + raw(CONTINUATION, 0, sid, block(OK)[3:9]) +
    raw(CONTINUATION, END_HEADERS, sid, block(OK)[9:]) + data(sid, b"whole", True),
    "trailers": lambda sid: headers(sid, OK, end=False) + data(sid, b"whole") + headers(sid, [("x-sum", "5"), ("x-sum", "6")]),
    "empty DATA with END_STREAM": lambda sid: headers(sid, OK, end=False) + data(sid, b"whole") + data(sid, b"", True),
    "window shrinks and grows": lambda sid: settings([(4, 0)]) + settings([(4, 65535)]) + whole(sid),
    "DATA after the end": lambda sid: whole(sid) + data(sid, b"more"),
    "PING, SETTINGS, WINDOW_UPDATE around it": lambda sid: ping() + settings([(3, 50)]) + window(0, 1000) + whole(sid) + window(0, 1000) + ping(),
    "a pause in every frame": lambda sid: [whole(sid)[:5], 0.1, whole(sid)[5:20], 0.1, whole(sid)[20:-3], 0.1, whole(sid)[-3:]],
}

# Said as soon as the connection is there, whatever is asked.
CONNECTIONS = {
    "PING first": ping(), "GOAWAY first": goaway(0), "SETTINGS ACK first": raw(SETTINGS, ACK, 0), "HEADERS first": headers(1, OK),
    "DATA first": data(1, b"x"), "half of SETTINGS": settings([(3, 100)])[:5], "SETTINGS of 5 octets": raw(SETTINGS, 0, 0, bytes(5)),
    "preface of a client": PREFACE + settings(), "HTTP/1 400": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "alert of TLS": b"\x15\x03\x03\0\x02\x02\x28", "zeros": bytes(1000), "SETTINGS, closes": [settings(), None], "SETTINGS, TCP reset": [settings(), "reset"],
    "TCP reset": ["reset"], "GOAWAY behind SETTINGS": settings() + goaway(0), "GOAWAY with an error behind SETTINGS": settings() + goaway(0, 11, b"calm"),
    "SETTINGS flood": [settings() * 1000] * 30, "PING flood": [settings() + ping() * 1000] * 30, "answers nobody asked for": settings() + headers(99, OK),
    "SETTINGS of 3000 entries": settings([(0xF000 + i % 1000, i) for i in range(2700)]), "a stream of its own": settings() + headers(2, OK),
}


def from_the_start(out):
    def behave(s):
        if say(s, out):
            while s.recv(65536):
                pass
    return behave
