# SPDX-License-Identifier: MIT
"""Where clients come from: IPv6, Unix sockets, PROXY protocol v2; and clients that are
slow, silent or too many."""
import json
import os
import socket
import struct
import time

import pytest

from lib import proc
from lib.frames import PREFACE, Raw, data, fetch, get, headers, raw, settings
from lib.proxy import unix_free


def serve(world, listeners=(), **more):
    a = world.backend("a")
    p = world.proxy(datacenters={"a": [a.where]}, listeners=list(listeners), **more)
    p.a = a
    return p


def test_ipv6(world):
    port = proc.free_port()
    p = serve(world, [{"address": "[::1]:%d" % port}])
    answer = fetch(("::1", port), get("/t/headers"))
    assert answer.status == 200
    assert "::1" in dict(json.loads(answer.body)).get("x-forwarded-for", dict(json.loads(answer.body)).get("forwarded", ""))
    assert p.p.running()


def test_unix_socket(world):
    path = unix_free(world.folder)
    serve(world, [{"address": "unix:" + path}])
    assert fetch(path, get("/t/x")).status == 200


def test_unix_upstream(world):
    """An endpoint on a Unix socket."""
    path = unix_free(world.folder, "up.sock")
    from lib.peers import Backend
    b = Backend.__new__(Backend)
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen(16)
    create = socket.create_server
    try:
        socket.create_server = lambda *_, **__: s
        b.__init__("u")
    finally:
        socket.create_server = create
    world.keep(b)
    p = world.proxy(datacenters={"a": ["unix:" + path]})
    assert fetch(p.address, get("/t/x")).status == 200


def v2(source, dest, sport, dport, command=1, tlvs=b""):
    """PROXY protocol v2 header for TCP over IPv4 or IPv6."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, dest) + struct.pack(">HH", sport, dport) + tlvs
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20 | command, 0x21 if family == socket.AF_INET6 else 0x11]) + struct.pack(">H", len(body)) + body


@pytest.fixture
def proxied(world):
    port = proc.free_port()
    p = serve(world, [{"address": "127.0.0.1:%d" % port, "proxy_protocol": True}], trusted=["127.0.0.1/32"])
    return p, ("127.0.0.1", port)


def through(address, first, fields, chunks=None):
    with Raw(address, preface=False) as c:
        whole = first + PREFACE + settings() + headers(1, fields)
        if chunks:
            for i in range(0, len(whole), chunks):
                c.send(whole[i:i + chunks])
        else:
            c.send(whole)
        c.run(lambda: c.done(1) or c.closed)
        return c.stream(1), c


def forwarded(answer):
    seen = dict(json.loads(answer.body))
    return seen.get("x-forwarded-for", "") + " " + seen.get("forwarded", "")


@pytest.mark.parametrize("source", ["203.0.113.7", "2001:db8::7"])
def test_proxy_v2(proxied, source):
    answer, _ = through(proxied[1], v2(source, "2001:db8::1" if ":" in source else "198.51.100.1", 1234, 443), get("/t/headers"))
    assert answer.status == 200
    assert source in forwarded(answer)


def test_proxy_v2_with_tlvs_octet_by_octet(proxied):
    answer, _ = through(proxied[1], v2("203.0.113.7", "198.51.100.1", 1, 2, tlvs=b"\x04\0\x05hello" * 3), get("/t/headers"), chunks=1)
    assert answer.status == 200 and "203.0.113.7" in forwarded(answer)


def test_proxy_v2_local(proxied):
    answer, _ = through(proxied[1], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", get("/t/headers"))
    assert answer.status == 200 and "127.0.0.1" in forwarded(answer)


@pytest.mark.parametrize("first", [b"", b"PROXY TCP4 203.0.113.7 198.51.100.1 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c" + b"\0" * 12,
                                   b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04" + b"\0" * 4, b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c" + b"\0" * 12],
                         ids=["missing", "v1", "version-3", "short", "bad-signature"])
def test_proxy_v2_missing_or_malformed(proxied, first):
    answer, c = through(proxied[1], first, get("/t/headers"))
    assert answer.status is None and (c.closed or c.goaway is not None), answer


def test_proxy_v2_is_not_believed_elsewhere(world):
    """A listener without proxy_protocol takes the header for noise."""
    p = serve(world)
    answer, c = through(p.address, v2("203.0.113.7", "198.51.100.1", 1, 2), get("/t/headers"))
    assert answer.status is None and c.closed


def test_trusted_forwarded_is_kept(world):
    p = serve(world, trusted=["127.0.0.1/32"])
    answer = fetch(p.address, get("/t/headers") + [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")])
    seen = dict(json.loads(answer.body))
    assert seen["x-forwarded-for"].replace(" ", "") == "203.0.113.9,127.0.0.1"
    assert seen["x-forwarded-proto"] == "https"


# -- slow and silent --

SHORT = {"handshake_timeout": "1s", "header_timeout": "1s", "idle_timeout": "1s", "body_timeout": "1s", "body_rate": "1000B"}


@pytest.fixture
def hasty(world):
    return serve(world, limits=SHORT)


def ends(c, seconds=4):
    began = time.monotonic()
    c.run(lambda: c.closed, seconds)
    assert c.closed, "still open after %.1f s" % (time.monotonic() - began)


@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "tls"])
def test_silence(hasty, tls):
    s = socket.create_connection(("127.0.0.1", hasty.cfg.tls_port if tls else hasty.port))
    s.settimeout(5)
    began = time.monotonic()
    assert s.recv(10) == b"" or True
    assert time.monotonic() - began < 4
    s.close()


def test_half_preface(hasty):
    with Raw(hasty.address, preface=False) as c:
        c.send(PREFACE[:10])
        ends(c)


def test_half_header_block(hasty):
    with Raw(hasty.address) as c:
        c.send(headers(1, get("/t/x"), end_headers=False))
        ends(c)


def test_preface_octet_by_octet_for_ever(hasty):
    with Raw(hasty.address, preface=False) as c:
        for b in PREFACE[:20]:
            if not c.send(bytes([b])) or c.run(lambda: c.closed, 0.25):
                return
    raise AssertionError("the preface may take as long as it likes")


def test_body_that_never_comes(hasty):
    with Raw(hasty.address) as c:
        c.send(headers(1, get("/t/status/200", "POST"), end=False), data(1, b"x"))
        c.run(lambda: c.done(1) or c.closed, 6)
        assert c.closed or c.stream(1).status == 408 or c.stream(1).reset is not None


def test_idle_connection_is_closed_politely(hasty):
    with Raw(hasty.address) as c:
        assert c.ask(1, get("/t/x")).status == 200
        ends(c, 6)
        assert c.goaway == 0


def test_connections_per_address(world):
    p = serve(world, workers=1, limits={"connections_per_address": 10})
    assert fetch(p.address, get("/t/x")).status == 200
    proc.wait_for(lambda: p.metric("firebreak_downstream_connections") == 0, 5, what="end of the connections that asked whether we listen")
    held = [Raw(p.address) for _ in range(10)]
    for c in held:
        assert c.ask(1, get("/t/x")).status == 200
    with Raw(p.address) as c:
        c.run(lambda: c.closed, 3)
        assert c.closed
    assert held[0].ask(3, get("/t/x")).status == 200
    held.pop().close()
    proc.wait_for(lambda: fetch(p.address, get("/t/x"), seconds=2).status == 200, 5, what="room again")
    for c in held:
        c.close()


def test_idle_connections_make_room(world):
    """All the worker may have are held: by idle ones a newcomer is not kept out, busy ones stay."""
    p = serve(world, workers=1, limits={"connections": 12})
    assert fetch(p.address, get("/t/x")).status == 200
    proc.wait_for(lambda: p.metric("firebreak_downstream_connections") == 0, what="the end of that connection")
    busy = Raw(p.address)
    busy.send(headers(1, get("/t/never")))
    held = [Raw(p.address) for _ in range(11)]
    for c in held[:6]:
        assert c.ask(1, get("/t/x")).status == 200
    for c in held[6:]:
        assert c.run(lambda: c.settings)
    proc.wait_for(lambda: fetch(p.address, get("/t/x"), seconds=2).status == 200, 5, what="room for who asks")
    gone = [c for c in held if c.run(lambda: c.closed, 0.2)]
    assert 1 <= len(gone) < len(held) and all(c.goaway == 0 for c in gone), (len(gone), [c.goaway for c in gone])
    assert busy.ask(3, get("/t/x")).status == 200 and not busy.closed
    for c in held + [busy]:
        c.close()


def test_out_of_descriptors(world):
    """RLIMIT_NOFILE 96 under 150 connections: who is in is served, it recovers by itself."""
    import resource
    a = world.backend("a")
    p = world.proxy(datacenters={"a": [a.where]}, workers=1, limits_process=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96)))
    held = []
    first = Raw(p.address)
    assert first.ask(1, get("/t/x")).status == 200
    for _ in range(150):
        try:
            held.append(Raw(p.address, timeout=1))
        except OSError:
            break
    assert first.ask(3, get("/t/x")).status == 200
    for c in held:
        c.close()
    proc.wait_for(lambda: fetch(p.address, get("/t/x"), seconds=2).status == 200, 10, what="recovery")
    first.close()


@pytest.mark.slow
def test_slow_reader_of_a_big_download_costs_little(world):
    """A client that reads slowly: the memory of the workers stays bounded."""
    p = serve(world, workers=1)
    with Raw(p.address, first=[(4, 1 << 24)], timeout=10) as c:
        c.auto_window = False
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        c.ask(1, get("/t/x"))
        before = p.memory()
        from lib.frames import window
        c.send(window(0, 1 << 30))
        c.send(headers(3, get("/t/bytes/200000000")))
        worst = 0
        for _ in range(20):
            c.s.recv(65536)
            time.sleep(0.1)
            worst = max(worst, p.memory() - before)
    assert worst < 4 << 20, "the proxy grew by %d KiB" % (worst >> 10)


assert os and raw
