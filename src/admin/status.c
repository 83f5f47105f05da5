/* SPDX-License-Identifier: MIT */
/*
 * What is going on, as JSON: the same words as in headers, logs and metrics. json_pack
 * with "o" takes over a NULL as an error, so a failed part makes the whole NULL.
 */
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "reply.h"

static json_t *endpoint(const struct admin *a, unsigned i)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct dc_health *h = ctl_health(a->ctl, i);
	enum dc_state state = (enum dc_state)ctl_live(a->ctl)->dc.endpoint_state[i];

	return json_pack("{ss ss so ss sf si si}", "address", c->endpoint[i].address, "state", dc_state_word(state), "share",
			 json_share((uint16_t)(DEGRADE_FULL - ctl_live(a->ctl)->dc.endpoint_away[i])), "why",
			 fault_info(h && state != DC_UP ? h->why : FAULT_NONE)->word, "since_s",
			 h ? (double)(clock_now() - h->since) / CLOCK_SEC : 0.0, "checks_ok_in_a_row", h ? (int)h->ok_run : 0,
			 "checks_failed_in_a_row", h ? (int)h->bad_run : 0);
}

static const struct ctl_override *drain_of(const struct admin *a, const char *name)
{
	const struct ctl_override *o;
	size_t i, n;

	o = ctl_overrides(a->ctl, &n);
	for (i = 0; i < n; i++) {
		if (o[i].kind == CTL_DRAIN && !strcmp(o[i].subject, name))
			return &o[i];
	}
	return NULL;
}

/* What comes next and when, if it is a matter of time. */
static json_t *coming(const struct dc_machine *m, const struct conf_datacenter *dc, const struct ctl_override *drain)
{
	enum dc_state next;
	int64_t in;

	next = dc_machine_next(m, dc, clock_now(), &in);
	if (next == (enum dc_state)m->state)
		return json_null();
	if (drain && m->state == DC_DRAINING)
		in = drain->from + drain->over > clock_wall() ? drain->from + drain->over - clock_wall() : 0;
	return json_pack("{ss so}", "state", dc_state_word(next), "in_s", in < 0 ? json_null() : json_real((double)in / CLOCK_SEC));
}

static json_t *tier_shares(const struct conf *c, const uint16_t share[CONF_MAX_TIERS])
{
	json_t *all = json_object();
	size_t t;

	for (t = 0; t < c->tiers; t++)
		json_object_set_new(all, c->tier[t], json_share(share[t]));
	return all;
}

static json_t *limit(uint32_t n)
{
	return n ? json_integer(n) : json_null();
}

/* Requests that wait for an answer, and how many may (null is open); all streams. */
static json_t *load(const struct admin *a, unsigned d)
{
	const uint32_t *l = ctl_live(a->ctl)->degrade.limit[d];

	return json_pack("{sI sI so so}", "in_flight", (json_int_t)ctl_in_flight(a->ctl, d), "streams", (json_int_t)ctl_streams(a->ctl, d),
			 "limit", limit(l[DEGRADE_LESSER]), "core_limit", limit(l[DEGRADE_CORE]));
}

static json_t *datacenter(const struct admin *a, unsigned d)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct conf_datacenter *dc = &c->datacenter[d];
	const struct board_live *live = ctl_live(a->ctl);
	const struct dc_machine *m = &live->machine[d];
	const struct ctl_override *drain = drain_of(a, dc->name);
	struct dc_peers peers = ctl_peers(a->ctl, d);
	json_t *endpoints = json_array();
	unsigned e;

	for (e = 0; e < dc->endpoints; e++)
		json_array_append_new(endpoints, endpoint(a, dc->first_endpoint + e));
	return json_pack("{ss ss ss sf so so so sb si sf si si s{si si} sb so so}", "name", dc->name, "state", dc_state_word((enum dc_state)m->state), "why",
			 dc_why_word((enum dc_why)m->why), "since_s", (double)(clock_now() - m->since) / CLOCK_SEC, "next",
			 coming(m, dc, drain), "share", json_share(live->dc.share[d]), "tier_shares", tier_shares(c, live->dc.tier_share[d]),
			 "drain", drain != NULL, "flaps", (int)m->flaps, "hold_s", (double)dc_machine_hold(m, dc) / CLOCK_SEC, "capacity",
			 (int)dc->capacity, "weight", (int)dc->weight, "peers", "up", peers.up, "down", peers.down, "dissent",
			 live->dc.dissent >> d & 1, "load", load(a, d), "endpoints", endpoints);
}

json_t *status_datacenters(const struct admin *a)
{
	json_t *all = json_array();
	unsigned d;

	for (d = 0; d < ctl_conf(a->ctl)->datacenters; d++)
		json_array_append_new(all, datacenter(a, d));
	return all;
}

static const char *word(uint8_t w)
{
	static const char *const words[] = {
		[DEGRADE_AUTO] = "auto", [DEGRADE_ON] = "on", [DEGRADE_STALE_ONLY] = "stale-only", [DEGRADE_OFF] = "off", [DEGRADE_SHARE] = "share",
	};

	return w < sizeof(words) / sizeof(*words) ? words[w] : "auto";
}

static json_t *ways(const struct conf_ways *w)
{
	json_t *all = json_array();
	unsigned i;

	for (i = 0; i < w->count && i < CONF_WAYS; i++)
		json_array_append_new(all, json_string(degrade_way_word((enum conf_way)w->way[i])));
	return all;
}

static json_t *totals(const struct tm_worker *sum, unsigned f)
{
	json_t *all = json_object();
	unsigned o, d;
	uint64_t n;

	for (o = 0; o < TM_OUTCOMES_COUNT; o++) {
		for (n = 0, d = 0; d <= CONF_MAX_DATACENTERS; d++)
			n += sum->exchange[f][o][d];
		json_object_set_new(all, tm_outcome_word((enum tm_outcome)o), json_integer((json_int_t)n));
	}
	return all;
}

static json_t *latency(const struct tm_hist *h)
{
	return json_pack("{sf sf sf}", "p50_s", (double)tm_hist_quantile(h, 0.5) / CLOCK_SEC, "p99_s",
			 (double)tm_hist_quantile(h, 0.99) / CLOCK_SEC, "p999_s", (double)tm_hist_quantile(h, 0.999) / CLOCK_SEC);
}

json_t *status_features(const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct degrade_live *live = &ctl_live(a->ctl)->degrade;
	const struct degrade_plan *plan = ctl_plan(a->ctl);
	struct tm_worker *sum = metrics_sum(a);
	json_t *all = sum ? json_array() : NULL;
	unsigned f;

	for (f = 0; all && f < c->features; f++) {
		uint16_t share = live->word[f] == DEGRADE_SHARE ? live->word_share[f] : live->share[f];

		json_array_append_new(all, json_pack("{ss ss ss so so so so}", "name", c->feature[f].name, "tier",
						     c->tier[c->feature[f].tier], "override", word(live->word[f]), "share", json_share(share),
						     "ways", ways(&plan->cell[live->mode][f]), "totals", totals(sum, f), "latency",
						     latency(&sum->latency[f])));
	}
	free(sum);
	return all;
}

json_t *status_mode(const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct board_live *live = ctl_live(a->ctl);
	json_t *ladder = json_array();
	size_t i;

	for (i = 0; i < c->modes; i++)
		json_array_append_new(ladder, json_string(c->mode[i].name));
	return json_pack("{ss sb so so so}", "mode", c->mode[live->degrade.mode].name, "forced", live->degrade.mode_forced, "since",
			 json_time(ctl_mode_since(a->ctl)), "reachable", json_share(ctl_reachable(a->ctl)), "ladder", ladder);
}

json_t *status_override(const struct ctl_override *o)
{
	static const char *const kinds[] = { [CTL_MODE] = "mode", [CTL_FEATURE] = "feature", [CTL_DRAIN] = "drain" };

	return json_pack("{ss ss ss so ss ss so so sf sf}", "kind", kinds[o->kind], "subject", o->subject, "value", o->value, "share",
			 json_share(o->share), "author", o->author, "reason", o->reason, "from", json_time(o->from), "until",
			 json_time(o->until), "left_s", (double)(o->until - clock_wall()) / CLOCK_SEC, "over_s", (double)o->over / CLOCK_SEC);
}

json_t *status_overrides(const struct admin *a)
{
	const struct ctl_override *o;
	json_t *all = json_array();
	size_t i, n;

	o = ctl_overrides(a->ctl, &n);
	for (i = 0; i < n; i++)
		json_array_append_new(all, status_override(&o[i]));
	return all;
}

/* What is kept out because the datacenters carry no more, by tier. */
static json_t *overload(const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct degrade_live *live = &ctl_live(a->ctl)->degrade;
	struct tm_worker *sum = metrics_sum(a);
	json_t *all = sum ? json_array() : NULL;
	unsigned t, f;

	for (t = 0; all && t < c->tiers; t++) {
		for (f = 0; f + 1 < c->features && c->feature[f].tier != t; f++)
			;
		json_array_append_new(all, json_pack("{ss so sI}", "tier", c->tier[t], "share",
						     json_share(c->feature[f].tier == t ? live->share[f] : DEGRADE_FULL), "shed",
						     (json_int_t)sum->shed[t]));
	}
	free(sum);
	return json_pack("{so so}", "level", json_share(live->overload), "tiers", all);
}

static json_t *workers(const struct admin *a)
{
	struct board *b = ctl_board(a->ctl);
	json_t *all = json_array();
	unsigned i;

	for (i = 0; i < board_workers(b); i++) {
		struct board_worker *w = board_worker(b, i);

		json_array_append_new(all, json_pack("{si si sb sI sI}", "index", (int)i, "pid", (int)atomic_load(&w->pid), "alive",
						     (int)ctl_worker_alive(a->ctl, i), "generation",
						     (json_int_t)atomic_load(&w->generation), "live_version",
						     (json_int_t)atomic_load(&w->live_version)));
	}
	return all;
}

/* Nobody is in it when there is no Redis. */
static json_t *fleet(const struct admin *a)
{
	struct ctl_node node[CTL_NODES_MAX];
	bool same_name;
	unsigned i, n = ctl_fleet(a->ctl, node, &same_name);
	json_t *all = json_array();

	for (i = 0; i < n; i++)
		json_array_append_new(all, json_pack("{ss sf sb}", "node", node[i].name, "heard_s", (double)node[i].age / CLOCK_SEC, "dissent",
						     (int)node[i].dissent));
	return json_pack("{sb so}", "same_name", (int)same_name, "peers", all);
}

json_t *status_all(const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct board_live *live = ctl_live(a->ctl);
	const char *why;
	bool ready = status_ready(a, &why);

	return json_pack("{ss ss* sI sI sf sb ss sb ss so sb so ss so so so so so so}", "version", FIREBREAK_VERSION, "node", c->node, "generation",
			 (json_int_t)c->generation, "live_version", (json_int_t)live->version, "uptime_s",
			 (double)(clock_wall() - ctl_started(a->ctl)) / CLOCK_SEC, "ready", ready, "ready_why", why, "draining",
			 ctl_draining(a->ctl), "mode", c->mode[live->degrade.mode].name, "mode_since", json_time(ctl_mode_since(a->ctl)),
			 "mode_forced", live->degrade.mode_forced, "reachable", json_share(ctl_reachable(a->ctl)), "spread",
			 dc_spread_word((enum dc_spread)live->dc.spread), "overload", overload(a), "fleet", fleet(a),
			 "datacenters", status_datacenters(a), "features", status_features(a), "workers", workers(a), "overrides",
			 status_overrides(a));
}

/* The best that could happen to a read of a core feature now: the decision itself is
 * asked, walking past nothing. */
static bool core_answered(const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct degrade_live *live = &ctl_live(a->ctl)->degrade;
	struct degrade_request r = { .can_forward = true, .has_identity = true, .readable = true };
	size_t f;

	for (f = 0; f < c->features; f++) {
		if (c->feature[f].tier)
			continue;
		r.feature = (uint8_t)f;
		if (degrade_decide(ctl_plan(a->ctl), live, &r).way != CONF_REFUSE)
			return true;
	}
	return false;
}

bool status_ready(const struct admin *a, const char **why)
{
	unsigned i, n = board_workers(ctl_board(a->ctl));

	if (ctl_draining(a->ctl)) {
		*why = "draining";
		return false;
	}
	for (i = 0; i < n && !ctl_worker_alive(a->ctl, i); i++)
		;
	if (i == n) {
		*why = "no worker lives";
		return false;
	}
	if (ctl_live(a->ctl)->dc.dissent) {
		*why = "dissent: a datacenter that most other nodes reach is lost to this one";
		return false;
	}
	if (!core_answered(a)) {
		*why = "no core feature can be answered";
		return false;
	}
	*why = "serving";
	return true;
}
