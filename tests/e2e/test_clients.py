# SPDX-License-Identifier: MIT
"""Clients nobody here wrote: curl, nghttp, h2load, Node, python3-h2, gRPC."""
import json
import os
import re
import socket
import ssl
import subprocess
import threading

import grpc
import h2.config
import h2.connection
import h2.events
import pytest

from lib import config, proc

HERE = os.path.dirname(__file__)


def run(*args, timeout=60, data=None, ok=True):
    r = subprocess.run([str(a) for a in args], capture_output=True, timeout=timeout, input=data)
    assert not ok or r.returncode == 0, (args, r.returncode, r.stdout[-2000:], r.stderr[-2000:])
    return r


@pytest.fixture(params=["h2c", "tls"])
def origin(request, scene):
    """(url prefix, curl arguments)"""
    if request.param == "h2c":
        return "http://localhost:%d" % scene.port, ["--http2-prior-knowledge", "-4"]
    return "https://localhost:%d" % scene.tls_port, ["--http2", "-4", "--cacert", str(scene.world.certs / "ca.pem")]


# -- curl --

def curl(origin, path, *args, data=None, ok=True):
    return run("curl", "-sS", "--max-time", 30, *origin[1], *args, origin[0] + path, data=data, ok=ok)


def test_curl_get(origin):
    r = curl(origin, "/t/x", "-i")
    assert r.stdout.startswith(b"HTTP/2 200") and b"hello from" in r.stdout


def test_curl_post_big(origin, tmp_path):
    body = os.urandom(1 << 16) * 64
    (tmp_path / "in").write_bytes(body)
    curl(origin, "/t/echo", "--data-binary", "@%s" % (tmp_path / "in"), "-o", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == body


def test_curl_put_from_a_pipe(origin):
    """No content-length: the body ends when it ends."""
    r = curl(origin, "/t/echo", "-T", "-", data=b"x" * 300000)
    assert r.stdout == b"x" * 300000


def test_curl_head(origin):
    r = curl(origin, "/t/bytes/777", "-I")
    assert b"content-length: 777" in r.stdout


def test_curl_expect_continue(origin):
    r = curl(origin, "/t/continue", "-H", "Expect: 100-continue", "-d", "body", "-v")
    assert b"100" in r.stderr


def test_curl_many_in_parallel(origin):
    if origin[0].startswith("http:"):
        pytest.skip("curl 7.88 fails at this with any server: it sends a preface per transfer")
    r = run("curl", "-sS", "-Z", "--parallel-max", 20, "--max-time", 30, *origin[1], "-w", "%{http_code}\\n", "-o", "/dev/null",
            origin[0] + "/t/bytes/1000?n=[1-100]")
    assert r.stdout.split() == [b"200"] * 100


def test_curl_alpn_is_h2(scene):
    r = run("curl", "-sS", "--http2", "-v", "--cacert", scene.world.certs / "ca.pem", "https://localhost:%d/t/x" % scene.tls_port)
    assert re.search(rb"ALPN.*h2", r.stderr)


def test_curl_http1_over_tls_fails_at_alpn(scene):
    r = run("curl", "-sS", "--http1.1", "--cacert", scene.world.certs / "ca.pem", "https://localhost:%d/t/x" % scene.tls_port, ok=False)
    assert r.returncode == 35 and b"no application protocol" in r.stderr, r.stderr


def test_curl_http1_in_cleartext_gets_505(scene):
    r = run("curl", "-sS", "--http1.1", "-i", "http://127.0.0.1:%d/t/x" % scene.port, ok=False)
    assert r.stdout.startswith(b"HTTP/1.1 505"), r.stdout


# -- TLS --

@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_tls_versions_and_certificates(scene, version, kind):
    context = ssl.create_default_context(cafile=str(scene.world.certs / "ca.pem"))
    context.set_alpn_protocols(["h2"])
    v = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context.minimum_version = context.maximum_version = v
    args = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % scene.tls_port, "-servername", "localhost", "-alpn", "h2", "-CAfile",
            str(scene.world.certs / "ca.pem"), "-verify_return_error", "-tls" + version.replace(".", "_"), "-sigalgs",
            {"ecdsa": "ECDSA+SHA256", "rsa": "RSA-PSS+SHA256:RSA+SHA256"}[kind]]
    r = run(*args, data=b"", ok=False)
    assert b"Verify return code: 0 (ok)" in r.stdout, r.stdout[-1500:] + r.stderr
    assert re.search(rb"Peer signature type: %s" % {"ecdsa": b"ECDSA", "rsa": b"RSA"}[kind], r.stdout)
    assert b"ALPN protocol: h2" in r.stdout


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_tls_old_versions_are_refused(scene, version):
    r = run("openssl", "s_client", "-connect", "127.0.0.1:%d" % scene.tls_port, "-" + version, "-cipher", "DEFAULT:@SECLEVEL=0", data=b"", ok=False)
    assert b"BEGIN CERTIFICATE" not in r.stdout


def test_tls_without_alpn_is_refused_or_answered_clearly(scene):
    context = ssl.create_default_context(cafile=str(scene.world.certs / "ca.pem"))
    with socket.create_connection(("127.0.0.1", scene.tls_port), timeout=5) as s:
        try:
            with context.wrap_socket(s, server_hostname="localhost") as t:
                t.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert t.recv(4096).startswith(b"HTTP/1.1 505")
        except (ssl.SSLError, ConnectionResetError):
            pass


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_session_resumes_on_any_worker(scene, version, tmp_path):
    """The ticket key is shared: a ticket of one worker resumes on the others."""
    ticket = tmp_path / "ticket"
    base = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % scene.tls_port, "-servername", "localhost", "-alpn", "h2",
            "-tls" + version.replace(".", "_")]
    p = subprocess.Popen(base + ["-sess_out", str(ticket)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        proc.wait_for(lambda: ticket.exists() and ticket.stat().st_size, 10, what="a ticket")
    finally:
        p.kill()
        p.communicate()
    assert ticket.exists(), "no ticket came"
    reused = 0
    for _ in range(8):
        r = run(*base, "-sess_in", ticket, data=b"", ok=False)
        reused += b"Reused, TLSv" in r.stdout
    assert reused == 8, "%d of 8 resumed" % reused


def test_tls_foreign_authority_is_misdirected(scene):
    r = run("curl", "-sSk", "--http2", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: elsewhere.invalid",
            "https://localhost:%d/t/x" % scene.tls_port)
    assert r.stdout == b"421"


# -- nghttp, h2load --

def test_nghttp(origin):
    r = run("nghttp", "-nv", "--no-verify-peer" if origin[0].startswith("https") else "-v", origin[0].replace("localhost", "127.0.0.1") + "/t/bytes/100000")
    assert b":status: 200" in r.stdout and b"END_STREAM" in r.stdout


def test_nghttp_continuation_and_trailers(origin):
    """--continuation sends a large header block in two frames; --trailer adds a trailer field."""
    r = run("nghttp", "-v", "-y", "--continuation", "--trailer=x-sum: 7", "-H:method: POST", "-d", __file__,
            origin[0].replace("localhost", "127.0.0.1") + "/t/echo")
    assert b"x-trailer-back" in r.stdout, r.stdout[-1500:]


@pytest.mark.parametrize("size,status", [(1 << 22, b"503"), (1 << 30, b"413")])
def test_nghttp_sees_the_refusal_of_an_upload(origin, tmp_path, size, status):
    """The status, then RST_STREAM(NO_ERROR), while the body is being sent; most of it never is.
    (curl 7.88 fails at this with any server: it takes the reset for an error.)"""
    with open(tmp_path / "big", "wb") as f:
        f.truncate(size)
    r = run("nghttp", "-v", "-d", tmp_path / "big", origin[0] + "/off/x", ok=False)
    assert re.search(rb":status: " + status, r.stdout), r.stdout[-2000:]
    assert re.search(rb"recv RST_STREAM frame.*\n.*NO_ERROR", r.stdout), r.stdout[-2000:]
    assert len(re.findall(rb"send DATA frame", r.stdout)) < 100


def test_nghttp_padding(origin):
    r = run("nghttp", "-v", "-y", "-b", "200", "-d", __file__, origin[0].replace("localhost", "127.0.0.1") + "/t/echo")
    assert b":status: 200" in r.stdout


@pytest.mark.parametrize("path", ["/t/x", "/t/bytes/65536"])
def test_h2load(origin, path):
    r = run("h2load", "-n", 2000, "-c", 10, "-m", 10, origin[0].replace("localhost", "127.0.0.1") + path, timeout=90)
    assert re.search(rb"2000 succeeded, 0 failed, 0 errored", r.stdout), r.stdout[-900:]


def test_h2load_post(origin):
    r = run("h2load", "-n", 1000, "-c", 10, "-m", 10, "-d", os.path.join(HERE, "conftest.py"), origin[0].replace("localhost", "127.0.0.1") + "/t/echo",
            timeout=90)
    assert re.search(rb"1000 succeeded, 0 failed, 0 errored", r.stdout), r.stdout[-900:]


# -- Node --

def test_node(origin, scene):
    r = run("node", os.path.join(HERE, "node", "client.mjs"), origin[0].replace("localhost", "127.0.0.1"),  # localhost may be ::1 first
            *([str(scene.world.certs / "ca.pem")] if origin[0].startswith("https") else []))
    got = json.loads(r.stdout)
    assert got["get"][0] == 200
    assert got["cookie"] == "a=1; b=2"
    assert got["echo"] is True
    assert got["trailers"] == "42"
    assert got["sent_trailers"] is True
    assert got["interim"] == [103]
    assert got["head"] == [200, "1000", 0]
    assert got["many"] is True
    assert got["connect_setting"] is True and got["connect"] == "onetwo"
    assert got["after_cancel"] == 200


# -- python3-h2 --

def test_python_h2(scene):
    """A strict client library sees nothing it would call an error."""
    s = socket.create_connection(scene.address, timeout=5)
    c = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    c.initiate_connection()
    for i in range(20):
        c.send_headers(2 * i + 1, [(":method", "GET"), (":scheme", "http"), (":authority", "example.com"), (":path", "/t/trailers")], end_stream=True)
    s.sendall(c.data_to_send())
    ended, trailers = set(), 0
    while len(ended) < 20:
        got = s.recv(65536)
        assert got, "closed early"
        for e in c.receive_data(got):
            if isinstance(e, h2.events.StreamEnded):
                ended.add(e.stream_id)
            elif isinstance(e, h2.events.TrailersReceived):
                trailers += 1
            elif isinstance(e, h2.events.DataReceived):
                c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
            assert not isinstance(e, (h2.events.StreamReset, h2.events.ConnectionTerminated))
        s.sendall(c.data_to_send())
    assert trailers == 20
    s.close()


# -- gRPC --

@pytest.fixture(scope="module")
def grpc_scene(tmp_path_factory, certs):
    """A real gRPC server behind the proxy, all four kinds of call, bytes as messages."""
    import concurrent.futures
    from conftest import World

    def unary(request, context):
        context.set_trailing_metadata((("x-sum", "7"),))
        if request == b"fail":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
        if request == b"meta":
            return json.dumps([(k, v) for k, v in context.invocation_metadata() if isinstance(v, str)]).encode()
        return b"re:" + request

    def down(request, context):
        for i in range(int(request)):
            yield b"%d" % i

    def up(requests, context):
        return b"%d" % sum(len(r) for r in requests)

    def both(requests, context):
        for r in requests:
            yield b"re:" + r

    handlers = grpc.method_handlers_generic_handler("test.Chat", {
        "Unary": grpc.unary_unary_rpc_method_handler(unary), "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up), "Both": grpc.stream_stream_rpc_method_handler(both)})
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    w = World(tmp_path_factory.mktemp("grpc"), certs)
    try:
        p = w.proxy(datacenters={"a": ["127.0.0.1:%d" % port]}, checks=False, retry=config.PATIENT)
        yield p, server
    finally:
        server.stop(0).wait()
        w.end()


@pytest.fixture(params=["h2c", "tls"])
def channel(request, grpc_scene, certs):
    p, _ = grpc_scene
    if request.param == "h2c":
        c = grpc.insecure_channel("127.0.0.1:%d" % p.port)
    else:
        c = grpc.secure_channel("localhost:%d" % p.cfg.tls_port, grpc.ssl_channel_credentials((certs / "ca.pem").read_bytes()))
    yield c
    c.close()


def test_grpc_unary(channel):
    call = channel.unary_unary("/test.Chat/Unary")
    answer, info = call.with_call(b"hello", timeout=10)
    assert answer == b"re:hello"
    assert ("x-sum", "7") in [(k, v) for k, v in info.trailing_metadata()]


def test_grpc_error_passes(channel):
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary("/test.Chat/Unary")(b"fail", timeout=10)
    assert e.value.code() == grpc.StatusCode.FAILED_PRECONDITION and e.value.details() == "as asked"


def test_grpc_metadata_passes(channel):
    got = json.loads(channel.unary_unary("/test.Chat/Unary")(b"meta", timeout=10, metadata=(("x-mine", "1"),)))
    assert ["x-mine", "1"] in got


def test_grpc_server_stream(channel):
    assert list(channel.unary_stream("/test.Chat/Down")(b"500", timeout=20)) == [b"%d" % i for i in range(500)]


def test_grpc_client_stream(channel):
    assert channel.stream_unary("/test.Chat/Up")(iter([b"x" * 10000] * 300), timeout=20) == b"3000000"


def test_grpc_bidirectional_ping_pong(channel):
    """Each message is sent only after the answer to the one before."""
    ready = threading.Semaphore(1)

    def asks():
        for i in range(50):
            ready.acquire()
            yield b"%d" % i
    for n, answer in enumerate(channel.stream_stream("/test.Chat/Both")(asks(), timeout=20)):
        assert answer == b"re:%d" % n
        ready.release()
    assert n == 49


def test_grpc_cancel(channel):
    call = channel.stream_stream("/test.Chat/Both")(iter(threading.Event().wait, None), timeout=20)
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED
    assert channel.unary_unary("/test.Chat/Unary")(b"x", timeout=10) == b"re:x"


def test_grpc_large_message(channel):
    assert len(channel.unary_unary("/test.Chat/Unary")(b"x" * 3000000, timeout=20)) == 3000003


def test_grpc_refusal_is_trailers_only_14(grpc_scene, channel):
    """A refused feature speaks gRPC: UNAVAILABLE, with push-back."""
    with pytest.raises(grpc.RpcError) as e:
        channel.unary_unary("/test.Off/Unary")(b"x", timeout=10)
    assert e.value.code() == grpc.StatusCode.UNAVAILABLE
    meta = dict(e.value.trailing_metadata() or ()) | dict(e.value.initial_metadata() or ())
    assert int(meta["grpc-retry-pushback-ms"]) > 0
