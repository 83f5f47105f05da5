/* SPDX-License-Identifier: MIT */
/* Silence, told from slowness: real sessions, a peer that stops reading, real time. */
#include "pool_rig.h"

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

/* Who cannot go elsewhere is told later, and not if the peer only paused. */
static void silence_is_waited_out_by_who_must(void **state)
{
	struct ask stays, moves;
	int pauses;

	w.conf.retry.ping_idle_timeout_ms = 400;
	w.conf.retry.ping_stream_timeout_ms = 60000;
	begin(1);
	start();
	for (pauses = 1; pauses >= 0; pauses--) {
		one_answered(1, 0);
		peer[0].mode = PEER_HOLD;
		assert_int_equal(ask(&stays, 1), FAULT_NONE);
		stays.stays = true;
		assert_int_equal(ask(&moves, 2), FAULT_NONE);
		WAIT_FOR(peer[0].holding == 2);
		peer_freeze(&peer[0]);
		WAIT_FOR(moves.done);
		assert_int_equal(moves.fault, FAULT_UPSTREAM_SILENT);
		assert_false(stays.done);
		if (pauses) {
			peer[0].mode = PEER_ANSWER;
			peer_thaw(&peer[0]);
			WAIT_FOR(peer[0].holding == 1); /* the other was taken back */
			peer_answer_held(&peer[0]);
		}
		WAIT_FOR(stays.done);
		assert_int_equal(stays.fault, pauses ? FAULT_NONE : FAULT_UPSTREAM_SILENT);
		assert_true(pauses || stays.ended - moves.ended >= 200 * CLOCK_MS);
	}
}

/* The same of a link that has never been heard. */
static void a_pause_at_the_start_is_waited_out(void **state)
{
	struct ask a;

	w.conf.retry.ping_idle_timeout_ms = 2000;
	begin(1);
	peer_freeze(&peer[0]);
	start();
	assert_int_equal(ask(&a, 1), FAULT_NONE);
	a.stays = true;
	WAIT_FOR(part.endpoint[0].silences == 1);
	test_turns(20 * CLOCK_MS);
	assert_false(a.done);
	peer_thaw(&peer[0]);
	WAIT_FOR(a.done);
	assert_int_equal(a.status, 200);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(silent_from_the_start), T(silent_under_load), T(silence_is_waited_out_by_who_must), T(a_pause_at_the_start_is_waited_out),
		T(silence_spares_what_has_begun),
		T(silence_ends_what_has_begun_in_time), T(slow_is_not_silent), T(wedged_link_is_left), T(doubted_by_its_own_standards),
		T(grave_in_the_end), T(silent_when_idle), T(a_client_alone_saves_no_pings), T(counted_pings_do_not_keep_it_away),
		T(enough_is_enough),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
