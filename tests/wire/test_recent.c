/* SPDX-License-Identifier: MIT */
/* Recent state through the whole request path (P2): what one request left behind, who
 * gets it when no datacenter answers, and who does not. */
#include "proxy.h"

#include "../../src/datacenter/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUTES "  - name: all\n    tier: core\n    routes: [\"/**\"]\n"
#define PRIVATE ROUTES "    identity: bearer\n    state: { keep: true }\n"
#define SHARED ROUTES "    state: { keep: true, shared: true }\n"
#define BY_HEADER ROUTES "    identity: header:x-user\n    state: { keep: true }\n"

#define ALICE "authorization: Bearer alice\n"
#define BOB "authorization: Bearer bob\n"

struct scene {
	const char *first, *answer, *second; /* fields beyond the usual ones; NULL: as `first` */
	bool given;
};

static struct seen *ask(struct proxy *p, struct seen *s, const char *fields)
{
	struct h2_field f[16] = { wire_field(":method", "GET"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				  wire_field(":path", "/") };
	char *text = strdup(fields);
	size_t n = wire_fields(f, 4, 16, text);
	enum fault why;

	memset(s, 0, sizeof(*s));
	s->stream = h2_request(p->w.up, f, n, true, s, &why);
	assert_non_null(s->stream);
	wire_turn(&p->w, 2);
	free(text);
	return s;
}

static void answer(struct proxy *p, const char *fields, const char *body, bool end)
{
	struct h2_stream *st = p->w.served[p->w.count - 1].stream;
	struct h2_field f[16] = { wire_field(":status", "200") };
	char *text = strdup(fields);
	struct buf b = { 0 };

	assert_true(h2_respond(st, f, wire_fields(f, 1, 16, text), false));
	assert_true(buf_append(&b, body, strlen(body)) && h2_write(st, &b));
	if (end)
		assert_true(h2_finish(st, NULL, 0));
	wire_turn(&p->w, 2);
	free(text);
}

static void lose_backend(struct proxy *p)
{
	struct list *node;

	net_listener_destroy(p->listener);
	p->listener = NULL;
	close(p->listen_fd);
	p->listen_fd = -1;
	unlink(p->path);
	while ((node = list_first(&p->w.server.sessions))) {
		h2_close(h2_session_from_node(node), FAULT_SHUTTING_DOWN);
		wire_turn(&p->w, 1);
	}
	p->w.down = NULL;
	wire_turn(&p->w, 5);
}

/* The only endpoint is silent while a read waits: recent state at once if there is any; if there is none
 * the endpoint is asked after all, since it may only have paused. */
static void silence_is_answered_from_recent_state(void **state)
{
	struct h2_session *up;
	struct proxy p;
	struct seen s;
	int kept;

	for (kept = 0; kept < 2; kept++) {
		proxy_start(&p, PRIVATE, false);
		p.w.silent = true;
		ask(&p, &s, ALICE);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		answer(&p, kept ? "" : "cache-control: no-store\n", "what alice said", true);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		ask(&p, &s, ALICE);
		WIRE_UNTIL(&p.w, p.w.count == 2);
		up = h2_session_from_node(p.worker.pool->ctx.sessions.next);
		endpoint_failed(((struct link *)h2_session_owner(up))->ep, FAULT_UPSTREAM_SILENT);
		h2_tell(up, H2_SILENT);
		if (!kept) {
			WIRE_UNTIL(&p.w, p.w.count == 3);
			answer(&p, "", "again", true);
		}
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, 200);
		assert_int_equal(p.w.count, kept ? 2 : 3);
		assert_true(!strstr(s.head, "cache-status: firebreak; hit") == !kept);
		proxy_end(&p);
	}
}

/* The first request is answered, the backend dies, the second one is asked. */
static void play(struct proxy *p, struct seen *s, const char *features, bool trusted, const struct scene *scene)
{
	proxy_start(p, features, false);
	p->client->trusted = trusted;
	p->w.silent = true;
	ask(p, s, scene->first);
	WIRE_UNTIL(&p->w, p->w.count == 1);
	answer(p, scene->answer, "what alice said", true);
	WIRE_UNTIL(&p->w, s->what & H2_CLOSED);
	lose_backend(p);
	ask(p, s, scene->second ? scene->second : scene->first);
	WIRE_UNTIL(&p->w, s->what & H2_CLOSED);
}

static void play_all(const char *features, bool trusted, const struct scene *scene, size_t n)
{
	const struct scene *c;
	struct proxy p;
	struct seen s;
	bool given;

	for (c = scene; c < scene + n; c++) {
		play(&p, &s, features, trusted, c);
		given = s.status == 200;
		if (given != c->given)
			print_error("first:\n%sanswer:\n%ssecond:\n%s", c->first, c->answer, c->second ? c->second : c->first);
		assert_int_equal(given, c->given);
		if (given) {
			assert_non_null(strstr(s.head, "\nage: "));
			assert_non_null(strstr(s.head, "cache-status: firebreak; hit"));
			assert_non_null(strstr(s.head, "proxy-status: firebreak; error="));
		} else {
			assert_null(strstr(s.text, "alice"));
		}
		proxy_end(&p);
	}
}

static void an_identity_gets_its_own(void **state)
{
	static const struct scene scenes[] = {
		{ ALICE, "", NULL, true },
		{ ALICE, "", BOB, false },
		{ ALICE, "", "", false },
		/* The scheme is one however it is written, the token is not (RFC 9110 11.1, RFC 6750 2.1). */
		{ ALICE, "", "authorization: bearer alice\n", true },
		{ ALICE, "", "authorization: BEARER alice\n", true },
		{ ALICE, "", "authorization: Bearer   alice\n", true },
		{ ALICE, "", "authorization: Bearer Alice\n", false },
		{ ALICE, "", "authorization: Bearer alic\n", false },
		{ ALICE, "", "authorization: Bearer alice2\n", false },
		{ ALICE, "", "authorization: Basic alice\n", false },
		{ ALICE, "", "authorization: Bearer\n", false },
		{ ALICE, "", "authorization: Bearer,alice\n", false },
		{ ALICE, "", "authorization: alice\n", false },
		/* Two of them: whose it is nobody knows, however they are written. */
		{ ALICE, "", ALICE ALICE, false },
		{ ALICE, "", BOB ALICE, false },
		{ ALICE, "", ALICE BOB, false },
		{ ALICE, "", "authorization: Basic x\n" ALICE, false },
		{ ALICE, "", "authorization: Bearer bob, Bearer alice\n", false },
		{ ALICE, "", "authorization: Bearer alice, Bearer bob\n", false },
		{ ALICE ALICE, "", ALICE, false },
		{ BOB ALICE, "", ALICE, false },
		{ BOB ALICE, "", BOB, false },
		/* Elsewhere than where it belongs. */
		{ ALICE, "", "cookie: authorization=Bearer alice\n", false },
		{ ALICE, "", "x-authorization: Bearer alice\n", false },
		{ ALICE, "", ":path: /?access_token=alice\n", false },
		/* No identity is no identity, also the second time. */
		{ "", "", NULL, false },
		{ "authorization: Basic x\n", "", NULL, false },
		{ "cookie: session=1\n", "", NULL, false },
	};

	play_all(PRIVATE, false, scenes, sizeof(scenes) / sizeof(*scenes));
}

static void a_question_gets_its_own_answer(void **state)
{
	static const struct scene scenes[] = {
		{ ALICE ":path: /a?x=1&y=2\n", "", NULL, true },
		{ ALICE ":path: /a?x=1&y=2\n", "", ALICE ":path: /a?y=2&x=1\n", false },
		{ ALICE ":path: /a?x=1\n", "", ALICE ":path: /a\n", false },
		{ ALICE ":path: /a\n", "", ALICE ":path: /a?\n", false },
		{ ALICE ":path: /a/./b/../c\n", "", ALICE ":path: /a/c\n", true },
		{ ALICE ":path: /a\n", "", ALICE ":path: /A\n", false },
		{ ALICE, "", ALICE ":authority: other\n", false },
		{ ALICE, "", ALICE ":authority: tesu\n", false },
		{ ALICE, "", ALICE ":authority: TEST\n", true },
		{ ALICE, "", ALICE ":authority: test:1\n", false },
		{ ALICE, "", ALICE ":scheme: https\n", false },
		{ ALICE, "", ALICE "accept: text/html\n", false },
		{ ALICE "accept: text/html\n", "", NULL, true },
		{ ALICE, "", ALICE "accept-encoding: gzip\n", false },
		{ ALICE "accept-language: ko\n", "", ALICE "accept-language: en\n", false },
		{ ALICE "accept: a\n", "", ALICE "accept-language: a\n", false },
		/* HEAD is GET without the body; other methods ask for something else. */
		{ ALICE, "", ALICE ":method: HEAD\n", true },
		{ ALICE ":method: HEAD\n", "", ALICE, false },
		{ ALICE, "", ALICE ":method: OPTIONS\n", false },
		{ ALICE ":method: OPTIONS\n", "", NULL, false },
		{ ALICE ":method: DELETE\n", "", ALICE, false },
		/* The whole may be given where a part or a change was asked for (RFC 9110 14.2, 13.1). */
		{ ALICE, "", ALICE "range: bytes=0-3\n", true },
		{ ALICE "range: bytes=0-3\n", "", ALICE, false },
		{ ALICE, "", ALICE "if-none-match: \"1\"\n", true },
		{ ALICE, "", ALICE "cache-control: no-cache\n", true },
		{ ALICE "cache-control: no-store\n", "", ALICE, false },
	};

	play_all(PRIVATE, false, scenes, sizeof(scenes) / sizeof(*scenes));
}

static void the_origins_word_counts(void **state)
{
	static const struct scene scenes[] = {
		{ ALICE, "cache-control: no-store\n", NULL, false },
		{ ALICE, "cache-control: max-age=60\ncache-control: no-store\n", NULL, false },
		{ ALICE, "cache-control: no-cache\n", NULL, false },
		{ ALICE, "cache-control: private, max-age=0\n", NULL, true },
		{ ALICE, "cache-control: max-age=60, must-revalidate\n", NULL, true },
		{ ALICE, "cache-control: max-age=0, must-revalidate\n", NULL, false },
		{ ALICE, "cache-control: s-maxage=0\n", NULL, false },
		{ ALICE, "age: 100\ncache-control: max-age=60, must-revalidate\n", NULL, false },
		{ ALICE, "age: 100000\n", NULL, false },
		{ ALICE, "set-cookie: session=alice\n", NULL, false },
		{ ALICE, "vary: *\n", NULL, false },
		{ ALICE, "vary: accept, *\n", NULL, false },
		{ ALICE, "vary: accept\nvary: cookie\n", NULL, false },
		{ ALICE, "vary: x-tenant\n", NULL, false },
		{ ALICE, "vary: Accept-Encoding , accept\n", NULL, true },
		{ ALICE, ":status: 206\ncontent-range: bytes 0-14/15\n", NULL, false },
		{ ALICE, ":status: 301\nlocation: /b\n", NULL, false },
		{ ALICE, ":status: 404\n", NULL, false },
		{ ALICE, ":status: 500\ncache-control: max-age=60\n", NULL, false },
	};

	play_all(PRIVATE, false, scenes, sizeof(scenes) / sizeof(*scenes));
}

static void what_is_shared_is_for_all(void **state)
{
	static const struct scene scenes[] = {
		{ "", "", BOB, true },
		{ "", "cache-control: private\n", NULL, false },
		{ ALICE, "", BOB, false },
		{ ALICE, "", NULL, false },
		{ ALICE, "cache-control: public\n", BOB, true },
		{ ALICE, "cache-control: public, private\n", BOB, false },
		{ ALICE, "cache-control: max-age=60\n", BOB, false },
		{ "cookie: session=alice\n", "", "", false },
		{ "cookie: session=alice\n", "cache-control: public\n", "", true },
		{ "", "set-cookie: session=alice\n", "", false },
	};

	play_all(SHARED, false, scenes, sizeof(scenes) / sizeof(*scenes));
}

/* Who may write the field decides whether it says anything. */
static void a_field_is_an_identity_from_the_gateway_only(void **state)
{
	static const struct scene trusted[] = {
		{ "x-user: alice\n", "", NULL, true },
		{ "x-user: alice\n", "", "x-user: bob\n", false },
		{ "x-user: alice\n", "", "x-user: Alice\n", false },
		{ "x-user: alice\n", "", "", false },
		{ "x-user: alice\n", "", "x-user: alice\nx-user: alice\n", false },
		{ "x-user: alice\n", "", "x-user: bob\nx-user: alice\n", false },
		{ "x-user: alice\n", "", ALICE, false },
	}, forged[] = { { "x-user: alice\n", "", NULL, false } };
	struct proxy p;
	struct seen s;

	play_all(BY_HEADER, true, trusted, sizeof(trusted) / sizeof(*trusted));
	play_all(BY_HEADER, false, forged, 1);
	/* Kept for the gateway's alice, asked for by somebody who says to be her. */
	play(&p, &s, BY_HEADER, true, trusted);
	p.client->trusted = false;
	ask(&p, &s, "x-user: alice\n");
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503);
	assert_null(strstr(s.text, "alice"));
	assert_non_null(strstr(s.head, "details=\"no-identity\""));
	proxy_end(&p);
}

/* An error, half an answer, an answer nobody heard to its end: the last good one stays. */
static void the_last_whole_answer_stays(void **state)
{
	static const char *const fields[] = { ":status: 500\n", ":status: 404\n", "content-length: 100\n" };
	struct proxy p;
	struct seen s;
	size_t i;

	proxy_start(&p, PRIVATE, false);
	p.w.silent = true;
	ask(&p, &s, ALICE);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	answer(&p, "", "first", true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	for (i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
		ask(&p, &s, ALICE);
		WIRE_UNTIL(&p.w, p.w.count == (int)i + 2);
		answer(&p, fields[i], "second", i < 2);
		if (i == 2) {
			WIRE_UNTIL(&p.w, s.body);
			h2_reset(p.w.served[p.w.count - 1].stream, H2_ERR_INTERNAL, FAULT_INTERNAL);
		}
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	}
	lose_backend(&p);
	ask(&p, &s, ALICE);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	assert_string_equal(s.text, "first");
	assert_non_null(strstr(s.head, "content-length: 5\n"));
	ask(&p, &s, ALICE ":method: HEAD\n");
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	assert_int_equal(s.body, 0);
	assert_non_null(strstr(s.head, "content-length: 5\n"));
	proxy_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_is_answered_from_recent_state), cmocka_unit_test(an_identity_gets_its_own), cmocka_unit_test(a_question_gets_its_own_answer),
		cmocka_unit_test(the_origins_word_counts), cmocka_unit_test(what_is_shared_is_for_all),
		cmocka_unit_test(a_field_is_an_identity_from_the_gateway_only), cmocka_unit_test(the_last_whole_answer_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
