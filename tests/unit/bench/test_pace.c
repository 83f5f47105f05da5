/* SPDX-License-Identifier: MIT */
/* When requests are due: rates hold, generators add up to the whole, the seed decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../../bench/run/run.h"
#include "firebreak/clock.h"

#define S CLOCK_SEC

static struct scenario *with_steps(const struct scenario_step *step, unsigned n, bool poisson)
{
	static struct scenario s;

	memset(&s, 0, sizeof(s));
	memcpy(s.step, step, n * sizeof(*step));
	s.steps = n;
	s.poisson = poisson;
	s.seed = 42;
	return &s;
}

/* Arrivals of one generator in [from, until). */
static unsigned count(const struct scenario *s, unsigned self, unsigned of, int64_t from, int64_t until)
{
	struct pace p;
	int64_t at, last = 0;
	unsigned n = 0;

	pace_init(&p, s, self, of);
	while ((at = pace_next(&p)) != INT64_MAX) {
		assert_true(at >= last);
		last = at;
		n += at >= from && at < until;
	}
	assert_true(pace_next(&p) == INT64_MAX); /* and stays over */
	return n;
}

static void test_constant(void **state)
{
	const struct scenario_step one = { 2 * S, 4 * S, 10, 10 };
	struct scenario *s = with_steps(&one, 1, false);
	struct pace p;
	int i;

	pace_init(&p, s, 0, 1);
	for (i = 0; i < 20; i++)
		assert_true(llabs(pace_next(&p) - (2 * S + i * S / 10)) < 1000);
	assert_true(pace_next(&p) == INT64_MAX);
	assert_true(pace_total(s) == 20);
}

static void test_steps_and_ramps(void **state)
{
	/* A gap between the second and the third: nothing is sent. */
	static const struct scenario_step steps[] = { { 0, 10 * S, 100, 300 }, { 10 * S, 20 * S, 300, 300 }, { 30 * S, 40 * S, 300, 0 } };
	struct scenario *s = with_steps(steps, 3, false);

	assert_true(pace_total(s) == 2000 + 3000 + 1500);
	assert_in_range(count(s, 0, 1, 0, 5 * S), 749, 751); /* 100..200 over 5 s */
	assert_in_range(count(s, 0, 1, 5 * S, 10 * S), 1249, 1251);
	assert_in_range(count(s, 0, 1, 10 * S, 20 * S), 2999, 3001);
	assert_int_equal(count(s, 0, 1, 20 * S, 30 * S), 0);
	assert_in_range(count(s, 0, 1, 30 * S, 35 * S), 1124, 1126);
	assert_int_equal(count(s, 0, 1, 0, 40 * S), 6500);
}

/* From nothing: a ramp that begins at 0 is found by the same formula. */
static void test_ramp_from_nothing(void **state)
{
	static const struct scenario_step steps[] = { { 0, 10 * S, 0, 100 }, { 10 * S, 11 * S, 0, 0 } };
	struct scenario *s = with_steps(steps, 2, false);

	assert_int_equal(count(s, 0, 1, 0, 11 * S), 500);
	assert_in_range(count(s, 0, 1, 0, 5 * S), 124, 126);
}

static void test_generators_add_up(void **state)
{
	static const struct scenario_step steps[] = { { 0, 5 * S, 50, 500 }, { 5 * S, 9 * S, 333.3, 333.3 } };
	unsigned poisson, i, of;

	for (poisson = 0; poisson < 2; poisson++) {
		struct scenario *s = with_steps(steps, 2, poisson);
		unsigned whole = count(s, 0, 1, 0, INT64_MAX);

		for (of = 2; of <= 7; of++) {
			struct pace all, part[7];
			unsigned sum = 0;
			int64_t at;

			for (i = 0; i < of; i++) {
				sum += count(s, i, of, 0, INT64_MAX);
				pace_init(&part[i], s, i, of);
			}
			assert_int_equal(sum, whole);
			/* The very same moments, dealt out in turn. */
			pace_init(&all, s, 0, 1);
			for (i = 0; (at = pace_next(&all)) != INT64_MAX; i++)
				assert_true(pace_next(&part[i % of]) == at);
		}
	}
}

static void test_poisson(void **state)
{
	const struct scenario_step one = { 0, 100 * S, 1000, 1000 };
	struct scenario *s = with_steps(&one, 1, true);
	double mean, gap, sum = 0, squares = 0;
	int64_t at, last = 0, first;
	struct pace p;
	unsigned n = 0;

	pace_init(&p, s, 0, 1);
	first = pace_next(&p);
	pace_init(&p, s, 0, 1);
	while ((at = pace_next(&p)) != INT64_MAX) {
		gap = (double)(at - last);
		sum += gap;
		squares += gap * gap;
		last = at;
		n++;
	}
	/* 100000 expected, standard deviation 316; of an exponential gap the deviation is the mean */
	assert_in_range(n, 98700, 101300);
	mean = sum / n;
	assert_true(fabs(sqrt(squares / n - mean * mean) / mean - 1) < 0.03);
	s->seed = 43;
	pace_init(&p, s, 0, 1);
	assert_true(pace_next(&p) != first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constant),
		cmocka_unit_test(test_steps_and_ramps),
		cmocka_unit_test(test_ramp_from_nothing),
		cmocka_unit_test(test_generators_add_up),
		cmocka_unit_test(test_poisson),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
