/* SPDX-License-Identifier: MIT */
/*
 * What people and scripts see: one row a second, a table by phase at the end, and
 * the same as JSON. Nothing is told by colour.
 */
#include <string.h>

#include "firebreak/clock.h"
#include "load.h"

#define CELL 11

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

static void heading(const struct load *l)
{
	unsigned f;

	printf("\n%5s  %-10s", "", l->watch ? "mode" : "");
	for (f = 0; f < TALLY_FEATURES; f++)
		printf(" %-*.*s", CELL, CELL, tally_features[f].word);
	printf("%s\n", l->watch ? " datacenters" : "");
}

void report_second(struct load *l, int64_t now)
{
	static unsigned rows;
	static uint64_t known[TALLY_FEATURES];
	char text[64];
	uint64_t all;
	unsigned f;

	if (!l->o.quiet && rows++ % 15 == 0)
		heading(l);
	if (!l->o.quiet)
		printf("%4llds  %-10.10s", (long long)((now - l->start + CLOCK_SEC / 2) / CLOCK_SEC), watch_mode(l->watch));
	for (f = 0; f < TALLY_FEATURES; f++) {
		all = watch_failed_over(l->watch, tally_features[f].word);
		tally_failed_over(&l->tally, f, all > known[f] ? all - known[f] : 0);
		known[f] = all;
		cell_text(text, sizeof(text), l->tally.second[f]);
		if (!l->o.quiet)
			printf(" %-*s", CELL, text);
	}
	memset(l->tally.second, 0, sizeof(l->tally.second));
	if (l->o.quiet)
		return;
	printf("%s%s\n", l->watch ? " " : "", watch_datacenters(l->watch));
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

void report_table(const struct load *l, FILE *out)
{
	unsigned p, f, o;

	for (p = 0; p <= l->tally.phase; p++) {
		const struct tally_phase *ph = &l->tally.at[p];

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
	fprintf(out,
		"\n* core   latency from the intended time of sending; seed %llu, sent %llu, dropped by the generator %llu, late p99 %.2f ms\n",
		(unsigned long long)l->o.seed, (unsigned long long)l->issued, (unsigned long long)l->dropped,
		(double)tm_hist_quantile(&l->lateness, 0.99) / 1e6);
}

static void json_cell(FILE *f, const struct tally_cell *c)
{
	unsigned o;

	fprintf(f, "{");
	for (o = 0; o < OUTCOME_COUNT; o++)
		fprintf(f, "\"%s\":%llu,", outcome_word((enum outcome)o), (unsigned long long)c->outcome[o]);
	fprintf(f, "\"reordered\":%llu,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f}", (unsigned long long)c->reordered,
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
