# SPDX-License-Identifier: MIT
"""The programs compared: how each is configured and started for each question.

A peer gets its best-practice configuration: keep-alive to the backends, access logs off,
TLS 1.3 with the same P-256 certificate, one worker. HTTP/2 to the backends where it can
(Firebreak, nghttpx, HAProxy), else HTTP/1.1. For the loss of a datacenter it gets what it
has of short connect timeouts, health checks, and retries of everything, POST included.
"""
import os
import re
import subprocess
from dataclasses import dataclass, field

from .lab import free_port, wait_port
from .h2o import h2o

HEALTH = "/healthz"  # of the simulated messenger


@dataclass
class Place:
    """One started peer: what it was asked to be, and what came of it."""
    lab: object
    name: str
    datacenters: list  # each a list of addresses of backends
    role: str = "plain"  # or cached, outage
    patience_ms: int = 3000  # outage: how long to wait for an answer
    ramp_s: int = 0  # outage: in which a datacenter that returns should have its users back, a tenth of them at once; 0: as it comes
    tls: int = field(default_factory=free_port)
    h2c: int = field(default_factory=free_port)
    texts: dict = field(default_factory=dict)  # every configuration, for the report
    processes: list = field(default_factory=list)

    @property
    def backends(self):
        return [address for addresses in self.datacenters for address in addresses]

    @property
    def pids(self):
        return [p.pid for p in self.processes]

    def path(self, name):
        return os.path.join(self.lab.dir, f"{self.name}-{self.role}-{name}")

    def file(self, name, text):
        self.texts[name] = text.strip("\n")
        return self.lab.file(self.path(name), text)

    def start(self, *commands, wrap=()):
        for argv in commands:
            self.texts.setdefault("commands", "")
            self.texts["commands"] += " ".join(argv) + "\n"
            self.processes.append(self.lab.start(f"{self.name}-{self.role}-{os.path.basename(argv[0])}", list(wrap) + argv, self.lab.proxy_cpu))

    def stop(self):
        self.lab.stop(self.processes)


def firebreak(p):
    admin = f"unix:{p.path('admin')}"
    names = [f"dc{i + 1}" for i in range(len(p.datacenters))]
    check = "" if p.role == "outage" else " check: { path: /small },"
    if p.ramp_s:
        check += f" restore: {{ hold: 1s, over: {p.ramp_s}s, first: 10% }},"
    datacenters = "\n".join("  - {{ name: {},{} endpoints: [{}] }}".format(name, check, ", ".join(f'"{a}"' for a in addresses))
                            for name, addresses in zip(names, p.datacenters))
    features = {
        "plain": 'name: all, tier: core, routes: ["/**"]',
        "cached": 'name: all, tier: core, routes: ["GET /**"], state: { keep: true, shared: true }',
        "outage": 'name: send, tier: core, routes: ["POST /v1/rooms/{room}/messages"], identity: bearer, idempotency: idempotency-key }\n'
                  '  - { name: read, tier: core, routes: ["GET /v1/**"], identity: bearer',
    }[p.role]
    conf = p.file("firebreak.yaml", f"""
workers: 1
drain_timeout: 1s
listen:
  - {{ address: "127.0.0.1:{p.tls}", certificate: cert.pem, key: key.pem }}
  - {{ address: "127.0.0.1:{p.h2c}" }}
datacenters:
{datacenters}
features:
  - {{ {features} }}
limits: {{ idle_timeout: 1h, connections_per_address: unlimited }}
admin: {{ address: "{admin}" }}
log: {{ events: "{p.path('events.log')}" }}
""")
    return [[p.lab.firebreak, "-c", conf]]


def stale_only(p):
    """After one answer was kept, nothing is forwarded any more."""
    fetch_once(p)
    argv = [p.lab.ctl, "-a", f"unix:{p.path('admin')}", "feature", "all", "stale-only", "--for", "2h", "--reason", "bench/compare", "--force"]
    p.texts["commands"] += " ".join(argv) + "\n"
    subprocess.run(argv, check=True, capture_output=True)


def fetch_once(p):
    """On both ports, as the load does: authority and some header fields are a part of what is cached."""
    for url in (f"http://127.0.0.1:{p.h2c}/small", f"https://127.0.0.1:{p.tls}/small"):
        subprocess.run(["h2load", "-n1", "-c1", url], check=True, capture_output=True, timeout=10)


def nghttpx(p):
    more = []
    params = ";;proto=h2"
    if p.role == "outage":
        params += ";fall=1;rise=2"
        more = ["--backend-connect-timeout=500ms", f"--backend-read-timeout={p.patience_ms}ms", "--backend-max-backoff=5s"]
    return [["nghttpx", "--conf=/dev/null", "--workers=1", f"-f127.0.0.1,{p.tls}", f"-f127.0.0.1,{p.h2c};no-tls"]
            + [f"-b{address.replace(':', ',')}{params}" for address in p.backends]
            + ["--frontend-http2-read-timeout=1h", "--accesslog-file=/dev/null", "--errorlog-file=/dev/null"] + more + ["key.pem", "cert.pem"]]


def haproxy(p):
    safe, check, cache, use = "", "", "", ""
    connect, server = "5s", "60s"
    if p.role == "outage":
        connect, server = "500ms", f"{p.patience_ms}ms"
        safe = "    retries 3\n    option redispatch 1\n    retry-on all-retryable-errors\n    timeout check 500ms\n"
        check = (f"    balance roundrobin\n    option httpchk\n    http-check send meth GET uri {HEALTH} ver HTTP/2 hdr host localhost\n"
                 "    default-server check check-proto h2 inter 500ms fastinter 250ms downinter 500ms fall 2 rise 2 observe layer7 error-limit 10 on-error mark-down"
                 + (f" slowstart {p.ramp_s}s" if p.ramp_s else "") + "\n")
    if p.role == "cached":
        cache = "cache small\n    total-max-size 64\n    max-age 3600\n"
        use = "    http-request cache-use small\n    http-response cache-store small\n"
    servers = "".join(f"    server s{i + 1} {address} proto h2\n" for i, address in enumerate(p.backends))
    conf = p.file("haproxy.cfg", f"""
global
    nbthread 1
    maxconn 9000
    tune.ssl.default-dh-param 2048
defaults
    mode http
    timeout connect {connect}
    timeout client 1h
    timeout server {server}
    http-reuse always
{safe}{cache}frontend f
    bind 127.0.0.1:{p.tls} ssl crt both.pem alpn h2
    bind 127.0.0.1:{p.h2c} proto h2
    default_backend b
backend b
{use}{check}{servers}""")
    return [["haproxy", "-db", "-f", conf]]


def nginx(p):
    per_server, failover, cache, use = "", "", "", ""
    if p.role == "outage":
        per_server = " max_fails=1 fail_timeout=10s"
        failover = (f"proxy_connect_timeout 500ms; proxy_read_timeout {p.patience_ms}ms; proxy_send_timeout {p.patience_ms}ms;\n"
                    "      proxy_next_upstream error timeout invalid_header http_502 http_503 http_504 non_idempotent; proxy_next_upstream_tries 4;\n      ")
    if p.role == "cached":
        cache = f"proxy_cache_path {p.path('cache')} keys_zone=small:10m inactive=1h;\n  "
        use = "proxy_cache small; proxy_cache_valid 200 1h;\n      "
    servers = " ".join(f"server {address}{per_server};" for address in p.backends)
    conf = p.file("nginx.conf", f"""
daemon off; worker_processes 1; pid {p.path('nginx.pid')}; error_log {p.path('nginx.err')};
worker_rlimit_nofile 16000;
events {{ worker_connections 12000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; http2_max_concurrent_streams 128;
  {cache}upstream b {{ {servers} keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{p.tls} ssl http2 backlog=4096; listen 127.0.0.1:{p.h2c} http2 backlog=4096;
    ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      {failover}{use}proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}
}}
""")
    return [["nginx", "-p", p.lab.dir, "-c", conf]]


def varnish(p):
    """Varnish has no TLS of its own: hitch in front of it, both counted."""
    inner = free_port()
    host, _, port = p.backends[0].partition(":")
    vcl = p.file("varnish.vcl", f"""
vcl 4.1;
backend default {{ .host = "{host}"; .port = "{port}"; }}
""")
    conf = p.file("hitch.conf", f"""
frontend = "[127.0.0.1]:{p.tls}"
backend = "[127.0.0.1]:{inner}"
pem-file = "{p.lab.dir}/both.pem"
alpn-protos = "h2"
write-proxy-v2 = on
workers = 1
backlog = 4096
""")
    return [["varnishd", "-F", "-j", "none", "-n", p.path("varnish"), "-f", vcl, "-s", "malloc,64m", "-a", f"127.0.0.1:{p.h2c}",
             "-a", f"127.0.0.1:{inner},PROXY", "-p", "feature=+http2", "-p", "thread_pools=1"],
            ["hitch", f"--config={conf}"] + (["--user=nobody"] if os.geteuid() == 0 else [])]


@dataclass
class Peer:
    title: str
    make: object
    version: list
    upstream: str = "h2"
    what: tuple = ("cpu", "latency", "idle", "cached", "outage")
    patience_ms: int = 3000
    ready: object = None  # cached: called before the load

    @property
    def fast(self):
        return self.what == ("outage",)

    def start(self, lab, name, datacenters, role="plain", wrap=(), ramp_s=0):
        """The peer, running and answering on both ports."""
        p = Place(lab, name, datacenters, role, self.patience_ms, ramp_s)
        p.start(*self.make(p), wrap=wrap)
        try:
            for port in (p.tls, p.h2c):
                wait_port(port, 60 if wrap else 15, p.processes[0])
        except RuntimeError as e:
            said = "".join(lab.said(q)[-600:] for q in p.processes)
            p.stop()
            raise RuntimeError(f"{name} ({role}): {e}: {said}") from None
        if role == "cached":
            (self.ready or fetch_once)(p)
        return p

    def find_version(self, lab):
        argv = [lab.firebreak if self.version[0] == "firebreak" else self.version[0]] + self.version[1:]
        out = subprocess.run(argv, capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)?[\w.-]*", out.stdout + out.stderr)
        return found.group(0) if found else "unknown"


# A peer that gives up on an answer after half a second: it finds silence sooner, and cuts slow backends.
FAST = {"what": ("outage",), "patience_ms": 500}
NO_CACHE = ("cpu", "latency", "idle", "outage")

PEERS = {
    "firebreak": Peer("Firebreak", firebreak, ["firebreak", "-V"], ready=stale_only),
    "firebreak-again": Peer("Firebreak (again)", firebreak, ["firebreak", "-V"], ready=stale_only),
    "nghttpx": Peer("nghttpx", nghttpx, ["nghttpx", "--version"], what=NO_CACHE),
    "haproxy": Peer("HAProxy", haproxy, ["haproxy", "-v"]),
    "nginx": Peer("nginx", nginx, ["nginx", "-v"], "h1"),
    "h2o": Peer("h2o", h2o, ["h2o", "--version"], "h1", what=NO_CACHE),
    "varnish": Peer("Varnish + hitch", varnish, ["varnishd", "-V"], "h1", what=("cached",)),
    "haproxy-500ms": Peer("HAProxy, 500 ms", haproxy, ["haproxy", "-v"], **FAST),
    "nginx-500ms": Peer("nginx, 500 ms", nginx, ["nginx", "-v"], "h1", **FAST),
}
