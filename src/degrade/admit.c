/* SPDX-License-Identifier: MIT */
/*
 * Who is let in when the datacenters cannot take all. Their limits (limit.c) protect them
 * at once, but blindly within a tier: each request is another throw of the dice, and a
 * screen made of ten requests never comes up. This is the slow half: it finds the rate
 * that fits and lets in so many of the users, the same ones for an hour (degrade_decide
 * compares a user's cohort with the share).
 *
 *   demand   send 300/s │ media 250/s │ backup 100/s
 *   rate     ├───────────── 400/s ────────┤
 *   share       100 %   │     40 %    │    0 %
 *
 * The rate falls to what got through, by 5 % to 20 %, when more than 8 % of those let in
 * found no room, and rises when less than 3 % did: by 2 %, 4 % ... of it, the longer the
 * calm, up to 10 % (as DAGOR, Zhou et al. 2018, falls and rises, but the demand of
 * each tier is known here, so the tiers need not be searched).
 */
#include "firebreak/degrade.h"

#define MS     1000000LL
#define WINDOW (500 * MS)
#define FEW    20   /* a window with less says nothing */
#define TOO_MANY 0.08
#define CALM   0.03
#define FALL_LEAST 0.95
#define FALL_MOST  0.80
#define RISE   0.02
#define RISE_MOST 5 /* times RISE */
#define ROUNDING 1e-9
#define SPARE  1.1  /* a rate so far above the demand limits nothing any more */

static double least(double a, double b) { return a < b ? a : b; }
static double most(double a, double b) { return a > b ? a : b; }

static void gather(struct degrade_demand *to, const struct degrade_demand *d)
{
	unsigned t;

	for (t = 0; t < CONF_MAX_TIERS; t++) {
		to->asked[t] += d->asked[t];
		to->cut[t] += d->cut[t];
		to->turned[t] += d->turned[t];
	}
	to->answered += d->answered;
}

static double smooth(double before, double now)
{
	return before > 0 ? before + (now - before) / 4 : now;
}

static bool too_many(uint32_t turned, uint32_t let)
{
	return turned > let * TOO_MANY;
}

/* What the tiers ask for that are whole and were not turned away, down to the first that
 * was: theirs, also when they begin to ask for more. */
static double untouched(const struct degrade_admission *a, unsigned tiers)
{
	const struct degrade_demand *s = &a->seen;
	double sum = 0;
	unsigned t;

	for (t = 0; t < tiers && a->share[t] >= DEGRADE_FULL && !too_many(s->turned[t], s->asked[t] - s->cut[t]); t++)
		sum += a->demand[t];
	return sum;
}

static void adjust(struct degrade_admission *a, unsigned tiers, double seconds)
{
	const struct degrade_demand *s = &a->seen;
	uint32_t let = 0, turned = 0;
	double through, demand = 0;
	unsigned t;

	for (t = 0; t < tiers; t++) {
		a->demand[t] = smooth(a->demand[t], s->asked[t] / seconds);
		demand += a->demand[t];
		let += s->asked[t] - s->cut[t];
		turned += s->turned[t];
	}
	/* What is at work from before counts as well: while a queue drains nobody gets through. */
	through = most(let - turned, s->answered) / seconds;
	if (a->fell) { /* what that did is not seen yet */
		a->fell = false;
	} else if (let >= FEW && too_many(turned, let)) {
		a->fell = true;
		a->calm = 0;
		a->admitted = a->admitted > 0 ? most(FALL_MOST * a->admitted, least(FALL_LEAST * a->admitted, through)) : through;
		a->admitted = most(1, a->admitted);
	} else if (a->admitted > 0 && turned <= let * CALM) {
		a->calm += a->calm < RISE_MOST;
		a->admitted *= 1 + RISE * a->calm;
	} else {
		a->calm = 0;
	}
	if (a->admitted > 0)
		a->admitted = most(a->admitted, untouched(a, tiers));
	if (a->admitted >= SPARE * demand)
		a->admitted = 0;
}

static void fill(struct degrade_admission *a, unsigned tiers)
{
	double left = a->admitted, demand = 0, part = 1;
	unsigned t;

	for (t = 0; t < CONF_MAX_TIERS; t++) {
		/* Behind a tier that is cut there is nothing, also for one that asks for nothing now. */
		part = a->admitted <= 0 ? 1 : part < 1 ? 0 : left >= a->demand[t] * (1 - ROUNDING) ? 1 : left / a->demand[t];
		part = most(part, 0);
		a->share[t] = (uint16_t)(part * DEGRADE_FULL);
		left -= a->demand[t];
		demand += t < tiers ? a->demand[t] : 0;
	}
	a->level = (uint16_t)(a->admitted > 0 && a->admitted < demand ? (1 - a->admitted / demand) * DEGRADE_FULL : 0);
}

void degrade_admit(struct degrade_admission *a, const struct degrade_demand *d, unsigned tiers, int64_t now)
{
	if (!a->from)
		a->from = now;
	gather(&a->seen, d);
	if (now - a->from >= WINDOW) {
		adjust(a, tiers < CONF_MAX_TIERS ? tiers : CONF_MAX_TIERS, (double)(now - a->from) / 1e9);
		a->seen = (struct degrade_demand){ 0 };
		a->from = now;
	}
	fill(a, tiers);
}
