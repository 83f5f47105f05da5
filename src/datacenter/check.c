/* SPDX-License-Identifier: MIT */
/*
 * One active check: a GET on the check path over the endpoint's own session, with a
 * PING beside it. The verdict falls with the response head (2xx: passed) or with the
 * first of these limits:
 *
 *   connect     conf.retry.connect_timeout_ms, kept by net
 *   silence     nothing at all heard: conf.retry.ping_idle_timeout_ms, or the connect
 *               timeout once the endpoint is suspect
 *   the check   conf.datacenter.check_timeout_ms
 *
 * A session on which a check ran out of time is given up, the next one connects anew: it
 * may have been that connection alone, or who is behind it.
 */
#include "probe.h"

#include <stdlib.h>
#include <string.h>

#include "firebreak/log.h"
#include "name.h"

#define RESOLVE_EVERY   (30 * CLOCK_SEC)
#define RESOLVE_AGAIN   CLOCK_SEC
#define RESOLVE_TIMEOUT 2000
#define BODY_MOST       65536 /* a health page is small; more is cut off */
#define BUSY_PAUSE      (20 * CLOCK_MS)

/* ---- making ---- */

static struct h2_field field_of(enum h2_token token, const char *value)
{
	return h2_field(token, value, strlen(value));
}

static bool make_strings(struct check *k, const struct conf_datacenter *dc, const char *address)
{
	const char *authority = dc->authority ? dc->authority : strncmp(address, "unix:", 5) ? address : "localhost";

	k->address = strdup(address);
	k->authority = strdup(authority);
	k->path = strdup(dc->check_path ? dc->check_path : "/");
	k->sni = dc->server_name ? strdup(dc->server_name) : name_of_address(address);
	return k->address && k->authority && k->path && k->sni;
}

bool check_init(struct check *k, struct dc_probe *p, unsigned index)
{
	const struct conf_datacenter *dc = &p->conf->datacenter[p->conf->endpoint[index].datacenter];
	static const char agent[] = "user-agent", firebreak[] = "firebreak-check";
	char why[256];

	k->probe = p;
	k->index = index;
	dc_health_init(&k->health, clock_now());
	if (!make_strings(k, dc, p->conf->endpoint[index].address))
		return false;
	k->field[0] = field_of(H2_METHOD, "GET");
	k->field[1] = field_of(H2_SCHEME, dc->tls ? "https" : "http");
	k->field[2] = field_of(H2_AUTHORITY, k->authority);
	k->field[3] = field_of(H2_PATH, k->path);
	k->field[4] = (struct h2_field){ .name = (const uint8_t *)agent, .name_len = sizeof(agent) - 1,
					 .value = (const uint8_t *)firebreak, .value_len = sizeof(firebreak) - 1,
					 .flags = H2_FIELD_KEEP };
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

static void on_resolved(void *user, const struct net_addr *addrs, size_t n)
{
	struct check *k = user;

	k->resolving = NULL;
	k->resolve_at = clock_now() + (n ? RESOLVE_EVERY : RESOLVE_AGAIN);
	if (!n) /* the last good ones stay */
		return;
	k->addrs = (unsigned)(n < CHECK_ADDRS ? n : CHECK_ADDRS);
	memcpy(k->addr, addrs, k->addrs * sizeof(*addrs));
	k->at %= k->addrs;
}

static void resolve(struct check *k)
{
	if (k->resolving || clock_now() < k->resolve_at)
		return;
	k->resolve_at = clock_now() + RESOLVE_EVERY;
	k->resolving = net_resolve(k->probe->loop, k->address, RESOLVE_TIMEOUT, on_resolved, k);
}

/* ---- the verdict ---- */

static void verdict(struct check *k, bool passed, enum fault fault)
{
	struct dc_evidence e = { .checks_ok = passed, .checks_failed = !passed, .fault = passed ? FAULT_NONE : fault };

	if (!k->waiting)
		return;
	k->waiting = false;
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

void check_on_ready(struct h2_stream *st, uint32_t what)
{
	struct check *k = st->user; /* NULL: dropped */

	if (what & H2_BODY) {
		if (k)
			k->body += st->in.len;
		h2_consume(st, st->in.len);
		buf_clear(&st->in);
	}
	if (k && (what & H2_HEAD))
		verdict(k, st->head->status >= 200 && st->head->status < 300, FAULT_CHECK_FAILED);
	if (what & H2_CLOSED) {
		if (k) {
			k->stream = NULL;
			verdict(k, false, st->fault != FAULT_NONE ? st->fault : FAULT_UPSTREAM_RESET);
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
		verdict(k, false, fault != FAULT_NONE ? fault : FAULT_UPSTREAM_CLOSED);
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

void check_start(struct check *k)
{
	struct dc_probe *p = k->probe;
	enum fault why = k->addrs ? FAULT_UPSTREAM_TLS : FAULT_UPSTREAM_UNRESOLVED;

	drop_stream(k);
	resolve(k);
	if ((!k->addrs && k->resolving) || (k->h2 && !h2_session_room(k->h2))) {
		/* The name is being asked for, or the peer is sending us away: in a moment. */
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
		k->stream = h2_request(k->h2, k->field, CHECK_FIELDS, true, k, &why);
	}
	if (!k->stream)
		verdict(k, false, why);
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
		verdict(k, false, FAULT_UPSTREAM_SILENT);
	} else if (clock_now() >= end) {
		if (k->h2)
			h2_close(k->h2, FAULT_UPSTREAM_TIMEOUT);
		drop_stream(k);
		verdict(k, false, FAULT_UPSTREAM_TIMEOUT);
	} else {
		net_timer_arm(k->probe->loop, &k->timer, end);
	}
}
