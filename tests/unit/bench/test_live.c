/* SPDX-License-Identifier: MIT */
/* The live line: what it says, and that it always fits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../../bench/run/live.h"
#include "firebreak/clock.h"

static struct scenario s;
static struct live l;

static void features(unsigned n)
{
	static const char *const tiers[] = { "core", "standard", "optional" };
	unsigned i;

	memset(&s, 0, sizeof(s));
	s.duration = 60 * CLOCK_SEC;
	s.features = n;
	for (i = 0; i < n; i++) {
		snprintf(s.feature[i].name, sizeof(s.feature[i].name), "feature-%u", i);
		snprintf(s.feature[i].tier, sizeof(s.feature[i].tier), "%s", tiers[i % 3]);
		s.feature[i].share = 1;
	}
	live_init(&l, &s, NULL, 0, false);
}

static void test_features(void **state)
{
	char line[LIVE_COLUMNS + 1];

	features(2);
	l.count[0][OUTCOME_SERVED] = 90;
	l.count[0][OUTCOME_FAILED_OVER] = 8;
	l.count[1][OUTCOME_WRONG] = 2;
	live_text(&l, 12 * CLOCK_SEC, 1, "normal", "pangyo: kill", line);
	assert_string_equal(line, "  12s    100/s  feature-0 90 8f  feature-1 2W  normal  pangyo: kill  48s left");
	live_text(&l, 12 * CLOCK_SEC, 2, "?", "", line);
	assert_string_equal(line, "  12s     50/s  feature-0 90 8f  feature-1 2W  ?  48s left");
}

/* A table of 80 columns, whatever happens in it. */
static void test_rows(void **state)
{
	char head[LIVE_COLUMNS + 1], line[LIVE_COLUMNS + 1];
	unsigned i, o;

	features(8);
	l.count[0][OUTCOME_SERVED] = 75;
	l.count[1][OUTCOME_SERVED] = 12;
	l.count[1][OUTCOME_STALE] = 3;
	l.count[2][OUTCOME_SERVED] = 61;
	l.count[2][OUTCOME_FAILED_OVER] = 14;
	l.count[2][OUTCOME_FAILED] = 2;
	live_row(&l, 12 * CLOCK_SEC, "core-only", head, line);
	assert_string_equal(head, "      mode      feature feature feature feature feature feature feature feature");
	assert_string_equal(line, "  12s core-only 75      12 3s   6114f2! -       -       -       -       -      ");
	for (i = 0; i < 8; i++)
		for (o = 0; o < OUTCOME_COUNT; o++)
			l.count[i][o] = 4000000000u;
	live_row(&l, 13 * CLOCK_SEC, "a-mode-of-a-long-name", head, line);
	assert_string_equal(head, "");
	assert_true(strlen(line) < 80);
}

static void test_first_letters(void **state)
{
	char line[LIVE_COLUMNS + 1];
	unsigned i;

	features(5);
	for (i = 0; i < 5; i++)
		l.count[i][OUTCOME_SERVED] = 10;
	live_text(&l, CLOCK_SEC, 1, "reduced", "pangyo: kill", line);
	assert_string_equal(line, "   1s     50/s  feat 10  feat 10  feat 10  feat 10  feat 10  reduced  pangyo: kill  59s left");
}

static void test_tiers(void **state)
{
	char line[LIVE_COLUMNS + 1];

	features(20);
	l.count[0][OUTCOME_SERVED] = 1;
	l.count[3][OUTCOME_SERVED] = 2;
	l.count[4][OUTCOME_REFUSED] = 7;
	live_text(&l, 61 * CLOCK_SEC, 1, "normal", "", line);
	assert_string_equal(line, "  61s     10/s  core 3  standard 7r  optional 0  normal  0s left");
}

static void test_always_fits(void **state)
{
	char line[LIVE_COLUMNS + 1], many[400];
	unsigned f, o;

	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	features(SCENARIO_FEATURES);
	for (f = 0; f < s.features; f++)
		for (o = 0; o < OUTCOME_COUNT; o++)
			l.count[f][o] = 4000000000u;
	live_text(&l, 86400 * CLOCK_SEC, 0.001, many, many, line);
	assert_in_range(strlen(line), 60, LIVE_COLUMNS);
	assert_non_null(strstr(line, "0s left"));
	l.columns = LIVE_LEAST;
	live_text(&l, 86400 * CLOCK_SEC, 0.001, many, many, line);
	assert_in_range(strlen(line), 50, LIVE_LEAST);
}

/* Every record is counted once, in the second it ended. */
static void test_count(void **state)
{
	struct sample_log *log = sample_log_create(10, 1);
	unsigned i;

	features(1);
	live_init(&l, &s, &log, 1, false);
	for (i = 0; i < 3; i++)
		sample_add(log, &(struct sample){ .outcome = OUTCOME_STALE });
	live_count(&l);
	assert_int_equal(l.count[0][OUTCOME_STALE], 3);
	sample_add(log, &(struct sample){ .outcome = OUTCOME_FAILED });
	live_count(&l);
	assert_int_equal(l.count[0][OUTCOME_STALE], 0);
	assert_int_equal(l.count[0][OUTCOME_FAILED], 1);
	sample_log_destroy(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_rows), cmocka_unit_test(test_first_letters),
		cmocka_unit_test(test_tiers),
		cmocka_unit_test(test_always_fits),
		cmocka_unit_test(test_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
