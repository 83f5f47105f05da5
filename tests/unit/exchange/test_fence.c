/* SPDX-License-Identifier: MIT */
/* The table of the read fence: whose fence is found, for how long, and who makes room. */
#include "../../../src/exchange/fence.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define NOW UINT64_C(1000000)

static struct board *board;
static uint32_t pangyo, anyang;

static int setup(void **state)
{
	board = board_create(3);
	pangyo = fence_place("pangyo");
	anyang = fence_place("anyang");
	return !board || pangyo == anyang;
}

static int teardown(void **state)
{
	board_destroy(board);
	return 0;
}

/* A write seen by a worker. */
static bool put(unsigned worker, uint64_t user, uint32_t place, uint64_t until, uint64_t version)
{
	return fence_put(board_worker(board, worker), user, &(struct fence){ until, version, place }, place == anyang, NOW);
}

static void stands_for_its_user_and_time(void **state)
{
	struct fence f;

	assert_false(fence_find(board, 7, NOW, &f));
	assert_false(put(0, 7, anyang, NOW + 2000, 55));
	assert_true(fence_find(board, 7, NOW, &f));
	assert_true(f.place == anyang && f.version == 55 && f.until == NOW + 2000);
	assert_true(fence_find(board, 7, NOW + 1999, &f));
	assert_false(fence_find(board, 7, NOW + 2000, &f));
	assert_false(fence_find(board, 8, NOW, &f));
	assert_false(fence_find(board, 7 + BOARD_FENCE_SETS, NOW, &f)); /* of the same set */
}

static void the_last_write_counts(void **state)
{
	struct fence f;

	put(0, 7, anyang, NOW + 1000, 1);
	put(0, 7, pangyo, NOW + 1500, 2);
	assert_true(fence_find(board, 7, NOW, &f));
	assert_true(f.place == pangyo && f.version == 2);
	put(2, 7, anyang, NOW + 1600, 3); /* through another worker */
	put(1, 7, pangyo, NOW + 1550, 4);
	assert_true(fence_find(board, 7, NOW, &f));
	assert_true(f.place == anyang && f.version == 3);
}

static void who_ends_first_makes_room(void **state)
{
	struct fence f;
	uint64_t i;

	for (i = 0; i < BOARD_FENCE_WAYS; i++)
		assert_false(put(0, 7 + i * BOARD_FENCE_SETS, anyang, NOW + 100 + i, i));
	assert_false(put(0, 7, anyang, NOW + 900, 9)); /* his own again */
	assert_true(put(0, 7 + 9 * BOARD_FENCE_SETS, anyang, NOW + 200, 0));
	assert_true(fence_find(board, 7, NOW, &f));
	assert_int_equal(f.until, NOW + 900); /* nobody's became longer or another's */
	assert_false(fence_find(board, 7 + BOARD_FENCE_SETS, NOW, &f));
	assert_true(fence_find(board, 7 + 2 * BOARD_FENCE_SETS, NOW, &f));
	assert_int_equal(f.until, NOW + 102);
	/* One that is over is no loss. */
	assert_false(fence_put(board_worker(board, 0), 7 + 10 * BOARD_FENCE_SETS, &(struct fence){ NOW + 5000, 0, pangyo }, false, NOW + 150));
}

static void known_when_any_is_away(void **state)
{
	assert_false(fence_any_away(board, NOW));
	put(0, 7, pangyo, NOW + 5000, 0);
	assert_false(fence_any_away(board, NOW));
	put(1, 8, anyang, NOW + 2000, 0);
	put(1, 9, anyang, NOW + 1000, 0); /* does not shorten it */
	assert_true(fence_any_away(board, NOW + 1999));
	assert_false(fence_any_away(board, NOW + 2000));
}

static void versions_of_this_configuration(void **state)
{
	struct board_worker *w = board_worker(board, 2);

	w->generation = 4;
	w->reached[1] = 100;
	assert_true(fence_reached(board, 4, 1, 100));
	assert_false(fence_reached(board, 4, 1, 101));
	assert_false(fence_reached(board, 4, 0, 1));
	assert_false(fence_reached(board, 5, 1, 100)); /* there 1 may be another datacenter */
}

static void write_for_ever(void)
{
	uint64_t i, user;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that failed leaves nobody */
	for (i = 0;; i++) {
		user = 7 + i % 6 * BOARD_FENCE_SETS; /* more than fit */
		fence_put(board_worker(board, 1), user, &(struct fence){ NOW + 1 + i, user, (uint32_t)user }, false, NOW);
	}
}

/* Another process writes into one set all the time, and is killed. What is found is always the
 * user's own. */
static void a_writer_at_work_is_never_misread(void **state)
{
	uint64_t i, user, found = 0, wrong = 0;
	struct fence f;
	pid_t writer = fork();
	int status;

	assert_true(writer >= 0);
	if (!writer)
		write_for_ever();
	for (i = 0; i < 300000 || !found; i++) {
		user = 7 + i % 6 * BOARD_FENCE_SETS;
		if (!fence_find(board, user, NOW, &f))
			continue;
		found++;
		wrong += f.version != user || f.place != user;
	}
	kill(writer, SIGKILL);
	waitpid(writer, &status, 0);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(stands_for_its_user_and_time), T(the_last_write_counts), T(who_ends_first_makes_room), T(known_when_any_is_away),
		T(versions_of_this_configuration), T(a_writer_at_work_is_never_misread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
