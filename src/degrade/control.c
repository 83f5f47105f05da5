/* SPDX-License-Identifier: MIT */
/*
 * The mode controller. Up the ladder at once, as far as the capacity that is left
 * demands; down one rung at a time, each after the evidence has asked for it during
 * the whole hold:
 *
 *   capacity ──────┐            ┌─────────────────────────
 *                  └────────────┘
 *   mode     0 ────┐              ┌ 1 ────┐ 0 ────────────
 *                  └ 2 ───────────┘
 *                  ▲ at once     ▲ hold   ▲ hold
 *
 * A mode is left only above its threshold plus 5 % of it, so that capacity moving
 * about the threshold does not move the mode. Evidence that breaks off during the
 * hold starts the hold anew.
 */
#include "firebreak/degrade.h"

#define MS 1000000LL

/* The worst mode whose threshold the capacity is under. */
static uint8_t mode_wanted(const struct conf *conf, uint16_t reachable, bool leaving)
{
	uint32_t limit;
	size_t m;

	for (m = conf->modes; m-- > 1;) {
		limit = conf->mode[m].enter_below;
		if (leaving)
			limit += (limit * 5 + 99) / 100;
		if (limit > DEGRADE_FULL)
			limit = DEGRADE_FULL; /* all is back: nothing more can be waited for */
		if (reachable < limit)
			return (uint8_t)m;
	}
	return 0;
}

uint8_t degrade_control(struct degrade_controller *c, const struct conf *conf, uint16_t reachable, int64_t now)
{
	int64_t hold = (int64_t)conf->control.hold_ms * MS;
	uint8_t wanted;

	if (!conf->modes)
		return 0;
	if (c->mode >= conf->modes) /* a reload made the ladder shorter */
		c->mode = (uint8_t)(conf->modes - 1);
	wanted = mode_wanted(conf, reachable, false);
	if (wanted > c->mode) {
		*c = (struct degrade_controller){ .mode = wanted, .since = now };
		return c->mode;
	}
	if (mode_wanted(conf, reachable, true) >= c->mode) {
		c->better_since = 0;
		return c->mode;
	}
	if (!c->better_since)
		c->better_since = now ? now : 1;
	if (now - c->better_since >= hold) { /* never before `since` */
		c->mode--;
		c->since = now;
		c->better_since = now; /* the next rung has a hold of its own */
	}
	return c->mode;
}
