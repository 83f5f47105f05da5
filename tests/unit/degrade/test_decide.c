/* SPDX-License-Identifier: MIT */
/* usage: test_decide decide.cases */
#include "firebreak/degrade.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../cases.h"

static const char *cases_path;

static const char *const fault_words[FAULT_COUNT] = {
	[FAULT_NONE] = "",
#define X(name, word, ...) [FAULT_##name] = word,
#include "firebreak/faults.def"
#undef X
};

struct snapshot {
	struct degrade_plan plan;
	struct degrade_live live;
	struct degrade_request request;
};

static bool parse_ways(const char *w, struct conf_ways *out)
{
	size_t len;
	int i;

	*out = (struct conf_ways){ 0 };
	for (; *w; w += len + (w[len] == ',')) {
		len = strcspn(w, ",");
		for (i = 0; i < CONF_WAYS; i++)
			if (strlen(degrade_way_word((enum conf_way)i)) == len && !memcmp(w, degrade_way_word((enum conf_way)i), len))
				break;
		if (i == CONF_WAYS || out->count == CONF_WAYS)
			return false;
		out->way[out->count++] = (uint8_t)i;
	}
	if (out->count < CONF_WAYS && out->way[out->count - 1] != CONF_REFUSE)
		out->way[out->count++] = CONF_REFUSE;
	return true;
}

static enum fault parse_fault(const char *word)
{
	int i;

	for (i = 1; i < FAULT_COUNT; i++)
		if (strcmp(word, fault_words[i]) == 0)
			return (enum fault)i;
	return FAULT_NONE;
}

static uint16_t parse_share(const char *text)
{
	return (uint16_t)(atof(text) * 100 + 0.5);
}

static bool parse_flag(struct snapshot *s, const char *w)
{
	static const struct {
		const char *word;
		int on;
	} words[] = { { "off", DEGRADE_OFF }, { "on", DEGRADE_ON }, { "stale-only", DEGRADE_STALE_ONLY } };
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strcmp(w, words[i].word) == 0)
			return (s->live.word[0] = (uint8_t)words[i].on) != DEGRADE_AUTO;
	if (strcmp(w, "dark") == 0)
		s->live.any_datacenter = false;
	else if (strcmp(w, "shared") == 0)
		s->plan.identity_needed[0] = false;
	else if (strcmp(w, "GET") == 0 || strcmp(w, "POST") == 0)
		s->request.readable = *w == 'G';
	else if (strcmp(w, "anonymous") == 0)
		s->request.has_identity = false;
	else if (strcmp(w, "final") == 0)
		s->request.can_forward = false;
	else if (strcmp(w, "missed") == 0)
		s->request.tried |= 1 << CONF_STALE;
	else if (strcmp(w, "outbox-down") == 0)
		s->request.tried |= 1 << CONF_ACCEPT_LATER;
	else
		return false;
	return true;
}

static bool parse_word(struct snapshot *s, const char *w)
{
	if (strncmp(w, "normal=", 7) == 0)
		return parse_ways(w + 7, &s->plan.cell[0][0]);
	if (strncmp(w, "failed=", 7) == 0)
		return (s->request.last_fault = parse_fault(w + 7)) != FAULT_NONE;
	if (strncmp(w, "share=", 6) == 0) {
		s->live.word[0] = DEGRADE_SHARE;
		s->live.word_share[0] = parse_share(w + 6);
	} else if (strncmp(w, "admit=", 6) == 0) {
		s->live.share[0] = parse_share(w + 6);
	} else if (strncmp(w, "cohort=", 7) == 0) {
		s->request.cohort = parse_share(w + 7);
	} else if (strncmp(w, "attempts=", 9) == 0) {
		s->request.attempts = (uint8_t)atoi(w + 9);
	} else {
		return parse_flag(s, w);
	}
	return true;
}

/* Word 0 is the mode's cell; returns the index behind "->", 0: the line is broken. */
static int parse(struct cases *c, struct snapshot *s)
{
	int i;

	memset(s, 0, sizeof(*s));
	s->plan.modes = 3; /* and the worst one refuses: not the one in force */
	s->plan.cell[2][0] = (struct conf_ways){ 1, { CONF_REFUSE } };
	s->plan.features = 1;
	s->plan.tiers = 1;
	s->plan.identity_needed[0] = true;
	degrade_live_init(&s->live);
	s->live.mode = 1;
	s->request = (struct degrade_request){ .can_forward = true, .has_identity = true };
	if (!parse_ways(c->word[0], &s->plan.cell[1][0]))
		return 0;
	s->plan.cell[0][0] = s->plan.cell[1][0];
	for (i = 1; i < c->words && strcmp(c->word[i], "->") != 0; i++) {
		if (!parse_word(s, c->word[i])) {
			cases_fail(c, "unknown word \"%s\"", c->word[i]);
			return 0;
		}
	}
	return i + 2 < c->words ? i + 1 : 0;
}

static void each_line_decides(void **state)
{
	struct cases c;
	struct snapshot s;
	struct degrade_decision d;
	int at;

	assert_true(cases_open(&c, cases_path));
	while (cases_next(&c)) {
		at = parse(&c, &s);
		if (!at) {
			cases_fail(&c, "the line cannot be read");
			continue;
		}
		d = degrade_decide(&s.plan, &s.live, &s.request);
		c.run++;
		if (strcmp(degrade_way_word(d.way), c.word[at]) != 0 || strcmp(degrade_why_word(d.why), c.word[at + 1]) != 0 ||
		    strcmp(fault_words[d.fault], c.word[at + 2] ? c.word[at + 2] : "") != 0)
			cases_fail(&c, "got %s %s %s", degrade_way_word(d.way), degrade_why_word(d.why), fault_words[d.fault]);
	}
	assert_int_equal(c.failed, 0);
	assert_true(c.run > 60);
}

static const bool answerable[FAULT_COUNT] = {
#define X(name, word, status, ...) [FAULT_##name] = (status) != 0,
#include "firebreak/faults.def"
#undef X
};

/* Any bytes at all, as a torn or foreign board might give them: there is a decision,
 * it is one of the cell's ways and a refusal can be told to a client. */
static void decide_is_total(void **state)
{
	struct snapshot s;
	uint64_t seed = 42;
	struct degrade_decision d;
	size_t i, n;

	for (n = 0; n < 20000; n++) {
		unsigned char *raw = (unsigned char *)&s;

		for (i = 0; i < sizeof(s); i++)
			raw[i] = (unsigned char)cases_random(&seed);
		s.live.mode_forced = s.live.any_datacenter = n & 1; /* a bool has two values */
		s.request.can_forward = n & 2;
		s.request.has_identity = n & 4;
		s.request.readable = n & 8;
		if (n & 16) {
			s.plan.modes = (uint8_t)(1 + n % CONF_MAX_MODES);
			s.plan.features = (uint8_t)(1 + n % CONF_MAX_FEATURES);
		}
		d = degrade_decide(&s.plan, &s.live, &s.request);
		assert_true((unsigned)d.way < CONF_WAYS);
		assert_true((unsigned)d.why < DEGRADE_WHY_COUNT);
		assert_int_equal(d.way == CONF_REFUSE, d.fault != FAULT_NONE);
		assert_true(d.way != CONF_REFUSE || answerable[d.fault]);
		assert_true(d.way != CONF_FORWARD || (s.request.can_forward && s.live.any_datacenter));
		assert_true(d.way != CONF_STALE || s.request.readable);
		assert_true(d.way != CONF_ACCEPT_LATER || !s.request.readable);
	}
}

/* Whoever asks again after each failure comes to an end: no way is given twice once
 * it is used up, and the last word is a refusal. */
static void walk_ends(void **state)
{
	struct degrade_plan plan = { .modes = 1, .features = 1, .tiers = 1 };
	struct degrade_live live;
	unsigned readable, order, i;

	degrade_live_init(&live);
	for (order = 0; order < 6 * 2; order++) {
		static const uint8_t orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
		struct degrade_request r = { .can_forward = true, .readable = order & 1 };
		struct degrade_decision d;

		readable = order & 1;
		plan.cell[0][0] = (struct conf_ways){ 4, { orders[order / 2][0], orders[order / 2][1], orders[order / 2][2], CONF_REFUSE } };
		for (i = 0; i < 5; i++) {
			d = degrade_decide(&plan, &live, &r);
			if (d.way == CONF_REFUSE)
				break;
			if (d.way == CONF_FORWARD) {
				r.attempts++;
				r.can_forward = r.attempts < 2;
				r.last_fault = FAULT_CONNECT_REFUSED;
			} else {
				assert_false(r.tried & 1 << d.way);
				r.tried |= (uint8_t)(1 << d.way);
			}
		}
		assert_int_equal(d.way, CONF_REFUSE);
		assert_int_equal(r.attempts, 2);
		assert_int_equal(r.tried, readable ? 1 << CONF_STALE : 1 << CONF_ACCEPT_LATER);
	}
}

static void unknown_words(void **state)
{
	assert_string_equal(degrade_why_word((enum degrade_why)99), "unknown");
	assert_string_equal(degrade_way_word((enum conf_way)99), "unknown");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_line_decides),
		cmocka_unit_test(decide_is_total),
		cmocka_unit_test(walk_ends),
		cmocka_unit_test(unknown_words),
	};

	if (argc < 2)
		return 64;
	cases_path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
