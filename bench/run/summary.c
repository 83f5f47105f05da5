/* SPDX-License-Identifier: MIT */
#include "summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#define LEAST_WIDTH INT64_C(100000000)

/* ---- the machine ---- */

/* The first "name<separators>value" line of a file. */
static void read_value(const char *path, const char *name, const char *separators, char *out, size_t size)
{
	FILE *f = fopen(path, "re");
	char line[512];
	size_t n = strlen(name);

	snprintf(out, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		char *value = line + n;

		if (strncmp(line, name, n) != 0)
			continue;
		value += strspn(value, separators);
		value[strcspn(value, "\"\n")] = '\0';
		snprintf(out, size, "%.*s", (int)size - 1, value);
		break;
	}
	if (f)
		fclose(f);
}

void environment_read(struct environment *e)
{
	struct utsname u;
	struct sysinfo i;

	*e = (struct environment){ 0 };
	if (!uname(&u)) {
		snprintf(e->machine, sizeof(e->machine), "%.90s", u.machine);
		snprintf(e->kernel, sizeof(e->kernel), "%.20s %.70s", u.sysname, u.release);
	}
	if (!sysinfo(&i))
		e->memory = (uint64_t)i.totalram * i.mem_unit;
	e->cpus = (unsigned)get_nprocs();
	read_value("/etc/os-release", "PRETTY_NAME=", "\"", e->os, sizeof(e->os));
	read_value("/proc/cpuinfo", "model name", "\t: ", e->cpu, sizeof(e->cpu));
}

/* ---- bins ---- */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool in_main(const struct summary *s, unsigned feature)
{
	return !s->main_tier || !strcmp(s->main_tier, s->r->s->feature[feature].tier);
}

static void bin_latencies(struct summary_bin *b, uint32_t *latency, size_t n)
{
	if (!n)
		return;
	qsort(latency, n, sizeof(*latency), by_value);
	b->p50 = latency[(n - 1) / 2] / 1e3;
	b->p99 = latency[(size_t)ceil(0.99 * (double)n) - 1] / 1e3;
	b->max = latency[n - 1] / 1e3;
}

static bool fill_bins(struct summary *s)
{
	const struct result *r = s->r;
	uint32_t *latency = malloc((r->samples + 1) * sizeof(*latency));
	size_t i, n = 0;
	unsigned at = 0, bin;

	if (!latency)
		return false;
	for (i = 0; i < r->samples; i++) {
		const struct sample *x = &r->sample[i];

		bin = x->intended < 0 ? 0 : (unsigned)(x->intended / s->width);
		if (bin >= s->bins)
			bin = s->bins - 1;
		if (bin != at) {
			bin_latencies(&s->bin[at], latency, n);
			at = bin;
			n = 0;
		}
		s->bin[bin].outcome[x->feature][x->outcome]++;
		s->bin[bin].count++;
		if (x->outcome == OUTCOME_REFUSED)
			continue;
		s->histogram[!in_main(s, x->feature)][summary_bucket(x->latency_us)]++;
		if (in_main(s, x->feature))
			latency[n++] = x->latency_us;
	}
	bin_latencies(&s->bin[at], latency, n);
	free(latency);
	return true;
}

unsigned summary_bucket(uint32_t latency_us)
{
	double decades = latency_us > 10 ? log10(latency_us / 10.0) : 0;
	unsigned bucket = (unsigned)(decades * 8);

	return bucket < SUMMARY_BUCKETS ? bucket : SUMMARY_BUCKETS - 1;
}

double summary_bucket_limit_ms(unsigned bucket)
{
	return 0.01 * pow(10, (bucket + 1) / 8.0);
}

/* ---- bands ---- */

static void band(struct summary_band *list, size_t *n, int64_t from, int64_t until, double part, const char *text)
{
	struct summary_band *b = &list[(*n)++];

	*b = (struct summary_band){ .from = from, .until = until, .part = part };
	snprintf(b->text, sizeof(b->text), "%s", text);
}

/* A blow that is over at once is a bin wide. */
static void blows(struct summary *s, int datacenter, enum scenario_fault fault)
{
	const struct scenario *sc = s->r->s;
	char text[80];
	unsigned i;

	snprintf(text, sizeof(text), "%s: %s", scenario_place(sc, datacenter), scenario_faults[fault].word);
	for (i = 0; i < sc->events; i++) {
		const struct scenario_event *e = &sc->event[i];

		if (e->action == ACTION_FAULT && e->datacenter == datacenter && e->fault == fault && e->at < s->r->lasted)
			band(s->fault, &s->faults, e->at, e->at + s->width, 1, text);
	}
}

/* What was in force of one fault in one datacenter or other place: a band each time its part of the
 * endpoints changes. */
static void fault_bands(struct summary *s, int datacenter, enum scenario_fault fault)
{
	const struct scenario *sc = s->r->s;
	unsigned all = datacenter < 0 ? 1 : sc->datacenter[datacenter].endpoints, i;
	uint64_t now = 0, then, mask = all < 64 ? (UINT64_C(1) << all) - 1 : ~UINT64_C(0);
	int64_t since = 0;
	char text[80];

	snprintf(text, sizeof(text), "%s: %s", scenario_place(sc, datacenter), scenario_faults[fault].word);
	for (i = 0; i <= sc->events; i++) {
		const struct scenario_event *e = i < sc->events && sc->event[i].at < s->r->lasted ? &sc->event[i] : NULL;

		if (e && (e->action == ACTION_OPERATOR || e->datacenter != datacenter || e->fault != fault))
			continue;
		then = now;
		if (e)
			now = e->action == ACTION_FAULT ? now | (e->endpoints & mask) : now & ~e->endpoints;
		if (then && (!e || now != then))
			band(s->fault, &s->faults, since, e ? e->at : s->r->lasted, __builtin_popcountll(then) / (double)all, text);
		if (!e)
			return;
		if (now != then)
			since = e->at;
	}
}

static void fill_bands(struct summary *s)
{
	const struct result *r = s->r;
	size_t i, k;
	int d, f;

	for (d = -PLACES; d < (int)r->s->datacenters; d++) {
		for (f = 0; f < SFAULTS; f++) {
			if (scenario_momentary((enum scenario_fault)f, d))
				blows(s, d, (enum scenario_fault)f);
			else
				fault_bands(s, d, (enum scenario_fault)f);
		}
	}
	for (i = 0; i < r->marks; i++) {
		if (r->mark[i].kind != 'm')
			continue;
		for (k = i + 1; k < r->marks && r->mark[k].kind != 'm'; k++)
			;
		band(s->mode, &s->modes, r->mark[i].at, k < r->marks ? r->mark[k].at : r->lasted, 1, r->mark[i].text);
	}
}

/* ---- the whole ---- */

const char *summary_window(const struct summary *s, unsigned window, int64_t *from, int64_t *until)
{
	const struct scenario *sc = s->r->s;

	*from = window ? sc->window[window - 1].from : 0;
	*until = window ? sc->window[window - 1].until : INT64_MAX;
	return window ? sc->window[window - 1].name : "whole run";
}

static void fill_cells(struct summary *s)
{
	const struct scenario *sc = s->r->s;
	unsigned w, f;
	int64_t from, until;

	for (w = 0; w <= sc->windows; w++) {
		summary_window(s, w, &from, &until);
		judge_figures(s->r, -1, NULL, from, until, &s->total[w]);
		for (f = 0; f < sc->features; f++)
			judge_figures(s->r, (int)f, NULL, from, until, &s->cell[w * sc->features + f]);
	}
}

struct summary *summary_create(const struct result *r)
{
	struct summary *s = calloc(1, sizeof(*s));
	unsigned f;

	if (!s)
		return NULL;
	s->r = r;
	environment_read(&s->environment);
	for (f = 0; f < r->s->features; f++)
		if (!strcmp(r->s->feature[f].tier, "core"))
			s->main_tier = "core";
	s->width = r->lasted / SUMMARY_BINS + 1;
	/* whole tenths of a second, so that the axis reads well */
	s->width = (s->width + LEAST_WIDTH - 1) / LEAST_WIDTH * LEAST_WIDTH;
	s->bins = (unsigned)(r->lasted / s->width) + 1;
	s->bin = calloc(s->bins, sizeof(*s->bin));
	s->fault = calloc(2 * r->s->events + 1, sizeof(*s->fault));
	s->mode = calloc(r->marks + 1, sizeof(*s->mode));
	s->cell = calloc((size_t)(r->s->windows + 1) * (r->s->features + 1), sizeof(*s->cell));
	if (!s->bin || !s->fault || !s->mode || !s->cell || !fill_bins(s)) {
		summary_free(s);
		return NULL;
	}
	fill_bands(s);
	fill_cells(s);
	return s;
}

void summary_free(struct summary *s)
{
	if (!s)
		return;
	free(s->bin);
	free(s->fault);
	free(s->mode);
	free(s->cell);
	free(s);
}

const char *summary_verdict(const struct judged *j)
{
	return j->held ? "held" : j->known ? "FAILED" : "not told";
}

void summary_sentence(const struct result *r, char *out, size_t size)
{
	unsigned held = 0, i;

	for (i = 0; i < r->s->assertions; i++)
		held += r->judged[i].held;
	if (r->invalid)
		snprintf(out, size, "The run is not valid: %s.", r->invalid);
	else if (!r->s->assertions)
		snprintf(out, size, "Nothing was asserted.");
	else if (held == r->s->assertions)
		snprintf(out, size, "All %u assertions held.", held);
	else
		snprintf(out, size, "%u of %u assertions did not hold.", r->s->assertions - held, r->s->assertions);
}
