/* SPDX-License-Identifier: MIT */
#include "override.h"

#include <stdio.h>
#include <string.h>

#include "firebreak/clock.h"
#include "firebreak/suggest.h"

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
	if (o->over < 0 || o->over > o->until - o->from)
		return "it would end before the datacenter is drained";
	return NULL;
}

static const char *mode_name(const struct conf *c, size_t i) { return i < c->modes ? c->mode[i].name : NULL; }
static const char *feature_name(const struct conf *c, size_t i) { return i < c->features ? c->feature[i].name : NULL; }
static const char *datacenter_name(const struct conf *c, size_t i) { return i < c->datacenters ? c->datacenter[i].name : NULL; }

typedef const char *name_at(const struct conf *c, size_t i); /* NULL: no more */

static int find(const struct conf *c, name_at *at, const char *name)
{
	const char *one;
	size_t i;

	for (i = 0; (one = at(c, i)); i++) {
		if (!strcmp(one, name))
			return (int)i;
	}
	return -1;
}

/* What was meant, or else what there is, as far as it fits. */
static const char *unknown(const struct conf *c, const char *what, name_at *at, const char *name, char why[OVERRIDE_WHY])
{
	struct suggest s;
	const char *one;
	char meant[128];
	size_t i, n;

	suggest_init(&s, name);
	for (i = 0; (one = at(c, i)); i++)
		suggest_try(&s, one);
	n = (size_t)snprintf(why, OVERRIDE_WHY, "there is no %s \"%.63s\"%s", what, name, suggest_text(&s, meant, sizeof(meant)));
	for (i = 0; !s.best && (one = at(c, i)) && n + strlen(one) + 8 < OVERRIDE_WHY; i++)
		n += (size_t)snprintf(why + n, OVERRIDE_WHY - n, "%s%s", i ? ", " : "; there are ", one);
	return why;
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

const char *override_check_subject(enum ctl_kind kind, const char *subject, const struct conf *c, char why[OVERRIDE_WHY])
{
	switch (kind) {
	case CTL_MODE:
		return NULL; /* there is but one */
	case CTL_FEATURE:
		return find(c, feature_name, subject) < 0 ? unknown(c, "feature", feature_name, subject, why) : NULL;
	case CTL_DRAIN:
		return find(c, datacenter_name, subject) < 0 ? unknown(c, "datacenter", datacenter_name, subject, why) : NULL;
	}
	return "this is no kind of override";
}

const char *override_check_names(const struct ctl_override *o, const struct conf *c, char why[OVERRIDE_WHY])
{
	const char *no_subject = override_check_subject(o->kind, o->subject, c, why);

	if (no_subject)
		return no_subject;
	if (o->kind == CTL_MODE)
		return find(c, mode_name, o->value) < 0 ? unknown(c, "mode", mode_name, o->value, why) : NULL;
	if (o->kind == CTL_FEATURE) {
		if (parse_word(o->value) == DEGRADE_AUTO)
			return "a feature can be on, stale-only, off or share";
		if (parse_word(o->value) == DEGRADE_SHARE && o->share > DEGRADE_FULL)
			return "a share is between 0% and 100%";
	}
	return NULL;
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
	int f = find(c, feature_name, o->subject);

	if (f < 0)
		return;
	live->word[f] = (uint8_t)parse_word(o->value);
	live->word_share[f] = o->share;
}

/* Evenly from all to nothing. By the wall clock, so that it goes on where it was in a new
 * control process. */
static int drain_left(const struct ctl_override *o, int64_t wall)
{
	int64_t passed = wall - o->from;

	if (passed >= o->over)
		return 0;
	return passed <= 0 ? DEGRADE_FULL : (int)(DEGRADE_FULL - (double)passed / (double)o->over * DEGRADE_FULL);
}

void overrides_apply(const struct overrides *all, const struct conf *c, uint8_t auto_mode, int64_t wall, struct degrade_live *live,
		     int left[CONF_MAX_DATACENTERS])
{
	size_t i;
	int at;

	live->mode = auto_mode;
	live->mode_forced = false;
	memset(live->word, DEGRADE_AUTO, sizeof(live->word));
	memset(live->word_share, 0, sizeof(live->word_share));
	for (i = 0; i < CONF_MAX_DATACENTERS; i++)
		left[i] = -1;
	for (i = 0; i < CONF_MAX_FEATURES; i++)
		live->share[i] = DEGRADE_FULL;
	for (i = 0; i < all->n; i++) {
		const struct ctl_override *o = &all->item[i];

		switch (o->kind) {
		case CTL_MODE:
			at = find(c, mode_name, o->value);
			if (at >= 0) {
				live->mode = (uint8_t)at;
				live->mode_forced = true;
			}
			break;
		case CTL_FEATURE:
			apply_feature(o, c, live);
			break;
		case CTL_DRAIN:
			at = find(c, datacenter_name, o->subject);
			if (at >= 0)
				left[at] = drain_left(o, wall);
			break;
		}
	}
}
