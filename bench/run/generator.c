/* SPDX-License-Identifier: MIT */
/*
 * One generating process: its loop, when it sends, when it ends.
 *
 * The pacer: a timerfd is set to the next arrival and whatever is due when it fires is
 * sent, but not more often than every PACE_LEAST: at high rates a few arrivals share a
 * turn instead of each having its own.
 */
#include "generator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../bench.h"
#include "firebreak/crypt.h"

#define PACE_LEAST (100 * CLOCK_MS / 1000)
#define TICK       (10 * CLOCK_MS)
#define GRACE      (2 * CLOCK_SEC)

int64_t generator_now(const struct generator *g)
{
	return clock_tick() - g->start;
}

double generator_random(struct generator *g)
{
	return (double)(pace_roll(&g->random) >> 11) / 9007199254740992.0;
}

uint8_t generator_datacenter(const struct generator *g, const struct h2_head *h)
{
	static const char name[] = "x-datacenter";
	unsigned i, d;

	for (i = 0; i < h->count; i++) {
		const struct h2_field *f = &h->field[i];

		if (f->token != H2_OTHER || f->name_len != sizeof(name) - 1 || memcmp(f->name, name, f->name_len) != 0)
			continue;
		for (d = 0; d < g->s->datacenters; d++) {
			const char *known = g->s->datacenter[d].name;

			if (strlen(known) == f->value_len && !memcmp(known, f->value, f->value_len))
				return (uint8_t)d;
		}
	}
	return SAMPLE_NOWHERE;
}

/* ---- open loop ---- */

static void set_timer(struct generator *g, int64_t at)
{
	struct itimerspec t = { .it_value = { .tv_sec = at / CLOCK_SEC, .tv_nsec = at % CLOCK_SEC } };

	timerfd_settime(g->timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void pace(struct generator *g)
{
	int64_t now = clock_tick(), due;

	while (!g->ending && g->next != INT64_MAX && g->start + g->next <= now) {
		request_issue(g, g->next);
		g->next = pace_next(&g->pace);
	}
	if (g->ending || g->next == INT64_MAX)
		return;
	due = g->start + g->next;
	set_timer(g, due > now + PACE_LEAST ? due : now + PACE_LEAST);
}

static void on_due(void *arg)
{
	struct generator *g = arg;
	uint64_t times;

	if (read(g->timer_fd, &times, sizeof(times)) < 0 && errno != EAGAIN)
		return;
	pace(g);
}

/* ---- closed loop ---- */

/* The beginning, and whatever ended without a stream. */
static void fill_up(struct generator *g)
{
	int64_t now;
	unsigned i;

	if (g->ending || g->under_way >= g->closed)
		return;
	now = generator_now(g);
	for (i = 0; now >= 0 && i < g->closed && g->under_way < g->closed; i++)
		request_issue(g, now);
}

/* Those that one read has ended are followed by as many in one write. */
void generator_go_on(struct generator *g, struct connection *c)
{
	if (g->ending || g->under_way >= g->closed)
		return;
	g->vacant = c;
	request_issue(g, generator_now(g));
	g->vacant = NULL;
}

/* ---- the turn's end ---- */

static void hook(void *arg)
{
	struct generator *g = arg;

	fill_up(g);
	h2_pump_all(&g->h2);
	request_stamp(g);
}

/* ---- what happens all the time ---- */

static void renew(struct generator *g, int64_t now)
{
	if (g->s->handshakes <= 0 || now < g->start || g->ending)
		return;
	if (g->handshakes_at)
		g->handshakes_owed += g->s->handshakes / g->a->of * (double)(now - g->handshakes_at) / 1e9;
	g->handshakes_at = now;
	if (g->handshakes_owed >= 1) {
		connect_renew(g, (unsigned)g->handshakes_owed);
		g->handshakes_owed -= (double)(unsigned)g->handshakes_owed;
	}
}

static void on_tick(struct net_timer *t)
{
	struct generator *g = list_entry(t, struct generator, tick);
	int64_t now = clock_now();

	request_expire(g, now - g->start);
	renew(g, now);
	if (now >= g->end)
		g->ending = true;
	atomic_store_explicit(&g->a->log->under_way, g->under_way, memory_order_relaxed);
	if (g->ending && (list_empty(&g->pending) || (g->grace && now > g->grace)))
		net_loop_stop(g->loop);
	else
		net_timer_arm(g->loop, t, now + TICK);
}

static void on_stop(void *arg)
{
	struct generator *g = arg;

	net_unwatch(g->stop_watch); /* it stays readable */
	g->ending = true;
	g->grace = clock_now() + GRACE;
}

/* ---- its life ---- */

static const char *prepare(struct generator *g, char *why)
{
	const struct scenario *s = g->s;
	unsigned self = g->a->self, of = g->a->of, i;

	bench_limits(&g->limits);
	g->limits.upstream_streams = s->streams;
	g->slots = s->connections / of + (self < s->connections % of);
	g->users = s->users / of + (self < s->users % of);
	g->followers = s->event_streams / of + (self < s->event_streams % of);
	g->closed = s->closed / of + (self < s->closed % of);
	if (!g->users)
		g->users = 1; /* fewer users than generators: some are played twice, each in a room of its own */
	list_init(&g->waiting);
	list_init(&g->pending);
	list_init(&g->fresh);
	list_init(&g->spare);
	g->lane = calloc(g->users, sizeof(*g->lane));
	for (i = 0; g->lane && i < g->users; i++)
		list_init(&g->lane[i].waiting);
	if (!net_addr_parse(&g->target, g->a->target))
		return "the target is not an address";
	snprintf(g->host, sizeof(g->host), "%.*s", (int)strcspn(g->a->authority, ":"), g->a->authority);
	if (g->a->tls && !(g->tls = net_tls_client(g->a->ca, g->a->verify, true, why)))
		return why;
	g->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!g->lane || g->timer_fd < 0 || !net_watch(g->loop, g->timer_fd, on_due, g) ||
	    !(g->stop_watch = net_watch(g->loop, g->a->stop_fd, on_stop, g)))
		return "out of memory or descriptors";
	return NULL;
}

static void begin(struct generator *g)
{
	g->start = g->a->start;
	g->end = g->start + g->s->duration;
	/* Each generator has a sequence of its own; keys differ from those of other runs too. */
	g->random = g->s->seed * UINT64_C(0x9e3779b97f4a7c15) + g->a->self;
	g->run_id = (uint64_t)(clock_wall() / CLOCK_MS);
	pace_init(&g->pace, g->s, g->a->self, g->a->of);
	g->next = pace_next(&g->pace);
	if (!g->closed && g->next != INT64_MAX)
		set_timer(g, g->start + g->next);
	net_timer_init(&g->tick, on_tick);
	net_timer_arm(g->loop, &g->tick, clock_now() + TICK);
	net_loop_hook(g->loop, hook, g);
}

int generator_run(const struct generator_args *a)
{
	struct generator *g = calloc(1, sizeof(*g));
	char why[256];
	const char *error = "out of memory";

	bench_prepare();
	clock_tick();
	if (g && crypt_init() && (g->loop = net_loop_create())) {
		g->a = a;
		g->s = a->s;
		error = prepare(g, why);
	}
	if (!error) {
		begin(g);
		if (connect_start(g) && follow_start(g)) {
			net_loop_run(g->loop);
			g->stopping = true;
			connect_stop(g);
			net_loop_turn(g->loop, 0); /* says goodbye */
			return 0;
		}
		error = "out of memory";
	}
	fprintf(stderr, "firebreak-bench run: a generator could not begin: %s\n", error);
	return 1;
}
