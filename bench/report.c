/* SPDX-License-Identifier: MIT */
/*
 * What people and scripts see: one row a second, a table by phase at the end, and
 * the same as JSON. Nothing is told by colour, and all fits a terminal of 80 columns.
 */
#include <string.h>

#include "firebreak/clock.h"
#include "load.h"

#define CELL   8  /* of a row: a feature */
#define COLUMN 12 /* of the table: a phase */
#define LABEL  18 /* what stands before the first of them */

static void cell_text(char *out, size_t size, const uint64_t c[OUTCOME_COUNT])
{
	size_t n = 0;
	unsigned o;

	out[0] = '\0';
	for (o = 0; o < OUTCOME_COUNT && n + 1 < size; o++) {
		if (c[o])
			n += (size_t)snprintf(out + n, size - n, "%s%llu%s", n ? " " : "", (unsigned long long)c[o],
					      outcome_mark((enum outcome)o));
	}
	if (!n)
		snprintf(out, size, "-");
}

/* The text at its column; at least one space after what is there already, so that a long
 * cell moves its neighbour only. Returns where the next one may begin. */
static unsigned put(FILE *out, unsigned at, unsigned column, const char *text)
{
	if (at)
		at += (unsigned)fprintf(out, "%*s", at < column ? (int)(column - at) : 1, "");
	return at + (unsigned)fprintf(out, "%s", text);
}

static void heading(const struct load *l)
{
	unsigned f, at = (unsigned)printf("\n%5s %s", "", l->watch ? "mode" : "") - 1;

	for (f = 0; f < TALLY_FEATURES; f++)
		at = put(stdout, at, LABEL - 2 + f * CELL, tally_features[f].column);
	printf("\n");
}

/* The datacenters, when there is news of them. */
static void news(const struct load *l)
{
	static char last[128];
	const char *now = watch_datacenters(l->watch);

	if (!strcmp(last, now))
		return;
	snprintf(last, sizeof(last), "%s", now);
	printf("%5s %s\n", "", now);
}

void report_second(struct load *l)
{
	static uint64_t known[TALLY_FEATURES];
	char text[64];
	unsigned f, at = 0;
	uint64_t all;

	if (l->rows++ % 15 == 0 && !l->o.quiet)
		heading(l);
	if (!l->o.quiet) {
		news(l);
		at = (unsigned)printf("%4us %.10s", l->rows, watch_mode(l->watch));
	}
	for (f = 0; f < TALLY_FEATURES; f++) {
		all = watch_failed_over(l->watch, tally_features[f].word);
		tally_failed_over(&l->tally, f, all > known[f] ? all - known[f] : 0);
		known[f] = all;
		cell_text(text, sizeof(text), l->tally.second[f]);
		if (!l->o.quiet)
			at = put(stdout, at, LABEL - 2 + f * CELL, text);
	}
	memset(l->tally.second, 0, sizeof(l->tally.second));
	if (l->o.quiet)
		return;
	printf("\n");
	fflush(stdout);
}

static uint64_t total(const struct tally_cell *c)
{
	uint64_t n = 0;
	unsigned o;

	for (o = 0; o < OUTCOME_COUNT; o++)
		n += c->outcome[o];
	return n;
}

/* One phase: a column for each outcome. */
static void table_outcomes(const struct tally_phase *ph, FILE *out)
{
	unsigned f, o;

	fprintf(out, "\n%-16s", ph->name);
	for (o = 0; o < OUTCOME_COUNT; o++)
		fprintf(out, " %11s", outcome_word((enum outcome)o));
	fprintf(out, " %9s %9s\n", "p50 ms", "p99 ms");
	for (f = 0; f < TALLY_FEATURES; f++) {
		const struct tally_cell *c = &ph->cell[f];

		if (!total(c))
			continue;
		fprintf(out, "%c %-14s", tally_features[f].core ? '*' : ' ', tally_features[f].word);
		for (o = 0; o < OUTCOME_COUNT; o++)
			c->outcome[o] ? fprintf(out, " %11llu", (unsigned long long)c->outcome[o]) : fprintf(out, " %11s", ".");
		fprintf(out, " %9.1f %9.1f\n", (double)tm_hist_quantile(&c->latency, 0.5) / 1e6,
			(double)tm_hist_quantile(&c->latency, 0.99) / 1e6);
	}
}

/* The last lines of a column: what core had to wait. */
static void table_core(const struct tally *t, FILE *out)
{
	unsigned p, at = (unsigned)fprintf(out, "  core p99");
	char text[96];
	double v;

	for (p = 0; p <= t->phase; p++) {
		snprintf(text, sizeof(text), "%s.core.p99_ms>=0", t->at[p].name);
		tally_expect(t, text, &v);
		snprintf(text, sizeof(text), "%.1f ms", v);
		at = put(out, at, LABEL + p * COLUMN, text);
	}
	at = (unsigned)fprintf(out, "\n  core, max gap") - 1;
	for (p = 0; p <= t->phase; p++) {
		snprintf(text, sizeof(text), "%.0f ms", (double)t->at[p].gap / 1e6);
		at = put(out, at, LABEL + p * COLUMN, text);
	}
	fprintf(out, "\n");
}

/* Several phases: a column for each. */
static void table_phases(const struct tally *t, FILE *out)
{
	unsigned p, f, at = (unsigned)fprintf(out, "\n%*s", LABEL - 1, "") - 1;
	char text[64];

	for (p = 0; p <= t->phase; p++)
		at = put(out, at, LABEL + p * COLUMN, t->at[p].name);
	fprintf(out, "\n");
	for (f = 0; f < TALLY_FEATURES; f++) {
		at = (unsigned)fprintf(out, "%c %s", tally_features[f].core ? '*' : ' ', tally_features[f].word);
		for (p = 0; p <= t->phase; p++) {
			cell_text(text, sizeof(text), t->at[p].cell[f].outcome);
			at = put(out, at, LABEL + p * COLUMN, text);
		}
		fprintf(out, "\n");
	}
	table_core(t, out);
}

void report_table(const struct load *l, FILE *out)
{
	if (l->tally.phases > 1)
		table_phases(&l->tally, out);
	else
		table_outcomes(&l->tally.at[0], out);
	fprintf(out,
		"\n* core; latency counts from the intended time of sending\n"
		"  seed %llu, sent %llu, dropped by the generator %llu, late p99 %.2f ms\n",
		(unsigned long long)l->o.seed, (unsigned long long)l->issued, (unsigned long long)l->dropped,
		(double)tm_hist_quantile(&l->lateness, 0.99) / 1e6);
}

static void json_cell(FILE *f, const struct tally_cell *c)
{
	unsigned o;

	fprintf(f, "{");
	for (o = 0; o < OUTCOME_COUNT; o++)
		fprintf(f, "\"%s\":%llu,", outcome_word((enum outcome)o), (unsigned long long)c->outcome[o]);
	fprintf(f, "\"reordered\":%llu,\"over_250_ms\":%llu,\"over_400_ms\":%llu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f}", (unsigned long long)c->reordered,
		(unsigned long long)c->over_250_ms, (unsigned long long)c->over_400_ms,
		(double)tm_hist_quantile(&c->latency, 0.5) / 1e6, (double)tm_hist_quantile(&c->latency, 0.99) / 1e6,
		(double)tm_hist_quantile(&c->latency, 0.999) / 1e6, (double)c->max_ns / 1e6);
}

bool report_json(const struct load *l, const char *path)
{
	FILE *f = !strcmp(path, "-") ? stdout : fopen(path, "w");
	unsigned p, i;
	bool ok;

	if (!f)
		return false;
	fprintf(f, "{\"seconds\":%.3f,\"rate\":%g,\"seed\":%llu,\"connections\":%u,\"tls\":%s,\"sent\":%llu,\"dropped\":%llu,\"late_p99_ms\":%.3f,\"phases\":[",
		(double)(clock_now() - l->start) / 1e9, l->o.rate, (unsigned long long)l->o.seed, l->o.connections,
		l->tls ? "true" : "false", (unsigned long long)l->issued, (unsigned long long)l->dropped,
		(double)tm_hist_quantile(&l->lateness, 0.99) / 1e6);
	for (p = 0; p <= l->tally.phase; p++) {
		fprintf(f, "%s\n{\"name\":\"%s\",\"core_gap_ms\":%.3f,\"features\":{", p ? "," : "", l->tally.at[p].name,
			(double)l->tally.at[p].gap / 1e6);
		for (i = 0; i < TALLY_FEATURES; i++) {
			fprintf(f, "%s\n \"%s\":", i ? "," : "", tally_features[i].word);
			json_cell(f, &l->tally.at[p].cell[i]);
		}
		fprintf(f, "}}");
	}
	fprintf(f, "]}\n");
	ok = !ferror(f);
	return (f == stdout ? !fflush(f) : !fclose(f)) && ok;
}
