# SPDX-License-Identifier: MIT
"""The generator of `firebreak-bench run` against servers that are there already: its schedule, its
figures, what it checks in answers, and what it says before it begins. How fast it is, is measured by
bench/generator; nothing here depends on a machine that is not busy."""
import csv
import json
import os
import re
import signal
import subprocess
import time

import pytest

from lib import proc

GET = "{ name: get, tier: core, does: get, share: 1, path: /index.html }"
RUN = "firebreak-bench"


# What it says of a run on a machine that was too busy to send on time (exit status 3).
LATE = "the generator could not keep its schedule"


class Rehearsal:
    """One run; results are read from its files."""

    def __init__(self, world, text, *options, name="run", plain=False):
        self.world = world
        self.file = world.folder / (name + ".yaml")
        self.file.write_text(text)
        self.json = world.folder / (name + ".json")
        self.csv = world.folder / (name + ".csv")
        self.p = world.process([proc.binary(RUN, plain), "run", self.file, "--json", self.json, "--samples", self.csv] + list(options), name)

    def wait(self, code, seconds=60):
        got = self.p.p.wait(seconds)
        if got == 3 and code == 0 and self.result()["invalid"].startswith(LATE):
            assert all(a["held"] for a in self.result()["assertions"]), self.p.log()[-4000:]
            return self  # what was sent, and what became of it, does not depend on when
        assert got == code, "exit status %s, expected %s:\n%s" % (got, code, self.p.log()[-4000:])
        return self

    def result(self):
        return json.loads(self.json.read_text())

    def samples(self):
        with open(self.csv, encoding="ascii", newline="") as f:
            return list(csv.DictReader(f))

    def log(self):
        return self.p.log()


def scenario(port, duration="2s", load="steps: [{ rate: 500 }]", features=GET, rest="", target="tls: false"):
    return ('name: t\nduration: %s\ntarget: { address: "127.0.0.1:%d", %s }\nload: { %s }\nfeatures: [ %s ]\n%s\n'
            % (duration, port, target, load, features, rest))


@pytest.fixture
def server(world, tmp_path):
    """nghttpd in cleartext, verbose: it tells its connections and streams."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_text("hello")
    port = proc.free_port()
    p = world.process(["nghttpd", "-v", "--no-tls", "-a", "127.0.0.1", "-d", tmp_path / "www", port], "nghttpd")
    proc.wait_for(lambda: proc.listening(port), what="start of nghttpd")
    p.port = port
    return p


@pytest.fixture
def messenger(world, tmp_path):
    """One endpoint of the simulated messenger."""
    def start(*options):
        port = proc.free_port()
        (tmp_path / "state").mkdir(exist_ok=True)
        p = world.process([proc.binary(RUN), "backend", "--listen", "127.0.0.1:%d" % port, "--state", tmp_path / "state",
                           "--journal", tmp_path / "journal"] + list(options), "backend-%d" % port)
        proc.wait_for(lambda: proc.listening(port), what="start of the messenger")
        p.port = port
        return p
    return start


def generator(r):
    """The generating process of a run: the child that has a timerfd."""
    for pid in r.p.children():
        for fd in os.listdir("/proc/%d/fd" % pid):
            if os.readlink("/proc/%d/fd/%s" % (pid, fd)) == "anon_inode:[timerfd]":
                return pid
    raise AssertionError("no generator")


# ---- the schedule ----

def test_every_arrival_once_at_its_time(world, server):
    """Two generators together send what the steps say, each request at its own moment."""
    r = Rehearsal(world, scenario(server.port, "3s", "steps: [{ until: 1s, rate: 200 }, { rate: 200, to: 600, until: 2s }, { rate: 0 }]"),
                  "--threads", "2").wait(0)
    at = [int(s["intended_ns"]) for s in r.samples()]
    assert len(at) == 600 == r.result()["generator"]["sent"]
    assert at[:200] == pytest.approx([i * 5e6 for i in range(200)], abs=1000)
    assert sum(1e9 <= t < 1.5e9 for t in at) == pytest.approx(150, abs=1)  # 200 to 400 in half a second
    assert {s["generator"] for s in r.samples()} == {"0", "1"}
    assert {s["outcome"] for s in r.samples()} == {"served"}


def test_the_seed_decides_what_is_sent(world, server):
    def requests(name, *options):
        text = scenario(server.port, "1s", "steps: [{ rate: 100 }], arrivals: poisson",
                        "{ name: a, tier: core, does: get, share: 1, path: /index.html }, { name: b, tier: core, does: get, share: 1, path: /index.html }")
        return [(s["intended_ns"], s["feature"]) for s in Rehearsal(world, text, *options, name=name).wait(0).samples()]

    first = requests("one", "--seed", "5")
    assert first == requests("two", "--seed", "5")
    assert first != requests("three", "--seed", "6")


def test_latency_counts_from_the_intended_time(world, server):
    """A server that stands still for 1.5 s: all requests that fell into it waited, and the figures say so."""
    r = Rehearsal(world, scenario(server.port, "4s", "steps: [{ rate: 200 }]"))
    proc.wait_for(lambda: re.search(r"^ +1s", r.log(), re.M), 30, what="a second of the run")
    server.kill(signal.SIGSTOP)
    time.sleep(1.5)  # how long it stands still is the subject
    server.kill(signal.SIGCONT)
    r.p.p.wait(60)  # 3 where the machine let the generator be late
    whole = r.result()["windows"][0]["all"]
    assert whole["latency_ms"]["p99"] > 1000, whole
    assert whole["latency_ms"]["max"] > 1400
    assert whole["outcomes"]["served"] == 800


def test_closed_loop_keeps_so_many_under_way(world, server):
    r = Rehearsal(world, scenario(server.port, "1s", "closed: 10, connections: 2, streams: 5"), "--threads", "2").wait(0)
    got = [(int(s["intended_ns"]), int(s["intended_ns"]) + 1000 * int(s["latency_us"])) for s in r.samples()]
    assert len(got) > 100
    # Never more than 10 at a time; microseconds are rounded down.
    steps = sorted([(a, 1) for a, b in got] + [(max(a, b - 1000), -1) for a, b in got], key=lambda s: (s[0], s[1]))
    under_way = most = 0
    for _, step in steps:
        under_way += step
        most = max(most, under_way)
    assert 5 < most <= 10, most


def test_closed_loop_outlives_its_server(world, server):
    """Each answer is followed on its own connection: one that is lost is followed by nothing at once."""
    r = Rehearsal(world, scenario(server.port, "3s", "closed: 10, connections: 2, streams: 5, timeout: 500ms"))
    proc.wait_for(lambda: re.search(r"^ +1s", r.log(), re.M), 30, what="a second of the run")
    server.kill(signal.SIGKILL)
    r.wait(0)
    outcomes = r.result()["windows"][0]["all"]["outcomes"]
    assert outcomes["served"] > 100 and 10 <= outcomes["failed"] <= 100, outcomes


def test_a_generator_that_is_late_makes_the_run_invalid(world, server):
    r = Rehearsal(world, scenario(server.port, "3s", "steps: [{ rate: 200 }]"))
    proc.wait_for(lambda: re.search(r"^ +1s", r.log(), re.M), 30, what="a second of the run")
    os.kill(generator(r), signal.SIGSTOP)
    time.sleep(0.5)
    os.kill(generator(r), signal.SIGCONT)
    r.wait(3)
    assert "could not keep its schedule" in r.log()
    assert r.result()["exit_status"] == 3


def test_a_generator_that_dies_is_said(world, server):
    r = Rehearsal(world, scenario(server.port, "20s", "steps: [{ rate: 50 }]"))
    proc.wait_for(lambda: re.search(r"^ +1s", r.log(), re.M), 30, what="a second of the run")
    os.kill(generator(r), signal.SIGKILL)
    r.wait(3, 15)
    assert "a generator died" in r.log()


# ---- connections ----

def test_connections_are_renewed(world, server):
    r = Rehearsal(world, scenario(server.port, "2s", "steps: [{ rate: 200 }], connections: 4, handshakes: 20")).wait(0)
    ids = set(re.findall(r"\[id=(\d+)\]", server.log()))
    assert 25 <= len(ids) <= 50, len(ids)  # 1 to look, 4 to begin with, 20 a second
    assert r.result()["windows"][0]["all"]["success"] == 400


def test_goaway_loses_nothing(world, messenger):
    """A server that says GOAWAY after every 20 requests: the next connection takes over, what is under way ends."""
    m = messenger("--fault", "goaway=20")
    r = Rehearsal(world, scenario(m.port, "2s", "steps: [{ rate: 300 }], connections: 2",
                                  "{ name: p, tier: core, does: profile, share: 1 }")).wait(0)
    assert r.result()["windows"][0]["all"]["outcomes"]["served"] == 600


def test_over_tls(world, certs, tmp_path):
    (tmp_path / "index.html").write_text("hello")
    port = proc.free_port()
    world.process(["nghttpd", "-a", "127.0.0.1", "-d", tmp_path, port, certs / "ecdsa.key", certs / "ecdsa.pem"], "nghttpd-tls")
    proc.wait_for(lambda: proc.listening(port), what="start of nghttpd")
    r = Rehearsal(world, scenario(port, "1s", "steps: [{ rate: 100 }]", target="ca: %s" % (certs / "ca.pem"))).wait(0)
    assert r.result()["windows"][0]["all"]["success"] == 100
    r = Rehearsal(world, scenario(port, target="ca: %s, authority: elsewhere.test" % (certs / "ca.pem")), name="other").wait(3)
    assert re.search(r"certificate is not one of .*ca\.pem for \"elsewhere\.test\"", r.log())
    assert not r.csv.stat().st_size  # nothing was sent


# ---- the messenger ----

MIX = ", ".join("{ name: %s, tier: core, does: %s, share: %d }" % (v, v, n) for v, n in
                (("send", 6), ("recent", 3), ("rooms", 1), ("sync", 2), ("presence", 2), ("login", 1), ("profile", 1), ("upload", 1),
                 ("download", 1), ("backup", 1), ("restore", 1), ("shop", 1)))


def test_every_verb_is_served_and_every_octet_is_right(world, messenger, tmp_path):
    m = messenger()
    r = Rehearsal(world, scenario(m.port, "3s", "steps: [{ rate: 200 }], users: 10", MIX, 'assert: ["lost == 0", "duplicated == 0", "reordered == 0"]'),
                  "--journal", tmp_path / "journal", "--threads", "3").wait(0)
    whole = r.result()["windows"][0]
    assert whole["all"]["outcomes"]["served"] == 600, whole["all"]
    sent = whole["features"]["send"]["count"]
    assert r.result()["messages"]["acknowledged"] == sent > 100
    journal = "".join(p.read_text() for p in (tmp_path / "journal").iterdir())
    keys = [json.loads(line)["key"] for line in journal.splitlines()]
    assert len(set(keys)) == len(keys) == sent


def test_one_send_of_a_room_is_under_way_at_a_time(world, messenger, tmp_path):
    """A slow server and few rooms: sends wait for the one before, so that order is theirs to keep."""
    m = messenger("--fault", "latency=50")
    r = Rehearsal(world, scenario(m.port, "2s", "steps: [{ rate: 40 }], users: 2, timeout: 20s", "{ name: send, tier: core, does: send, share: 1 }",
                                  'assert: ["reordered == 0", "lost == 0"]'), "--journal", tmp_path / "journal").wait(0)
    whole = r.result()["windows"][0]["all"]
    assert whole["outcomes"]["served"] == 80
    assert whole["latency_ms"]["p50"] > 50  # they waited
    assert r.result()["generator"]["late_p99_ms"] < whole["latency_ms"]["p50"]  # which is not the generator's doing


def test_somebody_elses_answer_is_seen(world, server, tmp_path):
    """A server that answers everybody with what is user 0's."""
    (tmp_path / "www" / "v1").mkdir()
    (tmp_path / "www" / "v1" / "profile").write_text('{"user":"u~1-0","name":"u~1-0"}')
    (tmp_path / "www" / "v1" / "sync").write_text('{"user":"u~1-0","rooms":[{"room":"r~1-0","messages":[{"body":"~1-0 ~1-1 ~1-0"}]}]}')
    features = "{ name: p, tier: core, does: profile, share: 1 }, { name: s, tier: core, does: sync, share: 1 }"
    r = Rehearsal(world, scenario(server.port, "1s", "steps: [{ rate: 200 }], users: 2", features, 'assert: ["wrong_user == 0"]')).wait(99)
    f = r.result()["windows"][0]["features"]
    # user 0 gets their own profile; in their sync a message of user 1 hides
    assert 0 < f["p"]["outcomes"]["wrong"] < f["p"]["count"]
    assert f["s"]["outcomes"]["wrong"] == f["s"]["count"]


def test_event_streams_bring_each_message_once(world, messenger):
    """Their connections are renewed all the time: each goes on after the last event it had."""
    m = messenger()
    r = Rehearsal(world, scenario(m.port, "4s", "steps: [{ until: 3s, rate: 50 }], users: 4, event_streams: 4, connections: 4, handshakes: 5",
                                  "{ name: send, tier: core, does: send, share: 1 }, { name: events, tier: core, does: events }")).wait(0)
    g = r.result()["generator"]
    assert g["stream_events"] == 150, g
    assert g["stream_cuts"] == 0  # they were moved by ourselves
    assert r.result()["windows"][0]["features"]["events"]["outcomes"]["served"] > 4


def test_event_streams_that_are_cut_come_back(world, messenger):
    m = messenger()
    r = Rehearsal(world, scenario(m.port, "4s", "steps: [{ rate: 20 }], users: 3, event_streams: 3, connections: 3",
                                  "{ name: profile, tier: core, does: profile, share: 1 }, { name: events, tier: core, does: events }"))
    proc.wait_for(lambda: re.search(r"^ +1s", r.log(), re.M), 30, what="a second of the run")
    m.stop()
    port = m.port
    world.process([proc.binary(RUN), "backend", "--listen", "127.0.0.1:%d" % port, "--state", world.folder / "state"], "backend-again")
    r.p.p.wait(60)
    assert r.result()["generator"]["stream_cuts"] == 3
    assert r.result()["windows"][0]["features"]["events"]["outcomes"]["served"] >= 6


def test_an_event_stream_that_does_not_begin_has_failed(world, messenger):
    """A messenger that takes requests and never answers: asked again after the timeout, each time a failure."""
    m = messenger("--fault", "silence=1")
    r = Rehearsal(world, scenario(m.port, "3s", "steps: [{ rate: 10 }], event_streams: 1, timeout: 500ms",
                                  "{ name: profile, tier: core, does: profile, share: 1 }, { name: events, tier: core, does: events }"))
    r.p.p.wait(60)
    f = r.result()["windows"][0]["features"]
    assert f["profile"]["outcomes"]["failed"] == 30
    assert f["events"]["outcomes"]["failed"] == f["events"]["count"] >= 3


# ---- the figures, by another implementation ----

NODE = """
import { createHistogram } from 'node:perf_hooks';
import { readFileSync } from 'node:fs';
const rows = readFileSync(process.argv[2], 'ascii').trim().split('\\n');
const column = rows[0].split(',').indexOf('latency_us');
const h = createHistogram({ figures: 5 });
for (const row of rows.slice(1)) h.record(Math.max(1, Number(row.split(',')[column])));
console.log(JSON.stringify([50, 90, 99, 99.9].map((p) => h.percentile(p) / 1000)));
"""


def test_percentiles_agree_with_node(world, messenger, tmp_path):
    m = messenger("--fault", "latency=3")
    r = Rehearsal(world, scenario(m.port, "4s", "steps: [{ rate: 200, to: 800 }], arrivals: poisson", "{ name: p, tier: core, does: profile, share: 1 }"))
    r.p.p.wait(60)
    (tmp_path / "percentiles.mjs").write_text(NODE)
    node = json.loads(subprocess.run(["node", tmp_path / "percentiles.mjs", r.csv], check=True, capture_output=True, timeout=30).stdout)
    ours = r.result()["windows"][0]["all"]["latency_ms"]
    assert [ours[k] for k in ("p50", "p90", "p99")] == pytest.approx(node[:3], rel=0.01)
    # Node takes the rank half up, we take the next one: of the rarest that is another sample.
    rarest = sorted(int(s["latency_us"]) / 1000 for s in r.samples())[-6:]
    assert ours["p999"] in rarest and rarest[rarest.index(ours["p999"]) - 1] * 0.99 <= node[3] <= ours["p999"] * 1.01


# ---- what is said before it begins; its end ----

def said(world, text, code, *options, name="said"):
    r = Rehearsal(world, text, *options, name=name).wait(code, 20)
    assert not r.csv.exists() or not r.csv.stat().st_size  # nothing was sent
    return r.log()


def test_bad_scenario_all_errors_at_once(world):
    text = scenario(1, "2s", features="{ name: a, tier: core, does: sned, share: 1 }", rest="windws: {}\ntimeline: [{ at: 3s, operator: status }]")
    log = said(world, text, 2)
    assert re.search(r"said\.yaml:5:42: error: \"does\" is \"sned\".*did you mean \"send\"", log)
    assert re.search(r"said\.yaml:6:1: error: unknown key \"windws\".*did you mean \"windows\"", log)
    assert "after the end of the run (2s)" in log


def test_nobody_there(world):
    assert re.search(r"target 127\.0\.0\.1:\d+ is down: .*refused", said(world, scenario(proc.free_port()), 3))


def test_not_http2(world):
    s = world.script(lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    assert re.search(r"target .*: it does not answer over HTTP/2 in cleartext", said(world, scenario(s.address[1]), 3))


def test_another_machine_is_refused(world):
    text = scenario(1).replace("127.0.0.1:1", "192.0.2.1:443")
    assert "--allow-remote if that is meant" in said(world, text, 2)
    assert "is another machine" in said(world, scenario(1), 2, "--target", "[2001:db8::1]:443", name="v6")
    assert "is another machine" in said(world, scenario(1), 2, "--admin", "192.0.2.1:9", name="admin")


def test_without_a_journal_nothing_can_be_called_lost(world, tmp_path):
    text = scenario(1, rest='assert: ["lost == 0"]')
    assert "the target has no journal" in said(world, text, 2)
    (tmp_path / "empty").mkdir()
    assert "folder of journals has none" in said(world, text, 2, "--journal", tmp_path / "empty", name="empty")


CAST = ("name: t\nduration: 2s\ndatacenters: [{ name: a }]\nload: { steps: [{ rate: 10 }] }\n"
        "features: [{ name: p, tier: core, does: get, path: /index.html, share: 1 }]\n")


def test_a_target_instead_of_the_cast(world, server):
    """--target takes the cast's place where nothing needs one."""
    where = "127.0.0.1:%d" % server.port
    r = Rehearsal(world, CAST, "--target", where, "--cleartext", "--seed", "3", "--quick", "2").wait(0)
    assert r.result()["windows"][0]["all"]["outcomes"]["served"] == 10 and r.result()["scenario"]["seed"] == 3
    faults = CAST + "timeline: [{ at: 1s, fault: { dc: a, kind: kill } }]\n"
    assert "faults, which need a cast" in said(world, faults, 2, "--target", where, name="faults")
    assert "there is none" in said(world, CAST, 2, "--cleartext", name="none")
    assert "with a target there is none" in said(world, CAST, 2, "--target", where, "--keep", name="keep")


def test_where_results_cannot_go_is_said_first(world):
    log = said(world, scenario(1), 2, "--report", "/no/such/folder/report.html")
    assert "/no/such/folder/report.html: No such file or directory" in log


def test_interrupted_it_ends_with_what_there_is(world, server):
    r = Rehearsal(world, scenario(server.port, "60s", "steps: [{ rate: 100 }], event_streams: 1",
                                  GET + ", { name: events, tier: core, does: events }", 'assert: ["count > 0 during late"]\nwindows: { late: { from: 50s, until: 60s } }'))
    proc.wait_for(lambda: re.search(r"^ +1s", r.log(), re.M), 30, what="a second of the run")
    brood = r.p.children()
    began = time.monotonic()
    r.p.kill(signal.SIGINT)
    r.p.p.wait(10)
    assert time.monotonic() - began < 8 and r.p.p.returncode == 3
    got = r.result()
    assert got["partial"] and got["lasted_s"] < 30 and len(r.samples()) >= 100
    assert got["exit_status"] == 3 and got["invalid"] == "it was interrupted"
    assert not got["assertions"][0]["held"]  # of the end nothing can be told
    proc.wait_for(lambda: not any(proc.alive(p) for p in brood), what="end of all processes")


def test_the_conductor_killed_leaves_nothing_behind(world, server):
    r = Rehearsal(world, scenario(server.port, "60s"))
    proc.wait_for(lambda: re.search(r"^ +1s", r.log(), re.M), 30, what="a second of the run")
    brood = r.p.children()
    r.p.kill(signal.SIGKILL)
    r.p.p.wait(10)
    proc.wait_for(lambda: not any(proc.alive(p) for p in brood), what="end of all processes")


def test_kept_running_until_interrupted(world):
    """--keep: after the verdict the cast stays, at the addresses it says, and ends with all of it."""
    text = ("name: kept\nduration: 1s\ndatacenters: [{ name: a, endpoints: 1 }, { name: b, endpoints: 1 }]\nproxy: { redis: false, tls: false }\n"
            "load: { steps: [{ rate: 20 }] }\nfeatures: [{ name: profile, tier: core, does: profile, share: 1 }]\nassert: [count == 20]\n")
    r = Rehearsal(world, text, "--keep")
    proc.wait_for(lambda: "left running" in r.log() and "files " in r.log(), 60, what="the addresses")
    assert "All 1 assertions held." in r.log() or "could not keep its schedule" in r.log()
    messenger = re.search(r"messenger +http://(\S+)", r.log()).group(1)
    folder = re.search(r"files +(\S+)", r.log()).group(1)
    assert re.fullmatch(r"\d+\.\d+\.\d+", r.result()["environment"]["proxy_version"])
    got = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-H", "Authorization: Bearer alice.x", "http://%s/v1/profile" % messenger],
                         check=True, capture_output=True, text=True, timeout=20).stdout
    assert got.startswith('{"user":"alice"')
    brood = r.p.children()
    assert os.path.isdir(folder) and len(brood) >= 3
    r.p.kill(signal.SIGINT)
    r.p.p.wait(20)
    assert r.p.p.returncode in (0, 3)
    proc.wait_for(lambda: not os.path.exists(folder) and not any(proc.alive(p) for p in brood), what="end of all of it")


def test_keys(world):
    out = subprocess.run([proc.binary(RUN), "run", "--keys"], check=True, capture_output=True, text=True, timeout=10).stdout
    for word in ("duration", "event_streams", "one of core, standard, optional", "blackhole", "has to be written", "default 5s"):
        assert word in out, word
