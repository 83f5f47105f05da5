/* SPDX-License-Identifier: MIT */
/*
 * /metrics: the workers' blocks summed and printed by telemetry/, then what only the
 * control process knows.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "reply.h"

#define READ_TRIES 10000 /* some 10 ms: laying out takes microseconds, but who does it may have to wait for a CPU */

/* A worker's block as the configuration in force names its places: during a reload some
 * workers are a turn behind us. Read again while one is being laid out anew. */
static void add_worker(const struct admin *a, const struct board_worker *w, struct tm_worker *copy, struct tm_worker *sum)
{
	const struct conf *now = ctl_conf(a->ctl), *before = ctl_conf_before(a->ctl);
	uint64_t generation = 0;
	int tries;

	for (tries = 0; tries < READ_TRIES; tries++) {
		generation = atomic_load(&w->generation);
		if (generation || tries == READ_TRIES - 1)
			memcpy(copy, &w->tm, sizeof(*copy));
		if (generation && generation == atomic_load(&w->generation))
			break;
		sched_yield();
	}
	if (before && generation == before->generation)
		tm_remap(copy, before, now);
	else if (generation != now->generation)
		tm_forget_names(copy);
	tm_merge(sum, copy);
}

struct tm_worker *metrics_sum(const struct admin *a)
{
	struct board *b = ctl_board(a->ctl);
	struct tm_worker *sum = calloc(1, sizeof(*sum)), *copy = malloc(sizeof(*copy));
	unsigned i;

	if (!sum || !copy) {
		free(sum);
		free(copy);
		return NULL;
	}
	tm_merge(sum, board_control_tm(b));
	for (i = 0; i < board_workers(b); i++)
		add_worker(a, board_worker(b, i), copy, sum);
	free(copy);
	return sum;
}

static void head(FILE *out, const char *name, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

static void gauge(FILE *out, const char *name, const char *help, double value)
{
	head(out, name, help);
	fprintf(out, "%s %.9g\n", name, value);
}

static void print_mode(FILE *out, const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct degrade_live *live = &ctl_live(a->ctl)->degrade;
	size_t i;

	head(out, "firebreak_mode", "1 for the mode in force, 0 for the others.");
	for (i = 0; i < c->modes; i++) {
		fputs("firebreak_mode{mode=\"", out);
		tm_render_label(out, c->mode[i].name);
		fprintf(out, "\"} %d\n", live->mode == i);
	}
	gauge(out, "firebreak_mode_forced", "1 while an operator sets the mode.", live->mode_forced);
	gauge(out, "firebreak_reachable_capacity_ratio", "Usable capacity of all that is configured.",
	      ctl_reachable(a->ctl) / (double)DEGRADE_FULL);
}

static void print_endpoints(FILE *out, const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	size_t i;

	head(out, "firebreak_endpoint_state", "1 for the state an endpoint is in.");
	for (i = 0; i < c->endpoints; i++) {
		fputs("firebreak_endpoint_state{datacenter=\"", out);
		tm_render_label(out, c->datacenter[c->endpoint[i].datacenter].name);
		fputs("\",endpoint=\"", out);
		tm_render_label(out, c->endpoint[i].address);
		fprintf(out, "\",state=\"%s\"} 1\n", dc_state_word((enum dc_state)ctl_live(a->ctl)->dc.endpoint_state[i]));
	}
}

static void print_shares(FILE *out, const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct board_live *live = ctl_live(a->ctl);
	size_t i;

	head(out, "firebreak_endpoint_share_ratio", "Share of its weight an endpoint may have: less while it is worse than its siblings.");
	for (i = 0; i < c->endpoints; i++) {
		fputs("firebreak_endpoint_share_ratio{datacenter=\"", out);
		tm_render_label(out, c->datacenter[c->endpoint[i].datacenter].name);
		fputs("\",endpoint=\"", out);
		tm_render_label(out, c->endpoint[i].address);
		fprintf(out, "\"} %.9g\n", 1 - live->dc.endpoint_away[i] / (double)DEGRADE_FULL);
	}
	head(out, "firebreak_spread", "1 for how the traffic is spread over what is up.");
	for (i = 0; i < DC_SPREAD_COUNT; i++)
		fprintf(out, "firebreak_spread{state=\"%s\"} %d\n", dc_spread_word((enum dc_spread)i), live->dc.spread == i);
	head(out, "firebreak_datacenter_state", "1 for the state a datacenter is in.");
	for (i = 0; i < c->datacenters; i++) {
		fputs("firebreak_datacenter_state{datacenter=\"", out);
		tm_render_label(out, c->datacenter[i].name);
		fprintf(out, "\",state=\"%s\"} 1\n", dc_state_word((enum dc_state)ctl_live(a->ctl)->dc.datacenter_state[i]));
	}
	head(out, "firebreak_datacenter_share_ratio", "Share of its own users a datacenter takes now (core; lesser tiers no more).");
	for (i = 0; i < c->datacenters; i++) {
		fputs("firebreak_datacenter_share_ratio{datacenter=\"", out);
		tm_render_label(out, c->datacenter[i].name);
		fprintf(out, "\"} %.9g\n", ctl_live(a->ctl)->dc.share[i] / (double)DEGRADE_FULL);
	}
}

static void print_datacenter_gauge(FILE *out, const struct conf *c, const char *name, const char *help, const uint32_t value[CONF_MAX_DATACENTERS])
{
	size_t i;

	head(out, name, help);
	for (i = 0; i < c->datacenters; i++) {
		fprintf(out, "%s{datacenter=\"", name);
		tm_render_label(out, c->datacenter[i].name);
		fprintf(out, "\"} %" PRIu32 "\n", value[i]);
	}
}

static void print_overload(FILE *out, const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	const struct degrade_live *live = &ctl_live(a->ctl)->degrade;
	uint32_t in_flight[CONF_MAX_DATACENTERS], limit[CONF_MAX_DATACENTERS], core[CONF_MAX_DATACENTERS];
	unsigned d;

	for (d = 0; d < c->datacenters; d++) {
		in_flight[d] = ctl_in_flight(a->ctl, d);
		limit[d] = live->limit[d][DEGRADE_LESSER];
		core[d] = live->limit[d][DEGRADE_CORE];
	}
	print_datacenter_gauge(out, c, "firebreak_datacenter_in_flight", "Requests that wait for a datacenter's answer.", in_flight);
	print_datacenter_gauge(out, c, "firebreak_datacenter_limit", "How many may, for lesser tiers to be let in; 0 is no limit.", limit);
	print_datacenter_gauge(out, c, "firebreak_datacenter_core_limit", "The same for the first tier.", core);
	print_datacenter_gauge(out, c, "firebreak_datacenter_hanging", "Those in flight that hang and take no room from others.", live->hanging);
	gauge(out, "firebreak_overload_ratio", "Part of what is asked for that is not let in.", live->overload / (double)DEGRADE_FULL);
}

static void print_fleet(FILE *out, const struct admin *a)
{
	const struct conf *c = ctl_conf(a->ctl);
	uint32_t dissent[CONF_MAX_DATACENTERS];
	struct ctl_node node[CTL_NODES_MAX];
	bool same_name;
	unsigned d;

	gauge(out, "firebreak_fleet_peers", "Other nodes heard of through Redis within the last four seconds.",
	      ctl_fleet(a->ctl, node, &same_name));
	gauge(out, "firebreak_fleet_same_name", "1 while another node has this one's name.", same_name);
	for (d = 0; d < c->datacenters; d++)
		dissent[d] = ctl_live(a->ctl)->dc.dissent >> d & 1u;
	print_datacenter_gauge(out, c, "firebreak_datacenter_dissent", "1 while a datacenter is lost to this node that most others reach.", dissent);
	fprintf(out, "# HELP firebreak_fleet_junk_total Entries of the fleet in Redis that did not validate.\n"
		     "# TYPE firebreak_fleet_junk_total counter\nfirebreak_fleet_junk_total %" PRIu64 "\n", ctl_fleet_junk(a->ctl));
}

static void print_process(FILE *out, const struct admin *a)
{
	unsigned i, alive = 0;
	size_t overrides;

	for (i = 0; i < board_workers(ctl_board(a->ctl)); i++)
		alive += ctl_worker_alive(a->ctl, i);
	ctl_overrides(a->ctl, &overrides);
	head(out, "firebreak_build_info", "The version that runs.");
	fputs("firebreak_build_info{version=\"" FIREBREAK_VERSION "\"} 1\n", out);
	gauge(out, "firebreak_workers", "Worker processes that are alive.", alive);
	gauge(out, "firebreak_overrides", "Overrides by operators in force.", (double)overrides);
	gauge(out, "firebreak_config_generation", "Which configuration is in force.", (double)ctl_conf(a->ctl)->generation);
	gauge(out, "firebreak_control_start_time_seconds", "When the control process started, since 1970.",
	      (double)(ctl_started(a->ctl) / CLOCK_SEC));
}

void metrics_print(FILE *out, const struct admin *a)
{
	struct tm_worker *sum = metrics_sum(a);

	if (sum)
		tm_render(out, sum, ctl_conf(a->ctl));
	free(sum);
	print_mode(out, a);
	print_endpoints(out, a);
	print_shares(out, a);
	print_overload(out, a);
	print_fleet(out, a);
	print_process(out, a);
}
