/* SPDX-License-Identifier: MIT */
/*
 * The shared store under what it is made for: processes that die or stop between
 * any two steps, while others go on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../../bench/store.h"

#define STEPS 24 /* more than one send has */

static char dir[64];
static struct store *s;

static int setup(void **state)
{
	char why[256];

	snprintf(dir, sizeof(dir), "/tmp/fb-store-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	s = store_open(dir, 64 << 20, why, sizeof(why));
	return s ? 0 : 1;
}

static int teardown(void **state)
{
	char path[128];

	store_close(s);
	snprintf(path, sizeof(path), "%s/state", dir);
	unlink(path);
	return rmdir(dir);
}

static enum store_result put(const char *room, const char *user, const char *key, const char *body, uint64_t *seq)
{
	struct store_post p = { .room = room, .user = user, .key = key, .body = body, .datacenter = "a", .endpoint = "a-1" };
	const struct store_message *m;
	enum store_result r;

	p.room_len = strlen(room);
	p.user_len = strlen(user);
	p.key_len = key ? strlen(key) : 0;
	p.body_len = strlen(body);
	r = store_send(s, &p, &m);
	if (r == STORE_OK || r == STORE_REPLAYED)
		*seq = m->link.seq;
	return r;
}

/* Walks a room's whole log: numbers 1, 2, 3, ... without a gap; counts a key. */
static uint64_t walk(const char *room, const char *key, unsigned *times)
{
	struct store_room *r = store_room(s, room, strlen(room), false);
	const struct store_message *m;
	uint64_t at = 0, n = 0;

	*times = 0;
	while (r && (m = store_follow(s, r, &at))) {
		assert_int_equal(m->link.seq, ++n);
		if (key && m->key_len == strlen(key) && !memcmp(m->data, key, m->key_len))
			(*times)++;
	}
	return n;
}

static void test_basics(void **state)
{
	const struct store_message *out[4];
	struct store_room *r, *found;
	struct store_user *u;
	uint64_t seq, cursor = 0;
	size_t len;

	assert_int_equal(put("r1", "alice", "k1", "hello", &seq), STORE_OK);
	assert_int_equal(seq, 1);
	assert_int_equal(put("r1", "bob", "k1", "hi", &seq), STORE_OK); /* another user's key */
	assert_int_equal(seq, 2);
	assert_int_equal(put("r1", "alice", "k1", "hello", &seq), STORE_REPLAYED);
	assert_int_equal(seq, 1);
	assert_int_equal(put("r1", "alice", "k1", "other", &seq), STORE_MISMATCH);
	assert_int_equal(put("r2", "alice", "k1", "hello", &seq), STORE_MISMATCH);
	assert_int_equal(put("r2", "alice", NULL, "one", &seq), STORE_OK);
	assert_int_equal(put("r2", "alice", NULL, "one", &seq), STORE_OK);
	assert_int_equal(seq, 2);

	r = store_room(s, "r1", 2, false);
	assert_int_equal(store_recent(s, r, 0, out, 4), 2);
	assert_memory_equal(out[0]->data, "k1hello", 7);
	assert_string_equal(store_user_name(store_sender(s, out[1]), &len), "bob");
	assert_int_equal(store_recent(s, r, 1, out, 4), 1);
	assert_int_equal(store_recent(s, r, 0, out, 1), 1);
	assert_int_equal(out[0]->link.seq, 2);
	assert_int_equal(store_recent(s, r, 9, out, 4), 0);

	u = store_user(s, "alice", 5, false);
	found = store_rooms(s, u, &cursor);
	assert_memory_equal(store_room_name(found, &len), "r2", 2);
	assert_ptr_equal(store_rooms(s, u, &cursor), r);
	assert_null(store_rooms(s, u, &cursor));
	assert_null(store_room(s, "none", 4, false));
	assert_int_equal(store_messages(s), 4);
}

static void test_full(void **state)
{
	static char body[STORE_BODY_MAX];
	enum store_result r = STORE_OK;
	uint64_t seq, n = 0;
	unsigned times;

	memset(body, 'x', sizeof(body) - 1);
	while ((r = put("big", "alice", NULL, body, &seq)) == STORE_OK)
		n++;
	assert_int_equal(r, STORE_FULL);
	assert_true(n > 900);
	assert_int_equal(walk("big", NULL, &times), n);
}

static pid_t breaking(unsigned step, int signal, const char *key)
{
	pid_t pid = fork();
	uint64_t seq;

	if (pid)
		return pid;
	store_test_break(step, signal);
	put("room", "alice", key, "text", &seq);
	_exit(signal == SIGSTOP && seq < 200 ? (int)seq : 0);
}

static void test_killed_at_every_step(void **state)
{
	unsigned step, times, already, killed = 0;
	int status;
	uint64_t seq, before;
	char key[16];

	for (step = 1; step < STEPS; step++) {
		snprintf(key, sizeof(key), "k%u", step);
		waitpid(breaking(step, SIGKILL, key), &status, 0);
		killed += WIFSIGNALED(status);
		before = walk("room", key, &already);
		assert_true(already <= 1);
		assert_int_equal(put("room", "bob", NULL, "between", &seq), STORE_OK);
		assert_int_equal(seq, before + 1);
		assert_true(put("room", "alice", key, "text", &seq) <= STORE_REPLAYED);
		assert_int_equal(walk("room", key, &times), before + 1 + !already);
		assert_int_equal(times, 1);
	}
	assert_true(killed >= 6); /* the steps are really there */
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void test_stopped_at_every_step(void **state)
{
	unsigned step, times, stopped = 0;
	uint64_t seq, mine;
	char key[16];
	int status;
	int64_t t;
	pid_t pid;

	for (step = 1; step < STEPS; step++) {
		snprintf(key, sizeof(key), "k%u", step);
		pid = breaking(step, SIGSTOP, key);
		waitpid(pid, &status, WUNTRACED);
		t = now_ms();
		assert_true(put("room", "alice", key, "text", &mine) <= STORE_REPLAYED);
		assert_int_equal(put("room", "bob", NULL, "after", &seq), STORE_OK);
		assert_true(seq > mine);
		assert_true(now_ms() - t < 1000); /* nobody waits for the stopped one; the rest is scheduling */
		if (WIFSTOPPED(status)) {
			stopped++;
			kill(pid, SIGCONT);
			waitpid(pid, &status, 0);
		}
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), mine); /* the late one got the same number */
		walk("room", key, &times);
		assert_int_equal(times, 1);
	}
	assert_true(stopped >= 6);
}

struct ack {
	uint32_t writer, room, number;
	uint64_t seq;
};

/* Sends its numbers in order, every key also being sent by its neighbour. */
static void writer(unsigned me, unsigned messages, int out)
{
	struct ack a = { .writer = me };
	char key[32], room[16], user[16];

	for (a.number = 0; a.number < messages; a.number++) {
		a.room = a.number % 3;
		snprintf(room, sizeof(room), "r%u", a.room);
		snprintf(user, sizeof(user), "u%u", me / 2);
		snprintf(key, sizeof(key), "k%u", a.number);
		if (put(room, user, key, key, &a.seq) > STORE_REPLAYED)
			_exit(9);
		if (write(out, &a, sizeof(a)) != sizeof(a))
			_exit(8);
	}
	_exit(0);
}

#define WRITERS  6
#define MESSAGES 300

static void check_acks(int in)
{
	uint64_t last[WRITERS][3] = { { 0 } }, known[WRITERS / 2][MESSAGES] = { { 0 } };
	struct ack a;

	while (read(in, &a, sizeof(a)) == sizeof(a)) {
		/* Both senders of a key were told the same number, ... */
		if (known[a.writer / 2][a.number])
			assert_int_equal(known[a.writer / 2][a.number], a.seq);
		known[a.writer / 2][a.number] = a.seq;
		/* ... and what one sender sent later comes later. */
		assert_true(a.seq > last[a.writer][a.room]);
		last[a.writer][a.room] = a.seq;
	}
}

static void check_log(void)
{
	static unsigned char seen[WRITERS / 2][MESSAGES];
	char room[16];
	unsigned r, who, number, times;
	struct store_room *sr;
	const struct store_message *m;
	uint64_t at, total = 0;
	size_t len;

	for (r = 0; r < 3; r++) {
		snprintf(room, sizeof(room), "r%u", r);
		total += walk(room, NULL, &times);
		sr = store_room(s, room, 2, false);
		for (at = 0; (m = store_follow(s, sr, &at));) {
			who = (unsigned)atoi(store_user_name(store_sender(s, m), &len) + 1);
			number = (unsigned)strtoul(m->data + 1, NULL, 10);
			assert_int_equal(seen[who][number]++, 0);
		}
	}
	assert_int_equal(total, (WRITERS / 2) * MESSAGES);
}

static void test_writers_killed_and_stopped(void **state)
{
	pid_t pid[WRITERS];
	unsigned i, kills = 0;
	int fds[2], status;
	struct timespec ms = { .tv_nsec = 1000000 };

	assert_int_equal(pipe(fds), 0);
	/* Room for all acks: the check reads when every writer is done. */
	assert_true(fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) > 0);
	for (i = 0; i < WRITERS; i++) {
		pid[i] = fork();
		if (!pid[i])
			writer(i, MESSAGES, fds[1]);
	}
	/* Disturb: stop one, kill the next, let them run on. Those killed are never
	 * restarted: the neighbour completes the keys. */
	for (i = 0; i < WRITERS; i += 2, kills++) {
		kill(pid[i + 1], SIGSTOP);
		nanosleep(&ms, NULL);
		kill(pid[i + 1], i == 0 ? SIGKILL : SIGCONT);
		if (i == 0)
			kill(pid[i + 1], SIGCONT);
	}
	for (i = 0; i < WRITERS; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		if (i != 1)
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	close(fds[1]);
	check_acks(fds[0]);
	close(fds[0]);
	check_log();
}

static void test_foreign_file(void **state)
{
	char path[128], why[256];
	FILE *f;

	assert_null(store_open("/proc/none", 1 << 20, why, sizeof(why)));
	assert_non_null(strstr(why, "/proc/none"));
	snprintf(path, sizeof(path), "%s/state", dir);
	f = fopen(path, "r+");
	fputs("something else", f);
	fclose(f);
	assert_null(store_open(dir, 1 << 20, why, sizeof(why)));
	assert_non_null(strstr(why, "not a state file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_basics, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_at_every_step, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped_at_every_step, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writers_killed_and_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_file, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
