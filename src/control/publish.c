/* SPDX-License-Identifier: MIT */
/*
 * From evidence to the board, on every tick and at once when an endpoint changes:
 *
 *   probe states (or what was known before) > outliers > dc_summarise > degrade_control
 *        > overrides > board_live > board_publish, when anything differs
 *
 * A control process that was replaced knows nothing about the endpoints yet. Telling
 * the workers that all are up would send them into a dead datacenter, so the last
 * board stands for each endpoint until its own checks have run long enough to say.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "firebreak/clock.h"
#include "firebreak/log.h"

#define ALIVE_NS (5 * CLOCK_SEC)

void ctl_prior_from(struct ctl *c, unsigned endpoint, enum dc_state state)
{
	const struct conf_datacenter *dc = &c->conf->datacenter[c->conf->endpoint[endpoint].datacenter];
	struct ctl_prior *p = &c->prior[endpoint];
	int64_t round = ((int64_t)dc->check_interval_ms + dc->check_timeout_ms) * CLOCK_MS;

	p->stands = state != DC_UP && state < DC_STATE_COUNT;
	p->state = (uint8_t)state;
	p->until = clock_now() + 2 * round * (dc->rise > dc->fall ? dc->rise : dc->fall);
}

/* The probe's word, unless it has none yet: it begins with "up", and a few faults make
 * that "suspect", which still takes traffic. */
static enum dc_state endpoint_state(const struct ctl *c, unsigned endpoint, enum dc_state probed)
{
	const struct conf_datacenter *dc = &c->conf->datacenter[c->conf->endpoint[endpoint].datacenter];
	const struct ctl_prior *p = &c->prior[endpoint];
	const struct dc_health *h = dc_probe_health(c->probe, endpoint);

	if (!p->stands || (probed != DC_UP && probed != DC_SUSPECT) || clock_now() >= p->until || (h && h->ok_run >= dc->rise))
		return probed;
	return (enum dc_state)p->state;
}

uint16_t ctl_compute(const struct ctl *c, const struct overrides *all, struct board_live *live)
{
	bool drained[CONF_MAX_DATACENTERS];
	uint16_t reachable;
	unsigned i;

	memset(live, 0, sizeof(*live));
	live->generation = c->conf->generation;
	dc_probe_states(c->probe, &live->dc);
	for (i = 0; i < c->conf->endpoints; i++)
		live->dc.endpoint_state[i] = (uint8_t)endpoint_state(c, i, (enum dc_state)live->dc.endpoint_state[i]);
	overrides_apply(all, c->conf, c->controller.mode, &live->degrade, drained);
	ctl_spread_apply(c, &live->dc, drained);
	reachable = dc_summarise(c->conf, &live->dc, drained);
	for (i = 0; i < c->conf->datacenters; i++)
		if (live->dc.share[i] > c->outliers.datacenter[i].share)
			live->dc.share[i] = c->outliers.datacenter[i].share;
	live->degrade.any_datacenter = reachable > 0;
	return reachable;
}

static void log_datacenters(const struct ctl *c, const struct board_live *then)
{
	size_t i;

	if (c->live.dc.spread != then->dc.spread)
		log_event(LOG_LEVEL_WARN, "spread.changed", "from", dc_spread_word((enum dc_spread)c->live.dc.spread), "to",
			  dc_spread_word((enum dc_spread)then->dc.spread), "why", then->dc.disbelieved ? "checks" : "requests", NULL);
	if (c->live.generation != then->generation)
		return;
	for (i = 0; i < c->conf->datacenters; i++) {
		enum dc_state from = (enum dc_state)c->live.dc.datacenter_state[i], to = (enum dc_state)then->dc.datacenter_state[i];

		if (from != to)
			log_event(LOG_LEVEL_WARN, "datacenter.state", "datacenter", c->conf->datacenter[i].name, "from",
				  dc_state_word(from), "to", dc_state_word(to), NULL);
	}
}

/* By name: a mode's index means something else after a reload. */
static void log_mode(struct ctl *c, const struct degrade_live *to)
{
	const char *name = c->conf->mode[to->mode].name;
	struct log_line l;

	if (!strcmp(c->mode_name, name) && c->mode_forced == to->mode_forced)
		return;
	log_begin(&l, LOG_LEVEL_WARN, "mode.changed");
	log_str(&l, "from", c->mode_name);
	log_str(&l, "to", name);
	log_str(&l, "by", to->mode_forced ? "operator" : "capacity");
	log_int(&l, "reachable_basis_points", c->reachable);
	log_end(&l, LOG_EVENTS);
	if (strcmp(c->mode_name, name))
		c->mode_since = clock_wall();
	snprintf(c->mode_name, sizeof(c->mode_name), "%s", name);
	c->mode_forced = to->mode_forced;
}

void ctl_publish(struct ctl *c, bool always)
{
	struct board_live next;

	/* First what there is, then the rung it asks for, then what operators say. */
	c->reachable = ctl_compute(c, &c->overrides, &next);
	degrade_control(&c->controller, c->conf, c->reachable, clock_now());
	if (!next.degrade.mode_forced)
		next.degrade.mode = c->controller.mode;
	next.version = c->live.version;
	if (!always && !memcmp(&next, &c->live, sizeof(next)))
		return;
	log_datacenters(c, &next);
	log_mode(c, &next.degrade);
	board_publish(c->board, &next);
	next.version = board_version(c->board);
	memcpy(&c->live, &next, sizeof(next)); /* padding too: it is compared */
}

void ctl_pulse(struct ctl *c)
{
	unsigned i;

	for (i = 0; i < board_workers(c->board); i++) {
		uint64_t beat = atomic_load_explicit(&board_worker(c->board, i)->heartbeat, memory_order_relaxed);

		if (beat != c->pulse[i].heartbeat || !c->pulse[i].moved) {
			c->pulse[i].heartbeat = beat;
			c->pulse[i].moved = clock_now();
		}
	}
}

bool ctl_worker_alive(const struct ctl *c, unsigned worker)
{
	const struct board_worker *w = board_worker(c->board, worker);

	return w && atomic_load(&w->pid) > 0 && clock_now() - c->pulse[worker].moved < ALIVE_NS;
}
