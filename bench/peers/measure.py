# SPDX-License-Identifier: MIT
"""What is measured while nothing goes wrong: CPU per request, latency, idle memory,
cached reads. Rounds are interleaved (A B C A B C ...); the first round only warms up."""
import json
import os
import re
import subprocess

from .idle import cost
from .lab import cpu_seconds, memory
from .programs import PEERS

# name: (path, scheme, h2load arguments, requests)
WORKLOADS = {
    "small-tls": ("/small", "tls", ["-c64", "-m32"], 60000),
    "one-stream-tls": ("/small", "tls", ["-c512", "-m1"], 40000),
    "small-h2c": ("/small", "h2c", ["-c64", "-m32"], 80000),
    "post-1k-tls": ("/small", "tls", ["-c64", "-m32", "-d", "@post"], 40000),
    "64k-tls": ("/64k", "tls", ["-c32", "-m8"], 8000),
    "1m-tls": ("/1m", "tls", ["-c16", "-m4"], 800),
    "fixed-3200-tls": ("/small", "tls", ["-c64", "-m1", "--rps=50"], 12800),
    "handshake-tls": ("/small", "tls", ["-c1500", "-m1", "--rate=300"], 1500),
}
CACHED = {
    "cached-tls": ("/small", "tls", ["-c64", "-m32"], 60000),
    "cached-h2c": ("/small", "h2c", ["-c64", "-m32"], 80000),
}
RATE = 2000  # of the latency measurement, requests/s
CONNECTIONS = 5000  # idle ones


def load(lab, place, workload, scale):
    """One run of h2load: requests answered, requests/s."""
    path, scheme, args, requests = workload
    args = [a.replace("@post", os.path.join(lab.dir, "post")) for a in args]
    requests = max(int(args[0][2:]), int(requests * scale))
    url = f"https://127.0.0.1:{place.tls}{path}" if scheme == "tls" else f"http://127.0.0.1:{place.h2c}{path}"
    out = subprocess.run(["taskset", "-c", lab.load_cpu, "h2load", f"-n{requests}", "-t1"] + args + [url],
                         capture_output=True, text=True, timeout=300, check=False).stdout
    done = re.search(r"(\d+) succeeded, (\d+) failed", out)
    rate = re.search(r"([\d.]+) req/s", out)
    if not done or int(done.group(1)) < requests * 0.99:
        raise RuntimeError(f"{place.name}: {out[-600:]}")
    return int(done.group(1)), float(rate.group(1))


def workloads(lab, places, table, rounds, scale, origins=()):
    """{workload: {peer: [(CPU us/request, requests/s), ...]}}; with origins: they have to have nothing to do."""
    figures = {}
    for name, workload in table.items():
        for r in range(rounds + 1):
            for place in places:
                before, origin = cpu_seconds(place.pids), cpu_seconds(origins)
                n, rate = load(lab, place, workload, scale)
                spent = cpu_seconds(place.pids) - before
                if origins and (cpu_seconds(origins) - origin) / n > 0.5e-6:
                    raise RuntimeError(f"{place.name}: answers did not come from its cache")
                if r:
                    figures.setdefault(name, {}).setdefault(place.name, []).append((spent / n * 1e6, rate))
    return figures


def rehearse(lab, name, scenario):
    """One `firebreak-bench run`: its result."""
    path = lab.file(name + ".yaml", json.dumps(scenario))  # JSON is YAML too
    result = os.path.join(lab.dir, name + ".json")
    run = subprocess.run(["taskset", "-c", lab.load_cpu, lab.bench, "run", path, "--quiet", "--json", result],
                         capture_output=True, text=True, timeout=300, check=False)
    if run.returncode not in (0, 3):  # 3: the generator was late; the figures say so
        raise RuntimeError(f"{name}: the rehearsal ended with status {run.returncode}: {run.stderr[-600:]}")
    with open(result, encoding="utf-8") as f:
        return json.load(f)


def latency(lab, places, rounds, scale):
    """{peer: [{p50, p99, p999, max, late, failed}, ...]}, ms from the intended time of each request."""
    figures = {}
    for _ in range(rounds):
        for place in places:
            result = rehearse(lab, "latency", {
                "name": "latency", "duration": f"{max(1000, int(8000 * scale))}ms",
                "target": {"address": f"127.0.0.1:{place.tls}", "insecure": True},
                "load": {"steps": [{"rate": RATE}], "arrivals": "poisson", "connections": 64},
                "features": [{"name": "get", "tier": "core", "does": "get", "share": 1, "path": "/small"}]})
            whole = result["windows"][0]["all"]
            row = {k: whole["latency_ms"][k] for k in ("p50", "p99", "p999", "max")}
            row.update(late=result["generator"]["late_p99_ms"], failed=whole["count"] - whole["success"])
            figures.setdefault(place.name, []).append(row)
    return figures


def idle(lab, peers, addresses, scale):
    """{peer: {tls, h2c}}: octets of private memory each idle connection costs. A fresh process for each."""
    figures = {}
    count = max(100, int(CONNECTIONS * scale))
    for name in peers:
        for kind in ("tls", "h2c"):
            place = PEERS[name].start(lab, name, [[addresses[PEERS[name].upstream]]])
            try:
                each, _ = cost(lambda pids=place.pids: memory(pids), ("127.0.0.1", getattr(place, kind)), count, kind == "tls",
                               path="/small", ends=b"x" * 200)
            finally:
                place.stop()
            figures.setdefault(name, {})[kind] = each
    return figures
