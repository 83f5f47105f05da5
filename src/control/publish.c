/* SPDX-License-Identifier: MIT */
/*
 * From evidence to the board, on every tick and at once when an endpoint changes:
 *
 *   probe states (or what was known before) > outliers > machines > degrade_control
 *        > overrides > board_live > board_publish, when anything differs
 *
 * A control process that was replaced knows nothing about the endpoints yet. Telling
 * the workers that all are up would send them into a dead datacenter, so the last
 * board stands for each endpoint until its own checks have run long enough to say. The
 * machines of the datacenters lie on the board whole, and go on from there.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "firebreak/clock.h"
#include "firebreak/log.h"

#define ALIVE_NS (5 * CLOCK_SEC)

void ctl_prior_from(struct ctl *c, unsigned endpoint, enum dc_state state, bool works)
{
	const struct conf_datacenter *dc = &c->conf->datacenter[c->conf->endpoint[endpoint].datacenter];
	struct ctl_prior *p = &c->prior[endpoint];
	int64_t round = ((int64_t)dc->check_interval_ms + dc->check_timeout_ms) * CLOCK_MS;

	p->stands = state != DC_UP && state < DC_STATE_COUNT;
	p->state = (uint8_t)state;
	p->works = works;
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

/* ---- datacenters ---- */

void ctl_machines(struct ctl *c, const struct dc_machine known[CONF_MAX_DATACENTERS])
{
	struct dc_machine next[CONF_MAX_DATACENTERS] = { 0 };
	unsigned d, k;

	for (d = 0; d < c->conf->datacenters; d++) {
		dc_machine_init(&next[d], c->conf->datacenter[d].name, clock_now());
		for (k = 0; k < CONF_MAX_DATACENTERS; k++)
			if (known[k].name == next[d].name && known[k].state < DC_STATE_COUNT) {
				next[d] = known[k];
				break;
			}
	}
	memcpy(c->live.machine, next, sizeof(next));
}

static void show_all(const struct ctl *c, struct board_live *live)
{
	unsigned d;

	for (d = 0; d < c->conf->datacenters; d++)
		dc_machine_show(&live->machine[d], (unsigned)c->conf->tiers, d, &live->dc);
}

static struct dc_input look(const struct ctl *c, const struct board_live *live, unsigned d, int drain_left)
{
	struct dc_input in = DC_INPUT_NONE;
	unsigned o;

	dc_weigh(c->conf, &live->dc, d, &in);
	for (o = 0; o < c->conf->datacenters; o++)
		in.others |= o != d && dc_takes(c->conf, &live->dc, o);
	in.verdict = (enum dc_verdict)c->outliers.datacenter[d].verdict;
	in.cap = c->outliers.datacenter[d].share;
	if (live->dc.disbelieved) { /* the last good spread stays: nobody is held for what checks say */
		in.good = (uint16_t)(in.good + in.suspect);
		in.suspect = 0;
		in.others = false;
	}
	in.peers = ctl_quorum(c, d);
	in.drain = drain_left >= 0;
	in.left = (uint16_t)(in.drain ? drain_left : DEGRADE_FULL);
	return in;
}

static void log_share(const char *event, const char *name, const struct dc_machine *m, enum dc_state from)
{
	struct log_line l;

	log_begin(&l, LOG_LEVEL_WARN, event);
	log_str(&l, "datacenter", name);
	if (from != (enum dc_state)m->state)
		log_str(&l, "from", dc_state_word(from));
	log_str(&l, "to", dc_state_word((enum dc_state)m->state));
	log_str(&l, "why", dc_why_word((enum dc_why)m->why));
	log_int(&l, "share_basis_points", m->ramp / 100000);
	log_end(&l, LOG_EVENTS);
}

#define STEPS_MOST 4 /* at one moment: down > probing > restoring > up, without holds */

static void step(struct ctl *c, struct board_live *live, const int drain_left[CONF_MAX_DATACENTERS])
{
	int64_t now = clock_now(), elapsed = now - c->stepped;
	unsigned d, i;

	c->stepped = now;
	show_all(c, live);
	for (d = 0; d < c->conf->datacenters; d++) {
		struct dc_machine *m = &live->machine[d], before = *m;
		bool changed = true;

		for (i = 0; i < STEPS_MOST && changed; i++) {
			struct dc_input in = look(c, live, d, drain_left[d]);
			enum dc_state from = (enum dc_state)m->state;

			changed = dc_machine_step(m, &c->conf->datacenter[d], &in, now, i ? 0 : elapsed);
			dc_machine_show(m, (unsigned)c->conf->tiers, d, &live->dc);
			if (changed)
				log_share("datacenter.state", c->conf->datacenter[d].name, m, from);
		}
		if (m->paused_until > before.paused_until)
			log_share("datacenter.step_back", c->conf->datacenter[d].name, m, (enum dc_state)m->state);
	}
}

static void endpoint_states(const struct ctl *c, struct board_live *live)
{
	unsigned i;

	dc_probe_states(c->probe, &live->dc);
	for (i = 0; i < c->conf->endpoints; i++)
		live->dc.endpoint_state[i] = (uint8_t)endpoint_state(c, i, (enum dc_state)live->dc.endpoint_state[i]);
}

uint16_t ctl_foresee(const struct ctl *c, const struct overrides *all, struct board_live *live)
{
	int drain_left[CONF_MAX_DATACENTERS];
	uint16_t reachable;
	unsigned d;

	*live = c->live;
	overrides_apply(all, c->conf, c->controller.mode, clock_wall(), &live->degrade, drain_left);
	ctl_overload_apply(c, &live->degrade);
	for (d = 0; d < c->conf->datacenters; d++)
		if (drain_left[d] >= 0)
			live->dc.datacenter_state[d] = DC_DRAINED;
	reachable = dc_usable(c->conf, &live->dc);
	live->degrade.any_datacenter = reachable > 0;
	return reachable;
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
	int drain_left[CONF_MAX_DATACENTERS];
	bool drained[CONF_MAX_DATACENTERS];
	struct board_live next;
	unsigned d;

	/* First what there is, then the rung it asks for, then what operators say. */
	memset(&next, 0, sizeof(next));
	next.generation = c->conf->generation;
	memcpy(next.machine, c->live.machine, sizeof(next.machine));
	endpoint_states(c, &next);
	overrides_apply(&c->overrides, c->conf, c->controller.mode, clock_wall(), &next.degrade, drain_left);
	ctl_overload_apply(c, &next.degrade);
	for (d = 0; d < CONF_MAX_DATACENTERS; d++)
		drained[d] = drain_left[d] >= 0;
	ctl_spread_apply(c, &next.dc, drained);
	step(c, &next, drain_left);
	ctl_quorum_apply(c, &next);
	c->reachable = dc_usable(c->conf, &next.dc);
	next.degrade.any_datacenter = c->reachable > 0;
	degrade_control(&c->controller, c->conf, c->reachable, clock_now());
	if (!next.degrade.mode_forced)
		next.degrade.mode = c->controller.mode;
	next.version = c->live.version;
	if (!always && !memcmp(&next, &c->live, sizeof(next)))
		return;
	if (c->live.dc.spread != next.dc.spread)
		log_event(LOG_LEVEL_WARN, "spread.changed", "from", dc_spread_word((enum dc_spread)c->live.dc.spread), "to",
			  dc_spread_word((enum dc_spread)next.dc.spread), "why", next.dc.disbelieved ? "checks" : "requests", NULL);
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
