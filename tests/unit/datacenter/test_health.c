/* SPDX-License-Identifier: MIT */
/* usage: test_health health.cases */
#include "dc_test.h"

static const char *health_path;

static enum fault fault_named(const char *word)
{
	int f;

	for (f = 0; f < FAULT_COUNT; f++)
		if (!strcmp(fault_info((enum fault)f)->word, word))
			return (enum fault)f;
	fail_msg("no fault is named %s", word);
	return FAULT_NONE;
}

static void begin(struct cases *c, struct conf_datacenter *dc, struct dc_health *h)
{
	int i;

	for (i = 1; i < c->words; i++) {
		if (!strncmp(c->word[i], "rise=", 5))
			dc->rise = (uint16_t)atoi(c->word[i] + 5);
		else if (!strncmp(c->word[i], "fall=", 5))
			dc->fall = (uint16_t)atoi(c->word[i] + 5);
		else if (!strncmp(c->word[i], "every=", 6))
			dc->check_interval_ms = (uint32_t)(atof(c->word[i] + 6) * 1000);
		else
			cases_fail(c, "%s?", c->word[i]);
	}
	dc_health_init(h, 0);
}

static int read_evidence(struct cases *c, struct dc_evidence *e)
{
	int i;

	*e = (struct dc_evidence){ 0 };
	for (i = 1; i < c->words && strcmp(c->word[i], "->"); i++) {
		const char *w = c->word[i];

		if (!strcmp(w, "ok"))
			e->checks_ok++;
		else if (!strcmp(w, "bad"))
			e->checks_failed++;
		else if (!strncmp(w, "answers=", 8))
			e->answers = (uint32_t)atoi(w + 8);
		else if (!strncmp(w, "faults=", 7))
			e->faults = (uint32_t)atoi(w + 7);
		else if (!strncmp(w, "silences=", 9))
			e->silences = (uint32_t)atoi(w + 9);
		else if (!strncmp(w, "because=", 8))
			e->fault = fault_named(w + 8);
		else if (strcmp(w, "-"))
			cases_fail(c, "%s?", w);
	}
	return i + 1;
}

static void step(struct cases *c, const struct conf_datacenter *dc, struct dc_health *h)
{
	int64_t now = (int64_t)(atof(c->word[0]) * 1e9);
	enum dc_state before = h->state;
	struct dc_evidence e;
	int i = read_evidence(c, &e);
	bool changed = dc_health_record(h, dc, &e, now);

	c->run++;
	if (i >= c->words || strcmp(dc_state_word(h->state), c->word[i]))
		cases_fail(c, "got %s", dc_state_word(h->state));
	if (changed != (before != h->state) || (changed && h->since != now))
		cases_fail(c, "change and time do not fit");
	for (i++; i < c->words; i++) {
		if (!strncmp(c->word[i], "next=", 5) && dc_health_wait(h, dc) != atoi(c->word[i] + 5) * CLOCK_MS)
			cases_fail(c, "next check in %ld ms", (long)(dc_health_wait(h, dc) / CLOCK_MS));
		if (!strncmp(c->word[i], "why=", 4) && strcmp(fault_info(h->why)->word, c->word[i] + 4))
			cases_fail(c, "why is %s", fault_info(h->why)->word);
	}
}

static void histories(void **state)
{
	struct conf_datacenter dc = { 0 };
	struct dc_health h;
	struct cases c;

	assert_true(cases_open(&c, health_path));
	while (cases_next(&c)) {
		if (!strcmp(c.word[0], "endpoint"))
			begin(&c, &dc, &h);
		else
			step(&c, &dc, &h);
	}
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 60);
}

/* Random evidence for long: only drawn arrows (the setter traps), a verdict needs its
 * number of checks, a check that passes after fall failures never finds it up. */
static void invariants(void **state)
{
	struct conf_datacenter dc = { .rise = 2, .fall = 3, .check_interval_ms = 2000 };
	struct dc_health h;
	uint64_t seed = 11;
	int64_t now = 1;
	unsigned n, bad = 0, ok = 0, seen[DC_STATE_COUNT] = { 0 };

	dc_health_init(&h, now);
	for (n = 0; n < 300000; n++) {
		struct dc_evidence e = { 0 };
		enum dc_state before = h.state;

		now += CLOCK_MS * (1 + cases_below(&seed, 100));
		if (cases_below(&seed, 2))
			*(cases_below(&seed, 2) ? &e.checks_ok : &e.checks_failed) = 1;
		e.answers = cases_below(&seed, 4) ? 0 : cases_below(&seed, 50);
		e.faults = cases_below(&seed, 3) ? 0 : cases_below(&seed, 5);
		e.silences = !cases_below(&seed, 20);
		bad = e.checks_failed ? bad + 1 : e.checks_ok ? 0 : bad;
		ok = e.checks_ok ? ok + 1 : e.checks_failed ? 0 : ok;
		dc_health_record(&h, &dc, &e, now);
		seen[h.state]++;
		if (bad >= dc.fall)
			assert_true(h.state == DC_DOWN);
		if (before == DC_DOWN && h.state == DC_UP)
			assert_true(ok >= dc.rise);
		if (before == DC_UP && h.state == DC_DOWN)
			assert_true(bad >= dc.fall);
		assert_true(dc_health_wait(&h, &dc) > 0 && dc_health_wait(&h, &dc) <= 2 * CLOCK_SEC);
	}
	assert_true(seen[DC_UP] && seen[DC_SUSPECT] && seen[DC_DOWN] && seen[DC_PROBING]);
	assert_int_equal(seen[DC_UP] + seen[DC_SUSPECT] + seen[DC_DOWN] + seen[DC_PROBING], n);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(histories), cmocka_unit_test(invariants) };

	if (argc < 2)
		return 64;
	health_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
