# SPDX-License-Identifier: MIT
"""Configurations of tests. Written as JSON, which is YAML's flow style."""
import json
import os

from . import proc

STATE = {"identity": "bearer", "state": {"keep": True, "max_age": "1h"}}

# For scenes that do not test silence: Python's backends share one interpreter (and with it both
# datacenters do), which a busy machine keeps from answering a PING or a check for half a second.
# Nor do they test hedging: what a backend is asked is counted there.
PATIENT = {"connect_timeout": "5s", "ping_after": "1s", "ping_timeout": "20s", "ping_idle_timeout": "20s", "hedge": False}

# What the simulated messenger serves, by feature.
MESSENGER = [
    {"name": "send", "tier": "core", "routes": ["POST /v1/rooms/{room}/messages", "grpc messenger.v1.Messenger/Send"],
     "idempotency": "idempotency-key"},
    {"name": "sync", "tier": "core", "routes": ["GET /v1/sync"], **STATE},
    {"name": "recent-messages", "tier": "core", "routes": ["GET /v1/rooms/{room}/messages", "grpc messenger.v1.Messenger/Recent"], **STATE},
    {"name": "room-list", "tier": "core", "routes": ["GET /v1/rooms", "PUT /v1/rooms/{room}", "grpc messenger.v1.Messenger/Rooms"], **STATE},
    {"name": "presence", "tier": "core", "routes": ["GET|PUT /v1/presence", "GET|PUT /v1/presence/{user}"], **STATE},
    {"name": "events", "tier": "core", "routes": ["GET /v1/events"], "long_lived": True, "stream_idle": "1h"},
    {"name": "login", "tier": "core", "routes": ["POST /v1/login/refresh"]},
    {"name": "media", "tier": "standard", "routes": ["POST /v1/media", "GET /v1/media/{id}"], "body_limit": "2GiB", "timeout": "30s"},
    {"name": "backup", "tier": "optional", "routes": ["/v1/backup/**"], "body_limit": "unlimited", "timeout": "30s"},
    {"name": "shopping", "tier": "optional", "routes": ["/v1/shopping/**"], "retry_after": "1m"},
]

REFUSED = {mode: ["refuse"] for mode in ("normal", "reduced", "core-only", "island")}


class Config:
    """Plain features for the scripted backends of peers.py: /t/** is core ("test"),
    /opt/** optional, /off/** refused always, /ws/** takes extended CONNECT, /events/**
    is long-lived."""

    def __init__(self, folder, certs, datacenters, messenger=False, redis=None, workers=2, listeners=(), limits=None, trusted=(), checks=True,
                 drain="2s", dc_tls=None, retry=None, timeout="5s", admin=True, features=(), tls=True, extra=None, restore=None):
        self.folder = str(folder)
        self.port, self.tls_port, self.admin_port = proc.free_port(), proc.free_port(), proc.free_port()
        self.token = "secret-of-the-test"
        self.token_file = os.path.join(self.folder, "token")
        with open(self.token_file, "w", encoding="ascii") as f:
            f.write(self.token + "\n")
        os.chmod(self.token_file, 0o600)
        self.access_log = os.path.join(self.folder, "access-%d.log" % self.port)
        self.off = ["/off/**", "grpc test.Off/*"]
        self.comment = ""
        state_dir = os.path.join(self.folder, "state-%d" % self.port)
        os.mkdir(state_dir)
        listen = [{"address": "127.0.0.1:%d" % self.port}]
        if tls:
            listen.append({"address": "127.0.0.1:%d" % self.tls_port, "certificate": str(certs / "ecdsa.pem"), "key": str(certs / "ecdsa.key"),
                           "certificate2": str(certs / "rsa.pem"), "key2": str(certs / "rsa.key")})
        check = {"interval": "200ms", "timeout": "200ms", "rise": 2, "fall": 100 if retry is PATIENT else 3} if checks else {"interval": "10m", "fall": 100}
        self.data = {
            "node": "test-node",
            "workers": workers,
            "drain_timeout": drain,
            "listen": listen + list(listeners),
            "headers": {"trusted": list(trusted)},
            "datacenters": [{"name": name, "endpoints": list(endpoints), "check": check, "restore": restore or {"hold": "200ms", "over": "500ms"}, **({"tls": dc_tls} if dc_tls else {})}
                            for name, endpoints in datacenters.items()],
            "features": list(features) + (MESSENGER if messenger else []) + [
                {"name": "test", "tier": "core", "routes": ["/t/**", "grpc test.Chat/*"], "timeout": timeout, "body_limit": "unlimited"},
                {"name": "opt", "tier": "optional", "routes": ["/opt/**"]},
                {"name": "off", "tier": "optional", "routes": self.off, "ways": REFUSED, "retry_after": "30s"},
                {"name": "socket", "tier": "core", "routes": ["/ws/**"], "connect": True, "long_lived": True},
                {"name": "feed", "tier": "core", "routes": ["/events/**"], "long_lived": True},
            ],
            "limits": limits or {},
            "retry": retry or {},
            "control": {"hold": "500ms", "state_dir": state_dir},
            "admin": {"address": "127.0.0.1:%d" % self.admin_port, "token_file": self.token_file} if admin else {"address": "off"},
            "log": {"events": "stderr", "access": self.access_log},
        }
        if redis:
            secret = os.path.join(self.folder, "secret")
            with open(secret, "wb") as f:
                f.write(b"0123456789abcdef" * 4)
            self.data["redis"] = {"address": "127.0.0.1:%d" % redis}
            self.data["cache"] = {"secret_file": secret}
        self.data.update(extra or {})

    def text(self):
        return "# %s\n%s\n" % (self.comment, json.dumps(self.data, indent=1))
