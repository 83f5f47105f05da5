# SPDX-License-Identifier: MIT
"""Configurations that are wrong, files that are missing, ports that are taken, disks that
are full: a clear message, and nothing else breaks."""
import os
import re
import subprocess

import pytest

from lib import proc
from lib.frames import fetch, get

ROOT = proc.ROOT


def check(path):
    r = subprocess.run([proc.binary("firebreak"), "--check", "-c", str(path)], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    return r.returncode, r.stdout + r.stderr


def written(world, **more):
    cfg = world.config(datacenters={"a": ["127.0.0.1:9"]}, **more)
    path = world.folder / "f.yaml"
    path.write_text(cfg.text())
    return cfg, path


def test_good_configuration(world):
    _, path = written(world)
    assert check(path)[0] == 0


def shipped():
    out = [os.path.join(ROOT, "config/firebreak.yaml")]
    examples = os.path.join(ROOT, "config/examples")
    if os.path.isdir(examples):
        out += [os.path.join(examples, f) for f in sorted(os.listdir(examples)) if f.endswith(".yaml")]
    return out


@pytest.mark.parametrize("path", shipped(), ids=os.path.basename)
def test_shipped_files_are_good_where_their_files_exist(path):
    """Certificates and secrets of examples do not exist here; nothing else may be wrong."""
    code, out = check(path)
    wrong = [line for line in out.splitlines() if "error" in line and not re.search(r"cannot be read|No such file|file that can be read", line)]
    assert not wrong, wrong
    if os.path.basename(path) == "firebreak.yaml":
        assert code == 0, out


def test_reference_is_what_the_program_prints():
    r = subprocess.run([proc.binary("firebreak"), "--document-config"], capture_output=True, text=True, timeout=20)
    with open(os.path.join(ROOT, "config/firebreak.yaml"), encoding="utf-8") as f:
        assert r.stdout == f.read(), "run: build/src/firebreak --document-config > config/firebreak.yaml"


def test_all_errors_at_once(world):
    cfg, path = written(world)
    text = cfg.text().replace('"drain_timeout": "2s"', '"drain_timeout": "2 parsecs"').replace('"workers": 2', '"wrokers": 2')
    text = text.replace('"tier": "optional"', '"tier": "optionall"').replace('"/events/**"', '"/v1/:room/events"')
    path.write_text(text)
    code, out = check(path)
    assert code == 78
    assert 'expected "{room}" for a part' in out, "the routes were not looked at"
    lines = [line for line in out.splitlines() if "error" in line]
    assert len(lines) >= 4, out
    for line in lines:
        assert re.match(r"%s:\d+:\d+: error: " % re.escape(str(path)), line), line
    assert "workers" in out and "did you mean" in out.lower(), out


def test_core_last_is_checked(world):
    """A mode that refuses core while it serves optional names its line."""
    cfg, path = written(world, extra={"modes": [{"name": "odd", "ways": {"core": ["refuse"], "standard": ["forward"], "optional": ["forward"]}}]})
    code, out = check(path)
    assert code == 78 and "core" in out, out


@pytest.mark.parametrize("text", ["", "[]", "x", "a: *b", "a: &b [*b]", "\0", "%YAML 9", "listen: {", "- 1\n- 2", "!!binary x: y", "{" * 3000],
                         ids=["empty", "list", "scalar", "alias", "recursive", "nul", "directive", "cut", "sequence", "tag", "deep"])
def test_nonsense_is_refused(world, text):
    path = world.folder / "x.yaml"
    path.write_text(text)
    code, out = check(path)
    assert code == 78 and out.strip(), (code, out)
    assert "Sanitizer" not in out


def test_missing_file():
    code, out = check("/nonexistent/firebreak.yaml")
    assert code in (1, 78) and "nonexistent" in out


def test_missing_certificate(world):
    cfg, path = written(world)
    path.write_text(cfg.text().replace("ecdsa.pem", "absent.pem"))
    code, out = check(path)
    assert code == 78 and "absent.pem" in out


@pytest.mark.parametrize("old, new, why", [
    ("ecdsa.key", "other.key", r"yaml:\d+:\d+: error: key \S+other\.key does not belong to certificate \S+ecdsa\.pem"),
    ("rsa.pem", "rsa.key", r"error: certificate \S+rsa\.key: "),
])
def test_check_tries_the_certificates(world, old, new, why):
    """What would keep the service from starting, or a reload from being taken, is found by --check."""
    cfg, path = written(world)
    path.write_text(cfg.text().replace(old, new))
    code, out = check(path)
    assert code == 78 and re.search(why, out), out


def test_check_tries_the_trust_of_redis(world):
    cfg, path = written(world, redis=6379)
    for ca, expected in (("ca.pem", 0), ("rsa.key", 78)):
        cfg.data["redis"]["tls"] = {"ca": str(world.certs / ca)}
        path.write_text(cfg.text())
        code, out = check(path)
        assert code == expected, out
    assert re.search(r"yaml:\d+:\d+: error: .*rsa\.key", out), out


def test_key_that_does_not_fit(world):
    """Refused at start with a sentence; at reload the old one stays."""
    cfg, _ = written(world)
    a = world.backend("a")
    p = world.proxy(datacenters={"a": [a.where]})
    good = p.cfg.text()
    p.reload(good.replace("ecdsa.key", "other.key"))
    proc.wait_for(lambda: re.search(r"ERROR|error", p.p.log()), 5, what="a complaint")
    assert fetch(("127.0.0.1", p.cfg.tls_port), get("/t/x"), tls=True).status == 200
    bad = world.proxy(_replace(world.config(datacenters={"a": [a.where]}), "ecdsa.key", "other.key"), wait=False)
    assert bad.p.p.wait(20) != 0
    assert re.search(r"key|certificate", bad.p.log())
    assert cfg


def _replace(cfg, old, new):
    text = cfg.text().replace(old, new)
    cfg.text = lambda: text
    return cfg


@pytest.mark.parametrize("program, page", [("firebreak", "firebreak.8"), ("firebreakctl", "firebreakctl.1")])
def test_manual_has_every_option(program, page):
    r = subprocess.run([proc.binary(program), "--help"], capture_output=True, text=True, timeout=10)
    options = set(re.findall(r"--([a-z-]+)", r.stdout)) - {"help", "usage", "version"}
    with open(os.path.join(ROOT, "docs", page + ".scd"), encoding="utf-8") as f:
        text = f.read()
    assert r.returncode == 0 and len(options) >= 4, r.stdout
    assert not [o for o in options if "--" + o not in text]


def test_usage_is_64():
    r = subprocess.run([proc.binary("firebreak"), "--no-such-option"], capture_output=True, timeout=10)
    assert r.returncode == 64


def test_secrets_are_masked_in_the_dump(world):
    cfg, path = written(world, redis=6379)
    cfg.data["redis"]["password"] = "hush-hush"
    path.write_text(cfg.text())
    r = subprocess.run([proc.binary("firebreak"), "-T", "-c", str(path)], capture_output=True, text=True, timeout=10)
    assert r.returncode == 0 and "hush-hush" not in r.stdout and "drain_timeout" in r.stdout


def test_full_disk_under_the_log(world):
    """/dev/full takes nothing: lines are lost and counted, requests are not."""
    a = world.backend("a")
    cfg = world.config(datacenters={"a": [a.where]})
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    cfg.data["log"]["access"] = "/dev/full"
    p = world.proxy(cfg, wait=False)
    proc.wait_for(lambda: not p.p.running() or (proc.listening(p.port) and p.ready()), 20, what="start")
    if not p.p.running():
        assert "/dev/full" in p.p.log()  # a device is no log: said clearly
        return
    for _ in range(50):
        assert fetch(p.address, get("/t/x")).status == 200
    proc.wait_for(lambda: p.metric("firebreak_log_dropped_total") > 0, 5, what="the count of lost lines")


def test_log_reader_that_does_not_read(world):
    """A pipe nobody empties never blocks the loop."""
    a = world.backend("a")
    cfg = world.config(datacenters={"a": [a.where]})
    cfg.data["log"]["access"] = "stdout"
    path = world.folder / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    cfg_path = world.folder / "p.yaml"
    cfg_path.write_text(cfg.text())
    out = os.open(path, os.O_WRONLY)
    child = subprocess.Popen([proc.binary("firebreak"), "-c", str(cfg_path)], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL)
    os.close(out)
    try:
        proc.wait_for(lambda: proc.listening(cfg.port), 20)
        from lib.frames import Raw
        with Raw(("127.0.0.1", cfg.port), timeout=10) as c:
            for i in range(1500):
                assert c.ask(2 * i + 1, get("/t/x?" + "y" * 200)).status == 200
    finally:
        child.terminate()
        child.wait(15)
        os.close(reader)
