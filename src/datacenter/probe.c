/* SPDX-License-Identifier: MIT */
/*
 * Active checks and their schedule. Every endpoint is asked every interval, staggered
 * at the start and with jitter afterwards, so that neither our nodes nor our endpoints
 * march in step; while a verdict is pending the checks come quickly (dc_health_wait),
 * and at once when the workers see faults or silence.
 */
#include "probe.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL        (50 * CLOCK_MS)
#define FIRST_ROUND (200 * CLOCK_MS)
#define HURRY_PACE  (50 * CLOCK_MS)

static uint64_t random64(struct dc_probe *p)
{
	p->seed ^= p->seed << 13;
	p->seed ^= p->seed >> 7;
	p->seed ^= p->seed << 17;
	return p->seed;
}

void probe_record(struct check *k, const struct dc_evidence *e)
{
	struct dc_probe *p = k->probe;
	const struct conf_datacenter *dc = &p->conf->datacenter[p->conf->endpoint[k->index].datacenter];

	if (dc_health_record(&k->health, dc, e, clock_now()) && p->on_change)
		p->on_change(p->user, k->index, &k->health);
}

/* Within 20 % of what health asks for. */
void probe_schedule(struct check *k)
{
	struct dc_probe *p = k->probe;
	int64_t wait = dc_health_wait(&k->health, &p->conf->datacenter[p->conf->endpoint[k->index].datacenter]);

	wait += (int64_t)(random64(p) % 401) * wait / 1000 - wait / 5;
	net_timer_arm(p->loop, &k->timer, clock_now() + wait);
}

void probe_hurry(struct check *k)
{
	int64_t at = k->started + HURRY_PACE, now = clock_now();

	if (k->waiting)
		return;
	if (at <= now)
		check_start(k);
	else if (k->timer.deadline > at)
		net_timer_arm(k->probe->loop, &k->timer, at);
}

static void on_timer(struct net_timer *t)
{
	struct check *k = list_entry(t, struct check, timer);

	if (k->waiting)
		check_limit(k);
	else
		check_start(k);
}

static void take_traffic(struct check *k, const struct dc_traffic *t, const struct dc_evidence *e)
{
	k->traffic.well += t->well;
	k->traffic.errors += t->errors;
	k->traffic.errors_usual += t->errors_usual;
	k->traffic.slow += t->slow;
	k->traffic.slow_squared += t->slow_squared;
	if (t->well)
		k->well_at = clock_now();
	if (t->well || t->errors || e->faults || e->silences)
		k->works = t->well;
}

static void on_poll(struct net_timer *t)
{
	struct dc_probe *p = list_entry(t, struct dc_probe, poll);
	struct dc_evidence e[CONF_MAX_ENDPOINTS];
	struct dc_traffic traffic[CONF_MAX_ENDPOINTS];
	unsigned i;

	net_timer_arm(p->loop, t, clock_now() + POLL);
	evidence_collect(p, e, traffic);
	for (i = 0; i < p->conf->endpoints; i++) {
		take_traffic(&p->check[i], &traffic[i], &e[i]);
		if (!e[i].answers && !e[i].faults && !e[i].silences)
			continue;
		probe_record(&p->check[i], &e[i]);
		if ((e[i].faults || e[i].silences) && p->check[i].health.state != DC_DOWN)
			probe_hurry(&p->check[i]);
	}
}

struct dc_probe *dc_probe_create(struct net_loop *loop, const struct conf *conf, struct board *board,
				 void (*on_change)(void *user, unsigned endpoint, const struct dc_health *h), void *user)
{
	struct dc_probe *p = calloc(1, sizeof(*p));
	int64_t now = clock_now();
	unsigned i;

	if (!p)
		return NULL;
	p->loop = loop;
	p->conf = conf;
	p->limits = conf->limits;
	p->board = board;
	p->on_change = on_change;
	p->user = user;
	p->seed = ((uint64_t)now << 16 ^ (uint64_t)getpid()) | 1;
	h2_context_init(&p->ctx, loop, &p->limits, false);
	p->ctx.handler.on_ready = check_on_ready;
	p->ctx.owner = check_owner;
	for (i = 0; i < conf->endpoints; i++) {
		if (!check_init(&p->check[i], p, i)) {
			dc_probe_destroy(p);
			return NULL;
		}
		net_timer_init(&p->check[i].timer, on_timer);
		net_timer_arm(loop, &p->check[i].timer, now + (int64_t)i * FIRST_ROUND / (int64_t)conf->endpoints);
	}
	net_timer_init(&p->poll, on_poll);
	on_poll(&p->poll); /* what is on the board already is the base */
	return p;
}

bool probe_reap(struct dc_probe *p)
{
	if (!p->dying || p->sessions)
		return false;
	free(p);
	return true;
}

void dc_probe_destroy(struct dc_probe *p)
{
	unsigned i;

	if (!p)
		return;
	p->dying = true;
	if (p->poll.deadline)
		net_timer_disarm(&p->poll);
	for (i = 0; i < CONF_MAX_ENDPOINTS; i++)
		if (p->check[i].probe)
			check_finish(&p->check[i]);
	probe_reap(p);
}

void dc_probe_states(const struct dc_probe *p, struct dc_live *live)
{
	unsigned i;

	for (i = 0; i < p->conf->endpoints; i++)
		live->endpoint_state[i] = (uint8_t)p->check[i].health.state;
}

const struct dc_health *dc_probe_health(const struct dc_probe *p, unsigned endpoint)
{
	return endpoint < p->conf->endpoints ? &p->check[endpoint].health : NULL;
}

void dc_probe_traffic(struct dc_probe *p, struct dc_traffic out[CONF_MAX_ENDPOINTS])
{
	unsigned i;

	for (i = 0; i < CONF_MAX_ENDPOINTS; i++) {
		out[i] = p->check[i].traffic;
		p->check[i].traffic = (struct dc_traffic){ 0 };
	}
}

bool dc_probe_works(const struct dc_probe *p, unsigned endpoint)
{
	return endpoint < p->conf->endpoints && p->check[endpoint].works;
}

void dc_probe_hurry(struct dc_probe *p, unsigned endpoint)
{
	if (endpoint < p->conf->endpoints)
		probe_hurry(&p->check[endpoint]);
}

void dc_probe_pump(struct dc_probe *p)
{
	h2_pump_all(&p->ctx);
}
