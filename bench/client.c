/* SPDX-License-Identifier: MIT */
/*
 * Connections to the target and requests on them. A lost connection is opened again
 * after RECONNECT; its requests have failed (a client that retried would hide what
 * the proxy did).
 */
#include <string.h>

#include "firebreak/clock.h"
#include "load.h"

#define RECONNECT (100 * CLOCK_MS)
#define CONNECT_TIMEOUT_MS 3000

#define FIELD(n, v, l) \
	{ .name = (const uint8_t *)(n), .value = (const uint8_t *)(v), .name_len = sizeof(n) - 1, .value_len = (l), .flags = H2_FIELD_KEEP }

static void open_now(struct connection *c);

static void on_timer(struct net_timer *t)
{
	struct connection *c = list_entry(t, struct connection, timer);

	if (!c->session && !c->l->stopping)
		open_now(c);
}

static void open_now(struct connection *c)
{
	struct load *l = c->l;

	c->leaving = false;
	c->session = h2_connect(&l->h2, &l->target, l->tls, NULL, CONNECT_TIMEOUT_MS, c);
	if (!c->session)
		net_timer_arm(l->loop, &c->timer, clock_now() + RECONNECT);
}

static struct h2_session *usable(struct load *l)
{
	struct connection *c;
	unsigned i;

	for (i = 0; i < l->o.connections; i++) {
		c = &l->connection[l->turn++ % l->o.connections];
		if (c->session && !c->leaving && h2_session_open(c->session) && h2_session_room(c->session))
			return c->session;
	}
	return NULL;
}

static bool put_body(struct request *r)
{
	static const char text[64] = "message text of the load driver, sixty-four octets to a piece.\n";
	struct buf b = { 0 };
	size_t left = r->upload, n;
	bool ok = true;

	for (; ok && left; left -= n) {
		n = left < sizeof(text) ? left : sizeof(text);
		ok = buf_append(&b, text, n);
	}
	ok = ok && h2_write(r->st, &b) && h2_finish(r->st, NULL, 0);
	buf_clear(&b);
	return ok;
}

static bool submit(struct request *r, struct h2_session *s)
{
	const char *authority = r->l->o.authority;
	const struct h2_field f[] = {
		FIELD(":method", r->method, strlen(r->method)),
		FIELD(":scheme", r->l->tls ? "https" : "http", r->l->tls ? 5 : 4),
		FIELD(":authority", authority, strlen(authority)),
		FIELD(":path", r->path, strlen(r->path)),
		FIELD("authorization", r->auth, strlen(r->auth)),
		FIELD("idempotency-key", r->key, strlen(r->key)),
	};
	enum fault why;

	r->st = h2_request(s, f, r->keyed ? 6 : 5, !r->upload, r, &why);
	if (!r->st)
		return false;
	/* The array was copied by the codec; the bytes stay in the request until H2_CLOSED. */
	if (r->upload && !put_body(r)) {
		h2_reset(r->st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
		return true;
	}
	h2_wake(s);
	return true;
}

void client_send(struct request *r)
{
	struct load *l = r->l;
	struct h2_session *s = usable(l);

	if (s && submit(r, s))
		return;
	if (l->waits >= LOAD_WAITING_MAX) {
		l->dropped++;
		request_done(r, false);
		request_put(r);
		return;
	}
	l->waits++;
	list_append(&l->waiting, &r->node);
}

static void send_waiting(struct load *l)
{
	struct h2_session *s;
	struct request *r;

	while (!list_empty(&l->waiting) && (s = usable(l))) {
		r = list_entry(list_pop(&l->waiting), struct request, node);
		l->waits--;
		if (!submit(r, s)) {
			request_done(r, false);
			request_put(r);
		}
	}
}

void client_cancel(struct request *r)
{
	h2_reset(r->st, H2_ERR_CANCEL, FAULT_UPSTREAM_TIMEOUT);
}

/* ---- what the session says ---- */

static void take(char *out, size_t size, const struct h2_field *f)
{
	size_t n = f->value_len < size - 1 ? f->value_len : size - 1;

	memcpy(out, f->value, n);
	out[n] = '\0';
}

static void take_head(struct request *r, const struct h2_head *h)
{
	unsigned i;

	r->status = h->status;
	for (i = 0; i < h->count; i++) {
		if (h->field[i].token == H2_CONTENT_TYPE)
			take(r->content_type, sizeof(r->content_type), &h->field[i]);
		else if (h->field[i].token == H2_CACHE_STATUS)
			take(r->cache_status, sizeof(r->cache_status), &h->field[i]);
		else if (h->field[i].token == H2_PROXY_STATUS)
			take(r->proxy_status, sizeof(r->proxy_status), &h->field[i]);
	}
}

static void take_body(struct request *r, struct h2_stream *st)
{
	size_t n = st->in.len;

	if (r->body_len < sizeof(r->body))
		r->body_len += buf_peek(&st->in, r->body + r->body_len, sizeof(r->body) - r->body_len);
	buf_clear(&st->in);
	h2_consume(st, n);
}

static void on_ready(struct h2_stream *st, uint32_t what)
{
	struct request *r = st->user;

	if ((what & H2_HEAD) && st->head)
		take_head(r, st->head);
	if (what & H2_BODY)
		take_body(r, st);
	if (what & (H2_END | H2_CLOSED))
		request_done(r, what & H2_END);
	if (what & H2_CLOSED) {
		h2_release(&st);
		request_put(r);
	}
}

static void on_open(void *owner)
{
	struct connection *c = owner;

	send_waiting(c->l);
}

static void on_goaway(void *owner)
{
	struct connection *c = owner;

	c->leaving = true;
}

static void on_closed(void *owner, enum fault fault)
{
	struct connection *c = owner;

	c->session = NULL;
	if (!c->l->stopping)
		net_timer_arm(c->l->loop, &c->timer, clock_now() + RECONNECT);
}

bool client_start(struct load *l)
{
	unsigned i;

	h2_context_init(&l->h2, l->loop, &l->limits, false);
	l->h2.handler.on_ready = on_ready;
	l->h2.owner = (struct h2_owner){ .on_open = on_open, .on_room = on_open, .on_goaway = on_goaway, .on_closed = on_closed };
	for (i = 0; i < l->o.connections; i++) {
		l->connection[i].l = l;
		net_timer_init(&l->connection[i].timer, on_timer);
		open_now(&l->connection[i]);
	}
	return true;
}

void client_stop(struct load *l)
{
	unsigned i;

	l->stopping = true;
	for (i = 0; i < l->o.connections; i++) {
		net_timer_disarm(&l->connection[i].timer);
		if (l->connection[i].session)
			h2_close(l->connection[i].session, FAULT_NONE);
	}
}
