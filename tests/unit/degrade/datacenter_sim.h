/* SPDX-License-Identifier: MIT */
/*
 * A datacenter in a queueing simulation, behind the limiter and the admission: servers
 * with one queue, arrivals of several features at random, virtual time.
 */
#ifndef TESTS_DATACENTER_SIM_H
#define TESTS_DATACENTER_SIM_H

#include "firebreak/degrade.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../cases.h"

#define SIM_MS      1000000.0
#define SIM_SEC     1e9
#define SIM_SERVERS 512
#define SIM_FLIGHT  65536
#define SIM_TIERS   3

struct sim_feature {
	unsigned tier;
	double rate;      /* arrivals per second */
	double service;   /* ns at a server */
	double elsewhere; /* ns that no server of ours is needed for: a database, another service */
	double slow_part, slow; /* this part of them has `slow` ns of `elsewhere` instead */
	bool broken;      /* answers 503 at once */
	double hangs;     /* ns after which it is given up: no server touches it; 0: it is answered */
	uint64_t users;   /* cohorts drawn from so many users */
};

struct sim_job {
	double end, began;
	unsigned feature;
	bool rejected, given_up;
};

struct sim {
	struct sim_feature feature[CONF_MAX_FEATURES];
	unsigned features, servers;
	double queue_most; /* ns a request would wait before it is rejected; 0: no end to it */
	double patience;   /* ns after which the client has gone; 0: never */
	bool admission;
	struct conf_overload conf;

	struct degrade_limiter limiter;
	struct degrade_admission admit;
	struct degrade_traffic traffic;
	struct degrade_demand demand;
	double now, tick, next[CONF_MAX_FEATURES], free_at[SIM_SERVERS];
	struct sim_job flight[SIM_FLIGHT]; /* heap by end */
	unsigned in_flight, under_way[CONF_MAX_FEATURES];
	uint64_t seed;
	/* counted since sim_count_anew */
	double counted_from, wait_sum;
	uint64_t asked[SIM_TIERS], good[SIM_TIERS], refused[SIM_TIERS], answers;
	uint64_t late[SIM_TIERS];      /* let in for nothing: rejected, or nobody waited for the answer any more */
	uint64_t refused_under_lesser; /* of the first tier, by share while a lesser one has a share */
};

static inline double sim_random(struct sim *s)
{
	return ((double)cases_below(&s->seed, 1u << 30) + 0.5) / (1u << 30);
}

static inline double sim_gap(struct sim *s, unsigned f)
{
	return s->feature[f].rate > 0 ? -log(sim_random(s)) * SIM_SEC / s->feature[f].rate : 1e18;
}

static inline void sim_init(struct sim *s, unsigned servers, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	s->servers = servers;
	s->seed = seed;
	s->now = s->tick = SIM_SEC;
	s->conf = (struct conf_overload){ .wait_ms = 20, .core_wait_ms = 250, .core_floor = 2000 };
}

static inline struct sim_feature *sim_feature(struct sim *s, unsigned tier, double rate, double service_ms)
{
	struct sim_feature *f = &s->feature[s->features++];

	*f = (struct sim_feature){ .tier = tier, .rate = rate, .service = service_ms * SIM_MS, .users = 500 };
	s->next[s->features - 1] = s->now + sim_gap(s, s->features - 1);
	return f;
}

static inline void sim_count_anew(struct sim *s)
{
	memset(s->asked, 0, sizeof(s->asked));
	memset(s->good, 0, sizeof(s->good));
	memset(s->refused, 0, sizeof(s->refused));
	memset(s->late, 0, sizeof(s->late));
	s->answers = s->refused_under_lesser = 0;
	s->wait_sum = 0;
	s->counted_from = s->now;
}

/* New rates begin now. */
static inline void sim_rates(struct sim *s, double times)
{
	unsigned f;

	for (f = 0; f < s->features; f++) {
		s->feature[f].rate *= times;
		s->next[f] = s->now + sim_gap(s, f);
	}
}

static inline void sim_push(struct sim *s, struct sim_job j)
{
	unsigned i = s->in_flight++, up;

	for (; i && s->flight[up = (i - 1) / 2].end > j.end; i = up)
		s->flight[i] = s->flight[up];
	s->flight[i] = j;
	s->under_way[j.feature]++;
}

static inline struct sim_job sim_pop(struct sim *s)
{
	struct sim_job top = s->flight[0], last = s->flight[--s->in_flight];
	unsigned i = 0, k;

	while ((k = 2 * i + 1) < s->in_flight) {
		if (k + 1 < s->in_flight && s->flight[k + 1].end < s->flight[k].end)
			k++;
		if (s->flight[k].end >= last.end)
			break;
		s->flight[i] = s->flight[k];
		i = k;
	}
	s->flight[i] = last;
	s->under_way[top.feature]--;
	return top;
}

/* A client without patience has gone before the answer; the servers work for it all the same. */
static inline void sim_finish(struct sim *s, struct sim_job j)
{
	double waited = j.end - j.began;

	s->late[s->feature[j.feature].tier] += j.rejected || j.given_up || (s->patience > 0 && waited > s->patience);
	if (j.rejected) {
		s->traffic.rejects[j.feature]++;
		return;
	}
	s->traffic.answers[j.feature]++;
	s->traffic.waited[j.feature] += (uint64_t)waited;
	if (j.given_up)
		return;
	s->traffic.heads[j.feature]++;
	s->answers++;
	s->wait_sum += waited;
	if (!s->patience || waited <= s->patience)
		s->good[s->feature[j.feature].tier]++;
}

/* The first free one's, for so long; returns until when. */
static inline double sim_server(struct sim *s, double service)
{
	unsigned i, at = 0;

	for (i = 1; i < s->servers; i++)
		if (s->free_at[i] < s->free_at[at])
			at = i;
	return s->free_at[at] = fmax(s->free_at[at], s->now) + service;
}

static inline double sim_queue(const struct sim *s)
{
	double first = s->free_at[0];
	unsigned i;

	for (i = 1; i < s->servers; i++)
		first = fmin(first, s->free_at[i]);
	return first - s->now;
}

static inline void sim_serve(struct sim *s, unsigned f)
{
	const struct sim_feature *kind = &s->feature[f];
	double other = sim_random(s) < kind->slow_part ? kind->slow : kind->elsewhere;
	struct sim_job j = { .began = s->now, .feature = f };

	j.given_up = kind->hangs > 0;
	j.rejected = !j.given_up && (kind->broken || (s->queue_most > 0 && sim_queue(s) > s->queue_most));
	j.end = j.given_up ? s->now + kind->hangs : j.rejected ? s->now + 0.1 * SIM_MS : sim_server(s, kind->service) + other;
	sim_push(s, j);
}

static inline uint32_t sim_hanging(const struct sim *s)
{
	uint64_t features;

	return degrade_hanging(&s->limiter, &features);
}

static inline void sim_arrive(struct sim *s, unsigned f)
{
	const struct sim_feature *kind = &s->feature[f];
	uint32_t limit[DEGRADE_BOUNDS] = { degrade_limit_of(&s->limiter, DEGRADE_LESSER), degrade_limit_of(&s->limiter, DEGRADE_CORE) };
	uint64_t user = cases_below(&s->seed, (uint32_t)kind->users);
	uint16_t cohort = (uint16_t)(user * DEGRADE_FULL / kind->users);
	uint64_t hangs;
	uint32_t hanging = degrade_hanging(&s->limiter, &hangs);
	unsigned t = kind->tier, k;

	if (hangs >> f & 1)
		hanging = 0;
	s->asked[t]++;
	s->demand.asked[t] += !(hangs >> f & 1);
	s->next[f] = s->now + sim_gap(s, f);
	if (s->admit.admitted > 0 && cohort >= s->admit.share[t]) {
		s->demand.cut[t] += !(hangs >> f & 1);
		s->refused[t]++;
		for (k = t + 1; k < SIM_TIERS; k++)
			s->refused_under_lesser += s->admit.share[k] > 0;
	} else if (!degrade_room(limit, t, s->conf.core_floor, s->in_flight > hanging ? s->in_flight - hanging : 0)) {
		s->traffic.full[t ? DEGRADE_LESSER : DEGRADE_CORE] += !(hangs >> f & 1);
		s->demand.turned[t] += !(hangs >> f & 1);
		s->refused[t]++;
	} else if (s->in_flight < SIM_FLIGHT) {
		sim_serve(s, f);
	}
}

static inline void sim_tick(struct sim *s)
{
	bool hold[DEGRADE_BOUNDS] = { s->admit.level > 0, s->admit.level > 0 && s->admit.share[0] < DEGRADE_FULL };
	unsigned f;

	s->traffic.in_flight = s->in_flight;
	memcpy(s->traffic.under_way, s->under_way, sizeof(s->under_way));
	degrade_limit(&s->limiter, &s->conf, &s->traffic, hold, (int64_t)s->now);
	for (f = 0; f < s->features; f++) {
		s->demand.answered += s->traffic.answers[f];
		if (s->limiter.rejecting)
			s->demand.turned[s->feature[f].tier] += s->traffic.rejects[f];
	}
	for (f = 0; f < SIM_TIERS; f++)
		if (s->demand.turned[f] > s->demand.asked[f] - s->demand.cut[f])
			s->demand.turned[f] = s->demand.asked[f] - s->demand.cut[f];
	if (s->admission)
		degrade_admit(&s->admit, &s->demand, SIM_TIERS, (int64_t)s->now);
	memset(&s->traffic, 0, sizeof(s->traffic));
	memset(&s->demand, 0, sizeof(s->demand));
	s->tick += 100 * SIM_MS;
}

static inline void sim_run(struct sim *s, double seconds)
{
	double until = s->now + seconds * SIM_SEC, end;
	unsigned f, first;

	for (;;) {
		for (first = 0, f = 1; f < s->features; f++)
			if (s->next[f] < s->next[first])
				first = f;
		end = s->in_flight ? s->flight[0].end : 1e18;
		s->now = fmin(fmin(s->next[first], end), s->tick);
		if (s->now >= until) {
			s->now = until;
			return;
		}
		if (s->now == s->tick)
			sim_tick(s);
		else if (s->now == end)
			sim_finish(s, sim_pop(s));
		else
			sim_arrive(s, first);
	}
}

/* All that hang get a server after all, at once. */
static inline void sim_hang_ends(struct sim *s, unsigned f)
{
	static struct sim_job all[SIM_FLIGHT];
	unsigned n = s->in_flight, i;

	s->feature[f].hangs = 0;
	for (i = 0; i < n; i++)
		all[i] = sim_pop(s);
	for (i = 0; i < n; i++) {
		if (all[i].given_up) {
			all[i].end = sim_server(s, s->feature[f].service);
			all[i].given_up = false;
		}
		sim_push(s, all[i]);
	}
}

/* Nothing is answered for so long. */
static inline void sim_stall(struct sim *s, double ms)
{
	unsigned i;

	for (i = 0; i < s->servers; i++)
		s->free_at[i] = fmax(s->free_at[i], s->now) + ms * SIM_MS;
	for (i = 0; i < s->in_flight; i++)
		s->flight[i].end += ms * SIM_MS;
}

static inline double sim_goodput(const struct sim *s)
{
	return (double)(s->good[0] + s->good[1] + s->good[2]) * SIM_SEC / (s->now - s->counted_from);
}

static inline double sim_served(const struct sim *s, unsigned tier)
{
	return s->asked[tier] ? 1 - (double)s->refused[tier] / (double)s->asked[tier] : 1;
}

#endif
