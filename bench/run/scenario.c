/* SPDX-License-Identifier: MIT */
/*
 * The whole scenario: blocks and lists, and what concerns more than one key. Nothing
 * stops at the first error.
 */
#include "scenario_keys.h"

#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "run.h"

/* Octets where the verb has a choice: by default, and the most. */
static const struct sizes {
	uint64_t body, body_most, answer, answer_most;
} sizes[VERB_COUNT] = {
	[VERB_SEND] = { 120, 16384, 0, 0 },
	[VERB_UPLOAD] = { 8192, 1 << 30, 0, 0 },
	[VERB_DOWNLOAD] = { 0, 0, 16384, 1 << 30 },
	[VERB_BACKUP] = { 16384, 1 << 30, 0, 0 },
	[VERB_RESTORE] = { 0, 0, 32768, 1 << 30 },
};

#define SUCCESS ((1u << OUTCOME_SERVED) | (1u << OUTCOME_FAILED_OVER) | (1u << OUTCOME_STALE) | (1u << OUTCOME_ACCEPTED))

/* owned by: the caller of scenario_load(); freed by: scenario_free() */
struct kept {
	struct scenario s; /* first: scenario_free() gets its address */
	struct arena arena;
};

/* ---- what the features ask for ---- */

static void read_success(struct reader *r, const struct node *n, struct scenario_feature *f)
{
	char words[160] = "";
	size_t used = 0;
	int o;

	f->success = SUCCESS;
	if (!read_list(r, n, "success", "a list of outcomes, such as [served, stale]"))
		return;
	for (o = 0; o < OUTCOME_COUNT; o++)
		used += (size_t)snprintf(words + used, sizeof(words) - used, "%s|", outcome_word((enum outcome)o));
	f->success = 0;
	for (n = n->child; n; n = n->next) {
		o = read_choice(r, n, "success", words);
		if (o >= 0)
			f->success |= 1u << o;
	}
}

static void check_size(struct reader *r, const struct node *n, const struct scenario_feature *f, uint64_t value, uint64_t most)
{
	if (n && !most)
		conf_errors_add(r->errors, n->name_mark, "\"%s\" has no meaning for \"%s\"; expected it not to be there", n->name,
				scenario_verbs[f->does].word);
	else if (n && (!value || value > most))
		conf_errors_add(r->errors, n->mark, "\"%s\" of \"%s\" is %llu octets; expected from 1 to %llu", n->name,
				scenario_verbs[f->does].word, (unsigned long long)value, (unsigned long long)most);
}

static void check_feature(struct reader *r, const struct node *n, struct scenario_feature *f)
{
	const struct sizes *z = &sizes[f->does];
	const struct scenario_feature *other;

	check_size(r, node_get(n, "body"), f, f->body, z->body_most);
	check_size(r, node_get(n, "answer"), f, f->answer, z->answer_most);
	f->body = f->body ? f->body : z->body;
	f->answer = f->answer ? f->answer : z->answer;
	if ((f->does == VERB_GET) != (f->path[0] != '\0'))
		conf_errors_add(r->errors, n->mark, f->path[0] ? "\"path\" has no meaning for \"%s\"; expected it with \"get\" only" :
				"\"path\" is missing; expected what \"%s\" asks for", scenario_verbs[f->does].word);
	if (f->does == VERB_EVENTS && f->share > 0)
		conf_errors_add(r->errors, n->mark, "\"share\" of an event stream; expected \"event_streams\" in \"load\" instead");
	for (other = r->s->feature; other < f; other++) {
		if (!strcmp(other->name, f->name))
			conf_errors_add(r->errors, node_get(n, "name")->mark, "a second feature \"%s\"; expected names that differ", f->name);
		if (other->does == VERB_EVENTS && f->does == VERB_EVENTS)
			conf_errors_add(r->errors, node_get(n, "does")->mark, "a second feature of event streams; expected one");
	}
}

struct share_sum {
	double sum;
	unsigned plain, percent;
};

static void read_share(struct reader *r, const struct node *n, struct scenario_feature *f, struct share_sum *all)
{
	size_t len;

	if (!n)
		return;
	if (!read_number(r, n, "share", FORM_RATIO, 0, 1e6, &f->share))
		return;
	len = strlen(n->text);
	if (n->text[len - 1] == '%')
		all->percent++;
	else if (f->share > 0)
		all->plain++;
	all->sum += f->share;
	if (n->text[len - 1] == '%' && f->share > 1)
		conf_errors_add(r->errors, n->mark, "\"share\" is \"%s\"; expected at most 100%%", n->text);
}

static void check_shares(struct reader *r, const struct node *list, const struct share_sum *all)
{
	if (all->percent && all->plain)
		conf_errors_add(r->errors, list->name_mark, "some shares in %%, some not; expected all of one kind");
	else if (all->percent && (all->sum < 0.999 || all->sum > 1.001))
		conf_errors_add(r->errors, list->name_mark, "the shares make %.4g%%; expected 100%%", all->sum * 100);
	else if (all->sum <= 0 && (r->s->steps || r->s->closed))
		conf_errors_add(r->errors, list->name_mark, "no feature has a share; expected one above 0");
}

static void read_features(struct reader *r, const struct node *list)
{
	struct scenario *s = r->s;
	size_t before = conf_errors_count(r->errors);
	struct share_sum all = { 0 };
	struct scenario_feature *f;
	const struct node *n;
	bool events = false;

	for (n = list ? list->child : NULL; n; n = n->next) {
		if (s->features == SCENARIO_FEATURES) {
			conf_errors_add(r->errors, n->mark, "too many features; expected at most %d", SCENARIO_FEATURES);
			break;
		}
		f = &s->feature[s->features++];
		if (!read_block(r, BLOCK_FEATURE, n, f))
			continue;
		read_share(r, node_get(n, "share"), f, &all);
		read_success(r, node_get(n, "success"), f);
		check_feature(r, n, f);
		events = events || f->does == VERB_EVENTS;
	}
	if (!list || conf_errors_count(r->errors) > before) /* what was not read would be missed */
		return;
	check_shares(r, list, &all);
	if (s->event_streams && !events)
		conf_errors_add(r->errors, list->name_mark, "\"event_streams\" without a feature for them; expected one that does \"events\"");
}

/* ---- load ---- */

static void read_steps(struct reader *r, const struct node *list)
{
	struct scenario *s = r->s;
	char a[32], b[32];
	const struct node *n;
	int64_t end = 0;

	for (n = list ? list->child : NULL; n; n = n->next) {
		struct scenario_step *p = &s->step[s->steps];

		if (s->steps == SCENARIO_STEPS) {
			conf_errors_add(r->errors, n->mark, "too many steps; expected at most %d", SCENARIO_STEPS);
			return;
		}
		*p = (struct scenario_step){ .from = end, .until = s->duration, .end_rate = -1 };
		if (!read_block(r, BLOCK_STEP, n, p))
			continue;
		if (p->end_rate < 0)
			p->end_rate = p->rate;
		if (p->from < end)
			conf_errors_add(r->errors, n->mark, "the step begins at %s, before the one before it ends (%s); expected steps one after "
					"the other", time_text(p->from, a, sizeof(a)), time_text(end, b, sizeof(b)));
		else if (p->until <= p->from)
			conf_errors_add(r->errors, n->mark, "the step ends at %s, not after its beginning (%s); expected a later \"until\"",
					time_text(p->until, a, sizeof(a)), time_text(p->from, b, sizeof(b)));
		else if (p->until > s->duration)
			conf_errors_add(r->errors, n->mark, "the step ends at %s, after the run (%s); expected a longer \"duration\" or an earlier end",
					time_text(p->until, a, sizeof(a)), time_text(s->duration, b, sizeof(b)));
		end = p->until > end ? p->until : end;
		s->steps++;
	}
}

static void read_load(struct reader *r, const struct node *n)
{
	struct scenario *s = r->s;
	const struct node *steps = read_list(r, node_get(n, "steps"), "steps", "a list of steps");
	double most = SCENARIO_SAMPLES_MAX;

	if (!read_block(r, BLOCK_LOAD, n, s) || !n)
		return;
	read_steps(r, steps);
	if (!steps == !s->closed)
		conf_errors_add(r->errors, n->name_mark, steps ? "both \"steps\" and \"closed\"; expected one of them" :
				"neither \"steps\" nor \"closed\"; expected one of them");
	else if (pace_total(s) > most)
		conf_errors_add(r->errors, n->name_mark, "the steps make %.0f requests; expected at most %.0f", pace_total(s), most);
	if (s->event_streams > (uint64_t)s->connections * (s->streams - 1))
		conf_errors_add(r->errors, n->name_mark, "%u event streams on %u connections of %u streams; expected room for them and one request each",
				s->event_streams, s->connections, s->streams);
	if (s->connections < s->threads)
		conf_errors_add(r->errors, n->name_mark, "%u connections for %u threads; expected one each at least", s->connections, s->threads);
}

/* ---- the cast ---- */

static void check_datacenter(struct reader *r, struct conf_mark at, const struct scenario_datacenter *d)
{
	const struct scenario_datacenter *other;
	int i;

	for (other = r->s->datacenter; other < d; other++) {
		if (!strcmp(other->name, d->name))
			conf_errors_add(r->errors, at, "a second datacenter \"%s\"; expected names that differ", d->name);
	}
	for (i = 0; i < PLACES; i++) {
		if (!strcmp(d->name, scenario_places[i]))
			conf_errors_add(r->errors, at, "a datacenter called \"%s\"; expected another name: faults of something else are told by it", d->name);
	}
}

/* Of a target: nothing but their names is known. */
static void read_names(struct reader *r, const struct node *list)
{
	struct scenario *s = r->s;
	struct scenario_datacenter *d;
	const struct node *n;

	if (!read_list(r, list, "datacenters", "a list of names"))
		return;
	for (n = list->child; n; n = n->next) {
		if (s->datacenters == SCENARIO_DATACENTERS) {
			conf_errors_add(r->errors, n->mark, "too many datacenters; expected at most %d", SCENARIO_DATACENTERS);
			return;
		}
		d = &s->datacenter[s->datacenters];
		if (!node_want(r->errors, n, NODE_SCALAR, "datacenters", "a datacenter's name"))
			continue;
		if (!value_name_ok(n->text, 1, sizeof(d->name) - 1)) {
			conf_errors_add(r->errors, n->mark, "a datacenter \"%.80s\"; expected a name of letters, digits, - _ .", n->text);
			continue;
		}
		snprintf(d->name, sizeof(d->name), "%s", n->text);
		check_datacenter(r, n->mark, d);
		s->datacenters++;
	}
}

static void read_datacenters(struct reader *r, const struct node *list)
{
	struct scenario *s = r->s;
	struct scenario_datacenter *d;
	unsigned endpoints = 0;
	const struct node *n;

	for (n = list ? list->child : NULL; n; n = n->next) {
		if (s->datacenters == SCENARIO_DATACENTERS) {
			conf_errors_add(r->errors, n->mark, "too many datacenters; expected at most %d", SCENARIO_DATACENTERS);
			return;
		}
		d = &s->datacenter[s->datacenters];
		if (!read_block(r, BLOCK_DATACENTER, n, d))
			continue;
		check_datacenter(r, n->mark, d);
		endpoints += d->endpoints;
		s->datacenters++;
	}
	if (endpoints > SCENARIO_ENDPOINTS)
		conf_errors_add(r->errors, list->name_mark, "%u endpoints over all datacenters; expected at most %d", endpoints, SCENARIO_ENDPOINTS);
}

struct text {
	char out[16384];
	size_t used;
	bool full;
};

static void put(struct text *t, const char *piece)
{
	size_t len = strlen(piece);

	t->full = t->full || t->used + len >= sizeof(t->out);
	if (t->full)
		return;
	memcpy(t->out + t->used, piece, len + 1);
	t->used += len;
}

static void put_quoted(struct text *t, const char *value)
{
	char one[2] = { 0 };

	put(t, "\"");
	for (; *value; value++) {
		one[0] = *value;
		if (*value == '"' || *value == '\\')
			put(t, "\\");
		put(t, one);
	}
	put(t, "\"");
}

/* In flow style, so that each key of the file is one line. */
static void put_node(struct text *t, const struct node *n)
{
	const struct node *c;

	if (n->kind == NODE_SCALAR) {
		if (n->text)
			put_quoted(t, n->text);
		return;
	}
	put(t, n->kind == NODE_MAP ? "{" : "[");
	for (c = n->child; c; c = c->next) {
		if (n->kind == NODE_MAP) {
			put_quoted(t, c->name);
			put(t, ": ");
		}
		put_node(t, c);
		put(t, c->next ? ", " : "");
	}
	put(t, n->kind == NODE_MAP ? "}" : "]");
}

static const char *read_extra(struct reader *r, const struct node *n)
{
	static struct text t; /* too large for the stack */
	const struct node *c;

	if (!n || !node_want(r->errors, n, NODE_MAP, "extra", "a mapping of keys of firebreak.yaml"))
		return NULL;
	t = (struct text){ .used = 0 };
	for (c = n->child; c; c = c->next) {
		put(&t, c->name);
		put(&t, ": ");
		put_node(&t, c);
		put(&t, "\n");
	}
	if (t.full)
		conf_errors_add(r->errors, n->name_mark, "\"extra\" is too long; expected at most %zu octets", sizeof(t.out));
	return read_keep(r, t.out);
}

static bool names_fault_of_wire(const struct node *timeline)
{
	const struct node *n, *kind;
	int i;

	for (n = timeline ? timeline->child : NULL; n; n = n->next) {
		kind = node_get(node_get(n, "fault"), "kind");
		for (i = 0; i < SFAULTS && kind && kind->kind == NODE_SCALAR && kind->text; i++) {
			if (scenario_faults[i].who == WHO_WIRE && !strcmp(scenario_faults[i].word, kind->text))
				return true;
		}
	}
	return false;
}

static void read_cast(struct reader *r, const struct node *root)
{
	const struct node *target = node_get(root, "target"), *dcs = node_get(root, "datacenters"), *proxy = node_get(root, "proxy");
	struct scenario *s = r->s;

	s->own_cast = !target;
	if (target) {
		read_block(r, BLOCK_TARGET, target, s);
		read_names(r, node_get(target, "datacenters"));
	}
	if (target && (dcs || proxy))
		conf_errors_add(r->errors, (dcs ? dcs : proxy)->name_mark, "both \"target\" and \"%s\"; expected a target, or a cast of the "
				"rehearsal's own", dcs ? "datacenters" : "proxy");
	if (!target && !dcs)
		conf_errors_add(r->errors, root->mark, "neither \"target\" nor \"datacenters\"; expected one of them");
	s->proxy.wire = names_fault_of_wire(node_get(root, "timeline"));
	read_block(r, BLOCK_PROXY, proxy, s);
	s->proxy.extra = read_extra(r, node_get(proxy, "extra"));
	read_datacenters(r, read_list(r, dcs, "datacenters", "a list of datacenters"));
}

/* ---- windows and assertions ---- */

static void read_windows(struct reader *r, const struct node *map)
{
	struct scenario *s = r->s;
	struct scenario_window *w;
	const struct node *n;
	char a[32], b[32];

	if (!map || !node_want(r->errors, map, NODE_MAP, "windows", "a mapping of names to { from, until }"))
		return;
	for (n = map->child; n; n = n->next) {
		if (s->windows == SCENARIO_WINDOWS) {
			conf_errors_add(r->errors, n->name_mark, "too many windows; expected at most %d", SCENARIO_WINDOWS);
			return;
		}
		w = &s->window[s->windows++];
		if (!value_name_ok(n->name, 1, sizeof(w->name) - 1))
			conf_errors_add(r->errors, n->name_mark, "a window \"%.80s\"; expected a name of letters, digits, - _ .", n->name);
		snprintf(w->name, sizeof(w->name), "%s", n->name);
		if (node_get(map, n->name) != n)
			conf_errors_add(r->errors, n->name_mark, "a second window \"%s\"; expected names that differ", w->name);
		if (!read_block(r, BLOCK_WINDOW, n, w))
			continue;
		if (w->until <= w->from || w->until > s->duration)
			conf_errors_add(r->errors, n->mark, "the window ends at %s; expected after its beginning and within the run (%s)",
					time_text(w->until, a, sizeof(a)), time_text(s->duration, b, sizeof(b)));
	}
}

static void read_assertions(struct reader *r, const struct node *list)
{
	struct scenario *s = r->s;
	const struct node *n;
	char why[JUDGE_WHY];

	if (!read_list(r, list, "assert", "a list of assertions"))
		return;
	for (n = list->child; n; n = n->next) {
		if (s->assertions == SCENARIO_ASSERTIONS) {
			conf_errors_add(r->errors, n->mark, "too many assertions; expected at most %d", SCENARIO_ASSERTIONS);
			return;
		}
		if (!node_want(r->errors, n, NODE_SCALAR, "assert", "an assertion such as \"lost == 0\""))
			continue;
		if (!judge_parse(s, n->text, why))
			conf_errors_add(r->errors, n->mark, "\"%.120s\": %s", n->text, why);
		s->assertion[s->assertions] = read_keep(r, n->text);
		s->assertion_line[s->assertions++] = n->mark.line;
	}
}

/* ---- the file ---- */

static void read_scenario(struct reader *r, const struct node *root)
{
	static const char *const needed[] = { "load", "features" };
	size_t i;

	read_block(r, BLOCK_TOP, root, r->s);
	if (root->kind != NODE_MAP)
		return;
	for (i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		if (!node_get(root, needed[i]))
			conf_errors_add(r->errors, root->mark, "\"%s\" is missing in the scenario", needed[i]);
	}
	read_cast(r, root);
	read_load(r, node_get(root, "load"));
	read_features(r, read_list(r, node_get(root, "features"), "features", "a list of features"));
	read_windows(r, node_get(root, "windows"));
	read_timeline(r, read_list(r, node_get(root, "timeline"), "timeline", "a list of events"));
	read_assertions(r, node_get(root, "assert"));
	if (r->no_memory)
		conf_errors_add(r->errors, (struct conf_mark){ 0, 0 }, "out of memory");
}

struct scenario *scenario_load(const char *path, FILE *errors)
{
	struct kept *k = calloc(1, sizeof(*k));
	struct reader r = { .errors = conf_errors_create() };
	const char *slash = strrchr(path, '/');
	struct node *root = NULL;
	char *text = NULL;
	size_t len;

	if (k && r.errors && (text = yaml_read(path, &len, r.errors)))
		root = yaml_parse(text, len, &r.tree, r.errors);
	if (root) {
		r.s = &k->s;
		r.keep = &k->arena;
		r.folder = arena_strndup(&r.tree, path, slash ? (size_t)(slash - path) + 1 : 0);
		k->s.path = read_keep(&r, path);
		read_scenario(&r, root);
	}
	free(text);
	arena_finish(&r.tree);
	if (root && !conf_errors_count(r.errors)) {
		conf_errors_destroy(r.errors);
		return &k->s;
	}
	if (r.errors)
		conf_errors_print(r.errors, path, errors);
	conf_errors_destroy(r.errors);
	if (k)
		scenario_free(&k->s);
	return NULL;
}

void scenario_free(struct scenario *s)
{
	struct kept *k = (struct kept *)s;

	if (!k)
		return;
	arena_finish(&k->arena);
	free(k);
}

void scenario_quicken(struct scenario *s, double factor)
{
	unsigned i;

#define SHORTER(t) ((t) = (int64_t)((double)(t) / factor))
	SHORTER(s->duration);
	SHORTER(s->proxy.restore_hold);
	SHORTER(s->proxy.restore_over);
	s->scale *= factor;
	for (i = 0; i < s->steps; i++) {
		SHORTER(s->step[i].from);
		SHORTER(s->step[i].until);
	}
	for (i = 0; i < s->events; i++)
		SHORTER(s->event[i].at);
	for (i = 0; i < s->windows; i++) {
		SHORTER(s->window[i].from);
		SHORTER(s->window[i].until);
	}
#undef SHORTER
}
