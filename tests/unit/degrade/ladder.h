/* SPDX-License-Identifier: MIT */
/* The part of a configuration the plan is made of, written as lines:
 *
 *   tiers   NAME...                             most important first
 *   mode    NAME BELOW% WAYS...                 ways by tier, joined by ","
 *   feature NAME TIER [state|shared|stateless] [MODE=WAYS]...
 *           state: private recent state with an identity (the default)
 */
#ifndef FIREBREAK_TESTS_LADDER_H
#define FIREBREAK_TESTS_LADDER_H

#include "firebreak/degrade.h"

#include "../cases.h"

struct ladder {
	struct conf conf;
	const char *tier[CONF_MAX_TIERS];
	struct conf_mode mode[CONF_MAX_MODES];
	struct conf_feature feature[CONF_MAX_FEATURES];
	char names[8192];
	size_t used;
};

static inline void ladder_clear(struct ladder *l)
{
	memset(l, 0, sizeof(*l));
	l->conf.tier = l->tier;
	l->conf.mode = l->mode;
	l->conf.feature = l->feature;
}

static inline const char *ladder_name(struct ladder *l, const char *name)
{
	char *at = l->names + l->used;

	l->used += strlen(name) + 1;
	return l->used <= sizeof(l->names) ? strcpy(at, name) : "";
}

static inline uint16_t ladder_percent(const char *text)
{
	return (uint16_t)(atof(text) * 100 + 0.5);
}

static inline bool ladder_ways(const char *w, struct conf_ways *out)
{
	size_t len;
	int i;

	*out = (struct conf_ways){ 0 };
	if (strcmp(w, "-") == 0) /* none named */
		return true;
	for (; *w; w += len + (w[len] == ',')) {
		len = strcspn(w, ",");
		for (i = 0; i < CONF_WAYS; i++)
			if (strlen(degrade_way_word((enum conf_way)i)) == len && !memcmp(w, degrade_way_word((enum conf_way)i), len))
				break;
		if (i == CONF_WAYS || out->count == CONF_WAYS)
			return false;
		out->way[out->count++] = (uint8_t)i;
	}
	return true;
}

static inline int ladder_find_mode(const struct ladder *l, const char *name, size_t len)
{
	size_t m;

	for (m = 0; m < l->conf.modes; m++)
		if (strlen(l->mode[m].name) == len && memcmp(l->mode[m].name, name, len) == 0)
			return (int)m;
	return -1;
}

static inline int ladder_find_feature(const struct ladder *l, const char *name, size_t len)
{
	size_t f;

	for (f = 0; f < l->conf.features; f++)
		if (strlen(l->feature[f].name) == len && memcmp(l->feature[f].name, name, len) == 0)
			return (int)f;
	return -1;
}

static inline bool ladder_mode(struct ladder *l, const struct cases *c)
{
	struct conf_mode *m = &l->mode[l->conf.modes++];
	int i;

	m->mark = (struct conf_mark){ c->line, 1 };
	m->name = ladder_name(l, c->word[1]);
	m->enter_below = ladder_percent(c->word[2]);
	for (i = 3; i < c->words && i - 3 < CONF_MAX_TIERS; i++)
		if (!ladder_ways(c->word[i], &m->ways[i - 3]))
			return false;
	return true;
}

static inline bool ladder_feature(struct ladder *l, const struct cases *c)
{
	struct conf_feature *f = &l->feature[l->conf.features++];
	int i, m;

	f->mark = (struct conf_mark){ c->line, 1 };
	f->name = ladder_name(l, c->word[1]);
	f->keep_state = true;
	f->identity = CONF_IDENTITY_BEARER;
	for (f->tier = 0; f->tier < l->conf.tiers && strcmp(l->tier[f->tier], c->word[2]) != 0; f->tier++)
		;
	for (i = 3; i < c->words; i++) {
		char *is = strchr(c->word[i], '=');

		if (strcmp(c->word[i], "shared") == 0) {
			f->shared_state = true;
			f->identity = CONF_IDENTITY_NONE;
		} else if (strcmp(c->word[i], "stateless") == 0) {
			f->keep_state = false;
		} else if (strcmp(c->word[i], "nobody") == 0) {
			f->identity = CONF_IDENTITY_NONE;
		} else if (is && (m = ladder_find_mode(l, c->word[i], (size_t)(is - c->word[i]))) >= 0) {
			f->set[m] = true;
			if (!ladder_ways(is + 1, &f->ways[m]))
				return false;
		} else if (strcmp(c->word[i], "state") != 0) {
			return false;
		}
	}
	return true;
}

/* True when the line was one of ours; *ok is false when it could not be read. */
static inline bool ladder_line(struct ladder *l, const struct cases *c, bool *ok)
{
	int i;

	*ok = true;
	if (strcmp(c->word[0], "tiers") == 0) {
		for (i = 1; i < c->words && i <= CONF_MAX_TIERS; i++)
			l->tier[l->conf.tiers++] = ladder_name(l, c->word[i]);
	} else if (strcmp(c->word[0], "mode") == 0) {
		*ok = c->words > 3 && l->conf.modes < CONF_MAX_MODES && ladder_mode(l, c);
	} else if (strcmp(c->word[0], "feature") == 0) {
		*ok = c->words > 2 && l->conf.features < CONF_MAX_FEATURES && ladder_feature(l, c);
	} else {
		return false;
	}
	return true;
}

#endif
