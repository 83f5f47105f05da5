# SPDX-License-Identifier: MIT
"""Idle connections and what they cost: each does one request first, then stays."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "tests", "e2e"))

from lib.frames import PREFACE, SETTINGS, get, headers, insecure, raw, settings  # noqa: E402  pylint: disable=wrong-import-position


def open_idle(address, count, tls, path="/hello", ends=b"hello"):
    """That many connections that each had one answer, with these octets in it."""
    hello = PREFACE + settings() + headers(1, get(path, authority="localhost", scheme="https" if tls else "http"))
    context = insecure() if tls else None
    held, answered = [], 0
    for i in range(count):
        s = socket.create_connection(address)
        if tls:
            s = context.wrap_socket(s, server_hostname="localhost")
        s.sendall(hello)
        held.append(s)
        if len(held) % 64 == 0 or i == count - 1:
            for s in held[answered:]:
                got = b""
                s.settimeout(10)
                while ends not in got:
                    try:
                        more = s.recv(65536)
                    except TimeoutError:
                        raise SystemExit(f"connection {i} has no answer, only {got!r}") from None
                    if not more:
                        raise SystemExit(f"connection {i} was closed")
                    got += more
                s.sendall(raw(SETTINGS, 1, 0, b""))  # acknowledged: else the peer ends us after a while
            answered = len(held)
    return held


def settle(measure):
    """What measure() gives once it stops changing (idle buffers are given back after a while)."""
    last = -1
    for _ in range(20):
        time.sleep(1)
        now = measure()
        if now == last:
            break
        last = now
    return now


def cost(measure, address, count, tls, **ask):
    """Octets of each of so many idle connections, which have left by now, and measure() before they came."""
    open_idle(address, max(1, count // 50), tls, **ask)  # warm: pools, tables, upstream connections
    before = settle(measure)
    held = open_idle(address, count, tls, **ask)
    after = settle(measure)
    for s in held:
        s.close()
    return (after - before) / count, before
