/* SPDX-License-Identifier: MIT */
/*
 * From the workers' counts to limits and shares, on every tick: running totals on the
 * board become differences, the pure half (degrade/limit.c, degrade/admit.c) says what
 * follows, publish.c puts it on the board.
 *
 * As with the evidence about endpoints, a worker on another configuration is not
 * listened to, and what it counted until it arrives at ours is the base it starts from.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "firebreak/clock.h"
#include "firebreak/log.h"

/* How much a total has grown; nothing at the first look. */
static uint32_t grown(const uint64_t *word, uint64_t *before, bool first)
{
	uint64_t now = __atomic_load_n(word, __ATOMIC_RELAXED), d = now - *before;

	d = now < *before || first ? 0 : d;
	*before = now;
	return d < UINT32_MAX / CONF_MAX_WORKERS ? (uint32_t)d : UINT32_MAX / CONF_MAX_WORKERS;
}

/* Adds what this worker counted since the last look. */
static void collect_worker(struct overload *o, const struct conf *c, struct board_worker *part, struct overload_seen *s, bool first)
{
	unsigned d, f, b, t;

	for (d = 0; d < c->datacenters; d++) {
		struct degrade_traffic *to = &o->traffic[d];

		to->in_flight += atomic_load_explicit(&part->load.in_flight[d], memory_order_relaxed);
		for (b = 0; b < DEGRADE_BOUNDS; b++)
			to->full[b] += grown(&part->load.full[d][b], &s->load.full[d][b], first);
		for (f = 0; f < c->features; f++) {
			const struct board_answers *a = &part->load.of[d][f];
			struct board_answers *before = &s->load.of[d][f];
			uint64_t waited = __atomic_load_n(&a->waited, __ATOMIC_RELAXED);

			to->under_way[f] += atomic_load_explicit(&part->load.under_way[d][f], memory_order_relaxed);
			to->answers[f] += grown(&a->answers, &before->answers, first);
			to->heads[f] += grown(&a->heads, &before->heads, first);
			to->rejects[f] += grown(&a->rejects, &before->rejects, first);
			to->waited[f] += waited > before->waited && !first ? waited - before->waited : 0;
			before->waited = waited;
		}
	}
	for (t = 0; t < c->tiers; t++) {
		o->demand.asked[t] += grown(&part->load.asked[t], &s->load.asked[t], first);
		o->demand.cut[t] += grown(&part->load.cut[t], &s->load.cut[t], first);
		o->demand.turned[t] += grown(&part->load.turned[t], &s->load.turned[t], first);
	}
}

static void collect(struct overload *o, const struct conf *c, struct board *board)
{
	unsigned i;

	memset(o->traffic, 0, sizeof(o->traffic));
	memset(&o->demand, 0, sizeof(o->demand));
	for (i = 0; i < board_workers(board); i++) {
		struct board_worker *part = board_worker(board, i);
		struct overload_seen *s = &o->seen[i];
		uint64_t generation = atomic_load(&part->generation);
		int32_t pid = atomic_load(&part->pid);
		bool first = s->generation != generation || s->pid != pid;

		if (pid <= 0 || generation != c->generation)
			continue;
		s->generation = generation;
		s->pid = pid;
		collect_worker(o, c, part, s, first);
	}
}

/* Requests let in or not have no order within a look; more turned away than asked for,
 * seen in between, would be nonsense. */
static void make_sense(struct degrade_demand *d)
{
	unsigned t;

	for (t = 0; t < CONF_MAX_TIERS; t++) {
		if (d->cut[t] > d->asked[t])
			d->cut[t] = d->asked[t];
		if (d->turned[t] > d->asked[t] - d->cut[t])
			d->turned[t] = d->asked[t] - d->cut[t];
	}
}

static void tell(struct overload *o, const struct conf *c)
{
	bool now = o->admission.level > 0;
	unsigned d;

	for (d = 0; d < c->datacenters; d++) {
		bool limited = degrade_limit_of(&o->limiter[d], DEGRADE_LESSER) || degrade_limit_of(&o->limiter[d], DEGRADE_CORE);

		if (limited != o->limited[d])
			log_event(LOG_LEVEL_WARN, "datacenter.limit", "datacenter", c->datacenter[d].name, "state", limited ? "limited" : "open", NULL);
		o->limited[d] = limited;
	}
	if (now != o->shedding)
		log_event(LOG_LEVEL_WARN, "overload", "state", now ? "shedding" : "over", NULL);
	o->shedding = now;
}

void ctl_overload_tick(struct ctl *c)
{
	struct overload *o = &c->overload;
	int64_t now = clock_now();
	bool hold[DEGRADE_BOUNDS];
	unsigned d, f;

	hold[DEGRADE_LESSER] = o->admission.level > 0;
	hold[DEGRADE_CORE] = hold[DEGRADE_LESSER] && o->admission.share[0] < DEGRADE_FULL;
	collect(o, c->conf, c->board);
	for (d = 0; d < c->conf->datacenters; d++) {
		degrade_limit(&o->limiter[d], &c->conf->overload, &o->traffic[d], hold, now);
		for (f = 0; f < c->conf->features; f++) {
			o->demand.answered += o->traffic[d].answers[f];
			if (o->limiter[d].rejecting)
				o->demand.turned[c->conf->feature[f].tier] += o->traffic[d].rejects[f];
		}
	}
	make_sense(&o->demand);
	if (c->conf->overload.wait_ms)
		degrade_admit(&o->admission, &o->demand, (unsigned)c->conf->tiers, now);
	else
		o->admission = (struct degrade_admission){ 0 };
	tell(o, c->conf);
}

void ctl_overload_apply(const struct ctl *c, struct degrade_live *live)
{
	const struct overload *o = &c->overload;
	unsigned d, f, b;

	for (d = 0; d < c->conf->datacenters; d++) {
		for (b = 0; b < DEGRADE_BOUNDS; b++)
			live->limit[d][b] = degrade_limit_of(&o->limiter[d], (enum degrade_bound)b);
		live->hanging[d] = degrade_hanging(&o->limiter[d], &live->hangs[d]);
	}
	live->overload = o->admission.level;
	for (f = 0; o->admission.admitted > 0 && f < c->conf->features; f++)
		live->share[f] = o->admission.share[c->conf->feature[f].tier];
}

/* The limits the dead control process had found; what is usual has to be learned again. */
void ctl_overload_take_over(struct ctl *c, const struct degrade_live *last)
{
	unsigned d, b;

	for (d = 0; d < c->conf->datacenters; d++) {
		for (b = 0; b < DEGRADE_BOUNDS; b++)
			c->overload.limiter[d].bound[b] = (struct degrade_bounded){ .limit = last->limit[d][b], .used = clock_now() };
		degrade_hanging_was(&c->overload.limiter[d], last->hanging[d], last->hangs[d], clock_now());
	}
}

/* By name. Tiers may have changed: who is let in is found anew. */
void ctl_overload_carry_over(struct ctl *c, const struct conf *old, const struct conf *next)
{
	struct degrade_limiter *before = malloc(sizeof(c->overload.limiter));
	unsigned d, k, f, g;

	if (before)
		memcpy(before, c->overload.limiter, sizeof(c->overload.limiter));
	memset(&c->overload, 0, sizeof(c->overload));
	for (d = 0; before && d < next->datacenters; d++) {
		struct degrade_limiter *l = &c->overload.limiter[d];

		for (k = 0; k < old->datacenters && strcmp(old->datacenter[k].name, next->datacenter[d].name) != 0; k++)
			;
		if (k == old->datacenters)
			continue;
		memcpy(l->bound, before[k].bound, sizeof(l->bound));
		for (f = 0; f < next->features; f++) {
			for (g = 0; g < old->features && strcmp(old->feature[g].name, next->feature[f].name) != 0; g++)
				;
			l->usual[f] = g < old->features ? before[k].usual[g] : 0;
			l->known[f] = g < old->features ? before[k].known[g] : 0;
		}
	}
	free(before);
}
