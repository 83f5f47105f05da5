# SPDX-License-Identifier: MIT
"""Datacenters on their way back and out: the hold, the ramp, flaps, drains, and control
processes that come and go meanwhile. Users and names are fixed, and with them who is whose."""
import os
import signal
import subprocess
import threading
import time

import pytest

from lib import proc
from lib.frames import fetch
from lib.load import Load, bad
from test_datacenters import Messenger, as_user

USERS = 600
# Who is whose is the subject: nobody is asked elsewhere for a moment's doubt.
SURE = {"ping_after": "1s", "hedge": False}
RAMP = {"hold": "1s", "over": "6s", "first": "10%"}
SERVING = ("up", "restoring")


def mix():
    return [(u, as_user(u, "/v1/rooms"), None) for u in range(USERS)]


def datacenter(m, name="a"):
    return next(d for d in m.proxy.status()["datacenters"] if d["name"] == name)


def wait_state(m, state, seconds=15.0, name="a"):
    proc.wait_for(lambda: datacenter(m, name)["state"] == state, seconds, what="datacenter %s %s" % (name, state))


def transitions(m, name="a"):
    return [e for e in m.proxy.events() if e.get("event") == "datacenter.state" and e["datacenter"] == name]


class Watch:
    """What the status says about a's share, all the time: [(the load's time, share, state)]."""

    def __init__(self, m, load):
        self.m, self.load, self.seen, self.stopping = m, load, [], False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping:
            try:
                d = datacenter(self.m)
                self.seen.append((self.load.now(), d["share"], d["state"]))
            except (OSError, ValueError):
                pass  # between two control processes
            time.sleep(0.05)

    def stop(self):
        self.stopping = True
        self.thread.join(5)
        return self.seen


def homes(m):
    """Users whose home is a."""
    return {u for u in range(USERS) if fetch(m.address, as_user(u, "/v1/rooms")).field("x-datacenter") == "a"}


def check_ramp(samples, seen, own, since):
    """From then on a gets its own users only, and by every moment no larger part of them than
    the ramp says plus five points."""
    back = set()
    for s in sorted((s for s in samples if s.at > since and s.by == "a"), key=lambda s: s.at + s.took):
        assert s.kind in own, s
        back.add(s.kind)
        later = [share for t, share, _ in seen if t > s.at + s.took]
        share = later[0] if later else 1.0
        assert len(back) / len(own) <= share + 0.05, (s, len(back), len(own), share)


def lose(m, load):
    """Kills a under load: the load's time when it was away and others had its users."""
    load.wait_answers(50, by="a")
    m.signal("a", signal.SIGKILL)
    wait_state(m, "down")
    gone = load.now()
    load.wait_answers(50, since=gone)
    return gone


@pytest.mark.slow
@pytest.mark.plain
def test_return_under_load(world):
    """Held, then ramped: nothing fails, nobody strange comes, no step above the ramp."""
    m = Messenger(world, restore=RAMP, retry=SURE)
    own = homes(m)
    load = Load(m.address, mix(), rate=300)
    watch = Watch(m, load)
    gone = lose(m, load)
    m.start("a")
    wait_state(m, "restoring")
    wait_state(m, "up", 30)
    proc.wait_for(lambda: {s.kind for s in load.answered("a", gone)} == own, 20, what="the return of all users")
    samples, seen = load.stop(), watch.stop()
    assert not bad(samples), bad(samples)[:5]
    check_ramp(samples, seen, own, gone)
    restoring = [t for t, _, state in seen if state == "restoring"]
    first = min(s.at + s.took for s in samples if s.at > gone and s.by == "a")
    assert first >= restoring[0] - 0.3, "before the hold was over"
    assert [e["why"] for e in transitions(m)][-3:] == ["first-answers", "hold-over", "ramp-over"]


@pytest.mark.slow
@pytest.mark.plain
@pytest.mark.parametrize("how", ["pause", "kill"])
def test_flapping(world, how):
    """Two seconds there, two seconds away, with the shipped hold: at most three moves of traffic."""
    m = Messenger(world, restore={"over": "5s"})
    load = Load(m.address, mix(), rate=150)
    for _ in range(5):
        m.signal("a", signal.SIGSTOP if how == "pause" else signal.SIGKILL)
        time.sleep(2)  # the period is the subject
        if how == "pause":
            m.signal("a", signal.SIGCONT)
        else:
            m.start("a")
        time.sleep(2)
    samples = load.stop()
    moves = [(e["from"], e["to"]) for e in transitions(m) if (e["from"] in SERVING) != (e["to"] in SERVING)]
    assert 1 <= len(moves) <= 3, moves
    assert not bad(samples), bad(samples)[:5]
    assert datacenter(m)["state"] in ("suspect", "down", "probing")
    assert datacenter(m)["flaps"] >= 1


@pytest.mark.slow
@pytest.mark.plain
def test_control_dies_and_configurations_change_in_the_middle_of_a_ramp(world):
    """The ramp goes on where it was: it neither begins anew nor jumps, and no user notices."""
    m = Messenger(world, restore={"hold": "500ms", "over": "12s", "first": "10%"}, retry=SURE)
    own = homes(m)
    load = Load(m.address, mix(), rate=200)
    watch = Watch(m, load)
    gone = lose(m, load)
    m.start("a")
    proc.wait_for(lambda: datacenter(m)["share"] > 0.3, 20, what="a third of the ramp")
    pid = m.proxy.control()
    m.proxy.expected_deaths += 1
    os.kill(pid, signal.SIGKILL)
    proc.wait_for(lambda: m.proxy.ready() and m.proxy.control() != pid, 10, what="a new control process")
    assert datacenter(m)["state"] == "restoring"
    proc.wait_for(lambda: datacenter(m)["share"] > 0.6, 20, what="two thirds of the ramp")
    m.proxy.cfg.comment = "another one"
    m.proxy.reload(m.proxy.cfg.text())
    proc.wait_for(lambda: all(w["generation"] == 2 for w in m.proxy.status()["workers"]), 10, what="the new configuration")
    assert datacenter(m)["state"] == "restoring"
    wait_state(m, "up", 30)
    samples, seen = load.stop(), watch.stop()
    assert not bad(samples), bad(samples)[:5]
    check_ramp(samples, seen, own, gone)
    ramp = [(t, share) for t, share, state in seen if state == "restoring"]
    for (t1, s1), (t2, s2) in zip(ramp, ramp[1:]):
        assert s1 - 0.001 <= s2 <= s1 + (t2 - t1) / 12 + 0.05, (t1, s1, t2, s2)


@pytest.mark.slow
@pytest.mark.plain
def test_drain_over_time_and_back(world):
    """Operators see how far it is; users leave evenly, core last, and come back the same way."""
    m = Messenger(world, restore={"hold": "10s", "over": "3s", "first": "10%"}, retry=SURE)
    own = homes(m)
    load = Load(m.address, mix(), rate=200)
    watch = Watch(m, load)
    said = m.proxy.ctl("dc", "drain", "a", "--over", "4s", "--wait", "--reason", "switch upgrade")
    assert "a draining" in said and "drained in" in said and "a drained 0%" in said, said
    drained = load.now()
    load.wait_answers(200, since=drained)  # a is nobody's
    status = m.proxy.status()
    assert status["overrides"][0]["over_s"] == 4 and status["overrides"][0]["left_s"] > 3600
    # what is left may not be drained as well, but by force
    assert "no datacenter would be left" in m.proxy.ctl("dc", "drain", "b", "--reason", "x", expect=1)
    again = load.now()
    said = m.proxy.ctl("dc", "restore", "a", "--wait")
    assert "a restoring" in said and "a up 100%" in said, said
    samples, seen = load.stop(), watch.stop()
    assert not bad(samples), bad(samples)[:5]
    assert not [s for s in samples if s.by == "a" and drained < s.at < again], "drained is drained"
    check_ramp(samples, seen, own, drained)
    falling = [share for t, share, state in seen if state == "draining"]
    assert len(falling) > 20 and falling == sorted(falling, reverse=True)
    assert any(0.4 < share < 0.6 for share in falling)


def test_a_drain_survives_control_and_is_ended_by_another(world):
    m = Messenger(world, plain=False, restore=RAMP)
    m.proxy.ctl("dc", "drain", "a", "--over", "6s", "--for", "1h", "--reason", "drill")
    proc.wait_for(lambda: datacenter(m)["share"] < 0.8, 10, what="a part of the drain")
    pid = m.proxy.control()
    m.proxy.expected_deaths += 1
    os.kill(pid, signal.SIGKILL)
    proc.wait_for(lambda: m.proxy.ready() and m.proxy.control() != pid, 10, what="a new control process")
    d = datacenter(m)
    assert d["state"] in ("draining", "drained") and d["share"] < 0.8, d
    assert d["tier_shares"]["core"] >= d["tier_shares"]["standard"] >= d["tier_shares"]["optional"]
    env = dict(os.environ, FIREBREAK_ADMIN="127.0.0.1:%d" % m.proxy.admin_port, FIREBREAK_TOKEN_FILE=m.proxy.token_file)
    m.proxy.ctl("dc", "restore", "a")
    wait_state(m, "up")
    ctl = subprocess.Popen([proc.binary("firebreakctl"), "dc", "drain", "a", "--over", "60s", "--wait", "--reason", "drill"], env=env,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
    wait_state(m, "draining")
    m.proxy.ctl("dc", "restore", "a")
    out = ctl.communicate(timeout=15)[0]
    assert ctl.returncode == 1 and "somebody restored it meanwhile" in out, out


def test_a_hold_can_be_ended_by_hand(world):
    m = Messenger(world, plain=False, restore={"hold": "10m", "over": "1s"})
    m.signal("a", signal.SIGKILL)
    wait_state(m, "down")
    m.start("a")
    wait_state(m, "probing")
    assert datacenter(m)["next"]["state"] == "restoring"
    m.proxy.ctl("dc", "restore", "a", "--wait")
    assert datacenter(m)["state"] == "up"


def test_the_last_one_does_not_wait(world):
    """With nobody else there, the first that answers again takes everything, hold or not."""
    m = Messenger(world, plain=False, restore={"hold": "10m", "over": "10m"})
    m.signal("a", signal.SIGKILL)
    wait_state(m, "down")
    m.start("a")
    wait_state(m, "probing")
    m.signal("b", signal.SIGKILL)
    wait_state(m, "up")
    assert datacenter(m)["why"] == "no-other" and datacenter(m)["share"] == 1
    wait_state(m, "down", name="b")
    m.start("b")
    wait_state(m, "probing", name="b")
    assert datacenter(m)["state"] == "up"


def blame(m, name, text):
    for port in m.ports[name]:
        a = fetch(("127.0.0.1", port), [(":method", "PUT"), (":path", "/_fault?" + text), (":scheme", "http"), (":authority", "x")])
        assert a.status == 200, a


@pytest.mark.slow
@pytest.mark.plain
def test_a_return_that_goes_badly_steps_back(world):
    """It passes its checks and is slow to answer its users: the ramp steps back and ends in
    another hold, long before everybody is there; once it is well, it comes back."""
    m = Messenger(world, restore={"hold": "1s", "over": "20s", "first": "10%"})
    own = homes(m)
    load = Load(m.address, mix(), rate=300)
    watch = Watch(m, load)
    load.wait_answers(1000)  # what is usual has been learned
    lose(m, load)
    m.start("a")
    blame(m, "a", "latency=100")
    wait_state(m, "restoring")
    proc.wait_for(lambda: any(e["why"] == "worse-than-others" for e in transitions(m)), 30, what="the verdict")
    assert datacenter(m)["state"] == "probing" and datacenter(m)["flaps"] >= 2
    most = max(share for t, share, state in watch.seen if state == "restoring")
    assert most < 0.6, "%.0f%% of its users were there" % (most * 100)
    blame(m, "a", "clear=1")
    well = load.now()
    proc.wait_for(lambda: datacenter(m)["share"] > 0.3, 40, what="its return")
    samples, seen = load.stop(), watch.stop()
    assert not bad(samples), bad(samples)[:5]
    check_ramp([s for s in samples if s.kind in own], seen, own, well)  # hedging may ask there for others
