/* SPDX-License-Identifier: MIT */
/*
 * How many requests a datacenter may have under way. Nobody declares it: it is learned
 * from how long answers take, as in congestion control (a gradient of latencies, as in
 * Netflix' concurrency-limits and Envoy's adaptive concurrency), and from answers that
 * say "overloaded" themselves.
 *
 *       too late for a while, or a rush                  limit x fit + slack
 *     ┌──────┐ ───────────────────────────▶ ┌─────────┐ ─────────┐
 *     │ open │                              │ limited │ ◀────────┘
 *     └──────┘ ◀─────────────────────────── └─────────┘ ─────────┐ trial: 1.5 x limit for a second;
 *              nobody kept out for 10 s          ▲               │ no later answers? Then the wait
 *                                                └───────────────┘ is not a queue of ours: it is usual now
 *
 *   fit    of one feature: the wait that is allowed (usual, and as much again or `wait`
 *          more, whichever is more) / the wait that was seen. Of the datacenter: the
 *          weighted median over its features, so that one feature whose database is slow,
 *          or which answers 503 whatever comes, limits nothing; above 1 is fine.
 *   rush   so much more is under way than is answered in time that answers will be late:
 *          a sudden overload, found before its queue has been waited through.
 *   usual  a mean learned while the datacenter is open and fine, slowly upwards, faster
 *          downwards. Each feature has its own, so a change of the mix is no change.
 *   bounds two limits are kept by the same rule: one for all tiers but the first, with a
 *          short wait, and one for the first, which may wait longer (conf_overload).
 *
 * What is never answered takes no room (find_hanging), or a thousand requests that hang would
 * keep all others out until they time out.
 *
 * A limit grows only when it kept somebody out: an idle datacenter teaches nothing.
 * The trial is what gradients lack otherwise: a backend that has become slower by itself
 * is as slow with half of the requests, and a limiter that does not try would starve it.
 *
 * Not here: who is let in (admit.c), counting (exchange/load.c).
 */
#include "firebreak/degrade.h"

#define MS  1000000LL
#define SEC 1000000000LL

#define WINDOW       (100 * MS)
#define WINDOW_MOST  SEC
#define ENOUGH       32  /* answers that make a window of the least length */
#define FEW          8   /* a longest window with less says nothing */
#define KNOWN        64  /* answers before a feature's usual wait is believed */
#define RISE         (60 * (double)SEC)  /* time constants of `usual` */
#define FALL         (5 * (double)SEC)
#define REJECTED     0.05 /* share of rejects that counts */
#define CUT          0.5  /* least factor of one window; of the first, which begins from a queue, FIRST_CUT */
#define FIRST_CUT    0.1
#define SLACK        8    /* a limit's part that a queue may have; at least SLACK_LEAST */
#define SLACK_LEAST  4
#define DRAINING     0.9  /* so much of what was in flight lately is left: it is getting better */
#define LATELY       0.99 /* per window */
#define RUSH         2    /* so many times what is answered in time: a queue, before its answers are late */
#define WELL         1.25
#define HANGS        (2 * SEC) /* so long, and twice what is usual, without an answer */
#define RELEASE      (10 * SEC)
#define LIMIT_MOST   1e6
#define TRIAL        1.5
#define TRIAL_TIME   SEC
#define TRIAL_LONGEST (10 * SEC)
#define TRIAL_SETTLE (200 * MS)
#define TRIAL_ENOUGH 400
#define TRIAL_SLOW   (4 * SEC) /* then TRIAL_FEW answers have to do */
#define TRIAL_FEW    40
#define TRIAL_PAUSE  (5 * SEC)
#define TRIAL_RARE   (60 * SEC)
#define TRIAL_MORE   1.25 /* so many more have to be under way for the trial to say anything */
#define TRIAL_STAGES 2    /* one may be luck: what was idle before looks like more for more */
#define SAME_RATE    0.7
#define SAME         0.9  /* and to wait as long as before, within noise, for the wait to be no queue */

/* So long too late in a row makes a limit; what is draining is not counted. The first tier's
 * waits whether keeping the others out is enough. */
static const int64_t patience[DEGRADE_BOUNDS] = { [DEGRADE_LESSER] = 2 * WINDOW, [DEGRADE_CORE] = 8 * WINDOW };

/* One window, reduced. */
struct view {
	double fit[DEGRADE_BOUNDS];
	double carried[DEGRADE_BOUNDS]; /* under way, if the answers came as fast and each took what is allowed */
	double rejected, count;
	int64_t wait;  /* mean, ns: what is let in now is heard of after this */
	bool draining; /* what is late now was sent before: no reason for a limit */
	double lead;   /* as fit, of what is under way: its wait, if answers go on as they come */
	double usual;  /* mean, ns */
};

static double least(double a, double b) { return a < b ? a : b; }
static double most(double a, double b) { return a > b ? a : b; }

/* ---- what was seen ---- */

/* A feature of which nothing is answered while others are takes no room from them: each answer
 * of another since vouches for one request. Where nothing at all is answered that would let in
 * ever more, so without answers it is only as many as show whether others are answered. */
static void find_hanging(struct degrade_limiter *l, const struct degrade_traffic *t, int64_t now)
{
	double all = 0;
	unsigned f;

	for (f = 0; f < CONF_MAX_FEATURES; f++)
		all += t->heads[f];
	if (all > 0)
		l->heard = now;
	for (f = 0; f < CONF_MAX_FEATURES; f++) {
		l->hangs[f] = 0;
		if (now - l->heard >= HANGS / 2)
			l->vouched[f] = 0;
		if (t->heads[f] || t->rejects[f] || !t->under_way[f] || !l->silent[f]) {
			l->silent[f] = now;
			l->vouched[f] = 0;
			continue;
		}
		l->vouched[f] = (uint32_t)least(l->vouched[f] + all, 1e9);
		if (now - l->silent[f] >= HANGS + 2 * (int64_t)l->usual[f])
			l->hangs[f] = (uint32_t)least(t->under_way[f], l->vouched[f] + DEGRADE_LIMIT_LEAST);
	}
}

static void gather(struct degrade_limiter *l, const struct degrade_traffic *t)
{
	uint64_t features;
	uint32_t in_flight = t->in_flight - (uint32_t)least(t->in_flight, degrade_hanging(l, &features));
	unsigned f, b;

	for (f = 0; f < CONF_MAX_FEATURES; f++) {
		l->seen.under_way[f] = t->under_way[f] - l->hangs[f];
		if (l->hangs[f] && l->hangs[f] <= l->vouched[f])
			continue; /* given up one by one: nothing new about the datacenter */
		l->seen.answers[f] += t->answers[f];
		l->seen.rejects[f] += t->rejects[f];
		l->seen.waited[f] += t->waited[f];
	}
	for (b = 0; b < DEGRADE_BOUNDS; b++)
		l->seen.full[b] += t->full[b];
	l->seen.in_flight = in_flight;
	if (in_flight > l->peak)
		l->peak = in_flight;
}

/* The smallest value at which half of the weight is reached; `otherwise` without any. */
static double median(const double *value, const double *weight, unsigned n, double otherwise)
{
	double all = 0, below, best = otherwise;
	unsigned i, k;
	bool found = false;

	for (i = 0; i < n; i++)
		all += weight[i];
	for (i = 0; i < n; i++) {
		for (below = 0, k = 0; k < n; k++)
			below += value[k] <= value[i] ? weight[k] : 0;
		if (weight[i] > 0 && below * 2 >= all && (!found || value[i] < best)) {
			best = value[i];
			found = true;
		}
	}
	return best;
}

static double allowed(double usual, uint32_t wait_ms)
{
	return usual + most(usual, (double)wait_ms * MS);
}

static struct view reduce(const struct degrade_limiter *l, const struct conf_overload *c, int64_t span)
{
	const uint32_t wait[DEGRADE_BOUNDS] = { c->wait_ms, c->core_wait_ms > c->wait_ms ? c->core_wait_ms : c->wait_ms };
	double fit[CONF_MAX_FEATURES], judged[CONF_MAX_FEATURES], part[CONF_MAX_FEATURES], all[CONF_MAX_FEATURES];
	double lead[CONF_MAX_FEATURES], known = 0, answers = 0, waited = 0;
	struct view v = { .draining = l->seen.in_flight < DRAINING * l->lately };
	unsigned f, b;

	for (f = 0; f < CONF_MAX_FEATURES; f++) {
		double n = l->seen.answers[f];

		all[f] = n + l->seen.rejects[f];
		part[f] = all[f] > 0 ? l->seen.rejects[f] / all[f] : 0;
		judged[f] = l->known[f] >= KNOWN ? n : 0;
		known += judged[f];
		answers += n;
		waited += (double)l->seen.waited[f];
		v.count += all[f];
		v.usual += l->usual[f] * judged[f];
		/* Little's law: so many under way, at this rate */
		lead[f] = l->seen.under_way[f] ? allowed(l->usual[f], wait[DEGRADE_LESSER]) * n / ((double)l->seen.under_way[f] * (double)span + 1) : RUSH;
	}
	v.usual = known > 0 ? v.usual / known : 0;
	v.lead = known * 2 >= answers ? median(lead, judged, CONF_MAX_FEATURES, 1) : 1;
	v.wait = answers > 0 ? (int64_t)least(waited / answers, 5 * (double)SEC) : 0;
	v.rejected = median(part, all, CONF_MAX_FEATURES, 0);
	for (b = 0; b < DEGRADE_BOUNDS; b++) {
		for (f = 0; f < CONF_MAX_FEATURES; f++) {
			double may = allowed(l->usual[f], wait[b]) * judged[f];

			fit[f] = judged[f] > 0 ? may / ((double)l->seen.waited[f] + 1) : 1;
			v.carried[b] += span > 0 ? may / (double)span : 0;
		}
		v.fit[b] = known * 2 >= answers ? median(fit, judged, CONF_MAX_FEATURES, 1) : 1;
	}
	return v;
}

/* ---- what is usual ---- */

static void learn(struct degrade_limiter *l, int64_t span, bool rising)
{
	unsigned f;

	for (f = 0; f < CONF_MAX_FEATURES; f++) {
		double n = l->seen.answers[f], mean, weight;

		if (n <= 0)
			continue;
		mean = (double)l->seen.waited[f] / n;
		if (l->known[f] < KNOWN) { /* their plain mean */
			l->usual[f] += (mean - l->usual[f]) * n / (l->known[f] + n);
		} else if (rising || mean < l->usual[f]) {
			weight = least(1, n / ENOUGH) * least(1, (double)span / (mean < l->usual[f] ? FALL : RISE));
			l->usual[f] += (mean - l->usual[f]) * weight;
		}
		l->known[f] = (uint32_t)least(l->known[f] + n, 1e9);
	}
}

/* ---- one limit ---- */

/* More comes than goes: the answers to what waits now will be late, by when all of the first
 * tier's have waited behind the others'. Only a feature's own requests count as its queue, so
 * that one which hangs is no rush; nor where nothing goes, which stands still; and for as long
 * as answers usually take nobody can know. */
static bool rushed(struct degrade_limiter *l, const struct view *v, int64_t now)
{
	if (l->heard != now) {
		if (now - l->heard >= 2 * WINDOW + 2 * (int64_t)v->usual) /* not by chance */
			l->rush = 0;
		return false;
	}
	if (v->count < FEW || v->lead * RUSH >= 1 ||
	    l->seen.in_flight <= RUSH * most(DEGRADE_LIMIT_LEAST, most(l->carries, v->carried[DEGRADE_LESSER])))
		l->rush = 0;
	else if (!l->rush)
		l->rush = now;
	return l->rush && now - l->rush >= (int64_t)most(v->usual - WINDOW / 2, WINDOW / 4);
}

static void step(struct degrade_bounded *b, const struct view *v, enum degrade_bound which, const struct degrade_limiter *l, bool hold,
		 int64_t now)
{
	double fit = least(v->fit[which], v->rejected >= REJECTED ? 1 - v->rejected : 1), base = b->limit, to;
	bool used = l->seen.full[which];

	if (!b->limit) {
		b->late = fit >= 1 ? 0 : b->late + (v->draining ? 0 : now - l->from);
		if (b->late >= patience[which] || (which == DEGRADE_LESSER && b->late && fit < CUT))
			*b = (struct degrade_bounded){ .limit = most(DEGRADE_LIMIT_LEAST, most(v->carried[which], l->peak * most(FIRST_CUT, fit))),
						      .used = now, .cut = now + v->wait };
		return;
	}
	fit = most(CUT, fit);
	if (used || hold || fit < 1)
		b->used = now;
	if (now - b->used >= RELEASE) {
		*b = (struct degrade_bounded){ 0 };
		return;
	}
	if (fit < 1 && now < b->cut)
		return; /* what the last cut did is not seen yet */
	if (fit < 1) /* a limit far above what is under way limits nothing */
		base = least(base, 2 * (double)l->peak);
	to = base * fit + most(SLACK_LEAST, base / SLACK);
	if (fit < 1 && v->rejected < REJECTED)
		to = most(to, least(base, v->carried[which]));
	if (to < b->limit)
		b->cut = now + v->wait;
	if (to > b->limit && (!used || b->limit > 2 * (double)l->peak))
		return;
	/* Down at once; up by half where it is nearly too late, so that a lucky window is no reason to jump. */
	if (to > b->limit && v->fit[which] < WELL)
		to = (to + b->limit) / 2;
	b->limit = most(DEGRADE_LIMIT_LEAST, least(LIMIT_MOST, to));
}

/* ---- the trial ---- */

static void measure_anew(struct degrade_trial *t, int64_t now)
{
	t->from = now;
	t->answers = t->fit = t->waited = 0;
	t->used = false;
}

static void measure(struct degrade_limiter *l, const struct view *v)
{
	struct degrade_trial *t = &l->trial;
	unsigned f;

	t->fit += v->fit[DEGRADE_LESSER] * v->count;
	t->answers += v->count;
	for (f = 0; f < CONF_MAX_FEATURES; f++)
		t->waited += (double)l->seen.waited[f];
	t->used |= l->seen.full[DEGRADE_LESSER] || l->seen.full[DEGRADE_CORE];
}

static void trial_raise(struct degrade_limiter *l, double fit, double flight, int64_t now)
{
	struct degrade_trial *t = &l->trial;
	unsigned b;

	/* What is under way may be more than the limit, if it is the first tier's: the others
	 * are let in beside it. */
	for (b = 0; b < DEGRADE_BOUNDS; b++)
		t->limit[b] = l->bound[b].limit > 0 ? least(LIMIT_MOST, TRIAL * most(t->stage ? t->limit[b] : l->bound[b].limit, 2 * flight)) : 0;
	t->stage++;
	t->began = now;
	t->fit_before = fit;
	t->flight_before = flight;
	t->rate_before = t->answers / (double)(now - t->from);
	measure_anew(t, now);
}

static void trial_end(struct degrade_limiter *l, bool same, int64_t now)
{
	struct degrade_trial *t = &l->trial;
	unsigned f, b;

	for (f = 0; same && f < CONF_MAX_FEATURES; f++) {
		double n = l->seen.answers[f], mean = n > 0 ? (double)l->seen.waited[f] / n : 0;

		l->usual[f] = most(l->usual[f], mean);
	}
	for (b = 0; same && b < DEGRADE_BOUNDS; b++)
		l->bound[b].limit = t->limit[b];
	t->stage = 0;
	t->pause = same ? TRIAL_PAUSE : t->pause * 2 < TRIAL_RARE ? t->pause * 2 : TRIAL_RARE;
	t->next = now + t->pause;
	measure_anew(t, now);
}

/* Returns true while the limits have to stay as they are. The time before a trial and
 * the trial are measured alike, over as many answers. */
static bool trial(struct degrade_limiter *l, const struct view *v, bool held, int64_t now)
{
	struct degrade_trial *t = &l->trial;
	int64_t span = now - t->from;
	double fit, flight, rate, more;
	bool same, exhausted;

	if (!(l->bound[DEGRADE_LESSER].limit > 0) && !(l->bound[DEGRADE_CORE].limit > 0)) {
		*t = (struct degrade_trial){ .pause = TRIAL_PAUSE, .next = now + TRIAL_PAUSE, .from = now };
		return false;
	}
	if (t->stage && (v->rejected >= REJECTED || now - t->began > TRIAL_LONGEST)) {
		trial_end(l, false, now);
		return true;
	}
	if (t->stage && now - t->began < TRIAL_SETTLE)
		measure_anew(t, now);
	else
		measure(l, v);
	if (span < TRIAL_TIME || t->answers < (span < TRIAL_SLOW ? TRIAL_ENOUGH : TRIAL_FEW))
		return t->stage;
	fit = t->fit / t->answers;
	flight = least(t->waited / (double)span, most(1, l->peak)); /* what queued before the limit and goes now has waited for longer */
	rate = t->answers / (double)span;
	if (!t->stage) {
		if (now >= t->next && t->used && fit < 1)
			trial_raise(l, fit, flight, now);
		else
			measure_anew(t, now);
		return t->stage;
	}
	more = flight / t->flight_before;
	exhausted = !t->used && !held;
	if (more < TRIAL_MORE && !exhausted) {
		measure_anew(t, now);
		return true;
	}
	/* No queue: as many more answers as there are requests under way, none of them later. */
	same = fit >= SAME * t->fit_before && (exhausted || rate >= t->rate_before * (1 + (more - 1) * SAME_RATE));
	if (same && t->stage < TRIAL_STAGES && !exhausted)
		trial_raise(l, fit, flight, now);
	else
		trial_end(l, same, now);
	return true;
}

/* ---- the door ---- */

void degrade_limit(struct degrade_limiter *l, const struct conf_overload *c, const struct degrade_traffic *t, const bool hold[DEGRADE_BOUNDS], int64_t now)
{
	struct view v;
	int64_t span;
	unsigned b;

	if (!c->wait_ms) {
		*l = (struct degrade_limiter){ 0 };
		return;
	}
	if (!l->from)
		l->from = now;
	find_hanging(l, t, now);
	gather(l, t);
	span = now - l->from;
	v = reduce(l, c, span);
	if (!l->bound[DEGRADE_LESSER].limit && span >= WINDOW / 2 && rushed(l, &v, now)) {
		l->bound[DEGRADE_LESSER] = (struct degrade_bounded){ .limit = most(DEGRADE_LIMIT_LEAST, most(l->carries, v.carried[DEGRADE_LESSER])),
								     .used = now, .cut = now + v.wait };
		l->rush = 0;
	}
	if (span < WINDOW || (v.count < ENOUGH && span < WINDOW_MOST))
		return;
	if (v.count < FEW) { /* too little to judge by */
		v = (struct view){ .fit = { 1, 1 } };
	}
	l->rejecting = v.rejected >= REJECTED;
	if (!trial(l, &v, hold[DEGRADE_LESSER], now)) {
		for (b = 0; b < DEGRADE_BOUNDS; b++)
			step(&l->bound[b], &v, (enum degrade_bound)b, l, hold[b], now);
		learn(l, span, !l->bound[DEGRADE_LESSER].limit && !l->bound[DEGRADE_CORE].limit && v.fit[DEGRADE_LESSER] >= 1);
	}
	l->carries *= LATELY;
	if (!l->bound[DEGRADE_LESSER].limit && v.lead >= 1)
		l->carries = most(l->carries, v.carried[DEGRADE_LESSER]);
	l->lately = most(l->seen.in_flight, l->lately * LATELY);
	l->peak = l->seen.in_flight;
	l->seen = (struct degrade_traffic){ 0 };
	l->from = now;
}

uint32_t degrade_limit_of(const struct degrade_limiter *l, enum degrade_bound b)
{
	return (uint32_t)(l->trial.stage ? l->trial.limit[b] : l->bound[b].limit);
}

uint32_t degrade_hanging(const struct degrade_limiter *l, uint64_t *features)
{
	uint32_t n = 0;
	unsigned f;

	*features = 0;
	for (f = 0; f < CONF_MAX_FEATURES; f++) {
		n += l->hangs[f];
		*features |= (uint64_t)(l->hangs[f] > 0) << f;
	}
	return n;
}

void degrade_hanging_was(struct degrade_limiter *l, uint32_t hanging, uint64_t features, int64_t now)
{
	unsigned f;

	l->heard = now;
	for (f = 0; f < CONF_MAX_FEATURES; f++) {
		if (!(features >> f & 1))
			continue;
		l->silent[f] = now - HANGS;
		l->vouched[f] = hanging;
	}
}

bool degrade_room(const uint32_t limit[DEGRADE_BOUNDS], unsigned tier, uint16_t core_floor, uint32_t in_flight)
{
	uint64_t lesser = limit[DEGRADE_LESSER];

	if (limit[DEGRADE_CORE] && in_flight >= limit[DEGRADE_CORE])
		return false;
	if (limit[DEGRADE_CORE] && (!lesser || lesser > limit[DEGRADE_CORE]))
		lesser = limit[DEGRADE_CORE]; /* theirs was released when none of them came, or has grown by itself */
	if (!tier || !lesser)
		return true;
	/* The second tier has what the floor leaves, each further one a tenth less. */
	lesser = lesser * (DEGRADE_FULL - core_floor) / DEGRADE_FULL;
	return in_flight < lesser * (11 - (tier < 10 ? tier : 10)) / 10;
}
