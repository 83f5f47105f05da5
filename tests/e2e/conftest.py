# SPDX-License-Identifier: MIT
"""Fixtures: certificates, upstreams, a private Redis, the proxy. Everything lives in
the test's temporary folder and is ended by pid at its end."""
import os
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from lib import config, peers, proc, proxy as proxy_lib  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "plain: measures, so runs on the build without sanitizers")


@pytest.fixture(scope="session")
def certs(tmp_path_factory):
    """A small CA; ECDSA and RSA server pairs for localhost; a pair for another name."""
    folder = tmp_path_factory.mktemp("certs")

    def openssl(*args):
        subprocess.run(["openssl"] + [str(a) for a in args], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test ca",
            "-keyout", "ca.key", "-out", "ca.pem")
    for name, key, san in (("ecdsa", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "DNS:localhost,DNS:example.com,IP:127.0.0.1"),
                           ("rsa", ["-newkey", "rsa:2048"], "DNS:localhost,DNS:example.com,IP:127.0.0.1"),
                           ("other", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "DNS:elsewhere.test")):
        openssl("req", *key, "-nodes", "-subj", "/CN=" + san.split(",")[0][4:], "-keyout", name + ".key", "-out", name + ".csr")
        (folder / (name + ".ext")).write_text("subjectAltName=%s\n" % san)
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", name + ".ext", "-out", name + ".pem")
    return folder


class World:
    """What a test builds its scene from; remembers what has to be ended."""

    def __init__(self, folder, certs):
        self.folder = folder
        self.certs = certs
        self.things = []
        self.proxies = []
        self.count = 0

    def keep(self, thing):
        self.things.append(thing)
        return thing

    def backend(self, name="a", **more):
        return self.keep(peers.Backend(name, **more))

    def script(self, behave):
        return self.keep(peers.Script(behave))

    def process(self, argv, name, **more):
        p = proc.Process(argv, self.folder, name, **more)
        self.keep(p)
        return p

    def redis(self):
        """A private Redis on loopback: (Process, port)."""
        port = proc.free_port()
        folder = self.folder / ("redis-%d" % port)
        folder.mkdir()
        p = self.process(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder,
                          "--daemonize", "no"], "redis-%d" % port)
        proc.wait_for(lambda: proc.listening(port), what="start of redis")
        p.port = port
        return p

    def config(self, **more):
        return config.Config(self.folder, self.certs, **more)

    def proxy(self, cfg=None, plain=False, wait=True, env=None, limits_process=None, **more):
        """A running proxy. `more` goes to Config when no Config is given."""
        if cfg is None:
            cfg = self.config(**more)
        self.count += 1
        name = "firebreak" if self.count == 1 else "firebreak%d" % self.count
        p = proxy_lib.Proxy(self.folder, cfg.text(), cfg.port, cfg.admin_port, plain=plain, name=name, token=cfg.token, token_file=cfg.token_file, env=env, limits=limits_process,
                            wait=wait)
        p.cfg = cfg
        self.proxies.append(p)
        return p

    def end(self):
        for p in self.proxies:
            p.stop()
        for t in reversed(self.things):
            (t.stop if hasattr(t, "stop") else t.close)()
        for p in self.proxies:
            p.sane()
        for t in self.things:
            if isinstance(t, proc.Process):
                assert not t.reports(), "sanitizer report of %s:\n%s" % (t.name, "\n".join(t.reports()))


@pytest.fixture
def world(tmp_path, certs, request):
    w = World(tmp_path, certs)
    yield w
    w.end()
    if not getattr(request.node, "failed", False):
        shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        item.failed = True
        used = getattr(item, "funcargs", {})
        world = used.get("world") or getattr(used.get("scene"), "world", None)
        for p in world.proxies if world else []:
            report.sections.append(("log of the proxy", p.p.log()[-6000:]))


class Scene:
    """One proxy in front of one or two Backends, shared by the tests of a module."""

    def __init__(self, world, **more):
        self.world = world
        self.a = world.backend("a")
        self.b = world.backend("b")
        self.proxy = world.proxy(datacenters={"a": [self.a.where], "b": [self.b.where]}, **{"retry": config.PATIENT, **more})
        self.port = self.proxy.port
        self.tls_port = self.proxy.cfg.tls_port
        self.address = self.proxy.address
        self.tls_address = ("127.0.0.1", self.tls_port)

    def seen(self, **how):
        """What both backends were asked, in the order of arrival."""
        return sorted(self.a.seen(**how) + self.b.seen(**how), key=lambda r: r.at)


@pytest.fixture(scope="module")
def scene(tmp_path_factory, certs):
    folder = tmp_path_factory.mktemp("scene")
    w = World(folder, certs)
    try:
        yield Scene(w)
    finally:
        w.end()
