/* SPDX-License-Identifier: MIT */
/* usage: test_plan plan.cases */
#include "ladder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define PROBLEMS 32

static const char *cases_path;

static struct told {
	int count;
	struct {
		int line;
		char text[512];
		bool expected;
	} problem[PROBLEMS];
} told;

/* conf_errors belongs to config/; here nobody looks inside. */
__attribute__((format(printf, 3, 4)))
static void tell(struct conf_errors *errors, struct conf_mark at, const char *format, ...)
{
	va_list ap;

	if (told.count == PROBLEMS)
		return;
	va_start(ap, format);
	vsnprintf(told.problem[told.count].text, sizeof(told.problem[0].text), format, ap);
	va_end(ap);
	told.problem[told.count].expected = false;
	told.problem[told.count++].line = at.line;
}

static int line_of(const struct ladder *l, const char *subject)
{
	int i = ladder_find_feature(l, subject, strlen(subject));

	if (i >= 0)
		return l->feature[i].mark.line;
	i = ladder_find_mode(l, subject, strlen(subject));
	return i >= 0 ? l->mode[i].mark.line : 0;
}

static void join(const struct cases *c, int from, char *out, size_t size)
{
	int i;

	*out = '\0';
	for (i = from; i < c->words; i++)
		snprintf(out + strlen(out), size - strlen(out), "%s%s", i > from ? " " : "", c->word[i]);
}

static void expect(struct cases *c, const struct ladder *l)
{
	char text[512];
	int i;

	if (c->words == 2 && strcmp(c->word[1], "none") == 0)
		return; /* whatever was told is unexpected */
	join(c, 2, text, sizeof(text));
	for (i = 0; i < told.count; i++) {
		if (told.problem[i].expected || told.problem[i].line != line_of(l, c->word[1]) || !strstr(told.problem[i].text, text))
			continue;
		told.problem[i].expected = true;
		return;
	}
	cases_fail(c, "nobody told this");
}

static void cell(struct cases *c, const struct ladder *l, const struct degrade_plan *plan)
{
	int m = ladder_find_mode(l, c->word[1], strlen(c->word[1])), f = ladder_find_feature(l, c->word[2], strlen(c->word[2]));
	struct conf_ways want;

	if (m < 0 || f < 0 || !ladder_ways(c->word[3], &want))
		cases_fail(c, "the line cannot be read");
	else if (memcmp(&want, &plan->cell[m][f], sizeof(want)) != 0)
		cases_fail(c, "the cell differs: %d ways, first %s", plan->cell[m][f].count,
			   degrade_way_word((enum conf_way)plan->cell[m][f].way[0]));
}

static bool change(const struct ladder *l, const char *w, struct degrade_live *live)
{
	const char *is = strchr(w, '=');
	int f;

	if (strcmp(w, "dark") == 0) {
		live->any_datacenter = false;
		return true;
	}
	if (!is)
		return false;
	if (strncmp(w, "mode=", 5) == 0) {
		f = ladder_find_mode(l, is + 1, strlen(is + 1));
		live->mode = (uint8_t)f;
		return f >= 0;
	}
	f = ladder_find_feature(l, w, (size_t)(is - w));
	if (f < 0)
		return false;
	live->word[f] = strcmp(is, "=on") == 0 ? DEGRADE_ON : strcmp(is, "=off") == 0 ? DEGRADE_OFF :
			strcmp(is, "=stale-only") == 0 ? DEGRADE_STALE_ONLY : DEGRADE_SHARE;
	if (live->word[f] == DEGRADE_SHARE)
		live->word_share[f] = ladder_percent(is + 1);
	return true;
}

static void override(struct cases *c, const struct ladder *l, const struct degrade_plan *plan)
{
	struct degrade_live now, then;
	bool safe;
	int i;

	degrade_live_init(&now);
	degrade_live_init(&then);
	for (i = 1; i < c->words && strcmp(c->word[i], "->") != 0; i++) {
		if (strcmp(c->word[i], "=>") == 0) {
			now = then;
			degrade_live_init(&then);
		} else if (!change(l, c->word[i], &then)) {
			cases_fail(c, "unknown word \"%s\"", c->word[i]);
			return;
		}
	}
	safe = degrade_override_safe(plan, &now, &then);
	if (i + 1 >= c->words || strcmp(c->word[i + 1], safe ? "safe" : "unsafe") != 0)
		cases_fail(c, "it is %s", safe ? "safe" : "unsafe");
}

static void block_end(struct cases *c)
{
	int i;

	for (i = 0; i < told.count; i++)
		if (!told.problem[i].expected)
			fprintf(stderr, "%s:%d: not expected: %s\n", c->path, told.problem[i].line, told.problem[i].text), c->failed++;
	told.count = 0;
}

static void each_ladder_is_judged(void **state)
{
	static struct ladder l;
	static struct degrade_plan plan;
	struct cases c;
	bool open = false, ok;
	int problems;

	assert_true(cases_open(&c, cases_path));
	while (cases_next(&c)) {
		if (strcmp(c.word[0], "ladder") == 0) {
			block_end(&c);
			ladder_clear(&l);
			open = true;
			c.run++;
			continue;
		}
		if (ladder_line(&l, &c, &ok)) {
			if (!ok)
				cases_fail(&c, "the line cannot be read");
			continue;
		}
		if (open) { /* the first line behind the ladder */
			problems = degrade_compile(&l.conf, &plan, NULL, tell);
			assert_int_equal(problems, told.count);
			assert_int_equal(problems, degrade_compile(&l.conf, &plan, NULL, NULL));
			open = false;
		}
		if (strcmp(c.word[0], "expect") == 0 && c.words > 1)
			expect(&c, &l);
		else if (strcmp(c.word[0], "cell") == 0 && c.words == 4)
			cell(&c, &l, &plan);
		else if (strcmp(c.word[0], "override") == 0)
			override(&c, &l, &plan);
		else
			cases_fail(&c, "the line cannot be read");
	}
	block_end(&c);
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 15);
}

/* ---- random plans ---- */

static void random_ways(uint64_t *seed, struct conf_ways *w)
{
	static const uint8_t likely[][3] = { { CONF_FORWARD }, { CONF_FORWARD, CONF_STALE }, { CONF_STALE }, { CONF_REFUSE },
					     { CONF_ACCEPT_LATER }, { CONF_FORWARD, CONF_ACCEPT_LATER }, { CONF_STALE, CONF_FORWARD } };
	static const uint8_t count[] = { 1, 2, 1, 1, 1, 2, 2 };
	unsigned i = cases_below(seed, sizeof(count));

	*w = (struct conf_ways){ count[i], { likely[i][0], likely[i][1] } };
}

static void random_ladder(uint64_t *seed, struct ladder *l)
{
	size_t m, i;

	ladder_clear(l);
	l->conf.modes = 1 + cases_below(seed, 3);
	l->conf.tiers = 1 + cases_below(seed, 3);
	l->conf.features = 1 + cases_below(seed, 4);
	for (m = 0; m < l->conf.modes; m++) {
		l->mode[m].name = "m";
		l->mode[m].enter_below = (uint16_t)(m ? 8000 - 2000 * m : 0);
		for (i = 0; i < l->conf.tiers; i++)
			random_ways(seed, &l->mode[m].ways[i]);
	}
	for (i = 0; i < l->conf.tiers; i++)
		l->tier[i] = "t";
	for (i = 0; i < l->conf.features; i++) {
		struct conf_feature *f = &l->feature[i];

		f->name = "f";
		f->tier = (uint8_t)cases_below(seed, (unsigned)l->conf.tiers);
		f->keep_state = cases_below(seed, 4);
		f->identity = cases_below(seed, 4) ? CONF_IDENTITY_HEADER : CONF_IDENTITY_NONE;
		f->shared_state = !cases_below(seed, 4);
		for (m = 0; m < l->conf.modes; m++)
			if ((f->set[m] = !cases_below(seed, 6)))
				random_ways(seed, &f->ways[m]);
	}
}

/* Promise P3, as a client sees it: in no mode and whatever else holds, one request to a
 * feature ends without ever having been forwarded while the same request to a lesser
 * feature is forwarded. */
static bool ever_forwarded(const struct degrade_plan *plan, const struct degrade_live *live, struct degrade_request r)
{
	struct degrade_decision d;

	while ((d = degrade_decide(plan, live, &r)).way != CONF_REFUSE) {
		if (d.way == CONF_FORWARD)
			return true;
		r.tried |= (uint8_t)(1 << d.way);
	}
	return false;
}

static void accepted_plans_keep_core_last(void **state)
{
	static struct ladder l;
	static struct degrade_plan plan;
	struct degrade_live live;
	uint64_t seed = 7;
	unsigned n, m, f, g, request, accepted = 0, refused = 0;

	for (n = 0; n < 60000; n++) {
		random_ladder(&seed, &l);
		if (degrade_compile(&l.conf, &plan, NULL, NULL)) {
			refused++;
			continue;
		}
		accepted++;
		degrade_live_init(&live);
		for (m = 0; m < plan.modes; m++)
			for (f = 0; f < plan.features; f++)
				for (g = 0; g < plan.features; g++)
					for (request = 0; request < 8; request++) {
						struct degrade_request r = { .feature = (uint8_t)f, .readable = request & 1,
							.has_identity = request & 2, .can_forward = true };
						bool mine, others;

						live.mode = (uint8_t)m;
						live.any_datacenter = request & 4;
						mine = ever_forwarded(&plan, &live, r);
						r.feature = (uint8_t)g;
						others = ever_forwarded(&plan, &live, r);
						if (plan.tier[f] < plan.tier[g] && others)
							assert_true(mine);
					}
	}
	assert_true(accepted > 500);
	assert_true(refused > 500);
}

/* An override judged safe keeps P3 when nothing was wrong before it. */
static void safe_overrides_keep_core_last(void **state)
{
	static struct ladder l;
	static struct degrade_plan plan;
	struct degrade_live now, then;
	uint64_t seed = 9;
	unsigned n, f, g, cohort, safe = 0, unsafe = 0;

	for (n = 0; n < 60000; n++) {
		random_ladder(&seed, &l);
		if (degrade_compile(&l.conf, &plan, NULL, NULL))
			continue;
		degrade_live_init(&now);
		now.mode = (uint8_t)cases_below(&seed, plan.modes);
		then = now;
		f = cases_below(&seed, plan.features);
		then.word[f] = (uint8_t)cases_below(&seed, 5);
		then.word_share[f] = (uint16_t)(1000 * cases_below(&seed, 11));
		if (!degrade_override_safe(&plan, &now, &then)) {
			unsafe++;
			continue;
		}
		safe++;
		for (f = 0; f < plan.features; f++)
			for (g = 0; g < plan.features; g++)
				for (cohort = 0; cohort < DEGRADE_FULL; cohort += 999) {
					struct degrade_request r = { .feature = (uint8_t)g, .can_forward = true, .cohort = (uint16_t)cohort };
					bool others = ever_forwarded(&plan, &then, r);

					r.feature = (uint8_t)f;
					if (plan.tier[f] < plan.tier[g] && others)
						assert_true(ever_forwarded(&plan, &then, r));
				}
	}
	assert_true(safe > 500);
	assert_true(unsafe > 100);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_ladder_is_judged),
		cmocka_unit_test(accepted_plans_keep_core_last),
		cmocka_unit_test(safe_overrides_keep_core_last),
	};

	if (argc < 2)
		return 64;
	cases_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
