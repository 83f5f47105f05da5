/* SPDX-License-Identifier: MIT */
/*
 * Whether an override keeps promise P3. The plan itself is known to be good, so the
 * question is only what the override makes worse: an imbalance that is there already
 * (by an earlier, forced override) must not forbid its own repair.
 */
#include "firebreak/degrade.h"

#define NOTHING_ELSE 0
#define SUBSTITUTE   1 /* stale or accept-later */

struct service {
	uint16_t forward; /* share of users forwarded, basis points */
	uint8_t otherwise;
};

static struct service service_of(const struct degrade_plan *plan, const struct degrade_live *live, unsigned f)
{
	struct service s = { 0, NOTHING_ELSE };
	unsigned i, mode = live->mode < plan->modes ? live->mode : plan->modes - 1u;
	const struct conf_ways *cell = &plan->cell[live->word[f] == DEGRADE_ON ? 0 : mode][f];

	if (live->word[f] == DEGRADE_OFF)
		return s;
	for (i = 0; i < cell->count && i < CONF_WAYS; i++) {
		if (cell->way[i] == CONF_STALE || cell->way[i] == CONF_ACCEPT_LATER)
			s.otherwise = SUBSTITUTE;
		if (cell->way[i] != CONF_FORWARD || !live->any_datacenter || live->word[f] == DEGRADE_STALE_ONLY)
			continue;
		s.forward = live->share[f] < DEGRADE_FULL ? live->share[f] : DEGRADE_FULL;
		if (live->word[f] == DEGRADE_SHARE && live->word_share[f] < s.forward)
			s.forward = live->word_share[f];
	}
	return s;
}

/* By how much the lesser feature b is better served than a. Substitutes take nothing
 * from the datacenters, so they do not count against anybody. */
static int ahead(struct service a, struct service b)
{
	return b.forward > a.forward ? b.forward - a.forward : 0;
}

bool degrade_override_safe(const struct degrade_plan *plan, const struct degrade_live *now, const struct degrade_live *then)
{
	struct service before[CONF_MAX_FEATURES], after[CONF_MAX_FEATURES];
	unsigned f, g;

	if (!plan->modes || plan->features > CONF_MAX_FEATURES)
		return false;
	for (f = 0; f < plan->features; f++) {
		before[f] = service_of(plan, now, f);
		after[f] = service_of(plan, then, f);
	}
	for (f = 0; f < plan->features; f++) {
		bool gone = !after[f].forward && !after[f].otherwise;

		if (plan->tier[f] == 0 && gone && (before[f].forward || before[f].otherwise))
			return false; /* a core feature answered until now would be refused to everybody */
		for (g = 0; g < plan->features; g++)
			if (plan->tier[g] > plan->tier[f] && ahead(after[f], after[g]) > ahead(before[f], before[g]))
				return false;
	}
	return true;
}
