/* SPDX-License-Identifier: MIT */
/*
 * The worker's pool: where a request goes and on which session. A request is put on
 * a session that may still be connecting; if that fails, the stream ends with the
 * connect fault like any other, and the exchange tries elsewhere.
 *
 * Not here: retrying (the exchange's budget), the verdict about a datacenter (control
 * makes it from checks and from the evidence written here).
 */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#include "firebreak/dc_machine.h"
#include "firebreak/log.h"

/* Before control has published for this configuration: what was known by name, and
 * everything new is up. */
static void assume(struct dc_pool *p, const struct conf *old, const struct dc_live *was, const int *from)
{
	unsigned i, d, o;

	for (i = 0; i < p->conf->endpoints; i++)
		p->now.endpoint_state[i] = from && from[i] >= 0 ? was->endpoint_state[from[i]] : DC_UP;
	dc_assume(p->conf, &p->now);
	for (d = 0; d < p->conf->datacenters; d++) {
		for (o = 0; old && o < old->datacenters; o++) {
			if (strcmp(old->datacenter[o].name, p->conf->datacenter[d].name))
				continue;
			p->now.datacenter_state[d] = was->datacenter_state[o];
			p->now.share[d] = was->share[o];
			memcpy(p->now.tier_share[d], was->tier_share[o], sizeof(p->now.tier_share[d]));
		}
	}
}

static bool news(const struct dc_pool *p)
{
	return p->live->version != p->version && p->live->generation == p->conf->generation;
}

/* Takes over a new board. What control calls up again is trusted at once. */
void pool_sync(struct dc_pool *p)
{
	unsigned i;

	if (!news(p))
		return;
	p->version = p->live->version;
	for (i = 0; i < p->conf->endpoints; i++) {
		enum dc_state was = (enum dc_state)p->now.endpoint_state[i];

		if (p->live->dc.endpoint_state[i] == DC_UP && (was == DC_DOWN || was == DC_PROBING) && p->endpoint[i])
			endpoint_trusted(p->endpoint[i]);
	}
	p->now = p->live->dc;
}

/* One context per datacenter. A CA that cannot be read is logged; its endpoints fail
 * with upstream-tls. */
static void load_tls(struct dc_pool *p)
{
	char why[256];
	unsigned d;

	for (d = 0; d < CONF_MAX_DATACENTERS; d++) {
		net_tls_put(p->tls[d]);
		p->tls[d] = NULL;
		if (d >= p->conf->datacenters || !p->conf->datacenter[d].tls)
			continue;
		p->tls[d] = net_tls_client(p->conf->datacenter[d].ca, p->conf->datacenter[d].verify, true, why);
		if (!p->tls[d])
			log_event(LOG_LEVEL_ERROR, "upstream.tls", "datacenter", p->conf->datacenter[d].name, "why", why, NULL);
	}
}

/* The endpoint's trust store, as loaded last. */
static void give_tls(struct endpoint *ep)
{
	struct dc_pool *p = ep->pool;
	struct net_tls *tls = p->tls[p->conf->endpoint[ep->index].datacenter];

	net_tls_put(ep->tls);
	ep->tls = tls ? net_tls_get(tls) : NULL;
}

static void begin(struct dc_pool *p)
{
	unsigned i;

	load_tls(p);
	for (i = 0; i < p->conf->endpoints; i++) {
		give_tls(p->endpoint[i]);
		endpoint_keep(p->endpoint[i], clock_now());
	}
}

/* The endpoints of a configuration: those of before that still mean the same (from: their numbers
 * then), and new ones (-1). False: no memory, and nothing has changed. */
static bool gather(struct dc_pool *p, const struct conf *conf, struct endpoint *next[CONF_MAX_ENDPOINTS], int from[CONF_MAX_ENDPOINTS])
{
	uint64_t taken = 0;
	unsigned i, o;

	for (i = 0; i < conf->endpoints; i++) {
		from[i] = -1;
		for (o = 0; o < CONF_MAX_ENDPOINTS && from[i] < 0; o++)
			if (p->endpoint[o] && !(taken >> o & 1) && endpoint_matches(p->endpoint[o], conf, i))
				from[i] = (int)o;
		if (from[i] >= 0)
			taken |= UINT64_C(1) << from[i];
		next[i] = from[i] >= 0 ? p->endpoint[from[i]] : endpoint_create(p, conf, i);
		if (next[i])
			continue;
		while (i-- > 0)
			if (from[i] < 0)
				endpoint_destroy(next[i]);
		return false;
	}
	return true;
}

struct dc_pool *dc_pool_create(struct net_loop *loop, const struct conf *conf, const struct board_live *live,
			       struct board_worker *part, void (*on_ready)(struct h2_stream *, uint32_t))
{
	struct dc_pool *p = calloc(1, sizeof(*p));
	int from[CONF_MAX_ENDPOINTS];

	if (!p)
		return NULL;
	p->loop = loop;
	p->conf = conf;
	p->live = live;
	p->part = part;
	list_init(&p->leaving);
	h2_context_init(&p->ctx, loop, &conf->limits, false);
	p->ctx.handler.on_ready = on_ready;
	p->ctx.owner = link_owner;
	p->ctx.faults = part->tm.fault;
	assume(p, NULL, NULL, NULL);
	watch_init(p);
	if (!gather(p, conf, p->endpoint, from)) {
		memset(p->endpoint, 0, sizeof(p->endpoint));
		dc_pool_destroy(p);
		return NULL;
	}
	begin(p);
	return p;
}

/* Streams nobody waits for any more. */
static void on_orphan(struct h2_stream *st, uint32_t what)
{
	if (what & H2_CLOSED)
		h2_release(&st);
}

bool pool_reap(struct dc_pool *p)
{
	unsigned d;

	if (!p->dying || p->links)
		return false;
	for (d = 0; d < CONF_MAX_DATACENTERS; d++)
		net_tls_put(p->tls[d]);
	free(p);
	return true;
}

static void close_links(struct endpoint *ep)
{
	struct list *node;

	for (node = ep->links.next; node != &ep->links; node = node->next)
		h2_close(list_entry(node, struct link, node)->h2, FAULT_SHUTTING_DOWN);
}

void dc_pool_destroy(struct dc_pool *p)
{
	struct list *node;
	unsigned i;

	if (!p)
		return;
	net_timer_disarm(&p->check);
	p->dying = true;
	p->ctx.handler.on_ready = on_orphan;
	p->ctx.faults = NULL;
	for (i = 0; i < CONF_MAX_ENDPOINTS; i++) {
		if (p->endpoint[i])
			endpoint_leave(p->endpoint[i]);
		p->endpoint[i] = NULL;
	}
	for (node = p->leaving.next; node != &p->leaving; node = node->next)
		close_links(list_entry(node, struct endpoint, node));
	pool_reap(p);
}

bool dc_pool_reconfigure(struct dc_pool *p, const struct conf *conf, struct board_worker *part)
{
	struct endpoint *next[CONF_MAX_ENDPOINTS] = { NULL }, *old[CONF_MAX_ENDPOINTS];
	struct dc_local local = { 0 };
	struct dc_live was = p->now;
	const struct conf *before = p->conf;
	int from[CONF_MAX_ENDPOINTS];
	unsigned i;

	if (!gather(p, conf, next, from))
		return false;
	memcpy(old, p->endpoint, sizeof(old));
	memcpy(p->endpoint, next, sizeof(next));
	for (i = 0; i < conf->endpoints; i++) {
		if (from[i] < 0)
			continue;
		old[from[i]] = NULL;
		next[i]->index = (int)i;
		local.avoid_until[i] = p->local.avoid_until[from[i]];
		local.doubt_until[i] = p->local.doubt_until[from[i]];
		local.failures[i] = p->local.failures[from[i]];
		local.in_flight[i] = p->local.in_flight[from[i]];
		local.latency[i] = p->local.latency[from[i]];
		local.learned[i] = p->local.learned[from[i]];
	}
	p->conf = conf;
	p->part = part;
	p->local = local;
	p->usual = (struct dc_usual){ 0 }; /* features have other numbers */
	p->ctx.limits = &conf->limits;
	p->ctx.faults = part->tm.fault;
	assume(p, before, &was, from);
	for (i = 0; i < CONF_MAX_ENDPOINTS; i++)
		if (old[i])
			endpoint_leave(old[i]);
	begin(p);
	return true;
}

/* ---- requests ---- */

static struct h2_stream *request_on(struct link *l, const struct h2_field *field, size_t n, bool end, void *user,
				    enum fault *why)
{
	struct h2_stream *st = h2_request(l->h2, field, n, end, user, why);

	if (!st)
		return NULL;
	if (l->asked <= h2_session_heard(l->h2))
		l->asked = clock_now();
	l->patience = 0;
	l->idle_since = 0;
	if (h2_session_spent(l->h2))
		link_leave(l);
	return st;
}

struct h2_stream *dc_pool_request(struct dc_pool *p, const struct dc_want *want, bool connect,
				  const struct h2_field *field, size_t n, bool end, void *user,
				  int *endpoint, enum fault *why)
{
	struct dc_want w = *want;
	struct h2_stream *st = NULL;
	struct link *l;
	int i;

	*endpoint = -1;
	pool_sync(p);
	*why = dc_stays(p->conf, &p->now, want) ? FAULT_DISSENT : FAULT_NO_DATACENTER;
	while (!st && (i = dc_pick(p->conf, &p->now, &p->local, &w, clock_now())) >= 0) {
		w.tried |= UINT64_C(1) << i; /* no room there is no failure: the next one may have it */
		*endpoint = i;
		if (!p->endpoint[i])
			continue;
		p->endpoint[i]->calm |= want->grpc;
		l = endpoint_link(p->endpoint[i], connect, why);
		if (l)
			st = request_on(l, field, n, end, user, why);
	}
	if (!st)
		return NULL;
	endpoint_count(p->endpoint[*endpoint]);
	watch_by(p, clock_now() + p->conf->retry.ping_after_ms * CLOCK_MS);
	return st;
}

/* Did the endpoint fail this request? Whoever sends requests away in good order did not. */
static bool failed(enum fault fault)
{
	return fault_info(fault)->blames_datacenter || fault == FAULT_UPSTREAM_RESET || fault == FAULT_UPSTREAM_TIMEOUT ||
	       fault == FAULT_UPSTREAM_REFUSED || fault == FAULT_UPSTREAM_BAD_RESPONSE || fault == FAULT_UPSTREAM_UNAVAILABLE;
}

/* 501 and 505 are about what was asked (RFC 9110 15.6). */
static bool erred(unsigned status)
{
	return status >= 500 && status != 501 && status != 505;
}

void dc_pool_result(struct dc_pool *p, int endpoint, unsigned feature, enum fault fault, int64_t head_ns, unsigned status)
{
	struct board_evidence *e;

	/* Asked of an older configuration: the number may be out of range. */
	if (endpoint < 0 || endpoint >= (int)p->conf->endpoints)
		return;
	e = &p->part->endpoint[endpoint];
	if (p->endpoint[endpoint])
		endpoint_count(p->endpoint[endpoint]);
	if (head_ns > 0 || failed(fault))
		dc_usual_note(&p->usual, feature, head_ns, failed(fault) || erred(status), &e->traffic);
	if (head_ns > 0) { /* a client that left before it says nothing */
		e->answers++;
		dc_local_answered(&p->local, (unsigned)endpoint, head_ns, clock_now(), !erred(status));
	}
	if (failed(fault) && head_ns <= 0 && !fault_info(fault)->blames_datacenter)
		dc_local_answered(&p->local, (unsigned)endpoint, 1, clock_now(), false); /* no reason to send it more */
	if (fault_info(fault)->blames_datacenter) {
		e->last_fault = fault;
		e->faults++;
		dc_local_failed(&p->local, (unsigned)endpoint, clock_now());
	}
}

void dc_pool_spoke_grpc(struct dc_pool *p, int endpoint, bool grpc)
{
	struct endpoint *ep = endpoint >= 0 && endpoint < (int)p->conf->endpoints ? p->endpoint[endpoint] : NULL;

	if (!ep)
		return;
	ep->grpc |= grpc;
	ep->calm = ep->grpc || clock_now() < ep->calm_until;
}

bool dc_pool_avoids(const struct dc_pool *p, int endpoint)
{
	return p->local.avoid_until[endpoint] > clock_now();
}

uint64_t dc_pool_failed(const struct dc_pool *p)
{
	uint64_t failed = 0;
	unsigned i;

	for (i = 0; i < p->conf->endpoints; i++)
		failed |= (uint64_t)(p->endpoint[i] && p->endpoint[i]->proving) << i;
	return failed;
}

int dc_pool_where(struct dc_pool *p, const struct dc_want *want)
{
	int i;

	pool_sync(p);
	i = dc_pick(p->conf, &p->now, &p->local, want, clock_now());
	return i < 0 ? -1 : p->conf->endpoint[i].datacenter;
}

bool dc_pool_plain(struct dc_pool *p)
{
	pool_sync(p);
	return dc_plain(p->conf, &p->now, &p->local, clock_now());
}

void dc_pool_outrun(struct dc_pool *p, int endpoint, int64_t after_ns)
{
	if (endpoint >= 0 && endpoint < (int)p->conf->endpoints)
		dc_local_slow(&p->local, (unsigned)endpoint, after_ns, clock_now());
}

void dc_pool_unanswered(const struct h2_stream *st)
{
	if (st->session && h2_session_answered(st->session) <= st->opened)
		link_leave(h2_session_owner(st->session));
}

bool dc_pool_any(const struct dc_pool *p, uint64_t tried)
{
	return dc_any(p->conf, news(p) ? &p->live->dc : &p->now, tried);
}

unsigned dc_pool_addresses(const struct dc_pool *p, int endpoint)
{
	return endpoint >= 0 && endpoint < CONF_MAX_ENDPOINTS && p->endpoint[endpoint] ? p->endpoint[endpoint]->addrs : 0;
}

void dc_pool_pump(struct dc_pool *p)
{
	h2_pump_all(&p->ctx);
}

void dc_pool_shutdown(struct dc_pool *p)
{
	unsigned i;

	p->draining = true;
	for (i = 0; i < CONF_MAX_ENDPOINTS; i++)
		if (p->endpoint[i])
			endpoint_keep(p->endpoint[i], clock_now());
}
