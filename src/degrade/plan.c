/* SPDX-License-Identifier: MIT */
/*
 * The plan compiler: mode x feature -> ways to answer, from the ways a mode gives to
 * a tier and those a feature gives itself (which win). And its checks, which are what
 * makes promise P3 true of every plan that is accepted:
 *
 *   core last   in no mode is a feature forwarded while a more important one is not
 *   ladder      a worse mode never gives a feature back what a milder one took
 *   whole       every cell has a way, none is named twice or behind `refuse`
 *
 * A compiled cell always ends with CONF_REFUSE, and holds CONF_STALE only where
 * recent state can exist: the feature keeps it, and it is shared or bound to an
 * identity the feature declares.
 */
#include "firebreak/degrade.h"

struct check {
	const struct conf *c;
	const struct degrade_plan *plan;
	struct conf_errors *errors;
	degrade_report report;
	int problems;
};

/* Counts a problem and tells it when somebody listens. */
#define PROBLEM(k, mark, ...) \
	do { \
		(k)->problems++; \
		if ((k)->report) \
			(k)->report((k)->errors, (mark), __VA_ARGS__); \
	} while (0)

static bool has(const struct conf_ways *w, enum conf_way way)
{
	unsigned i;

	for (i = 0; i < w->count && i < CONF_WAYS; i++)
		if (w->way[i] == way)
			return true;
	return false;
}

static bool keeps_recent_state(const struct conf_feature *f)
{
	return f->keep_state && (f->shared_state || f->identity != CONF_IDENTITY_NONE);
}

static const struct conf_ways *ways_named(const struct conf *c, unsigned m, unsigned f)
{
	const struct conf_feature *feature = &c->feature[f];

	return feature->set[m] ? &feature->ways[m] : &c->mode[m].ways[feature->tier];
}

/* What can work of the ways named, each once, refuse at the end. */
static void cell_compile(const struct conf_ways *named, bool stale_possible, struct conf_ways *cell)
{
	unsigned i;

	*cell = (struct conf_ways){ 0 };
	for (i = 0; i < named->count && i < CONF_WAYS && named->way[i] < CONF_REFUSE; i++)
		if (!has(cell, (enum conf_way)named->way[i]) && (named->way[i] != CONF_STALE || stale_possible))
			cell->way[cell->count++] = named->way[i];
	cell->way[cell->count++] = CONF_REFUSE;
}

/* ---- checks ---- */

static struct conf_mark cell_mark(const struct conf *c, unsigned m, unsigned f)
{
	return c->feature[f].set[m] ? c->feature[f].mark : c->mode[m].mark;
}

static bool check_sizes(struct check *k)
{
	const struct conf *c = k->c;
	struct conf_mark none = { 0, 0 };
	size_t f;

	if (!c->modes || c->modes > CONF_MAX_MODES)
		PROBLEM(k, none, "the ladder has %zu modes; expected 1 to %d", c->modes, CONF_MAX_MODES);
	if (!c->features || c->features > CONF_MAX_FEATURES)
		PROBLEM(k, none, "there are %zu features; expected 1 to %d", c->features, CONF_MAX_FEATURES);
	if (!c->tiers || c->tiers > CONF_MAX_TIERS)
		PROBLEM(k, none, "there are %zu tiers; expected 1 to %d", c->tiers, CONF_MAX_TIERS);
	for (f = 0; !k->problems && f < c->features; f++)
		if (c->feature[f].tier >= c->tiers)
			PROBLEM(k, c->feature[f].mark, "feature \"%s\" is in no known tier", c->feature[f].name);
	return !k->problems;
}

/* Ways a person wrote that can never be taken, or none at all. `who` names the place. */
static void check_ways(struct check *k, const struct conf_ways *w, struct conf_mark mark, const char *mode, const char *who)
{
	unsigned i, seen = 0;

	if (!w->count || w->count > CONF_WAYS)
		PROBLEM(k, mark, "mode \"%s\" gives \"%s\" no way to answer; expected at least one of forward, stale, accept-later, refuse",
			mode, who);
	for (i = 0; i < w->count && i < CONF_WAYS; i++) {
		if (w->way[i] >= CONF_WAYS)
			PROBLEM(k, mark, "mode \"%s\" gives \"%s\" an unknown way to answer", mode, who);
		else if (seen & (1u << w->way[i]))
			PROBLEM(k, mark, "mode \"%s\" names %s twice for \"%s\"", mode,
				degrade_way_word((enum conf_way)w->way[i]), who);
		else if (seen & (1u << CONF_REFUSE))
			PROBLEM(k, mark, "mode \"%s\" names %s for \"%s\" behind refuse, where it is never reached", mode,
				degrade_way_word((enum conf_way)w->way[i]), who);
		else
			seen |= 1u << w->way[i];
	}
}

static void check_whole(struct check *k)
{
	const struct conf *c = k->c;
	const struct conf_feature *f;
	size_t m, i;

	for (m = 0; m < c->modes; m++) {
		for (i = 0; i < c->tiers; i++)
			check_ways(k, &c->mode[m].ways[i], c->mode[m].mark, c->mode[m].name, c->tier[i]);
		for (i = 0; i < c->features; i++) {
			f = &c->feature[i];
			if (!f->set[m])
				continue;
			check_ways(k, &f->ways[m], f->mark, c->mode[m].name, f->name);
			if (has(&f->ways[m], CONF_STALE) && !f->keep_state)
				PROBLEM(k, f->mark, "feature \"%s\" answers with recent state in mode \"%s\" but keeps none", f->name,
					c->mode[m].name);
			else if (has(&f->ways[m], CONF_STALE) && !keeps_recent_state(f))
				PROBLEM(k, f->mark, "feature \"%s\" answers with recent state in mode \"%s\", but its state is private "
					"and it declares no identity; expected an identity, or state that is the same for everybody",
					f->name, c->mode[m].name);
		}
	}
}

/* How much of a cell is left: 2 the datacenter's own answer, 1 a substitute, 0 nothing. */
static int cell_level(const struct conf_ways *cell)
{
	if (has(cell, CONF_FORWARD))
		return 2;
	return has(cell, CONF_STALE) || has(cell, CONF_ACCEPT_LATER);
}

/* The first feature that is forwarded although its tier matters less, or -1. */
static int lesser_forwarded(const struct check *k, unsigned m, unsigned f)
{
	unsigned g;

	for (g = 0; g < k->plan->features; g++)
		if (k->plan->tier[g] > k->plan->tier[f] && has(&k->plan->cell[m][g], CONF_FORWARD))
			return (int)g;
	return -1;
}

static void check_core_last(struct check *k)
{
	const struct conf *c = k->c;
	unsigned m, f;
	int g;

	for (m = 0; m < k->plan->modes; m++) {
		for (f = 0; f < k->plan->features; f++) {
			const struct conf_feature *more = &c->feature[f], *less;

			g = has(&k->plan->cell[m][f], CONF_FORWARD) ? -1 : lesser_forwarded(k, m, f);
			if (g < 0)
				continue;
			less = &c->feature[g];
			PROBLEM(k, more->set[m] || !less->set[m] ? cell_mark(c, m, f) : less->mark,
				"core last: mode \"%s\" does not forward \"%s\" (tier %s) while it forwards \"%s\" (tier %s, which "
				"matters less); expected forward for \"%s\", or none for \"%s\"",
				c->mode[m].name, more->name, c->tier[more->tier], less->name, c->tier[less->tier], more->name,
				less->name);
		}
	}
}

static void check_ladder(struct check *k)
{
	static const char *const words[] = { "refuses", "only substitutes", "forwards" };
	const struct conf *c = k->c;
	unsigned m, f;

	for (m = 1; m < k->plan->modes; m++) {
		const struct conf_mode *mode = &c->mode[m], *milder = &c->mode[m - 1];

		if (!mode->enter_below || mode->enter_below > DEGRADE_FULL)
			PROBLEM(k, mode->mark, "mode \"%s\" has no capacity under which it is entered; expected above 0 %% to 100 %%",
				mode->name);
		else if (m > 1 && mode->enter_below >= milder->enter_below)
			PROBLEM(k, mode->mark, "mode \"%s\" is entered below %u.%02u %%, not later than the milder \"%s\" (%u.%02u %%); "
				"expected the ladder to fall", mode->name, mode->enter_below / 100, mode->enter_below % 100,
				milder->name, milder->enter_below / 100, milder->enter_below % 100);
		for (f = 0; f < k->plan->features; f++) {
			int now = cell_level(&k->plan->cell[m][f]), before = cell_level(&k->plan->cell[m - 1][f]);

			if (now > before)
				PROBLEM(k, cell_mark(c, c->feature[f].set[m] ? m : m - 1, f),
					"mode \"%s\" %s \"%s\", which the milder mode \"%s\" %s; expected a ladder that only gets stricter",
					mode->name, words[now], c->feature[f].name, milder->name, words[before]);
		}
	}
}

int degrade_compile(const struct conf *c, struct degrade_plan *plan, struct conf_errors *errors, degrade_report report)
{
	struct check k = { c, plan, errors, report, 0 };
	unsigned m, f;

	*plan = (struct degrade_plan){ 0 };
	if (!check_sizes(&k))
		return k.problems;
	plan->modes = (uint8_t)c->modes;
	plan->features = (uint8_t)c->features;
	plan->tiers = (uint8_t)c->tiers;
	for (f = 0; f < c->features; f++) {
		plan->tier[f] = c->feature[f].tier;
		plan->identity_needed[f] = !c->feature[f].shared_state;
		for (m = 0; m < c->modes; m++)
			cell_compile(ways_named(c, m, f), keeps_recent_state(&c->feature[f]), &plan->cell[m][f]);
	}
	check_whole(&k);
	check_core_last(&k);
	check_ladder(&k);
	return k.problems;
}
