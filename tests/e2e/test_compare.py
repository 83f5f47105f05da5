# SPDX-License-Identifier: MIT
"""bench/compare in its shortest form, Firebreak beside nghttpx: it runs, its figures are
figures, its report has the configurations. Nothing here depends on a machine that is not busy."""
import json
import os
import shutil
import signal
import subprocess
import tempfile

from lib import proc

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


def test_outage(tmp_path):
    result, page = compare(tmp_path, "--what", "outage")
    for peer in PEERS:
        for fault in ("kill", "silence"):
            row, = result["figures"]["outage"][peer][fault]
            assert row["requests"] == 2000
            assert 0 <= row["errors"] < 1500 and 0 <= row["slow"] <= 2000
            assert 0 < row["worst_ms"] <= 15000 and 0 < row["gap_ms"] < 15000 and 0 <= row["recover_s"] <= 3.1
    # Firebreak's promise is in seconds here: the figures' own test is that they can tell.
    assert all(result["figures"]["outage"]["firebreak"][fault][0]["errors"] == 0 for fault in ("kill", "silence"))
    assert "killed (SIGKILL)" in page and "silent (SIGSTOP)" in page


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
