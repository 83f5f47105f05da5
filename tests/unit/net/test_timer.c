/* SPDX-License-Identifier: MIT */
/* The wheel under a fake clock: against a list of deadlines too simple to be wrong. */
#include "net_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "firebreak/clock.h"
#include "../../../src/net/net_private.h"

#define SLOT (2 * CLOCK_MS)
#define START (INT64_C(1234567) * CLOCK_SEC + 12345)

static struct net_loop *loop;
static int64_t now;
static int fired;

struct probe {
	struct net_timer timer;
	int64_t deadline, fired_at, again;
	struct net_timer *other;
};

static void on_fire(struct net_timer *t)
{
	struct probe *p = list_entry(t, struct probe, timer);

	assert_int_equal(t->deadline, 0);
	p->fired_at = now;
	fired++;
	if (p->other)
		net_timer_disarm(p->other);
	if (p->again)
		net_timer_arm(loop, t, now + p->again);
}

static void advance(int64_t to)
{
	now = to;
	clock_fake(now, now);
	net_loop_turn(loop, 0);
}

static int setup(void **state)
{
	now = START;
	clock_fake(now, now);
	fired = 0;
	loop = net_loop_create();
	return loop ? 0 : -1;
}

static int teardown(void **state)
{
	net_loop_destroy(loop);
	return 0;
}

static void fires_once_at_its_time(void **state)
{
	static const int64_t delays[] = { 0, 1, SLOT - 1, SLOT, SLOT + 1, 63 * SLOT, 64 * SLOT, 65 * SLOT, 100 * CLOCK_SEC,
					  4096 * SLOT, 4097 * SLOT, 3600 * CLOCK_SEC, 100 * 86400 * CLOCK_SEC };
	struct probe p;
	int64_t base;
	size_t i;

	for (i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		p = (struct probe){ 0 };
		net_timer_init(&p.timer, on_fire);
		base = now;
		net_timer_arm(loop, &p.timer, base + delays[i]);
		fired = 0;
		if (delays[i] > 1) {
			advance(base + delays[i] - 1);
			assert_int_equal(fired, 0); /* never early */
		}
		advance(base + delays[i] + 2 * SLOT);
		assert_int_equal(fired, 1);
		advance(base + delays[i] + 200 * CLOCK_SEC);
		assert_int_equal(fired, 1);
	}
}

#define MANY 3000

static void agrees_with_a_list(void **state)
{
	static struct probe p[MANY];
	int i, round, due;
	int64_t step;

	srand(7);
	for (i = 0; i < MANY; i++) {
		p[i] = (struct probe){ 0 };
		net_timer_init(&p[i].timer, on_fire);
	}
	for (round = 0; round < 400; round++) {
		for (i = 0; i < 40; i++) {
			struct probe *q = &p[rand() % MANY];

			if (rand() % 4 == 0) {
				net_timer_disarm(&q->timer);
				q->deadline = 0;
			} else {
				q->deadline = now + (int64_t)(rand() % 1000) * CLOCK_MS * (rand() % 3 ? 1 : 400);
				net_timer_arm(loop, &q->timer, q->deadline);
			}
			q->fired_at = 0;
		}
		step = (rand() % 8 == 0 ? 3000 : rand() % 40) * CLOCK_MS;
		advance(now + step);
		for (due = 0, i = 0; i < MANY; i++) {
			if (!p[i].deadline)
				continue;
			if (p[i].fired_at) {
				assert_true(p[i].fired_at == now);
				assert_true(p[i].deadline <= now);
				p[i].deadline = p[i].fired_at = 0;
				due++;
			} else {
				assert_true(p[i].deadline > now - 2 * SLOT); /* not forgotten */
			}
		}
	}
}

static void disarms_a_neighbour_that_is_due_too(void **state)
{
	struct probe a = { 0 }, b = { 0 };

	net_timer_init(&a.timer, on_fire);
	net_timer_init(&b.timer, on_fire);
	a.other = &b.timer;
	net_timer_arm(loop, &a.timer, now + SLOT);
	net_timer_arm(loop, &b.timer, now + SLOT);
	advance(now + 10 * SLOT);
	assert_int_equal(fired, 1);
	assert_int_equal(b.fired_at, 0);
}

static void rearms_itself_once_per_turn(void **state)
{
	struct probe p = { .again = 1 };

	net_timer_init(&p.timer, on_fire);
	net_timer_arm(loop, &p.timer, now + SLOT);
	advance(now + 10 * CLOCK_SEC); /* the process was stopped for a while */
	assert_int_equal(fired, 1);
	advance(now + 2 * SLOT);
	assert_int_equal(fired, 2);
	net_timer_disarm(&p.timer);
	net_timer_disarm(&p.timer);
	advance(now + 10 * CLOCK_SEC);
	assert_int_equal(fired, 2);
}

/* A process with only a far timer does not wake every slot. */
static void sleeps_with_far_timers(void **state)
{
	struct probe p = { 0 };
	int64_t at, end = now + 3600 * CLOCK_SEC;
	int wakes = 0;

	assert_true(wheel_next(&loop->wheel) == INT64_MAX);
	net_timer_init(&p.timer, on_fire);
	net_timer_arm(loop, &p.timer, end);
	while (!fired) {
		at = wheel_next(&loop->wheel);
		assert_true(at > now && at < end + SLOT);
		advance(at);
		wakes++;
	}
	assert_true(wakes <= WHEEL_LEVELS);
	assert_true(wheel_next(&loop->wheel) == INT64_MAX);
}

static int hooks;

static void on_hook(void *arg)
{
	if (++hooks == 2)
		net_loop_again(arg);
	if (hooks == 4)
		net_loop_stop(arg);
}

/* net_loop_again: the turn after does not wait; a stopped loop does not either. */
static void again_does_not_wait(void **state)
{
	net_loop_hook(loop, on_hook, loop);
	net_loop_turn(loop, 0);
	net_loop_turn(loop, 0);
	net_loop_turn(loop, 600000); /* would hang the test */
	assert_int_equal(hooks, 3);
	net_loop_again(loop);
	net_loop_run(loop);
	assert_int_equal(hooks, 4);
}

#define SOCKETS 200

static int heard;

static void on_octet(void *fd)
{
	char c;

	assert_int_equal(read(*(int *)fd, &c, 1), 1);
	heard++;
}

static void on_judgement(struct net_timer *t)
{
	assert_int_equal(heard, SOCKETS);
	fired++;
}

/* After a pause everybody's time is over. What came during it is read first, however much. */
static void a_pause_is_not_held_against_anybody(void **state)
{
	struct net_watch *watch[SOCKETS];
	struct net_timer timer;
	int fd[SOCKETS][2], i;

	heard = fired = 0;
	for (i = 0; i < SOCKETS; i++) {
		assert_int_equal(pipe2(fd[i], O_CLOEXEC), 0);
		watch[i] = net_watch(loop, fd[i][0], on_octet, &fd[i][0]);
		assert_non_null(watch[i]);
	}
	net_timer_init(&timer, on_judgement);
	net_timer_arm(loop, &timer, now + CLOCK_SEC);
	advance(now + SLOT);
	for (i = 0; i < SOCKETS; i++)
		assert_int_equal(write(fd[i][1], "x", 1), 1);
	advance(now + 20 * CLOCK_SEC);
	assert_int_equal(fired, 1);
	for (i = 0; i < SOCKETS; i++) {
		net_unwatch(watch[i]);
		close(fd[i][0]);
		close(fd[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(fires_once_at_its_time, setup, teardown),
		cmocka_unit_test_setup_teardown(agrees_with_a_list, setup, teardown),
		cmocka_unit_test_setup_teardown(disarms_a_neighbour_that_is_due_too, setup, teardown),
		cmocka_unit_test_setup_teardown(rearms_itself_once_per_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(sleeps_with_far_timers, setup, teardown),
		cmocka_unit_test_setup_teardown(again_does_not_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pause_is_not_held_against_anybody, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
