/* SPDX-License-Identifier: MIT */
/*
 * One request's life: made when it is due, sent as soon as its room and a connection
 * let it, recorded once, kept for reuse.
 */
#include "generator.h"

#include <stdlib.h>
#include <string.h>

/* ---- making ---- */

static struct request *request_get(struct generator *g)
{
	struct list *n = list_pop(&g->spare);
	struct request *r = n ? list_entry(n, struct request, node) : malloc(sizeof(*r));

	if (!r)
		return NULL;
	memset(r, 0, offsetof(struct request, seen));
	list_init(&r->node);
	list_init(&r->time_node);
	list_init(&r->fresh_node);
	r->g = g;
	r->late = -1;
	r->datacenter = SAMPLE_NOWHERE;
	return r;
}

static void request_put(struct request *r)
{
	list_append(&r->g->spare, &r->node);
}

static unsigned pick_feature(struct generator *g)
{
	const struct scenario *s = g->s;
	double sum = 0, at;
	unsigned f;

	for (f = 0; f < s->features; f++)
		sum += s->feature[f].share;
	at = generator_random(g) * sum;
	for (f = 0; f + 1 < s->features && at >= s->feature[f].share; f++)
		at -= s->feature[f].share;
	return f;
}

/* ---- recording ---- */

static uint32_t micros(int64_t ns)
{
	return ns <= 0 ? 0 : ns / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns / 1000);
}

/* The reason in a Proxy-Status of ours: details="word". */
static uint8_t reason_of(const char *proxy_status)
{
	const char *p = strstr(proxy_status, "details=\"");
	size_t n;
	int f;

	if (!p)
		return 0;
	p += 9;
	n = strcspn(p, "\"");
	for (f = 1; f < FAULT_COUNT; f++) {
		const char *word = fault_info((enum fault)f)->word;

		if (strlen(word) == n && !memcmp(word, p, n))
			return (uint8_t)f;
	}
	return 0;
}

static const char *or_null(const char *text)
{
	return *text ? text : NULL;
}

static enum outcome judge(struct request *r, bool complete)
{
	struct outcome_answer a = {
		.status = r->status, .complete = complete, .content_type = or_null(r->content_type),
		.cache_status = or_null(r->cache_status), .proxy_status = or_null(r->proxy_status),
		.body = r->seen, .body_len = r->seen_len, .user = r->json_of_user ? r->name : NULL,
	};
	enum outcome o = outcome_of(&a);
	bool holds = !r->checked || check_end(&r->check);

	if ((o == OUTCOME_SERVED || o == OUTCOME_FAILED_OVER || o == OUTCOME_STALE) && !holds)
		return OUTCOME_WRONG;
	return o;
}

static void record(struct request *r, bool complete, int64_t now)
{
	const struct generator_args *a = r->g->a;
	enum outcome o = judge(r, complete);
	struct sample s = {
		.intended = r->intended, .late_us = micros(r->late < 0 ? now - r->intended : r->late), .own_us = micros(r->own),
		.latency_us = micros(now - r->intended), .age_s = o == OUTCOME_STALE ? r->age : 0, .feature = (uint16_t)r->feature,
		.outcome = (uint8_t)o, .datacenter = r->datacenter, .status = (uint8_t)(r->status / 100), .generator = (uint8_t)a->self,
		.reason = o == OUTCOME_REFUSED || o == OUTCOME_FAILED ? reason_of(r->proxy_status) : 0,
	};

	sample_add(a->log, &s);
}

static uint64_t seq_of(const struct request *r)
{
	char text[ANSWER_SEEN + 1];
	const char *p;

	memcpy(text, r->seen, r->seen_len);
	text[r->seen_len] = '\0';
	p = strstr(text, "\"seq\":");
	return p ? strtoull(p + 6, NULL, 10) : 0;
}

/* What was promised, and what nobody knows the fate of. */
static void record_ack(const struct request *r, bool complete, int64_t now)
{
	const struct generator_args *a = r->g->a;
	bool promised = complete && (r->status == 201 || r->status == 202);
	struct sample_ack ack = { .at = now, .order = r->order, .seq = promised && r->status == 201 ? seq_of(r) : 0,
				  .user = r->user, .status = complete ? (uint16_t)r->status : 0, .generator = (uint8_t)a->self };

	if (!r->lane || r->late < 0 || (!promised && complete && r->status < 500))
		return;
	memcpy(ack.key, r->key, sizeof(ack.key));
	sample_ack_add(a->log, &ack);
}

static void send_or_wait(struct request *r);

/* The room's next message may go. */
static void lane_go_on(struct lane *lane)
{
	struct request *next;

	lane->busy = !list_empty(&lane->waiting);
	if (!lane->busy)
		return;
	next = list_entry(list_pop(&lane->waiting), struct request, node);
	next->place = PLACE_NOWHERE;
	send_or_wait(next);
}

/* It has its answer, or will never have one. */
static void request_done(struct request *r, bool complete)
{
	struct generator *g = r->g;
	int64_t now;

	if (r->done)
		return;
	r->done = true;
	list_remove(&r->time_node);
	g->under_way--;
	if (g->stopping) /* cut off by ourselves: nobody failed */
		return;
	now = generator_now(g);
	record(r, complete, now);
	record_ack(r, complete, now);
	if (r->lane && r->place != PLACE_LANE)
		lane_go_on(r->lane);
}

/* ---- sending ---- */

static bool submit(struct request *r, struct connection *c)
{
	const struct generator_args *a = r->g->a;
	size_t authority = strlen(a->authority);
	const struct h2_field f[] = {
		FIELD(":method", r->method, strlen(r->method), 0),
		FIELD(":scheme", a->tls ? "https" : "http", a->tls ? 5 : 4, 0),
		FIELD(":authority", a->authority, authority, 0),
		FIELD(":path", r->path, strlen(r->path), H2_FIELD_SENSITIVE),
		FIELD("authorization", r->auth, strlen(r->auth), H2_FIELD_SENSITIVE),
		FIELD("idempotency-key", r->key, strlen(r->key), H2_FIELD_SENSITIVE),
	};
	struct buf body = { 0 };
	enum fault why;

	/* The array is copied by the codec; the octets stay in the request until H2_CLOSED. */
	r->st = h2_request(c->session, f, r->key[0] ? 6 : 5, !r->body, r, &why);
	if (!r->st)
		return false;
	r->place = PLACE_STREAM;
	r->connection = c;
	c->requests++;
	list_append(&r->g->fresh, &r->fresh_node);
	if (r->lane)
		r->order = ++r->lane->order;
	if (r->body && !(verb_body(r, &body) && h2_write(r->st, &body) && h2_finish(r->st, NULL, 0)))
		h2_reset(r->st, H2_ERR_INTERNAL, FAULT_NO_MEMORY);
	buf_clear(&body);
	h2_wake(c->session);
	return true;
}

static void send_or_wait(struct request *r)
{
	struct generator *g = r->g;
	struct connection *c = list_empty(&g->waiting) ? connect_usable(g) : NULL;

	if (c && submit(r, c))
		return;
	r->place = PLACE_CONNECTION;
	r->waited = true;
	list_append(&g->waiting, &r->node);
}

void request_send_waiting(struct generator *g, struct connection *c)
{
	while (!list_empty(&g->waiting) && h2_session_room(c->session)) {
		struct request *r = list_entry(g->waiting.next, struct request, node);

		list_remove(&r->node);
		if (submit(r, c))
			continue;
		list_append(&g->waiting, &r->node);
		return;
	}
}

void request_issue(struct generator *g, int64_t intended)
{
	struct request *r = g->under_way < UNDER_WAY_MAX ? request_get(g) : NULL;

	atomic_fetch_add_explicit(&g->a->log->sent, 1, memory_order_relaxed);
	if (!r) {
		atomic_fetch_add_explicit(&g->a->log->dropped, 1, memory_order_relaxed);
		return;
	}
	r->user_of_stream.on_ready = request_ready;
	r->intended = intended;
	r->own = generator_now(g) - intended;
	r->feature = pick_feature(g);
	verb_fill(r);
	list_append(&g->pending, &r->time_node);
	g->under_way++;
	if (r->lane && r->lane->busy) {
		r->place = PLACE_LANE;
		r->waited = true;
		list_append(&r->lane->waiting, &r->node);
		return;
	}
	if (r->lane)
		r->lane->busy = true;
	send_or_wait(r);
}

void request_stamp(struct generator *g)
{
	int64_t now;

	if (list_empty(&g->fresh))
		return;
	now = generator_now(g);
	while (!list_empty(&g->fresh)) {
		struct request *r = list_entry(list_pop(&g->fresh), struct request, fresh_node);

		r->late = now - r->intended;
		if (!r->waited)
			r->own = r->late;
	}
}

void request_expire(struct generator *g, int64_t now)
{
	int64_t oldest = now - g->s->timeout;

	while (!list_empty(&g->pending)) {
		struct request *r = list_entry(g->pending.next, struct request, time_node);

		if (r->intended > oldest)
			return;
		if (r->place == PLACE_STREAM) {
			request_done(r, false);
			h2_reset(r->st, H2_ERR_CANCEL, FAULT_UPSTREAM_TIMEOUT); /* its H2_CLOSED puts it back */
			continue;
		}
		list_remove(&r->node);
		request_done(r, false);
		request_put(r);
	}
}

/* ---- what comes ---- */

static void take(char *out, size_t size, const struct h2_field *f)
{
	size_t n = f->value_len < size - 1 ? f->value_len : size - 1;

	memcpy(out, f->value, n);
	out[n] = '\0';
}

static void take_head(struct request *r, const struct h2_head *h)
{
	char number[16];
	unsigned i;

	r->status = h->status;
	r->datacenter = generator_datacenter(r->g, h);
	for (i = 0; i < h->count; i++) {
		switch (h->field[i].token) {
		case H2_CONTENT_TYPE:
			take(r->content_type, sizeof(r->content_type), &h->field[i]);
			break;
		case H2_CACHE_STATUS:
			take(r->cache_status, sizeof(r->cache_status), &h->field[i]);
			break;
		case H2_PROXY_STATUS:
			take(r->proxy_status, sizeof(r->proxy_status), &h->field[i]);
			break;
		case H2_AGE:
			take(number, sizeof(number), &h->field[i]);
			r->age = (uint32_t)strtoul(number, NULL, 10);
			break;
		default:
			break;
		}
	}
}

static void take_body(struct request *r, struct h2_stream *st)
{
	size_t n = st->in.len;
	struct iovec v;

	if (r->seen_len < sizeof(r->seen))
		r->seen_len += buf_peek(&st->in, r->seen + r->seen_len, sizeof(r->seen) - r->seen_len);
	while (buf_iov(&st->in, &v, 1)) {
		if (r->checked && r->status < 300)
			check_take(&r->check, v.iov_base, v.iov_len);
		buf_drain(&st->in, v.iov_len);
	}
	h2_consume(st, n);
}

void request_ready(struct h2_stream *st, uint32_t what)
{
	struct request *r = st->user;
	struct connection *c = r->connection;

	if ((what & H2_HEAD) && st->head)
		take_head(r, st->head);
	if (what & H2_BODY)
		take_body(r, st);
	if (what & (H2_END | H2_CLOSED))
		request_done(r, what & H2_END);
	if (!(what & H2_CLOSED))
		return;
	list_remove(&r->fresh_node);
	h2_release(&st);
	request_put(r);
	c->requests--;
	generator_go_on(c->g, c);
	connect_ended(c);
}
