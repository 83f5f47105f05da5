/* SPDX-License-Identifier: MIT */
/*
 * What requests say about their endpoint: what comes after a head as well, and gRPC's errors;
 * nothing that a client can bring about.
 */
#include "proxy.h"

#define FEATURES \
	"  - name: all\n    tier: core\n    routes: [\"/**\"]\n    timeout: 10s\n" \
	"  - name: events\n    tier: core\n    routes: [\"/events/**\"]\n    long_lived: true\n"

/* What was counted since: answers that were well, errors, faults that blame the endpoint. */
struct counted {
	uint64_t well, errors, faults;
};

static struct counted counted(struct proxy *p)
{
	const struct board_evidence *e = &p->worker.part->endpoint[0];

	return (struct counted){ e->traffic.well, e->traffic.errors, e->faults };
}

static void begin(struct proxy *p)
{
	clock_fake(proxy_now, proxy_now);
	proxy_start(p, FEATURES, false);
	memset(p->worker.part->endpoint, 0, sizeof(p->worker.part->endpoint));
	p->w.silent = true;
}

/* A request that has reached the backend. `type`: of its content; NULL: a read. */
static struct h2_stream *asked(struct proxy *p, struct seen *s, const char *path, const char *type, bool end)
{
	int n = p->w.count;
	struct h2_field f[6] = { wire_field(":method", type ? "POST" : "GET"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", path), wire_field("content-type", type ? type : ""), wire_field("te", "trailers") };

	proxy_ask(p, s, f, type ? 6 : 4, end);
	WIRE_UNTIL(&p->w, p->w.count == n + 1);
	return p->w.served[n].stream;
}

static void head(struct proxy *p, struct h2_stream *st, const char *type)
{
	struct h2_field f[2] = { wire_field(":status", "200"), wire_field("content-type", type) };

	assert_true(h2_respond(st, f, 2, false));
	wire_turn(&p->w, 4);
}

/* ---- after the head ---- */

enum break_off { RESET, CLOSE, WHOLE };

static void break_off(struct proxy *p, struct seen *s, struct h2_stream *st, enum break_off how)
{
	if (how == RESET)
		h2_reset(st, H2_ERR_INTERNAL, FAULT_INTERNAL);
	else if (how == CLOSE)
		h2_close(st->session, FAULT_SHUTTING_DOWN);
	else
		assert_true(h2_finish(st, NULL, 0));
	wire_turn(&p->w, 10);
	proxy_pass_time(p, 3 * CLOCK_SEC); /* what lasts ends over retry.stream_spread */
	WIRE_UNTIL(&p->w, s->what & H2_CLOSED);
}

static void what_follows_a_head(void **state)
{
	static const struct {
		const char *path;
		enum break_off how;
		uint64_t errors, faults;
	} table[] = {
		{ "/a", WHOLE, 0, 0 }, { "/a", RESET, 1, 0 }, { "/a", CLOSE, 1, 1 },
		/* Streams that last end with every restart. */
		{ "/events/a", RESET, 0, 0 }, { "/events/a", CLOSE, 0, 0 },
	};
	struct proxy p;
	struct seen s;
	struct counted c;
	struct h2_stream *st;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(*table); i++) {
		begin(&p);
		st = asked(&p, &s, table[i].path, NULL, true);
		head(&p, st, "text/plain");
		proxy_write(st, 100, false);
		WIRE_UNTIL(&p.w, s.body == 100);
		break_off(&p, &s, st, table[i].how);
		c = counted(&p);
		if (c.well != 1 || c.errors != table[i].errors || c.faults != table[i].faults)
			fail_msg("line %zu: well %d, errors %d, faults %d", i, (int)c.well, (int)c.errors, (int)c.faults);
		proxy_end(&p);
	}
}

/* More than the content-length, or less. */
static void another_length(void **state)
{
	struct h2_field f[2] = { wire_field(":status", "200"), wire_field("content-length", "100") };
	static const size_t sent[] = { 50, 150 };
	struct proxy p;
	struct seen s;
	struct h2_stream *st;
	size_t i;

	for (i = 0; i < 2; i++) {
		begin(&p);
		st = asked(&p, &s, "/a", NULL, true);
		assert_true(h2_respond(st, f, 2, false));
		WIRE_UNTIL(&p.w, s.status == 200);
		proxy_write(st, sent[i], true);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(counted(&p).errors, 1);
		proxy_end(&p);
	}
}

/* ---- what clients can bring about ---- */

static void clients_that_leave(void **state)
{
	struct proxy p;
	struct seen s;
	struct h2_stream *st;
	bool with_head;

	for (with_head = false;; with_head = true) {
		begin(&p);
		st = asked(&p, &s, "/a", NULL, true);
		if (with_head)
			head(&p, st, "text/plain");
		h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		WIRE_UNTIL(&p.w, !p.worker.exchanges);
		assert_int_equal(counted(&p).errors, 0);
		assert_int_equal(counted(&p).well, with_head);
		proxy_end(&p);
		if (with_head)
			break;
	}
}

/* A client that takes nothing, until the backend has had enough of it. */
static void clients_that_do_not_read(void **state)
{
	struct proxy p;
	struct seen s;
	struct h2_stream *st;

	begin(&p);
	p.w.keep = true;
	st = asked(&p, &s, "/a", NULL, true);
	s.keep = true;
	head(&p, st, "text/plain");
	proxy_write(st, 4 << 20, false);
	wire_turn(&p.w, 50);
	assert_int_equal(s.status, 200);
	proxy_pass_time(&p, 3 * CLOCK_SEC);
	h2_reset(st, H2_ERR_CANCEL, FAULT_SLOW_CLIENT);
	wire_turn(&p.w, 20);
	assert_int_equal(counted(&p).well, 1);
	assert_int_equal(counted(&p).errors, 0);
	proxy_end(&p);
}

/* A client that never ends its request, until the backend, or its feature's time, is at its end.
 * It calls itself gRPC, so its body may be slow. */
static void clients_that_do_not_finish(void **state)
{
	struct proxy p;
	struct seen s;
	struct h2_stream *st;
	bool reset;

	for (reset = false;; reset = true) {
		begin(&p);
		st = asked(&p, &s, "/a", "application/grpc", false);
		proxy_pass_time(&p, reset ? 3 * CLOCK_SEC : 11 * CLOCK_SEC);
		if (reset)
			h2_reset(st, H2_ERR_CANCEL, FAULT_BODY_TIMEOUT);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(counted(&p).errors, 0);
		proxy_end(&p);
		if (reset)
			break;
	}
}

/* What one had to wait for the request is no latency of the endpoint's. */
static void slow_requests(void **state)
{
	struct proxy p;
	struct seen s;
	struct h2_stream *st;

	begin(&p);
	st = asked(&p, &s, "/a", "application/grpc", true);
	head(&p, st, "application/grpc");
	assert_true(h2_finish(st, NULL, 0));
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	st = asked(&p, &s, "/a", "application/grpc", false);
	proxy_pass_time(&p, 8 * CLOCK_SEC);
	proxy_write(s.stream, 10, true);
	wire_turn(&p.w, 10);
	head(&p, st, "application/grpc");
	assert_int_equal(counted(&p).well, 2);
	assert_int_equal(p.worker.part->endpoint[0].traffic.slow, 0);
	proxy_end(&p);
}

/* ---- statuses ---- */

static void statuses(void **state)
{
	static const struct {
		const char *http, *grpc; /* grpc: NULL: a plain read */
		bool trailers;           /* after a body, not in the head */
		uint64_t well, errors;
	} table[] = {
		{ "200", NULL, false, 1, 0 }, { "404", NULL, false, 1, 0 }, { "500", NULL, false, 0, 1 },
		{ "501", NULL, false, 1, 0 }, { "505", NULL, false, 1, 0 },
		{ "200", "0", false, 1, 0 },  { "200", "2", false, 0, 1 },  { "200", "13", false, 0, 1 },
		{ "200", "14", false, 0, 1 }, { "200", "15", false, 0, 1 },
		/* CANCELLED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED */
		{ "200", "1", false, 1, 0 },  { "200", "3", false, 1, 0 },  { "200", "4", false, 1, 0 },
		{ "200", "7", false, 1, 0 },  { "200", "8", false, 1, 0 },  { "200", "12", false, 1, 0 },
		{ "200", "0", true, 1, 0 },   { "200", "4", true, 1, 0 },   { "200", "2", true, 1, 1 },
		{ "200", "13", true, 1, 1 },  { "200", "14", true, 1, 1 },
	};
	struct proxy p;
	struct seen s;
	struct counted c;
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct h2_field f[3] = { wire_field(":status", table[i].http), wire_field("content-type", "application/grpc") };
		struct h2_field status = wire_field("grpc-status", table[i].grpc ? table[i].grpc : "0");
		struct h2_stream *st;
		bool in_head = table[i].grpc && !table[i].trailers;

		begin(&p);
		st = asked(&p, &s, "/a", table[i].grpc ? "application/grpc" : NULL, true);
		f[2] = status;
		assert_true(h2_respond(st, f, in_head ? 3 : 2, !table[i].trailers));
		if (table[i].trailers) {
			proxy_write(st, 10, false);
			assert_true(h2_finish(st, &status, 1));
		}
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		c = counted(&p);
		if (c.well != table[i].well || c.errors != table[i].errors || c.faults)
			fail_msg("line %zu: well %d, errors %d, faults %d", i, (int)c.well, (int)c.errors, (int)c.faults);
		proxy_end(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_follows_a_head),	   cmocka_unit_test(another_length),
		cmocka_unit_test(clients_that_leave),	   cmocka_unit_test(clients_that_do_not_read),
		cmocka_unit_test(clients_that_do_not_finish), cmocka_unit_test(slow_requests),
		cmocka_unit_test(statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
