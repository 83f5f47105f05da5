/* SPDX-License-Identifier: MIT */
/*
 * Prometheus text exposition format 0.0.4. Scalars come from metrics.def; the
 * families with labels are below. Base units only: what is counted in nanoseconds is
 * printed in seconds.
 */
#include "firebreak/telemetry.h"

#include <inttypes.h>

/* `le` bounds shown: the ends of the octaves from 65.5 µs to 34.4 s. They are exact
 * bucket limits, so the cumulative counts are exact too; all 432 would be 27,000
 * series for a full table of features. */
#define LE_FIRST 6
#define LE_LAST  25

void tm_render_label(FILE *out, const char *value)
{
	for (; *value; value++) {
		if (*value == '\n') {
			fputs("\\n", out);
			continue;
		}
		if (*value == '\\' || *value == '"')
			fputc('\\', out);
		fputc(*value, out);
	}
}

/* Nanoseconds as seconds, exactly: a double would round long sums. */
static void render_seconds(FILE *out, uint64_t ns)
{
	fprintf(out, "%" PRIu64 ".%09" PRIu64, ns / 1000000000, ns % 1000000000);
}

static void render_counter(FILE *out, uint64_t value)
{
	fprintf(out, "%" PRIu64, value);
}

static void render_scalars(FILE *out, const struct tm_worker *sum)
{
#define TYPE_counter      "counter"
#define TYPE_counter_ns   "counter"
#define TYPE_gauge        "gauge"
#define RENDER_counter    render_counter
#define RENDER_counter_ns render_seconds
#define RENDER_gauge      render_counter
#define X(name, metric, kind, help) \
	fputs("# HELP " metric " " help "\n# TYPE " metric " " TYPE_##kind "\n" metric " ", out); \
	RENDER_##kind(out, sum->scalar[TM_##name]); \
	fputc('\n', out);
#include "firebreak/metrics.def"
#undef X
}

static void render_faults(FILE *out, const struct tm_worker *sum)
{
	unsigned i;

	fputs("# HELP firebreak_faults_total Named faults, by their word.\n# TYPE firebreak_faults_total counter\n", out);
	for (i = FAULT_NONE + 1; i < FAULT_COUNT; i++)
		fprintf(out, "firebreak_faults_total{fault=\"%s\"} %" PRIu64 "\n", fault_info((enum fault)i)->word, sum->fault[i]);
}

static void render_exchange(FILE *out, const struct conf *c, unsigned f, unsigned o, unsigned d, uint64_t n)
{
	fputs("firebreak_exchanges_total{feature=\"", out);
	tm_render_label(out, c->feature[f].name);
	fprintf(out, "\",outcome=\"%s\",datacenter=\"", tm_outcome_word((enum tm_outcome)o));
	tm_render_label(out, d < CONF_MAX_DATACENTERS ? c->datacenter[d].name : "none");
	fprintf(out, "\"} %" PRIu64 "\n", n);
}

/* Series that never happened are left out, except "served" by each datacenter: a
 * feature must have something to be plotted before its first request. */
static void render_exchanges(FILE *out, const struct tm_worker *sum, const struct conf *c)
{
	unsigned f, o, d;
	uint64_t n;

	fputs("# HELP firebreak_exchanges_total Exchanges that ended, by how and by the datacenter that answered.\n"
	      "# TYPE firebreak_exchanges_total counter\n", out);
	for (f = 0; f < c->features; f++) {
		for (o = 0; o < TM_OUTCOMES_COUNT; o++) {
			for (d = 0; d <= CONF_MAX_DATACENTERS; d++) {
				if (d >= c->datacenters && d < CONF_MAX_DATACENTERS)
					continue;
				n = sum->exchange[f][o][d];
				if (n || (o == TM_SERVED && d < CONF_MAX_DATACENTERS))
					render_exchange(out, c, f, o, d, n);
			}
		}
	}
}

static void render_shed(FILE *out, const struct tm_worker *sum, const struct conf *c)
{
	size_t i;

	fputs("# HELP firebreak_overload_shed_total Requests not forwarded because the datacenters carry no more, by tier.\n"
	      "# TYPE firebreak_overload_shed_total counter\n", out);
	for (i = 0; i < c->tiers; i++) {
		fputs("firebreak_overload_shed_total{tier=\"", out);
		tm_render_label(out, c->tier[i]);
		fprintf(out, "\"} %" PRIu64 "\n", sum->shed[i]);
	}
}

static void render_latency(FILE *out, const char *feature, const struct tm_hist *h)
{
	static const char name[] = "firebreak_exchange_duration_seconds";
	uint64_t cumulative = 0;
	unsigned octave, i;

	for (octave = 0, i = 0; octave < TM_HIST_BUCKETS / TM_HIST_STEPS; octave++) {
		for (; i < (octave + 1) * TM_HIST_STEPS; i++)
			cumulative += h->bucket[i];
		if (octave < LE_FIRST || octave > LE_LAST)
			continue;
		fprintf(out, "%s_bucket{feature=\"", name);
		tm_render_label(out, feature);
		fputs("\",le=\"", out);
		render_seconds(out, (uint64_t)tm_hist_bucket_limit(i - 1));
		fprintf(out, "\"} %" PRIu64 "\n", cumulative);
	}
	/* +Inf and _count are the sum of the buckets, never h->count: the owner may be in
	 * the middle of a record, and a histogram must not contradict itself. */
	fprintf(out, "%s_bucket{feature=\"", name);
	tm_render_label(out, feature);
	fprintf(out, "\",le=\"+Inf\"} %" PRIu64 "\n%s_sum{feature=\"", cumulative, name);
	tm_render_label(out, feature);
	fputs("\"} ", out);
	render_seconds(out, h->sum);
	fprintf(out, "\n%s_count{feature=\"", name);
	tm_render_label(out, feature);
	fprintf(out, "\"} %" PRIu64 "\n", cumulative);
}

void tm_render(FILE *out, const struct tm_worker *sum, const struct conf *c)
{
	size_t f;

	render_scalars(out, sum);
	render_faults(out, sum);
	render_exchanges(out, sum, c);
	render_shed(out, sum, c);
	fputs("# HELP firebreak_exchange_duration_seconds Time from a request's head to the last byte of its answer.\n"
	      "# TYPE firebreak_exchange_duration_seconds histogram\n", out);
	for (f = 0; f < c->features; f++)
		render_latency(out, c->feature[f].name, &sum->latency[f]);
}
