/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../../src/exchange/xchg_private.h"
#include "firebreak/clock.h"

#define HANDS 4 /* workers, each with its own view of the one budget */

static uint64_t requests, retries;

static void look(struct budget *b, int64_t now)
{
	budget_look(b, 20, 3, requests, retries, now);
}

static bool take(struct budget *b)
{
	bool taken = budget_take(b);

	retries += taken;
	return taken;
}

static unsigned take_all(struct budget *b, int64_t now)
{
	unsigned n = 0;

	look(b, now);
	while (n < 100000 && take(b))
		n++;
	return n;
}

/* A quiet service may retry what the minimum gives in ten seconds, then so many a second. */
static void the_minimum_is_for_quiet_services(void **state)
{
	struct budget b = { 0 };
	int64_t t = CLOCK_SEC;
	int s;

	assert_int_equal(take_all(&b, t), 30);
	for (s = 1; s <= 100; s++)
		assert_in_range(take_all(&b, t + s * CLOCK_SEC), 2, 4);
}

/* In the long run a fifth of the traffic, whatever fails and however many workers there are:
 * 1,000 requests/s for a minute, all of which would like to be tried again. */
static void a_share_of_the_traffic(void **state)
{
	int64_t t = CLOCK_SEC;
	unsigned hands, taken, i;

	for (hands = 1; hands <= HANDS; hands *= 2) {
		struct budget b[HANDS] = { { 0 } };

		for (i = 0; i < hands; i++)
			look(&b[i], t);
		for (i = taken = 0; i < 60000; i++, t += CLOCK_MS) {
			requests++;
			look(&b[i % hands], t);
			taken += take(&b[i % hands]);
		}
		assert_in_range(taken, 12000, 12000 + 60 * 3 + 30);
	}
}

/* All see the last tokens and take them in the same moment: what was too much is paid back. */
static void what_two_took_at_once_is_owed(void **state)
{
	struct budget b[HANDS] = { { 0 } };
	int64_t t = CLOCK_SEC;
	unsigned i, n, taken = 0, s;

	for (i = 0; i < HANDS; i++)
		look(&b[i], t);
	for (i = 0; i < HANDS; i++)
		while (take(&b[i]))
			taken++;
	assert_int_equal(taken, HANDS * 30);
	for (s = 1; s <= 60; s++, t += CLOCK_SEC) {
		for (i = n = 0; i < HANDS; i++)
			n += take_all(&b[i], t);
		taken += n;
	}
	assert_in_range(taken, HANDS * 30, 30 + 60 * 3 + 3);
}

/* What an hour of good weather earned is not spent in one moment of bad. */
static void savings_fade(void **state)
{
	struct budget b = { 0 };
	int64_t t = CLOCK_SEC;
	unsigned i;

	for (i = 0; i < 3600000; i++, t += CLOCK_MS) {
		requests++;
		look(&b, t);
	}
	assert_in_range(take_all(&b, t), 1500, 2200); /* ten seconds' worth */
	requests += 10000;
	assert_in_range(take_all(&b, t + 10 * CLOCK_SEC), 1500, 2200);
	requests += 10000; /* and an hour in which nobody looked */
	assert_in_range(take_all(&b, t + 3600 * CLOCK_SEC), 30, 40);
}

/* Who asks all the time for what always fails leaves an eighth of two thousand for losses. */
static void provoked_ones_leave_some(void **state)
{
	struct budget b = { 0 };
	int64_t t = CLOCK_SEC;
	unsigned before = 0, n, i;

	look(&b, t);
	for (i = 1; i <= 600; i++) {
		requests += 100;
		look(&b, t + i * CLOCK_SEC / 10);
		for (n = 0; n < 100 && budget_spare(&b); n++)
			assert_true(take(&b));
		before += n;
	}
	assert_in_range(before, 9000, 12000);
	assert_in_range(take_all(&b, t + i * CLOCK_SEC / 10), 200, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_minimum_is_for_quiet_services), cmocka_unit_test(a_share_of_the_traffic),
					    cmocka_unit_test(what_two_took_at_once_is_owed), cmocka_unit_test(savings_fade), cmocka_unit_test(provoked_ones_leave_some) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
