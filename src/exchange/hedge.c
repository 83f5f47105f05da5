/* SPDX-License-Identifier: MIT */
/*
 * Hedging: another endpoint is asked while the first may still answer (Dean and Barroso,
 * "The tail at scale", 2013). Two reasons:
 *
 *   doubt     the connection answers no PING (dc_pool's watch): everything that waits on it
 *             and may be tried twice is asked elsewhere at once, long before the verdict; a
 *             read where its user wrote, only when the doubt is grave
 *   lateness  the answer to a safe read is later than its feature's heads usually are
 *
 * Both take from the retry budget; lateness has a small one of its own beside it, and stops
 * while there is less than normal to serve with. Whichever answers first is the answer; the
 * other is cancelled, and says nothing about its endpoint but that it was slow.
 */
#include "firebreak/clock.h"
#include "fence.h"
#include "xchg_private.h"

#define LEAST (25 * CLOCK_MS) /* below it lies what a busy machine does to anybody */
#define MOST  (2 * CLOCK_SEC) /* who waits as long is used to it */
#define KNOWN 32              /* heads seen before anything is called late */

static double larger(double a, double b) { return a > b ? a : b; }

void expectation_learn(struct expectation *e, int64_t took)
{
	double t = (double)took, off = t > e->usual ? t - e->usual : e->usual - t;

	if (!e->seen) {
		e->usual = t;
		e->deviation = t / 2;
	} else {
		e->deviation += (off - e->deviation) / 16;
		e->usual += (t - e->usual) / 16;
	}
	if (e->seen < KNOWN)
		e->seen++;
}

int64_t expectation_late(const struct expectation *e)
{
	double late = e->usual + larger(3 * e->deviation, e->usual / 32);

	if (e->seen < KNOWN || late > MOST)
		return 0;
	return late < LEAST ? LEAST : (int64_t)late;
}

int64_t hedge_moment(const struct xchg *x)
{
	int64_t late;

	if (!x->ask.readable || !x->down->remote_end || x->down->received || x->feature->long_lived ||
	    !x->snap->conf->retry.hedge || x->snap != x->w->snap)
		return 0;
	late = expectation_late(&x->w->expect[x->ask.feature]);
	return late && late < attempt_patience(x) ? x->started + late : 0;
}

void hedge_learn(struct xchg *x)
{
	struct dc_pool *pool = x->w->pool;
	bool outrun = x->other.up && x->other.number < x->attempt_number;
	int64_t took = attempt_head_after(x, outrun ? x->other.at : x->attempt_at);

	if (outrun)
		tm_add(&x->w->part->tm, TM_HEDGES_WON, 1);
	if (x->via != x->w->snap || x->snap != x->w->snap || !x->down->remote_end)
		return;
	if (outrun)
		dc_pool_outrun(pool, x->other.endpoint, took);
	expectation_learn(&x->w->expect[x->ask.feature], took);
}

/* Not where the first one is: what is late or silent there may be all of the datacenter. */
static uint64_t elsewhere(const struct xchg *x)
{
	const struct conf *conf = x->w->snap->conf;

	return x->want.tried | dc_endpoints(&conf->datacenter[conf->endpoint[x->endpoint].datacenter]);
}

/* Serving less than normal: what is late now is late for want of capacity. */
static bool strained(const struct xchg *x)
{
	const struct degrade_live *live = &x->w->live.degrade;

	return live->mode || live->share[xchg_feature(x)] < DEGRADE_FULL || load_limited(x->w);
}

/* A request of which nothing more comes: two attempts need no two copies of the rest. */
static bool can_hedge(const struct xchg *x)
{
	const struct conf_retry *r = &x->snap->conf->retry;

	return r->hedge && x->state == XCHG_WAITING && x->up && !x->other.up && x->idempotent && !x->connect &&
	       x->endpoint >= 0 && x->via == x->w->snap && x->down->remote_end && !(x->replay_lost && x->down->received) &&
	       x->ask.attempts < r->tries;
}

static bool afford(struct xchg *x, bool late)
{
	return (!late || budget_take(&x->w->hedges)) && worker_retry(x->w, false);
}

void hedge_start(struct xchg *x, bool late)
{
	uint64_t tried = x->want.tried, failed, there;
	bool bound;

	x->hedge_due = 0;
	if (!can_hedge(x))
		return;
	bound = fence_binds(x);
	if (late ? bound || strained(x) : bound && !dc_pool_avoids(x->w->pool, x->endpoint))
		return;
	failed = dc_pool_failed(x->w->pool);
	there = (bound ? tried : elsewhere(x)) | failed;
	if (!dc_pool_any(x->w->pool, there))
		there = tried | failed;
	if (!dc_pool_any(x->w->pool, there) || !afford(x, late))
		return;
	attempt_swap(x);
	x->want.tried = there;
	if (attempt_start(x) == FAULT_NONE) {
		x->want.tried = tried | UINT64_C(1) << x->endpoint;
		x->ask.last_fault = FAULT_UPSTREAM_LATE;
		tm_add(&x->w->part->tm, TM_HEDGES, 1);
	} else { /* the first has to do */
		attempt_swap(x);
		x->want.tried = tried;
	}
}
