# SPDX-License-Identifier: MIT
"""bench/compare in its shortest form, Firebreak beside nghttpx: it runs, its figures are
figures, its report has the configurations. Nothing here depends on a machine that is not busy."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from lib import proc

sys.path.insert(0, os.path.join(proc.ROOT, "bench"))

from peers import figures  # noqa: E402  pylint: disable=wrong-import-position
from peers.datacenter import wires  # noqa: E402  pylint: disable=wrong-import-position

PEERS = ("firebreak", "nghttpx")


def compare(tmp_path, *options):
    result, page = tmp_path / "result.json", tmp_path / "page.md"
    build = os.path.relpath(proc.build_dir(plain=True), proc.ROOT)
    run = subprocess.run([os.path.join(proc.ROOT, "bench", "compare"), "--no-setup", "--quick", "--build", build, "--peers", ",".join(PEERS),
                          "--json", result, "--report", page] + list(options), capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return json.loads(result.read_text()), page.read_text()


def test_cpu_latency_and_cached(tmp_path):
    result, page = compare(tmp_path, "--what", "cpu,latency,cached", "--workloads", "small-tls,small-h2c")
    figures = result["figures"]
    assert set(figures) == {"cpu", "latency", "cached"}
    for workload in ("small-tls", "small-h2c"):
        for peer in PEERS:
            (cpu, rate), = figures["cpu"][workload][peer]
            assert 0.5 < cpu < 1e5 and rate > 1, (workload, peer, cpu, rate)
    for peer in PEERS:
        row, = figures["latency"][peer]
        assert row["failed"] == 0
        assert 0 < row["p50"] <= row["p99"] <= row["p999"] <= row["max"]
    assert set(figures["cached"]) == {"cached-tls", "cached-h2c"}
    assert all(set(rows) == {"firebreak"} for rows in figures["cached"].values())  # nghttpx has no cache
    assert set(result["versions"]) == {"Firebreak", "nghttpx"} and "unknown" not in result["versions"].values()
    assert "stale-only" in result["configurations"]["cached"]["firebreak"]["commands"]
    assert "| small-tls |" in page and "workers: 1" in page and "--workers=1" in page


def test_idle(tmp_path):
    result, _ = compare(tmp_path, "--what", "idle")
    for peer in PEERS:
        for kind in ("tls", "h2c"):
            assert 256 < result["figures"]["idle"][peer][kind] < 1 << 20, (peer, kind)


def outage_row(case, peer):
    row, = case["figures"][peer]
    return row


def test_outage(tmp_path):
    result, page = compare(tmp_path, "--what", "outage", "--faults", "kill,silence")
    cases = result["figures"]["outage"]
    assert [(c["fault"], c["rate"], c["latency_ms"]) for c in cases] == [("kill", 500, 90), ("silence", 500, 90)]
    for case in cases:
        for peer in PEERS:
            row = outage_row(case, peer)
            assert row["requests"] == 2500
            assert 0 <= row["errors"] < 2000 and 0 <= row["slow"] <= 2500
            assert 0 < row["worst_ms"] <= 15000 and 0 < row["gap_ms"] < 15000 and 0 <= row["recover_s"] <= 3.1
        # Firebreak's promise is in seconds here: the figures' own test is that they can tell.
        assert outage_row(case, "firebreak")["errors"] == 0
    assert "is killed (SIGKILL); 500 requests/s" in page and "goes silent (SIGSTOP)" in page


def test_return_and_flap(tmp_path):
    """The datacenter's processes are started again, and its traffic is told apart from the other's."""
    result, page = compare(tmp_path, "--what", "outage", "--faults", "return,flap", "--peers", "firebreak")
    back, flap = (outage_row(case, "firebreak") for case in result["figures"]["outage"])
    assert back["first_s"] is not None and 0 < back["first_s"] < 4 and back["errors"] == 0
    shares = dict(map(tuple, back["shares"]))
    assert 0.3 < shares[1] < 0.7 and shares[3] < 0.1 and max(share for at, share in shares.items() if at >= 4) > 0.02
    assert 1 <= flap["transitions"] <= 6 and flap["errors"] == 0
    assert "above the ramp" in page and "transitions" in page


@pytest.mark.skipif(bool(wires()), reason="network namespaces need root: %s" % wires())
def test_cut_off(tmp_path):
    """Packets are dropped and nothing is closed; the namespaces and their links go with the run."""
    result, _ = compare(tmp_path, "--what", "outage", "--faults", "drop", "--peers", "firebreak")
    case, = result["figures"]["outage"]
    row = outage_row(case, "firebreak")
    assert row["errors"] == 0 and row["worst_ms"] > 100
    assert all(share == 0 for at, share in row["shares"] if at >= 3), row["shares"]
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    assert not [line for line in links.splitlines() if re.match(r"fb\d+@", line)], links


def planted(seconds, share, bad=(), slow=(), width=10):
    """A request every 10 ms, answered 5 ms later by a or b as share(second) says, but for what is planted."""
    out, owed = [], 0
    for at in range(0, 1000 * seconds, width):
        owed += share(at / 1000)
        datacenter, owed = ("a", owed - 1) if owed >= 1 else ("b", owed)
        good = not any(f <= at < t for f, t in bad)
        out.append((at, 400 if any(f <= at < t for f, t in slow) else 5, good, datacenter if good else ""))
    return out


def test_costs_are_counted():
    samples = planted(20, lambda s: 0.5 if s < 2 else 0, bad=[(2000, 2100)], slow=[(2100, 2200)])
    row = figures.costs(samples, 2000)
    assert (row["errors"], row["slow"], row["worst_ms"]) == (10, 10, 400)
    assert row["trouble"] == [(2.0, 10), (2.1, 10)]
    assert row["gap_ms"] == 2205 - 2000 and row["recover_s"] == 0.19  # those asked before were answered by 2.0 s


def test_transitions_are_counted():
    assert figures.transitions(planted(20, lambda s: 0.5), "a", 2000) == 0
    assert figures.transitions(planted(20, lambda s: 0.5 if s < 2 else 0), "a", 2000) == 1
    assert figures.transitions(planted(20, lambda s: 0.5 if s % 4 < 2 else 0), "a", 2000) == 9
    assert figures.transitions(planted(20, lambda s: 0.5 if s < 2 else 0.2), "a", 2000) == 1  # less than half of the normal share


def test_returns_are_measured():
    def ramp(s, begin=6, first=0.1, over=10):
        return 0.5 if s < 2 else 0 if s < begin else 0.5 * min(1, first + (s - begin) / over)

    def back(samples):
        return figures.back(samples, "a", 2000, 5000, 0.1, 10000)

    on_ramp = back(planted(24, ramp, width=1))
    assert abs(on_ramp["first_s"] - 1) < 0.05 and 7 <= on_ramp["full_s"] - 1 <= 9 and -2 < on_ramp["above_points"] < 2
    at_once = back(planted(24, lambda s: ramp(s, over=0.001), width=1))
    assert at_once["full_s"] - 1 < 0.1 and 78 < at_once["above_points"] < 82
    step = back(planted(24, lambda s: ramp(s) + (0.05 if 10 <= s < 12 else 0), width=1))
    assert 8 < step["above_points"] < 12
    never = back(planted(24, lambda s: 0.5 if s < 2 else 0, bad=[(7000, 7100)]))
    assert never == {"back_errors": 10, "back_slow": 0, "first_s": None, "full_s": None, "above_points": None}


def started_in(folder):
    """Processes that work in this folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink("/proc/%s/cwd" % pid).startswith(folder) and proc.alive(int(pid)):
                found.append(int(pid))
        except OSError:
            continue
    return found


def test_a_signal_ends_all_it_started(tmp_path):
    folder = tempfile.mkdtemp(prefix="fb-")  # short: there is a socket in it
    build = os.path.relpath(proc.build_dir(plain=True), proc.ROOT)
    with open(tmp_path / "log", "wb") as log:
        run = subprocess.Popen([os.path.join(proc.ROOT, "bench", "compare"), "--no-setup", "--quick", "--build", build, "--peers", "firebreak",
                                "--what", "outage"], stdout=log, stderr=log, env=dict(os.environ, TMPDIR=folder))
    try:
        proc.wait_for(lambda: len(started_in(folder)) >= 6 or run.poll() is not None, 30, what="start of the endpoints and the proxy")
        assert run.poll() is None, (tmp_path / "log").read_text()
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 143
        proc.wait_for(lambda: not started_in(folder), 10, what="end of all it started")
        assert not os.listdir(folder)
    finally:
        run.kill()
        run.wait()
        for pid in started_in(folder):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder)


def test_an_unknown_word_is_told():
    run = subprocess.run([os.path.join(proc.ROOT, "bench", "compare"), "--peers", "firebrake"], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 2 and "firebrake" in run.stderr and "nghttpx" in run.stderr
