/* SPDX-License-Identifier: MIT */
/* Two attempts at once: when the second is made, who wins, what becomes of the other. On a
 * clock of the test's own. */
#include "proxy.h"

#include <inttypes.h>
#include <stdio.h>

#include "../../src/datacenter/pool.h"
#include "firebreak/crypt.h"

#define FEATURE \
	"  - name: all\n    tier: core\n    routes: [\"/**\"]\n    timeout: 2s\n    body_limit: unlimited\n    idempotency: idempotency-key\n"

static uint64_t count(struct proxy *p, enum tm_scalar s)
{
	return p->worker.part->tm.scalar[s];
}

static struct conf_retry *rules(struct proxy *p)
{
	return &((struct conf *)(uintptr_t)p->worker.snap->conf)->retry;
}

static void begin(struct proxy *p)
{
	clock_fake(proxy_now, proxy_now);
	proxy_start_two(p, FEATURE);
	p->w.silent = true;
	p->worker.budget = p->worker.hedges = (struct budget){ .tokens = 100, .at = proxy_now };
}

/* Asks, and waits until the n-th stream has come to a backend. */
static void ask(struct proxy *p, struct seen *s, const char *method, const char *key, bool end, int n)
{
	struct h2_field f[5] = { wire_field(":method", method), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/"), wire_field("idempotency-key", key ? key : "") };

	proxy_ask(p, s, f, key ? 5 : 4, end);
	WIRE_UNTIL(&p->w, p->w.count == n);
}

/* The pool's watch says this of every connection that has waiting streams. */
static void tell(struct proxy *p, uint32_t what)
{
	struct list *node;

	for (node = p->worker.pool->ctx.sessions.next; node != &p->worker.pool->ctx.sessions; node = node->next)
		h2_tell(h2_session_from_node(node), what);
	wire_turn(&p->w, 5);
}

/* A GET that is asked at both. */
static void begin_two(struct proxy *p, struct seen *s)
{
	begin(p);
	ask(p, s, "GET", NULL, true, 1);
	tell(p, H2_DOUBTED);
	WIRE_UNTIL(&p->w, p->w.count == 2);
	assert_ptr_not_equal(p->w.served[0].stream->session, p->w.served[1].stream->session);
	tell(p, H2_DOUBTED);
	assert_int_equal(p->w.count, 2); /* not a third */
}

static void answered(struct proxy *p, struct seen *s, int by)
{
	h2_respond(p->w.served[by].stream, proxy_ok, 1, true);
	WIRE_UNTIL(&p->w, s->what & H2_CLOSED);
	assert_int_equal(s->status, 200);
}

static void failed(struct proxy *p, int n)
{
	h2_reset(p->w.served[n].stream, H2_ERR_INTERNAL, FAULT_INTERNAL);
	wire_turn(&p->w, 5);
}

static void only_what_is_safe(void **state)
{
	static const struct {
		const char *method, *key;
		bool end, budget, on, hedged;
	} cases[] = {
		{ "GET", NULL, true, true, true, true }, { "PUT", NULL, true, true, true, true }, { "POST", "k", true, true, true, true },
		{ "POST", NULL, true, true, true, false }, { "PUT", NULL, false, true, true, false },
		{ "GET", NULL, true, false, true, false }, { "GET", NULL, true, true, false, false },
	};
	struct proxy p;
	struct seen s;
	uint64_t before;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin(&p);
		before = count(&p, TM_HEDGES);
		if (!cases[i].budget)
			p.worker.budget.tokens = 0;
		rules(&p)->hedge = cases[i].on;
		ask(&p, &s, cases[i].method, cases[i].key, cases[i].end, 1);
		tell(&p, H2_DOUBTED);
		wire_turn(&p.w, 20);
		if (p.w.count != 1 + cases[i].hedged)
			print_error("%s, case %zu: %d attempts\n", cases[i].method, i, p.w.count);
		assert_int_equal(p.w.count, 1 + cases[i].hedged);
		assert_int_equal(count(&p, TM_HEDGES) - before, cases[i].hedged);
		assert_false(p.w.served[0].what & H2_CLOSED); /* the first goes on */
		if (!cases[i].end)
			proxy_write(s.stream, 10, true);
		answered(&p, &s, 0);
		proxy_end(&p);
	}
}

static void the_first_answer_wins(void **state)
{
	struct proxy p;
	struct seen s;
	uint64_t won;
	int by;

	for (by = 0; by < 2; by++) {
		begin_two(&p, &s);
		won = count(&p, TM_HEDGES_WON);
		h2_respond(p.w.served[by].stream, proxy_ok, 1, false);
		WIRE_UNTIL(&p.w, p.w.served[!by].what & H2_CLOSED); /* at the head, not the end */
		assert_int_equal(p.w.served[!by].error_code, H2_ERR_CANCEL);
		assert_false(s.what & H2_END);
		proxy_write(p.w.served[by].stream, 100, true);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_true(s.status == 200 && s.body == 100);
		assert_int_equal(count(&p, TM_HEDGES_WON) - won, by);
		assert_true(!strstr(s.head, "upstream-late") == !by);
		WIRE_UNTIL(&p.w, !p.worker.exchanges);
		proxy_end(&p);
	}
}

/* One failure leaves the other to answer; two leave nobody. */
static void failures(void **state)
{
	struct proxy p;
	struct seen s;
	int first;

	for (first = 0; first < 2; first++) {
		begin_two(&p, &s);
		failed(&p, first);
		assert_int_equal(s.status, 0);
		answered(&p, &s, !first);
		assert_int_equal(p.w.count, 2);
		proxy_end(&p);

		begin_two(&p, &s);
		failed(&p, first);
		failed(&p, !first);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(s.status, 502);
		assert_int_equal(p.w.count, 2);
		proxy_end(&p);
	}
}

static void fail_all(struct proxy *p)
{
	struct list *node;

	for (node = p->worker.pool->ctx.sessions.next; node != &p->worker.pool->ctx.sessions; node = node->next)
		endpoint_failed(((struct link *)h2_session_owner(h2_session_from_node(node)))->ep, FAULT_UPSTREAM_SILENT);
}

/* The verdict over both connections at once: nobody is left to ask, so the last one is waited for. */
static void silence_after_doubt(void **state)
{
	struct proxy p;
	struct seen s;

	begin_two(&p, &s);
	fail_all(&p);
	tell(&p, H2_SILENT);
	assert_int_equal(s.status, 0);
	fail_all(&p);
	tell(&p, H2_LOST);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 504);
	assert_int_equal(p.w.count, 2);
	proxy_end(&p);
}

static struct h2_session *session(struct proxy *p, int n)
{
	struct list *node = p->worker.pool->ctx.sessions.next;

	return h2_session_from_node(n ? node->next : node);
}

static void fail_one(struct proxy *p, int n)
{
	endpoint_failed(((struct link *)h2_session_owner(session(p, n)))->ep, FAULT_UPSTREAM_SILENT);
}

/* The first one is silent, and the one asked beside it has failed as well: neither is given up. */
static void silence_beside_a_failed_one(void **state)
{
	struct proxy p;
	struct seen s;
	int by;

	for (by = 0; by < 2; by++) {
		begin_two(&p, &s);
		fail_all(&p);
		h2_tell(session(&p, 0), H2_SILENT);
		wire_turn(&p.w, 5);
		assert_false((p.w.served[0].what | p.w.served[1].what) & H2_CLOSED);
		answered(&p, &s, by);
		assert_int_equal(p.w.count, 2);
		proxy_end(&p);
	}
}

/* Who has failed is not asked for a doubt's sake. */
static void no_hedge_to_a_failed_one(void **state)
{
	struct proxy p;
	struct seen s;

	begin_two(&p, &s);
	answered(&p, &s, 1);
	fail_one(&p, 0);
	ask(&p, &s, "GET", NULL, true, 3);
	tell(&p, H2_DOUBTED);
	assert_int_equal(p.w.count, 3);
	answered(&p, &s, 2);
	proxy_end(&p);
}

static void the_client_leaves(void **state)
{
	struct proxy p;
	struct seen s;

	begin_two(&p, &s);
	h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_RESET);
	WIRE_UNTIL(&p.w, p.w.served[0].what & p.w.served[1].what & H2_CLOSED);
	WIRE_UNTIL(&p.w, !p.worker.exchanges);
	proxy_end(&p);
}

static void nobody_answers_in_time(void **state)
{
	struct proxy p;
	struct seen s;

	begin_two(&p, &s);
	proxy_pass_time(&p, 3 * CLOCK_SEC);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 504);
	WIRE_UNTIL(&p.w, p.w.served[0].what & p.w.served[1].what & H2_CLOSED);
	WIRE_UNTIL(&p.w, !p.worker.exchanges);
	proxy_end(&p);
}

static void a_body_is_sent_whole(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p);
	ask(&p, &s, "PUT", NULL, false, 1);
	proxy_write(s.stream, 3000, true);
	WIRE_UNTIL(&p.w, p.w.served[0].what & H2_END);
	tell(&p, H2_DOUBTED);
	WIRE_UNTIL(&p.w, p.w.count == 2 && (p.w.served[1].what & H2_END));
	assert_int_equal(p.w.served[1].body, 3000);
	assert_memory_equal(p.w.served[0].text, p.w.served[1].text, 3000);
	answered(&p, &s, 1);
	proxy_end(&p);
}

/* Endpoints are numbered anew between the two and the answer. */
static void reload_in_between(void **state)
{
	struct proxy p;
	struct seen s;
	int by;

	for (by = 0; by < 2; by++) {
		begin_two(&p, &s);
		p.first = "\"unix:/nowhere\", ";
		proxy_reload(&p, FEATURE);
		proxy_pass_time(&p, 10 * CLOCK_MS);
		failed(&p, !by);
		answered(&p, &s, by);
		proxy_end(&p);
	}
}

static void learn(struct proxy *p, int n, int64_t took)
{
	struct seen s;
	int i, at;

	for (i = 0; i < n; i++) {
		at = p->w.count %= 40; /* what came before is over */
		ask(p, &s, "GET", NULL, true, at + 1);
		proxy_pass_time(p, took);
		answered(p, &s, at);
	}
	WIRE_UNTIL(&p->w, !p->worker.exchanges);
	memset(p->w.served, 0, sizeof(p->w.served));
	p->w.count = 0;
}

/* Heads take 100 ms. A read that takes longer is asked twice, a write is not; who
 * takes a second all the same has it. */
static void lateness(void **state)
{
	struct proxy p;
	struct seen s, other;
	int i;

	begin(&p);
	learn(&p, 100, 100 * CLOCK_MS);
	ask(&p, &s, "GET", NULL, true, 1);
	ask(&p, &other, "POST", "k", true, 2);
	for (i = 0; i < 4; i++)
		proxy_pass_time(&p, 24 * CLOCK_MS);
	assert_int_equal(p.w.count, 2);
	for (i = 0; i < 4; i++)
		proxy_pass_time(&p, 8 * CLOCK_MS);
	WIRE_UNTIL(&p.w, p.w.count == 3);
	for (i = 0; i < 10; i++)
		proxy_pass_time(&p, 80 * CLOCK_MS);
	assert_int_equal(p.w.count, 3);
	answered(&p, &other, 1);
	answered(&p, &s, 0);
	proxy_end(&p);
}

/* Who takes long to send his request does not make a feature slow: nobody else's reads would be late. */
static void slow_uploads_teach_nothing(void **state)
{
	struct proxy p;
	struct seen s;
	double usual = 0;
	unsigned f;
	int i;

	begin(&p);
	for (i = 0; i < 40; i++) {
		ask(&p, &s, "PUT", NULL, false, i + 1);
		proxy_pass_time(&p, CLOCK_SEC);
		proxy_write(s.stream, 10, true);
		WIRE_UNTIL(&p.w, p.w.served[i].what & H2_END);
		proxy_pass_time(&p, 100 * CLOCK_MS);
		answered(&p, &s, i);
	}
	for (f = 0; f < CONF_MAX_FEATURES; f++)
		usual += p.worker.expect[f].usual;
	assert_in_range((int64_t)usual, 100 * CLOCK_MS, 150 * CLOCK_MS);
	proxy_end(&p);
}

/* Not while little is known, nor beyond its part of the requests, nor in need. */
static void lateness_is_bounded(void **state)
{
	struct seen s[10];
	struct proxy p;
	int i, part;

	for (part = 0; part < 3; part++) {
		begin(&p);
		learn(&p, part == 0 ? 10 : 100, 10 * CLOCK_MS);
		if (part == 1)
			p.worker.hedges = (struct budget){ .tokens = 3, .at = proxy_now, .requests = p.worker.part->requests };
		if (part == 2)
			p.worker.live.degrade.mode = 1;
		for (i = 0; i < 10; i++)
			ask(&p, &s[i], "GET", NULL, true, i + 1);
		for (i = 0; i < 10; i++)
			proxy_pass_time(&p, 8 * CLOCK_MS);
		assert_int_equal(p.w.count, part == 1 ? 13 : 10);
		for (i = 0; i < 10; i++)
			answered(&p, &s[i], i);
		proxy_end(&p);
	}
}

static void learnt(struct expectation *e, int n, int64_t took)
{
	while (n--)
		expectation_learn(e, took);
}

/* Late is what is well beyond the usual and its spread; not before that is known, not what a busy
 * machine does to anybody, not for who is used to waiting. */
static void what_is_late(void **state)
{
	struct expectation e = { 0 };
	int i;

	learnt(&e, 31, 100 * CLOCK_MS);
	assert_int_equal(expectation_late(&e), 0);
	learnt(&e, 100, 100 * CLOCK_MS);
	assert_in_range(expectation_late(&e), 101 * CLOCK_MS, 110 * CLOCK_MS);
	learnt(&e, 200, 300 * CLOCK_MS); /* it has become slow: so be it */
	assert_in_range(expectation_late(&e), 301 * CLOCK_MS, 330 * CLOCK_MS);
	for (i = 0; i < 200; i++)
		expectation_learn(&e, (i % 2 ? 50 : 150) * CLOCK_MS);
	assert_in_range(expectation_late(&e), 220 * CLOCK_MS, 280 * CLOCK_MS);
	learnt(&e, 400, CLOCK_MS);
	assert_int_equal(expectation_late(&e), 25 * CLOCK_MS);
	learnt(&e, 400, 3 * CLOCK_SEC);
	assert_int_equal(expectation_late(&e), 0);
}

static uint32_t in_flight(struct proxy *p, unsigned d)
{
	return atomic_load(&p->worker.part->load.in_flight[d]);
}

/* The other one is in another datacenter while one is there: whatever ails the first may ail its
 * neighbours. Whichever is home, of two endpoints or of one. */
static void another_datacenter_first(void **state)
{
	char first[128], bearer[32];
	struct h2_field f[5] = { wire_field(":method", "GET"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", "/"), { 0 } };
	unsigned homes = 0;
	struct proxy p;
	struct seen s;
	int i;

	for (i = 0; i < 8; i++) {
		clock_fake(proxy_now, proxy_now);
		proxy_start_apart(&p, FEATURE);
		snprintf(first, sizeof(first), "\"unix:/tmp/.%s\", ", p.path + 4); /* the same one by another name */
		p.first = first;
		proxy_reload(&p, FEATURE);
		load_forget(&p.worker);
		p.w.silent = true;
		p.worker.budget = (struct budget){ .tokens = 100, .at = proxy_now };
		snprintf(bearer, sizeof(bearer), "Bearer %d", i);
		f[4] = wire_field("authorization", bearer);
		proxy_ask(&p, &s, f, 5, true);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		homes |= in_flight(&p, 0) ? 1 : 2;
		tell(&p, H2_DOUBTED);
		WIRE_UNTIL(&p.w, p.w.count == 2);
		assert_int_equal(in_flight(&p, 0), 1);
		assert_int_equal(in_flight(&p, 1), 1);
		tell(&p, H2_DOUBTED);
		assert_int_equal(p.w.count, 2); /* two are enough, though there is a third to ask */
		answered(&p, &s, 1);
		WIRE_UNTIL(&p.w, !p.worker.exchanges);
		assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
		proxy_end(&p);
	}
	assert_int_equal(homes, 3);
}

/* Who has just written reads where he wrote, however long that takes: late is not lost. */
static void a_reader_waits_for_what_he_wrote(void **state)
{
	struct proxy p;
	struct seen s;
	char first[128];
	int fenced, i;

	for (fenced = 0; fenced < 2; fenced++) {
		begin(&p);
		/* Two datacenters, or there is no fence. */
		snprintf(first, sizeof(first), "\"unix:/%s.b\"]\n  - name: b\n    endpoints: [", p.path);
		p.first = first;
		proxy_reload(&p, FEATURE);
		learn(&p, 100, 10 * CLOCK_MS);
		if (fenced) {
			ask(&p, &s, "POST", "k", true, 1);
			answered(&p, &s, 0);
			memset(p.w.served, 0, sizeof(p.w.served));
			p.w.count = 0;
		}
		ask(&p, &s, "GET", NULL, true, 1);
		for (i = 0; i < 10; i++)
			proxy_pass_time(&p, 8 * CLOCK_MS);
		assert_int_equal(p.w.count, 2 - fenced);
		answered(&p, &s, 0);
		proxy_end(&p);
	}
}

/* Who knows how users are hashed finds some whose fences would share a set with another's. */
static void nobody_pushes_out_a_chosen_users_fence(void **state)
{
	struct h2_field f[5] = { wire_field(":method", "POST"), wire_field(":scheme", "http"), wire_field(":authority", "test"), wire_field(":path", "/"),
				 wire_field("authorization", "") };
	struct proxy p;
	struct seen s;
	char first[128], token[32];
	uint64_t i, set = 0;
	int n = 0;

	begin(&p);
	snprintf(first, sizeof(first), "\"unix:/%s.b\"]\n  - name: b\n    endpoints: [", p.path);
	p.first = first;
	proxy_reload(&p, FEATURE);
	for (i = 0; n < 2 * BOARD_FENCE_WAYS; i++) {
		snprintf(token, sizeof(token), "Bearer %" PRIu64, i);
		f[4] = wire_field("authorization", token);
		if (!i)
			set = crypt_hash64(token, strlen(token), 0) % BOARD_FENCE_SETS;
		else if (crypt_hash64(token, strlen(token), 0) % BOARD_FENCE_SETS != set)
			continue;
		proxy_ask(&p, &s, f, 5, true);
		WIRE_UNTIL(&p.w, p.w.count == 1);
		answered(&p, &s, 0);
		memset(p.w.served, 0, sizeof(p.w.served));
		p.w.count = 0;
		n++;
	}
	assert_int_equal(count(&p, TM_FENCE_EVICTIONS), 0);
	proxy_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_is_safe), cmocka_unit_test(the_first_answer_wins), cmocka_unit_test(failures),
		cmocka_unit_test(silence_beside_a_failed_one), cmocka_unit_test(no_hedge_to_a_failed_one), cmocka_unit_test(silence_after_doubt), cmocka_unit_test(the_client_leaves), cmocka_unit_test(nobody_answers_in_time),
		cmocka_unit_test(a_body_is_sent_whole), cmocka_unit_test(reload_in_between), cmocka_unit_test(lateness),
		cmocka_unit_test(lateness_is_bounded), cmocka_unit_test(a_reader_waits_for_what_he_wrote),
		cmocka_unit_test(nobody_pushes_out_a_chosen_users_fence),
		cmocka_unit_test(what_is_late), cmocka_unit_test(slow_uploads_teach_nothing),
		cmocka_unit_test(another_datacenter_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
