/* SPDX-License-Identifier: MIT */
/* Active checks against peers on loopback sockets, with workers' evidence on a board. */
#include "peer.h"

#include "firebreak/dc_probe.h"

static struct world w;
static struct peer peer[2];
static struct board *board;
static struct dc_probe *probe;
static unsigned changes;

static void on_change(void *user, unsigned endpoint, const struct dc_health *h)
{
	assert_ptr_equal(user, &changes);
	assert_ptr_equal(h, dc_probe_health(probe, endpoint));
	changes++;
}

static void pump(void)
{
	if (probe)
		dc_probe_pump(probe);
}

static int set_up(void **state)
{
	int i;

	test_loop_begin(state);
	memset(peer, 0, sizeof(peer));
	world_clear(&w);
	test_limits(&w.conf.limits);
	test_retry(&w.conf.retry);
	w.conf.generation = 7;
	for (i = 0; i < 2; i++) {
		world_datacenter(&w, i ? "b" : "a", 100, 100);
		world_endpoint(&w, 1);
		peer_begin(&peer[i]);
		w.ep[i].address = peer[i].address;
		w.dc[i].check_interval_ms = 40;
		w.dc[i].check_timeout_ms = 400;
	}
	board = board_create(2);
	assert_non_null(board);
	changes = 0;
	test_pump = pump;
	return 0;
}

static int tear_down(void **state)
{
	int i;

	dc_probe_destroy(probe);
	probe = NULL;
	for (i = 0; i < 2; i++)
		peer_end(&peer[i]);
	test_loop_end(state);
	board_destroy(board);
	return 0;
}

static void start(void)
{
	probe = dc_probe_create(test_loop, &w.conf, board, on_change, &changes);
	assert_non_null(probe);
}

static enum dc_state state_of(unsigned endpoint)
{
	struct dc_live live = { 0 };

	dc_probe_states(probe, &live);
	assert_int_equal(live.endpoint_state[endpoint], dc_probe_health(probe, endpoint)->state);
	return (enum dc_state)live.endpoint_state[endpoint];
}

static enum fault why(unsigned endpoint) { return dc_probe_health(probe, endpoint)->why; }

static void checks_go_on(void **state)
{
	w.dc[1].authority = "messenger.example";
	w.dc[1].check_path = "/ready?deep=1";
	start();
	WAIT_FOR(peer[0].requests >= 5 && peer[1].requests >= 5);
	assert_string_equal(peer[0].path, "/healthz");
	assert_string_equal(peer[0].authority, peer[0].address);
	assert_string_equal(peer[1].path, "/ready?deep=1");
	assert_string_equal(peer[1].authority, "messenger.example");
	assert_int_equal(peer[0].accepted, 1); /* one session for all checks */
	assert_int_equal(state_of(0), DC_UP);
	assert_int_equal(changes, 0);
	peer[0].status = 204;
	peer[0].requests = 0;
	WAIT_FOR(peer[0].requests >= 5);
	assert_int_equal(state_of(0), DC_UP);
	assert_null(dc_probe_health(probe, 2));
}

static void killed_and_back(void **state)
{
	start();
	WAIT_FOR(peer[0].requests >= 3);
	peer_kill(&peer[0]);
	WAIT_FOR(state_of(0) == DC_DOWN);
	assert_int_equal(why(0), FAULT_CONNECT_REFUSED);
	assert_int_equal(state_of(1), DC_UP);
	assert_true(changes >= 1);
	peer_revive(&peer[0]);
	WAIT_FOR(state_of(0) == DC_UP);
	assert_true(changes >= 3); /* through probing */
}

static void error_status_fails(void **state)
{
	peer[0].status = 503;
	peer[1].status = 404;
	start();
	WAIT_FOR(state_of(0) == DC_DOWN && state_of(1) == DC_DOWN);
	assert_int_equal(why(0), FAULT_CHECK_FAILED);
	assert_int_equal(why(1), FAULT_CHECK_UNKNOWN);
	peer[0].status = 200;
	WAIT_FOR(state_of(0) == DC_UP);
	peer[0].status = 302; /* of where it points to nobody has asked */
	WAIT_FOR(state_of(0) == DC_DOWN);
	assert_int_equal(why(0), FAULT_CHECK_FAILED);
}

/* Stopped: nothing heard, so it does not take the whole check_timeout each time. */
static void silence_is_found_early(void **state)
{
	int64_t began;

	w.dc[0].check_timeout_ms = 60000;
	start();
	WAIT_FOR(peer[0].requests >= 2);
	peer_freeze(&peer[0]);
	began = clock_now();
	WAIT_FOR(state_of(0) == DC_DOWN);
	assert_int_equal(why(0), FAULT_UPSTREAM_SILENT);
	assert_true(clock_now() - began < 4 * CLOCK_SEC);
	peer_thaw(&peer[0]);
	WAIT_FOR(state_of(0) == DC_UP);
}

/* Answers PING, not the check. */
static void slow_check_times_out(void **state)
{
	start();
	WAIT_FOR(peer[0].requests >= 2);
	peer[0].mode = PEER_HOLD;
	WAIT_FOR(state_of(0) == DC_DOWN);
	assert_int_equal(why(0), FAULT_UPSTREAM_TIMEOUT);
	assert_true(peer[0].accepted > 1); /* the next one goes to a fresh connection */
	WAIT_FOR(peer[0].holding <= 1); /* given up ones are reset */
	peer_answer_held(&peer[0]);
	WAIT_FOR(state_of(0) == DC_UP);
}

static void nonsense_fails(void **state)
{
	peer[0].mode = PEER_GARBAGE;
	start();
	WAIT_FOR(state_of(0) == DC_DOWN);
}

/* A good status in a head that nobody would be given: requests to it fail. */
static void a_head_too_large_fails(void **state)
{
	struct h2_field f[200];
	unsigned i;

	f[0] = h2_field(H2_STATUS, "200", 3);
	for (i = 1; i < 200; i++)
		f[i] = h2_field(H2_AGE, "1", 1);
	peer[0].mode = PEER_HOLD;
	start();
	for (i = 0; i < w.dc[0].fall && state_of(0) != DC_DOWN; i++) {
		WAIT_FOR(peer[0].holding);
		assert_true(h2_respond(peer[0].held[0], f, 200, true));
		WAIT_FOR(!peer[0].holding);
	}
	WAIT_FOR(state_of(0) == DC_DOWN);
	assert_int_equal(why(0), FAULT_UPSTREAM_BAD_RESPONSE);
}

static void sent_away(void **state)
{
	unsigned i;

	start();
	WAIT_FOR(peer[0].requests >= 2);
	for (i = 0; i < PEER_SESSIONS; i++)
		if (peer[0].session[i].h2)
			h2_shutdown(peer[0].session[i].h2);
	peer[0].requests = 0;
	WAIT_FOR(peer[0].requests >= 3);
	assert_int_equal(peer[0].accepted, 2);
	assert_int_equal(state_of(0), DC_UP);
	assert_int_equal(changes, 0);
}

static void never_resolves(void **state)
{
	w.ep[0].address = "no-such-name.invalid:1";
	start();
	WAIT_FOR(state_of(0) == DC_DOWN);
	assert_int_equal(why(0), FAULT_UPSTREAM_UNRESOLVED);
	assert_int_equal(state_of(1), DC_UP);
}

/* ---- what the workers see ---- */

static void quiet_checks(void)
{
	w.dc[0].check_interval_ms = w.dc[1].check_interval_ms = 60000;
	atomic_store(&board_worker(board, 0)->pid, 100);
	atomic_store(&board_worker(board, 1)->pid, 101);
	atomic_store(&board_worker(board, 0)->generation, 7);
	atomic_store(&board_worker(board, 1)->generation, 7);
}

static void faults_bring_a_check(void **state)
{
	struct board_evidence *e = &board_worker(board, 1)->endpoint[0];
	int64_t began;

	quiet_checks();
	start();
	WAIT_FOR(peer[0].requests == 1 && peer[1].requests == 1);
	test_turns(80 * CLOCK_MS);
	e->faults++;
	e->last_fault = FAULT_UPSTREAM_CLOSED;
	began = clock_now();
	WAIT_FOR(peer[0].requests == 2);
	assert_true(clock_now() - began < 2 * CLOCK_SEC); /* with checks a minute apart */
	assert_int_equal(state_of(0), DC_UP); /* one is not a burst, and the check passed */
	e->faults += 3;
	WAIT_FOR(state_of(0) == DC_SUSPECT);
	assert_int_equal(why(0), FAULT_UPSTREAM_CLOSED);
	WAIT_FOR(state_of(0) == DC_UP); /* checks pass: not worse than that */
	peer_kill(&peer[0]);
	e->silences++;
	e->last_fault = FAULT_UPSTREAM_SILENT;
	began = clock_now();
	WAIT_FOR(state_of(0) == DC_DOWN);
	assert_true(clock_now() - began < 3 * CLOCK_SEC);
	assert_int_equal(peer[1].requests, 1);
	peer_revive(&peer[0]);
	WAIT_FOR(state_of(0) == DC_UP);
}

/* Checks run out of time, requests are answered: load. Requests fail as well: no longer. */
static void late_checks_under_load_do_not_count(void **state)
{
	struct board_evidence *e = &board_worker(board, 1)->endpoint[0];
	int64_t end;

	quiet_checks();
	w.dc[0].check_interval_ms = w.dc[0].check_timeout_ms = 150;
	start();
	WAIT_FOR(peer[0].requests >= 2);
	peer[0].mode = PEER_HOLD;
	end = clock_tick() + 2 * CLOCK_SEC; /* time for twelve of them */
	while (clock_now() < end || peer[0].requests < 6) {
		e->traffic.well++;
		net_loop_turn(test_loop, 5);
		assert_int_equal(state_of(0), DC_UP);
		assert_int_equal(dc_probe_health(probe, 0)->bad_run, 0);
	}
	assert_true(dc_probe_works(probe, 0));
	WAIT_FOR((e->traffic.errors++, !dc_probe_works(probe, 0)));
	WAIT_FOR(state_of(0) == DC_DOWN);
	assert_int_equal(why(0), FAULT_UPSTREAM_TIMEOUT);
}

/* An answered check is the operator's word, whatever requests say. */
static void failing_checks_count_under_traffic(void **state)
{
	struct board_evidence *e = &board_worker(board, 1)->endpoint[0];
	int64_t end;

	quiet_checks();
	w.dc[0].check_interval_ms = 150;
	peer[0].status = 503;
	start();
	end = clock_tick() + 5 * CLOCK_SEC;
	while (state_of(0) != DC_DOWN && clock_now() < end) {
		e->traffic.well++;
		e->answers++;
		net_loop_turn(test_loop, 5);
	}
	assert_int_equal(state_of(0), DC_DOWN);
	assert_int_equal(why(0), FAULT_CHECK_FAILED);
	assert_true(dc_probe_works(probe, 0));
	assert_false(dc_probe_works(probe, 1)); /* nothing was heard of it */
	assert_false(dc_probe_works(probe, 2));
}

static void traffic_is_added_up(void **state)
{
	struct board_worker *one = board_worker(board, 0), *two = board_worker(board, 1);
	struct dc_traffic t[CONF_MAX_ENDPOINTS];

	quiet_checks();
	one->endpoint[1].traffic = (struct dc_traffic){ 100, 10, 1000, -500, 9000 };
	start();
	test_turns(60 * CLOCK_MS);
	dc_probe_traffic(probe, t);
	assert_int_equal(t[1].well, 0);
	one->endpoint[1].traffic = (struct dc_traffic){ 103, 11, 1010, -900, 9900 };
	two->endpoint[1].traffic = (struct dc_traffic){ 2, 0, 5, 100, 77 };
	test_turns(120 * CLOCK_MS);
	one->endpoint[1].traffic = (struct dc_traffic){ 4, 11, 0, 0, 0 }; /* begun anew */
	test_turns(120 * CLOCK_MS);
	dc_probe_traffic(probe, t);
	assert_int_equal(t[1].well, 5);
	assert_int_equal(t[1].errors, 1);
	assert_int_equal(t[1].errors_usual, 15);
	assert_int_equal(t[1].slow, -300);
	assert_int_equal(t[1].slow_squared, 977);
	assert_int_equal(t[0].well, 0);
	dc_probe_traffic(probe, t);
	assert_int_equal(t[1].well, 0);
}

static void answers_lift_suspicion(void **state)
{
	struct board_evidence *e = &board_worker(board, 0)->endpoint[0];

	quiet_checks();
	start();
	WAIT_FOR(peer[0].requests == 1);
	peer[0].mode = PEER_HOLD; /* checks say nothing for now */
	e->silences++;
	WAIT_FOR(state_of(0) == DC_SUSPECT);
	e->answers++;
	WAIT_FOR(state_of(0) == DC_UP);
}

/* Old counts, other generations, and a worker that was just replaced say nothing. */
static void foreign_evidence_is_not_heard(void **state)
{
	struct board_worker *one = board_worker(board, 0), *two = board_worker(board, 1);

	quiet_checks();
	one->endpoint[0].faults = 1000;
	atomic_store(&two->generation, 6);
	start();
	WAIT_FOR(peer[0].requests == 1 && peer[1].requests == 1);
	two->endpoint[0].faults = 1000;
	test_turns(120 * CLOCK_MS);
	two->endpoint[0].silences = 1000;
	test_turns(60 * CLOCK_MS);
	atomic_store(&two->generation, 7); /* arrives: its counts are the base */
	test_turns(120 * CLOCK_MS);
	atomic_store(&one->pid, 200);
	one->endpoint[0].faults = 2000;
	test_turns(120 * CLOCK_MS);
	one->endpoint[0].faults = 5; /* smaller than before: no difference */
	test_turns(120 * CLOCK_MS);
	assert_int_equal(state_of(0), DC_UP);
	assert_int_equal(peer[0].requests, 1);
	two->endpoint[0].silences++;
	WAIT_FOR(peer[0].requests == 2);
}

static void replaced_while_checking(void **state)
{
	peer[0].mode = PEER_HOLD;
	start();
	WAIT_FOR(peer[0].holding == 1 && peer[1].requests);
	dc_probe_destroy(probe);
	probe = NULL;
	w.conf.endpoint = NULL; /* its configuration may be gone before the last session is */
	net_loop_turn(test_loop, 0);
	net_loop_turn(test_loop, 0);
	w.conf.endpoint = w.ep;
	start();
	WAIT_FOR(peer[0].holding == 1 && peer[0].accepted == 2);
	assert_int_equal(changes, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(checks_go_on), T(killed_and_back), T(error_status_fails), T(silence_is_found_early), T(slow_check_times_out),
		T(nonsense_fails), T(a_head_too_large_fails), T(sent_away), T(never_resolves), T(faults_bring_a_check), T(answers_lift_suspicion),
		T(late_checks_under_load_do_not_count), T(failing_checks_count_under_traffic), T(traffic_is_added_up),
		T(foreign_evidence_is_not_heard), T(replaced_while_checking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
