# SPDX-License-Identifier: MIT
"""TLS towards the endpoints: whom the proxy believes, which name it asks for, and what its
client hears when it does not. The peers are nghttpd, Node's http2 and openssl s_server, which
nobody here wrote, beside firebreak-bench's backend."""
import json
import os
import socket
import subprocess
import time

import pytest

from lib import proc
from lib.frames import data, fetch, get, headers
from lib.hostile import OK, Peer
from lib.peers import server_tls

HERE = os.path.dirname(__file__)
GRPC = [(":method", "POST"), (":scheme", "http"), (":authority", "example.com"), (":path", "/test.Chat/Say"),
        ("content-type", "application/grpc"), ("te", "trailers")]


@pytest.fixture(scope="module")
def pairs(certs, tmp_path_factory):
    """Certificates of the suite and some nobody should believe: (folder, name) by word."""
    folder = tmp_path_factory.mktemp("pairs")

    def openssl(*args):
        subprocess.run(["openssl"] + [str(a) for a in args], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=another ca", "-keyout", "another.key", "-out", "another.pem")
    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", "self.key", "-out", "self.pem")
    openssl("req", *key, "-subj", "/CN=localhost", "-keyout", "expired.key", "-out", "expired.csr")
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "expired.csr", "-CA", certs / "ca.pem", "-CAkey", certs / "ca.key", "-set_serial", "7", "-days", "-1",
            "-extfile", "san", "-out", "expired.pem")
    out = {name: (folder / (name + ".pem"), folder / (name + ".key")) for name in ("self", "expired", "another")}
    out.update({name: (certs / (name + ".pem"), certs / (name + ".key")) for name in ("ecdsa", "rsa", "other")})
    return out


def nghttpd(world, port, cert, key):
    root = world.folder / "root"
    root.mkdir()
    for name in ("healthz", "t", "test.Chat"):
        (root / name).write_text("nghttpd\n") if name == "healthz" else (root / name).mkdir()
    (root / "t" / "x").write_text("nghttpd\n")
    (root / "test.Chat" / "Say").write_text("nghttpd\n")
    return ["nghttpd", "-a", "127.0.0.1", "-d", root, "-n1", port, key, cert]


def node(world, port, cert, key, *more):
    return ["node", os.path.join(HERE, "node", "server.mjs"), port, cert, key, *more]


def backend(world, where, cert, key):
    state = world.folder / "state"
    state.mkdir()
    return [proc.binary("firebreak-bench"), "backend", "--listen", where, "--tls-cert", cert, "--tls-key", key, "--state", state]


def bench(world, port, cert, key):
    return backend(world, "127.0.0.1:%d" % port, cert, key)


def start(world, make, pair, *more):
    port = proc.free_port()
    p = world.process(make(world, port, *pair, *more), make.__name__ + "-%d" % port)
    p.port = port
    proc.wait_for(lambda: not p.running() or proc.listening(port), what="start of " + make.__name__)
    assert p.running(), p.log()
    return p


def verdict(p):
    """(HTTP status, the fault's word) of a request, the same for a gRPC caller."""
    a = fetch(p.address, get("/t/x", "POST"), b"body")
    if a.field("proxy-status") is None or a.status == 200:  # from elsewhere, and says so
        return a.status, None
    told = json.loads(a.body)
    assert a.field("content-type") == "application/problem+json" and told["status"] == a.status, a
    assert a.ended and 'details="%s"' % told["reason"] in a.field("proxy-status"), a.heads
    g = fetch(p.address, GRPC, b"\0\0\0\0\0")
    assert g.status == 200 and g.ended and g.field("grpc-status") == "14", (g, g.heads)
    return a.status, told["reason"]


# certificate shown, tls of the configuration, the address' host -> what the client gets
GOOD, BAD = (200, None), (502, "upstream-tls")
MATRIX = {
    "the CA, name configured": ("ecdsa", {"ca": "ca", "server_name": "localhost"}, "127.0.0.1", GOOD),
    "the CA, RSA": ("rsa", {"ca": "ca", "server_name": "example.com"}, "127.0.0.1", GOOD),
    "the CA, host of the address": ("ecdsa", {"ca": "ca"}, "localhost", GOOD),
    "the CA, address itself in the certificate": ("ecdsa", {"ca": "ca"}, "127.0.0.1", GOOD),
    "another name in the certificate": ("ecdsa", {"ca": "ca", "server_name": "elsewhere.test"}, "127.0.0.1", BAD),
    "its name configured": ("other", {"ca": "ca", "server_name": "elsewhere.test"}, "127.0.0.1", GOOD),
    "host of the address not in the certificate": ("other", {"ca": "ca"}, "localhost", BAD),
    "address not in the certificate": ("other", {"ca": "ca"}, "127.0.0.1", BAD),
    "another CA": ("ecdsa", {"ca": "another", "server_name": "localhost"}, "127.0.0.1", BAD),
    "the system's CAs": ("ecdsa", {"server_name": "localhost"}, "127.0.0.1", BAD),
    "self-signed": ("self", {"ca": "ca", "server_name": "localhost"}, "127.0.0.1", BAD),
    "self-signed and believed": ("self", {"ca": "self", "server_name": "localhost"}, "127.0.0.1", GOOD),
    "expired": ("expired", {"ca": "ca", "server_name": "localhost"}, "127.0.0.1", BAD),
    "expired, not verified": ("expired", {"verify": False}, "127.0.0.1", GOOD),
    "another CA and name, not verified": ("other", {"ca": "another", "verify": False, "server_name": "nobody.test"}, "127.0.0.1", GOOD),
}


def configured(tls, pairs, certs):
    return {k: str(certs / "ca.pem" if v == "ca" else pairs[v][0]) if k == "ca" else v for k, v in tls.items()}


@pytest.mark.parametrize("case", MATRIX, ids=lambda c: c.replace(" ", "-").replace(",", ""))
def test_certificate(world, pairs, certs, case):
    shown, tls, host, expected = MATRIX[case]
    peer = start(world, nghttpd, pairs[shown])
    p = world.proxy(datacenters={"a": ["%s:%d" % (host, peer.port)]}, checks=False, dc_tls=configured(tls, pairs, certs))
    # One of localhost's addresses is v6, where nobody listens: it is tried in turn.
    assert proc.wait_for(lambda: (v := verdict(p))[1] != "connect-refused" and v, what="a verdict") == expected
    if expected == BAD:
        assert p.fault("upstream-tls") > 0
        assert any(e.get("event") == "tls.upstream.failed" and e.get("reason") for e in p.events())


@pytest.mark.parametrize("host, tls, asked", [
    ("127.0.0.1", {"server_name": "example.com"}, "example.com"),
    ("localhost", {}, "localhost"),
    ("127.0.0.1", {}, False),  # RFC 6066 3: an address is no name
], ids=["configured", "of the address", "none"])
def test_server_name_asked_for(world, pairs, certs, host, tls, asked):
    peer = start(world, node, pairs["ecdsa"])
    p = world.proxy(datacenters={"a": ["%s:%d" % (host, peer.port)]}, dc_tls={"ca": str(certs / "ca.pem"), **tls})
    proc.wait_for(lambda: verdict(p) == GOOD, what="an answer")

    def hellos():
        return [json.loads(line) for line in peer.log().splitlines() if line.startswith("{")]
    proc.wait_for(lambda: len(hellos()) >= 2, what="a worker's and a check's connection")
    said = hellos()
    assert all(s["servername"] == asked and s["alpn"] == "h2" and s["version"] == "TLSv1.3" for s in said), said


def test_tls12(world, pairs, certs):
    peer = start(world, node, pairs["rsa"], "TLSv1.2")
    p = world.proxy(datacenters={"a": ["127.0.0.1:%d" % peer.port]}, dc_tls={"ca": str(certs / "ca.pem")})
    assert verdict(p) == GOOD
    assert '"TLSv1.2"' in peer.log()


@pytest.mark.parametrize("more", [[], ["-alpn", "http/1.1"], ["-alpn", "http/1.1,h2c"], ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]],
                         ids=["no ALPN", "http1", "not h2", "TLS 1.1"])
def test_no_common_ground(world, pairs, certs, more):
    def s_server(_, port, cert, key):
        return ["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert", cert, "-key", key, "-quiet", "-naccept", "100", *more]
    port = proc.free_port()
    peer = world.process(s_server(world, port, *pairs["ecdsa"]), "s_server")
    proc.wait_for(lambda: not peer.running() or proc.listening(port), what="start of s_server")
    p = world.proxy(datacenters={"a": ["127.0.0.1:%d" % port]}, checks=False, dc_tls={"ca": str(certs / "ca.pem")})
    assert verdict(p) == BAD


def alert(s):
    s.recv(4096)
    s.sendall(b"\x15\x03\x03\0\x02\x02\x28")  # handshake_failure
    s.recv(1)


def cleartext(s):
    s.sendall(b"\0\0\0\4\0\0\0\0\0")
    while s.recv(4096):
        pass


def hangs_up(s):
    s.recv(4096)


def half_record(s):
    s.recv(4096)
    s.sendall(b"\x16\x03\x03\x40\0" + b"\2\0")


def silence(s):
    while s.recv(4096):
        pass


@pytest.mark.parametrize("behave, expected", [(alert, BAD), (cleartext, BAD), (hangs_up, BAD), (half_record, BAD),
                                              (silence, (504, "connect-timeout"))], ids=lambda v: getattr(v, "__name__", ""))
def test_broken_handshake(world, certs, behave, expected):
    peer = world.script(behave)
    p = world.proxy(datacenters={"a": [peer.where]}, checks=False, dc_tls={"ca": str(certs / "ca.pem")})
    assert verdict(p) == expected
    assert not peer.errors


BROKEN_LATER = {
    "a record nobody sealed": b"\x17\x03\x03\0\x20" + bytes(32), "cleartext": b"HTTP/1.1 500 No\r\n\r\n", "an alert in the clear": b"\x15\x03\x03\0\x02\x02\x28",
    "a record too long": b"\x17\x03\x03\xff\xff" + bytes(100), "another ServerHello": b"\x16\x03\x03\0\x04\x02\0\0\0", "end without close_notify": None,
}


@pytest.mark.parametrize("begun", [False, True], ids=["before the head", "mid-body"])
@pytest.mark.parametrize("what", BROKEN_LATER)
def test_broken_later(world, pairs, certs, what, begun):
    """The handshake held; what follows does not. A body it breaks never looks whole."""
    context = server_tls(*pairs["ecdsa"])
    requests = []

    def behave(s):
        sealed = context.wrap_socket(s, server_side=True)
        below = socket.socket(fileno=os.dup(sealed.fileno()))
        peer = Peer(sealed)
        sid, _ = peer.request()
        requests.append(sid)
        if begun:
            sealed.sendall(headers(sid, OK, end=False) + data(sid, b"x"))
            time.sleep(0.2)
        if BROKEN_LATER[what] is None:
            below.shutdown(socket.SHUT_RDWR)
        else:
            below.sendall(BROKEN_LATER[what])
            below.settimeout(5)
            while below.recv(4096):
                pass
        below.close()

    peer = world.script(behave)
    p = world.proxy(datacenters={"a": [peer.where]}, checks=False, dc_tls={"ca": str(certs / "ca.pem")}, workers=1)
    a = fetch(p.address, get("/t/x", "POST"), b"body")
    if begun:
        assert a.status == 200 and not a.ended and a.reset, a
    else:
        assert a.status == 502 and a.ended and json.loads(a.body)["reason"] in ("upstream-protocol", "upstream-closed"), (a, a.body)
    assert len(requests) == 1, "a POST was sent twice"
    assert not peer.errors, peer.errors


def state(p):
    return p.status()["datacenters"][0]["state"]


@pytest.mark.parametrize("make", [nghttpd, node, bench], ids=lambda f: f.__name__)
def test_checks_speak_tls(world, pairs, certs, make):
    peer = start(world, make, pairs["ecdsa"])
    p = world.proxy(datacenters={"a": ["127.0.0.1:%d" % peer.port]}, dc_tls={"ca": str(certs / "ca.pem")})
    proc.wait_for(lambda: p.metric("firebreak_upstream_connections_total") > 0, what="a connection")
    assert state(p) == "up"
    assert p.fault("upstream-tls") == 0 and p.fault("check-failed") == 0


@pytest.mark.parametrize("make", [nghttpd, bench], ids=lambda f: f.__name__)
def test_checks_do_not_believe_everybody(world, pairs, certs, make):
    """An endpoint under another name is down before anybody is sent there."""
    peer = start(world, make, pairs["other"])
    p = world.proxy(datacenters={"a": ["127.0.0.1:%d" % peer.port]}, dc_tls={"ca": str(certs / "ca.pem")}, wait=False)
    proc.wait_for(lambda: proc.listening(p.admin_port) and state(p) == "down", what="the verdict")
    a = fetch(p.address, get("/t/x"))
    assert a.status == 503 and json.loads(a.body)["reason"] in ("no-datacenter", "upstream-tls"), (a, a.body)


@pytest.mark.parametrize("shown, word", [("ecdsa", None), ("other", "upstream-tls")], ids=["its name", "another name"])
def test_unix_socket_is_localhost(world, pairs, certs, shown, word):
    """A path is no name to verify; who is behind one is this machine."""
    path = os.path.join("/tmp", "fb-tls-%d.sock" % os.getpid())
    peer = world.process(backend(world, "unix:" + path, *pairs[shown]), "backend")
    proc.wait_for(lambda: os.path.exists(path) and peer.running(), what="the socket")
    try:
        p = world.proxy(datacenters={"a": ["unix:" + path]}, checks=False, dc_tls={"ca": str(certs / "ca.pem")})
        a = fetch(p.address, get("/t/x"))  # which the messenger does not know: its own answer is 404
        assert a.status == (502 if word else 404) and a.ended, (a, a.body)
        assert (word or "") in (a.field("proxy-status") or ""), a.heads
    finally:
        os.unlink(path)


def test_one_bad_datacenter_costs_nobody_anything(world, pairs, certs):
    """The certificate of one datacenter is wrong: its requests are answered by the other."""
    bad, good = start(world, nghttpd, pairs["other"]), start(world, node, pairs["ecdsa"])
    p = world.proxy(datacenters={"a": ["127.0.0.1:%d" % bad.port], "b": ["127.0.0.1:%d" % good.port]}, dc_tls={"ca": str(certs / "ca.pem")})
    for _ in range(20):
        assert verdict(p) == GOOD
