/* SPDX-License-Identifier: MIT */
/*
 * What befalls the cast while it plays. Faults of a process are signals, those of the
 * messenger and of the wire are words over an inherited socket: nothing here waits. With a wire, a
 * process that was killed has its port at the relay refused by the kernel, as its own would be.
 */
#include "cast.h"

#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "firebreak/net.h"
#include "relay.h"

/* How the messenger calls a fault of ours, and its unit in ours. */
static const struct {
	const char *name;
	double scale;
} messenger[SFAULTS] = {
	[SFAULT_LATENCY] = { "latency", 1e-6 },      [SFAULT_ERRORS] = { "error", 1 },           [SFAULT_MUTE] = { "silence", 1 },
	[SFAULT_REFUSE_STREAMS] = { "refuse", 1 },   [SFAULT_RESET] = { "reset", 1 },            [SFAULT_SLOW_BYTES] = { "slow_bytes", 1 },
	[SFAULT_CAPACITY] = { "capacity", 1 },       [SFAULT_GOAWAY] = { "goaway", 1 },          [SFAULT_UNHEALTHY] = { "unhealthy", 1 },
	[SFAULT_DEAF] = { "deaf", 1 },
};

/* ---- faults ---- */

static bool tell_messenger(const struct endpoint *e, enum scenario_fault f)
{
	const struct scenario_datacenter *d = &e->child.c->s->datacenter[e->datacenter];
	double value = e->on[f] ? (scenario_faults[f].valued ? e->value[f] * messenger[f].scale : 1) : 0;
	char text[64];
	int n;

	if (!e->on[f] && f == SFAULT_LATENCY)
		value = d->latency_ms;
	if (!e->on[f] && f == SFAULT_CAPACITY)
		value = d->capacity;
	n = snprintf(text, sizeof(text), "%s=%.6f", messenger[f].name, value);
	return send(e->child.control, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) == n;
}

static bool tell_wire(struct cast *c, const struct endpoint *e, enum scenario_fault f)
{
	struct relay_word w = { .port = e->wire, .fault = (uint16_t)f, .on = e->on[f], .value = e->value[f], .jitter = e->jitter[f] };

	if (f == SFAULT_REFUSE)
		w.on = e->on[f] || e->killed;
	return send(c->relay.control, &w, sizeof(w), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(w);
}

/* A new process, told what is in force on its place. */
static bool start_again(struct cast *c, struct endpoint *e, struct child *ch, char why[200])
{
	enum scenario_fault f;
	bool ok = child_start(ch, why, 200);

	e->again = false;
	for (f = 0; ok && e->datacenter >= 0 && f < SFAULTS; f++) {
		if (scenario_faults[f].who == WHO_MESSENGER && e->on[f])
			ok = tell_messenger(e, f);
	}
	e->killed = !ok;
	if (ok && c->s->proxy.wire)
		tell_wire(c, e, SFAULT_REFUSE);
	return ok;
}

static bool signal_process(struct cast *c, struct endpoint *e, struct child *ch, enum scenario_fault f, char why[200])
{
	bool on = e->on[f];

	if (f == SFAULT_KILL && !on) {
		/* Killed is not ended yet: the kernel takes its time on a busy machine. */
		e->again = !child_gone(ch, NULL);
		return e->again ? ch->meant_to_end : start_again(c, e, ch, why);
	}
	if (!ch->pid) {
		snprintf(why, 200, "%s does not run", ch->name);
		return false;
	}
	if (f == SFAULT_STOP)
		return !kill(ch->pid, on ? SIGSTOP : SIGCONT);
	ch->meant_to_end = true;
	e->killed = true;
	if (c->s->proxy.wire)
		tell_wire(c, e, SFAULT_REFUSE);
	return !kill(ch->pid, SIGKILL);
}

static bool apply(struct cast *c, struct endpoint *e, const struct scenario_event *v, char why[200])
{
	struct child *ch = e == &c->store ? &c->redis : &e->child;
	enum scenario_fault f = v->fault;
	bool ok = false;

	e->on[f] = v->action == ACTION_FAULT;
	e->value[f] = v->value;
	e->jitter[f] = v->jitter;
	snprintf(why, 200, "%s cannot be told", ch->name);
	switch (scenario_faults[f].who) {
	case WHO_PROCESS:
		ok = signal_process(c, e, ch, f, why);
		break;
	case WHO_MESSENGER:
		ok = !ch->pid || tell_messenger(e, f); /* a dead one is told when it lives again */
		break;
	case WHO_WIRE:
		ok = tell_wire(c, e, f);
		if (f == SFAULT_CUT)
			e->on[f] = false;
		break;
	}
	return ok;
}

/* ---- processes of the proxy ---- */

#define ROLES_MAX 64

/* Those of the supervisor's children that call themselves "fb WORD", "fb WORD 0", ...; the one of the least name first. */
static unsigned find_role(const struct cast *c, const char *word, pid_t found[ROLES_MAX])
{
	size_t len = strlen(word);
	char path[64], name[32], least[32] = "";
	unsigned n = 0;
	FILE *children, *f;
	int pid;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)c->proxy.pid, (int)c->proxy.pid);
	children = c->proxy.pid ? fopen(path, "re") : NULL;
	while (children && n < ROLES_MAX && fscanf(children, "%d", &pid) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		f = fopen(path, "re");
		if (f && fgets(name, sizeof(name), f) && !strncmp(name, "fb ", 3) && !strncmp(name + 3, word, len) && !isalpha(name[3 + len])) {
			found[n++] = pid;
			if (n == 1 || strcmp(name, least) < 0) {
				found[n - 1] = found[0];
				found[0] = pid;
				snprintf(least, sizeof(least), "%s", name);
			}
		}
		if (f)
			fclose(f);
	}
	if (children)
		fclose(children);
	return n;
}

/* One is hit; all are healed: who was stopped may have been replaced meanwhile. */
static bool strike(struct cast *c, const struct scenario_event *v, char why[200])
{
	const char *word = scenario_place(c->s, v->datacenter);
	pid_t pid[ROLES_MAX];
	unsigned n = find_role(c, word, pid), i;

	if (v->action == ACTION_HEAL) {
		for (i = 0; i < n; i++)
			kill(pid[i], SIGCONT);
		return true;
	}
	snprintf(why, 200, "the proxy has no process \"%s\"", word);
	if (!n || c->strikes == SCENARIO_EVENTS)
		return false;
	c->struck[c->strikes++] = pid[0];
	return !kill(pid[0], v->fault == SFAULT_KILL ? SIGKILL : SIGSTOP);
}

bool cast_struck(const struct cast *c, pid_t pid)
{
	unsigned i;

	for (i = 0; i < c->strikes && c->struck[i] != pid; i++)
		;
	return i < c->strikes;
}

bool cast_fault(struct cast *c, const struct scenario_event *v, char why[200])
{
	unsigned i, which = 0;
	bool ok = true;

	if (v->datacenter < PLACE_REDIS)
		return strike(c, v, why);
	if (v->datacenter == PLACE_REDIS)
		return apply(c, &c->store, v, why);
	for (i = 0; i < c->endpoints; i++) {
		if (c->endpoint[i].datacenter != v->datacenter)
			continue;
		if (v->endpoints >> which & 1)
			ok = apply(c, &c->endpoint[i], v, why) && ok;
		which++;
	}
	return ok;
}

/* ---- ends ---- */

static void on_relay(void *arg)
{
	struct cast *c = arg;
	struct relay_word w;

	while (recv(c->relay.control, &w, sizeof(w), MSG_DONTWAIT) == (ssize_t)sizeof(w))
		; /* it says what is in force; nobody asked */
}

static void on_ended(struct child *ch, int status)
{
	bool meant = ch->meant_to_end;
	struct cast *c = ch->c;
	char words[160], text[300];

	if (ch == &c->relay && c->relay_watch) {
		net_unwatch(c->relay_watch);
		c->relay_watch = NULL;
	}
	if (meant && ch->place && ch->place->again && !start_again(c, ch->place, ch, text) && c->say)
		c->say(c->user, 'n', true, text);
	if (meant || !c->say)
		return;
	child_last_words(ch, words, sizeof(words));
	snprintf(text, sizeof(text), "%s ended by itself (%s %d): %s", ch->name, WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), words);
	c->say(c->user, 'n', true, text);
}

void cast_follow(struct cast *c, struct net_loop *loop, void (*say)(void *user, char kind, bool bad, const char *text), void *user)
{
	struct child *list[CHILDREN_MAX];
	unsigned n = cast_children(c, list), i;

	c->loop = loop;
	c->say = say;
	c->user = user;
	for (i = 0; i < n; i++) {
		list[i]->ended = on_ended;
		child_watch(list[i]);
	}
	if (c->relay.pid && !c->relay_watch)
		c->relay_watch = net_watch(loop, c->relay.control, on_relay, c);
}

/* ---- the operator ---- */

static void on_command_ended(struct child *ch, int status)
{
	char words[160], text[300];

	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return;
	child_last_words(ch, words, sizeof(words));
	snprintf(text, sizeof(text), "the operator's command failed: %.100s: %s", ch->about, words);
	if (ch->c->say)
		ch->c->say(ch->c->user, 'n', true, text);
}

/* Words as a shell would see them, quotes of both kinds included. */
static void add_words(struct child *ch, const char *p)
{
	char word[256], quote;
	size_t n;

	for (;;) {
		p += strspn(p, " \t");
		if (!*p)
			return;
		for (n = 0, quote = 0; *p && (quote || !strchr(" \t", *p)); p++) {
			if (quote ? *p == quote : *p == '"' || *p == '\'')
				quote = quote ? 0 : *p;
			else if (n + 1 < sizeof(word))
				word[n++] = *p;
		}
		word[n] = '\0';
		child_arg(ch, "%s", word);
	}
}

bool cast_operator(struct cast *c, const char *words, char why[200])
{
	struct child *ch = NULL;
	char name[24];
	unsigned i;

	for (i = 0; i < COMMANDS_MAX && !ch; i++) {
		if (!c->command[i].pid)
			ch = &c->command[i];
	}
	if (!ch || !cast_admin(c)) {
		snprintf(why, 200, ch ? "the admin side is not known" : "too many commands under way");
		return false;
	}
	child_close(ch);
	snprintf(name, sizeof(name), "operator-%u", i);
	child_init(ch, c, name);
	ch->ended = on_command_ended;
	ch->about = words;
	child_arg(ch, "%s", c->ctl);
	child_arg(ch, "--address=%s", cast_admin(c));
	if (cast_token(c))
		child_arg(ch, "--token-file=%s", cast_token(c));
	/* What the words say again counts. */
	child_arg(ch, "--for=1h");
	child_arg(ch, "--reason=rehearsal %s", c->s->name);
	child_arg(ch, "--author=rehearsal");
	add_words(ch, words);
	return child_start(ch, why, 200);
}
