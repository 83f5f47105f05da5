/* SPDX-License-Identifier: MIT */
/*
 * When each request is to be sent, fixed in advance: the arrivals are where the integral
 * of the rate passes whole numbers (or, Poisson, sums of exponential gaps), so a step
 * or a ramp has no seam and the rate of any span is right to one arrival.
 */
#include "run.h"

#include <math.h>

/* Requests of the part of a step before `at` ns. */
static double step_part(const struct scenario_step *p, double at)
{
	double length = (double)(p->until - p->from) / 1e9, t = (at - (double)p->from) / 1e9;

	if (t <= 0)
		return 0;
	t = t < length ? t : length;
	return p->rate * t + (p->end_rate - p->rate) * t * t / (2 * length);
}

double pace_total(const struct scenario *s)
{
	double sum = 0;
	unsigned i;

	for (i = 0; i < s->steps; i++)
		sum += step_part(&s->step[i], (double)s->step[i].until);
	return sum;
}

/* When the integral reaches `want`, in ns; negative: never. `*step` only grows. */
static double when(struct pace *p, double want)
{
	const struct scenario *s = p->s;
	double part, t, slope;

	for (; p->step < s->steps; p->before += part, p->step++) {
		const struct scenario_step *q = &s->step[p->step];
		double left = want - p->before;

		part = step_part(q, (double)q->until);
		if (left >= part)
			continue;
		/* left = rate t + slope t^2 / 2, in the form that is stable for a small slope */
		slope = (q->end_rate - q->rate) * 1e9 / (double)(q->until - q->from);
		t = left <= 0 ? 0 : 2 * left / (q->rate + sqrt(fmax(0, q->rate * q->rate + 2 * slope * left)));
		return (double)q->from + t * 1e9;
	}
	return -1;
}

/* splitmix64 (Steele, Lea, Flood 2014) */
uint64_t pace_roll(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void pace_init(struct pace *p, const struct scenario *s, unsigned self, unsigned of)
{
	*p = (struct pace){ .s = s, .self = self, .of = of, .random = s->seed };
}

int64_t pace_next(struct pace *p)
{
	double at;

	do {
		/* 53 bits in (0, 1]: the logarithm is finite */
		if (p->s->poisson)
			p->reached -= log((double)((pace_roll(&p->random) >> 11) + 1) / 9007199254740992.0);
		else if (p->index)
			p->reached += 1;
		at = when(p, p->reached);
		if (at < 0)
			return INT64_MAX;
	} while (p->index++ % p->of != p->self);
	return (int64_t)at;
}
