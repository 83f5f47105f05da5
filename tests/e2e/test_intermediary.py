# SPDX-License-Identifier: MIT
"""What an intermediary owes to the messages it passes on: RFC 9110 5 to 9, RFC 9113 8,
W3C Trace Context. Tables: what was sent, what arrives."""
import calendar
import json
import re
import time

import pytest

from lib.frames import CANCEL, NO_ERROR, Raw, data, fetch, get, headers, rst

WORLD = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
GOOD = "00-%s-%s-01" % WORLD
FUTURE = "cc-%s-%s-01-more" % WORLD


def arrives(scene, fields, path="/t/headers", method="GET", names=()):
    """[(name, value)] of these names at the backend."""
    answer = fetch(scene.address, get(path, method) + list(fields))
    assert answer.status == 200, answer
    return [(n, v) for n, v in json.loads(answer.body) if n in names]


def latest(scene, path):
    return max(scene.seen(path=path), key=lambda r: r.at)


# -- trace context --

STATE = ("tracestate", "a=1")
TRACES = {
    "parent, then state": ([("traceparent", GOOD), STATE], True),
    "state, then parent": ([STATE, ("traceparent", GOOD)], True),
    "parent alone": ([("traceparent", GOOD)], True),
    "state in two lines around its parent": ([STATE, ("traceparent", GOOD), ("tracestate", "b=2")], True),
    "a version to come": ([("traceparent", FUTURE), STATE], True),
    "state alone": ([STATE], False),
    "parent of noise": ([("traceparent", "garbage"), STATE], False),
    "parent of noise after its state": ([STATE, ("traceparent", "garbage")], False),
    "upper-case digits": ([("traceparent", GOOD.upper()), STATE], False),
    "all zeroes": ([("traceparent", "00-%s-%s-01" % ("0" * 32, WORLD[1])), STATE], False),
    "parent of zeroes": ([("traceparent", "00-%s-%s-01" % (WORLD[0], "0" * 16)), STATE], False),
    "version ff": ([("traceparent", "ff" + GOOD[2:]), STATE], False),
    "version 0 that is too long": ([("traceparent", GOOD + "-x"), STATE], False),
    "a version to come without its dash": ([("traceparent", FUTURE[:55] + "x"), STATE], False),
    "two parents": ([("traceparent", GOOD), ("traceparent", GOOD.replace("b7", "c7")), STATE], False),
}


@pytest.mark.parametrize("name", TRACES, ids=lambda n: re.sub(r"\W+", "-", n))
def test_trace_goes_on_whole_or_not_at_all(scene, name):
    fields, kept = TRACES[name]
    assert arrives(scene, fields, names=("traceparent", "tracestate")) == (fields if kept else [])


# -- Max-Forwards (RFC 9110 7.6.2) --

@pytest.mark.parametrize("method", ["OPTIONS", "TRACE"])
@pytest.mark.parametrize("sent,expected", [(["1"], ["0"]), (["7"], ["6"]), (["010"], ["9"]), (["5", "3"], ["2"]), (["x"], ["x"]), ([], []),
                                           (["99999999999999999999999"], ["9999999999999999998"])])
def test_max_forwards_counts_down(scene, method, sent, expected):
    got = arrives(scene, [("max-forwards", v) for v in sent], "/t/headers", method, ("max-forwards",))
    assert [v for _, v in got] == expected


@pytest.mark.parametrize("method,status", [("OPTIONS", 200), ("TRACE", 501)])
def test_max_forwards_of_nothing_ends_here(scene, method, status):
    answer = fetch(scene.address, get("/t/last-hop", method) + [("max-forwards", "0"), ("authorization", "Bearer secret")])
    assert answer.status == status and answer.ended, answer
    assert "max-forwards" in answer.field("proxy-status")
    assert b"secret" not in answer.body
    assert answer.field("content-length") == str(len(answer.body))
    assert not scene.seen(path="/t/last-hop")


def test_max_forwards_of_other_methods_is_not_ours(scene):
    assert arrives(scene, [("max-forwards", "0")], names=("max-forwards",)) == [("max-forwards", "0")]


# -- Date (RFC 9110 6.6.1) --

def test_date_is_added_once_and_only_when_missing(scene):
    answer = fetch(scene.address, get("/t/trailers"))
    dates = [v for n, v in answer.heads[0] if n == "date"]
    assert len(dates) == 1, answer.heads
    told = calendar.timegm(time.strptime(dates[0], "%a, %d %b %Y %H:%M:%S GMT"))
    assert abs(told - time.time()) < 60
    answer = fetch(scene.address, get("/t/x"))
    assert [v for n, v in answer.heads[0] if n == "date"] == ["Mon, 01 Jan 2024 00:00:00 GMT"]


def test_date_is_for_final_responses(scene):
    first, last = fetch(scene.address, get("/t/hints")).heads[:2]
    assert "date" not in dict(first) and "date" in dict(last)


@pytest.mark.parametrize("fields", [13, 14, 15, 16, 17])
def test_date_beside_any_number_of_fields(scene, fields):
    """A head that just fills its place has room for one more."""
    more = [("x-%d" % i, str(i)) for i in range(fields)]
    path = "/t/dated/%d" % fields
    scene.a.custom[path] = scene.b.custom[path] = lambda c, r: c.respond(r, 200, more)
    head = fetch(scene.address, get(path)).heads[0]
    assert [f for f in head if f[0] != "date" and f[0] != "x-backend"] == [(":status", "200")] + more
    assert head[-1][0] == "date"


# -- who is told what --

def test_responses_say_nothing_of_the_way(scene):
    """A gateway need not add Via to responses (RFC 9110 7.6.3), and this one does not."""
    assert fetch(scene.address, get("/t/x")).field("via") is None


@pytest.mark.parametrize("name", ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded", "x-request-id"])
def test_word_of_an_untrusted_peer(scene, name):
    """Who is not in headers.trusted says nothing about the way; what we say ourselves stands alone."""
    got = arrives(scene, [(name, "6.6.6.6"), (name, "7")], names=(name,))
    assert len(got) <= 1 and not any("6.6.6.6" in v or v == "7" for _, v in got), got


def test_te_trailers_arrives(scene):
    """gRPC backends insist on it (RFC 9113 8.2.2 allows this value alone)."""
    assert arrives(scene, [("te", "trailers")], names=("te",)) == [("te", "trailers")]


def test_options_asterisk_arrives_as_it_is(scene):
    before = len(scene.seen(path="*"))
    answer = fetch(scene.address, get("*", "OPTIONS"))
    assert answer.status == 200 and answer.ended
    assert len(scene.seen(path="*")) == before + 1


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "host", "content-length",
                                  "cookie", "authorization"])
def test_trailers_carry_nobodys_word(scene, name):
    """What is not believed in the head is not believed behind the body either, where some
    servers add trailers to the fields (RFC 9110 6.5.1)."""
    with Raw(scene.address) as c:
        answer = c.ask(1, get("/t/echo", "POST"), b"x", [(name, "6"), ("x-sum", "7")])
    if answer.status == 200 and answer.ended:
        got = dict(latest(scene, "/t/echo").trailers)
        assert got.get("x-sum") == "7"
        assert name not in got, got
    else:
        assert answer.reset is not None or answer.status == 400, answer


def test_reset_within_one_read_leaves_the_connection(scene):
    """Of the stand-in backend itself: what is reset before it was answered is not the next stream's harm."""
    with Raw(scene.a.address) as c:
        c.send(headers(1, get("/t/echo", "POST"), end=False) + data(1, b"x") + rst(1))
        answer = c.ask(3, get("/t/echo", "POST"), b"x")
    assert answer.status == 200 and answer.ended and answer.body == b"x", answer


# -- refusals and bodies --

@pytest.mark.parametrize("length,status,reason", [(10, 503, "mode-refused"), (65535, 503, "mode-refused"), (1 << 30, 413, "body-too-large")])
def test_refusal_before_the_body_ends(scene, length, status, reason):
    """The status first, whole; then the rest is stopped with NO_ERROR (RFC 9113 8.1), and
    what was on its way harms nothing."""
    with Raw(scene.address) as c:
        c.send(headers(1, get("/off/x", "POST") + [("content-length", str(length))], end=False))
        if length > 10:
            c.send(data(1, b"x" * 16384))
        assert c.run(lambda: c.done(1))
        answer = c.stream(1)
        assert answer.status == status and json.loads(answer.body)["reason"] == reason, answer
        assert c.run(lambda: answer.reset is not None) and answer.reset == NO_ERROR and answer.ended
        for _ in range(8):
            c.send(data(1, b"x" * 4096))
        assert c.ask(3, get("/t/x")).status == 200 and c.goaway is None
    assert not scene.seen(path="/off/x")


def test_expect_continue_of_a_backend_that_never_says_so(scene):
    """Nobody makes up a 100: a client that waited long enough sends its body all the same."""
    with Raw(scene.address) as c:
        c.send(headers(1, get("/t/unsaid/echo", "POST") + [("expect", "100-continue"), ("content-length", "4")], end=False))
        assert scene.a.wait(lambda: scene.seen(path="/t/unsaid/echo"))
        c.send(data(1, b"body", True))
        assert c.run(lambda: c.done(1))
        assert [dict(h)[":status"] for h in c.stream(1).heads] == ["200"] and c.stream(1).body == b"body"
    assert latest(scene, "/t/unsaid/echo").field("expect") == "100-continue"


def test_expect_continue_refused_before_the_body(scene):
    with Raw(scene.address) as c:
        c.send(headers(1, get("/off/x", "POST") + [("expect", "100-continue"), ("content-length", "4")], end=False))
        assert c.run(lambda: c.done(1))
        assert [dict(h)[":status"] for h in c.stream(1).heads] == ["503"]


def test_reset_mid_answer_cancels_upstream(scene):
    with Raw(scene.address) as c:
        c.auto_window = False
        c.send(headers(1, get("/t/mid/bytes/50000000")))
        assert c.run(lambda: len(c.stream(1).body) > 1000)
        c.send(rst(1, CANCEL))
        r = latest(scene, "/t/mid/bytes/50000000")
        assert scene.a.wait(lambda: r.reset is not None), "the backend works on"


def test_reset_mid_upload_cancels_upstream(scene):
    with Raw(scene.address) as c:
        c.send(headers(1, get("/t/up/never", "POST"), end=False), data(1, b"x" * 1000))
        assert scene.a.wait(lambda: scene.seen(path="/t/up/never") and latest(scene, "/t/up/never").length == 1000)
        c.send(rst(1, CANCEL))
        assert scene.a.wait(lambda: latest(scene, "/t/up/never").reset == CANCEL), "the backend works on"


def test_tunnel_the_backend_does_not_want(scene):
    """Any other final status is an answer like others (RFC 8441 5)."""
    path = "/ws/no"
    scene.a.custom[path] = scene.b.custom[path] = lambda c, r: c.respond(r, 403, [], b"no")
    with Raw(scene.address) as c:
        c.run(lambda: 8 in c.settings)
        c.send(headers(1, [(":method", "CONNECT"), (":protocol", "websocket")] + get(path)[1:], end=False))
        assert c.run(lambda: c.done(1))
        assert c.stream(1).status == 403 and c.stream(1).body == b"no" and c.stream(1).ended
        assert c.ask(3, get("/t/x")).status == 200


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_interim_answers_pass(scene, status):
    path = "/t/interim/%d" % status

    def behave(c, r):
        with c.lock:
            c.h.send_headers(r.sid, [(":status", str(status)), ("x-sum", "7")])
            c.flush()
        c.respond(r, 200, [], b"body")

    scene.a.custom[path] = scene.b.custom[path] = behave
    answer = fetch(scene.address, get(path))
    assert [dict(h)[":status"] for h in answer.heads] == [str(status), "200"] and dict(answer.heads[0])["x-sum"] == "7"
    assert answer.body == b"body" and answer.ended


@pytest.mark.parametrize("path,status,title,reason", [("/off/x", 503, "Service Unavailable", "mode-refused"), ("/t%2fx", 400, "Bad Request", "bad-path"),
                                                      ("/t/reset/2", 502, "Bad Gateway", "upstream-reset")])
def test_problem_details(scene, path, status, title, reason):
    """RFC 9457: about:blank, so the title is the status' own phrase and the rest is said in detail."""
    answer = fetch(scene.address, get(path))
    told = json.loads(answer.body)
    assert answer.status == told["status"] == status and answer.field("content-type") == "application/problem+json"
    assert (told["type"], told["title"], told["reason"]) == ("about:blank", title, reason)
    assert told["detail"] and told["request_id"] and "mode" in told and "feature" in told
    assert re.fullmatch(r'firebreak; error=[a-z_]+; details="%s"' % reason, answer.field("proxy-status")), answer.field("proxy-status")


# A final status and what may come with it, as the backend says it: fields and body.
BODILESS = {
    "HEAD": ("HEAD", 200, [("content-length", "12345")]),
    "204": ("GET", 204, []),
    "304 with a length": ("GET", 304, [("content-length", "12345"), ("etag", '"x"')]),
    "HEAD of a 404": ("HEAD", 404, [("content-length", "7")]),
}


@pytest.mark.parametrize("name", BODILESS, ids=lambda n: n.replace(" ", "-"))
def test_bodiless_answers(scene, name):
    method, status, fields = BODILESS[name]
    path = "/t/bodiless/" + name.replace(" ", "-")
    scene.a.custom[path] = scene.b.custom[path] = lambda c, r: c.respond(r, status, fields)
    answer = fetch(scene.address, get(path, method))
    assert answer.status == status and answer.ended and answer.reset is None and answer.body == b""
    assert [f for f in answer.heads[0] if f[0] in ("content-length", "etag")] == fields


@pytest.mark.parametrize("method,status", [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_body_where_none_may_be(scene, method, status):
    """A body behind HEAD, 204 or 304 is malformed (RFC 9113 8.1.1), and never goes on."""
    path = "/t/bodied/%s%d" % (method, status)

    def behave(c, r):
        with c.lock:
            c.h.send_headers(r.sid, [(":status", str(status))])
            c.h.send_data(r.sid, b"evil", end_stream=True)
            c.flush()

    scene.a.custom[path] = scene.b.custom[path] = behave
    answer = fetch(scene.address, get(path, method))
    assert answer.body != b"evil" and (answer.status == 502 or answer.reset is not None), answer


@pytest.mark.parametrize("name", ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"])
def test_response_with_a_connection_field_is_malformed(scene, name):
    path = "/t/hop/" + name
    scene.a.custom[path] = scene.b.custom[path] = lambda c, r: c.respond(r, 200, [(name, "x")], b"body")
    answer = fetch(scene.address, get(path))
    assert answer.status == 502 and answer.ended, answer


def test_switching_protocols_is_not_for_http2(scene):
    """RFC 9113 8.6: there is no 101."""
    path = "/t/switch"
    scene.a.custom[path] = scene.b.custom[path] = lambda c, r: c.respond(r, 101, [], end=False)
    answer = fetch(scene.address, get(path))
    assert [dict(h)[":status"] for h in answer.heads] == ["502"]
