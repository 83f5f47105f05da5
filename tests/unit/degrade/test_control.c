/* SPDX-License-Identifier: MIT */
/* usage: test_control control.cases */
#include "ladder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const char *cases_path;

static void begin(struct cases *c, struct ladder *l, struct degrade_controller *controller)
{
	char *below;
	int i;

	ladder_clear(l);
	*controller = (struct degrade_controller){ 0 };
	for (i = 1; i < c->words; i++) {
		if (strncmp(c->word[i], "hold=", 5) == 0) {
			l->conf.control.hold_ms = (uint32_t)atoi(c->word[i] + 5) * 1000;
			continue;
		}
		below = strchr(c->word[i], '<');
		if (below)
			*below++ = '\0';
		l->mode[l->conf.modes].enter_below = below ? ladder_percent(below) : 0;
		l->mode[l->conf.modes++].name = ladder_name(l, c->word[i]);
	}
}

static void histories(void **state)
{
	static struct ladder l;
	struct degrade_controller controller = { 0 };
	struct cases c;
	uint8_t mode;
	int64_t start = 1000000000; /* some uptime before it all */

	assert_true(cases_open(&c, cases_path));
	while (cases_next(&c)) {
		if (strcmp(c.word[0], "ladder") == 0) {
			begin(&c, &l, &controller);
		} else if (strcmp(c.word[0], "from") == 0 && c.words == 2) {
			controller.mode = (uint8_t)atoi(c.word[1]);
		} else if (c.words == 4) {
			mode = degrade_control(&controller, &l.conf, ladder_percent(c.word[1]), start + llround(atof(c.word[0]) * 1e9));
			c.run++;
			if (mode >= l.conf.modes || mode != controller.mode || strcmp(l.mode[mode].name, c.word[3]) != 0)
				cases_fail(&c, "got mode %d", mode);
		} else {
			cases_fail(&c, "the line cannot be read");
		}
	}
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 50);
}

/* Random capacity over long times: never milder than the capacity allows, one rung at
 * a time downwards, two changes for the milder never within a hold. */
static void invariants(void **state)
{
	static struct ladder l;
	struct degrade_controller c = { 0 };
	uint64_t seed = 3;
	int64_t now = 1, changed = 0;
	uint16_t reachable = 10000;
	uint8_t before, after, demanded;
	int n, m, downs = 0;

	ladder_clear(&l);
	l.conf.modes = 4;
	l.mode[1].enter_below = 7000;
	l.mode[2].enter_below = 4000;
	l.mode[3].enter_below = 1;
	l.conf.control.hold_ms = 5000;
	for (n = 0; n < 200000; n++) {
		now += cases_below(&seed, 1000) * 1000000;
		if (!cases_below(&seed, 40))
			reachable = cases_below(&seed, 3) ? (uint16_t)cases_below(&seed, 10001) : (uint16_t)(cases_below(&seed, 2) * 10000);
		before = c.mode;
		after = degrade_control(&c, &l.conf, reachable, now);
		for (demanded = 0, m = 1; m < 4; m++)
			if (reachable < l.mode[m].enter_below)
				demanded = (uint8_t)m;
		assert_true(after >= demanded);
		assert_true(after >= before || after == before - 1);
		if (after < before) {
			assert_true(now - changed >= 5000000000);
			downs++;
		}
		if (after > before)
			assert_int_equal(after, demanded);
		if (after != before)
			changed = now;
	}
	assert_true(downs > 100);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(histories), cmocka_unit_test(invariants) };

	if (argc < 2)
		return 64;
	cases_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
