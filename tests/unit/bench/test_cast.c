/* SPDX-License-Identifier: MIT */
/*
 * A cast of real processes: it stands, faults reach it, what they do is seen, and nothing
 * is left of it, whoever ends it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../bench/run/run.h"
#include "firebreak/clock.h"

#define FEATURES \
	"features:\n  - { name: send, tier: core, does: send, share: 1 }\n  - { name: sync, tier: core, does: sync, share: 1 }\n" \
	"  - { name: media, tier: standard, does: download, share: 1 }\n  - { name: shop, tier: optional, does: shop, share: 1 }\n" \
	"  - { name: portal, tier: optional, does: get, path: /v1/app/portal, share: 1 }\n"
#define QUICK "extra: { control: { hold: 100ms } }"

static struct scenario *load(const char *rest)
{
	char path[] = "/tmp/cast-test-XXXXXX", text[4096];
	int fd = mkstemp(path);
	struct scenario *s;

	snprintf(text, sizeof(text), "name: cast\nduration: 60s\ndatacenters: [{ name: pangyo }, { name: anyang }]\n"
				     "load: { steps: [{ rate: 1 }] }\n" FEATURES "%s", rest);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	s = scenario_load(path, stderr);
	unlink(path);
	assert_non_null(s);
	return s;
}

static struct cast *start(const struct scenario *s)
{
	char why[300] = "";
	struct cast *c = cast_start(s, NULL, why);

	if (!c)
		fail_msg("%s", why);
	return c;
}

static bool reachable(const char *address)
{
	struct net_addr a;
	bool ok;
	int fd;

	assert_true(net_addr_parse(&a, address));
	fd = socket(a.sa.ss_family, SOCK_STREAM, 0);
	ok = !connect(fd, (struct sockaddr *)&a.sa, a.len);
	close(fd);
	return ok;
}

/* ---- marks ---- */

static bool noted(const struct timeline *t, char kind, const char *text, unsigned times)
{
	const struct mark *m;
	size_t n, i;

	m = timeline_marks(t, &n);
	for (i = 0; i < n && times; i++)
		times -= m[i].kind == kind && !strncmp(m[i].text, text, strlen(text));
	return !times;
}

static void show(const struct timeline *t)
{
	const struct mark *m;
	size_t n, i;

	m = timeline_marks(t, &n);
	for (i = 0; i < n; i++)
		fprintf(stderr, "%8.3f %c %s\n", (double)m[i].at / 1e9, m[i].kind, m[i].text);
}

struct stage {
	struct scenario *s;
	struct cast *c;
	struct net_loop *loop;
	struct timeline *t;
};

static struct stage begin(const char *rest)
{
	struct stage st = { .s = load(rest) };

	st.c = start(st.s);
	st.loop = net_loop_create();
	assert_non_null(st.loop);
	st.t = timeline_start(st.loop, st.s, st.c, clock_tick());
	assert_non_null(st.t);
	return st;
}

/* Until it is noted so often; half a minute at most. */
static void until(struct stage *st, char kind, const char *text, unsigned times)
{
	int64_t end = clock_tick() + 30 * CLOCK_SEC;

	while (!noted(st->t, kind, text, times)) {
		net_loop_turn(st->loop, 50);
		if (clock_now() > end) {
			show(st->t);
			fail_msg("\"%s\" was not noted %u times", text, times);
		}
	}
}

static void end(struct stage *st)
{
	char folder[120];

	snprintf(folder, sizeof(folder), "%s", cast_folder(st->c));
	timeline_stop(st->t);
	net_loop_turn(st->loop, 0);
	cast_stop(st->c);
	timeline_destroy(st->t);
	net_loop_destroy(st->loop);
	scenario_free(st->s);
	assert_int_not_equal(access(folder, F_OK), 0);
}

/* ---- tests ---- */

static void test_faults_of_processes(void **state)
{
	struct stage st = begin("proxy: { " QUICK " }\ntimeline:\n"
				"  - { at: 500ms, fault: { dc: pangyo, kind: kill, for: 3s } }\n"
				"  - { at: 600ms, fault: { dc: redis, kind: kill, for: 1s } }\n"
				"  - { at: 700ms, operator: \"feature shop off --reason 'too much of it'\" }\n");

	assert_true(reachable(cast_target(st.c)));
	assert_string_equal(timeline_in_force(st.t), "");
	until(&st, 'f', "pangyo: kill", 1);
	assert_string_equal(timeline_in_force(st.t), "pangyo: kill");
	until(&st, 'd', "pangyo down", 1);
	until(&st, 'm', "reduced", 1);
	until(&st, 'h', "redis: kill healed", 1);
	until(&st, 'h', "pangyo: kill healed", 1);
	assert_string_equal(timeline_in_force(st.t), "");
	until(&st, 'd', "pangyo up", 2);
	until(&st, 'm', "normal", 2);
	assert_string_equal(timeline_mode(st.t), "normal");
	assert_true(noted(st.t, 'o', "feature shop off", 1));
	assert_null(timeline_trouble(st.t));
	end(&st);
}

static void test_faults_of_the_wire(void **state)
{
	struct stage st = begin("proxy: { wire: true, " QUICK " }\ntimeline:\n"
				"  - { at: 300ms, fault: { dc: pangyo, kind: blackhole, for: 4s } }\n"
				"  - { at: 310ms, fault: { dc: redis, kind: refuse } }\n"
				"  - { at: 320ms, fault: { dc: anyang, endpoints: [1], kind: cut } }\n"
				"  - { at: 330ms, fault: { dc: anyang, kind: delay, value: 5ms, jitter: 5ms } }\n");

	until(&st, 'd', "pangyo down", 1);
	assert_string_equal(timeline_in_force(st.t), "pangyo: blackhole, redis: refuse, anyang: delay 5ms");
	until(&st, 'h', "pangyo: blackhole healed", 1);
	until(&st, 'd', "pangyo up", 2);
	assert_null(timeline_trouble(st.t));
	end(&st);
}

/* One that was killed is told its faults again when it lives again. */
static void test_faults_of_the_messenger(void **state)
{
	struct stage st = begin("proxy: { wire: true, " QUICK " }\ntimeline:\n"
				"  - { at: 300ms, fault: { dc: anyang, kind: unhealthy } }\n"
				"  - { at: 301ms, fault: { dc: anyang, kind: latency, value: 20ms } }\n"
				"  - { at: 2500ms, fault: { dc: anyang, kind: kill, for: 200ms } }\n"
				"  - { at: 8s, heal: { dc: anyang, kind: unhealthy } }\n");
	const struct mark *m;
	size_t n, i;

	until(&st, 'd', "anyang down", 1);
	until(&st, 'd', "anyang up", 2);
	m = timeline_marks(st.t, &n);
	for (i = 0; i < n && !(m[i].kind == 'd' && !strcmp(m[i].text, "anyang up") && m[i].at > CLOCK_SEC); i++)
		;
	assert_true(i < n && m[i].at >= 8 * CLOCK_SEC); /* not when it was started again */
	assert_string_equal(timeline_in_force(st.t), "anyang: latency 20ms");
	assert_null(timeline_trouble(st.t));
	end(&st);
}

/* Nothing but checks comes to it, and they are not answered. */
static void test_deaf(void **state)
{
	struct stage st = begin("proxy: { " QUICK " }\ntimeline:\n  - { at: 300ms, fault: { dc: anyang, kind: deaf, for: 10s } }\n");

	until(&st, 'd', "anyang down", 1);
	assert_string_equal(timeline_in_force(st.t), "anyang: deaf");
	until(&st, 'd', "anyang up", 2);
	assert_null(timeline_trouble(st.t));
	end(&st);
}

static void test_what_goes_wrong_makes_the_run_invalid(void **state)
{
	struct stage st = begin("timeline:\n  - { at: 100ms, operator: \"mode set nonsense\" }\n");

	until(&st, 'n', "the operator's command failed: ", 1);
	assert_ptr_equal(strstr(timeline_trouble(st.t), "the operator's command failed: mode set nonsense: firebreakctl: there is no mode "),
			 timeline_trouble(st.t));
	end(&st);
	/* A death that nobody ordered; the janitor has no say in it. */
	st = begin("proxy: { redis: true }\ntimeline:\n  - { at: 100ms, fault: { dc: redis, kind: kill } }\n"
		   "  - { at: 300ms, fault: { dc: redis, kind: stop } }\n");
	until(&st, 'n', "line ", 1);
	assert_non_null(strstr(timeline_trouble(st.t), "redis does not run"));
	end(&st);
}

static pid_t child_named(const char *name)
{
	char path[300], text[300];
	struct dirent *e;
	DIR *d = opendir("/proc");
	pid_t found = 0;
	FILE *f;
	int parent;

	while ((e = readdir(d)) && !found) {
		snprintf(path, sizeof(path), "/proc/%.20s/stat", e->d_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%*d %290s %*c %d", text, &parent) == 2 && parent == getpid() && !strcmp(text, name))
			found = atoi(e->d_name);
		if (f)
			fclose(f);
	}
	closedir(d);
	return found;
}

/* ---- processes of the proxy ---- */

/* The child of that process with this name of the kernel's; 0: none. */
static pid_t child_of(pid_t parent, const char *name)
{
	char path[64], text[32];
	pid_t found = 0;
	FILE *list, *f;
	int pid;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
	list = fopen(path, "re");
	assert_non_null(list);
	while (!found && fscanf(list, "%d", &pid) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		f = fopen(path, "re");
		if (f && fgets(text, sizeof(text), f) && !strncmp(text, name, strlen(name)) && text[strlen(name)] == '\n')
			found = pid;
		if (f)
			fclose(f);
	}
	fclose(list);
	return found;
}

/* Another process of this name than `before` has come; half a minute at most. */
static pid_t successor(struct stage *st, pid_t proxy, const char *name, pid_t before)
{
	int64_t most = clock_tick() + 30 * CLOCK_SEC;
	pid_t now;

	while ((now = child_of(proxy, name)) == before || !now) {
		assert_true(clock_now() < most);
		net_loop_turn(st->loop, 10);
	}
	return now;
}

static bool stopped(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (f)
		fclose(f);
	return state == 'T';
}

/* The control process dies, and a worker, both are replaced, and a worker stands still for a
 * while: the run stays valid. A death of theirs that the scenario did not order does not. */
static void test_faults_of_the_proxy(void **state)
{
	struct stage st = begin("proxy: { workers: 2, " QUICK " }\ntimeline:\n"
				"  - { at: 300ms, fault: { dc: control, kind: kill } }\n"
				"  - { at: 400ms, fault: { dc: worker, kind: kill } }\n"
				"  - { at: 1500ms, fault: { dc: worker, kind: stop, for: 500ms } }\n"
				"  - { at: 2500ms, operator: \"feature shop off --reason 'it still listens'\" }\n");
	pid_t proxy = child_named("(firebreak)"), control = child_of(proxy, "fb control"), worker = child_of(proxy, "fb worker 0");
	pid_t other = child_of(proxy, "fb worker 1");
	int64_t most;

	assert_true(proxy && control && worker && other);
	until(&st, 'f', "control: kill", 1);
	control = successor(&st, proxy, "fb control", control);
	until(&st, 'f', "worker: kill", 1);
	worker = successor(&st, proxy, "fb worker 0", worker);
	assert_int_equal(child_of(proxy, "fb worker 1"), other);
	assert_string_equal(timeline_in_force(st.t), "");
	until(&st, 'f', "worker: stop", 1);
	for (most = clock_tick() + 10 * CLOCK_SEC; !stopped(worker) && clock_tick() < most;)
		poll(NULL, 0, 1);
	assert_true(stopped(worker) && !stopped(other));
	assert_string_equal(timeline_in_force(st.t), "worker: stop");
	until(&st, 'h', "worker: stop healed", 1);
	assert_false(stopped(child_of(proxy, "fb worker 0")) || stopped(child_of(proxy, "fb worker 1")));
	until(&st, 'o', "feature shop off", 1);
	timeline_stop(st.t);
	assert_null(timeline_trouble(st.t));
	kill(control, SIGKILL);
	successor(&st, proxy, "fb control", control);
	timeline_stop(st.t);
	assert_non_null(timeline_trouble(st.t));
	assert_non_null(strstr(timeline_trouble(st.t), "a process of the proxy died"));
	end(&st);
}

/* Killed and started in one turn: the kernel has not ended it yet. */
static void test_back_before_it_has_ended(void **state)
{
	struct stage st = begin("timeline:\n  - { at: 300ms, fault: { dc: redis, kind: kill } }\n  - { at: 300ms, heal: { dc: redis, kind: kill } }\n");
	pid_t before = child_named("(redis-server)");
	int64_t most = clock_tick() + 20 * CLOCK_SEC;
	char at[140];

	snprintf(at, sizeof(at), "unix:%s/redis.sock", cast_folder(st.c));
	until(&st, 'h', "redis: kill healed", 1);
	while (clock_now() < most && (child_named("(redis-server)") == before || !reachable(at)))
		net_loop_turn(st.loop, 10);
	assert_true(reachable(at));
	assert_int_not_equal(child_named("(redis-server)"), before);
	assert_null(timeline_trouble(st.t));
	end(&st);
}

static void test_a_death_nobody_ordered(void **state)
{
	struct stage st = begin("");
	pid_t redis = child_named("(redis-server)");

	assert_true(redis > 0);
	kill(redis, SIGKILL);
	until(&st, 'n', "redis ended by itself (signal 9)", 1);
	assert_non_null(timeline_trouble(st.t));
	end(&st);
}

static void test_a_configuration_that_does_not_hold(void **state)
{
	struct scenario *s = load("proxy: { extra: { retry: { tries: 99 } } }\n");
	char why[300] = "";

	assert_null(cast_start(s, NULL, why));
	assert_non_null(strstr(why, "firebreak did not start: "));
	scenario_free(s);
	s = load("");
	assert_null(cast_start(s, "/nonexistent/firebreak", why));
	assert_non_null(strstr(why, "No such file"));
	scenario_free(s);
}

/* SIGKILL leaves nobody and nothing. */
static void test_killed_conductor(void **state)
{
	struct scenario *s = load("proxy: { wire: true }\n");
	char told[2][120] = { "", "" }, why[300];
	int fds[2], tries;
	struct cast *c;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		c = cast_start(s, NULL, why);
		if (c) {
			snprintf(told[0], sizeof(told[0]), "%s", cast_folder(c));
			snprintf(told[1], sizeof(told[1]), "%s", cast_target(c));
		}
		if (write(fds[1], told, sizeof(told)) != sizeof(told))
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(fds[0], told, sizeof(told)), (ssize_t)sizeof(told));
	assert_string_not_equal(told[0], "");
	assert_true(reachable(told[1]));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (tries = 0; tries < 1000 && (!access(told[0], F_OK) || reachable(told[1])); tries++)
		poll(NULL, 0, 10);
	assert_int_not_equal(access(told[0], F_OK), 0);
	assert_false(reachable(told[1]));
	close(fds[0]);
	close(fds[1]);
	scenario_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faults_of_processes),
		cmocka_unit_test(test_faults_of_the_wire),
		cmocka_unit_test(test_faults_of_the_messenger),
		cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_what_goes_wrong_makes_the_run_invalid),
		cmocka_unit_test(test_faults_of_the_proxy),
		cmocka_unit_test(test_back_before_it_has_ended),
		cmocka_unit_test(test_a_death_nobody_ordered),
		cmocka_unit_test(test_a_configuration_that_does_not_hold),
		cmocka_unit_test(test_killed_conductor),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("cast", tests, NULL, NULL);
}
