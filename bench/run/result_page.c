/* SPDX-License-Identifier: MIT */
/*
 * The result for people: one HTML page with its style and drawings inside, no script, no
 * network. Outcomes are told by pattern and word as well as by colour. Drawings stretch
 * with the page (their text is HTML beside them), so it reads at 360 px and in print.
 *
 *   verdict > assertions > what went wrong when > a band a feature > latency over time
 *   > histogram > figures by window > messages > environment
 */
#include <math.h>
#include <string.h>
#include <time.h>

#include "summary.h"

#define WIDE   1000 /* units of a drawing's width */
#define LINES  40   /* distinct faults drawn */
#define Y_LOW     0.1 /* of the latency chart, ms */
#define Y_DECADES 6

static const char style[] =
#include "result_page_css.h" /* result_page.css as one text, made by the build */
	;

/* The pattern of each outcome: ground, then what is drawn on it in an 8 x 8 tile. */
static const struct {
	const char *ground, *figure;
} patterns[OUTCOME_COUNT] = {
	[OUTCOME_SERVED] = { "#9cc3e6", "" },
	[OUTCOME_FAILED_OVER] = { "#9cc3e6", "<path d='M0 8L8 0' stroke='#0b3d66' stroke-width='1.6'/>" },
	[OUTCOME_STALE] = { "#ffe08a", "<circle cx='4' cy='4' r='1.5' fill='#6b4b00'/>" },
	[OUTCOME_ACCEPTED] = { "#d8c7f0", "<path d='M0 4H8' stroke='#43257a' stroke-width='1.6'/>" },
	[OUTCOME_REFUSED] = { "#fff", "<path d='M0 0L8 8' stroke='#6e7781' stroke-width='1.2'/>" },
	[OUTCOME_FAILED] = { "#b3261e", "<path d='M0 0L8 8M8 0L0 8' stroke='#fff' stroke-width='1'/>" },
	[OUTCOME_WRONG] = { "#000", "" },
};
static const char *const outcome_help[OUTCOME_COUNT] = {
	"served", "served after a failover", "recent state", "accepted for later", "refused politely", "failed", "somebody else's bytes",
};

static void text(FILE *out, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<': fputs("&lt;", out); break;
		case '>': fputs("&gt;", out); break;
		case '&': fputs("&amp;", out); break;
		case '"': fputs("&quot;", out); break;
		default: fputc(*s, out);
		}
	}
}

static void element(FILE *out, const char *before, const char *s, const char *after)
{
	fputs(before, out);
	text(out, s);
	fputs(after, out);
}

static double percent_of(const struct summary *s, int64_t at)
{
	double whole = (double)s->bins * (double)s->width;

	return 100 * (double)(at < 0 ? 0 : at) / whole;
}

static double x_of(const struct summary *s, unsigned bin)
{
	return (double)bin * WIDE / s->bins;
}

/* "90 s", then minutes: "2:30" */
static void clock_text(int64_t ns, char *out, size_t size)
{
	double t = (double)ns / 1e9;

	if (t < 120)
		snprintf(out, size, "%.3g s", t);
	else
		snprintf(out, size, "%d:%02d", (int)(t / 60), (int)fmod(t, 60));
}

/* Steps of 1, 2, 5, 10, 15, 30 s, ... so that there are five to ten. */
static int64_t axis_step(int64_t whole)
{
	static const int steps[] = { 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200 };
	size_t i;

	for (i = 0; i + 1 < sizeof(steps) / sizeof(*steps) && whole / (steps[i] * INT64_C(1000000000)) > 7; i++)
		;
	return steps[i] * INT64_C(1000000000);
}

static void axis(const struct summary *s, FILE *out)
{
	int64_t whole = s->bins * s->width, step = axis_step(whole), at;
	char label[32];

	fputs("<div class=axis>", out);
	for (at = 0; at <= whole; at += step) {
		if (at && percent_of(s, at) > 96)
			break;
		clock_text(at, label, sizeof(label));
		fprintf(out, "<span style='left:%.2f%%'>%s</span>", percent_of(s, at), label);
	}
	fputs("</div>", out);
}

static void axis_row(const struct summary *s, FILE *out)
{
	fputs("<div class='row bare ruler'><b></b>", out);
	axis(s, out);
	fputs("<span class=n></span></div>\n", out);
}

/* ---- the head ---- */

static void begin(const struct summary *s, FILE *out)
{
	const struct result *r = s->r;
	time_t at = (time_t)(r->started_wall / 1000000000);
	char when[64], sentence[256], lasted[32];
	struct tm tm;
	unsigned o;

	strftime(when, sizeof(when), "%Y-%m-%d %H:%M UTC", gmtime_r(&at, &tm));
	fputs("<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
	      "<link rel=icon href='data:,'><title>", out);
	text(out, r->s->name);
	fputs(" – Firebreak rehearsal</title><style>\n", out);
	fputs(style, out);
	fputs("</style></head><body>\n<svg width=0 height=0 style='position:absolute' aria-hidden=true><defs>", out);
	for (o = 0; o < OUTCOME_COUNT; o++)
		fprintf(out, "<pattern id=o%u width=8 height=8 patternUnits=userSpaceOnUse><rect width=8 height=8 fill='%s'/>%s</pattern>", o,
			patterns[o].ground, patterns[o].figure);
	fputs("</defs></svg>\n<header>", out);
	element(out, "<h1>", r->s->name, "</h1>\n");
	element(out, "<p>", r->s->about, "</p>\n");
	summary_sentence(r, sentence, sizeof(sentence));
	fprintf(out, "<p class='verdict %s'>%s ", r->code == RUN_HELD ? "held" : "failed", r->code == RUN_HELD ? "✓" : "✗");
	text(out, sentence);
	clock_text(r->lasted, lasted, sizeof(lasted));
	fprintf(out, "</p>\n<p class=soft>%s, took %s%s, %llu requests sent, seed %llu</p></header>\n", when, lasted, r->partial ? " (ended early)" : "",
		(unsigned long long)r->sent, (unsigned long long)r->s->seed);
}

static void print_assertions(const struct result *r, FILE *out)
{
	unsigned i;

	if (!r->s->assertions)
		return;
	fputs("<h2>What had to hold</h2>\n<div class=scroll><table><thead><tr><th>assertion<th class=left>verdict<th>found</tr></thead>\n", out);
	for (i = 0; i < r->s->assertions; i++) {
		const struct judged *j = &r->judged[i];

		element(out, "<tr><td><code>", j->text, "</code><td class='left");
		fprintf(out, "%s'>%s %s<td>", j->held ? "" : " bad", j->held ? "✓" : "✗", summary_verdict(j));
		if (j->known)
			fprintf(out, "%.6g", j->found);
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n", out);
}

/* ---- what went wrong when ---- */

static void strip_begin(FILE *out, const char *class, const char *name)
{
	element(out, "<div class='row bare'><b>", name, "</b>");
	fprintf(out, "<div class='plot strip%s'>", class);
}

static void strip_end(FILE *out)
{
	fputs("</div><span class=n></span></div>\n", out);
}

/* As high as its part of the endpoints. */
static void bar(const struct summary *s, FILE *out, const struct summary_band *b, bool named)
{
	double from = percent_of(s, b->from), width = percent_of(s, b->until) - from;

	fprintf(out, "<i style='left:%.2f%%;width:%.2f%%;top:%.0f%%' title=\"", from, fmax(width, 0.2), 100 - 100 * b->part);
	text(out, b->text);
	fprintf(out, ", %.0f %% of it\">", 100 * b->part);
	if (named)
		text(out, b->text);
	fputs("</i>", out);
}

static void fault_rows(const struct summary *s, FILE *out)
{
	size_t i, k;
	unsigned rows = 0;

	for (i = 0; i < s->faults && rows < LINES; i = k, rows++) { /* those of one name follow each other */
		strip_begin(out, "", s->fault[i].text);
		for (k = i; k < s->faults && !strcmp(s->fault[k].text, s->fault[i].text); k++)
			bar(s, out, &s->fault[k], false);
		strip_end(out);
	}
}

#define CROWDED 6.0 /* per cent of the width: nearer ones share a label */

static void operator_row(const struct summary *s, FILE *out)
{
	const struct result *r = s->r;
	unsigned number = 0, first;
	double at;
	size_t i;

	for (i = 0; i < r->marks && r->mark[i].kind != 'o'; i++)
		;
	if (i == r->marks)
		return;
	strip_begin(out, "", "operator");
	while (i < r->marks) {
		at = percent_of(s, r->mark[i].at);
		for (first = number + 1; i < r->marks && percent_of(s, r->mark[i].at) < at + CROWDED; i++)
			number += r->mark[i].kind == 'o';
		fprintf(out, number > first ? "<em style='left:%.2f%%'>%u–%u</em>" : "<em style='left:%.2f%%'>%u</em>", at, first, number);
		for (; i < r->marks && r->mark[i].kind != 'o'; i++)
			;
	}
	strip_end(out);
	axis_row(s, out);
	fputs("<ol class=marks>", out);
	for (i = 0; i < r->marks; i++)
		if (r->mark[i].kind == 'o')
			element(out, "<li><code>", r->mark[i].text, "</code>");
	fputs("</ol>\n", out);
}

static void print_events(const struct summary *s, FILE *out)
{
	size_t i;

	if (!s->faults && !s->modes)
		return;
	fputs("<h2>What happened</h2>\n", out);
	fault_rows(s, out);
	if (s->modes) {
		strip_begin(out, " modes", "mode of the proxy");
		for (i = 0; i < s->modes; i++)
			bar(s, out, &s->mode[i], true);
		strip_end(out);
	}
	axis_row(s, out);
	operator_row(s, out);
}

/* ---- a band a feature ---- */

static void key(const struct summary *s, FILE *out)
{
	unsigned o;

	fputs("<ul class=key>", out);
	for (o = 0; o < OUTCOME_COUNT; o++)
		if (s->total[0].outcome[o])
			fprintf(out, "<li><svg viewBox='0 0 28 14' aria-hidden=true><rect width=28 height=14 fill='url(#o%u)'/></svg>%s", o,
				outcome_help[o]);
	fputs("<li class=soft>rails: above, a fault is in force; below, the proxy is not in its first mode</ul>\n", out);
}

/* Behind the bands: grey where a fault was in force (above) and where the mode was not the first (below). */
static void rails(const struct summary *s, FILE *out)
{
	double whole = (double)s->bins * (double)s->width;
	size_t i;

	for (i = 0; i < s->faults; i++)
		fprintf(out, "<rect x=%.1f width=%.1f height=5 fill='#57606a' fill-opacity=%.2f />", WIDE * (double)s->fault[i].from / whole,
			fmax(1, WIDE * (double)(s->fault[i].until - s->fault[i].from) / whole), 0.3 + 0.7 * s->fault[i].part);
	for (i = 0; i < s->modes; i++)
		if (strcmp(s->mode[i].text, s->mode[0].text) != 0)
			fprintf(out, "<rect x=%.1f y=31 width=%.1f height=3 fill='#9a6700'/>", WIDE * (double)s->mode[i].from / whole,
				fmax(1, WIDE * (double)(s->mode[i].until - s->mode[i].from) / whole));
}

/* Of each bin, the share that the outcomes up to `o` had: from 31 (none) up to 6 (all). */
static double edge(const struct summary_bin *b, unsigned f, unsigned o)
{
	uint32_t all = 0, some = 0;
	unsigned i;

	for (i = 0; i < OUTCOME_COUNT; i++) {
		all += b->outcome[f][i];
		some += i <= o ? b->outcome[f][i] : 0;
	}
	return 30 - 24.0 * some / all;
}

static bool empty(const struct summary_bin *b, unsigned f)
{
	unsigned o;

	for (o = 0; o < OUTCOME_COUNT; o++)
		if (b->outcome[f][o])
			return false;
	return true;
}

/* One path for all rectangles of an outcome. */
static void layer(const struct summary *s, FILE *out, unsigned f, unsigned o)
{
	unsigned i, end;

	fprintf(out, "<path fill='url(#o%u)' d='", o);
	for (i = 0; i < s->bins; i = end) {
		double top, bottom;

		end = i + 1;
		if (!s->bin[i].outcome[f][o])
			continue;
		top = edge(&s->bin[i], f, o);
		bottom = o ? edge(&s->bin[i], f, o - 1) : 30;
		while (end < s->bins && !empty(&s->bin[end], f) && fabs(edge(&s->bin[end], f, o) - top) < 0.01 &&
		       fabs((o ? edge(&s->bin[end], f, o - 1) : 30) - bottom) < 0.01)
			end++;
		fprintf(out, "M%.1f %.1fH%.1fV%.1fH%.1fz", x_of(s, i), top, x_of(s, end), bottom, x_of(s, i));
	}
	fputs("'/>", out);
}

static void feature_band(const struct summary *s, FILE *out, unsigned f)
{
	const struct scenario_feature *sf = &s->r->s->feature[f];
	const struct figures *c = &s->cell[f];
	double ratio = c->count ? 100 * (double)c->success / (double)c->count : 0;
	unsigned o;

	element(out, "<div class=row><b>", sf->name, "</b>");
	fprintf(out, "<div class=plot><svg class=band viewBox='0 0 %d 34' preserveAspectRatio=none role=img aria-label=\"", WIDE);
	text(out, sf->name);
	for (o = 0; o < OUTCOME_COUNT; o++)
		if (c->outcome[o])
			fprintf(out, ", %llu %s", (unsigned long long)c->outcome[o], outcome_help[o]);
	fputs("\">", out);
	rails(s, out);
	for (o = 0; o < OUTCOME_COUNT; o++)
		if (c->outcome[o])
			layer(s, out, f, o);
	fprintf(out, "</svg></div><span class=n>%.*f %%</span></div>\n", ratio > 99.9 && ratio < 100 ? 3 : 1, ratio);
}

static void print_bands(const struct summary *s, FILE *out)
{
	const struct scenario *sc = s->r->s;
	const char *tier = "";
	unsigned f, other;

	fputs("<h2>What each feature's users got</h2>\n<p class=soft>Of all requests of each moment, the share of each outcome; at the right, "
	      "the share that counts as success over the whole run.</p>\n", out);
	key(s, out);
	/* Features of one tier together, tiers in the order in which they first appear. */
	for (f = 0; f < sc->features; f++) {
		for (other = 0; other < f && strcmp(sc->feature[other].tier, sc->feature[f].tier) != 0; other++)
			;
		if (other < f)
			continue;
		tier = sc->feature[f].tier;
		element(out, "<p class=soft>", tier, "</p>\n");
		for (other = f; other < sc->features; other++)
			if (!strcmp(sc->feature[other].tier, tier) && s->cell[other].count)
				feature_band(s, out, other);
	}
	axis_row(s, out);
}

/* ---- latency ---- */

static double y_of(double ms)
{
	if (ms < Y_LOW)
		ms = Y_LOW;
	return 220 - 220 * log10(ms / Y_LOW) / Y_DECADES;
}

static void line(const struct summary *s, FILE *out, size_t field, const char *stroke)
{
	bool open = false;
	unsigned i;

	fputs("<path fill=none vector-effect=non-scaling-stroke d='", out);
	for (i = 0; i < s->bins; i++) {
		double v = *(const double *)((const char *)&s->bin[i] + field);

		if (v <= 0) {
			open = false;
			continue;
		}
		fprintf(out, "%c%.1f %.1fH%.1f", open ? 'L' : 'M', x_of(s, i), y_of(v), x_of(s, i + 1));
		open = true;
	}
	fprintf(out, "' %s/>", stroke);
}

static void latency_labels(FILE *out)
{
	double ms;
	int i;

	for (i = 0; i <= Y_DECADES; i++) {
		ms = Y_LOW * pow(10, i);
		fprintf(out, "<span class=y style='top:%.1fpx'>", y_of(ms));
		ms < 1000 ? fprintf(out, "%g ms</span>", ms) : fprintf(out, "%g s</span>", ms / 1000);
	}
}

static void print_latency(const struct summary *s, FILE *out)
{
	size_t i;

	fprintf(out, "<h2>Latency%s over time</h2>\n<p class=soft>From the moment each request was meant to be sent; refusals left out; logarithmic. "
		"Solid: median. Dashed: 99th percentile. Dotted: slowest. Grey behind: a fault is in force.</p>\n", s->main_tier ? " of core" : "");
	fprintf(out, "<div class=chart><svg viewBox='0 0 %d 220' style='width:100%%;height:220px' preserveAspectRatio=none role=img "
		"aria-label='median, 99th percentile and slowest over time'>", WIDE);
	for (i = 0; i < s->faults; i++)
		fprintf(out, "<rect x=%.1f width=%.1f height=220 fill='#57606a' fill-opacity=.08 />", percent_of(s, s->fault[i].from) * WIDE / 100,
			fmax(1, percent_of(s, s->fault[i].until - s->fault[i].from) * WIDE / 100));
	for (i = 0; i <= Y_DECADES; i++)
		fprintf(out, "<path d='M0 %.1fH%d' stroke='#d1d9e0' vector-effect=non-scaling-stroke />", y_of(Y_LOW * pow(10, (double)i)), WIDE);
	line(s, out, offsetof(struct summary_bin, max), "stroke='#6e7781' stroke-width=1.5 stroke-dasharray='1 4'");
	line(s, out, offsetof(struct summary_bin, p99), "stroke='#b35900' stroke-width=2 stroke-dasharray='7 3'");
	line(s, out, offsetof(struct summary_bin, p50), "stroke='#0b3d66' stroke-width=2");
	fputs("</svg>", out);
	latency_labels(out);
	axis(s, out);
	fputs("</div>\n", out);
}

/* ---- histogram ---- */

static double bar_height(uint64_t n, double most)
{
	return n ? 8 + 152 * log10((double)n) / (most > 0 ? most : 1) : 0;
}

static void print_histogram(const struct summary *s, FILE *out)
{
	double most = 0, step = (double)WIDE / SUMMARY_BUCKETS;
	unsigned i, k;

	for (i = 0; i < SUMMARY_BUCKETS; i++)
		for (k = 0; k < 2; k++)
			if (s->histogram[k][i] > 1)
				most = fmax(most, log10((double)s->histogram[k][i]));
	fprintf(out, "<h2>How long answers took</h2>\n<p class=soft>Requests by latency, both axes logarithmic. Left of each pair, solid: %s; right, "
		"striped: all others.</p>\n", s->main_tier ? "core" : "all");
	fprintf(out, "<div class=chart><svg viewBox='0 0 %d 160' style='width:100%%;height:160px' preserveAspectRatio=none role=img "
		"aria-label='histogram of latencies'>", WIDE);
	for (i = 0; i < SUMMARY_BUCKETS; i++) {
		for (k = 0; k < 2; k++) {
			double h = bar_height(s->histogram[k][i], most);

			if (h > 0)
				fprintf(out, "<rect x=%.1f y=%.1f width=%.1f height=%.1f fill='%s' stroke='#59636e'><title>%llu up to %.3g ms</title></rect>",
					i * step + (k ? step * 0.48 : step * 0.06), 160 - h, step * 0.42, h, k ? "url(#o4)" : "#0b3d66",
					(unsigned long long)s->histogram[k][i], summary_bucket_limit_ms(i));
		}
	}
	fprintf(out, "<path d='M0 160H%d' stroke='#59636e' vector-effect=non-scaling-stroke /></svg>", WIDE);
	fprintf(out, "<span class=y style='top:8px'>%.0f</span><span class=y style='top:150px'>1</span><div class=axis>", pow(10, most));
	for (i = 0; i <= SUMMARY_BUCKETS; i += 8)
		fprintf(out, "<span style='left:%.2f%%'>%s</span>", 100.0 * i / SUMMARY_BUCKETS,
			(const char *const[]){ "10 µs", "0.1 ms", "1 ms", "10 ms", "0.1 s", "1 s", "10 s", "" }[i / 8]);
	fputs("</div></div>\n", out);
}

/* ---- figures ---- */

static void ratio_cell(FILE *out, const struct figures *c)
{
	if (!c->count)
		fputs("<td class=soft>–", out);
	else
		fprintf(out, "<td%s>%.2f&nbsp;%%", c->success < c->count ? "" : " class=soft", 100 * (double)c->success / (double)c->count);
}

static void print_windows(const struct summary *s, FILE *out)
{
	const struct scenario *sc = s->r->s;
	int64_t from, until;
	unsigned w, f;

	if (!sc->windows)
		return;
	fputs("<h2>Success by window</h2>\n<div class=scroll><table><thead><tr><th>feature", out);
	for (w = 1; w <= sc->windows; w++)
		element(out, "<th>", summary_window(s, w, &from, &until), "");
	fputs("</tr></thead>\n", out);
	for (f = 0; f < sc->features; f++) {
		element(out, "<tr><td>", sc->feature[f].name, "");
		for (w = 1; w <= sc->windows; w++)
			ratio_cell(out, &s->cell[w * sc->features + f]);
		fputs("</tr>\n", out);
	}
	fputs("</table></div>\n", out);
}

/* What the event did to the feature, and what the rehearsal did, in the event's own time. */
static void was_cells(const struct result *r, FILE *out, const struct scenario_feature *sf)
{
	if (!sf) {
		fputs("<td><td>", out);
		return;
	}
	element(out, "<td class='left was'>", sf->was, "<td>");
	fprintf(out, "%.1f h", (double)judge_away(r, (unsigned)(sf - r->s->feature)) / 3600e9 * r->s->scale);
}

static void figure_row(const struct summary *s, FILE *out, const char *name, const struct scenario_feature *sf, const struct figures *c, bool was)
{
	unsigned o;

	element(out, "<tr><td>", name, "<td class=left>");
	text(out, sf ? sf->tier : "");
	ratio_cell(out, c);
	for (o = 0; o < OUTCOME_COUNT; o++) {
		if (!s->total[0].outcome[o])
			continue;
		c->outcome[o] ? fprintf(out, "<td>%llu", (unsigned long long)c->outcome[o]) : fputs("<td class=soft>·", out);
	}
	fprintf(out, "<td>%.1f<td>%.1f<td>%.1f<td>%.0f", c->p50, c->p99, c->max, c->gap);
	if (was)
		was_cells(s->r, out, sf);
	fputs("</tr>\n", out);
}

static void print_figures(const struct summary *s, FILE *out)
{
	const struct scenario *sc = s->r->s;
	bool was = false;
	unsigned f, o;

	for (f = 0; f < sc->features; f++)
		was = was || sc->feature[f].was[0];
	fputs("<h2>Figures of the whole run</h2>\n<div class=scroll><table><thead><tr><th>feature<th class=left>tier<th>success", out);
	for (o = 0; o < OUTCOME_COUNT; o++)
		if (s->total[0].outcome[o])
			element(out, "<th>", outcome_help[o], "");
	fputs("<th>p50 ms<th>p99 ms<th>max ms<th>longest gap ms", out);
	if (was)
		fputs("<th class=left>away in the event<th>away here, in its time", out);
	fputs("</tr></thead>\n", out);
	for (f = 0; f < sc->features; f++)
		figure_row(s, out, sc->feature[f].name, &sc->feature[f], &s->cell[f], was);
	figure_row(s, out, "all", NULL, &s->total[0], was);
	fputs("</table></div>\n", out);
	if (was)
		fputs("<p class=soft>Away: the quarters of a second after the first fault in which fewer than 99&nbsp;% of the feature's requests succeeded, "
		      "summed; a quarter without a request is as the one before it.</p>\n", out);
}

static void print_messages(const struct result *r, FILE *out)
{
	const struct ledger *l = &r->ledger;
	unsigned i;

	fputs("<h2>Messages</h2>\n", out);
	if (!l->checked) {
		fputs("<p>No journal to check acknowledged messages against.</p>\n", out);
		return;
	}
	fprintf(out, "<p>%llu acknowledged: %llu lost, %llu duplicated, %llu reordered. %llu of unknown fate, %llu of them kept.</p>\n",
		(unsigned long long)l->acknowledged, (unsigned long long)l->lost, (unsigned long long)l->duplicated, (unsigned long long)l->reordered,
		(unsigned long long)l->unknown, (unsigned long long)l->unknown_kept);
	for (i = 0; i < l->examples; i++)
		element(out, "<p><code>", l->example[i], "</code></p>\n");
	if (r->stream_events || r->stream_cuts)
		fprintf(out, "<p>Event streams: %llu events, %llu streams ended before their time.</p>\n", (unsigned long long)r->stream_events,
			(unsigned long long)r->stream_cuts);
}

static void fact(FILE *out, const char *name, const char *value)
{
	element(out, "<tr><td>", name, "<td class=left>");
	text(out, value);
	fputs("</tr>\n", out);
}

static void print_environment(const struct summary *s, FILE *out)
{
	const struct environment *e = &s->environment;
	char line[400];

	fputs("<h2>Environment</h2>\n<div class=scroll><table>\n", out);
	fact(out, "scenario", s->r->s->path);
	fact(out, "proxy", s->r->proxy_version ? s->r->proxy_version : "not known");
	fact(out, "bench", FIREBREAK_VERSION);
	snprintf(line, sizeof(line), "%s, %u CPUs, %.1f GiB", e->cpu, e->cpus, (double)e->memory / (1 << 30));
	fact(out, "machine", line);
	snprintf(line, sizeof(line), "%s, %s (%s)", e->os, e->kernel, e->machine);
	fact(out, "system", line);
	snprintf(line, sizeof(line), "late p99 %.2f ms, at most %.1f ms; %llu dropped; %u processes", s->r->late_p99_ms, s->r->late_max_ms,
		 (unsigned long long)s->r->dropped, s->r->s->threads);
	fact(out, "generator", line);
	fputs("</table></div>\n</body></html>\n", out);
}

bool result_page(const struct summary *s, FILE *out)
{
	begin(s, out);
	print_assertions(s->r, out);
	print_events(s, out);
	print_bands(s, out);
	print_latency(s, out);
	print_histogram(s, out);
	print_windows(s, out);
	print_figures(s, out);
	print_messages(s->r, out);
	print_environment(s, out);
	return !fflush(out) && !ferror(out);
}
