# SPDX-License-Identifier: MIT
"""Upstreams under a test's control.

Backend  a well-behaved HTTP/2 server (python3-h2) that records what arrived, field by
         field, with h2's own checks of requests off: what the proxy let through is seen.
Script   a server that answers each connection with a function of the test: garbage,
         half frames, silence.
"""
import json
import socket
import ssl
import struct
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings


class Request:
    def __init__(self, sid, fields):
        self.sid = sid
        self.fields = fields
        self.body = b""
        self.length = 0
        self.trailers = None
        self.ended = False
        self.reset = None
        self.owed = bytearray()  # echo: received and not sent back yet
        self.closed = False
        self.written = 0
        self.at = time.monotonic()

    def field(self, name):
        got = [v for n, v in self.fields if n == name]
        return got[0] if got else None

    def all(self, name):
        return [v for n, v in self.fields if n == name]

    @property
    def path(self):
        return self.field(":path")


class Backend:
    """Routes by the last part of the path, so that any prefix can be a feature:
    .../headers .../echo .../bytes/N .../status/N .../slow/MS .../trailers .../hints
    .../never .../reset/CODE .../events/N .../cut/N (RST after N bytes)"""

    KEEP = 1 << 20  # body bytes recorded for each request

    def __init__(self, name="a", tls=None, connect_protocol=True, address=("127.0.0.1", 0), max_streams=1000):
        self.name = name
        self.requests = []
        self.checks = 0
        self.connections = 0
        self.open = set()
        self.lock = threading.Lock()
        self.tls = tls
        self.connect_protocol = connect_protocol
        self.max_streams = max_streams
        self.healthy = True   # False: its checks are answered 503; a number: that; None: not at all
        self.custom = {}      # path -> function(conversation, request)
        self.stopping = False
        self.sock = socket.create_server(address, backlog=256)
        self.address = self.sock.getsockname()[:2]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    @property
    def where(self):
        return "%s:%d" % self.address

    def seen(self, path=None, prefix=None):
        with self.lock:
            return [r for r in self.requests if (path is None or r.path == path) and (prefix is None or (r.path or "").startswith(prefix))]

    def wait(self, condition, seconds=5.0):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.01)
        return condition()

    def _accept(self):
        while not self.stopping:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        try:
            if s.family != socket.AF_UNIX:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                s = self.tls.wrap_socket(s, server_side=True)
        except (OSError, ssl.SSLError):
            return
        with self.lock:
            self.connections += 1
            self.open.add(s)
        try:
            Conversation(self, s).run()
        except (OSError, ssl.SSLError, h2.exceptions.ProtocolError):
            pass
        finally:
            with self.lock:
                self.open.discard(s)
            s.close()

    def drop(self):
        """Closes every open connection with a TCP reset."""
        with self.lock:
            socks = list(self.open)
        for s in socks:
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.stopping = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self.drop()


class Conversation:
    """One connection of a Backend; its thread reads, answers may be sent from others."""

    def __init__(self, backend, s):
        self.b = backend
        self.s = s
        self.lock = threading.RLock()
        self.room = threading.Condition(self.lock)
        self.h = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding="latin-1", validate_inbound_headers=False, normalize_inbound_headers=False,
            validate_outbound_headers=False, normalize_outbound_headers=False))
        self.open = {}
        self.dead = False

    def run(self):
        with self.lock:
            self.h.local_settings = h2.settings.Settings(client=False, initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.b.max_streams,
                h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: int(self.b.connect_protocol),
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 1 << 20,
            })
            self.h.initiate_connection()
            self.h.increment_flow_control_window(1 << 24)
            self.flush()
        while not self.b.stopping:
            got = self.s.recv(262144)
            if not got:
                break
            with self.lock:
                try:
                    events = self.h.receive_data(got)
                except h2.exceptions.ProtocolError:
                    self.flush()
                    raise
                for e in events:
                    try:
                        self.event(e)
                    except h2.exceptions.ProtocolError:
                        pass  # an answer to a stream that was reset within the same read
                for r in list(self.open.values()):
                    if r.owed:
                        self.pump(r)
                self.flush()
                self.room.notify_all()
        with self.lock:
            self.dead = True
            for r in self.open.values():
                if not r.ended and r.reset is None:
                    r.reset = -1  # the connection went
            self.room.notify_all()

    def flush(self):
        out = self.h.data_to_send()
        if out:
            self.s.sendall(out)

    def event(self, e):
        if isinstance(e, h2.events.RequestReceived):
            r = Request(e.stream_id, [(n, v) for n, v in e.headers])
            self.open[e.stream_id] = r
            if (r.path or "").startswith("/healthz"):
                self.b.checks += 1
                if self.b.healthy is None:
                    del self.open[e.stream_id]
                else:
                    self.respond(r, {True: 200, False: 503}.get(self.b.healthy, self.b.healthy), body=b"ok")
                return
            with self.b.lock:
                self.b.requests.append(r)
            self.begin(r)
        elif isinstance(e, h2.events.DataReceived):
            r = self.open.get(e.stream_id)
            if r:
                r.length += len(e.data)
                if len(r.body) < Backend.KEEP:
                    r.body += e.data
            if e.flow_controlled_length:
                try:
                    self.h.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                except h2.exceptions.ProtocolError:
                    pass
            if r and self.last(r)[0] == "echo":
                r.owed += e.data
                self.pump(r)
        elif isinstance(e, h2.events.TrailersReceived):
            if e.stream_id in self.open:
                self.open[e.stream_id].trailers = list(e.headers)
        elif isinstance(e, h2.events.StreamEnded):
            r = self.open.get(e.stream_id)
            if r:
                r.ended = True
                self.finish(r)
        elif isinstance(e, h2.events.StreamReset):
            r = self.open.get(e.stream_id)
            if r:
                r.reset = int(e.error_code)

    @staticmethod
    def last(r):
        parts = [p for p in (r.path or "/").split("?")[0].split("/") if p]
        return (parts[-2:] if len(parts) > 1 and parts[-2] in ("bytes", "status", "slow", "reset", "events", "cut") else parts[-1:]) or [""]

    def respond(self, r, status, fields=(), body=None, end=True):
        if r.field(":method") == "HEAD" and body is not None:
            body, end = None, True
        with self.lock:
            try:
                self.h.send_headers(r.sid, [(":status", str(status)), ("x-backend", self.b.name)] + list(fields), end_stream=end and body is None)
                if body is not None:
                    self.h.send_data(r.sid, body, end_stream=end)
                self.flush()
            except (h2.exceptions.ProtocolError, OSError):
                pass

    def stream_out(self, r, total, cut=None, chunk=16384):
        """Sends `total` bytes as windows allow (own thread)."""
        left = total
        piece = bytes(range(256)) * (chunk // 256)
        while left:
            with self.room:
                try:
                    room = min(self.h.local_flow_control_window(r.sid), chunk, left)
                    if room > 0:
                        self.h.send_data(r.sid, piece[:room])
                        self.flush()
                        left -= room
                        r.written = total - left
                        if cut is not None and total - left >= cut:
                            self.h.reset_stream(r.sid, 2)
                            self.flush()
                            return
                        continue
                except (h2.exceptions.ProtocolError, OSError, KeyError):
                    return
                if self.dead or r.reset is not None:
                    return
                self.room.wait(0.5)
        with self.lock:
            try:
                self.h.end_stream(r.sid)
                self.flush()
            except (h2.exceptions.ProtocolError, OSError, KeyError):
                pass

    def pump(self, r):
        """Sends what an echo still owes, as far as the windows allow."""
        try:
            while r.owed:
                room = min(self.h.local_flow_control_window(r.sid), self.h.max_outbound_frame_size, len(r.owed))
                if room <= 0:
                    return
                self.h.send_data(r.sid, bytes(r.owed[:room]))
                del r.owed[:room]
            if r.ended and not r.closed:
                r.closed = True
                if r.trailers:
                    self.h.send_headers(r.sid, [("x-trailer-back", json.dumps(r.trailers).replace('"', "'"))], end_stream=True)
                else:
                    self.h.end_stream(r.sid)
        except h2.exceptions.ProtocolError:
            r.owed.clear()

    def spawn(self, f, *args):
        threading.Thread(target=f, args=args, daemon=True).start()

    def begin(self, r):
        what = self.last(r)
        if r.path in self.b.custom:
            self.spawn(self.b.custom[r.path], self, r)
        elif what[0] == "echo":
            kind = r.field("content-type") or "application/octet-stream"
            self.h.send_headers(r.sid, [(":status", "200"), ("x-backend", self.b.name), ("content-type", kind)])
        elif what[0] == "hints":
            self.h.send_headers(r.sid, [(":status", "103"), ("link", "</style.css>; rel=preload")])
        elif what[0] == "continue" and r.field("expect") == "100-continue":
            self.h.send_headers(r.sid, [(":status", "100")])
        elif what[0] == "early":
            # answers before the body has come, and says so to the peer
            self.respond(r, 200, body=b"early")

    def finish(self, r):
        what = self.last(r)
        if r.path in self.b.custom:
            return
        if what[0] == "echo":
            self.pump(r)
        elif what[0] == "headers":
            self.respond(r, 200, [("content-type", "application/json")], json.dumps(r.fields).encode())
        elif what[0] == "bytes":
            n = int(what[1])
            head = [("content-length", str(n))] if "nolength" not in (r.path or "") else []
            if r.field(":method") == "HEAD":
                self.respond(r, 200, head)
                return
            self.respond(r, 200, head, end=False)
            self.spawn(self.stream_out, r, n)
        elif what[0] == "cut":
            n = int(what[1])
            self.respond(r, 200, [("content-length", str(2 * n))], end=False)
            self.spawn(self.stream_out, r, 2 * n, n)
        elif what[0] == "status":
            code = int(what[1])
            self.respond(r, code, body=None if code in (204, 304) else b"status %d\n" % code)
        elif what[0] == "slow":
            self.spawn(self._slow, r, int(what[1]) / 1000)
        elif what[0] == "trailers":
            with self.lock:
                self.h.send_headers(r.sid, [(":status", "200"), ("x-backend", self.b.name), ("trailer", "x-sum")])
                self.h.send_data(r.sid, b"body")
                self.h.send_headers(r.sid, [("x-sum", "42")], end_stream=True)
        elif what[0] == "never":
            pass
        elif what[0] == "reset":
            self.h.reset_stream(r.sid, int(what[1]))
        elif what[0] == "events":
            self.spawn(self._events, r, int(what[1]))
        elif what[0] == "early":
            pass
        else:
            self.respond(r, 200, [("content-type", "text/plain"), ("date", "Mon, 01 Jan 2024 00:00:00 GMT")], b"hello from %s\n" % self.b.name.encode())

    def _slow(self, r, seconds):
        time.sleep(seconds)
        self.respond(r, 200, body=b"slow")

    def _events(self, r, n):
        self.respond(r, 200, [("content-type", "text/event-stream")], end=False)
        for i in range(n):
            with self.lock:
                try:
                    self.h.send_data(r.sid, b"data: %d\n\n" % i, end_stream=i == n - 1)
                    self.flush()
                except (h2.exceptions.ProtocolError, OSError):
                    return
            time.sleep(0.1)


class Script:
    """Accepts connections and gives each to `behave(sock, first_bytes_reader)`."""

    def __init__(self, behave):
        self.behave = behave
        self.connections = 0
        self.stopping = False
        self.errors = []
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = self.sock.getsockname()[:2]
        self.open = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def where(self):
        return "%s:%d" % self.address

    def _accept(self):
        while not self.stopping:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(s)
            threading.Thread(target=self._one, args=(s,), daemon=True).start()

    def _one(self, s):
        try:
            s.settimeout(20)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.behave(s)
        except OSError:
            pass
        except Exception as e:  # a mistake in the script: tell the test
            self.errors.append(e)
        finally:
            try:
                s.close()
            except OSError:
                pass

    def close(self):
        self.stopping = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for s in self.open:
            try:
                s.close()
            except OSError:
                pass


def server_tls(cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["h2"])
    return context
