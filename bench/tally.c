/* SPDX-License-Identifier: MIT */
#include "tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct tally_feature_info tally_features[TALLY_FEATURES] = {
#define X(name, word, column, core, read, share) { word, column, core, read, share },
	FEATURES(X)
#undef X
};

bool tally_init(struct tally *t, const char *names)
{
	size_t n;

	*t = (struct tally){ 0 };
	for (names = names ? names : "run"; *names; names += n + (names[n] == ',')) {
		n = strcspn(names, ",");
		if (!n || n >= sizeof(t->at->name) || t->phases == TALLY_PHASES)
			return false;
		memcpy(t->at[t->phases++].name, names, n);
	}
	return t->phases > 0;
}

void tally_next_phase(struct tally *t, int64_t now)
{
	struct tally_phase *p = &t->at[t->phase];

	if (t->phase + 1 == t->phases)
		return;
	if (p->last_good && now - p->last_good > p->gap)
		p->gap = now - p->last_good;
	t->at[++t->phase].last_good = now;
}

static void move(uint64_t *c, uint64_t n)
{
	if (n > c[OUTCOME_SERVED])
		n = c[OUTCOME_SERVED];
	c[OUTCOME_SERVED] -= n;
	c[OUTCOME_FAILED_OVER] += n;
}

void tally_failed_over(struct tally *t, unsigned feature, uint64_t n)
{
	uint64_t *second = t->second[feature];

	if (n <= second[OUTCOME_FAILED_OVER])
		return;
	n -= second[OUTCOME_FAILED_OVER];
	move(second, n);
	move(t->at[t->phase].cell[feature].outcome, n);
}

void tally_record(struct tally *t, unsigned phase, unsigned feature, enum outcome o, bool reordered, int64_t now, int64_t latency_ns)
{
	struct tally_cell *c = &t->at[phase].cell[feature];
	struct tally_phase *p = &t->at[t->phase]; /* a success fills the gap of its own time */

	c->outcome[o]++;
	c->reordered += reordered;
	c->over_250_ms += latency_ns > 250000000;
	c->over_400_ms += latency_ns > 400000000;
	tm_hist_record(&c->latency, latency_ns);
	if (latency_ns > c->max_ns)
		c->max_ns = latency_ns;
	t->second[feature][o]++;
	if (!tally_features[feature].core || o > OUTCOME_STALE)
		return;
	if (p->last_good && now - p->last_good > p->gap)
		p->gap = now - p->last_good;
	p->last_good = now;
}

/* ---- assertions ---- */

static bool selected(const char *what, unsigned f)
{
	const struct tally_feature_info *i = &tally_features[f];

	if (!strcmp(what, "all"))
		return true;
	if (!strcmp(what, "core"))
		return i->core;
	if (!strcmp(what, "core-reads"))
		return i->core && i->read;
	if (!strcmp(what, "other"))
		return !i->core;
	return !strcmp(what, i->word);
}

/* Everything the first two words select, as one cell. False: they select nothing. */
static bool gather(const struct tally *t, const char *phase, const char *what, struct tally_cell *sum, int64_t *gap)
{
	const struct tally_cell *c;
	unsigned p, f, o;
	bool any = false;

	*sum = (struct tally_cell){ 0 };
	*gap = 0;
	for (p = 0; p < t->phases; p++) {
		if (strcmp(phase, "all") != 0 && strcmp(phase, t->at[p].name) != 0)
			continue;
		if (t->at[p].gap > *gap)
			*gap = t->at[p].gap;
		for (f = 0; f < TALLY_FEATURES; f++) {
			if (!selected(what, f))
				continue;
			any = true;
			c = &t->at[p].cell[f];
			for (o = 0; o < OUTCOME_COUNT; o++)
				sum->outcome[o] += c->outcome[o];
			sum->reordered += c->reordered;
			sum->over_250_ms += c->over_250_ms;
			sum->over_400_ms += c->over_400_ms;
			sum->max_ns = c->max_ns > sum->max_ns ? c->max_ns : sum->max_ns;
			tm_hist_merge(&sum->latency, &c->latency);
		}
	}
	return any;
}

static bool count_of(const struct tally_cell *c, int64_t gap, const char *count, double *v)
{
	unsigned o;

	for (o = 0; o < OUTCOME_COUNT; o++) {
		if (!strcmp(count, outcome_word((enum outcome)o))) {
			*v = (double)c->outcome[o];
			return true;
		}
	}
	if (!strcmp(count, "reordered"))
		*v = (double)c->reordered;
	else if (!strcmp(count, "over_250_ms"))
		*v = (double)c->over_250_ms;
	else if (!strcmp(count, "over_400_ms"))
		*v = (double)c->over_400_ms;
	else if (!strcmp(count, "total"))
		*v = (double)c->latency.count;
	else if (!strcmp(count, "ok"))
		*v = (double)(c->latency.count - c->outcome[OUTCOME_FAILED] - c->outcome[OUTCOME_WRONG]);
	else if (!strcmp(count, "p50_ms"))
		*v = (double)tm_hist_quantile(&c->latency, 0.5) / 1e6;
	else if (!strcmp(count, "p99_ms"))
		*v = (double)tm_hist_quantile(&c->latency, 0.99) / 1e6;
	else if (!strcmp(count, "max_ms"))
		*v = (double)c->max_ns / 1e6;
	else if (!strcmp(count, "gap_ms"))
		*v = (double)gap / 1e6;
	else
		return false;
	return true;
}

enum expect_result tally_expect(const struct tally *t, const char *assertion, double *value)
{
	char phase[32], what[32], count[32], op[3], number[32], rest, *end;
	struct tally_cell *sum;
	enum expect_result r = EXPECT_INVALID;
	int64_t gap;
	double v;
	bool held = false;

	if (sscanf(assertion, "%31[^. ].%31[^. ].%31[a-z0-9_] %2[=!<>] %31s %c", phase, what, count, op, number, &rest) != 5)
		return EXPECT_INVALID;
	v = strtod(number, &end);
	if (end == number || *end)
		return EXPECT_INVALID;
	sum = malloc(sizeof(*sum));
	if (sum && gather(t, phase, what, sum, &gap) && count_of(sum, gap, count, value)) {
		r = EXPECT_FAILED;
		if (!strcmp(op, "=="))
			held = *value == v;
		else if (!strcmp(op, "!="))
			held = *value != v;
		else if (!strcmp(op, "<="))
			held = *value <= v;
		else if (!strcmp(op, ">="))
			held = *value >= v;
		else if (!strcmp(op, "<"))
			held = *value < v;
		else if (!strcmp(op, ">"))
			held = *value > v;
		else
			r = EXPECT_INVALID;
		if (held)
			r = EXPECT_HELD;
	}
	free(sum);
	return r;
}
