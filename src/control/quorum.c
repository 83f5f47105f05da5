/* SPDX-License-Identifier: MIT */
/*
 * What other nodes see, beside what this one sees: fleet.h has the rules.
 */
#include <string.h>

#include "ctl.h"
#include "firebreak/clock.h"
#include "firebreak/log.h"

/* A datacenter of which most is good is up; of which nothing is left, down. */
static enum peer_verdict own(const struct ctl *c, const struct board_live *live, unsigned d)
{
	struct dc_input in = DC_INPUT_NONE;

	dc_weigh(c->conf, &live->dc, d, &in);
	if (in.good >= DEGRADE_FULL / 2)
		return PEER_UP;
	return in.good + in.suspect + in.probing ? PEER_UNSURE : PEER_DOWN;
}

struct dc_peers ctl_peers(const struct ctl *c, unsigned datacenter)
{
	return peers_count(fleet_peers(c->fleet), c->conf->datacenter[datacenter].name, clock_now());
}

struct dc_peers ctl_quorum(const struct ctl *c, unsigned datacenter)
{
	struct dc_peers n = peers_quorum(fleet_peers(c->fleet), c->conf->datacenter[datacenter].name, clock_now());

	n.unheard = fleet_listening(c->fleet);
	return n;
}

void ctl_quorum_apply(struct ctl *c, struct board_live *live)
{
	uint8_t verdict[CONF_MAX_DATACENTERS] = { 0 }, lasting = 0;
	unsigned d;

	for (d = 0; d < c->conf->datacenters; d++) {
		verdict[d] = (uint8_t)own(c, live, d);
		if (live->machine[d].state != DC_SUSPECT || live->machine[d].why != DC_WHY_DISSENT || verdict[d] != PEER_DOWN)
			c->dissent_since[d] = 0;
		else if (!c->dissent_since[d])
			c->dissent_since[d] = clock_now();
		if (c->dissent_since[d] && clock_now() - c->dissent_since[d] >= FLEET_DISSENT)
			lasting |= (uint8_t)(1 << d);
	}
	fleet_say(c->fleet, verdict, lasting);
	if (fleet_listening(c->fleet))
		live->dc.dissent = lasting & c->live.dc.dissent;
	else
		live->dc.dissent = peers_may_leave(fleet_peers(c->fleet), clock_now()) ? lasting : 0;
	if (live->dc.dissent != c->live.dc.dissent)
		log_event(LOG_LEVEL_WARN, live->dc.dissent ? "fleet.dissent" : "fleet.dissent_over", "why",
			  "a datacenter that most other nodes reach is lost to this one", NULL);
}

void ctl_quorum_tick(struct ctl *c)
{
	unsigned d, i;

	for (d = 0; d < c->conf->datacenters; d++) {
		const struct conf_datacenter *dc = &c->conf->datacenter[d];
		uint8_t down = ctl_peers(c, d).down;

		for (i = 0; down > c->heard_down[d] && i < dc->endpoints; i++)
			dc_probe_hurry(c->probe, dc->first_endpoint + i);
		c->heard_down[d] = down;
	}
}

void ctl_quorum_carry_over(struct ctl *c, const struct conf *old, const struct conf *next)
{
	int64_t since[CONF_MAX_DATACENTERS] = { 0 };
	uint8_t dissent = 0;
	unsigned d, k;

	for (d = 0; d < next->datacenters; d++) {
		for (k = 0; k < old->datacenters; k++) {
			if (strcmp(old->datacenter[k].name, next->datacenter[d].name) != 0)
				continue;
			since[d] = c->dissent_since[k];
			dissent |= (uint8_t)((c->live.dc.dissent >> k & 1) << d);
		}
	}
	memcpy(c->dissent_since, since, sizeof(since));
	c->live.dc.dissent = dissent;
	memset(c->heard_down, 0, sizeof(c->heard_down));
}

void ctl_quorum_take_over(struct ctl *c, uint8_t dissent)
{
	unsigned d;

	for (d = 0; d < c->conf->datacenters; d++)
		c->dissent_since[d] = dissent >> d & 1 ? clock_now() - FLEET_DISSENT : 0;
}

unsigned ctl_fleet(const struct ctl *c, struct ctl_node node[CTL_NODES_MAX], bool *same_name)
{
	const struct peers *p = fleet_peers(c->fleet);
	unsigned i, n = 0;

	*same_name = peers_same_name(p, c->conf->node ? c->conf->node : "", clock_now());
	for (i = 0; i < p->count && n < CTL_NODES_MAX; i++) {
		if (peer_fresh(&p->peer[i], clock_now()))
			node[n++] = (struct ctl_node){ p->peer[i].word.node, clock_now() - p->peer[i].changed, p->peer[i].word.dissent };
	}
	return n;
}

uint64_t ctl_fleet_junk(const struct ctl *c)
{
	return fleet_peers(c->fleet)->junk;
}
