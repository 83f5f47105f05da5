/* SPDX-License-Identifier: MIT */
#include "firebreak/board.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

/* A publication whose every part tells which one it is. */
static void fill(struct board_live *live, uint64_t n)
{
	memset(live, 0, sizeof(*live));
	live->generation = n;
	memset(live->degrade.word, (int)(n & 0xff), sizeof(live->degrade.word));
	memset(live->dc.endpoint_state, (int)(n & 0xff), sizeof(live->dc.endpoint_state));
	memset(live->dc.share, (int)(n & 0xff), sizeof(live->dc.share));
}

static void assert_whole(const struct board_live *live)
{
	struct board_live want;

	fill(&want, live->generation);
	want.version = live->version;
	assert_memory_equal(live, &want, sizeof(want));
}

static void reads_what_was_published_once(void **state)
{
	struct board *b = board_create(2);
	struct board_live live, got = { 0 };

	assert_false(board_read(b, &got));
	assert_int_equal(board_version(b), 0);
	fill(&live, 7);
	live.version = 99; /* not looked at */
	board_publish(b, &live);
	assert_true(board_read(b, &got));
	assert_int_equal(got.version, 1);
	assert_int_equal(got.generation, 7);
	assert_whole(&got);
	assert_false(board_read(b, &got));
	board_publish(b, &live);
	assert_true(board_read(b, &got));
	assert_int_equal(got.version, board_version(b));
	board_destroy(b);
	board_destroy(NULL);
}

static void parts_do_not_overlap(void **state)
{
	struct board *b;
	struct board_live live, got = { 0 };
	unsigned i;

	assert_null(board_create(0));
	assert_null(board_create(CONF_MAX_WORKERS + 1));
	b = board_create(3);
	assert_int_equal(board_workers(b), 3);
	assert_null(board_worker(b, 3));
	fill(&live, 1);
	board_publish(b, &live);
	memset(board_control_tm(b), 0xee, sizeof(struct tm_worker));
	atomic_store(board_control_pid(b), 4711);
	for (i = 0; i < 3; i++)
		memset(board_worker(b, i), (int)(0x10 + i), sizeof(struct board_worker));
	for (i = 0; i < 3; i++) {
		assert_int_equal(((uint8_t *)board_worker(b, i))[0], 0x10 + i);
		assert_int_equal(((uint8_t *)board_worker(b, i))[sizeof(struct board_worker) - 1], 0x10 + i);
		assert_int_equal((uintptr_t)board_worker(b, i) % 64, 0);
	}
	assert_int_equal(atomic_load(board_control_pid(b)), 4711);
	assert_true(board_read(b, &got));
	assert_whole(&got);
	board_destroy(b);
}

/* A new configuration: nothing counted by the old one's numbers is left to be believed. */
static void numbers_change_with_the_generation(void **state)
{
	struct board *b = board_create(1);
	struct board_worker *w = board_worker(b, 0);

	w->generation = 4;
	w->endpoint[2].faults = 7;
	w->reached[1] = 100;
	w->load.in_flight[1] = 3;
	w->fence[5][1].user = 9; /* by name: stays */
	board_worker_renumber(w);
	assert_int_equal(w->generation, 0);
	assert_int_equal(w->endpoint[2].faults, 0);
	assert_int_equal(w->reached[1], 0);
	assert_int_equal(w->load.in_flight[1], 0);
	assert_int_equal(w->fence[5][1].user, 9);
	board_destroy(b);
}

static pid_t start_writer(struct board *b)
{
	struct board_live live;
	uint64_t n;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that failed leaves nobody */
	for (n = board_version(b) + 1;; n++) {
		fill(&live, n);
		board_publish(b, &live);
	}
}

/* Writers are killed at whatever instruction they are; every copy a reader gets is
 * whole, versions only grow, and the next writer goes on. */
static void a_killed_writer_leaves_a_whole_copy(void **state)
{
	enum { KILLS = 60, READS = 3000 };
	struct board *b = board_create(1);
	struct board_live got = { 0 }, last;
	uint64_t version, seen = 0;
	int i, reads;
	pid_t pid;

	for (i = 0; i < KILLS; i++) {
		version = board_version(b);
		pid = start_writer(b);
		assert_true(pid > 0);
		while (board_version(b) == version)
			;
		/* However seldom the writer runs: more than what was there at first is read. */
		for (reads = 0; reads < READS + i * 37 || seen < 2 * (uint64_t)(i + 1); reads++) {
			version = got.version;
			if (!board_read(b, &got))
				continue;
			assert_true(got.version > version);
			assert_whole(&got);
			seen++;
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		memset(&last, 0, sizeof(last));
		assert_true(board_read(b, &last)); /* nobody writes: the first try works */
		assert_whole(&last);
		assert_int_equal(last.version, board_version(b));
	}
	fill(&last, 123);
	board_publish(b, &last);
	assert_true(board_read(b, &got));
	assert_int_equal(got.generation, 123);
	board_destroy(b);
}

/* A writer stopped between filling a slot and naming it: readers take the other slot,
 * at the first try. */
static void a_stopped_writer_costs_readers_nothing(void **state)
{
	struct board *b = board_create(1);
	struct board_live got = { 0 };
	uint64_t version;
	pid_t pid = start_writer(b);
	int i;

	while (!board_version(b))
		;
	for (i = 0; i < 50; i++) {
		kill(pid, SIGSTOP);
		waitpid(pid, NULL, WUNTRACED);
		version = board_version(b);
		got.version = 0;
		assert_true(board_read(b, &got));
		assert_int_equal(got.version, version);
		assert_whole(&got);
		kill(pid, SIGCONT);
		while (board_version(b) == version)
			;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	board_destroy(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_was_published_once),
		cmocka_unit_test(parts_do_not_overlap),
		cmocka_unit_test(numbers_change_with_the_generation),
		cmocka_unit_test(a_killed_writer_leaves_a_whole_copy),
		cmocka_unit_test(a_stopped_writer_costs_readers_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
