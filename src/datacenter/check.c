/* SPDX-License-Identifier: MIT */
/*
 * One active check over the endpoint's own session, with a PING beside it: a GET on the
 * check path, whose verdict falls with the response head (2xx: passed), or a call of
 * grpc.health.v1, whose verdict falls with its end; or with the first of these limits:
 *
 *   connect     conf.retry.connect_timeout_ms, kept by net
 *   silence     nothing at all heard: conf.retry.ping_idle_timeout_ms, or the connect
 *               timeout once the endpoint is suspect
 *   the check   conf.datacenter.check_timeout_ms
 *
 * A session on which a check ran out of time is given up, the next one connects anew: it
 * may have been that connection alone, or who is behind it. If the endpoint's requests
 * are answered well just then, it is load that was met, and the check says nothing.
 */
#include "probe.h"

#include <stdlib.h>
#include <string.h>

#include "firebreak/log.h"
#include "grpc_health.h"
#include "name.h"

#define RESOLVE_AGAIN   CLOCK_SEC
#define RESOLVE_TIMEOUT 2000
#define BODY_MOST       65536 /* a health page is small; more is cut off */
#define BUSY_PAUSE      (20 * CLOCK_MS)

/* ---- making ---- */

static const struct conf_datacenter *config(const struct check *k)
{
	const struct conf *c = k->probe->conf;

	return &c->datacenter[c->endpoint[k->index].datacenter];
}

static struct h2_field field_of(enum h2_token token, const char *value)
{
	return h2_field(token, value, strlen(value));
}

static bool make_strings(struct check *k, const struct conf_datacenter *dc, const char *address)
{
	const char *authority = dc->authority ? dc->authority : strncmp(address, "unix:", 5) ? address : "localhost";

	k->address = strdup(address);
	k->authority = strdup(authority);
	k->path = strdup(k->grpc ? GRPC_HEALTH_PATH : dc->check_path ? dc->check_path : "/");
	k->sni = dc->server_name ? strdup(dc->server_name) : name_of_address(address);
	return k->address && k->authority && k->path && k->sni;
}

static void add(struct check *k, enum h2_token token, const char *value)
{
	k->field[k->fields++] = field_of(token, value);
}

static void make_fields(struct check *k)
{
	static const char agent[] = "user-agent", firebreak[] = "firebreak-check";
	add(k, H2_METHOD, k->grpc ? "POST" : "GET");
	add(k, H2_SCHEME, config(k)->tls ? "https" : "http");
	add(k, H2_AUTHORITY, k->authority);
	add(k, H2_PATH, k->path);
	if (k->grpc) {
		add(k, H2_CONTENT_TYPE, "application/grpc");
		add(k, H2_TE, "trailers");
	}
	k->field[k->fields++] = (struct h2_field){ .name = (const uint8_t *)agent, .name_len = sizeof(agent) - 1,
						   .value = (const uint8_t *)firebreak, .value_len = sizeof(firebreak) - 1,
						   .flags = H2_FIELD_KEEP };
}

bool check_init(struct check *k, struct dc_probe *p, unsigned index)
{
	const struct conf_datacenter *dc = &p->conf->datacenter[p->conf->endpoint[index].datacenter];
	char why[256];

	k->probe = p;
	k->index = index;
	k->grpc = dc->check_type == CONF_CHECK_GRPC;
	dc_health_init(&k->health, clock_now());
	if (!make_strings(k, dc, p->conf->endpoint[index].address))
		return false;
	make_fields(k);
	k->addrs = net_addr_parse(&k->addr[0], k->address);
	k->resolve_at = k->addrs ? INT64_MAX : 0;
	if (dc->tls && !(k->tls = net_tls_client(dc->ca, dc->verify, true, why)))
		log_event(LOG_LEVEL_ERROR, "check.tls", "datacenter", dc->name, "why", why, NULL);
	return true;
}

void check_finish(struct check *k)
{
	if (k->timer.deadline)
		net_timer_disarm(&k->timer);
	net_resolve_cancel(k->resolving);
	k->resolving = NULL;
	net_tls_put(k->tls);
	k->tls = NULL;
	k->waiting = false;
	if (k->h2)
		h2_close(k->h2, FAULT_SHUTTING_DOWN);
	free(k->sni);
	free(k->address);
	k->sni = k->address = NULL;
	if (!k->h2) { /* the codec may still hold the fields */
		free(k->authority);
		free(k->path);
		k->authority = k->path = NULL;
	}
}

/* ---- names ---- */

static void on_resolved(void *user, const struct net_addr *addrs, size_t n, uint32_t ttl_s)
{
	struct check *k = user;

	k->resolving = NULL;
	k->resolve_at = clock_now() + ttl_s * CLOCK_SEC;
	if (!n)
		return;
	k->addrs = (unsigned)(n < CHECK_ADDRS ? n : CHECK_ADDRS);
	memcpy(k->addr, addrs, k->addrs * sizeof(*addrs));
	k->at %= k->addrs;
}

static void resolve(struct check *k)
{
	if (k->resolving || clock_now() < k->resolve_at)
		return;
	k->resolving = net_resolve(k->probe->loop, k->address, RESOLVE_TIMEOUT, on_resolved, k);
}

/* ---- the verdict ---- */

/* Nobody answered, in the first place not the check's own connection; but requests are
 * answered well, as late as in the second half of its time. */
static bool load_only(const struct check *k, enum fault fault)
{
	return (fault == FAULT_UPSTREAM_TIMEOUT || fault == FAULT_UPSTREAM_SILENT || fault == FAULT_CONNECT_TIMEOUT) &&
	       k->well_at > k->started + (clock_now() - k->started) / 2;
}

/* FAULT_NONE: passed. */
static void verdict(struct check *k, enum fault fault)
{
	bool passed = fault == FAULT_NONE;
	struct dc_evidence e = { .checks_ok = passed, .checks_failed = !passed, .fault = fault };

	if (!k->waiting)
		return;
	k->waiting = false;
	if (load_only(k, fault)) {
		log_event(LOG_LEVEL_INFO, "check.late", "datacenter", config(k)->name, "endpoint", k->address, "why",
			  fault_info(fault)->word, NULL);
		probe_schedule(k);
		return;
	}
	if (!passed) {
		if (k->addrs > 1)
			k->at = (k->at + 1) % k->addrs;
		if (k->resolve_at != INT64_MAX && k->resolve_at > clock_now() + RESOLVE_AGAIN)
			k->resolve_at = clock_now() + RESOLVE_AGAIN;
	}
	probe_record(k, &e);
	probe_schedule(k);
}

/* The answer, or what is left of it, is of no more interest. */
static void drop_stream(struct check *k)
{
	if (!k->stream)
		return;
	k->stream->user = NULL;
	h2_reset(k->stream, H2_ERR_CANCEL, FAULT_UPSTREAM_TIMEOUT);
	k->stream = NULL;
}

static enum fault http_answer(unsigned status)
{
	return status >= 200 && status < 300 ? FAULT_NONE : status == 404 ? FAULT_CHECK_UNKNOWN : FAULT_CHECK_FAILED;
}

/* In the trailers, or in the head when there is no body ("Trailers-Only"); -1: in neither. */
static int grpc_status(const struct h2_stream *st)
{
	const struct h2_head *h = st->trailers ? st->trailers : st->head;
	int status = 0;
	size_t k;
	unsigned i;

	for (i = 0; i < h->count; i++) {
		const struct h2_field *f = &h->field[i];

		if (f->token != H2_GRPC_STATUS)
			continue;
		for (k = 0; k < f->value_len && k < 4 && f->value[k] >= '0' && f->value[k] <= '9'; k++)
			status = 10 * status + f->value[k] - '0';
		return k && k == f->value_len ? status : -1;
	}
	return -1;
}

void check_on_ready(struct h2_stream *st, uint32_t what)
{
	struct check *k = st->user; /* NULL: dropped */

	bool grpc = k && k->grpc;

	if (what & H2_BODY) {
		if (grpc && k->body < GRPC_HEALTH_ANSWER)
			buf_peek(&st->in, k->answer + k->body, GRPC_HEALTH_ANSWER - k->body);
		if (k)
			k->body += st->in.len;
		h2_consume(st, st->in.len);
		buf_clear(&st->in);
	}
	if (k && !grpc && (what & H2_HEAD)) /* of one that is too large a part is missing */
		verdict(k, st->fault == FAULT_UPSTREAM_BAD_RESPONSE ? st->fault : http_answer(st->head->status));
	if (grpc && (what & H2_END))
		verdict(k, grpc_health_answer(st->head->status, grpc_status(st), k->answer, k->body));
	if (what & H2_CLOSED) {
		if (k) {
			k->stream = NULL;
			verdict(k, st->fault != FAULT_NONE ? st->fault : FAULT_UPSTREAM_RESET);
		}
		h2_release(&st);
	} else if (k && k->body > BODY_MOST) {
		drop_stream(k);
	}
}

/* ---- the session ---- */

static void on_open(void *owner)
{
	struct check *k = owner;

	h2_ping(k->h2);
}

static void on_closed(void *owner, enum fault fault)
{
	struct check *k = owner;
	struct dc_probe *p = k->probe;

	k->h2 = NULL;
	p->sessions--;
	if (!p->dying) {
		verdict(k, fault != FAULT_NONE ? fault : FAULT_UPSTREAM_CLOSED);
		return;
	}
	free(k->authority);
	free(k->path);
	k->authority = k->path = NULL;
	probe_reap(p);
}

const struct h2_owner check_owner = { .on_open = on_open, .on_closed = on_closed };

static bool reach(struct check *k)
{
	struct dc_probe *p = k->probe;
	bool secure = p->conf->datacenter[p->conf->endpoint[k->index].datacenter].tls;

	if (k->h2 || !k->addrs || (secure && !k->tls))
		return k->h2;
	k->h2 = h2_connect(&p->ctx, &k->addr[k->at], k->tls, secure ? k->sni : NULL, p->conf->retry.connect_timeout_ms, k);
	if (k->h2)
		p->sessions++;
	return k->h2;
}

/* How long nothing may be heard. */
static int64_t silence(const struct check *k)
{
	const struct conf *c = k->probe->conf;
	uint32_t ms = k->health.state == DC_SUSPECT ? c->retry.connect_timeout_ms : c->retry.ping_idle_timeout_ms;
	uint32_t most = c->datacenter[c->endpoint[k->index].datacenter].check_timeout_ms;

	return (ms < most ? ms : most) * CLOCK_MS;
}

static void ask(struct check *k, enum fault *why)
{
	uint8_t message[GRPC_HEALTH_REQUEST];
	struct buf body = { 0 };

	k->stream = h2_request(k->h2, k->field, k->fields, !k->grpc, k, why);
	if (!k->stream || !k->grpc)
		return;
	if (!buf_append(&body, message, grpc_health_request(message, config(k)->check_service)) || !h2_write(k->stream, &body) ||
	    !h2_finish(k->stream, NULL, 0)) {
		*why = FAULT_NO_MEMORY;
		buf_clear(&body);
		drop_stream(k);
	}
}

/* The name has another address now: what is behind the old one is no news of it. */
static bool moved(const struct check *k)
{
	const struct net_addr *peer = h2_session_peer(k->h2);
	unsigned i;

	for (i = 0; i < k->addrs; i++)
		if (k->addr[i].len == peer->len && !memcmp(&k->addr[i].sa, &peer->sa, peer->len))
			return false;
	return true;
}

void check_start(struct check *k)
{
	struct dc_probe *p = k->probe;
	enum fault why = k->addrs ? FAULT_UPSTREAM_TLS : FAULT_UPSTREAM_UNRESOLVED;

	drop_stream(k);
	resolve(k);
	if ((!k->addrs && k->resolving) || (k->h2 && (!h2_session_room(k->h2) || moved(k)))) {
		/* The name is being asked for, has moved, or the peer is sending us away: in a moment. */
		if (k->h2)
			h2_close(k->h2, FAULT_UPSTREAM_GONE);
		net_timer_arm(p->loop, &k->timer, clock_now() + BUSY_PAUSE);
		return;
	}
	k->waiting = true;
	k->started = clock_now();
	k->body = 0;
	if (reach(k)) {
		if (h2_session_open(k->h2))
			h2_ping(k->h2);
		ask(k, &why);
	}
	if (!k->stream)
		verdict(k, why);
	else
		net_timer_arm(p->loop, &k->timer, k->started + silence(k));
}

void check_limit(struct check *k)
{
	const struct conf *c = k->probe->conf;
	int64_t end = k->started + c->datacenter[c->endpoint[k->index].datacenter].check_timeout_ms * CLOCK_MS;
	int64_t asked = k->h2 ? h2_ping_pending(k->h2) : 0;

	if (asked < k->started)
		asked = k->started;
	if (k->h2 && h2_session_heard(k->h2) <= asked && (h2_session_open(k->h2) || clock_now() >= end)) {
		h2_close(k->h2, FAULT_UPSTREAM_SILENT); /* its stream is told by and by */
		drop_stream(k);
		verdict(k, FAULT_UPSTREAM_SILENT);
	} else if (clock_now() >= end) {
		if (k->h2)
			h2_close(k->h2, FAULT_UPSTREAM_TIMEOUT);
		drop_stream(k);
		verdict(k, FAULT_UPSTREAM_TIMEOUT);
	} else {
		net_timer_arm(k->probe->loop, &k->timer, end);
	}
}
