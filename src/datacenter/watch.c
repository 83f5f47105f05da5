/* SPDX-License-Identifier: MIT */
/*
 * Tells silence from slowness. One timer for the whole pool, not one per request.
 *
 * A session has requests and nothing at all is heard for ping_after: PING. A slow
 * backend answers it and is left to work; the next PING waits twice as long, until a
 * new request is sent. One that does not answer in time is judged: it gets no new
 * streams, and those that wait for an answer fail over (H2_SILENT). Who cannot be asked
 * elsewhere is left to the peer, which may only have paused: until ping_idle_timeout if
 * nothing of the answer has come and the request's body is kept (H2_LOST), else until
 * ping_stream_timeout. Any byte counts as a sign of life, so a PING queued behind a long
 * transfer does not condemn it. Quiet sessions are asked every ping_idle_ms.
 *
 * While a PING is overdue by its own standards, but not yet out of time, new requests
 * already go elsewhere, and those that wait are told (H2_DOUBTED) so that they can ask
 * elsewhere as well. To be wrong costs a few requests sent twice, not a request. To whom a
 * fence shows what he wrote it would cost that, so his reads stay until half of the time is
 * over: the doubt is grave then, and all are told again.
 */
#include "pool.h"

#define TICK_BUSY  CLOCK_MS         /* the wheel's next slot: about every 2 ms */
#define TICK_QUIET (100 * CLOCK_MS)
#define TICK_PROVING (10 * CLOCK_MS)
#define DOUBT      (5 * CLOCK_MS)
#define STRANGE    (40 * CLOCK_MS) /* the same, of whom little is known */
#define KNOWN      8               /* answers to PINGs */
#define DOUBTED    (50 * CLOCK_MS)  /* not asked for so long; each check in doubt begins it anew */
#define TICKS      3 /* checks that must have seen the PING pending: we may have been the one that slept */

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t after(int64_t t, int64_t wait) { return wait == NEVER ? NEVER : t + wait; }

/* How long nothing may be heard before we ask. */
static int64_t patience(const struct link *l)
{
	const struct conf_retry *r = &l->ep->pool->conf->retry;
	int64_t idle = r->ping_idle_ms * CLOCK_MS, late = r->ping_after_ms * CLOCK_MS;

	if (!h2_session_streams(l->h2))
		return l->ep->calm ? NEVER : idle;
	return smaller(late << smaller(l->ep->calm ? 4 * l->patience : l->patience, 16), larger(idle, late));
}

/* How long a PING may stay unanswered. */
static int64_t timeout(const struct link *l)
{
	const struct conf_retry *r = &l->ep->pool->conf->retry;

	if (l->judged == SILENCE_LOST)
		return r->ping_stream_timeout_ms * CLOCK_MS;
	if (l->judged)
		return smaller(larger(r->ping_idle_timeout_ms, r->ping_timeout_ms), r->ping_stream_timeout_ms) * CLOCK_MS;
	if (!l->proven)
		return r->connect_timeout_ms * CLOCK_MS;
	if (!h2_session_streams(l->h2) && !l->doubted) /* they may have gone elsewhere since */
		return r->ping_idle_timeout_ms * CLOCK_MS;
	/* Whoever is farther away than this could not even be connected to. */
	return larger(r->ping_timeout_ms * CLOCK_MS, smaller(4 * h2_session_rtt(l->h2), r->connect_timeout_ms * CLOCK_MS));
}

/* By its own standards: much slower than it was lately at its slowest. */
static int64_t overdue(const struct link *l)
{
	return smaller(l->proven ? larger(l->ep->pongs < KNOWN ? STRANGE : DOUBT, 2 * l->ep->slow_pong) : NEVER, timeout(l) / 2);
}

/* The next step of the verdict; the link is closed when there is none, or nobody to wait for it. */
static void silent(struct link *l)
{
	if (l->judged < SILENCE_LOST) {
		l->ticks = 0;
		if (++l->judged == SILENCE_JUDGED)
			endpoint_failed(l->ep, FAULT_UPSTREAM_SILENT);
		h2_tell(l->h2, l->judged == SILENCE_LOST ? H2_LOST : H2_SILENT);
		if (h2_session_streams(l->h2))
			return;
	}
	h2_close(l->h2, FAULT_UPSTREAM_SILENT);
}

static void ask_all(struct endpoint *ep, int64_t now)
{
	struct list *node;

	for (node = ep->links.next; node != &ep->links; node = node->next) {
		struct link *l = list_entry(node, struct link, node);

		if (h2_session_open(l->h2) && !ep->calm && now - h2_session_heard(l->h2) > DOUBT)
			link_ping(l);
	}
}

/* One link may be cut off alone, or its whole datacenter: asking the others now saves
 * their requests the wait. */
static void doubt(struct link *l, int64_t now, enum doubt how)
{
	struct endpoint *ep = l->ep;
	struct dc_pool *p = ep->pool;
	const struct conf_datacenter *dc;
	bool news = l->doubted < how, first = !l->doubted;
	unsigned i;

	l->doubted = (uint8_t)how;
	if (ep->index >= 0) {
		dc_local_doubt(&p->local, (unsigned)ep->index, now + DOUBTED);
		if (how == DOUBT_GRAVE)
			dc_local_avoid(&p->local, (unsigned)ep->index, now + DOUBTED);
		dc = &p->conf->datacenter[p->conf->endpoint[ep->index].datacenter];
		for (i = dc->first_endpoint; i < (unsigned)dc->first_endpoint + dc->endpoints; i++)
			if (p->endpoint[i])
				ask_all(p->endpoint[i], now);
	}
	tm_add(&p->part->tm, TM_DOUBTS, first);
	if (news)
		h2_tell(l->h2, H2_DOUBTED);
}

/* Bytes come, but they let nothing through: a header block that never ends, or a peer that
 * talks and does not read. */
static bool obstructed(const struct link *l, int64_t now)
{
	const struct conf_limits *limits = &l->ep->pool->conf->limits;
	int64_t head = h2_session_head_since(l->h2), stuck = net_stuck_since(h2_session_conn(l->h2));

	return (head && now - head >= limits->header_timeout_ms * CLOCK_MS) ||
	       (stuck && now - stuck >= limits->write_timeout_ms * CLOCK_MS);
}

/* Returns when to look again. */
static int64_t check_link(struct link *l, int64_t now)
{
	int64_t pending, unheard, due;

	if (!h2_session_open(l->h2))
		return NEVER; /* net keeps the deadline of connecting */
	l->obstructed = obstructed(l, now) ? (uint8_t)(l->obstructed + 1) : 0;
	if (l->obstructed >= TICKS) {
		h2_close(l->h2, FAULT_UPSTREAM_PROTOCOL);
		return NEVER;
	}
	if (l->judged && !h2_session_streams(l->h2)) {
		h2_close(l->h2, FAULT_UPSTREAM_SILENT);
		return NEVER;
	}
	pending = h2_ping_pending(l->h2);
	if (!pending) {
		l->doubted = DOUBT_NONE;
		due = after(larger(h2_session_heard(l->h2), l->asked), patience(l));
		if (now < due && !(l->ep->proving && l->pinged < l->ep->failed_at))
			return l->obstructed ? 0 : due;
		link_ping(l);
		if (!h2_ping_pending(l->h2) && l->ep->proving) /* it had all the PINGs it bears: another link will tell */
			link_leave(l);
		return l->obstructed || h2_ping_pending(l->h2) ? 0 : NEVER;
	}
	unheard = now - larger(pending, h2_session_heard(l->h2));
	if (l->ticks < 100)
		l->ticks++;
	if (unheard >= timeout(l) && l->ticks >= TICKS)
		silent(l);
	else if (unheard < overdue(l))
		l->doubted = DOUBT_NONE;
	else if (!l->judged && (h2_session_streams(l->h2) || l->doubted) && l->ticks > 1)
		doubt(l, now, unheard < timeout(l) / 2 ? DOUBT_LATE : DOUBT_GRAVE);
	return 0;
}

/* An operator has emptied its datacenter: what is still there came before. Said again and again,
 * since what only waits for its head now may turn out to last. */
static void tell_drained(const struct endpoint *ep)
{
	const struct dc_pool *p = ep->pool;
	struct list *node;

	if (ep->index < 0 || p->now.datacenter_state[p->conf->endpoint[ep->index].datacenter] != DC_DRAINED)
		return;
	for (node = ep->links.next; node != &ep->links; node = node->next)
		h2_tell(list_entry(node, struct link, node)->h2, H2_DRAINED);
}

/* Returns when to look again. */
static int64_t check_endpoint(struct endpoint *ep, int64_t now)
{
	struct list *node, *next;
	int64_t due = ep->proving ? larger(ep->connect_at, now + TICK_PROVING) : NEVER;

	if (now >= ep->pool->tell_at)
		tell_drained(ep);
	if (ep->calm_until && now >= ep->calm_until) {
		ep->calm_until = 0;
		ep->calm = ep->grpc;
	}
	for (node = ep->links.next; node != &ep->links; node = next) {
		next = node->next;
		due = smaller(due, check_link(list_entry(node, struct link, node), now));
	}
	if (ep->index >= 0) {
		endpoint_count(ep);
		endpoint_keep(ep, now);
	}
	return due;
}

static void count_streams(struct dc_pool *p)
{
	uint32_t streams[CONF_MAX_DATACENTERS] = { 0 };
	unsigned i;

	for (i = 0; i < p->conf->endpoints; i++)
		streams[p->conf->endpoint[i].datacenter] += p->local.in_flight[i];
	for (i = 0; i < CONF_MAX_DATACENTERS; i++)
		atomic_store_explicit(&p->part->load.streams[i], streams[i], memory_order_relaxed);
}

static void on_check(struct net_timer *t)
{
	struct dc_pool *p = list_entry(t, struct dc_pool, check);
	struct list *node, *next;
	int64_t now = clock_now(), due = NEVER;
	unsigned i;

	net_timer_arm(p->loop, t, now + TICK_QUIET);
	pool_sync(p);
	for (i = 0; i < p->conf->endpoints; i++)
		if (p->endpoint[i])
			due = smaller(due, check_endpoint(p->endpoint[i], now));
	for (node = p->leaving.next; node != &p->leaving; node = next) {
		next = node->next;
		due = smaller(due, check_endpoint(list_entry(node, struct endpoint, node), now));
	}
	if (now >= p->tell_at)
		p->tell_at = now + TICK_QUIET;
	count_streams(p);
	watch_by(p, due);
}

void watch_by(struct dc_pool *p, int64_t at)
{
	at = larger(at, clock_now() + TICK_BUSY);
	if (!p->dying && (!p->check.deadline || p->check.deadline > at))
		net_timer_arm(p->loop, &p->check, at);
}

void watch_soon(struct dc_pool *p) { watch_by(p, 0); }

void watch_init(struct dc_pool *p)
{
	net_timer_init(&p->check, on_check);
	net_timer_arm(p->loop, &p->check, clock_now() + TICK_QUIET);
}
