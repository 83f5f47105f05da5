# SPDX-License-Identifier: MIT
"""A client made of raw frames: says exactly what a test wants, right or wrong, and
reports what came back. hyperframe and hpack make and read the bytes; no HTTP/2
state machine stands in the way."""
import socket
import ssl
import struct
import time

import hpack
from hyperframe import frame as hf

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM,
 CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, HTTP_1_1_REQUIRED) = range(14)

(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION) = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIO = 0x1, 0x1, 0x4, 0x8, 0x20


def raw(kind, flags, stream, payload=b"", length=None):
    """Any frame, its length field also wrong when `length` says so."""
    n = len(payload) if length is None else length
    return struct.pack(">I", n)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Never(hpack.Encoder):
    """Plain literals, never indexed, lower or upper case as given: hides nothing."""

    def block(self, fields):
        out = bytearray()
        for name, value in fields:
            name = name.encode("latin-1") if isinstance(name, str) else name
            value = value.encode("latin-1") if isinstance(value, str) else value
            out += b"\x10" + hpack.hpack.encode_integer(len(name), 7) + name
            out += hpack.hpack.encode_integer(len(value), 7) + value
        return bytes(out)


_encoder = Never()


def block(fields):
    return _encoder.block(fields)


def headers(stream, fields, end=True, end_headers=True):
    return raw(HEADERS, (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0), stream, block(fields))


def data(stream, payload, end=False):
    return raw(DATA, END_STREAM if end else 0, stream, payload)


def settings(pairs=()):
    return raw(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def rst(stream, code=CANCEL):
    return raw(RST_STREAM, 0, stream, struct.pack(">I", code))


def ping(payload=b"12345678"):
    return raw(PING, 0, 0, payload)


def window(stream, n):
    return raw(WINDOW_UPDATE, 0, stream, struct.pack(">I", n))


def get(path="/t/x", method="GET", authority="example.com", scheme="http", *more):
    fields = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]
    return fields + list(more)


class Answer:
    """What came on one stream."""

    def __init__(self):
        self.heads = []       # each a list of (name, value)
        self.body = b""
        self.ended = False
        self.reset = None     # error code of RST_STREAM

    @property
    def status(self):
        """The last (final) status, or None."""
        for head in reversed(self.heads):
            for name, value in head:
                if name == ":status":
                    return int(value)
        return None

    def field(self, name):
        for head in self.heads:
            for n, v in head:
                if n == name:
                    return v
        return None

    def __repr__(self):
        return "<answer status=%s body=%d ended=%s reset=%s proxy-status=%s>" % (self.status, len(self.body), self.ended, self.reset,
                                                                                 self.field("proxy-status"))


class Raw:
    """One connection. send() bytes; run() until a condition; then look at .streams,
    .goaway, .closed, .frames."""

    def __init__(self, address, tls=None, preface=True, first=(), alpn=("h2",), window=None, timeout=5.0, source=None):
        if isinstance(address, str):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(timeout)
            s.connect(address)
        else:
            s = socket.create_connection(address, timeout=timeout, source_address=source)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = tls if isinstance(tls, ssl.SSLContext) else insecure(alpn)
            s = context.wrap_socket(s, server_hostname="localhost")
        self.s = s
        self.timeout = timeout
        self.buf = b""
        self.frames = []
        self.streams = {}
        self.goaway = None
        self.closed = False
        self.reset_by_peer = False
        self.decoder = hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 22
        self.partial = None
        self.auto_window = True
        self.auto_ack = True
        self.settings = {}
        self.pongs = 0
        if preface:
            self.send(PREFACE + settings(first))

    def send(self, *parts):
        """False when the peer has gone."""
        try:
            self.s.sendall(b"".join(parts))
            return True
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError, socket.timeout, OSError):
            self.reset_by_peer = True
            return False

    def stream(self, n):
        return self.streams.setdefault(n, Answer())

    def _take(self):
        """Handles one whole frame of the buffer. False: not whole yet."""
        if len(self.buf) < 9:
            return False
        length = int.from_bytes(self.buf[:3], "big")
        if len(self.buf) < 9 + length:
            return False
        kind, flags = self.buf[3], self.buf[4]
        sid = struct.unpack(">I", self.buf[5:9])[0] & 0x7FFFFFFF
        payload, self.buf = self.buf[9:9 + length], self.buf[9 + length:]
        self.frames.append((kind, flags, sid, payload))
        if kind == DATA:
            body = payload[1:len(payload) - payload[0]] if flags & PADDED else payload
            self.stream(sid).body += body
            self.stream(sid).ended |= bool(flags & END_STREAM)
            if self.auto_window and payload:
                self.send(window(0, len(payload)) + (window(sid, len(payload)) if not flags & END_STREAM else b""))
        elif kind in (HEADERS, CONTINUATION):
            if kind == HEADERS:
                if flags & PADDED:
                    payload = payload[1:len(payload) - payload[0]]
                if flags & PRIO:
                    payload = payload[5:]
                self.partial = (b"", bool(flags & END_STREAM))
            self.partial = (self.partial[0] + payload, self.partial[1])
            if flags & END_HEADERS:
                fields = [(n.decode("latin-1") if isinstance(n, bytes) else n, v.decode("latin-1") if isinstance(v, bytes) else v)
                          for n, v in self.decoder.decode(self.partial[0], raw=True)]
                self.stream(sid).heads.append(fields)
                self.stream(sid).ended |= self.partial[1]
                self.partial = None
        elif kind == RST_STREAM:
            self.stream(sid).reset = struct.unpack(">I", payload)[0]
        elif kind == SETTINGS and not flags & ACK:
            for i in range(0, len(payload), 6):
                k, v = struct.unpack(">HI", payload[i:i + 6])
                self.settings[k] = v
            if self.auto_ack:
                self.send(raw(SETTINGS, ACK, 0))
        elif kind == PING and flags & ACK:
            self.pongs += 1
        elif kind == PING and self.auto_ack:
            self.send(raw(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">I", payload[4:8])[0]
            self.goaway_last = struct.unpack(">I", payload[:4])[0] & 0x7FFFFFFF
        return True

    def run(self, until=None, seconds=None):
        """Reads until `until()` holds, the peer closes, or the time is up. True: it held."""
        end = time.monotonic() + (self.timeout if seconds is None else seconds)
        while True:
            while self._take():
                pass
            if until and until():
                return True
            left = end - time.monotonic()
            if self.closed or left <= 0:
                return bool(until and until())
            self.s.settimeout(max(left, 0.001))
            try:
                more = self.s.recv(65536)
            except (socket.timeout, ssl.SSLWantReadError):
                continue
            except (ConnectionResetError, ssl.SSLError, OSError):
                self.closed = self.reset_by_peer = True
                continue
            if not more:
                self.closed = True
            self.buf += more

    def done(self, sid):
        a = self.streams.get(sid)
        return a is not None and (a.ended or a.reset is not None)

    def ask(self, sid, fields, body=None, trailers=None, seconds=None):
        """One request on stream `sid`; returns its Answer (maybe incomplete)."""
        self.send(headers(sid, fields, end=body is None and trailers is None))
        if body is not None:
            self.send(data(sid, body, end=trailers is None))
        if trailers is not None:
            self.send(headers(sid, trailers))
        self.run(lambda: self.done(sid) or self.goaway not in (None, 0), seconds)
        return self.stream(sid)

    def close(self):
        try:
            self.s.close()
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def insecure(alpn=("h2",), cafile=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = bool(cafile)
    if cafile:
        context.load_verify_locations(cafile)
    else:
        context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def fetch(address, fields, body=None, trailers=None, seconds=5.0, tls=None):
    """One request on a connection of its own."""
    with Raw(address, tls=tls, timeout=seconds) as c:
        return c.ask(1, fields, body, trailers)


__all__ = [n for n in dir() if not n.startswith("_")]
assert hf  # hyperframe defines what frames()/errors mean; kept for tests that want its classes
