# SPDX-License-Identifier: MIT
"""A datacenter is lost under load: two datacenters of two endpoints of the simulated
messenger, 500 requests/s over TLS, half reads, half sends with an idempotency key, so
that everything may be tried again. The first datacenter is killed, or goes silent, and
stays away until the end.

Peers that speak HTTP/1.1 to their backends get nghttpx as a translator in front of each
endpoint; what happens to the endpoint happens to both.
"""
import csv
import json
import os
import re
import signal
import time

from .lab import free_port, wait_port
from .programs import PEERS

RATE = 500
SLOW_MS = 250
FAULTS = {"kill": signal.SIGKILL, "silence": signal.SIGSTOP}
GOOD = ("served", "failed_over")


def start_endpoint(lab, dc, n, state, upstream):
    """Its port, and the processes that are it."""
    port = free_port()
    processes = [lab.start(f"backend-{dc}{n}", [lab.bench, "backend", "-d", dc, "-e", f"{dc}-{n}", "-l", f"127.0.0.1:{port}", "-s", state], lab.load_cpu)]
    wait_port(port)
    if upstream == "h1":
        front = free_port()
        processes.append(lab.start(f"front-{dc}{n}", ["nghttpx", "--conf=/dev/null", "--single-process", "--workers=1", f"-f127.0.0.1,{front};no-tls",
                                                      f"-b127.0.0.1,{port};;proto=h2", "--accesslog-file=/dev/null",
                                                      "--errorlog-file=/dev/null"], lab.load_cpu))
        wait_port(front)
        port = front
    return port, processes


def scenario(place, seconds):
    return json.dumps({
        "name": "outage", "duration": f"{seconds}s", "target": {"address": f"127.0.0.1:{place.tls}", "insecure": True},
        "load": {"steps": [{"rate": RATE}], "connections": 8, "users": 2000, "timeout": "10s"},
        "features": [{"name": "send", "tier": "core", "does": "send", "share": 50},
                     {"name": "read", "tier": "core", "does": "recent", "share": 50}]})


def rehearse(lab, place, lose, before, seconds):
    """Runs the load, calls lose() once its clock has come to `before` seconds: result and samples."""
    path = os.path.join(lab.dir, "outage")
    lab.file("outage.yaml", scenario(place, seconds))
    run = lab.start("rehearsal", [lab.bench, "run", path + ".yaml", "--json", path + ".json", "--samples", path + ".csv"], lab.load_cpu)
    run.log_name, begun = "rehearsal", len(lab.said(run))
    end = time.monotonic() + 30
    while not re.search(rf"^ *{before}s ", lab.said(run)[begun:], re.M):
        if run.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{place.name}: the rehearsal did not begin: {lab.said(run)[begun:][-600:]}")
        time.sleep(0.02)
    lose()
    code = run.wait(seconds + 60)
    if code not in (0, 3):  # 3: the generator was late; the figures say so
        raise RuntimeError(f"{place.name}: the rehearsal ended with status {code}: {lab.said(run)[begun:][-600:]}")
    with open(path + ".json", encoding="utf-8") as f:
        result = json.load(f)
    with open(path + ".csv", encoding="ascii", newline="") as f:
        return result, [(int(s["intended_ns"]) / 1e6, int(s["latency_us"]) / 1e3, s["outcome"] in GOOD) for s in csv.DictReader(f)]


def figures_of(result, samples, before):
    """One round's figures; times in ms but recovery in s. Latency counts from the intended time."""
    lost = 1000 * before
    trouble = [at for at, ms, good in samples if not good or ms > SLOW_MS]
    ends = sorted(at + ms for at, ms, good in samples if good and at + ms > lost)
    points = [lost] + ends
    return {"requests": len(samples), "errors": sum(not good for _, _, good in samples), "slow": sum(good and ms > SLOW_MS for _, ms, good in samples),
            "worst_ms": max(ms for _, ms, _ in samples), "gap_ms": max((b - a for a, b in zip(points, points[1:])), default=0),
            "recover_s": max(0.0, (max(trouble, default=lost) - lost) / 1000), "late_ms": result["generator"]["late_p99_ms"]}


def one_round(lab, name, fault, serial, quick):
    before, seconds = (1, 4) if quick else (2, 16)
    peer = PEERS[name]
    state = os.path.join(lab.dir, f"state{serial}")
    os.mkdir(state)
    datacenters = [[start_endpoint(lab, dc, n, state, peer.upstream) for n in (1, 2)] for dc in "ab"]
    processes = [p for dc in datacenters for _, ps in dc for p in ps]
    place = None

    def lose():
        for _, ps in datacenters[0]:
            for p in ps:
                p.send_signal(FAULTS[fault])

    try:
        place = peer.start(lab, name, [[port for port, _ in dc] for dc in datacenters], "outage")
        time.sleep(1)  # health checks, spare connections
        return figures_of(*rehearse(lab, place, lose, before, seconds), before), place
    finally:
        if place:
            place.stop()
        lab.stop(processes)


def outage(lab, peers, rounds, quick):
    """{peer: {fault: [figures, ...]}}, and the configurations by peer."""
    figures, texts, serial = {}, {}, 0
    for fault in FAULTS:
        for _ in range(rounds):
            for name in peers:
                serial += 1
                row, place = one_round(lab, name, fault, serial, quick)
                texts[name] = place.texts
                figures.setdefault(name, {}).setdefault(fault, []).append(row)
    return figures, texts
