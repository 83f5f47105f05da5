/* SPDX-License-Identifier: MIT */
/* The worker's pool against peers on loopback sockets. */
#include "peer.h"

#include "../../../src/datacenter/pool.h"

static struct world w, w2;
static struct board_live live;
static struct board_worker part;
static struct peer peer[3];
static struct dc_pool *pool;

/* One attempt, as the exchange would make it. */
struct ask {
	struct h2_stream *stream;
	int endpoint, status;
	enum fault fault;
	bool done;
	unsigned doubted; /* so often was it told that its link may be silent */
	int64_t began, ended;
};

static void on_ready(struct h2_stream *st, uint32_t what)
{
	struct ask *a = st->user;

	if (what & H2_HEAD)
		a->status = st->head->status;
	a->doubted += !!(what & H2_DOUBTED);
	if ((what & H2_SILENT) && !a->status && !(what & H2_CLOSED))
		h2_reset(st, H2_ERR_CANCEL, FAULT_UPSTREAM_SILENT); /* it can go elsewhere */
	if (!(what & H2_CLOSED))
		return;
	a->done = true;
	a->ended = clock_now();
	a->fault = st->fault;
	a->stream = NULL;
	if (pool)
		dc_pool_result(pool, a->endpoint, 0, a->fault, a->status ? a->ended - a->began : 0, (unsigned)a->status);
	h2_release(&st);
}

static void pump(void)
{
	if (pool)
		dc_pool_pump(pool);
}

static struct h2_field request_fields[4];

static struct h2_field field(enum h2_token t, const char *value)
{
	return h2_field(t, value, strlen(value));
}

static enum fault ask_tried(struct ask *a, uint64_t hash, uint64_t tried)
{
	struct dc_want want = { .hash = hash, .random = hash * UINT64_C(0x9e3779b97f4a7c15), .tried = tried };
	enum fault why;

	*a = (struct ask){ .began = clock_now() };
	a->stream = dc_pool_request(pool, &want, false, request_fields, 4, true, a, &a->endpoint, &why);
	return a->stream ? FAULT_NONE : why;
}

static enum fault ask(struct ask *a, uint64_t hash) { return ask_tried(a, hash, 0); }

static int set_up(void **state)
{
	test_loop_begin(state);
	memset(&live, 0, sizeof(live));
	memset(&part, 0, sizeof(part));
	memset(peer, 0, sizeof(peer));
	world_clear(&w);
	test_limits(&w.conf.limits);
	test_retry(&w.conf.retry);
	w.conf.generation = live.generation = 1;
	request_fields[0] = field(H2_METHOD, "GET");
	request_fields[1] = field(H2_SCHEME, "http");
	request_fields[2] = field(H2_AUTHORITY, "messenger");
	request_fields[3] = field(H2_PATH, "/v1/rooms");
	test_pump = pump;
	return 0;
}

static int tear_down(void **state)
{
	int i;

	dc_pool_destroy(pool);
	pool = NULL;
	for (i = 0; i < 3; i++)
		peer_end(&peer[i]);
	return test_loop_end(state);
}

/* One datacenter per peer, one endpoint each, the first preferred by weight. */
static void begin(int peers)
{
	static const char *const name[] = { "a", "b", "c" };
	int i;

	for (i = 0; i < peers; i++) {
		world_datacenter(&w, name[i], 100, i ? 0 : 100);
		world_endpoint(&w, 1);
		if (!peer[i].loop)
			peer_begin(&peer[i]);
		w.ep[i].address = peer[i].address;
	}
}

static void start(void)
{
	pool = dc_pool_create(test_loop, &w.conf, &live, &part, on_ready);
	assert_non_null(pool);
}

/* Control says this. */
static void publish(enum dc_state a, enum dc_state b)
{
	live.version++;
	live.dc.endpoint_state[0] = (uint8_t)a;
	live.dc.endpoint_state[1] = (uint8_t)b;
	dc_assume(&w.conf, &live.dc);
}

static void one_answered(uint64_t hash, int by)
{
	struct ask a;

	assert_int_equal(ask(&a, hash), FAULT_NONE);
	WAIT_FOR(a.done);
	assert_int_equal(a.fault, FAULT_NONE);
	assert_int_equal(a.status, 200);
	assert_int_equal(a.endpoint, by);
}

static void answers(void **state)
{
	begin(1);
	start();
	one_answered(1, 0);
	one_answered(2, 0);
	assert_int_equal(peer[0].requests, 2);
	assert_int_equal(peer[0].accepted, 1);
	assert_int_equal(part.endpoint[0].answers, 2);
	assert_int_equal(part.endpoint[0].faults, 0);
	dc_pool_result(pool, 0, 0, FAULT_NONE, 0, 0); /* the client left before the head: says nothing */
	dc_pool_result(pool, 0, 0, FAULT_UPSTREAM_RESET, 0, 0);
	dc_pool_result(pool, 63, 0, FAULT_UPSTREAM_CLOSED, 0, 0);
	dc_pool_result(pool, -1, 0, FAULT_UPSTREAM_CLOSED, 0, 0);
	assert_int_equal(part.endpoint[0].answers, 2);
	assert_int_equal(part.endpoint[0].faults, 0);
	assert_int_equal(part.endpoint[0].traffic.well, 2);
	assert_int_equal(part.endpoint[0].traffic.errors, 1);
	dc_pool_result(pool, 0, 0, FAULT_NONE, CLOCK_MS, 503); /* an answer, but not one to be had again */
	dc_pool_result(pool, 0, 0, FAULT_UPSTREAM_GOAWAY, 0, 0); /* leaving in good order */
	dc_pool_result(pool, 0, 0, FAULT_UPSTREAM_TIMEOUT, 0, 0);
	assert_int_equal(part.endpoint[0].answers, 3);
	assert_int_equal(part.endpoint[0].traffic.well, 2);
	assert_int_equal(part.endpoint[0].traffic.errors, 3);
	assert_int_equal(part.tm.scalar[TM_UPSTREAM_CONNECTIONS], 1);
	assert_int_equal(part.tm.scalar[TM_UPSTREAM_OPEN], 1);
}

/* Many requests, one connection. */
static void multiplexes(void **state)
{
	struct ask a[60];
	int i;

	begin(1);
	peer[0].mode = PEER_HOLD;
	start();
	for (i = 0; i < 60; i++)
		assert_int_equal(ask(&a[i], (uint64_t)i), FAULT_NONE);
	WAIT_FOR(peer[0].holding == 60);
	assert_int_equal(peer[0].accepted, 1);
	peer_answer_held(&peer[0]);
	for (i = 0; i < 60; i++)
		WAIT_FOR(a[i].done && a[i].status == 200);
}

static void spares_are_warm(void **state)
{
	struct ask a;

	w.conf.limits.upstream_spares = 1;
	begin(1);
	peer[0].mode = PEER_HOLD;
	start();
	WAIT_FOR(peer_sessions(&peer[0]) == 1); /* before any request */
	ask(&a, 1);
	WAIT_FOR(peer[0].holding == 1 && peer_sessions(&peer[0]) == 2);
	test_turns(150 * CLOCK_MS);
	assert_int_equal(peer_sessions(&peer[0]), 2);
	peer_answer_held(&peer[0]);
	WAIT_FOR(a.done);
	/* The one too many goes after its idle time. */
	w.conf.limits.upstream_idle_timeout_ms = 50;
	WAIT_FOR(peer_sessions(&peer[0]) == 1);
}

static void refused_goes_elsewhere(void **state)
{
	struct ask a;

	begin(2);
	peer_kill(&peer[0]);
	start();
	assert_int_equal(ask(&a, 1), FAULT_NONE);
	assert_int_equal(a.endpoint, 0);
	WAIT_FOR(a.done);
	assert_int_equal(a.fault, FAULT_CONNECT_REFUSED);
	assert_true(part.endpoint[0].faults >= 1);
	assert_int_equal(part.endpoint[0].last_fault, FAULT_CONNECT_REFUSED);
	one_answered(1, 1); /* avoided by now, without being told */
	/* Back again: found out by the pool itself, no request pays for it. */
	peer_revive(&peer[0]);
	WAIT_FOR(peer_sessions(&peer[0]) == 1);
	test_turns(30 * CLOCK_MS);
	one_answered(1, 0);
}

/* Killed with requests under way: they end at once, retries meet the other one. */
static void killed_in_flight(void **state)
{
	struct ask a[20], again;
	int64_t killed;
	int i;

	begin(2);
	peer[0].mode = PEER_HOLD;
	start();
	for (i = 0; i < 20; i++)
		ask(&a[i], (uint64_t)i);
	WAIT_FOR(peer[0].holding == 20);
	killed = clock_now();
	peer_kill(&peer[0]);
	for (i = 0; i < 20; i++) {
		WAIT_FOR(a[i].done);
		assert_int_equal(a[i].fault, FAULT_UPSTREAM_CLOSED);
	}
	assert_true(clock_now() - killed < 100 * CLOCK_MS);
	assert_int_equal(ask_tried(&again, 1, 1), FAULT_NONE);
	assert_int_equal(again.endpoint, 1);
	WAIT_FOR(again.done);
	assert_int_equal(again.status, 200);
	assert_true(part.endpoint[0].faults >= 20);
	one_answered(3, 1);
}

/* A request that fails over inside on_ready, as the exchange does: the stream opened
 * there must leave without waiting for the next event. */
static struct ask second;

static void on_ready_retry(struct h2_stream *st, uint32_t what)
{
	bool first = st->user != &second && (what & H2_CLOSED);

	on_ready(st, what);
	if (first)
		assert_int_equal(ask_tried(&second, 1, 1), FAULT_NONE);
}

static void fails_over_at_once(void **state)
{
	struct ask a;

	begin(2);
	pool = dc_pool_create(test_loop, &w.conf, &live, &part, on_ready_retry);
	memset(&second, 0, sizeof(second));
	assert_int_equal(ask_tried(&second, 1, 1), FAULT_NONE); /* b is connected */
	WAIT_FOR(second.done);
	memset(&second, 0, sizeof(second));
	peer[0].mode = PEER_HOLD;
	ask(&a, 1);
	WAIT_FOR(peer[0].holding == 1);
	peer_kill(&peer[0]);
	WAIT_FOR(second.done);
	assert_int_equal(second.status, 200);
	assert_true(second.ended - a.ended < 50 * CLOCK_MS);
}

/* The kernel accepts for a stopped process; the PING behind the preface tells. */
static void silent_from_the_start(void **state)
{
	struct ask a;

	begin(2);
	peer_freeze(&peer[0]);
	start();
	ask(&a, 1);
	WAIT_FOR(a.done);
	assert_int_equal(a.endpoint, 0);
	assert_int_equal(a.fault, FAULT_UPSTREAM_SILENT);
	assert_in_range((a.ended - a.began) / CLOCK_MS, 200, 600);
	assert_int_equal(part.endpoint[0].silences, 1);
	one_answered(1, 1);
}

static void silent_under_load(void **state)
{
	struct ask a[10], next[400], late;
	int64_t frozen;
	int i, n, elsewhere = 0;

	begin(2);
	start();
	one_answered(1, 0);
	peer_freeze(&peer[0]);
	frozen = clock_now();
	for (i = 0; i < 10; i++)
		ask(&a[i], (uint64_t)i);
	/* New requests leave before the verdict. */
	for (n = 0; !a[0].done; net_loop_turn(test_loop, 5)) {
		if (n == 400 || clock_now() < frozen + n * 2 * CLOCK_MS)
			continue;
		assert_int_equal(ask(&next[n], (uint64_t)n), FAULT_NONE);
		elsewhere += next[n++].endpoint == 1;
	}
	assert_true(elsewhere > 0 && elsewhere < n);
	for (i = 0; i < 10; i++) {
		assert_true(a[i].done);
		assert_int_equal(a[i].fault, FAULT_UPSTREAM_SILENT);
		assert_int_equal(a[i].doubted, 1); /* in time to be asked elsewhere as well */
		/* 60 ms until PING (a new link's second one may be under way already), 80 for
		 * its answer, two checks, and a busy machine */
		assert_in_range((a[i].ended - a[i].began) / CLOCK_MS, 60, 400);
	}
	for (i = 0; i < n; i++) {
		WAIT_FOR(next[i].done);
		assert_int_equal(next[i].fault, next[i].endpoint ? FAULT_NONE : FAULT_UPSTREAM_SILENT);
	}
	assert_int_equal(part.endpoint[0].silences, 1);
	/* While it stays silent nobody is sent there, though it is found worth a try. */
	for (i = 0; i < 40; i++) {
		one_answered((uint64_t)i, 1);
		test_turns(15 * CLOCK_MS);
	}
	peer_thaw(&peer[0]);
	do {
		ask(&late, 1);
		WAIT_FOR(late.done);
		assert_int_equal(late.status, 200);
		test_turns(10 * CLOCK_MS);
		assert_true(clock_now() - frozen < 8 * CLOCK_SEC);
	} while (late.endpoint != 0);
}

/* An answer half given by a peer that stands still: on a new request's account it is
 * judged soon, but what has begun may end. */
static void begin_answer(struct ask *begun, struct ask *waits)
{
	struct h2_field status = field(H2_STATUS, "200");

	begin(2);
	start();
	one_answered(1, 0);
	peer[0].mode = PEER_HOLD;
	assert_int_equal(ask(begun, 1), FAULT_NONE);
	WAIT_FOR(peer[0].holding);
	assert_true(h2_respond(peer[0].held[0], &status, 1, false));
	WAIT_FOR(begun->status);
	peer_freeze(&peer[0]);
	assert_int_equal(ask(waits, 2), FAULT_NONE);
	WAIT_FOR(waits->done);
	assert_int_equal(waits->fault, FAULT_UPSTREAM_SILENT);
	assert_int_equal(part.endpoint[0].silences, 1);
	assert_false(begun->done);
}

static void silence_spares_what_has_begun(void **state)
{
	struct ask begun, waits;

	w.conf.retry.ping_stream_timeout_ms = 60000;
	begin_answer(&begun, &waits);
	peer_thaw(&peer[0]);
	h2_finish(peer[0].held[0], NULL, 0);
	WAIT_FOR(begun.done);
	assert_int_equal(begun.fault, FAULT_NONE);
	peer[0].mode = PEER_ANSWER;
	do { /* the old link takes nothing new; another does */
		ask(&waits, 1);
		WAIT_FOR(waits.done);
		assert_int_equal(waits.status, 200);
	} while (waits.endpoint != 0);
	WAIT_FOR(peer_sessions(&peer[0]) == 1);
}

static void silence_ends_what_has_begun_in_time(void **state)
{
	struct ask begun, waits;

	begin_answer(&begun, &waits);
	WAIT_FOR(begun.done);
	assert_int_equal(begun.fault, FAULT_UPSTREAM_SILENT);
	assert_true(begun.ended - waits.ended >= 300 * CLOCK_MS);
}

static void slow_is_not_silent(void **state)
{
	struct ask a;

	begin(1);
	peer[0].mode = PEER_HOLD;
	start();
	ask(&a, 1);
	test_turns(900 * CLOCK_MS);
	assert_false(a.done);
	/* Asked now and then, not every 60 ms: 60, 120, 240, 400 ... and the first. */
	assert_in_range(part.tm.scalar[TM_PINGS_SENT], 3, 7);
	peer_answer_held(&peer[0]);
	WAIT_FOR(a.done);
	assert_int_equal(a.status, 200);
	assert_int_equal(part.endpoint[0].silences, 0);
}

/* A connection that answers PING but no request gets no more of them; one that has
 * answered others meanwhile does. */
static void wedged_link_is_left(void **state)
{
	struct ask a, b, c;

	begin(1);
	peer[0].mode = PEER_HOLD;
	start();
	ask(&a, 1);
	ask(&b, 1);
	WAIT_FOR(peer[0].holding == 2);
	assert_int_equal(peer[0].accepted, 1);
	peer[0].mode = PEER_ANSWER;
	ask(&c, 1);
	WAIT_FOR(c.done);
	dc_pool_unanswered(a.stream); /* c was answered after a was sent */
	ask(&c, 1);
	WAIT_FOR(c.done);
	assert_int_equal(peer[0].accepted, 1);
	peer[0].mode = PEER_HOLD;
	ask(&c, 1);
	WAIT_FOR(peer[0].holding == 3);
	dc_pool_unanswered(c.stream);
	peer[0].mode = PEER_ANSWER;
	one_answered(1, 0);
	assert_int_equal(peer[0].accepted, 2);
	peer_answer_held(&peer[0]); /* what it still had is not lost */
	WAIT_FOR(a.done && b.done && c.done);
	assert_int_equal(a.status, 200);
	assert_int_equal(c.status, 200);
}

/* Falls silent for so long after a PING has been sent; says how many doubts that made. */
static uint64_t pauses(int64_t ns)
{
	uint64_t sent = part.tm.scalar[TM_PINGS_SENT], doubts = part.tm.scalar[TM_DOUBTS];
	struct ask a;

	peer[0].mode = PEER_HOLD;
	peer[0].holding = 0;
	assert_int_equal(ask(&a, 1), FAULT_NONE); /* who has a new request is asked sooner */
	WAIT_FOR(peer[0].holding == 1);
	peer_freeze(&peer[0]);
	WAIT_FOR(part.tm.scalar[TM_PINGS_SENT] > sent);
	test_turns(ns);
	doubts = part.tm.scalar[TM_DOUBTS] - doubts;
	peer_thaw(&peer[0]);
	peer_answer_held(&peer[0]);
	WAIT_FOR(a.done);
	return doubts;
}

static void doubted_by_its_own_standards(void **state)
{
	begin(1);
	w.conf.retry.ping_timeout_ms = 4000;
	start();
	one_answered(1, 0);
	assert_int_equal(pauses(200 * CLOCK_MS), 1);
	assert_int_equal(pauses(20 * CLOCK_MS), 0);
	test_turns(100 * CLOCK_MS);
	assert_int_equal(pauses(1500 * CLOCK_MS), 1);
}

/* A doubt is said, and said again when half of the time for the PING's answer is over; only then
 * is a read sent away from where its user wrote, or another connection made. */
static void grave_in_the_end(void **state)
{
	struct ask a;

	begin(1);
	w.conf.retry.ping_timeout_ms = 1000;
	start();
	one_answered(1, 0);
	peer[0].mode = PEER_HOLD;
	assert_int_equal(ask(&a, 1), FAULT_NONE);
	WAIT_FOR(peer[0].holding == 1);
	peer_freeze(&peer[0]);
	WAIT_FOR(a.doubted == 1);
	assert_false(dc_pool_avoids(pool, 0));
	WAIT_FOR(a.doubted == 2);
	assert_true(dc_pool_avoids(pool, 0));
	assert_false(a.done);
	peer_thaw(&peer[0]);
	peer_answer_held(&peer[0]);
	WAIT_FOR(a.done);
	assert_int_equal(a.fault, FAULT_NONE);
	assert_int_equal(peer[0].accepted, 1);
}

static void silent_when_idle(void **state)
{
	begin(1);
	start();
	one_answered(1, 0);
	peer_freeze(&peer[0]);
	WAIT_FOR(part.endpoint[0].silences == 1);
}

/* A request that calls itself gRPC: PINGs are saved until it is answered, and for good only if
 * that was gRPC. */
static void a_client_alone_saves_no_pings(void **state)
{
	struct dc_want want = { .hash = 1, .random = 1, .grpc = true };
	struct ask a = { 0 };
	enum fault why;
	uint64_t sent;

	begin(1);
	start();
	a.stream = dc_pool_request(pool, &want, false, request_fields, 4, true, &a, &a.endpoint, &why);
	assert_non_null(a.stream);
	WAIT_FOR(a.done);
	dc_pool_spoke_grpc(pool, 0, true);
	sent = part.tm.scalar[TM_PINGS_SENT];
	test_turns(10 * w.conf.retry.ping_idle_ms * CLOCK_MS);
	assert_in_range(part.tm.scalar[TM_PINGS_SENT], sent, 2);
	dc_pool_destroy(pool);
	start();
	a = (struct ask){ 0 };
	a.stream = dc_pool_request(pool, &want, false, request_fields, 4, true, &a, &a.endpoint, &why);
	assert_non_null(a.stream);
	WAIT_FOR(a.done);
	dc_pool_spoke_grpc(pool, 0, false);
	dc_pool_spoke_grpc(pool, 63, true);
	dc_pool_spoke_grpc(pool, -1, true);
	peer_freeze(&peer[0]);
	WAIT_FOR(part.endpoint[0].silences == 1);
}

/* One link of a server that counts PINGs falls silent; the spare has been asked as often as it
 * bears, or nearly: it is trusted again all the same when it is back. */
static void counted_pings_do_not_keep_it_away(void **state)
{
	struct dc_want want = { .hash = 1, .random = 1 };
	struct ask a;

	w.conf.limits.upstream_spares = 1;
	begin(2);
	start();
	one_answered(1, 0);
	dc_pool_spoke_grpc(pool, 0, true);
	peer[0].mode = PEER_HOLD;
	assert_int_equal(ask(&a, 1), FAULT_NONE);
	WAIT_FOR(peer[0].holding == 1 && peer_sessions(&peer[0]) == 2);
	test_turns(50 * CLOCK_MS);
	peer_freeze(&peer[0]);
	WAIT_FOR(part.endpoint[0].silences == 1);
	assert_int_equal(dc_pool_where(pool, &want), 1);
	peer_thaw(&peer[0]);
	peer[0].mode = PEER_ANSWER;
	WAIT_FOR(dc_pool_where(pool, &want) == 0);
}

/* Servers that count PINGs say so: fewer from then on, whatever they answer. */
static void enough_is_enough(void **state)
{
	uint64_t sent;
	int i;

	begin(1);
	start();
	one_answered(1, 0);
	for (i = 0; i < PEER_SESSIONS; i++)
		if (peer[0].session[i].h2)
			h2_close(peer[0].session[i].h2, FAULT_FLOOD_PINGS);
	WAIT_FOR(!peer_sessions(&peer[0]));
	one_answered(1, 0);
	dc_pool_spoke_grpc(pool, 0, false);
	sent = part.tm.scalar[TM_PINGS_SENT];
	test_turns(10 * w.conf.retry.ping_idle_ms * CLOCK_MS);
	assert_in_range(part.tm.scalar[TM_PINGS_SENT], sent, sent + 2);
}

static void goaway_is_invisible(void **state)
{
	struct ask a, b;
	int i;

	begin(1);
	peer[0].mode = PEER_HOLD;
	start();
	ask(&a, 1);
	WAIT_FOR(peer[0].holding == 1);
	for (i = 0; i < PEER_SESSIONS; i++)
		if (peer[0].session[i].h2)
			h2_shutdown(peer[0].session[i].h2);
	test_turns(20 * CLOCK_MS);
	ask(&b, 2);
	WAIT_FOR(peer[0].holding == 2);
	assert_int_equal(peer[0].accepted, 2);
	peer_answer_held(&peer[0]);
	WAIT_FOR(a.done && b.done);
	assert_int_equal(a.status, 200);
	assert_int_equal(b.status, 200);
	WAIT_FOR(peer_sessions(&peer[0]) == 1);
	assert_int_equal(part.endpoint[0].faults, 0);
	one_answered(3, 0);
}

static void one_stream_at_a_time(void **state)
{
	struct ask a[5], first;
	int i;

	begin(1);
	peer[0].limits.max_streams = 1;
	start();
	ask(&first, 1); /* learns the limit */
	WAIT_FOR(first.done);
	peer[0].mode = PEER_HOLD;
	for (i = 0; i < 4; i++) {
		do { /* a new connection may not know the limit yet: refused is safe to repeat */
			assert_int_equal(ask(&a[i], (uint64_t)i), FAULT_NONE);
			WAIT_FOR(peer[0].holding == (unsigned)i + 1 || a[i].done);
			if (a[i].done)
				assert_int_equal(a[i].fault, FAULT_UPSTREAM_REFUSED);
		} while (a[i].done);
	}
	assert_int_equal(peer_sessions(&peer[0]), 4);
	assert_int_equal(ask(&a[4], 9), FAULT_UPSTREAM_FULL);
	assert_int_equal(a[4].endpoint, 0);
	peer_answer_held(&peer[0]);
	for (i = 0; i < 4; i++)
		WAIT_FOR(a[i].done && a[i].status == 200);
	one_answered(9, 0);
}

/* No room in one datacenter is not the end: the next endpoint is taken. */
static void full_spills_over(void **state)
{
	struct ask a[8];
	int i;

	begin(2);
	w.conf.limits.upstream_streams = 2;
	w.conf.limits.upstream_connections = 1;
	start();
	peer[0].mode = peer[1].mode = PEER_HOLD;
	for (i = 0; i < 4; i++)
		assert_int_equal(ask(&a[i], 1), FAULT_NONE);
	assert_int_equal(a[1].endpoint, 0);
	assert_int_equal(a[2].endpoint, 1);
	assert_int_equal(ask(&a[4], 1), FAULT_UPSTREAM_FULL);
	WAIT_FOR(peer[0].holding == 2 && peer[1].holding == 2);
	peer_answer_held(&peer[0]);
	peer_answer_held(&peer[1]);
	for (i = 0; i < 4; i++)
		WAIT_FOR(a[i].done);
}

static void nonsense_is_a_fault(void **state)
{
	struct ask a;

	begin(2);
	peer[0].mode = PEER_GARBAGE;
	start();
	ask(&a, 1);
	WAIT_FOR(a.done);
	assert_int_equal(a.endpoint, 0);
	assert_int_not_equal(a.fault, FAULT_NONE);
	assert_true(part.endpoint[0].faults > 0);
	one_answered(1, 1);
	/* Nor does trying again storm it. */
	test_turns(400 * CLOCK_MS);
	assert_in_range(peer[0].accepted, 1, 4);
}

static void board_decides(void **state)
{
	struct ask a;

	begin(2);
	start();
	publish(DC_DOWN, DC_UP);
	one_answered(1, 1);
	publish(DC_UP, DC_UP);
	one_answered(1, 0);
	publish(DC_DOWN, DC_DOWN);
	assert_int_equal(ask(&a, 1), FAULT_NO_DATACENTER);
	assert_int_equal(a.endpoint, -1);
	assert_false(dc_pool_any(pool, 0));
	publish(DC_PROBING, DC_DOWN);
	assert_true(dc_pool_any(pool, 0));
	assert_false(dc_pool_any(pool, 1));
	one_answered(1, 0);
	/* A board for another configuration says nothing about these endpoints. */
	live.generation = 2;
	publish(DC_DOWN, DC_DOWN);
	one_answered(1, 0);
	assert_int_equal(ask_tried(&a, 1, 3), FAULT_NO_DATACENTER);
}

/* Called up by control: trusted at once, whatever this worker remembers. */
static void control_is_believed(void **state)
{
	struct ask a;

	begin(2);
	peer_kill(&peer[0]);
	start();
	ask(&a, 1);
	WAIT_FOR(a.done);
	publish(DC_DOWN, DC_UP);
	one_answered(1, 1);
	test_turns(600 * CLOCK_MS);
	peer_revive(&peer[0]);
	test_turns(300 * CLOCK_MS);
	assert_int_equal(peer[0].accepted, 0); /* a dead one is control's to try */
	publish(DC_UP, DC_UP);
	one_answered(1, 0);
}

static void reconfigured(void **state)
{
	struct dc_local knew;
	struct ask a, b;

	begin(2);
	peer[0].mode = PEER_HOLD;
	start();
	ask(&a, 1);
	assert_int_equal(ask_tried(&b, 1, 1), FAULT_NONE);
	WAIT_FOR(peer[0].holding == 1 && b.done);
	assert_int_equal(peer[1].accepted, 1);
	/* Next: b comes first, a is gone, c is new. */
	world_clear(&w2);
	w2.conf.limits = w.conf.limits;
	w2.conf.retry = w.conf.retry;
	w2.conf.generation = 2;
	world_datacenter(&w2, "b", 100, 100);
	world_endpoint(&w2, 1);
	world_datacenter(&w2, "c", 100, 0);
	world_endpoint(&w2, 1);
	peer_begin(&peer[2]);
	w2.ep[0].address = peer[1].address;
	w2.ep[1].address = peer[2].address;
	knew = pool->local;
	assert_true(knew.learned[1] && knew.latency[1] > 0);
	dc_pool_reconfigure(pool, &w2.conf, &part);
	memset(&w, 0x55, sizeof(w)); /* the old one is gone */
	assert_true(pool->local.latency[0] == knew.latency[1]); /* b is the first now */
	assert_true(pool->local.learned[0] == knew.learned[1]);
	one_answered(1, 0);
	assert_int_equal(peer[1].accepted, 1); /* on the session it had */
	assert_int_equal(ask_tried(&b, 1, 1), FAULT_NONE);
	assert_int_equal(b.endpoint, 1);
	WAIT_FOR(b.done);
	assert_int_equal(peer[2].accepted, 1);
	test_turns(100 * CLOCK_MS);
	assert_false(a.done); /* goes on */
	peer_answer_held(&peer[0]);
	WAIT_FOR(a.done && peer_sessions(&peer[0]) == 0);
	assert_int_equal(a.status, 200);
}

static void names_resolve(void **state)
{
	char name[64];
	struct ask a;

	begin(2);
	snprintf(name, sizeof(name), "localhost%s", strchr(peer[0].address, ':'));
	w.ep[0].address = name;
	w.ep[1].address = "no-such-name.invalid:1";
	start();
	WAIT_FOR(ask(&a, 1) == FAULT_NONE);
	assert_int_equal(a.endpoint, 0);
	WAIT_FOR(a.done);
	/* Only v4 is listened on: the other address is tried in turn. */
	while (a.fault != FAULT_NONE) {
		ask_tried(&a, 1, 2);
		WAIT_FOR(a.done);
	}
	assert_int_equal(a.status, 200);
	WAIT_FOR(ask_tried(&a, 1, 1) == FAULT_UPSTREAM_UNRESOLVED && part.endpoint[1].faults);
}

static void extended_connect(void **state)
{
	struct dc_want want = { .hash = 1 };
	struct ask a = { 0 };
	struct h2_field f[5];
	enum fault why;

	begin(1);
	start();
	f[0] = field(H2_METHOD, "CONNECT");
	f[1] = field(H2_PROTOCOL, "websocket");
	f[2] = field(H2_SCHEME, "http");
	f[3] = field(H2_AUTHORITY, "messenger");
	f[4] = field(H2_PATH, "/chat");
	one_answered(1, 0);
	assert_null(dc_pool_request(pool, &want, true, f, 5, false, &a, &a.endpoint, &why));
	assert_int_equal(why, FAULT_UPSTREAM_NO_CONNECT);
	dc_pool_destroy(pool);
	peer[0].ctx.connect_protocol = true;
	start();
	WAIT_FOR((a.stream = dc_pool_request(pool, &want, true, f, 5, false, &a, &a.endpoint, &why)));
	WAIT_FOR(a.done);
	assert_int_equal(a.status, 200);
}

static void drains(void **state)
{
	struct ask a;

	w.conf.limits.upstream_spares = 1;
	begin(1);
	peer[0].mode = PEER_HOLD;
	start();
	ask(&a, 1);
	WAIT_FOR(peer[0].holding == 1 && peer_sessions(&peer[0]) == 2);
	dc_pool_shutdown(pool);
	WAIT_FOR(peer_sessions(&peer[0]) == 1);
	peer_answer_held(&peer[0]);
	WAIT_FOR(a.done && peer_sessions(&peer[0]) == 0);
	assert_int_equal(a.status, 200);
}

/* Nobody is called any more, nothing leaks (the sanitizer says so). */
static void destroyed_in_flight(void **state)
{
	struct ask a, b;

	begin(2);
	peer[0].mode = PEER_HOLD;
	start();
	ask(&a, 1);
	WAIT_FOR(peer[0].holding == 1);
	ask_tried(&b, 1, 1); /* still connecting */
	dc_pool_destroy(pool);
	pool = NULL;
	test_turns(50 * CLOCK_MS);
	assert_false(a.done || b.done);
	assert_int_equal(peer_sessions(&peer[0]), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(answers), T(multiplexes), T(spares_are_warm), T(refused_goes_elsewhere), T(killed_in_flight),
		T(fails_over_at_once), T(silent_from_the_start), T(silent_under_load), T(slow_is_not_silent), T(wedged_link_is_left),
		T(silence_spares_what_has_begun), T(silence_ends_what_has_begun_in_time),
		T(doubted_by_its_own_standards), T(grave_in_the_end), T(silent_when_idle), T(a_client_alone_saves_no_pings), T(enough_is_enough), T(counted_pings_do_not_keep_it_away), T(goaway_is_invisible), T(one_stream_at_a_time), T(full_spills_over),
		T(nonsense_is_a_fault), T(board_decides), T(control_is_believed), T(reconfigured), T(names_resolve),
		T(extended_connect), T(drains), T(destroyed_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
