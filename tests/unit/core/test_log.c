/* SPDX-License-Identifier: MIT */
/* A log costs lines, never time: full files, stuck pipes; and it says what it lost. */
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
#include <sys/resource.h>
#include <unistd.h>

#include "firebreak/log.h"

static char path[] = "/tmp/firebreak-log-XXXXXX";

static int setup(void **state)
{
	int fd = mkstemp(path);

	signal(SIGXFSZ, SIG_IGN);
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	log_open(LOG_EVENTS, "stderr");
	return unlink(path);
}

static char *content(void)
{
	static char text[300000];
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	return text;
}

static void limit_files(rlim_t most)
{
	struct rlimit l;

	getrlimit(RLIMIT_FSIZE, &l);
	l.rlim_cur = most;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

/* The disk is full in the middle of a line; later there is room again: what follows
 * begins a line of its own. */
static void test_full_disk(void **state)
{
	char *text, *line;
	int i;

	assert_int_equal(log_open(LOG_EVENTS, path), 0);
	limit_files(1000);
	for (i = 0; i < 20; i++)
		log_event(LOG_LEVEL_ERROR, "lost", "padding", "0123456789012345678901234567890123456789", NULL);
	log_flush();
	assert_true(log_dropped() > 0);
	assert_int_equal(log_dropped(), 0); /* told once: who adds it up outlives us */
	limit_files(RLIM_INFINITY);
	log_event(LOG_LEVEL_ERROR, "again", NULL);
	log_flush();
	text = content();
	line = strstr(text, "\"event\":\"again\"");
	assert_non_null(line);
	while (line > text && line[-1] != '\n')
		line--;
	assert_memory_equal(line, "{\"timestamp\"", 12);
}

/* A standard stream that is a pipe nobody reads, and blocking: others have it too. */
static void test_stuck_pipe(void **state)
{
	int pipes[2], saved, i;

	assert_int_equal(pipe(pipes), 0);
	saved = dup(STDOUT_FILENO);
	dup2(pipes[1], STDOUT_FILENO);
	assert_int_equal(log_open(LOG_EVENTS, "stdout"), 0);
	alarm(20); /* a blocked write would wait for ever */
	for (i = 0; i < 4000; i++)
		log_event(LOG_LEVEL_ERROR, "flood", "padding", "0123456789012345678901234567890123456789", NULL);
	log_flush();
	alarm(0);
	log_open(LOG_EVENTS, "off");
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(pipes[0]);
	close(pipes[1]);
	assert_true(log_dropped() > 0);
	assert_int_equal(log_dropped(), 0); /* told once: who adds it up outlives us */
}

static void test_configure(void **state)
{
	const char *failed = NULL;

	assert_int_equal(log_configure(path, "off", LOG_LEVEL_INFO, &failed), 0);
	assert_null(failed);
	assert_int_not_equal(log_configure(path, "/nonexistent/access.log", LOG_LEVEL_INFO, &failed), 0);
	assert_string_equal(failed, "/nonexistent/access.log");
	assert_false(log_wants(LOG_ACCESS));
	log_event(LOG_LEVEL_INFO, "still-here", NULL);
	log_flush();
	assert_non_null(strstr(content(), "still-here"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_configure, setup, NULL),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test_teardown(test_stuck_pipe, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
