/* SPDX-License-Identifier: MIT */
/* Limits kept by a worker: what has room, what is told to whom has none, what is counted. */
#include "proxy.h"

#include "../../src/datacenter/pool.h"
#include "../../src/http2/h2_private.h"

#define FEATURES \
	"  - name: send\n    tier: core\n    routes: [\"/core/**\", \"grpc test.Core/*\"]\n" \
	"  - name: photo\n    tier: standard\n    routes: [\"/standard/**\"]\n" \
	"  - name: shop\n    tier: optional\n    routes: [\"/optional/**\", \"grpc test.Shop/*\"]\n" \
	"  - name: events\n    tier: core\n    routes: [\"/events/**\"]\n    long_lived: true\n"

static void begin(struct proxy *p)
{
	proxy_start_apart(p, FEATURES);
	load_forget(&p->worker);
	memset(p->worker.part->tm.shed, 0, sizeof(p->worker.part->tm.shed));
	p->w.silent = true;
}

static void limit(struct proxy *p, unsigned d, uint32_t lesser, uint32_t core)
{
	p->worker.live.degrade.limit[d][DEGRADE_LESSER] = lesser;
	p->worker.live.degrade.limit[d][DEGRADE_CORE] = core;
}

static uint32_t in_flight(struct proxy *p, unsigned d)
{
	return atomic_load(&p->worker.part->load.in_flight[d]);
}

static uint32_t under_way(struct proxy *p, unsigned feature)
{
	return atomic_load(&p->worker.part->load.under_way[0][feature]) + atomic_load(&p->worker.part->load.under_way[1][feature]);
}

static void ask(struct proxy *p, struct seen *s, const char *path, const char *type)
{
	struct h2_field f[6] = { wire_field(":method", type ? "POST" : "GET"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				 wire_field(":path", path), wire_field("content-type", type ? type : ""), wire_field("te", "trailers") };

	proxy_ask(p, s, f, type ? 6 : 4, true);
}

/* Asks, and expects the n-th stream at a backend. */
static void forwarded(struct proxy *p, struct seen *s, const char *path, int n)
{
	ask(p, s, path, NULL);
	WIRE_UNTIL(&p->w, p->w.count == n);
}

static void refused(struct proxy *p, struct seen *s, const char *path, int n)
{
	ask(p, s, path, NULL);
	WIRE_UNTIL(&p->w, s->what & H2_CLOSED);
	assert_int_equal(s->status, 503);
	assert_non_null(strstr(s->text, "\"reason\":\"overloaded\""));
	assert_non_null(strstr(s->head, "proxy-status: firebreak; error=connection_limit_reached; details=\"overloaded\""));
	assert_non_null(strstr(s->head, "retry-after: "));
	assert_int_equal(p->w.count, n);
}

static void answered(struct proxy *p, struct seen *s, int n)
{
	h2_respond(p->w.served[n].stream, proxy_ok, 1, true);
	WIRE_UNTIL(&p->w, s->what & H2_CLOSED);
	assert_int_equal(s->status, 200);
}

/* What one datacenter has no room for goes to the other, which is no failing over. */
static void full_is_passed_over(void **state)
{
	struct proxy p;
	struct seen s[2];
	unsigned home;

	begin(&p);
	forwarded(&p, &s[0], "/optional/a", 1);
	home = in_flight(&p, 0) ? 0 : 1;
	limit(&p, home, 1, 0);
	forwarded(&p, &s[1], "/optional/a", 2);
	assert_int_equal(in_flight(&p, home), 1);
	assert_int_equal(in_flight(&p, !home), 1);
	assert_int_equal(p.worker.part->load.full[home][DEGRADE_LESSER], 1);
	assert_int_equal(under_way(&p, 2), 2);
	assert_int_equal(under_way(&p, 0), 0);
	answered(&p, &s[0], 0);
	assert_int_equal(under_way(&p, 2), 1);
	answered(&p, &s[1], 1);
	assert_int_equal(under_way(&p, 2), 0);
	assert_null(strstr(s[1].head, "proxy-status"));
	assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
	assert_int_equal(p.worker.part->load.asked[2], 2);
	assert_int_equal(p.worker.part->load.turned[2], 0);
	proxy_end(&p);
}

/* Of three requests under way in all, other workers' included, the tiers' room ends one
 * after the other. */
static void lesser_tiers_first(void **state)
{
	struct proxy p;
	struct seen s[3], no;

	begin(&p);
	limit(&p, 0, 20, 40);
	limit(&p, 1, 20, 40);
	p.worker.others[0] = p.worker.others[1] = 14; /* optional: 20 x 80 % x 90 %, standard: 16 */
	refused(&p, &no, "/optional/a", 0);
	forwarded(&p, &s[0], "/standard/a", 1);
	p.worker.others[0] = p.worker.others[1] = 16;
	refused(&p, &no, "/standard/a", 1);
	p.worker.others[0] = p.worker.others[1] = 30; /* beyond their limit: nothing to core */
	forwarded(&p, &s[1], "/core/a", 2);
	p.worker.others[0] = p.worker.others[1] = 40;
	refused(&p, &no, "/core/a", 2);
	assert_int_equal(p.worker.part->tm.shed[0] + p.worker.part->tm.shed[1] + p.worker.part->tm.shed[2], 3);
	assert_int_equal(p.worker.part->load.turned[0], 1);
	answered(&p, &s[0], 0);
	answered(&p, &s[1], 1);
	proxy_end(&p);
}

/* What hangs takes no room; when it is over, before that is known, the rest is not less than nothing. */
static void what_hangs_takes_no_room(void **state)
{
	uint64_t turned;
	struct proxy p;
	struct seen s, no;

	begin(&p);
	limit(&p, 0, 20, 40);
	limit(&p, 1, 20, 40);
	p.worker.others[0] = p.worker.others[1] = 1015;
	p.worker.live.degrade.hanging[0] = p.worker.live.degrade.hanging[1] = 1000;
	forwarded(&p, &s, "/standard/a", 1);
	answered(&p, &s, 0);
	p.worker.others[0] = p.worker.others[1] = 1016;
	refused(&p, &no, "/standard/a", 1);
	/* Nor does it find any beyond what there is, and asks for none. */
	p.worker.others[0] = p.worker.others[1] = 1015;
	p.worker.live.degrade.hangs[0] = p.worker.live.degrade.hangs[1] = UINT64_MAX;
	turned = p.worker.part->load.turned[1];
	refused(&p, &no, "/standard/a", 1);
	assert_int_equal(p.worker.part->load.turned[1], turned);
	p.worker.live.degrade.hangs[0] = p.worker.live.degrade.hangs[1] = 0;
	p.worker.others[0] = p.worker.others[1] = 0;
	forwarded(&p, &s, "/standard/a", 2);
	answered(&p, &s, 1);
	proxy_end(&p);
}

/* gRPC: UNAVAILABLE, with a time to come back. */
static void grpc_is_told(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p);
	limit(&p, 0, 16, 0);
	limit(&p, 1, 16, 0);
	p.worker.others[0] = p.worker.others[1] = 16;
	ask(&p, &s, "/test.Shop/Buy", "application/grpc");
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 200);
	assert_non_null(strstr(s.head, "grpc-status: 14\n"));
	assert_non_null(strstr(s.head, "grpc-message: overloaded\n"));
	assert_non_null(strstr(s.head, "grpc-retry-pushback-ms: "));
	proxy_end(&p);
}

/* Outside the share that admission lets in: the same word, counted apart. */
static void outside_the_share(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p);
	p.worker.live.degrade.share[2] = 0;
	refused(&p, &s, "/optional/a", 0);
	assert_int_equal(p.worker.part->load.asked[2], 1);
	assert_int_equal(p.worker.part->load.cut[2], 1);
	assert_int_equal(p.worker.part->load.turned[2], 0);
	assert_int_equal(p.worker.part->tm.shed[2], 1);
	proxy_end(&p);
}

/* A refused stream is tried elsewhere only where there is room. */
static void no_retry_into_a_full_one(void **state)
{
	struct proxy p;
	struct seen s;
	unsigned home;

	begin(&p);
	forwarded(&p, &s, "/optional/a", 1);
	home = in_flight(&p, 0) ? 0 : 1;
	limit(&p, !home, 16, 0);
	p.worker.others[!home] = 16;
	limit(&p, home, 1, 0);
	p.worker.others[home] = 1;
	h2_reset(p.w.served[0].stream, H2_ERR_REFUSED_STREAM, FAULT_SHUTTING_DOWN);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503);
	assert_int_equal(p.w.count, 1);
	assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
	proxy_end(&p);
}

static struct board_answers *answers(struct proxy *p, unsigned f)
{
	static struct board_answers sum;
	unsigned d;

	sum = (struct board_answers){ 0 };
	for (d = 0; d < 2; d++) {
		sum.answers += p->worker.part->load.of[d][f].answers;
		sum.heads += p->worker.part->load.of[d][f].heads;
		sum.rejects += p->worker.part->load.of[d][f].rejects;
		sum.waited += p->worker.part->load.of[d][f].waited;
	}
	return &sum;
}

/* A client leaves before the answer; its feature's heads usually take so long (ns). */
static void given_up(struct proxy *p, size_t served, double usual)
{
	struct seen s;

	p->worker.expect[0].usual = usual;
	forwarded(p, &s, "/core/a", served);
	h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
	WIRE_UNTIL(&p->w, s.what & H2_CLOSED);
	WIRE_UNTIL(&p->w, !in_flight(p, 0) && !in_flight(p, 1));
}

/* What limits are made from: answers and their wait, the datacenter's own word (not one that is
 * about a single client), clients that gave up after more than the usual wait; not what an event
 * stream does. */
static void what_is_counted(void **state)
{
	struct h2_field full = wire_field(":status", "503"), limited = wire_field(":status", "429");
	struct proxy p;
	struct seen s;

	begin(&p);
	forwarded(&p, &s, "/core/a", 1);
	h2_respond(p.w.served[0].stream, &limited, 1, true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(answers(&p, 0)->answers, 1);
	forwarded(&p, &s, "/core/a", 2);
	h2_respond(p.w.served[1].stream, &full, 1, true);
	WIRE_UNTIL(&p.w, p.w.count == 3); /* tried elsewhere */
	h2_respond(p.w.served[2].stream, &full, 1, true);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	assert_int_equal(s.status, 503);
	assert_int_equal(answers(&p, 0)->rejects, 2);
	assert_int_equal(answers(&p, 0)->answers, 1);
	given_up(&p, 4, 1e12);
	assert_int_equal(answers(&p, 0)->answers, 1);
	given_up(&p, 5, 1);
	assert_int_equal(answers(&p, 0)->answers, 2);
	assert_int_equal(answers(&p, 0)->heads, 1);
	forwarded(&p, &s, "/events/a", 6);
	assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
	answered(&p, &s, 5);
	assert_int_equal(answers(&p, 3)->answers, 0);
	proxy_end(&p);
}

/* A peer that stood still has no queue: of a wait in which it answered no PING either, only the rest
 * counts. But not if it does so all the time, nor for what is the way to it. */
static void a_pause_is_no_queue(void **state)
{
	static const struct {
		bool pinged;
		int64_t after, rtt, counts; /* ms */
	} cases[] = { { false, 0, 0, 210 }, { true, 0, 0, 10 }, { true, 0, 0, 210 }, { true, 2000, 0, 10 }, { true, 2000, 160, 210 }, { true, 2000, 50, 60 } };
	struct h2_session *up;
	struct proxy p;
	struct seen s;
	int64_t before;
	size_t i;

	clock_fake(proxy_now, proxy_now);
	begin(&p);
	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		proxy_pass_time(&p, cases[i].after * CLOCK_MS);
		before = (int64_t)answers(&p, 0)->waited;
		forwarded(&p, &s, "/core/a", (int)i + 1);
		up = h2_session_from_node(p.worker.pool->ctx.sessions.next);
		WIRE_UNTIL(&p.w, !h2_ping_pending(up));
		up->rtt = cases[i].rtt * CLOCK_MS;
		proxy_now += 10 * CLOCK_MS;
		clock_fake(proxy_now, proxy_now);
		if (cases[i].pinged)
			h2_ping(up);
		proxy_now += 200 * CLOCK_MS;
		clock_fake(proxy_now, proxy_now);
		answered(&p, &s, (int)i);
		assert_int_equal((int64_t)answers(&p, 0)->waited - before, cases[i].counts * CLOCK_MS);
	}
	proxy_end(&p);
}

static void upload(struct proxy *p, struct seen *s, int n)
{
	struct h2_field f[] = { wire_field(":method", "POST"), wire_field(":scheme", "http"), wire_field(":authority", "test"),
				wire_field(":path", "/core/a") };

	proxy_ask(p, s, f, 4, false);
	WIRE_UNTIL(&p->w, p->w.count == n);
	assert_int_equal(in_flight(p, 0) + in_flight(p, 1), 0);
}

/* An upload that its client takes its time for fills no limit: it is under way when it is whole. */
static void a_slow_upload_is_not_under_way(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p);
	upload(&p, &s, 1);
	assert_true(h2_finish(s.stream, NULL, 0));
	WIRE_UNTIL(&p.w, in_flight(&p, 0) + in_flight(&p, 1) == 1);
	assert_int_equal(under_way(&p, 0), 1);
	answered(&p, &s, 0);
	assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
	upload(&p, &s, 2); /* given up half-way */
	h2_reset(s.stream, H2_ERR_CANCEL, FAULT_CLIENT_GONE);
	WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
	WIRE_UNTIL(&p.w, !p.worker.exchanges);
	assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
	upload(&p, &s, 3); /* answered before its end */
	h2_respond(p.w.served[2].stream, proxy_ok, 1, true);
	WIRE_UNTIL(&p.w, s.what & H2_HEAD);
	if (!(s.what & H2_CLOSED))
		h2_finish(s.stream, NULL, 0);
	WIRE_UNTIL(&p.w, !p.worker.exchanges);
	assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
	upload(&p, &s, 4); /* whole under another configuration */
	proxy_reload(&p, FEATURES);
	load_forget(&p.worker);
	h2_finish(s.stream, NULL, 0);
	answered(&p, &s, 3);
	assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
	assert_int_equal(under_way(&p, 0), 0);
	proxy_end(&p);
}

/* What a dead worker had under way is nobody's load, until its successor clears its part. */
static void a_dead_worker_has_nothing_under_way(void **state)
{
	struct board_worker *other;
	struct proxy p;

	begin(&p);
	other = board_worker(p.worker.board, 1);
	atomic_store(&other->generation, p.worker.snap->conf->generation);
	atomic_store(&other->load.in_flight[0], 16);
	atomic_store(&other->pid, 4711);
	limit(&p, 0, 16, 0);
	load_turn(&p.worker);
	assert_int_equal(p.worker.others[0], 16);
	atomic_store(&other->pid, 0);
	load_turn(&p.worker);
	assert_int_equal(p.worker.others[0], 0);
	atomic_store(&other->load.in_flight[0], 0);
	proxy_end(&p);
}

/* gRPC's word for it is the status UNAVAILABLE in a head that is the end as well. */
static void grpc_says_it_in_its_head(void **state)
{
	static const struct {
		const char *status;
		uint64_t rejects;
	} cases[] = { { "14", 1 }, { "8", 0 }, { "13", 0 }, { "0", 0 } };
	struct h2_field f[3] = { proxy_ok[0], wire_field("content-type", "application/grpc"), wire_field("grpc-status", "") };
	struct proxy p;
	struct seen s;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin(&p);
		f[2] = wire_field("grpc-status", cases[i].status);
		ask(&p, &s, "/test.Core/Say", "application/grpc");
		WIRE_UNTIL(&p.w, p.w.count == 1);
		h2_respond(p.w.served[0].stream, f, 3, true);
		WIRE_UNTIL(&p.w, s.what & H2_CLOSED);
		assert_int_equal(answers(&p, 0)->rejects, cases[i].rejects);
		assert_int_equal(answers(&p, 0)->answers, !cases[i].rejects);
		proxy_end(&p);
	}
}

/* What the other workers have under way counts, of those with the same configuration. */
static void all_workers_share_the_room(void **state)
{
	struct proxy p;
	struct board *own, *three = board_create(3);
	unsigned i;

	begin(&p);
	own = p.worker.board;
	p.worker.board = three;
	p.worker.index = 1;
	for (i = 0; i < 3; i++) {
		board_worker(three, i)->generation = i < 2 ? p.worker.snap->conf->generation : 99;
		board_worker(three, i)->load.in_flight[0] = 1 + i;
		board_worker(three, i)->pid = 100;
	}
	board_worker(three, 0)->load.in_flight[1] = 5;
	limit(&p, 0, 0, 7);
	load_turn(&p.worker);
	assert_int_equal(p.worker.others[0], 1);
	assert_int_equal(p.worker.others[1], 0); /* not limited: nobody asks */
	board_worker(three, 2)->generation = p.worker.snap->conf->generation;
	load_turn(&p.worker);
	assert_int_equal(p.worker.others[0], 1 + 3);
	limit(&p, 0, 0, 0);
	load_turn(&p.worker);
	assert_int_equal(p.worker.others[0], 0);
	p.worker.board = own;
	p.worker.index = 0;
	board_destroy(three);
	proxy_end(&p);
}

/* However often it is tried, a request is asked for once. */
static void a_retry_is_no_other_request(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p);
	forwarded(&p, &s, "/core/a", 1);
	h2_reset(p.w.served[0].stream, H2_ERR_REFUSED_STREAM, FAULT_SHUTTING_DOWN);
	WIRE_UNTIL(&p.w, p.w.count == 2);
	answered(&p, &s, 1);
	assert_int_equal(p.worker.part->load.asked[0], 1);
	assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
	proxy_end(&p);
}

/* A reload numbers datacenters anew: what was under way is not taken from another's count. */
static void a_reload_in_between(void **state)
{
	struct proxy p;
	struct seen s;

	begin(&p);
	forwarded(&p, &s, "/core/a", 1);
	proxy_reload(&p, FEATURES);
	load_forget(&p.worker);
	answered(&p, &s, 0);
	assert_int_equal(in_flight(&p, 0) + in_flight(&p, 1), 0);
	proxy_end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_is_passed_over),	   cmocka_unit_test(lesser_tiers_first), cmocka_unit_test(what_hangs_takes_no_room),
		cmocka_unit_test(grpc_is_told),
		cmocka_unit_test(outside_the_share),	   cmocka_unit_test(no_retry_into_a_full_one),
		cmocka_unit_test(what_is_counted),	   cmocka_unit_test(a_reload_in_between),
		cmocka_unit_test(a_dead_worker_has_nothing_under_way),
		cmocka_unit_test(grpc_says_it_in_its_head), cmocka_unit_test(all_workers_share_the_room),
		cmocka_unit_test(a_retry_is_no_other_request),
		cmocka_unit_test(a_slow_upload_is_not_under_way), cmocka_unit_test(a_pause_is_no_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
