# SPDX-License-Identifier: MIT
"""A datacenter is lost under load: two datacenters of two endpoints of the simulated
messenger (datacenter.py), load over TLS, half reads, half sends with an idempotency key,
so that everything may be tried again. What came of it is in figures.py."""
import csv
import itertools
import json
import os
import re
import time
from dataclasses import dataclass

from . import figures
from .datacenter import Datacenter, wires
from .lab import wait_until
from .programs import PEERS

GOOD = ("served", "failed_over")
BEFORE = 2  # seconds of load before the first loss
FIRST, OVER = 0.1, 10  # the ramp of a returning datacenter: share, seconds


@dataclass
class Fault:
    title: str
    how: str  # kill, stop, drop
    lost: tuple  # seconds it is away; 0: for good
    up: float = 0  # seconds between two losses
    after: float = 12  # seconds of load after the last event
    tuned: bool = True  # the peers with shorter patience too
    rates: tuple = (500, 2000)  # unless asked for others, requests/s
    back: bool = False  # what happens at the return is told too

    def events(self):
        """[(seconds after the first loss, lost or back), ...]"""
        out, at = [], 0
        for away in self.lost:
            out.append((at, True))
            if away:
                out.append((at + away, False))
            at += away + self.up
        return out


FAULTS = {
    "kill": Fault("is killed (SIGKILL)", "kill", (0,), tuned=False),
    "silence": Fault("goes silent (SIGSTOP)", "stop", (0,)),
    "drop": Fault("is cut off (its network drops every packet)", "drop", (0,)),
    "return": Fault("is killed and back after 4 s", "kill", (4,), after=6 + OVER, tuned=False, rates=(2000,), back=True),
    "flap": Fault("is killed and back every 2 s for a minute", "kill", (2,) * 15, up=2, after=8, tuned=False, rates=(500,)),
}
QUICK = {"return": {"lost": (2,), "after": 4}, "flap": {"lost": (1,) * 3, "up": 1, "after": 2}}


def fault_of(name, quick):
    fault = FAULTS[name]
    return Fault(**{**vars(fault), **({"after": 3} | QUICK.get(name, {}) if quick else {})})


def scenario(place, rate, seconds, seed):
    return json.dumps({
        "name": "outage", "seed": seed, "duration": f"{seconds}s",
        "target": {"address": f"127.0.0.1:{place.tls}", "insecure": True, "datacenters": ["a", "b"]},
        # As many connections that no stream is waited for, as many users that few wait for their own last message.
        "load": {"steps": [{"rate": rate}], "connections": 64, "users": 500 * rate, "timeout": "10s"},
        "features": [{"name": "send", "tier": "core", "does": "send", "share": 50},
                     {"name": "read", "tier": "core", "does": "recent", "share": 50}]})


def begin(lab, place, path, before):
    """The load, running; returns once its clock has come to `before` seconds."""
    run = lab.start("rehearsal", [lab.bench, "run", path + ".yaml", "--json", path + ".json", "--samples", path + ".csv"], lab.load_cpu)
    run.log_name, begun = "rehearsal", len(lab.said(run))
    if not wait_until(lambda: re.search(rf"^ *{before}s ", lab.said(run)[begun:], re.M), 30, run):
        raise RuntimeError(f"{place.name}: the rehearsal did not begin: {lab.said(run)[begun:][-600:]}")
    return run


def rehearse(lab, place, rate, fault, datacenter, seed):
    """Runs the load and what befalls the datacenter: result, samples, seconds of the run at which it was really lost and back."""
    events = fault.events()
    seconds = BEFORE + events[-1][0] + fault.after
    path, moments = os.path.join(lab.dir, "outage"), []
    lab.file("outage.yaml", scenario(place, rate, seconds, seed))
    run = begin(lab, place, path, BEFORE)
    start = time.monotonic() - BEFORE
    for at, lost in events:
        time.sleep(max(0, start + BEFORE + at - time.monotonic()))
        moments.append(time.monotonic() - start)
        (datacenter.lose if lost else datacenter.heal)(fault.how)
    code = run.wait(seconds + 60)
    if code not in (0, 3):  # 3: the generator was late; the figures say so
        raise RuntimeError(f"{place.name}: the rehearsal ended with status {code}: {lab.said(run)[-600:]}")
    with open(path + ".json", encoding="utf-8") as f:
        result = json.load(f)
    with open(path + ".csv", encoding="ascii", newline="") as f:
        return result, [(int(s["intended_ns"]) / 1e6, int(s["latency_us"]) / 1e3, s["outcome"] in GOOD, s["datacenter"])
                        for s in csv.DictReader(f)], moments


def row_of(fault, result, samples, moments):
    """One round's figures. The loss is counted from the moment it was due: it came a little later."""
    lost = 1000 * BEFORE
    row = figures.costs(samples, lost)
    row.update(late_ms=result["generator"]["late_p99_ms"], transitions=figures.transitions(samples, "a", lost),
               shares=[(at / 1000, round(share, 3)) for at, share in figures.shares(samples, "a", figures.WIDTH_MS["share"])])
    if fault.back:
        row.update(figures.back(samples, "a", lost, 1000 * moments[1], FIRST, 1000 * OVER))
    return row


def one_round(lab, name, fault, rate, latency_ms, serial, seed):
    peer = PEERS[name]
    state = os.path.join(lab.dir, f"state{serial}")
    os.mkdir(state)
    datacenters, place = [], None
    try:
        for dc in "ab":
            datacenters.append(Datacenter(lab, dc, state, peer.upstream, latency_ms, wire=fault.how == "drop"))
        place = peer.start(lab, name, [dc.addresses for dc in datacenters], "outage", ramp_s=OVER if fault.back else 0)
        time.sleep(1)  # health checks, spare connections
        return row_of(fault, *rehearse(lab, place, rate, fault, datacenters[0], seed)), place
    finally:
        if place:
            place.stop()
        for dc in datacenters:
            dc.stop()


def outage(lab, peers, args, say):
    """[{fault, rate, latency_ms, figures: {peer: [figures, ...]}}, ...], and the configurations by peer."""
    out, texts, serial = [], {}, 0
    why = wires() if any(FAULTS[f].how == "drop" for f in args.faults) else ""
    if why:
        say(f"(No network namespaces here, so nothing is cut off: {why}.)\n")
    for name in [f for f in args.faults if not (why and FAULTS[f].how == "drop")]:
        fault = fault_of(name, args.quick)
        for latency, rate in itertools.product(args.latencies, args.rates or fault.rates):
            rows = {}
            for turn, peer in itertools.product(range(args.outage_rounds), peers):
                if PEERS[peer].fast and not fault.tuned:
                    continue
                serial += 1
                row, place = one_round(lab, peer, fault, rate, latency, serial, seed=2 + turn)
                texts.setdefault(peer, {}).update({file + (" (return)" if fault.back else ""): text for file, text in place.texts.items()})
                rows.setdefault(peer, []).append(row)
            out.append({"fault": name, "rate": rate, "latency_ms": latency, "figures": rows})
    return out, texts
