/* SPDX-License-Identifier: MIT */
#include "override.h"

#include <string.h>

#include "firebreak/clock.h"

static const char *const kinds[] = { [CTL_MODE] = "mode", [CTL_FEATURE] = "feature", [CTL_DRAIN] = "drain" };
static const char *const words[] = {
	[DEGRADE_AUTO] = "auto", [DEGRADE_ON] = "on",	    [DEGRADE_STALE_ONLY] = "stale-only",
	[DEGRADE_OFF] = "off",	 [DEGRADE_SHARE] = "share",
};

const char *override_kind_word(enum ctl_kind kind)
{
	return kinds[kind];
}

bool override_kind_parse(const char *word, enum ctl_kind *kind)
{
	unsigned i;

	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!strcmp(word, kinds[i])) {
			*kind = (enum ctl_kind)i;
			return true;
		}
	}
	return false;
}

/* Control characters would forge lines in a terminal; everything else is a person's
 * own spelling. */
static bool printable(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

static bool blank(const char *text)
{
	return !text[strspn(text, " ")];
}

const char *override_check_form(const struct ctl_override *o, int64_t wall, uint32_t max_s)
{
	if (blank(o->author))
		return "an override needs an author";
	if (blank(o->reason))
		return "an override needs a reason";
	if (!printable(o->author) || !printable(o->reason) || !printable(o->subject) || !printable(o->value))
		return "author, reason and names may not contain control characters";
	if (o->until <= wall)
		return "an override needs an end in the future";
	if (o->until - wall > (int64_t)max_s * CLOCK_SEC)
		return "the end is further away than control.override_max allows";
	return NULL;
}

static int find_mode(const struct conf *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->modes; i++) {
		if (!strcmp(c->mode[i].name, name))
			return (int)i;
	}
	return -1;
}

static int find_feature(const struct conf *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->features; i++) {
		if (!strcmp(c->feature[i].name, name))
			return (int)i;
	}
	return -1;
}

static int find_datacenter(const struct conf *c, const char *name)
{
	size_t i;

	for (i = 0; i < c->datacenters; i++) {
		if (!strcmp(c->datacenter[i].name, name))
			return (int)i;
	}
	return -1;
}

/* DEGRADE_AUTO: not a word that can be set. */
static enum degrade_word parse_word(const char *word)
{
	unsigned i;

	for (i = DEGRADE_ON; i <= DEGRADE_SHARE; i++) {
		if (!strcmp(word, words[i]))
			return (enum degrade_word)i;
	}
	return DEGRADE_AUTO;
}

const char *override_check_names(const struct ctl_override *o, const struct conf *c)
{
	switch (o->kind) {
	case CTL_MODE:
		return find_mode(c, o->value) < 0 ? "there is no mode of this name" : NULL;
	case CTL_FEATURE:
		if (find_feature(c, o->subject) < 0)
			return "there is no feature of this name";
		if (parse_word(o->value) == DEGRADE_AUTO)
			return "a feature can be on, stale-only, off or share";
		if (parse_word(o->value) == DEGRADE_SHARE && o->share > DEGRADE_FULL)
			return "a share is between 0% and 100%";
		return NULL;
	case CTL_DRAIN:
		return find_datacenter(c, o->subject) < 0 ? "there is no datacenter of this name" : NULL;
	}
	return "this is no kind of override";
}

struct ctl_override *overrides_find(struct overrides *all, enum ctl_kind kind, const char *subject)
{
	size_t i;

	for (i = 0; i < all->n; i++) {
		if (all->item[i].kind == kind && !strcmp(all->item[i].subject, subject))
			return &all->item[i];
	}
	return NULL;
}

bool overrides_put(struct overrides *all, const struct ctl_override *o)
{
	struct ctl_override *place = overrides_find(all, o->kind, o->subject);

	if (!place) {
		if (all->n == CTL_OVERRIDES_MAX)
			return false;
		place = &all->item[all->n++];
	}
	*place = *o;
	return true;
}

void overrides_remove(struct overrides *all, struct ctl_override *o)
{
	size_t behind = (size_t)(all->item + all->n - (o + 1));

	memmove(o, o + 1, behind * sizeof(*o));
	all->n--;
}

struct ctl_override *overrides_ended(struct overrides *all, int64_t wall)
{
	size_t i;

	for (i = 0; i < all->n; i++) {
		if (all->item[i].until <= wall)
			return &all->item[i];
	}
	return NULL;
}

static void apply_feature(const struct ctl_override *o, const struct conf *c, struct degrade_live *live)
{
	int f = find_feature(c, o->subject);

	if (f < 0)
		return;
	live->word[f] = (uint8_t)parse_word(o->value);
	live->word_share[f] = o->share;
}

void overrides_apply(const struct overrides *all, const struct conf *c, uint8_t auto_mode, struct degrade_live *live,
		     bool drained[CONF_MAX_DATACENTERS])
{
	size_t i;
	int at;

	live->mode = auto_mode;
	live->mode_forced = false;
	memset(live->word, DEGRADE_AUTO, sizeof(live->word));
	memset(live->word_share, 0, sizeof(live->word_share));
	memset(drained, 0, CONF_MAX_DATACENTERS * sizeof(*drained));
	for (i = 0; i < CONF_MAX_FEATURES; i++)
		live->share[i] = DEGRADE_FULL;
	for (i = 0; i < all->n; i++) {
		const struct ctl_override *o = &all->item[i];

		switch (o->kind) {
		case CTL_MODE:
			at = find_mode(c, o->value);
			if (at >= 0) {
				live->mode = (uint8_t)at;
				live->mode_forced = true;
			}
			break;
		case CTL_FEATURE:
			apply_feature(o, c, live);
			break;
		case CTL_DRAIN:
			at = find_datacenter(c, o->subject);
			if (at >= 0)
				drained[at] = true;
			break;
		}
	}
}
