/* SPDX-License-Identifier: MIT */
/* The limiter and the admission against a simulated datacenter: what they are to achieve,
 * over sizes, speeds and seeds. */
#include "datacenter_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define SEEDS 5

static struct sim sim;

/* Datacenters of 200 to 10,000 requests a second, of quick and slow answers. */
static const struct fleet {
	unsigned servers;
	double service_ms;
} fleets[] = { { 2, 10 }, { 8, 10 }, { 20, 5 }, { 50, 5 }, { 100, 100 }, { 300, 30 } };
#define FLEETS (sizeof(fleets) / sizeof(*fleets))

static double capacity(const struct fleet *f)
{
	return f->servers * 1000 / f->service_ms;
}

/* Core asks for `core` of what it carries, the other two for the rest of `times` of it. */
static void load(const struct fleet *f, double times, double core)
{
	const double part[] = { core * 0.6, core * 0.4, (times - core) * 0.6, (times - core) * 0.4 };
	unsigned i;

	for (i = 0; i < 4; i++)
		sim.feature[i].rate = capacity(f) * part[i];
	sim_rates(&sim, 1);
}

static double begin(const struct fleet *f, double times, double core, uint64_t seed)
{
	static const unsigned tier[] = { 0, 0, 1, 2 };
	unsigned i;

	sim_init(&sim, f->servers, seed);
	sim.admission = true;
	for (i = 0; i < 4; i++)
		sim_feature(&sim, tier[i], 0, f->service_ms);
	load(f, times, core);
	return capacity(f);
}

/* At seven tenths of what it carries core is never refused, and others hardly ever: by chance a
 * small one has ten requests waiting now and then. */
static void low_load_is_left_alone(void **state)
{
	unsigned i, seed, t;

	for (i = 0; i < FLEETS; i++) {
		for (seed = 1; seed <= SEEDS; seed++) {
			begin(&fleets[i], 0.7, 0.4, seed);
			sim_run(&sim, 60);
			for (t = 0; t < SIM_TIERS; t++)
				assert_true(sim_served(&sim, t) >= (t ? 0.99 : 0.9999));
		}
	}
}

static void say(const char *what, const struct fleet *f, unsigned seed)
{
	print_message("%s: %u servers, %g ms, seed %u: goodput %.3f, served %.4f %.4f %.4f, limits %g %g, usual %.1f ms, wait %.0f ms\n", what,
		      f->servers, f->service_ms, seed, sim_goodput(&sim) / capacity(f), sim_served(&sim, 0), sim_served(&sim, 1),
		      sim_served(&sim, 2), sim.limiter.bound[0].limit, sim.limiter.bound[1].limit, sim.limiter.usual[0] / SIM_MS,
		      sim.answers ? sim.wait_sum / (double)sim.answers / SIM_MS : 0);
}

/* For conditions that hold for every fleet and seed; all are tried before it fails. */
static unsigned broken;
#define HOLDS(what, condition) \
	do { \
		if (!(condition)) { \
			say(what ": " #condition, &fleets[i], seed); \
			broken++; \
		} \
	} while (0)

static void each(void (*scene)(unsigned i, unsigned seed))
{
	unsigned i, seed;

	broken = 0;
	for (i = 0; i < FLEETS; i++)
		for (seed = 1; seed <= SEEDS; seed++)
			scene(i, seed);
	assert_int_equal(broken, 0);
}

/* A fleet that has been well for a while, then is asked for `times` of what it carries. */
static void overload(unsigned i, unsigned seed, double times, double core)
{
	begin(&fleets[i], 0.6, 0.3, seed);
	sim.patience = 800 * SIM_MS;
	sim_run(&sim, 10);
	load(&fleets[i], times, core);
	sim_run(&sim, 2);
	sim_count_anew(&sim);
}

/* Nine tenths of what it carries is good, core does not notice but for a wait, and the
 * tier that matters least has nothing. */
static void three_times(unsigned i, unsigned seed)
{
	overload(i, seed, 3, 0.65);
	sim_run(&sim, 20);
	HOLDS("3x", sim_goodput(&sim) >= 0.9 * capacity(&fleets[i]));
	HOLDS("3x", sim_served(&sim, 0) >= 0.999);
	HOLDS("3x", sim_served(&sim, 1) > 0.05);
	HOLDS("3x", sim_served(&sim, 2) <= 0.02);
	HOLDS("3x", !sim.refused_under_lesser);
}

/* From the first moment: what queues before there is a limit is found early enough for all of
 * core to be answered in time, from whatever load it comes. */
static void onset_from(unsigned i, unsigned seed, double before)
{
	begin(&fleets[i], before, before / 2, seed);
	sim.patience = 800 * SIM_MS;
	sim.queue_most = SIM_SEC;
	sim_run(&sim, 10);
	sim_count_anew(&sim);
	load(&fleets[i], 3, 0.65);
	sim_run(&sim, 3);
	HOLDS("onset", !sim.late[0] && !sim.refused[0]);
	HOLDS("onset", sim_goodput(&sim) >= 0.9 * capacity(&fleets[i]));
}

static void onset(unsigned i, unsigned seed)
{
	onset_from(i, seed, 0.3);
	onset_from(i, seed, 0.6);
	onset_from(i, seed, 0.8);
}

/* More than eight times as much, but no more than it carries: no queue. */
static void more_is_no_overload(unsigned i, unsigned seed)
{
	begin(&fleets[i], 0.1, 0.05, seed);
	sim_run(&sim, 10);
	sim_count_anew(&sim);
	load(&fleets[i], 0.85, 0.4);
	sim_run(&sim, 5);
	HOLDS("surge", !sim.refused[0]);
	HOLDS("surge", sim_served(&sim, 1) >= 0.98);
	HOLDS("surge", sim_served(&sim, 2) >= 0.95);
}

/* Requests of one feature get no answer any more: what is under way grows, but not for the others. */
static void one_hangs(unsigned i, unsigned seed)
{
	begin(&fleets[i], 0.6, 0.3, seed);
	sim_run(&sim, 10);
	sim_count_anew(&sim);
	sim.feature[2].elsewhere = 30 * SIM_SEC;
	sim_run(&sim, 10);
	HOLDS("hangs", !sim.refused[0] && !sim.refused[1] && !sim.refused[2]);
	HOLDS("hangs", !degrade_limit_of(&sim.limiter, DEGRADE_LESSER));
}


/* All need ten times as long from now on. What queues by then has to go first, and is no
 * reason to let in more. (In smaller ones it takes too long for the clients.) */
static void collapse(unsigned i, unsigned seed)
{
	unsigned f;

	if (capacity(&fleets[i]) < 4000)
		return;
	overload(i, seed, 3, 0.65);
	sim_run(&sim, 8);
	for (f = 0; f < sim.features; f++)
		sim.feature[f].service *= 10;
	sim_run(&sim, 14);
	sim_count_anew(&sim);
	sim_run(&sim, 10);
	HOLDS("collapse", sim_goodput(&sim) >= 0.09 * capacity(&fleets[i]));
}

/* A thousand requests of a feature of this tier in a second, which hang. */
static void flood(unsigned tier)
{
	sim_feature(&sim, tier, 1000, 10)->hangs = 30 * SIM_SEC;
	sim_run(&sim, 1);
	sim.feature[4].rate = 0;
	sim_rates(&sim, 1);
}

/* While core is too much: what hangs takes no room from the others. */
static void hanging_flood(unsigned i, unsigned seed)
{
	overload(i, seed, 3, 1.5);
	sim_run(&sim, 8);
	flood(0);
	sim_run(&sim, 6);
	sim_count_anew(&sim);
	sim_run(&sim, 16);
	HOLDS("flood", sim_goodput(&sim) >= 0.85 * capacity(&fleets[i]));
	overload(i, seed, 3, 0.65);
	flood(1);
	sim_run(&sim, 4);
	sim_count_anew(&sim);
	sim_run(&sim, 10);
	HOLDS("lesser flood", sim_goodput(&sim) >= 0.9 * capacity(&fleets[i]));
	HOLDS("lesser flood", sim_served(&sim, 0) >= 0.999);
}

/* A feature of core hangs, two fifths of it, and goes on being asked for; then all that hangs is
 * served at once. */
static void core_hangs(unsigned i, unsigned seed)
{
	overload(i, seed, 3, 1.5);
	sim_run(&sim, 8);
	sim.feature[1].hangs = 3 * SIM_SEC;
	sim_run(&sim, 10);
	sim_count_anew(&sim);
	sim_run(&sim, 8);
	HOLDS("core hangs", sim_goodput(&sim) >= 0.9 * capacity(&fleets[i]));
	sim_hang_ends(&sim, 1);
	sim_run(&sim, 10);
	sim_count_anew(&sim);
	sim_run(&sim, 8);
	HOLDS("hang ends", sim_goodput(&sim) >= 0.8 * capacity(&fleets[i]));
}

/* Who follows a limiter that has died knows what hangs; and when nothing is answered any more,
 * nobody vouches for it. */
static void test_hanging_was(void **state)
{
	static const struct conf_overload c = { .wait_ms = 20, .core_wait_ms = 250, .core_floor = 2000 };
	struct degrade_traffic t = { .heads = { 10 }, .answers = { 10 }, .under_way = { 3, 0, 100 }, .in_flight = 103 };
	struct degrade_limiter l = { 0 };
	const bool hold[DEGRADE_BOUNDS] = { false };
	int64_t now = 1000 * (int64_t)SIM_SEC;
	uint64_t features;

	degrade_hanging_was(&l, 90, 1 << 2, now);
	now += 100 * SIM_MS;
	degrade_limit(&l, &c, &t, hold, now);
	assert_int_equal(degrade_hanging(&l, &features), 100);
	assert_int_equal(features, 1 << 2);
	t = (struct degrade_traffic){ .under_way = { 3, 0, 200 }, .in_flight = 203 };
	now += SIM_SEC;
	degrade_limit(&l, &c, &t, hold, now);
	assert_int_equal(degrade_hanging(&l, &features), DEGRADE_LIMIT_LEAST);
}

/* Nothing at all is answered: that lets in no more, but for as many as show whether it is. */
static void stall(unsigned i, unsigned seed)
{
	uint32_t worst = 0;
	unsigned n;

	overload(i, seed, 3, 1.5);
	sim_run(&sim, 8);
	sim_stall(&sim, 300);
	for (n = 0; n < 20; n++) {
		sim_run(&sim, 0.1);
		HOLDS("stall", !sim_hanging(&sim));
	}
	sim_run(&sim, 10);
	sim_stall(&sim, 5000);
	for (n = 0; n < 80; n++) {
		sim_run(&sim, 0.1);
		worst = sim_hanging(&sim) > worst ? sim_hanging(&sim) : worst;
	}
	HOLDS("stall", worst <= 4 * DEGRADE_LIMIT_LEAST);
}

/* Ever more is under way: a rush if answers go on coming, but not if nothing comes, for a while. */
static void nothing_goes_is_no_rush(void **state)
{
	struct conf_overload c = { .wait_ms = 20, .core_wait_ms = 250, .core_floor = 2000 };
	bool hold[DEGRADE_BOUNDS] = { false, false };
	uint32_t goes;
	unsigned n;

	for (goes = 0; goes <= 5; goes += 5) {
		struct degrade_limiter l = { 0 };
		struct degrade_traffic t = { .answers = { 20 }, .heads = { 20 }, .waited = { 20 * SIM_MS }, .under_way = { 1 }, .in_flight = 1 };
		int64_t now = SIM_SEC;

		for (n = 0; n < 200; n++) /* and a part of a window */
			degrade_limit(&l, &c, &t, hold, now += 50 * SIM_MS);
		for (n = 1; n <= 5; n++) {
			t = (struct degrade_traffic){ .answers = { goes }, .heads = { goes }, .waited = { goes * SIM_MS }, .under_way = { 50 * n },
						      .in_flight = 50 * n };
			degrade_limit(&l, &c, &t, hold, now += 50 * SIM_MS);
		}
		assert_int_equal(!degrade_limit_of(&l, DEGRADE_LESSER), !goes);
	}
}

/* Answers that take 20 seconds hang no more than others, and what is late and comes does not either. */
static void long_polls(unsigned i, unsigned seed)
{
	unsigned n;

	begin(&fleets[i], 0.6, 0.3, seed);
	sim_feature(&sim, 0, 1, 0)->elsewhere = 20 * SIM_SEC;
	sim_run(&sim, 50);
	load(&fleets[i], 3, 1.5);
	for (n = 0; n < 100; n++) {
		sim_run(&sim, 0.1);
		HOLDS("polls", !sim_hanging(&sim));
	}
}

/* Core alone is too much: still nine tenths, nothing for lesser tiers, and nearly always the
 * same users of core (few are turned away at the door). */
static void core_is_too_much(unsigned i, unsigned seed)
{
	overload(i, seed, 3, 1.5);
	sim_run(&sim, 8);
	sim_count_anew(&sim);
	sim_run(&sim, 20);
	HOLDS("core 1.5x", sim_goodput(&sim) >= 0.9 * capacity(&fleets[i]));
	HOLDS("core 1.5x", sim_served(&sim, 0) > 0.55);
	HOLDS("core 1.5x", sim_served(&sim, 1) <= 0.01);
	HOLDS("core 1.5x", sim_served(&sim, 2) <= 0.01);
	HOLDS("core 1.5x", !sim.refused_under_lesser);
}

/* The same without limits: all wait until nobody wants the answer any more. */
static void without_limits(unsigned i, unsigned seed)
{
	begin(&fleets[i], 0.6, 0.3, seed);
	sim.conf.wait_ms = 0;
	sim.admission = false;
	sim.patience = 800 * SIM_MS;
	sim_run(&sim, 10);
	load(&fleets[i], 3, 0.65);
	sim_run(&sim, 2);
	sim_count_anew(&sim);
	sim_run(&sim, 5);
	HOLDS("blind", sim_goodput(&sim) <= 0.05 * capacity(&fleets[i]));
}

/* Half of the servers go; then they return. */
static void capacity_goes_and_returns(unsigned i, unsigned seed)
{
	unsigned servers = fleets[i].servers;

	begin(&fleets[i], 0.8, 0.3, seed);
	sim.patience = 800 * SIM_MS;
	sim_run(&sim, 10);
	sim.servers = servers / 2;
	sim_run(&sim, 3);
	sim_count_anew(&sim);
	sim_run(&sim, 10);
	HOLDS("half", sim_goodput(&sim) >= 0.43 * capacity(&fleets[i]));
	HOLDS("half", sim_served(&sim, 0) >= 0.999);
	memset(sim.free_at, 0, sizeof(sim.free_at));
	sim.servers = servers;
	sim_run(&sim, 5);
	sim_count_anew(&sim);
	sim_run(&sim, 10);
	HOLDS("back", sim_served(&sim, 1) >= 0.97);
	HOLDS("back", sim_served(&sim, 2) >= 0.9);
}

/* Demand falls: within a few seconds nobody is refused, soon there is no limit. */
static void demand_falls(unsigned i, unsigned seed)
{
	overload(i, seed, 3, 0.65);
	sim_run(&sim, 10);
	load(&fleets[i], 0.5, 0.2);
	sim_run(&sim, 3);
	sim_count_anew(&sim);
	sim_run(&sim, 20);
	HOLDS("after", sim_served(&sim, 0) >= 0.9999);
	HOLDS("after", sim_served(&sim, 1) >= 0.995);
	HOLDS("after", sim_served(&sim, 2) >= 0.995);
	HOLDS("after", !degrade_limit_of(&sim.limiter, DEGRADE_LESSER) && !degrade_limit_of(&sim.limiter, DEGRADE_CORE));
	HOLDS("after", !sim.admit.level);
}

/* Everything needs ten times as long elsewhere (a database): no queue of ours, so it must
 * not be starved for long. */
static void slower_by_itself(unsigned i, unsigned seed)
{
	unsigned f;

	begin(&fleets[i], 0.6, 0.3, seed);
	sim_run(&sim, 10);
	for (f = 0; f < sim.features; f++)
		sim.feature[f].elsewhere = 10 * sim.feature[f].service;
	sim_run(&sim, 60);
	sim_count_anew(&sim);
	sim_run(&sim, 20);
	HOLDS("slower", sim_served(&sim, 0) >= 0.999);
	HOLDS("slower", sim_served(&sim, 1) >= 0.99);
	HOLDS("slower", sim_served(&sim, 2) >= 0.99);
}

/* One feature answers 503 whatever comes, another has become slow: the rest is untouched. */
static void one_is_broken(unsigned i, unsigned seed)
{
	begin(&fleets[i], 0.6, 0.3, seed);
	sim_run(&sim, 10);
	sim.feature[3].broken = true;
	sim.feature[2].elsewhere = 500 * SIM_MS;
	sim.feature[2].rate /= 2;
	sim.feature[0].rate *= 1.5;
	sim_run(&sim, 5);
	sim_count_anew(&sim);
	sim_run(&sim, 20);
	HOLDS("broken", sim_served(&sim, 0) >= 0.9999);
	HOLDS("broken", sim_served(&sim, 1) >= 0.999);
	HOLDS("broken", sim_served(&sim, 2) >= 0.999);
}

/* A tenth of the answers takes long, features differ by a factor of twenty, and the mix moves. */
static void mixed(unsigned i, unsigned seed)
{
	unsigned k;

	begin(&fleets[i], 0.6, 0.3, seed);
	sim.feature[0].slow_part = 0.1;
	sim.feature[0].slow = 20 * sim.feature[0].service;
	sim.feature[2].elsewhere = 20 * sim.feature[2].service;
	sim_run(&sim, 30);
	for (k = 0; k < 4; k++) {
		sim.feature[2].rate *= k % 2 ? 0.25 : 4;
		sim.feature[1].rate *= k % 2 ? 1.5 : 1 / 1.5;
		load(&fleets[i], 0.6, 0.2 + 0.1 * k);
		sim_run(&sim, 10);
	}
	HOLDS("mixed", sim_served(&sim, 0) >= 0.9999);
	HOLDS("mixed", sim_served(&sim, 1) >= 0.97);
	HOLDS("mixed", sim_served(&sim, 2) >= 0.97);
}

/* Servers that reject what would wait for longer than 50 ms: latency says nothing, their
 * word does. */
static void rejecting(unsigned i, unsigned seed)
{
	begin(&fleets[i], 0.6, 0.3, seed);
	sim.queue_most = 50 * SIM_MS;
	sim_run(&sim, 10);
	load(&fleets[i], 3, 0.65);
	sim_run(&sim, 4);
	sim_count_anew(&sim);
	sim_run(&sim, 20);
	HOLDS("rejects", sim_goodput(&sim) >= 0.85 * capacity(&fleets[i]));
	HOLDS("rejects", (double)sim.good[0] >= 0.9 * (double)sim.asked[0]);
	HOLDS("rejects", sim_served(&sim, 2) <= 0.1);
	HOLDS("rejects", !sim.refused_under_lesser);
}

#define SCENE(name) \
	static void test_##name(void **state) { each(name); }
SCENE(three_times)
SCENE(onset)
SCENE(more_is_no_overload)
SCENE(one_hangs)
SCENE(core_is_too_much)
SCENE(collapse)
SCENE(hanging_flood)
SCENE(core_hangs)
SCENE(stall)
SCENE(long_polls)
SCENE(without_limits)
SCENE(capacity_goes_and_returns)
SCENE(demand_falls)
SCENE(slower_by_itself)
SCENE(one_is_broken)
SCENE(mixed)
SCENE(rejecting)

/* A lesser tier's room ends first, whatever the limits. */
static void room(void **state)
{
	uint64_t seed = 7;
	unsigned n, t;

	for (n = 0; n < 200000; n++) {
		uint32_t limit[DEGRADE_BOUNDS] = { cases_below(&seed, 3) ? cases_below(&seed, 2000) : 0, cases_below(&seed, 3) ? cases_below(&seed, 2000) : 0 };
		uint32_t in_flight = cases_below(&seed, 2200);
		uint16_t floor = (uint16_t)cases_below(&seed, 9001);

		for (t = 1; t < CONF_MAX_TIERS; t++)
			assert_true(degrade_room(limit, t - 1, floor, in_flight) || !degrade_room(limit, t, floor, in_flight));
		if (limit[DEGRADE_LESSER])
			assert_false(degrade_room(limit, 1, floor, limit[DEGRADE_LESSER] - limit[DEGRADE_LESSER] * floor / DEGRADE_FULL));
		/* The floor is of the first tier's limit too, also where the others have a greater one, or none. */
		if (limit[DEGRADE_CORE])
			assert_false(degrade_room(limit, 1, floor, limit[DEGRADE_CORE] - limit[DEGRADE_CORE] * floor / DEGRADE_FULL));
		if (!limit[DEGRADE_CORE])
			assert_true(degrade_room(limit, 0, floor, in_flight));
	}
}

/* Fewer than the least are never kept from the first tier; random evidence never makes a
 * limit that is none. */
static void bounds(void **state)
{
	static struct degrade_limiter l;
	struct conf_overload c = { .wait_ms = 20, .core_wait_ms = 250, .core_floor = 2000 };
	uint64_t seed = 11;
	int64_t now = 1;
	bool hold[DEGRADE_BOUNDS] = { false, false };
	unsigned n, f, b, limited = 0;

	for (n = 0; n < 200000; n++) {
		struct degrade_traffic t = { .in_flight = cases_below(&seed, 4) ? cases_below(&seed, 100) : cases_below(&seed, 100000) };

		for (f = 0; f < 5; f++) {
			t.answers[f] = cases_below(&seed, 3) ? cases_below(&seed, 50) : 0;
			t.rejects[f] = cases_below(&seed, 8) ? 0 : cases_below(&seed, 100);
			t.waited[f] = (uint64_t)t.answers[f] * cases_below(&seed, 1000) * cases_below(&seed, 1000000);
		}
		hold[0] = !cases_below(&seed, 10);
		t.full[0] = cases_below(&seed, 2);
		t.full[1] = cases_below(&seed, 2);
		now += cases_below(&seed, 300) * 1000000LL;
		degrade_limit(&l, &c, &t, hold, now);
		for (b = 0; b < DEGRADE_BOUNDS; b++) {
			uint32_t limit = degrade_limit_of(&l, (enum degrade_bound)b);

			limited += limit > 0;
			assert_true(!limit || (limit >= DEGRADE_LIMIT_LEAST && limit <= 1500000));
		}
	}
	assert_true(limited > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(low_load_is_left_alone),
		cmocka_unit_test(test_three_times),
		cmocka_unit_test(test_onset),
		cmocka_unit_test(test_more_is_no_overload),
		cmocka_unit_test(test_one_hangs),
		cmocka_unit_test(test_core_is_too_much),
		cmocka_unit_test(test_collapse),
		cmocka_unit_test(test_hanging_flood),
		cmocka_unit_test(test_core_hangs),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(nothing_goes_is_no_rush),
		cmocka_unit_test(test_hanging_was),
		cmocka_unit_test(test_long_polls),
		cmocka_unit_test(test_without_limits),
		cmocka_unit_test(test_capacity_goes_and_returns),
		cmocka_unit_test(test_demand_falls),
		cmocka_unit_test(test_slower_by_itself),
		cmocka_unit_test(test_one_is_broken),
		cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_rejecting),
		cmocka_unit_test(room),
		cmocka_unit_test(bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
