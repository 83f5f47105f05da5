/* SPDX-License-Identifier: MIT */
/*
 * Exchanges that wait, on a clock of the test's own: for recent state (the linker gives us
 * cache_get), for hours between two events, and across a new configuration.
 */
#include "proxy.h"

#include "firebreak/net.h"

#include <stdlib.h>

void __wrap_cache_get(struct cache *k, const struct cache_key *key, uint32_t cap_s, int64_t wall_ns, struct arena *arena,
		      cache_done done, void *user);
void __wrap_cache_forget(struct cache *k, void *user);

/* The look-up under way: brought back when the test says so. */
static struct {
	cache_done done;
	void *user;
} look;

void __wrap_cache_get(struct cache *k, const struct cache_key *key, uint32_t cap_s, int64_t wall_ns, struct arena *arena,
		      cache_done done, void *user)
{
	assert_null(look.done);
	look.done = done;
	look.user = user;
}

void __wrap_cache_forget(struct cache *k, void *user)
{
	if (look.user == user)
		memset(&look, 0, sizeof(look));
}

static void look_ends(struct cache_answer *found)
{
	cache_done done = look.done;
	void *user = look.user;

	memset(&look, 0, sizeof(look));
	if (done)
		done(user, found);
}

#define KEPT \
	"  - name: all\n    tier: core\n    routes: [\"/**\"]\n    timeout: 2s\n    body_limit: 1000B\n" \
	"    state: { keep: true, shared: true }\n"

/* A read whose only way is recent state, and that is being looked for. */
static void start_looking(struct proxy *p, struct seen *s, bool end)
{
	proxy_pass_time(p, 0);
	p->worker.live.degrade.any_datacenter = false;
	p->w.silent = true;
	wire_get(&p->w, s, "GET", "/a", end);
	WIRE_UNTIL(&p->w, look.done);
}

static void begin(struct proxy *p, const char *features)
{
	memset(&look, 0, sizeof(look));
	clock_fake(proxy_now, proxy_now);
	proxy_start(p, features, false);
}

/* Finds what is looked for in the very turn in which the exchange has had its answer. */
static void find_too_late(void *arg)
{
	struct cache_answer found = { .status = 200 };
	struct proxy *p = arg;

	if (look.user && ((struct xchg *)look.user)->state == XCHG_ANSWERED)
		look_ends(&found);
	p->hook(p);
}

/* What is found after the refusal has no stream to go to. */
static void too_large_while_looking(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p, KEPT);
	net_loop_hook(p.w.loop, find_too_late, &p);
	start_looking(&p, &s, false);
	proxy_write(s.stream, 2000, false);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 413);
	assert_int_equal(s.fault, FAULT_NONE);
	proxy_end(&p);
}

static void client_leaves_while_looking(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p, KEPT);
	start_looking(&p, &s, true);
	h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_RESET);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	WIRE_UNTIL(&p.w, !p.worker.exchanges);
	assert_null(look.done);
	proxy_end(&p);
}

/* The look-up takes longer than the feature's timeout, and a datacenter comes back
 * meanwhile: its silence has an end all the same. */
static void attempt_after_a_long_look(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p, KEPT);
	start_looking(&p, &s, true);
	proxy_pass_time(&p, 3 * CLOCK_SEC);
	p.worker.live.degrade.any_datacenter = true;
	look_ends(NULL);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	proxy_pass_time(&p, CLOCK_SEC);
	assert_int_equal(s.status, 0);
	proxy_pass_time(&p, 2 * CLOCK_SEC);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503); /* and nothing recent either */
	proxy_end(&p);
}

/* ---- a new configuration ---- */

#define FIRST  "  - name: first\n    tier: core\n    routes: [\"/first\"]\n"
#define SECOND "  - name: second\n    tier: core\n    routes: [\"/second\"]\n"

/* An operator's word is over a feature, not over a place in a table: where the second one
 * was, there is the first now. */
static void words_follow_their_feature(void **state)
{
	static const struct { bool first_off; int status; } expected[] = { { true, 200 }, { false, 503 } };
	struct proxy p;
	struct seen s;
	size_t i;

	for (i = 0; i < 2; i++) {
		begin(&p, FIRST SECOND);
		p.w.silent = true;
		wire_get(&p.w, &s, "GET", "/second", true);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		proxy_reload(&p, SECOND FIRST);
		p.worker.live.degrade.word[expected[i].first_off] = DEGRADE_OFF;
		p.w.silent = false;
		h2_reset(p.w.served[0].stream, H2_ERR_REFUSED_STREAM, FAULT_OVERLOADED);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, expected[i].status);
		proxy_end(&p);
	}
}

/* A feature that is gone is one nobody named. */
static void words_of_a_feature_that_is_gone(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p, FIRST SECOND);
	p.w.silent = true;
	wire_get(&p.w, &s, "GET", "/second", true);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	proxy_reload(&p, FIRST);
	p.worker.live.degrade.word[1] = DEGRADE_OFF; /* "unnamed" */
	h2_reset(p.w.served[0].stream, H2_ERR_REFUSED_STREAM, FAULT_OVERLOADED);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503);
	proxy_end(&p);
}

static uint64_t served_by(struct proxy *p, unsigned datacenter)
{
	struct tm_worker *tm = &p->worker.part->tm;

	return tm->exchange[0][TM_SERVED][datacenter] + tm->exchange[0][TM_FAILED_OVER][datacenter];
}

#define BEFORE_B(list) list "]\n  - name: b\n    endpoints: ["

/* The endpoint asked is the second of all, in datacenter "b". When it answers, fails, or the
 * client has left, there is no second one any more, or it is another: what happened is
 * counted under the right name or not at all. */
static void endpoints_are_others(void **state)
{
	static const struct { const char *first; unsigned datacenter; } then[] = {
		{ "", CONF_MAX_DATACENTERS }, { BEFORE_B("\"unix:/nowhere\", \"unix:/other\""), 1 },
	};
	struct board_evidence before;
	uint64_t counted;
	struct proxy p;
	struct seen s;
	int i;

	for (i = 0; i < 6; i++) {
		begin(&p, "");
		p.first = BEFORE_B("\"unix:/nowhere\"");
		proxy_reload(&p, "");
		p.w.silent = true;
		wire_get(&p.w, &s, "GET", "/", true);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		p.first = then[i % 2].first;
		proxy_reload(&p, "");
		proxy_pass_time(&p, 10 * CLOCK_MS); /* an answer that took no time teaches nothing */
		before = p.worker.part->endpoint[1];
		counted = served_by(&p, then[i % 2].datacenter);
		if (i < 2)
			h2_respond(p.w.served[0].stream, proxy_ok, 1, true);
		else if (i < 4)
			h2_reset(p.w.served[0].stream, H2_ERR_INTERNAL, FAULT_OVERLOADED);
		else
			h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_RESET);
		p.w.silent = false;
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		WIRE_UNTIL(&p.w, !p.worker.exchanges);
		assert_int_equal(s.status, i < 4 ? 200 : 0);
		if (i < 2)
			assert_int_equal(served_by(&p, then[i].datacenter) - counted, 1);
		if (i < 2 || i >= 4)
			assert_memory_equal(&before, &p.worker.part->endpoint[1], sizeof(before));
		proxy_end(&p);
	}
}

/* ---- hours ---- */

#define FEED "  - name: feed\n    tier: core\n    routes: [\"/**\"]\n    long_lived: true\n    timeout: 2s\n    stream_idle: 15m\n"

/* Server-sent events: one every ten minutes, for six hours; then none. */
static void events_for_hours(void **state)
{
	struct proxy p;
	struct seen s;
	int i, k;

	begin(&p, FEED);
	p.w.silent = true;
	wire_get(&p.w, &s, "GET", "/events", true);
	WIRE_UNTIL(&p.w, p.w.count == 1);
	h2_respond(p.w.served[0].stream, proxy_ok, 1, false);
	for (i = 0; i < 36; i++) {
		for (k = 0; k < 20; k++)
			proxy_pass_time(&p, 30 * CLOCK_SEC);
		assert_false(s.what & H2_CLOSED);
		proxy_write(p.w.served[0].stream, 10, false);
		WIRE_UNTIL(&p.w, s.body == 10u * (unsigned)(i + 1));
	}
	for (k = 0; k < 29; k++)
		proxy_pass_time(&p, 30 * CLOCK_SEC);
	assert_false(s.what & H2_CLOSED);
	for (k = 0; k < 4; k++)
		proxy_pass_time(&p, 30 * CLOCK_SEC);
	assert_true(s.what & H2_CLOSED);
	assert_int_equal(s.error_code, H2_ERR_CANCEL);
	WIRE_UNTIL(&p.w, p.w.served[0].what & H2_CLOSED);
	proxy_end(&p);
}

/* ---- a drained datacenter ---- */

#define MIXED \
	"  - name: all\n    tier: core\n    routes: [\"/**\"]\n    timeout: 5s\n" \
	"  - name: feed\n    tier: core\n    routes: [\"/events/**\"]\n    long_lived: true\n    stream_idle: 15m\n"

static void drain(struct proxy *p, enum dc_state state)
{
	p->worker.live.version++;
	p->worker.live.dc.datacenter_state[0] = state;
	proxy_pass_time(p, 100 * CLOCK_MS);
}

/* Asks, and is answered with a head if there is a type for it. */
static struct h2_stream *begun(struct proxy *p, struct seen *s, const char *path, const char *type)
{
	struct h2_field f[6] = { wire_field(":method", "POST"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", path), wire_field("te", "trailers"), wire_field("content-type", type ? type : "text/plain") };
	struct h2_field head[2] = { proxy_ok[0], f[5] };
	int n = p->w.count;

	proxy_ask(p, s, f, 6, true);
	WIRE_UNTIL(&p->w, p->w.count == n + 1);
	if (type) {
		h2_respond(p->w.served[n].stream, head, 2, false);
		WIRE_UNTIL(&p->w, s->status == 200);
	}
	return p->w.served[n].stream;
}

/* Event streams and what else lasts end in a way that lets their clients come back, also one
 * whose head comes only then. What is no longer than usual has its time, and gets its end. */
static void a_drain_ends_what_lasts(void **state)
{
	enum { EVENTS, RAW, LATE, CALL, DOWNLOAD, ALL };
	struct proxy p;
	struct seen s[ALL];
	struct h2_stream *late, *download;
	int i;

	begin(&p, MIXED);
	memset(p.worker.part->endpoint, 0, sizeof(p.worker.part->endpoint));
	p.w.silent = true;
	begun(&p, &s[CALL], "/a", "application/grpc");
	proxy_pass_time(&p, 4 * CLOCK_SEC);
	begun(&p, &s[EVENTS], "/events/a", "text/event-stream");
	begun(&p, &s[RAW], "/events/b", "application/octet-stream");
	late = begun(&p, &s[LATE], "/events/c", NULL);
	download = begun(&p, &s[DOWNLOAD], "/a", "application/grpc");
	drain(&p, DC_DRAINING);
	proxy_pass_time(&p, 500 * CLOCK_MS);
	assert_int_equal(atomic_load(&p.worker.part->load.streams[0]), ALL);
	drain(&p, DC_DRAINED);
	h2_respond(late, proxy_ok, 1, false);
	for (i = 0; i < 28; i++)
		proxy_pass_time(&p, 100 * CLOCK_MS);
	assert_true(s[EVENTS].what & H2_END);
	assert_int_equal(s[EVENTS].fault, FAULT_NONE);
	assert_true(s[CALL].trailers);
	assert_int_equal(s[CALL].fault, FAULT_NONE);
	assert_int_equal(s[RAW].error_code, H2_ERR_INTERNAL);
	assert_int_equal(s[LATE].error_code, H2_ERR_INTERNAL);
	for (i = 0; i < 4; i++) /* the backend is told as well */
		assert_true(p.w.served[i].what & H2_CLOSED);
	assert_int_equal(s[DOWNLOAD].what & (H2_END | H2_CLOSED), 0);
	proxy_write(download, 100, true);
	WIRE_UNTIL(&p.w, s[DOWNLOAD].what & H2_CLOSED);
	assert_int_equal(s[DOWNLOAD].fault, FAULT_NONE);
	assert_int_equal(s[DOWNLOAD].body, 100);
	proxy_pass_time(&p, 200 * CLOCK_MS);
	assert_int_equal(atomic_load(&p.worker.part->load.streams[0]), 0);
	assert_int_equal(p.worker.part->endpoint[0].traffic.errors, 0);
	proxy_end(&p);
}

/* Without a spread, at once. */
static void a_drain_without_a_spread(void **state)
{
	struct proxy p;
	struct seen s, call;

	begin(&p, MIXED);
	((struct conf *)(uintptr_t)p.worker.snap->conf)->retry.stream_spread_ms = 0;
	p.w.silent = true;
	begun(&p, &s, "/events/a", "text/event-stream");
	begun(&p, &call, "/a", "application/grpc");
	proxy_pass_time(&p, CLOCK_SEC);
	drain(&p, DC_DRAINED);
	proxy_pass_time(&p, 50 * CLOCK_MS);
	assert_true(s.what & H2_CLOSED);
	assert_int_equal(s.fault, FAULT_NONE);
	assert_false(call.what & H2_CLOSED);
	proxy_end(&p);
}

/* A download that takes longer than its feature's time does not hold up a drain for ever. */
static void a_drain_ends_what_is_overdue(void **state)
{
	struct tm_worker *tm;
	struct proxy p;
	struct seen s;
	uint64_t drained, failed;

	begin(&p, MIXED);
	tm = &p.worker.part->tm;
	memset(p.worker.part->endpoint, 0, sizeof(p.worker.part->endpoint));
	p.w.silent = true;
	begun(&p, &s, "/a", "application/octet-stream");
	proxy_pass_time(&p, 4 * CLOCK_SEC);
	drain(&p, DC_DRAINED);
	proxy_pass_time(&p, 100 * CLOCK_MS);
	assert_false(s.what & H2_CLOSED);
	drained = tm->fault[FAULT_DRAINED];
	failed = tm->exchange[0][TM_FAILED][0];
	proxy_pass_time(&p, CLOCK_SEC);
	proxy_pass_time(&p, 100 * CLOCK_MS);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.error_code, H2_ERR_INTERNAL);
	WIRE_UNTIL(&p.w, p.w.served[0].what & H2_CLOSED);
	assert_int_equal(tm->fault[FAULT_DRAINED] - drained, 1);
	assert_int_equal(tm->exchange[0][TM_FAILED][0] - failed, 1);
	assert_int_equal(p.worker.part->endpoint[0].traffic.errors, 0);
	proxy_end(&p);
}

/* What ends by itself before its turn is counted as any other; what is cut, as failed. */
static void a_drain_counts_what_it_ends(void **state)
{
	struct tm_worker *tm;
	struct proxy p;
	struct seen whole, cut;
	struct h2_stream *st;
	uint64_t drained, served, failed;
	int i;

	begin(&p, MIXED);
	tm = &p.worker.part->tm;
	drained = tm->fault[FAULT_DRAINED];
	served = tm->exchange[1][TM_SERVED][0];
	failed = tm->exchange[1][TM_FAILED][0];
	p.w.silent = true;
	st = begun(&p, &whole, "/events/a", "text/event-stream");
	begun(&p, &cut, "/events/b", "application/octet-stream");
	((struct conf *)(uintptr_t)p.worker.snap->conf)->retry.stream_spread_ms = 60000;
	drain(&p, DC_DRAINED);
	proxy_pass_time(&p, 100 * CLOCK_MS);
	assert_int_equal((whole.what | cut.what) & H2_CLOSED, 0);
	proxy_write(st, 5, true);
	WIRE_UNTIL(&p.w, whole.what & H2_CLOSED);
	for (i = 0; i < 61; i++)
		proxy_pass_time(&p, CLOCK_SEC);
	assert_true(cut.what & H2_CLOSED);
	assert_int_equal(cut.error_code, H2_ERR_INTERNAL);
	assert_int_equal(tm->fault[FAULT_DRAINED] - drained, 1);
	assert_int_equal(tm->exchange[1][TM_SERVED][0] - served, 1);
	assert_int_equal(tm->exchange[1][TM_FAILED][0] - failed, 1);
	proxy_end(&p);
}

/* Not all in one instant; and one that ends by itself meanwhile is whole. */
static void a_drain_spreads_the_ends(void **state)
{
	enum { MANY = 20 };
	struct proxy p;
	struct seen s[MANY];
	struct h2_stream *first = NULL, *st;
	int i, k, before = 0, ended, moments = 0;

	begin(&p, MIXED);
	p.w.silent = true;
	for (i = 0; i < MANY; i++) {
		st = begun(&p, &s[i], "/events/a", "text/event-stream");
		first = i ? first : st;
	}
	drain(&p, DC_DRAINED);
	if (!(s[0].what & H2_CLOSED))
		proxy_write(first, 5, true);
	for (k = 0; k < 25; k++) {
		proxy_pass_time(&p, 100 * CLOCK_MS);
		for (i = ended = 0; i < MANY; i++)
			ended += !!(s[i].what & H2_CLOSED);
		moments += ended > before;
		before = ended;
	}
	assert_int_equal(ended, MANY);
	assert_true(moments >= 5);
	assert_int_equal(s[0].body, 5);
	assert_true(s[0].what & H2_END);
	proxy_end(&p);
}

/* We stood still for longer than a head may take, and the rest of it has come meanwhile. */
static void a_pause_of_ours_is_not_the_endpoints(void **state)
{
	static const uint8_t ok = 0x88, rest[] = { 0, 1, 'x', 1, 'y' };
	struct proxy p;
	struct seen s;
	uint32_t id, len;
	int i;

	clock_fake(proxy_now, proxy_now);
	proxy_start(&p, "  - name: all\n    tier: core\n    routes: [\"/**\"]\n    timeout: 60s\n", true);
	wire_get(&p.w, &s, "POST", "/", true);
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	raw_frame(&p.w, 1, 1, id, &ok, 1);
	proxy_pass_time(&p, CLOCK_MS);
	raw_frame(&p.w, 9, 4, id, rest, sizeof(rest));
	proxy_pass_time(&p, 30 * CLOCK_SEC);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);

	/* The rest does not come. */
	p.w.have = 0;
	wire_get(&p.w, &s, "POST", "/", true);
	WIRE_UNTIL(&p.w, raw_find(&p.w, 1, &id, &len));
	raw_frame(&p.w, 1, 1, id, &ok, 1);
	proxy_pass_time(&p, CLOCK_MS);
	proxy_pass_time(&p, 30 * CLOCK_SEC);
	for (i = 0; i < 3 && !s.status; i++)
		proxy_pass_time(&p, 10 * CLOCK_MS);
	assert_int_equal(s.status, 502);
	proxy_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(too_large_while_looking), cmocka_unit_test(client_leaves_while_looking),
		cmocka_unit_test(attempt_after_a_long_look), cmocka_unit_test(words_follow_their_feature),
		cmocka_unit_test(words_of_a_feature_that_is_gone), cmocka_unit_test(endpoints_are_others),
		cmocka_unit_test(events_for_hours), cmocka_unit_test(a_drain_ends_what_lasts),
		cmocka_unit_test(a_drain_ends_what_is_overdue), cmocka_unit_test(a_drain_counts_what_it_ends),
		cmocka_unit_test(a_drain_spreads_the_ends), cmocka_unit_test(a_drain_without_a_spread), cmocka_unit_test(a_pause_of_ours_is_not_the_endpoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
