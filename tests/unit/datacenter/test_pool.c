/* SPDX-License-Identifier: MIT */
/* The worker's pool against peers on loopback sockets. */
#include "pool_rig.h"

static struct world w2;

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
	const struct CMUnitTest tests[] = {
		T(answers), T(multiplexes), T(spares_are_warm), T(refused_goes_elsewhere), T(killed_in_flight), T(fails_over_at_once),
		T(goaway_is_invisible), T(one_stream_at_a_time), T(full_spills_over), T(nonsense_is_a_fault), T(board_decides),
		T(control_is_believed), T(reconfigured), T(names_resolve), T(extended_connect), T(drains), T(destroyed_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
