/* SPDX-License-Identifier: MIT */
/*
 * What befalls the cast, at its times, and what was seen of it: faults, heals, the
 * operator's words, the proxy's mode and the states of its datacenters as marks. One timer
 * for the next event; the proxy is asked a few times a second.
 */
#include <stdlib.h>
#include <string.h>

#include "firebreak/clock.h"
#include "run.h"
#include "watch.h"

#define MARKS_MAX 4096
#define LOOK      (100 * CLOCK_MS)

struct timeline {
	struct net_loop *loop;
	const struct scenario *s;
	struct cast *cast;
	int64_t start;
	struct net_timer timer;
	unsigned next;                      /* event */
	uint64_t in_force[SCENARIO_EVENTS]; /* endpoints on which an event's fault is in force */
	struct watch *watch;
	char mode[32], states[SCENARIO_DATACENTERS][24];
	char force[256], trouble[300];
	size_t marks;
	struct mark mark[MARKS_MAX];
};

static void note(struct timeline *t, char kind, const char *text)
{
	struct mark *m;

	if (t->marks == MARKS_MAX)
		return;
	m = &t->mark[t->marks++];
	m->at = clock_now() - t->start;
	m->kind = kind;
	snprintf(m->text, sizeof(m->text), "%.119s", text);
}

static void complain(struct timeline *t, const char *text)
{
	note(t, 'n', text);
	if (!*t->trouble)
		snprintf(t->trouble, sizeof(t->trouble), "%s", text);
}

static void on_say(void *user, char kind, bool bad, const char *text)
{
	if (bad)
		complain(user, text);
	else
		note(user, kind, text);
}

/* ---- the proxy's view ---- */

static void on_looked(void *arg)
{
	struct timeline *t = arg;
	const char *mode = watch_mode(t->watch), *name, *state;
	char text[120];
	size_t i;

	/* One that does not answer at once is busy, not in another mode. */
	if (*mode != '?' && strcmp(mode, t->mode) != 0) {
		snprintf(t->mode, sizeof(t->mode), "%s", mode);
		note(t, 'm', mode);
	}
	for (i = 0; i < SCENARIO_DATACENTERS && watch_datacenter(t->watch, i, &name, &state); i++) {
		if (!strcmp(state, t->states[i]))
			continue;
		snprintf(t->states[i], sizeof(t->states[i]), "%s", state);
		snprintf(text, sizeof(text), "%s %s", name, state);
		note(t, 'd', text);
	}
}

/* ---- events ---- */

/* A fault healed, or put in force anew, is no longer in force there as it was. */
static void end_earlier(struct timeline *t, const struct scenario_event *e)
{
	const struct scenario_event *old;
	unsigned i;

	for (i = 0; i < t->next; i++) {
		old = &t->s->event[i];
		if (old->fault == e->fault && old->datacenter == e->datacenter)
			t->in_force[i] &= ~e->endpoints;
	}
}

static void print_force(struct timeline *t)
{
	size_t n = 0;
	unsigned i;

	t->force[0] = '\0';
	for (i = 0; i < t->s->events && n < sizeof(t->force); i++) {
		if (t->in_force[i])
			n += (size_t)snprintf(t->force + n, sizeof(t->force) - n, "%s%s", n ? ", " : "", t->s->event[i].label);
	}
}

static void carry_out(struct timeline *t, const struct scenario_event *e)
{
	char why[200], text[300];
	bool ok;

	if (e->action == ACTION_OPERATOR) {
		ok = cast_operator(t->cast, e->operator, why);
		note(t, 'o', e->operator);
	} else {
		ok = cast_fault(t->cast, e, why);
		end_earlier(t, e);
		if (ok && e->action == ACTION_FAULT && !scenario_momentary(e->fault, e->datacenter))
			t->in_force[e - t->s->event] = e->endpoints;
		print_force(t);
		note(t, e->action == ACTION_FAULT ? 'f' : 'h', e->label);
	}
	if (ok)
		return;
	snprintf(text, sizeof(text), "line %d: %s", e->line, why);
	complain(t, text);
}

static void arm(struct timeline *t)
{
	if (t->next < t->s->events)
		net_timer_arm(t->loop, &t->timer, t->start + t->s->event[t->next].at);
}

static void on_time(struct net_timer *timer)
{
	struct timeline *t = list_entry(timer, struct timeline, timer);
	int64_t now = clock_now();

	while (t->next < t->s->events && t->start + t->s->event[t->next].at <= now) {
		carry_out(t, &t->s->event[t->next]);
		t->next++;
	}
	arm(t);
}

struct timeline *timeline_start(struct net_loop *loop, const struct scenario *s, struct cast *c, int64_t start)
{
	struct timeline *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->loop = loop;
	t->s = s;
	t->cast = c;
	t->start = start;
	if (cast_admin(c) && !(t->watch = watch_create(loop, cast_admin(c), LOOK, on_looked, t))) {
		free(t);
		return NULL;
	}
	cast_follow(c, loop, on_say, t);
	net_timer_init(&t->timer, on_time);
	arm(t);
	return t;
}

/* ---- the end ---- */

/* Processes of the proxy that died, from what its supervisor wrote: a crash is a finding,
 * even if nobody noticed. Not those of the scenario's victims. */
static void look_for_crashes(struct timeline *t)
{
	char path[160], line[4096], text[300];
	const char *pid;
	FILE *f;

	snprintf(path, sizeof(path), "%s/firebreak.log", cast_folder(t->cast));
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		pid = strstr(line, "\"pid\":\"");
		if (strstr(line, "\"process.ended\"") && !strstr(line, "\"exit 0\"") && !(pid && cast_struck(t->cast, (pid_t)strtol(pid + 7, NULL, 10)))) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(text, sizeof(text), "a process of the proxy died: %.250s", line);
			complain(t, text);
		}
	}
	if (f)
		fclose(f);
}

void timeline_stop(struct timeline *t)
{
	net_timer_disarm(&t->timer);
	watch_destroy(t->watch);
	t->watch = NULL;
	cast_follow(t->cast, t->loop, NULL, NULL);
	look_for_crashes(t);
}

void timeline_destroy(struct timeline *t)
{
	free(t);
}

const struct mark *timeline_marks(const struct timeline *t, size_t *count)
{
	*count = t->marks;
	return t->mark;
}

const char *timeline_mode(const struct timeline *t)
{
	return *t->mode ? t->mode : "?";
}

const char *timeline_version(const struct timeline *t)
{
	return watch_version(t->watch);
}

const char *timeline_datacenters(const struct timeline *t)
{
	return watch_datacenters(t->watch);
}

const char *timeline_in_force(const struct timeline *t)
{
	return t->force;
}

const char *timeline_trouble(const struct timeline *t)
{
	return *t->trouble ? t->trouble : NULL;
}
