/* SPDX-License-Identifier: MIT */
/* Answers that end early: at the client's deadline, because the endpoint says it cannot, and
 * long-lived ones whose endpoint is lost. On a clock of the test's own. */
#include "proxy.h"

#include <stdlib.h>

#define FEATURE \
	"  - name: all\n    tier: core\n    routes: [\"/**\"]\n    timeout: 2s\n    idempotency: idempotency-key\n" \
	"  - name: feed\n    tier: core\n    routes: [\"/feed\"]\n    long_lived: true\n    timeout: 2s\n"

static struct conf_retry *rules(struct proxy *p)
{
	return &((struct conf *)(uintptr_t)p->worker.snap->conf)->retry;
}

static void begin(struct proxy *p)
{
	clock_fake(proxy_now, proxy_now);
	proxy_start_two(p, FEATURE);
	p->w.silent = true;
	rules(p)->deadline_header = "x-wait";
	p->worker.budget = (struct budget){ .tokens = 100, .at = proxy_now, .requests = p->worker.part->requests, .retries = p->worker.part->retries };
}

/* `lines`: further fields. */
static void ask(struct proxy *p, struct seen *s, const char *method, const char *lines)
{
	struct h2_field f[10] = { wire_field(":method", method), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				  wire_field(":path", "/") };
	static char text[512];

	strcpy(text, lines);
	proxy_ask(p, s, f, wire_fields(f, 4, 10, text), true);
}

static void respond(struct proxy *p, int n, const char *lines, bool end)
{
	struct h2_field f[10] = { wire_field(":status", "200") };
	static char text[64][512];

	strcpy(text[n], lines);
	h2_respond(p->w.served[n].stream, f, wire_fields(f, 1, 10, text[n]), end);
	wire_turn(&p->w, 5);
}

#define GRPC "content-type: application/grpc\nte: trailers\n"

/* The backend is told what is left, and the client has its answer when nothing is. */
static void deadlines(void **state)
{
	static const struct {
		const char *lines, *upstream;
		int64_t ms;        /* 0: the feature's two seconds */
		const char *grpc;  /* status, for gRPC callers */
	} cases[] = {
		{ GRPC "grpc-timeout: 300m\n", "\ngrpc-timeout: 300000u\n", 300, "\ngrpc-status: 4\n" },
		{ GRPC "grpc-timeout: 1H\n", "\ngrpc-timeout: 3600000m\n", 0, "\ngrpc-status: 4\n" }, /* upstream-timeout is 4, too */
		{ GRPC "grpc-timeout: soon\n", "\ngrpc-timeout: soon\n", 0, "\ngrpc-status: 4\n" },
		{ GRPC "grpc-timeout: 5S\ngrpc-timeout: 200m\n", "\ngrpc-timeout: 200000u\n", 200, "\ngrpc-status: 4\n" },
		{ GRPC "grpc-timeout: 900m\nx-wait: 400\n", "\nx-wait: 400\n", 400, "\ngrpc-status: 4\n" },
		{ "x-wait: 250\n", "\nx-wait: 250\n", 250, NULL }, { "x-wait: 1S\n", "\nx-wait: 1000\n", 1000, NULL },
		{ "x-wait: -1\n", "\nx-wait: -1\n", 0, NULL }, { "x-wait: 99999999\n", "\nx-wait: 99999999\n", 0, NULL },
		{ "grpc-timeout: 100m\n", "\ngrpc-timeout: 100m\n", 0, NULL }, /* not a gRPC call */
	};
	struct proxy p;
	struct seen s;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin(&p);
		ask(&p, &s, "POST", cases[i].lines);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		if (!strstr(p.w.served[0].head, cases[i].upstream))
			print_error("case %zu: upstream saw\n%s", i, p.w.served[0].head);
		assert_non_null(strstr(p.w.served[0].head, cases[i].upstream));
		proxy_pass_time(&p, ((cases[i].ms ? cases[i].ms : 2000) - 20) * CLOCK_MS);
		assert_int_equal(s.status, 0);
		proxy_pass_time(&p, 40 * CLOCK_MS);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, cases[i].grpc ? 200 : 504);
		if (cases[i].grpc)
			assert_non_null(strstr(s.head, cases[i].grpc));
		if (cases[i].ms)
			assert_non_null(strstr(s.head, "deadline-exceeded"));
		WIRE_UNTIL(&p.w, p.w.served[0].what & H2_CLOSED);
		proxy_end(&p);
	}
}

/* Another attempt is told less, and a call that streams ends at its deadline, too. */
static void what_is_left(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p);
	ask(&p, &s, "GET", "x-wait: 1000\n");
	WIRE_UNTIL(&p.w, p.w.count == 1);
	proxy_pass_time(&p, 300 * CLOCK_MS);
	h2_reset(p.w.served[0].stream, H2_ERR_REFUSED_STREAM, FAULT_INTERNAL);
	WIRE_UNTIL(&p.w, p.w.count == 2);
	assert_non_null(strstr(p.w.served[1].head, "\nx-wait: 700\n"));
	respond(&p, 1, "", false);
	proxy_pass_time(&p, 600 * CLOCK_MS);
	assert_false(s.what & H2_CLOSED);
	proxy_pass_time(&p, 120 * CLOCK_MS);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.error_code, H2_ERR_CANCEL);
	WIRE_UNTIL(&p.w, p.w.served[1].what & H2_CLOSED);

	p.w.count = 0;
	ask(&p, &s, "POST", GRPC "grpc-timeout: 500m\n");
	WIRE_UNTIL(&p.w, p.w.count == 1);
	respond(&p, 0, "content-type: application/grpc\n", false);
	proxy_pass_time(&p, 520 * CLOCK_MS);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_int_equal(s.trailers, 2);
	proxy_end(&p);
}

/* No time at all: no backend is asked. */
static void none_left(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p);
	ask(&p, &s, "GET", "x-wait: 0\n");
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 504);
	assert_int_equal(p.w.count, 0);
	proxy_end(&p);
}

/* An octet a second, for as long as the test wants. */
static void trickle(struct proxy *p, struct seen *s, int seconds)
{
	for (; seconds && !(s->what & H2_CLOSED); seconds--) {
		proxy_write(s->stream, 1, false);
		proxy_pass_time(p, CLOCK_SEC);
	}
}

/* Whose octets come in the very turns in which they are looked for is late all the same. */
static void in_step_with_the_check(void **state)
{
	struct proxy p;
	struct seen s;
	int i;

	begin(&p);
	proxy_ask(&p, &s, (struct h2_field[]){ wire_field(":method", "POST"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
					       wire_field(":path", "/") }, 4, false);
	for (i = 0; i < 2000 && !(s.what & H2_CLOSED); i++) {
		proxy_write(s.stream, 1, false);
		net_loop_turn(p.w.loop, 0); /* it is on its way */
		proxy_pass_time(&p, 20 * CLOCK_MS);
	}
	assert_true(s.what & H2_CLOSED);
	assert_int_equal(s.status, 408);
	assert_non_null(strstr(s.head, "body-timeout"));
	proxy_end(&p);
}

/* A request that calls itself gRPC has to bring its body like others, until a backend answers
 * as gRPC: then its client may be slow. */
static void a_name_is_no_licence(void **state)
{
	struct h2_field f[10] = { wire_field(":method", "POST"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				  wire_field(":path", "/") };
	char text[] = GRPC;
	size_t n = wire_fields(f, 4, 10, text);
	struct proxy p;
	struct seen s;

	begin(&p);
	proxy_ask(&p, &s, f, n, false);
	trickle(&p, &s, 60);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_non_null(strstr(s.head, "body-timeout"));
	WIRE_UNTIL(&p.w, p.w.served[0].what & H2_CLOSED);

	p.w.count = 0;
	proxy_ask(&p, &s, f, n, false);
	trickle(&p, &s, 20);
	respond(&p, 0, "content-type: text/plain\n", false);
	trickle(&p, &s, 40);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.error_code, H2_ERR_CANCEL);

	p.w.count = 0;
	proxy_ask(&p, &s, f, n, false);
	trickle(&p, &s, 20);
	respond(&p, 0, "content-type: application/grpc\n", false);
	trickle(&p, &s, 100);
	assert_false(s.what & H2_CLOSED);
	proxy_end(&p);
}

static void turned_away(void **state)
{
	static const struct {
		const char *method, *lines, *answer;
		bool again;
	} cases[] = {
		{ "GET", "", ":status: 503\n", true }, { "GET", "", ":status: 502\n", true }, { "GET", "", ":status: 504\n", true },
		{ "GET", "", ":status: 500\n", false }, { "GET", "", ":status: 501\n", false }, { "GET", "", ":status: 429\n", false },
		{ "GET", "", ":status: 409\n", false }, { "POST", "", ":status: 503\n", false },
		{ "POST", "idempotency-key: k\n", ":status: 503\n", true }, { "DELETE", "", ":status: 503\n", true },
		{ "POST", GRPC "idempotency-key: k\n", "grpc-status: 14\n", true }, { "POST", GRPC, "grpc-status: 14\n", false },
		{ "POST", GRPC "idempotency-key: k\n", "grpc-status: 13\n", false },
	};
	struct proxy p;
	struct seen s;
	size_t i;
	int poor;

	for (i = 0; i < 2 * sizeof(cases) / sizeof(*cases); i++) {
		poor = i % 2;
		begin(&p);
		if (poor)
			p.worker.budget.tokens = 0;
		ask(&p, &s, cases[i / 2].method, cases[i / 2].lines);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		respond(&p, 0, cases[i / 2].answer, true);
		if (cases[i / 2].again && !poor) {
			WIRE_UNTIL(&p.w, p.w.count == 2);
			respond(&p, 1, "x-second: 1\n", true);
		}
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		if ((p.w.count == 2) != (cases[i / 2].again && !poor))
			print_error("case %zu: %d attempts\n", i / 2, p.w.count);
		assert_int_equal(p.w.count, 1 + (cases[i / 2].again && !poor));
		if (p.w.count == 2)
			assert_non_null(strstr(s.head, "details=\"upstream-unavailable\""));
		else if (*cases[i / 2].answer == ':')
			assert_int_equal(s.status, atoi(cases[i / 2].answer + 9));
		else
			assert_non_null(strstr(s.head, "\ngrpc-status: 1"));
		proxy_end(&p);
	}
}

/* Twenty readers of one connection that breaks: each ends with what its kind of client asks
 * again for, and not at once. */
static void long_lived_ends_are_spread(void **state)
{
	enum { N = 20 };
	static const struct {
		const char *lines, *answer;
		bool whole;
		int trailers;
	} kinds[] = {
		{ "", "content-type: text/event-stream\n", true, 0 },
		{ GRPC, "content-type: application/grpc\n", true, 2 },
		{ ":path: /feed\n", "content-type: text/plain\n", false, 0 },
	};
	struct proxy p;
	struct seen s[N];
	struct h2_session *lost;
	int i, kind, ended, moments, before;

	for (kind = 0; kind < 3; kind++) {
		begin(&p);
		for (i = 0; i < N; i++) {
			ask(&p, &s[i], "POST", kinds[kind].lines);
			WIRE_UNTIL(&p.w, p.w.count == i + 1);
			respond(&p, i, kinds[kind].answer, false);
		}
		proxy_pass_time(&p, 3 * CLOCK_SEC); /* a gRPC call that has lived for longer than the spread */
		lost = p.w.served[0].stream->session;
		for (i = before = 0; i < N; i++)
			before += p.w.served[i].stream->session == lost;
		assert_true(before > 3);
		h2_close(lost, FAULT_SHUTTING_DOWN);
		for (moments = ended = 0; ended < before && moments < 30; moments++) {
			proxy_pass_time(&p, 100 * CLOCK_MS);
			for (i = ended = 0; i < N; i++)
				ended += !!(s[i].what & H2_CLOSED);
			if (!moments)
				assert_true(ended < before);
		}
		assert_int_equal(ended, before);
		assert_in_range(moments, 4, 21);
		for (i = 0; i < N; i++) {
			if (!(s[i].what & H2_CLOSED))
				continue;
			assert_int_equal(!!(s[i].what & H2_END), kinds[kind].whole);
			assert_int_equal(s[i].trailers, kinds[kind].trailers);
			assert_int_equal(s[i].error_code, kinds[kind].whole ? 0 : H2_ERR_INTERNAL);
		}
		assert_non_null(p.w.up); /* the client's own connection stays */
		proxy_end(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deadlines), cmocka_unit_test(what_is_left), cmocka_unit_test(none_left), cmocka_unit_test(in_step_with_the_check), cmocka_unit_test(a_name_is_no_licence), cmocka_unit_test(turned_away),
		cmocka_unit_test(long_lived_ends_are_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
