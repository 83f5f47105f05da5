/* SPDX-License-Identifier: MIT */
/*
 * The result for programs. The schema is bench/result.schema.json; a field is never
 * renamed or given another unit without a new "schema" number.
 */
#include <jansson.h>
#include <math.h>
#include <time.h>

#include "summary.h"

#define SCHEMA 1

static double seconds(int64_t ns)
{
	return (double)ns / 1e9;
}

/* Numbers JSON has no word for are null. */
static json_t *real(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static json_t *count(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *outcomes(const struct figures *f)
{
	json_t *o = json_object();
	unsigned i;

	for (i = 0; i < OUTCOME_COUNT; i++)
		json_object_set_new(o, outcome_word((enum outcome)i), count(f->outcome[i]));
	return o;
}

static json_t *figures(const struct figures *f)
{
	json_t *o = json_object();

	json_object_set_new(o, "count", count(f->count));
	json_object_set_new(o, "success", count(f->success));
	json_object_set_new(o, "outcomes", outcomes(f));
	json_object_set_new(o, "latency_ms", json_pack("{s:o,s:o,s:o,s:o,s:o}", "p50", real(f->p50), "p90", real(f->p90), "p99",
						       real(f->p99), "p999", real(f->p999), "max", real(f->max)));
	json_object_set_new(o, "service_ms", json_pack("{s:o,s:o}", "p50", real(f->service_p50), "p99", real(f->service_p99)));
	json_object_set_new(o, "gap_ms", real(f->gap));
	json_object_set_new(o, "age_max_s", count(f->age_max));
	return o;
}

static json_t *windows(const struct summary *s)
{
	const struct scenario *sc = s->r->s;
	json_t *list = json_array(), *w, *features;
	int64_t from, until;
	const char *name;
	unsigned i, f;

	for (i = 0; i <= sc->windows; i++) {
		name = summary_window(s, i, &from, &until);
		features = json_object();
		for (f = 0; f < sc->features; f++)
			json_object_set_new(features, sc->feature[f].name, figures(&s->cell[i * sc->features + f]));
		w = json_pack("{s:s,s:f,s:f,s:o,s:o}", "name", name, "from_s", seconds(from), "until_s",
			      seconds(i && until < s->r->lasted ? until : s->r->lasted), "all", figures(&s->total[i]), "features", features);
		json_array_append_new(list, w);
	}
	return list;
}

static json_t *series(const struct summary *s)
{
	json_t *list = json_array(), *bin, *features, *one;
	unsigned i, f, o;

	for (i = 0; i < s->bins; i++) {
		const struct summary_bin *b = &s->bin[i];

		features = json_object();
		for (f = 0; f < s->r->s->features; f++) {
			one = json_array();
			for (o = 0; o < OUTCOME_COUNT; o++)
				json_array_append_new(one, count(b->outcome[f][o]));
			json_object_set_new(features, s->r->s->feature[f].name, one);
		}
		bin = json_pack("{s:f,s:i,s:f,s:f,s:f,s:o}", "at_s", seconds(i * s->width), "count", (int)b->count, "p50_ms", b->p50, "p99_ms", b->p99,
				"max_ms", b->max, "features", features);
		json_array_append_new(list, bin);
	}
	return list;
}

static const char *mark_word(char kind)
{
	switch (kind) {
	case 'f': return "fault";
	case 'h': return "heal";
	case 'o': return "operator";
	case 'm': return "mode";
	case 'd': return "datacenter";
	default: return "note";
	}
}

static json_t *marks(const struct result *r)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < r->marks; i++)
		json_array_append_new(list, json_pack("{s:f,s:s,s:s}", "at_s", seconds(r->mark[i].at), "kind", mark_word(r->mark[i].kind), "text",
						      r->mark[i].text));
	return list;
}

static json_t *assertions(const struct result *r)
{
	json_t *list = json_array();
	unsigned i;

	for (i = 0; i < r->s->assertions; i++) {
		const struct judged *j = &r->judged[i];

		json_array_append_new(list, json_pack("{s:s,s:b,s:o}", "text", j->text, "held", j->held, "found", j->known ? real(j->found) : json_null()));
	}
	return list;
}

static json_t *messages(const struct ledger *l)
{
	json_t *examples = json_array();
	unsigned i;

	if (!l->checked) {
		json_decref(examples);
		return json_null();
	}
	for (i = 0; i < l->examples; i++)
		json_array_append_new(examples, json_string(l->example[i]));
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "acknowledged", (json_int_t)l->acknowledged, "lost", (json_int_t)l->lost, "duplicated",
			 (json_int_t)l->duplicated, "reordered", (json_int_t)l->reordered, "unknown", (json_int_t)l->unknown, "unknown_kept",
			 (json_int_t)l->unknown_kept, "examples", examples);
}

static json_t *features(const struct result *r)
{
	json_t *list = json_array();
	unsigned f;

	for (f = 0; f < r->s->features; f++) {
		const struct scenario_feature *sf = &r->s->feature[f];

		json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:f,s:f,s:s,s:f}", "name", sf->name, "tier", sf->tier, "does",
						      scenario_verbs[sf->does].word, "share", sf->share, "away_s", seconds(judge_away(r, f)), "was",
						      sf->was, "was_hours", sf->was_hours));
	}
	return list;
}

static json_t *outcome_words(void)
{
	json_t *list = json_array();
	unsigned o;

	for (o = 0; o < OUTCOME_COUNT; o++)
		json_array_append_new(list, json_string(outcome_word((enum outcome)o)));
	return list;
}

static json_t *environment(const struct summary *s)
{
	const struct environment *e = &s->environment;

	return json_pack("{s:s,s:s,s:s,s:s,s:i,s:I,s:s,s:s?}", "machine", e->machine, "kernel", e->kernel, "os", e->os, "cpu", e->cpu, "cpus",
			 (int)e->cpus, "memory_bytes", (json_int_t)e->memory, "bench_version", FIREBREAK_VERSION, "proxy_version", s->r->proxy_version);
}

bool result_json(const struct summary *s, FILE *out)
{
	const struct result *r = s->r;
	time_t at = (time_t)(r->started_wall / 1000000000);
	char started[32];
	struct tm tm;
	json_t *top;
	bool ok;

	strftime(started, sizeof(started), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
	top = json_pack("{s:i,s:{s:s,s:s,s:s,s:I},s:s,s:f,s:b,s:s?,s:i}", "schema", SCHEMA, "scenario", "name", r->s->name, "about", r->s->about,
			"file", r->s->path, "seed", (json_int_t)r->s->seed, "started", started, "lasted_s", seconds(r->lasted), "partial", r->partial,
			"invalid", r->invalid, "exit_status", r->code);
	json_object_set_new(top, "environment", environment(s));
	json_object_set_new(top, "generator",
			    json_pack("{s:I,s:I,s:f,s:f,s:i,s:I,s:I}", "sent", (json_int_t)r->sent, "dropped", (json_int_t)r->dropped, "late_p99_ms",
				      r->late_p99_ms, "late_max_ms", r->late_max_ms, "threads", (int)r->s->threads, "stream_events",
				      (json_int_t)r->stream_events, "stream_cuts", (json_int_t)r->stream_cuts));
	json_object_set_new(top, "features", features(r));
	json_object_set_new(top, "assertions", assertions(r));
	json_object_set_new(top, "messages", messages(&r->ledger));
	json_object_set_new(top, "windows", windows(s));
	json_object_set_new(top, "marks", marks(r));
	json_object_set_new(top, "series", json_pack("{s:f,s:o,s:o}", "width_s", seconds(s->width), "outcomes", outcome_words(), "bins", series(s)));
	ok = top && !json_dumpf(top, out, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) && fputc('\n', out) != EOF && !fflush(out);
	json_decref(top);
	return ok;
}
