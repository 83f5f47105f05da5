/* SPDX-License-Identifier: MIT */
/* From the workers' totals to what the limits and the admission are told, and from these to the board. */
#include "../../../src/control/ctl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "doubles.h"
#include "firebreak/clock.h"
#include "firebreak/log.h"

#define WORKERS 4

static int64_t now;
static struct net_loop *loop;
static struct board *board;
static struct ctl *ctl;

static struct conf *conf(struct conf *c)
{
	c->overload = (struct conf_overload){ .wait_ms = 50, .core_wait_ms = 100, .core_floor = 2000 };
	return c;
}

static void start_with(struct conf *c)
{
	struct ctl_args args = { .board = board, .conf = c, .admin_fd = -1, .command_fd = -1 };

	ctl = ctl_create(&args, loop);
	assert_non_null(ctl);
}

static void tick(void)
{
	now += CTL_TICK_MS * CLOCK_MS;
	clock_fake(now, now);
	ctl_tick(ctl);
}

static void ticks(int n)
{
	while (n--)
		tick();
}

static struct degrade_live published(void)
{
	struct board_live live = { 0 };

	assert_true(board_read(board, &live));
	return live.degrade;
}

static int setup(void **state)
{
	unsigned i;

	log_open(LOG_EVENTS, "off");
	now = 1000 * CLOCK_SEC;
	clock_fake(now, now);
	test_probe_reset();
	loop = net_loop_create();
	board = board_create(WORKERS);
	for (i = 0; i < WORKERS; i++) {
		board_worker(board, i)->pid = 100 + (int)i;
		board_worker(board, i)->generation = 1;
	}
	start_with(conf(test_conf(NULL)));
	return 0;
}

static int teardown(void **state)
{
	ctl_destroy(ctl);
	net_loop_turn(loop, 0);
	net_loop_destroy(loop);
	board_destroy(board);
	return test_confs != 0;
}

/* A worker counts, every word by another number, all of them times n; rejects are too few for an overload. */
static void count(unsigned worker, unsigned n)
{
	struct board_load *l = &board_worker(board, worker)->load;
	unsigned d, f, t;

	for (d = 0; d < 2; d++) {
		l->in_flight[d] = n * (d + 1);
		l->full[d][DEGRADE_LESSER] += n * (d + 2);
		l->full[d][DEGRADE_CORE] += n * (d + 4);
		for (f = 0; f < 5; f++) {
			l->of[d][f].answers += n * (1000 * d + 100 * f + 100);
			l->of[d][f].heads += n * (1000 * d + 100 * f + 50);
			l->of[d][f].rejects += n * (d + f);
			l->of[d][f].waited += (uint64_t)n * (1000 * d + 100 * f + 100) * 1000;
		}
	}
	for (t = 0; t < 3; t++) {
		l->asked[t] += n * (t + 10);
		l->cut[t] += n * (t + 1);
		l->turned[t] += n * (t + 2);
	}
}

/* The last tick was told what workers counted n times. */
static void told(unsigned n)
{
	const struct overload *o = &ctl->overload;
	unsigned d, f, t;

	for (d = 0; d < 2; d++) {
		assert_int_equal(o->traffic[d].full[DEGRADE_LESSER], n * (d + 2));
		assert_int_equal(o->traffic[d].full[DEGRADE_CORE], n * (d + 4));
		for (f = 0; f < 5; f++) {
			assert_int_equal(o->traffic[d].answers[f], n * (1000 * d + 100 * f + 100));
			assert_int_equal(o->traffic[d].heads[f], n * (1000 * d + 100 * f + 50));
			assert_int_equal(o->traffic[d].rejects[f], n * (d + f));
			assert_int_equal(o->traffic[d].waited[f], n * (1000 * d + 100 * f + 100) * 1000);
		}
	}
	for (t = 0; t < 3; t++) {
		assert_int_equal(o->demand.asked[t], n * (t + 10));
		assert_int_equal(o->demand.cut[t], n * (t + 1));
		assert_int_equal(o->demand.turned[t], n * (t + 2));
	}
	assert_int_equal(o->demand.answered, n * 8000);
}

/* Of all workers what each has counted since the last look; of one that is new, is another
 * process, or has another configuration, nothing yet. */
static void what_workers_counted_is_added_up(void **state)
{
	count(0, 1);
	count(1, 2);
	tick();
	told(0);
	assert_int_equal(ctl->overload.traffic[0].in_flight, 3); /* now, not since */
	assert_int_equal(ctl->overload.traffic[1].in_flight, 6);
	count(0, 1);
	count(1, 2);
	tick();
	told(3);
	tick();
	told(0);
	assert_int_equal(ctl->overload.traffic[1].in_flight, 6);
	board_worker(board, 0)->generation = 2;
	count(0, 1);
	count(1, 2);
	tick();
	told(2);
	assert_int_equal(ctl->overload.traffic[1].in_flight, 4);
	board_worker(board, 0)->generation = 1;
	board_worker(board, 1)->pid = 200; /* replaced, and soon ahead of who was there before */
	board_worker(board, 1)->load = (struct board_load){ 0 };
	count(0, 1);
	count(1, 20);
	tick();
	told(2); /* all that worker 0 has counted since it was looked at */
	board_worker(board, 1)->load = (struct board_load){ 0 };
	tick();
	told(0); /* less than before */
	board_worker(board, 0)->pid = 0;
	count(0, 1);
	count(1, 2);
	tick();
	told(2);
}

/* Seen in the middle of a request: more turned away than asked for. */
static void nonsense_is_cut(void **state)
{
	struct board_load *l = &board_worker(board, 0)->load;

	tick();
	l->asked[0] += 10;
	l->turned[0] += 12;
	l->asked[1] += 10;
	l->cut[1] += 12;
	l->asked[2] += 10;
	l->cut[2] += 4;
	l->turned[2] += 7;
	tick();
	assert_int_equal(ctl->overload.demand.turned[0], 10);
	assert_int_equal(ctl->overload.demand.cut[1], 10);
	assert_int_equal(ctl->overload.demand.turned[1], 0);
	assert_int_equal(ctl->overload.demand.turned[2], 6);
}

/* Rejects are requests turned away while they are so many that the datacenter is overloaded. */
static void rejects_are_turned_away(void **state)
{
	struct board_load *l = &board_worker(board, 0)->load;
	int i;

	for (i = 0; i < 4; i++) {
		l->asked[2] += 100;
		l->of[0][3].answers += 60;
		l->of[0][3].rejects += 40;
		l->of[1][3].answers += 99;
		l->of[1][3].rejects += 1; /* one in a hundred is no overload */
		tick();
	}
	assert_int_equal(ctl->overload.demand.turned[2], 40);
	assert_int_equal(ctl->overload.demand.turned[0] + ctl->overload.demand.turned[1], 0);
	assert_int_equal(ctl->overload.demand.answered, 159);
}

/* Answers of one datacenter come late: it is limited, the other is not. Whoever takes over goes
 * on with the limit; one that keeps nobody out ends. */
static void a_late_datacenter_is_limited(void **state)
{
	struct board_load *l = &board_worker(board, 0)->load;
	unsigned d, limit, core;
	int i;

	for (i = 0; i < 40; i++) {
		for (d = 0; d < 2; d++) {
			l->in_flight[d] = i < 20 || !d ? 10 : 200;
			l->of[d][2].answers += 50;
			l->of[d][2].waited += 50 * (i < 20 || !d ? 10 : 400) * (uint64_t)CLOCK_MS;
		}
		tick();
		if (i == 19)
			assert_int_equal(published().limit[1][DEGRADE_LESSER], 0);
	}
	limit = published().limit[1][DEGRADE_LESSER];
	core = published().limit[1][DEGRADE_CORE];
	assert_true(limit > 0 && core > 0);
	assert_int_equal(published().limit[0][DEGRADE_LESSER] + published().limit[0][DEGRADE_CORE], 0);
	ctl_destroy(ctl);
	now += CLOCK_SEC;
	clock_fake(now, now);
	start_with(conf(test_conf(NULL)));
	assert_int_equal(published().limit[1][DEGRADE_LESSER], limit);
	ticks(50);
	assert_int_equal(published().limit[1][DEGRADE_LESSER], limit);
	assert_int_equal(published().limit[1][DEGRADE_CORE], core);
	ticks(70);
	assert_int_equal(published().limit[1][DEGRADE_LESSER] + published().limit[1][DEGRADE_CORE], 0);
}

/* Of one feature nothing is answered, of another something is: what hangs is on the board, of
 * that datacenter; a reload begins anew. */
static void what_hangs_is_told(void **state)
{
	struct board_load *l = &board_worker(board, 0)->load;
	int i;

	l->under_way[1][2] = l->in_flight[1] = 100;
	for (i = 0; i < 30; i++) {
		l->of[1][0].answers += 10;
		l->of[1][0].heads += 10;
		l->of[1][2].answers += 3; /* given up */
		l->of[1][2].waited += 3 * (uint64_t)CLOCK_MS;
		tick();
		if (i == 18)
			assert_int_equal(published().hanging[1], 0);
	}
	assert_int_equal(published().hanging[0], 0);
	assert_int_equal(published().hanging[1], 100);
	assert_int_equal(published().hangs[1], 1 << 2);
	ctl_configure(ctl, conf(test_conf_reordered(NULL)));
	assert_int_equal(published().hanging[0] + published().hanging[1], 0);
}

/* A reload: what is known stays with its names. */
static void a_reload_goes_by_name(void **state)
{
	struct degrade_limiter *l = ctl->overload.limiter;

	l[1].bound[DEGRADE_CORE] = (struct degrade_bounded){ .limit = 30, .used = now };
	l[1].usual[0] = 5e6; /* send, which becomes the third */
	l[1].known[0] = 77;
	l[0].usual[3] = 9e6; /* shop, which goes */
	l[0].known[3] = 88;
	ctl_configure(ctl, conf(test_conf_reordered(NULL)));
	assert_int_equal(published().limit[0][DEGRADE_CORE], 30); /* b is the first now */
	assert_int_equal(published().limit[1][DEGRADE_CORE], 0);
	assert_true(l[0].usual[2] == 5e6 && l[0].known[2] == 77);
	assert_true(l[0].usual[0] == 0 && l[0].known[0] == 0);
	assert_true(l[1].usual[3] == 0 && l[1].known[3] == 0);
}

/* More than fits: the last tier's share falls, on the board by feature; nothing of it where
 * overload control is off. */
static void who_is_let_in(void **state)
{
	struct board_load *l = &board_worker(board, 0)->load;
	struct conf *off = conf(test_conf(NULL));
	int i;

	for (i = 0; i < 11; i++) {
		l->asked[0] += 100;
		l->asked[1] += 100;
		l->asked[2] += 100;
		l->turned[2] += i ? 60 : 0;
		l->of[0][0].answers += 240;
		tick();
	}
	assert_int_equal(published().share[0], DEGRADE_FULL);
	assert_int_equal(published().share[1], DEGRADE_FULL);
	assert_int_equal(published().share[2], DEGRADE_FULL);
	assert_in_range(published().share[3], 1000, 9000);
	assert_int_equal(published().share[3], published().share[4]);
	assert_in_range(published().overload, 1, 5000);
	off->overload.wait_ms = 0;
	ctl_configure(ctl, off);
	for (i = 0; i < 11; i++) {
		l->asked[2] += 100;
		l->turned[2] += 60;
		tick();
	}
	assert_int_equal(published().share[3], DEGRADE_FULL);
	assert_int_equal(published().overload, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(what_workers_counted_is_added_up), T(nonsense_is_cut), T(rejects_are_turned_away), T(a_late_datacenter_is_limited),
		T(what_hangs_is_told), T(a_reload_goes_by_name), T(who_is_let_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
