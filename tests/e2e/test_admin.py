# SPDX-License-Identifier: MIT
"""What operators see and ask: health, metrics, status, logs; and who may change things."""
import json
import re
import subprocess

import pytest

from lib import proc
from lib.frames import fetch, get


def test_livez_readyz(scene):
    assert scene.proxy.ask("GET", "/livez")[0] == 200
    assert scene.proxy.ask("GET", "/readyz")[0] == 200


def test_metrics_pass_promtool(scene):
    for path in ("/t/x", "/off/x", "/t/status/500"):
        fetch(scene.address, get(path))
    status, text, head = scene.proxy.ask("GET", "/metrics")
    assert status == 200 and head["Content-Type"].startswith("text/plain")
    r = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr
    assert "user" not in "".join(re.findall(r"\{[^}]*\}", text))


def test_exchanges_are_counted(scene):
    before = scene.proxy.metrics()
    for _ in range(20):
        fetch(scene.address, get("/t/x"))
    for _ in range(10):
        fetch(scene.address, get("/off/x"))

    def grown():
        after = scene.proxy.metrics()
        d = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}
        served = sum(v for k, v in d.items() if 'feature="test"' in k and 'outcome="served"' in k and "bucket" not in k)
        refused = sum(v for k, v in d.items() if 'feature="off"' in k and 'outcome="refused"' in k and "bucket" not in k)
        return served >= 20 and refused >= 10
    proc.wait_for(grown, 5, what="counters")


def test_status_is_json(scene):
    s = scene.proxy.status()
    assert s["mode"] == "normal" or s["mode"].get("name") == "normal"
    assert {d["name"] for d in s["datacenters"]} == {"a", "b"}


def test_firebreakctl_status(scene):
    out = scene.proxy.ctl("status")
    assert "normal" in out and re.search(r"\ba\b", out)


def test_unknown_path_is_404(scene):
    assert scene.proxy.ask("GET", "/nope")[0] == 404


@pytest.mark.parametrize("method,path", [("POST", "/api/v1/mode"), ("PUT", "/api/v1/mode"), ("DELETE", "/api/v1/mode"), ("PUT", "/api/v1/features/test")])
def test_mutation_needs_the_token(scene, method, path):
    body = {"mode": "core-only", "value": "off", "for": 60, "seconds": 60, "reason": "x", "author": "x"}
    assert scene.proxy.ask(method, path, body, token=False)[0] in (401, 403, 404, 405)
    assert scene.proxy.ask(method, path, body, {"Authorization": "Bearer wrong"})[0] in (401, 403, 404, 405)
    assert fetch(scene.address, get("/t/x")).status == 200


def test_foreign_origin_and_host_are_refused(scene):
    body = {"mode": "core-only"}
    assert scene.proxy.ask("PUT", "/api/v1/mode", body, {"Origin": "http://evil.test"})[0] in (401, 403)
    assert scene.proxy.ask("GET", "/api/v1/status", None, {"Host": "evil.test"})[0] in (400, 403, 421)


def test_get_changes_nothing(scene):
    for path in ("/api/v1/mode?set=core-only", "/api/v1/features/test?value=off", "/api/v1/datacenters/a/drain"):
        scene.proxy.ask("GET", path)
    assert fetch(scene.address, get("/t/x")).status == 200
    assert "normal" in json.dumps(scene.proxy.status()["mode"])


def test_access_log_line(scene):
    fetch(scene.address, get("/t/logged?q=1") + [("x-request-id", "req-for-the-log-1234")])
    path = scene.proxy.cfg.access_log

    def line():
        with open(path, encoding="utf-8") as f:
            return [json.loads(x) for x in f if "/t/logged" in x]
    got = proc.wait_for(line, 5, what="the access line")[0]
    text = json.dumps(got)
    assert "test" in text and "200" in text
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text)


def test_secrets_do_not_reach_log_or_config_dump(scene):
    fetch(scene.address, get("/t/x") + [("authorization", "Bearer very-secret-token"), ("cookie", "sid=very-secret-cookie")])
    with open(scene.proxy.cfg.access_log, encoding="utf-8") as f:
        assert "very-secret" not in f.read()
    assert "very-secret" not in scene.proxy.p.log()
