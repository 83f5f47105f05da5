# SPDX-License-Identifier: MIT
"""The fault relay of the rehearsal, with plain sockets at both ends, and with clients
and servers nobody here wrote."""
import hashlib
import os
import random
import re
import select
import socket
import struct
import subprocess
import threading
import time

import pytest

from lib import proc

WORD = struct.Struct("=IHHdd")
READY, ALL = 0xffff, 0xffffffff


def fault_numbers():
    """The enum as the header spells it."""
    with open(os.path.join(proc.ROOT, "bench", "run", "scenario.h"), encoding="ascii") as f:
        table = f.read().split("#define SCENARIO_FAULTS(X)")[1].split("enum scenario_fault")[0]
    return {word: n for n, word in enumerate(re.findall(r'X\(\w+, "([\w-]+)"', table))}


FAULT = fault_numbers()


class Relay:
    def __init__(self, world, *places, listen=None):
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.settimeout(10)
        self.ports = [proc.free_port() for _ in places]
        at = listen or ["127.0.0.1:%d" % p for p in self.ports]
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1")
        self.p = subprocess.Popen([proc.binary("firebreak-bench"), "relay", "--control", str(theirs.fileno())] +
                                  ["%s=%s" % pair for pair in zip(at, places)], pass_fds=[theirs.fileno()], env=env, stderr=subprocess.PIPE)
        theirs.close()
        world.keep(self)
        assert WORD.unpack(self.ours.recv(64))[1] == READY

    def say(self, fault, on=True, value=0.0, jitter=0.0, port=ALL):
        """Returns when it is in force."""
        self.ours.send(WORD.pack(port, FAULT[fault], on, value, jitter))
        assert WORD.unpack(self.ours.recv(64))[1] == FAULT[fault]

    def connect(self, n=0):
        c = socket.create_connection(("127.0.0.1", self.ports[n]), timeout=10)
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return c

    def stop(self):
        self.ours.close()
        self.p.wait(10)
        err = self.p.stderr.read().decode()
        self.p.stderr.close()
        assert self.p.returncode in (0, -9), err
        assert "Sanitizer" not in err, err


class Place:
    """What stands behind a relay: echoes, and keeps its connections."""

    def __init__(self, world, echo=True, family=socket.AF_INET, path=None):
        self.s = socket.socket(family)
        self.s.bind(path or ("127.0.0.1", 0))
        self.s.listen(64)
        self.name = "unix:" + path if path else "127.0.0.1:%d" % self.s.getsockname()[1]
        self.echo = echo
        self.got = []
        threading.Thread(target=self._accept, daemon=True).start()
        world.keep(self)

    def _accept(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            self.got.append(c)
            if self.echo:
                threading.Thread(target=self._echo, args=(c,), daemon=True).start()

    @staticmethod
    def _echo(c):
        try:
            while True:
                data = c.recv(65536)
                if not data:
                    break
                c.sendall(data)
            c.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        self.s.close()
        for c in self.got:
            c.close()


def receive(c, n):
    out = b""
    while len(out) < n:
        part = c.recv(n - len(out))
        if not part:
            break
        out += part
    return out


def silent(c, seconds=0.3):
    """Nothing is to be read, not even an end."""
    return not select.select([c], [], [], seconds)[0]


@pytest.fixture
def pair(world):
    place = Place(world)
    return Relay(world, place.name), place


def test_octets_pass_both_ways_and_ends_half_by_half(pair):
    relay, _ = pair
    c = relay.connect()
    data = random.Random(1).randbytes(3 << 20)
    sender = threading.Thread(target=lambda: (c.sendall(data), c.shutdown(socket.SHUT_WR)))
    sender.start()
    got = receive(c, len(data) + 1)  # all of it, then the end
    sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def test_unix_sockets(world, tmp_path):
    folder = str(tmp_path) if len(str(tmp_path)) < 80 else "/tmp"
    behind, front = "%s/b%d" % (folder, os.getpid()), "%s/f%d" % (folder, os.getpid())
    place = Place(world, family=socket.AF_UNIX, path=behind)
    relay = Relay(world, place.name, listen=["unix:" + front])

    def connect():
        c = socket.socket(socket.AF_UNIX)
        c.settimeout(10)
        c.connect(front)
        return c
    c = connect()
    c.sendall(b"hello")
    assert receive(c, 5) == b"hello"
    relay.say("refuse")
    with pytest.raises(OSError):
        connect()
    assert c.recv(1) == b""
    relay.say("refuse", False)
    c = connect()
    c.sendall(b"again")
    assert receive(c, 5) == b"again"
    os.unlink(behind)
    os.unlink(front)


def test_blackhole_passes_nothing_and_closes_nothing(pair):
    relay, place = pair
    c = relay.connect()
    c.sendall(b"before")
    assert receive(c, 6) == b"before"
    relay.say("blackhole")
    c.sendall(b"during")
    place.got[0].sendall(b"unasked")
    late = relay.connect()  # the kernel answers; nobody else does
    late.sendall(b"late")
    assert silent(c) and silent(late, 0.1)
    place.got[0].shutdown(socket.SHUT_WR)  # nor does an end pass
    assert silent(c, 0.1)
    assert len(place.got) == 1, "a new connection came through"
    relay.say("blackhole", False)
    assert receive(c, 7) == b"unasked"
    assert receive(late, 4) == b"late"


def test_a_peer_that_went_away_in_a_blackhole_costs_nothing(pair):
    """Its socket is readable and hung up all the time: the relay must not spin on it."""
    relay, place = pair
    c = relay.connect()
    c.sendall(b"x")
    receive(c, 1)
    relay.say("blackhole")
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()
    before = proc.cpu(relay.p.pid)
    assert silent(place.got[0], 1.0)
    assert proc.cpu(relay.p.pid) - before < 0.3
    relay.say("blackhole", False)
    proc.wait_for(lambda: not silent(place.got[0], 0), what="the reset to pass")


def test_refuse_is_the_kernels_and_the_port_stays_ours(pair):
    relay, _ = pair
    c = relay.connect()
    c.sendall(b"x")
    assert receive(c, 1) == b"x"
    relay.say("refuse")
    with pytest.raises(ConnectionResetError):
        receive(c, 1)
    with pytest.raises(ConnectionRefusedError):
        relay.connect()
    with socket.socket() as other, pytest.raises(OSError):
        other.bind(("127.0.0.1", relay.ports[0]))
    relay.say("refuse", False)
    c = relay.connect()
    c.sendall(b"y")
    assert receive(c, 1) == b"y"


def test_cut_resets_the_open_ones_once(pair):
    relay, place = pair
    c = relay.connect()
    c.sendall(b"x")
    receive(c, 1)
    relay.say("cut")
    with pytest.raises(ConnectionResetError):
        receive(c, 1)
    proc.wait_for(lambda: not silent(place.got[0], 0), what="the reset at the other end")
    c = relay.connect()
    c.sendall(b"y")
    assert receive(c, 1) == b"y"


def test_a_dead_place_is_a_reset(world):
    relay = Relay(world, "127.0.0.1:%d" % proc.free_port())
    with pytest.raises(ConnectionResetError):
        receive(relay.connect(), 1)


def test_delay_is_each_way_and_keeps_the_order(pair):
    relay, _ = pair
    c = relay.connect()
    c.sendall(b"x")
    receive(c, 1)
    relay.say("delay", value=100e6, jitter=50e6)
    began = time.monotonic()
    c.sendall(b"x")
    receive(c, 1)
    took = time.monotonic() - began
    assert took >= 0.1, "less than twice the least delay"
    sent = b""
    for i in range(200):
        part = b"%6d" % i
        c.sendall(part)
        sent += part
        time.sleep(0.001)  # so that they are read one by one
    assert receive(c, len(sent)) == sent
    relay.say("delay", False)
    times = []
    for _ in range(20):
        began = time.monotonic()
        c.sendall(b"x")
        receive(c, 1)
        times.append(time.monotonic() - began)
    assert min(times) < 0.1, "the delay has not gone"


def test_bandwidth_is_of_the_port_each_way(world):
    place = Place(world, echo=False)
    relay = Relay(world, place.name)
    a, b = relay.connect(), relay.connect()
    proc.wait_for(lambda: len(place.got) == 2, what="both connections")
    rate = 1000000
    relay.say("bandwidth", value=rate)
    for c in (a, b):
        threading.Thread(target=lambda c=c: c.sendall(b"u" * (1 << 20)), daemon=True).start()
    for c in place.got:
        threading.Thread(target=lambda c=c: c.sendall(b"d" * 500000), daemon=True).start()
    began, up, down = time.monotonic(), [0, 0], [0, 0]
    while sum(up) < rate:
        for c in select.select(place.got + [a, b], [], [], 10)[0]:
            n = len(c.recv(65536))
            if c in place.got:
                up[place.got.index(c)] += n
            else:
                down[c is b] += n
    took = time.monotonic() - began
    assert took >= 0.9, "faster than the link"  # a busy machine may be slower
    assert min(up) > 0.2 * max(up), "one connection had the link for itself: %s" % up
    assert sum(down) <= rate * (took + 0.1), "the other direction was faster than the link"
    assert sum(down) > 0


def test_a_slow_reader_stops_the_sender(world):
    """Back-pressure: what the relay holds is bounded, however much is sent."""
    place = Place(world, echo=False)
    relay = Relay(world, place.name)
    c = relay.connect()
    proc.wait_for(lambda: place.got, what="the connection")
    c.setblocking(False)
    sent, idle = 0, time.monotonic()
    while sent < (256 << 20) and time.monotonic() - idle < 1:
        try:
            sent += c.send(b"s" * 65536)
            idle = time.monotonic()
        except BlockingIOError:
            select.select([], [c], [], 0.2)
    assert sent < (64 << 20), "nobody reads, and the sender goes on"
    got = receive(place.got[0], sent)
    assert len(got) == sent
    assert proc.rss(relay.p.pid) < (256 << 20)


def test_thousands_of_connections_and_none_left(pair):
    relay, place = pair
    before = proc.descriptors(relay.p.pid)
    for _ in range(10):
        some = [relay.connect() for _ in range(100)]
        for c in some:
            c.sendall(b"x")
        for c in some:
            assert receive(c, 1) == b"x"
        for c in some:
            c.close()
    proc.wait_for(lambda: proc.descriptors(relay.p.pid) == before, what="descriptors given back")


def test_ends_with_its_conductor(pair):
    relay, _ = pair
    relay.ours.close()
    assert relay.p.wait(10) == 0


def test_wrong_usage(tmp_path):
    for argv in ([], ["--control", "x", "127.0.0.1:1=127.0.0.1:2"], ["--control", "0", "nonsense"], ["--control", "0", "127.0.0.1:1"]):
        r = subprocess.run([proc.binary("firebreak-bench"), "relay"] + argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=10)
        assert r.returncode == 64, argv


def test_http2_through_it(world, tmp_path):
    """nghttpd behind, curl in front: a megabyte comes whole, also over a slow wire."""
    (tmp_path / "file").write_bytes(random.Random(2).randbytes(1 << 20))
    port = proc.free_port()
    world.process(["nghttpd", "--no-tls", "-d", tmp_path, port], "nghttpd")
    proc.wait_for(lambda: proc.listening(port), what="start of nghttpd")
    relay = Relay(world, "127.0.0.1:%d" % port)

    def fetch():
        r = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "--max-time", "20", "http://127.0.0.1:%d/file" % relay.ports[0]],
                           capture_output=True, timeout=30)
        return r.stdout
    assert fetch() == (tmp_path / "file").read_bytes()
    relay.say("delay", value=5e6, jitter=5e6)
    relay.say("bandwidth", value=4e6)
    assert fetch() == (tmp_path / "file").read_bytes()


@pytest.mark.plain
@pytest.mark.slow
def test_fast_when_nothing_is_wrong(world):
    place = Place(world, echo=False)
    relay = Relay(world, place.name)
    c = relay.connect()
    proc.wait_for(lambda: place.got, what="the connection")
    total = 256 << 20
    part = memoryview(bytearray(1 << 20))

    def send():
        for _ in range(total >> 20):
            c.sendall(part)
    threading.Thread(target=send, daemon=True).start()
    began, got = time.monotonic(), 0
    into = bytearray(1 << 20)
    while got < total:
        n = place.got[0].recv_into(into)
        assert n
        got += n
    rate = total / (time.monotonic() - began) / 1e6
    print("%.0f MB/s" % rate)
    assert rate > 50, "%.0f MB/s" % rate
