# SPDX-License-Identifier: MIT
"""Requests that mean one thing to one reader and another to the next. Judged at both
ends: what the client got, and what the backend saw field by field."""
import re

import pytest

from lib.frames import NO_ERROR, Raw, data, get, headers

BAD = "/t/smuggle"


def with_field(name, value):
    return get(BAD) + [(name, value)]


# name -> header list; none of them may reach a backend as a request
REFUSED = {
    "CR in a value": with_field("x-a", "b\rc"),
    "LF in a value": with_field("x-a", "b\nc"),
    "CRLF request in a value": with_field("x-a", "b\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n"),
    "NUL in a value": with_field("x-a", "b\0c"),
    "LF in a name": with_field("x-a\nb", "c"),
    "CRLF in a name": with_field("x-a: b\r\nx-c", "d"),
    "tab in a name": with_field("x\ta", "c"),
    "leading space in a value": with_field("x-a", " b"),
    "trailing space in a value": with_field("x-a", "b "),
    "CRLF in :path": get("/t/smuggle HTTP/1.1\r\nHost: evil\r\n\r\n"),
    "space in :path": get("/t/smuggle x"),
    "NUL in :path": get("/t/smuggle\0"),
    "CR in :method": get(BAD, "GET\r\nX: y"),
    "space in :method": get(BAD, "GET /x HTTP/1.1"),
    "empty :method": get(BAD, ""),
    "CRLF in :authority": get(BAD, "GET", "example.com\r\nX: y"),
    "space in :authority": get(BAD, "GET", "example.com x"),
    "slash in :authority": get(BAD, "GET", "example.com/x"),
    "userinfo in :authority": get(BAD, "GET", "user:pw@example.com"),
    "empty :authority without host": get(BAD, "GET", ""),
    "escape in :authority": get(BAD, "GET", "ex%61mple.com"),
    "encoded NUL in :authority": get(BAD, "GET", "example.com%00"),
    "comma in :authority": get(BAD, "GET", "example.com,evil.test"),
    "semicolon in :authority": get(BAD, "GET", "example.com;evil.test"),
    "empty brackets in :authority": get(BAD, "GET", "[]"),
    "brackets that are no address": get(BAD, "GET", "[v1.x]"),
    "address without end": get(BAD, "GET", "[::1"),
    "port that is no number": get(BAD, "GET", "example.com:80x"),
    "question mark in :authority": get(BAD, "GET", "example.com?x"),
    "hash in :authority": get(BAD, "GET", "example.com#x"),
    "LF in :scheme": get(BAD, "GET", "example.com", "ht\ntp"),
    "two authorities": [(":authority", "evil.test")] + get(BAD),
    "host differs from :authority": with_field("host", "evil.test"),
    "two hosts": [f for f in get(BAD) if f[0] != ":authority"] + [("host", "a.test"), ("host", "b.test")],
    "host with userinfo": [f for f in get(BAD) if f[0] != ":authority"] + [("host", "u@a.test")],
    "no authority at all": [f for f in get(BAD) if f[0] != ":authority"],
    "absolute :path": get("http://evil.test/t/smuggle"),
    "absolute https :path": get("https://evil.test/t/smuggle"),
    "asterisk without OPTIONS": get("*"),
    "relative :path": get("t/smuggle"),
    "fragment in :path": get("/t/smuggle#x"),
    "transfer-encoding": with_field("transfer-encoding", "chunked"),
    "transfer-encoding identity": with_field("transfer-encoding", "identity"),
    "connection naming a field": with_field("connection", "x-a"),
    "upgrade h2c": with_field("upgrade", "h2c"),
    "http2-settings": get(BAD) + [("connection", "upgrade, http2-settings"), ("http2-settings", "AAMAAABk")],
    "proxy-connection": with_field("proxy-connection", "keep-alive"),
    "te gzip": with_field("te", "gzip"),
    "te trailers, chunked": with_field("te", "trailers, chunked"),
    "content-length with sign": get(BAD, "POST") + [("content-length", "+0")],
    "content-length negative": get(BAD, "POST") + [("content-length", "-1")],
    "content-length hex": get(BAD, "POST") + [("content-length", "0x0")],
    "content-length list": get(BAD, "POST") + [("content-length", "0, 0")],
    "content-length empty": get(BAD, "POST") + [("content-length", "")],
    "content-length huge": get(BAD, "POST") + [("content-length", "99999999999999999999999")],
    "content-length twice, different": get(BAD, "POST") + [("content-length", "0"), ("content-length", "1")],
    "content-length without body": get(BAD, "POST") + [("content-length", "5")],
    "upper-case Content-Length": get(BAD, "POST") + [("Content-Length", "0")],
    "upper-case Transfer-Encoding": with_field("Transfer-Encoding", "chunked"),
    "pseudo-field by capital": [(":Path", "/x")] + get(BAD),
    "pseudo-field late": get(BAD)[:3] + [("x-a", "b"), (":path", BAD)],
    "name with colon first": with_field(":x", "y"),
    "name is a space": with_field(" ", "y"),
    "CONNECT with :path": get(BAD, "CONNECT"),
    "CONNECT plain": [(":method", "CONNECT"), (":authority", "example.com:443")],
    "delete character in a name": with_field("x\x7f", "y"),
    "delete character in :path": get("/t/smuggle\x7f"),
    "high byte in :path": get("/t/smuggle\xff"),
    "backslash in :authority": get(BAD, "GET", "example.com\\x"),
    "encoded NUL in :path": get("/t/smuggle%00"),
    "encoded slash": get("/t%2fsmuggle"),
    "encoded backslash": get("/t%5csmuggle"),
    "encoded dot segments": get("/x/%2e%2e/t/smuggle"),
    "encoded dot segments, upper": get("/x/%2E%2E/t/smuggle"),
    "half encoded dot segment": get("/x/.%2e/t/smuggle"),
    "bad escape": get("/t/smuggle%zz"),
    "cut escape": get("/t/smuggle%4"),
    "encoded CR LF": get("/t/smuggle%0d%0aX:y"),
    "slash in a form too long": get("/t%c0%afsmuggle"),
    "dots in a form too long": get("/x/%c0%ae%c0%ae/t/smuggle"),
    "letter in a form too long": get("/%c1%b4/smuggle"),
    "parameters that hide the feature": get("/t;x/smuggle"),
    "escaped parameters that hide the feature": get("/t%3bx/smuggle"),
    "segment of parameters alone": get("/;x/t/smuggle"),
    "escape in :authority": get(BAD, "GET", "ex%61mple.com"),
}


@pytest.mark.parametrize("name", REFUSED, ids=lambda n: re.sub(r"\W+", "-", n))
def test_refused(scene, name):
    before = len(scene.seen())
    with Raw(scene.address) as c:
        c.send(headers(1, REFUSED[name], end=True))
        assert c.run(lambda: c.done(1) or c.goaway not in (None, NO_ERROR) or c.closed), "no answer"
        answer = c.stream(1)
        refused = c.closed or c.goaway not in (None, NO_ERROR) or answer.reset not in (None, NO_ERROR) or \
            (answer.status is not None and 400 <= answer.status < 600)
        assert refused, answer
        # the connection, if it lives, gives the next request its own answer
        if not c.closed and c.goaway is None:
            after = c.ask(3, get("/t/headers"))
            assert after.status == 200 and b'"/t/headers"' in after.body
    new = [r for r in scene.seen()[before:] if r.path != "/t/headers"]
    assert new == [], "the backend saw %s" % [r.fields for r in new]


# name -> (:path sent, :path that arrives or None when refused)
PATHS = {
    "plain": ("/t/x", "/t/x"),
    "dot": ("/t/./x", "/t/x"),
    "dot dot": ("/t/y/../x", "/t/x"),
    "above the root": ("/../../t/x", None),
    "two slashes": ("/t//x", "/t/x"),
    "unreserved escape": ("/t/%78", "/t/x"),
    "unreserved escapes in upper and lower": ("/t/%7Ex", "/t/~x"),
    "reserved escape kept, upper": ("/t/a%3ab", "/t/a%3Ab"),
    "query untouched": ("/t/x?a=%2f&b=../..", "/t/x?a=%2f&b=../.."),
    "query with question mark": ("/t/x?a?b", "/t/x?a?b"),
    "empty query": ("/t/x?", "/t/x?"),
    "trailing slash kept": ("/t/x/", "/t/x/"),
    "semicolon kept": ("/t/x;v=1", "/t/x;v=1"),
}


@pytest.mark.parametrize("name", PATHS, ids=lambda n: n.replace(" ", "-"))
def test_path_is_normalised(scene, name):
    sent, expected = PATHS[name]
    before = len(scene.seen())
    with Raw(scene.address) as c:
        answer = c.ask(1, get(sent))
    assert answer.status == (200 if expected else 400), answer
    assert [r.path for r in scene.seen()[before:]] == ([expected] if expected else [])


def test_encoded_path_cannot_change_the_feature(scene):
    """/off/... is another feature; no spelling of it is answered by the feature of /t/..."""
    for path in ("/t/../off/x", "/t/%2e%2e/off/x", "/t/..%2foff/x", "//off/x", "/off%2fx", "/%6fff/x", "/./off/./x", "/t/..\\off\\x"):
        before = len(scene.seen())
        with Raw(scene.address) as c:
            c.ask(1, get(path))
        for r in scene.seen()[before:]:
            assert r.path.startswith("/off/"), "%s arrived as %s" % (path, r.path)


def test_body_beyond_content_length_never_completes(scene):
    before = len(scene.seen(path=BAD))
    with Raw(scene.address) as c:
        c.send(headers(1, get(BAD, "POST") + [("content-length", "5")], end=False))
        c.send(data(1, b"12345"), data(1, b"GET /admin HTTP/1.1\r\n\r\n", True))
        c.run(lambda: c.done(1) or c.goaway or c.closed)
        assert c.stream(1).reset is not None or c.goaway
    scene.a.wait(lambda: all(r.reset is not None for r in scene.seen(path=BAD)[before:]), 2)
    assert not [r for r in scene.seen(path=BAD)[before:] if r.ended]


def test_authority_from_host(scene):
    """Host alone stands in for :authority; equal ones are one."""
    fields = [f for f in get("/t/headers") if f[0] != ":authority"] + [("host", "example.com")]
    with Raw(scene.address) as c:
        assert c.ask(1, fields).status == 200
        assert c.ask(3, get("/t/headers") + [("host", "example.com")]).status == 200
    for r in scene.seen(path="/t/headers")[-2:]:
        assert r.field(":authority") == "example.com"
        assert r.all("host") in ([], ["example.com"])


@pytest.mark.parametrize("sent,arrives", [("example.com:", "example.com"), ("[::1]:80", "[::1]:80"), ("ex_a-mple.com", "ex_a-mple.com")])
def test_authority_in_one_form(scene, sent, arrives):
    with Raw(scene.address) as c:
        assert c.ask(1, get("/t/headers", "GET", sent)).status == 200
    assert scene.seen(path="/t/headers")[-1].field(":authority") == arrives


def test_equal_content_lengths_arrive_once(scene):
    with Raw(scene.address) as c:
        c.send(headers(1, get("/t/headers", "POST") + [("content-length", "2"), ("content-length", "2")], end=False) + data(1, b"ab", True))
        c.run(lambda: c.done(1) or c.goaway or c.closed)
        if c.stream(1).status == 200:
            assert scene.seen(path="/t/headers")[-1].all("content-length") == ["2"]


def test_refused_body_does_not_become_a_request(scene):
    """A request that is refused while its body still comes: the next one gets its own answer."""
    with Raw(scene.address) as c:
        c.send(headers(1, get("/t%2fx", "POST"), end=False), data(1, b"x" * 1000))
        c.run(lambda: c.stream(1).status or c.stream(1).reset is not None)
        c.send(data(1, b"GET / HTTP/1.1\r\n\r\n", True))
        after = c.ask(3, get("/t/headers"))
        assert after.status == 200 and b'"/t/headers"' in after.body
