/* SPDX-License-Identifier: MIT */
/*
 * The end of the run for a terminal: a table by feature, and one by window where there are
 * several; what the checker found; the assertions. An outcome that nothing had gets no
 * column: with five of them a row has 80.
 */
#include <math.h>
#include <string.h>

#include "summary.h"

static const char *const heads[OUTCOME_COUNT] = { "served", "f.over", "stale", "later", "refused", "failed", "wrong" };

static void counts(const struct summary *s, const struct figures *f, FILE *out)
{
	unsigned o;

	for (o = 0; o < OUTCOME_COUNT; o++) {
		if (!s->total[0].outcome[o])
			continue;
		f->outcome[o] ? fprintf(out, " %7llu", (unsigned long long)f->outcome[o]) : fprintf(out, " %7s", ".");
	}
	if (f->count)
		fprintf(out, " %6.2f%%", 100 * (double)f->success / (double)f->count);
	else
		fprintf(out, " %7s", "");
}

static void latencies(const struct figures *f, FILE *out)
{
	if (f->count > f->outcome[OUTCOME_REFUSED])
		fprintf(out, " %7.1f %8.1f\n", f->p50, f->p99);
	else
		fprintf(out, "\n");
}

static void head(const struct summary *s, const char *what, FILE *out)
{
	unsigned o;

	fprintf(out, "\n%-15s", what);
	for (o = 0; o < OUTCOME_COUNT; o++)
		if (s->total[0].outcome[o])
			fprintf(out, " %7s", heads[o]);
	fprintf(out, " %7s %7s %8s\n", "success", "p50 ms", "p99 ms");
}

static void print_features(const struct summary *s, FILE *out)
{
	const struct scenario *sc = s->r->s;
	unsigned f;

	head(s, "feature", out);
	for (f = 0; f < sc->features; f++) {
		const struct figures *c = &s->cell[f];

		if (!c->count)
			continue;
		fprintf(out, "%-15.15s", sc->feature[f].name);
		counts(s, c, out);
		latencies(c, out);
	}
	fprintf(out, "%-15s", "all");
	counts(s, &s->total[0], out);
	latencies(&s->total[0], out);
}

static void print_windows(const struct summary *s, FILE *out)
{
	const struct result *r = s->r;
	struct figures f;
	int64_t from, until;
	unsigned w;

	if (!r->s->windows)
		return;
	head(s, s->main_tier ? "core, by window" : "by window", out);
	for (w = 1; w <= r->s->windows; w++) {
		fprintf(out, "%-15.15s", summary_window(s, w, &from, &until));
		judge_figures(r, -1, s->main_tier, from, until, &f);
		counts(s, &f, out);
		latencies(&f, out);
	}
}

static void print_checks(const struct result *r, FILE *out)
{
	const struct ledger *l = &r->ledger;
	unsigned i;

	fprintf(out, "\ngenerator  %llu sent, %llu dropped; late p99 %.2f ms, at most %.1f ms\n", (unsigned long long)r->sent,
		(unsigned long long)r->dropped, r->late_p99_ms, r->late_max_ms);
	if (r->stream_events || r->stream_cuts)
		fprintf(out, "streams    %llu events, %llu streams ended\n", (unsigned long long)r->stream_events, (unsigned long long)r->stream_cuts);
	if (l->checked)
		fprintf(out, "messages   %llu acknowledged: %llu lost, %llu duplicated, %llu reordered;\n           %llu of unknown fate, %llu of them kept\n",
			(unsigned long long)l->acknowledged, (unsigned long long)l->lost, (unsigned long long)l->duplicated,
			(unsigned long long)l->reordered, (unsigned long long)l->unknown, (unsigned long long)l->unknown_kept);
	for (i = 0; i < l->examples; i++)
		fprintf(out, "           %s\n", l->example[i]);
}

void result_table(const struct summary *s, FILE *out)
{
	const struct result *r = s->r;
	char sentence[256];
	unsigned i;

	print_features(s, out);
	print_windows(s, out);
	print_checks(r, out);
	if (r->s->assertions)
		fprintf(out, "\n");
	for (i = 0; i < r->s->assertions; i++) {
		const struct judged *j = &r->judged[i];

		fprintf(out, "%-9s %s", summary_verdict(j), j->text);
		j->known ? fprintf(out, "   (%.6g)\n", j->found) : fprintf(out, "\n");
	}
	summary_sentence(r, sentence, sizeof(sentence));
	fprintf(out, "\n%s\n", sentence);
}
