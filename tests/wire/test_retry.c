/* SPDX-License-Identifier: MIT */
/* What is tried again and what is not (P5), with two endpoints and a backend that fails
 * in the middle of things. */
#include "proxy.h"

#include "../../src/datacenter/pool.h"

#include <stdio.h>
#include <stdlib.h>

#define FEATURE "  - name: all\n    tier: core\n    routes: [\"/**\"]\n    body_limit: unlimited\n    idempotency: idempotency-key\n"

enum failure { RESET, REFUSED, CLOSED };

static struct h2_stream *ask(struct proxy *p, struct seen *s, const char *method, const char *key, bool end)
{
	struct h2_field f[5] = { wire_field(":method", method), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/"), wire_field("idempotency-key", key ? key : "") };
	enum fault why;

	memset(s, 0, sizeof(*s));
	s->stream = h2_request(p->w.up, f, key ? 5 : 4, end, s, &why);
	assert_non_null(s->stream);
	wire_turn(&p->w, 1);
	return s->stream;
}

static void write_text(struct h2_stream *st, const char *text, size_t len, bool end)
{
	struct buf b = { 0 };

	assert_true(buf_append(&b, text, len) && h2_write(st, &b));
	if (end)
		assert_true(h2_finish(st, NULL, 0));
}

static void break_off(struct proxy *p, int n, enum failure how)
{
	struct h2_stream *st = p->w.served[n].stream;

	if (how == CLOSED)
		h2_close(st->session, FAULT_SHUTTING_DOWN);
	else
		h2_reset(st, how == RESET ? H2_ERR_INTERNAL : H2_ERR_REFUSED_STREAM, FAULT_INTERNAL);
	wire_turn(&p->w, 5);
}

static void succeed(struct proxy *p, int n)
{
	struct h2_field ok = wire_field(":status", "200");

	h2_respond(p->w.served[n].stream, &ok, 1, true);
}

static struct conf_retry *rules(struct proxy *p)
{
	return &((struct conf *)(uintptr_t)p->worker.snap->conf)->retry;
}

static void only_what_is_safe(void **state)
{
	static const struct {
		const char *method, *key;
		enum failure how;
		bool again;
	} cases[] = {
		{ "GET", NULL, RESET, true }, { "HEAD", NULL, RESET, true }, { "PUT", NULL, RESET, true }, { "DELETE", NULL, RESET, true },
		{ "OPTIONS", NULL, RESET, true }, { "POST", NULL, RESET, false }, { "PATCH", NULL, RESET, false }, { "LINK", NULL, RESET, false },
		{ "POST", "k1", RESET, true }, { "PATCH", "k1", RESET, true }, { "POST", "", RESET, false },
		{ "GET", NULL, CLOSED, true }, { "POST", NULL, CLOSED, false }, { "POST", "k1", CLOSED, true },
		/* Refused unprocessed: anything. */
		{ "POST", NULL, REFUSED, true }, { "PATCH", NULL, REFUSED, true },
	};
	struct h2_session *first;
	struct proxy p;
	struct seen s;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		proxy_start_two(&p, FEATURE);
		p.w.silent = true;
		ask(&p, &s, cases[i].method, cases[i].key, true);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		first = p.w.served[0].stream->session;
		break_off(&p, 0, cases[i].how);
		if (cases[i].again) {
			WIRE_UNTIL(&p.w, p.w.count == 2);
			assert_ptr_not_equal(p.w.served[1].stream->session, first); /* the other endpoint */
			succeed(&p, 1);
		}
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		if (s.status != (cases[i].again ? 200 : 502))
			print_error("%s %s after failure %d: %d\n", cases[i].method, cases[i].key, cases[i].how, s.status);
		assert_int_equal(s.status, cases[i].again ? 200 : 502);
		assert_int_equal(p.w.count, cases[i].again ? 2 : 1);
		proxy_end(&p);
	}
}

/* The only endpoint there is: what was lost with its connection is asked again by a new one. */
static void the_only_endpoint(void **state)
{
	static const struct {
		const char *method;
		enum failure how;
		int attempts, status;
	} cases[] = {
		{ "GET", CLOSED, 2, 200 }, { "POST", CLOSED, 1, 502 }, { "GET", RESET, 1, 502 }, { "POST", REFUSED, 2, 200 },
	};
	struct proxy p;
	struct seen s;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		proxy_start(&p, FEATURE, false);
		p.w.silent = true;
		ask(&p, &s, cases[i].method, NULL, true);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		break_off(&p, 0, cases[i].how);
		if (cases[i].attempts == 2) {
			WIRE_UNTIL(&p.w, p.w.count == 2);
			succeed(&p, 1);
		}
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, cases[i].status);
		assert_int_equal(p.w.count, cases[i].attempts);
		proxy_end(&p);
	}
	proxy_start(&p, FEATURE, false);
	p.w.silent = true;
	ask(&p, &s, "GET", NULL, true);
	for (i = 0; i < 3; i++) { /* the tries of one request, wherever they go */
		WIRE_UNTIL(&p.w, p.w.count == (int)i + 1);
		break_off(&p, (int)i, CLOSED);
	}
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 502);
	assert_int_equal(p.w.count, 3);
	proxy_end(&p);
}

/* The verdict of the pool's watch over a connection, and its end. */
static void silence(struct proxy *p, struct h2_session *up, uint32_t what)
{
	struct link *l = h2_session_owner(up);

	endpoint_failed(l->ep, FAULT_UPSTREAM_SILENT);
	h2_tell(up, what);
	wire_turn(&p->w, 5);
}

static void well_again(struct proxy *p)
{
	WIRE_UNTIL(&p->w, !dc_pool_failed(p->worker.pool));
}

static uint64_t faults(struct proxy *p)
{
	return p->worker.part->endpoint[0].faults + p->worker.part->endpoint[1].faults;
}

/* Who may be asked elsewhere is, at once; the others wait for the connection a little longer, and are
 * asked again only if that may be and the endpoint is well. */
static void silence_is_waited_out_by_who_must(void **state)
{
	static const struct {
		bool two;
		const char *method, *key;
		bool moves, again;
	} cases[] = {
		{ true, "GET", NULL, true, true }, { true, "POST", "k1", true, true }, { true, "POST", NULL, false, false },
		{ false, "GET", NULL, false, true }, { false, "POST", "k1", false, true }, { false, "POST", NULL, false, false },
	};
	enum { PAUSED, LOST, WELL_AGAIN, HOWS } how;
	struct h2_session *up;
	struct proxy p;
	struct seen s;
	uint64_t before;
	size_t i;
	int n;

	for (i = 0; i < HOWS * sizeof(cases) / sizeof(*cases); i++) {
		how = i % HOWS;
		if (cases[i / HOWS].two)
			proxy_start_two(&p, FEATURE);
		else
			proxy_start(&p, FEATURE, false);
		p.w.silent = true;
		ask(&p, &s, cases[i / HOWS].method, cases[i / HOWS].key, true);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		up = h2_session_from_node(p.worker.pool->ctx.sessions.next);
		before = faults(&p);
		silence(&p, up, H2_SILENT);
		n = cases[i / HOWS].moves ? 2 : 1;
		assert_int_equal(p.w.count, n);
		assert_int_equal(s.status, 0);
		if (how == WELL_AGAIN) {
			well_again(&p);
			h2_tell(up, H2_LOST);
			wire_turn(&p.w, 5);
		} else if (how == LOST) {
			silence(&p, up, H2_LOST);
		}
		if (how == WELL_AGAIN && !cases[i / HOWS].moves && cases[i / HOWS].again) {
			WIRE_UNTIL(&p.w, p.w.count == 2);
			n = 2;
		}
		if (how == PAUSED || n == 2)
			succeed(&p, n - 1);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, how == PAUSED || n == 2 ? 200 : 504);
		assert_int_equal(p.w.count, n);
		assert_int_equal(faults(&p) - before, 1); /* told once, at once */
		proxy_end(&p);
	}
}

/* Another endpoint that has failed itself is nowhere to go, while the silent one may only have paused. */
static void a_failed_one_is_no_way_out(void **state)
{
	struct proxy p;
	struct seen s;
	int e;

	proxy_start_two(&p, FEATURE);
	p.w.silent = true;
	ask(&p, &s, "GET", NULL, true);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	for (e = 0; e < 2; e++)
		endpoint_failed(p.worker.pool->endpoint[e], FAULT_UPSTREAM_SILENT);
	h2_tell(h2_session_from_node(p.worker.pool->ctx.sessions.next), H2_SILENT);
	wire_turn(&p.w, 5);
	assert_int_equal(p.w.count, 1);
	succeed(&p, 0);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	proxy_end(&p);
}

static void fail_for_ever(struct proxy *p, int e)
{
	endpoint_failed(p->worker.pool->endpoint[e], FAULT_UPSTREAM_SILENT);
	p->worker.pool->endpoint[e]->failed_at = INT64_MAX;
}

static int only_endpoint_in_use(struct proxy *p)
{
	wire_turn(&p->w, 2);
	assert_int_equal(p->worker.pool->local.in_flight[0] + p->worker.pool->local.in_flight[1], 1);
	return p->worker.pool->local.in_flight[1] ? 1 : 0;
}

/* Where a user is at home has failed, and the connection elsewhere is lost: another one to there. */
static void home_that_failed_is_not_better(void **state)
{
	struct proxy p;
	struct seen s;
	int home;

	proxy_start_apart(&p, FEATURE);
	p.w.silent = true;
	ask(&p, &s, "GET", NULL, true);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	home = only_endpoint_in_use(&p);
	succeed(&p, 0);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	fail_for_ever(&p, home);
	ask(&p, &s, "GET", NULL, true);
	WIRE_UNTIL(&p.w, p.w.count == 2);
	assert_int_equal(only_endpoint_in_use(&p), !home);
	wire_turn(&p.w, 20); /* until it is proven */
	break_off(&p, 1, CLOSED);
	WIRE_UNTIL(&p.w, p.w.count == 3);
	assert_int_equal(only_endpoint_in_use(&p), !home);
	succeed(&p, 2);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);

	/* Both have failed: then the other one's turn comes as ever. */
	fail_for_ever(&p, !home);
	ask(&p, &s, "GET", NULL, true);
	WIRE_UNTIL(&p.w, p.w.count == 4);
	home = only_endpoint_in_use(&p);
	break_off(&p, 3, REFUSED);
	WIRE_UNTIL(&p.w, p.w.count == 5);
	assert_int_equal(only_endpoint_in_use(&p), !home);
	succeed(&p, 4);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	proxy_end(&p);
}

static void tries_and_budget_end_it(void **state)
{
	struct proxy p;
	struct seen s;
	uint64_t before;
	int i;

	proxy_start_two(&p, FEATURE);
	p.w.silent = true;
	ask(&p, &s, "GET", NULL, true);
	for (i = 0; i < 3; i++) {
		WIRE_UNTIL(&p.w, p.w.count == i + 1);
		break_off(&p, i, REFUSED);
	}
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503);
	assert_int_equal(p.w.count, 3);
	assert_non_null(strstr(s.head, "details=\"upstream-refused\""));

	before = p.worker.part->tm.scalar[TM_RETRY_BUDGET_EMPTY];
	rules(&p)->budget_minimum = rules(&p)->budget_percent = 0;
	p.worker.budget = (struct budget){ 0 };
	ask(&p, &s, "GET", NULL, true);
	WIRE_UNTIL(&p.w, p.w.count == 4);
	break_off(&p, 3, REFUSED);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503);
	assert_int_equal(p.w.count, 4);
	assert_int_equal(p.worker.part->tm.scalar[TM_RETRY_BUDGET_EMPTY] - before, 1);
	proxy_end(&p);
}

/* The last eighth of the budget is for what a request cannot bring about by itself. */
static void what_a_request_brings_about_leaves_some(void **state)
{
	static const bool again[] = { [RESET] = false, [REFUSED] = true, [CLOSED] = true };
	struct proxy p;
	struct seen s;
	enum failure how;

	for (how = RESET; how <= CLOSED; how++) {
		proxy_start_two(&p, FEATURE);
		rules(&p)->budget_minimum = rules(&p)->budget_percent = 0;
		p.worker.budget = (struct budget){ .tokens = 5, .full = 100, .at = clock_now(), .retries = p.worker.part->retries };
		p.w.silent = true;
		ask(&p, &s, "GET", NULL, true);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		break_off(&p, 0, how);
		if (again[how]) {
			WIRE_UNTIL(&p.w, p.w.count == 2);
			succeed(&p, 1);
		}
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, again[how] ? 200 : 502);
		proxy_end(&p);
	}
}

/* The other endpoint gets every octet once and in order, or none: those that came before
 * the failure, and those that come after it. */
static void a_body_is_repeated_whole_or_not_at_all(void **state)
{
	char text[3000];
	struct proxy p;
	struct seen s;
	size_t i;

	for (i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	proxy_start_two(&p, FEATURE);
	p.w.silent = true;
	ask(&p, &s, "PUT", NULL, false);
	write_text(s.stream, text, 1000, false);
	WIRE_UNTIL(&p.w, p.w.count == 1 && p.w.served[0].body == 1000);
	break_off(&p, 0, RESET);
	WIRE_UNTIL(&p.w, p.w.count == 2);
	write_text(s.stream, text + 1000, 2000, true);
	WIRE_UNTIL(&p.w, p.w.served[1].what & H2_END);
	assert_int_equal(p.w.served[1].body, 3000);
	assert_memory_equal(p.w.served[1].text, text, 3000);
	succeed(&p, 1);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);

	rules(&p)->body_bytes = 1500;
	ask(&p, &s, "PUT", NULL, false);
	write_text(s.stream, text, 2000, false);
	WIRE_UNTIL(&p.w, p.w.count == 3 && p.w.served[2].body == 2000);
	break_off(&p, 2, RESET);
	WIRE_UNTIL(&p.w, s.status);
	assert_int_equal(s.status, 502);
	assert_int_equal(p.w.count, 3);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	proxy_end(&p);
}

/* Once the client has heard the beginning of an answer, there is no other one. */
static void an_answer_that_began_is_not_begun_again(void **state)
{
	struct h2_field ok = wire_field(":status", "200");
	struct proxy p;
	struct seen s;

	proxy_start_two(&p, FEATURE);
	p.w.silent = true;
	ask(&p, &s, "GET", NULL, true);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	h2_respond(p.w.served[0].stream, &ok, 1, false);
	write_text(p.w.served[0].stream, "half", 4, false);
	WIRE_UNTIL(&p.w, s.body == 4);
	break_off(&p, 0, RESET);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_false(s.what & H2_END);
	assert_int_not_equal(s.fault, FAULT_NONE);
	assert_int_equal(p.w.count, 1);
	proxy_end(&p);
}

/* Two fields of ours behind as many as there was room for: each octet of both. */
static void fields_are_added_behind_any_number(void **state)
{
	struct h2_field f[40];
	struct proxy p;
	struct seen s;
	size_t n, i;

	for (n = 1; n <= 40; n++) {
		proxy_start_two(&p, FEATURE);
		p.w.silent = true;
		ask(&p, &s, "GET", NULL, true);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		break_off(&p, 0, REFUSED);
		WIRE_UNTIL(&p.w, p.w.count == 2);
		f[0] = wire_field(":status", "200");
		for (i = 1; i < n; i++)
			f[i] = wire_field("x-n", "v");
		h2_respond(p.w.served[1].stream, f, n, true);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, 200);
		assert_int_equal(s.fields, n + 2);
		assert_non_null(strstr(s.head, "\ndate: "));
		assert_non_null(strstr(s.head, "\nproxy-status: firebreak; next-hop=\"a\"; details=\"upstream-refused\"\n"));
		proxy_end(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_is_safe), cmocka_unit_test(the_only_endpoint), cmocka_unit_test(silence_is_waited_out_by_who_must), cmocka_unit_test(a_failed_one_is_no_way_out), cmocka_unit_test(home_that_failed_is_not_better),
		cmocka_unit_test(tries_and_budget_end_it),
		cmocka_unit_test(what_a_request_brings_about_leaves_some),
		cmocka_unit_test(a_body_is_repeated_whole_or_not_at_all), cmocka_unit_test(an_answer_that_began_is_not_begun_again),
		cmocka_unit_test(fields_are_added_behind_any_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
