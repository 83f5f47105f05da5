# SPDX-License-Identifier: MIT
"""Redis in trouble, and Redis as an adversary: whatever it says, forwarded requests do
not notice, and what it holds is given to nobody but its owner."""
import socket
import struct
import subprocess
import threading
import time

import pytest

from lib import proc
from lib.frames import fetch
from lib.load import Load, bad, quantile
from test_datacenters import as_user, both_dead, fetch_quiet, stale_scene


def cli(redis, *args, expect=None):
    r = subprocess.run(["redis-cli", "-p", str(redis.port), *args], capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL)
    out = r.stdout.strip()
    assert expect is None or out == expect, (args, out, r.stderr)
    return out


def said(proxy, word):
    """An operator can read in the log what is wrong."""
    return any(e.get("event") in ("redis.error", "redis.refused") and word in e.get("why", "") for e in proxy.events())


def reads(m, n=64):
    return Load(m.address, [("rooms", as_user(i % 8, "/v1/rooms"), None) for i in range(n)], rate=100, connections=4)


def unnoticed(load, seconds=0.0):
    time.sleep(seconds) # so much load is what is measured
    samples = load.stop()
    assert samples and not bad(samples), bad(samples)[:3]
    assert quantile(samples, 0.99) < 1


def write(m, u):
    """Something new in a room: what is kept of it has to be written again."""
    a = fetch(m.address, as_user(u, "/v1/rooms/r%d/messages" % u, "POST", ("idempotency-key", "w%d-%d" % (u, time.monotonic_ns())),
                                 ("content-type", "application/json")), b'{"text": "more"}')
    assert a.status in (200, 201), a
    assert fetch(m.address, as_user(u, "/v1/rooms/r%d/messages" % u)).status == 200


# -- states a real one can be in --

TROUBLE = {
    "oom": ("OOM", [("CONFIG", "SET", "maxmemory", "1")], [("CONFIG", "SET", "maxmemory", "0")]),
    "readonly": ("READONLY", [("REPLICAOF", "127.0.0.1", "1")], [("REPLICAOF", "NO", "ONE")]),
    "noreplicas": ("NOREPLICAS", [("CONFIG", "SET", "min-replicas-to-write", "1")], [("CONFIG", "SET", "min-replicas-to-write", "0")]),
    "noperm": ("NOPERM", [("ACL", "SETUSER", "default", "-set", "-get")], [("ACL", "SETUSER", "default", "+@all")]),
    "noauth": ("NOAUTH", [("CONFIG", "SET", "requirepass", "x"), ("-a", "x", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal")],
               [("-a", "x", "--no-auth-warning", "CONFIG", "SET", "requirepass", "")]),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_a_redis_in_trouble(world, name):
    word, begin, end = TROUBLE[name]
    redis = world.redis()
    m = stale_scene(world, redis.port)
    load = reads(m)
    for command in begin:
        cli(redis, *command)

    def told():
        for u in range(8):
            write(m, u)
        fetch_quiet(m.address, as_user(1, "/v1/rooms"))
        return m.proxy.fault("redis-error") > 0 and said(m.proxy, word)
    proc.wait_for(told, 10, what=word)
    unnoticed(load, 1)
    for command in end:
        cli(redis, *command)
    cli(redis, "FLUSHALL", expect="OK")

    def kept():
        for u in range(8):
            write(m, u)
        return int(cli(redis, "DBSIZE")) >= 8
    proc.wait_for(kept, 15, what="state in Redis again")


def test_a_redis_that_is_busy(world):
    """A script that does not end: first silence, then BUSY to every command."""
    redis = world.redis()
    cli(redis, "CONFIG", "SET", "busy-reply-threshold", "50", expect="OK")
    m = stale_scene(world, redis.port)
    load = reads(m)
    script = subprocess.Popen(["redis-cli", "-p", str(redis.port), "EVAL", "while true do end", "0"], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    proc.wait_for(lambda: said(m.proxy, "BUSY") or m.proxy.fault("redis-timeout") > 0, 10, what="a fault")
    unnoticed(load, 1)
    cli(redis, "SCRIPT", "KILL", expect="OK")
    script.wait(10)
    proc.wait_for(lambda: m.proxy.metric("firebreak_redis_up") == 2, 15, what="Redis is back on both workers")


def test_a_redis_restarted_empty(world):
    """Nothing is in it any more: a miss with a reason, and nobody else's state."""
    redis = world.redis()
    m = stale_scene(world, redis.port)
    proc.wait_for(lambda: int(cli(redis, "DBSIZE")) >= 16, 5, what="the state in Redis")
    both_dead(m)
    cli(redis, "FLUSHALL", expect="OK")
    old = m.proxy.workers()
    for pid in old:
        m.proxy.expected_deaths += 1
        subprocess.run(["kill", "-9", str(pid)], check=True)
    proc.wait_for(lambda: len(m.proxy.workers()) == 2 and not set(old) & set(m.proxy.workers()) and m.proxy.metric("firebreak_redis_up") == 2, 10,
                  what="new workers that know nothing")
    for u in range(8):
        a = fetch(m.address, as_user(u, "/v1/rooms"))
        assert a.status == 503 and 'details="no-recent-state"' in a.field("proxy-status"), (a, a.heads)


# -- somebody writes into it --

def values(redis):
    keys = cli(redis, "--raw", "KEYS", "fb:1:s:*").split()
    return {k: raw(redis, b"GET", k.encode()) for k in keys}


def raw(redis, *args):
    """One command; the bytes of a bulk answer (redis-cli is for text)."""
    with socket.create_connection(("127.0.0.1", redis.port), 5) as s:
        s.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        f = s.makefile("rb")
        head = f.readline()
        assert head[:1] in b"+$:", head
        return f.read(int(head[1:])) if head[:1] == b"$" else head


def evil(values_):
    """(what, {key: value}) one after the other."""
    keys = sorted(values_)
    yield "values go round", {k: values_[keys[(i + 1) % len(keys)]] for i, k in enumerate(keys)}
    yield "cut short", {k: v[:len(v) // 2] for k, v in values_.items()}
    yield "empty", {k: b"" for k in keys}
    yield "another version", {k: b"FBS2" + v[4:] for k, v in values_.items()}
    yield "a bit flipped in the body", {k: v[:-3] + bytes([v[-3] ^ 1]) + v[-2:] for k, v in values_.items()}
    yield "a bit flipped in the key", {k: v[:40] + bytes([v[40] ^ 1]) + v[41:] for k, v in values_.items()}
    yield "huge lengths", {k: v[:12] + struct.pack("<III", 0xfffffff0, 0xffffffff, 0xffffffff) + v[24:] for k, v in values_.items()}
    yield "a megabyte of zeros", {k: v[:112] + b"\0" * 1000000 for k, v in values_.items()}
    yield "4 MiB of noise", {k: bytes(range(256)) * 16384 for k in keys[:4]}


def test_evil_values(world):
    """Every user asks after every change: their own state or a refusal, never another's, never a crash."""
    redis = world.redis()
    m = stale_scene(world, redis.port)
    proc.wait_for(lambda: int(cli(redis, "DBSIZE")) >= 16, 5, what="the state in Redis")
    good = values(redis)
    assert len(set(good.values())) == len(good) >= 16
    both_dead(m)
    # Memory would hide what Redis says: new workers have none.
    for pid in m.proxy.workers():
        m.proxy.expected_deaths += 1
        subprocess.run(["kill", "-9", str(pid)], check=True)
    proc.wait_for(lambda: fetch_quiet(m.address, as_user(1, "/v1/rooms")) in (200, 503) and m.proxy.metric("firebreak_redis_up") == 2, 10, what="new workers")
    before = 0
    for what, bad_values in evil(good):
        for k, v in bad_values.items():
            assert raw(redis, b"SET", k.encode(), v) == b"+OK\r\n"
        for u in range(8):
            for path in ("/v1/rooms", "/v1/rooms/r%d/messages" % u):
                a = fetch(m.address, as_user(u, path))
                assert a.status in (200, 503), (what, a)
                for other in range(8):
                    assert other == u or (b"secret of u%d" % other not in a.body and b'"r%d"' % other not in a.body), (what, u, a.body)
        junk = m.proxy.metric("firebreak_cache_junk_total")
        assert junk > before, what
        before = junk
    # and what is good is good again
    for k, v in good.items():
        raw(redis, b"SET", k.encode(), v)
    for u in range(8):
        a = fetch(m.address, as_user(u, "/v1/rooms/r%d/messages" % u))
        assert a.status == 200 and b"secret of u%d" % u in a.body


# -- something that is no Redis --

class Fake:
    """Greets like Redis; then `behave(connection, bytes)` answers everything else."""

    def __init__(self, behave, greet=True):
        self.behave, self.greet, self.stopping, self.seen = behave, greet, False, 0
        self.listener = socket.create_server(("127.0.0.1", proc.free_port()))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            self.seen += 1
            threading.Thread(target=self._serve, args=(c,), daemon=True).start()

    def _serve(self, c):
        with c:
            try:
                c.settimeout(20)
                text = c.recv(65536)
                if self.greet:
                    while b"PING\r\n" not in text:
                        text += c.recv(65536)
                    c.sendall(b"+OK\r\n+PONG\r\n")
                    text = c.recv(65536)
                while text and not self.stopping:
                    if self.behave(c, text) is False:
                        return
                    text = c.recv(65536)
            except OSError:
                pass

    def close(self):
        self.stopping = True
        self.listener.close()


def slowly(c, _):
    for byte in b"$1000000\r\n" + b"x" * 200:
        c.sendall(bytes([byte]))
        time.sleep(0.01) # slow is what it is


def flood(c, _):
    c.sendall(b"$536870000\r\n")
    for _ in range(512):
        c.sendall(b"x" * 65536)


ADVERSARIES = {
    "garbage": lambda c, _: c.sendall(b"\x00\xff HTTP/1.1 400 Bad Request\r\n\r\n"),
    "silence": lambda c, _: None,
    "slow-bytes": slowly,
    "endless-bulk": flood,
    "bulk-of-negative-length": lambda c, _: c.sendall(b"$-9999999999\r\n"),
    "array-bomb": lambda c, _: c.sendall(b"*2147483647\r\n" * 3),
    "nested-arrays": lambda c, _: c.sendall(b"*1\r\n" * 10000),
    "more-answers-than-questions": lambda c, _: c.sendall(b"$-1\r\n" * 5000),
    "resp3": lambda c, _: c.sendall(b"%1\r\n+a\r\n_\r\n" * 10),
    "moved": lambda c, text: c.sendall(b"-MOVED 1 127.0.0.1:1\r\n" * max(1, text.count(b"*"))),
    "wrong-types": lambda c, text: c.sendall(b":1\r\n" * max(1, text.count(b"\r\n$3\r\n"))),
    "closes-at-once": lambda c, _: False,
    "closes-in-mid-answer": lambda c, _: (c.sendall(b"$100\r\nabc"), False)[1],
}


@pytest.mark.parametrize("name", list(ADVERSARIES) + ["not-greeting", "garbage-greeting"])
def test_an_adversary_instead_of_redis(world, name):
    fake = world.keep(Fake(ADVERSARIES[name]) if name in ADVERSARIES else
                      Fake((lambda c, _: None) if name == "not-greeting" else (lambda c, _: c.sendall(b"SSH-2.0-x\r\n")), greet=False))
    m = stale_scene(world, fake.port)
    load = reads(m)
    memory = m.proxy.memory()
    unnoticed(load, 1.5)
    assert m.proxy.memory() < memory + (64 << 20)
    # the breaker: one adversary is not asked again and again (two workers, 100 ms doubling to 5 s)
    assert fake.seen < 60, "%d connections" % fake.seen
    both_dead(m)
    began = time.monotonic()
    for u in range(8):
        a = fetch(m.address, as_user(u, "/v1/rooms"))
        assert a.status in (200, 503), a
        assert b"r%d" % ((u + 1) % 8) not in a.body
    assert time.monotonic() - began < 8


