/* SPDX-License-Identifier: MIT */
/*
 * Connections to the target. Each slot has one that takes requests; one that is leaving
 * (GOAWAY, or its turn to be renewed) finishes what is under way beside its successor.
 * A lost connection is opened again after RECONNECT and up to as much again at random;
 * its requests have failed: a client that tried again would hide what the proxy did.
 */
#include "generator.h"

#include <stdlib.h>

#define RECONNECT (100 * CLOCK_MS)
#define CONNECT_TIMEOUT_MS 3000

static void open_now(struct slot *slot)
{
	struct generator *g = slot->g;
	struct connection *c = calloc(1, sizeof(*c));

	if (c) {
		*c = (struct connection){ .g = g, .slot = slot };
		c->session = h2_connect(&g->h2, &g->target, g->tls, g->host, CONNECT_TIMEOUT_MS, c);
	}
	if (c && c->session) {
		slot->now = c;
		atomic_fetch_add_explicit(&g->a->log->open_connections, 1, memory_order_relaxed);
		return;
	}
	free(c);
	net_timer_arm(g->loop, &slot->timer, clock_now() + RECONNECT);
}

static void on_timer(struct net_timer *t)
{
	struct slot *slot = list_entry(t, struct slot, timer);

	if (!slot->now && !slot->g->stopping)
		open_now(slot);
}

static bool takes_one(const struct connection *c)
{
	return c && !c->leaving && h2_session_open(c->session) && h2_session_room(c->session);
}

struct connection *connect_usable(struct generator *g)
{
	unsigned i;

	if (takes_one(g->vacant))
		return g->vacant;
	for (i = 0; i < g->slots; i++) {
		struct connection *c = g->slot[g->turn++ % g->slots].now;

		if (takes_one(c))
			return c;
	}
	return NULL;
}

static void close_when_idle(struct connection *c)
{
	if (c->leaving && !c->requests && (c->ours || !c->followers))
		h2_close(c->session, FAULT_NONE);
}

/* The slot goes on with another connection. */
static void leave(struct connection *c)
{
	c->leaving = true;
	if (c->slot->now != c)
		return;
	c->slot->now = NULL;
	if (!c->g->stopping)
		open_now(c->slot);
}

void connect_renew(struct generator *g, unsigned n)
{
	unsigned i;

	for (i = 0; n && i < g->slots; i++) {
		struct connection *c = g->slot[g->turn++ % g->slots].now;

		if (!c || !h2_session_open(c->session))
			continue;
		c->ours = true;
		leave(c);
		close_when_idle(c);
		n--;
	}
}

void connect_ended(struct connection *c)
{
	close_when_idle(c);
}

/* ---- what the session says ---- */

static void on_ready(struct h2_stream *st, uint32_t what)
{
	struct stream_user *user = st->user;

	user->on_ready(st, what);
}

static void on_room(void *owner)
{
	struct connection *c = owner;

	if (takes_one(c))
		request_send_waiting(c->g, c);
}

static void on_open(void *owner)
{
	struct connection *c = owner;

	follow_connected(c->slot);
	on_room(c);
}

static void on_goaway(void *owner, uint32_t error)
{
	struct connection *c = owner;

	(void)error;
	if (c->leaving)
		return;
	leave(c);
	close_when_idle(c);
}

static void on_closed(void *owner, enum fault fault)
{
	struct connection *c = owner;
	struct generator *g = c->g;

	atomic_fetch_sub_explicit(&g->a->log->open_connections, 1, memory_order_relaxed);
	if (c->slot->now == c) {
		c->slot->now = NULL;
		net_timer_arm(g->loop, &c->slot->timer, clock_now() + (int64_t)(RECONNECT * (1 + generator_random(g))));
	}
	free(c);
}

bool connect_start(struct generator *g)
{
	unsigned i;

	h2_context_init(&g->h2, g->loop, &g->limits, false);
	g->h2.handler.on_ready = on_ready;
	g->h2.owner = (struct h2_owner){ .on_open = on_open, .on_room = on_room, .on_goaway = on_goaway, .on_closed = on_closed };
	g->slot = calloc(g->slots, sizeof(*g->slot));
	for (i = 0; g->slot && i < g->slots; i++) {
		g->slot[i].g = g;
		list_init(&g->slot[i].followers);
		net_timer_init(&g->slot[i].timer, on_timer);
		open_now(&g->slot[i]);
	}
	return g->slot;
}

void connect_stop(struct generator *g)
{
	struct list *n;

	for (n = g->h2.sessions.next; n != &g->h2.sessions; n = n->next) {
		struct h2_session *s = h2_session_from_node(n);
		struct connection *c = h2_session_owner(s);

		c->ours = true;
		h2_close(s, FAULT_NONE);
	}
}
