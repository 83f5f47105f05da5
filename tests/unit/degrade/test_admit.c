/* SPDX-License-Identifier: MIT */
/* usage: test_admit admit.cases */
#include "firebreak/degrade.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../cases.h"

#define WINDOW 500000000LL

static const char *cases_path;

/* "asked/turned" of this window, after the shares that were in force. */
static void demand(struct degrade_demand *d, unsigned tier, const char *word, const struct degrade_admission *a)
{
	const char *turned = strchr(word, '/');

	d->asked[tier] = (uint32_t)atoi(word);
	d->cut[tier] = a->from ? d->asked[tier] - d->asked[tier] * a->share[tier] / DEGRADE_FULL : 0;
	d->turned[tier] = turned ? (uint32_t)atoi(turned + 1) : 0;
}

static void histories(void **state)
{
	struct degrade_admission a = { 0 };
	struct degrade_demand d;
	int64_t now = WINDOW;
	struct cases c;
	uint32_t answered;
	unsigned t;

	assert_true(cases_open(&c, cases_path));
	while (cases_next(&c)) {
		if (strcmp(c.word[0], "begin") == 0) {
			memset(&a, 0, sizeof(a));
			memset(&d, 0, sizeof(d));
			degrade_admit(&a, &d, 3, now);
			continue;
		}
		if (c.words == 8 && strncmp(c.word[7], "answered=", 9) == 0)
			answered = (uint32_t)atoi(c.word[7] + 9);
		else
			answered = 0;
		if (c.words < 7 || c.words > 8 || (c.words == 8 && !answered) || strcmp(c.word[3], "->") != 0) {
			cases_fail(&c, "the line cannot be read");
			continue;
		}
		memset(&d, 0, sizeof(d));
		for (t = 0; t < 3; t++)
			demand(&d, t, c.word[t], &a);
		d.answered = answered;
		now += WINDOW;
		degrade_admit(&a, &d, 3, now);
		c.run++;
		for (t = 0; t < 3; t++)
			if (abs(atoi(c.word[4 + t]) - (a.share[t] + 50) / 100) > 1) {
				cases_fail(&c, "got %u %u %u", a.share[0] / 100, a.share[1] / 100, a.share[2] / 100);
				break;
			}
	}
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 20);
}

/* P3, whatever comes: no tier is cut while one that matters less has a share, and one that
 * was never turned away is never cut. */
static void core_last(void **state)
{
	static struct degrade_admission a;
	struct degrade_demand d;
	uint64_t seed = 5;
	int64_t now = 1;
	unsigned n, t, cuts = 0, tiers = 4, spared = 0;

	for (n = 0; n < 300000; n++) {
		if (n % 1000 == 0) {
			memset(&a, 0, sizeof(a));
			spared = cases_below(&seed, tiers + 1); /* so many tiers always find room */
		}
		memset(&d, 0, sizeof(d));
		for (t = 0; t < tiers; t++) {
			d.asked[t] = cases_below(&seed, 5) ? cases_below(&seed, 400) : 0;
			d.cut[t] = a.from ? d.asked[t] - d.asked[t] * a.share[t] / DEGRADE_FULL : 0;
			d.turned[t] = t >= spared && !cases_below(&seed, 3) ? cases_below(&seed, d.asked[t] - d.cut[t] + 1) : 0;
		}
		d.answered = cases_below(&seed, 500);
		now += cases_below(&seed, 300) * 1000000LL;
		degrade_admit(&a, &d, tiers, now);
		for (t = 0; t < tiers; t++) {
			assert_true(a.share[t] <= DEGRADE_FULL);
			assert_true(t < spared ? a.share[t] == DEGRADE_FULL : true);
			assert_true(a.share[t] == DEGRADE_FULL || t + 1 == tiers || a.share[t + 1] == 0);
			cuts += a.share[t] < DEGRADE_FULL;
		}
		assert_true(a.level <= DEGRADE_FULL);
		assert_true(a.admitted > 0 || a.share[tiers - 1] == DEGRADE_FULL);
	}
	assert_true(cuts > 10000);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(histories), cmocka_unit_test(core_last) };

	if (argc < 2)
		return 64;
	cases_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
