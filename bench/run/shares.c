/* SPDX-License-Identifier: MIT */
/*
 * How traffic was spread over the datacenters, from who answered. Pure.
 *
 * A request belongs to the moment it was intended at. Answers that name no datacenter
 * (recent state, refusals, failures) are nobody's and left out. Bins of few answers have no
 * share: it would be noise.
 */
#include "run.h"

#define SECOND INT64_C(1000000000)
#define HALF   (SECOND / 2) /* a bin of transitions */
#define FEW    20           /* answers a bin has to have */

struct tally {
	uint64_t all, own;
};

static void count(struct tally *t, const struct sample *s, int datacenter)
{
	if (s->datacenter == SAMPLE_NOWHERE)
		return;
	t->all++;
	t->own += s->datacenter == (unsigned)datacenter;
}

static double share(const struct tally *t)
{
	return t->all ? (double)t->own / (double)t->all : 0;
}

/* Before the run's first fault; negative: nothing was answered then. */
static double normal_share(const struct result *r, int datacenter)
{
	int64_t fault = INT64_MAX;
	struct tally t = { 0 };
	size_t i;

	for (i = 0; i < r->marks && fault == INT64_MAX; i++) {
		if (r->mark[i].kind == 'f')
			fault = r->mark[i].at;
	}
	for (i = 0; i < r->samples && r->sample[i].intended < fault; i++)
		count(&t, &r->sample[i], datacenter);
	return t.all ? share(&t) : -1;
}

/* Called with each bin of the window that has answers enough, in order. */
static void each_bin(const struct result *r, int datacenter, int64_t from, int64_t until, int64_t width, void (*take)(void *arg, double share), void *arg)
{
	struct tally t = { 0 };
	int64_t bin = 0;
	size_t i;

	for (i = 0; i < r->samples && r->sample[i].intended < until; i++) {
		const struct sample *s = &r->sample[i];

		if (s->intended < from)
			continue;
		if ((s->intended - from) / width != bin) {
			if (t.all >= FEW)
				take(arg, share(&t));
			t = (struct tally){ 0 };
			bin = (s->intended - from) / width;
		}
		count(&t, s, datacenter);
	}
	if (t.all >= FEW)
		take(arg, share(&t));
}

static void take_most(void *arg, double share)
{
	double *most = arg;

	*most = share > *most ? share : *most;
}

struct crossing {
	double half;
	int side; /* -1: not known yet */
	unsigned times;
};

static void take_crossing(void *arg, double share)
{
	struct crossing *c = arg;
	int side = share > c->half;

	c->times += c->side >= 0 && side != c->side;
	c->side = side;
}

bool shares_of(const struct result *r, int datacenter, int64_t from, int64_t until, struct shares *out)
{
	struct crossing c = { .half = normal_share(r, datacenter) / 2, .side = -1 };
	struct tally t = { 0 };
	size_t i;

	for (i = 0; i < r->samples && r->sample[i].intended < until; i++) {
		if (r->sample[i].intended >= from)
			count(&t, &r->sample[i], datacenter);
	}
	*out = (struct shares){ .share = share(&t), .most = -1 };
	each_bin(r, datacenter, from, until, SECOND, take_most, &out->most);
	each_bin(r, datacenter, from, until, HALF, take_crossing, &c);
	out->transitions = c.half > 0 ? (double)c.times : -1;
	return t.all;
}
