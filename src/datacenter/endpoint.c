/* SPDX-License-Identifier: MIT */
/*
 * An endpoint as one worker sees it: its addresses and its links.
 *
 *   connecting ──TCP, TLS──▶ open, PING sent ──PONG──▶ proven ──GOAWAY / idle──▶ leaving ──▶ gone
 *        └───────────────────────┴── refused, silent, closed, nonsense ─────────────────────▶ gone
 *
 * After a failure the endpoint is `proving`: the choice avoids it until a PING sent
 * afterwards is answered, so that requests do not pay for finding out. One
 * link is filled before the next is opened; spares wait with a finished handshake.
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "firebreak/log.h"
#include "name.h"

#define RESOLVE_AGAIN   CLOCK_SEC
#define RESOLVE_TIMEOUT 2000
#define BACKOFF_LEAST   (250 * CLOCK_MS)
#define BACKOFF_MOST    (2 * CLOCK_SEC)
#define SPARE_PACE      (100 * CLOCK_MS) /* between two spares: a peer that sends everybody away is not stormed */

/* ---- making and ending ---- */

static bool same(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool copy(char **out, const char *text)
{
	*out = text ? strdup(text) : NULL;
	return *out || !text;
}

struct endpoint *endpoint_create(struct dc_pool *p, const struct conf *c, unsigned index)
{
	const struct conf_endpoint *e = &c->endpoint[index];
	const struct conf_datacenter *dc = &c->datacenter[e->datacenter];
	struct endpoint *ep = calloc(1, sizeof(*ep));
	bool ok;

	if (!ep)
		return NULL;
	ep->pool = p;
	ep->index = (int)index;
	ep->calm = ep->grpc = dc->check_type == CONF_CHECK_GRPC;
	ep->secure = dc->tls;
	ep->verify = dc->verify;
	ep->streams = SIZE_MAX;
	list_init(&ep->node);
	list_init(&ep->links);
	ok = copy(&ep->datacenter, dc->name) && copy(&ep->address, e->address) && copy(&ep->ca, dc->ca);
	ep->sni = dc->server_name ? strdup(dc->server_name) : name_of_address(e->address);
	if (!ok || !ep->sni) {
		endpoint_destroy(ep);
		return NULL;
	}
	ep->numeric = net_addr_parse(&ep->addr[0], ep->address);
	ep->addrs = ep->numeric;
	return ep;
}

void endpoint_destroy(struct endpoint *ep)
{
	if (!ep)
		return;
	net_resolve_cancel(ep->resolving);
	net_tls_put(ep->tls);
	list_remove(&ep->node);
	free(ep->datacenter);
	free(ep->address);
	free(ep->sni);
	free(ep->ca);
	free(ep);
}

bool endpoint_matches(const struct endpoint *ep, const struct conf *c, unsigned index)
{
	const struct conf_endpoint *e = &c->endpoint[index];
	const struct conf_datacenter *dc = &c->datacenter[e->datacenter];
	char *sni;
	bool named;

	if (!same(ep->datacenter, dc->name) || !same(ep->address, e->address) || ep->secure != dc->tls)
		return false;
	if (!dc->tls)
		return true;
	/* A link trusted under other rules is another endpoint's. */
	sni = dc->server_name ? strdup(dc->server_name) : name_of_address(e->address);
	named = same(ep->sni, sni);
	free(sni);
	return named && ep->verify == dc->verify && same(ep->ca, dc->ca);
}

void link_leave(struct link *l)
{
	if (l->leaving)
		return;
	l->leaving = true;
	if (h2_session_open(l->h2))
		h2_shutdown(l->h2);
	else if (!h2_session_streams(l->h2))
		h2_close(l->h2, FAULT_UPSTREAM_GONE);
}

void endpoint_leave(struct endpoint *ep)
{
	struct list *node, *next;

	ep->index = -1;
	net_resolve_cancel(ep->resolving);
	ep->resolving = NULL;
	list_append(&ep->pool->leaving, &ep->node);
	for (node = ep->links.next; node != &ep->links; node = next) {
		next = node->next;
		link_leave(list_entry(node, struct link, node));
	}
	if (!ep->count)
		endpoint_destroy(ep);
}

/* ---- what is known about it ---- */

void endpoint_failed(struct endpoint *ep, enum fault fault)
{
	struct dc_pool *p = ep->pool;
	struct board_evidence *e;
	int64_t now = clock_now();

	if (ep->index < 0)
		return;
	e = &p->part->endpoint[ep->index];
	e->last_fault = fault;
	if (fault == FAULT_UPSTREAM_SILENT)
		e->silences++;
	else
		e->faults++;
	if (ep->addrs > 1)
		ep->at = (ep->at + 1) % ep->addrs;
	if (ep->resolve_at > now + RESOLVE_AGAIN)
		ep->resolve_at = now + RESOLVE_AGAIN;
	dc_local_failed(&p->local, (unsigned)ep->index, now);
	dc_local_avoid(&p->local, (unsigned)ep->index, NEVER); /* until proven */
	if (!ep->proving) {
		/* The first new try comes at once: it may have been that link alone. */
		ep->backoff = 0;
	} else if (now > ep->failed_at && now - ep->failed_at >= ep->backoff) {
		ep->backoff = ep->backoff ? ep->backoff * 2 : BACKOFF_LEAST;
		if (ep->backoff > BACKOFF_MOST)
			ep->backoff = BACKOFF_MOST;
	}
	ep->proving = true;
	ep->failed_at = now;
	if (ep->connect_at < now + ep->backoff)
		ep->connect_at = now + ep->backoff;
	watch_soon(p);
}

void endpoint_trusted(struct endpoint *ep)
{
	ep->proving = false;
	ep->backoff = 0;
	ep->connect_at = 0;
	if (ep->index >= 0)
		dc_local_trust(&ep->pool->local, (unsigned)ep->index);
	watch_soon(ep->pool);
}

/* Counted, not kept: the sessions know. */
void endpoint_count(struct endpoint *ep)
{
	struct list *node;
	size_t n = 0;

	for (node = ep->links.next; node != &ep->links; node = node->next)
		n += h2_session_streams(list_entry(node, struct link, node)->h2);
	if (ep->index >= 0)
		ep->pool->local.in_flight[ep->index] = (uint32_t)n;
}

/* ---- names ---- */

static bool listed(const struct endpoint *ep, const struct net_addr *a)
{
	unsigned i;

	for (i = 0; i < ep->addrs; i++)
		if (ep->addr[i].len == a->len && !memcmp(&ep->addr[i].sa, &a->sa, a->len))
			return true;
	return false;
}

static void on_resolved(void *user, const struct net_addr *addrs, size_t n, uint32_t ttl_s)
{
	struct endpoint *ep = user;
	struct list *node, *next;

	ep->resolving = NULL;
	ep->resolve_at = clock_now() + ttl_s * CLOCK_SEC;
	if (!n)
		return;
	if (n > ENDPOINT_ADDRS)
		n = ENDPOINT_ADDRS;
	memcpy(ep->addr, addrs, n * sizeof(*addrs));
	ep->addrs = (unsigned)n;
	ep->at %= ep->addrs;
	for (node = ep->links.next; node != &ep->links; node = next) {
		struct link *l = list_entry(node, struct link, node);

		next = node->next;
		if (!listed(ep, h2_session_peer(l->h2)))
			link_leave(l); /* the name moved on */
	}
	watch_soon(ep->pool);
}

static void resolve(struct endpoint *ep, int64_t now)
{
	if (ep->numeric || ep->resolving || now < ep->resolve_at)
		return;
	ep->resolving = net_resolve(ep->pool->loop, ep->address, RESOLVE_TIMEOUT, on_resolved, ep);
}

/* ---- links ---- */

/* gRPC servers allow two PINGs more than expected after each HEADERS or DATA of theirs, and
 * close the connection with all its calls at the next ("too_many_pings"; gRFC A8): the first
 * is for the moment an answer is late, the second for a while after it. */
#define CALM_PINGS 2
#define CALM_FOR   (600 * CLOCK_SEC) /* after a complaint: it may have been over something else */

void link_ping(struct link *l)
{
	if (h2_ping_pending(l->h2))
		return;
	if (l->answered != h2_session_answered(l->h2)) {
		l->answered = h2_session_answered(l->h2);
		l->pings = 0;
	}
	if (l->ep->calm && l->pings >= CALM_PINGS)
		return;
	l->pings++;
	l->pinged = h2_ping(l->h2);
	l->ticks = 0;
	watch_soon(l->ep->pool);
	if (!l->ep->pool->dying)
		tm_add(&l->ep->pool->part->tm, TM_PINGS_SENT, 1);
}

static void on_open(void *owner)
{
	struct link *l = owner;

	/* Behind the preface: the answer shows that somebody is there, which a TCP
	 * connection does not (the kernel of a stopped process accepts), and gives the
	 * round trip. */
	link_ping(l);
	if (l->leaving)
		h2_shutdown(l->h2);
}

static void on_pong(void *owner, int64_t rtt)
{
	struct link *l = owner;
	bool first = !l->proven;

	/* SETTINGS came before: what this peer takes, for links that do not know yet. */
	if (!l->proven && !l->leaving)
		l->ep->streams = h2_session_room(l->h2) + h2_session_streams(l->h2);
	l->proven = true;
	l->doubted = DOUBT_NONE;
	l->ticks = 0;
	l->ep->pongs++;
	l->ep->slow_pong = rtt > l->ep->slow_pong ? rtt : l->ep->slow_pong - l->ep->slow_pong / 16;
	if (l->patience < 8)
		l->patience++;
	if (l->ep->proving && l->pinged >= l->ep->failed_at)
		endpoint_trusted(l->ep);
	if (first && !l->ep->calm)
		link_ping(l); /* the first round trip also had a handshake, or a peer asleep, in it */
}

static void on_goaway(void *owner, uint32_t error)
{
	struct link *l = owner;

	l->leaving = true;
	if (error == H2_ERR_ENHANCE_YOUR_CALM) { /* perhaps over our PINGs */
		l->ep->calm = true;
		l->ep->calm_until = clock_now() + CALM_FOR;
	}
}

static void on_room(void *owner)
{
	struct link *l = owner;

	if (!h2_session_streams(l->h2) && !l->idle_since)
		l->idle_since = clock_now();
}

/* A proven link that the peer closes is the peer's right; streams it took along tell
 * of themselves (dc_pool_result). Anything before that is the endpoint's failure. */
static bool blames(const struct link *l, enum fault fault)
{
	if (l->judged || (l->proven && fault == FAULT_UPSTREAM_CLOSED))
		return false;
	return fault_info(fault)->blames_datacenter || (fault >= FAULT_FLOOD_RESETS && fault <= FAULT_FLOOD_HEADS);
}

static void on_closed(void *owner, enum fault fault)
{
	struct link *l = owner;
	struct endpoint *ep = l->ep;
	struct dc_pool *p = ep->pool;

	list_remove(&l->node);
	ep->count--;
	p->links--;
	if (blames(l, fault))
		endpoint_failed(ep, fault);
	free(l);
	if (!p->dying)
		tm_set(&p->part->tm, TM_UPSTREAM_OPEN, p->links);
	if (ep->index < 0) {
		if (!ep->count)
			endpoint_destroy(ep);
	} else {
		endpoint_count(ep);
	}
	pool_reap(p);
}

const struct h2_owner link_owner = {
	.on_open = on_open, .on_pong = on_pong, .on_goaway = on_goaway, .on_room = on_room, .on_closed = on_closed,
};

struct link *link_open(struct endpoint *ep, enum fault *why)
{
	struct dc_pool *p = ep->pool;
	struct link *l;

	*why = !ep->addrs ? FAULT_UPSTREAM_UNRESOLVED : FAULT_UPSTREAM_TLS;
	if (!ep->addrs || (ep->secure && !ep->tls)) {
		/* A fault of the endpoint like a refused connection, once per pause. */
		if (!ep->resolving && clock_now() >= ep->connect_at)
			endpoint_failed(ep, *why);
		return NULL;
	}
	*why = FAULT_NO_MEMORY;
	l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->ep = ep;
	l->idle_since = clock_now();
	l->h2 = h2_connect(&p->ctx, &ep->addr[ep->at], ep->tls, ep->secure ? ep->sni : NULL, p->conf->retry.connect_timeout_ms, l);
	if (!l->h2) {
		free(l);
		return NULL;
	}
	list_append(&ep->links, &l->node);
	ep->count++;
	p->links++;
	tm_add(&p->part->tm, TM_UPSTREAM_CONNECTIONS, 1);
	tm_set(&p->part->tm, TM_UPSTREAM_OPEN, p->links);
	watch_soon(p);
	return l;
}

static bool fits(const struct link *l, bool connect)
{
	if (l->leaving || l->judged || !h2_session_room(l->h2))
		return false;
	/* More than the peer turns out to take would wait behind one another. */
	if (!l->proven && h2_session_streams(l->h2) >= l->ep->streams)
		return false;
	/* Before the SETTINGS the request waits for them. */
	return !connect || !h2_session_settled(l->h2) || h2_session_peer_connect(l->h2);
}

struct link *endpoint_link(struct endpoint *ep, bool connect, enum fault *why)
{
	const struct conf_limits *limits = &ep->pool->conf->limits;
	struct link *beginning = NULL, *doubtful = NULL, *l;
	struct list *node;
	unsigned usable = 0;
	bool unable = false;

	for (node = ep->links.next; node != &ep->links; node = node->next) {
		l = list_entry(node, struct link, node);
		usable += !l->leaving && !l->judged;
		unable |= connect && h2_session_settled(l->h2) && !h2_session_peer_connect(l->h2);
		if (!fits(l, connect))
			continue;
		if (!h2_session_open(l->h2))
			beginning = beginning ? beginning : l;
		else if (l->doubted)
			doubtful = doubtful ? doubtful : l;
		else
			return l;
	}
	if (beginning)
		return beginning;
	if (doubtful && doubtful->doubted < DOUBT_GRAVE)
		return doubtful;
	*why = unable ? FAULT_UPSTREAM_NO_CONNECT : FAULT_UPSTREAM_FULL;
	if (usable < limits->upstream_connections && ep->count < 4 * limits->upstream_connections && !unable &&
	    (l = link_open(ep, why)))
		return l;
	return doubtful;
}

/* ---- upkeep ---- */

static bool worth_connecting(const struct endpoint *ep, int64_t now)
{
	const struct dc_pool *p = ep->pool;
	enum dc_state s = (enum dc_state)p->now.endpoint_state[ep->index];

	/* A dead endpoint is control's to try; it says when it is back. */
	return !p->draining && s != DC_DOWN && now >= ep->connect_at && (ep->addrs || !ep->resolving);
}

void endpoint_keep(struct endpoint *ep, int64_t now)
{
	const struct conf_limits *limits = &ep->pool->conf->limits;
	struct list *node, *next;
	unsigned usable = 0, idle = 0, spares = ep->pool->draining ? 0 : limits->upstream_spares;
	enum fault why;

	resolve(ep, now);
	for (node = ep->links.next; node != &ep->links; node = next) {
		struct link *l = list_entry(node, struct link, node);

		next = node->next;
		if (l->leaving || l->judged)
			continue;
		usable++;
		if (h2_session_streams(l->h2))
			continue;
		if (!l->idle_since)
			l->idle_since = now;
		if (idle >= spares && (ep->pool->draining || now - l->idle_since >
							      limits->upstream_idle_timeout_ms * CLOCK_MS))
			link_leave(l);
		else
			idle++;
	}
	if (!worth_connecting(ep, now) || usable >= limits->upstream_connections)
		return;
	if (idle < spares || (ep->proving && !usable)) {
		link_open(ep, &why);
		if (ep->connect_at < now + SPARE_PACE)
			ep->connect_at = now + SPARE_PACE;
	}
}
