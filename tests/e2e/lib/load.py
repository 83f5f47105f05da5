# SPDX-License-Identifier: MIT
"""Open-loop load: requests leave on a schedule whatever became of the ones before, and
a latency counts from the scheduled moment, so that a stall is not hidden."""
import threading
import time

from .frames import Raw, data, get, headers
from .proc import wait_for


class Sample:
    __slots__ = ("at", "took", "status", "reason", "kind", "reset", "why", "by")

    def __init__(self, at, kind):
        self.at, self.kind = at, kind
        self.took = self.status = self.reset = self.reason = self.why = self.by = None

    @property
    def ok(self):
        return self.status is not None and self.status < 400 and self.reset is None

    def __repr__(self):
        return "<%s at %.3f took %s status %s %s reset %s %s>" % (self.kind, self.at, self.took and round(self.took, 3), self.status,
                                                                  self.reason, self.reset, self.why)


class Load:
    """`mix` is a list of (kind, fields, body or None), taken in turn."""

    def __init__(self, address, mix, rate=500, connections=8, tls=None, limit=10.0):
        self.address, self.mix, self.rate, self.tls, self.limit = address, mix, rate, tls, limit
        self.samples = []
        self.lock = threading.Lock()
        self.stopping = False
        self.began = time.monotonic()
        self.threads = [threading.Thread(target=self._one, args=(i, connections), daemon=True) for i in range(connections)]
        for t in self.threads:
            t.start()

    def now(self):
        return time.monotonic() - self.began

    def answered(self, by=None, since=0.0):
        """What was asked after `since` and has been answered (by that datacenter)."""
        with self.lock:
            return [s for s in self.samples if s.at >= since and s.status is not None and by in (None, s.by)]

    def wait_answers(self, count, by=None, since=0.0, seconds=20.0):
        wait_for(lambda: len(self.answered(by, since)) >= count, seconds, what="%d answers" % count)

    def _connect(self):
        while not self.stopping:
            try:
                return Raw(self.address, tls=self.tls, timeout=5)
            except OSError:
                time.sleep(0.01)
        return None

    def _one(self, index, of):
        period = of / self.rate
        due = index / self.rate
        n = index
        c, sid, open_ = self._connect(), 1, {}
        while c and not (self.stopping and not open_):
            now = self.now()
            if not self.stopping and now >= due:
                kind, fields, body = self.mix[n % len(self.mix)]
                n += of
                s = Sample(due, kind)
                due += period
                with self.lock:
                    self.samples.append(s)
                c.send(headers(sid, fields, end=body is None) + (data(sid, body, True) if body is not None else b""))
                open_[sid] = s
                sid += 2
                continue
            c.run(lambda: any(c.done(k) for k in open_), 0.02 if self.stopping else max(0.0, min(due - now, 0.05)))
            now = self.now()
            for k in [k for k in open_ if c.done(k)]:
                a, s = c.streams.pop(k), open_.pop(k)
                s.took, s.status, s.reset, s.reason = now - s.at, a.status, a.reset, a.field("proxy-status")
                s.by = a.field("x-datacenter")
            for k in [k for k, s in open_.items() if now - s.at > self.limit]:
                s = open_.pop(k)
                s.took, s.why = now - s.at, "no answer"
            if c.closed or c.reset_by_peer or (c.goaway is not None and not open_):
                for s in open_.values():
                    s.took, s.why = now - s.at, "connection lost"
                open_.clear()
                c.close()
                c, sid = self._connect(), 1
            elif len(c.frames) > 1000:
                del c.frames[:]
        if c:
            c.close()

    def stop(self):
        self.stopping = True
        for t in self.threads:
            t.join(self.limit + 5)
        with self.lock:
            return sorted(self.samples, key=lambda s: s.at)


def bad(samples, kind=None):
    return [s for s in samples if not s.ok and (kind is None or s.kind == kind)]


def quantile(samples, q):
    took = sorted(s.took for s in samples if s.took is not None)
    return took[min(len(took) - 1, int(q * len(took)))] if took else None


def gap(samples, after, until):
    """The longest time without a success that ended, in [after, until]."""
    ends = sorted(s.at + s.took for s in samples if s.ok and after <= s.at + s.took <= until)
    points = [after] + ends + ([until] if not ends else [])
    return max((b - a for a, b in zip(points, points[1:])), default=until - after)


__all__ = ["Load", "Sample", "bad", "quantile", "gap", "get"]
