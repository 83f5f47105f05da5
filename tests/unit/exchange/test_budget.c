/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../../src/exchange/xchg_private.h"
#include "firebreak/clock.h"

static const struct conf_retry rules = { .budget_percent = 20, .budget_minimum = 3 };

static unsigned take_all(struct budget *b, int64_t now)
{
	unsigned n = 0;

	while (n < 100000 && budget_take(b, &rules, now))
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

/* In the long run a fifth of the traffic, whatever fails: 1,000 requests/s for a minute,
 * all of which would like to be tried again. */
static void a_share_of_the_traffic(void **state)
{
	struct budget b = { 0 };
	int64_t t = CLOCK_SEC;
	unsigned taken = 0, i;

	for (i = 0; i < 60000; i++, t += CLOCK_MS) {
		budget_request(&b, &rules, t);
		taken += budget_take(&b, &rules, t);
	}
	assert_in_range(taken, 12000, 12000 + 60 * 3 + 30);
}

/* What an hour of good weather earned is not spent in one moment of bad. */
static void savings_fade(void **state)
{
	struct budget b = { 0 };
	int64_t t = CLOCK_SEC;
	unsigned i;

	for (i = 0; i < 3600000; i++, t += CLOCK_MS)
		budget_request(&b, &rules, t);
	assert_in_range(take_all(&b, t), 1500, 2200); /* ten seconds' worth */
	for (i = 0; i < 10000; i++, t += CLOCK_MS)
		budget_request(&b, &rules, t);
	assert_int_equal(take_all(&b, t + 3600 * CLOCK_SEC), 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_minimum_is_for_quiet_services), cmocka_unit_test(a_share_of_the_traffic),
					    cmocka_unit_test(savings_fade) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
