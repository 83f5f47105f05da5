/* SPDX-License-Identifier: MIT */
/*
 * What overload control sees of a worker's exchanges, and what it asks of them: which
 * datacenters have no room for another request (the limits are on the board, made by
 * control; how many are under way is read from all workers once per turn), and the
 * counts those limits are made from.
 *
 * Under way is an attempt from the last octet of its request to its head: what comes before
 * and after is paced by the client, who could fill a limit with a few slow uploads. Event streams and tunnels are let in by the same rule but not counted, since
 * they stay for hours and ask for little.
 */
#include <string.h>

#include "firebreak/clock.h"
#include "xchg_private.h"

static bool counted(const struct xchg *x)
{
	return !x->feature->long_lived && !x->connect;
}

static unsigned datacenter_of(const struct xchg *x)
{
	return x->via->conf->endpoint[x->endpoint].datacenter;
}

static bool limited(const struct degrade_live *live, unsigned d)
{
	return live->limit[d][DEGRADE_LESSER] || live->limit[d][DEGRADE_CORE];
}

/* The words are ours alone to write. */
static void add(_Atomic uint32_t *own, uint32_t n)
{
	atomic_store_explicit(own, atomic_load_explicit(own, memory_order_relaxed) + n, memory_order_relaxed);
}

static void in_flight_add(const struct xchg *x, uint32_t n)
{
	struct board_load *load = &x->w->part->load;

	add(&load->in_flight[datacenter_of(x)], n);
	add(&load->under_way[datacenter_of(x)][xchg_feature(x)], n);
}

void load_turn(struct worker *w)
{
	const struct conf *c = w->snap->conf;
	struct board_worker *other;
	unsigned d, i;

	for (d = 0; d < c->datacenters; d++) {
		w->others[d] = 0;
		if (!limited(&w->live.degrade, d))
			continue;
		for (i = 0; i < board_workers(w->board); i++) {
			other = board_worker(w->board, i);
			if (i != w->index && atomic_load_explicit(&other->pid, memory_order_relaxed) > 0 &&
			    atomic_load_explicit(&other->generation, memory_order_relaxed) == c->generation)
				w->others[d] += atomic_load_explicit(&other->load.in_flight[d], memory_order_relaxed);
		}
	}
}

void load_forget(struct worker *w)
{
	memset(&w->part->load, 0, sizeof(w->part->load));
	memset(w->others, 0, sizeof(w->others));
}

bool load_limited(const struct worker *w)
{
	unsigned d;

	for (d = 0; d < w->snap->conf->datacenters && !limited(&w->live.degrade, d); d++)
		;
	return d < w->snap->conf->datacenters;
}

/* Of what hangs nobody says how much of it there would be room for. */
static bool hangs(const struct xchg *x, unsigned d)
{
	return x->w->live.degrade.hangs[d] >> xchg_feature(x) & 1;
}

uint64_t load_full(const struct xchg *x)
{
	struct worker *w = x->w;
	const struct conf *c = w->snap->conf;
	unsigned tier = c->feature[xchg_feature(x)].tier, d;
	uint64_t full = 0;

	for (d = 0; d < c->datacenters; d++) {
		const struct conf_datacenter *dc = &c->datacenter[d];
		uint32_t now;

		if (!limited(&w->live.degrade, d))
			continue;
		now = w->others[d] + atomic_load_explicit(&w->part->load.in_flight[d], memory_order_relaxed);
		if (!hangs(x, d))
			now -= now < w->live.degrade.hanging[d] ? now : w->live.degrade.hanging[d];
		if (degrade_room(w->live.degrade.limit[d], tier, c->overload.core_floor, now))
			continue;
		w->part->load.full[d][tier ? DEGRADE_LESSER : DEGRADE_CORE] += !hangs(x, d);
		full |= dc_endpoints(dc);
	}
	return full;
}

void load_decided(struct xchg *x)
{
	const struct conf *c = x->w->snap->conf;
	struct board_load *load = &x->w->part->load;
	unsigned tier = c->feature[xchg_feature(x)].tier, d;
	bool forward = x->decision.way == CONF_FORWARD, overload = x->decision.why == DEGRADE_WHY_OVERLOADED, hanging = false;

	for (d = 0; d < c->datacenters; d++)
		hanging |= hangs(x, d);
	if (!x->asked && !hanging && (forward || overload)) {
		x->asked = true;
		load->asked[tier]++;
	}
	if (!overload || x->shed)
		return;
	x->shed = true;
	x->w->part->tm.shed[tier]++;
	if (hanging)
		return;
	if (x->ask.last_fault == FAULT_OVERLOADED)
		load->turned[tier]++;
	else
		load->cut[tier]++;
}

void load_begin(struct xchg *x)
{
	if (!counted(x) || !x->attempting || x->counted || x->via != x->w->snap)
		return;
	x->counted = true;
	in_flight_add(x, 1);
}

/* The datacenter says itself that it is overloaded. A gRPC backend says so in a head that
 * is also the end (trailers-only). Not 429 and RESOURCE_EXHAUSTED: they are about one client
 * (RFC 6585 4), who must not make the others' limit. */
static bool rejected(const struct xchg *x)
{
	const struct h2_head *h = x->up ? x->up->head : NULL;
	unsigned i;

	if (x->status == 503)
		return true;
	for (i = 0; x->grpc && h && i < h->count; i++)
		if (h->field[i].token == H2_GRPC_STATUS)
			return decimal(&h->field[i]) == 14;
	return false;
}

void load_over(struct xchg *x, enum fault fault)
{
	double usual = x->w->expect[xchg_feature(x)].usual; /* 0: not known */
	struct board_answers *a;
	int64_t from, until;

	if (!counted(x))
		return;
	if (x->counted)
		in_flight_add(x, (uint32_t)-1);
	x->counted = false;
	a = &x->w->part->load.of[datacenter_of(x)][xchg_feature(x)];
	if (fault == FAULT_UPSTREAM_REFUSED || (x->head_at && rejected(x))) {
		a->rejects++;
		return;
	}
	/* Given up without an answer, it has waited at least so long: news only if that is longer
	 * than usual, or who cancels at once would teach that answers come at once. Time the
	 * client took for its request is not the datacenter's. */
	if (!x->head_at && ((fault != FAULT_NONE && fault != FAULT_UPSTREAM_TIMEOUT) || !x->down->remote_end))
		return;
	from = x->down->active > x->attempt_at ? x->down->active : x->attempt_at;
	until = x->head_at ? x->head_at : clock_now();
	if (x->head_at) /* a pause is no queue */
		until = until - x->up->stood > from ? until - x->up->stood : from;
	if (!x->head_at && fault == FAULT_NONE && !(usual > 0 && (double)(until - from) > usual))
		return;
	a->answers++;
	a->heads += x->head_at != 0;
	a->waited += (uint64_t)(until - from);
}
