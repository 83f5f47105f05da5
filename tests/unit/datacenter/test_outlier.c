/* SPDX-License-Identifier: MIT */
/* Requests made up for whole fleets, look by look: who loses what, and gets it back when. */
#include "dc_test.h"
#include "firebreak/dc_outlier.h"
#include "firebreak/degrade.h"

#define LOOK  (250 * CLOCK_MS)
#define FULL  DEGRADE_FULL
#define LEAST 200

/* How an endpoint is: requests in a look, how many of a thousand fail, how long one takes. */
struct how {
	unsigned n, bad;
	int64_t ns;
	unsigned feature;
};

static struct world w;
static struct dc_outliers o;
static struct dc_usual usual;
static struct dc_traffic traffic[CONF_MAX_ENDPOINTS];
static struct how how[CONF_MAX_ENDPOINTS];
static uint64_t seed;
static int64_t now;

/* Datacenters of this many endpoints each; all well, all busy. */
static void fleet(unsigned datacenters, unsigned endpoints)
{
	unsigned d, i;

	world_clear(&w);
	memset(&usual, 0, sizeof(usual));
	w.conf.outliers.most = FULL / 2;
	for (d = 0; d < datacenters; d++) {
		char name[2] = { (char)('a' + d), 0 };

		world_datacenter(&w, name, 100, 100);
		for (i = 0; i < endpoints; i++)
			how[world_endpoint(&w, 10)] = (struct how){ 20, 0, 20 * CLOCK_MS, 0 };
	}
	world_state(&w, DC_UP);
	dc_outliers_init(&o);
	seed = 7;
	now = 100 * CLOCK_SEC;
}

static int set_up(void **state)
{
	fleet(2, 4);
	return 0;
}

/* Latency spreads over a factor of four, as it does. */
static void request(unsigned i)
{
	int64_t took = how[i].ns / 2 + (int64_t)(how[i].ns * 3 / 2 * cases_below(&seed, 1000) / 1000);

	dc_usual_note(&usual, how[i].feature, took, cases_below(&seed, 1000) < how[i].bad, &traffic[i]);
}

/* An endpoint gets its requests by its share and its datacenter's. */
static unsigned part(unsigned i)
{
	unsigned n = how[i].n * o.endpoint[i].share / FULL, d = w.ep[i].datacenter;

	return n * o.datacenter[d].share / FULL + (cases_below(&seed, FULL) < how[i].n * o.endpoint[i].share % FULL);
}

static double away(const struct dc_member *m, unsigned n)
{
	double sum = 0;
	unsigned i;

	for (i = 0; i < n; i++)
		sum += 1 - m[i].share / (double)FULL;
	return sum;
}

static void look(void)
{
	unsigned i, d, k;

	memset(traffic, 0, sizeof(traffic));
	for (k = 0; k < 200; k++) /* in turns, as features are learned by all of them */
		for (i = 0; i < w.conf.endpoints; i++)
			if (k < part(i))
				request(i);
	now += LOOK;
	dc_outliers_look(&o, &w.conf, &w.live, traffic, now);
	for (d = 0; d < w.conf.datacenters; d++)
		assert_true(away(&o.endpoint[w.dc[d].first_endpoint], w.dc[d].endpoints) <= w.dc[d].endpoints * w.conf.outliers.most / (double)FULL + 1e-9);
	assert_true(away(o.datacenter, (unsigned)w.conf.datacenters) <= w.conf.datacenters * w.conf.outliers.most / (double)FULL + 1e-9);
}

static void looks(unsigned n)
{
	while (n--)
		look();
}

static void assert_even(void)
{
	unsigned i;

	for (i = 0; i < w.conf.endpoints; i++)
		assert_int_equal(o.endpoint[i].share, FULL);
	for (i = 0; i < w.conf.datacenters; i++)
		assert_int_equal(o.datacenter[i].share, FULL);
}

static void all_alike(void **state)
{
	unsigned n;

	for (n = 0; n < 400; n++) {
		look();
		assert_even();
		assert_int_equal(o.spread, DC_SPREAD_EVEN);
	}
}

/* All requests answered with errors, every check passed: most of its share is gone within two
 * seconds, the rest after some more, and its siblings keep theirs. */
static void errors_cost_the_share(void **state)
{
	looks(20);
	how[1].bad = 1000;
	looks(8);
	assert_true(o.endpoint[1].share <= FULL / 8);
	assert_false(o.endpoint[1].slow);
	assert_int_equal(o.spread, DC_SPREAD_MOVED);
	assert_int_equal(away(o.endpoint, 4) * FULL, FULL - o.endpoint[1].share);
	assert_int_equal(o.datacenter[0].share, FULL); /* it went on within it */
	how[1].bad = 0;
	looks(240);
	assert_even();
	assert_int_equal(o.spread, DC_SPREAD_EVEN);
}

static void slowness_costs_the_share(void **state)
{
	looks(20);
	how[6].ns = 100 * CLOCK_MS; /* five times the others' */
	looks(12);
	assert_true(o.endpoint[6].share <= FULL / 2);
	assert_true(o.endpoint[6].slow);
	how[6].ns = 20 * CLOCK_MS;
	looks(240);
	assert_even();
}

/* A third of the answers are errors at half of the endpoints, which are slow besides. */
static void half_of_a_datacenter(void **state)
{
	looks(20);
	how[0].bad = how[1].bad = 300;
	how[0].ns = how[1].ns = 400 * CLOCK_MS;
	looks(20);
	assert_true(o.endpoint[0].share <= FULL / 8 && o.endpoint[1].share <= FULL / 8);
	assert_true(away(&o.endpoint[2], 6) < 1e-9);
	assert_true(away(o.datacenter, 2) < 1e-9);
}

/* The workers keep most requests from them, so it takes a while to be sure of them. Their
 * datacenter is not to blame meanwhile. */
static void half_of_a_datacenter_hardly_asked(void **state)
{
	unsigned n, taken = 0;

	how[0] = how[1] = (struct how){ 3, 1000, 20 * CLOCK_MS, 0 };
	how[2].n = how[3].n = 10;
	for (n = 0; n < 40; n++) {
		look();
		assert_true(away(o.datacenter, 2) < 1e-9);
		assert_true(away(&o.endpoint[2], 6) < 1e-9);
		taken |= (o.endpoint[0].share <= FULL / 8) | (unsigned)(o.endpoint[1].share <= FULL / 8) << 1;
	}
	assert_int_equal(taken, 3);
}

/* It comes back in steps, at least a hold apart; who falls again waits longer each time. */
static void slow_return(void **state)
{
	int64_t hold = 0, last = 0;
	uint16_t before;
	unsigned n;

	looks(20);
	for (n = 0; n < 4 * 120; n++) {
		how[2].bad = n % 120 < 40 ? 1000 : 0;
		before = o.endpoint[2].share;
		look();
		if (o.endpoint[2].share > before) {
			assert_true(o.endpoint[2].share <= 2 * before);
			assert_true(!last || now - last >= 2 * CLOCK_SEC);
			last = now;
		}
		assert_true(o.endpoint[2].hold >= hold);
		hold = o.endpoint[2].hold;
	}
	assert_true(hold > 4 * CLOCK_SEC);
	how[2].bad = 0;
	looks(4 * 400);
	assert_even();
}

/* On the way back a few requests are enough for a doubt: it does not go up and down. */
static void no_return_while_it_goes_on(void **state)
{
	unsigned n;

	looks(20);
	how[2] = (struct how){ 20, 300, 60 * CLOCK_MS, 0 };
	looks(20);
	for (n = 0; n < 4 * 120; n++) {
		look();
		assert_true(o.endpoint[2].share <= FULL / 4);
	}
}

/* Most of a datacenter is bad alike: nothing to compare with inside, but the others do better. */
static void a_whole_datacenter(void **state)
{
	unsigned i;

	looks(20);
	for (i = 0; i < 4; i++)
		how[i].bad = 400;
	looks(16);
	assert_true(away(o.endpoint, 8) < 1e-9);
	assert_true(o.datacenter[0].share <= FULL / 8);
	assert_int_equal(o.datacenter[1].share, FULL);
	assert_int_equal(o.spread, DC_SPREAD_MOVED);
	for (i = 0; i < 4; i++)
		how[i].bad = 0;
	looks(300);
	assert_even();
}

/* The one that does well does not make outliers of the others. */
static void most_of_a_datacenter(void **state)
{
	unsigned n;

	fleet(1, 4);
	looks(20);
	how[0].bad = how[1].bad = how[2].bad = 400;
	how[0].ns = how[1].ns = how[2].ns = 200 * CLOCK_MS;
	for (n = 0; n < 60; n++) {
		look();
		assert_even();
	}
}

/* One has always been farther away; only what is new about it counts. */
static void distance_is_no_illness(void **state)
{
	unsigned i;

	for (i = 4; i < 8; i++)
		how[i].ns = 90 * CLOCK_MS;
	looks(80);
	assert_even();
	for (i = 4; i < 8; i++)
		how[i].ns = 600 * CLOCK_MS;
	looks(16);
	assert_true(o.datacenter[1].share < FULL);
	assert_true(o.datacenter[1].slow);
	assert_int_equal(o.datacenter[0].share, FULL);
}

/* A common cause, everywhere or in most of what is compared. */
static void what_all_have_moves_nothing(void **state)
{
	unsigned i, n;

	looks(20);
	for (i = 0; i < 8; i++)
		how[i].bad = 450;
	for (n = 0; n < 100; n++) {
		look();
		assert_even();
	}
	for (i = 0; i < 8; i++)
		how[i] = (struct how){ 20, 0, 900 * CLOCK_MS, 0 };
	for (n = 0; n < 100; n++) {
		look();
		assert_even();
	}
	fleet(3, 2);
	looks(20);
	for (i = 0; i < 4; i++) /* two of three datacenters */
		how[i].bad = 800;
	for (n = 0; n < 100; n++) {
		look();
		assert_even();
	}
	assert_int_equal(o.spread, DC_SPREAD_PANIC);
}

/* While most of everything fails nothing is given back either: the last good spread stays. */
static void panic_keeps_the_spread(void **state)
{
	struct dc_outliers before;
	unsigned i, n;

	looks(20);
	how[0].bad = 1000;
	looks(8);
	assert_true(o.endpoint[0].share < FULL);
	for (i = 0; i < 8; i++)
		how[i].bad = 900;
	looks(1);
	assert_int_equal(o.spread, DC_SPREAD_PANIC);
	assert_string_equal(dc_spread_word(DC_SPREAD_PANIC), "panic");
	before = o;
	for (n = 0; n < 100; n++) {
		look();
		assert_int_equal(o.spread, DC_SPREAD_PANIC);
		for (i = 0; i < 8; i++)
			assert_int_equal(o.endpoint[i].share, before.endpoint[i].share);
	}
	for (i = 0; i < 8; i++)
		how[i].bad = 0;
	looks(300);
	assert_even();
}

/* Fifteen requests, all failed, prove nothing, however often one looks; sixteen do. */
static void few_requests_prove_nothing(void **state)
{
	unsigned n;

	looks(20);
	how[3] = (struct how){ 0, 1000, 20 * CLOCK_MS, 0 };
	looks(DC_LOOKS);
	for (n = 0; n < 100; n++) {
		how[3].n = n % DC_LOOKS ? 0 : 15; /* within the time that is looked at */
		look();
		assert_even();
	}
	how[3].n = 16;
	look();
	assert_true(o.endpoint[3].share < FULL);
}

/* The choice of endpoint asks one that is slow, or fails, now and then only: found all the same. */
static void the_hardly_asked_do_not_hide(void **state)
{
	static const struct how ill[] = { { 1, 0, CLOCK_SEC, 0 }, { 1, 600, 20 * CLOCK_MS, 0 } };
	unsigned n, i;

	for (i = 0; i < 2; i++) {
		fleet(2, 4);
		looks(20);
		how[1] = ill[i];
		for (n = 0; n < 160; n++) {
			how[1].n = n % 8 == 0; /* every two seconds */
			look();
		}
		assert_true(o.endpoint[1].share < FULL);
		assert_int_equal(away(o.endpoint, 4) * FULL, FULL - o.endpoint[1].share);
	}
}

/* It serves the feature that takes a hundred times as long, and the one whose database is
 * down: so would the others. */
static void slow_features_are_no_slow_endpoints(void **state)
{
	unsigned n, i;

	for (n = 0; n < 200; n++) {
		for (i = 0; i < 8; i++) {
			unsigned heavy = cases_below(&seed, 100) < (i == 1 ? 90 : 10);

			how[i] = (struct how){ 20, heavy ? 400 : 0, heavy ? CLOCK_SEC : 10 * CLOCK_MS, heavy };
		}
		look();
		if (n > 20)
			assert_even();
	}
}

/* What is taken away and what is down together stay within the bound. */
static void the_bound(void **state)
{
	looks(20);
	how[0].bad = how[1].bad = 1000;
	looks(20);
	assert_true(away(o.endpoint, 4) > 1.5);
	w.live.endpoint_state[2] = DC_DOWN;
	how[2].n = 0;
	look();
	assert_true(away(o.endpoint, 4) <= 1 + 1e-9); /* given back at once: it is needed */
	w.live.endpoint_state[3] = DC_DOWN;
	how[3].n = 0;
	look();
	assert_true(away(o.endpoint, 4) <= 1e-9);
	fleet(1, 2);
	w.conf.outliers.most = 2500;
	how[0].bad = 800;
	looks(20);
	assert_int_equal(o.endpoint[0].share, FULL / 2);
	assert_int_equal(o.spread, DC_SPREAD_BOUNDED);
	fleet(2, 2);
	w.conf.outliers.most = 0;
	how[0].bad = 1000;
	looks(40);
	assert_even();
}

/* Alone there is nobody to compare with. */
static void alone(void **state)
{
	fleet(1, 1);
	looks(20);
	how[0].bad = 400;
	how[0].ns = CLOCK_SEC;
	looks(40);
	assert_even();
}

/* Random fleets and random evidence: the bound holds (look() asserts it), shares are within
 * their range, and all is given back once all are alike. */
static void anything_may_happen(void **state)
{
	unsigned round, n, i;

	for (round = 0; round < 40; round++) {
		uint64_t dice = 1000 + round;

		fleet(1 + cases_below(&dice, 4), 1 + cases_below(&dice, 5));
		w.conf.outliers.most = (uint16_t)(1000 * cases_below(&dice, 10));
		for (n = 0; n < 120; n++) {
			i = cases_below(&dice, (unsigned)w.conf.endpoints);
			if (!cases_below(&dice, 3))
				how[i] = (struct how){ cases_below(&dice, 40), cases_below(&dice, 4) ? 0 : cases_below(&dice, 1001),
						       CLOCK_MS << cases_below(&dice, 11), cases_below(&dice, 3) };
			if (!cases_below(&dice, 10))
				w.live.endpoint_state[i] = cases_below(&dice, 2) ? DC_UP : DC_DOWN;
			look();
			for (i = 0; i < w.conf.endpoints; i++)
				assert_in_range(o.endpoint[i].share, LEAST, FULL);
		}
		world_state(&w, DC_UP);
		for (i = 0; i < w.conf.endpoints; i++)
			how[i] = (struct how){ 20, 0, 20 * CLOCK_MS, 0 };
		looks(4 * 60 * 8); /* the longest hold, each step of the way */
		assert_even();
	}
}

/* The same requests, all of them so many times as slow: the same verdicts. */
static void a_common_factor_changes_nothing(void **state)
{
	uint16_t share[200][8];
	unsigned times, n, i, moved = 0;

	for (times = 1; times <= 16; times *= 4) {
		fleet(2, 4);
		for (n = 0; n < 200; n++) {
			for (i = 0; i < 8; i++)
				how[i].ns = (int64_t)times * (n > 50 && i == 5 ? 200 : 20) * CLOCK_MS;
			look();
			for (i = 0; i < 8; i++) {
				moved += o.endpoint[i].share < FULL;
				if (times == 1)
					share[n][i] = o.endpoint[i].share;
				else
					assert_int_equal(share[n][i], o.endpoint[i].share);
			}
		}
	}
	assert_true(moved > 100);
}

/* ---- the checks of everything ---- */

static void nobody_believes_the_checks(void **state)
{
	static const bool first_drained[CONF_MAX_DATACENTERS] = { true };
	unsigned i;

	world_state(&w, DC_DOWN);
	assert_false(dc_panic(&w.conf, &w.live, NULL, 0, false)); /* requests fail as well: it is so */
	assert_true(dc_panic(&w.conf, &w.live, NULL, 0xf0, false));
	for (i = 0; i < 8; i++)
		assert_int_equal(w.live.endpoint_state[i], i < 4 ? DC_DOWN : DC_SUSPECT);
	/* One of two: that is what datacenters are for. */
	world_state(&w, DC_DOWN);
	w.live.endpoint_state[0] = DC_UP;
	assert_false(dc_panic(&w.conf, &w.live, NULL, 0xf0, false));
	assert_int_equal(w.live.endpoint_state[4], DC_DOWN);
	/* Unless it is drained. */
	assert_true(dc_panic(&w.conf, &w.live, first_drained, 0xf0, false));
	/* The first to pass again does not get everything: until half is back all are alike. */
	world_state(&w, DC_DOWN);
	w.live.endpoint_state[0] = w.live.endpoint_state[1] = DC_UP;
	assert_true(dc_panic(&w.conf, &w.live, NULL, 0xfc, true));
	for (i = 0; i < 8; i++)
		assert_int_equal(w.live.endpoint_state[i], DC_SUSPECT);
	world_state(&w, DC_DOWN);
	for (i = 0; i < 4; i++)
		w.live.endpoint_state[i] = DC_UP;
	assert_false(dc_panic(&w.conf, &w.live, NULL, 0xf0, true));
	assert_int_equal(w.live.endpoint_state[0], DC_UP);
	assert_int_equal(w.live.endpoint_state[4], DC_DOWN);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, set_up)
	const struct CMUnitTest tests[] = {
		T(all_alike), T(errors_cost_the_share), T(slowness_costs_the_share), T(half_of_a_datacenter), T(half_of_a_datacenter_hardly_asked), T(slow_return), T(no_return_while_it_goes_on),
		T(a_whole_datacenter), T(most_of_a_datacenter), T(distance_is_no_illness), T(what_all_have_moves_nothing), T(panic_keeps_the_spread),
		T(few_requests_prove_nothing), T(the_hardly_asked_do_not_hide), T(slow_features_are_no_slow_endpoints), T(the_bound), T(alone),
		T(anything_may_happen),
		T(a_common_factor_changes_nothing), T(nobody_believes_the_checks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
