/* SPDX-License-Identifier: MIT */
/*
 * The timeline: each item is a fault, a heal or words of the operator; what comes and
 * goes (`for`, `flap`) or spreads (`waves`) becomes single events with their times.
 */
#include "scenario_keys.h"

#include <math.h>
#include <string.h>

#include "firebreak/clock.h"

/* ---- where, how much ---- */

/* Not every fault can befall what is no datacenter. */
static void check_place(struct reader *r, const struct node *n, const struct fault_form *f)
{
	enum scenario_who who = scenario_faults[f->kind].who;

	if (f->datacenter == PLACE_REDIS && !r->s->proxy.redis)
		conf_errors_add(r->errors, n->mark, "a fault of Redis; expected \"redis: true\" in \"proxy\"");
	else if (f->datacenter == PLACE_REDIS && who == WHO_MESSENGER)
		conf_errors_add(r->errors, n->mark, "\"%s\" is a fault of the messenger; expected one of a process or of the wire for redis",
				scenario_faults[f->kind].word);
	else if (f->datacenter < PLACE_REDIS && who != WHO_PROCESS)
		conf_errors_add(r->errors, n->mark, "\"%s\" is no fault of a process; expected kill or stop for %s", scenario_faults[f->kind].word, f->dc);
}

static void find_place(struct reader *r, const struct node *n, struct fault_form *f)
{
	struct scenario *s = r->s;
	char near[96], known[400] = "";
	struct suggest suggest;
	size_t used = 0;
	unsigned i;

	f->datacenter = PLACE_REDIS;
	f->count = 1;
	f->endpoints = UINT64_MAX;
	suggest_init(&suggest, f->dc);
	for (i = 0; i < s->datacenters; i++) {
		if (!strcmp(s->datacenter[i].name, f->dc)) {
			f->datacenter = (int)i;
			f->count = s->datacenter[i].endpoints;
			f->endpoints = f->count >= 64 ? UINT64_MAX : (UINT64_C(1) << f->count) - 1;
			return;
		}
		suggest_try(&suggest, s->datacenter[i].name);
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s, ", s->datacenter[i].name);
	}
	for (i = 0; i < PLACES; i++) {
		if (!strcmp(scenario_places[i], f->dc)) {
			f->datacenter = -1 - (int)i;
			check_place(r, n, f);
			return;
		}
		suggest_try(&suggest, scenario_places[i]);
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", scenario_places[i], i + 1 < PLACES ? ", " : "");
	}
	conf_errors_add(r->errors, n->mark, "unknown datacenter \"%s\"; expected one of %s%s", f->dc, known, suggest_text(&suggest, near, sizeof(near)));
}

static void read_endpoints(struct reader *r, const struct node *list, struct fault_form *f)
{
	const struct node *n;
	double v;

	if (!read_list(r, list, "endpoints", "a list of numbers from 1"))
		return;
	if (f->datacenter < 0) {
		conf_errors_add(r->errors, list->name_mark, "\"endpoints\" of %s; expected it not to be there", f->dc);
		return;
	}
	f->endpoints = 0;
	for (n = list->child; n; n = n->next) {
		if (read_number(r, n, "endpoints", FORM_COUNT, 1, f->count, &v))
			f->endpoints |= UINT64_C(1) << ((unsigned)v - 1);
	}
	if (!list->child)
		conf_errors_add(r->errors, list->mark, "\"endpoints\" is empty; expected one at least");
}

static void read_fault_value(struct reader *r, const struct node *fault, struct fault_form *f)
{
	static const struct {
		const char *unit;
		enum form form;
		double least, most;
	} units[] = {
		{ "duration", FORM_TIME, CLOCK_MS, 3600e9 },
		{ "ratio", FORM_RATIO, 0.0001, 1 },
		{ "rate", FORM_SIZE, 1, 1e9 },
		{ "count", FORM_COUNT, 1, 1e9 },
	};
	const struct scenario_fault_info *info = &scenario_faults[f->kind];
	const struct node *n = node_get(fault, "value");
	size_t i;

	if (n && !info->valued)
		conf_errors_add(r->errors, n->name_mark, "\"%s\" takes no value; expected it not to be there", info->word);
	if (!n && info->valued)
		conf_errors_add(r->errors, fault->mark, "\"value\" is missing; expected a %s for \"%s\" (%s)", info->unit, info->word, info->help);
	for (i = 0; i < sizeof(units) / sizeof(*units); i++) {
		if (n && info->valued && !strcmp(units[i].unit, info->unit))
			read_number(r, n, "value", units[i].form, units[i].least, units[i].most, &f->value);
	}
	n = node_get(fault, "jitter");
	if (n && f->kind != SFAULT_DELAY)
		conf_errors_add(r->errors, n->name_mark, "\"jitter\" of \"%s\"; expected it with \"delay\" only", info->word);
}

/* ---- events ---- */

static void print_label(const struct scenario *s, struct scenario_event *e, unsigned count)
{
	const struct scenario_fault_info *info = &scenario_faults[e->fault];
	char which[24] = "", much[32] = "";
	unsigned n = (unsigned)__builtin_popcountll(e->endpoints);

	if (e->datacenter >= 0 && n < count && n == 1)
		snprintf(which, sizeof(which), "-%d", __builtin_ctzll(e->endpoints) + 1);
	else if (e->datacenter >= 0 && n < count)
		snprintf(which, sizeof(which), " (%u of %u)", n, count);
	if (e->action == ACTION_HEAL)
		snprintf(much, sizeof(much), " healed");
	else if (info->valued && !strcmp(info->unit, "duration"))
		snprintf(much, sizeof(much), " %.6gms", e->value / 1e6);
	else if (info->valued && !strcmp(info->unit, "ratio"))
		snprintf(much, sizeof(much), " %.6g%%", e->value * 100);
	else if (info->valued)
		snprintf(much, sizeof(much), " %.10g", e->value);
	snprintf(e->label, sizeof(e->label), "%s%s: %s%s", scenario_place(s, e->datacenter), which, info->word, much);
}

/* Keeps them sorted by time; those of one time in the order of the file. */
static void add(struct reader *r, struct conf_mark at, struct scenario_event e)
{
	struct scenario *s = r->s;
	char a[32], b[32];
	unsigned i;

	if (e.at > s->duration) {
		conf_errors_add(r->errors, at, "an event at %s, after the end of the run (%s); expected a longer \"duration\" or an earlier event",
				time_text(e.at, a, sizeof(a)), time_text(s->duration, b, sizeof(b)));
		return;
	}
	if (s->events >= SCENARIO_EVENTS) {
		if (s->events == SCENARIO_EVENTS)
			conf_errors_add(r->errors, at, "too many events; expected at most %d, those of flaps and waves included", SCENARIO_EVENTS);
		s->events = SCENARIO_EVENTS + 1;
		return;
	}
	for (i = s->events++; i > 0 && s->event[i - 1].at > e.at; i--)
		s->event[i] = s->event[i - 1];
	e.line = at.line;
	s->event[i] = e;
}

static void add_fault(struct reader *r, struct conf_mark mark, int64_t at, enum scenario_action action, const struct fault_form *f, uint64_t endpoints)
{
	struct scenario_event e = { .at = at, .action = action, .fault = (enum scenario_fault)f->kind, .datacenter = f->datacenter,
				    .endpoints = endpoints, .value = f->value, .jitter = (double)f->jitter };

	print_label(r->s, &e, f->count);
	add(r, mark, e);
}

/* The lowest n bits of a set. */
static uint64_t first_of(uint64_t set, unsigned n)
{
	uint64_t out = 0;

	for (; n && set; n--) {
		out |= set & -set;
		set &= set - 1;
	}
	return out;
}

static void add_waves(struct reader *r, const struct node *waves, int64_t at, enum scenario_action action, const struct fault_form *f)
{
	unsigned all = (unsigned)__builtin_popcountll(f->endpoints);
	const struct node *n;
	uint64_t before = 0, now;
	double share, last = 0;

	if (f->datacenter < 0 || !f->every) {
		conf_errors_add(r->errors, waves->name_mark, f->datacenter < 0 ? "\"waves\" of %s; expected a datacenter" :
				"\"waves\" without \"every\" (%s); expected the time between them", f->dc);
		return;
	}
	for (n = waves->child; n; n = n->next, at += f->every) {
		if (!read_number(r, n, "waves", FORM_RATIO, 0, 1, &share))
			continue;
		if (share <= last)
			conf_errors_add(r->errors, n->mark, "\"waves\" goes from %g%% to %g%%; expected shares that grow", last * 100, share * 100);
		last = share;
		now = first_of(f->endpoints, (unsigned)lround(share * all));
		if (now & ~before)
			add_fault(r, n->mark, at, action, f, now & ~before);
		before = now;
	}
}

static void add_flap(struct reader *r, const struct node *n, int64_t at, const struct fault_form *f)
{
	struct flap_form flap = { 0 };
	unsigned i;

	if (!read_block(r, BLOCK_FLAP, n, &flap))
		return;
	for (i = 0; i < flap.times; i++, at += flap.down + flap.up) {
		add_fault(r, n->name_mark, at, ACTION_FAULT, f, f->endpoints);
		if (!scenario_momentary((enum scenario_fault)f->kind, f->datacenter))
			add_fault(r, n->name_mark, at + flap.down, ACTION_HEAL, f, f->endpoints);
	}
}

static void read_fault(struct reader *r, const struct node *n, int64_t at, enum scenario_action action)
{
	bool heal = action == ACTION_HEAL;
	const struct node *flap, *waves;
	struct fault_form f = { .lasts = 0 };

	if (!read_block(r, heal ? BLOCK_HEAL : BLOCK_FAULT, n, &f))
		return;
	if (!r->s->own_cast) {
		conf_errors_add(r->errors, n->name_mark, "a fault of a target that is there already; expected a cast of the rehearsal's own (no \"target\")");
		return;
	}
	find_place(r, node_get(n, "dc"), &f);
	read_endpoints(r, node_get(n, "endpoints"), &f);
	if (!heal)
		read_fault_value(r, n, &f);
	flap = node_get(n, "flap");
	waves = read_list(r, node_get(n, "waves"), "waves", "a list of shares");
	if ((flap && waves) || (f.lasts && (flap || waves))) {
		conf_errors_add(r->errors, n->name_mark, "more than one of \"for\", \"flap\" and \"waves\"; expected one");
		return;
	}
	if (scenario_momentary((enum scenario_fault)f.kind, f.datacenter) && (heal || f.lasts))
		conf_errors_add(r->errors, n->name_mark, "\"%s\" of %s is over at once; expected no \"for\" and no \"heal\"", scenario_faults[f.kind].word, f.dc);
	if (scenario_faults[f.kind].who == WHO_WIRE && !r->s->proxy.wire)
		conf_errors_add(r->errors, node_get(n, "kind")->mark, "\"%s\" is a fault of the wire; expected \"wire: true\" in \"proxy\"",
				scenario_faults[f.kind].word);
	if (flap) {
		add_flap(r, flap, at, &f);
	} else if (waves) {
		add_waves(r, waves, at, action, &f);
	} else {
		add_fault(r, n->name_mark, at, action, &f, f.endpoints);
		if (f.lasts)
			add_fault(r, n->name_mark, at + f.lasts, ACTION_HEAL, &f, f.endpoints);
	}
}

/* A heal of what was never broken is a slip of the pen. */
static void check_heals(struct reader *r)
{
	struct scenario *s = r->s;
	unsigned i, j;

	for (i = 0; i < s->events && s->events <= SCENARIO_EVENTS; i++) {
		const struct scenario_event *h = &s->event[i];

		if (h->action != ACTION_HEAL)
			continue;
		for (j = 0; j < i; j++) {
			const struct scenario_event *e = &s->event[j];

			if (e->action == ACTION_FAULT && e->fault == h->fault && e->datacenter == h->datacenter && (e->endpoints & h->endpoints))
				break;
		}
		if (j == i)
			conf_errors_add(r->errors, (struct conf_mark){ h->line, 1 }, "\"%s\": nothing to heal; expected the fault before it", h->label);
	}
}

void read_timeline(struct reader *r, const struct node *list)
{
	size_t before = conf_errors_count(r->errors);
	const struct node *n, *fault, *heal;
	struct event_form e;

	for (n = list ? list->child : NULL; n; n = n->next) {
		e = (struct event_form){ .at = 0 };
		if (!read_block(r, BLOCK_EVENT, n, &e))
			continue;
		fault = node_get(n, "fault");
		heal = node_get(n, "heal");
		if (!!fault + !!heal + !!e.operator != 1) {
			conf_errors_add(r->errors, n->mark, "an event has to be one thing; expected one of fault, heal, operator");
			continue;
		}
		if (fault || heal) {
			read_fault(r, fault ? fault : heal, e.at, fault ? ACTION_FAULT : ACTION_HEAL);
			continue;
		}
		if (!r->s->own_cast && !r->s->target.admin)
			conf_errors_add(r->errors, n->mark, "words of the operator without an admin side; expected \"admin\" in \"target\"");
		add(r, n->mark, (struct scenario_event){ .at = e.at, .action = ACTION_OPERATOR, .datacenter = PLACE_REDIS, .operator = e.operator });
	}
	if (conf_errors_count(r->errors) == before)
		check_heals(r);
}
