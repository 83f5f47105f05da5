# SPDX-License-Identifier: MIT
"""Neither dead nor well: endpoints whose checks and requests say different things, checks
that are wrong themselves, gRPC health."""
from concurrent import futures

import grpc
import pytest

from lib import proc
from lib.config import PATIENT
from lib.frames import fetch, get
from lib.load import Load, bad

PATH = "/t/x"


def users(n=64):
    return [("read", get(PATH, "GET", "example.com", "http", ("authorization", "Bearer u%d.t" % i)), None) for i in range(n)]


class Two:
    """Datacenters a and b of so many endpoints each, under load."""

    def __init__(self, world, endpoints=2, rate=300, check=None, **more):
        self.backends = {d: [world.backend("%s%d" % (d, i)) for i in range(endpoints)] for d in "ab"}
        cfg = world.config(datacenters={d: [b.where for b in all_] for d, all_ in self.backends.items()}, **more)
        for d in cfg.data["datacenters"]:
            d["check"].update(check or {})
        self.proxy = world.proxy(cfg)
        self.load = world.keep(Stopped(Load(self.proxy.address, users(), rate)))

    def every(self):
        return self.backends["a"] + self.backends["b"]

    def break_requests(self, backends, behave):
        for b in backends:
            b.custom[PATH] = behave

    def datacenter(self, name):
        return next(d for d in self.proxy.status()["datacenters"] if d["name"] == name)

    def endpoint(self, backend):
        return next(e for d in self.proxy.status()["datacenters"] for e in d["endpoints"] if e["address"] == backend.where)

    def answered(self):
        """Requests are, now."""
        return all(fetch(self.proxy.address, users()[i][1]).status == 200 for i in range(8))

    def events(self, name):
        return [e for e in self.proxy.events() if e.get("event") == name or e.get("event.name") == name]


class Stopped:
    def __init__(self, load):
        self.load = load

    def close(self):
        self.load.stop()


def fail(conversation, request):
    conversation.respond(request, 500, body=b"no")


def reset(conversation, request):
    with conversation.lock:
        if request.reset is None:  # not taken back meanwhile
            conversation.h.reset_stream(request.sid, 2)
            conversation.flush()


@pytest.mark.parametrize("behave", [fail, reset], ids=["500", "reset"])
def test_checks_pass_and_requests_fail(world, behave):
    """Their share goes, their state does not; all is said in status, metrics and log."""
    s = Two(world, 4)
    ill = s.backends["a"][:2]  # one alone the workers' own choice keeps out of the way
    s.break_requests(ill, behave)
    proc.wait_for(lambda: all(s.endpoint(b)["share"] <= 0.125 for b in ill), 15, what="the loss of their share")
    assert all(s.endpoint(b)["state"] == "up" for b in ill)
    assert s.proxy.status()["spread"] in ("moved", "bounded")
    assert all(s.proxy.metric("firebreak_endpoint_share_ratio", endpoint=b.where) <= 0.25 for b in ill)
    assert s.proxy.metric("firebreak_spread", state="even") == 0
    assert all(s.endpoint(b)["share"] == 1 for b in s.every() if b not in ill)
    assert s.datacenter("a")["share"] == 1
    assert "endpoint.share" in s.proxy.p.log()
    assert "gets" in s.proxy.ctl("status")


@pytest.mark.slow
def test_share_comes_back(world):
    s = Two(world, 4)
    ill = s.backends["b"][2:]
    s.break_requests(ill, fail)
    proc.wait_for(lambda: all(s.endpoint(b)["share"] <= 0.125 for b in ill), 15, what="the loss of their share")
    for b in ill:
        b.custom.clear()
    proc.wait_for(lambda: s.proxy.status()["spread"] == "even", 40, what="the return of their share")
    assert all(s.endpoint(b)["share"] == 1 for b in ill)


def test_a_datacenter_that_fails_its_requests(world):
    """All endpoints of it alike, checks passing: it is the datacenter's share that goes."""
    s = Two(world)
    s.break_requests(s.backends["a"], fail)
    proc.wait_for(lambda: s.datacenter("a")["share"] <= 0.125, 10, what="the loss of its share")
    assert s.datacenter("b")["share"] == 1
    # One may have been heard of before the other was, for a moment.
    proc.wait_for(lambda: all(s.endpoint(b)["share"] == 1 for b in s.every()), 10, what="endpoints that are alike")
    assert s.datacenter("a")["share"] <= 0.125


def test_check_path_missing_on_one_endpoint(world):
    s = Two(world)
    s.backends["a"][0].healthy = 404
    proc.wait_for(lambda: s.endpoint(s.backends["a"][0])["state"] == "down", 10, what="its end")
    assert s.endpoint(s.backends["a"][0])["why"] == "check-unknown"
    assert s.datacenter("a")["state"] == "up"
    assert s.answered()


def test_check_path_missing_in_a_datacenter_and_then_everywhere(world):
    s = Two(world)
    # Only who has answered requests is believed more than his checks.
    proc.wait_for(lambda: all(len(b.seen(path=PATH)) > 20 for b in s.every()), what="requests that are answered everywhere")
    for b in s.backends["a"]:
        b.healthy = 404
    proc.wait_for(lambda: s.datacenter("a")["state"] == "down", 10, what="its end")
    assert s.answered()
    assert len([e for e in s.proxy.p.log().splitlines() if '"datacenter.state"' in e and '"to":"down"' in e.replace(" ", "")]) == 1
    for b in s.backends["b"]:
        b.healthy = 404
    proc.wait_for(lambda: s.proxy.status()["spread"] == "panic", 10, what="disbelief in checks")
    proc.wait_for(lambda: all(s.endpoint(b)["why"] == "check-unknown" for b in s.every()), 5, what="all of them failing")
    assert s.answered()
    assert s.proxy.ready()
    # One of b's may have failed long enough before the other to be missed, until nobody was believed.
    proc.wait_for(lambda: s.proxy.status()["reachable"] == 1, 10, what="all of the capacity")
    assert '"spread.changed"' in s.proxy.p.log()
    for b in s.every():
        b.healthy = True
    proc.wait_for(lambda: s.proxy.status()["spread"] == "even", 10, what="belief in checks")
    assert not bad(s.load.load.stop()), bad(s.load.load.samples)[:5]


def test_checks_that_time_out_under_load(world):
    """Requests are answered, so it is not dead."""
    s = Two(world, check={"interval": "600ms", "timeout": "600ms"}, retry=dict(PATIENT))
    busy = s.backends["a"][0]
    proc.wait_for(lambda: s.proxy.metric("firebreak_exchanges_total", datacenter="a") > 100, what="requests that are answered")
    busy.healthy = None  # no answer at all
    proc.wait_for(lambda: s.proxy.p.log().count('"check.late"') >= 4, 20, what="more late checks than failed ones are borne")
    assert s.endpoint(busy)["state"] in ("up", "suspect")
    s.load.close()
    proc.wait_for(lambda: s.endpoint(busy)["state"] == "down", 15, what="its end without requests")


def test_a_name_that_never_resolves(world):
    """It is down and says why; the start is not held up, and the rest works."""
    good = world.backend("a")
    p = world.proxy(datacenters={"a": ["no-such-name.invalid:80", good.where], "b": ["nor-this-one.invalid:80"]})
    assert fetch(p.address, get(PATH)).status == 200

    def down():
        a, b = p.status()["datacenters"]
        return b["state"] == "down" and a["endpoints"][0]["state"] == "down" and [a["endpoints"][0]["why"], b["endpoints"][0]["why"]]

    proc.wait_for(down, 20, what="the end of both")
    assert down() == ["upstream-unresolved"] * 2
    assert p.status()["datacenters"][0]["state"] == "up"
    assert fetch(p.address, get(PATH)).status == 200


# -- gRPC health --


class Health:
    """grpc.health.v1 by hand: the two messages have one field each."""

    def __init__(self, port, speaks=True):
        self.status = {"": 1, "chat": 1}
        self.asked = []
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        if speaks:
            check = grpc.unary_unary_rpc_method_handler(self.check, request_deserializer=bytes, response_serializer=bytes)
            self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})])
        self.where = "127.0.0.1:%d" % self.server.add_insecure_port("127.0.0.1:%d" % port)
        self.server.start()

    def check(self, request, context):
        name = request[2:].decode() if request else ""
        assert not request or (request[0], request[1]) == (0x0A, len(name))
        self.asked.append(name)
        if name not in self.status:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return bytes([8, self.status[name]]) if self.status[name] else b""

    def close(self):
        self.server.stop(None).wait()


def grpc_proxy(world, where, service=None):
    cfg = world.config(datacenters={"a": [where], "b": [world.backend("b").where]})
    cfg.data["datacenters"][0]["check"] = {**cfg.data["datacenters"][0]["check"], "type": "grpc", **({"service": service} if service else {})}
    return world.proxy(cfg)


def state(p):
    e = p.status()["datacenters"][0]["endpoints"][0]
    return e["state"], e["why"]


@pytest.mark.parametrize("service", [None, "chat"])
def test_grpc_health(world, service):
    h = world.keep(Health(proc.free_port()))
    p = grpc_proxy(world, h.where, service)
    proc.wait_for(lambda: len(h.asked) >= 3, 10, what="checks")
    assert set(h.asked) == {service or ""}
    assert state(p) == ("up", "none")
    for says, why in ((2, "check-failed"), (0, "check-failed"), (3, "check-failed"), (None, "check-unknown")):
        if says is None:
            del h.status[service or ""]
        else:
            h.status[service or ""] = says
        proc.wait_for(lambda why=why: state(p) == ("down", why), 10, what="%s for %s" % (why, says))
        h.status[service or ""] = 1
        proc.wait_for(lambda: state(p)[0] == "up", 10, what="its return")


def test_grpc_without_a_health_service(world):
    h = world.keep(Health(proc.free_port(), speaks=False))
    p = grpc_proxy(world, h.where)
    proc.wait_for(lambda: state(p) == ("down", "check-unknown"), 10, what="its end")
    assert fetch(p.address, get(PATH)).status == 200
