/* SPDX-License-Identifier: MIT */
/* The read fence in use: who raises one, whom it leads where, and when it gives way. The table
 * itself: tests/unit/exchange/test_fence.c. On a clock of the test's own. */
#include "proxy.h"

#include <stdio.h>
#include <stdlib.h>

#include "../../src/datacenter/pool.h"

#define FEATURE \
	"  - name: chat\n    tier: core\n    routes: [\"/**\", \"grpc test.Chat/*\"]\n    identity: bearer\n    state: { keep: true }\n"
#define ROOM 1000

static int users;
static char token[32]; /* of the user whose scene it is */
static struct seen s;

static uint32_t in_flight(struct proxy *p, unsigned d)
{
	return atomic_load(&p->worker.part->load.in_flight[d]);
}

static void begin(struct proxy *p)
{
	struct conf *c;

	clock_fake(proxy_now, proxy_now);
	proxy_start_apart(p, FEATURE);
	load_forget(&p->worker);
	memset(p->worker.part->reached, 0, sizeof(p->worker.part->reached));
	p->worker.budget = (struct budget){ .tokens = 100, .at = proxy_now };
	p->w.silent = true;
	c = (struct conf *)(uintptr_t)p->worker.snap->conf;
	c->fence = (struct conf_fence){ .time_ms = 5000, .version_header = "x-version" };
	c->retry.hedge = false;
	p->worker.part->generation = c->generation;
}

/* Returns the datacenter that was asked. */
static unsigned ask(struct proxy *p, const char *method, const char *user, const char *type)
{
	char bearer[64];
	struct h2_field f[7] = { wire_field(":method", method), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", type ? "/test.Chat/Say" : "/"), wire_field("authorization", bearer),
				 wire_field("content-type", type ? type : ""), wire_field("te", "trailers") };
	int n = p->w.count;

	snprintf(bearer, sizeof(bearer), "Bearer %s", user);
	f[4] = wire_field("authorization", bearer);
	proxy_ask(p, &s, f, type ? 7 : 5, true);
	WIRE_UNTIL(&p->w, p->w.count == n + 1);
	return in_flight(p, 0) ? 0 : 1;
}

static void answer(struct proxy *p, const char *status, const char *version)
{
	struct h2_field f[2] = { wire_field(":status", status), wire_field("x-version", version ? version : "") };

	h2_respond(p->w.served[p->w.count - 1].stream, f, version ? 2 : 1, true);
	WIRE_UNTIL(&p->w, s.what & H2_CLOSED);
	assert_int_equal(s.status, strtol(status, NULL, 10));
}

static unsigned reads(struct proxy *p, const char *user)
{
	unsigned d = ask(p, "GET", user, NULL);

	answer(p, "200", NULL);
	return d;
}

/* No room there for anybody. */
static void full(struct proxy *p, unsigned d, bool is)
{
	p->worker.live.degrade.limit[d][DEGRADE_CORE] = is ? ROOM : 0;
	p->worker.others[d] = is ? ROOM : 0;
}

/* A user nobody has seen, and his home. */
static unsigned newcomer(struct proxy *p)
{
	snprintf(token, sizeof(token), "user-%d", users++);
	return reads(p, token);
}

/* He asks where he is not at home. */
static unsigned ask_away(struct proxy *p, unsigned home, const char *method, const char *type)
{
	unsigned d;

	full(p, home, true);
	d = ask(p, method, token, type);
	full(p, home, false);
	assert_int_equal(d, !home);
	return d;
}

/* His reads go where he wrote, nobody else's do, and not for ever. */
static void a_read_follows_the_write(void **state)
{
	struct proxy p;
	unsigned home;
	uint64_t before;
	char other[32];

	begin(&p);
	home = newcomer(&p);
	snprintf(other, sizeof(other), "%s", token);
	while (newcomer(&p) != home)
		;
	ask_away(&p, home, "POST", NULL);
	answer(&p, "200", NULL);
	before = p.worker.part->tm.scalar[TM_FENCE_READS];
	assert_int_equal(reads(&p, token), !home);
	assert_int_equal(p.worker.part->tm.scalar[TM_FENCE_READS], before + 1);
	assert_int_equal(reads(&p, other), home);
	assert_int_equal(p.worker.part->tm.scalar[TM_FENCE_READS], before + 1);
	proxy_pass_time(&p, 4900 * CLOCK_MS);
	assert_int_equal(reads(&p, token), !home);
	proxy_pass_time(&p, 200 * CLOCK_MS);
	assert_int_equal(reads(&p, token), home);
	proxy_end(&p);
}

/* What raises a fence: anything that may have written. */
static void what_may_have_written(void **state)
{
	static const struct {
		const char *method, *type, *status;
		bool raised;
	} cases[] = {
		{ "POST", NULL, "200", true }, { "DELETE", NULL, "204", true }, { "PUT", NULL, "302", true }, { "POST", NULL, "500", true },
		{ "POST", NULL, "400", false }, { "POST", NULL, "404", false }, { "POST", NULL, "499", false },
		{ "GET", NULL, "200", false }, { "HEAD", NULL, "200", false }, { "OPTIONS", NULL, "200", false },
		{ "POST", "application/grpc", "200", false }, /* of a feature that keeps state: a read */
	};
	struct proxy p;
	unsigned home;
	size_t i;

	begin(&p);
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		home = newcomer(&p);
		ask_away(&p, home, cases[i].method, cases[i].type);
		answer(&p, cases[i].status, NULL);
		if (reads(&p, token) != (cases[i].raised ? !home : home))
			fail_msg("%s, answered %s", cases[i].method, cases[i].status);
	}
	proxy_end(&p);
}

/* No answer: it may have come that far, unless it is said that it did not. */
static void what_was_not_answered(void **state)
{
	struct proxy p;
	unsigned home;

	begin(&p);
	home = newcomer(&p);
	ask_away(&p, home, "POST", NULL);
	h2_reset(p.w.served[p.w.count - 1].stream, H2_ERR_INTERNAL, FAULT_INTERNAL);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 502);
	assert_int_equal(reads(&p, token), !home);

	home = newcomer(&p);
	ask_away(&p, home, "POST", NULL);
	full(&p, 0, true); /* nor is it tried again */
	full(&p, 1, true);
	h2_reset(p.w.served[p.w.count - 1].stream, H2_ERR_REFUSED_STREAM, FAULT_SHUTTING_DOWN);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503);
	full(&p, 0, false);
	full(&p, 1, false);
	assert_int_equal(reads(&p, token), home);
	proxy_end(&p);
}

/* Once the other datacenter has shown the write's version to anybody, he is at home again. */
static void until_it_has_come_across(void **state)
{
	static const struct {
		const char *wrote, *seen;
		bool across;
	} cases[] = {
		{ "7", "6", false }, { "17", "18", true }, { "28", "28", true }, { "39", "39x", false }, { "40x", "50", false }, { NULL, "60", false },
		{ "1234567890123456789", "99", false }, { "12345678901234567890", "100", false },
	};
	char writer[32];
	struct proxy p;
	unsigned home;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin(&p);
		home = newcomer(&p);
		ask_away(&p, home, "POST", NULL);
		answer(&p, "200", cases[i].wrote);
		snprintf(writer, sizeof(writer), "%s", token);
		while (newcomer(&p) != home)
			;
		ask(&p, "GET", token, NULL);
		answer(&p, "200", cases[i].seen);
		if (reads(&p, writer) != (cases[i].across ? home : !home))
			fail_msg("wrote %s, seen %s", cases[i].wrote, cases[i].seen);
		proxy_end(&p);
	}
}

/* Nobody is there: he reads what there is. */
static void availability_wins(void **state)
{
	struct proxy p;
	unsigned home;

	begin(&p);
	home = newcomer(&p);
	ask_away(&p, home, "POST", NULL);
	answer(&p, "200", NULL);
	full(&p, !home, true);
	assert_int_equal(reads(&p, token), home);
	full(&p, !home, false);
	assert_int_equal(reads(&p, token), !home);
	proxy_end(&p);
}

/* The pool's watch says it of that endpoint, and to all who wait. */
static void doubted(struct proxy *p, unsigned d, bool gravely)
{
	struct list *node;

	(gravely ? dc_local_avoid : dc_local_doubt)(&p->worker.pool->local, d, proxy_now + 50 * CLOCK_MS);
	for (node = p->worker.pool->ctx.sessions.next; node != &p->worker.pool->ctx.sessions; node = node->next)
		h2_tell(h2_session_from_node(node), H2_DOUBTED);
	wire_turn(&p->w, 5);
}

/* A datacenter that pauses is waited for by whom it alone shows what he wrote; not for long. */
static void a_pause_is_waited_for(void **state)
{
	unsigned home, where, alike;
	char writer[32];
	struct proxy p;
	int n;

	for (alike = 0; alike < 2; alike++) { /* a home that pauses, and one that is not his home */
		begin(&p);
		((struct conf *)(uintptr_t)p.worker.snap->conf)->retry.hedge = true;
		home = newcomer(&p);
		where = alike ? home : !home;
		if (alike)
			ask(&p, "POST", token, NULL);
		else
			ask_away(&p, home, "POST", NULL);
		answer(&p, "200", NULL);
		assert_int_equal(ask(&p, "GET", token, NULL), where);
		n = p.w.count;
		doubted(&p, where, false);
		assert_int_equal(p.w.count, n);
		doubted(&p, where, true);
		WIRE_UNTIL(&p.w, p.w.count == n + 1);
		answer(&p, "200", NULL);
		proxy_pass_time(&p, 60 * CLOCK_MS);

		dc_local_doubt(&p.worker.pool->local, where, proxy_now + 50 * CLOCK_MS);
		snprintf(writer, sizeof(writer), "%s", token);
		assert_int_equal(reads(&p, writer), where);
		for (n = 0; n < 8; n++)
			assert_int_equal(newcomer(&p), !where);
		dc_local_avoid(&p.worker.pool->local, where, proxy_now + 50 * CLOCK_MS);
		assert_int_equal(reads(&p, writer), !where);
		proxy_end(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_read_follows_the_write), cmocka_unit_test(what_may_have_written), cmocka_unit_test(what_was_not_answered),
		cmocka_unit_test(until_it_has_come_across), cmocka_unit_test(availability_wins), cmocka_unit_test(a_pause_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
