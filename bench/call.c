/* SPDX-License-Identifier: MIT */
/*
 * One request to the simulated messenger.
 *
 *   head ──▶ fault? ──delay──▶ run (RAW routes)            on_body as bytes come
 *     └─ body collected, end ──▶ run (all others)
 *   run ──▶ call_head, fields ──▶ answer ──▶ out / source ──▶ session, at most
 *   OUT_MARK bytes ahead of the connection, or at slow_bytes per second
 */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "firebreak/clock.h"
#include "firebreak/log.h"

#define OUT_MARK (256 << 10) /* bytes the session may hold unsent of one answer */
#define SLOW_TICK (20 * CLOCK_MS)

bool call_is(struct slice s, const char *text)
{
	return s.p && s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

const struct h2_field *call_request_field(const struct call *c, const char *name)
{
	const struct h2_head *h = c->st->head;
	size_t len = strlen(name), i;

	for (i = 0; i < h->count; i++) {
		if (h->field[i].name_len == len && !memcmp(h->field[i].name, name, len))
			return &h->field[i];
	}
	return NULL;
}

static struct slice request_value(const struct call *c, const char *name)
{
	const struct h2_field *f = call_request_field(c, name);

	return f ? (struct slice){ (const char *)f->value, f->value_len } : (struct slice){ 0 };
}

struct slice call_query(const struct call *c, const char *name)
{
	const char *p = c->query.p, *end = p ? p + c->query.len : NULL, *stop;
	size_t len = strlen(name);

	for (; p && p < end; p = stop + 1) {
		stop = memchr(p, '&', (size_t)(end - p));
		if (!stop)
			stop = end;
		if ((size_t)(stop - p) > len && p[len] == '=' && !memcmp(p, name, len))
			return (struct slice){ p + len + 1, (size_t)(stop - p) - len - 1 };
	}
	return (struct slice){ 0 };
}

static bool number(struct slice s, uint64_t *out)
{
	uint64_t v = 0;
	size_t i;

	if (!s.len || s.len > 18)
		return false;
	for (i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	*out = v;
	return true;
}

uint64_t call_query_number(const struct call *c, const char *name, uint64_t otherwise)
{
	uint64_t v;

	return number(call_query(c, name), &v) ? v : otherwise;
}

char *call_copy(struct call *c, const char *text, size_t len)
{
	return arena_strndup(&c->st->arena, text, len);
}

/* ---- the answer ---- */

static void give_up(struct call *c)
{
	h2_reset(c->st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
}

static void add(struct call *c, struct h2_field *to, size_t *count, const char *name, const char *value, size_t len)
{
	char *copy = call_copy(c, value, len);

	if (!copy || *count >= CALL_FIELDS) {
		give_up(c);
		return;
	}
	to[(*count)++] = (struct h2_field){ .name = (const uint8_t *)name, .value = (const uint8_t *)copy,
					    .name_len = strlen(name), .value_len = len, .flags = H2_FIELD_KEEP };
}

void call_field(struct call *c, const char *name, const char *value, size_t len)
{
	if (c->field)
		add(c, c->field, &c->fields, name, value, len);
}

void call_field_number(struct call *c, const char *name, uint64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);

	call_field(c, name, text, (size_t)n);
}

void call_trailer(struct call *c, const char *name, const char *value, size_t len)
{
	if (!c->trailer)
		c->trailer = arena_alloc(&c->st->arena, CALL_FIELDS * sizeof(*c->trailer));
	if (c->trailer)
		add(c, c->trailer, &c->trailers, name, value, len);
}

void call_head(struct call *c, int status)
{
	c->field = arena_alloc(&c->st->arena, CALL_FIELDS * sizeof(*c->field));
	c->fields = 0;
	if (!c->field) {
		give_up(c);
		return;
	}
	call_field_number(c, ":status", (uint64_t)status);
	call_field(c, "x-served-by", c->b->endpoint, strlen(c->b->endpoint));
	call_field(c, "x-datacenter", c->b->datacenter, strlen(c->b->datacenter));
}

static void respond(struct call *c, bool end)
{
	if (c->field && !h2_respond(c->st, c->field, c->fields, end) && !c->st->closed)
		give_up(c);
	c->done = end;
}

static void on_timer(struct net_timer *t);

/* Bytes that may go to the session now; 0: later. */
static size_t allowance(struct call *c)
{
	int64_t now = clock_now();
	double bytes;

	if (c->st->out.len >= OUT_MARK)
		return 0;
	if (c->b->fault.slow_bytes <= 0)
		return OUT_MARK - c->st->out.len;
	if (!c->sent_at)
		c->sent_at = now;
	bytes = (double)(now - c->sent_at) / 1e9 * c->b->fault.slow_bytes;
	if (bytes < 1) {
		net_timer_arm(c->b->loop, &c->timer, now + SLOW_TICK);
		return 0;
	}
	c->sent_at = now;
	return bytes < OUT_MARK ? (size_t)bytes : OUT_MARK;
}

static void cut(struct call *c)
{
	c->done = true;
	h2_reset(c->st, H2_ERR_INTERNAL, FAULT_INTERNAL);
}

/* Moves what has been produced towards the session. */
static void pump(struct call *c)
{
	struct buf part = { 0 };
	size_t n;

	while (c->st->responded && !c->done && !c->st->closed) {
		if (!c->out.len && !c->source) {
			if (!c->finished)
				return;
			c->done = true;
			if (!h2_finish(c->st, c->trailer, c->trailers))
				give_up(c);
			return;
		}
		n = allowance(c);
		if (!n)
			return;
		if (c->failing && c->st->sent + c->st->out.len > 0) {
			cut(c);
			return;
		}
		if (c->failing)
			n = 1 + c->out.len / 2;
		if (c->out.len < n && c->source && !c->source(c, &c->out, n - c->out.len))
			c->source = NULL;
		if (n > c->out.len)
			n = c->out.len;
		if (!buf_move(&part, &c->out, n) || !h2_write(c->st, &part)) {
			buf_clear(&part);
			give_up(c);
			return;
		}
	}
}

static bool is_head(const struct call *c)
{
	return call_is(c->method, "HEAD");
}

void call_answer(struct call *c, struct buf *body)
{
	bool bare = is_head(c) || !body->len;

	call_field_number(c, "content-length", body->len);
	if (bare)
		buf_clear(body);
	c->finished = true;
	if (!buf_move(&c->out, body, body->len)) {
		buf_clear(body);
		give_up(c);
		return;
	}
	respond(c, bare);
	pump(c);
}

void call_answer_source(struct call *c, call_source source, uint64_t total)
{
	bool bare = is_head(c) || !total;

	call_field_number(c, "content-length", total);
	c->total = total;
	c->source = bare ? NULL : source;
	c->finished = true;
	respond(c, bare);
	pump(c);
}

void call_answer_bare(struct call *c)
{
	respond(c, true);
}

void call_begin(struct call *c)
{
	respond(c, is_head(c));
	pump(c);
}

void call_write(struct call *c, struct buf *body)
{
	if (c->done || !buf_move(&c->out, body, body->len))
		buf_clear(body);
	pump(c);
}

void call_end(struct call *c)
{
	c->finished = true;
	pump(c);
}

bool call_private(struct call *c, struct buf *out)
{
	return json_put(out, "{\"user\":") && json_text(out, c->user.p, c->user.len);
}

void call_error(struct call *c, int status, const char *why)
{
	struct buf b = { 0 };
	bool ok = c->user.len ? call_private(c, &b) && json_put(&b, ",") : json_put(&b, "{");

	if (!ok || !json_put(&b, "\"error\":") || !json_text(&b, why, strlen(why)) || !json_put(&b, "}")) {
		buf_clear(&b);
		give_up(c);
		return;
	}
	call_head(c, status);
	call_field(c, "content-type", "application/json", 16);
	if (status == 401)
		call_field(c, "www-authenticate", "Bearer", 6);
	call_answer(c, &b);
}

/* ---- the request ---- */

static bool segment(const char **p, const char *end, struct slice *out)
{
	const char *stop;

	if (*p >= end || **p != '/')
		return false;
	stop = memchr(*p + 1, '/', (size_t)(end - *p - 1));
	if (!stop)
		stop = end;
	*out = (struct slice){ *p + 1, (size_t)(stop - *p - 1) };
	*p = stop;
	return true;
}

bool call_match(const char *pattern, struct slice path, struct slice param[2])
{
	const char *p = path.p, *end = p + path.len, *w = pattern, *w_end = w + strlen(w);
	struct slice have, want;
	unsigned n = 0;

	while (segment(&w, w_end, &want)) {
		if (!segment(&p, end, &have))
			return false;
		if (want.len && *want.p == '{' && n < 2 && have.len)
			param[n++] = have;
		else if (want.len != have.len || memcmp(want.p, have.p, want.len) != 0)
			return false;
	}
	return p == end;
}

static const struct call_route *route(struct call *c, bool *path_known)
{
	const struct call_route *tables[3] = { api_routes, grpc_routes, probe_routes };
	const struct call_route *r;
	size_t i;

	*path_known = false;
	for (i = 0; i < 3; i++) {
		for (r = tables[i]; r->pattern; r++) {
			if (!call_match(r->pattern, c->path, c->param))
				continue;
			*path_known = true;
			if (!r->method || call_is(c->method, r->method) || (is_head(c) && !strcmp(r->method, "GET")))
				return r;
		}
	}
	return NULL;
}

/* "Bearer <user>.<anything>": the simulated messenger believes every token. */
static void identify(struct call *c)
{
	struct slice v = request_value(c, "authorization");
	const char *dot;

	if (v.len <= 7 || strncasecmp(v.p, "bearer ", 7) != 0)
		return;
	v.p += 7;
	v.len -= 7;
	dot = memchr(v.p, '.', v.len);
	if (dot && dot > v.p && dot - v.p <= STORE_NAME_MAX)
		c->user = (struct slice){ v.p, (size_t)(dot - v.p) };
}

static void run(struct call *c)
{
	struct store_user *u;

	c->running = true;
	if ((c->route->flags & ROUTE_USER) && !c->user.len) {
		call_error(c, 401, "who is asking? send Authorization: Bearer <user>.<anything>");
		return;
	}
	if ((c->route->flags & ROUTE_USER) && (u = store_user(c->b->store, c->user.p, c->user.len, true)))
		store_user_seen(u, clock_wall() / CLOCK_MS);
	c->route->run(c);
}

static void run_when_ready(struct call *c)
{
	if (c->running || c->waiting || c->silent || c->st->closed)
		return;
	if (!c->ended && !(c->route->flags & ROUTE_RAW))
		return;
	run(c);
	if (c->on_body) /* what came while a fault delayed it */
		c->on_body(c, H2_BODY | (c->ended ? H2_END : 0));
}

static double dice(struct backend *b)
{
	b->dice ^= b->dice << 13; /* xorshift64 */
	b->dice ^= b->dice >> 7;
	b->dice ^= b->dice << 17;
	return (double)(b->dice >> 11) / 9007199254740992.0;
}

/* True: the request goes on, perhaps later. */
static bool pass_faults(struct call *c)
{
	struct backend *b = c->b;
	const struct fault_set *f = &b->fault;
	int64_t now = clock_now(), delay = (int64_t)(f->latency * 1e6), queue;

	b->requests++;
	if (f->goaway >= 1 && b->requests % (uint64_t)f->goaway == 0)
		h2_shutdown(c->st->session);
	if (f->refuse > 0 && dice(b) < f->refuse) {
		h2_reset(c->st, H2_ERR_REFUSED_STREAM, FAULT_UPSTREAM_REFUSED);
		return false;
	}
	if (f->silence > 0) {
		c->silent = true;
		return false;
	}
	queue = fault_set_queue(f, &b->busy_until, now);
	if (queue < 0 || (f->error > 0 && dice(b) < f->error)) {
		c->running = true;
		call_error(c, 503, queue < 0 ? "over capacity" : "a fault was asked for");
		return false;
	}
	c->failing = f->reset > 0 && dice(b) < f->reset;
	if (delay + queue > 0) {
		c->waiting = true;
		net_timer_arm(b->loop, &c->timer, now + delay + queue);
	}
	return true;
}

static void on_timer(struct net_timer *t)
{
	struct call *c = list_entry(t, struct call, timer);
	void (*later)(struct call *) = c->later;

	if (later) {
		c->later = NULL;
		later(c);
	} else if (c->waiting) {
		c->waiting = false;
		run_when_ready(c);
	} else {
		pump(c);
	}
}

static void on_stream(void *owner, struct h2_stream *st)
{
	/* RFC 9110 10.1.1: who waits with the body is told to send it. */
	static const struct h2_field go_on[] = { { .name = (const uint8_t *)":status", .value = (const uint8_t *)"100",
						   .name_len = 7, .value_len = 3, .flags = H2_FIELD_KEEP } };
	struct call *c = arena_alloc(&st->arena, sizeof(*c));
	struct slice target;
	const char *query;
	bool known;

	st->user = c;
	if (!c) {
		h2_reset(st, H2_ERR_REFUSED_STREAM, FAULT_NO_MEMORY);
		return;
	}
	*c = (struct call){ .st = st, .b = owner };
	net_timer_init(&c->timer, on_timer);
	c->method = request_value(c, ":method");
	c->protocol = request_value(c, ":protocol");
	c->type = request_value(c, "content-type");
	c->key = request_value(c, "idempotency-key");
	target = request_value(c, ":path");
	query = target.len ? memchr(target.p, '?', target.len) : NULL;
	c->path = (struct slice){ target.p, query ? (size_t)(query - target.p) : target.len };
	if (query)
		c->query = (struct slice){ query + 1, target.len - c->path.len - 1 };
	identify(c);
	c->route = route(c, &known);
	if (!c->route) {
		c->running = true;
		if (c->type.len >= 16 && !memcmp(c->type.p, "application/grpc", 16)) {
			grpc_error(c, 12, "no such method");
			return;
		}
		call_error(c, known ? 405 : 404, known ? "not with this method" : "no such path");
		return;
	}
	if (!(c->route->flags & ROUTE_FREE) && !pass_faults(c))
		return;
	if (call_request_field(c, "expect"))
		h2_interim(st, go_on, 1);
	run_when_ready(c);
}

static void collect(struct call *c)
{
	struct h2_stream *st = c->st;
	size_t n = st->in.len;

	if (c->running || c->silent) {
		/* Answered before the body was read (or never): it is thrown away. */
		if (!c->silent) {
			buf_clear(&st->in);
			h2_consume(st, n);
		}
		return;
	}
	if (c->body.len + n > CALL_BODY_MAX) {
		c->running = true;
		call_error(c, 413, "the body is too large");
		collect(c);
		return;
	}
	if (!buf_move(&c->body, &st->in, n)) {
		give_up(c);
		return;
	}
	h2_consume(st, n);
}

static void gone(struct call *c)
{
	net_timer_disarm(&c->timer);
	if (c->on_gone)
		c->on_gone(c);
	buf_clear(&c->body);
	buf_clear(&c->out);
}

static void on_ready(struct h2_stream *st, uint32_t what)
{
	struct call *c = st->user;

	if (!c) {
		if (what & H2_CLOSED)
			h2_release(&st);
		return;
	}
	if (what & H2_END)
		c->ended = true;
	if (what & H2_CLOSED) {
		gone(c);
		h2_release(&st);
		return;
	}
	if (c->on_body)
		c->on_body(c, what);
	else if ((what & H2_BODY) && !(c->route && (c->route->flags & ROUTE_RAW) && !c->running))
		collect(c);
	if (what & H2_SENT)
		pump(c);
	if (c->route)
		run_when_ready(c);
}

const struct h2_handler call_handler = { on_stream, on_ready };
