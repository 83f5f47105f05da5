/* SPDX-License-Identifier: MIT */
/*
 * Figures of a window, and assertions on them. Pure: samples in, numbers out.
 *
 * A request belongs to the window it was intended in. Latencies count from the intended
 * time, failures with the time to the failure; refusals are left out of them, since they
 * are quick by design and would flatter. A gap is the longest time in which no success
 * was completed, from the window's begin to its last request.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

#define BIN       INT64_C(250000000) /* of time_to_recover, ns */
#define RECOVERED 0.99
#define FROM_MS   1e6

enum unit { UNIT_NONE, UNIT_RATIO, UNIT_TIME, UNIT_AGE, UNIT_RATE };

/* What an assertion is made of. */
struct assertion {
	const struct figure *figure;
	int outcome;          /* of an outcome's figure, else -1 */
	bool ratio;
	int datacenter;       /* -1: of none */
	int feature;          /* -1: by tier */
	const char *tier;     /* NULL with feature -1: all */
	bool reads;           /* of the tier only */
	int64_t from, until;
	char op[3];
	double want;
	char text[100];
};

/* The samples an assertion is about. */
struct selection {
	const struct result *r;
	int feature;
	const char *tier;
	bool reads;
	int64_t from, until;
	int datacenter;
};

struct value {
	bool known;
	double v;
};

static double percentile(const uint32_t *sorted, size_t n, double q)
{
	size_t rank = (size_t)ceil(q * (double)n);

	return n ? (double)sorted[rank ? rank - 1 : 0] : 0;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int by_time(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static bool chosen(const struct selection *sel, unsigned feature)
{
	const struct scenario_feature *f = &sel->r->s->feature[feature];

	if (sel->feature >= 0)
		return feature == (unsigned)sel->feature;
	return (!sel->tier || !strcmp(sel->tier, f->tier)) && (!sel->reads || !scenario_verbs[f->does].write);
}

static bool succeeded(const struct result *r, const struct sample *s)
{
	return r->s->feature[s->feature].success >> s->outcome & 1;
}

/* Index of the first sample intended at `at` or later. */
static size_t first_at(const struct result *r, int64_t at)
{
	size_t low = 0, high = r->samples, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (r->sample[middle].intended < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int64_t completed(const struct sample *s)
{
	return s->intended + (int64_t)s->latency_us * 1000;
}

/* ---- figures ---- */

static double longest_gap(int64_t *done, size_t n, int64_t from, int64_t last)
{
	int64_t gap = 0, before = from;
	size_t i;

	qsort(done, n, sizeof(*done), by_time);
	for (i = 0; i < n; i++) {
		if (done[i] - before > gap)
			gap = done[i] - before;
		before = done[i] > before ? done[i] : before;
	}
	return (double)(last - before > gap ? last - before : gap) / FROM_MS;
}

static void reduce(const struct selection *sel, struct figures *out)
{
	const struct result *r = sel->r;
	size_t first = first_at(r, sel->from), end = first_at(r, sel->until), n = 0, successes = 0, i;
	size_t room = end > first ? end - first : 0;
	uint32_t *latency = malloc((room + 1) * sizeof(*latency)), *service = malloc((room + 1) * sizeof(*service));
	int64_t *done = malloc((room + 1) * sizeof(*done)), last = sel->from;

	*out = (struct figures){ 0 };
	for (i = first; latency && service && done && i < end; i++) {
		const struct sample *s = &r->sample[i];

		if (!chosen(sel, s->feature))
			continue;
		out->count++;
		out->outcome[s->outcome]++;
		last = s->intended;
		if (s->age_s > out->age_max)
			out->age_max = s->age_s;
		if (succeeded(r, s))
			done[successes++] = completed(s);
		if (s->outcome == OUTCOME_REFUSED)
			continue;
		service[n] = s->latency_us > s->late_us ? s->latency_us - s->late_us : 0;
		latency[n++] = s->latency_us;
	}
	out->success = successes;
	if (n) {
		qsort(latency, n, sizeof(*latency), by_value);
		qsort(service, n, sizeof(*service), by_value);
		out->p50 = percentile(latency, n, 0.5) / 1e3;
		out->p90 = percentile(latency, n, 0.9) / 1e3;
		out->p99 = percentile(latency, n, 0.99) / 1e3;
		out->p999 = percentile(latency, n, 0.999) / 1e3;
		out->max = (double)latency[n - 1] / 1e3;
		out->service_p50 = percentile(service, n, 0.5) / 1e3;
		out->service_p99 = percentile(service, n, 0.99) / 1e3;
	}
	if (done)
		out->gap = longest_gap(done, successes, sel->from, last);
	free(latency);
	free(service);
	free(done);
}

void judge_figures(const struct result *r, int feature, const char *tier, int64_t from, int64_t until, struct figures *out)
{
	reduce(&(struct selection){ r, feature, tier, false, from, until, -1 }, out);
}

static int64_t first_fault(const struct selection *sel)
{
	size_t i;

	for (i = 0; i < sel->r->marks; i++) {
		const struct mark *m = &sel->r->mark[i];

		if (m->kind == 'f' && m->at >= sel->from && m->at < sel->until)
			return m->at;
	}
	return -1;
}

/* From the first fault to the first success of the feature that waited longest for it, ms. */
static struct value time_to_failover(const struct selection *sel)
{
	const struct result *r = sel->r;
	int64_t fault = first_fault(sel), first[SCENARIO_FEATURES], worst = -1;
	unsigned f;
	size_t i;

	if (fault < 0)
		return (struct value){ 0 };
	for (f = 0; f < r->s->features; f++)
		first[f] = chosen(sel, f) && r->s->feature[f].share > 0 ? INT64_MAX : -1; /* streams held open wait for nobody */
	for (i = first_at(r, fault); i < r->samples && r->sample[i].intended < sel->until; i++) {
		const struct sample *s = &r->sample[i];

		if (first[s->feature] > completed(s) && succeeded(r, s))
			first[s->feature] = completed(s);
	}
	for (f = 0; f < r->s->features; f++) {
		if (first[f] == INT64_MAX)
			return (struct value){ true, INFINITY };
		if (first[f] > worst)
			worst = first[f];
	}
	return worst < 0 ? (struct value){ 0 } : (struct value){ true, (double)(worst - fault) / FROM_MS };
}

/* From the first fault to the end of the last bin in which too many failed, ms. */
static struct value time_to_recover(const struct selection *sel)
{
	const struct result *r = sel->r;
	int64_t fault = first_fault(sel), bad = 0, bin = 0;
	uint64_t count = 0, good = 0;
	size_t i;

	if (fault < 0)
		return (struct value){ 0 };
	for (i = first_at(r, fault); i < r->samples && r->sample[i].intended < sel->until; i++) {
		const struct sample *s = &r->sample[i];

		if (!chosen(sel, s->feature))
			continue;
		if ((s->intended - fault) / BIN != bin) {
			bin = (s->intended - fault) / BIN;
			count = good = 0;
		}
		count++;
		good += succeeded(r, s);
		/* Judged again with each sample of the bin: its last word counts. */
		if ((double)good < RECOVERED * (double)count)
			bad = bin + 1;
		else if (bad == bin + 1)
			bad = bin;
	}
	return (struct value){ true, (double)(bad * BIN) / FROM_MS };
}

/* Bins are judged when they are over; those without a request are as the one before. */
int64_t judge_away(const struct result *r, unsigned feature)
{
	int64_t fault = first_fault(&(struct selection){ r, (int)feature, NULL, false, 0, INT64_MAX, -1 }), away = 0, bin = 0, now, bins;
	uint64_t count = 0, good = 0;
	size_t i;

	if (fault < 0)
		return 0;
	bins = (r->lasted - fault + BIN - 1) / BIN;
	for (i = first_at(r, fault); i < r->samples; i++) {
		const struct sample *s = &r->sample[i];

		if (s->feature != feature)
			continue;
		now = (s->intended - fault) / BIN;
		if (now != bin) {
			away += (double)good < RECOVERED * (double)count ? now - bin : 0;
			bin = now;
			count = good = 0;
		}
		count++;
		good += succeeded(r, s);
	}
	away += (double)good < RECOVERED * (double)count && bins > bin ? bins - bin : 0;
	return away * BIN;
}

/* ---- what can be asserted ---- */

static struct value of_window(const struct selection *sel, double (*get)(const struct figures *, double seconds))
{
	struct figures f;

	reduce(sel, &f);
	return (struct value){ f.count > 0, get(&f, (double)(sel->until - sel->from) / 1e9) };
}

#define GETTER(name, expression) \
	static double get_##name(const struct figures *f, double seconds) \
	{ \
		return expression; \
	} \
	static struct value find_##name(const struct selection *sel) \
	{ \
		return of_window(sel, get_##name); \
	}
#define WHOLE(name, whether, expression) \
	static struct value find_##name(const struct selection *sel) \
	{ \
		return (struct value){ whether, (double)(expression) }; \
	}
GETTER(success_ratio, (double)f->success / (double)(f->count ? f->count : 1))
GETTER(goodput, seconds > 0 ? (double)f->success / seconds : 0)
GETTER(p50, f->p50)
GETTER(p90, f->p90)
GETTER(p99, f->p99)
GETTER(p999, f->p999)
GETTER(max, f->max)
GETTER(service_p50, f->service_p50)
GETTER(service_p99, f->service_p99)
GETTER(gap, f->gap)
GETTER(age_max, f->age_max)
WHOLE(lost, sel->r->ledger.checked, sel->r->ledger.lost)
WHOLE(duplicated, sel->r->ledger.checked, sel->r->ledger.duplicated)
WHOLE(reordered, sel->r->ledger.checked, sel->r->ledger.reordered)
WHOLE(dropped, true, sel->r->dropped)
WHOLE(stream_cuts, true, sel->r->stream_cuts)

static struct value find_count(const struct selection *sel)
{
	struct figures f;

	reduce(sel, &f);
	return (struct value){ true, (double)f.count };
}

static struct value find_wrong_user(const struct selection *sel)
{
	struct figures f;

	reduce(sel, &f);
	return (struct value){ f.count > 0, (double)f.outcome[OUTCOME_WRONG] };
}

#define SHARE(name, member) \
	static struct value find_##name(const struct selection *sel) \
	{ \
		struct shares s; \
		bool known = shares_of(sel->r, sel->datacenter, sel->from, sel->until, &s); \
		return (struct value){ known && s.member >= 0, s.member }; \
	}
SHARE(share, share)
SHARE(share_max, most)
SHARE(transitions, transitions)

/* WHOLE_RUN: neither a selection before it nor a window behind. CORE: of core unless said. DATACENTER: of one. */
enum { WHOLE_RUN = 1, CORE = 2, DATACENTER = 4 };
static const struct figure {
	const char *word;
	enum unit unit;
	unsigned flags;
	struct value (*find)(const struct selection *sel);
} table[] = {
	{ "success_ratio", UNIT_RATIO, 0, find_success_ratio },
	{ "count", UNIT_NONE, 0, find_count },
	{ "goodput", UNIT_RATE, 0, find_goodput },
	{ "p50", UNIT_TIME, 0, find_p50 },
	{ "p90", UNIT_TIME, 0, find_p90 },
	{ "p99", UNIT_TIME, 0, find_p99 },
	{ "p999", UNIT_TIME, 0, find_p999 },
	{ "max", UNIT_TIME, 0, find_max },
	{ "service_p50", UNIT_TIME, 0, find_service_p50 },
	{ "service_p99", UNIT_TIME, 0, find_service_p99 },
	{ "gap", UNIT_TIME, 0, find_gap },
	{ "age_max", UNIT_AGE, 0, find_age_max },
	{ "time_to_failover", UNIT_TIME, CORE, time_to_failover },
	{ "time_to_recover", UNIT_TIME, CORE, time_to_recover },
	{ "share", UNIT_RATIO, DATACENTER, find_share },
	{ "share_max", UNIT_RATIO, DATACENTER, find_share_max },
	{ "transitions", UNIT_NONE, DATACENTER, find_transitions },
	{ "lost", UNIT_NONE, WHOLE_RUN, find_lost },
	{ "duplicated", UNIT_NONE, WHOLE_RUN, find_duplicated },
	{ "reordered", UNIT_NONE, WHOLE_RUN, find_reordered },
	{ "wrong_user", UNIT_NONE, WHOLE_RUN, find_wrong_user },
	{ "dropped", UNIT_NONE, WHOLE_RUN, find_dropped },
	{ "stream_cuts", UNIT_NONE, WHOLE_RUN, find_stream_cuts },
};
#define FIGURES (sizeof(table) / sizeof(*table))

/* ---- parsing ---- */

static bool parse_figure(struct assertion *a, const char *word, char why[JUDGE_WHY])
{
	static const struct figure by_outcome = { "", UNIT_NONE, 0, NULL };
	size_t i, n;

	a->outcome = -1;
	for (i = 0; i < FIGURES; i++) {
		if (!strcmp(table[i].word, word)) {
			a->figure = &table[i];
			return true;
		}
	}
	for (i = 0; i < OUTCOME_COUNT; i++) {
		n = strlen(outcome_word((enum outcome)i));
		if (strncmp(word, outcome_word((enum outcome)i), n) != 0 || (word[n] && strcmp(word + n, "_ratio") != 0))
			continue;
		a->figure = &by_outcome;
		a->outcome = (int)i;
		a->ratio = word[n];
		return true;
	}
	n = (size_t)snprintf(why, JUDGE_WHY, "no figure \"%.40s\"; expected an outcome", word);
	for (i = 0; i < FIGURES && n < JUDGE_WHY; i++)
		n += (size_t)snprintf(why + n, JUDGE_WHY - n, ", %s", table[i].word);
	return false;
}

static bool parse_what(const struct scenario *s, struct assertion *a, const char *what, char why[JUDGE_WHY])
{
	unsigned f;

	a->feature = -1;
	a->tier = NULL;
	a->reads = !strcmp(what, "core-reads");
	if (!strcmp(what, "all"))
		return true;
	if (a->reads)
		what = "core";
	for (f = 0; f < s->features; f++) {
		if (!strcmp(s->feature[f].name, what) && !a->reads) {
			a->feature = (int)f;
			return true;
		}
		if (!strcmp(s->feature[f].tier, what))
			a->tier = s->feature[f].tier;
	}
	if (a->tier)
		return true;
	snprintf(why, JUDGE_WHY, "no feature or tier \"%.60s\" in this scenario; expected one, or all, or core-reads", what);
	return false;
}

/* "dc.NAME"; a figure of a datacenter needs one, others have no use for it. */
static bool parse_datacenter(const struct scenario *s, struct assertion *a, const char *what, const char *figure, char why[JUDGE_WHY])
{
	bool named = !strncmp(what, "dc.", 3);
	unsigned i;

	a->datacenter = -1;
	for (i = 0; named && i < s->datacenters; i++) {
		if (!strcmp(s->datacenter[i].name, what + 3))
			a->datacenter = (int)i;
	}
	if (named && a->datacenter < 0)
		snprintf(why, JUDGE_WHY, "no datacenter \"%.60s\" in this scenario", what + 3);
	else if (named != !!(a->figure->flags & DATACENTER))
		snprintf(why, JUDGE_WHY, named ? "\"%.40s\" is no figure of a datacenter; expected share, share_max or transitions" :
			 "\"%.40s\" is a figure of a datacenter; expected dc.NAME before it", figure);
	else
		return true;
	return false;
}

static bool parse_window(const struct scenario *s, struct assertion *a, const char *name, char why[JUDGE_WHY])
{
	unsigned i;

	a->from = 0;
	a->until = s->duration;
	if (!*name)
		return true;
	for (i = 0; i < s->windows; i++) {
		if (!strcmp(s->window[i].name, name)) {
			a->from = s->window[i].from;
			a->until = s->window[i].until;
			return true;
		}
	}
	snprintf(why, JUDGE_WHY, "no window \"%.60s\" in this scenario", name);
	return false;
}

static bool parse_number(struct assertion *a, const char *text, char why[JUDGE_WHY])
{
	static const struct {
		const char *suffix;
		enum unit unit;
		double times, by;
	} units[] = {
		{ "", UNIT_NONE, 1, 1 },    { "", UNIT_RATIO, 1, 1 },  { "%", UNIT_RATIO, 1, 100 }, { "us", UNIT_TIME, 1, 1000 },
		{ "ms", UNIT_TIME, 1, 1 },  { "s", UNIT_TIME, 1000, 1 }, { "s", UNIT_AGE, 1, 1 },     { "m", UNIT_AGE, 60, 1 },
		{ "h", UNIT_AGE, 3600, 1 }, { "", UNIT_RATE, 1, 1 },   { "/s", UNIT_RATE, 1, 1 },
	};
	enum unit unit = a->ratio ? UNIT_RATIO : a->figure->unit;
	char *end;
	size_t i;

	a->want = strtod(text, &end);
	for (i = 0; end > text && isfinite(a->want) && i < sizeof(units) / sizeof(*units); i++) {
		if (units[i].unit == unit && !strcmp(units[i].suffix, end)) {
			a->want = a->want * units[i].times / units[i].by; /* 95% is 0.95 to the last bit */
			return true;
		}
	}
	snprintf(why, JUDGE_WHY, "\"%.40s\" is no %s", text, unit == UNIT_TIME ? "time; expected a number with us, ms or s" :
		 unit == UNIT_AGE ? "age; expected a number with s, m or h" : unit == UNIT_RATIO ? "ratio; expected 0.999 or 99.9%" : "number");
	return false;
}

static bool parse(const struct scenario *s, const char *text, struct assertion *a, char why[JUDGE_WHY])
{
	static const char *const ops[] = { "==", "!=", "<=", ">=", "<", ">" };
	char left[100], number[40], during[8] = "", window[40] = "", rest, *dot;
	size_t i;
	int n;

	*a = (struct assertion){ 0 };
	n = sscanf(text, " %99[^ =!<>] %2[=!<>] %39s %7s %39s %c", left, a->op, number, during, window, &rest);
	if ((n != 3 && n != 5) || (n == 5 && strcmp(during, "during") != 0)) {
		snprintf(why, JUDGE_WHY, "expected [WHAT.]FIGURE OP NUMBER [during WINDOW], such as send.success_ratio >= 0.999 during outage");
		return false;
	}
	for (i = 0; i < 6 && strcmp(ops[i], a->op) != 0; i++)
		;
	if (i == 6) {
		snprintf(why, JUDGE_WHY, "\"%s\" compares nothing; expected == != <= >= < or >", a->op);
		return false;
	}
	dot = strrchr(left, '.');
	if (!parse_figure(a, dot ? dot + 1 : left, why))
		return false;
	if (dot)
		*dot = '\0';
	if ((a->figure->flags & WHOLE_RUN) && (dot || n == 5)) {
		snprintf(why, JUDGE_WHY, "%s is of the whole run; expected no feature before it and no window behind", a->figure->word);
		return false;
	}
	if (!parse_datacenter(s, a, dot ? left : "", dot ? dot + 1 : left, why))
		return false;
	return (a->datacenter >= 0 || parse_what(s, a, dot ? left : a->figure->flags & CORE ? "core" : "all", why)) &&
	       parse_window(s, a, window, why) && parse_number(a, number, why);
}

bool judge_parse(const struct scenario *s, const char *text, char why[JUDGE_WHY])
{
	struct assertion a;

	return parse(s, text, &a, why);
}

/* ---- judging ---- */

static bool compare(double found, const char *op, double want)
{
	switch (op[0]) {
	case '=': return found == want;
	case '!': return found != want;
	case '<': return op[1] ? found <= want : found < want;
	default: return op[1] ? found >= want : found > want;
	}
}

static struct value find(const struct result *r, const struct assertion *a)
{
	struct selection sel = { r, a->feature, a->tier, a->reads, a->from, a->until, a->datacenter };
	struct figures f;

	if (a->until > r->lasted) /* the run ended before the window did */
		return (struct value){ 0 };
	if (a->figure->find)
		return a->figure->find(&sel);
	reduce(&sel, &f);
	return (struct value){ f.count > 0, (double)f.outcome[a->outcome] / (a->ratio && f.count ? (double)f.count : 1) };
}

void judge_all(struct result *r)
{
	struct assertion a;
	char why[JUDGE_WHY];
	unsigned i;

	r->code = r->invalid ? RUN_INVALID : RUN_HELD;
	for (i = 0; i < r->s->assertions; i++) {
		struct judged *j = &r->judged[i];
		struct value v = { 0 };

		j->text = r->s->assertion[i];
		if (parse(r->s, j->text, &a, why))
			v = find(r, &a);
		j->known = v.known;
		j->found = v.v;
		j->held = v.known && compare(v.v, a.op, a.want);
		if (!j->held && r->code == RUN_HELD)
			r->code = RUN_FAILED;
	}
}
