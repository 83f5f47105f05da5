# SPDX-License-Identifier: MIT
"""A name server under a test's control, on loopback (RFC 1035: UDP, A and AAAA only)."""
import collections
import socket
import struct
import threading

from .proc import wait_for

MANNERS = ("good", "silent", "servfail", "nxdomain", "garbage", "lies", "late")


class Dns:
    """`names`: name -> list of IPv4 addresses; `manner`: how it answers; `asked`: how often for each name."""

    def __init__(self, names, ttl=1):
        self.names = dict(names)
        self.ttl = ttl
        self.manner = "good"
        self.late = 3.0
        self.asked = collections.Counter()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.where = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.stopping = False
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                query, peer = self.sock.recvfrom(512)
            except OSError:
                return
            if self.stopping:
                return
            answer = self._answer(query)
            if self.manner == "late":
                threading.Timer(self.late, self._send, (answer, peer)).start()
            elif answer:
                self._send(answer, peer)

    def _send(self, answer, peer):
        try:
            self.sock.sendto(answer, peer)
        except OSError:
            pass

    def _answer(self, query):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += query[at] + 1
        question = query[12:at + 5]
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        name = ".".join(labels).lower()
        self.asked[name] += 1
        if self.manner == "silent":
            return None
        if self.manner == "garbage":
            return query[:2] + b"\x80\x00" + b"\xc0" * 200
        addresses = self.names.get(name)
        code = 2 if self.manner == "servfail" else 3 if self.manner == "nxdomain" or addresses is None else 0
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, self.ttl, 4) + socket.inet_aton(a) for a in addresses or ()) if kind == 1 and not code else b""
        if self.manner == "lies":  # somebody who does not see the question guesses its number
            query = bytes([query[0] ^ 0x55]) + query[1:]
            records = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.9")
        return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records) // 16, 0, 0) + question + records

    def wait_asked(self, name, more, seconds=15.0):
        """Until it was asked so often more."""
        goal = self.asked[name] + more
        wait_for(lambda: self.asked[name] >= goal, seconds, what="%d questions for %s" % (goal, name))

    def close(self):
        self.stopping = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
