/* SPDX-License-Identifier: MIT */
/*
 * How the traffic is spread over what is up: the judge of outliers is asked a few times
 * a second and told what the workers saw; what it takes away goes to the board. And when
 * the checks of everything fail while requests are answered, checks are not believed.
 */
#include "ctl.h"
#include "firebreak/clock.h"
#include "firebreak/log.h"

#define LOOK (250 * CLOCK_MS)

static void log_share(const struct ctl *c, unsigned d, const char *endpoint, const struct dc_member *m, uint16_t before)
{
	struct log_line l;

	log_begin(&l, m->share < before ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, endpoint ? "endpoint.share" : "datacenter.share");
	log_str(&l, "datacenter", c->conf->datacenter[d].name);
	if (endpoint)
		log_str(&l, "endpoint", endpoint);
	log_int(&l, "share_basis_points", m->share);
	log_str(&l, "why", m->share > before ? "recovering" : m->slow ? "latency" : "errors");
	log_end(&l, LOG_EVENTS);
}

void ctl_spread_tick(struct ctl *c)
{
	struct dc_outliers *o = &c->outliers;
	struct dc_traffic t[CONF_MAX_ENDPOINTS];
	uint16_t endpoint[CONF_MAX_ENDPOINTS], datacenter[CONF_MAX_DATACENTERS];
	unsigned i;

	if (clock_now() < c->look_at)
		return;
	c->look_at = clock_now() + LOOK;
	for (i = 0; i < c->conf->endpoints; i++)
		endpoint[i] = o->endpoint[i].share;
	for (i = 0; i < c->conf->datacenters; i++)
		datacenter[i] = o->datacenter[i].share;
	dc_probe_traffic(c->probe, t);
	dc_outliers_look(o, c->conf, &c->live.dc, t, clock_now());
	for (i = 0; i < c->conf->endpoints; i++)
		if (o->endpoint[i].share != endpoint[i])
			log_share(c, c->conf->endpoint[i].datacenter, c->conf->endpoint[i].address, &o->endpoint[i], endpoint[i]);
	for (i = 0; i < c->conf->datacenters; i++)
		if (o->datacenter[i].share != datacenter[i])
			log_share(c, i, NULL, &o->datacenter[i], datacenter[i]);
}

/* It is down for what its checks were answered, and its requests were answered well. */
static bool contradicted(const struct ctl *c, unsigned i)
{
	const struct dc_health *h = dc_probe_health(c->probe, i);

	if (h->state != DC_DOWN && h->state != DC_PROBING)
		return c->prior[i].works && clock_now() < c->prior[i].until; /* as far as is known, which is not from these checks */
	return (h->why == FAULT_CHECK_FAILED || h->why == FAULT_CHECK_UNKNOWN || h->why == FAULT_UPSTREAM_BAD_RESPONSE) &&
	       dc_probe_works(c->probe, i);
}

void ctl_spread_apply(const struct ctl *c, struct dc_live *live, const bool drained[CONF_MAX_DATACENTERS])
{
	uint64_t works = 0;
	unsigned i;

	for (i = 0; i < c->conf->endpoints; i++) {
		live->endpoint_away[i] = (uint16_t)(DEGRADE_FULL - c->outliers.endpoint[i].share);
		if (contradicted(c, i))
			works |= UINT64_C(1) << i;
	}
	live->disbelieved = dc_panic(c->conf, live, drained, works, c->live.dc.disbelieved);
	live->spread = live->disbelieved ? (uint8_t)DC_SPREAD_PANIC : c->outliers.spread;
}

void ctl_spread_from(struct ctl *c, unsigned endpoint, uint16_t away)
{
	if (away < DEGRADE_FULL)
		c->outliers.endpoint[endpoint].share = (uint16_t)(DEGRADE_FULL - away);
}
